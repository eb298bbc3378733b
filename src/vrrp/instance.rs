use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::fleet::VrrpId;

/// A virtual router of the pair that this front door belongs to (RFC 9568 §1.7): addresses that one of them holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Its number; no other has it.
    pub vrrp_id: VrrpId,
    /// How this host begins.
    pub role: Role,
    /// Where VRRP is spoken.
    pub interface: String,
    /// The virtual addresses, each with the length of its network's prefix. At least one; no other has any of them.
    pub addresses: Vec<IpNet>,
    /// The other hosts of the pair, for unicast VRRP; empty: multicast.
    pub peers: Vec<IpAddr>,
    /// From one advertisement to the next: whole centiseconds, 10 ms to 40.95 s (RFC 9568 §5.2.7).
    pub advertisement_interval: Duration,
    /// Whether the one with the higher priority takes the addresses back once it is there again (RFC 9568 §6.1).
    pub preempt: bool,
    /// Where keepalived tells what it has decided.
    pub notify_fifo: PathBuf,
}

/// Who begins with the virtual addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// This host.
    Master,
    /// The other one.
    Backup,
}
