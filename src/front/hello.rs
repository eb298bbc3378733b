//! The host name that a TLS client asks for, read from the first bytes of its connection.

/// What the first bytes of a connection tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// They may be the beginning of a ClientHello.
    Incomplete,
    /// They are no ClientHello, or one that is out of all proportion.
    NotTls,
    /// A ClientHello without a host name.
    NoName,
    /// The host name, in lower case.
    Name(String),
}

/// Reads the server_name (RFC 6066 §3) of a ClientHello (RFC 8446 §4.1.2), which may be spread over several
/// records (§5.1). A list without a host name, and a host name that none can be, are no ClientHello.
pub fn server_name(bytes: &[u8]) -> Outcome {
    match read(bytes) {
        Outcome::Incomplete if bytes.len() >= MAX_BYTES => Outcome::NotTls,
        outcome => outcome,
    }
}

/// Whoever has sent as much has sent a whole ClientHello or none: the greatest length, with the headers of
/// records that are not all too small.
pub const MAX_BYTES: usize = 2 * MAX_HELLO;

fn read(bytes: &[u8]) -> Outcome {
    let mut message = Vec::new();
    let mut rest = Reader(bytes);
    // records until the message is complete
    loop {
        match record(&mut rest) {
            Ok(fragment) => message.extend_from_slice(fragment),
            Err(outcome) => return outcome,
        }
        let mut handshake = Reader(&message);
        let Some(kind) = handshake.u8() else { continue };
        if kind != CLIENT_HELLO {
            return Outcome::NotTls;
        }
        let Some(length) = handshake.u24() else { continue };
        if length > MAX_HELLO {
            return Outcome::NotTls;
        }
        if let Some(hello) = handshake.take(length) {
            return match name(hello) {
                None => Outcome::NotTls,
                Some(None) => Outcome::NoName,
                Some(Some(name)) => Outcome::Name(name),
            };
        }
    }
}

/// What the next record holds (RFC 8446 §5.1), or what comes of it that there is none.
fn record<'a>(rest: &mut Reader<'a>) -> Result<&'a [u8], Outcome> {
    match rest.u8() {
        Some(HANDSHAKE) => {}
        Some(_) => return Err(Outcome::NotTls),
        None => return Err(Outcome::Incomplete),
    }
    match rest.u8() {
        Some(3) => {}
        Some(_) => return Err(Outcome::NotTls),
        None => return Err(Outcome::Incomplete),
    }
    let _minor = rest.u8();
    match rest.u16() {
        // "Implementations MUST NOT send zero-length fragments of Handshake types"
        Some(0) => Err(Outcome::NotTls),
        Some(length) if usize::from(length) > MAX_FRAGMENT => Err(Outcome::NotTls),
        Some(length) => rest.take(length.into()).ok_or(Outcome::Incomplete),
        None => Err(Outcome::Incomplete),
    }
}

/// `None`: the message is malformed.
fn name(hello: &[u8]) -> Option<Option<String>> {
    let mut hello = Reader(hello);
    // legacy_version, random, legacy_session_id, cipher_suites, legacy_compression_methods
    hello.take(2 + 32)?;
    hello.vector_u8()?;
    hello.vector_u16()?;
    hello.vector_u8()?;
    if hello.0.is_empty() {
        // TLS 1.2 knows hellos without extensions (RFC 5246 §7.4.1.2)
        return Some(None);
    }
    let mut extensions = Reader(hello.vector_u16()?);
    if !hello.0.is_empty() {
        return None;
    }
    let mut found = None;
    while !extensions.0.is_empty() {
        let (kind, data) = (extensions.u16()?, extensions.vector_u16()?);
        if kind == SERVER_NAME {
            // "There MUST NOT be more than one extension of the same type" (RFC 8446 §4.2): a gateway might
            // read the other one
            if found.is_some() {
                return None;
            }
            found = Some(host_name(data)?);
        }
    }
    Some(found)
}

/// The one name of a ServerNameList (RFC 6066 §3). `None`: there is none, or one that is no host name.
fn host_name(extension: &[u8]) -> Option<String> {
    let mut extension = Reader(extension);
    let mut list = Reader(extension.vector_u16()?);
    let (kind, name) = (list.u8()?, list.vector_u16()?);
    // no other type has ever been defined, and there is one name of each type at most
    if kind != HOST_NAME || !list.0.is_empty() || !extension.0.is_empty() {
        return None;
    }
    let name = std::str::from_utf8(name).ok()?;
    is_host_name(name).then(|| name.to_ascii_lowercase())
}

/// Labels of letters, digits, hyphens and underscores (which some do use), and no dot at the end (RFC 6066 §3).
fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

/// What is yet to be read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self, length: usize) -> Option<usize> {
        Some(self.take(length)?.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        u16::try_from(self.number(2)?).ok()
    }

    fn u24(&mut self) -> Option<usize> {
        self.number(3)
    }

    fn vector_u8(&mut self) -> Option<&'a [u8]> {
        let length = self.number(1)?;
        self.take(length)
    }

    fn vector_u16(&mut self) -> Option<&'a [u8]> {
        let length = self.number(2)?;
        self.take(length)
    }
}

