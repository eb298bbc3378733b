//! What goes over the wire: DVE/1, one datagram a message, all integers big-endian. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::merkle::{Hash, MOST_DEPTH};
use crate::fleet::{Endpoint, Host, Vpn, VrrpId};

/// Makes an answer belong to its request; random, and new for each.
pub type Nonce = [u8; 16];

/// What a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// For which kind of VPN.
    pub vpn: Vpn,
    /// Only gateways with this VRRP ID; `None`: any.
    pub vrrp_id: Option<VrrpId>,
    /// Which endpoints it can use.
    pub accept: Accept,
    /// Its own mark.
    pub nonce: Nonce,
}

/// The kinds of endpoint that a client can use; at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accept(u8);

/// What a datagram to a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A request.
    Request(Request),
    /// Meant as one, and not understood: it is told so.
    Malformed(Nonce),
}

/// How an answer turned out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// There are endpoints.
    Ok,
    /// No gateway fits now.
    Unavailable,
    /// This front door is not the active one.
    Standby,
    /// Nothing is ever offered for this.
    Unsupported,
    /// The request was not understood.
    Malformed,
}

/// An answer's body: all of it but what proves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// How it turned out.
    pub status: Status,
    /// Seconds for which it may be reused; if unavailable, seconds to wait before the next request.
    pub ttl: u16,
    /// The request's.
    pub nonce: Nonce,
    /// The server's clock, in milliseconds since 1970.
    pub time_ms: u64,
    /// Best first; up to [`MOST_ENDPOINTS`], and none but with [`Status::Ok`].
    pub endpoints: Vec<Endpoint>,
}

/// What proves an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Which key has signed.
    pub key_id: KeyId,
    /// Which leaf of the batch it is.
    pub index: usize,
    /// The way to the batch's root, the leaf's level first.
    pub path: Vec<Hash>,
    /// Of the root.
    pub signature: Signature,
}

/// The first bytes of the SHA-256 of a public key.
pub type KeyId = [u8; 4];
/// An Ed25519 signature (RFC 8032 §5.1.6).
pub type Signature = [u8; 64];

/// Why a datagram is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// Another protocol, or a request.
    #[error("not a response")]
    Other,
    /// It ends too early, or goes on.
    #[error("wrong length")]
    Length,
    /// What it says cannot be.
    #[error("malformed")]
    Malformed,
}

impl Accept {
    /// IPv4 addresses.
    pub const IPV4: Self = Self(1);
    /// IPv6 addresses.
    pub const IPV6: Self = Self(2);
    /// Host names.
    pub const NAME: Self = Self(4);
    /// Anything.
    pub const ANY: Self = Self(7);

    /// These and those.
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether such a host can be used.
    pub fn takes(self, host: &Host) -> bool {
        let kind = match host {
            Host::Address(IpAddr::V4(_)) => Self::IPV4,
            Host::Address(IpAddr::V6(_)) => Self::IPV6,
            Host::Name(_) => Self::NAME,
        };
        self.0 & kind.0 != 0
    }

    fn read(byte: u8) -> Option<Self> {
        Some(Self(byte & Self::ANY.0)).filter(|accept| accept.0 != 0)
    }
}

impl Request {
    /// The datagram, padded so that there is room for an answer.
    pub fn write(&self) -> [u8; REQUEST_BYTES] {
        let mut datagram = [0; REQUEST_BYTES];
        let vpn = match self.vpn {
            Vpn::Native => 1,
            Vpn::Ssl => 2,
        };
        let vrrp_id = self.vrrp_id.map_or(0, VrrpId::get);
        let head = MAGIC.into_iter().chain([REQUEST, vpn, vrrp_id, self.accept.0]).chain(self.nonce);
        datagram.iter_mut().zip(head).for_each(|(to, from)| *to = from);
        datagram
    }
}

impl Asked {
    /// Reads a datagram; `None`: it gets no answer. The length is not looked at beyond what the request needs: see
    /// [`MOST_REQUEST_BYTES`].
    pub fn read(datagram: &[u8]) -> Option<Self> {
        let (head, rest) = datagram.split_first_chunk::<8>()?;
        let (nonce, _) = rest.split_first_chunk::<16>()?;
        let [m0, m1, m2, m3, kind, vpn, vrrp_id, accept] = *head;
        if [m0, m1, m2, m3] != MAGIC || kind != REQUEST {
            return None;
        }
        let vpn = match vpn {
            1 => Vpn::Native,
            2 => Vpn::Ssl,
            _ => return Some(Self::Malformed(*nonce)),
        };
        let Some(accept) = Accept::read(accept) else { return Some(Self::Malformed(*nonce)) };
        let vrrp_id = VrrpId::new(vrrp_id.into());
        Some(Self::Request(Request { vpn, vrrp_id, accept, nonce: *nonce }))
    }
}

