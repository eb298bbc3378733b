//! Connections to gateways: opened, leased for one request at a time, and kept for the next one.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, Connection, Parts, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::body::{RequestBody, Upload};
use crate::front::connect::{ConnectError, connect};
use crate::front::gate::Gate;
use crate::front::meter::{Counted, Fate, GatewayMeter, Gauge};
use crate::front::settings::{Proxy, UpstreamTls};
use crate::net::words::in_words;

/// A connection to a gateway that takes one request at a time.
///
/// It is driven by a task of its own, which ends with it and then hands out what is left: after an upgrade
/// that is the stream.
pub struct Link {
    sender: SendRequest<RequestBody>,
    driver: JoinHandle<Parts<TokioIo<GatewayStream>>>,
    last_used: Instant,
}

/// A link while it has a request: counted as active, and back at its gate's disposal afterwards.
pub struct Lease {
    link: Link,
    gate: Rc<Gate>,
    home: Home,
    /// The body of the request that has it.
    upload: Option<Rc<Upload>>,
    _active: Counted<GatewayMeter>,
}

/// Where a link rests between two requests.
enum Home {
    /// At the gate, with as many others at most.
    Gate {
        /// How many may rest there.
        room: usize,
    },
    /// With the one client whom the gateway has been told of.
    Client(Weak<Own>),
}

/// The link that is one client's alone.
#[derive(Default)]
pub struct Own(RefCell<Option<Lease>>);

impl Own {
    /// Takes the link out, if there is one to this gate that will do.
    pub fn take(&self, gate: &Rc<Gate>, fresh: bool, now: Instant) -> Option<Lease> {
        let lease = self.0.borrow_mut().take()?;
        let longest = if fresh { JUST_NOW } else { LONGEST_REST };
        let will_do =
            Rc::ptr_eq(&lease.gate, gate) && !lease.link.is_closed() && lease.link.rested(now) <= longest;
        will_do.then_some(lease)
    }
}

/// Links that wait for a request, the one used last at the end.
#[derive(Default)]
pub struct Resting(RefCell<VecDeque<(Link, Counted<GatewayMeter>)>>);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No TCP connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// No TLS session.
    #[error("{endpoint}: TLS: {}", in_words(.cause))]
    Tls {
        /// Where.
        endpoint: String,
        /// What is wrong.
        #[source]
        cause: io::Error,
    },
    /// HTTP cannot be begun.
    #[error(transparent)]
    Http(#[from] hyper::Error),
    /// None in time.
    #[error("{endpoint}: no TLS session within {} ms", .after.as_millis())]
    TlsTimeout {
        /// Where.
        endpoint: String,
        /// How long was waited.
        after: Duration,
    },
}

impl OpenError {
    /// What it is counted as.
    pub fn fate(&self) -> Fate {
        match self {
            Self::Connect(error) => error.fate(),
            Self::Tls { .. } | Self::Http(_) => Fate::ConnectFailed,
            Self::TlsTimeout { .. } => Fate::ConnectTimeout,
        }
    }

    /// Whether the fault lies on this host, so that it says nothing about the gateway.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Connect(error) => error.is_local(),
            Self::Tls { .. } | Self::TlsTimeout { .. } | Self::Http(_) => false,
        }
    }
}

/// How one door of one worker opens links.
pub struct Opener {
    settings: Arc<Proxy>,
    tls: Option<UpstreamTls>,
}

impl Opener {
    /// One with TLS sessions of its own to resume, so that no other worker has to be waited for.
    pub fn new(settings: Arc<Proxy>) -> Self {
        let tls = settings.tls.as_ref().map(|tls| {
            let mut config = ClientConfig::clone(&tls.config);
            config.resumption = Resumption::in_memory_sessions(RESUMABLE);
            UpstreamTls { config: Arc::new(config), server_name: tls.server_name.clone() }
        });
        Self { settings, tls }
    }

    /// Opens a connection to the gateway, which is told who the client is where that is wanted.
    pub async fn open(
        &self,
        gate: &Rc<Gate>,
        client: std::net::SocketAddr,
        local: std::net::SocketAddr,
    ) -> Result<Lease, OpenError> {
        let active = Gauge::up(&gate.meter, |meter| &meter.active);
        let stream = connect(gate, &self.settings.upstream, client, local).await?;
        let stream = match &self.tls {
            None => GatewayStream::Plain(stream),
            Some(tls) => GatewayStream::Tls(Box::new(self.shake_hands(gate, tls, stream).await?)),
        };
        let link = Link::over(stream).await?;
        let room = if self.settings.persistent_connections { self.settings.idle_per_gateway } else { 0 };
        let home = Home::Gate { room };
        Ok(Lease { link, gate: Rc::clone(gate), home, upload: None, _active: active })
    }

