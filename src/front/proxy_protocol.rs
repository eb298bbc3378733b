//! The PROXY protocol, versions 1 and 2: the first bytes of a connection tell on whose behalf it comes.
//!
//! By HAProxy's `doc/proxy-protocol.txt`, whose sections are cited here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::settings::ProxyProtocol;

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// The beginning of a header.
    Incomplete,
    /// No header, nor the beginning of one.
    Invalid,
    /// A header.
    Header {
        /// Its length; what comes after it belongs to the connection.
        length: usize,
        /// Both ends of the connection that it tells of. `None`: it speaks for the proxy itself (LOCAL), or of
        /// something that is not TCP (UNKNOWN, UNSPEC, …), and the ends of this connection count.
        ends: Option<Ends>,
    },
}

/// Both ends of a TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Who has opened it.
    pub client: SocketAddr,
    /// The address that it came to.
    pub local: SocketAddr,
}

/// The header for a connection of `client` that came to `local`. IPv4 in IPv6 is told as the IPv4 that it is;
/// where only one of them is IPv4, both are told as IPv6, for a header has one family (§2.1, §2.2).
pub fn encode(version: ProxyProtocol, client: SocketAddr, local: SocketAddr) -> Vec<u8> {
    let ips = (client.ip().to_canonical(), local.ip().to_canonical());
    let ports = (client.port(), local.port());
    match version {
        ProxyProtocol::V1 => match ips {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                format!("PROXY TCP4 {from} {to} {} {}\r\n", ports.0, ports.1).into_bytes()
            }
            (from, to) => {
                let (from, to) = (groups(mapped(from)), groups(mapped(to)));
                format!("PROXY TCP6 {from} {to} {} {}\r\n", ports.0, ports.1).into_bytes()
            }
        },
        ProxyProtocol::V2 => {
            let mut header = Vec::with_capacity(PREFIX_LENGTH + TCP6_LENGTH);
            header.extend_from_slice(&SIGNATURE);
            header.push(VERSION_2 | PROXY);
            match ips {
                (IpAddr::V4(from), IpAddr::V4(to)) => {
                    header.extend_from_slice(&[TCP4, 0, TCP4_LENGTH as u8]);
                    header.extend_from_slice(&from.octets());
                    header.extend_from_slice(&to.octets());
                }
                (from, to) => {
                    header.extend_from_slice(&[TCP6, 0, TCP6_LENGTH as u8]);
                    header.extend_from_slice(&mapped(from).octets());
                    header.extend_from_slice(&mapped(to).octets());
                }
            }
            header.extend_from_slice(&ports.0.to_be_bytes());
            header.extend_from_slice(&ports.1.to_be_bytes());
            header
        }
    }
}

/// Reads a header of either version from the first bytes of a connection.
pub fn decode(bytes: &[u8]) -> Decoded {
    if begins_with(bytes, &SIGNATURE) {
        decode_v2(bytes).unwrap_or(Decoded::Incomplete)
    } else if begins_with(bytes, b"PROXY ") {
        decode_v1(bytes)
    } else {
        Decoded::Invalid
    }
}

/// No header is longer; what claims to be is none.
pub const MAX_LENGTH: usize = 4096;

/// Whether one is the beginning of the other.
fn begins_with(bytes: &[u8], expected: &[u8]) -> bool {
    bytes.iter().zip(expected).all(|(a, b)| a == b)
}

/// §2.1: a line of text.
fn decode_v1(bytes: &[u8]) -> Decoded {
    let line = bytes.get(..V1_MAX_LENGTH).unwrap_or(bytes);
    // neither byte may stand alone
    let end = line.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
    let ending = end.and_then(|end| line.get(end..));
    match (end, ending) {
        (Some(end), Some([b'\r', b'\n', ..])) => {
            let ends = line.get(..end).and_then(read_v1);
            ends.map_or(Decoded::Invalid, |ends| Decoded::Header { length: end + 2, ends })
        }
        (None, _) | (_, Some([b'\r'])) if line.len() < V1_MAX_LENGTH => Decoded::Incomplete,
        _ => Decoded::Invalid,
    }
}

