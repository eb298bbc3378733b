//! What goes over the wire: IKE_SA_INIT requests (RFC 7296 §1.2, §3) as far as a redirect needs them (RFC 5685), and
//! answers of one notification. Pure; reading allocates nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use crate::fleet::Host;

/// A client's first message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// Four zero bytes stood before it, which tell it from ESP where NAT is expected (RFC 7296 §3.1, RFC 3948 §2.2);
    /// its answer has them, too.
    pub has_marker: bool,
    /// The client's mark for what it wants to set up; never zero.
    pub spi: Spi,
    /// Ni: random, 16 to 256 bytes.
    pub nonce: &'a [u8],
    /// What it was given to prove that its address is its own (RFC 7296 §2.6).
    pub cookie: Option<&'a [u8]>,
    /// Whether it can be sent elsewhere.
    pub support: Support<'a>,
    /// How long the datagram is, in bytes, with its marker.
    pub length: usize,
}

/// What a client says of redirects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support<'a> {
    /// Nothing: it does not know them.
    None,
    /// It follows one (REDIRECT_SUPPORTED, RFC 5685 §7.1).
    Announced,
    /// It is following one already (REDIRECTED_FROM, RFC 5685 §7.3): who has sent it here, for [`read_identity`].
    Followed(&'a [u8]),
}

/// What an answer says; there is nothing else in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice<'a> {
    /// Go there (RFC 5685 §7.2).
    Redirect(&'a Host),
    /// Say this in front of the same request; 1 to 64 bytes (RFC 7296 §2.6).
    Cookie(&'a [u8]),
    /// There is nothing for you here (RFC 7296 §3.10.1).
    NoProposalChosen,
}

/// The initiator's Security Parameter Index (RFC 7296 §3.1).
pub type Spi = [u8; 8];

impl<'a> Request<'a> {
    /// Reads a datagram, with or without the marker. `None`: it is no whole IKE_SA_INIT request of IKE 2, and gets
    /// no answer.
    pub fn read(datagram: &'a [u8]) -> Option<Self> {
        // without a marker a message may still begin with zeros: those of its SPI
        let marked = datagram.strip_prefix(&MARKER).and_then(Self::read_message);
        let marked = marked.map(|request| Self { has_marker: true, length: datagram.len(), ..request });
        marked.or_else(|| Self::read_message(datagram))
    }

    /// How long an answer to it is, in bytes.
    pub fn answer_len(&self, notice: Notice<'_>) -> usize {
        let said = match notice {
            Notice::Redirect(host) => IDENTITY_HEAD_BYTES + identity_len(host) + self.nonce.len(),
            Notice::Cookie(cookie) => cookie.len(),
            Notice::NoProposalChosen => 0,
        };
        self.marker().len() + HEADER_BYTES + NOTIFY_BYTES + said
    }

    /// Appends the answer to it.
    pub fn write_answer(&self, notice: Notice<'_>, out: &mut Vec<u8>) {
        let marker = self.marker();
        // names have at most 253 bytes, nonces 256, cookies 64
        let length = self.answer_len(notice) - marker.len();
        let kind = match notice {
            Notice::Redirect(_) => REDIRECT,
            Notice::Cookie(_) => COOKIE,
            Notice::NoProposalChosen => NO_PROPOSAL_CHOSEN,
        };
        out.extend(marker);
        out.extend(self.spi);
        out.extend([0; 8]);
        out.extend([NOTIFY, VERSION_2, IKE_SA_INIT, RESPONSE_FLAG]);
        out.extend([0; 4]);
        out.extend((length as u32).to_be_bytes());
        out.extend([0, 0]);
        out.extend(((length - HEADER_BYTES) as u16).to_be_bytes());
        out.extend([0, 0]);
        out.extend(kind.to_be_bytes());
        match notice {
            Notice::Redirect(host) => {
                write_identity(host, out);
                out.extend(self.nonce);
            }
            Notice::Cookie(cookie) => out.extend(cookie),
            Notice::NoProposalChosen => {}
        }
    }

    fn marker(&self) -> &'static [u8] {
        if self.has_marker { &MARKER } else { &[] }
    }

    fn read_message(message: &'a [u8]) -> Option<Self> {
        let (spi, rest) = message.split_first_chunk::<8>()?;
        let (responder, rest) = rest.split_first_chunk::<8>()?;
        let (&[first, version, exchange, flags], rest) = rest.split_first_chunk()?;
        let (message_id, rest) = rest.split_first_chunk::<4>()?;
        let (length, payloads) = rest.split_first_chunk::<4>()?;
        let is_request = version >> 4 == VERSION_2 >> 4
            && exchange == IKE_SA_INIT
            && flags & (INITIATOR_FLAG | RESPONSE_FLAG) == INITIATOR_FLAG
            && *message_id == [0; 4]
            && *spi != [0; 8]
            && *responder == [0; 8]
            && usize::try_from(u32::from_be_bytes(*length)) == Ok(message.len());
        let Found { association, key_exchange, nonce, cookie, support } =
            if is_request { Found::read(first, payloads)? } else { return None };
        if !association || !key_exchange {
            return None;
        }
        Some(Self { has_marker: false, spi: *spi, nonce: nonce?, cookie, support, length: message.len() })
    }
}

