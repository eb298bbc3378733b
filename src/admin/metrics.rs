//! What Prometheus is told of the farm and of this process. The doors register their own counters in the
//! same registry.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use prometheus::core::{Collector, Desc, MetricVec, MetricVecBuilder};
use prometheus::proto::{Gauge as GaugeValue, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Gauge, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry};

use super::status::{CheckWord, VERSION};
use crate::fleet::{
    Ask, CheckOutcome, GatewayName, GatewayView, Observation, Role, Snapshot, State, Transition, View, Vpn,
    exclusion, headroom,
};

/// Tells of the process: its build, and what the operating system knows of it (`process_*`).
///
/// # Errors
/// If these metrics have been registered before.
pub fn register_process(registry: &Registry) -> Result<(), prometheus::Error> {
    let build = IntGaugeVec::new(
        Opts::new("vestibule_build_info", "1, with what was built."),
        &["version", "rustc"],
    )?;
    build.get_metric_with_label_values(&[VERSION, env!("VESTIBULE_RUSTC")])?.set(1);
    registry.register(Box::new(build))?;
    registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))
}

/// Tells of every gateway in the newest snapshot, at the moment of the scrape. What is not known, or too
/// old to count, is left out: a gateway without a load is not a gateway with no load.
pub struct FarmCollector {
    view: View,
    descriptions: Vec<Desc>,
}

/// Name and help of a gauge of [`FarmCollector`].
type Described = (&'static str, &'static str);

const UP: Described = ("vestibule_gateway_up", "1 where the gateway is available for that kind of VPN.");
const STATE: Described = ("vestibule_gateway_state", "1 for the state that the gateway is in.");
const LOAD: Described = ("vestibule_gateway_load_ratio", "The gateway's load score, 0 to 1.");
const COMPONENT: Described =
    ("vestibule_gateway_load_component_ratio", "What the load score is made of, each 0 to 1.");
const TUNNELS: Described = ("vestibule_gateway_tunnels", "VPN sessions on the gateway.");
const TUNNELS_MAX: Described = ("vestibule_gateway_tunnels_max", "VPN sessions that the gateway can hold.");
const REPORT_AGE: Described =
    ("vestibule_gateway_report_age_seconds", "Time since the gateway's last load report.");

const FENCED: Described = (
    "vestibule_gateway_fenced",
    "1 while a firewall, the gateway's or this host's, refuses newcomers to it.",
);

const DRAINING: Described = (
    "vestibule_gateway_draining",
    "1 while an administrator, or the gateway's agent, wants no newcomers on it, also while it is down.",
);

const ACTIVE: Described =
    ("vestibule_gateway_active", "Failsafe mode: 1 for the gateway that newcomers are sent to.");

const HEADROOM: Described = (
    "vestibule_gateway_headroom_tunnels",
    "Places that the other gateways would have left if this one failed now; below 0: so many would find none.",
);

impl FarmCollector {
    /// Registers a collector that reads through `view`.
    ///
    /// # Errors
    /// If there is one already.
    pub fn register(registry: &Registry, view: View) -> Result<(), prometheus::Error> {
        let gauges: [(Described, &[&str]); 11] = [
            (UP, &["gateway", "vpn"]),
            (STATE, &["gateway", "state"]),
            (LOAD, &["gateway"]),
            (COMPONENT, &["gateway", "component"]),
            (TUNNELS, &["gateway"]),
            (TUNNELS_MAX, &["gateway"]),
            (REPORT_AGE, &["gateway"]),
            (FENCED, &["gateway"]),
            (DRAINING, &["gateway"]),
            (ACTIVE, &["gateway"]),
            (HEADROOM, &["gateway"]),
        ];
        let describe = |((name, help), labels): (Described, &[&str])| {
            let labels = labels.iter().map(|label| (*label).to_owned()).collect();
            Desc::new(name.into(), help.into(), labels, HashMap::new())
        };
        let descriptions = gauges.into_iter().map(describe).collect::<Result<_, _>>()?;
        registry.register(Box::new(Self { view, descriptions }))
    }
}

