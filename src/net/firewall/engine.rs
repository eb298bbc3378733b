use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::fence::{Block, Fence};

/// What sets rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// `nft`.
    Nftables,
    /// `iptables` and `ip6tables`.
    Iptables,
}

/// The rules that refuse newcomers on this host.
#[derive(Debug)]
pub struct Firewall {
    engine: Engine,
    fence: Fence,
}

/// What was found and done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// All was as it is to be.
    AsItWas,
    /// What was asked for is another thing than before, and has been written and read back.
    Written,
    /// Somebody else had changed what is ours; it is in order again.
    Repaired,
}

/// Why rules cannot be set.
#[derive(Debug, thiserror::Error)]
pub enum FirewallError {
    /// Not on this host, or not by us.
    #[error("{0}")]
    Unusable(String),
}

impl Engine {
    /// The word in configurations and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nftables => "nftables",
            Self::Iptables => "iptables",
        }
    }
}

impl Firewall {
    /// Nothing is looked at or changed yet.
    pub fn new(engine: Engine, fence: Fence) -> Self {
        Self { engine, fence }
    }

    /// What sets the rules.
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// Brings our rules into order: `block` is in force, or nothing is, and what comes from `exempt` passes
    /// beside what the configuration exempts. Looks at what is there each time, so that calling it again repairs
    /// what others have changed; writes only what differs, in one transaction, and reads it back.
    pub async fn set(&mut self, block: Option<&Block>, exempt: &[IpAddr]) -> Result<Done, FirewallError> {
        let _ = (&self.fence, block, exempt);
        Err(FirewallError::Unusable("not there yet".to_owned()))
    }

    /// Takes all of our rules away.
    pub async fn remove(&mut self) -> Result<(), FirewallError> {
        Err(FirewallError::Unusable("not there yet".to_owned()))
    }
}

/// The rules that keep this host, and what it forwards, from opening connections to gateways elsewhere that
/// have no agent to fence them. Always nftables.
#[derive(Debug, Default)]
pub struct Wall {}

/// An endpoint that no connection is to be opened to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Away {
    /// Where, over TCP.
    pub to: SocketAddr,
    /// Until when the kernel keeps it so.
    pub until: Instant,
    /// Who wants it, for whoever lists the rules.
    pub holders: String,
}

/// The mark (SO_MARK) of this program's own health checks, which pass: otherwise nobody would see when a gateway
/// works again.
pub const CHECK_MARK: u32 = 0x5645_5354;

impl Wall {
    /// Like [`Firewall::set`]: these alone are in force.
    pub async fn set(&mut self, blocks: &[Away]) -> Result<Done, FirewallError> {
        let _ = blocks;
        Err(FirewallError::Unusable("not there yet".to_owned()))
    }

    /// Takes all of its rules away.
    pub async fn remove(&mut self) -> Result<(), FirewallError> {
        Err(FirewallError::Unusable("not there yet".to_owned()))
    }
}
