use std::time::{Duration, Instant};

use crate::fleet::{FenceReading, GatewayName, LocalBlock};

/// Logs what an agent's report has changed about its fence: that newcomers are refused, by whom and why; that they are
/// no longer; that one more holds the block, or one less.
pub fn tell_change(
    gateway: &GatewayName,
    before: Option<&FenceReading>,
    after: Option<&FenceReading>,
    stale_after: Duration,
    now: Instant,
) {
    let gateway = gateway.as_str();
    let was_blocked = before.is_some_and(|reading| reading.is_blocked(now, stale_after));
    let is_blocked = after.is_some_and(|reading| reading.is_blocked(now, stale_after));
    // leases that have run out meanwhile were there all the same
    let held = before.into_iter().flat_map(|reading| reading.report.holders.iter());
    let holds: Vec<_> = after.into_iter().flat_map(|reading| reading.report.holders.iter()).collect();
    let is_among = |by: &str| holds.iter().any(|holder| &*holder.lease.by == by);
    let (gone, stayed): (Vec<_>, Vec<_>) = held.partition(|holder| !is_among(&holder.lease.by));
    match (was_blocked, is_blocked) {
        (false, true) if holds.is_empty() => {
            tracing::warn!(
                gateway,
                "gateway is fenced: its firewall refuses newcomers, and nobody wants it to"
            );
        }
        (false, true) => {
            for holder in &holds {
                let (by, reason) = (&*holder.lease.by, &*holder.reason);
                tracing::warn!(gateway, by, reason, "gateway is fenced: its firewall refuses newcomers");
            }
        }
        (true, false) => tracing::info!(gateway, "gateway is fenced no longer"),
        (true, true) => {
            let knew = |by: &str| stayed.iter().any(|holder| &*holder.lease.by == by);
            for holder in holds.iter().filter(|holder| !knew(&holder.lease.by)) {
                let (by, reason) = (&*holder.lease.by, &*holder.reason);
                tracing::info!(gateway, by, reason, "one more holds the gateway's fence");
            }
            for holder in gone {
                let by = &*holder.lease.by;
                tracing::info!(gateway, by, "one less holds the gateway's fence");
            }
        }
        (false, false) => {}
    }
}

/// Logs what has changed in this host's own firewall.
pub fn tell_local_change(gateway: &GatewayName, before: Option<&LocalBlock>, after: Option<&LocalBlock>) {
    let gateway = gateway.as_str();
    match (before, after) {
        (None, Some(block)) => {
            let (by, reason) = (&*block.by, &*block.reason);
            tracing::warn!(
                gateway,
                by,
                reason,
                "gateway is fenced: this host's firewall keeps everyone from it"
            );
        }
        (Some(_), None) => tracing::info!(gateway, "gateway is fenced no longer by this host's firewall"),
        (Some(_), Some(_)) | (None, None) => {}
    }
}
