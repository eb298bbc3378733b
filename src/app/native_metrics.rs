use std::collections::BTreeMap;
use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{MetricFamily, MetricType};

use super::responders::{Meter, Place, Places};
use super::samples::{Buckets, Sample, Value, family};
use crate::admin::listener::{ListenerStatus, Steering};
use crate::admin::rates::Counted;
use crate::dve;
use crate::fleet::GatewayName;
use crate::ike;

/// What the responders for native clients have counted, as Prometheus metrics, added up when somebody looks.
pub struct NativeMetrics {
    places: Places,
    descriptions: Vec<Desc>,
}

impl NativeMetrics {
    /// Of these.
    pub fn new(places: Places) -> Result<Self, prometheus::Error> {
        let describe =
            |(name, help): (&str, &str)| Desc::new(name.into(), help.into(), vec![], Default::default());
        let descriptions = [DVE_REQUESTS, DVE_BATCHES, IKE_REQUESTS, IKE_REDIRECTS]
            .into_iter()
            .map(describe)
            .collect::<Result<_, _>>()?;
        Ok(Self { places, descriptions })
    }
}

impl Collector for NativeMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let places = self.places.get();
        let (mut dve, mut ike) = (Vec::new(), Vec::new());
        for place in places {
            match place.meter {
                Meter::Dve(meter) => dve.push(meter),
                Meter::Ike(meter) => ike.push(meter),
            }
        }
        let of_family = |(name, help), kind, samples| family(name, help, kind, samples);
        let mut families = Vec::new();
        if !dve.is_empty() {
            families.push(of_family(DVE_REQUESTS, MetricType::COUNTER, requests(&dve)));
            families.push(of_family(DVE_BATCHES, MetricType::HISTOGRAM, vec![batches(&dve)]));
        }
        if !ike.is_empty() {
            families.push(of_family(IKE_REQUESTS, MetricType::COUNTER, ike_requests(&ike)));
            families.push(of_family(IKE_REDIRECTS, MetricType::COUNTER, ike_redirects(&ike)));
        }
        // a family without a sample is an error to Prometheus' own tools
        families.retain(|family| !family.get_metric().is_empty());
        families
    }
}

fn ike_requests(meters: &[Arc<ike::Meter>]) -> Vec<Sample> {
    let sample = |outcome: ike::Outcome| {
        let labels = vec![("result", outcome.as_str().to_owned())];
        Sample::counter(labels, meters.iter().map(|meter| meter.outcomes(outcome)).sum())
    };
    ike::Outcome::ALL.into_iter().map(sample).collect()
}

fn ike_redirects(meters: &[Arc<ike::Meter>]) -> Vec<Sample> {
    let mut gateways = BTreeMap::<GatewayName, u64>::new();
    for (gateway, count) in meters.iter().flat_map(|meter| meter.redirects()) {
        *gateways.entry(gateway).or_default() += count;
    }
    gateways
        .iter()
        .map(|(name, count)| Sample::counter(vec![("gateway", name.to_string())], *count))
        .collect()
}

fn requests(meters: &[Arc<dve::Meter>]) -> Vec<Sample> {
    let sample = |outcome: dve::Outcome| {
        let labels = vec![("status", outcome.as_str().to_owned())];
        Sample::counter(labels, meters.iter().map(|meter| meter.outcome(outcome)).sum())
    };
    dve::Outcome::all().map(sample).collect()
}

fn batches(meters: &[Arc<dve::Meter>]) -> Sample {
    let counts: Vec<_> = dve::BATCH_SIZES
        .into_iter()
        .enumerate()
        .map(|(i, most)| (most as f64, meters.iter().filter_map(|meter| meter.batches().nth(i)).sum()))
        .collect();
    // the sum of the buckets, so that the two agree whatever is counted meanwhile
    let count = counts.iter().map(|(_, count)| count).sum();
    let sum = meters.iter().map(|meter| meter.answers()).sum::<u64>() as f64;
    Sample { labels: vec![], value: Value::Histogram(Buckets { counts, count, sum }) }
}

/// What the status shows of the addresses that are open, as it does of listeners.
pub fn statuses(places: &Places) -> Vec<ListenerStatus> {
    places.get().iter().filter(|place| place.is_open).map(status).collect()
}

fn status(place: &Place) -> ListenerStatus {
    let (mode, redirects, unavailable, answers, rejected) = match &place.meter {
        Meter::Dve(meter) => {
            let count = |status| meter.outcome(dve::Outcome::Answered(status));
            let answers = dve::Status::ALL.into_iter().map(count).sum();
            let dropped = meter.outcome(dve::Outcome::Dropped);
            ("dve", count(dve::Status::Ok), count(dve::Status::Unavailable), answers, dropped)
        }
        Meter::Ike(meter) => {
            use ike::Outcome::{Challenged, Dropped, Redirected, Refused, Unavailable};
            let answered = [Redirected, Challenged, Refused, Unavailable];
            (
                "ikev2_redirect",
                meter.outcomes(Redirected),
                meter.outcomes(Unavailable),
                answered.into_iter().map(|outcome| meter.outcomes(outcome)).sum(),
                meter.outcomes(Dropped),
            )
        }
    };
    ListenerStatus {
        name: mode.to_owned(),
        address: place.address,
        mode,
        vrrp_id: place.ask.vrrp_id,
        vpn: place.ask.vpn,
        steering: Some(Steering::default()),
        open: place.is_open,
        connections: 0,
        tunnels: 0,
        redirects,
        unavailable,
        counted: Counted { answers, rejected, ..Counted::default() },
    }
}

const DVE_REQUESTS: (&str, &str) = (
    "vestibule_dve_requests_total",
    "DVE datagrams by how they were answered; dropped: their source has had enough, or no answer fits; \
     ignored: no request.",
);
const DVE_BATCHES: (&str, &str) = ("vestibule_dve_batch_size", "DVE answers for each signature.");
const IKE_REQUESTS: (&str, &str) = (
    "vestibule_ikev2_requests_total",
    "Datagrams to the IKEv2 responder by how they were answered; dropped: their source has had enough; ignored: no \
     IKE_SA_INIT request.",
);
const IKE_REDIRECTS: (&str, &str) = ("vestibule_ikev2_redirects_total", "IKEv2 clients sent to a gateway.");
