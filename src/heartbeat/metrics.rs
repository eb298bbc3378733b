use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::MetricFamily;
use prometheus::{Encoder, Gauge, GaugeVec, IntCounter, Opts, Registry, TextEncoder};
use tokio::sync::watch;

use super::fence::Fence;
use super::state::{AgentState, ServiceState};
use crate::fleet::CheckOutcome;

/// The metrics of one agent, in a registry of its own.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    /// Reports served.
    pub(super) reports: IntCounter,
}

impl Metrics {
    /// The metrics of the agent whose state and fence these are.
    pub(super) fn new(
        state: watch::Receiver<AgentState>,
        fence: Option<Arc<Fence>>,
    ) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let reports = IntCounter::new("vestibule_agent_reports_total", "Reports served.")?;
        registry.register(Box::new(reports.clone()))?;
        if let Some(fence) = &fence {
            registry.register(Box::new(fence.writes.clone()))?;
        }
        registry.register(Box::new(StateCollector { state, fence, gauges: Gauges::new()? }))?;
        registry.register(Box::new(ProcessCollector::for_self()))?;
        Ok(Self { registry, reports })
    }

    /// All of them in the text format of Prometheus.
    pub(super) fn text(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

/// The content type of [`Metrics::text`].
pub(super) const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Shows the state as it is when it is asked for; a value that is not known is not there.
struct StateCollector {
    state: watch::Receiver<AgentState>,
    fence: Option<Arc<Fence>>,
    /// Without values: only for what they are called.
    gauges: Gauges,
}

impl Collector for StateCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.gauges.all().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // new ones each time: nothing is left of a value that is not known any more, and two who ask at
        // the same time do not meet
        let Ok(gauges) = Gauges::new() else { return Vec::new() };
        gauges.set(&self.state.borrow());
        if let Some(fence) = &self.fence {
            let (is_blocked, holders) = fence.figures();
            gauges.fence_blocked.with_label_values::<&str>(&[]).set(f64::from(u8::from(is_blocked)));
            gauges.fence_holders.with_label_values::<&str>(&[]).set(holders as f64);
        }
        gauges.all().into_iter().flat_map(Collector::collect).collect()
    }
}

struct Gauges {
    up: Gauge,
    check_up: GaugeVec,
    check_duration: GaugeVec,
    load: GaugeVec,
    tunnels: GaugeVec,
    tunnels_max: GaugeVec,
    pool_used: GaugeVec,
    pool_size: GaugeVec,
    fence_blocked: GaugeVec,
    fence_holders: GaugeVec,
}

impl Gauges {
    fn new() -> Result<Self, prometheus::Error> {
        let by = |labels: &[&str], name: &str, help: &str| GaugeVec::new(Opts::new(name, help), labels);
        Ok(Self {
            up: Gauge::new("vestibule_agent_up", "1 while this gateway is reported to be up or draining.")?,
            check_up: by(&["check"], "vestibule_agent_check_up", "1 if the check passed last time.")?,
            check_duration: by(
                &["check"],
                "vestibule_agent_check_duration_seconds",
                "How long the check took last time.",
            )?,
            load: by(&["component"], "vestibule_agent_load_ratio", "Load by component, where known.")?,
            tunnels: by(&[], "vestibule_agent_tunnels", "Tunnels, where known.")?,
            tunnels_max: by(&[], "vestibule_agent_tunnels_max", "Tunnels that fit, where known.")?,
            pool_used: by(&[], "vestibule_agent_pool_used", "Pool addresses lent, where known.")?,
            pool_size: by(&[], "vestibule_agent_pool_size", "Pool addresses, where known.")?,
            fence_blocked: by(
                &[],
                "vestibule_agent_fence_blocked",
                "1 while the firewall refuses newcomers, where there is a fence.",
            )?,
            fence_holders: by(
                &[],
                "vestibule_agent_fence_holders",
                "How many hold a block that is in force, where there is a fence.",
            )?,
        })
    }

    fn all(&self) -> [&dyn Collector; 10] {
        let Self { up, check_up, check_duration, load, tunnels, tunnels_max, pool_used, pool_size, .. } =
            self;
        let Self { fence_blocked, fence_holders, .. } = self;
        [
            up,
            check_up,
            check_duration,
            load,
            tunnels,
            tunnels_max,
            pool_used,
            pool_size,
            fence_blocked,
            fence_holders,
        ]
    }

    fn set(&self, state: &AgentState) {
        self.up.set(f64::from(u8::from(state.service != ServiceState::Down)));
        for result in &state.checks {
            let passed = matches!(result.outcome, CheckOutcome::Pass(_));
            self.check_up.with_label_values(&[&result.check]).set(f64::from(u8::from(passed)));
            self.check_duration.with_label_values(&[&result.check]).set(result.took.as_secs_f64());
        }
        for (criterion, ratio) in state.load.components().iter() {
            if let Some(ratio) = ratio {
                self.load.with_label_values(&[criterion.as_str()]).set(ratio);
            }
        }
        let load = &state.load;
        for (gauge, value) in [
            (&self.tunnels, load.tunnels),
            (&self.tunnels_max, load.tunnels_max),
            (&self.pool_used, load.pool_used),
            (&self.pool_size, load.pool_size),
        ] {
            if let Some(value) = value {
                gauge.with_label_values::<&str>(&[]).set(value as f64);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::fleet::{CheckResult, Load};

    fn state() -> AgentState {
        let took = Duration::from_millis(250);
        let outcome = CheckOutcome::Fail("connection refused".into());
        AgentState {
            observed: SystemTime::UNIX_EPOCH,
            service: ServiceState::Down,
            since: SystemTime::UNIX_EPOCH,
            checks: vec![CheckResult { check: "portal".into(), outcome, took }],
            load: Load { cpu_ratio: Some(0.25), tunnels: Some(3), ..Load::default() },
        }
    }

    #[test]
    fn the_metrics_show_the_state_and_leave_out_what_is_not_known() {
        let (sender, receiver) = watch::channel(state());
        let metrics = Metrics::new(receiver, None).unwrap();
        metrics.reports.inc();
        let text = String::from_utf8(metrics.text().unwrap()).unwrap();
        for line in [
            "vestibule_agent_up 0",
            "vestibule_agent_check_up{check=\"portal\"} 0",
            "vestibule_agent_check_duration_seconds{check=\"portal\"} 0.25",
            "vestibule_agent_load_ratio{component=\"cpu\"} 0.25",
            "vestibule_agent_tunnels 3",
            "vestibule_agent_reports_total 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        assert!(text.contains("\nprocess_open_fds "));
        assert!(!text.contains("component=\"pool\"") && !text.contains("vestibule_agent_pool_used "));
        sender.send_modify(|state| state.load.cpu_ratio = None);
        let text = String::from_utf8(metrics.text().unwrap()).unwrap();
        assert!(!text.contains("component=\"cpu\""), "an old value is still shown");
    }

    #[test]
    fn two_agents_of_one_process_do_not_meet() {
        let (_sender, receiver) = watch::channel(state());
        assert!(Metrics::new(receiver.clone(), None).is_ok() && Metrics::new(receiver, None).is_ok());
    }
}
