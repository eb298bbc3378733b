use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, DnsName, PrivateKeyDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;

/// What is to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Names and addresses that people type to reach the portal; at least one. A name may begin with `*.`.
    pub server_names: Vec<String>,
    /// The front doors, with the addresses at which they ask each other, if they do.
    pub fronts: Vec<Named>,
    /// The gateways that run an agent, with the addresses at which front doors ask that.
    pub gateways: Vec<Named>,
}

/// A host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// Addresses at which others ask what runs there; may be none.
    pub addresses: Vec<IpAddr>,
}

/// Everything that was asked for.
pub struct Made {
    /// The private authority. Whoever has its key can make more.
    pub authority: Pair,
    /// For the portal: TLS server.
    pub portal: Pair,
    /// For the front doors, by name: TLS client and server.
    pub fronts: Vec<(String, Pair)>,
    /// For the agents on the gateways, by name: TLS server.
    pub gateways: Vec<(String, Pair)>,
    /// What DVE answers are signed with.
    pub dve: DveKey,
}

/// A certificate with its key.
pub struct Pair {
    /// The certificate.
    pub certificate: CertificateDer<'static>,
    /// The same as PEM.
    pub certificate_pem: String,
    /// The private key, PKCS #8.
    pub key: PrivateKeyDer<'static>,
    /// The same as PEM.
    pub key_pem: String,
}

/// An Ed25519 key (RFC 8032).
pub struct DveKey {
    /// The private key, PKCS #8 without the public one (RFC 8410 §7).
    pub key: PrivateKeyDer<'static>,
    /// The same as PEM.
    pub key_pem: String,
    /// The public key, 32 bytes.
    pub public: Vec<u8>,
    /// The same as PEM (SubjectPublicKeyInfo).
    pub public_pem: String,
}

/// Why nothing can be made.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// A portal that nobody can call.
    #[error("at least one name of the portal is needed; give --name HOST")]
    NoServerName,
    /// It can stand in no certificate.
    #[error("'{0}' is neither a host name nor an address")]
    Name(String),
    /// Names of hosts become names of files.
    #[error("'{0}' cannot be the name of a host; use letters, digits, '-', '_' and '.' inside, 64 at most")]
    HostName(String),
    /// Two would go by one name.
    #[error("the name '{0}' is given twice, or is taken by a file of this program (ca, portal, dve)")]
    Taken(String),
    /// No random numbers, or the time is out of any range.
    #[error("the certificate cannot be made")]
    Certificate(#[source] rcgen::Error),
    /// The operating system gives none.
    #[error("there are no random numbers")]
    Random,
}

impl From<rcgen::Error> for MakeError {
    fn from(error: rcgen::Error) -> Self {
        Self::Certificate(error)
    }
}

/// Makes new keys for everything in `request`, valid from an hour before `now`.
pub fn make(request: &Request, now: SystemTime) -> Result<Made, MakeError> {
    let server_names = request.server_names.iter().map(|name| alternative_name(name));
    let server_names = server_names.collect::<Result<Vec<_>, _>>()?;
    // what clients compare are the alternative names; this is for people
    let first_name = request.server_names.first().ok_or(MakeError::NoServerName)?;
    let common_name = if first_name.len() > MAX_COMMON_NAME { "portal" } else { first_name };
    check_host_names(request)?;

    let authority_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let authority_params = authority_params(now)?;
    let authority = Pair::new(&authority_params.self_signed(&authority_key)?, &authority_key)?;
    let issuer = Issuer::from_params(&authority_params, &authority_key);

    let sign = |common_name: &str, names: Vec<SanType>, uses: &[ExtendedKeyUsagePurpose]| {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let params = leaf_params(common_name, names, uses, now)?;
        Pair::new(&params.signed_by(&key, &issuer)?, &key)
    };
    let portal = sign(common_name, server_names, &[ExtendedKeyUsagePurpose::ServerAuth])?;
    let host = |host: &Named, uses: &[ExtendedKeyUsagePurpose]| {
        let mut names = vec![alternative_name(&host.name)?];
        names.extend(host.addresses.iter().copied().map(SanType::IpAddress));
        Ok((host.name.clone(), sign(&host.name, names, uses)?))
    };
    let fronts = request.fronts.iter().map(|front| {
        // server too, for what front doors have to say to each other
        host(front, &[ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth])
    });
    let fronts = fronts.collect::<Result<_, MakeError>>()?;
    let gateways =
        request.gateways.iter().map(|gateway| host(gateway, &[ExtendedKeyUsagePurpose::ServerAuth]));
    let gateways = gateways.collect::<Result<_, MakeError>>()?;
    Ok(Made { authority, portal, fronts, gateways, dve: DveKey::generate()? })
}

