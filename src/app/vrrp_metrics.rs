use prometheus::core::{Collector, Desc};
use prometheus::proto::{MetricFamily, MetricType};

use super::samples::{Sample, Value, family};
use super::standing::Reports;
use crate::vrrp::Report;

/// Which virtual addresses this front door has, as Prometheus metrics.
pub struct VrrpMetrics {
    reports: Reports,
    descriptions: Vec<Desc>,
}

impl VrrpMetrics {
    /// Of these.
    pub fn new(reports: Reports) -> Result<Self, prometheus::Error> {
        let describe = |(name, help): (&str, &str)| {
            Desc::new(name.into(), help.into(), vec!["vrrp_id".into()], Default::default())
        };
        let descriptions = [ACTIVE, CONFLICT].into_iter().map(describe).collect::<Result<_, _>>()?;
        Ok(Self { reports, descriptions })
    }
}

impl Collector for VrrpMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let reports = self.reports.borrow();
        // a family without a sample is an error to Prometheus' own tools
        if reports.is_empty() {
            return Vec::new();
        }
        let gauges = |(name, help), value: &dyn Fn(&Report) -> bool| {
            let sample = |report: &Report| Sample {
                labels: vec![("vrrp_id", report.vrrp_id.to_string())],
                value: Value::Gauge(value(report).into()),
            };
            family(name, help, MetricType::GAUGE, reports.iter().map(sample).collect())
        };
        vec![gauges(ACTIVE, &|report| report.active), gauges(CONFLICT, &|report| report.conflict.is_some())]
    }
}

const ACTIVE: (&str, &str) = ("vestibule_vrrp_active", "1 while this node holds the virtual address.");
const CONFLICT: (&str, &str) =
    ("vestibule_vrrp_conflict", "1 while another node may hold the virtual address as well as this one.");

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use prometheus::{Registry, TextEncoder};
    use tokio::sync::watch;

    use super::*;
    use crate::fleet::VrrpId;
    use crate::net::clock::now;

    #[test]
    fn each_virtual_router_has_a_sample() {
        let (sender, reports) = watch::channel(Arc::from([]));
        let registry = Registry::new();
        registry.register(Box::new(VrrpMetrics::new(reports).unwrap())).unwrap();
        let text = || TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        assert_eq!(text(), "");
        let report = |id, active| Report {
            vrrp_id: VrrpId::new(id).unwrap(),
            interface: "eth0".into(),
            addresses: Vec::new(),
            active,
            since: now(),
            reason: String::new(),
            conflict: (!active).then(|| "both have it".to_owned()),
        };
        sender.send_replace(Arc::from([report(31, true), report(32, false)]));
        let samples: Vec<_> =
            text().lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
        let expected = [
            "vestibule_vrrp_active{vrrp_id=\"31\"} 1",
            "vestibule_vrrp_active{vrrp_id=\"32\"} 0",
            "vestibule_vrrp_conflict{vrrp_id=\"31\"} 0",
            "vestibule_vrrp_conflict{vrrp_id=\"32\"} 1",
        ];
        assert_eq!(samples, expected);
    }
}
