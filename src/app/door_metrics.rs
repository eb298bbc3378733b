use prometheus::core::{Collector, Desc};
use prometheus::proto;

use super::doors::Plans;
use crate::admin::listener::ListenerStatus;
use crate::front::{BOUNDS, Counter, Handshake, Meter, Plan, Rejection};

/// The workers' counters as Prometheus metrics: added up when somebody looks, so that counting costs the
/// workers nothing.
pub struct DoorMetrics {
    plans: Plans,
    families: Vec<Family>,
    descriptions: Vec<Desc>,
}

/// One metric: its name, its labels besides `listener`, and how it is read.
struct Family {
    name: &'static str,
    help: &'static str,
    kind: proto::MetricType,
    read: fn(&Plan) -> Vec<Sample>,
}

struct Sample {
    labels: Vec<(&'static str, String)>,
    value: Value,
}

enum Value {
    Counter(u64),
    Gauge(u64),
    Histogram { buckets: [u64; BOUNDS.len()], count: u64, sum: f64 },
}

impl DoorMetrics {
    /// Over these listeners.
    pub fn new(plans: Plans) -> Result<Self, prometheus::Error> {
        let families = families();
        let listener = || vec!["listener".to_owned()];
        let describe = |f: &Family| Desc::new(f.name.into(), f.help.into(), listener(), Default::default());
        let descriptions = families.iter().map(describe).collect::<Result<_, _>>()?;
        Ok(Self { plans, families, descriptions })
    }
}

impl Collector for DoorMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let plans = self.plans.get();
        self.families
            .iter()
            .map(|family| family.collect(&plans))
            .filter(|f| !f.get_metric().is_empty())
            .collect()
    }
}

/// What the status shows of each listener.
pub fn statuses(plans: &Plans) -> Vec<ListenerStatus> {
    let status = |plan: &std::sync::Arc<Plan>| ListenerStatus {
        name: plan.settings.name.to_string(),
        address: plan.settings.address,
        mode: plan.settings.mode.as_str(),
        vrrp_id: plan.settings.ask.vrrp_id,
        vpn: plan.settings.ask.vpn,
        open: plan.is_open(),
        connections: u64::from(plan.admission.connections()),
        redirects: redirects(plan).into_iter().map(|(_, count)| count).sum(),
        unavailable: sum(plan, |meter| Some(&meter.unavailable)),
    };
    plans.get().iter().map(status).collect()
}

fn families() -> Vec<Family> {
    use proto::MetricType::{COUNTER, GAUGE, HISTOGRAM};
    vec![
        Family {
            name: "vestibule_redirects_total",
            help: "Answers that named a gateway.",
            kind: COUNTER,
            read: |plan| {
                let sample = |(gateway, count)| Sample::counter(vec![("gateway", gateway)], count);
                redirects(plan).into_iter().map(sample).collect()
            },
        },
        Family {
            name: "vestibule_responses_total",
            help: "Answers by class of status.",
            kind: COUNTER,
            read: |plan| {
                let class = |i: usize| {
                    let count = sum(plan, |meter| meter.responses.get(i));
                    Sample::counter(vec![("class", format!("{}xx", i + 1))], count)
                };
                (0..5).map(class).collect()
            },
        },
        Family {
            name: "vestibule_unavailable_total",
            help: "Answers that named no gateway.",
            kind: COUNTER,
            read: |plan| vec![Sample::counter(vec![], sum(plan, |meter| Some(&meter.unavailable)))],
        },
        Family {
            name: "vestibule_tls_handshakes_total",
            help: "TLS handshakes by how they ended.",
            kind: COUNTER,
            read: |plan| {
                let sample = |handshake: Handshake| {
                    let [result, version, resumed] = handshake.labels().map(str::to_owned);
                    let labels = vec![("result", result), ("version", version), ("resumed", resumed)];
                    Sample::counter(labels, sum(plan, |meter| meter.handshakes.get(handshake.index())))
                };
                if plan.tls.is_some() { Handshake::ALL.into_iter().map(sample).collect() } else { vec![] }
            },
        },
        Family {
            name: "vestibule_tls_handshake_duration_seconds",
            help: "How long successful TLS handshakes took, the client's part included.",
            kind: HISTOGRAM,
            read: |plan| if plan.tls.is_some() { vec![handshake_durations(plan)] } else { vec![] },
        },
        Family {
            name: "vestibule_connections",
            help: "Open connections.",
            kind: GAUGE,
            read: |plan| {
                let value = Value::Gauge(u64::from(plan.admission.connections()));
                vec![Sample { labels: vec![], value }]
            },
        },
        Family {
            name: "vestibule_connections_rejected_total",
            help: "Connections turned away, by the limit that was reached.",
            kind: COUNTER,
            read: |plan| {
                let sample = |rejection: Rejection| {
                    let count = sum(plan, |meter| meter.rejected.get(rejection.index()));
                    Sample::counter(vec![("reason", rejection.as_str().to_owned())], count)
                };
                Rejection::ALL.into_iter().map(sample).collect()
            },
        },
    ]
}

