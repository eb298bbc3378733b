use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;

use crate::fleet::VrrpId;

/// A virtual router of the pair that this host belongs to (RFC 9568 §1.7): addresses that one of them holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Its number; no other has it.
    pub vrrp_id: VrrpId,
    /// How this host begins.
    pub role: Role,
    /// Where VRRP is spoken, and the addresses are.
    pub interface: String,
    /// The virtual addresses, each with the length of its network's prefix. At least one; no other has any of them.
    pub addresses: Vec<IpNet>,
    /// The other hosts of the pair, for unicast VRRP; empty: multicast.
    pub peers: Vec<IpAddr>,
    /// From one advertisement to the next: whole centiseconds, 10 ms to 40.95 s (RFC 9568 §5.2.7).
    pub advertisement_interval: Duration,
    /// Whether the one with the higher priority takes the addresses back once it is there again (RFC 9568 §6.1).
    pub preempt: bool,
    /// Where keepalived tells what it has decided; `None`: nobody listens, as on a gateway without a front door.
    pub notify_fifo: Option<PathBuf>,
}

/// Who begins with the virtual addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// This host.
    Master,
    /// The other one.
    Backup,
}

/// Which kind of address. Each is moved by itself (RFC 9568 §1.6): keepalived has an instance for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// Of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// What keepalived calls its instance: `vestibule-31-ipv4`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InstanceName {
    /// Of the virtual router.
    pub vrrp_id: VrrpId,
    /// Of its addresses.
    pub family: Family,
}

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = match self.family {
            Family::V4 => V4,
            Family::V6 => V6,
        };
        write!(f, "{PREFIX}{}{family}", self.vrrp_id)
    }
}

impl FromStr for InstanceName {
    type Err = NotOurs;

    fn from_str(text: &str) -> Result<Self, NotOurs> {
        let rest = text.strip_prefix(PREFIX).ok_or(NotOurs)?;
        let four = rest.strip_suffix(V4).map(|id| (id, Family::V4));
        let (id, family) = four.or_else(|| Some((rest.strip_suffix(V6)?, Family::V6))).ok_or(NotOurs)?;
        let vrrp_id = id.parse().ok().and_then(VrrpId::new).ok_or(NotOurs)?;
        Ok(Self { vrrp_id, family })
    }
}

/// The name of another instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name of an instance is like {PREFIX}31{V4}")]
pub struct NotOurs;

const PREFIX: &str = "vestibule-";
const V4: &str = "-ipv4";
const V6: &str = "-ipv6";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_known_by_its_name() {
        for text in ["vestibule-1-ipv4", "vestibule-255-ipv6"] {
            assert_eq!(text.parse::<InstanceName>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "V",
            "vestibule",
            "vestibule-31",
            "vestibule-0-ipv4",
            "vestibule-256-ipv4",
            "vestibule-x-ipv6",
        ] {
            assert_eq!(text.parse::<InstanceName>(), Err(NotOurs), "{text}");
        }
    }
}
