use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::chains::Chains;
use super::fence::{Block, Fence};
use super::kept::KeptTable;
use super::nft::Timed;
use super::tables::{FENCE_TABLE, WALL_TABLE, exempt_networks, fence_table, wall_table};
use crate::net::command::CommandError;

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
    kept: Kept,
    fence: Fence,
}

#[derive(Debug)]
enum Kept {
    Nftables(KeptTable),
    Iptables(Chains),
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
    /// Something is missing on this host, or who we run as may not. Another try is useless until somebody does what
    /// the text says.
    #[error("{0}")]
    Unusable(String),
    /// This host is short of what it takes to run a program, and nothing is known of the rules. Worth another try.
    #[error("the firewall's program {0}")]
    Shortage(#[source] CommandError),
    /// A program has refused, or does not answer; in its words. Worth another try.
    #[error("{0}")]
    Failed(String),
    /// It was written, but something else was read back: somebody else keeps changing it. Worth another try.
    #[error("{0} has been set, but is not in force; does another program change it?")]
    NotInForce(String),
}

impl FirewallError {
    /// Who we run as may not.
    pub(super) fn not_allowed() -> Self {
        let text = "this process may not change the firewall; run it as root, or with AmbientCapabilities=CAP_NET_ADMIN in \
                    its systemd unit (capabilities of its file do not pass on to nft and iptables)";
        Self::Unusable(text.to_owned())
    }
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
    pub fn new(engine: Engine, mut fence: Fence) -> Self {
        fence.ports.sort();
        fence.ports.dedup();
        fence.spare.sort();
        fence.spare.dedup();
        let kept = match engine {
            Engine::Nftables => Kept::Nftables(KeptTable::new(FENCE_TABLE)),
            Engine::Iptables => Kept::Iptables(Chains::default()),
        };
        Self { kept, fence }
    }

    /// What sets the rules.
    pub fn engine(&self) -> Engine {
        match self.kept {
            Kept::Nftables(_) => Engine::Nftables,
            Kept::Iptables(_) => Engine::Iptables,
        }
    }

    /// Brings our rules into order: `block` is in force, or nothing is, and what comes from `exempt` passes
    /// beside what the configuration exempts. Looks at what is there each time, so that calling it again repairs
    /// what others have changed; writes only what differs, in one transaction, and reads it back.
    pub async fn set(&mut self, block: Option<&Block>, exempt: &[IpAddr]) -> Result<Done, FirewallError> {
        let exempt = exempt_networks(&self.fence.exempt, exempt);
        match &mut self.kept {
            Kept::Nftables(table) => table.set(fence_table(&self.fence, block, &exempt)).await,
            Kept::Iptables(chains) => chains.set(&self.fence, block, &exempt).await,
        }
    }

    /// Looks for a block that is in force, whoever has set it, and changes nothing. Its end is that of the rule that
    /// lasts longest, as far as the kernel tells, and so up to a second early; who wants it is empty where that is
    /// not told.
    pub async fn find(&mut self) -> Result<Option<Block>, FirewallError> {
        match &mut self.kept {
            Kept::Nftables(table) => table.find_block().await,
            Kept::Iptables(chains) => chains.find_block().await,
        }
    }

    /// Takes all of our rules away.
    pub async fn remove(&mut self) -> Result<(), FirewallError> {
        match &mut self.kept {
            Kept::Nftables(table) => table.remove().await.map(drop),
            Kept::Iptables(chains) => chains.remove().await.map(drop),
        }
    }
}

/// The rules that keep this host, and what it forwards, from opening connections to gateways elsewhere that
/// have no agent to fence them. Always nftables.
#[derive(Debug)]
pub struct Wall {
    table: KeptTable,
}

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

impl Default for Wall {
    /// Nothing is looked at or changed yet.
    fn default() -> Self {
        Self { table: KeptTable::new(WALL_TABLE) }
    }
}

impl Wall {
    /// Like [`Firewall::set`]: these alone are in force.
    pub async fn set(&mut self, blocks: &[Away]) -> Result<Done, FirewallError> {
        let mut blocks: Vec<_> = blocks.iter().collect();
        // of two for one endpoint, the one that lasts longer
        blocks.sort_by_key(|away| (away.to, std::cmp::Reverse(away.until)));
        blocks.dedup_by_key(|away| away.to);
        let timed = |away: &Away| Timed { key: away.to, until: away.until, comment: away.holders.clone() };
        self.table.set(wall_table(blocks.into_iter().map(timed).collect(), CHECK_MARK)).await
    }

    /// Takes all of its rules away.
    pub async fn remove(&mut self) -> Result<(), FirewallError> {
        self.table.remove().await.map(drop)
    }
}
