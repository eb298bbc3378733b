//! From an agent's word, and from its silence, to the choice.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use vestibule::fleet::{Endpoint, Load, State};
use vestibule::heartbeat::{AgentState, FenceSection, Report, ServiceState};
use vestibule::net::client::Target;

use crate::support::Running;

#[tokio::test]
async fn a_gateway_whose_agent_calls_it_down_is_left_out_and_comes_back() {
    let farm = Running::farm(2).await;
    farm.set_tunnels(0, 10).await;
    assert_eq!(farm.gateway_chosen().await, Some(0));
    farm.set_service(0, ServiceState::Down);
    farm.wait_until(|status| status.gateways[0].state == State::Down).await;
    assert_eq!(farm.gateway_chosen().await, Some(1));
    farm.set_service(0, ServiceState::Up);
    farm.wait_until(|status| status.gateways[0].state == State::Up).await;
}

#[tokio::test]
async fn a_draining_gateway_gets_nobody() {
    let farm = Running::farm(2).await;
    farm.set_tunnels(0, 10).await;
    farm.set_service(0, ServiceState::Draining);
    farm.wait_until(|status| status.gateways[0].state == State::Draining).await;
    assert_eq!(farm.gateway_chosen().await, Some(1));
}

#[tokio::test]
async fn a_full_gateway_gets_nobody() {
    let farm = Running::farm(2).await;
    farm.agents[0]
        .send_modify(|state| state.load = Load { tunnels: Some(5), tunnels_max: Some(5), ..Load::default() });
    farm.wait_until(|status| status.gateways[0].unavailable_because().is_some()).await;
    assert_eq!(farm.gateway_chosen().await, Some(1));
}

/// What an agent answers to its `n`th question.
type Answers = Box<dyn Fn(u64) -> Response<Full<bytes::Bytes>> + Send + Sync>;

/// An agent that answers like this, over plain HTTP.
struct FakeAgent {
    target: Target,
    asked: Arc<AtomicU64>,
    accepted: Arc<AtomicU64>,
}

impl FakeAgent {
    async fn start(answers: Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint::parse(&listener.local_addr().unwrap().to_string(), 80).unwrap();
        let target = Target { site: endpoint.into(), tls: None };
        let agent = Self { target, asked: Arc::default(), accepted: Arc::default() };
        let (asked, accepted, answers) =
            (Arc::clone(&agent.asked), Arc::clone(&agent.accepted), Arc::new(answers));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                accepted.fetch_add(1, Ordering::Relaxed);
                let (asked, answers) = (Arc::clone(&asked), Arc::clone(&answers));
                let service = hyper::service::service_fn(move |_: Request<Incoming>| {
                    let answer = answers(asked.fetch_add(1, Ordering::Relaxed));
                    async move { Ok::<_, Infallible>(answer) }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        agent
    }

    /// A farm of the one gateway that it speaks for.
    async fn farm(&self) -> Running {
        Running::with(1, |settings| settings.probes[0].heartbeat = Some(self.target.clone())).await
    }
}

/// The reason of a gateway once it is down because its agent answers like this.
async fn reason_when_the_agent_answers(answers: Answers) -> String {
    let farm = FakeAgent::start(answers).await.farm().await;
    let status = farm.wait_until(|status| status.gateways[0].state == State::Down).await;
    status.gateways[0].reason.clone()
}

#[tokio::test]
async fn an_agent_is_asked_over_one_connection_round_after_round() {
    let agent = FakeAgent::start(Box::new(|n| json(report(n, SystemTime::now())))).await;
    let farm = agent.farm().await;
    farm.wait_until(|_| agent.asked.load(Ordering::Relaxed) >= 20).await;
    assert_eq!(agent.accepted.load(Ordering::Relaxed), 1);
    farm.wait_until(|status| status.gateways[0].state == State::Up).await;
}

fn report(sequence: u64, made: SystemTime) -> String {
    let state = AgentState {
        observed: made,
        service: ServiceState::Up,
        since: SystemTime::UNIX_EPOCH,
        checks: Vec::new(),
        load: Load::default(),
    };
    String::from_utf8(Report::of(&state, FenceSection::none(), "gw1", "boot", sequence).to_json().unwrap())
        .unwrap()
}

fn json(body: String) -> Response<Full<bytes::Bytes>> {
    Response::new(Full::new(body.into()))
}

#[tokio::test]
async fn a_replayed_report_is_a_failed_answer() {
    let reason = reason_when_the_agent_answers(Box::new(|_| json(report(7, SystemTime::now())))).await;
    assert_eq!(reason, "heartbeat: the report is old: its sequence is 7, and 7 has been seen");
}

#[tokio::test]
async fn a_stale_report_is_a_failed_answer() {
    let old = |n| json(report(n, SystemTime::now() - Duration::from_secs(60)));
    let reason = reason_when_the_agent_answers(Box::new(old)).await;
    assert!(reason.starts_with("heartbeat: the report is stale: it was made "), "{reason}");
}

#[tokio::test]
async fn a_report_of_an_unknown_version_is_a_failed_answer() {
    let newer = |n| json(report(n, SystemTime::now()).replace("\"version\":1", "\"version\":2"));
    let reason = reason_when_the_agent_answers(Box::new(newer)).await;
    assert_eq!(reason, "heartbeat: the report is of version 2; only version 1 is known");
}

#[tokio::test]
async fn an_error_instead_of_a_report_is_a_failed_answer() {
    let broken = |_| Response::builder().status(503).body(Full::default()).unwrap();
    let reason = reason_when_the_agent_answers(Box::new(broken)).await;
    assert_eq!(reason, "heartbeat: 503 Service Unavailable instead of a report");
}

#[tokio::test]
async fn a_flood_instead_of_a_report_is_a_failed_answer() {
    let flood = |_| json("x".repeat(5_000_000));
    let reason = reason_when_the_agent_answers(Box::new(flood)).await;
    assert!(reason.contains("larger than"), "{reason}");
}

#[tokio::test]
async fn an_agent_with_a_certificate_of_somebody_else_is_a_failed_answer() {
    let stranger = Running::farm(1).await;
    let farm = Running::with(1, |settings| {
        // the page of a gateway of another farm: its certificate is of another authority
        let endpoint = Endpoint::parse(&stranger.pages[0].to_string(), 443).unwrap();
        let heartbeat = settings.probes[0].heartbeat.as_mut().unwrap();
        heartbeat.site = endpoint.into();
    })
    .await;
    let status = farm.wait_until(|status| status.gateways[0].state == State::Down).await;
    let reason = &status.gateways[0].reason;
    assert!(reason.starts_with("heartbeat: TLS: invalid peer certificate"), "{reason}");
}

#[tokio::test]
async fn a_gateway_that_was_never_seen_in_order_gets_nobody() {
    let farm = Running::with(2, |settings| {
        settings.probes[0].checks[0].site = Endpoint::parse("127.0.0.1:1", 443).unwrap().into();
        settings.fleet.thresholds.fall = std::num::NonZeroU32::new(1_000_000).unwrap();
    })
    .await;
    let status = farm.wait_until(|status| status.gateways[1].state == State::Up).await;
    assert_eq!(status.gateways[0].state, State::Unknown);
    assert_eq!(farm.gateway_chosen().await, Some(1));
}
