use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::net::certificate::CertificateFacts;
use crate::net::tls::Identity;

/// The certificates of a listener, chosen by the name that the client asks for (SNI, RFC 6066 §3).
///
/// An exact name goes before a wildcard; who asks for no name, or for one that nothing fits, gets the
/// first certificate, as browsers then say best what is wrong.
#[derive(Debug)]
pub struct Certificates {
    first: Identity,
    by_name: HashMap<Box<str>, Identity>,
    /// The key is what follows `*.`.
    by_wildcard: HashMap<Box<str>, Identity>,
    /// When the first of them ends.
    expiry: SystemTime,
}

impl Certificates {
    /// Takes them in the order of the configuration; the first to claim a name keeps it.
    pub fn new(first: (Identity, CertificateFacts), others: Vec<(Identity, CertificateFacts)>) -> Self {
        let mut certificates = Self {
            first: Arc::clone(&first.0),
            by_name: HashMap::new(),
            by_wildcard: HashMap::new(),
            expiry: first.1.not_after,
        };
        for (identity, facts) in std::iter::once(&first).chain(&others) {
            certificates.expiry = certificates.expiry.min(facts.not_after);
            for name in &facts.dns_names {
                let (map, key) = match name.strip_prefix("*.") {
                    Some(domain) => (&mut certificates.by_wildcard, domain),
                    None => (&mut certificates.by_name, name.as_str()),
                };
                map.entry(key.into()).or_insert_with(|| Arc::clone(identity));
            }
        }
        certificates
    }

    /// When the first of them is no longer valid.
    pub fn expiry(&self) -> SystemTime {
        self.expiry
    }

    /// The certificate for a name in lower case.
    pub fn find(&self, name: Option<&str>) -> &Identity {
        let exact = name.and_then(|name| self.by_name.get(name));
        let wild = || self.by_wildcard.get(name?.split_once('.')?.1);
        exact.or_else(wild).unwrap_or(&self.first)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name();
        // names are compared without regard to case (RFC 6066 §3); clients send lower case as a rule
        let found = match name {
            Some(name) if name.bytes().any(|b| b.is_ascii_uppercase()) => {
                self.find(Some(&name.to_ascii_lowercase()))
            }
            name => self.find(name),
        };
        Some(Arc::clone(found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(names: &[&str]) -> (Identity, CertificateFacts) {
        let params = rcgen::CertificateParams::new(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
        let key = rcgen::KeyPair::generate().unwrap();
        let der = params.unwrap().self_signed(&key).unwrap().der().clone();
        let facts = CertificateFacts::of(&der).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        (crate::net::tls::identity(vec![der], key).unwrap(), facts)
    }

    #[test]
    fn the_first_one_to_end_says_when_there_is_something_to_do() {
        let ends = |seconds| {
            let (identity, facts) = certificate(&["vpn.example.com"]);
            let not_after = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            (identity, CertificateFacts { not_after, ..facts })
        };
        let expiry = |seconds: &[u64]| {
            let all: Vec<_> = seconds.iter().map(|seconds| ends(*seconds)).collect();
            let certificates = Certificates::new(all[0].clone(), all[1..].to_vec());
            certificates.expiry().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
        };
        assert_eq!([expiry(&[7]), expiry(&[7, 9]), expiry(&[7, 5, 9])], [7, 7, 5]);
    }

    #[test]
    fn the_name_asked_for_decides_and_the_first_is_for_everyone_else() {
        let all = [&["vpn.example.com"][..], &["*.example.com", "example.net"], &["*.example.net"]];
        let all: Vec<_> = all.iter().map(|names| certificate(names)).collect();
        let certificates = Certificates::new(all[0].clone(), all[1..].to_vec());
        for (name, expected) in [
            (Some("vpn.example.com"), 0),
            (Some("portal.example.com"), 1),
            (Some("example.net"), 1),
            (Some("a.example.net"), 2),
            (Some("a.b.example.net"), 0),
            (Some("elsewhere"), 0),
            (None, 0),
        ] {
            assert!(Arc::ptr_eq(certificates.find(name), &all[expected].0), "{name:?}");
        }
    }
}
