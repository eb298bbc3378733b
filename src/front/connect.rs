//! The way from this door to a gateway.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::gate::Gate;
use super::meter::Fate;
use super::proxy_protocol;
use super::settings::Upstream;
use crate::fleet::Endpoint;
use crate::net::LookupError;
use crate::net::fault;
use crate::net::words::in_words;

/// Why there is no connection to a gateway.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// None of its addresses has answered.
    #[error("cannot connect to {endpoint}: no answer within {} ms", .after.as_millis())]
    Timeout {
        /// Where.
        endpoint: Endpoint,
        /// How long was waited.
        after: Duration,
    },
    /// None of its addresses takes the connection, or this host cannot open one.
    #[error("cannot connect to {endpoint}: {}", in_words(.cause))]
    Failed {
        /// Where.
        endpoint: Endpoint,
        /// What the kernel says, of the address that was tried last.
        #[source]
        cause: io::Error,
    },
    /// It has no address.
    #[error(transparent)]
    Lookup(#[from] LookupError),
}

impl ConnectError {
    /// Whether the fault lies on this host, so that it says nothing about the gateway.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Timeout { .. } => false,
            Self::Failed { cause, .. } => fault::is_local(cause),
            // as health checks have it: a resolver that is silent is no gateway that is down
            Self::Lookup(_) => true,
        }
    }

    /// What it is counted as.
    pub fn fate(&self) -> Fate {
        match self {
            Self::Timeout { .. } => Fate::ConnectTimeout,
            Self::Failed { .. } | Self::Lookup(_) => Fate::ConnectFailed,
        }
    }
}

/// Connects to a gateway and tells it who the `client` is and to which `local` address it came, if the
/// gateway is to be told that way. The addresses of a name are tried in order; each has its share of what is
/// left of the one timeout, so that one that is silent leaves some to those after it.
pub async fn connect(
    gate: &Gate,
    upstream: &Upstream,
    client: SocketAddr,
    local: SocketAddr,
) -> Result<TcpStream, ConnectError> {
    let after = upstream.connect_timeout;
    let timeout = || ConnectError::Timeout { endpoint: gate.site.endpoint().clone(), after };
    let failed = |cause| ConnectError::Failed { endpoint: gate.site.endpoint().clone(), cause };
    let deadline = Instant::now() + after;
    let addresses = tokio::time::timeout_at(deadline, gate.site.addresses()).await;
    // the gateway has not been asked yet
    let addresses =
        addresses.unwrap_or_else(|_| Err(LookupError::Slow(gate.site.endpoint().host.bare().into())))?;
    let mut error = timeout();
    let count = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
    for (address, left) in addresses.into_iter().zip((1..=count).rev()) {
        let share = deadline.saturating_duration_since(Instant::now()) / left;
        error = match tokio::time::timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(mut stream)) => {
                for_long(&stream);
                if let Some(version) = upstream.send_proxy_protocol {
                    // fits into the empty buffer of any socket
                    let header = proxy_protocol::encode(version, client, local);
                    stream.write_all(&header).await.map_err(failed)?;
                }
                return Ok(stream);
            }
            Ok(Err(cause)) => failed(cause),
            Err(_) => timeout(),
        };
    }
    Err(error)
}

/// Prepares a connection that may last: bytes leave as they come, and a peer that is gone without a word is
/// found out within three minutes, also where nobody has anything to say.
pub fn for_long(stream: &TcpStream) {
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(PROBE).with_retries(PROBES);
    // a connection that cannot have either is still one
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
}

/// Less than what the state tables of routers and firewalls on the way remember as a rule.
const KEEPALIVE: Duration = Duration::from_secs(90);
const PROBE: Duration = Duration::from_secs(15);
const PROBES: u32 = 5;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::super::settings::ProxyProtocol;
    use super::*;
    use crate::fleet::GatewayName;

    fn gate(endpoint: &str) -> Gate {
        Gate::new(GatewayName::new("gw1"), &Endpoint::parse(endpoint, 443).unwrap(), Arc::default())
    }

    fn upstream(send_proxy_protocol: Option<ProxyProtocol>) -> Upstream {
        Upstream { connect_timeout: Duration::from_millis(300), send_proxy_protocol, ..Upstream::default() }
    }

    async fn connect_to(endpoint: &str, upstream: &Upstream) -> Result<TcpStream, ConnectError> {
        let client = "192.0.2.1:50000".parse().unwrap();
        connect(&gate(endpoint), upstream, client, "192.0.2.203:443".parse().unwrap()).await
    }

    #[tokio::test]
    async fn the_gateway_is_told_who_comes_before_anything_else() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = listener.local_addr().unwrap().to_string();
        let mut ours = connect_to(&endpoint, &upstream(Some(ProxyProtocol::V1))).await.unwrap();
        ours.write_all(b"hello").await.unwrap();
        drop(ours);
        let mut received = String::new();
        listener.accept().await.unwrap().0.read_to_string(&mut received).await.unwrap();
        assert_eq!(received, "PROXY TCP4 192.0.2.1 192.0.2.203 50000 443\r\nhello");
    }

    #[tokio::test]
    async fn a_refusal_is_told_in_plain_words_with_the_place() {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let endpoint = socket.local_addr().unwrap().to_string();
        let error = connect_to(&endpoint, &upstream(None)).await.unwrap_err();
        assert_eq!(error.to_string(), format!("cannot connect to {endpoint}: connection refused"));
        assert_eq!((error.is_local(), error.fate()), (false, Fate::ConnectFailed));
    }

    #[tokio::test]
    async fn silence_ends_at_the_timeout() {
        // a backlog that is full answers nothing (tcp(7), tcp_abort_on_overflow)
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(0).unwrap();
        let endpoint = listener.local_addr().unwrap().to_string();
        let _full = connect_to(&endpoint, &upstream(None)).await.unwrap();
        let error = connect_to(&endpoint, &upstream(None)).await.unwrap_err();
        assert_eq!(error.to_string(), format!("cannot connect to {endpoint}: no answer within 300 ms"));
        assert_eq!((error.is_local(), error.fate()), (false, Fate::ConnectTimeout));
    }

    #[tokio::test]
    async fn a_timeout_that_the_lookup_has_used_up_is_the_resolvers() {
        let hurried = Upstream { connect_timeout: Duration::ZERO, ..Upstream::default() };
        // the resolver may be quicker than that now and then
        for _ in 0..1000 {
            let error = connect_to("localhost:1", &hurried).await.unwrap_err();
            if matches!(error, ConnectError::Failed { .. }) {
                continue;
            }
            assert_eq!(error.to_string(), "the resolver has not answered for the name localhost");
            assert_eq!((error.is_local(), error.fate()), (true, Fate::ConnectFailed));
            return;
        }
        panic!("the resolver was quicker each time");
    }

    #[test]
    fn a_fault_of_this_host_is_not_the_gateways() {
        let endpoint = Endpoint::parse("192.0.2.1", 443).unwrap();
        let cause = io::Error::from(rustix::io::Errno::MFILE);
        let error = ConnectError::Failed { endpoint, cause };
        assert!(error.is_local());
        assert_eq!(error.to_string(), "cannot connect to 192.0.2.1:443: too many open files");
    }

    #[tokio::test]
    async fn a_peer_that_is_gone_without_a_word_is_found_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ours = connect_to(&listener.local_addr().unwrap().to_string(), &upstream(None)).await.unwrap();
        assert!(SockRef::from(&ours).keepalive().unwrap());
        assert!(ours.nodelay().unwrap());
    }
}
