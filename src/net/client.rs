//! An HTTP/1.1 client for health checks and the heartbeat: one connection, kept if asked to, small answers.

use std::io;
use std::pin::Pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::fleet::{Endpoint, Host};

/// Where to connect and how.
#[derive(Clone, Debug)]
pub struct Target {
    /// TCP endpoint; a name is resolved at every connect.
    pub endpoint: Endpoint,
    /// TLS with the name that the certificate must hold; absent: plain.
    pub tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
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
    /// No TCP connection.
    #[error("{}", in_words(.0))]
    Connect(#[source] io::Error),
    /// No TLS session.
    #[error("TLS: {}", in_words(.0))]
    Tls(#[source] io::Error),
    /// The connection ended, or what came is not HTTP.
    #[error("{}", http_in_words(.0))]
    Http(#[source] hyper::Error),
    /// The body is larger than it should be.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// The path is not one.
    #[error("the request cannot be made")]
    Request(#[source] http::Error),
}

impl ClientError {
    /// Whether the fault lies on this host, so that it says nothing about the other one.
    pub fn is_local(&self) -> bool {
        let Self::Connect(error) = self else { return false };
        // EMFILE, ENFILE, ENOBUFS, ENOMEM, EADDRNOTAVAIL
        matches!(error.raw_os_error(), Some(24 | 23 | 105 | 12 | 99))
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
    sender: SendRequest<Empty<Bytes>>,
    connection: Connection<Stream, Empty<Bytes>>,
}

trait ReadWrite: AsyncRead + AsyncWrite + Send + std::fmt::Debug {}
impl<T: AsyncRead + AsyncWrite + Send + std::fmt::Debug> ReadWrite for T {}

impl Client {
    /// A client without a connection yet.
    pub fn new(target: Target) -> Self {
        Self { target, kept: None }
    }

    /// Asks for `path` and reads the answer whole. If a connection kept from last time has died, a new
    /// one is opened. There is no deadline in here: whoever drops the future ends the connection.
    pub async fn get(&mut self, path: &str, body_limit: usize) -> Result<Answer, ClientError> {
        if let Some(kept) = self.kept.take() {
            match self.ask(kept, path, body_limit).await {
                // it was closed while nobody looked
                Err(ClientError::Http(_)) => {}
                other => return other,
            }
        }
        let fresh = open(&self.target).await?;
        self.ask(fresh, path, body_limit).await
    }

    async fn ask(&mut self, kept: Kept, path: &str, body_limit: usize) -> Result<Answer, ClientError> {
        let Kept { mut sender, mut connection } = kept;
        let request = Request::get(path)
            .header(header::HOST, self.target.host_header())
            .header(header::USER_AGENT, concat!("vestibule/", env!("CARGO_PKG_VERSION")))
            .header(header::ACCEPT, "*/*")
            .body(Empty::new())
            .map_err(ClientError::Request)?;
        let answer = {
            let exchange = async {
                sender.ready().await.map_err(ClientError::Http)?;
                let response = sender.send_request(request).await.map_err(ClientError::Http)?;
                let (head, body) = response.into_parts();
                let body = read_up_to(body, body_limit).await?;
                Ok(Answer { status: head.status, headers: head.headers, body })
            };
            let mut exchange = std::pin::pin!(exchange);
            let ended = tokio::select! {
                biased;
                answer = &mut exchange => Ok(answer?),
                ended = &mut connection => Err(ended),
            };
            match ended {
                Ok(answer) => answer,
                // the connection may end before the answer has been taken out of it; the exchange learns
                // that no more will come when the connection is gone
                Err(ended) => {
                    drop(connection);
                    let answer = exchange.await;
                    ended.map_err(ClientError::Http)?;
                    return answer;
                }
            }
        };
        self.kept = Some(Kept { sender, connection });
        Ok(answer)
    }
}

async fn open(target: &Target) -> Result<Kept, ClientError> {
    let stream = connect(&target.endpoint).await?;
    let stream: Pin<Box<dyn ReadWrite>> = match &target.tls {
        Some((config, name)) => Box::pin(handshake(stream, config, name).await?),
        None => Box::pin(stream),
    };
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(ClientError::Http)?;
    Ok(Kept { sender, connection })
}

impl Target {
    fn host_header(&self) -> String {
        let usual = if self.tls.is_some() { 443 } else { 80 };
        if self.endpoint.port == usual { self.endpoint.host.to_string() } else { self.endpoint.to_string() }
    }
}

/// Opens a TCP connection.
pub async fn connect(endpoint: &Endpoint) -> Result<TcpStream, ClientError> {
    let connected = match &endpoint.host {
        Host::Address(address) => TcpStream::connect((*address, endpoint.port)).await,
        Host::Name(name) => TcpStream::connect((&**name, endpoint.port)).await,
    };
    let stream = connected.map_err(ClientError::Connect)?;
    stream.set_nodelay(true).map_err(ClientError::Connect)?;
    Ok(stream)
}

/// Does the TLS handshake on a connection.
pub async fn handshake(
    stream: TcpStream,
    config: &Arc<ClientConfig>,
    name: &ServerName<'static>,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, ClientError> {
    TlsConnector::from(Arc::clone(config)).connect(name.clone(), stream).await.map_err(ClientError::Tls)
}

async fn read_up_to(mut body: hyper::body::Incoming, limit: usize) -> Result<Bytes, ClientError> {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(ClientError::Http)?.into_data() {
            if read.len() + data.len() > limit {
                return Err(ClientError::TooLarge(limit));
            }
            read.extend_from_slice(&data);
        }
    }
    Ok(read.freeze())
}

/// An I/O error in the words an administrator would use, without "(os error 111)".
pub fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".into(),
        io::ErrorKind::ConnectionReset => "connection reset".into(),
        io::ErrorKind::HostUnreachable => "no route to host".into(),
        io::ErrorKind::NetworkUnreachable => "network is unreachable".into(),
        io::ErrorKind::UnexpectedEof => "connection closed by the other side".into(),
        io::ErrorKind::BrokenPipe => "connection closed by the other side".into(),
        _ => {
            let text = error.to_string();
            match text.split_once(" (os error") {
                Some((words, _)) => words.to_lowercase(),
                None => text,
            }
        }
    }
}

fn http_in_words(error: &hyper::Error) -> String {
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
        Target { endpoint: Endpoint::parse(&format!("127.0.0.1:{port}"), 80).unwrap(), tls: None }
    }

    #[tokio::test]
    async fn a_kept_connection_that_was_closed_meanwhile_is_replaced() {
        let mut client = Client::new(forgetful_server().await);
        for _ in 0..3 {
            let answer = tokio::time::timeout(Duration::from_secs(5), client.get("/", 100)).await;
            assert_eq!(&answer.expect("in time").unwrap().body[..], b"ok");
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_too_large_is_given_up() {
        let mut client = Client::new(forgetful_server().await);
        assert!(matches!(client.get("/", 1).await, Err(ClientError::TooLarge(1))));
    }
}
