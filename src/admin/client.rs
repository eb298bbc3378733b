//! The client of the admin endpoint, for the command line.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use serde::de::DeserializeOwned;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpStream, UnixStream};

use super::order::ErrorBody;
use super::trust::Token;
use crate::net::client::{self, ExchangeError, ReadWrite};
use crate::net::words::in_words;

/// Asks one front door; a connection for each request.
#[derive(Clone, Debug)]
pub struct Client {
    /// Where it is.
    pub address: Address,
    /// For what is not free for all over TCP.
    pub token: Option<Token>,
}

/// Where a front door takes orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Its Unix socket.
    Socket(PathBuf),
    /// Its admin HTTP endpoint.
    Http(SocketAddr),
}

/// Neither a path nor an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be the path of the admin socket, or the ip:port of the admin endpoint")]
pub struct NotAnAddress;

/// An answer, read whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Status.
    pub status: StatusCode,
    /// Body.
    pub body: Bytes,
}

/// Why there is no answer. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no socket, or nobody listens.
    #[error("no front door answers on {0}; is it running? give --admin PATH or ADDRESS")]
    NobodyAnswers(Address),
    /// The socket is for others.
    #[error("no permission to use {0}; run this as root, or as a member of the socket's group")]
    NoPermission(Address),
    /// No connection, for another reason.
    #[error("no connection to {address}: {}", in_words(.source))]
    Connect {
        /// Where to.
        address: Address,
        /// The cause.
        source: io::Error,
    },
    /// No answer in time.
    #[error("the front door on {address} did not answer within {} seconds; see its log", after.as_secs())]
    Late {
        /// Who was asked.
        address: Address,
        /// How long was waited.
        after: Duration,
    },
    /// The connection ended, or what came is not HTTP.
    #[error("what answers on {0} does not speak HTTP, or broke off; give --admin PATH or ADDRESS")]
    Http(Address, #[source] hyper::Error),
    /// The answer is longer than any should be.
    #[error("the answer of {0} is larger than {limit} MiB", limit = BODY_LIMIT >> 20)]
    TooLarge(Address),
    /// The path is not one.
    #[error("the request cannot be made")]
    Request(#[source] http::Error),
    /// The answer is not what was asked for.
    #[error("the answer cannot be read; is the front door of another version than this program?")]
    Unreadable(#[source] serde_json::Error),
}

/// For the whole of a question.
const GET_DEADLINE: Duration = Duration::from_secs(5);
/// For the whole of an order. The server gives up before that (`TIMEOUT`), and says what has become of it.
const POST_DEADLINE: Duration = Duration::from_secs(15);
/// A status of a thousand gateways is about one MiB.
const BODY_LIMIT: usize = 16 << 20;

/// The path for an order about a gateway. Everything in its name but letters, digits and `-._~` is written with %
/// (RFC 3986 §2.1).
pub fn gateway_path(name: &str, order: &str) -> String {
    let mut path = "/api/v1/gateways/".to_owned();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => path.push(byte.into()),
            _ => path.push_str(&format!("%{byte:02X}")),
        }
    }
    path + "/" + order
}

impl Client {
    /// Asks for `path`.
    pub async fn get(&self, path: &str) -> Result<Reply, ClientError> {
        self.ask(Method::GET, path, Bytes::new(), GET_DEADLINE).await
    }

    /// Gives an order; `body` is JSON, or empty.
    pub async fn post(&self, path: &str, body: impl Into<Bytes>) -> Result<Reply, ClientError> {
        self.ask(Method::POST, path, body.into(), POST_DEADLINE).await
    }

    /// A connection on which nothing is asked.
    ///
    /// # Errors
    /// Above all [`ClientError::NobodyAnswers`].
    pub async fn lifeline(&self) -> Result<Lifeline, ClientError> {
        Ok(Lifeline(self.connect().await?))
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        deadline: Duration,
    ) -> Result<Reply, ClientError> {
        let request = self.request(method, path, body).map_err(ClientError::Request)?;
        match tokio::time::timeout(deadline, self.exchange(request)).await {
            Ok(reply) => reply,
            Err(_) => Err(ClientError::Late { address: self.address.clone(), after: deadline }),
        }
    }

