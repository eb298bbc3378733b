use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;

use super::account::Account;
use super::task::Posture;
use crate::fleet::{Memory, View};
use crate::net::serve::{Door, serve};
use crate::net::stop::Stop;

/// What a front door's account is made of.
#[derive(Clone, Debug)]
pub struct Accounts {
    /// Its name.
    pub name: Arc<str>,
    /// Another number in each process.
    pub life: u64,
    /// Whether it is the active one.
    pub posture: watch::Receiver<Posture>,
    /// What it has been told and has decided.
    pub memory: watch::Receiver<Arc<Memory>>,
    /// The farm.
    pub view: View,
}

/// Answers the other front doors until told to stop: whoever has a certificate for clients of the authority that `tls`
/// asks for.
///
/// `GET /v1/account` is answered at once. With `Prefer: wait=SECONDS` (RFC 7240 §4.3) and `If-None-Match: TAG` (RFC 9110
/// §13.1.2) the answer waits until the account is another than the one that came with that `ETag`, newcomers aside, but no
/// longer than that, and never longer than 2 s. It is the whole account in any case: newcomers come all the time.
pub async fn serve_accounts(listener: TcpListener, tls: Arc<ServerConfig>, accounts: Accounts, stop: Stop) {
    serve(Door::Tcp(listener, Some(tls)), router(accounts, stop.clone()), stop).await;
}

// How many are waiting is bounded by the server loop.
fn router(accounts: Accounts, stop: Stop) -> Router {
    Router::new().route("/v1/account", get(account)).with_state((accounts, stop))
}

/// Longer than anybody needs to wait: each one who does costs a connection.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

async fn account(State((mut accounts, mut stop)): State<(Accounts, Stop)>, headers: HeaderMap) -> Response {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let known = text(header::IF_NONE_MATCH);
    let wait = text(PREFER).and_then(|prefer| prefer.strip_prefix("wait=")?.parse().ok()).unwrap_or(0);
    let deadline = Instant::now() + Duration::from_secs(wait).min(LONGEST_WAIT);
    let mut is_over = false;
    loop {
        accounts.posture.mark_unchanged();
        accounts.memory.mark_unchanged();
        let (account, tag) = match accounts.now() {
            Ok(now) => now,
            Err(error) => {
                tracing::error!(%error, "what the other front door asks for could not be written");
                return StatusCode::INTERNAL_SERVER_ERROR.into_response();
            }
        };
        if is_over || Some(&*tag) != known || Instant::now() >= deadline {
            return answer(account, &tag);
        }
        // errors, too, mean that this front door ends: what is known is told without waiting
        is_over = tokio::select! {
            changed = accounts.posture.changed() => changed.is_err(),
            changed = accounts.memory.changed() => changed.is_err(),
            () = tokio::time::sleep_until(deadline) => true,
            () = stop.stopped() => true,
        };
    }
}

/// RFC 7240 §2.
pub const PREFER: HeaderName = HeaderName::from_static("prefer");

fn answer(account: Vec<u8>, tag: &str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::ETAG, HeaderValue::from_str(tag).unwrap_or(HeaderValue::from_static("\"\""))),
    ];
    (headers, account).into_response()
}

