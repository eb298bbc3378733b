//! How clients of a proxy come to the gateway again that they have been at.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::TcpSocket;
use vestibule::front::{Affinity, AffinityCookie, Proxy};
use vestibule::heartbeat::ServiceState;

use crate::client::Client;
use crate::gateway::{RawGateway, Then, proxy_to};
use crate::support::{Running, anyone, handshake};

/// Two workers: what one of them learns, the other one knows.
async fn farm(gateways: &[RawGateway], affinity: Affinity) -> Running {
    let addresses: Vec<_> = gateways.iter().map(|gateway| gateway.address).collect();
    let settle = |proxy: &mut Proxy| proxy.affinity = affinity;
    Running::with(gateways.len(), |settings| {
        settings.workers = 2;
        settings.fleet.balance.slow_start = Duration::from_millis(200);
        proxy_to(settings, &addresses, settle);
    })
    .await
}

fn sessions() -> Affinity {
    Affinity::Session(Affinity::usual_sessions())
}

/// A gateway that opens a session of its own for each `GET /login` and ends it at `GET /logout`.
async fn with_sessions(name: &'static str) -> RawGateway {
    let count = AtomicUsize::new(0);
    RawGateway::start(move |request, _| {
        let number = count.fetch_add(1, Ordering::Relaxed);
        let cookie = match request.split(' ').nth(1).unwrap() {
            "/login" => format!(
                "Set-Cookie: other=1\r\nSet-Cookie: webvpncontext={name}{number}; Max-Age=300; Secure\r\n"
            ),
            "/logout" => "Set-Cookie: webvpn=; expires=Thu, 01 Jan 1970 22:00:00 GMT\r\n".to_owned(),
            _ => String::new(),
        };
        if request.starts_with("CONNECT ") {
            return Then::Echo(format!("HTTP/1.1 200 {name}\r\n\r\n").into_bytes());
        }
        Then::Answer(format!("HTTP/1.1 200 OK\r\n{cookie}Content-Length: 3\r\n\r\n{name}").into_bytes())
    })
    .await
}

async fn pair() -> [RawGateway; 2] {
    [with_sessions("one").await, with_sessions("two").await]
}

/// Asks over a connection of its own; who has answered.
async fn ask_with(farm: &Running, cookie: &str) -> String {
    let request = format!("GET /page HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\n\r\n");
    Client::connect(farm).await.ask(request.as_bytes()).await.text().to_owned()
}

/// The session that a gateway opens for a newcomer, as its cookie, and the gateway's name.
async fn log_in(farm: &Running) -> (String, String) {
    let answer = Client::connect(farm).await.get("/login").await;
    let mut cookies = answer.head.lines().filter_map(|line| line.strip_prefix("Set-Cookie: "));
    let cookie = cookies.next_back().unwrap().split(';').next().unwrap().to_owned();
    (cookie, answer.text().to_owned())
}

/// As many as would not all come to the same gateway by chance.
const OFTEN: usize = 12;

#[tokio::test]
async fn a_session_leads_back_to_its_gateway_over_any_connection() {
    let gateways = pair().await;
    let farm = farm(&gateways, sessions()).await;
    let mut homes = Vec::new();
    for _ in 0..4 {
        let (cookie, home) = log_in(&farm).await;
        for _ in 0..OFTEN {
            assert_eq!(ask_with(&farm, &cookie).await, home);
            assert_eq!(ask_with(&farm, &format!("a=b; {cookie}; webvpn=unknown")).await, home);
        }
        // AnyConnect's CONNECT has the session and nothing else
        let mut tunnel = Client::connect(&farm).await;
        tunnel
            .send(
                format!("CONNECT /CSCOSSLC/tunnel HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\n\r\n")
                    .as_bytes(),
            )
            .await;
        assert!(tunnel.head().await.starts_with(&format!("HTTP/1.1 200 {home}\r\n")));
        homes.push(home);
    }
    homes.sort();
    homes.dedup();
    assert_eq!(homes, ["one", "two"], "newcomers are spread");
    farm.stop().await.unwrap();
}

#[tokio::test]
async fn who_has_no_session_or_one_that_is_over_is_a_newcomer() {
    let gateways = pair().await;
    let farm = farm(&gateways, sessions()).await;
    Client::connect(&farm).await.get("/logout").await;
    for cookie in ["webvpncontext=nobody's", "webvpn=", "webvpn", "other=1", "WEBVPNCONTEXT=one0"] {
        let mut seen = Vec::new();
        for _ in 0..OFTEN {
            seen.push(ask_with(&farm, cookie).await);
        }
        assert!(seen.contains(&"one".to_owned()) && seen.contains(&"two".to_owned()), "{cookie}: {seen:?}");
    }
    farm.stop().await.unwrap();
}

