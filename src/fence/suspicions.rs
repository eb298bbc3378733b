use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::fleet::{CheckOutcome, CheckResult, GatewayName, GatewayView, HEARTBEAT, SELF, Snapshot};
use crate::net::words::{REFUSED, RESET};

/// The gateways whose blocks may be what our own checks of them run into: then they would never end.
#[derive(Debug, Default)]
pub struct Suspicions(BTreeMap<GatewayName, Suspicion>);

/// Of one block.
#[derive(Debug, Default)]
struct Suspicion {
    /// Since when our checks have been refused, though the agent finds the gateway well.
    since: Option<Instant>,
    was_told: bool,
}

impl Suspicions {
    /// Takes note of what is known now, and tells of which gateways it is to be said: those where that has gone on
    /// for longer than a lease, once for each block.
    pub fn arising(
        &mut self,
        snapshot: &Snapshot,
        holder: &str,
        lease: Duration,
        now: Instant,
    ) -> Vec<GatewayName> {
        self.0.retain(|gateway, _| snapshot.gateway(gateway).is_some());
        let arises = |view: &&GatewayView| self.arises(view, holder, lease, now);
        let views = snapshot.gateways.iter().map(AsRef::as_ref);
        views.filter(arises).map(|view| view.gateway.name.clone()).collect()
    }

    fn arises(&mut self, view: &GatewayView, holder: &str, lease: Duration, now: Instant) -> bool {
        let name = &view.gateway.name;
        let reading = view.fence.as_ref().filter(|reading| {
            reading.report.blocked && reading.holders(now).any(|hold| &*hold.lease.by == holder)
        });
        let Some(reading) = reading else {
            self.0.remove(name);
            return false;
        };
        let suspicion = self.0.entry(name.clone()).or_default();
        // an agent that finds its gateway down holds a block itself
        if reading.report.is_held_by(SELF) || !are_refused(&view.checks) {
            suspicion.since = None;
            return false;
        }
        let since = *suspicion.since.get_or_insert(now);
        let arises = !suspicion.was_told && now.saturating_duration_since(since) > lease;
        suspicion.was_told |= arises;
        arises
    }
}

/// Whether our own checks fail, and none of them otherwise than a block would have it.
fn are_refused(checks: &[CheckResult]) -> bool {
    let direct = checks.iter().filter(|check| &*check.check != HEARTBEAT);
    let mut failed = direct.filter_map(|check| match &check.outcome {
        CheckOutcome::Fail(words) => Some(words == REFUSED || words == RESET),
        CheckOutcome::Timeout(_) => Some(false),
        CheckOutcome::Pass(_) | CheckOutcome::Inconclusive(_) => None,
    });
    failed.next().is_some_and(|refused| refused && failed.all(|refused| refused))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use super::*;
    use crate::fleet::{
        Balance, FenceReport, FleetSettings, Gateway, Holder, Lease, Load, Moment, Observation, Roster,
        Service, ServiceReport, Thresholds, Weights,
    };

    const LEASE: Duration = Duration::from_secs(15);

    struct Site {
        roster: Roster,
        suspicions: Suspicions,
        start: Instant,
    }

    impl Site {
        fn new() -> Self {
            let gateway = Gateway::plain("gw1", "192.0.2.1");
            let settings = FleetSettings {
                gateways: vec![Arc::new(gateway)],
                thresholds: Thresholds::default(),
                weights: Weights::default(),
                balance: Balance::default(),
            };
            let start = Instant::now();
            let roster = Roster::new(settings, Moment { instant: start, wall: SystemTime::UNIX_EPOCH });
            Self { roster, suspicions: Suspicions::default(), start }
        }

        /// Whether it is told when a round shows this at that second.
        fn tells(&mut self, second: u64, holders: &[&str], portal: CheckOutcome) -> bool {
            let now = self.start + Duration::from_secs(second);
            let check =
                |name: &str, outcome| CheckResult { check: name.into(), outcome, took: Duration::ZERO };
            let lease = |by: &str| Lease { by: by.into(), left: LEASE };
            let holder = |by: &&str| Holder { lease: lease(by), reason: "portal: refused".into() };
            let fence = FenceReport {
                engine: "nftables".into(),
                blocked: !holders.is_empty(),
                holders: holders.iter().map(holder).collect(),
                ..FenceReport::default()
            };
            let observation = Observation {
                checks: vec![
                    check(HEARTBEAT, CheckOutcome::Pass("reported".into())),
                    check("portal", portal),
                ],
                report: Some(ServiceReport {
                    service: Service::Up,
                    load: Load::default(),
                    fence: Some(fence),
                }),
                asked: None,
            };
            let moment = Moment { instant: now, wall: SystemTime::UNIX_EPOCH };
            self.roster.observe(&GatewayName::new("gw1"), observation, moment);
            let arising = self.suspicions.arising(&self.roster.snapshot(), "front-a", LEASE, now);
            !arising.is_empty()
        }

        fn seconds(
            &mut self,
            seconds: std::ops::Range<u64>,
            holders: &[&str],
            portal: &CheckOutcome,
        ) -> Vec<u64> {
            seconds.filter(|&second| self.tells(second, holders, portal.clone())).collect()
        }
    }

    fn refused() -> CheckOutcome {
        CheckOutcome::Fail(REFUSED.into())
    }

    #[test]
    fn checks_that_our_own_block_may_refuse_are_told_of_once_for_each_block_after_a_lease() {
        let mut site = Site::new();
        assert_eq!(site.seconds(0..100, &["front-a"], &refused()), [16]);
        assert!(!site.tells(100, &[], CheckOutcome::Pass("200 OK".into())));
        assert_eq!(site.seconds(101..200, &["front-a", "front-b"], &CheckOutcome::Fail(RESET.into())), [117]);
    }

    #[test]
    fn a_failure_that_has_other_causes_is_not_told_as_one_of_the_block() {
        let failure = |words: &str| CheckOutcome::Fail(words.into());
        for (holders, portal) in [
            (&["front-b"][..], refused()),
            (&["self", "front-a"], refused()),
            (&[], refused()),
            (&["front-a"], failure("503 Service Unavailable, expected 200-399")),
            (&["front-a"], failure("no route to host")),
            (&["front-a"], CheckOutcome::Timeout(Duration::from_millis(800))),
            (&["front-a"], CheckOutcome::Inconclusive("too many open files".into())),
            (&["front-a"], CheckOutcome::Pass("200 OK".into())),
        ] {
            assert_eq!(Site::new().seconds(0..40, holders, &portal), [0; 0], "{holders:?} {portal:?}");
        }
        let mut site = Site::new();
        assert_eq!(site.seconds(0..15, &["front-a"], &refused()), [0; 0]);
        assert!(!site.tells(15, &["front-a"], failure("no route to host")));
        assert_eq!(site.seconds(16..50, &["front-a"], &refused()), [32], "not without a pause");
    }
}
