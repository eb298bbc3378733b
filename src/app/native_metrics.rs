use prometheus::core::{Collector, Desc};
use prometheus::proto;

use super::responders::Meters;
use crate::dve::Outcome;

/// What the responders for native clients have counted, as Prometheus metrics, added up when somebody looks.
pub struct NativeMetrics {
    meters: Meters,
    descriptions: Vec<Desc>,
}

impl NativeMetrics {
    /// Of these meters.
    pub fn new(meters: Meters) -> Result<Self, prometheus::Error> {
        let describe =
            |(name, help): (&str, &str)| Desc::new(name.into(), help.into(), vec![], Default::default());
        let descriptions = [DVE_REQUESTS, DVE_BATCHES].into_iter().map(describe).collect::<Result<_, _>>()?;
        Ok(Self { meters, descriptions })
    }
}

impl Collector for NativeMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let dve = &self.meters.dve;
        let requests =
            Outcome::all().map(|outcome| counter("status", outcome.as_str(), dve.outcome(outcome)));
        vec![
            family(DVE_REQUESTS, proto::MetricType::COUNTER, requests.collect()),
            family(DVE_BATCHES, proto::MetricType::HISTOGRAM, vec![batches(dve)]),
        ]
    }
}

fn counter(label: &str, value: &str, count: u64) -> proto::Metric {
    let mut pair = proto::LabelPair::default();
    pair.set_name(label.to_owned());
    pair.set_value(value.to_owned());
    let mut counter = proto::Counter::default();
    counter.set_value(count as f64);
    let mut metric = proto::Metric::default();
    metric.set_label(vec![pair]);
    metric.set_counter(counter);
    metric
}

fn batches(dve: &crate::dve::Meter) -> proto::Metric {
    let mut cumulative = 0;
    let buckets = dve.batches().map(|(most, count)| {
        cumulative += count;
        let mut bucket = proto::Bucket::default();
        bucket.set_upper_bound(most as f64);
        bucket.set_cumulative_count(cumulative);
        bucket
    });
    let buckets = buckets.collect();
    let (_, answers) = dve.signed();
    let mut histogram = proto::Histogram::default();
    histogram.set_bucket(buckets);
    // the sum of the buckets, so that the two agree whatever is counted meanwhile
    histogram.set_sample_count(cumulative);
    histogram.set_sample_sum(answers as f64);
    let mut metric = proto::Metric::default();
    metric.set_histogram(histogram);
    metric
}

fn family(
    (name, help): (&str, &str),
    kind: proto::MetricType,
    metrics: Vec<proto::Metric>,
) -> proto::MetricFamily {
    let mut family = proto::MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

const DVE_REQUESTS: (&str, &str) = (
    "vestibule_dve_requests_total",
    "DVE datagrams by how they were answered; dropped: their source has had enough, or no answer fits; \
     ignored: no request.",
);
const DVE_BATCHES: (&str, &str) = ("vestibule_dve_batch_size", "DVE answers for each signature.");
