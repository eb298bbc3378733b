//! How many DVE answers one core signs a second, by how many are waiting: `cargo bench --bench dve`. All of it is
//! measured that a thread does between receiving and sending: reading, the limit, the choice, the Merkle tree, the
//! signature. The lines "sign" and "echo" tell how much of that is the signature alone, and what the kernel takes for
//! a datagram each way over loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that cannot go on has failed")]

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use divan::Bencher;
use divan::counter::ItemsCount;
use vestibule::dve::{DveSettings, Meter, Responder, Shared, SigningKey};
use vestibule::fleet::{
    Balance, Endpoint, FleetSettings, Gateway, GatewayName, Load, Moment, Observation, Publisher, Roster,
    Service, ServiceReport, Standing, Thresholds, VpnMode, Weights,
};
use vestibule::net::datagrams::{Datagram, Replies, Responder as _};

fn main() {
    divan::main();
}

/// A farm of eight gateways, all up, each with a load of its own.
#[divan::bench(args = [1, 8, 64])]
fn answers(bencher: Bencher<'_, '_>, batch: usize) {
    let now = moment();
    let settings = DveSettings {
        listen: vec![],
        key: Arc::new(key()),
        ttl: 30,
        answers_per_second_per_source: u32::MAX,
    };
    let shared = Arc::new(Shared::new(settings, now.instant));
    let publisher = Publisher::new(farm(now).snapshot());
    let mut responder =
        Responder::new(shared, Arc::new(Meter::default()), publisher.view(), Standing::active());
    let requests: Vec<_> = (0..batch).map(request).collect();
    let asked: Vec<_> = requests.iter().map(|(bytes, from)| Datagram { bytes, from: *from }).collect();
    let mut replies = Replies::default();
    bencher.counter(ItemsCount::new(batch)).bench_local(|| {
        replies.clear();
        responder.answer(&asked, now, &mut replies);
        assert_eq!(replies.iter().count(), batch);
    });
}

/// One signature.
#[divan::bench]
fn sign(bencher: Bencher<'_, '_>) {
    let key = key();
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| key.sign(&[7; 32]));
}

/// One datagram to a socket of this thread and one back.
#[divan::bench]
fn echo(bencher: Bencher<'_, '_>) {
    let (client, server) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    let (request, mut buffer) = ([0; 576], [0; 2048]);
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
        client.send_to(&request, server.local_addr().unwrap()).unwrap();
        let (_, from) = server.recv_from(&mut buffer).unwrap();
        server.send_to(&buffer[..200], from).unwrap();
        client.recv_from(&mut buffer).unwrap();
    });
}

fn moment() -> Moment {
    Moment { instant: Instant::now(), wall: SystemTime::now() }
}

fn key() -> SigningKey {
    // RFC 8410 §7: everything before the seed
    let mut pkcs8 = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    pkcs8.extend(0..32);
    SigningKey::from_pkcs8(&pkcs8).unwrap()
}

/// Native, any address, from a network of its own.
fn request(number: usize) -> (Vec<u8>, SocketAddr) {
    let mut bytes = b"DVE1\x01\x01\x00\x07".to_vec();
    bytes.extend([number as u8; 16]);
    bytes.resize(576, 0);
    (bytes, format!("10.0.{number}.1:4000").parse().unwrap())
}

fn farm(now: Moment) -> Roster {
    let gateway = |i: usize| {
        let endpoint = |port| Endpoint::parse(&format!("192.0.2.{i}"), port).unwrap();
        Arc::new(Gateway {
            name: GatewayName::new(&format!("gw{i}")),
            vrrp_id: None,
            vpn_mode: VpnMode::Both,
            vrrp_mode: vestibule::fleet::VrrpMode::Inactive,
            ssl_endpoint: endpoint(443),
            native_endpoint: endpoint(500),
            upstream: endpoint(443),
            has_agent: true,
            tunnels_max: Some(1000),
            capacity_bits_per_second: None,
        })
    };
    let mut roster = Roster::new(
        FleetSettings {
            gateways: (0..8).map(gateway).collect(),
            thresholds: Thresholds::default(),
            weights: Weights::default(),
            balance: Balance::default(),
        },
        now,
    );
    for i in 0..8 {
        let load = Load { tunnels: Some(100 * i), ..Load::default() };
        let report = Some(ServiceReport { service: Service::Up, load, fence: None });
        for _ in 0..3 {
            let observation = Observation { checks: vec![], report: report.clone(), asked: None };
            roster.observe(&GatewayName::new(&format!("gw{i}")), observation, now);
        }
    }
    roster
}
