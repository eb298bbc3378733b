use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU8;
use std::str::FromStr;
use std::sync::Arc;

/// A host that ends VPN tunnels, as far as choosing it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Its name in the configuration; unique.
    pub name: GatewayName,
    /// Ties it to the listeners with the same number; without one it serves only listeners without one.
    pub vrrp_id: Option<VrrpId>,
    /// What it offers.
    pub vpn_mode: VpnMode,
    /// Its part in a pair of gateways that shares an address.
    pub vrrp_mode: VrrpMode,
    /// Where a browser or SSL VPN client is sent.
    pub ssl_endpoint: Endpoint,
    /// Where a native client is sent.
    pub native_endpoint: Endpoint,
    /// Where proxies and passthrough connect to it.
    pub upstream: Endpoint,
    /// Whether it has an agent that reports on it.
    pub has_agent: bool,
    /// Tunnels it can hold, where its reports do not say.
    pub tunnels_max: Option<u64>,
    /// Bits per second it can carry in one direction, where its reports do not say.
    pub capacity_bits_per_second: Option<u64>,
}

impl Gateway {
    /// Where a client of that kind is sent.
    pub fn endpoint(&self, vpn: Vpn) -> &Endpoint {
        match vpn {
            Vpn::Native => &self.native_endpoint,
            Vpn::Ssl => &self.ssl_endpoint,
        }
    }
}

#[cfg(test)]
impl Gateway {
    /// One with an agent and nothing special about it, all of it on one host.
    pub fn plain(name: &str, host: &str) -> Self {
        Self {
            name: GatewayName::new(name),
            vrrp_id: None,
            vpn_mode: VpnMode::Both,
            vrrp_mode: VrrpMode::Inactive,
            ssl_endpoint: Endpoint::parse(host, 443).unwrap(),
            native_endpoint: Endpoint::parse(host, 500).unwrap(),
            upstream: Endpoint::parse(host, 443).unwrap(),
            has_agent: true,
            tunnels_max: None,
            capacity_bits_per_second: None,
        }
    }
}

/// The name of a gateway. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GatewayName(Arc<str>);

impl GatewayName {
    /// Takes any text; the configuration has checked that it is not empty and unique.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GatewayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A VRRP ID, 1..=255 (RFC 9568 §5.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VrrpId(NonZeroU8);

impl VrrpId {
    /// `None` for 0 and for what does not fit in a byte.
    pub fn new(id: i64) -> Option<Self> {
        u8::try_from(id).ok().and_then(NonZeroU8::new).map(Self)
    }

    /// The number.
    pub fn get(self) -> u8 {
        self.0.get()
    }
}

impl fmt::Display for VrrpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A kind of VPN that a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vpn {
    /// IPsec and the like, with a native client.
    Native,
    /// SSL VPN, with a browser or an SSL VPN client.
    Ssl,
}

impl Vpn {
    /// The word used in the configuration, in metrics and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Ssl => "ssl",
        }
    }
}

/// What a gateway offers to those who are sent to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VpnMode {
    /// Native VPN alone.
    Native,
    /// SSL VPN alone.
    Ssl,
    /// Both.
    Both,
    /// Neither: it is reached through the address it shares by VRRP, and nobody is sent to it.
    VrrpOnly,
}

impl VpnMode {
    /// Whether a client that asks for `vpn` may be sent to a gateway of this mode.
    pub fn offers(self, vpn: Vpn) -> bool {
        match (self, vpn) {
            (Self::Both, _) | (Self::Native, Vpn::Native) | (Self::Ssl, Vpn::Ssl) => true,
            (Self::VrrpOnly, _) | (Self::Native, Vpn::Ssl) | (Self::Ssl, Vpn::Native) => false,
        }
    }

    /// The word used in the configuration and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Ssl => "ssl",
            Self::Both => "both",
            Self::VrrpOnly => "vrrp-only",
        }
    }
}

/// A gateway's part in a pair that shares an address by VRRP, for clients that nobody can send anywhere. The pair's own
/// keepalived moves that address; here it is only told, and changes nothing about who is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VrrpMode {
    /// None.
    Inactive,
    /// It begins with the address.
    Master,
    /// It takes the address over.
    Backup,
}

impl VrrpMode {
    /// The word used in the configuration and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Master => "master",
            Self::Backup => "backup",
        }
    }
}

/// `host[:port]` that a client is sent to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Name or address.
    pub host: Host,
    /// TCP or UDP port.
    pub port: u16,
}

/// A host name (LDH labels, RFC 1123 §2.1) or an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// A DNS name in lower case.
    Name(Box<str>),
    /// An IPv4 or IPv6 address.
    Address(IpAddr),
}

/// Why a text is not an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Nothing before the port.
    #[error("the host is missing")]
    NoHost,
    /// The port is not 1..=65535.
    #[error("the port must be a number from 1 to 65535")]
    Port,
    /// Neither an address nor a host name.
    #[error("the host must be an address or a host name (letters, digits, hyphens and dots)")]
    Host,
    /// `::1:443` can be read in two ways.
    #[error("an IPv6 address must stand in brackets, like [2001:db8::1]:443")]
    Brackets,
}

