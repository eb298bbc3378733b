//! A heartbeat agent over loopback, with real TLS: who gets its report, and what the report says over time.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod fence;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, LocalSet};
use vestibule::fleet::{Endpoint, Load, Service, Thresholds};
use vestibule::heartbeat::{
    self, AgentState, Capacity, CountSource, Doors, FenceSettings, HeartbeatError, Legacy, LoadSettings,
    LocalCheck, MAX_REPORT_BYTES, Report, ServiceState, Settings,
};
use vestibule::net::client::{Client, ClientError, Question, Target, Tls};
use vestibule::net::command::CommandLine;
use vestibule::net::stop::{self, Stopper};
use vestibule::net::tls::{self, Identity, Trust};

/// A private certificate authority.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "heartbeat test");
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn certificates(&self) -> Vec<CertificateDer<'static>> {
        vec![self.0.der().clone()]
    }

    fn issue(&self, name: &str) -> Identity {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        tls::identity(vec![certificate.der().clone()], key).unwrap()
    }
}

/// An agent and how to stop it.
struct Agent {
    address: SocketAddr,
    /// Where HAProxy would ask.
    agent_check: SocketAddr,
    stopper: Stopper,
    task: JoinHandle<Result<Legacy, HeartbeatError>>,
}

impl Agent {
    async fn start(authority: &Authority, checks: Vec<LocalCheck>, load: LoadSettings) -> Self {
        Self::start_after(Legacy::default(), authority, checks, load, None).await
    }

    /// One with a fence, that goes on with what another one has left.
    async fn start_after(
        legacy: Legacy,
        authority: &Authority,
        checks: Vec<LocalCheck>,
        load: LoadSettings,
        fence: Option<FenceSettings>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let check_listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let agent_check = check_listener.local_addr().unwrap();
        let doors = Doors { reports: listener, agent_check: Some(check_listener) };
        let identity = authority.issue("gw1");
        let settings = Settings {
            name: "gw1".into(),
            listen: address,
            agent_check: Some(agent_check),
            tls: Some(tls::mutual_server_config(&identity, &authority.certificates()).unwrap()),
            interval: Duration::from_millis(20),
            timeout: LONG,
            thresholds: Thresholds { rise: NonZeroU32::new(2).unwrap(), fall: NonZeroU32::new(3).unwrap() },
            checks,
            load,
            fence,
            track_file: None,
        };
        let (stopper, stop) = stop::channel();
        let told = watch::Sender::new(None);
        let task = tokio::task::spawn_local(heartbeat::run(settings, doors, legacy, told, stop));
        Self { address, agent_check, stopper, task }
    }

    async fn stop(self) {
        self.leave().await.settle().await;
    }

    /// Stops it as for a reload.
    async fn leave(self) -> Legacy {
        self.stopper.stop();
        tokio::time::timeout(LONG, self.task).await.unwrap().unwrap().unwrap()
    }
}

const LONG: Duration = Duration::from_secs(10);

fn no_load() -> LoadSettings {
    let capacity = Capacity { bits_per_second: None, tunnels: Some(1000), pool: None };
    LoadSettings { interface: None, capacity, tunnels: CountSource::None, pool: CountSource::None }
}

/// A front door that trusts `authority` and shows `identity`.
fn front_door(address: SocketAddr, authority: &Authority, identity: Option<&Identity>) -> Client {
    let trust = Trust::Authorities(authority.certificates());
    let config = tls::client_config(&trust, identity).unwrap();
    let name = ServerName::try_from("gw1").unwrap();
    let endpoint = Endpoint::parse(&address.to_string(), 443).unwrap();
    Client::new(Target { site: endpoint.into(), tls: Some(Tls { config, server_name: name }) })
}

async fn fetch(client: &mut Client) -> Result<Report, ClientError> {
    let answer = tokio::time::timeout(LONG, client.ask(&Question::get("/v1/report"), MAX_REPORT_BYTES))
        .await
        .unwrap()?;
    assert_eq!(answer.status, 200);
    Ok(Report::parse(&answer.body).unwrap())
}

