//! Gateways that show the bytes they get and answer with the bytes they are told to.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use vestibule::config::FrontSettings;
use vestibule::fleet::{Endpoint, Gateway, Host};
use vestibule::front::{Affinity, Mode, Proxy};

use crate::support::PATIENCE;

/// What a gateway does after a request.
pub enum Then {
    /// Sends this and waits for the next request.
    Answer(Vec<u8>),
    /// Sends this and closes.
    AnswerAndClose(Vec<u8>),
    /// Sends this, and then everything back that comes.
    Echo(Vec<u8>),
    /// Says nothing, and keeps the connection open.
    Silence,
}

/// A listening gateway. It answers until it is dropped.
pub struct RawGateway {
    pub address: SocketAddr,
    seen: Arc<watch::Sender<Vec<Seen>>>,
    task: tokio::task::JoinHandle<()>,
}

/// One connection as the gateway has seen it.
#[derive(Clone, Default)]
pub struct Seen {
    /// All that has come.
    pub bytes: Vec<u8>,
    /// Whether it is over, by whomever.
    pub is_over: bool,
}

impl RawGateway {
    /// `answer` gets each request, head and body as they came, and its number on its connection.
    pub async fn start(answer: impl Fn(&str, usize) -> Then + Send + Sync + 'static) -> Self {
        let answer = Arc::new(answer);
        Self::scripted(move |line| converse(line, Arc::clone(&answer))).await
    }

    /// One that answers everything with 200 and its name.
    pub async fn named(name: &'static str) -> Self {
        Self::start(move |_, _| Then::Answer(ok(name))).await
    }

    /// One that does with each connection what the script says.
    pub async fn scripted<F: Future<Output = ()> + Send + 'static>(
        script: impl Fn(Line) -> F + Send + Sync + 'static,
    ) -> Self {
        Self::open("127.0.0.1:0".parse().unwrap(), None, script).await
    }

    /// The same at this address, over TLS if it is given one.
    pub async fn open<F: Future<Output = ()> + Send + 'static>(
        address: SocketAddr,
        tls: Option<Arc<ServerConfig>>,
        script: impl Fn(Line) -> F + Send + Sync + 'static,
    ) -> Self {
        let listener = listen(address);
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(watch::Sender::new(Vec::<Seen>::new()));
        let (script, all) = (Arc::new(script), Arc::clone(&seen));
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let mut number = 0;
                all.send_modify(|all| {
                    number = all.len();
                    all.push(Seen::default());
                });
                let (script, tls) = (Arc::clone(&script), tls.clone());
                let place = Place { number, seen: Arc::clone(&all) };
                connections.spawn(async move {
                    let stream: Box<dyn ReadWrite> = match tls {
                        None => Box::new(stream),
                        Some(tls) => match TlsAcceptor::from(tls).accept(stream).await {
                            Ok(stream) => Box::new(stream),
                            Err(_) => return,
                        },
                    };
                    script(Line { stream, buffer: Vec::new(), place }).await;
                });
            }
        });
        Self { address, seen, task }
    }

    /// Everything that has come so far, by connection.
    pub fn received(&self) -> Vec<String> {
        self.seen().iter().map(|seen| String::from_utf8_lossy(&seen.bytes).into_owned()).collect()
    }

    /// Every connection so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.borrow().clone()
    }

    /// How many connections there have been.
    pub fn connections(&self) -> usize {
        self.seen.borrow().len()
    }

    /// How many requests have come, as far as their first lines tell.
    pub fn requests(&self) -> usize {
        self.received().concat().matches(" HTTP/1.1\r\n").count()
    }

    /// Waits until it has seen what is wished.
    pub async fn until(&self, wish: impl Fn(&[Seen]) -> bool) {
        let mut seen = self.seen.subscribe();
        let waited = tokio::time::timeout(PATIENCE, seen.wait_for(|seen| wish(seen))).await;
        if waited.is_err() {
            panic!("the gateway never sees what is wished: {:?}", self.received());
        }
    }

    /// Waits until all its connections are over.
    pub async fn until_all_over(&self) {
        self.until(|seen| seen.iter().all(|seen| seen.is_over)).await;
    }
}

impl Drop for RawGateway {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn listen(address: SocketAddr) -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket.listen(128).unwrap()
}

trait ReadWrite: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> ReadWrite for T {}

/// A connection as a gateway has it.
pub struct Line {
    stream: Box<dyn ReadWrite>,
    buffer: Vec<u8>,
    place: Place,
}

/// Where a connection's bytes are noted.
struct Place {
    number: usize,
    seen: Arc<watch::Sender<Vec<Seen>>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.seen.send_modify(|seen| seen[self.number].is_over = true);
    }
}

impl Line {
    /// The number of the connection, from 0.
    pub fn number(&self) -> usize {
        self.place.number
    }

    /// The next whole request; `None` at the end of the connection.
    pub async fn request(&mut self) -> Option<String> {
        self.up_to(whole_request).await
    }