/// Who has sent a client here (RFC 5685 §7.3). `None`: what it says makes no sense.
pub fn read_identity(bytes: &[u8]) -> Option<Host> {
    let (&[kind, length], identity) = bytes.split_first_chunk()?;
    if usize::from(length) != identity.len() {
        return None;
    }
    match kind {
        IPV4 => Some(Host::Address(Ipv4Addr::from_octets(identity.try_into().ok()?).into())),
        IPV6 => Some(Host::Address(Ipv6Addr::from_octets(identity.try_into().ok()?).into())),
        NAME => Host::name(str::from_utf8(identity).ok()?),
        _ => None,
    }
}

fn write_identity(host: &Host, out: &mut Vec<u8>) {
    // at most 253
    let length = identity_len(host) as u8;
    match host {
        Host::Address(IpAddr::V4(address)) => {
            out.extend([IPV4, length]);
            out.extend(address.octets());
        }
        Host::Address(IpAddr::V6(address)) => {
            out.extend([IPV6, length]);
            out.extend(address.octets());
        }
        Host::Name(name) => {
            out.extend([NAME, length]);
            out.extend(name.bytes());
        }
    }
}

fn identity_len(host: &Host) -> usize {
    match host {
        Host::Address(IpAddr::V4(_)) => 4,
        Host::Address(IpAddr::V6(_)) => 16,
        Host::Name(name) => name.len(),
    }
}

/// What the payloads of a message hold of interest.
struct Found<'a> {
    association: bool,
    key_exchange: bool,
    nonce: Option<&'a [u8]>,
    cookie: Option<&'a [u8]>,
    support: Support<'a>,
}

impl<'a> Found<'a> {
    /// Goes through all payloads (RFC 7296 §3.2), the first of which is of that type.
    fn read(first: u8, payloads: &'a [u8]) -> Option<Self> {
        let mut found = Self {
            association: false,
            key_exchange: false,
            nonce: None,
            cookie: None,
            support: Support::None,
        };
        let (mut kind, mut rest) = (first, payloads);
        for place in 0..MOST_PAYLOADS {
            if kind == 0 {
                break;
            }
            let (&[next, flags, high, low], _) = rest.split_first_chunk()?;
            let (payload, after) = rest.split_at_checked(u16::from_be_bytes([high, low]).into())?;
            let (_, content) = payload.split_first_chunk::<PAYLOAD_HEAD_BYTES>()?;
            match kind {
                SECURITY_ASSOCIATION => found.association = true,
                KEY_EXCHANGE => found.key_exchange = true,
                NONCE => found.take_nonce(content)?,
                NOTIFY => found.take_notify(place, content)?,
                // one of those known to RFC 7296 is understood whatever its flag says (§2.5)
                _ if KNOWN.contains(&kind) || flags & CRITICAL_FLAG == 0 => {}
                _ => return None,
            }
            (kind, rest) = (next, after);
        }
        (kind == 0 && rest.is_empty()).then_some(found)
    }

