use std::sync::Arc;
use std::time::{Duration, Instant};

use super::moment::Moment;

/// What an agent says of the firewall blocks on its gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FenceReport {
    /// What sets them: `nftables` or `iptables`; `none` where nothing can or is to.
    pub engine: Arc<str>,
    /// Whether newcomers are refused now.
    pub blocked: bool,
    /// Which ports, as `tcp/443`.
    pub ports: Arc<[Arc<str>]>,
    /// Who wants newcomers refused.
    pub holders: Arc<[Holder]>,
    /// The front doors that keep this gateway from blocking itself.
    pub kept_open_by: Arc<[Lease]>,
}

/// One who keeps a block up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Until when, unless it is renewed.
    pub lease: Lease,
    /// What for.
    pub reason: Arc<str>,
}

/// What somebody has for a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// A front door's name, or [`SELF`].
    pub by: Arc<str>,
    /// How much longer from the moment of the report on, unless it is renewed.
    pub left: Duration,
}

/// How an agent calls itself among the holders.
pub const SELF: &str = "self";

/// A report on blocks with its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FenceReading {
    /// As reported.
    pub report: FenceReport,
    /// When it came.
    pub at: Moment,
}

impl FenceReport {
    /// Whether that holder is among them.
    pub fn is_held_by(&self, holder: &str) -> bool {
        self.holders.iter().any(|h| &*h.lease.by == holder)
    }

    /// Whether a block can be set at all.
    pub fn can_block(&self) -> bool {
        matches!(&*self.engine, "nftables" | "iptables")
    }
}

impl FenceReading {
    /// Whether newcomers are refused, as far as is known: until every lease has run out, where no newer report
    /// comes.
    pub fn is_blocked(&self, now: Instant) -> bool {
        let longest = self.report.holders.iter().map(|holder| holder.lease.left).max().unwrap_or_default();
        self.report.blocked && self.at.until(now) <= longest
    }
}
