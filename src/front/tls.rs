//! TLS on a listener: versions 1.2 and 1.3, stateless tickets, ALPN offered and never required.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::{ClientHello, NoServerSessionStorage, ProducesTickets};
use rustls::{CipherSuite, ServerConfig};

use super::certificates::Certificates;
use crate::net::tls::{TlsError, provider};

/// The keys that session tickets are sealed with. One for the life of the process, so that sessions can be
/// resumed across reloads; it changes its keys by itself every six hours.
#[derive(Clone, Debug)]
pub struct Tickets(Arc<dyn ProducesTickets>);

impl Tickets {
    /// New keys.
    pub fn new() -> Result<Self, TlsError> {
        Ticketer::new().map(Self).map_err(TlsError::Setup)
    }
}

/// A listener's TLS.
#[derive(Clone, Debug)]
pub struct Tls {
    with_alpn: Arc<ServerConfig>,
    without_alpn: Arc<ServerConfig>,
}

impl Tls {
    /// Sets up TLS with these certificates.
    pub fn new(certificates: Arc<Certificates>, tickets: &Tickets) -> Result<Self, TlsError> {
        let mut config = ServerConfig::builder_with_provider(light_suites_first())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?
            .with_no_client_auth()
            .with_cert_resolver(certificates);
        config.ignore_client_order = true;
        config.ticketer = Arc::clone(&tickets.0);
        config.send_tls13_tickets = 1;
        // whoever takes no tickets does a full handshake; nothing is kept for him
        config.session_storage = Arc::new(NoServerSessionStorage {});
        let without_alpn = Arc::new(config.clone());
        config.alpn_protocols = vec![H2.to_vec(), HTTP_1_1.to_vec()];
        Ok(Self { with_alpn: Arc::new(config), without_alpn })
    }

    /// The configuration for this client. One that offers protocols of which we know none gets HTTP/1.1
    /// rather than the alert of RFC 7301 §3.2: VPN clients have been seen to offer odd things.
    pub fn for_client(&self, hello: &ClientHello<'_>) -> Arc<ServerConfig> {
        let knows_none =
            hello.alpn().is_some_and(|mut offered| !offered.any(|name| name == H2 || name == HTTP_1_1));
        Arc::clone(if knows_none { &self.without_alpn } else { &self.with_alpn })
    }
}

/// The provider with its suites in our order of preference: those with SHA-256 before those with SHA-384.
///
/// Most clients name AES-256 with SHA-384 first, out of habit. A front door's sessions are short: it is the
/// key schedule that costs, and processors have instructions for SHA-256 alone (a quarter of a new
/// connection went into SHA-384). Who offers nothing but AES-256 gets it.
fn light_suites_first() -> Arc<CryptoProvider> {
    let mut provider = Arc::unwrap_or_clone(provider());
    provider.cipher_suites.sort_by_key(|suite| match suite.suite() {
        CipherSuite::TLS13_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => 0,
        _ => 1,
    });
    Arc::new(provider)
}

/// The ALPN name of HTTP/2 (RFC 9113 §3.2).
pub const H2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";
