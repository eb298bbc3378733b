//! The server loop of the control plane: HTTP/1.1 for the admin endpoint and the heartbeat agent. Small and
//! bounded; the data plane has its own (`front`).

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tower::Service;

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
}

/// Serves `router` until told to stop; then lets the requests under way finish, within [`GRACE`].
pub async fn serve(door: Door, router: Router, mut stop: Stop) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.stopped() => break,
            // a place first: whoever comes when all are taken waits in the backlog
            accepted = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (place, door.accept().await)
            } => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let (Ok(place), accepted) = accepted else { break };
        match accepted {
            Ok(stream) => {
                let (router, stop) = (router.clone(), stop.clone());
                connections.spawn(async move {
                    stream.serve(router, stop).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a control connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    let finished = async { while connections.join_next().await.is_some() {} };
    // those that do not finish in time end with the set
    let _ = tokio::time::timeout(GRACE, finished).await;
}

const MAX_CONNECTIONS: usize = 64;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Also how long a kept connection may be idle.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
const GRACE: Duration = Duration::from_secs(2);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

enum Accepted {
    Tcp(tokio::net::TcpStream, SocketAddr, Option<TlsAcceptor>),
    Unix(tokio::net::UnixStream),
}

impl Door {
    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener, tls) => {
                let (stream, address) = listener.accept().await?;
                Ok(Accepted::Tcp(stream, address, tls.clone().map(TlsAcceptor::from)))
            }
            Self::Unix(listener) => Ok(Accepted::Unix(listener.accept().await?.0)),
        }
    }
}

impl Accepted {
    async fn serve(self, router: Router, stop: Stop) {
        match self {
            Self::Unix(stream) => {
                serve_stream(Box::pin(stream), Peer { address: None }, router, stop).await;
            }
            Self::Tcp(stream, address, None) => {
                serve_stream(Box::pin(stream), Peer { address: Some(address) }, router, stop).await;
            }
            Self::Tcp(stream, address, Some(acceptor)) => {
                match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => {
                        serve_stream(Box::pin(stream), Peer { address: Some(address) }, router, stop).await;
                    }
                    Ok(Err(error)) => tracing::warn!(client = %address, %error, "TLS handshake refused"),
                    Err(_) => tracing::debug!(client = %address, "no TLS handshake in time"),
                }
            }
        }
    }
}

async fn serve_stream(stream: Pin<Box<dyn Stream>>, peer: Peer, router: Router, mut stop: Stop) {
    let service = tower::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        router.clone().call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
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
