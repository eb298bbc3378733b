//! For tests: requests, captured ones and ones that are put together, and gateways.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::message::Spi;
use crate::fleet::{
    Balance, CheckOutcome, CheckResult, Endpoint, FleetSettings, Gateway, GatewayName, Load, Observation,
    Publisher, Roster, Service, ServiceReport, Snapshot, Thresholds, Weights,
};
use crate::net::clock;

pub const STRONGSWAN_500: &str = "strongswan-500";
pub const ALL: [&str; 6] = [
    STRONGSWAN_500,
    "strongswan-default",
    "strongswan-4500",
    "strongswan-cookie",
    "strongswan-redirected",
    "strongswan-unsupported",
];

/// A payload's type and what it holds.
#[derive(Clone, Debug)]
pub struct Payload(pub u8, pub Vec<u8>);

/// A request that a real client has sent (tests/ike).
pub fn sample(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/ike/{name}.hex", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap();
    let digits: String = text.lines().filter(|line| !line.starts_with('#')).collect();
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    assert!(rest.is_empty(), "{path}");
    pairs.iter().map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// A request of these payloads.
pub fn message(payloads: &[Payload]) -> Vec<u8> {
    message_of([0xab; 8], payloads)
}

pub fn message_of(spi: Spi, payloads: &[Payload]) -> Vec<u8> {
    let kinds = payloads.iter().map(|payload| payload.0).chain([0]);
    let mut body = Vec::new();
    for (Payload(_, content), next) in payloads.iter().zip(kinds.clone().skip(1)) {
        body.extend([next, 0]);
        body.extend((content.len() as u16 + 4).to_be_bytes());
        body.extend(content);
    }
    let length = (28 + body.len() as u32).to_be_bytes();
    let head = [0x20, 34, 0x08, 0, 0, 0, 0];
    [&spi[..], &[0; 8], &[kinds.clone().next().unwrap()], &head, &length, &body].concat()
}

/// Association, key and nonce.
pub fn basics() -> Vec<Payload> {
    vec![Payload(33, vec![1; 44]), Payload(34, vec![2; 36]), Payload(40, vec![3; 32])]
}

/// A request of what each has, and these payloads.
pub fn plain(more: &[Payload]) -> Vec<u8> {
    message(&[&basics()[..], more].concat())
}

pub fn notify(kind: u16, data: &[u8]) -> Payload {
    Payload(41, [&[0, 0][..], &kind.to_be_bytes(), data].concat())
}

/// Gateways, each with room for 1000 tunnels, and their keeper.
pub struct Farm {
    pub publisher: Publisher,
    roster: Roster,
    hosts: Vec<String>,
}

impl Farm {
    /// With these native endpoints, all up and without tunnels; each is called gw- and its host.
    pub fn new(hosts: &[&str]) -> Self {
        let mut roster = Roster::new(Self::settings(hosts), clock::now());
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut farm = Self { publisher: Publisher::new(roster.snapshot()), roster, hosts };
        farm.tunnels(&vec![0; farm.hosts.len()]);
        farm
    }

    pub fn tunnels(&mut self, tunnels: &[u64]) {
        for (place, tunnels) in tunnels.iter().enumerate() {
            let load = Load { tunnels: Some(*tunnels), ..Load::default() };
            let report = Some(ServiceReport { service: Service::Up, load, fence: None });
            self.observe(place, Observation { checks: vec![], report, asked: None });
        }
    }

    pub fn fails(&mut self, place: usize) {
        let outcome = CheckOutcome::Fail("connection refused".into());
        let check = CheckResult { check: "tcp".into(), outcome, took: std::time::Duration::ZERO };
        self.observe(place, Observation { checks: vec![check], report: None, asked: None });
    }

    /// A reload.
    pub fn replace(&mut self, hosts: &[&str]) {
        self.roster.reload(Self::settings(hosts), clock::now());
        self.publisher.publish(self.roster.snapshot());
        self.hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
    }

    /// Those sent to each that no report shows yet.
    pub fn pending(&self) -> Vec<u64> {
        self.snapshot().gateways.iter().map(|view| view.pending()).collect()
    }

    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(self.publisher.view().load())
    }

    fn observe(&mut self, place: usize, observation: Observation) {
        let name = GatewayName::new(&format!("gw-{}", self.hosts[place]));
        self.roster.observe(&name, observation, clock::now());
        self.publisher.publish(self.roster.snapshot());
    }

    fn settings(hosts: &[&str]) -> FleetSettings {
        let gateway = |host: &&str| {
            Arc::new(Gateway {
                native_endpoint: Endpoint::parse(host, 500).unwrap(),
                tunnels_max: Some(1000),
                ..Gateway::plain(&format!("gw-{host}"), "vpn.example.com")
            })
        };
        FleetSettings {
            gateways: hosts.iter().map(gateway).collect(),
            thresholds: Thresholds { rise: NonZeroU32::MIN, fall: NonZeroU32::MIN },
            weights: Weights::default(),
            balance: Balance::default(),
        }
    }
}