#[tokio::test]
async fn a_session_whose_gateway_is_down_goes_elsewhere_and_back_and_is_forgotten_with_its_gateway() {
    let gateways = pair().await;
    let farm = farm(&gateways, sessions()).await;
    let (cookie, home) = log_in(&farm).await;
    let index = usize::from(home == "two");
    farm.set_service(index, ServiceState::Down);
    farm.wait_until(|status| !status.gateways[index].availability.ssl.available).await;
    for _ in 0..OFTEN {
        assert_ne!(ask_with(&farm, &cookie).await, home);
    }
    farm.set_service(index, ServiceState::Up);
    farm.wait_until(|status| status.gateways[index].availability.ssl.available).await;
    for _ in 0..OFTEN {
        assert_eq!(ask_with(&farm, &cookie).await, home);
    }
    let before = farm.settings();
    let mut without = before.clone();
    without.fleet.gateways.remove(index);
    without.probes.remove(index);
    farm.reload(without).await.unwrap();
    for _ in 0..OFTEN {
        assert_ne!(ask_with(&farm, &cookie).await, home);
    }
    farm.reload(before).await.unwrap();
    farm.wait_until(|status| status.gateways.iter().all(|gateway| gateway.availability.ssl.available)).await;
    let mut elsewhere = 0;
    for _ in 0..OFTEN * 2 {
        elsewhere += usize::from(ask_with(&farm, &cookie).await != home);
    }
    assert!(elsewhere > 0, "whoever has the name now has not opened that session");
    farm.stop().await.unwrap();
}

#[tokio::test]
async fn a_session_keeps_its_draining_gateway_and_newcomers_go_elsewhere() {
    let gateways = pair().await;
    let farm = farm(&gateways, sessions()).await;
    let (cookie, home) = log_in(&farm).await;
    let index = usize::from(home == "two");
    farm.set_service(index, ServiceState::Draining);
    farm.wait_until(|status| !status.gateways[index].availability.ssl.available).await;
    for _ in 0..OFTEN {
        assert_eq!(ask_with(&farm, &cookie).await, home);
        assert_ne!(ask_with(&farm, "a=b").await, home);
    }
    farm.stop().await.unwrap();
}

/// Asks from an address of this host; who has answered.
async fn ask_from(farm: &Running, source: IpAddr) -> String {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(source, 0)).unwrap();
    let stream = socket.connect(farm.front).await.unwrap();
    let stream = handshake(stream, "localhost", anyone()).await.unwrap();
    Client::over(stream).get("/").await.text().to_owned()
}

#[tokio::test]
async fn an_address_always_comes_to_the_same_gateway() {
    let gateways = [RawGateway::named("one").await, RawGateway::named("two").await];
    let farm = farm(&gateways, Affinity::SourceAddress).await;
    let mut homes = Vec::new();
    for last in 1..=16 {
        let source = IpAddr::from(Ipv4Addr::new(127, 0, 7, last));
        let home = ask_from(&farm, source).await;
        for _ in 0..3 {
            assert_eq!(ask_from(&farm, source).await, home);
        }
        homes.push((source, home));
    }
    for name in ["one", "two"] {
        assert!(homes.iter().any(|(_, home)| home == name), "{homes:?}");
    }
    farm.set_service(0, ServiceState::Down);
    farm.wait_until(|status| !status.gateways[0].availability.ssl.available).await;
    for (source, _) in &homes {
        assert_eq!(ask_from(&farm, *source).await, "two");
    }
    farm.set_service(0, ServiceState::Up);
    // who comes back gets only part of its share at first
    farm.wait_until(|status| status.gateways[0].availability.ssl.available && !status.gateways[0].filling)
        .await;
    for (source, home) in &homes {
        assert_eq!(ask_from(&farm, *source).await, *home);
    }
    farm.stop().await.unwrap();
}

fn own_cookie() -> AffinityCookie {
    AffinityCookie { name: "VESTIBULE".into(), key: [7; 32] }
}

