//! The agent's fence: who may give orders, and what becomes of them in the real firewall of a network namespace.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use vestibule::heartbeat::{FenceSection, OnExit};
use vestibule::net::firewall::{Connections, Engine, Fence, RejectWith};

use super::*;

/// Sends an order, or any request, and reads the answer.
async fn order(
    client: (SocketAddr, &Authority, &Identity),
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> (u16, Value) {
    let (address, authority, identity) = client;
    let trust = Trust::Authorities(authority.certificates());
    let config = tls::client_config(&trust, Some(identity)).unwrap();
    let name = ServerName::try_from("gw1").unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let mut stream = TlsConnector::from(config).connect(name, stream).await.unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: gw1\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    // some end without close_notify
    let _ = tokio::time::timeout(LONG, stream.read_to_string(&mut answer)).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    (status, serde_json::from_str(body).unwrap_or_default())
}

const ORDER: &str = "{\"reason\": \"connection refused\", \"lease_seconds\": 15}";

/// Runs a test in a network namespace that nobody else is in. Where that cannot be done here it says so, or fails if it is
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
    let tools = tempfile::tempdir().unwrap();
    let nft = tools.path().join("nft");
    std::fs::write(&nft, FAULTY_NFT).unwrap();
    std::fs::set_permissions(&nft, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::join_paths([tools.path(), Path::new("/usr/sbin"), Path::new("/usr/bin")]).unwrap();
    let status = Command::new("unshare")
        .env("PATH", path)
        .args([
            "-n",
            "sh",
            "-c",
            "ip link set lo up && exec \"$0\" --exact \"$1\" --nocapture --test-threads=1",
        ])
        .arg(std::env::current_exe().unwrap())
        .arg(test)
        .env(INSIDE, tools.path())
        .status();
    assert!(status.unwrap().success(), "{test}: it failed inside; see above");
}

/// Where the nft is that agents run, inside.
const INSIDE: &str = "VESTIBULE_TEST_NETWORK";
/// The true one, but while a file beside it says otherwise.
const FAULTY_NFT: &str = r#"#!/bin/sh
case $(cat "$0.fault" 2>/dev/null) in
  fails) echo "Error: Could not process rule: Device or resource busy" >&2; exit 1 ;;
  hangs) exec sleep 60 ;;
esac
exec /usr/sbin/nft "$@"
"#;

/// What is wrong with nft from now on, if anything.
fn nft_is(fault: Option<&str>) {
    let file = Path::new(&std::env::var_os(INSIDE).unwrap()).join("nft.fault");
    match fault {
        Some(fault) => std::fs::write(file, fault).unwrap(),
        None => std::fs::remove_file(file).unwrap(),
    }
}
/// Set where nothing is to be left out.
const REQUIRED: &str = "VESTIBULE_TESTS_REQUIRE_ROOT";

fn settings(port: &str, lease: Duration, on_exit: OnExit) -> FenceSettings {
    settings_with(Engine::Nftables, port, lease, on_exit)
}

fn settings_with(engine: Engine, port: &str, lease: Duration, on_exit: OnExit) -> FenceSettings {
    let refusal = Fence {
        ports: vec![port.parse().unwrap()],
        connections: Connections::New,
        reject_with: RejectWith::TcpReset,
        exempt: vec!["127.0.0.0/8".parse().unwrap()],
        spare: Vec::new(),
    };
    FenceSettings { engine, refusal, lease, on_exit }
}

const LEASE: Duration = Duration::from_secs(15);

/// Our table as the kernel has it; empty if it has none.
fn table() -> String {
    let listed =
        Command::new("/usr/sbin/nft").args(["-n", "list", "table", "inet", "vestibule"]).output().unwrap();
    String::from_utf8(listed.stdout).unwrap()
}

/// The same, and our chain of iptables.
fn rules() -> String {
    let listed = Command::new("iptables").args(["-S", "sslvpn-heartbeat-chain"]).output().unwrap();
    table() + &String::from_utf8(listed.stdout).unwrap()
}

