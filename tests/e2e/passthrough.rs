//! Connections that are taken to a gateway with their TLS untouched.

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::AlertDescription;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use vestibule::config::FrontSettings;
use vestibule::fleet::{Endpoint, Gateway, Policy, State};
use vestibule::front::{ListenerSettings, Mode, Passthrough, ProxyProtocol, Upstream};

use crate::support::{PATIENCE, Running, anyone, ask, connect_with, handshake, own_address, read_to_end};

/// A farm behind a passthrough.
async fn passthrough(count: usize, passthrough: Passthrough) -> Running {
    Running::with(count, |settings| {
        settings.listeners[0].mode = Mode::Passthrough(Arc::new(passthrough));
    })
    .await
}

/// A farm with one gateway behind a passthrough, and that gateway, with which one can do as one likes.
async fn raw(passthrough: Passthrough) -> (Running, TcpListener) {
    let gateway = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = gateway.local_addr().unwrap();
    let farm = Running::with(1, |settings| {
        settings.listeners[0].mode = Mode::Passthrough(Arc::new(passthrough));
        reached_at(settings, 0, upstream);
    })
    .await;
    (farm, gateway)
}

/// Has a gateway reached somewhere else than where its page is.
fn reached_at(settings: &mut FrontSettings, gateway: usize, upstream: SocketAddr) {
    let upstream = Endpoint::parse(&upstream.to_string(), 443).unwrap();
    let gateway = &mut settings.fleet.gateways[gateway];
    *gateway = Arc::new(Gateway { upstream, ..Gateway::clone(gateway) });
}

fn only(names: &[&str]) -> Passthrough {
    Passthrough {
        server_names: names.iter().map(|name| Box::from(*name)).collect(),
        ..Passthrough::default()
    }
}

fn with_upstream(upstream: Upstream) -> Passthrough {
    Passthrough { upstream, ..Passthrough::default() }
}

async fn accept(gateway: &TcpListener) -> TcpStream {
    tokio::time::timeout(PATIENCE, gateway.accept()).await.expect("somebody comes").unwrap().0
}

/// The next bytes, as many as are expected.
async fn expect(stream: &mut TcpStream, expected: impl AsRef<[u8]>) {
    let expected = expected.as_ref();
    let mut received = vec![0; expected.len()];
    let read = tokio::time::timeout(PATIENCE, stream.read_exact(&mut received)).await;
    read.expect("it comes in time").expect("it comes");
    assert_eq!(String::from_utf8_lossy(&received), String::from_utf8_lossy(expected));
}

/// A tunnel: both its ends, after a first word of the client's.
async fn tunnel(farm: &Running, gateway: &TcpListener) -> (TcpStream, TcpStream) {
    let mut here = TcpStream::connect(farm.front).await.unwrap();
    here.write_all(b"hello").await.unwrap();
    let mut there = accept(gateway).await;
    expect(&mut there, "hello").await;
    (here, there)
}

async fn certificate(address: SocketAddr) -> CertificateDer<'static> {
    let stream = connect_with(address, "localhost", anyone()).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].clone()
}

fn rejected(reason: &str) -> String {
    format!("vestibule_connections_rejected_total{{listener=\"portal\",reason=\"{reason}\"}}")
}

#[tokio::test]
async fn the_client_shakes_hands_with_the_gateway() {
    let farm = passthrough(1, Passthrough::default()).await;
    assert_eq!(certificate(farm.front).await, certificate(farm.pages[0]).await);
    let mut stream = farm.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    assert!(read_to_end(&mut stream).await.contains("You have reached gw1"));
}

#[tokio::test]
async fn only_who_asks_for_a_name_that_is_let_in_gets_through() {
    let farm = passthrough(1, only(&["vpn.example.com", "*.example.net"])).await;
    for name in ["vpn.example.com", "VPN.Example.COM", "a.example.net"] {
        let mut stream = connect_with(farm.front, name, anyone()).await.expect(name);
        assert!(ask(&mut stream).await.starts_with("HTTP/1.1 200"));
    }
    let others = ["elsewhere.example.com", "a.b.example.net", "example.net", "127.0.0.1"];
    for name in others {
        let error = connect_with(farm.front, name, anyone()).await.expect_err(name);
        let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
        assert_eq!(
            cause,
            Some(&rustls::Error::AlertReceived(AlertDescription::UnrecognisedName)),
            "{name}: {error}"
        );
    }
    farm.until_metric(&rejected("server_name"), others.len() as f64).await;
}

