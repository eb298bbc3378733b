use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use rustls::pki_types::PrivateKeyDer;

/// The key that a listener's affinity cookies are signed with, drawn from the private key of its certificate
/// (HKDF with SHA-256, RFC 5869).
///
/// Front doors that show the same certificate so understand each other's cookies, also after a restart, and
/// nobody has one more secret to hand out. A cookie tells nothing of the private key.
pub fn cookie_key(private: &PrivateKeyDer<'_>) -> Result<[u8; 32], Unspecified> {
    let mut key = [0; 32];
    let secret = Salt::new(HKDF_SHA256, &[]).extract(private.secret_der());
    secret.expand(&[LABEL], HKDF_SHA256)?.fill(&mut key)?;
    Ok(key)
}

/// What keeps this key apart from any other that may once be drawn from the same one.
const LABEL: &[u8] = b"vestibule affinity cookie";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_private_key_always_gives_the_same_key_in_every_version() {
        let key = |der: &'static [u8]| cookie_key(&PrivateKeyDer::Pkcs8(der.into())).unwrap();
        // HKDF-SHA256 without salt, by Python's hmac
        let expected = "96b00009c9fcbb63e28fa79c801ccca215ab6c1d385e16730473c755f0ebd6e9";
        let shown: String = key(b"a private key").iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(shown, expected);
        assert_ne!(key(b"a private key"), key(b"another private key"));
    }
}
