//! An HTTP/1.1 client for health checks and the heartbeat: one connection, kept if asked to, small answers.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::fault;
use super::site::{LookupError, Site};
use super::words::in_words;
use crate::fleet::Endpoint;

/// Where to connect and how.
#[derive(Clone, Debug)]
pub struct Target {
    /// TCP endpoint.
    pub site: Site,
    /// Absent: plain.
    pub tls: Option<Tls>,
}

/// The TLS side of a connection.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Whom to trust, which certificate to show.
    pub config: Arc<ClientConfig>,
    /// The name asked for, and checked if the configuration checks.
    pub server_name: ServerName<'static>,
}

/// An answer, read whole.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body, no longer than the limit given.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No address.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// No TCP connection.
    #[error("{}", in_words(.0))]
    Connect(#[source] io::Error),
    /// No TLS session.
    #[error("TLS: {}", in_words(.0))]
    Tls(#[source] io::Error),
    /// A connection, but no answer.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// The path is not one.
    #[error("the request cannot be made")]
    Request(#[source] http::Error),
}

/// Why a request on a connection got no answer.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The connection ended, or what came is not HTTP.
    #[error("{}", http_in_words(.0))]
    Http(#[from] hyper::Error),
    /// The body is larger than it should be.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
}

impl ClientError {
    /// Whether the fault lies on this host, so that it says nothing about the other one.
    pub fn is_local(&self) -> bool {
        match self {
            // the name may be wrong, too; but then the gateway has never been found in order
            Self::Lookup(_) => true,
            Self::Connect(error) => fault::is_local(error),
            Self::Tls(_) | Self::Exchange(_) | Self::Request(_) => false,
        }
    }
}

/// How we call ourselves to servers (RFC 9110 §10.1.5).
pub const USER_AGENT: &str = concat!("vestibule/", env!("CARGO_PKG_VERSION"));

/// What is asked: it may be asked twice and still be done once.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// GET, PUT or DELETE.
    pub method: Method,
    /// Path, and query if any.
    pub path: &'a str,
    /// Beside those that every question has.
    pub headers: HeaderMap,
    /// Empty where there is none.
    pub body: Bytes,
}

impl<'a> Question<'a> {
    /// `GET path`.
    pub fn get(path: &'a str) -> Self {
        Self { method: Method::GET, path, headers: HeaderMap::new(), body: Bytes::new() }
    }
}

/// A mark (SO_MARK) on connections, by which this host's firewall knows them.
#[derive(Debug)]
pub struct Mark {
    value: u32,
    told: AtomicBool,
}

impl Mark {
    /// One that nothing carries yet.
    pub fn new(value: u32) -> Self {
        Self { value, told: AtomicBool::new(false) }
    }

    /// What this process may not mark (without CAP_NET_ADMIN) goes without; that is told once.
    fn put_on(&self, socket: &socket2::Socket) {
        if let Err(error) = socket.set_mark(self.value)
            && !self.told.swap(true, Ordering::Relaxed)
        {
            let reason = in_words(&error);
            tracing::warn!(
                reason,
                "health checks cannot be marked: a block in this host's firewall would stop them, too"
            );
        }
    }
}

/// A client of one target.
#[derive(Debug)]
pub struct Client {
    target: Target,
    kept: Option<Kept>,
}

type Stream = TokioIo<Pin<Box<dyn ReadWrite>>>;

/// The connection is driven only while a request is under way: whatever happened to it in between shows
/// at the next one, which then opens a new connection.
#[derive(Debug)]
struct Kept {
    sender: SendRequest<Full<Bytes>>,
    connection: Connection<Stream, Full<Bytes>>,
}

/// What HTTP can be spoken over.
pub trait ReadWrite: AsyncRead + AsyncWrite + Send + std::fmt::Debug {}
impl<T: AsyncRead + AsyncWrite + Send + std::fmt::Debug> ReadWrite for T {}

impl Client {
    /// A client without a connection yet.
    pub fn new(target: Target) -> Self {
        Self { target, kept: None }
    }

    /// Asks and reads the answer whole. If a connection kept from last time has died, a new one is opened, and
    /// the question, which may have arrived, is asked again. There is no deadline in here: whoever drops the
    /// future ends the connection.
    pub async fn ask(&mut self, question: &Question<'_>, body_limit: usize) -> Result<Answer, ClientError> {
        let want = Want::Whole { body_limit };
        if let Some(kept) = self.kept.take() {
            match kept.exchange(self.target.request(question)?, want).await {
                // it was closed while nobody looked
                Err(ExchangeError::Http(_)) => {}
                other => return Ok(self.keep(other?)),
            }
        }
        let fresh = open(&self.target, None).await?;
        let answered = fresh.exchange(self.target.request(question)?, want).await?;
        Ok(self.keep(answered))
    }

    fn keep(&mut self, (answer, kept): (Answer, Option<Kept>)) -> Answer {
        self.kept = kept;
        answer
    }
}

/// Asks for `path` over a connection of its own and closes it as soon as the status is there: how the body
/// ends, and whether it ever does, is no concern of those who want to know whether a service answers.
pub async fn status(target: &Target, path: &str, mark: Option<&Mark>) -> Result<StatusCode, ClientError> {
    let request = target.request(&Question::get(path))?;
    let (answer, _) = open(target, mark).await?.exchange(request, Want::Head).await?;
    Ok(answer.status)
}

/// Sends one request over a stream of its own and reads the answer whole.
pub async fn ask_over(
    stream: Pin<Box<dyn ReadWrite>>,
    request: Request<Full<Bytes>>,
    body_limit: usize,
) -> Result<Answer, ExchangeError> {
    let (answer, _) = Kept::over(stream).await?.exchange(request, Want::Whole { body_limit }).await?;
    Ok(answer)
}

/// How much of an answer is wanted.
#[derive(Clone, Copy)]
enum Want {
    Head,
    Whole { body_limit: usize },
}

impl Kept {
    async fn over(stream: Pin<Box<dyn ReadWrite>>) -> Result<Self, ExchangeError> {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        Ok(Self { sender, connection })
    }

    /// One request and its answer; with the connection, if that can be used again.
    async fn exchange(
        self,
        request: Request<Full<Bytes>>,
        want: Want,
    ) -> Result<(Answer, Option<Self>), ExchangeError> {
        let Self { mut sender, mut connection } = self;
        let answer = {
            let asking = async {
                sender.ready().await?;
                let (head, body) = sender.send_request(request).await?.into_parts();
                let body = match want {
                    Want::Head => Bytes::new(),
                    Want::Whole { body_limit } => read_up_to(body, body_limit).await?,
                };
                Ok(Answer { status: head.status, headers: head.headers, body })
            };
            let mut asking = std::pin::pin!(asking);
            let ended = tokio::select! {
                biased;
                answer = &mut asking => Ok(answer?),
                ended = &mut connection => Err(ended),
            };
            match ended {
                Ok(answer) => answer,
                Err(ended) => {
                    // The connection may end before the answer has been taken out of it; `asking` learns
                    // that no more will come when the connection is gone. A whole answer counts, however
                    // it ended.
                    drop(connection);
                    return match (asking.await, ended) {
                        (Ok(answer), _) => Ok((answer, None)),
                        (Err(_), Err(error)) => Err(error.into()),
                        (Err(error), Ok(())) => Err(error),
                    };
                }
            }
        };
        Ok((answer, Some(Self { sender, connection })))
    }
}

async fn open(target: &Target, mark: Option<&Mark>) -> Result<Kept, ClientError> {
    let stream = connect(&target.site, mark).await?;
    let stream: Pin<Box<dyn ReadWrite>> = match &target.tls {
        Some(tls) => Box::pin(handshake(stream, tls).await?),
        None => Box::pin(stream),
    };
    Ok(Kept::over(stream).await?)
}

impl Target {
    fn request(&self, question: &Question<'_>) -> Result<Request<Full<Bytes>>, ClientError> {
        let request = Request::builder()
            .method(question.method.clone())
            .uri(question.path)
            .header(header::HOST, self.host_header())
            .header(header::USER_AGENT, USER_AGENT)
            .header(header::ACCEPT, "*/*")
            .body(Full::new(question.body.clone()));
        let mut request = request.map_err(ClientError::Request)?;
        request.headers_mut().extend(question.headers.clone());
        Ok(request)
    }

    /// The name that TLS is asked for, or else the endpoint's, with the port where it is not the usual one.
    fn host_header(&self) -> String {
        let Endpoint { host, port } = self.site.endpoint();
        let (name, usual) = match &self.tls {
            Some(Tls { server_name: ServerName::DnsName(name), .. }) => (name.as_ref().to_owned(), 443),
            Some(_) => (host.to_string(), 443),
            None => (host.to_string(), 80),
        };
        if *port == usual { name } else { format!("{name}:{port}") }
    }
}

/// Opens a TCP connection, with a mark if there is one.
pub async fn connect(site: &Site, mark: Option<&Mark>) -> Result<TcpStream, ClientError> {
    let addresses = site.addresses().await?;
    let stream = match mark {
        Some(mark) => connect_marked(&addresses, mark).await,
        None => TcpStream::connect(&*addresses).await,
    };
    let stream = stream.map_err(ClientError::Connect)?;
    stream.set_nodelay(true).map_err(ClientError::Connect)?;
    Ok(stream)
}

/// To the first of these addresses that takes it.
async fn connect_marked(addresses: &[SocketAddr], mark: &Mark) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        let attempt = async {
            let domain = socket2::Domain::for_address(*address);
            let socket = socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
            socket.set_nonblocking(true)?;
            mark.put_on(&socket);
            TcpSocket::from_std_stream(socket.into()).connect(*address).await
        };
        match attempt.await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Does the TLS handshake on a connection.
pub async fn handshake(stream: TcpStream, tls: &Tls) -> Result<TlsStream<TcpStream>, ClientError> {
    let connector = TlsConnector::from(Arc::clone(&tls.config));
    connector.connect(tls.server_name.clone(), stream).await.map_err(ClientError::Tls)
}

async fn read_up_to(mut body: Incoming, limit: usize) -> Result<Bytes, ExchangeError> {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            if read.len() + data.len() > limit {
                return Err(ExchangeError::TooLarge(limit));
            }
            read.extend_from_slice(&data);
        }
    }
    Ok(read.freeze())
}