/// `None`: the line is not one.
fn read_v1(line: &[u8]) -> Option<Option<Ends>> {
    let mut fields = line.split(|byte| *byte == b' ').skip(1);
    let family = fields.next()?;
    if family == b"UNKNOWN" {
        // "the receiver must ignore anything presented before the CRLF is found"
        return Some(None);
    }
    let mut texts = fields.map(std::str::from_utf8);
    let mut text = || texts.next()?.ok();
    let mut ip = || -> Option<IpAddr> {
        match family {
            b"TCP4" => text()?.parse::<Ipv4Addr>().ok().map(IpAddr::from),
            // HAProxy writes IPv4 in IPv6 with dots, though §2.1 knows no dots in IPv6
            b"TCP6" => text()?.parse::<Ipv6Addr>().ok().map(IpAddr::from),
            _ => None,
        }
    };
    let (from, to) = (ip()?, ip()?);
    let (from_port, to_port) = (port(text()?)?, port(text()?)?);
    text().is_none().then(|| Some(ends((from, from_port), (to, to_port))))
}

/// A number without a sign, and without zeros in front.
fn port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let octal = text.len() > 1 && text.starts_with('0');
    if digits && !octal { text.parse().ok() } else { None }
}

/// §2.2: binary. `None`: incomplete.
fn decode_v2(bytes: &[u8]) -> Option<Decoded> {
    let (prefix, rest) = bytes.split_first_chunk::<PREFIX_LENGTH>()?;
    let [.., version_and_command, family, high, low] = *prefix;
    let block = usize::from(u16::from_be_bytes([high, low]));
    let length = PREFIX_LENGTH + block;
    if length > MAX_LENGTH || version_and_command & 0xf0 != VERSION_2 {
        return Some(Decoded::Invalid);
    }
    let least = match (version_and_command & 0x0f, family) {
        // the family is ignored
        (LOCAL, _) => 0,
        (PROXY, UNSPEC) => 0,
        (PROXY, TCP4 | UDP4) => TCP4_LENGTH,
        (PROXY, TCP6 | UDP6) => TCP6_LENGTH,
        (PROXY, UNIX_STREAM | UNIX_DATAGRAM) => UNIX_LENGTH,
        _ => return Some(Decoded::Invalid),
    };
    if block < least {
        return Some(Decoded::Invalid);
    }
    let block = rest.get(..block)?;
    // what comes after the addresses is for others (TLVs); what is not TCP counts as unspecified
    let ends = match (version_and_command & 0x0f, family) {
        (PROXY, TCP4) => tcp4(block),
        (PROXY, TCP6) => tcp6(block),
        _ => None,
    };
    Some(Decoded::Header { length, ends })
}

fn tcp4(block: &[u8]) -> Option<Ends> {
    let (from, rest) = block.split_first_chunk::<4>()?;
    let (to, rest) = rest.split_first_chunk::<4>()?;
    let (from_port, to_port) = ports(rest)?;
    Some(ends((Ipv4Addr::from(*from).into(), from_port), (Ipv4Addr::from(*to).into(), to_port)))
}

fn tcp6(block: &[u8]) -> Option<Ends> {
    let (from, rest) = block.split_first_chunk::<16>()?;
    let (to, rest) = rest.split_first_chunk::<16>()?;
    let (from_port, to_port) = ports(rest)?;
    Some(ends((Ipv6Addr::from(*from).into(), from_port), (Ipv6Addr::from(*to).into(), to_port)))
}

fn ports(block: &[u8]) -> Option<(u16, u16)> {
    let (from, rest) = block.split_first_chunk()?;
    let (to, _) = rest.split_first_chunk()?;
    Some((u16::from_be_bytes(*from), u16::from_be_bytes(*to)))
}

