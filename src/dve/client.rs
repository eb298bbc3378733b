//! Asking front doors for an endpoint, as a client does it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, SystemTime};

use tokio::net::{UdpSocket, lookup_host};
use tokio::time::timeout;

use super::exchange::{Exchange, Question};
use super::keys::PublicKey;
use super::message::{Body, Nonce, REQUEST_BYTES, Status};
use super::verify::Rejection;
use crate::fleet::{Endpoint, Host};
use crate::net::clock;
use crate::net::words::in_words;

/// Where to connect to, and for how long that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// At least one, the best first; of the kinds that were asked for.
    pub endpoints: Vec<Endpoint>,
    /// For how long the answer may be used again.
    pub ttl: Duration,
    /// Which server has said so.
    pub server: SocketAddr,
}

/// Whether this host's clock can be relied on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clock {
    /// A server whose clock is more than five minutes off is not believed.
    #[default]
    Trusted,
    /// The server's clock is not looked at: for hosts that begin without the time.
    Ignored,
}

/// Why there is no endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// No server, or no key, was given.
    #[error("there is nobody to ask, or no key to know the answers by")]
    Nobody,
    /// All servers were asked, and none has named an endpoint. Each is told of, in the order in which they were asked.
    #[error("{}", nowhere(.0))]
    Nowhere(Vec<Attempt>),
    /// A server says that there will never be an answer to this question.
    #[error(
        "{0}: unsupported: there is no gateway for this kind of VPN with this VRRP ID; asking again will not help"
    )]
    Unsupported(Server),
    /// A server does not understand the request.
    #[error("{0}: does not understand the request; it speaks another version of the protocol")]
    Malformed(Server),
    /// The operating system gives none.
    #[error("there are no random numbers")]
    Random,
}

/// What came of asking one address of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Who was asked.
    pub server: Server,
    /// Why that led nowhere.
    pub failure: Failure,
}

/// A server, as it was given and where it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// As it was given.
    pub endpoint: Endpoint,
    /// Where it was asked; `None`: its name has no address.
    pub address: Option<SocketAddr>,
}

/// Why a server has named no endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Nothing came that could be believed.
    #[error("no answer ({tries} tries{})", told(.thrown_away))]
    Silent {
        /// How often it was asked.
        tries: usize,
        /// How many datagrams were thrown away, and why the one that came nearest to being believed.
        thrown_away: Option<(usize, Rejection)>,
    },
    /// Its clock and this host's are more than five minutes apart, and nothing else is wrong.
    #[error("its clock is {} this host's", apart(*.ahead_ms))]
    Clock {
        /// How much later it is there.
        ahead_ms: i128,
    },
    /// It cannot be reached; in the words of the operating system.
    #[error("{0}")]
    Unreachable(String),
    /// Its name cannot be resolved.
    #[error("the name cannot be resolved: {0}")]
    Lookup(String),
    /// It is not the active one.
    #[error("standby")]
    Standby,
    /// No gateway fits now.
    #[error("unavailable")]
    Unavailable {
        /// When to ask again.
        retry: Duration,
    },
    /// It has named endpoints of other kinds than were asked for.
    #[error("names only endpoints of a kind that was not asked for")]
    Unusable,
}

