//! Two front doors that know of each other: what one has been told and has decided, the other goes on with.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use rustls::ServerConfig;
use rustls::pki_types::ServerName;
use tokio::net::{TcpListener, TcpStream};
use vestibule::admin;
use vestibule::admin::peers::PeerState;
use vestibule::admin::status::Status;
use vestibule::certs::{self, Made, Named, Pair};
use vestibule::config::{FrontSettings, PeerDoor};
use vestibule::fleet::{BalanceMode, Endpoint, Role, State};
use vestibule::heartbeat::ServiceState;
use vestibule::net::client::{Client, Question, Target, Tls};
use vestibule::net::tls::{Identity, Trust, client_config, identity, mutual_server_config};
use vestibule::peer::{FrontDoorAt, PeerSettings};

use crate::support::{PATIENCE, Running, own_address};

/// What two front doors show each other, and where they listen for each other.
struct Pass {
    made: Made,
    addresses: [SocketAddr; 2],
}

impl Pass {
    fn new() -> Self {
        let addresses = [own_address(), own_address()];
        let named =
            |name: &str, address: SocketAddr| Named { name: name.into(), addresses: vec![address.ip()] };
        let request = certs::Request {
            server_names: vec!["localhost".into()],
            fronts: vec![named("front-a", addresses[0]), named("front-b", addresses[1])],
            gateways: vec![named("gw1", addresses[0])],
        };
        Self { made: certs::make(&request, SystemTime::now()).unwrap(), addresses }
    }

    fn identity(pair: &Pair) -> Identity {
        identity(vec![pair.certificate.clone()], pair.key.clone_key()).unwrap()
    }

    fn front(&self, i: usize) -> Identity {
        Self::identity(&self.made.fronts[i].1)
    }

    fn authority(&self) -> Trust {
        Trust::Authorities(vec![self.made.authority.certificate.clone()])
    }

    /// How whoever shows that asks a front door.
    fn target(&self, i: usize, shows: Option<&Identity>) -> Target {
        let address = self.addresses[i];
        let config = client_config(&self.authority(), shows).unwrap();
        let tls = Tls { config, server_name: ServerName::from(address.ip()) };
        Target { site: Endpoint::parse(&address.to_string(), 443).unwrap().into(), tls: Some(tls) }
    }

    fn door(&self, i: usize) -> PeerDoor {
        let authorities = [self.made.authority.certificate.clone()];
        let tls: std::sync::Arc<ServerConfig> = mutual_server_config(&self.front(i), &authorities).unwrap();
        PeerDoor { listen: self.addresses[i], tls }
    }

    /// Makes it the front door of that number, which knows the other one.
    fn settle(&self, i: usize, front: &mut FrontSettings) {
        let name = ["front-a", "front-b"][i];
        front.node_name = name.into();
        let other = FrontDoorAt {
            url: format!("https://{}", self.addresses[1 - i]).into(),
            target: self.target(1 - i, Some(&self.front(i))),
        };
        front.peers = PeerSettings { name: name.into(), front_doors: vec![other] };
        front.peer_door = Some(self.door(i));
    }

    /// Both of them, and whose gateways they have.
    async fn open(&self, count: usize, change: impl Fn(&mut FrontSettings)) -> (Running, [Running; 2]) {
        let farm = Running::farm(count).await;
        let front = async |i| {
            let settle = |front: &mut FrontSettings| {
                self.settle(i, front);
                change(front);
            };
            farm.beside(settle).await
        };
        let fronts = [front(0).await, front(1).await];
        for front in &fronts {
            front.wait_until(|status| is_heard(status) && all_are(State::Up, status)).await;
        }
        (farm, fronts)
    }
}

fn is_heard(status: &Status) -> bool {
    status.peers.iter().all(|peer| matches!(peer.state, PeerState::Active | PeerState::Standby))
}

fn all_are(state: State, status: &Status) -> bool {
    status.gateways.iter().all(|gateway| gateway.state == state)
}