impl Collector for FarmCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // a reader of its own for each scrape, instead of a lock around one
        let snapshot = Arc::clone(self.view.clone().load());
        families(&snapshot, Instant::now())
    }
}

fn families(snapshot: &Snapshot, now: Instant) -> Vec<MetricFamily> {
    let [mut up, mut state, mut load, mut component, mut tunnels, mut tunnels_max, mut report_age] =
        [UP, STATE, LOAD, COMPONENT, TUNNELS, TUNNELS_MAX, REPORT_AGE].map(|_| Vec::new());
    let [mut fenced, mut draining, mut active, mut headrooms] =
        [FENCED, DRAINING, ACTIVE, HEADROOM].map(|_| Vec::new());
    for (index, view) in snapshot.gateways.iter().enumerate() {
        let name = view.gateway.name.as_str();
        for (vpn, word) in [(Vpn::Native, "native"), (Vpn::Ssl, "ssl")] {
            let available = is_available(view, vpn, snapshot, now);
            up.push(gauge(&[("gateway", name), ("vpn", word)], one_if(available)));
        }
        for candidate in State::ALL {
            let value = one_if(view.state() == candidate);
            state.push(gauge(&[("gateway", name), ("state", candidate.as_str())], value));
        }
        let is_fenced = view.is_fenced(now, snapshot.balance.stale_after);
        fenced.push(gauge(&[("gateway", name)], one_if(is_fenced)));
        draining.push(gauge(&[("gateway", name)], one_if(view.is_draining())));
        active.extend(view.role.map(|role| gauge(&[("gateway", name)], one_if(role == Role::Active))));
        let left = headroom(snapshot, index, now).ok().map(|headroom| headroom.left());
        headrooms.extend(left.map(|left| gauge(&[("gateway", name)], left as f64)));
        if let Some(reading) = &view.load {
            report_age.push(gauge(&[("gateway", name)], reading.at.until(now).as_secs_f64()));
        }
        let Some(reading) = view.fresh_load(now, snapshot.balance.stale_after) else { continue };
        load.extend(reading.score.total.map(|score| gauge(&[("gateway", name)], score)));
        for (criterion, ratio) in reading.score.components.iter() {
            let labels = [("gateway", name), ("component", criterion.as_str())];
            component.extend(ratio.map(|ratio| gauge(&labels, ratio)));
        }
        let count = |n: u64| gauge(&[("gateway", name)], n as f64);
        tunnels.extend(reading.load.tunnels.map(count));
        tunnels_max.extend(reading.load.tunnels_max.map(count));
    }
    vec![
        family(UP, up),
        family(STATE, state),
        family(LOAD, load),
        family(COMPONENT, component),
        family(TUNNELS, tunnels),
        family(TUNNELS_MAX, tunnels_max),
        family(REPORT_AGE, report_age),
        family(FENCED, fenced),
        family(DRAINING, draining),
        family(ACTIVE, active),
        family(HEADROOM, headrooms),
    ]
}

fn is_available(view: &GatewayView, vpn: Vpn, snapshot: &Snapshot, now: Instant) -> bool {
    exclusion(view, Ask { vrrp_id: None, vpn }, &snapshot.balance, now).is_none()
}

fn one_if(yes: bool) -> f64 {
    if yes { 1.0 } else { 0.0 }
}

fn gauge(labels: &[(&str, &str)], value: f64) -> Metric {
    let mut gauge = GaugeValue::default();
    gauge.set_value(value);
    let mut metric = Metric::from_gauge(gauge);
    let pairs = labels.iter().map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    metric.set_label(pairs.collect());
    metric
}

fn family((name, help): Described, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(MetricType::GAUGE);
    family.set_metric(metrics);
    family
}

