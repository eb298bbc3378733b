//! A farm to test against, and a client that sends just the bytes it is told to.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use vestibule::admin::client::{Address, Client, Reply};
use vestibule::admin::order::ErrorBody;
use vestibule::admin::status::Status;
use vestibule::admin::trust::Token;
use vestibule::app::FrontDoor;
use vestibule::config::FrontSettings;
use vestibule::demo::{Farm, Ports};
use vestibule::fleet::Load;
use vestibule::heartbeat::{AgentState, ServiceState};
use vestibule::net::stop::{self, Stopper};
use vestibule::net::tls::{Trust, client_config};

/// A farm that runs until it is dropped or stopped.
pub struct Running {
    pub front: SocketAddr,
    pub admin: SocketAddr,
    pub pages: Vec<SocketAddr>,
    pub agents: Vec<watch::Sender<AgentState>>,
    /// What the front door finds when it reads its settings again.
    settings: Arc<Mutex<FrontSettings>>,
    token: Option<Token>,
    stopper: Stopper,
    task: tokio::task::JoinHandle<anyhow::Result<()>>,
}

/// Longer than anything should take; a test that waits this long has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

impl Running {
    /// A farm of `count` gateways, all with the same load.
    pub async fn farm(count: usize) -> Self {
        Self::with(count, |_| {}).await
    }

    /// The same, with other settings.
    pub async fn with(count: usize, change: impl FnOnce(&mut FrontSettings)) -> Self {
        let mut farm = Farm::open(count, Ports::Free).await.unwrap();
        for probe in &mut farm.settings().probes {
            // the tests wait for what it finds
            probe.interval = Duration::from_millis(50);
        }
        farm.settings().log.access = true;
        farm.settings().admin.token = Token::new("a-token-for-the-tests");
        change(farm.settings());
        let front = farm.settings().listeners[0].address;
        let admin = farm.settings().admin.listen;
        let pages = farm.gateways().iter().map(|g| g.page_address().unwrap()).collect();
        let agents: Vec<_> = farm.gateways().iter().map(|g| g.state()).collect();
        for agent in &agents {
            agent.send_modify(|state| state.load = tunnels(100));
        }
        let (stopper, stop) = stop::channel();
        let token = farm.settings().admin.token.clone();
        let settings = Arc::new(Mutex::new(farm.settings().clone()));
        let read = Arc::clone(&settings);
        let reload = Arc::new(move || Ok((read.lock().unwrap().clone(), Vec::new())));
        let task = tokio::spawn(farm.run_with(false, reload, stop));
        let running = Self { front, admin, pages, agents, settings, token, stopper, task };
        // asked once, however that went
        running.wait_until(|status| status.gateways.iter().all(|g| !g.checks.is_empty())).await;
        running
    }

    /// Another front door of the same gateways, at addresses of its own.
    pub async fn beside(&self, change: impl FnOnce(&mut FrontSettings)) -> Self {
        let mut front = self.settings();
        front.listeners[0].address = own_address();
        front.admin.listen = own_address();
        change(&mut front);
        let (address, admin, token) =
            (front.listeners[0].address, front.admin.listen, front.admin.token.clone());
        let settings = Arc::new(Mutex::new(front.clone()));
        let read = Arc::clone(&settings);
        let reload = Arc::new(move || Ok((read.lock().unwrap().clone(), Vec::new())));
        let (stopper, stop) = stop::channel();
        let task = tokio::spawn(async move { FrontDoor::open(front).await?.run(reload, stop).await });
        let (pages, agents) = (self.pages.clone(), self.agents.clone());
        let running = Self { front: address, admin, pages, agents, settings, token, stopper, task };
        running.wait_until(|status| status.gateways.iter().all(|g| !g.checks.is_empty())).await;
        running
    }

    /// The status as it is now.
    pub async fn status(&self) -> Status {
        self.wait_until(|_| true).await
    }

    /// What the front door is to read, and has perhaps read already.
    pub fn settings(&self) -> FrontSettings {
        self.settings.lock().unwrap().clone()
    }

    /// Has the front door read these settings; the problems if it refuses them.
    pub async fn reload(&self, settings: FrontSettings) -> Result<(), Vec<String>> {
        *self.settings.lock().unwrap() = settings;
        let client = Client { address: Address::Http(self.admin), token: self.token.clone() };
        let reply = client.post("/api/v1/reload", "").await.unwrap();
        match reply.status.as_u16() {
            200 => Ok(()),
            422 => Err(reply.json::<ErrorBody>().unwrap().problems),
            _ => panic!("{reply:?}"),
        }
    }

    /// An order over HTTP, with the token.
    pub async fn post(&self, path: &str, body: &str) -> Reply {
        let client = Client { address: Address::Http(self.admin), token: self.token.clone() };
        client.post(path, body.to_owned()).await.unwrap()
    }

