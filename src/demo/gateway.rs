use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::response::{Html, IntoResponse, Response};
use http::header::{COOKIE, SET_COOKIE, USER_AGENT};
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::fleet::Load;
use crate::heartbeat::{AgentState, ServiceState, serve_state};
use crate::net::serve::{Door, serve};
use crate::net::stop::Stop;

/// A gateway without a VPN: a login page that says where one has come to, and an agent whose state is
/// what it is told to be.
pub struct PretendGateway {
    name: Arc<str>,
    page: TcpListener,
    agent: TcpListener,
    state: watch::Sender<AgentState>,
    visitors: Visitors,
}

/// Who has opened the page lately.
#[derive(Clone, Default)]
pub struct Visitors(Arc<Mutex<VecDeque<Instant>>>);

impl PretendGateway {
    /// Opens a page and an agent on loopback: the page on `port` (0: any that is free).
    pub async fn open(name: &str, port: u16) -> anyhow::Result<Self> {
        let listen = async |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
        let page = listen(port).await.with_context(|| format!("no port for the page of {name}"))?;
        let agent = listen(0).await.with_context(|| format!("no port for the agent of {name}"))?;
        let now = SystemTime::now();
        let up = AgentState {
            observed: now,
            service: ServiceState::Up,
            since: now,
            checks: Vec::new(),
            load: Load::default(),
        };
        Ok(Self {
            name: name.into(),
            page,
            agent,
            state: watch::Sender::new(up),
            visitors: Visitors::default(),
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its page is.
    pub fn page_address(&self) -> std::io::Result<SocketAddr> {
        self.page.local_addr()
    }

    /// Where its agent is asked.
    pub fn agent_address(&self) -> std::io::Result<SocketAddr> {
        self.agent.local_addr()
    }

    /// What its agent reports, to be changed at will.
    pub fn state(&self) -> watch::Sender<AgentState> {
        self.state.clone()
    }

    /// Who has opened its page lately.
    pub fn visitors(&self) -> Visitors {
        self.visitors.clone()
    }

    /// Answers browsers and front doors until told to stop.
    pub async fn run(
        self,
        page_tls: Arc<ServerConfig>,
        agent_tls: Arc<ServerConfig>,
        stop: Stop,
    ) -> anyhow::Result<()> {
        let shown =
            Shown { name: Arc::clone(&self.name), state: self.state.subscribe(), visitors: self.visitors };
        let router = Router::new().fallback(page).with_state(shown);
        let page = async {
            serve(Door::Tcp(self.page, Some(page_tls)), router, stop.clone()).await;
            Ok(())
        };
        let state = self.state.subscribe();
        let agent = serve_state(self.agent, Some(agent_tls), self.name, state, stop.clone());
        let mut stopped = stop.clone();
        let watching = async {
            tokio::select! {
                () = stopped.stopped() => {}
                () = keep_fresh(&self.state) => {}
            }
            Ok(())
        };
        tokio::try_join!(page, async { agent.await.context("an agent has failed") }, watching)?;
        Ok(())
    }
}

impl Visitors {
    /// Those who came less than [`VISIT`] ago.
    pub fn count(&self, now: Instant) -> u64 {
        let mut visits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while visits.front().is_some_and(|came| now.saturating_duration_since(*came) > VISIT) {
            visits.pop_front();
        }
        visits.len() as u64
    }

    fn add(&self, now: Instant) {
        let mut visits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if visits.len() < MAX_VISITS {
            visits.push_back(now);
        }
    }
}

/// Does as if there were rounds: what the agent is told to say is true at any time.
async fn keep_fresh(state: &watch::Sender<AgentState>) {
    loop {
        tokio::time::sleep(ROUND).await;
        state.send_modify(|state| state.observed = SystemTime::now());
    }
}

const ROUND: Duration = Duration::from_millis(500);

/// How long a visitor counts as a tunnel.
const VISIT: Duration = Duration::from_secs(30);
const MAX_VISITS: usize = 1000;

#[derive(Clone)]
struct Shown {
    name: Arc<str>,
    state: watch::Receiver<AgentState>,
    visitors: Visitors,
}

/// The page, with a session for those who bring none: a cookie like ocserv's, by which a proxy finds back to
/// this gateway.
async fn page(State(shown): State<Shown>, request: axum::extract::Request) -> Response {
    // the front door's own check is no visitor
    let agent = request.headers().get(USER_AGENT).and_then(|agent| agent.to_str().ok());
    if !agent.is_some_and(|agent| agent.starts_with("vestibule/")) {
        shown.visitors.add(Instant::now());
    }
    let tunnels = shown.state.borrow().load.tunnels.unwrap_or_default();
    let name = &shown.name;
    let page = Html(format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{name}</title>\n<h1>You have reached \
         {name}</h1>\n<p>Here the VPN would begin. This gateway has {tunnels} tunnels.</p>\n</html>\n"
    ));
    let cookies = request.headers().get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    if cookies.flat_map(|line| line.split(';')).any(|pair| pair.trim_start().starts_with(SESSION)) {
        return page.into_response();
    }
    // nobody logs in here, so that nothing depends on whether it can be guessed
    let session = format!("{SESSION}{:016x}; Path=/; Secure; HttpOnly", fastrand::u64(..));
    ([(SET_COOKIE, session)], page).into_response()
}

const SESSION: &str = "webvpncontext=";