/// Clocks differ: a certificate made this minute must hold on a host that is behind.
const BACKDATED: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
const AUTHORITY_VALIDITY: Duration = Duration::from_secs(3650 * DAY.as_secs());
/// Some clients refuse what is valid for more than 825 days, both ends counted.
const LEAF_VALIDITY: Duration = Duration::from_secs(825 * DAY.as_secs() - 1);

/// RFC 5280 appendix A, ub-common-name.
const MAX_COMMON_NAME: usize = 64;

impl Pair {
    fn new(certificate: &rcgen::Certificate, key: &KeyPair) -> Result<Self, MakeError> {
        Ok(Self {
            certificate: certificate.der().clone(),
            certificate_pem: certificate.pem(),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            key_pem: key.serialize_pem(),
        })
    }
}

impl DveKey {
    fn generate() -> Result<Self, MakeError> {
        // rcgen would add the public key to the private one (PKCS #8 version 2), which OpenSSL 3.0
        // does not read; so the seed is drawn here and wrapped in version 1.
        let der = [ED25519_PKCS8_V1, &random::<32>()?].concat();
        let der = PrivatePkcs8KeyDer::from(der);
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ED25519)?;
        Ok(Self {
            key_pem: key.serialize_pem(),
            public: key.public_key_raw().to_vec(),
            public_pem: key.public_key_pem(),
            key: der.into(),
        })
    }

    /// The public key as 64 hexadecimal digits.
    pub fn public_hex(&self) -> String {
        hex(&self.public)
    }
}

