//! What front doors order: `PUT` and `DELETE` of `/v1/fence/{by}` and `/v1/keep-open/{by}` (contracts/heartbeat.md).

use std::sync::Arc;
use std::time::Duration;

use axum::error_handling::HandleErrorLayer;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::put;
use axum::{BoxError, Extension, Json, Router};
use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use tower::ServiceBuilder;
use tower::timeout::TimeoutLayer;

use super::fence::{Fence, FenceError};
use super::leases::{MAX_NAME, MOST};
use super::report::FenceSection;
use super::text::one_line;
use crate::fleet::SELF;
use crate::net::serve::Peer;

/// The orders for this fence; where there is none, they are refused.
pub(super) fn router(fence: Option<Arc<Fence>>) -> Router {
    // the firewall takes its time, and so may a body
    let bounds = ServiceBuilder::new()
        .layer(HandleErrorLayer::new(async |_: BoxError| Refused {
            status: StatusCode::SERVICE_UNAVAILABLE,
            error: "the firewall does not answer; it is tried again each second".to_owned(),
        }))
        .layer(TimeoutLayer::new(TIMEOUT));
    Router::new()
        .route("/v1/fence/{by}", put(hold).delete(give_up))
        .route("/v1/keep-open/{by}", put(keep_open).delete(close))
        .layer(DefaultBodyLimit::max(MAX_ORDER_BYTES))
        .layer(bounds)
        .with_state(fence)
}

/// The longest order that is read: as many names as there can be, in any script, and a reason.
const MAX_ORDER_BYTES: usize = 16 * 1024;
/// Longer than the firewall takes when all is well; front doors wait for no longer than for a check.
const TIMEOUT: Duration = Duration::from_secs(5);

type Fenced = State<Option<Arc<Fence>>>;
type Asking = Option<Extension<Peer>>;
type Body = Result<Bytes, BytesRejection>;
type Answer = Result<Json<FenceSection>, Refused>;

async fn hold(State(fence): Fenced, peer: Asking, Path(by): Path<String>, body: Body) -> Answer {
    let fence = admit(fence, peer, &by)?;
    let order = Order::read(body)?;
    let reason = order.reason.as_deref().ok_or_else(|| Refused::misunderstood("missing field `reason`"))?;
    Ok(Json(fence.hold(&by, reason, order.lease(), order.kept_open_by.as_deref()).await?))
}

async fn give_up(State(fence): Fenced, peer: Asking, Path(by): Path<String>) -> Answer {
    Ok(Json(admit(fence, peer, &by)?.give_up(&by).await?))
}

async fn keep_open(State(fence): Fenced, peer: Asking, Path(by): Path<String>, body: Body) -> Answer {
    let fence = admit(fence, peer, &by)?;
    let order = Order::read(body)?;
    Ok(Json(fence.keep_open(&by, order.lease()).await?))
}

async fn close(State(fence): Fenced, peer: Asking, Path(by): Path<String>) -> Answer {
    Ok(Json(admit(fence, peer, &by)?.close(&by).await?))
}

/// The fence that it is about, if the one who asks may speak in that name.
fn admit(fence: Option<Arc<Fence>>, peer: Asking, by: &str) -> Result<Arc<Fence>, Refused> {
    let is_its_name = peer.is_some_and(|Extension(peer)| peer.names.iter().any(|name| name == by));
    if by == SELF || !is_its_name {
        let error = "only a front door whose client certificate has this name may say so";
        return Err(Refused { status: StatusCode::FORBIDDEN, error: error.to_owned() });
    }
    if one_line(by, MAX_NAME) != by {
        return Err(Refused::misunderstood("the name must be one line of 64 characters at most"));
    }
    let error = "this agent has no fence";
    fence.ok_or_else(|| Refused { status: StatusCode::CONFLICT, error: error.to_owned() })
}

/// The body of an order that lasts for a time.
#[derive(Deserialize)]
struct Order {
    reason: Option<String>,
    lease_seconds: u64,
    /// Whom the one who wants a block knows to keep the gateway open; without it the order has no condition.
    kept_open_by: Option<Vec<String>>,
}

