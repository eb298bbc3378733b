//! Connections through a proxy that become tunnels, or were to.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use vestibule::front::{ListenerSettings, Proxy};
use vestibule::heartbeat::ServiceState;

use crate::client::Client;
use crate::gateway::{Line, RawGateway, Then, ok, proxy_to};
use crate::support::{Running, own_address};

async fn farm(gateways: &[SocketAddr], change: impl FnOnce(&mut Proxy)) -> Running {
    Running::with(gateways.len(), |settings| {
        settings.workers = 1;
        proxy_to(settings, gateways, change);
    })
    .await
}

const CONNECT: &[u8] = b"CONNECT /CSCOSSLC/tunnel HTTP/1.1\r\nHost: x\r\nCookie: webvpn=1\r\n\r\n";
const CONNECTED: &[u8] = b"HTTP/1.1 200 CONNECTED\r\nX-CSTP-Version: 1\r\n\r\n";
const UPGRADE: &[u8] =
    b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n";
const UPGRADED: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: a\r\n\r\n";

/// A gateway that takes every CONNECT and then sends everything back, and answers all else with its name.
async fn echoing(name: &'static str) -> RawGateway {
    RawGateway::start(move |request, _| match request.starts_with("CONNECT ") {
        true => Then::Echo(CONNECTED.to_vec()),
        false => Then::Answer(ok(name)),
    })
    .await
}

/// A client with a tunnel that works.
async fn tunnel(farm: &Running) -> Client {
    let mut client = Client::connect(farm).await;
    client.send(CONNECT).await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 200 CONNECTED\r\nX-CSTP-Version: 1\r\n"), "{head}");
    carries(&mut client).await;
    client
}

async fn carries(client: &mut Client) {
    client.send(b"ping").await;
    assert_eq!(client.exactly(4).await, b"ping");
}

#[tokio::test]
async fn every_kind_of_tunnel_comes_about() {
    struct Kind {
        asked: &'static [u8],
        arrives: &'static str,
        granted: &'static [u8],
        answered: &'static str,
    }
    for kind in [
        Kind {
            asked: CONNECT,
            arrives: "CONNECT /CSCOSSLC/tunnel HTTP/1.1\r\nHost: x\r\nCookie: webvpn=1\r\n",
            granted: CONNECTED,
            answered: "HTTP/1.1 200 CONNECTED\r\nX-CSTP-Version: 1\r\n",
        },
        Kind {
            asked: b"CONNECT vpn.example.com:443 HTTP/1.1\r\nHost: vpn.example.com:443\r\n\r\n",
            arrives: "CONNECT vpn.example.com:443 HTTP/1.1\r\nHost: vpn.example.com:443\r\n",
            // a tunnel has no length (RFC 9110 §9.3.6)
            granted: b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nA: b\r\n\r\n",
            answered: "HTTP/1.1 200 OK\r\nA: b\r\n",
        },
        Kind {
            asked: UPGRADE,
            arrives: "GET /ws HTTP/1.1\r\nHost: x\r\nSec-WebSocket-Key: k\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n",
            granted: UPGRADED,
            answered: "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n",
        },
        Kind {
            asked: b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: IF-T/TLS 1.0\r\nConnection: Upgrade\r\n\r\n",
            arrives: "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: IF-T/TLS 1.0\r\n",
            granted:
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: IF-T/TLS 1.0\r\n\r\n",
            answered: "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: IF-T/TLS 1.0\r\n",
        },
    ] {
        let gateway = RawGateway::start(move |_, _| Then::Echo([kind.granted, b"hello"].concat())).await;
        let farm =
            farm(&[gateway.address], |proxy| proxy.forwarded = vestibule::front::Forwarded::None).await;
        let mut client = Client::connect(&farm).await;
        client.send(&[kind.asked, b"early"].concat()).await;
        let head = client.head().await;
        let head: String = head.split_inclusive("\r\n").filter(|line| !line.starts_with("Date: ")).collect();
        assert_eq!(head, format!("{}\r\n", kind.answered));
        assert_eq!(client.exactly(10).await, b"helloearly");
        carries(&mut client).await;
        assert_eq!(gateway.received(), [format!("{}\r\nearlyping", kind.arrives)]);
        client.stream.shutdown().await.unwrap();
        client.is_told_goodbye().await;
        farm.stop().await.unwrap();
    }
}