/// Asks one server after the other until one names an endpoint; each address of a server up to three times, which takes
/// 1.75 seconds where nobody answers. `servers`: see [`PORT`]. An answer by any of the `keys` is believed.
///
/// What is forged, replayed, late, cut or reported by ICMP ends nothing: it is thrown away, and the true answer is
/// waited for.
///
/// ```no_run
/// use vestibule::dve::{Accept, Clock, PORT, Question, resolve};
/// use vestibule::fleet::{Endpoint, Vpn};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let servers = [Endpoint::parse("front-a.example.com", PORT)?, Endpoint::parse("192.0.2.7", PORT)?];
/// let key = "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8".parse()?;
/// let question = Question { vpn: Vpn::Native, vrrp_id: None, accept: Accept::ANY };
/// let resolved = resolve(&servers, &[key], question, Clock::Trusted).await?;
/// println!("{:?} for {:?}", resolved.endpoints, resolved.ttl);
/// # Ok(())
/// # }
/// ```
pub async fn resolve(
    servers: &[Endpoint],
    keys: &[PublicKey],
    question: Question,
    clock: Clock,
) -> Result<Resolved, ResolveError> {
    if servers.is_empty() || keys.is_empty() {
        return Err(ResolveError::Nobody);
    }
    let client = Client { keys, question, clock };
    let mut attempts = Vec::new();
    let mut refused = Vec::new();
    for endpoint in servers {
        let addresses = match addresses(endpoint).await {
            Ok(addresses) => addresses,
            Err(failure) => {
                let server = Server { endpoint: endpoint.clone(), address: None };
                attempts.push(Attempt { server, failure });
                continue;
            }
        };
        for address in addresses {
            let server = Server { endpoint: endpoint.clone(), address: Some(address) };
            match client.ask(address, Errors::EndIt, &server).await? {
                Ok(resolved) => return Ok(resolved),
                Err(failure) => {
                    if matches!(failure, Failure::Unreachable(_)) {
                        refused.push((attempts.len(), address));
                    }
                    attempts.push(Attempt { server, failure });
                }
            }
        }
    }
    // Anybody who sees a request can answer it with an ICMP error, and a server that is just being started again has
    // the kernel do so: others were asked at once, but if they cannot help either, it gets all its time.
    for (place, address) in refused {
        let Some(attempt) = attempts.get_mut(place) else { continue };
        match client.ask(address, Errors::Ignored, &attempt.server).await? {
            Ok(resolved) => return Ok(resolved),
            Err(failure) => attempt.failure = failure,
        }
    }
    Err(ResolveError::Nowhere(attempts))
}

/// Where a server listens if it is not said.
pub const PORT: u16 = 4463;

/// How long each request is waited for.
const WAITS: [Duration; 3] = [Duration::from_millis(250), Duration::from_millis(500), Duration::from_secs(1)];
/// Of a name's addresses no more than so many are asked.
const MOST_ADDRESSES: usize = 4;
/// How long a name is waited for.
const LOOKUP: Duration = Duration::from_secs(3);

#[derive(Clone, Copy)]
struct Client<'a> {
    keys: &'a [PublicKey],
    question: Question,
    clock: Clock,
}

/// What an error of the network means, such as "connection refused".
#[derive(Clone, Copy, PartialEq, Eq)]
enum Errors {
    /// The next server is asked at once.
    EndIt,
    /// Nothing.
    Ignored,
}

impl Client<'_> {
    /// The exchange with one address. An error is one that no other server is asked after.
    async fn ask(
        &self,
        address: SocketAddr,
        errors: Errors,
        server: &Server,
    ) -> Result<Result<Resolved, Failure>, ResolveError> {
        let body = match self.exchange(address, errors).await? {
            Ok(body) => body,
            Err(failure) => return Ok(Err(failure)),
        };
        let ttl = Duration::from_secs(body.ttl.into());
        Ok(match body.status {
            Status::Ok => {
                let mut endpoints = body.endpoints;
                endpoints.retain(|endpoint| self.question.accept.takes(&endpoint.host));
                let resolved = Resolved { endpoints, ttl, server: address };
                if resolved.endpoints.is_empty() { Err(Failure::Unusable) } else { Ok(resolved) }
            }
            Status::Unavailable => Err(Failure::Unavailable { retry: ttl }),
            Status::Standby => Err(Failure::Standby),
            Status::Unsupported => return Err(ResolveError::Unsupported(server.clone())),
            Status::Malformed => return Err(ResolveError::Malformed(server.clone())),
        })
    }

    async fn exchange(
        &self,
        address: SocketAddr,
        errors: Errors,
    ) -> Result<Result<Body, Failure>, ResolveError> {
        let socket = match connected(address).await {
            Ok(socket) => socket,
            Err(error) => return Ok(Err(Failure::Unreachable(in_words(&error)))),
        };
        let mut exchange = Exchange::new(self.question, self.keys);
        let mut trouble = None;
        for wait in WAITS {
            let request = exchange.ask(nonce()?);
            // the kernel tells of an ICMP error in place of sending, once
            let sent = match socket.send(&request).await {
                Err(_) => socket.send(&request).await,
                sent => sent,
            };
            let heard = async {
                if let Err(error) = sent {
                    trouble = Some(error);
                }
                loop {
                    if trouble.is_some() && errors == Errors::EndIt {
                        return None;
                    }
                    match self.hear(&socket, &mut exchange).await {
                        Ok(Some(body)) => return Some(body),
                        Ok(None) => {}
                        Err(error) => trouble = Some(error),
                    }
                }
            };
            match timeout(wait, heard).await {
                Ok(Some(body)) => return Ok(Ok(body)),
                Ok(None) => break,
                Err(_) => {}
            }
        }
        Ok(Err(match (exchange.thrown_away(), trouble) {
            (Some((_, Rejection::Time { ahead_ms })), _) => Failure::Clock { ahead_ms },
            (_, Some(error)) => Failure::Unreachable(in_words(&error)),
            (thrown_away, None) => Failure::Silent { tries: exchange.requests(), thrown_away },
        }))
    }

    async fn hear(&self, socket: &UdpSocket, exchange: &mut Exchange<'_>) -> std::io::Result<Option<Body>> {
        // no answer is longer than the request; of one that is, enough is read to see it
        let mut datagram = [0; REQUEST_BYTES + 1];
        let length = socket.recv(&mut datagram).await?;
        let now_ms = match self.clock {
            Clock::Trusted => Some(wall_ms()),
            Clock::Ignored => None,
        };
        Ok(exchange.hear(datagram.get(..length).unwrap_or_default(), now_ms))
    }
}

