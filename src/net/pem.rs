//! PEM files. The one place that uses rustls-pemfile (see deny.toml for why).

use std::io;
use std::path::Path;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Why a PEM file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// It cannot be read.
    #[error("cannot be read")]
    Read(#[source] io::Error),
    /// It is not PEM.
    #[error("is not a PEM file")]
    Malformed(#[source] io::Error),
    /// It is PEM, but holds none of what was looked for.
    #[error("holds no {0}")]
    Missing(&'static str),
}

/// All certificates of a file, in its order; at least one.
pub fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    certificates(&read(path)?)
}

/// The first private key of a file: PKCS #8, PKCS #1 or SEC1.
pub fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    rustls_pemfile::private_key(&mut read(path)?.as_slice())
        .map_err(PemError::Malformed)?
        .ok_or(PemError::Missing("private key"))
}

fn read(path: &Path) -> Result<Vec<u8>, PemError> {
    std::fs::read(path).map_err(PemError::Read)
}

fn certificates(mut pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let found: Vec<_> =
        rustls_pemfile::certs(&mut pem).collect::<Result<_, _>>().map_err(PemError::Malformed)?;
    if found.is_empty() { Err(PemError::Missing("certificate")) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_what_is_looked_for_is_told_apart_from_a_broken_one() {
        assert!(matches!(certificates(b"just text"), Err(PemError::Missing("certificate"))));
        let broken = b"-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n";
        assert!(matches!(certificates(broken), Err(PemError::Malformed(_))));
        let nowhere = read_key(Path::new("/nonexistent/key.pem"));
        assert!(matches!(nowhere, Err(PemError::Read(_))));
    }
}