#[tokio::test]
async fn a_drain_holds_at_both_and_so_does_its_end_wherever_it_is_ordered() {
    let (_farm, [a, b]) = Pass::new().open(2, |_| {}).await;
    for (here, there) in [(&a, &b), (&b, &a)] {
        assert_eq!(here.post("/api/v1/gateways/gw1/drain", "{\"reason\":\"new disk\"}").await.status, 200);
        let told = Instant::now();
        let status = there.wait_until(|status| status.gateways[0].state == State::Draining).await;
        // told at once, and not at the next poll
        assert!(told.elapsed() < Duration::from_millis(900), "{:?}", told.elapsed());
        assert!(status.gateways[0].reason.contains("new disk"), "{:?}", status.gateways[0]);
        assert_eq!(there.post("/api/v1/gateways/gw1/resume", "").await.status, 200);
        here.wait_until(|status| all_are(State::Up, status)).await;
    }
}

#[tokio::test]
async fn a_front_door_that_starts_knows_what_it_has_missed_before_it_answers() {
    let pass = Pass::new();
    let (farm, [a, b]) = pass.open(2, |_| {}).await;
    let settings = b.settings();
    b.stop().await.unwrap();
    let down = a.wait_until(|status| status.peers[0].state == PeerState::Silent).await;
    assert!(down.summary.contains("is silent"), "{}", down.summary);
    a.until_metric(&format!("vestibule_peer_up{{url=\"https://{}\"}}", pass.addresses[1]), 0.0).await;
    assert_eq!(a.post("/api/v1/gateways/gw1/drain", "{}").await.status, 200);
    // its gateways are found in order long before the other front door has told anything
    let mut settings = settings;
    let road = slow_road_to(pass.addresses[0]).await;
    settings.peers.front_doors[0].target.site = Endpoint::parse(&road.to_string(), 443).unwrap().into();
    let first = tokio::spawn(first_status(settings.admin.listen));
    let _b = farm.beside(|front| *front = settings).await;
    let status = first.await.unwrap();
    assert_eq!(status.gateways[0].state, State::Draining, "{status:#?}");
    a.wait_until(is_heard).await;
}

/// Of a front door that is about to start: by then it answers.
async fn first_status(admin: SocketAddr) -> Status {
    let client = admin::client::Client { address: admin::client::Address::Http(admin), token: None };
    loop {
        if let Ok(reply) = client.get("/api/v1/status").await {
            return reply.json().unwrap();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Leads there, after a while.
async fn slow_road_to(there: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind(own_address()).await.unwrap();
    let road = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut here, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(400)).await;
                let mut there = TcpStream::connect(there).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut here, &mut there).await;
            });
        }
    });
    road
}

/// The active gateway, as each of them says.
fn active(status: &Status) -> Option<usize> {
    status.gateways.iter().position(|gateway| gateway.role == Some(Role::Active))
}

#[tokio::test]
async fn both_name_the_same_gateway_and_who_is_left_goes_on_with_the_choice() {
    let (farm, [a, b]) = Pass::new()
        .open(2, |front| front.fleet.balance.mode = BalanceMode::Failsafe { failback: false })
        .await;
    let both = async |expected| {
        for front in [&a, &b] {
            front.wait_until(|status| active(status) == Some(expected)).await;
        }
    };
    both(0).await;
    farm.set_service(0, ServiceState::Down);
    both(1).await;
    farm.set_service(0, ServiceState::Up);
    for front in [&a, &b] {
        front.wait_until(|status| all_are(State::Up, status)).await;
        assert_eq!(active(&front.status().await), Some(1), "without failback it stays");
    }
    // its own memory is of the time before, and it has none at all here
    let settings = a.settings();
    farm.set_service(1, ServiceState::Down);
    both(0).await;
    a.stop().await.unwrap();
    b.wait_until(|status| status.peers[0].state == PeerState::Silent).await;
    assert_eq!(active(&b.status().await), Some(0));
    farm.set_service(1, ServiceState::Up);
    b.wait_until(|status| all_are(State::Up, status)).await;
    farm.set_service(0, ServiceState::Down);
    b.wait_until(|status| active(status) == Some(1)).await;
    farm.set_service(0, ServiceState::Up);
    b.wait_until(|status| all_are(State::Up, status)).await;
    let a = farm.beside(|front| *front = settings).await;
    let heard = a.wait_until(is_heard).await;
    assert_eq!(active(&heard), Some(1), "who comes back does not turn things round");
    b.wait_until(|status| is_heard(status) && active(status) == Some(1)).await;
    for front in [&a, &b] {
        assert_eq!(active(&front.status().await), Some(1));
    }
}

