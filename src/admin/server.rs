//! The admin endpoint: health, readiness, metrics, status and orders over HTTP.

use std::sync::Arc;
use std::time::Duration;

use axum::body::to_bytes;
use axum::error_handling::HandleErrorLayer;
use axum::extract::{Path, Request, State};
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{BoxError, Extension, Json, Router};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, StatusCode};
use prometheus::{Registry, TEXT_FORMAT, TextEncoder};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tower::ServiceBuilder;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::load_shed::LoadShedLayer;
use tower::timeout::TimeoutLayer;

use super::guard::{By, Guard, MAX_BODY_BYTES, guard};
use super::order::{AdminOrder, Change, Changed, DrainBody, ErrorBody, Reason, Reloaded, Stored, Wanted};
use super::page;
use super::recorder::Recorder;
use super::reply::refused;
use super::scene::Scene;
use super::status::Status;
use super::stream;
use super::trust::Trust;
use super::why::{Question, QuestionError, Why};
use crate::fleet::GatewayName;
use crate::net::clock::now;
use crate::net::stop::Stop;

/// What the endpoint tells of, and where orders go.
pub struct Admin {
    /// The present.
    pub scene: Scene,
    /// The past.
    pub recorder: Recorder,
    /// The metrics.
    pub registry: Registry,
    /// Whoever carries out orders.
    pub orders: mpsc::Sender<AdminOrder>,
    /// Ends the streams of events.
    pub stop: Stop,
    /// For those who look on.
    pub places: Arc<Semaphore>,
    /// For what [`Admin::aside`] does.
    pub desk: Arc<Semaphore>,
}

impl Admin {
    /// All requests of the endpoint, under the rules of `trust`. Whoever serves it must put a [`Peer`] into
    /// each request's extensions, as [`crate::net::serve`] does; without one, a request is not trusted.
    pub fn router(self, trust: Trust) -> Router {
        let bounds = |most| {
            ServiceBuilder::new()
                .layer(HandleErrorLayer::new(out_of_bounds))
                .layer(LoadShedLayer::new())
                // one limit for all routes: a layer makes its own for each
                .layer(GlobalConcurrencyLimitLayer::new(most))
                .layer(TimeoutLayer::new(TIMEOUT))
        };
        // all who look on ask at the same moment, when something has happened, and wait for one another
        let long = page::router()
            .route("/metrics", get(metrics))
            .route("/api/v1/status", get(status))
            .route("/api/v1/why", get(why))
            .layer(bounds(MAX_LONG_REQUESTS));
        Router::new()
            .route("/healthz", get(async || "ok\n"))
            .route("/readyz", get(readiness))
            .route("/api/v1/events", get(stream::events))
            .route("/api/v1/reload", post(reload))
            .route("/api/v1/gateways/{name}/drain", post(drain))
            .route("/api/v1/gateways/{name}/resume", post(resume))
            .layer(bounds(MAX_REQUESTS))
            .merge(long)
            .fallback(page::nothing_here)
            .method_not_allowed_fallback(page::wrong_method)
            .with_state(Arc::new(self))
            // before there is a place: who shows no token, and takes his time over it, must not take one from those who do,
            // nor from whoever asks on the socket whether this front door is fit
            .layer(from_fn_with_state(Guard::new(trust), guard))
            .layer(map_response(secured))
    }

    /// What the doors would choose now, and why.
    pub fn why(&self, question: &Question) -> Result<Why, QuestionError> {
        let snapshot = Arc::clone(self.scene.farm.clone().load());
        let why = Why::of(&snapshot, &(self.scene.listeners)(), question, now(), fastrand::u64(..))?;
        Ok(why.sharing(&(self.scene.vrrp)()))
    }