/// Whether the kernel refuses newcomers on port 4443, by whichever engine.
fn is_blocked() -> bool {
    refuses(4443) || rules().contains("--dport 4443")
}

/// Whether the kernel refuses newcomers on that port, as `6 . 443`.
fn refuses(port: u16) -> bool {
    table().contains(&format!("6 . {port} timeout")) || table().contains(&format!("tcp . {port} timeout"))
}

/// For how many more seconds the kernel refuses newcomers on port 4443, if nobody tells it otherwise; with none it would be
/// for ever.
fn seconds_left() -> u64 {
    let listed =
        Command::new("/usr/sbin/nft").args(["-nj", "list", "table", "inet", "vestibule"]).output().unwrap();
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let items = listed.get("nftables").and_then(Value::as_array).unwrap();
    let members = items.iter().filter_map(|item| item.pointer("/set/elem")?.as_array()).flatten();
    let refused = |member: &&Value| member.pointer("/elem/val/concat/1") == Some(&4443.into());
    let refused: Vec<_> = members.filter(refused).collect();
    let [member] = *refused else { panic!("not refused once: {listed}") };
    member.pointer("/elem/expires").and_then(Value::as_u64).unwrap()
}

/// What somebody does who has seen enough of a block.
fn clear() {
    let nft = Command::new("/usr/sbin/nft").args(["delete", "table", "inet", "vestibule"]).status();
    assert!(nft.unwrap().success());
}

async fn come_about(what: &str, is_so: impl Fn() -> bool) -> Duration {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < LONG, "it never came about: {what}\n{}", table());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    started.elapsed()
}

fn fence_of(report: &Report) -> &FenceSection {
    report.fence.as_ref().unwrap()
}

fn holders(report: &Report) -> Vec<&str> {
    fence_of(report).holders.iter().map(|holder| holder.by.as_str()).collect()
}

#[tokio::test]
async fn a_front_door_gives_orders_in_its_own_name_alone() {
    LocalSet::new()
        .run_until(async {
            let authority = Authority::new();
            let front_a = authority.issue("front-a");
            let agent = Agent::start(&authority, Vec::new(), no_load()).await;
            let client = (agent.address, &authority, &front_a);
            for (by, status) in [("front-b", 403), ("self", 403), ("front-a", 409)] {
                for path in ["/v1/fence", "/v1/keep-open"] {
                    for method in ["PUT", "DELETE"] {
                        let (told, answer) = order(client, method, &format!("{path}/{by}"), "", ORDER).await;
                        assert_eq!(told, status, "{method} {path}/{by}: {answer}");
                        assert!(answer["error"].is_string());
                    }
                }
            }
            let report = fetch(&mut front_door(agent.address, &authority, Some(&front_a))).await.unwrap();
            assert_eq!(report.fence, Some(FenceSection::none()));
            agent.stop().await;
        })
        .await;
}