/// What went wrong with an exchange, in a few words.
pub fn http_in_words(error: &hyper::Error) -> String {
    use std::error::Error;
    if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        return "connection closed before an answer".into();
    }
    match error.source().and_then(|source| source.downcast_ref::<io::Error>()) {
        Some(source) => in_words(source),
        None if error.is_parse() => "the answer is not HTTP".into(),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    fn root() -> Question<'static> {
        Question::get("/")
    }

    /// A server that answers one request a connection and then closes it without having said so.
    async fn forgetful_server() -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            }
        });
        Target { site: Endpoint::parse(&format!("127.0.0.1:{port}"), 80).unwrap().into(), tls: None }
    }

    #[tokio::test]
    async fn a_kept_connection_that_was_closed_meanwhile_is_replaced() {
        let mut client = Client::new(forgetful_server().await);
        for _ in 0..3 {
            let answer = tokio::time::timeout(Duration::from_secs(5), client.ask(&root(), 100)).await;
            assert_eq!(&answer.expect("in time").unwrap().body[..], b"ok");
        }
    }

    #[tokio::test]
    async fn a_marked_connection_comes_about_whoever_may_not_mark_it() {
        let target = forgetful_server().await;
        let mark = Mark::new(7);
        for _ in 0..2 {
            assert_eq!(status(&target, "/", Some(&mark)).await.unwrap(), StatusCode::OK);
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_too_large_is_given_up() {
        let mut client = Client::new(forgetful_server().await);
        let error = client.ask(&root(), 1).await.unwrap_err();
        assert!(matches!(error, ClientError::Exchange(ExchangeError::TooLarge(1))));
    }
}