    /// Sets how many tunnels a gateway has, and waits until the front door knows.
    pub async fn set_tunnels(&self, gateway: usize, count: u64) {
        self.agents[gateway].send_modify(|state| state.load = tunnels(count));
        self.wait_until(|status| {
            status.gateways[gateway].load.as_ref().and_then(|l| l.tunnels) == Some(count)
        })
        .await;
    }

    /// Sets what a gateway's agent says of it.
    pub fn set_service(&self, gateway: usize, service: ServiceState) {
        self.agents[gateway].send_modify(|state| {
            state.service = service;
            state.since = SystemTime::now();
        });
    }

    /// Waits until the status is as wished.
    pub async fn wait_until(&self, wish: impl Fn(&Status) -> bool) -> Status {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.try_status().await
                && wish(&status)
            {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "the status never got as wished: {:#?}",
                self.try_status().await
            );
            assert!(!self.task.is_finished(), "the farm has ended");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn try_status(&self) -> Option<Status> {
        let client = Client { address: Address::Http(self.admin), token: None };
        client.get("/api/v1/status").await.ok()?.json().ok()
    }

    /// The text at a path of the admin endpoint, with its status.
    pub async fn admin(&self, path: &str) -> (u16, String) {
        let client = Client { address: Address::Http(self.admin), token: None };
        let reply = client.get(path).await.unwrap();
        (reply.status.as_u16(), String::from_utf8(reply.body.to_vec()).unwrap())
    }

    /// The value of one sample of the metrics, named as in the text format.
    pub async fn metric(&self, sample: &str) -> Option<f64> {
        let (_, text) = self.admin("/metrics").await;
        let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        line.map(|value| value.parse().unwrap())
    }

    /// Waits until a sample of the metrics has a value.
    pub async fn until_metric(&self, sample: &str, value: f64) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.metric(sample).await;
            if found == Some(value) {
                return;
            }
            assert!(Instant::now() < deadline, "{sample} stays {found:?} and never is {value}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Stops the farm in order and tells how that went.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.stopper.stop();
        tokio::time::timeout(PATIENCE, self.task).await.expect("the farm stops in time").unwrap()
    }

    /// Sends bytes over TLS without ALPN and reads until the front door closes in order.
    pub async fn exchange(&self, request: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request).await.unwrap();
        read_to_end(&mut stream).await
    }

    /// A TLS connection without ALPN.
    pub async fn connect(&self) -> TlsStream<TcpStream> {
        connect_with(self.front, "localhost", anyone()).await.unwrap()
    }

    /// Where a `GET /` is sent: the number of the gateway.
    pub async fn gateway_chosen(&self) -> Option<usize> {
        let answer = self.exchange(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        let location = header(&answer, "Location")?;
        let place = |page: &SocketAddr| location == format!("https://{page}/");
        Some(self.pages.iter().position(place).expect("the location is a gateway's"))
    }
}

/// An address that no other test, and no other run of the tests, uses: of loopback, with a port that is
/// never given to those who ask for any.
pub fn own_address() -> SocketAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let [.., high, low] = std::process::id().to_be_bytes();
    // 127.64.0.0 to 127.127.255.255 are for the tests of the command line
    SocketAddr::from((Ipv4Addr::new(127, 128 | (high & 63), low, number), 8443))
}

/// Asks on an open connection, which stays open, and reads the answer's head.
pub async fn ask<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> String {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("the connection takes a request");
    read_head(stream).await
}

pub fn tunnels(count: u64) -> Load {
    Load { tunnels: Some(count), tunnels_max: Some(1000), ..Load::default() }
}

/// A client that trusts anyone and offers no ALPN.
pub fn anyone() -> ClientConfig {
    Arc::unwrap_or_clone(client_config(&Trust::Anyone, None).unwrap())
}

pub async fn connect_with(
    address: SocketAddr,
    name: &str,
    config: ClientConfig,
) -> std::io::Result<TlsStream<TcpStream>> {
    handshake(TcpStream::connect(address).await?, name, config).await
}

pub async fn handshake(
    stream: TcpStream,
    name: &str,
    config: ClientConfig,
) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// Reads until the other side closes; a close without close_notify, or a reset, is an error.
pub async fn read_to_end<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> String {
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    read.expect("the front door closes in time").expect("it closes in order");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Reads one answer without a body from a connection that stays open.
pub async fn read_head<S: AsyncRead + Unpin>(stream: &mut S) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = tokio::time::timeout(PATIENCE, stream.read_u8()).await.expect("an answer in time");
        head.push(byte.expect("an answer"));
    }
    String::from_utf8(head).unwrap()
}

/// The value of a header in an answer; the name must be written like this.
pub fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let head = answer.split("\r\n\r\n").next().unwrap_or_default();
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// The status of an answer.
pub fn status(answer: &str) -> u16 {
    answer
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or_else(|| panic!("no answer: {answer:?}"))
}
