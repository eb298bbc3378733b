//! What we read out of a certificate: its names and how long it is valid.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// The parts of a certificate that decide where it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// The subject's common name.
    pub common_name: Option<String>,
    /// DNS names it is valid for, in lower case; a wildcard is `*.example.com` (RFC 6125 §6.4.3).
    pub dns_names: Vec<String>,
    /// Addresses it is valid for.
    pub addresses: Vec<IpAddr>,
    /// It is not valid before.
    pub not_before: SystemTime,
    /// It is not valid after.
    pub not_after: SystemTime,
}

/// The bytes are not an X.509 certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not an X.509 certificate")]
pub struct NotACertificate;

impl CertificateFacts {
    /// What it names its owner: the common name, or else the first DNS name.
    pub fn name(&self) -> Option<&str> {
        let common = self.common_name.as_deref().filter(|name| !name.is_empty());
        common.or_else(|| self.dns_names.first().map(String::as_str))
    }

    /// Reads a DER certificate.
    pub fn of(der: &CertificateDer<'_>) -> Result<Self, NotACertificate> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|_| NotACertificate)?;
        let common_name = certificate.subject().iter_common_name().next();
        let names = certificate.subject_alternative_name().ok().flatten();
        let names = names.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
        let time = |seconds: i64| match u64::try_from(seconds) {
            Ok(seconds) => SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
            Err(_) => SystemTime::UNIX_EPOCH,
        };
        Ok(Self {
            common_name: common_name.and_then(|name| name.as_str().ok()).map(str::to_owned),
            dns_names: names
                .iter()
                .filter_map(|name| match name {
                    GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
                    _ => None,
                })
                .collect(),
            addresses: names
                .iter()
                .filter_map(|name| match name {
                    GeneralName::IPAddress(bytes) => address(bytes),
                    _ => None,
                })
                .collect(),
            not_before: time(certificate.validity().not_before.timestamp()),
            not_after: time(certificate.validity().not_after.timestamp()),
        })
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::from(v4));
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_read() {
        let mut params = rcgen::CertificateParams::new([
            "VPN.example.com".into(),
            "*.example.net".into(),
            "10.0.0.1".into(),
        ])
        .unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, "front-a");
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let facts = CertificateFacts::of(params.self_signed(&key).unwrap().der()).unwrap();
        assert_eq!(facts.common_name.as_deref(), Some("front-a"));
        assert_eq!(facts.name(), Some("front-a"));
        assert_eq!(CertificateFacts { common_name: None, ..facts.clone() }.name(), Some("vpn.example.com"));
        assert_eq!(facts.dns_names, ["vpn.example.com", "*.example.net"]);
        assert_eq!(facts.addresses, ["10.0.0.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(facts.not_after, SystemTime::UNIX_EPOCH + Duration::from_secs(1_893_456_000));
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        assert_eq!(CertificateFacts::of(&CertificateDer::from(vec![1, 2, 3])), Err(NotACertificate));
    }
}