impl ResolveError {
    /// What came of asking each server; nothing where one was enough to end it.
    pub fn attempts(&self) -> &[Attempt] {
        match self {
            Self::Nowhere(attempts) => attempts,
            _ => &[],
        }
    }

    /// When to ask again, where a server has said so.
    pub fn retry_after(&self) -> Option<Duration> {
        retry_after(self.attempts())
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.endpoint.host, self.address) {
            (Host::Name(_), Some(address)) => write!(f, "{} ({})", self.endpoint, address.ip()),
            _ => self.endpoint.fmt(f),
        }
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.server, self.failure)
    }
}

/// Only what its server sends comes to it, and the kernel draws its port: who does not see the request has to guess
/// that as well.
async fn connected(address: SocketAddr) -> std::io::Result<UdpSocket> {
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(address).await?;
    Ok(socket)
}

/// The addresses to ask, in order; at least one.
async fn addresses(server: &Endpoint) -> Result<Vec<SocketAddr>, Failure> {
    let name = match &server.host {
        Host::Address(address) => return Ok(vec![(*address, server.port).into()]),
        Host::Name(name) => name,
    };
    let found = match timeout(LOOKUP, lookup_host((&**name, server.port))).await {
        Ok(Ok(found)) => by_turns(found.collect()),
        Ok(Err(error)) => return Err(Failure::Lookup(in_words(&error))),
        Err(_) => return Err(Failure::Lookup("the resolver does not answer".into())),
    };
    if found.is_empty() { Err(Failure::Lookup("it has no address".into())) } else { Ok(found) }
}

/// IPv6 and IPv4 by turns, beginning with the resolver's first (RFC 8305 §4), so that among the few that are asked both
/// are. Each one once.
fn by_turns(mut found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let mut seen = Vec::new();
    found.retain(|address| !seen.contains(address) && (seen.push(*address), true).1);
    let first_is_ipv6 = found.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|address| address.is_ipv6() == first_is_ipv6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let turns = (0..).map(|_| [first.next(), second.next()]);
    turns.take_while(|turn| *turn != [None, None]).flatten().flatten().take(MOST_ADDRESSES).collect()
}

fn nonce() -> Result<Nonce, ResolveError> {
    let mut nonce = Nonce::default();
    aws_lc_rs::rand::fill(&mut nonce).map_err(|_| ResolveError::Random)?;
    Ok(nonce)
}

