use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};

use crate::admin::vrrp::{VrrpState, VrrpStatus};
use crate::fleet::Standing;
use crate::net::stop::{self, Stopper};
use crate::vrrp::{self, Claim, Follow, Instance, Report};

/// What is so of each instance, as the one who follows the virtual addresses tells it.
pub type Reports = watch::Receiver<Arc<[Report]>>;

/// The one who follows the virtual addresses.
pub struct StandingFollower {
    instances: watch::Sender<Arc<[Instance]>>,
    stopper: Stopper,
    task: JoinHandle<()>,
}

impl StandingFollower {
    /// Begins to keep the standing true.
    pub fn start(
        instances: &[Instance],
        standing: Standing,
        reports: watch::Sender<Arc<[Report]>>,
        claims: watch::Receiver<Arc<[Claim]>>,
    ) -> Self {
        let (sender, receiver) = watch::channel(Arc::from(instances));
        let (stopper, stop) = stop::channel();
        let follow = Follow { instances: receiver, standing, reports, claims };
        let task = tokio::spawn(vrrp::run(follow, stop));
        Self { instances: sender, stopper, task }
    }

    /// Goes over to other instances.
    pub fn change(&self, instances: &[Instance]) {
        self.instances.send_replace(Arc::from(instances));
    }

    /// Returns when it has ended though nobody has told it to; a panic is an error.
    pub async fn ended(&mut self) -> Result<(), JoinError> {
        (&mut self.task).await
    }

    /// Stops in order.
    pub async fn stop(self) {
        self.stopper.stop();
        let _ = self.task.await;
    }
}

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