impl Status {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 5] =
        [Self::Ok, Self::Unavailable, Self::Standby, Self::Unsupported, Self::Malformed];

    /// The word used in metrics and texts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unavailable => "unavailable",
            Self::Standby => "standby",
            Self::Unsupported => "unsupported",
            Self::Malformed => "malformed",
        }
    }

    fn number(self) -> u8 {
        self as u8
    }

    fn read(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

impl Body {
    /// Appends it.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend(MAGIC);
        out.extend([RESPONSE, self.status.number()]);
        out.extend(self.ttl.to_be_bytes());
        out.extend(self.nonce);
        out.extend(self.time_ms.to_be_bytes());
        out.push(self.endpoints.len().min(MOST_ENDPOINTS) as u8);
        for Endpoint { host, port } in self.endpoints.iter().take(MOST_ENDPOINTS) {
            let mut put = |kind: u8, bytes: &[u8]| {
                // no name is longer than 253 bytes (RFC 1035 §3.1)
                out.extend([kind, bytes.len() as u8]);
                out.extend(port.to_be_bytes());
                out.extend(bytes);
            };
            match host {
                Host::Address(IpAddr::V4(address)) => put(IPV4, &address.octets()),
                Host::Address(IpAddr::V6(address)) => put(IPV6, &address.octets()),
                Host::Name(name) => put(NAME, name.as_bytes()),
            }
        }
    }

    /// How long it is written.
    pub(super) fn len(&self) -> usize {
        BODY_HEAD_BYTES + self.endpoints.iter().take(MOST_ENDPOINTS).map(endpoint_len).sum::<usize>()
    }
}

/// How long an endpoint is written.
pub fn endpoint_len(endpoint: &Endpoint) -> usize {
    ENDPOINT_HEAD_BYTES
        + match &endpoint.host {
            Host::Address(IpAddr::V4(_)) => 4,
            Host::Address(IpAddr::V6(_)) => 16,
            Host::Name(name) => name.len(),
        }
}

/// How long a proof is written whose path has that many hashes.
pub fn proof_len(depth: usize) -> usize {
    PROOF_BYTES + 32 * depth
}

impl Proof {
    /// Appends it.
    pub fn write<'a>(
        key_id: KeyId,
        index: usize,
        depth: usize,
        path: impl Iterator<Item = &'a Hash>,
        signature: &Signature,
        out: &mut Vec<u8>,
    ) {
        out.extend(key_id);
        // at most 6 and 63
        out.extend([depth as u8, index as u8]);
        path.for_each(|hash| out.extend(hash));
        out.extend(signature);
    }
}

/// Reads an answer: the bytes that its proof is for, what they say, and the proof, of which nothing is checked yet.
pub fn read_answer(datagram: &[u8]) -> Result<(&[u8], Body, Proof), NoAnswer> {
    let mut reader = Reader { datagram, at: 0 };
    if reader.array().ok() != Some(MAGIC) || reader.byte().ok() != Some(RESPONSE) {
        return Err(NoAnswer::Other);
    }
    let status = Status::read(reader.byte()?).ok_or(NoAnswer::Malformed)?;
    let ttl = u16::from_be_bytes(reader.array()?);
    let nonce = reader.array()?;
    let time_ms = u64::from_be_bytes(reader.array()?);
    let count = usize::from(reader.byte()?);
    if count > MOST_ENDPOINTS || (count > 0) != (status == Status::Ok) {
        return Err(NoAnswer::Malformed);
    }
    let endpoints = (0..count).map(|_| reader.endpoint()).collect::<Result<_, _>>()?;
    let (body, _) = datagram.split_at_checked(reader.at).ok_or(NoAnswer::Length)?;
    let key_id = reader.array()?;
    let [depth, index] = reader.array()?.map(usize::from);
    if depth > MOST_DEPTH || index >> depth != 0 {
        return Err(NoAnswer::Malformed);
    }
    let path = (0..depth).map(|_| reader.array()).collect::<Result<_, _>>()?;
    let signature = reader.array()?;
    if reader.at != datagram.len() {
        return Err(NoAnswer::Length);
    }
    let body_says = Body { status, ttl, nonce, time_ms, endpoints };
    Ok((body, body_says, Proof { key_id, index, path, signature }))
}

struct Reader<'a> {
    datagram: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn bytes(&mut self, length: usize) -> Result<&[u8], NoAnswer> {
        let bytes = self.datagram.get(self.at..self.at + length).ok_or(NoAnswer::Length)?;
        self.at += length;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], NoAnswer> {
        self.bytes(N)?.try_into().map_err(|_| NoAnswer::Length)
    }

    fn byte(&mut self) -> Result<u8, NoAnswer> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn endpoint(&mut self) -> Result<Endpoint, NoAnswer> {
        let [kind, length] = self.array()?;
        let port = u16::from_be_bytes(self.array()?);
        let host = match (kind, length) {
            (IPV4, 4) => Host::Address(Ipv4Addr::from_octets(self.array()?).into()),
            (IPV6, 16) => Host::Address(Ipv6Addr::from_octets(self.array()?).into()),
            (NAME, 1..=253) => {
                let name = str::from_utf8(self.bytes(length.into())?).map_err(|_| NoAnswer::Malformed)?;
                Host::name(name).ok_or(NoAnswer::Malformed)?
            }
            _ => return Err(NoAnswer::Malformed),
        };
        if port == 0 { Err(NoAnswer::Malformed) } else { Ok(Endpoint { host, port }) }
    }
}

/// A server says no more than so many, best first.
pub const MOST_ENDPOINTS: usize = 3;
/// What a client sends: there is room for any answer that matters.
pub const REQUEST_BYTES: usize = 576;
/// A shorter request gets no answer: there would be room for none.
pub const FEWEST_REQUEST_BYTES: usize = 128;
/// Nor does a longer one: it could come in fragments.
pub const MOST_REQUEST_BYTES: usize = 1232;

const MAGIC: [u8; 4] = *b"DVE1";
const REQUEST: u8 = 1;
const RESPONSE: u8 = 2;
const IPV4: u8 = 4;
const IPV6: u8 = 6;
const NAME: u8 = 1;
const BODY_HEAD_BYTES: usize = 33;
const ENDPOINT_HEAD_BYTES: usize = 4;
const PROOF_BYTES: usize = 4 + 1 + 1 + 64;
