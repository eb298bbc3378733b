use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::certificates::Certificates;
use crate::fleet::{Ask, Endpoint};

/// One listener, as configured.
#[derive(Clone, Debug)]
pub struct ListenerSettings {
    /// Its name; unique.
    pub name: Arc<str>,
    /// Where it listens.
    pub address: SocketAddr,
    /// Whom it may choose.
    pub ask: Ask,
    /// What it bears.
    pub limits: Limits,
    /// Its answer.
    pub redirect: Redirect,
    /// What it does.
    pub mode: Mode,
}

/// What a listener does with those who come.
#[derive(Clone, Debug)]
pub enum Mode {
    /// TLS, then a redirect to the least-loaded gateway.
    Redirect(Arc<Certificates>),
    /// Plain HTTP, then a redirect to this place over https.
    HttpsUpgrade(Endpoint),
}

impl Mode {
    /// The word used in the configuration and in JSON.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Redirect(_) => "redirect",
            Self::HttpsUpgrade(_) => "https-upgrade",
        }
    }
}

/// How a redirect is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
    /// Whether Location carries the request's path (never its query).
    pub keep_path: bool,
    /// `Retry-After` of the 503 when no gateway is available (RFC 9110 §10.2.3).
    pub retry_after: Duration,
}

impl Default for Redirect {
    fn default() -> Self {
        Self { status: StatusCode::FOUND, keep_path: false, retry_after: Duration::from_secs(5) }
    }
}

/// What a listener bears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time.
    pub connections: u32,
    /// Connections at a time from one /32 (IPv4) or /64 (IPv6).
    pub connections_per_source: u32,
    /// For the whole TLS handshake.
    pub handshake_timeout: Duration,
    /// For a request's head and body, from the first byte on.
    pub header_timeout: Duration,
    /// Without a request.
    pub idle_timeout: Duration,
    /// For a request's head.
    pub header_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 50_000,
            connections_per_source: 512,
            handshake_timeout: Duration::from_secs(5),
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            header_bytes: 32 * 1024,
        }
    }
}