fn ends(from: (IpAddr, u16), to: (IpAddr, u16)) -> Ends {
    let end = |(ip, port): (IpAddr, u16)| SocketAddr::new(ip.to_canonical(), port);
    Ends { client: end(from), local: end(to) }
}

fn mapped(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

/// All eight groups in hexadecimal: the form with dots is not allowed (§2.1).
fn groups(ip: Ipv6Addr) -> String {
    let [a, b, c, d, e, f, g, h] = ip.segments();
    format!("{a:x}:{b:x}:{c:x}:{d:x}:{e:x}:{f:x}:{g:x}:{h:x}")
}

/// With the end of the line (§2.1).
const V1_MAX_LENGTH: usize = 107;

// §2.2
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
const PREFIX_LENGTH: usize = 16;
const VERSION_2: u8 = 0x20;
const LOCAL: u8 = 0x0;
const PROXY: u8 = 0x1;
const UNSPEC: u8 = 0x00;
const TCP4: u8 = 0x11;
const UDP4: u8 = 0x12;
const TCP6: u8 = 0x21;
const UDP6: u8 = 0x22;
const UNIX_STREAM: u8 = 0x31;
const UNIX_DATAGRAM: u8 = 0x32;
const TCP4_LENGTH: usize = 12;
const TCP6_LENGTH: usize = 36;
const UNIX_LENGTH: usize = 216;

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "192.0.2.1:50000";
    const OURS: &str = "192.0.2.203:443";

    fn told(client: &str, local: &str) -> Option<Ends> {
        Some(Ends { client: client.parse().unwrap(), local: local.parse().unwrap() })
    }

    /// Decodes a header as it is, cut at every length, and with bytes after it.
    fn decoded(header: &[u8]) -> Option<Ends> {
        for length in 0..header.len() {
            assert_eq!(decode(&header[..length]), Decoded::Incomplete, "cut at {length}");
        }
        let more = [header, b"\x16\x03\x01 and more\r\n"].concat();
        assert_eq!(decode(&more), decode(header));
        match decode(header) {
            Decoded::Header { length, ends } if length == header.len() => ends,
            other => panic!("{other:?} of {header:?}"),
        }
    }

    fn encoded(version: ProxyProtocol, client: &str, local: &str) -> Vec<u8> {
        encode(version, client.parse().unwrap(), local.parse().unwrap())
    }

    #[rustfmt::skip]
    const V2_TCP4: [u8; 28] = [
        0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a, // signature
        0x21,             // version 2, PROXY
        0x11,             // TCP over IPv4
        0x00, 0x0c,       // 12 bytes follow
        192, 0, 2, 1,     // from
        192, 0, 2, 203,   // to
        0xc3, 0x50,       // from port 50000
        0x01, 0xbb,       // to port 443
    ];

    #[rustfmt::skip]
    const V2_TCP6: [u8; 52] = [
        0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a, // signature
        0x21,             // version 2, PROXY
        0x21,             // TCP over IPv6
        0x00, 0x24,       // 36 bytes follow
        0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01, // from 2001:db8::1
        0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x02, // to 2001:db8::2
        0xc3, 0x50,       // from port 50000
        0x01, 0xbb,       // to port 443
    ];

    #[test]
    fn version_1_is_a_line() {
        let line = b"PROXY TCP4 192.0.2.1 192.0.2.203 50000 443\r\n";
        assert_eq!(encoded(ProxyProtocol::V1, ONE, OURS), line);
        assert_eq!(decoded(line), told(ONE, OURS));
        let line = b"PROXY TCP6 2001:db8:0:0:0:0:0:1 2001:db8:0:0:0:0:0:2 50000 443\r\n";
        let (client, local) = ("[2001:db8::1]:50000", "[2001:db8::2]:443");
        assert_eq!(encoded(ProxyProtocol::V1, client, local), line);
        assert_eq!(decoded(line), told(client, local));
        assert_eq!(decoded(b"PROXY TCP6 2001:db8::1 2001:DB8::2 50000 443\r\n"), told(client, local));
    }

    #[test]
    fn version_2_is_binary() {
        assert_eq!(encoded(ProxyProtocol::V2, ONE, OURS), V2_TCP4);
        assert_eq!(decoded(&V2_TCP4), told(ONE, OURS));
        let (client, local) = ("[2001:db8::1]:50000", "[2001:db8::2]:443");
        assert_eq!(encoded(ProxyProtocol::V2, client, local), V2_TCP6);
        assert_eq!(decoded(&V2_TCP6), told(client, local));
    }

    #[test]
    fn ipv4_in_ipv6_is_ipv4_and_two_families_become_one() {
        for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
            let header = encoded(version, "[::ffff:192.0.2.1]:50000", OURS);
            assert_eq!(header, encoded(version, ONE, OURS));
            let header = encoded(version, "[2001:db8::1]:50000", OURS);
            assert_eq!(decoded(&header), told("[2001:db8::1]:50000", OURS));
        }
        // no dots
        assert_eq!(
            encoded(ProxyProtocol::V1, "[2001:db8::1]:50000", OURS),
            b"PROXY TCP6 2001:db8:0:0:0:0:0:1 0:0:0:0:0:ffff:c000:2cb 50000 443\r\n"
        );
        // but HAProxy has them
        let haproxy = b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.203 50000 443\r\n";
        assert_eq!(decoded(haproxy), told(ONE, OURS));
    }

    #[test]
    fn the_longest_line_that_one_can_write_is_read() {
        let ip = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        let longest = format!("[{ip}]:65535");
        let line = encoded(ProxyProtocol::V1, &longest, &longest);
        assert_eq!((line.len(), decoded(&line)), (104, told(&longest, &longest)));
        let unknown = format!("PROXY UNKNOWN {ip} {ip} 65535 65535\r\n");
        assert_eq!((unknown.len(), decoded(unknown.as_bytes())), (V1_MAX_LENGTH, None));
        let longer = format!("PROXY UNKNOWN {ip} {ip} 65535 655350\r\n");
        assert_eq!(decode(longer.as_bytes()), Decoded::Invalid);
        assert_eq!(decode(&longer.as_bytes()[..V1_MAX_LENGTH - 1]), Decoded::Incomplete);
    }

    #[test]
    fn a_proxy_may_speak_for_itself_or_of_something_else() {
        assert_eq!(decoded(b"PROXY UNKNOWN\r\n"), None);
        assert_eq!(decoded(b"PROXY UNKNOWN anything \xff at all\r\n"), None);
        for (command, family, length) in [
            (0x20, 0x00, 0),   // LOCAL
            (0x20, 0x11, 12),  // LOCAL, with addresses that do not count
            (0x20, 0xff, 3),   // LOCAL, with a family that does not count
            (0x21, 0x00, 0),   // PROXY, unspecified
            (0x21, 0x12, 12),  // UDP over IPv4
            (0x21, 0x22, 36),  // UDP over IPv6
            (0x21, 0x31, 216), // Unix stream
            (0x21, 0x32, 216), // Unix datagram
        ] {
            let header = [&SIGNATURE[..], &[command, family, 0, length], &vec![1; length.into()]].concat();
            assert_eq!(decoded(&header), None, "{command:#x} {family:#x}");
        }
    }

    #[test]
    fn what_follows_the_addresses_is_skipped() {
        #[rustfmt::skip]
        let tlvs = [
            0x04, 0x00, 0x03, 1, 2, 3,       // PP2_TYPE_NOOP, 3 bytes
            0x02, 0x00, 0x04, b'a', b'.', b'd', b'e', // PP2_TYPE_AUTHORITY, 4 bytes
        ];
        let mut header = [&V2_TCP4[..], &tlvs].concat();
        header[15] += tlvs.len() as u8;
        assert_eq!(decoded(&header), told(ONE, OURS));
    }

    #[test]
    fn what_claims_to_be_longer_than_any_header_is_none() {
        let mut header = V2_TCP4;
        [header[14], header[15]] = ((MAX_LENGTH - PREFIX_LENGTH) as u16).to_be_bytes();
        assert_eq!(decode(&header), Decoded::Incomplete);
        [header[14], header[15]] = ((MAX_LENGTH - PREFIX_LENGTH + 1) as u16).to_be_bytes();
        assert_eq!(decode(&header), Decoded::Invalid);
    }

    #[test]
    fn what_is_nearly_a_line_is_none() {
        for line in [
            "PROXY  TCP4 192.0.2.1 192.0.2.203 50000 443\r\n", // two spaces
            "PROXY TCP4 192.0.2.1  192.0.2.203 50000 443\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.203 50000 443 \r\n", // one at the end
            "PROXY TCP4 192.0.2.1 192.0.2.203 50000 443 1\r\n", // one field more
            "PROXY TCP4 192.0.2.1 192.0.2.203 50000\r\n",      // one less
            "PROXY TCP4 192.0.2.1 192.0.2.203 050000 443\r\n", // zeros in front
            "PROXY TCP4 192.0.2.1 192.0.2.203 50000 00\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.203 +5000 443\r\n", // a sign
            "PROXY TCP4 192.0.2.1 192.0.2.203 65536 443\r\n", // too large
            "PROXY TCP4 192.0.2.1 192.0.2.203  443\r\n",      // nothing
            "PROXY TCP4 192.0.2.01 192.0.2.203 50000 443\r\n", // perhaps octal
            "PROXY TCP4 192.0.2 192.0.2.203 50000 443\r\n",   // short
            "PROXY TCP4 2001:db8::1 192.0.2.203 50000 443\r\n", // two families
            "PROXY TCP6 192.0.2.1 192.0.2.203 50000 443\r\n", // the other family
            "PROXY TCP6 fe80::1%eth0 2001:db8::1 50000 443\r\n", // with a zone
            "PROXY TCP5 192.0.2.1 192.0.2.203 50000 443\r\n", // no family
            "PROXY tcp4 192.0.2.1 192.0.2.203 50000 443\r\n", // in lower case
            "PROXY TCP4 192.0.2.1 192.0.2.203 50000 443\n",   // no CR
            "PROXY TCP4 192.0.2.1 192.0.2.203 50000 443\rX",  // no LF
            "PROXY TCP4 192.0.2.1\t192.0.2.203 50000 443\r\n", // a tab
            "PROXY UNKNOWNS\r\n",
            "PROXY \r\n",
            "PROXY\r\n",
            "proxy UNKNOWN\r\n",
            "GET / HTTP/1.1\r\n",
            "\x16\x03\x01\x02\x00\x01", // TLS
        ] {
            assert_eq!(decode(line.as_bytes()), Decoded::Invalid, "{line:?}");
        }
    }

    #[test]
    fn what_is_nearly_binary_is_none() {
        for (place, byte) in [
            (11, 0x0d), // another signature
            (12, 0x11), // version 1
            (12, 0x31), // version 3
            (12, 0x22), // no command
            (13, 0x10), // IPv4 without a protocol
            (13, 0x01), // TCP without a family
            (13, 0x13), // no protocol
            (13, 0x41), // no family
            (13, 0x21), // IPv6, which does not fit into 12 bytes
            (15, 0x0b), // no room for IPv4
        ] {
            let mut header = V2_TCP4;
            header[place] = byte;
            assert_eq!(decode(&header), Decoded::Invalid, "{byte:#x} at {place}");
        }
    }

    #[test]
    fn no_byte_makes_it_panic() {
        for header in [&V2_TCP4[..], &V2_TCP6, b"PROXY TCP4 192.0.2.1 192.0.2.203 50000 443\r\n"] {
            for place in 0..header.len() {
                for byte in 0..=255 {
                    let mut header = header.to_vec();
                    header[place] = byte;
                    if let Decoded::Header { length, .. } = decode(&header) {
                        assert!(length <= header.len());
                    }
                }
            }
        }
    }
}