#[test]
fn a_gateway_is_blocked_while_any_front_door_holds_it() {
    alone("fence::a_gateway_is_blocked_while_any_front_door_holds_it", async || {
        let authority = Authority::new();
        let (front_a, front_b) = (authority.issue("front-a"), authority.issue("front-b"));
        let fence = settings("tcp/4443", LEASE, OnExit::Remove);
        let agent =
            Agent::start_after(Legacy::default(), &authority, Vec::new(), no_load(), Some(fence)).await;
        let (a, b) = ((agent.address, &authority, &front_a), (agent.address, &authority, &front_b));
        let mut client = front_door(agent.address, &authority, Some(&front_a));
        // the rules that would refuse are there, and refuse nobody
        let free = fetch(&mut client).await.unwrap();
        assert_eq!((fence_of(&free).engine.as_str(), fence_of(&free).blocked), ("nftables", false));
        assert!(table().contains("hook input") && !refuses(4443), "{}", table());

        let (status, section) = order(a, "PUT", "/v1/fence/front-a", "", ORDER).await;
        assert_eq!((status, &section["blocked"]), (200, &true.into()), "{section}");
        assert!(refuses(4443), "it is not in force when the answer comes:\n{}", table());
        let (status, section) = order(b, "PUT", "/v1/fence/front-b", "", ORDER).await;
        assert_eq!((status, section["holders"].as_array().unwrap().len()), (200, 2));
        let blocked = fetch(&mut client).await.unwrap();
        assert_eq!(holders(&blocked), ["front-a", "front-b"]);
        let holder = &fence_of(&blocked).holders[0];
        assert_eq!(holder.reason, "connection refused");
        let left = holder.until.to_system_time().duration_since(blocked.time.to_system_time()).unwrap();
        assert!(left > LEASE - Duration::from_secs(5) && left < LEASE + Duration::from_secs(5), "{left:?}");

        for (order_body, expected) in
            [("{\"lease_seconds\": 15}", 400), ("{\"reason\": \"x\", \"lease_seconds\": 0}", 400)]
        {
            assert_eq!(order(a, "PUT", "/v1/fence/front-a", "", order_body).await.0, expected);
        }
        assert_eq!(order(a, "DELETE", "/v1/fence/front-b", "", "").await.0, 403);
        let (status, section) = order(a, "DELETE", "/v1/fence/front-a", "", "").await;
        assert_eq!((status, &section["blocked"]), (200, &true.into()));
        assert!(refuses(4443), "front-b holds it");
        for _ in 0..2 {
            let (status, section) = order(b, "DELETE", "/v1/fence/front-b", "", "").await;
            assert_eq!((status, &section["blocked"]), (200, &false.into()));
            assert!(!refuses(4443));
        }
        agent.stop().await;
        assert_eq!(table(), "");
    });
}

#[test]
fn a_gateway_is_not_blocked_by_one_who_does_not_know_that_another_keeps_it_open() {
    alone(
        "fence::a_gateway_is_not_blocked_by_one_who_does_not_know_that_another_keeps_it_open",
        async || {
            let authority = Authority::new();
            let (front_a, front_b) = (authority.issue("front-a"), authority.issue("front-b"));
            let fence = settings("tcp/4443", LEASE, OnExit::Remove);
            let agent =
                Agent::start_after(Legacy::default(), &authority, Vec::new(), no_load(), Some(fence)).await;
            let (a, b) = ((agent.address, &authority, &front_a), (agent.address, &authority, &front_b));
            let knows = |names: &str| ORDER.replace('}', &format!(", \"kept_open_by\": [{names}]}}"));
            let (status, _) = order(b, "PUT", "/v1/keep-open/front-b", "", "{\"lease_seconds\": 15}").await;
            assert_eq!(status, 200);
            let (status, told) = order(a, "PUT", "/v1/fence/front-a", "", &knows("\"front-c\"")).await;
            let text =
                "front-b keeps this gateway open, and the order does not know of it; nothing is blocked";
            assert_eq!((status, told["error"].as_str()), (412, Some(text)));
            let mut client = front_door(agent.address, &authority, Some(&front_a));
            assert_eq!(holders(&fetch(&mut client).await.unwrap()), [""; 0]);
            assert!(!refuses(4443));
            assert_eq!(order(a, "PUT", "/v1/fence/front-a", "", &knows("\"front-b\"")).await.0, 200);
            assert_eq!(order(a, "PUT", "/v1/fence/front-a", "", &knows("")).await.0, 200, "renewed");
            assert!(refuses(4443));
            order(a, "DELETE", "/v1/fence/front-a", "", "").await;
            assert_eq!(order(a, "PUT", "/v1/fence/front-a", "", ORDER).await.0, 200, "without condition");
            assert!(refuses(4443));
            agent.stop().await;
        },
    );
}