/// Counts what the rounds of checks find. Written by the keeper.
#[derive(Clone, Debug)]
pub struct HealthMetrics {
    checks: IntCounterVec,
    durations: HistogramVec,
    transitions: IntCounterVec,
    fence_operations: IntCounterVec,
}

/// From well below what a local check takes to well above the longest sensible timeout.
const DURATION_BUCKETS: [f64; 12] = [0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

const FENCE_OPERATIONS: [&str; 4] = ["block", "unblock", "keep_open", "let_go"];

/// What the doors' connections are called among the checks.
pub const UPSTREAM: &str = "upstream";

impl HealthMetrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// If they have been registered before.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let checks = IntCounterVec::new(
            Opts::new("vestibule_health_checks_total", "Health checks done, by result."),
            &["gateway", "check", "result"],
        )?;
        let durations = HistogramVec::new(
            HistogramOpts::new("vestibule_health_check_duration_seconds", "How long health checks took.")
                .buckets(DURATION_BUCKETS.to_vec()),
            &["gateway", "check"],
        )?;
        let transitions = IntCounterVec::new(
            Opts::new("vestibule_health_transitions_total", "Changes of a gateway's state, by the new one."),
            &["gateway", "to"],
        )?;
        let fence_operations = IntCounterVec::new(
            Opts::new("vestibule_fence_operations_total", "Changes of a gateway's fence, by result."),
            &["gateway", "operation", "result"],
        )?;
        registry.register(Box::new(fence_operations.clone()))?;
        registry.register(Box::new(checks.clone()))?;
        registry.register(Box::new(durations.clone()))?;
        registry.register(Box::new(transitions.clone()))?;
        Ok(Self { checks, durations, transitions, fence_operations })
    }

    /// Starts the counts of a gateway's transitions and fence operations at 0, so that the first one shows as an
    /// increase.
    pub fn introduce(&self, gateway: &GatewayName) {
        for operation in FENCE_OPERATIONS {
            for result in [OK, ERROR] {
                let labels = [gateway.as_str(), operation, result];
                let _ = self.fence_operations.get_metric_with_label_values(&labels);
            }
        }
        for state in State::ALL {
            let _ = self.transitions.get_metric_with_label_values(&[gateway.as_str(), state.as_str()]);
        }
    }

    /// Counts the checks of one round.
    pub fn observe(&self, gateway: &GatewayName, observation: &Observation) {
        // get_… fails only on a wrong number of labels; the tests see to that
        for check in &observation.checks {
            let (gateway, name) = (gateway.as_str(), &*check.check);
            let result = CheckWord::of(&check.outcome).as_str();
            if let Ok(counter) = self.checks.get_metric_with_label_values(&[gateway, name, result]) {
                counter.inc();
            }
            // what was never tried says nothing about how long it takes
            if !matches!(check.outcome, CheckOutcome::Inconclusive(_))
                && let Ok(histogram) = self.durations.get_metric_with_label_values(&[gateway, name])
            {
                histogram.observe(check.took.as_secs_f64());
            }
        }
    }

    /// Counts that a door got no connection to a gateway, as a check of its own. How long that took is told
    /// elsewhere, together with what did succeed.
    pub fn upstream_failed(&self, gateway: &GatewayName) {
        let labels = [gateway.as_str(), UPSTREAM, CheckWord::Fail.as_str()];
        if let Ok(counter) = self.checks.get_metric_with_label_values(&labels) {
            counter.inc();
        }
    }

    /// Counts that something was done about a gateway's fence, or could not be.
    pub fn fence_operation(&self, gateway: &GatewayName, operation: &str, succeeded: bool) {
        let labels = [gateway.as_str(), operation, if succeeded { OK } else { ERROR }];
        if let Ok(counter) = self.fence_operations.get_metric_with_label_values(&labels) {
            counter.inc();
        }
    }

    /// Counts a change of state.
    pub fn transition(&self, transition: &Transition) {
        let labels = [transition.gateway.as_str(), transition.to.as_str()];
        if let Ok(counter) = self.transitions.get_metric_with_label_values(&labels) {
            counter.inc();
        }
    }

    /// Drops all series of a gateway that is no longer there.
    pub fn forget(&self, gateway: &GatewayName) {
        forget(&self.checks, gateway);
        forget(&self.durations, gateway);
        forget(&self.transitions, gateway);
        forget(&self.fence_operations, gateway);
    }
}