// RFC 8446 §5.1, appendix B.3; RFC 6066 §3
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;

/// The largest record; TLS 1.2's ciphertext may be larger, a ClientHello's is none.
const MAX_FRAGMENT: usize = 1 << 14;

/// Much more than any client sends: post-quantum ones have come to 2 KiB.
const MAX_HELLO: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::crypto::aws_lc_rs;
    use rustls::pki_types::ServerName;
    use rustls::version::{TLS12, TLS13};

    use super::*;

    /// As OpenSSL's `s_client -tls1_2 -servername VPN.example.test -cipher AES128-SHA` sends it, with most of the
    /// extensions left out.
    #[rustfmt::skip]
    const HELLO: [u8; 79] = [
        0x16, 0x03, 0x01,       // a handshake record, of TLS 1.0 for the sake of old servers
        0x00, 0x4a,             // 74 bytes
        0x01,                   // ClientHello
        0x00, 0x00, 0x46,       // 70 bytes
        0x03, 0x03,             // TLS 1.2
        1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, // random
        1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
        0x00,                   // no session
        0x00, 0x04,             // 4 bytes of cipher suites
        0x00, 0x2f, 0x00, 0xff, // TLS_RSA_WITH_AES_128_CBC_SHA, and that renegotiation is safe
        0x01, 0x00,             // one compression method: none
        0x00, 0x19,             // 25 bytes of extensions
        0x00, 0x00,             // server_name
        0x00, 0x15,             // 21 bytes
        0x00, 0x13,             // a list of 19 bytes
        0x00,                   // host_name
        0x00, 0x10,             // 16 bytes
        b'V', b'P', b'N', b'.', b'e', b'x', b'a', b'm', b'p', b'l', b'e', b'.', b't', b'e', b's', b't',
    ];
    /// Where the name is, and its last byte.
    const NAME: usize = HELLO.len() - 16;
    const LAST: usize = HELLO.len() - 1;

    fn name(name: &str) -> Outcome {
        Outcome::Name(name.into())
    }

    /// The same message in records of this many bytes.
    fn split(hello: &[u8], at: usize) -> Vec<u8> {
        let mut message = Vec::new();
        let mut rest = hello;
        while let [kind, major, minor, high, low, more @ ..] = rest {
            assert_eq!((*kind, *major, *minor), (0x16, 3, 1));
            let (fragment, next) = more.split_at(u16::from_be_bytes([*high, *low]).into());
            message.extend_from_slice(fragment);
            rest = next;
        }
        let record = |part: &[u8]| [&[0x16, 3, 1, 0, part.len() as u8], part].concat();
        message.chunks(at).flat_map(record).collect()
    }

    /// A ClientHello as a client of ours sends it.
    fn of_rustls(to: &str, post_quantum: bool, change: impl Fn(&mut rustls::ClientConfig)) -> Vec<u8> {
        let mut provider = aws_lc_rs::default_provider();
        let group =
            if post_quantum { aws_lc_rs::kx_group::X25519MLKEM768 } else { aws_lc_rs::kx_group::X25519 };
        provider.kx_groups = vec![group];
        let version = if post_quantum { &TLS13 } else { &TLS12 };
        let mut config = rustls::ClientConfig::builder_with_provider(provider.into())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        change(&mut config);
        let to = ServerName::try_from(to.to_owned()).unwrap();
        let mut connection = rustls::ClientConnection::new(Arc::new(config), to).unwrap();
        let mut bytes = Vec::new();
        while connection.wants_write() {
            connection.write_tls(&mut bytes).unwrap();
        }
        bytes
    }

    #[test]
    fn the_name_is_read_in_lower_case() {
        assert_eq!(server_name(&HELLO), name("vpn.example.test"));
        for post_quantum in [false, true] {
            let hello = of_rustls("vpn.example.com", post_quantum, |_| {});
            assert_eq!(hello.len() > 1200, post_quantum);
            assert_eq!(server_name(&hello), name("vpn.example.com"));
            // what a client sends after it is not ours
            assert_eq!(server_name(&[&hello[..], b"more"].concat()), name("vpn.example.com"));
        }
    }

    #[test]
    fn a_hello_may_be_cut_at_any_byte() {
        for hello in [&HELLO[..], &of_rustls("vpn.example.com", true, |_| {})] {
            for length in 0..hello.len() {
                assert_eq!(server_name(&hello[..length]), Outcome::Incomplete, "cut at {length}");
            }
        }
    }

    #[test]
    fn a_hello_may_be_spread_over_records_of_any_size() {
        let whole = of_rustls("vpn.example.com", true, |_| {});
        let cases = [(&whole[..], 250, "vpn.example.com"), (&whole, 255, "vpn.example.com")];
        let small = [1, 2, 3, 4, 5, 70].map(|at| (&HELLO[..], at, "vpn.example.test"));
        for (hello, at, expected) in cases.into_iter().chain(small) {
            let records = split(hello, at);
            assert_eq!(server_name(&records), name(expected), "records of {at} bytes");
            for length in 0..records.len() {
                assert_eq!(server_name(&records[..length]), Outcome::Incomplete, "cut at {length}");
            }
        }
        // as rustls does it for those who ask for small records
        let by_itself = of_rustls("vpn.example.com", true, |config| config.max_fragment_size = Some(64));
        assert!(by_itself.len() > whole.len());
        assert_eq!(server_name(&by_itself), name("vpn.example.com"));
    }

    #[test]
    fn who_asks_for_no_name_has_none() {
        assert_eq!(server_name(&of_rustls("192.0.2.1", true, |_| {})), Outcome::NoName);
        assert_eq!(
            server_name(&of_rustls("vpn.example.com", true, |c| c.enable_sni = false)),
            Outcome::NoName
        );
        // no extensions at all
        let mut bare = HELLO[..HELLO.len() - 27].to_vec();
        bare[4] -= 27;
        bare[8] -= 27;
        assert_eq!(server_name(&bare), Outcome::NoName);
        // and an empty list of them
        bare.extend_from_slice(&[0, 0]);
        bare[4] += 2;
        bare[8] += 2;
        assert_eq!(server_name(&bare), Outcome::NoName);
    }

    #[test]
    fn what_is_not_tls_is_told_by_its_first_byte() {
        for bytes in [&b"GET / HTTP/1.1\r\n"[..], b"SSH-2.0-OpenSSH_9.2\r\n", b"\0", b"\x80\x2e\x01\x03\x01"]
        {
            for length in 1..=bytes.len() {
                assert_eq!(server_name(&bytes[..length]), Outcome::NotTls);
            }
        }
    }

    #[test]
    fn what_is_wrong_with_a_hello_makes_it_none() {
        for (what, place, byte) in [
            ("another record", 0, 0x15),
            ("SSL 2", 1, 0x02),
            ("ServerHello", 5, 0x02),
            ("longer than any", 6, 0x01),
            ("shorter than what is in it", 8, 0x45),
            ("a session longer than all", 43, 0xff),
            ("suites longer than all", 44, 0xff),
            ("extensions longer than all", 53, 0x1a),
            ("extensions shorter than they are", 53, 0x18),
            ("an extension longer than all", 57, 0x16),
            ("a list shorter than it is", 59, 0x12),
            ("a name shorter than it is", 62, 0x0f),
            ("another type of name", 60, 0x01),
            ("a space in the name", NAME, b' '),
            ("a zero in the name", NAME, 0),
            ("an umlaut in the name", NAME, 0xfc),
            ("two dots in the name", NAME + 4, b'.'),
            ("a dot at its beginning", NAME, b'.'),
            ("a dot at its end", LAST, b'.'),
        ] {
            let mut hello = HELLO;
            hello[place] = byte;
            assert_eq!(server_name(&hello), Outcome::NotTls, "{what}");
        }
        let mut empty_record = HELLO.to_vec();
        empty_record.splice(0..0, [0x16, 3, 1, 0, 0]);
        assert_eq!(server_name(&empty_record), Outcome::NotTls);
    }

    #[test]
    fn two_names_are_none() {
        // the same extension once more: a gateway might read the second one
        let mut twice = HELLO.to_vec();
        twice.extend_from_slice(&HELLO[54..]);
        for place in [4, 8, 53] {
            twice[place] += 25;
        }
        assert_eq!(server_name(&twice), Outcome::NotTls);
    }

    #[test]
    fn what_never_ends_is_given_up() {
        // a message as long as one may be, in records of one byte each
        let message = [&[1, 0, 0x40, 0][..], &[0; MAX_HELLO]].concat();
        let endless: Vec<u8> = message.iter().flat_map(|byte| [0x16, 3, 1, 0, 1, *byte]).collect();
        assert_eq!(server_name(&endless[..MAX_BYTES - 1]), Outcome::Incomplete);
        assert_eq!(server_name(&endless[..MAX_BYTES]), Outcome::NotTls);
        // and one that claims to be longer
        assert_eq!(
            server_name(&[0x16, 3, 1, 0x40, 0, 1, 0, 0x40, 1]),
            Outcome::Incomplete,
            "not in a record yet"
        );
        assert_eq!(server_name(&[0x16, 3, 1, 0, 4, 1, 0, 0x40, 1]), Outcome::NotTls);
        assert_eq!(server_name(&[0x16, 3, 1, 0x40, 1]), Outcome::NotTls, "a record longer than any");
    }

    #[test]
    fn no_byte_makes_it_panic() {
        for hello in [&HELLO[..], &of_rustls("vpn.example.com", true, |_| {}), &split(&HELLO, 2)] {
            for place in 0..hello.len() {
                for byte in [0, 1, 0x16, 0x7f, 0x80, 0xff, hello[place] ^ 1, hello[place].wrapping_add(1)] {
                    let mut hello = hello.to_vec();
                    hello[place] = byte;
                    server_name(&hello);
                }
            }
        }
    }
}