    fn take_nonce(&mut self, content: &'a [u8]) -> Option<()> {
        let is_sound = (FEWEST_NONCE_BYTES..=MOST_NONCE_BYTES).contains(&content.len());
        let is_first = self.nonce.replace(content).is_none();
        (is_sound && is_first).then_some(())
    }

    fn take_notify(&mut self, place: usize, content: &'a [u8]) -> Option<()> {
        let (&[_protocol, spi_bytes, high, low], rest) = content.split_first_chunk()?;
        let (_, data) = rest.split_at_checked(spi_bytes.into())?;
        match u16::from_be_bytes([high, low]) {
            // anywhere else it is not the echo of ours
            COOKIE if place == 0 => self.cookie = Some(data),
            REDIRECT_SUPPORTED if self.support == Support::None => self.support = Support::Announced,
            REDIRECTED_FROM => self.support = Support::Followed(data),
            _ => {}
        }
        Some(())
    }
}

const MARKER: [u8; 4] = [0; 4];
const HEADER_BYTES: usize = 28;
const VERSION_2: u8 = 0x20;
const IKE_SA_INIT: u8 = 34;
const INITIATOR_FLAG: u8 = 0x08;
const RESPONSE_FLAG: u8 = 0x20;

/// A real request has about ten.
const MOST_PAYLOADS: usize = 64;
const PAYLOAD_HEAD_BYTES: usize = 4;
const CRITICAL_FLAG: u8 = 0x80;
/// Payload types (RFC 7296 §3.2).
const KNOWN: RangeInclusive<u8> = 33..=48;
const SECURITY_ASSOCIATION: u8 = 33;
const KEY_EXCHANGE: u8 = 34;
const NONCE: u8 = 40;
const NOTIFY: u8 = 41;
/// RFC 7296 §3.9.
const FEWEST_NONCE_BYTES: usize = 16;
const MOST_NONCE_BYTES: usize = 256;

/// With the payload's head.
const NOTIFY_BYTES: usize = PAYLOAD_HEAD_BYTES + 4;
/// Notify message types (RFC 7296 §3.10.1, RFC 5685 §10).
const NO_PROPOSAL_CHOSEN: u16 = 14;
const COOKIE: u16 = 16390;
const REDIRECT_SUPPORTED: u16 = 16406;
const REDIRECT: u16 = 16407;
const REDIRECTED_FROM: u16 = 16408;
/// Gateway identity types (RFC 5685 §7.2).
const IPV4: u8 = 1;
const IPV6: u8 = 2;
const NAME: u8 = 3;
const IDENTITY_HEAD_BYTES: usize = 2;

#[cfg(test)]
mod tests {
    use super::super::samples::{ALL, Payload, STRONGSWAN_500, basics, message, notify, plain, sample};
    use super::*;

    fn host(text: &str) -> Host {
        crate::fleet::Endpoint::parse(text, 500).unwrap().host
    }

    fn answer(request: &[u8], notice: Notice<'_>) -> Vec<u8> {
        let (request, mut out) = (Request::read(request).unwrap(), Vec::new());
        request.write_answer(notice, &mut out);
        assert_eq!(out.len(), request.answer_len(notice));
        out
    }