#[tokio::test]
async fn a_hello_may_come_byte_by_byte() {
    let farm = passthrough(1, only(&["vpn.example.com"])).await;
    let name = ServerName::try_from("vpn.example.com").unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(anyone()), name).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    let mut stream = TcpStream::connect(farm.front).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for byte in hello {
        stream.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut answer = [0; 6];
    stream.read_exact(&mut answer).await.unwrap();
    // a handshake record (RFC 8446 §5.1) with a ServerHello (§4)
    assert_eq!((answer[0], answer[5]), (22, 2));
}

#[tokio::test]
async fn who_speaks_no_tls_is_closed_where_a_name_is_needed_and_who_says_nothing_is_everywhere() {
    let farm = Running::with(1, |settings| {
        settings.listeners[0].mode = Mode::Passthrough(Arc::new(only(&["vpn.example.com"])));
        settings.listeners[0].limits.handshake_timeout = Duration::from_millis(300);
    })
    .await;
    let mut stream = TcpStream::connect(farm.front).await.unwrap();
    stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await.unwrap();
    assert_eq!(read_to_end(&mut stream).await, "");
    let mut silent = TcpStream::connect(farm.front).await.unwrap();
    assert_eq!(read_to_end(&mut silent).await, "");
    let mut gone = TcpStream::connect(farm.front).await.unwrap();
    gone.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut gone).await, "");
    assert_eq!(farm.metric(&rejected("server_name")).await, Some(2.0), "the last one has asked for nothing");

    let gateway = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = gateway.local_addr().unwrap();
    let farm = Running::with(1, |settings| {
        settings.listeners[0].mode = Mode::Passthrough(Arc::default());
        settings.listeners[0].limits.handshake_timeout = Duration::from_millis(300);
        reached_at(settings, 0, upstream);
    })
    .await;
    let mut silent = TcpStream::connect(farm.front).await.unwrap();
    let mut gone = TcpStream::connect(farm.front).await.unwrap();
    gone.shutdown().await.unwrap();
    assert_eq!(
        (read_to_end(&mut silent).await, read_to_end(&mut gone).await),
        (String::new(), String::new())
    );
    let mut speaks = TcpStream::connect(farm.front).await.unwrap();
    speaks.write_all(b"hello").await.unwrap();
    // the first one whom the gateway gets to see
    expect(&mut accept(&gateway).await, "hello").await;
    let connections =
        farm.metric("vestibule_upstream_requests_total{gateway=\"gw1\",result=\"answered\"}").await;
    assert_eq!(connections, Some(1.0));
}

#[tokio::test]
async fn the_gateway_is_told_who_the_client_is() {
    for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
        let (farm, gateway) =
            raw(with_upstream(Upstream { send_proxy_protocol: Some(version), ..Upstream::default() })).await;
        let mut client = TcpStream::connect(farm.front).await.unwrap();
        client.write_all(b"hello").await.unwrap();
        let (from, to) = (client.local_addr().unwrap(), farm.front);
        let mut there = accept(&gateway).await;
        match version {
            ProxyProtocol::V1 => {
                let (from_port, to_port) = (from.port(), to.port());
                expect(&mut there, format!("PROXY TCP4 127.0.0.1 127.0.0.1 {from_port} {to_port}\r\nhello"))
                    .await;
            }
            ProxyProtocol::V2 => expect(&mut there, [&proxy_v2(from, to)[..], b"hello"].concat()).await,
        }
    }
}

/// A header of version 2 for TCP over IPv4 (proxy-protocol.txt, §2.2).
fn proxy_v2(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let (SocketAddr::V4(from), SocketAddr::V4(to)) = (from, to) else { panic!("IPv4") };
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
    header.extend_from_slice(&from.ip().octets());
    header.extend_from_slice(&to.ip().octets());
    header.extend_from_slice(&from.port().to_be_bytes());
    header.extend_from_slice(&to.port().to_be_bytes());
    header
}

fn trusting(network: &str) -> Upstream {
    Upstream {
        accept_proxy_protocol: true,
        trusted_proxies: vec![network.parse().unwrap()],
        send_proxy_protocol: Some(ProxyProtocol::V1),
        ..Upstream::default()
    }
}