#[tokio::test]
async fn our_own_cookie_is_set_once_leads_back_and_is_not_passed_on() {
    let gateways = [RawGateway::named("one").await, RawGateway::named("two").await];
    let farm = farm(&gateways, Affinity::Cookie(own_cookie())).await;
    let newcomer = Client::connect(&farm).await.get("/").await;
    let home = newcomer.text().to_owned();
    let set = newcomer.header("Set-Cookie").unwrap();
    let (cookie, attributes) = set.split_once("; ").unwrap();
    assert_eq!(attributes, "Path=/; Secure; HttpOnly; SameSite=Lax");
    let value = cookie.strip_prefix("VESTIBULE=").unwrap();
    assert!(value.len() == 32 && value.bytes().all(|b| b.is_ascii_hexdigit()), "{value}");
    assert!(!set.contains("gw"), "it tells nothing of the gateway: {set}");
    for _ in 0..OFTEN {
        let request =
            format!("GET / HTTP/1.1\r\nHost: x\r\nCookie: a=1; {cookie}; b=2\r\nCookie: c=3\r\n\r\n");
        let answer = Client::connect(&farm).await.ask(request.as_bytes()).await;
        assert_eq!((answer.text(), answer.header("Set-Cookie")), (&*home, None));
        let alone = format!("GET / HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\n\r\n");
        assert_eq!(Client::connect(&farm).await.ask(alone.as_bytes()).await.text(), home);
    }
    let received = gateways.each_ref().map(|gateway| gateway.received().concat()).concat();
    assert!(!received.contains("VESTIBULE") && !received.contains(value), "{received}");
    assert_eq!(received.matches("\r\nCookie: a=1; b=2; c=3\r\n").count(), OFTEN, "{received}");
    assert_eq!(received.matches("Cookie").count(), OFTEN, "no empty field is left: {received}");
    farm.stop().await.unwrap();
}

#[tokio::test]
async fn a_cookie_that_is_not_ours_is_replaced_and_ours_outlives_a_reload() {
    let gateways = [RawGateway::named("one").await, RawGateway::named("two").await];
    let farm = farm(&gateways, Affinity::Cookie(own_cookie())).await;
    let other_key = AffinityCookie { key: [8; 32], ..own_cookie() };
    let gw1 = farm.settings().fleet.gateways[0].name.clone();
    for forged in ["", "gw1", "0", &other_key.value_for(&gw1), &own_cookie().value_for(&gw1)[..31]] {
        let mut seen = Vec::new();
        for _ in 0..OFTEN {
            let request = format!("GET / HTTP/1.1\r\nHost: x\r\nCookie: VESTIBULE={forged}\r\n\r\n");
            let answer = Client::connect(&farm).await.ask(request.as_bytes()).await;
            assert!(answer.header("Set-Cookie").unwrap().starts_with("VESTIBULE="), "{forged}");
            seen.push(answer.text().to_owned());
        }
        assert!(seen.contains(&"one".to_owned()) && seen.contains(&"two".to_owned()), "{forged}: {seen:?}");
    }
    let real = format!("VESTIBULE={}", own_cookie().value_for(&gw1));
    for reload in [false, true] {
        if reload {
            let mut settings = farm.settings();
            settings.listeners[0].limits.connections -= 1;
            settings.fleet.gateways.reverse();
            settings.probes.reverse();
            farm.reload(settings).await.unwrap();
        }
        for _ in 0..OFTEN {
            assert_eq!(ask_with(&farm, &real).await, "one");
        }
    }
    farm.set_service(0, ServiceState::Draining);
    farm.wait_until(|status| status.gateways.iter().any(|gateway| !gateway.availability.ssl.available)).await;
    for _ in 0..OFTEN {
        assert_eq!(ask_with(&farm, &real).await, "one", "draining ends no session");
        assert_eq!(ask_with(&farm, "a=b").await, "two");
    }
    farm.set_service(0, ServiceState::Down);
    let down = |name: &str| name == "gw1";
    farm.wait_until(|status| {
        status
            .gateways
            .iter()
            .any(|gateway| down(&gateway.name) && gateway.state == vestibule::fleet::State::Down)
    })
    .await;
    let request = format!("GET / HTTP/1.1\r\nHost: x\r\nCookie: {real}\r\n\r\n");
    let answer = Client::connect(&farm).await.ask(request.as_bytes()).await;
    assert_eq!(answer.text(), "two");
    let gw2 = farm.settings().fleet.gateways[0].name.clone();
    let now = format!("VESTIBULE={}; ", own_cookie().value_for(&gw2));
    assert!(answer.header("Set-Cookie").unwrap().starts_with(&now), "from now on it leads there");
    farm.stop().await.unwrap();
}
