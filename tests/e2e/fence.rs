//! Fences held by a front door at a real agent, in the firewall of a network namespace that nobody else is in.

use std::num::NonZeroU32;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::LocalSet;
use vestibule::admin::status::{GatewayStatus, Status};
use vestibule::config::FrontSettings;
use vestibule::fence::Kind;
use vestibule::fleet::{Endpoint, State, Thresholds};
use vestibule::heartbeat::{
    self, Capacity, CountSource, Doors, FenceSettings, Legacy, LoadSettings, OnExit, Settings,
};
use vestibule::net::client::{Target, Tls};
use vestibule::net::firewall::{Connections, Engine, Fence, RejectWith};
use vestibule::net::stop::{self, Stopper};
use vestibule::net::tls::{self, Identity, Trust};

use crate::support::{PATIENCE, Running};

/// Runs a test alone in a network. Where that cannot be done here it says so, or fails if it is
/// [`REQUIRED`].
fn alone(test: &str, body: impl AsyncFnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        return runtime.block_on(LocalSet::new().run_until(body()));
    }
    if !rustix::process::geteuid().is_root() || !Path::new("/usr/sbin/nft").exists() {
        assert!(std::env::var_os(REQUIRED).is_none(), "{test}: needs root, and nft, and {REQUIRED} is set");
        eprintln!("{test}: left out: needs root, and nft");
        return;
    }
    let inside = "ip link set lo up && exec \"$0\" --exact \"$1\" --nocapture --test-threads=1";
    let mut command = Command::new("unshare");
    command.args(["-n", "sh", "-c", inside]).arg(std::env::current_exe().unwrap()).arg(test);
    assert!(command.env(INSIDE, "1").status().unwrap().success(), "{test}: it failed inside; see above");
}

const INSIDE: &str = "VESTIBULE_TEST_NETWORK";
/// Set where nothing is to be left out.
const REQUIRED: &str = "VESTIBULE_TESTS_REQUIRE_ROOT";
const LEASE: Duration = Duration::from_secs(3);

/// The agent of gateway gw1, with a fence on a port that nobody uses.
struct Agent {
    target: Target,
    _stopper: Stopper,
}

