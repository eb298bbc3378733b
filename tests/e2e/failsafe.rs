//! One gateway at a time: every door names the same one.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket};
use vestibule::admin::order::{Changed, ErrorBody};
use vestibule::admin::status::Status;
use vestibule::config::FrontSettings;
use vestibule::fleet::{BalanceMode, Endpoint, Gateway, Role, State};
use vestibule::front::{ListenerSettings, Mode, Passthrough};
use vestibule::heartbeat::ServiceState;
use vestibule::ike::IkeSettings;

use crate::client::Client;
use crate::dve;
use crate::gateway::{RawGateway, proxy_to};
use crate::support::{PATIENCE, Running, anyone, ask, connect_with, header, own_address, read_head};

/// A front door in failsafe mode with a door of every kind, and two gateways.
struct Everything {
    farm: Running,
    redirect: SocketAddr,
    passthrough: SocketAddr,
    dve: SocketAddr,
    ike: SocketAddr,
    /// Behind the proxy and the passthrough.
    _gateways: [RawGateway; 2],
}

const NAMES: [&str; 2] = ["one", "two"];

impl Everything {
    async fn open(failback: bool, change: impl FnOnce(&mut FrontSettings)) -> Self {
        let gateways = [RawGateway::named("one").await, RawGateway::named("two").await];
        let addresses = gateways.each_ref().map(|gateway| gateway.address);
        let [redirect, passthrough, dve, ike] = [(); 4].map(|()| own_address());
        let farm = Running::with(2, |front| {
            front.fleet.balance.mode = BalanceMode::Failsafe { failback };
            let shows = front.listeners[0].clone();
            front.listeners.push(ListenerSettings {
                name: "redirect".into(),
                address: redirect,
                ..shows.clone()
            });
            let mode = Mode::Passthrough(Arc::new(Passthrough::default()));
            front.listeners.push(ListenerSettings {
                name: "raw".into(),
                address: passthrough,
                mode,
                ..shows
            });
            front.dve = Some(dve::settings(dve));
            front.ike = Some(IkeSettings { listen: vec![ike], vrrp_id: None });
            for (i, gateway) in front.fleet.gateways.iter_mut().enumerate() {
                let native_endpoint = Endpoint::parse(&format!("192.0.2.{i}"), 500).unwrap();
                *gateway = Arc::new(Gateway { native_endpoint, ..Gateway::clone(gateway) });
            }
            proxy_to(front, &addresses, |_| {});
            change(front);
        })
        .await;
        Self { farm, redirect, passthrough, dve, ike, _gateways: gateways }
    }

    /// Whom all doors name.
    async fn named(&self) -> usize {
        let mut all = Vec::new();
        for _ in 0..2 {
            let text = Client::connect(&self.farm).await.get("/").await.text().to_owned();
            all.push(("proxy", NAMES.iter().position(|name| *name == text).unwrap()));
            let mut stream = connect_with(self.redirect, "localhost", anyone()).await.unwrap();
            let answer = ask(&mut stream).await;
            let location = header(&answer, "Location").unwrap().to_owned();
            let is_named = |page: &SocketAddr| location == format!("https://{page}/");
            all.push(("redirect", self.farm.pages.iter().position(is_named).unwrap()));
            let mut stream = TcpStream::connect(self.passthrough).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
            read_head(&mut stream).await;
            let mut name = [0; 3];
            tokio::io::AsyncReadExt::read_exact(&mut stream, &mut name).await.unwrap();
            all.push(("passthrough", NAMES.iter().position(|known| known.as_bytes() == name).unwrap()));
            let endpoints = dve::endpoints(self.dve).await;
            let [endpoint] = endpoints.as_slice() else { panic!("one and no second best: {endpoints:?}") };
            all.push(("dve", usize::from(*endpoint == "192.0.2.1:500")));
            all.push(("ike", self.named_by_ike().await));
        }
        let first = all[0].1;
        assert!(all.iter().all(|(_, named)| *named == first), "{all:?}");
        first
    }

    async fn named_by_ike(&self) -> usize {
        let client = UdpSocket::bind((IpAddr::from([127, 0, 0, 1]), 0)).await.unwrap();
        client.connect(self.ike).await.unwrap();
        let mut request = dve::ike_sa_init();
        // another client each time, for one that asks again is told the same
        request[..8].copy_from_slice(&fastrand::u64(1..).to_be_bytes());
        client.send(&request).await.unwrap();
        let mut buffer = [0; 2048];
        dve::hear(&client, &mut buffer).await;
        assert_eq!(buffer[34..41], [0x40, 0x17, 1, 4, 192, 0, 2], "N(REDIRECT)");
        buffer[41].into()
    }

    async fn until_active(&self, gateway: usize) -> Status {
        self.farm.wait_until(|status| status.gateways[gateway].role == Some(Role::Active)).await
    }
}

