//! PEM files. The one place that uses rustls-pemfile (see deny.toml for why).

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer};
use rustls_pemfile::Item;

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
    /// A private key where a public one is to be.
    #[error(
        "holds a private key, which is for its owner alone; give the public one: openssl pkey -in FILE -pubout"
    )]
    Private,
    /// So much cannot be what was looked for.
    #[error("is longer than {MOST_PUBLIC_KEY_BYTES} bytes")]
    TooLong,
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

/// All public keys of a file (`PUBLIC KEY`, RFC 7468 §13), in its order; at least one. The file may be a pipe.
pub fn read_public_keys(path: &Path) -> Result<Vec<SubjectPublicKeyInfoDer<'static>>, PemError> {
    let mut pem = Vec::new();
    let file = File::open(path).map_err(PemError::Read)?;
    file.take(MOST_PUBLIC_KEY_BYTES + 1).read_to_end(&mut pem).map_err(PemError::Read)?;
    if pem.len() as u64 > MOST_PUBLIC_KEY_BYTES { Err(PemError::TooLong) } else { public_keys(&pem) }
}

/// Room for hundreds of them.
const MOST_PUBLIC_KEY_BYTES: u64 = 64 * 1024;

fn read(path: &Path) -> Result<Vec<u8>, PemError> {
    std::fs::read(path).map_err(PemError::Read)
}

fn certificates(mut pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let found: Vec<_> =
        rustls_pemfile::certs(&mut pem).collect::<Result<_, _>>().map_err(PemError::Malformed)?;
    if found.is_empty() { Err(PemError::Missing("certificate")) } else { Ok(found) }
}

fn public_keys(mut pem: &[u8]) -> Result<Vec<SubjectPublicKeyInfoDer<'static>>, PemError> {
    let mut found = Vec::new();
    for item in rustls_pemfile::read_all(&mut pem) {
        match item.map_err(PemError::Malformed)? {
            Item::SubjectPublicKeyInfo(key) => found.push(key),
            Item::Pkcs1Key(_) | Item::Pkcs8Key(_) | Item::Sec1Key(_) => return Err(PemError::Private),
            _ => {}
        }
    }
    if found.is_empty() { Err(PemError::Missing("public key")) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_may_hold_several_public_keys_and_no_private_one() {
        let made = [(); 2].map(|()| rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap());
        let text = |keys: &[String]| keys.join("some words between them\n");
        let [one, other] = made.each_ref().map(|key| key.public_key_pem());
        let found = public_keys(text(&[one.clone(), other]).as_bytes()).unwrap();
        for (found, made) in found.iter().zip(&made) {
            assert!(found.ends_with(made.public_key_raw()));
        }
        assert_eq!(found.len(), 2);
        let private = text(&[one, made[0].serialize_pem()]);
        assert!(matches!(public_keys(private.as_bytes()), Err(PemError::Private)));
        assert!(matches!(public_keys(b"just text"), Err(PemError::Missing("public key"))));
        let endless = read_public_keys(Path::new("/dev/zero"));
        assert!(matches!(endless, Err(PemError::TooLong)), "{endless:?}");
    }

    #[test]
    fn a_file_without_what_is_looked_for_is_told_apart_from_a_broken_one() {
        assert!(matches!(certificates(b"just text"), Err(PemError::Missing("certificate"))));
        let broken = b"-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n";
        assert!(matches!(certificates(broken), Err(PemError::Malformed(_))));
        let nowhere = read_key(Path::new("/nonexistent/key.pem"));
        assert!(matches!(nowhere, Err(PemError::Read(_))));
    }
}
