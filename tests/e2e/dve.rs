//! Native clients that ask a real front door over DVE and IKEv2.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use vestibule::config::FrontSettings;
use vestibule::dve::{
    Accept, Attempt, Clock, DveSettings, Failure, PublicKey, Question, Request, ResolveError, Resolved,
    SigningKey, resolve,
};
use vestibule::fleet::{Endpoint, Host, Vpn, VrrpId};
use vestibule::heartbeat::ServiceState;
use vestibule::ike::IkeSettings;
use vestibule::vrrp::{Instance, Role};

use crate::support::{PATIENCE, Running, own_address};

fn key(first: u8) -> Arc<SigningKey> {
    // RFC 8410 §7: everything before the seed
    let mut pkcs8 = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    pkcs8.extend((0..32).map(|i| i + first));
    Arc::new(SigningKey::from_pkcs8(&pkcs8).unwrap())
}

pub fn settings(address: SocketAddr) -> DveSettings {
    DveSettings { listen: vec![address], key: key(0), ttl: 30, answers_per_second_per_source: 100_000 }
}

/// A farm that answers at this address.
async fn farm(gateways: usize, address: SocketAddr) -> Running {
    Running::with(gateways, |front| front.dve = Some(settings(address))).await
}

/// As a client does it.
async fn ask(address: SocketAddr, key: &PublicKey, vrrp_id: Option<u8>) -> Result<Resolved, ResolveError> {
    let server = Endpoint { host: Host::Address(address.ip()), port: address.port() };
    let vrrp_id = vrrp_id.and_then(|id| VrrpId::new(id.into()));
    resolve(&[server], &[*key], Question { vpn: Vpn::Native, vrrp_id, accept: Accept::ANY }, Clock::Trusted)
        .await
}

/// Whom an answer names, best first.
async fn named(farm: &Running, address: SocketAddr) -> Vec<usize> {
    let answer = ask(address, key(0).public(), None).await.unwrap();
    assert_eq!((answer.ttl, answer.server), (Duration::from_secs(30), address));
    let place =
        |endpoint: &Endpoint| farm.pages.iter().position(|page| page.to_string() == endpoint.to_string());
    answer.endpoints.iter().map(|endpoint| place(endpoint).unwrap()).collect()
}

/// What an answer names, as it stands there.
pub async fn endpoints(address: SocketAddr) -> Vec<String> {
    let answer = ask(address, key(0).public(), None).await.unwrap();
    answer.endpoints.iter().map(ToString::to_string).collect()
}