    async fn shake_hands(
        &self,
        gate: &Gate,
        tls: &UpstreamTls,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, OpenError> {
        let endpoint = gate.site.endpoint();
        let name = match &tls.server_name {
            Some(name) => Ok(name.clone()),
            None => ServerName::try_from(endpoint.host.bare().to_owned()),
        };
        let tls_error = |cause| OpenError::Tls { endpoint: endpoint.to_string(), cause };
        let name = name.map_err(|error| tls_error(io::Error::other(error)))?;
        let after = self.settings.upstream.connect_timeout;
        match timeout(after, TlsConnector::from(Arc::clone(&tls.config)).connect(name, stream)).await {
            Ok(result) => result.map_err(tls_error),
            Err(_) => Err(OpenError::TlsTimeout { endpoint: endpoint.to_string(), after }),
        }
    }
}

/// How many gateways' sessions can be resumed.
const RESUMABLE: usize = 256;

impl Link {
    async fn over(stream: GatewayStream) -> Result<Self, hyper::Error> {
        let (sender, connection) = http1::Builder::new()
            // names as the client writes them; VPN gateways miss a `cookie` that is not a `Cookie`
            .preserve_header_case(true)
            .title_case_headers(true)
            .max_headers(MAX_HEADERS)
            .handshake(TokioIo::new(stream))
            .await?;
        let driver = tokio::task::spawn_local(drive(connection));
        Ok(Self { sender, driver, last_used: Instant::now() })
    }

    fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    fn rested(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.last_used)
    }
}

impl Lease {
    /// The same, to rest with one client.
    pub fn owned_by(mut self, own: &Rc<Own>) -> Self {
        if matches!(self.home, Home::Gate { room: 1.. }) {
            self.home = Home::Client(Rc::downgrade(own));
        }
        self
    }

    /// Sends a request. An error has it with it if not a byte of it has left.
    pub async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        self.upload = request.body().upload();
        // one that has been closed meanwhile says so here, or in what comes of sending
        let _ = self.link.sender.ready().await;
        self.link.sender.try_send_request(request).await
    }

    /// The stream under it, once it speaks HTTP no longer, with what has been read of it already.
    pub async fn into_stream(self) -> Option<(GatewayStream, Bytes, Counted<GatewayMeter>)> {
        drop(self.link.sender);
        let parts = self.link.driver.await.ok()?;
        Some((parts.io.into_inner(), parts.read_buf, self._active))
    }
}

/// Keeps a link for the next request, unless enough rest there already, or it is closed, or the gateway has
/// answered before the end of a request that still goes on: the next one would wait behind that.
pub fn give_back(mut lease: Lease) {
    if lease.link.is_closed() || lease.upload.take().is_some_and(|upload| !upload.is_over()) {
        return;
    }
    lease.link.last_used = Instant::now();
    match lease.home {
        Home::Client(ref own) => {
            if let Some(own) = own.upgrade() {
                *own.0.borrow_mut() = Some(lease);
            }
        }
        Home::Gate { room } => {
            let Lease { link, gate, .. } = lease;
            let mut resting = gate.resting.0.borrow_mut();
            if resting.len() < room {
                let idle = Gauge::up(&gate.meter, |meter| &meter.idle);
                resting.push_back((link, idle));
            }
        }
    }
}

/// Takes the link that was used last, if one rests at the gate; with `fresh`, only if that was just now.
pub fn take(gate: &Rc<Gate>, room: usize, fresh: bool, now: Instant) -> Option<Lease> {
    let mut resting = gate.resting.0.borrow_mut();
    let longest = if fresh { JUST_NOW } else { LONGEST_REST };
    // those before the last one have rested longer
    while resting.back().is_some_and(|(link, _)| link.rested(now) <= longest) {
        let (link, _) = resting.pop_back()?;
        if !link.is_closed() {
            let active = Gauge::up(&gate.meter, |meter| &meter.active);
            let (gate, home) = (Rc::clone(gate), Home::Gate { room });
            return Some(Lease { link, gate, home, upload: None, _active: active });
        }
    }
    None
}

impl Resting {
    /// Closes those that have rested for too long, and those that the gateway has closed.
    pub fn sweep(&self, now: Instant) {
        self.0.borrow_mut().retain(|(link, _)| !link.is_closed() && link.rested(now) <= LONGEST_REST);
    }

    /// Closes all.
    pub fn clear(&self) {
        self.0.borrow_mut().clear();
    }
}

/// How long a connection waits for the next request. Common servers close theirs after 5 (Apache) to 75 s
/// (nginx).
const LONGEST_REST: Duration = Duration::from_secs(15);

/// A connection used this lately is not about to be closed by the gateway for having waited too long.
const JUST_NOW: Duration = Duration::from_secs(1);

/// As many as a client may send, and some for what is added.
const MAX_HEADERS: usize = 128;

type Driven = Connection<TokioIo<GatewayStream>, RequestBody>;

async fn drive(mut connection: Driven) -> Parts<TokioIo<GatewayStream>> {
    // how it ended is told to whoever waits for a response
    let _ = poll_fn(|cx| Pin::new(&mut connection).poll(cx)).await;
    connection.into_parts()
}