    fn request(&self, method: Method, path: &str, body: Bytes) -> Result<Request<Full<Bytes>>, http::Error> {
        let host = match &self.address {
            Address::Socket(_) => "localhost".to_owned(),
            Address::Http(address) => address.to_string(),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, host)
            .header(USER_AGENT, client::USER_AGENT)
            .header(CONNECTION, "close");
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token.header());
        }
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        request.body(Full::new(body))
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Reply, ClientError> {
        let answer = client::ask_over(self.connect().await?, request, BODY_LIMIT).await;
        let answer = answer.map_err(|error| match error {
            ExchangeError::Http(error) => ClientError::Http(self.address.clone(), error),
            ExchangeError::TooLarge(_) => ClientError::TooLarge(self.address.clone()),
        })?;
        Ok(Reply { status: answer.status, body: answer.body })
    }

    async fn connect(&self) -> Result<Pin<Box<dyn ReadWrite>>, ClientError> {
        let connected: io::Result<Pin<Box<dyn ReadWrite>>> = match &self.address {
            Address::Socket(path) => UnixStream::connect(path).await.map(|s| Box::pin(s) as _),
            Address::Http(address) => TcpStream::connect(address).await.map(|s| Box::pin(s) as _),
        };
        connected.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                ClientError::NobodyAnswers(self.address.clone())
            }
            io::ErrorKind::PermissionDenied => ClientError::NoPermission(self.address.clone()),
            _ => ClientError::Connect { address: self.address.clone(), source: error },
        })
    }
}

/// A connection that lasts no longer than the front door.
pub struct Lifeline(Pin<Box<dyn ReadWrite>>);

impl Lifeline {
    /// Returns when the front door ends it: because it is gone, or because nothing is asked.
    pub async fn ended(mut self) {
        // whatever comes, it is not a sign of life that lasts
        let _ = self.0.read(&mut [0]).await;
    }
}

impl Reply {
    /// Reads the body as JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        serde_json::from_slice(&self.body).map_err(ClientError::Unreadable)
    }

    /// What an answer other than 200 says is wrong.
    pub fn error(&self) -> ErrorBody {
        if self.status == StatusCode::UNAUTHORIZED {
            // what the answer says of headers is for those who write them
            let error =
                "the token is missing, or not that of the front door's [admin] token_file; give --token-file FILE"
                    .into();
            return ErrorBody { error, problems: Vec::new() };
        }
        serde_json::from_slice(&self.body).unwrap_or_else(|_| ErrorBody {
            error: format!("the front door answers {}", self.status),
            problems: Vec::new(),
        })
    }
}

impl FromStr for Address {
    type Err = NotAnAddress;

