//! What collectors give to Prometheus, in fewer words.

use prometheus::proto;

/// One sample of a metric.
pub struct Sample {
    pub labels: Vec<(&'static str, String)>,
    pub value: Value,
}

pub enum Value {
    Counter(u64),
    Gauge(u64),
    Histogram(Buckets),
}

/// A histogram.
pub struct Buckets {
    /// Upper bounds, each with the count of what is in it and in none before.
    pub counts: Vec<(f64, u64)>,
    /// Of all, those above the last bound too.
    pub count: u64,
    pub sum: f64,
}

impl Sample {
    pub fn counter(labels: Vec<(&'static str, String)>, count: u64) -> Self {
        Self { labels, value: Value::Counter(count) }
    }

    pub fn metric(self) -> proto::Metric {
        let mut metric = proto::Metric::default();
        metric.set_label(self.labels.into_iter().map(|(name, value)| label(name, value)).collect());
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
            Value::Histogram(buckets) => metric.set_histogram(histogram(buckets)),
        }
        metric
    }
}

/// A metric with its samples.
pub fn family(name: &str, help: &str, kind: proto::MetricType, samples: Vec<Sample>) -> proto::MetricFamily {
    let mut family = proto::MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(samples.into_iter().map(Sample::metric).collect());
    family
}

fn label(name: &str, value: String) -> proto::LabelPair {
    let mut label = proto::LabelPair::default();
    label.set_name(name.to_owned());
    label.set_value(value);
    label
}

fn histogram(buckets: Buckets) -> proto::Histogram {
    let mut cumulated = 0;
    let bucket = |(bound, n): (f64, u64)| {
        cumulated += n;
        let mut bucket = proto::Bucket::default();
        bucket.set_upper_bound(bound);
        bucket.set_cumulative_count(cumulated);
        bucket
    };
    let counts = buckets.counts.into_iter().map(bucket).collect();
    let mut histogram = proto::Histogram::default();
    histogram.set_bucket(counts);
    histogram.set_sample_count(buckets.count);
    histogram.set_sample_sum(buckets.sum);
    histogram
}