impl Order {
    fn read(body: Body) -> Result<Self, Refused> {
        let body =
            body.map_err(|rejection| Refused { status: rejection.status(), error: rejection.body_text() })?;
        let order: Self = serde_json::from_slice(&body)
            .map_err(|error| Refused::misunderstood(&one_line(&error.to_string(), 200)))?;
        if !(1..=3600).contains(&order.lease_seconds) {
            return Err(Refused::misunderstood("lease_seconds must be from 1 to 3600"));
        }
        let known = order.kept_open_by.as_deref().unwrap_or_default();
        if known.len() > MOST || known.iter().any(|name| one_line(name, MAX_NAME) != *name) {
            return Err(Refused::misunderstood(
                "kept_open_by must be 32 names at most, each one line of 64 characters at most",
            ));
        }
        Ok(order)
    }

    fn lease(&self) -> Duration {
        Duration::from_secs(self.lease_seconds)
    }
}

/// Why an order is not carried out.
struct Refused {
    status: StatusCode,
    error: String,
}

impl Refused {
    fn misunderstood(error: &str) -> Self {
        Self { status: StatusCode::BAD_REQUEST, error: error.to_owned() }
    }
}

impl From<FenceError> for Refused {
    fn from(error: FenceError) -> Self {
        let status = match error {
            FenceError::KeptOpen(_) => StatusCode::PRECONDITION_FAILED,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self { status, error: error.to_string() }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.status, Json(serde_json::json!({ "error": self.error }))).into_response()
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::Request;
    use tower::ServiceExt;

    use super::*;
    use crate::heartbeat::fence::{FenceSettings, Legacy, OnExit};
    use crate::net::firewall::{self, Connections, Engine, RejectWith};

    /// A fence to ask in vain: an order that came through would be set in the firewall of this very machine.
    async fn fence() -> Arc<Fence> {
        let refusal = firewall::Fence {
            ports: Vec::new(),
            connections: Connections::New,
            reject_with: RejectWith::TcpReset,
            exempt: Vec::new(),
            spare: Vec::new(),
        };
        let lease = Duration::from_secs(15);
        let settings = FenceSettings { engine: Engine::Nftables, refusal, lease, on_exit: OnExit::Remove };
        Fence::after(Legacy::default(), Some(settings), Duration::from_secs(1)).await.unwrap().unwrap()
    }

    fn front_a() -> Peer {
        Peer {
            address: None,
            user: None,
            names: Arc::from(["front-a".to_owned(), "front-a.example.com".to_owned()]),
        }
    }

    async fn status(
        fence: Option<Arc<Fence>>,
        peer: Option<Peer>,
        method: &str,
        path: &str,
        body: &str,
    ) -> StatusCode {
        let mut request =
            Request::builder().method(method).uri(path).body(Body::from(body.to_owned())).unwrap();
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        router(fence).oneshot(request).await.unwrap().status()
    }

    const GOOD: &str = "{\"reason\": \"refused\", \"lease_seconds\": 15}";
    const PATHS: [&str; 2] = ["/v1/fence", "/v1/keep-open"];

    #[tokio::test]
    async fn nobody_speaks_in_the_name_of_another() {
        let nameless = Peer::nameless(None);
        let itself = Peer { address: None, user: None, names: Arc::from([SELF.to_owned()]) };
        for method in ["PUT", "DELETE"] {
            for path in PATHS {
                for (peer, by) in [
                    (Some(front_a()), "front-b"),
                    (Some(front_a()), "front-"),
                    (Some(front_a()), "FRONT-A"),
                    (Some(nameless.clone()), "front-a"),
                    (None, "front-a"),
                    (Some(itself.clone()), SELF),
                ] {
                    let told = status(Some(fence().await), peer, method, &format!("{path}/{by}"), GOOD).await;
                    assert_eq!(told, StatusCode::FORBIDDEN, "{method} {path}/{by}");
                }
            }
        }
    }

    #[tokio::test]
    async fn an_agent_without_a_fence_says_so() {
        for by in ["front-a", "front-a.example.com", "%66ront-a"] {
            for path in PATHS {
                let told = status(None, Some(front_a()), "PUT", &format!("{path}/{by}"), GOOD).await;
                assert_eq!(told, StatusCode::CONFLICT);
                let told = status(None, Some(front_a()), "DELETE", &format!("{path}/{by}"), "").await;
                assert_eq!(told, StatusCode::CONFLICT);
            }
        }
    }

    #[tokio::test]
    async fn an_order_that_is_not_understood_is_refused() {
        let fence = fence().await;
        let told = async |path: &str, body: &str| {
            status(Some(Arc::clone(&fence)), Some(front_a()), "PUT", path, body).await
        };
        for body in [
            "",
            "{}",
            "null",
            "{\"reason\": \"x\", \"lease_seconds\": 0}",
            "{\"reason\": \"x\", \"lease_seconds\": 3601}",
            "{\"reason\": \"x\", \"lease_seconds\": -1}",
            "{\"reason\": \"x\", \"lease_seconds\": 1.5}",
            "{\"reason\": \"x\", \"lease_seconds\": \"15\"}",
            "{\"reason\": 1, \"lease_seconds\": 15}",
            "{\"reason\": \"x\", \"lease_seconds\": 15} more",
        ] {
            for path in PATHS {
                assert_eq!(told(&format!("{path}/front-a"), body).await, StatusCode::BAD_REQUEST, "{body}");
            }
        }
        let knows = |names: &[String]| {
            let names = serde_json::to_string(names).unwrap();
            format!("{{\"reason\": \"x\", \"lease_seconds\": 15, \"kept_open_by\": {names}}}")
        };
        let longest = "\u{10348}".repeat(MAX_NAME);
        for names in
            [vec![longest.clone() + "n"], vec!["two\nlines".to_owned()], vec![String::new(); MOST + 1]]
        {
            assert_eq!(told("/v1/fence/front-a", &knows(&names)).await, StatusCode::BAD_REQUEST);
        }
        for wrong in ["\"front-b\"", "[1]", "{}"] {
            let body = knows(&[]).replace("[]", wrong);
            assert_eq!(told("/v1/fence/front-a", &body).await, StatusCode::BAD_REQUEST, "{body}");
        }
        // a block has a reason
        assert_eq!(told("/v1/fence/front-a", "{\"lease_seconds\": 15}").await, StatusCode::BAD_REQUEST);
        let long = format!("{{\"reason\": \"{}\", \"lease_seconds\": 15}}", "x".repeat(MAX_ORDER_BYTES));
        assert_eq!(told("/v1/fence/front-a", &long).await, StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[test]
    fn an_order_may_say_of_as_many_as_an_agent_remembers_that_they_keep_the_gateway_open() {
        let names = vec!["\u{10348}".repeat(MAX_NAME); MOST];
        let order =
            serde_json::json!({ "reason": "x", "lease_seconds": 15, "kept_open_by": names }).to_string();
        assert!(order.len() < MAX_ORDER_BYTES);
        assert_eq!(Order::read(Ok(order.into())).ok().unwrap().kept_open_by, Some(names));
        assert_eq!(Order::read(Ok(GOOD.into())).ok().unwrap().kept_open_by, None);
    }

    #[test]
    fn a_block_that_is_not_begun_since_the_gateway_is_kept_open_is_a_conflict_and_says_so() {
        let refused = Refused::from(FenceError::KeptOpen("front-b".into()));
        let text = "front-b keeps this gateway open, and the order does not know of it; nothing is blocked";
        assert_eq!((refused.status, &*refused.error), (StatusCode::PRECONDITION_FAILED, text));
    }

    #[tokio::test]
    async fn a_name_that_no_report_could_show_is_refused() {
        let long = "n".repeat(MAX_NAME + 1);
        let peer = Peer { address: None, user: None, names: Arc::from([long.clone()]) };
        let told = status(None, Some(peer), "PUT", &format!("/v1/fence/{long}"), GOOD).await;
        assert_eq!(told, StatusCode::BAD_REQUEST);
    }

    #[tokio::test]
    async fn other_methods_are_not_known() {
        let told = status(Some(fence().await), Some(front_a()), "GET", "/v1/fence/front-a", "").await;
        assert_eq!(told, StatusCode::METHOD_NOT_ALLOWED);
    }
}
