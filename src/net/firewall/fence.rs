use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Instant;

use ipnet::IpNet;

/// What is refused where a gateway is fenced, as the configuration says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// Where the service listens.
    pub ports: Vec<Port>,
    /// How much of it is refused.
    pub connections: Connections,
    /// What those who are refused are told.
    pub reject_with: RejectWith,
    /// Who passes whatever happens, beside what comes over the loopback interface.
    pub exempt: Vec<IpNet>,
    /// Addresses of this host at which others than the service listen, a front door say: who comes there passes.
    pub spare: Vec<IpAddr>,
}

/// A port of a gateway's service: `tcp/443`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    /// Of which protocol.
    pub protocol: Protocol,
    /// 1 to 65535.
    pub number: u16,
}

/// A protocol that has ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// How much of what comes to a port is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Connections {
    /// What opens a connection; those that are there live on.
    #[default]
    New,
    /// Everything: connections are cut.
    All,
}

/// What those who are refused are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectWith {
    /// A TCP reset; for UDP the other one.
    TcpReset,
    /// ICMP or ICMPv6 "port unreachable" (RFC 792, RFC 4443 §3.1).
    IcmpPortUnreachable,
}

/// A block that is to be in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Until when the kernel keeps it up.
    pub until: Instant,
    /// Who wants it, for whoever lists the rules: `self, front-a`.
    pub holders: String,
}

/// A text that is not a port of a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a protocol and a port, like \"tcp/443\" or \"udp/443\"")]
pub struct NotAPort;

impl Protocol {
    /// The word in configurations, reports and rules.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl FromStr for Port {
    type Err = NotAPort;

    fn from_str(text: &str) -> Result<Self, NotAPort> {
        let (protocol, number) = text.split_once('/').ok_or(NotAPort)?;
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            _ => return Err(NotAPort),
        };
        // from_str would take "+443"
        let plain = number.bytes().all(|byte| byte.is_ascii_digit());
        match number.parse() {
            Ok(number @ 1..) if plain => Ok(Self { protocol, number }),
            _ => Err(NotAPort),
        }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.protocol.as_str(), self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_read_and_written_as_it_stands_in_the_configuration() {
        for text in ["tcp/443", "udp/1", "tcp/65535"] {
            assert_eq!(text.parse::<Port>().unwrap().to_string(), text);
        }
        for text in ["", "443", "tcp/", "tcp/0", "tcp/65536", "tcp/+443", "TCP/443", "sctp/1", "tcp/443 "] {
            assert_eq!(text.parse::<Port>(), Err(NotAPort), "{text:?}");
        }
    }
}
