use prometheus::core::{Collector, Desc};
use prometheus::proto::{MetricFamily, MetricType};

use super::samples::{Sample, Value, family};
use super::standing::Reports;

/// Which virtual addresses this front door has, as a Prometheus metric.
pub struct VrrpMetrics {
    reports: Reports,
    description: Desc,
}

impl VrrpMetrics {
    /// Of these.
    pub fn new(reports: Reports) -> Result<Self, prometheus::Error> {
        let (name, help) = ACTIVE;
        let description = Desc::new(name.into(), help.into(), vec!["vrrp_id".into()], Default::default())?;
        Ok(Self { reports, description })
    }
}

impl Collector for VrrpMetrics {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.description]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let reports = self.reports.borrow();
        let samples: Vec<_> = reports
            .iter()
            .map(|report| Sample {
                labels: vec![("vrrp_id", report.vrrp_id.to_string())],
                value: Value::Gauge(report.active.into()),
            })
            .collect();
        // a family without a sample is an error to Prometheus' own tools
        if samples.is_empty() {
            return Vec::new();
        }
        let (name, help) = ACTIVE;
        vec![family(name, help, MetricType::GAUGE, samples)]
    }
}

const ACTIVE: (&str, &str) = ("vestibule_vrrp_active", "1 while this node holds the virtual address.");

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use prometheus::{Registry, TextEncoder};
    use tokio::sync::watch;

    use super::*;
    use crate::fleet::VrrpId;
    use crate::net::clock::now;
    use crate::vrrp::Report;

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
        };
        sender.send_replace(Arc::from([report(31, true), report(32, false)]));
        let samples: Vec<_> =
            text().lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
        let expected = ["vestibule_vrrp_active{vrrp_id=\"31\"} 1", "vestibule_vrrp_active{vrrp_id=\"32\"} 0"];
        assert_eq!(samples, expected);
    }
}
