use std::sync::Arc;

use tokio::sync::watch;

use crate::admin::vrrp::{VrrpState, VrrpStatus};
use crate::fleet::Standing;
use crate::vrrp::{Instance, Report};

/// What is so of each instance, as the one who follows the virtual addresses tells it.
pub type Reports = watch::Receiver<Arc<[Report]>>;

/// How the status shows it.
pub fn statuses(reports: &Reports) -> Vec<VrrpStatus> {
    let shown = |report: &Report| VrrpStatus {
        vrrp_id: report.vrrp_id.get(),
        state: if report.active { VrrpState::Active } else { VrrpState::Standby },
        since: report.since.wall.into(),
        interface: report.interface.clone(),
        addresses: report.addresses.iter().map(ToString::to_string).collect(),
        reason: report.reason.clone(),
        conflict: report.conflict.clone(),
    };
    reports.borrow().iter().map(shown).collect()
}

/// That of a front door that has not looked yet: what is not known is not claimed.
pub fn at_the_start(instances: &[Instance]) -> Standing {
    let standing = Standing::active();
    standing.set(instances.is_empty());
    standing
}