    #[test]
    fn requests_of_a_real_client_are_read() {
        let by = Host::Address([10, 99, 0, 10].into());
        for (name, has_marker, cookie, support) in [
            ("strongswan-500", false, None, Support::Announced),
            ("strongswan-default", false, None, Support::Announced),
            ("strongswan-4500", true, None, Support::Announced),
            ("strongswan-cookie", false, Some(16), Support::Announced),
            ("strongswan-redirected", false, Some(16), Support::Followed(&[1, 4, 10, 99, 0, 10])),
            ("strongswan-unsupported", false, None, Support::None),
        ] {
            let datagram = sample(name);
            let request = Request::read(&datagram).unwrap();
            assert_eq!(request.has_marker, has_marker, "{name}");
            assert_eq!(request.cookie.map(<[u8]>::len), cookie, "{name}");
            assert_eq!(request.support, support, "{name}");
            assert_eq!((request.nonce.len(), request.length), (32, datagram.len()), "{name}");
            let start = if has_marker { 4 } else { 0 };
            assert_eq!(request.spi, datagram[start..start + 8], "{name}");
            if let Support::Followed(identity) = request.support {
                assert_eq!(read_identity(identity).as_ref(), Some(&by));
            }
        }
    }

    #[test]
    fn the_marker_is_told_from_an_spi_that_begins_with_zeros() {
        let mut datagram = sample(STRONGSWAN_500);
        datagram[..4].fill(0);
        assert!(!Request::read(&datagram).unwrap().has_marker);
        datagram.splice(0..0, [0; 4]);
        let request = Request::read(&datagram).unwrap();
        assert!(request.has_marker && request.spi.starts_with(&[0; 4]));
        datagram.splice(0..0, [0; 4]);
        assert_eq!(Request::read(&datagram), None, "one marker is enough");
    }

    #[test]
    fn what_is_no_request_of_ike_2_gets_nothing() {
        let changes: [(&str, usize, &[u8]); 12] = [
            ("no SPI", 0, &[0; 8]),
            ("an answer's SPI", 15, &[1]),
            ("IKE 1", 17, &[0x10]),
            ("IKE 3", 17, &[0x30]),
            ("IKE_AUTH", 18, &[35]),
            ("not of an initiator", 19, &[0x00]),
            ("an answer", 19, &[0x28]),
            ("a second message", 23, &[1]),
            ("shorter than it says", 27, &[0xcf]),
            ("longer than it says", 27, &[0xcd]),
            (
                "a first payload that is none of ours and critical",
                16,
                &[200, 0x20, 34, 8, 0, 0, 0, 0, 0, 0, 1, 0xce, 34, 0x80],
            ),
            ("four thousand million bytes", 24, &[0xff; 4]),
        ];
        for (what, place, bytes) in changes {
            let mut datagram = sample(STRONGSWAN_500);
            datagram[place..place + bytes.len()].copy_from_slice(bytes);
            assert_eq!(Request::read(&datagram), None, "{what}");
        }
        // a keepalive (RFC 3948 §2.3), ESP in UDP, nothing
        for datagram in [&[0xff][..], &[0x12; 120], &[], &MARKER, &[0; 64]] {
            assert_eq!(Request::read(datagram), None);
        }
        let mut datagram = sample(STRONGSWAN_500);
        (datagram[17], datagram[19]) = (0x2f, 0xdf);
        assert!(Request::read(&datagram).is_some(), "a later minor version, and flags that are yet to come");
    }

