//! The server loop of the control plane: HTTP/1.1 for the admin endpoint and the heartbeat agent. Small and
//! bounded; the data plane has its own (`front`).

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::{ServerConfig, ServerConnection};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tower::Service;

use super::certificate::CertificateFacts;
use super::places::Places;
use super::seldom::{self, Seldom};
use super::stop::Stop;

/// Where requests come in.
pub enum Door {
    /// TCP, with TLS if there is a configuration for it.
    Tcp(TcpListener, Option<Arc<ServerConfig>>),
    /// A Unix socket.
    Unix(UnixListener),
}

/// Who is asking; a request extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Address of a TCP peer; `None` on a Unix socket.
    pub address: Option<SocketAddr>,
    /// Of a peer on a Unix socket: the user that its process runs as (SO_PEERCRED, unix(7)).
    pub user: Option<u32>,
    /// What the client's certificate, which has been verified, calls it: the common name, then the DNS names.
    /// Empty where it has shown none.
    pub names: Arc<[String]>,
}

impl Peer {
    /// Whoever comes from there, and has shown no certificate.
    pub fn nameless(address: Option<SocketAddr>) -> Self {
        Self { address, user: None, names: Arc::default() }
    }
}

/// Serves `router` until told to stop; then lets the requests under way finish, within [`GRACE`].
///
/// Connections beyond the limits (256, and 64 from one source) are closed at once, so that nobody can shut
/// the door for the others by holding it. A Unix socket has no sources: its permissions say who comes.
pub async fn serve(door: Door, router: Router, stop: Stop) {
    serve_within(Limits::default(), door, router, stop).await;
}

/// What everyone who comes has to make do with.
#[derive(Clone, Copy, Debug)]
struct Limits {
    connections: usize,
    connections_per_source: usize,
    handshake: Duration,
    /// For the whole of a request's head. It runs from the moment in which the server is ready for one, so it
    /// is also how long a connection may be idle before its first request and between two.
    header: Duration,
    /// For so long a client may take nothing of what is written to it.
    write: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            connections_per_source: 64,
            handshake: Duration::from_secs(5),
            header: Duration::from_secs(10),
            write: Duration::from_secs(30),
        }
    }
}

async fn serve_within(limits: Limits, door: Door, router: Router, mut stop: Stop) {
    let places = Arc::new(Places::new(limits.connections, limits.connections_per_source));
    let refusals = Arc::new(Refusals::new());
    let mut sums = tokio::time::interval(seldom::PAUSE);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.stopped() => break,
            accepted = door.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            _ = sums.tick() => {
                refusals.tell(|refused| refused.sum(Instant::now()));
                continue;
            }
        };
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "a control connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let client = stream.client();
        match places.take(client.map(|address| address.ip())) {
            Ok(place) => {
                let (router, refusals, stop) = (router.clone(), Arc::clone(&refusals), stop.clone());
                connections.spawn(async move {
                    stream.serve(limits, router, &refusals, stop).await;
                    drop(place);
                });
            }
            Err(reason) if refusals.connections.note(Instant::now(), client, reason) => {
                let client = client.map(tracing::field::display);
                tracing::warn!(client, %reason, "control connection refused");
            }
            Err(_) => {}
        }
    }
    let finished = async { while connections.join_next().await.is_some() {} };
    // those that do not finish in time end with the set
    let _ = tokio::time::timeout(GRACE, finished).await;
    refusals.tell(Seldom::rest);
}

const GRACE: Duration = Duration::from_secs(2);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What everyone who can reach the door can bring about.
struct Refusals {
    connections: Seldom,
    handshakes: Seldom,
}

impl Refusals {
    fn new() -> Self {
        Self {
            connections: Seldom::new("control connection refused", "control connections refused"),
            handshakes: Seldom::new("TLS handshake refused", "TLS handshakes refused"),
        }
    }

    fn tell(&self, line: impl Fn(&Seldom) -> Option<String>) {
        for line in [&self.connections, &self.handshakes].into_iter().filter_map(line) {
            tracing::warn!("{line}");
        }
    }
}

enum Accepted {
    Tcp(tokio::net::TcpStream, SocketAddr, Option<TlsAcceptor>),
    Unix(tokio::net::UnixStream),
}

impl Door {
    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener, tls) => {
                let (stream, address) = listener.accept().await?;
                // an answer in two pieces would wait for the acknowledgement of the first, 40 ms
                let _ = stream.set_nodelay(true);
                Ok(Accepted::Tcp(stream, address, tls.clone().map(TlsAcceptor::from)))
            }
            Self::Unix(listener) => Ok(Accepted::Unix(listener.accept().await?.0)),
        }
    }
}

