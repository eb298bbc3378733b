//! Health checks: the same four kinds for the front door's direct checks and the agent's local ones.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::Site;
use super::client::{self, ClientError, Mark, Target, Tls};
use crate::fleet::{CheckOutcome, CheckResult};

/// A check of one endpoint.
#[derive(Clone, Debug)]
pub struct Check {
    /// What it is called in messages and metrics.
    pub name: Arc<str>,
    /// Where.
    pub site: Site,
    /// How.
    pub kind: Kind,
}

/// How an endpoint is checked. Each check opens a connection of its own, for it asks whether a newcomer
/// would get in: a gateway that is full keeps serving the connections that it has (lab/FINDINGS: a full
/// ocserv accepts TCP and closes before TLS).
#[derive(Clone, Debug)]
pub enum Kind {
    /// A connection comes about.
    Tcp,
    /// A TLS session comes about.
    Tls(Tls),
    /// `GET path` is answered with an expected status.
    Http(Get),
    /// The same over TLS.
    Https(Tls, Get),
}

/// The HTTP side of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Get {
    /// Path, and query if any.
    pub path: Arc<str>,
    /// What counts as passing.
    pub expect: StatusRange,
}

/// A range of HTTP status codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusRange(RangeInclusive<u16>);

/// Not a status, nor a range of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a status or a range of them from 100 to 599, like 200 or 200-399")]
pub struct NotAStatusRange;

impl StatusRange {
    /// What counts where nothing is said: any success or redirect.
    pub fn usual() -> Self {
        Self(200..=399)
    }

    /// Reads `200` or `200-399`.
    pub fn parse(text: &str) -> Result<Self, NotAStatusRange> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let status = |text: &str| match text.trim().parse::<u16>() {
            Ok(status @ 100..=599) => Ok(status),
            _ => Err(NotAStatusRange),
        };
        let range = status(first)?..=status(last)?;
        if range.is_empty() { Err(NotAStatusRange) } else { Ok(Self(range)) }
    }
}

impl fmt::Display for StatusRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.0.start(), self.0.end());
        if first == last { write!(f, "{first}") } else { write!(f, "{first}-{last}") }
    }
}

/// Does all checks of a round at the same time; the results are in the order of the checks.
pub async fn all_at_once<F>(checks: impl IntoIterator<Item = F>) -> Vec<CheckResult>
where
    F: Future<Output = CheckResult> + Send + 'static,
{
    let mut running = JoinSet::new();
    for (place, check) in checks.into_iter().enumerate() {
        running.spawn(async move { (place, check.await) });
    }
    let mut results = running.join_all().await;
    results.sort_unstable_by_key(|(place, _)| *place);
    results.into_iter().map(|(_, result)| result).collect()
}

impl Check {
    /// Does the check once, for no longer than `timeout`.
    pub async fn run(&self, timeout: Duration) -> CheckResult {
        self.run_marked(timeout, None).await
    }

    /// The same over a connection with a mark, if there is one.
    pub async fn run_marked(&self, timeout: Duration, mark: Option<&Mark>) -> CheckResult {
        let started = Instant::now();
        let outcome = match tokio::time::timeout(timeout, self.attempt(mark)).await {
            Err(_) => CheckOutcome::Timeout(timeout),
            Ok(Ok(seen)) => CheckOutcome::Pass(seen),
            Ok(Err(Failure::Unexpected(seen))) => CheckOutcome::Fail(seen),
            Ok(Err(Failure::Client(error))) if error.is_local() => {
                CheckOutcome::Inconclusive(error.to_string())
            }
            Ok(Err(Failure::Client(error))) => CheckOutcome::Fail(error.to_string()),
        };
        CheckResult { check: Arc::clone(&self.name), outcome, took: started.elapsed() }
    }

    async fn attempt(&self, mark: Option<&Mark>) -> Result<String, Failure> {
        match &self.kind {
            Kind::Tcp => {
                client::connect(&self.site, mark).await?;
                Ok("connected".into())
            }
            Kind::Tls(tls) => {
                let stream = client::connect(&self.site, mark).await?;
                client::handshake(stream, tls).await?;
                Ok("TLS established".into())
            }
            Kind::Http(get) => self.get(None, get, mark).await,
            Kind::Https(tls, get) => self.get(Some(tls.clone()), get, mark).await,
        }
    }

