use prometheus::core::{Collector, Desc};
use prometheus::proto::{MetricFamily, MetricType};
use tokio::sync::watch;

use super::samples::{Sample, Value, family};
use crate::peer::{PeerState, Told};

/// Which of the other front doors are heard, as Prometheus metrics.
pub struct PeerMetrics {
    told: watch::Receiver<Told>,
    description: Desc,
}

impl PeerMetrics {
    /// Of these.
    pub fn new(told: watch::Receiver<Told>) -> Result<Self, prometheus::Error> {
        let description = Desc::new(UP.0.into(), UP.1.into(), vec!["url".into()], Default::default())?;
        Ok(Self { told, description })
    }
}

impl Collector for PeerMetrics {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.description]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let told = self.told.borrow();
        // a family without a sample is an error to Prometheus' own tools
        if told.reports.is_empty() {
            return Vec::new();
        }
        let samples = told.reports.iter().map(|report| Sample {
            labels: vec![("url", report.url.to_string())],
            value: Value::Gauge(matches!(report.state, PeerState::Active | PeerState::Standby).into()),
        });
        vec![family(UP.0, UP.1, MetricType::GAUGE, samples.collect())]
    }
}

const UP: (&str, &str) = ("vestibule_peer_up", "1 while the other front door at that place is heard.");

#[cfg(test)]
mod tests {
    use prometheus::{Registry, TextEncoder};

    use super::*;
    use crate::net::clock::now;
    use crate::peer::Report;

    #[test]
    fn each_other_front_door_has_a_sample() {
        let (sender, told) = watch::channel(Told::default());
        let registry = Registry::new();
        registry.register(Box::new(PeerMetrics::new(told).unwrap())).unwrap();
        let text = || TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        assert_eq!(text(), "");
        let report = |url: &str, state| Report {
            url: url.into(),
            name: None,
            state,
            since: now(),
            reason: String::new(),
        };
        let reports = [
            report("https://192.0.2.1:9465", PeerState::Standby),
            report("https://192.0.2.2:9465", PeerState::Silent),
        ];
        sender.send_replace(Told { reports: reports.into(), ..Told::default() });
        let samples: Vec<_> =
            text().lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
        let expected = [
            "vestibule_peer_up{url=\"https://192.0.2.1:9465\"} 1",
            "vestibule_peer_up{url=\"https://192.0.2.2:9465\"} 0",
        ];
        assert_eq!(samples, expected);
    }
}