#[test]
fn a_failing_gateway_blocks_itself_unless_it_is_kept_open() {
    alone("fence::a_failing_gateway_blocks_itself_unless_it_is_kept_open", async || {
        let directory = tempfile::tempdir().unwrap();
        let (check, file, _) = file_check(directory.path());
        std::fs::write(&file, "").unwrap();
        let authority = Authority::new();
        let front_a = authority.issue("front-a");
        let fence = settings("tcp/4443", LEASE, OnExit::Remove);
        let agent =
            Agent::start_after(Legacy::default(), &authority, vec![check], no_load(), Some(fence)).await;
        let a = (agent.address, &authority, &front_a);
        let mut client = front_door(agent.address, &authority, Some(&front_a));
        std::fs::remove_file(&file).unwrap();
        come_about("it blocks itself", || refuses(4443)).await;
        let blocked = until(&mut client, |report| fence_of(report).blocked).await;
        assert_eq!((holders(&blocked), blocked.service.state), (vec!["self"], ServiceState::Down));

        let (status, section) = order(a, "PUT", "/v1/keep-open/front-a", "", "{\"lease_seconds\": 2}").await;
        assert_eq!((status, &section["blocked"]), (200, &false.into()), "{section}");
        assert!(!refuses(4443), "it is not open when the answer comes");
        assert_eq!(section["kept_open_by"][0]["by"], "front-a");
        assert_eq!(section["holders"][0]["by"], "self", "it wants to, and does not");
        // nobody renews that
        come_about("it blocks itself again", || refuses(4443)).await;
        order(a, "PUT", "/v1/keep-open/front-a", "", "{\"lease_seconds\": 15}").await;
        assert!(!refuses(4443));
        // another one's block is in force all the same
        order(a, "PUT", "/v1/fence/front-a", "", ORDER).await;
        assert!(refuses(4443));
        order(a, "DELETE", "/v1/fence/front-a", "", "").await;
        assert!(!refuses(4443));
        let (status, _) = order(a, "DELETE", "/v1/keep-open/front-a", "", "").await;
        assert_eq!((status, refuses(4443)), (200, true));

        std::fs::write(&file, "").unwrap();
        come_about("it lets newcomers in again", || !refuses(4443)).await;
        until(&mut client, |report| !fence_of(report).blocked && holders(report).is_empty()).await;
        agent.stop().await;
    });
}

#[test]
fn a_block_outlives_a_reload_and_not_its_reason() {
    alone("fence::a_block_outlives_a_reload_and_not_its_reason", async || {
        let directory = tempfile::tempdir().unwrap();
        let (check, file, _) = file_check(directory.path());
        let authority = Authority::new();
        let front_a = authority.issue("front-a");
        let fence = |port| Some(settings(port, LEASE, OnExit::Remove));
        let start = async |legacy, port| {
            Agent::start_after(legacy, &authority, vec![check.clone()], no_load(), fence(port)).await
        };
        let agent = start(Legacy::default(), "tcp/4443").await;
        come_about("it blocks itself", || refuses(4443)).await;
        let a = (agent.address, &authority, &front_a);
        order(a, "PUT", "/v1/fence/front-a", "", ORDER).await;
        let watcher = Watcher::start();
        let agent = start(agent.leave().await, "tcp/4443").await;
        let report = fetch(&mut front_door(agent.address, &authority, Some(&front_a))).await.unwrap();
        assert_eq!(holders(&report), ["self", "front-a"]);
        let agent = start(agent.leave().await, "tcp/4444").await;
        come_about("the other port is blocked", || refuses(4444) && !refuses(4443)).await;
        assert!(watcher.end() > 1, "it has not looked");

        // the reason goes while nobody looks
        let legacy = agent.leave().await;
        std::fs::write(&file, "").unwrap();
        let agent = start(legacy, "tcp/4444").await;
        let mut client = front_door(agent.address, &authority, Some(&front_a));
        until(&mut client, |report| holders(report) == ["front-a"]).await;
        // without a section there is no fence
        let agent = Agent::start_after(agent.leave().await, &authority, Vec::new(), no_load(), None).await;
        come_about("the rules are gone", || table().is_empty()).await;
        agent.stop().await;
    });
}