#[tokio::test]
async fn the_primary_dies_and_every_door_names_the_secondary_and_back_or_not() {
    for failback in [true, false] {
        let all = Everything::open(failback, |_| {}).await;
        // whatever its load
        all.farm.set_tunnels(0, 900).await;
        assert_eq!(all.named().await, 0);
        let status = all.until_active(0).await;
        assert_eq!(status.summary, "All 2 gateways are up; gw1 is active.");
        assert_eq!(status.gateways[1].role, Some(Role::Standby));
        assert_eq!(status.gateways[1].availability.ssl.reason.as_deref(), Some("not the active one"));
        assert_eq!(all.farm.metric("vestibule_gateway_active{gateway=\"gw1\"}").await, Some(1.0));

        all.farm.set_service(0, ServiceState::Down);
        let status = all.until_active(1).await;
        assert!(status.summary.ends_with("; gw2 is active"), "{}", status.summary);
        assert_eq!(all.named().await, 1);
        assert_eq!(all.farm.metric("vestibule_gateway_active{gateway=\"gw2\"}").await, Some(1.0));
        assert_eq!(all.farm.admin("/readyz").await.0, 200);

        all.farm.set_service(0, ServiceState::Up);
        all.farm.wait_until(|status| status.gateways[0].state == State::Up).await;
        let expected = if failback { 0 } else { 1 };
        all.until_active(expected).await;
        assert_eq!(all.named().await, expected, "failback: {failback}");
        all.farm.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_drain_of_the_active_one_moves_it_and_a_reload_may_change_the_mode() {
    let all = Everything::open(true, |_| {}).await;
    assert_eq!(all.named().await, 0);
    let reply = all.farm.post("/api/v1/gateways/gw1/drain", "{\"reason\": \"new kernel\"}").await;
    let changed: Changed = reply.json().unwrap();
    assert_eq!((changed.gateway.state, changed.gateway.role), (State::Draining, Some(Role::Standby)));
    assert_eq!(all.named().await, 1, "at once");
    // it stays drained over a reload, and in the other mode
    let mut settings = all.farm.settings();
    settings.fleet.balance.mode = BalanceMode::LoadBalancing;
    all.farm.reload(settings.clone()).await.unwrap();
    let status = all.farm.wait_until(|status| status.gateways[1].role.is_none()).await;
    assert_eq!(status.gateways[0].state, State::Draining);
    assert_eq!(all.farm.metric("vestibule_gateway_active{gateway=\"gw1\"}").await, None);
    assert_eq!(all.named().await, 1);
    settings.fleet.balance.mode = BalanceMode::Failsafe { failback: true };
    all.farm.reload(settings).await.unwrap();
    all.until_active(1).await;
    let reply = all.farm.post("/api/v1/gateways/gw1/resume", "").await;
    assert_eq!(reply.json::<Changed>().unwrap().gateway.role, Some(Role::Active));
    assert_eq!(all.named().await, 0);
}

#[tokio::test]
async fn a_tunnel_of_one_who_is_no_longer_active_goes_on() {
    let all = Everything::open(true, |_| {}).await;
    all.farm.set_service(0, ServiceState::Down);
    all.until_active(1).await;
    let mut tunnel = TcpStream::connect(all.passthrough).await.unwrap();
    let request = async |tunnel: &mut TcpStream| {
        tunnel.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        read_head(tunnel).await;
        let mut name = [0; 3];
        tokio::io::AsyncReadExt::read_exact(tunnel, &mut name).await.unwrap();
        String::from_utf8(name.to_vec()).unwrap()
    };
    assert_eq!(request(&mut tunnel).await, "two");
    all.farm.set_service(0, ServiceState::Up);
    all.until_active(0).await;
    assert_eq!(request(&mut tunnel).await, "two");
    assert_eq!(all.named().await, 0);
}

#[tokio::test]
async fn an_order_over_http_is_answered_with_the_gateways_new_state_or_what_is_wrong() {
    let farm = Running::farm(2).await;
    let order = async |path: &str, body: &str| {
        let reply = farm.post(&format!("/api/v1/gateways/{path}"), body).await;
        (reply.status.as_u16(), reply)
    };
    let (status, reply) = order("gw1/drain", "{\"reason\": \" new kernel\\n\"}").await;
    let changed: Changed = reply.json().unwrap();
    assert_eq!((status, changed.gateway.state, changed.stored), (200, State::Draining, false));
    let drain = changed.gateway.drain.unwrap();
    assert_eq!((drain.reason.as_str(), drain.who.as_deref()), ("new kernel", Some("127.0.0.1")));
    let warning = changed.warning.unwrap();
    assert!(warning.ends_with("forgotten when the front door ends: [node] state_dir is empty"), "{warning}");
    assert_eq!(farm.gateway_chosen().await, Some(1));

    let error = |reply: &vestibule::admin::client::Reply| reply.json::<ErrorBody>().unwrap().error;
    let (status, reply) = order("gw9/drain", "").await;
    assert_eq!(
        (status, error(&reply)),
        (404, "there is no gateway of that name; there are: gw1, gw2".into())
    );
    assert_eq!(order("gw%209/resume", "").await.0, 404);
    let long = format!("{{\"reason\": \"{}\"}}", "x".repeat(201));
    for body in
        [&*long, "{\"reason\": \"a\\u0007b\"}", "{\"raeson\": \"x\"}", "new kernel", "{\"reason\": 7}"]
    {
        let (status, reply) = order("gw2/drain", body).await;
        assert_eq!(status, 400, "{body}");
        assert!(error(&reply).contains("reason"), "{}", error(&reply));
    }
    assert_eq!(order("gw2/drain", &" ".repeat(20_000)).await.0, 413);
    // without the token
    let client = vestibule::admin::client::Client {
        address: vestibule::admin::client::Address::Http(farm.admin),
        token: None,
    };
    let reply = client.post("/api/v1/gateways/gw2/drain", "").await.unwrap();
    assert_eq!(reply.status.as_u16(), 401);
    assert_eq!(farm.wait_until(|_| true).await.gateways[1].state, State::Up, "nothing of that was done");

    assert_eq!(order("gw1/resume", "").await.0, 200);
    farm.set_tunnels(1, 900).await;
    let deadline = Instant::now() + PATIENCE;
    while farm.gateway_chosen().await != Some(0) {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