#[tokio::test]
async fn a_trusted_proxys_word_on_who_comes_is_taken_and_passed_on() {
    let (farm, gateway) = raw(with_upstream(trusting("127.0.0.0/8"))).await;
    for header in [
        b"PROXY TCP4 192.0.2.77 198.51.100.1 50000 443\r\n".to_vec(),
        proxy_v2("192.0.2.77:50000".parse().unwrap(), "198.51.100.1:443".parse().unwrap()),
    ] {
        let mut proxy = TcpStream::connect(farm.front).await.unwrap();
        proxy.write_all(&[&header[..], b"hello"].concat()).await.unwrap();
        let mut there = accept(&gateway).await;
        expect(&mut there, "PROXY TCP4 192.0.2.77 198.51.100.1 50000 443\r\nhello").await;
    }
    // one that speaks for itself
    let mut proxy = TcpStream::connect(farm.front).await.unwrap();
    proxy.write_all(b"PROXY UNKNOWN\r\nhello").await.unwrap();
    let port = proxy.local_addr().unwrap().port();
    let told = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {port} {}\r\nhello", farm.front.port());
    expect(&mut accept(&gateway).await, told).await;
}

#[tokio::test]
async fn a_trusted_proxy_that_does_not_say_who_comes_is_closed_and_counted() {
    let (farm, gateway) = raw(with_upstream(trusting("127.0.0.0/8"))).await;
    let mut stream = TcpStream::connect(farm.front).await.unwrap();
    stream.write_all(b"\x16\x03\x01\x02\x00\x01").await.unwrap();
    let mut rest = Vec::new();
    // what it has sent is left unread
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("it is closed");
    assert!(rest.is_empty());
    farm.until_metric(&rejected("proxy_header"), 1.0).await;
    let none =
        "vestibule_tls_handshakes_total{listener=\"portal\",result=\"error\",version=\"\",resumed=\"\"}";
    assert_eq!(farm.metric(none).await, None, "there is no TLS here");
    assert!(tokio::time::timeout(Duration::from_millis(100), gateway.accept()).await.is_err());
}

#[tokio::test]
async fn the_word_of_anybody_else_is_not_even_read() {
    let (farm, gateway) = raw(with_upstream(trusting("192.0.2.0/24"))).await;
    let mut stream = TcpStream::connect(farm.front).await.unwrap();
    stream.write_all(b"PROXY TCP4 192.0.2.77 198.51.100.1 50000 443\r\n").await.unwrap();
    let port = stream.local_addr().unwrap().port();
    let told = format!(
        "PROXY TCP4 127.0.0.1 127.0.0.1 {port} {}\r\nPROXY TCP4 192.0.2.77 198.51.100.1 50000 443\r\n",
        farm.front.port()
    );
    expect(&mut accept(&gateway).await, told).await;
}

#[tokio::test]
async fn those_behind_a_proxy_are_limited_one_by_one() {
    let gateway = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = gateway.local_addr().unwrap();
    let farm = Running::with(1, |settings| {
        settings.listeners[0].mode = Mode::Passthrough(Arc::new(with_upstream(trusting("127.0.0.0/8"))));
        settings.listeners[0].limits.connections_per_source = 1;
        reached_at(settings, 0, upstream);
    })
    .await;
    let from = async |client: &str, words: &str| {
        let mut proxy = TcpStream::connect(farm.front).await.unwrap();
        let header = format!("PROXY TCP4 {client} 198.51.100.1 50000 443\r\n{words}");
        proxy.write_all(header.as_bytes()).await.unwrap();
        proxy
    };
    let mut open = Vec::new();
    for client in ["192.0.2.1", "192.0.2.2"] {
        open.push((from(client, "hello").await, accept(&gateway).await));
    }
    assert_eq!(read_to_end(&mut from("192.0.2.1", "").await).await, "", "this one has enough");
    let sample =
        "vestibule_connections_rejected_total{listener=\"portal\",reason=\"connections_per_source\"}";
    farm.until_metric(sample, 1.0).await;
    // its place is free again when its tunnel has ended
    open.remove(0);
    farm.wait_until(|status| status.listeners[0].connections == 1).await;
    let _again = from("192.0.2.1", "hello").await;
    accept(&gateway).await;
}

#[tokio::test]
async fn a_trusted_proxy_is_itself_no_source_that_is_limited() {
    for accept_proxy_protocol in [false, true] {
        let gateway = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = gateway.local_addr().unwrap();
        let trusting =
            Upstream { accept_proxy_protocol, send_proxy_protocol: None, ..trusting("127.0.0.0/8") };
        let farm = Running::with(1, |settings| {
            settings.listeners[0].mode = Mode::Passthrough(Arc::new(with_upstream(trusting)));
            settings.listeners[0].limits.connections_per_source = 1;
            settings.listeners[0].limits.connections = 2;
            reached_at(settings, 0, upstream);
        })
        .await;
        let words = if accept_proxy_protocol { "PROXY UNKNOWN\r\nhello" } else { "hello" };
        let mut open = Vec::new();
        for _ in 0..2 {
            let mut proxy = TcpStream::connect(farm.front).await.unwrap();
            proxy.write_all(words.as_bytes()).await.unwrap();
            let mut there = accept(&gateway).await;
            expect(&mut there, "hello").await;
            open.push((proxy, there));
        }
        let mut third = TcpStream::connect(farm.front).await.unwrap();
        // it is closed without being looked at
        let _ = tokio::time::timeout(PATIENCE, third.read(&mut [0])).await.expect("there is no room");
        farm.until_metric(&rejected("connections"), 1.0).await;
    }
}