#[tokio::test]
async fn newcomers_of_the_other_front_door_are_pending_here_and_stay_so_when_it_dies() {
    let (_farm, [a, b]) = Pass::new().open(2, |_| {}).await;
    for _ in 0..6 {
        a.gateway_chosen().await.unwrap();
    }
    let pending = |status: &Status| status.gateways.iter().map(|gateway| gateway.pending).sum::<u64>();
    assert_eq!(pending(&a.status().await), 6);
    b.wait_until(|status| pending(status) == 6).await;
    // and they do not come back as if they were the other's
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(pending(&a.status().await), 6);
    a.stop().await.unwrap();
    b.wait_until(|status| status.peers[0].state == PeerState::Silent).await;
    assert_eq!(pending(&b.status().await), 6, "nobody else knows of them");
}

#[tokio::test]
async fn only_front_doors_are_told() {
    let pass = Pass::new();
    let (_farm, [a, _b]) = pass.open(1, |_| {}).await;
    let ask = async |shows: Option<Identity>| {
        let mut client = Client::new(pass.target(0, shows.as_ref()));
        tokio::time::timeout(PATIENCE, client.ask(&Question::get("/v1/account"), 1 << 20)).await.unwrap()
    };
    assert_eq!(ask(Some(pass.front(1))).await.unwrap().status, 200);
    let gateway = Pass::identity(&pass.made.gateways[0].1);
    let stranger = Pass::new();
    for (who, shows) in
        [("nobody", None), ("a gateway", Some(gateway)), ("another authority's", Some(stranger.front(1)))]
    {
        assert!(ask(shows).await.is_err(), "{who}");
    }
    drop(a);
}

#[tokio::test]
async fn a_reload_may_bring_other_front_doors_another_address_and_another_certificate() {
    let pass = Pass::new();
    let (_farm, [a, b]) = pass.open(1, |_| {}).await;
    // alone
    let before = b.settings();
    let mut alone = before.clone();
    (alone.peers.front_doors, alone.peer_door) = (Vec::new(), None);
    b.reload(alone).await.unwrap();
    assert!(b.status().await.peers.is_empty());
    a.wait_until(|status| status.peers[0].state == PeerState::Silent).await;
    // together again, at other addresses and of another authority
    let other = Pass::new();
    let mut settings = before;
    other.settle(1, &mut settings);
    b.reload(settings).await.unwrap();
    let mut settings = a.settings();
    other.settle(0, &mut settings);
    a.reload(settings).await.unwrap();
    for front in [&a, &b] {
        front.wait_until(is_heard).await;
    }
    // an address that cannot be: nothing changes
    let mut settings = a.settings();
    settings.peer_door.as_mut().unwrap().listen = a.front;
    let problems = a.reload(settings).await.unwrap_err();
    assert!(problems[0].contains("[peers] listen"), "{problems:?}");
    assert!(is_heard(&a.status().await));
}

#[tokio::test]
async fn a_gateway_that_a_reload_brings_is_drained_if_it_was_drained_elsewhere_before() {
    let pass = Pass::new();
    let (_farm, [a, b]) = pass
        .open(2, |front| {
            if front.node_name == "front-b" {
                front.fleet.gateways.truncate(1);
                front.probes.truncate(1);
                front.fence.gateways.truncate(1);
            }
        })
        .await;
    assert_eq!(a.post("/api/v1/gateways/gw2/drain", "{}").await.status, 200);
    // whatever comes after it: b has heard of gw2 by then
    assert_eq!(a.post("/api/v1/gateways/gw1/drain", "{}").await.status, 200);
    b.wait_until(|status| status.gateways[0].state == State::Draining).await;
    let mut settings = b.settings();
    let of_a = a.settings();
    (settings.fleet, settings.probes, settings.fence) = (of_a.fleet, of_a.probes, of_a.fence);
    b.reload(settings).await.unwrap();
    b.wait_until(|status| status.gateways.len() == 2 && all_are(State::Draining, status)).await;
}

#[tokio::test]
async fn a_front_door_serves_before_the_address_at_which_the_others_ask_it_is_here() {
    let farm = Running::farm(1).await;
    let pass = Pass { addresses: ["192.0.2.77:9465".parse().unwrap(), own_address()], ..Pass::new() };
    let front = farm.beside(|front| pass.settle(0, front)).await;
    front.wait_until(|status| all_are(State::Up, status)).await;
}
