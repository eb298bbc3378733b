//! TLS as both ends of the control plane use it: front door to agent, and health checks.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, DigitallySignedStruct, InconsistentKeys, RootCertStore, ServerConfig, SignatureScheme,
};

/// A certificate chain with its key, both known to fit.
pub type Identity = Arc<CertifiedKey>;

/// Why TLS material cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The key belongs to another certificate.
    #[error("the certificate does not match its key")]
    KeyMismatch,
    /// The key is of a kind that is not supported.
    #[error("the key cannot be used")]
    Key(#[source] rustls::Error),
    /// A certificate authority's certificate cannot be used.
    #[error("the certificate authority cannot be used")]
    Authority(#[source] rustls::Error),
    /// The machine's own list of authorities is empty or unreadable.
    #[error("this machine has no certificate authorities; install ca-certificates")]
    NoSystemAuthorities,
    /// Client certificates cannot be checked against the given authority.
    #[error("client certificates cannot be checked")]
    ClientVerifier(#[source] rustls::server::VerifierBuilderError),
    /// The TLS library refused the combination.
    #[error("TLS cannot be set up")]
    Setup(#[source] rustls::Error),
}

/// What a server's certificate is checked against.
#[derive(Clone, Debug)]
pub enum Trust {
    /// These authorities.
    Authorities(Vec<CertificateDer<'static>>),
    /// The machine's own authorities, as [`system_authorities`] has read them.
    System(Arc<RootCertStore>),
    /// Nothing: any certificate will do. For health checks, which ask whether a service answers.
    Anyone,
}

/// The one cryptographic provider.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Pairs a chain with its key.
pub fn identity(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Identity, TlsError> {
    match CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()) {
        Ok(identity) => Ok(Arc::new(identity)),
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Err(TlsError::KeyMismatch),
        Err(error) => Err(TlsError::Key(error)),
    }
}

/// A client that checks the server against `trust` and shows `identity` if asked.
pub fn client_config(trust: &Trust, identity: Option<&Identity>) -> Result<Arc<ClientConfig>, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)?;
    let builder = match trust {
        Trust::Authorities(authorities) => builder.with_root_certificates(roots(authorities)?),
        Trust::System(authorities) => builder.with_root_certificates(Arc::clone(authorities)),
        Trust::Anyone => builder.dangerous().with_custom_certificate_verifier(any_certificate()),
    };
    let mut config = match identity {
        Some(identity) => builder
            .with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(Arc::clone(identity)))),
        None => builder.with_no_client_auth(),
    };
    config.enable_sni = true;
    Ok(Arc::new(config))
}

/// Reads the machine's own authorities: some hundred certificates, so once is enough.
pub fn system_authorities() -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 { Err(TlsError::NoSystemAuthorities) } else { Ok(Arc::new(roots)) }
}

/// A server that talks to anyone.
pub fn server_config(identity: &Identity) -> Result<Arc<ServerConfig>, TlsError> {
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(Arc::clone(identity))));
    Ok(Arc::new(config))
}

/// A server that talks only to clients with a certificate of `client_authorities`.
pub fn mutual_server_config(
    identity: &Identity,
    client_authorities: &[CertificateDer<'static>],
) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = provider();
    let verifier = WebPkiClientVerifier::builder_with_provider(
        Arc::new(roots(client_authorities)?),
        Arc::clone(&provider),
    )
    .build()
    .map_err(TlsError::ClientVerifier)?;
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(Arc::clone(identity))));
    Ok(Arc::new(config))
}

/// Takes any certificate, but still has the server prove that it holds the key.
pub fn any_certificate() -> Arc<dyn ServerCertVerifier> {
    Arc::new(AnyCertificate { provider: provider() })
}

fn roots(authorities: &[CertificateDer<'static>]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority.clone()).map_err(TlsError::Authority)?;
    }
    Ok(roots)
}

#[derive(Debug)]
struct AnyCertificate {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