impl Accounts {
    /// The account as it is now, and its tag.
    fn now(&mut self) -> Result<(Vec<u8>, String), serde_json::Error> {
        let Posture { active, holds } = self.posture.borrow().clone();
        let memory = Memory::clone(&self.memory.borrow());
        let account = Account {
            front_door: Arc::clone(&self.name),
            life: self.life,
            active,
            holds,
            memory,
            pending: Vec::new(),
        };
        let mut hasher = DefaultHasher::new();
        hasher.write(&account.to_json()?);
        let tag = format!("\"{:016x}\"", hasher.finish());
        let gateways = self.view.load().gateways.iter();
        let pending = gateways.map(|view| (view.gateway.name.clone(), view.own_pending()));
        let pending = pending.filter(|(_, count)| *count > 0).collect();
        Ok((Account { pending, ..account }.to_json()?, tag))
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use axum::body::Body;
    use http::Request;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;
    use crate::fleet::{
        FleetSettings, Gateway, GatewayName, Moment, Publisher, Roster, Thresholds, VrrpId, Weights,
    };
    use crate::net::stop::{self, Stopper};

    struct Front {
        router: Router,
        posture: watch::Sender<Posture>,
        memory: watch::Sender<Arc<Memory>>,
        view: View,
        stopper: Stopper,
    }

    fn front() -> Front {
        let now = Moment { instant: std::time::Instant::now(), wall: SystemTime::UNIX_EPOCH };
        let one = std::num::NonZeroU32::MIN;
        let settings = FleetSettings {
            gateways: vec![
                Arc::new(Gateway::plain("gw1", "10.0.0.1")),
                Arc::new(Gateway::plain("gw2", "10.0.0.2")),
            ],
            thresholds: Thresholds { rise: one, fall: one },
            weights: Weights::default(),
            balance: Default::default(),
        };
        let view = Publisher::new(Roster::new(settings, now).snapshot()).view();
        let (posture, postures) =
            watch::channel(Posture { active: true, holds: vec![VrrpId::new(31).unwrap()] });
        let (memory, memories) = watch::channel(Arc::default());
        let name = "front-a".into();
        let accounts = Accounts { name, life: 7, posture: postures, memory: memories, view: view.clone() };
        let (stopper, stop) = stop::channel();
        Front { router: router(accounts, stop), posture, memory, view, stopper }
    }

    async fn ask(router: &Router, known: &str, wait: u64) -> (String, Account) {
        let request = Request::get("/v1/account").header(header::IF_NONE_MATCH, known);
        let request = request.header(PREFER, format!("wait={wait}")).body(Body::empty()).unwrap();
        let answer = router.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let tag = answer.headers()[header::ETAG].to_str().unwrap().to_owned();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (tag, Account::parse(&body).unwrap())
    }

    #[tokio::test]
    async fn an_account_tells_how_things_stand_now() {
        let mut front = front();
        let (tag, account) = ask(&front.router, "", 0).await;
        assert_eq!((&*account.front_door, account.life, account.active), ("front-a", 7, true));
        assert!(account.pending.is_empty());
        for _ in 0..3 {
            front.view.load().gateways[1].assigned.add();
        }
        let (same_tag, account) = ask(&front.router, "", 0).await;
        assert_eq!(account.pending, [(GatewayName::new("gw2"), 3)]);
        assert_eq!(same_tag, tag, "newcomers come all the time");
        front.posture.send_replace(Posture::default());
        let (other_tag, account) = ask(&front.router, "", 0).await;
        assert!(!account.active && account.holds.is_empty());
        assert_ne!(other_tag, tag);
    }

    #[tokio::test(start_paused = true)]
    async fn who_knows_it_already_is_answered_when_it_changes_or_when_the_time_is_over() {
        let front = front();
        let (tag, _) = ask(&front.router, "", 0).await;
        let started = Instant::now();
        let (same, _) = ask(&front.router, &tag, 1).await;
        assert_eq!((same == tag, started.elapsed().as_millis()), (true, 1_000));
        ask(&front.router, &tag, u64::MAX).await;
        assert_eq!(started.elapsed().as_millis(), 3_000);
        ask(&front.router, "\"another\"", 1).await;
        assert_eq!(started.elapsed().as_millis(), 3_000);
        let waiting = ask(&front.router, &tag, 1);
        let change = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let actives = vec![(None, GatewayName::new("gw2"))];
            front.memory.send_replace(Arc::new(Memory { words: Vec::new(), actives }));
        };
        let ((other, account), ()) = tokio::join!(waiting, change);
        assert_ne!(other, tag);
        assert_eq!((account.memory.actives.len(), started.elapsed().as_millis()), (1, 3_100));
    }

    #[tokio::test]
    async fn a_front_door_that_ends_keeps_nobody_waiting() {
        for is_told in [true, false] {
            let Front { router, posture, memory, view: _view, stopper } = front();
            let (tag, _) = ask(&router, "", 0).await;
            if is_told {
                stopper.stop();
            } else {
                drop((posture, memory));
            }
            let answered = tokio::time::timeout(Duration::from_secs(1), ask(&router, &tag, 2)).await;
            assert!(answered.is_ok(), "{is_told}");
        }
    }

    #[tokio::test]
    async fn there_is_nothing_else() {
        for path in ["/", "/metrics", "/v1/report"] {
            let request = Request::get(path).body(Body::empty()).unwrap();
            assert_eq!(
                front().router.oneshot(request).await.unwrap().status(),
                StatusCode::NOT_FOUND,
                "{path}"
            );
        }
    }
}