/// Everything before the seed in an Ed25519 private key (RFC 8410 §7): sequence of version 0, algorithm
/// 1.3.101.112, and an octet string in an octet string.
const ED25519_PKCS8_V1: &[u8] =
    &[0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

fn authority_params(now: SystemTime) -> Result<CertificateParams, MakeError> {
    // told apart by name, so that a host that trusts two of them finds the right one
    let name = format!("Vestibule private CA {}", hex(&random::<4>()?));
    let mut params = params(&name, now, AUTHORITY_VALIDITY)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn leaf_params(
    common_name: &str,
    names: Vec<SanType>,
    uses: &[ExtendedKeyUsagePurpose],
    now: SystemTime,
) -> Result<CertificateParams, MakeError> {
    let mut params = params(common_name, now, LEAF_VALIDITY)?;
    params.subject_alt_names = names;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = uses.to_vec();
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn params(common_name: &str, now: SystemTime, valid: Duration) -> Result<CertificateParams, MakeError> {
    let not_before = OffsetDateTime::from(now) - BACKDATED;
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = not_before;
    params.not_after = not_before + valid;
    params.serial_number = Some(serial_number()?);
    Ok(params)
}

/// 126 random bits: the first bit is 0, for the number must be positive (RFC 5280 §4.1.2.2), the second is
/// 1, for it must not begin with a zero byte.
fn serial_number() -> Result<SerialNumber, MakeError> {
    let number = u128::from_be_bytes(random()?) & (u128::MAX >> 2) | (1 << 126);
    Ok(SerialNumber::from_slice(&number.to_be_bytes()))
}

fn random<const N: usize>() -> Result<[u8; N], MakeError> {
    let mut bytes = [0; N];
    let source = rustls::crypto::aws_lc_rs::default_provider().secure_random;
    source.fill(&mut bytes).map_err(|_| MakeError::Random)?;
    Ok(bytes)
}

fn alternative_name(name: &str) -> Result<SanType, MakeError> {
    if let Ok(address) = name.parse() {
        return Ok(SanType::IpAddress(address));
    }
    let wrong = || MakeError::Name(name.into());
    let host = name.strip_prefix("*.").unwrap_or(name);
    // digits at the end make clients take a name for an address that is not one
    let numeric_end = host.rsplit('.').next().is_some_and(|l| l.bytes().all(|b| b.is_ascii_digit()));
    if numeric_end || host.ends_with('.') || DnsName::try_from(host).is_err() {
        return Err(wrong());
    }
    Ok(SanType::DnsName(name.try_into().map_err(|_| wrong())?))
}

/// A name becomes the name of a file and stands in a certificate.
fn check_host_names(request: &Request) -> Result<(), MakeError> {
    let mut taken: Vec<String> = ["ca", "portal", "dve"].map(String::from).into();
    for Named { name, .. } in request.fronts.iter().chain(&request.gateways) {
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if !plain || name.len() > MAX_COMMON_NAME || DnsName::try_from(name.as_str()).is_err() {
            return Err(MakeError::HostName(name.clone()));
        }
        // on some file systems upper and lower case are the same
        let folded = name.to_ascii_lowercase();
        if taken.contains(&folded) {
            return Err(MakeError::Taken(name.clone()));
        }
        taken.push(folded);
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier;
    use rustls::pki_types::{ServerName, UnixTime};
    use rustls::server::WebPkiClientVerifier;
    use rustls::{CertificateError, Error, RootCertStore};
    use x509_parser::prelude::{FromDer, X509Certificate};

    use super::*;
    use crate::net::certificate::CertificateFacts;
    use crate::net::tls;

    fn request() -> Request {
        Request {
            server_names: ["vpn.example.com", "*.portal.example.com", "62.168.1.203", "2001:db8::1"]
                .map(String::from)
                .into(),
            fronts: vec![
                Named { name: "front-a".into(), addresses: vec![] },
                Named { name: "front-b".into(), addresses: vec!["192.168.200.4".parse().unwrap()] },
            ],
            gateways: vec![Named { name: "gw1".into(), addresses: vec!["192.168.200.1".parse().unwrap()] }],
        }
    }

    fn made() -> Made {
        make(&request(), SystemTime::now()).unwrap()
    }

    fn roots(made: &Made) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(made.authority.certificate.clone()).unwrap();
        Arc::new(roots)
    }

    fn serves(made: &Made, pair: &Pair, name: &str, now: SystemTime) -> Result<(), Error> {
        let verifier = WebPkiServerVerifier::builder_with_provider(roots(made), tls::provider());
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let now = UnixTime::since_unix_epoch(now.duration_since(SystemTime::UNIX_EPOCH).unwrap());
        let checked = verifier.build().unwrap().verify_server_cert(&pair.certificate, &[], &name, &[], now);
        checked.map(|_| ())
    }

    fn is_a_client(made: &Made, pair: &Pair) -> Result<(), Error> {
        let verifier = WebPkiClientVerifier::builder_with_provider(roots(made), tls::provider());
        let verifier = verifier.build().unwrap();
        verifier.verify_client_cert(&pair.certificate, &[], UnixTime::now()).map(|_| ())
    }

    #[test]
    fn each_certificate_holds_for_what_it_is_for() {
        let (made, now) = (made(), SystemTime::now());
        for name in ["vpn.example.com", "x.portal.example.com", "62.168.1.203", "2001:db8::1"] {
            serves(&made, &made.portal, name, now).unwrap();
        }
        is_a_client(&made, &made.fronts[0].1).unwrap();
        serves(&made, &made.fronts[1].1, "front-b", now).unwrap();
        serves(&made, &made.fronts[1].1, "192.168.200.4", now).unwrap();
        for name in ["gw1", "192.168.200.1"] {
            serves(&made, &made.gateways[0].1, name, now).unwrap();
        }
    }

    #[test]
    fn no_certificate_holds_for_what_it_is_not_for() {
        let (made, other, now) = (made(), made(), SystemTime::now());
        assert!(serves(&made, &made.portal, "gw1", now).is_err());
        assert!(is_a_client(&made, &made.gateways[0].1).is_err(), "an agent is no front door");
        assert!(is_a_client(&made, &made.portal).is_err());
        assert!(is_a_client(&other, &made.fronts[0].1).is_err(), "of another authority");
        // a leaf signs nothing, and the authority serves nothing
        assert!(serves(&made, &made.authority, "vpn.example.com", now).is_err());
    }

    #[test]
    fn validity_begins_an_hour_ago_and_ends_after_825_days_and_ten_years() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let made = make(&request(), now).unwrap();
        let hour = Duration::from_secs(3600);
        let leaf = CertificateFacts::of(&made.portal.certificate).unwrap();
        assert_eq!(leaf.not_before, now - hour);
        assert_eq!(leaf.not_after + Duration::from_secs(1), now - hour + 825 * DAY);
        let authority = CertificateFacts::of(&made.authority.certificate).unwrap();
        assert_eq!((authority.not_before, authority.not_after), (now - hour, now - hour + 3650 * DAY));
        serves(&made, &made.portal, "vpn.example.com", now).unwrap();
        let expired = serves(&made, &made.portal, "vpn.example.com", now + 825 * DAY).unwrap_err();
        let Error::InvalidCertificate(CertificateError::ExpiredContext { .. }) = expired else {
            panic!("{expired:?}")
        };
    }

    #[test]
    fn constraints_and_usages_are_right() {
        let made = made();
        let (_, authority) = X509Certificate::from_der(&made.authority.certificate).unwrap();
        let constraints = authority.basic_constraints().unwrap().unwrap();
        assert!(constraints.critical && constraints.value.ca);
        assert_eq!(constraints.value.path_len_constraint, Some(0));
        let usage = authority.key_usage().unwrap().unwrap().value;
        assert!(usage.key_cert_sign() && usage.crl_sign() && !usage.digital_signature());

        let (_, front) = X509Certificate::from_der(&made.fronts[0].1.certificate).unwrap();
        assert!(!front.basic_constraints().unwrap().unwrap().value.ca);
        let usage = front.key_usage().unwrap().unwrap().value;
        assert!(usage.digital_signature() && !usage.key_cert_sign());
        let extended = front.extended_key_usage().unwrap().unwrap().value;
        assert!(extended.client_auth && extended.server_auth && !extended.any);
        assert_eq!(front.issuer(), authority.subject());

        let facts = CertificateFacts::of(&made.fronts[0].1.certificate).unwrap();
        assert_eq!(facts.common_name.as_deref(), Some("front-a"));
        let facts = CertificateFacts::of(&made.gateways[0].1.certificate).unwrap();
        assert_eq!(
            (facts.common_name.as_deref(), facts.dns_names.as_slice()),
            (Some("gw1"), &["gw1".to_owned()][..])
        );
    }

    #[test]
    fn serial_numbers_are_positive_and_never_the_same() {
        let made = made();
        let pairs = [&made.authority, &made.portal, &made.fronts[0].1, &made.fronts[1].1];
        let mut serials: Vec<_> = pairs
            .iter()
            .map(|pair| X509Certificate::from_der(&pair.certificate).unwrap().1.raw_serial().to_vec())
            .collect();
        assert!(serials.iter().all(|serial| serial.len() == 16 && serial[0] < 0x80 && serial[0] >= 0x40));
        serials.sort();
        serials.dedup();
        assert_eq!(serials.len(), 4);
    }

    #[test]
    fn every_key_fits_its_certificate_and_the_pem_is_the_same() {
        let made = made();
        let mut pairs = vec![made.authority, made.portal];
        pairs.extend(made.fronts.into_iter().chain(made.gateways).map(|(_, pair)| pair));
        for pair in pairs {
            let read = rustls_pemfile_key(&pair.key_pem);
            assert_eq!(read.secret_der(), pair.key.secret_der());
            tls::identity(vec![pair.certificate], read).unwrap();
        }
    }

    fn rustls_pemfile_key(pem: &str) -> PrivateKeyDer<'static> {
        rustls_pemfile::private_key(&mut io::Cursor::new(pem)).unwrap().unwrap()
    }

    #[test]
    fn the_dve_key_is_an_ed25519_key_that_openssl_reads_too() {
        let dve = made().dve;
        // 48 bytes: version 1, without the public key
        assert_eq!(dve.key.secret_der().len(), 48);
        assert_eq!(rustls_pemfile_key(&dve.key_pem).secret_der(), dve.key.secret_der());
        let key = rustls::crypto::aws_lc_rs::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(
            dve.key.secret_der().to_vec(),
        ))
        .unwrap();
        assert!(key.public_key().unwrap().ends_with(&dve.public));
        assert_eq!((dve.public.len(), dve.public_hex().len()), (32, 64));
        assert!(dve.public_pem.starts_with("-----BEGIN PUBLIC KEY-----"));
    }

    #[test]
    fn a_long_name_of_the_portal_is_an_alternative_name_all_the_same() {
        let name = format!("{}.{}.example.com", "x".repeat(32), "y".repeat(32));
        let made = make(&Request { server_names: vec![name.clone()], ..request() }, SystemTime::now());
        let made = made.unwrap();
        serves(&made, &made.portal, &name, SystemTime::now()).unwrap();
        let facts = CertificateFacts::of(&made.portal.certificate).unwrap();
        assert_eq!(facts.common_name.as_deref(), Some("portal"));
    }

    #[test]
    fn what_cannot_be_a_name_is_refused() {
        let with_name = |name: &str| Request { server_names: vec![name.into()], ..request() };
        for name in ["", "vpn example.com", "https://vpn.example.com", "1.2.3", "a.*.b", "vpn.example.com."] {
            assert!(matches!(make(&with_name(name), SystemTime::now()), Err(MakeError::Name(_))), "{name:?}");
        }
        let nobody = Request { server_names: vec![], ..request() };
        assert!(matches!(make(&nobody, SystemTime::now()), Err(MakeError::NoServerName)));
        let with_front = |name: &str| Request {
            fronts: vec![Named { name: name.into(), addresses: vec![] }],
            ..request()
        };
        let long = format!("{}.{}", "x".repeat(32), "y".repeat(32));
        for name in ["", "../ca", "a/b", ".hidden", "front a", &long] {
            let got = make(&with_front(name), SystemTime::now());
            assert!(matches!(got, Err(MakeError::HostName(_))), "{name:?}");
        }
        for name in ["ca", "Portal", "gw1"] {
            let got = make(&with_front(name), SystemTime::now());
            assert!(matches!(got, Err(MakeError::Taken(_))), "{name:?}");
        }
    }
}