fn wall_ms() -> u64 {
    let since = clock::now().wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// `.0` of [`ResolveError::Nowhere`] in words.
fn nowhere(attempts: &[Attempt]) -> String {
    let each = attempts.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    match retry_after(attempts) {
        Some(retry) => format!("no gateway is available now; ask again in {} s ({each})", retry.as_secs()),
        None => each,
    }
}

/// The soonest time that any of them has named.
fn retry_after(attempts: &[Attempt]) -> Option<Duration> {
    let retries = attempts.iter().filter_map(|attempt| match attempt.failure {
        Failure::Unavailable { retry } => Some(retry),
        _ => None,
    });
    retries.min()
}

fn told(thrown_away: &Option<(usize, Rejection)>) -> String {
    let Some((number, worst)) = thrown_away else { return String::new() };
    let why = match worst {
        Rejection::NoAnswer(_) => "no answers at all, or cut ones",
        Rejection::Nonce => "answers to other requests",
        Rejection::UnknownKey => "signed by a key that is not known here",
        Rejection::Signature => "forged",
        Rejection::Time { .. } => "the clocks differ",
    };
    format!("; {number} thrown away: {why}")
}

fn apart(ahead_ms: i128) -> String {
    let seconds = ahead_ms.unsigned_abs() / 1000;
    let much = match seconds {
        0..600 => format!("{seconds} s"),
        600..36_000 => format!("{} min", seconds / 60),
        36_000..864_000 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    };
    format!("{much} {}", if ahead_ms < 0 { "behind" } else { "ahead of" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_are_among_the_few_addresses_that_are_asked() {
        let address = |text: &&str| SocketAddr::new(text.parse().unwrap(), 4463);
        for (found, asked) in [
            (&["::1", "::2", "::3", "::4", "::5", "10.0.0.1"][..], &["::1", "10.0.0.1", "::2", "::3"][..]),
            (&["10.0.0.1", "::1", "10.0.0.1", "10.0.0.2"], &["10.0.0.1", "::1", "10.0.0.2"]),
            (&["10.0.0.1"], &["10.0.0.1"]),
            (&[], &[]),
        ] {
            let wanted: Vec<_> = asked.iter().map(address).collect();
            assert_eq!(by_turns(found.iter().map(address).collect()), wanted);
        }
    }

    #[test]
    fn the_soonest_time_to_ask_again_counts() {
        let attempt = |text: &str, failure| Attempt {
            server: Server { endpoint: Endpoint::parse(text, PORT).unwrap(), address: None },
            failure,
        };
        let unavailable = |seconds| Failure::Unavailable { retry: Duration::from_secs(seconds) };
        let error = ResolveError::Nowhere(vec![
            attempt("10.0.0.1", unavailable(9)),
            attempt("10.0.0.2", unavailable(3)),
            attempt("front-b", Failure::Standby),
        ]);
        assert_eq!(error.retry_after(), Some(Duration::from_secs(3)));
        assert_eq!(
            error.to_string(),
            "no gateway is available now; ask again in 3 s (10.0.0.1:4463: unavailable; 10.0.0.2:4463: \
             unavailable; front-b:4463: standby)"
        );
        let silent = Failure::Silent { tries: 3, thrown_away: Some((2, Rejection::UnknownKey)) };
        let error = ResolveError::Nowhere(vec![attempt("10.0.0.1", silent)]);
        assert_eq!((error.retry_after(), ResolveError::Nobody.retry_after()), (None, None));
        assert_eq!(
            error.to_string(),
            "10.0.0.1:4463: no answer (3 tries; 2 thrown away: signed by a key that is not known here)"
        );
    }

    #[test]
    fn how_far_clocks_are_apart_is_told_in_words() {
        for (ahead_ms, words) in [
            (-301_000, "301 s behind"),
            (3_600_000, "60 min ahead of"),
            (-86_400_000, "24 h behind"),
            (i128::from(u64::MAX), "213503982334 days ahead of"),
        ] {
            assert_eq!(apart(ahead_ms), words);
        }
    }

    #[tokio::test]
    async fn without_a_server_or_a_key_nobody_is_asked() {
        let question = Question {
            vpn: crate::fleet::Vpn::Native,
            vrrp_id: None,
            accept: super::super::message::Accept::ANY,
        };
        let key = PublicKey::from_bytes([1; 32]);
        let server = Endpoint::parse("127.0.0.1", PORT).unwrap();
        let asked = [
            resolve(&[], &[key], question, Clock::Trusted).await,
            resolve(&[server], &[], question, Clock::Trusted).await,
        ];
        assert_eq!(asked, [Err(ResolveError::Nobody), Err(ResolveError::Nobody)]);
    }
}
