use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use http::StatusCode;
use ipnet::IpNet;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::certificates::Certificates;
use crate::fleet::{Ask, Endpoint, GatewayName, Policy};

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
    /// TLS, then each request is taken to a gateway.
    Proxy(Arc<Certificates>, Arc<Proxy>),
    /// Every connection is taken to a gateway, its TLS untouched.
    Passthrough(Arc<Passthrough>),
}

impl Mode {
    /// The word used in the configuration and in JSON.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Redirect(_) => "redirect",
            Self::HttpsUpgrade(_) => "https-upgrade",
            Self::Proxy(..) => "proxy",
            Self::Passthrough(_) => "passthrough",
        }
    }

    /// How gateways are reached, where they are reached through this listener.
    pub fn upstream(&self) -> Option<&Upstream> {
        match self {
            Self::Redirect(_) | Self::HttpsUpgrade(_) => None,
            Self::Proxy(_, proxy) => Some(&proxy.upstream),
            Self::Passthrough(passthrough) => Some(&passthrough.upstream),
        }
    }
}

/// How gateways are reached: what a proxy and a passthrough have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// How a gateway is chosen for who has none yet.
    pub policy: Policy,
    /// For the TCP connection, and then for TLS, to one gateway.
    pub connect_timeout: Duration,
    /// Without a byte either way, for tunnels: upgraded, CONNECT and passthrough connections.
    pub tunnel_idle_timeout: Duration,
    /// The header that tells gateways who the client is.
    pub send_proxy_protocol: Option<ProxyProtocol>,
    /// Whether connections from `trusted_proxies` begin with such a header.
    pub accept_proxy_protocol: bool,
    /// Whose word on who the client is is taken.
    pub trusted_proxies: Vec<IpNet>,
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            policy: Policy::LeastLoaded,
            connect_timeout: Duration::from_secs(2),
            tunnel_idle_timeout: Duration::from_secs(3600),
            send_proxy_protocol: None,
            accept_proxy_protocol: false,
            trusted_proxies: Vec::new(),
        }
    }
}

impl Upstream {
    /// Whether the word of a host at this address is taken.
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.trusted_proxies.iter().any(|network| network.contains(&address))
    }

    /// Whether a connection from this address begins with a PROXY header.
    pub fn expects_header(&self, address: IpAddr) -> bool {
        self.accept_proxy_protocol && self.trusts(address)
    }
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// A reverse proxy.
#[derive(Clone, Debug)]
pub struct Proxy {
    /// How gateways are reached.
    pub upstream: Upstream,
    /// Whether connections to gateways are kept open between requests.
    pub persistent_connections: bool,
    /// Whether such a connection may serve one client after the other. VPN gateways take a connection for a
    /// client: ocserv gives whoever asks next over it the session of him who has logged in.
    pub shares_connections: bool,
    /// How many shared ones wait for the next request, for each gateway and worker.
    pub idle_per_gateway: usize,
    /// How those who have been at a gateway come to it again.
    pub affinity: Affinity,
    /// For the head of a response, from the end of the request on.
    pub response_timeout: Duration,
    /// How many more gateways are tried.
    pub retries: u32,
    /// Which headers tell gateways who the client is.
    pub forwarded: Forwarded,
    /// `None`: plain HTTP.
    pub tls: Option<UpstreamTls>,
}

impl Default for Proxy {
    fn default() -> Self {
        Self {
            upstream: Upstream { policy: Policy::RoundRobin, ..Upstream::default() },
            persistent_connections: true,
            shares_connections: false,
            idle_per_gateway: 32,
            affinity: Affinity::Session(Affinity::usual_sessions()),
            response_timeout: Duration::from_secs(30),
            retries: 2,
            forwarded: Forwarded::XForwarded,
            tls: None,
        }
    }
}

impl Proxy {
    /// Whether a connection to a gateway may serve one client after the other: not where the gateway is told of
    /// one, which it is once a connection.
    pub fn shares(&self) -> bool {
        self.shares_connections && self.upstream.send_proxy_protocol.is_none()
    }
}

/// TLS to gateways.
#[derive(Clone, Debug)]
pub struct UpstreamTls {
    /// Whom to trust.
    pub config: Arc<ClientConfig>,
    /// The name asked for, and checked if the configuration checks; `None`: the gateway's host.
    pub server_name: Option<ServerName<'static>>,
}

/// How those who have been at a gateway come to it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Affinity {
    /// They do not.
    None,
    /// By their address (/32 or /64).
    SourceAddress,
    /// By the session cookies that gateways set, which have these names: what a gateway has set leads to it.
    Session(Arc<[Box<str>]>),
    /// By a cookie of our own.
    Cookie(AffinityCookie),
}

impl Affinity {
    /// The session cookies of the gateways that we know: AnyConnect's (ocserv, ASA), and that of Java servers
    /// (Novell).
    pub fn usual_sessions() -> Arc<[Box<str>]> {
        ["webvpncontext", "webvpn", "JSESSIONID"].map(Box::from).into()
    }
}

/// A cookie of our own that leads back to a gateway.
#[derive(Clone, PartialEq, Eq)]
pub struct AffinityCookie {
    /// Its name.
    pub name: Box<str>,
    /// What its value is signed with. Front doors with the same key understand each other's.
    pub key: [u8; 32],
}

impl AffinityCookie {
    /// The value that leads to a gateway: 32 hexadecimal digits that nobody can make without the key, and that
    /// tell nothing of the gateway.
    pub fn value_for(&self, gateway: &GatewayName) -> Box<str> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.key);
        let tag = hmac::sign(&key, gateway.as_str().as_bytes());
        tag.as_ref().iter().take(16).fold(String::new(), |value, byte| format!("{value}{byte:02x}")).into()
    }
}

impl fmt::Debug for AffinityCookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AffinityCookie").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Which headers tell gateways who the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarded {
    /// X-Forwarded-For, X-Forwarded-Proto and X-Forwarded-Host.
    XForwarded,
    /// Forwarded (RFC 7239).
    Rfc7239,
    /// All of these.
    Both,
    /// None.
    None,
}

/// TLS passed through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passthrough {
    /// How gateways are reached.
    pub upstream: Upstream,
    /// Whether a client comes to the same gateway again, by its address (/32 or /64).
    pub source_affinity: bool,
    /// The names (SNI) that are let through, in lower case, `*.` in front for one label; empty: everybody.
    pub server_names: Vec<Box<str>>,
}

impl Default for Passthrough {
    fn default() -> Self {
        Self { upstream: Upstream::default(), source_affinity: true, server_names: Vec::new() }
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