/// A stream to a gateway.
pub enum GatewayStream {
    /// TCP.
    Plain(TcpStream),
    /// TLS over TCP.
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for GatewayStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for GatewayStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::task::LocalSet;

    use super::*;
    use crate::fleet::{Endpoint, GatewayName};
    use crate::front::relay::trial::tcp;

    fn gate() -> Rc<Gate> {
        let endpoint = Endpoint::parse("192.0.2.1", 443).unwrap();
        Rc::new(Gate::new(GatewayName::new("gw1"), &endpoint, Arc::default()))
    }

    /// A connection that has just had a request, and the gateway's end of it.
    async fn lease(gate: &Rc<Gate>, home: Home) -> (Lease, TcpStream) {
        let (ours, theirs) = tcp().await;
        let link = Link::over(GatewayStream::Plain(ours)).await.unwrap();
        let active = Gauge::up(&gate.meter, |meter| &meter.active);
        (Lease { link, gate: Rc::clone(gate), home, upload: None, _active: active }, theirs)
    }

    const ROOM: usize = 2;

    /// So many connections that rest at the gate.
    async fn resting<const N: usize>(gate: &Rc<Gate>) -> [TcpStream; N] {
        let mut theirs = Vec::new();
        for _ in 0..N {
            let (lease, stream) = lease(gate, Home::Gate { room: ROOM }).await;
            give_back(lease);
            theirs.push(stream);
        }
        theirs.try_into().unwrap()
    }

    fn counted(gate: &Gate) -> [u64; 2] {
        [gate.meter.active.get(), gate.meter.idle.get()]
    }

    #[tokio::test]
    async fn a_connection_rests_until_it_is_wanted_or_there_is_no_room() {
        let all = LocalSet::new();
        let test = all.run_until(async {
            let gate = gate();
            let [_first, _second, mut third] = resting(&gate).await;
            assert_eq!(third.read(&mut [0]).await.unwrap(), 0, "two is all there is room for");
            assert_eq!(counted(&gate), [0, 2]);
            let one = take(&gate, ROOM, true, Instant::now()).unwrap();
            let _two = take(&gate, ROOM, true, Instant::now()).unwrap();
            assert!(take(&gate, ROOM, true, Instant::now()).is_none());
            assert_eq!(counted(&gate), [2, 0]);
            give_back(one);
            assert_eq!(counted(&gate), [1, 1]);
        });
        test.await;
    }

    #[tokio::test]
    async fn who_cannot_risk_it_gets_one_that_was_in_use_just_now() {
        let all = LocalSet::new();
        let test = all.run_until(async {
            let gate = gate();
            let _theirs: [_; 1] = resting(&gate).await;
            let later = Instant::now() + JUST_NOW * 2;
            assert!(take(&gate, ROOM, true, later).is_none());
            assert_eq!(counted(&gate), [0, 1], "for others it is still there");
            assert!(take(&gate, ROOM, false, later).is_some());
            let _theirs: [_; 1] = resting(&gate).await;
            assert!(take(&gate, ROOM, false, Instant::now() + LONGEST_REST * 2).is_none());
        });
        test.await;
    }

    #[tokio::test]
    async fn what_has_rested_too_long_and_what_is_closed_is_swept_away() {
        let all = LocalSet::new();
        let test = all.run_until(async {
            let gate = gate();
            let [mut old, closed] = resting(&gate).await;
            gate.resting.sweep(Instant::now());
            assert_eq!(counted(&gate), [0, 2]);
            drop(closed);
            while counted(&gate) != [0, 1] {
                tokio::task::yield_now().await;
                gate.resting.sweep(Instant::now());
            }
            gate.resting.sweep(Instant::now() + LONGEST_REST * 2);
            assert_eq!(counted(&gate), [0, 0]);
            assert_eq!(old.read(&mut [0]).await.unwrap(), 0);
            let [mut other] = resting(&gate).await;
            gate.resting.clear();
            assert_eq!(other.read(&mut [0]).await.unwrap(), 0);
        });
        test.await;
    }

    #[tokio::test]
    async fn a_connection_that_is_one_clients_alone_goes_with_him() {
        let all = LocalSet::new();
        let test = all.run_until(async {
            let (gate, other) = (gate(), gate());
            let own = Rc::new(Own::default());
            let (lease, mut theirs) = lease(&gate, Home::Gate { room: ROOM }).await;
            give_back(lease.owned_by(&own));
            assert!(take(&gate, ROOM, false, Instant::now()).is_none(), "nobody else gets it");
            let lease = own.take(&gate, true, Instant::now()).unwrap();
            give_back(lease);
            assert!(own.take(&other, true, Instant::now()).is_none(), "it leads to one gateway");
            assert_eq!(theirs.read(&mut [0]).await.unwrap(), 0, "so it is of no more use");
            let (lease, mut theirs) = self::lease(&gate, Home::Gate { room: ROOM }).await;
            give_back(lease.owned_by(&own));
            drop(own);
            assert_eq!(theirs.read(&mut [0]).await.unwrap(), 0);
        });
        test.await;
    }
}