#[tokio::test]
async fn a_gateway_that_cannot_be_reached_is_passed_over_and_then_found_down() {
    let refusing = own_address();
    let farm = Running::with(2, |settings| {
        let by_turns = Upstream { policy: Policy::RoundRobin, ..Upstream::default() };
        let passthrough = Passthrough { source_affinity: false, ..with_upstream(by_turns) };
        settings.listeners[0].mode = Mode::Passthrough(Arc::new(passthrough));
        reached_at(settings, 0, refusing);
        // its checks see nothing of it, and do not contradict either
        settings.probes[0].interval = PATIENCE * 2;
    })
    .await;
    let there = certificate(farm.pages[1]).await;
    for _ in 0..10 {
        assert_eq!(certificate(farm.front).await, there);
    }
    let status = farm.wait_until(|status| status.gateways[0].state == State::Down).await;
    assert_eq!(status.gateways[1].state, State::Up);
    assert_eq!(certificate(farm.front).await, there);
}

#[tokio::test]
async fn where_no_gateway_can_be_reached_the_connection_is_closed_in_order() {
    let farm = Running::with(2, |settings| {
        settings.listeners[0].mode = Mode::Passthrough(Arc::default());
        for gateway in 0..2 {
            reached_at(settings, gateway, own_address());
        }
    })
    .await;
    let mut stream = TcpStream::connect(farm.front).await.unwrap();
    stream.write_all(b"nobody will read this").await.unwrap();
    assert_eq!(read_to_end(&mut stream).await, "", "no reset");
    farm.until_metric("vestibule_unavailable_total{listener=\"portal\"}", 1.0).await;
    drop(stream);
    farm.wait_until(|status| status.listeners[0].connections == 0).await;
}

#[tokio::test]
async fn a_tunnel_survives_every_reload_and_its_listener() {
    let (farm, gateway) = raw(Passthrough::default()).await;
    let (mut here, mut there) = tunnel(&farm, &gateway).await;
    let still_there = async |here: &mut TcpStream, there: &mut TcpStream| {
        here.write_all(b"ping").await.unwrap();
        expect(there, "ping").await;
        there.write_all(b"pong").await.unwrap();
        expect(here, "pong").await;
    };
    still_there(&mut here, &mut there).await;

    let before = farm.settings();
    let mut renamed = before.clone();
    renamed.listeners[0].name = "renamed".into();
    farm.reload(renamed).await.unwrap();
    still_there(&mut here, &mut there).await;

    let mut without = before.clone();
    let another = ListenerSettings { address: own_address(), ..before.listeners[0].clone() };
    without.listeners = vec![another];
    farm.reload(without).await.unwrap();
    assert!(TcpStream::connect(farm.front).await.is_err(), "the listener is gone");
    // longer than connections of a listener that closes are waited for
    let until = Instant::now() + Duration::from_secs(6);
    while Instant::now() < until {
        still_there(&mut here, &mut there).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    there.shutdown().await.unwrap();
    here.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut here).await, "");
}

#[tokio::test]
async fn a_front_door_that_stops_waits_a_while_for_its_tunnels_and_then_cuts_them() {
    let (farm, gateway) = raw(Passthrough::default()).await;
    let (mut here, mut there) = tunnel(&farm, &gateway).await;
    let (mut lasting, _there_too) = tunnel(&farm, &gateway).await;
    let last_words = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        here.write_all(b"last words").await.unwrap();
        here.shutdown().await.unwrap();
        expect(&mut there, "last words").await;
        lasting.read(&mut [0]).await
    };
    let began = Instant::now();
    let (stopped, cut) = tokio::join!(farm.stop(), last_words);
    stopped.unwrap();
    assert!(matches!(cut, Ok(0) | Err(_)), "{cut:?}");
    let took = began.elapsed();
    assert!(took > Duration::from_secs(4) && took < Duration::from_secs(9), "{took:?}");
}