#[test]
fn leases_outlive_reloads_while_the_firewall_fails_and_answers_do_not_wait_while_it_hangs() {
    let test =
        "fence::leases_outlive_reloads_while_the_firewall_fails_and_answers_do_not_wait_while_it_hangs";
    alone(test, async || {
        let authority = Authority::new();
        let front_a = authority.issue("front-a");
        let start = async |legacy| {
            let fence = Some(settings("tcp/4443", LEASE, OnExit::Remove));
            Agent::start_after(legacy, &authority, Vec::new(), no_load(), fence).await
        };
        let report =
            async |agent: &Agent| fetch(&mut front_door(agent.address, &authority, Some(&front_a))).await;
        let agent = start(Legacy::default()).await;
        order((agent.address, &authority, &front_a), "PUT", "/v1/fence/front-a", "", ORDER).await;
        let watcher = Watcher::start();
        nft_is(Some("fails"));
        let agent = start(start(agent.leave().await).await.leave().await).await;
        nft_is(None);
        assert_eq!(holders(&report(&agent).await.unwrap()), ["front-a"]);
        nft_is(Some("hangs"));
        let legacy = agent.leave().await;
        let begun = Instant::now();
        let agent = start(legacy).await;
        assert_eq!(holders(&report(&agent).await.unwrap()), ["front-a"]);
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
        nft_is(None);
        watcher.end();
        agent.stop().await;
    });
}

/// Looks at the kernel's rules all the time.
struct Watcher {
    thread: std::thread::JoinHandle<usize>,
    over: Arc<std::sync::atomic::AtomicBool>,
}

impl Watcher {
    /// Sees to it that newcomers are refused.
    fn start() -> Self {
        Self::watch("newcomers are refused", || table().contains(" timeout "))
    }

