use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::fleet::{Balance, FenceReading, GatewayView, Lease, SELF};

/// The firewall blocks on a gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FenceStatus {
    /// What sets them: the word of its agent's report, or `local` where only this host's own firewall does.
    pub engine: String,
    /// Whether newcomers are refused.
    pub blocked: bool,
    /// Which ports its agent refuses them on, as `tcp/443`.
    pub ports: Vec<String>,
    /// Who wants them refused.
    pub holders: Vec<HolderStatus>,
    /// Who keeps its agent from refusing them by itself.
    pub kept_open_by: Vec<KeeperStatus>,
}

/// One who keeps a block up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HolderStatus {
    /// A front door's name, or `self`: the gateway's agent.
    pub by: String,
    /// What for.
    pub reason: String,
    /// How much longer, unless it is renewed.
    pub seconds_left: f64,
}

/// One who keeps a gateway open.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeeperStatus {
    /// A front door's name.
    pub by: String,
    /// How much longer, unless it is renewed.
    pub seconds_left: f64,
}

impl FenceStatus {
    pub(in crate::admin) fn of(view: &GatewayView, balance: &Balance, now: Instant) -> Option<Self> {
        let local = view.local_block.as_ref().filter(|block| block.is_alive(now));
        let reading = view.fence.as_ref();
        // an agent without an engine has no part in a block of this host
        let engine = match reading {
            Some(reading) if reading.report.can_block() || local.is_none() => &*reading.report.engine,
            _ => "local",
        };
        if reading.is_none() && local.is_none() {
            return None;
        }
        let left =
            |reading: &FenceReading, lease: &Lease| tenths(reading.left(lease, now).unwrap_or_default());
        let mut holders = Vec::new();
        let mut kept_open_by = Vec::new();
        if let Some(reading) = reading {
            holders.extend(reading.holders(now).map(|holder| HolderStatus {
                by: holder.lease.by.to_string(),
                reason: holder.reason.to_string(),
                seconds_left: left(reading, &holder.lease),
            }));
            let keeper =
                |lease: &Lease| KeeperStatus { by: lease.by.to_string(), seconds_left: left(reading, lease) };
            kept_open_by.extend(reading.kept_open_by(now).map(keeper));
        }
        holders.extend(local.map(|block| HolderStatus {
            by: block.by.to_string(),
            reason: block.reason.to_string(),
            seconds_left: tenths(block.until.saturating_duration_since(now)),
        }));
        Some(Self {
            engine: engine.to_owned(),
            blocked: view.is_fenced(now, balance.stale_after),
            ports: reading.iter().flat_map(|r| r.report.ports.iter()).map(ToString::to_string).collect(),
            holders,
            kept_open_by,
        })
    }

    /// Who blocks it and why, in a few words; `None` if nobody does.
    pub fn in_words(&self) -> Option<String> {
        if !self.blocked {
            return None;
        }
        let holders: Vec<_> = self.blockers().map(|h| format!("by {}: {}", h.by, h.reason)).collect();
        Some(if holders.is_empty() { "though nobody wants it to be".to_owned() } else { holders.join(", ") })
    }

    /// The holders whose blocks are in force: what the gateway holds by itself is not while it is kept open.
    pub(in crate::admin) fn blockers(&self) -> impl Iterator<Item = &HolderStatus> {
        let is_kept_open = !self.kept_open_by.is_empty();
        self.holders.iter().filter(move |holder| !(is_kept_open && holder.by == SELF))
    }
}

/// In seconds, to the tenth.
fn tenths(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10.0).round() / 10.0
}