impl Accepted {
    fn client(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(_, address, _) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    fn user(&self) -> Option<u32> {
        match self {
            Self::Tcp(..) => None,
            Self::Unix(stream) => stream.peer_cred().ok().map(|peer| peer.uid()),
        }
    }

    async fn serve(self, limits: Limits, router: Router, refusals: &Refusals, stop: Stop) {
        let mut peer = Peer { user: self.user(), ..Peer::nameless(self.client()) };
        let stream: Pin<Box<dyn Stream>> = match self {
            Self::Unix(stream) => Box::pin(stream),
            Self::Tcp(stream, _, None) => Box::pin(stream),
            Self::Tcp(stream, address, Some(acceptor)) => {
                match tokio::time::timeout(limits.handshake, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => {
                        peer.names = names(stream.get_ref().1);
                        Box::pin(stream)
                    }
                    Ok(Err(error)) => {
                        if refusals.handshakes.note(Instant::now(), Some(address), &error) {
                            tracing::warn!(client = %address, %error, "TLS handshake refused");
                        }
                        return;
                    }
                    Err(_) => {
                        tracing::debug!(client = %address, "no TLS handshake in time");
                        return;
                    }
                }
            }
        };
        serve_stream(stream, peer, limits, router, stop).await;
    }
}

/// What the client's certificate calls it. The handshake has verified the certificate.
fn names(tls: &ServerConnection) -> Arc<[String]> {
    let certificate = tls.peer_certificates().and_then(<[_]>::first);
    let facts = certificate.and_then(|certificate| CertificateFacts::of(certificate).ok());
    facts.map(|facts| facts.common_name.into_iter().chain(facts.dns_names).collect()).unwrap_or_default()
}

async fn serve_stream(
    stream: Pin<Box<dyn Stream>>,
    peer: Peer,
    limits: Limits,
    router: Router,
    mut stop: Stop,
) {
    let service = tower::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        router.clone().call(request)
    });
    // who asks and does not take the answer must not hold a place for ever
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(limits.write));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(Box::pin(stream)), TowerToHyperService::new(service));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stop.stopped() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "control connection ended early");
    }
}