impl Agent {
    /// One that knows the front door by the name in its certificate.
    async fn start(front: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authorities = vec![authority.der().clone()];
        let issue = |name: &str| -> Identity {
            let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            params.distinguished_name.push(DnType::CommonName, name);
            let key = KeyPair::generate().unwrap();
            let certificate = params.signed_by(&key, &authority).unwrap();
            let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
            tls::identity(vec![certificate.der().clone()], key).unwrap()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let refusal = Fence {
            ports: vec!["tcp/4443".parse().unwrap()],
            connections: Connections::New,
            reject_with: RejectWith::TcpReset,
            exempt: Vec::new(),
            spare: Vec::new(),
        };
        let three = NonZeroU32::new(3).unwrap();
        let settings = Settings {
            name: "gw1".into(),
            listen: address,
            agent_check: None,
            tls: Some(tls::mutual_server_config(&issue("gw1"), &authorities).unwrap()),
            interval: Duration::from_millis(50),
            timeout: PATIENCE,
            thresholds: Thresholds { rise: three, fall: three },
            checks: Vec::new(),
            load: LoadSettings {
                interface: None,
                capacity: Capacity { bits_per_second: None, tunnels: Some(1000), pool: None },
                tunnels: CountSource::None,
                pool: CountSource::None,
            },
            track_file: None,
            fence: Some(FenceSettings {
                engine: Engine::Nftables,
                refusal,
                lease: LEASE,
                on_exit: OnExit::Remove,
            }),
        };
        let (stopper, stop) = stop::channel();
        tokio::task::spawn_local(heartbeat::run(
            settings,
            Doors { reports: listener, agent_check: None },
            Legacy::default(),
            watch::Sender::new(None),
            stop,
        ));
        let config = tls::client_config(&Trust::Authorities(authorities), Some(&issue(front))).unwrap();
        let tls = Some(Tls { config, server_name: ServerName::try_from("gw1").unwrap() });
        let endpoint = Endpoint::parse(&address.to_string(), 443).unwrap();
        Self { target: Target { site: endpoint.into(), tls }, _stopper: stopper }
    }

    /// The farm where it stands for the first of two gateways; the other one has no fence.
    async fn farm(&self, holder: &str, change: impl FnOnce(&mut FrontSettings)) -> Running {
        Running::with(2, |settings| {
            settings.probes[0].heartbeat = Some(self.target.clone());
            settings.fence.gateways[0].agent = Some(self.target.clone());
            settings.fence.holder = Some(holder.into());
            settings.fence.lease = LEASE;
            settings.fence.interval = Duration::from_millis(50);
            change(settings);
        })
        .await
    }
}

/// Nobody answers where this gateway's checks go.
fn break_checks(settings: &mut FrontSettings, gateway: usize) {
    settings.probes[gateway].checks[0].site = Endpoint::parse("127.0.0.1:1", 443).unwrap().into();
}

fn table() -> String {
    let listed = Command::new("nft").args(["-n", "list", "ruleset"]).output().unwrap();
    String::from_utf8(listed.stdout).unwrap()
}

fn refuses() -> bool {
    let table = table();
    table.contains("6 . 4443 timeout") || table.contains("tcp . 4443 timeout")
}

fn held_by(gateway: &GatewayStatus) -> Vec<&str> {
    let holders = gateway.fence.iter().flat_map(|fence| &fence.holders);
    holders.map(|holder| holder.by.as_str()).collect()
}

fn is_fenced(status: &Status) -> bool {
    status.gateways[0].fence.as_ref().is_some_and(|fence| fence.blocked)
}

const OPERATIONS: &str = "vestibule_fence_operations_total{gateway=\"gw1\",operation";

#[test]
fn a_gateway_that_fails_for_the_front_door_alone_is_fenced_by_it_and_freed_by_it() {
    alone(
        "fence::a_gateway_that_fails_for_the_front_door_alone_is_fenced_by_it_and_freed_by_it",
        async || {
            let agent = Agent::start("demo").await;
            let farm = agent.farm("demo", |_| {}).await;
            farm.wait_until(|status| status.gateways[0].state == State::Up).await;
            let sound = farm.settings();
            let mut broken = sound.clone();
            break_checks(&mut broken, 0);
            farm.reload(broken).await.unwrap();
            let status = farm.wait_until(is_fenced).await;
            assert!(refuses(), "{}", table());
            assert_eq!(held_by(&status.gateways[0]), ["demo"]);
            let holder = &status.gateways[0].fence.as_ref().unwrap().holders[0];
            assert!(holder.reason.starts_with("https: "), "{holder:?}");
            assert!(holder.seconds_left > 0.0 && holder.seconds_left <= 4.0, "{holder:?}");
            farm.until_metric("vestibule_gateway_fenced{gateway=\"gw1\"}", 1.0).await;
            farm.until_metric(&format!("{OPERATIONS}=\"block\",result=\"ok\"}}"), 1.0).await;
            // renewed
            let until = Instant::now() + LEASE + Duration::from_secs(1);
            while Instant::now() < until {
                assert!(refuses(), "{}", table());
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            farm.reload(sound).await.unwrap();
            farm.wait_until(|status| status.gateways[0].state == State::Up && !is_fenced(status)).await;
            assert!(!refuses(), "{}", table());
            farm.until_metric(&format!("{OPERATIONS}=\"unblock\",result=\"ok\"}}"), 1.0).await;
            farm.stop().await.unwrap();
        },
    );
}

#[test]
fn the_last_open_gateway_is_kept_open_and_a_front_door_that_stops_leaves_its_lease() {
    alone(
        "fence::the_last_open_gateway_is_kept_open_and_a_front_door_that_stops_leaves_its_lease",
        async || {
            let agent = Agent::start("demo").await;
            let farm = agent
                .farm("demo", |settings| {
                    break_checks(settings, 0);
                    settings.fence.keep_at_least = 2;
                })
                .await;
            let kept = farm
                .wait_until(|status| {
                    let fence = status.gateways[0].fence.as_ref();
                    status.gateways[0].state == State::Down
                        && fence
                            .is_some_and(|fence| fence.kept_open_by.iter().any(|keeper| keeper.by == "demo"))
                })
                .await;
            assert!(!is_fenced(&kept) && !refuses());
            let mut fewer = farm.settings();
            fewer.fence.keep_at_least = 1;
            farm.reload(fewer).await.unwrap();
            farm.wait_until(is_fenced).await;
            assert!(refuses(), "{}", table());
            // its block is asked for first, and only then is the gateway kept open no longer
            farm.wait_until(|status| {
                let fence = status.gateways[0].fence.as_ref();
                fence.is_some_and(|fence| fence.blocked && fence.kept_open_by.is_empty())
            })
            .await;
            farm.stop().await.unwrap();
            assert!(refuses(), "who starts again soon renews it");
            let stopped = Instant::now();
            while refuses() {
                assert!(stopped.elapsed() < LEASE + Duration::from_secs(1), "{}", table());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        },
    );
}

#[test]
fn an_agent_that_knows_the_front_door_by_another_name_fences_nothing() {
    alone("fence::an_agent_that_knows_the_front_door_by_another_name_fences_nothing", async || {
        let agent = Agent::start("front-b").await;
        let farm = agent
            .farm("front-a", |settings| {
                break_checks(settings, 0);
                settings.fence.keep_at_least = 0;
            })
            .await;
        let failures = format!("{OPERATIONS}=\"block\",result=\"error\"}}");
        let until = Instant::now() + PATIENCE;
        while farm.metric(&failures).await.unwrap() < 2.0 {
            assert!(Instant::now() < until, "it is not tried again");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(!refuses());
        assert_eq!(farm.metric("vestibule_gateway_fenced{gateway=\"gw1\"}").await, Some(0.0));
        farm.stop().await.unwrap();
    });
}

#[test]
fn a_gateway_without_an_agent_is_fenced_by_this_hosts_firewall_and_its_checks_pass() {
    alone(
        "fence::a_gateway_without_an_agent_is_fenced_by_this_hosts_firewall_and_its_checks_pass",
        async || {
            let farm = Running::with(2, |settings| {
                settings.fence.gateways[0].kind = Kind::Local;
                settings.fence.gateways[0].endpoints =
                    vec![settings.fleet.gateways[0].ssl_endpoint.clone().into()];
                let mark = vestibule::net::client::Mark::new(vestibule::net::firewall::CHECK_MARK);
                settings.probes[0].mark = Some(Arc::new(mark));
            })
            .await;
            farm.wait_until(|status| status.gateways[0].state == State::Up).await;
            let sound = farm.settings();
            let mut broken = sound.clone();
            break_checks(&mut broken, 0);
            farm.reload(broken).await.unwrap();
            let status = farm.wait_until(is_fenced).await;
            assert_eq!(held_by(&status.gateways[0]), ["demo"]);
            let refused = tokio::net::TcpStream::connect(farm.pages[0]).await;
            assert!(refused.is_err(), "{}", table());
            // the check comes through, or this would never end
            farm.reload(sound).await.unwrap();
            farm.wait_until(|status| status.gateways[0].state == State::Up && !is_fenced(status)).await;
            tokio::net::TcpStream::connect(farm.pages[0]).await.unwrap();
            farm.stop().await.unwrap();
            assert_eq!(table(), "");
        },
    );
}