    #[test]
    fn a_request_has_what_a_real_one_has() {
        let nonce = |bytes| Payload(NONCE, vec![7; bytes]);
        let (sa, ke) = (Payload(SECURITY_ASSOCIATION, vec![1; 44]), Payload(KEY_EXCHANGE, vec![2; 36]));
        let is_read = |payloads: &[Payload]| Request::read(&message(payloads)).is_some();
        for (what, payloads, expected) in [
            ("all", vec![sa.clone(), ke.clone(), nonce(16)], true),
            ("in another order", vec![nonce(256), ke.clone(), sa.clone()], true),
            ("no association", vec![ke.clone(), nonce(16)], false),
            ("no key", vec![sa.clone(), nonce(16)], false),
            ("no nonce", vec![sa.clone(), ke.clone()], false),
            ("two nonces", vec![sa.clone(), ke.clone(), nonce(16), nonce(16)], false),
            ("a short nonce", vec![sa.clone(), ke.clone(), nonce(15)], false),
            ("a long nonce", vec![sa.clone(), ke.clone(), nonce(257)], false),
            ("a vendor's payload", vec![sa.clone(), ke.clone(), nonce(16), Payload(43, vec![9])], true),
            ("one of the future", vec![sa.clone(), ke.clone(), nonce(16), Payload(222, vec![])], true),
            ("a short notify", vec![sa.clone(), ke.clone(), nonce(16), Payload(NOTIFY, vec![0; 3])], false),
            (
                "an SPI cut",
                vec![sa.clone(), ke.clone(), nonce(16), Payload(NOTIFY, vec![1, 4, 0, 1, 9])],
                false,
            ),
            ("none", vec![], false),
        ] {
            assert_eq!(is_read(&payloads), expected, "{what}");
        }
        let many = |n| [vec![sa.clone(), ke.clone(), nonce(16)], vec![Payload(43, vec![]); n]].concat();
        assert!(is_read(&many(MOST_PAYLOADS - 3)));
        assert!(!is_read(&many(MOST_PAYLOADS - 2)));
    }

    #[test]
    fn only_an_unknown_payload_can_be_critical() {
        for (kind, is_read) in [(43, true), (48, true), (49, false), (200, false)] {
            let mut datagram = plain(&[Payload(kind, vec![])]);
            let last = datagram.len() - 4;
            datagram[last + 1] = CRITICAL_FLAG;
            assert_eq!(Request::read(&datagram).is_some(), is_read, "{kind}");
        }
    }

    #[test]
    fn a_client_that_was_redirected_is_known_whatever_else_it_says() {
        let support = |payloads: &[Payload]| match Request::read(&plain(payloads)).unwrap().support {
            Support::Followed(identity) => Some(read_identity(identity)),
            support => {
                assert_eq!(support == Support::None, payloads.is_empty());
                None
            }
        };
        let (announced, name) = (notify(REDIRECT_SUPPORTED, &[]), b"\x03\x07GW1.lab");
        let from = |bytes: &[u8]| notify(REDIRECTED_FROM, bytes);
        assert_eq!(support(&[]), None);
        assert_eq!(support(std::slice::from_ref(&announced)), None);
        assert_eq!(support(&[from(name), announced.clone()]), Some(Some(host("gw1.lab"))));
        assert_eq!(support(&[announced, from(name)]), Some(Some(host("gw1.lab"))));
        let v6 = [&[2, 16][..], &[0xfd; 16]].concat();
        assert_eq!(support(&[from(&v6)]), Some(Some(host("[fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd]"))));
        for nonsense in
            [&b""[..], b"\x03\x08gw1.lab", b"\x03\x04gw 1", b"\x03\x01\xff", b"\x01\x03abc", b"\x04\x00"]
        {
            assert_eq!(support(&[from(nonsense)]), Some(None));
        }
    }

    #[test]
    fn only_what_comes_first_is_a_cookie() {
        let cookie = vec![notify(COOKIE, &[5; 17])];
        let first = message(&[cookie.clone(), basics()].concat());
        assert_eq!(Request::read(&first).unwrap().cookie, Some(&[5; 17][..]));
        assert_eq!(Request::read(&plain(&cookie)).unwrap().cookie, None);
    }