    /// What holds a colon but no slash was meant as an address; `./a:b` is a path.
    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        match text.parse() {
            Ok(address) => Ok(Self::Http(address)),
            Err(_) if text.is_empty() || (text.contains(':') && !text.contains('/')) => Err(NotAnAddress),
            // http://127.0.0.1:9463
            Err(_) if text.contains("://") => Err(NotAnAddress),
            Err(_) => Ok(Self::Socket(text.into())),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => path.display().fmt(f),
            Self::Http(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::{get, post};
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::super::{server, socket};
    use super::*;
    use crate::net::serve::{Door, serve};
    use crate::net::stop;

    fn client(address: Address, token: Option<&str>) -> Client {
        Client { address, token: token.and_then(Token::new) }
    }

    fn echo() -> Router {
        let authorization = async |headers: http::HeaderMap| {
            format!("{:?}", headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned()))
        };
        let teapot = async || (StatusCode::IM_A_TEAPOT, "{\"error\":\"short and stout\"}");
        Router::new()
            .route("/", get(authorization))
            .route("/", post(async |body: Bytes| body))
            .route("/teapot", get(teapot))
            .route("/shut", get(async || (StatusCode::UNAUTHORIZED, "{\"error\":\"send Authorization\"}")))
    }

    #[test]
    fn an_address_is_a_path_or_ip_and_port() {
        let socket = |path: &str| Ok(Address::Socket(path.into()));
        assert_eq!("/run/vestibule/admin.sock".parse(), socket("/run/vestibule/admin.sock"));
        assert_eq!("admin.sock".parse(), socket("admin.sock"));
        assert_eq!("./odd:name".parse(), socket("./odd:name"));
        assert_eq!("[::1]:9463".parse(), Ok(Address::Http("[::1]:9463".parse().unwrap())));
        for text in ["", "localhost:9463", "10.0.0.1:", "http://10.0.0.1:9463"] {
            assert_eq!(text.parse::<Address>(), Err(NotAnAddress), "{text:?}");
        }
    }

    #[tokio::test]
    async fn it_asks_and_orders_over_the_unix_socket() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let (listener, _file) = socket::bind(&path).unwrap();
        let (_stopper, stop) = stop::channel();
        let server = tokio::spawn(serve(Door::Unix(listener), echo(), stop));
        let client = client(Address::Socket(path), None);
        let reply = client.get("/").await.unwrap();
        assert_eq!((reply.status, &reply.body[..]), (StatusCode::OK, &b"None"[..]));
        assert_eq!(client.post("/", "{}").await.unwrap().body, "{}");
        assert_eq!(client.get("/teapot").await.unwrap().error().error, "short and stout");
        assert_eq!(
            client.get("/nowhere").await.unwrap().error().error,
            "the front door answers 404 Not Found"
        );
        let refused = client.get("/shut").await.unwrap().error().error;
        assert!(refused.contains("missing, or not that of"), "who gave a wrong one is told, too: {refused}");
        assert!(refused.ends_with("; give --token-file FILE"), "{refused}");
        server.abort();
    }

    #[tokio::test]
    async fn it_shows_its_token_over_tcp() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (_stopper, stop) = stop::channel();
        let server = tokio::spawn(serve(Door::Tcp(listener, None), echo(), stop));
        let reply = client(Address::Http(address), Some("secret")).get("/").await.unwrap();
        assert_eq!(reply.body, "Some(\"Bearer secret\")");
        server.abort();
    }

    #[tokio::test]
    async fn where_nobody_answers_it_says_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let missing = client(Address::Socket(path.clone()), None);
        let text = missing.get("/").await.unwrap_err().to_string();
        let expected = format!(
            "no front door answers on {}; is it running? give --admin PATH or ADDRESS",
            path.display()
        );
        assert_eq!(text, expected);
        let (listener, _file) = socket::bind(&path).unwrap();
        drop(listener);
        assert!(matches!(missing.get("/").await, Err(ClientError::NobodyAnswers(_))));
    }

    #[tokio::test]
    async fn what_accepts_and_stays_silent_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let silent = client(Address::Http(listener.local_addr().unwrap()), None);
        tokio::time::pause();
        let text = silent.get("/").await.unwrap_err().to_string();
        assert!(text.ends_with(" did not answer within 5 seconds; see its log"), "{text}");
        let started = tokio::time::Instant::now();
        assert!(matches!(silent.post("/", "").await, Err(ClientError::Late { .. })));
        assert!(started.elapsed() > server::TIMEOUT, "the server would still have answered");
    }

    #[tokio::test]
    async fn what_does_not_speak_http_is_told_apart() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = client(Address::Http(listener.local_addr().unwrap()), None);
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await.unwrap();
        };
        let (reply, ()) = tokio::join!(client.get("/"), server);
        assert!(matches!(reply, Err(ClientError::Http(..))), "{reply:?}");
    }
}