/// Asks until the report is as wanted.
async fn until(client: &mut Client, wanted: impl Fn(&Report) -> bool) -> Report {
    let started = Instant::now();
    loop {
        let report = fetch(client).await.unwrap();
        if wanted(&report) {
            return report;
        }
        assert!(started.elapsed() < LONG, "it never came about: {report:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The line that HAProxy reads.
async fn agent_check(address: SocketAddr) -> String {
    let mut line = String::new();
    let mut stream = TcpStream::connect(address).await.unwrap();
    tokio::time::timeout(LONG, stream.read_to_string(&mut line)).await.unwrap().unwrap();
    line
}

/// A check that passes as long as there is a file, and leaves a line in another one at each round.
fn file_check(directory: &Path) -> (LocalCheck, PathBuf, PathBuf) {
    let (file, rounds) = (directory.join("works"), directory.join("rounds"));
    let script =
        format!("echo >> {}; test -e {} || {{ echo it is gone; exit 1; }}", rounds.display(), file.display());
    let command = CommandLine::new(["sh", "-c", &script]).unwrap();
    (LocalCheck::Command { name: "file".into(), command }, file, rounds)
}

#[tokio::test]
async fn a_report_goes_to_front_doors_of_the_same_authority_alone() {
    LocalSet::new()
        .run_until(async {
            let (ours, foreign) = (Authority::new(), Authority::new());
            let agent = Agent::start(&ours, Vec::new(), no_load()).await;
            let report =
                fetch(&mut front_door(agent.address, &ours, Some(&ours.issue("front-a")))).await.unwrap();
            assert_eq!((report.name.as_str(), report.sequence), ("gw1", 1));
            assert_eq!(report.service.state, ServiceState::Up);
            assert_eq!(report.load.tunnels_max, Some(1000));

            assert!(fetch(&mut front_door(agent.address, &ours, None)).await.is_err());
            let stranger = foreign.issue("front-a");
            assert!(fetch(&mut front_door(agent.address, &ours, Some(&stranger))).await.is_err());
            // and a front door talks only to agents of its own authority
            let identity = ours.issue("front-a");
            let refused = fetch(&mut front_door(agent.address, &foreign, Some(&identity))).await;
            assert!(matches!(refused, Err(ClientError::Tls(_))), "{refused:?}");
            // those who were refused have not used up a number
            let again = fetch(&mut front_door(agent.address, &ours, Some(&identity))).await.unwrap();
            assert_eq!(again.sequence, 2);
            agent.stop().await;
        })
        .await;
}

#[tokio::test]
async fn reports_are_numbered_and_a_restart_shows() {
    LocalSet::new()
        .run_until(async {
            let authority = Authority::new();
            let identity = authority.issue("front-a");
            let agent = Agent::start(&authority, Vec::new(), no_load()).await;
            let address = agent.address;
            let mut client = front_door(address, &authority, Some(&identity));
            let first = fetch(&mut client).await.unwrap();
            let second = fetch(&mut client).await.unwrap();
            assert_eq!((first.sequence, second.sequence), (1, 2));
            assert_eq!(first.boot_id, second.boot_id);
            assert_eq!(first.boot_id.len(), 32);
            assert!(second.time >= first.time && first.service.since == second.service.since);
            agent.stop().await;
            // its port may be that of another test's agent by now, but that one has another authority
            let late = fetch(&mut front_door(address, &authority, Some(&identity))).await;
            assert!(late.is_err(), "it still answers: {late:?}");

            let agent = Agent::start(&authority, Vec::new(), no_load()).await;
            let again = fetch(&mut front_door(agent.address, &authority, Some(&identity))).await.unwrap();
            assert_eq!(again.sequence, 1);
            assert_ne!(again.boot_id, first.boot_id);
            agent.stop().await;
        })
        .await;
}

#[tokio::test]
async fn the_time_of_a_report_tells_that_the_rounds_have_stopped() {
    LocalSet::new()
        .run_until(async {
            let directory = tempfile::tempdir().unwrap();
            let (stuck, begun) = (directory.path().join("stuck"), directory.path().join("begun"));
            let script = format!(
                "if test -e {}; then touch {}; exec sleep 1000; fi",
                stuck.display(),
                begun.display()
            );
            let command = CommandLine::new(["sh", "-c", &script]).unwrap();
            let check = LocalCheck::Command { name: "gets stuck".into(), command };
            let authority = Authority::new();
            let identity = authority.issue("front-a");
            let agent = Agent::start(&authority, vec![check], no_load()).await;
            let mut client = front_door(agent.address, &authority, Some(&identity));
            let first = fetch(&mut client).await.unwrap();
            until(&mut client, |report| report.time > first.time).await;

            std::fs::write(&stuck, "").unwrap();
            until(&mut client, |_| begun.exists()).await;
            let last = fetch(&mut client).await.unwrap();
            // long enough to show in a time with milliseconds
            tokio::time::sleep(Duration::from_millis(5)).await;
            let later = fetch(&mut client).await.unwrap();
            assert_eq!((later.sequence, later.time), (last.sequence + 1, last.time));
            agent.stop().await;
        })
        .await;
}

#[tokio::test]
async fn a_gateway_falls_after_bad_rounds_and_rises_after_good_ones() {
    LocalSet::new()
        .run_until(async {
            let directory = tempfile::tempdir().unwrap();
            let (check, file, rounds) = file_check(directory.path());
            let counted = || std::fs::read_to_string(&rounds).unwrap().len();
            std::fs::write(&file, "").unwrap();
            let authority = Authority::new();
            let identity = authority.issue("front-a");
            let agent = Agent::start(&authority, vec![check], no_load()).await;
            let mut client = front_door(agent.address, &authority, Some(&identity));
            let up = fetch(&mut client).await.unwrap();
            assert_eq!(up.service.state, ServiceState::Up);
            assert!(up.service.checks[0].passing);

            std::fs::remove_file(&file).unwrap();
            let before = counted();
            let failing = until(&mut client, |report| !report.service.checks[0].passing).await;
            let down = until(&mut client, |report| report.service.state == ServiceState::Down).await;
            // the round that was under way may have failed already
            assert!(counted() - before >= 2, "it fell too early");
            assert!(
                down.service.since > up.service.since && failing.service.checks[0].detail == "it is gone"
            );
            assert_eq!(
                down.as_sent_at(std::time::SystemTime::UNIX_EPOCH).service,
                Service::Down("file: it is gone".into())
            );

            std::fs::write(&file, "").unwrap();
            let before = counted();
            let up_again = until(&mut client, |report| report.service.state == ServiceState::Up).await;
            assert!(counted() - before >= 1, "it rose too early");
            assert!(up_again.service.since > down.service.since);
            agent.stop().await;
        })
        .await;
}

#[tokio::test]
async fn an_agent_that_starts_on_a_broken_gateway_never_reports_up() {
    LocalSet::new()
        .run_until(async {
            let directory = tempfile::tempdir().unwrap();
            let (check, ..) = file_check(directory.path());
            let authority = Authority::new();
            let agent = Agent::start(&authority, vec![check], no_load()).await;
            let identity = authority.issue("front-a");
            let first = fetch(&mut front_door(agent.address, &authority, Some(&identity))).await.unwrap();
            assert_eq!((first.sequence, first.service.state), (1, ServiceState::Down));
            agent.stop().await;
        })
        .await;
}

#[tokio::test]
async fn an_agent_stops_at_once_even_while_a_check_hangs() {
    LocalSet::new()
        .run_until(async {
            let directory = tempfile::tempdir().unwrap();
            let pid = directory.path().join("pid");
            let script = format!("echo $$ > {}; exec sleep 1000", pid.display());
            let command = CommandLine::new(["sh", "-c", &script]).unwrap();
            let check = LocalCheck::Command { name: "hangs".into(), command };
            let agent = Agent::start(&Authority::new(), vec![check], no_load()).await;
            let started = Instant::now();
            let begun = || std::fs::read_to_string(&pid).is_ok_and(|pid| pid.ends_with('\n'));
            while !begun() {
                assert!(started.elapsed() < LONG);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let started = Instant::now();
            agent.stop().await;
            assert!(started.elapsed() < LONG / 2, "it has waited for the check");
            let process = Path::new("/proc").join(std::fs::read_to_string(&pid).unwrap().trim());
            while process.exists() {
                assert!(started.elapsed() < LONG, "the check's program is still there");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
}

#[tokio::test]
async fn a_state_of_ones_own_making_is_served_without_tls_on_loopback() {
    let now = std::time::SystemTime::now();
    let state = AgentState {
        observed: now,
        service: ServiceState::Draining,
        since: now,
        checks: Vec::new(),
        load: Load { cpu_ratio: Some(0.5), ..Load::default() },
    };
    let (sender, receiver) = tokio::sync::watch::channel(state);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint::parse(&listener.local_addr().unwrap().to_string(), 80).unwrap();
    let (stopper, stop) = stop::channel();
    let name: Arc<str> = "pretend".into();
    let server = tokio::spawn(heartbeat::serve_state(listener, None, name, receiver, stop));
    let mut client = Client::new(Target { site: endpoint.into(), tls: None });
    let report = fetch(&mut client).await.unwrap();
    assert_eq!((report.service.state, report.load.cpu_ratio), (ServiceState::Draining, Some(0.5)));
    sender.send_modify(|state| state.service = ServiceState::Up);
    assert_eq!(fetch(&mut client).await.unwrap().service.state, ServiceState::Up);
    stopper.stop();
    tokio::time::timeout(LONG, server).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn haproxy_reads_what_front_doors_are_told() {
    LocalSet::new()
        .run_until(async {
            let directory = tempfile::tempdir().unwrap();
            let (check, file, _) = file_check(directory.path());
            std::fs::write(&file, "").unwrap();
            let tunnels = directory.path().join("tunnels");
            std::fs::write(&tunnels, "250\n").unwrap();
            let load = LoadSettings { tunnels: CountSource::File(tunnels.clone()), ..no_load() };
            let agent = Agent::start(&Authority::new(), vec![check], load).await;
            let until = async |wanted: &dyn Fn(&str) -> bool| {
                let started = Instant::now();
                loop {
                    let line = agent_check(agent.agent_check).await;
                    if wanted(&line) {
                        return line;
                    }
                    assert!(started.elapsed() < LONG, "it never came about: {line:?}");
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            // a quarter of the tunnels, and whatever the processor does; the first round decides
            let percentage = |line: &str| line.strip_prefix("up ")?.strip_suffix("%\n")?.parse().ok();
            let first: u32 = percentage(&agent_check(agent.agent_check).await).unwrap();
            assert!((1..=88).contains(&first), "{first}");
            std::fs::write(&tunnels, "1000\n").unwrap();
            until(&|line| line == "up 0%\n").await;
            std::fs::write(&tunnels, "999\n").unwrap();
            until(&|line| percentage(line).is_some_and(|left| (1..=51).contains(&left))).await;
            std::fs::remove_file(&file).unwrap();
            until(&|line| line == "down #file: it is gone\n").await;
            std::fs::write(&file, "").unwrap();
            until(&|line| percentage(line).is_some()).await;
            agent.stop().await;
        })
        .await;
}
