//! A gateway that shows the bytes it gets and answers with the bytes it is told to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use vestibule::config::FrontSettings;
use vestibule::fleet::{Endpoint, Gateway, Host};
use vestibule::front::{Affinity, Mode, Proxy};

/// What a gateway does after a request.
pub enum Then {
    /// Sends this and waits for the next request.
    Answer(Vec<u8>),
    /// Sends this and closes.
    AnswerAndClose(Vec<u8>),
    /// Sends this, and then everything back that comes.
    Echo(Vec<u8>),
    /// Says nothing, and keeps the connection open.
    Silence,
}

/// A listening gateway. It answers until it is dropped.
pub struct RawGateway {
    pub address: SocketAddr,
    received: Arc<Mutex<Vec<Vec<u8>>>>,
    task: tokio::task::JoinHandle<()>,
}

impl RawGateway {
    /// `answer` gets each request, head and body as they came, and its number on its connection.
    pub async fn start(answer: impl Fn(&str, usize) -> Then + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let (answer, all) = (Arc::new(answer), Arc::clone(&received));
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, all) = (Arc::clone(&answer), Arc::clone(&all));
                let number = {
                    let mut all = all.lock().unwrap();
                    all.push(Vec::new());
                    all.len() - 1
                };
                connections.spawn(async move {
                    let note = |bytes: &[u8]| all.lock().unwrap()[number].extend_from_slice(bytes);
                    converse(stream, note, &*answer).await;
                });
            }
        });
        Self { address, received, task }
    }

    /// One that answers everything with 200 and its name.
    pub async fn named(name: &'static str) -> Self {
        Self::start(move |_, _| Then::Answer(ok(name))).await
    }

    /// Everything that has come so far, by connection.
    pub fn received(&self) -> Vec<String> {
        let received = self.received.lock().unwrap();
        received.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect()
    }

    /// How many connections there have been.
    pub fn connections(&self) -> usize {
        self.received.lock().unwrap().len()
    }
}

impl Drop for RawGateway {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn converse(
    mut stream: TcpStream,
    note: impl Fn(&[u8]),
    answer: &(dyn Fn(&str, usize) -> Then + Send + Sync),
) {
    let mut buffer = Vec::new();
    for number in 0.. {
        let Some(length) = read_request(&mut stream, &mut buffer, &note).await else { return };
        let request: Vec<u8> = buffer.drain(..length).collect();
        match answer(&String::from_utf8_lossy(&request), number) {
            Then::Answer(bytes) => {
                if stream.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            Then::AnswerAndClose(bytes) => {
                let _ = stream.write_all(&bytes).await;
                let _ = stream.shutdown().await;
                return;
            }
            Then::Echo(bytes) => {
                if stream.write_all(&bytes).await.is_err() || stream.write_all(&buffer).await.is_err() {
                    return;
                }
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
                let _ = to.shutdown().await;
                return;
            }
            Then::Silence => std::future::pending().await,
        }
    }
}

/// Reads one request; its length, or `None` at the end of the connection.
async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>, note: &impl Fn(&[u8])) -> Option<usize> {
    loop {
        if let Some(length) = whole_request(buffer) {
            return Some(length);
        }
        let mut piece = [0; 4096];
        let read = stream.read(&mut piece).await.ok().filter(|read| *read > 0)?;
        note(&piece[..read]);
        buffer.extend_from_slice(&piece[..read]);
    }
}

fn whole_request(buffer: &[u8]) -> Option<usize> {
    let text = String::from_utf8_lossy(buffer);
    let head = text.find("\r\n\r\n")? + 4;
    let value = |name: &str| {
        text[..head].lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    if value("transfer-encoding").is_some() {
        return text[head..].find("0\r\n\r\n").map(|end| head + end + 5);
    }
    let length = value("content-length").map_or(0, |length| length.parse().unwrap());
    (buffer.len() >= head + length).then_some(head + length)
}

/// A whole answer.
pub fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Makes the first listener a proxy to these gateways, over plain HTTP and without affinity unless `change`
/// says otherwise. Their health is that of the pretend gateways behind them.
pub fn proxy_to(settings: &mut FrontSettings, gateways: &[SocketAddr], change: impl FnOnce(&mut Proxy)) {
    for (gateway, address) in settings.fleet.gateways.iter_mut().zip(gateways) {
        let upstream = Endpoint { host: Host::Address(address.ip()), port: address.port() };
        *gateway = Arc::new(Gateway { upstream, ..Gateway::clone(gateway) });
    }
    let mut proxy = Proxy { affinity: Affinity::None, ..Proxy::default() };
    change(&mut proxy);
    let Mode::Redirect(certificates) = settings.listeners[0].mode.clone() else {
        panic!("the first listener redirects")
    };
    settings.listeners[0].mode = Mode::Proxy(certificates, Arc::new(proxy));
}