fn failure(answer: Result<Resolved, ResolveError>) -> Failure {
    match answer {
        Err(ResolveError::Nowhere(attempts)) => match &attempts[..] {
            [Attempt { failure, .. }] => failure.clone(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

pub async fn hear(client: &UdpSocket, buffer: &mut [u8]) -> usize {
    tokio::time::timeout(PATIENCE, client.recv(buffer)).await.expect("a datagram in time").unwrap()
}

#[tokio::test]
async fn the_least_loaded_gateways_are_named_best_first_whatever_the_load_before() {
    let address = own_address();
    let farm = farm(4, address).await;
    for tunnels in [[900, 300, 600, 800], [100, 900, 800, 400]] {
        for (gateway, count) in tunnels.into_iter().enumerate() {
            farm.set_tunnels(gateway, count).await;
        }
        let mut best: Vec<_> = (0..4).collect();
        best.sort_by_key(|gateway| tunnels[*gateway]);
        assert_eq!(named(&farm, address).await, best[..3]);
    }
    let status = farm.wait_until(|_| true).await;
    let door = status.listeners.iter().find(|listener| listener.mode == "dve").unwrap();
    assert_eq!((door.address, door.open, door.redirects), (address, true, 2));
    farm.until_metric("vestibule_dve_requests_total{status=\"ok\"}", 2.0).await;
    assert_eq!(farm.metric("vestibule_dve_batch_size_count").await, Some(2.0));
}

#[tokio::test]
async fn those_on_their_way_count_at_every_door() {
    let address = own_address();
    let farm = farm(3, address).await;
    let mut counts = [0; 3];
    for _ in 0..30 {
        counts[named(&farm, address).await[0]] += 1;
    }
    assert!(counts.iter().all(|count| (7..=13).contains(count)), "{counts:?}");
    let status = farm.wait_until(|status| status.gateways.iter().map(|g| g.pending).sum::<u64>() == 30).await;
    assert_eq!(status.gateways.len(), 3);
}

#[tokio::test]
async fn without_a_gateway_the_client_is_told_when_to_ask_again() {
    let address = own_address();
    let farm = farm(1, address).await;
    assert!(matches!(
        ask(address, key(0).public(), Some(9)).await,
        Err(ResolveError::Unsupported(server)) if server.address == Some(address)
    ));
    farm.set_service(0, ServiceState::Down);
    farm.wait_until(|status| !status.gateways[0].availability.native.available).await;
    let Failure::Unavailable { retry } = failure(ask(address, key(0).public(), None).await) else { panic!() };
    assert_eq!(retry, Duration::from_secs(3));
}

#[tokio::test]
async fn a_reload_brings_another_key_and_another_address_and_nobody_waits() {
    let (first, second) = (own_address(), own_address());
    let farm = farm(1, first).await;
    assert_eq!(named(&farm, first).await, [0]);
    let mut new = farm.settings();
    new.dve = Some(DveSettings { key: key(100), listen: vec![first, second], ..settings(first) });
    farm.reload(new.clone()).await.unwrap();
    for address in [first, second] {
        assert!(ask(address, key(100).public(), None).await.is_ok());
    }
    new.dve = Some(DveSettings { key: key(100), listen: vec![second], ..settings(first) });
    farm.reload(new.clone()).await.unwrap();
    assert!(matches!(failure(ask(first, key(100).public(), None).await), Failure::Unreachable(_)));
    assert!(ask(second, key(100).public(), None).await.is_ok());
    new.dve = None;
    farm.reload(new.clone()).await.unwrap();
    assert!(matches!(failure(ask(second, key(100).public(), None).await), Failure::Unreachable(_)));
    // what was counted is not lost
    farm.until_metric("vestibule_dve_requests_total{status=\"ok\"}", 4.0).await;
    let taken = std::net::UdpSocket::bind(first).unwrap();
    new.dve = Some(settings(first));
    let problems = farm.reload(new).await.unwrap_err();
    let told = format!(
        "cannot listen on {first}/udp ([dve] listen): address already in use; another program has it: see \
         `ss -ltunp`"
    );
    assert_eq!(problems, [told]);
    drop(taken);
    farm.stop().await.unwrap();
}

#[tokio::test]
async fn no_answer_is_longer_than_its_question() {
    let address = own_address();
    let _farm = farm(3, address).await;
    let client = UdpSocket::bind((IpAddr::from([127, 0, 0, 1]), 0)).await.unwrap();
    client.connect(address).await.unwrap();
    let (mut buffer, mut answered) = ([0; 2048], Vec::new());
    for length in 0..1400_usize {
        let nonce = [(length % 251) as u8; 16];
        let mut request =
            Request { vpn: Vpn::Native, vrrp_id: None, accept: Accept::ANY, nonce }.write().to_vec();
        request.resize(length, 0);
        client.send(&request).await.unwrap();
        // one that is answered for sure tells when the one before was not
        let last = Request { vpn: Vpn::Native, vrrp_id: None, accept: Accept::ANY, nonce: [255; 16] };
        client.send(&last.write()).await.unwrap();
        loop {
            let size = hear(&client, &mut buffer).await;
            if buffer[8..24] == [255; 16] {
                break;
            }
            assert!(size <= length, "{size} bytes for {length}");
            answered.push(length);
        }
    }
    assert_eq!((answered.first(), answered.last()), (Some(&128), Some(&1232)));
    assert!(answered.len() > 1000, "{}", answered.len());
}

#[tokio::test]
async fn a_source_that_asks_too_often_is_dropped_and_counted() {
    let address = own_address();
    let farm = Running::with(1, |front| {
        front.dve = Some(DveSettings { answers_per_second_per_source: 5, ..settings(address) });
    })
    .await;
    let client = UdpSocket::bind((IpAddr::from([127, 0, 0, 1]), 0)).await.unwrap();
    let request = Request { vpn: Vpn::Native, vrrp_id: None, accept: Accept::ANY, nonce: [1; 16] }.write();
    for _ in 0..50 {
        client.send_to(&request, address).await.unwrap();
    }
    let sum = async || {
        let count = async |status| {
            farm.metric(&format!("vestibule_dve_requests_total{{status=\"{status}\"}}")).await.unwrap_or(0.0)
        };
        (count("ok").await, count("dropped").await)
    };
    let deadline = Instant::now() + PATIENCE;
    let (mut answered, mut dropped) = sum().await;
    while answered + dropped < 50.0 {
        assert!(Instant::now() < deadline, "{answered} answered, {dropped} dropped");
        tokio::time::sleep(Duration::from_millis(10)).await;
        (answered, dropped) = sum().await;
    }
    assert!((5.0..=10.0).contains(&answered), "{answered} answered, {dropped} dropped");
    // another network has its own share
    let other = UdpSocket::bind((IpAddr::from([127, 99, 0, 1]), 0)).await.unwrap();
    other.send_to(&request, address).await.unwrap();
    hear(&other, &mut [0; 600]).await;
}

fn virtual_address(front: &mut FrontSettings) {
    front.vrrp = vec![Instance {
        vrrp_id: VrrpId::new(31).unwrap(),
        role: Role::Master,
        interface: "lo".into(),
        // TEST-NET-1 (RFC 5737), which no host has
        addresses: vec!["192.0.2.1/24".parse().unwrap()],
        peers: vec![],
        advertisement_interval: Duration::from_secs(1),
        preempt: false,
        notify_fifo: None,
    }];
}

#[tokio::test]
async fn a_front_door_without_its_virtual_address_says_that_it_is_the_standby() {
    let address = own_address();
    let farm = Running::with(1, |front| {
        front.dve = Some(settings(address));
        virtual_address(front);
    })
    .await;
    assert_eq!(failure(ask(address, key(0).public(), None).await), Failure::Standby);
    let mut alone = farm.settings();
    alone.vrrp = vec![];
    farm.reload(alone).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    while ask(address, key(0).public(), None).await.is_err() {
        assert!(Instant::now() < deadline, "it never became the active one");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What strongSwan sends first, with REDIRECT_SUPPORTED.
pub fn ike_sa_init() -> Vec<u8> {
    let text = include_str!("../ike/strongswan-default.hex");
    let digits: String = text.lines().filter(|line| !line.starts_with('#')).collect();
    digits
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

#[tokio::test]
async fn an_ikev2_client_is_redirected_and_who_comes_again_is_told_the_same() {
    let address = own_address();
    let farm = Running::with(2, |front| {
        front.ike = Some(IkeSettings { listen: vec![address], vrrp_id: None });
        for (i, gateway) in front.fleet.gateways.iter_mut().enumerate() {
            Arc::make_mut(gateway).native_endpoint = Endpoint::parse(&format!("192.0.2.{i}"), 500).unwrap();
        }
    })
    .await;
    farm.set_tunnels(0, 500).await;
    let client = UdpSocket::bind((IpAddr::from([127, 0, 0, 1]), 0)).await.unwrap();
    client.connect(address).await.unwrap();
    let (request, mut buffer) = (ike_sa_init(), [0; 2048]);
    for _ in 0..3 {
        client.send(&request).await.unwrap();
        let length = hear(&client, &mut buffer).await;
        // N(REDIRECT) with an IPv4 identity (RFC 5685 §7.2)
        assert_eq!(buffer[..8], request[..8]);
        assert_eq!(buffer[34..42], [0x40, 0x17, 1, 4, 192, 0, 2, 1], "{:?}", &buffer[..length]);
    }
    farm.until_metric("vestibule_ikev2_redirects_total{gateway=\"gw2\"}", 1.0).await;
    assert_eq!(farm.metric("vestibule_ikev2_requests_total{result=\"redirected\"}").await, Some(3.0));
    let status = farm.wait_until(|status| status.gateways[1].pending == 1).await;
    assert_eq!(status.listeners.last().unwrap().mode, "ikev2_redirect");
}