    async fn get(&self, tls: Option<Tls>, get: &Get, mark: Option<&Mark>) -> Result<String, Failure> {
        let target = Target { site: self.site.clone(), tls };
        let status = client::status(&target, &get.path, mark).await?;
        if get.expect.0.contains(&status.as_u16()) {
            Ok(status.to_string())
        } else {
            Err(Failure::Unexpected(format!("{status}, expected {}", get.expect)))
        }
    }
}

enum Failure {
    Client(ClientError),
    Unexpected(String),
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;
    use crate::fleet::Endpoint;

    #[test]
    fn a_status_range_is_one_status_or_two() {
        for (text, shown) in
            [("200", Some("200")), ("200-399", Some("200-399")), (" 200 - 204 ", Some("200-204"))]
        {
            assert_eq!(StatusRange::parse(text).ok().map(|r| r.to_string()).as_deref(), shown);
        }
        for text in ["", "99", "600", "399-200", "2xx", "200-", "-200"] {
            assert_eq!(StatusRange::parse(text), Err(NotAStatusRange), "{text:?}");
        }
    }

    /// A server on loopback that gives each connection the same bytes.
    async fn server(answer: &'static [u8]) -> Endpoint {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(answer).await;
            }
        });
        Endpoint::parse(&format!("127.0.0.1:{port}"), 80).unwrap()
    }

    async fn http(endpoint: Endpoint) -> CheckOutcome {
        let get = Get { path: "/".into(), expect: StatusRange::parse("200-399").unwrap() };
        let check = Check { name: "portal".into(), site: endpoint.into(), kind: Kind::Http(get) };
        check.run(Duration::from_secs(2)).await.outcome
    }

    #[tokio::test]
    async fn the_status_decides() {
        let good = server(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n").await;
        assert_eq!(http(good).await, CheckOutcome::Pass("302 Found".into()));
        let bad = server(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n").await;
        let outcome = CheckOutcome::Fail("503 Service Unavailable, expected 200-399".into());
        assert_eq!(http(bad).await, outcome);
    }

    #[tokio::test]
    async fn how_the_body_ends_does_not_matter() {
        for answer in [
            &b"HTTP/1.0 200 OK\r\n\r\n<html>"[..],
            b"HTTP/1.1 200 OK\r\nContent-Length: 90000000\r\n\r\n<html>",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n<html",
        ] {
            assert_eq!(http(server(answer).await).await, CheckOutcome::Pass("200 OK".into()));
        }
    }

    #[tokio::test]
    async fn a_server_that_closes_without_an_answer_fails_in_plain_words() {
        let outcome = http(server(b"").await).await;
        assert_eq!(outcome, CheckOutcome::Fail("connection closed before an answer".into()));
    }

    #[tokio::test]
    async fn what_is_not_http_fails_in_plain_words() {
        let outcome = http(server(b"220 mail.example.com ESMTP\r\n").await).await;
        assert_eq!(outcome, CheckOutcome::Fail("the answer is not HTTP".into()));
    }

    #[tokio::test]
    async fn a_refused_connection_fails_and_silence_times_out() {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let port = socket.local_addr().unwrap().port();
        let endpoint = Endpoint::parse(&format!("127.0.0.1:{port}"), 80).unwrap();
        let get = Get { path: "/".into(), expect: StatusRange::parse("200").unwrap() };
        let check = Check { name: "portal".into(), site: endpoint.into(), kind: Kind::Http(get) };
        let long = Duration::from_secs(10);
        assert_eq!(check.run(long).await.outcome, CheckOutcome::Fail("connection refused".into()));
        let _listener = socket.listen(1).unwrap();
        let wait = Duration::from_millis(50);
        assert_eq!(check.run(wait).await.outcome, CheckOutcome::Timeout(wait));
    }
}