    /// The head of the next request; what follows is left to be read.
    pub async fn head(&mut self) -> Option<String> {
        self.up_to(|buffer| buffer.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4)).await
    }

    async fn up_to(&mut self, end: impl Fn(&[u8]) -> Option<usize>) -> Option<String> {
        loop {
            if let Some(length) = end(&self.buffer) {
                let taken: Vec<u8> = self.buffer.drain(..length).collect();
                return Some(String::from_utf8_lossy(&taken).into_owned());
            }
            let piece = self.read_more().await;
            if piece.is_empty() {
                return None;
            }
            self.buffer.extend_from_slice(&piece);
        }
    }

    /// What comes next, whatever it is; empty at the end of the connection.
    pub async fn read(&mut self) -> Vec<u8> {
        if self.buffer.is_empty() { self.read_more().await } else { std::mem::take(&mut self.buffer) }
    }

    async fn read_more(&mut self) -> Vec<u8> {
        let mut piece = vec![0; 4096];
        let read = self.stream.read(&mut piece).await.unwrap_or(0);
        piece.truncate(read);
        self.place.seen.send_modify(|seen| seen[self.place.number].bytes.extend_from_slice(&piece));
        piece
    }

    /// Reads without noting what it is, where it is too much; 0 at the end.
    pub async fn read_into(&mut self, piece: &mut [u8]) -> usize {
        if self.buffer.is_empty() {
            return self.stream.read(piece).await.unwrap_or(0);
        }
        let length = piece.len().min(self.buffer.len());
        piece[..length].copy_from_slice(&self.buffer[..length]);
        self.buffer.drain(..length);
        length
    }

    /// Whether nothing comes for a while. This is not waiting for something but giving a fault its time.
    pub async fn hears_nothing(&mut self) -> bool {
        self.buffer.is_empty()
            && tokio::time::timeout(Duration::from_millis(200), self.read_more()).await.is_err()
    }

    /// Sends bytes; whether they have gone.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok() && self.stream.flush().await.is_ok()
    }

    /// Says that no more will come from here.
    pub async fn shut_down(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// Sends everything back that comes, until the end.
    pub async fn echo(&mut self) {
        loop {
            let piece = self.read().await;
            if piece.is_empty() || !self.send(&piece).await {
                return self.shut_down().await;
            }
        }
    }

    /// Waits until the other side closes.
    pub async fn until_closed(&mut self) {
        while !self.read().await.is_empty() {}
    }
}

async fn converse(mut line: Line, answer: Arc<impl Fn(&str, usize) -> Then>) {
    for number in 0.. {
        let Some(request) = line.request().await else { return };
        match answer(&request, number) {
            Then::Answer(bytes) => {
                if !line.send(&bytes).await {
                    return;
                }
            }
            Then::AnswerAndClose(bytes) => {
                line.send(&bytes).await;
                return line.shut_down().await;
            }
            Then::Echo(bytes) => {
                line.send(&bytes).await;
                return line.echo().await;
            }
            Then::Silence => return line.until_closed().await,
        }
    }
}

fn whole_request(buffer: &[u8]) -> Option<usize> {
    let head = buffer.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&buffer[..head]);
    let value = |name: &str| {
        text.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    if value("transfer-encoding").is_some() {
        let end = b"0\r\n\r\n";
        let is_last = |at: usize| at == 0 || buffer[head..][..at].ends_with(b"\r\n");
        let mut ends = buffer[head..].windows(end.len()).enumerate().filter(|(_, piece)| piece == end);
        return ends.find(|(at, _)| is_last(*at)).map(|(at, _)| head + at + end.len());
    }
    let length = value("content-length").map_or(0, |length| length.parse().unwrap());
    (buffer.len() >= head + length).then_some(head + length)
}

/// A whole answer.
pub fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Makes the first listener a proxy to these gateways, over plain HTTP and without affinity unless `change`
/// says otherwise. Their health is that of the pretend gateways behind them.
pub fn proxy_to(settings: &mut FrontSettings, gateways: &[SocketAddr], change: impl FnOnce(&mut Proxy)) {
    for (gateway, address) in settings.fleet.gateways.iter_mut().zip(gateways) {
        let upstream = Endpoint { host: Host::Address(address.ip()), port: address.port() };
        *gateway = Arc::new(Gateway { upstream, ..Gateway::clone(gateway) });
    }
    let mut proxy = Proxy { affinity: Affinity::None, ..Proxy::default() };
    change(&mut proxy);
    let certificates = match &settings.listeners[0].mode {
        Mode::Redirect(certificates) | Mode::Proxy(certificates, _) => Arc::clone(certificates),
        Mode::HttpsUpgrade(_) | Mode::Passthrough(_) => panic!("the first listener has certificates"),
    };
    settings.listeners[0].mode = Mode::Proxy(certificates, Arc::new(proxy));
}