#[tokio::test]
async fn not_a_byte_goes_to_the_gateway_before_its_consent() {
    for (request, consent) in [(CONNECT, CONNECTED), (UPGRADE, UPGRADED)] {
        let gateway = RawGateway::scripted(move |mut line: Line| async move {
            line.head().await.unwrap();
            assert!(line.hears_nothing().await, "the gateway has not answered yet");
            line.send(consent).await;
            line.echo().await;
        })
        .await;
        let farm = farm(&[gateway.address], |_| {}).await;
        let mut client = Client::connect(&farm).await;
        client.send(&[request, b"early"].concat()).await;
        client.send(b" and impatient").await;
        client.head().await;
        assert_eq!(client.exactly(19).await, b"early and impatient");
        drop(client);
        gateway.until_all_over().await;
        farm.stop().await.unwrap();
    }
}

#[tokio::test]
async fn what_follows_a_refused_tunnel_reaches_nobody_and_the_connection_is_over() {
    const SMUGGLED: &[u8] = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
    for (request, refusal) in [
        (CONNECT, &b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 5\r\n\r\nhello"[..]),
        (
            CONNECT,
            b"HTTP/1.1 503 Service Unavailable\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ),
        (CONNECT, b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 5\r\n\r\nhello"),
        (UPGRADE, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
        (UPGRADE, b"HTTP/1.1 400 Bad Request\r\nContent-Length: 5\r\nUpgrade: other\r\n\r\nhello"),
        (UPGRADE, b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\n\r\nhello"),
    ] {
        let gateways = [(); 2].map(|()| RawGateway::start(|_, _| Then::Answer(refusal.to_vec())));
        let [one, two] = gateways;
        let gateways = [one.await, two.await];
        let farm = farm(&gateways.each_ref().map(|gateway| gateway.address), |_| {}).await;
        let mut client = Client::connect(&farm).await;
        client.send(&[request, SMUGGLED].concat()).await;
        let answer = client.answer().await;
        assert!(refusal.starts_with(answer.head.split("\r\n").next().unwrap().as_bytes()));
        assert_eq!((answer.text(), answer.header("Connection")), ("hello", Some("close")));
        client.send(SMUGGLED).await;
        client.is_told_goodbye().await;
        drop(client);
        // whatever might still be on its way would come before this
        for _ in 0..2 {
            Client::connect(&farm).await.get("/after").await;
        }
        let received = gateways.each_ref().map(|gateway| gateway.received().concat()).concat();
        assert!(!received.contains("smuggled"), "{received}");
        assert_eq!(gateways[0].requests() + gateways[1].requests(), 3, "{received}");
        farm.stop().await.unwrap();
    }
}

#[tokio::test]
async fn an_upgrade_that_nobody_has_asked_for_is_502() {
    let gateway = RawGateway::start(|_, _| Then::Answer(UPGRADED.to_vec())).await;
    let farm = farm(&[gateway.address], |_| {}).await;
    for request in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        CONNECT,
    ] {
        let mut client = Client::connect(&farm).await;
        assert_eq!(client.ask(request).await.status(), 502);
        drop(client);
    }
    gateway.until_all_over().await;
    assert_eq!(gateway.requests(), 3, "and nobody is asked again");
    farm.stop().await.unwrap();
}

#[tokio::test]
async fn each_side_may_end_before_the_other() {
    let gateway = RawGateway::scripted(|mut line: Line| async move {
        let head = line.head().await.unwrap();
        line.send(CONNECTED).await;
        if head.contains("X-First: gateway") {
            line.send(b"last words").await;
            line.shut_down().await;
            line.until_closed().await;
        } else {
            line.until_closed().await;
            line.send(b"last words").await;
        }
    })
    .await;
    let farm = farm(&[gateway.address], |_| {}).await;
    let connect = |who| format!("CONNECT /t HTTP/1.1\r\nHost: x\r\nX-First: {who}\r\n\r\n");

    let mut client = Client::connect(&farm).await;
    client.send(connect("client").as_bytes()).await;
    client.head().await;
    client.send(b"question").await;
    client.stream.shutdown().await.unwrap();
    assert_eq!(client.rest().await, b"last words");
    gateway.until(|seen| seen[0].is_over && seen[0].bytes.ends_with(b"question")).await;

    let mut client = Client::connect(&farm).await;
    client.send(connect("gateway").as_bytes()).await;
    client.head().await;
    assert_eq!(client.rest().await, b"last words");
    client.send(b"answer").await;
    client.stream.shutdown().await.unwrap();
    gateway.until(|seen| seen[1].is_over && seen[1].bytes.ends_with(b"answer")).await;
    farm.stop().await.unwrap();
}

const TUNNELS: &str = "vestibule_tunnels{listener=\"portal\",gateway=\"gw1\"}";
const IN: &str = "vestibule_transferred_bytes_total{listener=\"portal\",direction=\"in\"}";
const OUT: &str = "vestibule_transferred_bytes_total{listener=\"portal\",direction=\"out\"}";

#[tokio::test]
async fn a_tunnel_that_nobody_uses_ends_and_one_in_use_does_not() {
    let gateway = echoing("x").await;
    let idle = |proxy: &mut Proxy| proxy.upstream.tunnel_idle_timeout = Duration::from_millis(600);
    let farm = farm(&[gateway.address], idle).await;
    let mut used = tunnel(&farm).await;
    let mut unused = tunnel(&farm).await;
    farm.until_metric(TUNNELS, 2.0).await;
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(1500) {
        carries(&mut used).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let _ = unused.stream.read_to_end(&mut Vec::new()).await;
    farm.until_metric(TUNNELS, 1.0).await;
    drop(used);
    farm.until_metric(TUNNELS, 0.0).await;
    gateway.until_all_over().await;
    farm.stop().await.unwrap();
}

#[tokio::test]
async fn tunnels_and_what_goes_through_them_are_counted() {
    const LENGTH: usize = 4 * 1024 * 1024;
    let gateway = echoing("x").await;
    let farm = farm(&[gateway.address], |_| {}).await;
    let active = "vestibule_upstream_connections{gateway=\"gw1\",state=\"active\"}";
    let client = tunnel(&farm).await;
    farm.until_metric(TUNNELS, 1.0).await;
    farm.until_metric(active, 1.0).await;
    let (before_in, before_out) = (farm.metric(IN).await.unwrap(), farm.metric(OUT).await.unwrap());
    let sent: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(LENGTH).collect();
    let (mut from, mut to) = tokio::io::split(client.stream);
    let mut received = vec![0; LENGTH];
    let (written, read) = tokio::join!(to.write_all(&sent), from.read_exact(&mut received));
    written.unwrap();
    read.unwrap();
    assert!(sent == received, "every byte comes back as it was");
    assert_eq!(farm.metric(IN).await.unwrap() - before_in, LENGTH as f64);
    assert_eq!(farm.metric(OUT).await.unwrap() - before_out, LENGTH as f64);
    drop((from, to));
    farm.until_metric(TUNNELS, 0.0).await;
    farm.until_metric(active, 0.0).await;
    farm.wait_until(|status| status.listeners[0].connections == 0).await;
    farm.stop().await.unwrap();
}

#[tokio::test]
async fn a_tunnel_outlives_its_listeners_settings_and_its_listener() {
    let gateway = echoing("x").await;
    let farm = farm(&[gateway.address], |_| {}).await;
    let mut kept = tunnel(&farm).await;

    let mut changed = farm.settings();
    changed.listeners[0].limits.idle_timeout = Duration::from_millis(100);
    proxy_to(&mut changed, &[gateway.address], |proxy| proxy.persistent_connections = false);
    farm.reload(changed.clone()).await.unwrap();
    carries(&mut kept).await;
    let mut another = tunnel(&farm).await;
    carries(&mut another).await;

    let mut without = changed;
    let first = without.listeners.remove(0);
    without.listeners.push(ListenerSettings { name: "another".into(), address: own_address(), ..first });
    farm.reload(without).await.unwrap();
    assert!(tokio::net::TcpStream::connect(farm.front).await.is_err(), "the listener is gone");
    for client in [&mut kept, &mut another] {
        carries(client).await;
        client.stream.shutdown().await.unwrap();
        client.is_told_goodbye().await;
    }
    farm.stop().await.unwrap();
}

#[tokio::test]
async fn a_tunnel_stays_where_it_is_when_the_gateway_goes_down_or_drains_or_leaves() {
    let gateways = [echoing("one").await, echoing("two").await];
    let farm = farm(&gateways.each_ref().map(|gateway| gateway.address), |_| {}).await;
    let mut kept = tunnel(&farm).await;
    assert_eq!(gateways[0].connections(), 1);
    for service in [ServiceState::Draining, ServiceState::Down] {
        farm.set_service(0, service);
        farm.wait_until(|status| !status.gateways[0].availability.ssl.available).await;
        for _ in 0..3 {
            assert_eq!(Client::connect(&farm).await.get("/").await.text(), "two");
        }
        carries(&mut kept).await;
    }
    let mut settings = farm.settings();
    settings.fleet.gateways.remove(0);
    settings.probes.remove(0);
    farm.reload(settings).await.unwrap();
    farm.wait_until(|status| status.gateways.len() == 1).await;
    assert_eq!(Client::connect(&farm).await.get("/").await.text(), "two");
    carries(&mut kept).await;
    drop(kept);
    gateways[0].until_all_over().await;
    farm.stop().await.unwrap();
}

#[tokio::test]
async fn a_front_door_that_stops_waits_a_while_for_its_tunnels_and_then_cuts_them() {
    let gateway = echoing("x").await;
    let farm = farm(&[gateway.address], |_| {}).await;
    let mut cut = tunnel(&farm).await;
    let mut ends = tunnel(&farm).await;
    let stopping = tokio::spawn(farm.stop());
    gateway.until(|seen| seen.len() == 2).await;
    carries(&mut ends).await;
    ends.stream.shutdown().await.unwrap();
    ends.is_told_goodbye().await;
    carries(&mut cut).await;
    stopping.await.unwrap().unwrap();
    let _ = cut.stream.read_to_end(&mut Vec::new()).await;
    gateway.until_all_over().await;
}

#[tokio::test]
async fn bytes_behind_connect_are_counted_once() {
    let gateway = RawGateway::start(|_, _| Then::Echo(b"HTTP/1.1 200 CONNECTED\r\n\r\n".to_vec())).await;
    let farm = farm(&[gateway.address], |_| {}).await;
    let mut client = Client::connect(&farm).await;
    let mut all = b"CONNECT /t HTTP/1.1\r\nHost: x\r\n\r\n".to_vec();
    all.extend_from_slice(&[b'a'; 1000]);
    client.send(&all).await;
    client.head().await;
    client.exactly(1000).await;
    client.send(b"more").await;
    client.exactly(4).await;
    let received = "vestibule_transferred_bytes_total{listener=\"portal\",direction=\"in\"}";
    farm.until_metric(received, all.len() as f64 + 4.0).await;
    drop(client);
    farm.stop().await.unwrap();
}