    #[test]
    fn answers_are_as_clients_understand_them() {
        let request = sample(STRONGSWAN_500);
        let (spi, nonce) = (&request[..8], Request::read(&request).unwrap().nonce);
        let redirect = answer(&request, Notice::Redirect(&host("10.99.0.11")));
        let head = [&[0; 8][..], &[41, 0x20, 34, 0x20, 0, 0, 0, 0, 0, 0, 0, 74]].concat();
        let body = [0, 0, 0, 46, 0, 0, 0x40, 0x17, 1, 4, 10, 99, 0, 11];
        assert_eq!(redirect, [spi, &head, &body, nonce].concat());
        let name = answer(&request, Notice::Redirect(&host("gw1.lab")));
        assert_eq!(name[32..], [&[0, 0, 0x40, 0x17, 3, 7][..], b"gw1.lab", nonce].concat());
        let v6 = answer(&request, Notice::Redirect(&host("[fd99::11]")));
        assert_eq!(v6[36..40], [2, 16, 0xfd, 0x99]);
        let cookie = answer(&request, Notice::Cookie(&[9; 17]));
        assert_eq!(cookie[27..], [&[53, 0, 0, 0, 25, 0, 0, 0x40, 0x06][..], &[9; 17]].concat());
        let refusal = answer(&request, Notice::NoProposalChosen);
        assert_eq!(refusal[27..], [36, 0, 0, 0, 8, 0, 0, 0, 14]);
    }

    #[test]
    fn an_answer_has_a_marker_where_its_request_has_one() {
        for notice in [Notice::NoProposalChosen, Notice::Cookie(&[1; 17]), Notice::Redirect(&host("gw.lab"))]
        {
            let mut request = sample(STRONGSWAN_500);
            let without = answer(&request, notice);
            request.splice(0..0, MARKER);
            assert_eq!(answer(&request, notice), [&MARKER[..], &without].concat());
        }
    }

    #[test]
    fn whatever_is_cut_is_no_request() {
        for name in ALL {
            let datagram = sample(name);
            for length in 0..datagram.len() {
                assert_eq!(Request::read(&datagram[..length]), None, "{name}, {length} bytes");
                // the same with a header that says so
                let mut cut = datagram[..length].to_vec();
                let at = if cut.starts_with(&MARKER) { 28 } else { 24 };
                if let Some(says) = cut.get_mut(at..at + 4) {
                    says.copy_from_slice(&((length + 24 - at) as u32).to_be_bytes());
                }
                assert_eq!(Request::read(&cut), None, "{name}, cut to {length} bytes");
            }
            assert_eq!(Request::read(&[&datagram[..], &[0]].concat()), None);
        }
    }

    #[test]
    fn nothing_that_can_be_sent_does_harm() {
        let mut random = fastrand::Rng::with_seed(5685);
        let hosts = ["10.0.0.1", "[::1]", "gw1.example.com"].map(host);
        let mut read = 0;
        let mut attempt = |datagram: &[u8]| {
            let Some(request) = Request::read(datagram) else { return };
            read += 1;
            assert!(request.length == datagram.len() && request.spi != [0; 8]);
            assert!((16..=256).contains(&request.nonce.len()));
            let redirects = hosts.iter().map(Notice::Redirect);
            for notice in redirects.chain([Notice::NoProposalChosen, Notice::Cookie(&[3; 17])]) {
                answer(datagram, notice);
            }
        };
        for name in ALL {
            let datagram = sample(name);
            for place in 0..datagram.len() {
                for bit in 0..8 {
                    let mut changed = datagram.clone();
                    changed[place] ^= 1 << bit;
                    attempt(&changed);
                }
            }
            for _ in 0..20_000 {
                let mut changed = datagram.clone();
                for _ in 0..random.usize(1..8) {
                    let place = random.usize(..changed.len());
                    changed[place] = random.u8(..);
                }
                if random.bool() {
                    let (from, to) = (random.usize(..changed.len()), random.usize(..changed.len()));
                    changed.drain(from.min(to)..from.max(to));
                }
                attempt(&changed);
            }
        }
        for _ in 0..20_000 {
            let mut datagram = vec![0; random.usize(..600)];
            random.fill(&mut datagram);
            attempt(&datagram);
        }
        assert!(read > 10_000, "{read} could be read: too few to tell");
    }
}
