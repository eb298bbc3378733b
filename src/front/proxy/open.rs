use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::link::Link;
use super::pool::Lease;
use super::stream::GatewayStream;
use crate::front::connect::{ConnectError, connect};
use crate::front::gate::Gate;
use crate::front::meter::{Fate, Gauge};
use crate::front::settings::{Proxy, UpstreamTls};
use crate::net::words::in_words;

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
        client: SocketAddr,
        local: SocketAddr,
    ) -> Result<Lease, OpenError> {
        let active = Gauge::up(&gate.meter, |meter| &meter.active);
        let stream = connect(gate, &self.settings.upstream, client, local).await?;
        let stream = match &self.tls {
            None => GatewayStream::Plain(stream),
            Some(tls) => GatewayStream::Tls(Box::new(self.shake_hands(gate, tls, stream).await?)),
        };
        let link = Link::over(stream).await?;
        let room = if self.settings.persistent_connections { self.settings.idle_per_gateway } else { 0 };
        Ok(Lease::new(link, Rc::clone(gate), room, active))
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