fn forget<T: MetricVecBuilder>(metrics: &MetricVec<T>, gateway: &GatewayName) {
    for family in metrics.collect() {
        for metric in family.get_metric() {
            let labels: HashMap<&str, &str> =
                metric.get_label().iter().map(|label| (label.name(), label.value())).collect();
            if labels.get("gateway") == Some(&gateway.as_str()) {
                // an error means that it is gone already
                let _ = metrics.remove(&labels);
            }
        }
    }
}

/// Counts how the configuration is taken. Written by whoever reloads it.
#[derive(Clone, Debug)]
pub struct ConfigMetrics {
    reloads: IntCounterVec,
    last_success: Gauge,
}

impl ConfigMetrics {
    /// Registers the metrics; `loaded` is when the configuration was taken at the start.
    ///
    /// # Errors
    /// If they have been registered before.
    pub fn register(registry: &Registry, loaded: SystemTime) -> Result<Self, prometheus::Error> {
        let reloads = IntCounterVec::new(
            Opts::new("vestibule_config_reloads_total", "Reloads of the configuration, by result."),
            &["result"],
        )?;
        for result in [OK, ERROR] {
            reloads.get_metric_with_label_values(&[result])?;
        }
        let last_success = Gauge::new(
            "vestibule_config_last_success_timestamp_seconds",
            "When the configuration in force was taken, in seconds since 1970.",
        )?;
        registry.register(Box::new(reloads.clone()))?;
        registry.register(Box::new(last_success.clone()))?;
        let metrics = Self { reloads, last_success };
        metrics.last_success.set(unix_seconds(loaded));
        Ok(metrics)
    }

    /// Counts a reload that was taken.
    pub fn taken(&self, at: SystemTime) {
        self.count(OK);
        self.last_success.set(unix_seconds(at));
    }

    /// Counts a reload that was refused.
    pub fn refused(&self) {
        self.count(ERROR);
    }

    fn count(&self, result: &str) {
        if let Ok(counter) = self.reloads.get_metric_with_label_values(&[result]) {
            counter.inc();
        }
    }
}

const OK: &str = "ok";
const ERROR: &str = "error";