#[tokio::test]
async fn each_side_may_end_before_the_other() {
    let (farm, gateway) = raw(Passthrough::default()).await;
    let mut here = TcpStream::connect(farm.front).await.unwrap();
    here.write_all(b"question").await.unwrap();
    here.shutdown().await.unwrap();
    let mut there = accept(&gateway).await;
    assert_eq!(read_to_end(&mut there).await, "question");
    tokio::time::sleep(Duration::from_millis(50)).await;
    there.write_all(b"answer").await.unwrap();
    drop(there);
    assert_eq!(read_to_end(&mut here).await, "answer");
    farm.wait_until(|status| status.listeners[0].connections == 0).await;
}

#[tokio::test]
async fn a_gateways_reset_is_one_for_the_client() {
    let (farm, gateway) = raw(Passthrough::default()).await;
    let (mut here, there) = tunnel(&farm, &gateway).await;
    there.set_zero_linger().unwrap();
    drop(there);
    let error = here.read(&mut [0]).await.expect_err("no end in order");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_tunnel_ends_when_nobody_says_anything() {
    let idle = Duration::from_millis(600);
    let (farm, gateway) =
        raw(with_upstream(Upstream { tunnel_idle_timeout: idle, ..Upstream::default() })).await;
    let (mut here, mut there) = tunnel(&farm, &gateway).await;
    for _ in 0..4 {
        tokio::time::sleep(idle / 2).await;
        there.write_all(b"a").await.unwrap();
        expect(&mut here, "a").await;
    }
    let silent_since = Instant::now();
    assert_eq!(read_to_end(&mut here).await, "");
    assert!(silent_since.elapsed() >= idle / 2, "{:?}", silent_since.elapsed());
    assert_eq!(read_to_end(&mut there).await, "");
}

#[tokio::test]
async fn every_byte_arrives_both_ways_at_once_through_tls_and_the_kernel() {
    const LENGTH: usize = 16 * 1024 * 1024;
    let certificate = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(certificate.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.cert.der().clone()], key)
        .unwrap();
    let (farm, gateway) = raw(Passthrough::default()).await;
    let (here, there) = tokio::join!(farm.connect(), async {
        tokio_rustls::TlsAcceptor::from(Arc::new(config)).accept(accept(&gateway).await).await.unwrap()
    });
    let bytes = |seed| {
        let mut bytes = vec![0; LENGTH];
        fastrand::Rng::with_seed(seed).fill(&mut bytes);
        bytes
    };
    let send = async |to: &mut (dyn tokio::io::AsyncWrite + Unpin), seed| {
        to.write_all(&bytes(seed)).await.unwrap();
        to.shutdown().await.unwrap();
    };
    let receive = async |from: &mut (dyn tokio::io::AsyncRead + Unpin), seed| {
        let mut received = Vec::new();
        let read = tokio::time::timeout(PATIENCE * 3, from.read_to_end(&mut received)).await;
        read.expect("all in time").expect("an end in order");
        assert!(received == bytes(seed), "{} bytes, or others", received.len());
    };
    let (mut from_there, mut to_there) = tokio::io::split(here);
    let (mut from_here, mut to_here) = tokio::io::split(there);
    tokio::join!(
        send(&mut to_there, 1),
        send(&mut to_here, 2),
        receive(&mut from_here, 1),
        receive(&mut from_there, 2),
    );
}

#[tokio::test]
async fn a_client_comes_to_the_same_gateway_again_also_when_another_one_goes() {
    let farm = Running::with(3, |settings| {
        settings.listeners[0].address.set_ip(Ipv4Addr::LOCALHOST.into());
        settings.listeners[0].mode = Mode::Passthrough(Arc::default());
    })
    .await;
    let mut by_certificate = HashMap::new();
    for (gateway, page) in farm.pages.iter().enumerate() {
        by_certificate.insert(certificate(*page).await, gateway);
    }
    let home = async |client: u8| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::new(127, 0, 1, client), 0).into()).unwrap();
        let stream = socket.connect(farm.front).await.unwrap();
        let stream = handshake(stream, "localhost", anyone()).await.unwrap();
        by_certificate[&stream.get_ref().1.peer_certificates().unwrap()[0]]
    };
    let mut homes = Vec::new();
    for client in 0..30 {
        homes.push(home(client).await);
        assert_eq!(home(client).await, homes[usize::from(client)], "client {client}");
    }
    assert_eq!(homes.iter().collect::<HashSet<_>>().len(), 3, "{homes:?}");
    farm.set_service(0, vestibule::heartbeat::ServiceState::Down);
    farm.wait_until(|status| status.gateways[0].state == State::Down).await;
    for client in 0..30 {
        let (before, now) = (homes[usize::from(client)], home(client).await);
        assert!(now != 0 && (before == 0 || now == before), "client {client}: {before}, now {now}");
    }
}