impl Endpoint {
    /// Reads `host[:port]`; an IPv6 address with a port stands in brackets.
    pub fn parse(text: &str, default_port: u16) -> Result<Self, EndpointError> {
        if let Ok(address) = text.parse::<IpAddr>() {
            // `::1:443` would be read as an address whose last group is 443: refuse to guess.
            return match address {
                IpAddr::V6(_) => Err(EndpointError::Brackets),
                IpAddr::V4(_) => Ok(Self { host: Host::Address(address), port: default_port }),
            };
        }
        if let Some(rest) = text.strip_prefix('[') {
            let (address, port) = rest.split_once(']').ok_or(EndpointError::Brackets)?;
            let address = Ipv6Addr::from_str(address).map_err(|_| EndpointError::Host)?;
            let port = match port.strip_prefix(':') {
                Some(port) => parse_port(port)?,
                None if port.is_empty() => default_port,
                None => return Err(EndpointError::Port),
            };
            return Ok(Self { host: Host::Address(address.into()), port });
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, _)) if host.contains(':') => return Err(EndpointError::Brackets),
            Some((host, port)) => (host, parse_port(port)?),
            None => (text, default_port),
        };
        if host.is_empty() {
            return Err(EndpointError::NoHost);
        }
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(Self { host: Host::Address(address), port });
        }
        if !is_host_name(host) {
            return Err(EndpointError::Host);
        }
        Ok(Self { host: Host::Name(host.to_ascii_lowercase().into()), port })
    }

    /// `https://host[:port]`, without the port where it is 443, and without a slash at the end.
    pub fn https_origin(&self) -> String {
        if self.port == 443 { format!("https://{}", self.host) } else { format!("https://{self}") }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Host {
    /// A DNS name in any case; `None`: it is none, or an address.
    pub fn name(text: &str) -> Option<Self> {
        let is_name = is_host_name(text) && text.parse::<IpAddr>().is_err();
        is_name.then(|| Self::Name(text.to_ascii_lowercase().into()))
    }

    /// The host as a TLS server name or certificate name: without brackets.
    pub fn bare(&self) -> String {
        match self {
            Self::Name(name) => name.to_string(),
            Self::Address(address) => address.to_string(),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

fn parse_port(text: &str) -> Result<u16, EndpointError> {
    // u16::from_str would take "+443"
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(EndpointError::Port);
    }
    match text.parse() {
        Ok(0) | Err(_) => Err(EndpointError::Port),
        Ok(port) => Ok(port),
    }
}

fn is_host_name(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    // A last label of digits alone would be read as an IPv4 address by clients (WHATWG URL §3.5).
    let numeric_end = name.rsplit('.').next().is_some_and(|l| l.bytes().all(|b| b.is_ascii_digit()));
    // with the last dot, too: an answer over DVE has no room for more
    text.len() <= 253
        && !numeric_end
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_host_with_or_without_a_port() {
        for (text, shown, origin) in [
            ("62.168.1.201", "62.168.1.201:443", "https://62.168.1.201"),
            ("62.168.1.201:8443", "62.168.1.201:8443", "https://62.168.1.201:8443"),
            ("GW1.example.com", "gw1.example.com:443", "https://gw1.example.com"),
            ("gw1:4443", "gw1:4443", "https://gw1:4443"),
            ("[2001:db8::1]", "[2001:db8::1]:443", "https://[2001:db8::1]"),
            ("[2001:db8::1]:4443", "[2001:db8::1]:4443", "https://[2001:db8::1]:4443"),
        ] {
            let endpoint = Endpoint::parse(text, 443).unwrap();
            assert_eq!((endpoint.to_string().as_str(), endpoint.https_origin().as_str()), (shown, origin));
        }
    }

    #[test]
    fn what_is_not_an_endpoint_is_refused_with_the_reason() {
        use EndpointError::*;
        for (text, error) in [
            ("", NoHost),
            (":443", NoHost),
            ("gw1:", Port),
            ("gw1:0", Port),
            ("gw1:+443", Port),
            ("gw1:65536", Port),
            ("2001:db8::1", Brackets),
            ("::1:443", Brackets),
            ("[::1", Brackets),
            ("[::1]443", Port),
            ("[gw1]:443", Host),
            ("gw 1", Host),
            ("gw1/path", Host),
            ("user@gw1", Host),
            ("gw1\r\nX-y", Host),
            ("-gw1", Host),
            ("1.2.3", Host),
            ("https://gw1", Host),
        ] {
            let got = Endpoint::parse(text, 443);
            assert!(got.is_err(), "{text:?} was taken");
            if text != "https://gw1" {
                assert_eq!(got, Err(error), "{text:?}");
            }
        }
    }

    #[test]
    fn a_host_name_has_253_characters_at_most_with_the_last_dot() {
        let name = |length: usize| format!("{}a", "abc.".repeat(70).get(..length - 1).unwrap());
        for (text, is_one) in
            [(name(253), true), (name(254), false), (name(252) + ".", true), (name(253) + ".", false)]
        {
            assert_eq!(Host::name(&text).is_some(), is_one, "{}", text.len());
        }
    }

    #[test]
    fn a_vrrp_id_is_1_to_255() {
        assert_eq!(
            [-1, 0, 1, 255, 256].map(|id| VrrpId::new(id).map(VrrpId::get)),
            [None, None, Some(1), Some(255), None]
        );
    }
}