    /// Makes an answer that is long where the farm is large, one at a time and beside the thread of the control plane: there
    /// others have deadlines to keep, who probe gateways and follow the virtual addresses.
    pub(super) async fn aside(
        self: &Arc<Self>,
        make: impl FnOnce(&Self) -> Response + Send + 'static,
    ) -> Response {
        let turn = Arc::clone(&self.desk).acquire_owned().await;
        let admin = Arc::clone(self);
        let made = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            make(&admin)
        });
        made.await.unwrap_or_else(|error| {
            tracing::error!(%error, "an answer could not be made");
            refused(StatusCode::INTERNAL_SERVER_ERROR, "the answer could not be made; see the log")
        })
    }

    /// How things stand, with the past.
    pub fn status(&self) -> Status {
        self.recorder.complete(self.scene.status())
    }
}

/// Requests at work at the same time; more are turned away at once.
const MAX_REQUESTS: usize = 32;
/// The same of those that [`Admin::aside`] answers. They have places of their own, so that nobody who asks whether this
/// front door is fit, or drains a gateway, is turned away because many look on.
const MAX_LONG_REQUESTS: usize = 128;
/// Longer than a reload takes, shorter than the client waits for one.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

async fn readiness(State(admin): State<Arc<Admin>>) -> Response {
    // the past is no part of the answer
    let reasons = admin.scene.status().unfitness();
    if reasons.is_empty() {
        return "ready\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n").into_response()
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    let write = |admin: &Admin| match TextEncoder::new().encode_to_string(&admin.registry.gather()) {
        Ok(text) => ([(CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be written");
            refused(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written; see the log")
        }
    };
    admin.aside(write).await
}

async fn status(State(admin): State<Arc<Admin>>) -> Response {
    admin.aside(|admin| Json(admin.status()).into_response()).await
}

async fn why(State(admin): State<Arc<Admin>>, request: Request) -> Response {
    let question = Question::parse(request.uri().query().unwrap_or_default());
    let explain = |admin: &Admin| match question.and_then(|question| admin.why(&question)) {
        Ok(why) => Json(why).into_response(),
        Err(error @ QuestionError::UnknownListener(_)) => refused(StatusCode::NOT_FOUND, &error.to_string()),
        Err(error) => refused(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    admin.aside(explain).await
}

const STOPPING: &str = "the front door is stopping and takes no orders";

async fn drain(
    State(admin): State<Arc<Admin>>,
    Extension(By(by)): Extension<By>,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    let Ok(bytes) = to_bytes(request.into_body(), MAX_BODY_BYTES).await else {
        return refused(StatusCode::PAYLOAD_TOO_LARGE, "the body is too long");
    };
    let body: DrainBody = match bytes.is_empty() {
        true => DrainBody::default(),
        false => match serde_json::from_slice(&bytes) {
            Ok(body) => body,
            Err(error) => {
                let text = format!("the body must be like {{\"reason\": \"new kernel\"}}, or empty: {error}");
                return refused(StatusCode::BAD_REQUEST, &text);
            }
        },
    };
    match Reason::new(&body.reason) {
        Ok(reason) => changed(admin.change(&name, Wanted::Drain(reason), by).await),
        Err(error) => refused(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

async fn resume(
    State(admin): State<Arc<Admin>>,
    Extension(By(by)): Extension<By>,
    Path(name): Path<String>,
) -> Response {
    changed(admin.change(&name, Wanted::Resume, by).await)
}

impl Admin {
    /// Has an order carried out; or says why not, with the status to answer with.
    pub(super) async fn change(
        &self,
        name: &str,
        wanted: Wanted,
        by: Arc<str>,
    ) -> Result<Changed, (StatusCode, String)> {
        let stopping = |_| (StatusCode::SERVICE_UNAVAILABLE, STOPPING.to_owned());
        let gateway = GatewayName::new(name);
        let (answer, answered) = oneshot::channel();
        let order = AdminOrder::Change(Change { gateway, wanted, by }, answer);
        self.orders.send(order).await.map_err(|_| stopping(()))?;
        let answered = answered.await.map_err(|_| stopping(()))?;
        let gateways = self.status().gateways;
        let names: Vec<_> = gateways.iter().map(|gateway| gateway.name.clone()).collect();
        // a reload may have taken it away in between
        match (answered, gateways.into_iter().find(|gateway| gateway.name == name)) {
            (Ok(stored), Some(gateway)) => {
                let warning = match stored {
                    Stored::Yes => None,
                    Stored::No(why) => {
                        Some(format!("this is in force, and forgotten when the front door ends: {why}"))
                    }
                };
                Ok(Changed { gateway, stored: warning.is_none(), warning })
            }
            (Err(_), _) | (Ok(_), None) => {
                let text = format!("there is no gateway of that name; there are: {}", names.join(", "));
                Err((StatusCode::NOT_FOUND, text))
            }
        }
    }
}

fn changed(outcome: Result<Changed, (StatusCode, String)>) -> Response {
    match outcome {
        Ok(changed) => Json(changed).into_response(),
        Err((status, text)) => refused(status, &text),
    }
}

async fn reload(State(admin): State<Arc<Admin>>, Extension(By(by)): Extension<By>) -> Response {
    let (answer, answered) = oneshot::channel();
    if admin.orders.send(AdminOrder::Reload(by, answer)).await.is_err() {
        return refused(StatusCode::SERVICE_UNAVAILABLE, STOPPING);
    }
    match answered.await {
        Ok(Ok(())) => Json(Reloaded { reloaded: true }).into_response(),
        Ok(Err(refusal)) => {
            let body = ErrorBody { error: refusal.to_string(), problems: refusal.problems };
            (StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response()
        }
        Err(_) => refused(StatusCode::SERVICE_UNAVAILABLE, STOPPING),
    }
}

/// Answers come from a moment and may tell of the inside: they are not to be kept, unless they say otherwise, nor to be
/// taken for something else than they say.
async fn secured(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

async fn out_of_bounds(error: BoxError) -> Response {
    if error.is::<tower::timeout::error::Elapsed>() {
        return refused(
            StatusCode::GATEWAY_TIMEOUT,
            "this took too long; an order may still be carried out, see the log",
        );
    }
    let mut response = refused(StatusCode::SERVICE_UNAVAILABLE, "too many requests at once; try again");
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::SocketAddr;

    use axum::body::Body;
    use http::Method;
    use http::header::{ALLOW, AUTHORIZATION, WWW_AUTHENTICATE};
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::super::events::{Kind, News};
    use super::super::listener::ListenerStatus;
    use super::super::metrics::FarmCollector;
    use super::super::order::ReloadRefused;
    use super::super::scene::Scene;
    use super::super::status::Node;
    use super::super::status::tests::{Farm, listener};
    use super::super::trust::Token;
    use super::*;
    use crate::fleet::{Publisher, View};
    use crate::net::clock::now;
    use crate::net::serve::Peer;
    use crate::net::stop::{self, Stopper};

    struct Endpoint {
        router: Router,
        orders: mpsc::Receiver<AdminOrder>,
        recorder: Recorder,
        stopper: Stopper,
    }

    struct Answer {
        status: StatusCode,
        headers: http::HeaderMap,
        body: String,
    }

    const UNIX: Option<SocketAddr> = None;

    fn tcp() -> Option<SocketAddr> {
        Some(SocketAddr::from(([127, 0, 0, 1], 40_000)))
    }

    /// A front door with one gateway and the token "secret".
    fn endpoint(gateway_is_up: bool, listeners: Vec<ListenerStatus>) -> Endpoint {
        let mut farm = Farm::new(1);
        farm.now = now();
        if gateway_is_up {
            farm.up(&["gw1"]);
        }
        let publisher = Publisher::new(farm.roster.snapshot());
        let registry = Registry::new();
        FarmCollector::register(&registry, publisher.view()).unwrap();
        let (admin, rest) = parts(publisher.view(), listeners, registry);
        let trust = Trust::new([127, 0, 0, 1].into(), Token::new("secret"), Vec::new());
        Endpoint { router: admin.router(trust), ..rest }
    }

    /// The endpoint before it has rules, and what belongs to it.
    fn parts(farm: View, listeners: Vec<ListenerStatus>, registry: Registry) -> (Admin, Endpoint) {
        let (sender, orders) = mpsc::channel(1);
        let (stopper, stop) = stop::channel();
        let recorder = Recorder::default();
        let admin = Admin {
            scene: Scene {
                node: Node { name: "front-a".into(), started: std::time::SystemTime::now() },
                farm,
                listeners: Arc::new(move || listeners.clone()),
                vrrp: Arc::new(Vec::new),
                peers: Arc::new(Vec::new),
            },
            recorder: recorder.clone(),
            registry,
            orders: sender,
            stop,
            places: stream::places(),
            desk: Arc::new(Semaphore::new(1)),
        };
        (admin, Endpoint { router: Router::new(), orders, recorder, stopper })
    }

    async fn ask(router: &Router, from: Option<SocketAddr>, method: Method, path: &str) -> Answer {
        ask_with(router, from, method, path, "").await
    }

    async fn ask_with(
        router: &Router,
        from: Option<SocketAddr>,
        method: Method,
        path: &str,
        authorization: &str,
    ) -> Answer {
        let mut request = http::Request::new(Body::empty());
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().unwrap();
        if !authorization.is_empty() {
            request.headers_mut().insert(AUTHORIZATION, authorization.parse().unwrap());
        }
        request.extensions_mut().insert(Peer::nameless(from));
        let (head, body) = router.clone().oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: head.status, headers: head.headers, body: String::from_utf8(body.into()).unwrap() }
    }

    fn error(answer: &Answer) -> ErrorBody {
        serde_json::from_str(&answer.body).unwrap()
    }

    #[tokio::test]
    async fn the_process_is_healthy_whatever_the_farm_is_like() {
        let answer = ask(&endpoint(false, vec![]).router, tcp(), Method::GET, "/healthz").await;
        assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, "ok\n"));
    }

    #[tokio::test]
    async fn what_is_long_in_a_large_farm_is_written_beside_the_thread_that_others_need() {
        let view = Publisher::new(Farm::new(1).roster.snapshot()).view();
        let (mut admin, _rest) = parts(view, vec![], Registry::new());
        let threads = Arc::new(std::sync::Mutex::new(Vec::new()));
        let seen = Arc::clone(&threads);
        admin.scene.listeners = Arc::new(move || {
            seen.lock().unwrap().push(std::thread::current().id());
            vec![listener("portal", 443)]
        });
        let router = admin.router(Trust::new([127, 0, 0, 1].into(), None, Vec::new()));
        for path in ["/", "/gateways/gw1", "/gateways/gw1/drain", "/why", "/api/v1/status", "/api/v1/why"] {
            assert_eq!(ask(&router, tcp(), Method::GET, path).await.status, StatusCode::OK, "{path}");
            let threads = std::mem::take(&mut *threads.lock().unwrap());
            assert!(!threads.is_empty(), "{path}");
            assert!(!threads.contains(&std::thread::current().id()), "{path}");
        }
    }

    #[tokio::test]
    async fn all_who_look_on_ask_at_once_and_neither_they_nor_who_asks_for_health_is_turned_away() {
        let view = Publisher::new(Farm::new(1).roster.snapshot()).view();
        let (admin, _rest) = parts(view, vec![], Registry::new());
        let somebody_s_turn = Arc::clone(&admin.desk).acquire_owned().await.unwrap();
        let router = admin.router(Trust::new([127, 0, 0, 1].into(), None, Vec::new()));
        let mut pages = tokio::task::JoinSet::new();
        for _ in 0..2 * MAX_REQUESTS {
            let router = router.clone();
            pages.spawn(async move { ask(&router, tcp(), Method::GET, "/").await.status });
        }
        tokio::task::yield_now().await;
        assert_eq!(ask(&router, UNIX, Method::GET, "/healthz").await.status, StatusCode::OK);
        drop(somebody_s_turn);
        while let Some(status) = pages.join_next().await {
            assert_eq!(status.unwrap(), StatusCode::OK);
        }
    }

    #[tokio::test]
    async fn why_is_answered_for_a_question_that_makes_sense() {
        let fit = endpoint(true, vec![listener("portal", 443)]);
        let answer = ask(&fit.router, tcp(), Method::GET, "/api/v1/why?listener=portal&vpn=&source=").await;
        assert_eq!(answer.status, StatusCode::OK);
        let why: Why = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(why.summary, "gw1 would be chosen: it is the only one available.");
        for (query, status, words) in [
            ("listener=x", StatusCode::NOT_FOUND, "there is no listener of that name; there are: portal"),
            ("vpn=x", StatusCode::BAD_REQUEST, "vpn must be 'native' or 'ssl'"),
            ("source=x", StatusCode::BAD_REQUEST, "source must be an IP address, like 192.0.2.1"),
        ] {
            let answer = ask(&fit.router, tcp(), Method::GET, &format!("/api/v1/why?{query}")).await;
            assert_eq!((answer.status, error(&answer).error.as_str()), (status, words));
        }
    }

    #[tokio::test]
    async fn readiness_has_a_line_for_each_reason_against_it() {
        let fit = endpoint(true, vec![listener("portal", 443)]);
        assert_eq!(ask(&fit.router, tcp(), Method::GET, "/readyz").await.status, StatusCode::OK);
        let closed = ListenerStatus { open: false, ..listener("portal", 443) };
        let answer = ask(&endpoint(false, vec![closed]).router, tcp(), Method::GET, "/readyz").await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(
            answer.body,
            "listener portal (62.168.1.203:443) is not open\n\
             listener portal (62.168.1.203:443) has no available gateway (gw1: no good check yet)\n"
        );
    }

    #[tokio::test]
    async fn metrics_are_prometheus_text() {
        let answer = ask(&endpoint(true, vec![]).router, tcp(), Method::GET, "/metrics").await;
        assert_eq!(answer.headers[CONTENT_TYPE], "text/plain; version=0.0.4");
        assert!(answer.body.contains("vestibule_gateway_up{gateway=\"gw1\",vpn=\"ssl\"} 1\n"));
    }

    #[tokio::test]
    async fn the_status_is_json_that_nobody_keeps() {
        let endpoint = endpoint(true, vec![listener("portal", 443)]);
        let answer = ask(&endpoint.router, tcp(), Method::GET, "/api/v1/status").await;
        let status: Status = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(status.summary, "The only gateway is up.");
        assert_eq!(status.listeners[0].available, 1);
        assert_eq!(answer.headers[CONTENT_TYPE], "application/json");
        assert_eq!(answer.headers[CACHE_CONTROL], "no-store");
        assert_eq!(answer.headers[X_CONTENT_TYPE_OPTIONS], "nosniff");
    }

    #[tokio::test]
    async fn a_reload_is_ordered_and_answered() {
        let Endpoint { router, mut orders, .. } = endpoint(true, vec![]);
        let carry_out = async {
            let Some(AdminOrder::Reload(_, answer)) = orders.recv().await else { panic!() };
            answer.send(Ok(())).unwrap();
            let Some(AdminOrder::Reload(_, answer)) = orders.recv().await else { panic!() };
            answer.send(Err(ReloadRefused { problems: vec!["vestibule.toml:1:1: no".into()] })).unwrap();
        };
        let ask_twice = async {
            let taken = ask(&router, UNIX, Method::POST, "/api/v1/reload").await;
            (taken, ask_with(&router, tcp(), Method::POST, "/api/v1/reload", "Bearer secret").await)
        };
        let ((taken, refused), ()) = tokio::join!(ask_twice, carry_out);
        assert_eq!((taken.status, taken.body.as_str()), (StatusCode::OK, "{\"reloaded\":true}"));
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(error(&refused).problems, ["vestibule.toml:1:1: no"]);
    }

    #[tokio::test]
    async fn an_order_to_a_front_door_that_stops_is_refused() {
        let Endpoint { router, orders, .. } = endpoint(true, vec![]);
        drop(orders);
        let answer = ask(&router, UNIX, Method::POST, "/api/v1/reload").await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    }

    #[tokio::test(start_paused = true)]
    async fn an_order_that_nobody_carries_out_ends_all_the_same() {
        let endpoint = endpoint(true, vec![]);
        let answer = ask(&endpoint.router, UNIX, Method::POST, "/api/v1/reload").await;
        assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
        assert_eq!(answer.headers[CACHE_CONTROL], "no-store");
    }

    #[tokio::test(start_paused = true)]
    async fn more_requests_than_there_is_room_for_are_turned_away_at_once() {
        let Endpoint { router, orders, .. } = endpoint(true, vec![]);
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..MAX_REQUESTS {
            let router = router.clone();
            waiting.spawn(async move { ask(&router, UNIX, Method::POST, "/api/v1/reload").await.status });
        }
        tokio::task::yield_now().await;
        let answer = ask(&router, UNIX, Method::GET, "/healthz").await;
        assert_eq!(
            (answer.status, &answer.headers[RETRY_AFTER]),
            (StatusCode::SERVICE_UNAVAILABLE, &HeaderValue::from_static("1"))
        );
        waiting.shutdown().await;
        assert_eq!(ask(&router, UNIX, Method::GET, "/healthz").await.status, StatusCode::OK);
        drop(orders);
    }

    #[tokio::test(start_paused = true)]
    async fn forms_that_never_end_keep_nobody_else_waiting_and_end_all_the_same() {
        let Endpoint { router, orders: _orders, .. } = endpoint(true, vec![]);
        let mut forms = tokio::task::JoinSet::new();
        for _ in 0..2 * MAX_REQUESTS {
            let mut request = http::Request::post("/gateways/gw1/drain")
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(Body::from_stream(futures_util::stream::pending::<Result<String, io::Error>>()))
                .unwrap();
            request.extensions_mut().insert(Peer::nameless(tcp()));
            forms.spawn(router.clone().oneshot(request));
        }
        tokio::task::yield_now().await;
        for from in [UNIX, tcp()] {
            assert_eq!(ask(&router, from, Method::GET, "/healthz").await.status, StatusCode::OK);
        }
        while let Some(answered) = forms.join_next().await {
            assert_eq!(answered.unwrap().unwrap().status(), StatusCode::REQUEST_TIMEOUT);
        }
    }

    #[tokio::test]
    async fn a_change_over_tcp_without_the_token_is_refused_and_never_reaches_the_front_door() {
        let Endpoint { router, mut orders, .. } = endpoint(true, vec![]);
        for authorization in ["", "Bearer wrong"] {
            let answer = ask_with(&router, tcp(), Method::POST, "/api/v1/reload", authorization).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
            let challenges: Vec<_> = answer.headers.get_all(WWW_AUTHENTICATE).iter().collect();
            assert_eq!(
                challenges,
                ["Bearer realm=\"vestibule\"", "Basic realm=\"vestibule\", charset=\"UTF-8\""]
            );
            assert!(error(&answer).error.contains("token_file"));
        }
        assert!(orders.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_front_door_without_a_token_says_what_to_do() {
        let view = Publisher::new(Farm::new(1).roster.snapshot()).view();
        let (admin, _rest) = parts(view, vec![], Registry::new());
        let router = admin.router(Trust::new([0, 0, 0, 0].into(), None, Vec::new()));
        let answer = ask(&router, tcp(), Method::GET, "/api/v1/status").await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        assert!(error(&answer).error.contains("set [admin] token_file"));
        assert_eq!(ask(&router, tcp(), Method::GET, "/metrics").await.status, StatusCode::OK);
    }

    #[tokio::test]
    async fn unknown_paths_and_wrong_methods_are_told_apart() {
        let router = endpoint(true, vec![]).router;
        let unknown = ask(&router, tcp(), Method::GET, "/api/v2/status").await;
        assert_eq!((unknown.status, error(&unknown).problems.len()), (StatusCode::NOT_FOUND, 0));
        let wrong = ask(&router, UNIX, Method::GET, "/api/v1/reload").await;
        assert_eq!(
            (wrong.status, &wrong.headers[ALLOW]),
            (StatusCode::METHOD_NOT_ALLOWED, &HeaderValue::from_static("POST"))
        );
        assert!(!error(&wrong).error.is_empty());
    }

    async fn look_on(router: &Router, heard: Option<&str>) -> Response {
        let mut request = http::Request::get("/api/v1/events").body(Body::empty()).unwrap();
        if let Some(heard) = heard {
            request.headers_mut().insert("last-event-id", heard.parse().unwrap());
        }
        request.extensions_mut().insert(Peer::nameless(tcp()));
        router.clone().oneshot(request).await.unwrap()
    }

    /// The next message; `None` if there is no further one.
    async fn message(response: &mut Response) -> Option<String> {
        let frame = response.body_mut().frame().await?.unwrap();
        Some(String::from_utf8(frame.into_data().unwrap().into()).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn who_looks_on_hears_of_changes_at_once_and_is_told_to_look_again_each_second() {
        let Endpoint { router, recorder, stopper, .. } = endpoint(true, vec![]);
        let tell = |text: &str| recorder.tell(News::bad(Kind::Config, text), std::time::SystemTime::now());
        tell("before");
        let mut response = look_on(&router, None).await;
        assert_eq!(response.headers()[CONTENT_TYPE], "text/event-stream");
        assert_eq!(message(&mut response).await.unwrap(), "event: tick\ndata: {}\n\n");
        tell("one");
        tell("two");
        let one = message(&mut response).await.unwrap();
        assert!(
            one.starts_with("event: change\nid: 2\ndata: {\"id\":2,") && one.contains("\"text\":\"one\""),
            "{one}"
        );
        assert!(message(&mut response).await.unwrap().contains("two"));
        stopper.stop();
        assert_eq!(message(&mut response).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_back_hears_what_he_has_missed() {
        let Endpoint { router, recorder, stopper: _stopper, .. } = endpoint(true, vec![]);
        for text in ["one", "two", "three"] {
            recorder.tell(News::good(Kind::Config, text), std::time::SystemTime::now());
        }
        let mut response = look_on(&router, Some("1")).await;
        for text in ["two", "three"] {
            assert!(message(&mut response).await.unwrap().contains(text));
        }
        // a number of another life is ahead of this one's
        let mut response = look_on(&router, Some("70")).await;
        recorder.tell(News::good(Kind::Config, "four"), std::time::SystemTime::now());
        assert!(message(&mut response).await.unwrap().contains("one"), "all of it is new to him");
    }

    #[tokio::test]
    async fn there_is_room_for_so_many_who_look_on_and_a_place_becomes_free_when_one_goes() {
        let Endpoint { router, stopper: _stopper, .. } = endpoint(true, vec![]);
        let mut streams = Vec::new();
        for _ in 0..stream::MOST_STREAMS {
            streams.push(look_on(&router, None).await);
        }
        assert!(streams.iter().all(|stream| stream.status() == StatusCode::OK));
        assert_eq!(look_on(&router, None).await.status(), StatusCode::SERVICE_UNAVAILABLE);
        streams.pop();
        assert_eq!(look_on(&router, None).await.status(), StatusCode::OK);
    }
}