fn unix_seconds(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus::TextEncoder;

    use super::super::status::tests::{Farm, check, refused, report};
    use super::*;
    use crate::fleet::{Publisher, Service, VpnMode};

    fn text(registry: &Registry) -> String {
        TextEncoder::new().encode_to_string(&registry.gather()).unwrap()
    }

    /// The samples, without the lines of help.
    fn samples(text: &str) -> Vec<&str> {
        text.lines().filter(|line| !line.starts_with('#')).collect()
    }

    #[test]
    fn the_farm_is_told_with_the_names_and_labels_of_the_contract() {
        let mut farm = Farm::with(2, |i, g| {
            if i == 1 {
                g.vpn_mode = VpnMode::Ssl;
            }
        });
        farm.up(&["gw1"]);
        let snapshot = farm.roster.snapshot();
        let later = farm.now.instant + Duration::from_secs(4);
        let families: Vec<_> =
            families(&snapshot, later).into_iter().filter(|f| !f.get_metric().is_empty()).collect();
        let text = TextEncoder::new().encode_to_string(&families).unwrap();
        assert_eq!(
            samples(&text),
            [
                "vestibule_gateway_up{gateway=\"gw1\",vpn=\"native\"} 0",
                "vestibule_gateway_up{gateway=\"gw1\",vpn=\"ssl\"} 1",
                "vestibule_gateway_up{gateway=\"gw2\",vpn=\"native\"} 0",
                "vestibule_gateway_up{gateway=\"gw2\",vpn=\"ssl\"} 0",
                "vestibule_gateway_state{gateway=\"gw1\",state=\"up\"} 1",
                "vestibule_gateway_state{gateway=\"gw1\",state=\"down\"} 0",
                "vestibule_gateway_state{gateway=\"gw1\",state=\"draining\"} 0",
                "vestibule_gateway_state{gateway=\"gw1\",state=\"unknown\"} 0",
                "vestibule_gateway_state{gateway=\"gw2\",state=\"up\"} 0",
                "vestibule_gateway_state{gateway=\"gw2\",state=\"down\"} 0",
                "vestibule_gateway_state{gateway=\"gw2\",state=\"draining\"} 0",
                "vestibule_gateway_state{gateway=\"gw2\",state=\"unknown\"} 1",
                "vestibule_gateway_load_ratio{gateway=\"gw1\"} 0.3",
                "vestibule_gateway_load_component_ratio{gateway=\"gw1\",component=\"tunnels\"} 0.1",
                "vestibule_gateway_load_component_ratio{gateway=\"gw1\",component=\"cpu\"} 0.5",
                "vestibule_gateway_tunnels{gateway=\"gw1\"} 100",
                "vestibule_gateway_tunnels_max{gateway=\"gw1\"} 1000",
                "vestibule_gateway_report_age_seconds{gateway=\"gw1\"} 4",
                "vestibule_gateway_fenced{gateway=\"gw1\"} 0",
                "vestibule_gateway_fenced{gateway=\"gw2\"} 0",
                "vestibule_gateway_draining{gateway=\"gw1\"} 0",
                "vestibule_gateway_draining{gateway=\"gw2\"} 0",
                "vestibule_gateway_headroom_tunnels{gateway=\"gw1\"} -100",
            ]
        );
    }

    #[test]
    fn a_load_too_old_to_count_is_absent_and_its_age_is_not() {
        let mut farm = Farm::new(1);
        farm.up(&["gw1"]);
        let snapshot = farm.roster.snapshot();
        let families = families(&snapshot, farm.now.instant + Duration::from_secs(11));
        let told: Vec<_> = families.iter().filter(|f| !f.get_metric().is_empty()).map(|f| f.name()).collect();
        assert_eq!(
            told,
            [
                "vestibule_gateway_up",
                "vestibule_gateway_state",
                "vestibule_gateway_report_age_seconds",
                "vestibule_gateway_fenced",
                "vestibule_gateway_draining"
            ]
        );
    }

    #[test]
    fn a_gateway_that_is_worked_on_is_down_and_still_drained() {
        let mut farm = Farm::new(1);
        farm.up(&["gw1"]).drain("gw1", "new kernel").observe("gw1", refused());
        let registry = Registry::new();
        FarmCollector::register(&registry, Publisher::new(farm.roster.snapshot()).view()).unwrap();
        let text = text(&registry);
        assert!(text.contains("vestibule_gateway_state{gateway=\"gw1\",state=\"down\"} 1"), "{text}");
        assert!(text.contains("vestibule_gateway_draining{gateway=\"gw1\"} 1"), "{text}");
    }

    #[test]
    fn a_scrape_reads_the_newest_snapshot() {
        let mut farm = Farm::new(1);
        let publisher = Publisher::new(farm.roster.snapshot());
        let registry = Registry::new();
        FarmCollector::register(&registry, publisher.view()).unwrap();
        assert!(text(&registry).contains("vestibule_gateway_state{gateway=\"gw1\",state=\"up\"} 0"));
        farm.up(&["gw1"]);
        publisher.publish(farm.roster.snapshot());
        assert!(text(&registry).contains("vestibule_gateway_state{gateway=\"gw1\",state=\"up\"} 1"));
    }

    #[test]
    fn checks_are_counted_by_result_and_only_what_was_tried_is_timed() {
        let registry = Registry::new();
        let metrics = HealthMetrics::register(&registry).unwrap();
        let name = GatewayName::new("gw1");
        metrics.observe(&name, &report(1, Service::Up));
        metrics.observe(&name, &refused());
        let rest = [
            check("portal", CheckOutcome::Timeout(Duration::from_millis(800))),
            check("other", CheckOutcome::Inconclusive("too many open files".into())),
        ];
        metrics.observe(&name, &Observation { checks: rest.into(), report: None, asked: None });
        let text = text(&registry);
        for line in [
            "vestibule_health_checks_total{check=\"heartbeat\",gateway=\"gw1\",result=\"pass\"} 1",
            "vestibule_health_checks_total{check=\"portal\",gateway=\"gw1\",result=\"fail\"} 1",
            "vestibule_health_checks_total{check=\"portal\",gateway=\"gw1\",result=\"timeout\"} 1",
            "vestibule_health_checks_total{check=\"other\",gateway=\"gw1\",result=\"inconclusive\"} 1",
            "vestibule_health_check_duration_seconds_bucket{check=\"portal\",gateway=\"gw1\",le=\"0.025\"} 2",
            "vestibule_health_check_duration_seconds_count{check=\"portal\",gateway=\"gw1\"} 2",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("duration_seconds_count{check=\"other\""));
    }

    #[test]
    fn transitions_are_counted_from_0_by_the_new_state() {
        let registry = Registry::new();
        let metrics = HealthMetrics::register(&registry).unwrap();
        let gateway = GatewayName::new("gw1");
        metrics.introduce(&gateway);
        let transition = Transition { gateway, from: State::Up, to: State::Down, reason: "refused".into() };
        metrics.transition(&transition);
        let text = text(&registry);
        let of_transitions = |line: &&str| line.starts_with("vestibule_health_transitions_total");
        assert_eq!(
            samples(&text).into_iter().filter(of_transitions).collect::<Vec<_>>(),
            [
                "vestibule_health_transitions_total{gateway=\"gw1\",to=\"down\"} 1",
                "vestibule_health_transitions_total{gateway=\"gw1\",to=\"draining\"} 0",
                "vestibule_health_transitions_total{gateway=\"gw1\",to=\"unknown\"} 0",
                "vestibule_health_transitions_total{gateway=\"gw1\",to=\"up\"} 0",
            ]
        );
    }

    #[test]
    fn a_gateway_that_is_gone_leaves_no_series_and_the_others_stay() {
        let registry = Registry::new();
        let metrics = HealthMetrics::register(&registry).unwrap();
        for name in ["gw1", "gw2"].map(GatewayName::new) {
            metrics.introduce(&name);
            metrics.observe(&name, &refused());
            metrics.upstream_failed(&name);
        }
        metrics.forget(&GatewayName::new("gw1"));
        let text = text(&registry);
        assert!(!text.contains("gw1"), "{text}");
        assert!(
            text.contains("vestibule_health_check_duration_seconds_count{check=\"portal\",gateway=\"gw2\"}")
        );
    }

    #[test]
    fn the_process_its_build_and_its_configuration_are_told() {
        let registry = Registry::new();
        register_process(&registry).unwrap();
        let config = ConfigMetrics::register(&registry, SystemTime::UNIX_EPOCH).unwrap();
        config.refused();
        config.taken(SystemTime::UNIX_EPOCH + Duration::from_millis(1500));
        let text = text(&registry);
        let build =
            format!("vestibule_build_info{{rustc=\"{}\",version=\"{VERSION}\"}} 1", env!("VESTIBULE_RUSTC"));
        for line in [
            build.as_str(),
            "process_resident_memory_bytes ",
            "process_open_fds ",
            "vestibule_config_reloads_total{result=\"ok\"} 1",
            "vestibule_config_reloads_total{result=\"error\"} 1",
            "vestibule_config_last_success_timestamp_seconds 1.5",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(env!("VESTIBULE_RUSTC").starts_with("1."));
    }
}