fn sum(plan: &Plan, counter: impl Fn(&Meter) -> Option<&Counter>) -> u64 {
    plan.meters.iter().filter_map(|meter| counter(meter)).map(Counter::get).sum()
}

fn redirects(plan: &Plan) -> Vec<(String, u64)> {
    let mut all = std::collections::BTreeMap::<_, u64>::new();
    for (gateway, meter) in plan.meters.iter().flat_map(|meter| meter.by_gateway()) {
        *all.entry(gateway).or_default() += meter.redirects.get();
    }
    all.into_iter().map(|(gateway, count)| (gateway.to_string(), count)).collect()
}

fn handshake_durations(plan: &Plan) -> Sample {
    let (mut buckets, mut count, mut sum) = ([0; BOUNDS.len()], 0, 0.0);
    for meter in plan.meters.iter() {
        let (more, n, seconds) = meter.handshake_duration.read();
        buckets.iter_mut().zip(more).for_each(|(bucket, n)| *bucket += n);
        count += n;
        sum += seconds;
    }
    Sample { labels: vec![], value: Value::Histogram { buckets, count, sum } }
}

impl Family {
    fn collect(&self, plans: &[std::sync::Arc<Plan>]) -> proto::MetricFamily {
        let mut family = proto::MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(self.kind);
        let metrics = plans.iter().flat_map(|plan| {
            let listener = plan.settings.name.to_string();
            (self.read)(plan).into_iter().map(move |sample| sample.metric(&listener))
        });
        family.set_metric(metrics.collect());
        family
    }
}

impl Sample {
    fn counter(labels: Vec<(&'static str, String)>, count: u64) -> Self {
        Self { labels, value: Value::Counter(count) }
    }

    fn metric(self, listener: &str) -> proto::Metric {
        let mut metric = proto::Metric::default();
        let labels = std::iter::once(("listener", listener.to_owned())).chain(self.labels);
        metric.set_label(labels.map(|(name, value)| label(name, value)).collect());
        match self.value {
            Value::Counter(count) => {
                let mut counter = proto::Counter::default();
                counter.set_value(count as f64);
                metric.set_counter(counter);
            }
            Value::Gauge(count) => {
                let mut gauge = proto::Gauge::default();
                gauge.set_value(count as f64);
                metric.set_gauge(gauge);
            }
            Value::Histogram { buckets, count, sum } => metric.set_histogram(histogram(buckets, count, sum)),
        }
        metric
    }
}

fn label(name: &str, value: String) -> proto::LabelPair {
    let mut label = proto::LabelPair::default();
    label.set_name(name.to_owned());
    label.set_value(value);
    label
}

fn histogram(buckets: [u64; BOUNDS.len()], count: u64, sum: f64) -> proto::Histogram {
    let mut cumulated = 0;
    let bucket = |(bound, n): (f64, u64)| {
        cumulated += n;
        let mut bucket = proto::Bucket::default();
        bucket.set_upper_bound(bound);
        bucket.set_cumulative_count(cumulated);
        bucket
    };
    let buckets = BOUNDS.into_iter().zip(buckets).map(bucket).collect();
    let mut histogram = proto::Histogram::default();
    histogram.set_bucket(buckets);
    histogram.set_sample_count(count);
    histogram.set_sample_sum(sum);
    histogram
}