trait Stream: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Stream for T {}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use axum::routing::get;
    use rcgen::{CertificateParams, KeyPair};
    use rustls::pki_types::PrivateKeyDer;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpSocket, TcpStream, UnixStream};
    use tokio::task::JoinHandle;
    use tokio::time::timeout;

    use super::super::heard::Heard;
    use super::super::stop::{self, Stopper};
    use super::super::tls;
    use super::*;

    /// Longer than anything should take.
    const LONG: Duration = Duration::from_secs(10);
    const SOON: Duration = Duration::from_millis(50);
    /// Of those that the tests do not come up to.
    const PATIENT: Limits =
        Limits { connections: 100, connections_per_source: 100, handshake: LONG, header: LONG, write: LONG };

    struct Server {
        address: SocketAddr,
        stopper: Stopper,
        task: JoinHandle<()>,
    }

    impl Server {
        async fn start(limits: Limits, tls: Option<Arc<ServerConfig>>) -> Self {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let address = listener.local_addr().unwrap();
            let (stopper, stop) = stop::channel();
            let task = tokio::spawn(serve_within(limits, Door::Tcp(listener, tls), router(), stop));
            Self { address, stopper, task }
        }

        async fn connect(&self) -> TcpStream {
            TcpStream::connect(self.address).await.unwrap()
        }

        /// Loopback has many addresses.
        async fn connect_from(&self, source: [u8; 4]) -> TcpStream {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind((source, 0).into()).unwrap();
            socket.connect(self.address).await.unwrap()
        }

        async fn stop(self) {
            self.stopper.stop();
            timeout(LONG, self.task).await.unwrap().unwrap();
        }
    }

    fn router() -> Router {
        Router::new()
            .route("/", get(async || "here"))
            // more than all buffers on the way take
            .route("/much", get(async || vec![b'x'; 64 << 20]))
    }

    fn some_tls() -> Option<Arc<ServerConfig>> {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let identity = tls::identity(vec![certificate.der().clone()], key).unwrap();
        Some(tls::server_config(&identity).unwrap())
    }

    /// Whether the other side answers; it may have closed instead.
    async fn is_served(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> bool {
        if stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.is_err() {
            return false;
        }
        let mut answer = Vec::new();
        while !answer.ends_with(b"here") {
            match timeout(LONG, stream.read_u8()).await.expect("an answer or the end in time") {
                Ok(byte) => answer.push(byte),
                Err(_) => return false,
            }
        }
        true
    }

    /// Waits until the other side closes.
    async fn is_closed(stream: &mut TcpStream) {
        let mut rest = Vec::new();
        // with a reset or without
        let _ = timeout(LONG, stream.read_to_end(&mut rest)).await.expect("the end in time");
    }

    #[tokio::test]
    async fn whoever_holds_many_connections_does_not_shut_the_door_for_others() {
        let limits = Limits { connections: 4, connections_per_source: 2, ..PATIENT };
        let server = Server::start(limits, None).await;
        let mut idle = [server.connect().await, server.connect().await];
        is_closed(&mut server.connect().await).await;
        let mut others =
            [server.connect_from([127, 0, 0, 2]).await, server.connect_from([127, 0, 0, 3]).await];
        for other in &mut others {
            assert!(is_served(other).await);
        }
        // all taken
        is_closed(&mut server.connect_from([127, 0, 0, 4]).await).await;
        // those that have their places keep them
        for held in &mut idle {
            assert!(is_served(held).await);
        }
        drop(idle);
        let served_again = async { while !is_served(&mut server.connect().await).await {} };
        timeout(LONG, served_again).await.expect("the places are free again");
        server.stop().await;
    }

    #[tokio::test]
    async fn a_unix_socket_has_no_sources() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let door = Door::Unix(UnixListener::bind(&path).unwrap());
        let (_stopper, stop) = stop::channel();
        let limits = Limits { connections: 3, connections_per_source: 1, ..PATIENT };
        let server = tokio::spawn(serve_within(limits, door, router(), stop));
        let mut streams = Vec::new();
        for _ in 0..3 {
            streams.push(UnixStream::connect(&path).await.unwrap());
            assert!(is_served(streams.last_mut().unwrap()).await);
        }
        assert!(!is_served(&mut UnixStream::connect(&path).await.unwrap()).await);
        server.abort();
    }

    #[tokio::test]
    async fn a_connection_without_a_request_is_closed_before_the_first_and_between_two() {
        let server = Server::start(Limits { header: SOON, ..PATIENT }, None).await;
        is_closed(&mut server.connect().await).await;
        let mut kept = server.connect().await;
        assert!(is_served(&mut kept).await);
        is_closed(&mut kept).await;
        // bytes that come one by one do not keep it open
        let mut slow = server.connect().await;
        let drip = async {
            while slow.write_all(b"G").await.is_ok() {
                tokio::time::sleep(SOON / 10).await;
            }
        };
        timeout(LONG, drip).await.expect("the end in time");
        server.stop().await;
    }

    #[tokio::test]
    async fn who_takes_nothing_of_the_answer_loses_his_place() {
        let server = Server::start(Limits { connections: 1, write: SOON, ..PATIENT }, None).await;
        let mut idle = server.connect().await;
        idle.write_all(b"GET /much HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let freed = async { while !is_served(&mut server.connect().await).await {} };
        timeout(LONG, freed).await.expect("his place in time");
        server.stop().await;
    }

    #[tokio::test]
    async fn a_connection_without_a_handshake_is_closed() {
        let server = Server::start(Limits { handshake: SOON, ..PATIENT }, some_tls()).await;
        is_closed(&mut server.connect().await).await;
        server.stop().await;
    }

    #[tokio::test]
    async fn refused_handshakes_do_not_flood_the_log() {
        let heard = Heard::begin();
        let server = Server::start(PATIENT, some_tls()).await;
        for _ in 0..50 {
            let mut stream = server.connect().await;
            stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
            is_closed(&mut stream).await;
        }
        server.stop().await;
        let lines = heard.lines();
        let lines: Vec<_> = lines.iter().filter(|line| line.contains("refused")).collect();
        assert!(
            matches!(lines[..], [first, sum] if first.contains("TLS handshake refused client=127.0.0.1:")
                && sum.contains("49 more TLS handshakes refused, the last from 127.0.0.1:")),
            "{lines:?}"
        );
    }

    #[tokio::test]
    async fn a_stop_ends_idle_connections_at_once() {
        let server = Server::start(PATIENT, None).await;
        let mut kept = server.connect().await;
        assert!(is_served(&mut kept).await);
        server.stop().await;
        is_closed(&mut kept).await;
    }
}
