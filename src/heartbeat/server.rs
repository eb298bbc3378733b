use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::HeartbeatError;
use super::boot_id::BootId;
use super::fence::Fence;
use super::learned::{self, CHECKS_FROM};
use super::metrics::{self, Metrics};
use super::orders;
use super::report::{FenceSection, Report};
use super::state::AgentState;
use crate::net::serve::{Door, Peer, serve};
use crate::net::stop::Stop;

/// Answers front doors with the latest `state`, whoever brings it about, until told to stop.
///
/// `tls` asks for client certificates; without it everyone who can connect is answered, so `listener` had
/// better be on loopback. When the sender of `state` is gone, nobody vouches for it any more: reports and
/// `/healthz` are then answered with 503.
///
/// # Errors
/// If this machine has no random numbers, or the metrics cannot be set up; both before anything is served.
pub async fn serve_state(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    name: Arc<str>,
    state: watch::Receiver<AgentState>,
    stop: Stop,
) -> Result<(), HeartbeatError> {
    serve_agent(listener, tls, name, state, None, stop).await
}

/// The same where there may be a fence: reports tell of it, and front doors give it orders.
pub(super) async fn serve_agent(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    name: Arc<str>,
    state: watch::Receiver<AgentState>,
    fence: Option<Arc<Fence>>,
    stop: Stop,
) -> Result<(), HeartbeatError> {
    let metrics = Metrics::new(state.clone(), fence.clone()).map_err(HeartbeatError::Metrics)?;
    let (boot_id, sequence) = (BootId::random()?, AtomicU64::new(0));
    let served = Served { name, boot_id, sequence, state, fence, metrics };
    serve(Door::Tcp(listener, tls), router(served), stop).await;
    Ok(())
}

struct Served {
    name: Arc<str>,
    boot_id: BootId,
    /// Of the last report served.
    sequence: AtomicU64,
    state: watch::Receiver<AgentState>,
    fence: Option<Arc<Fence>>,
    metrics: Metrics,
}

impl Served {
    /// The latest state, as long as somebody keeps it up to date.
    fn state(&self) -> Option<AgentState> {
        // a sender that is gone shows as an error
        self.state.has_changed().is_ok().then(|| self.state.borrow().clone())
    }
}

// No timeout and no load shedding here: nothing in these answers waits but for orders, which have theirs, and the
// server loop bounds how many are under way.
fn router(served: Served) -> Router {
    let orders = orders::router(served.fence.clone());
    Router::new()
        .route("/v1/report", get(report))
        .route("/metrics", get(metrics_text))
        .route("/healthz", get(healthz))
        .with_state(Arc::new(served))
        .merge(orders)
}

async fn report(
    State(served): State<Arc<Served>>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
) -> Response {
    if let (Some(fence), Some(Extension(peer))) = (&served.fence, &peer) {
        learn(fence, peer, &headers);
    }
    let Some(state) = served.state() else { return not_kept_up() };
    let sequence = served.sequence.fetch_add(1, Ordering::Relaxed).saturating_add(1);
    let fence = served.fence.as_ref().map_or_else(FenceSection::none, |fence| fence.section());
    let report = Report::of(&state, fence, &served.name, served.boot_id.as_str(), sequence);
    match report.to_json() {
        Ok(json) => {
            served.metrics.reports.inc();
            let headers = [
                (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
                (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
            ];
            (headers, json).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "a report could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Whoever asks with a certificate is a front door, and checks this gateway from where it asks and from where it
/// says.
fn learn(fence: &Fence, peer: &Peer, headers: &HeaderMap) {
    let (Some(front_door), Some(address)) = (peer.names.first(), peer.address) else { return };
    let told = headers.get(CHECKS_FROM).and_then(|told| told.to_str().ok()).unwrap_or_default();
    fence.learn(front_door, std::iter::once(address.ip()).chain(learned::read(told)));
}

async fn metrics_text(State(served): State<Arc<Served>>) -> Response {
    match served.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn healthz(State(served): State<Arc<Served>>) -> Response {
    if served.state().is_some() { "ok\n".into_response() } else { not_kept_up() }
}

fn not_kept_up() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "the state of this gateway is not kept up to date\n").into_response()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use axum::body::Body;
    use http::Request;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;
    use crate::fleet::Load;
    use crate::heartbeat::state::ServiceState;

    fn agent() -> (watch::Sender<AgentState>, Router) {
        let state = AgentState {
            observed: SystemTime::UNIX_EPOCH,
            service: ServiceState::Draining,
            since: SystemTime::UNIX_EPOCH,
            checks: Vec::new(),
            load: Load { tunnels: Some(3), ..Load::default() },
        };
        let (sender, receiver) = watch::channel(state);
        let metrics = Metrics::new(receiver.clone(), None).unwrap();
        let boot_id = BootId::random().unwrap();
        let sequence = AtomicU64::new(0);
        let name = "gw1".into();
        (sender, router(Served { name, boot_id, sequence, state: receiver, fence: None, metrics }))
    }

    async fn answer(router: &Router, path: &str) -> (StatusCode, Vec<u8>) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let answer = router.clone().oneshot(request).await.unwrap();
        (answer.status(), answer.into_body().collect().await.unwrap().to_bytes().to_vec())
    }

    #[tokio::test]
    async fn every_report_is_the_latest_state_and_counted() {
        let (sender, router) = agent();
        let first = Report::parse(&answer(&router, "/v1/report").await.1).unwrap();
        assert_eq!((first.name.as_str(), first.sequence, first.load.tunnels), ("gw1", 1, Some(3)));
        assert_eq!(first.service.state, ServiceState::Draining);
        assert_eq!(first.fence, Some(FenceSection::none()));
        sender.send_modify(|state| state.load.tunnels = Some(4));
        let second = Report::parse(&answer(&router, "/v1/report").await.1).unwrap();
        assert_eq!((second.sequence, second.load.tunnels), (2, Some(4)));
        assert_eq!(first.boot_id, second.boot_id);
        let metrics = String::from_utf8(answer(&router, "/metrics").await.1).unwrap();
        assert!(metrics.contains("vestibule_agent_reports_total 2\n"));
    }

    #[tokio::test]
    async fn the_time_of_a_report_is_that_of_the_round_and_not_of_the_answer() {
        let (sender, router) = agent();
        let time = async || Report::parse(&answer(&router, "/v1/report").await.1).unwrap().time;
        let first = time().await;
        assert_eq!(first.to_system_time(), SystemTime::UNIX_EPOCH);
        assert_eq!(time().await, first);
        let next_round = SystemTime::UNIX_EPOCH + Duration::from_secs(2);
        sender.send_modify(|state| state.observed = next_round);
        assert_eq!(time().await.to_system_time(), next_round);
    }

    #[tokio::test]
    async fn a_state_that_nobody_keeps_up_to_date_is_not_served() {
        let (sender, router) = agent();
        assert_eq!(answer(&router, "/healthz").await.0, StatusCode::OK);
        drop(sender);
        for path in ["/v1/report", "/healthz"] {
            assert_eq!(answer(&router, path).await.0, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        }
    }

    #[tokio::test]
    async fn there_is_nothing_else() {
        let (_sender, router) = agent();
        assert_eq!(answer(&router, "/").await.0, StatusCode::NOT_FOUND);
    }
}