    /// Sees to it that something is so.
    fn watch(what: &'static str, is_so: impl Fn() -> bool + Send + 'static) -> Self {
        let over = Arc::<std::sync::atomic::AtomicBool>::default();
        let is_over = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            let mut looks = 0;
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                assert!(is_so(), "not so after {looks} looks: {what}\n{}", rules());
                looks += 1;
            }
            looks
        });
        Self { thread, over }
    }

    /// How often it has looked.
    fn end(self) -> usize {
        self.over.store(true, std::sync::atomic::Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

#[test]
fn a_block_is_given_up_at_the_end_or_left_to_run_out() {
    alone("fence::a_block_is_given_up_at_the_end_or_left_to_run_out", async || {
        let directory = tempfile::tempdir().unwrap();
        let (check, ..) = file_check(directory.path());
        let authority = Authority::new();
        let front_a = authority.issue("front-a");
        let start = async |on_exit| {
            let fence = Some(settings("tcp/4443", Duration::from_secs(5), on_exit));
            let agent =
                Agent::start_after(Legacy::default(), &authority, vec![check.clone()], no_load(), fence)
                    .await;
            come_about("it blocks itself", || refuses(4443)).await;
            agent
        };
        start(OnExit::Remove).await.stop().await;
        assert_eq!(table(), "");

        start(OnExit::Lease).await.stop().await;
        let left = seconds_left();
        assert!(left <= 5, "it is left for longer than a lease: {left} s");
        come_about("it runs out", || !refuses(4443)).await;

        // what a front door holds is not the agent's to give up
        let agent = start(OnExit::Remove).await;
        let ten_seconds = "{\"reason\": \"refused\", \"lease_seconds\": 10}";
        order((agent.address, &authority, &front_a), "PUT", "/v1/fence/front-a", "", ten_seconds).await;
        agent.stop().await;
        assert!(table().contains("front-a") && !table().contains("\"self"), "{}", table());
        let left = seconds_left();
        assert!(left <= 10, "it is left for longer than its lease: {left} s");
        clear();

        // one that is gone all of a sudden gives nothing up
        kill(start(OnExit::Remove).await).await;
        let left = seconds_left();
        assert!(left <= 5, "it is left for longer than a lease: {left} s");
        // and the next one takes over what it finds, before it answers anybody
        let agent = start(OnExit::Remove).await;
        fetch(&mut front_door(agent.address, &authority, Some(&front_a))).await.unwrap();
        agent.stop().await;
        assert_eq!(table(), "");
    });
}

/// An agent that is gone all of a sudden, and whose rules nobody has touched.
async fn kill(agent: Agent) {
    agent.task.abort();
    assert!(agent.task.await.unwrap_err().is_cancelled());
}

#[test]
fn an_agent_that_is_killed_and_started_again_goes_on_with_what_front_doors_hold_until_they_have_seen_it() {
    let test = "an_agent_that_is_killed_and_started_again_goes_on_with_what_front_doors_hold_until_they_have_seen_it";
    alone(&format!("fence::{test}"), async || {
        for engine in [Engine::Nftables, Engine::Iptables] {
            let authority = Authority::new();
            let (front_a, front_b) = (authority.issue("front-a"), authority.issue("front-b"));
            let start = async || {
                let fence = Some(settings_with(engine, "tcp/4443", LEASE, OnExit::Remove));
                Agent::start_after(Legacy::default(), &authority, Vec::new(), no_load(), fence).await
            };
            let mut agent = start().await;
            order((agent.address, &authority, &front_a), "PUT", "/v1/fence/front-a", "", ORDER).await;
            order((agent.address, &authority, &front_b), "PUT", "/v1/fence/front-b", "", ORDER).await;
            let watcher = Watcher::watch("newcomers are refused", is_blocked);
            for _ in 0..3 {
                kill(agent).await;
                agent = start().await;
                let report = fetch(&mut front_door(agent.address, &authority, Some(&front_a))).await.unwrap();
                assert_eq!((holders(&report), fence_of(&report).blocked), (vec!["front-a", "front-b"], true));
                let holder = &fence_of(&report).holders[0];
                assert_eq!(holder.reason, "left by an agent that ran before");
                let left = holder.until.to_system_time().duration_since(report.time.to_system_time());
                assert!(left.unwrap() < Duration::from_secs(3), "{holder:?}");
            }
            // one renews what it holds, the other gives it up
            let a = (agent.address, &authority, &front_a);
            let (status, section) = order(a, "PUT", "/v1/fence/front-a", "", ORDER).await;
            assert_eq!((status, &section["holders"][0]["reason"]), (200, &"connection refused".into()));
            let b = (agent.address, &authority, &front_b);
            let (status, section) = order(b, "DELETE", "/v1/fence/front-b", "", "").await;
            assert_eq!((status, section["holders"].as_array().unwrap().len()), (200, 1));
            tokio::time::sleep(Duration::from_secs(3)).await;
            assert!(watcher.end() > 1, "it has not looked");

            // nobody renews what is left
            kill(agent).await;
            let agent = start().await;
            let mut client = front_door(agent.address, &authority, Some(&front_a));
            until(&mut client, |report| holders(report) == ["front-a"]).await;
            let took = come_about("it ends", || !is_blocked()).await;
            assert!(took > Duration::from_secs(1) && took < Duration::from_secs(4), "{took:?}");
            agent.stop().await;
        }
    });
}

#[test]
fn a_failing_gateway_that_is_kept_open_stays_so_when_its_agent_is_killed_and_started_again() {
    let test = "a_failing_gateway_that_is_kept_open_stays_so_when_its_agent_is_killed_and_started_again";
    alone(&format!("fence::{test}"), async || {
        for engine in [Engine::Nftables, Engine::Iptables] {
            let directory = tempfile::tempdir().unwrap();
            let (check, file, _) = file_check(directory.path());
            let authority = Authority::new();
            let front_a = authority.issue("front-a");
            let start = async || {
                let fence = Some(settings_with(engine, "tcp/4443", LEASE, OnExit::Remove));
                Agent::start_after(Legacy::default(), &authority, vec![check.clone()], no_load(), fence).await
            };
            let keep_open = async |agent: &Agent| {
                let client = (agent.address, &authority, &front_a);
                let path = "/v1/keep-open/front-a";
                let (status, section) = order(client, "PUT", path, "", "{\"lease_seconds\": 15}").await;
                assert_eq!((status, &section["blocked"]), (200, &false.into()), "{section}");
                assert_eq!(section["holders"][0]["by"], "self", "it wants to, and does not");
            };
            let watcher = Watcher::watch("newcomers get in", || !is_blocked());
            let mut agent = start().await;
            for _ in 0..2 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                keep_open(&agent).await;
                tokio::time::sleep(Duration::from_secs(2)).await;
                kill(agent).await;
                agent = start().await;
            }
            fetch(&mut front_door(agent.address, &authority, Some(&front_a))).await.unwrap();
            assert!(watcher.end() > 1, "it has not looked");

            // nobody keeps it open any more
            let took = come_about("it blocks itself", is_blocked).await;
            assert!(took > Duration::from_secs(1) && took < Duration::from_secs(4), "{took:?}");
            // one that has blocked itself was not kept open
            let watcher = Watcher::watch("newcomers are refused", is_blocked);
            kill(agent).await;
            let agent = start().await;
            let mut client = front_door(agent.address, &authority, Some(&front_a));
            let report = fetch(&mut client).await.unwrap();
            assert_eq!((holders(&report), fence_of(&report).blocked), (vec!["self"], true));
            assert_ne!(fence_of(&report).holders[0].reason, "left by an agent that ran before");
            tokio::time::sleep(Duration::from_secs(3)).await;
            assert!(watcher.end() > 1, "it has not looked");
            // what it has held alone ends with its reason, also while nobody looks
            kill(agent).await;
            std::fs::write(&file, "").unwrap();
            let agent = start().await;
            let report = fetch(&mut front_door(agent.address, &authority, Some(&front_a))).await.unwrap();
            assert_eq!((holders(&report), is_blocked()), (vec![], false));
            agent.stop().await;
        }
    });
}

#[test]
fn rules_that_somebody_has_changed_are_in_order_again_within_a_second() {
    alone("fence::rules_that_somebody_has_changed_are_in_order_again_within_a_second", async || {
        let directory = tempfile::tempdir().unwrap();
        let (check, ..) = file_check(directory.path());
        let authority = Authority::new();
        let fence = Some(settings("tcp/4443", LEASE, OnExit::Remove));
        let agent = Agent::start_after(Legacy::default(), &authority, vec![check], no_load(), fence).await;
        come_about("it blocks itself", || refuses(4443)).await;
        for _ in 0..3 {
            assert!(Command::new("nft").args(["flush", "ruleset"]).status().unwrap().success());
            let took = come_about("it blocks again", || refuses(4443)).await;
            assert!(took < Duration::from_secs(1), "{took:?}");
        }
        agent.stop().await;
    });
}

#[test]
fn front_doors_checks_pass_from_where_they_say() {
    alone("fence::front_doors_checks_pass_from_where_they_say", async || {
        let authority = Authority::new();
        let front_a = authority.issue("front-a");
        let fence = Some(settings("tcp/4443", LEASE, OnExit::Remove));
        let agent = Agent::start_after(Legacy::default(), &authority, Vec::new(), no_load(), fence).await;
        let header = "vestibule-checks-from: 62.168.1.202, 2001:db8::2\r\n";
        let (status, _) = order((agent.address, &authority, &front_a), "GET", "/v1/report", header, "").await;
        assert_eq!(status, 200);
        come_about("they pass", || table().contains("62.168.1.202") && table().contains("2001:db8::2")).await;
        agent.stop().await;
    });
}
