//! Connections that are taken to a gateway with their TLS untouched.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::access::{Access, Event};
use super::connect::{ConnectError, connect, for_long};
use super::door::{Door, Tried};
use super::gate::Gate;
use super::hello::{self, Outcome};
use super::limit::Place;
use super::meter::{Counted, Fate, GatewayMeter, Gauge};
use super::pace::LINGER;
use super::proxy_protocol::Ends;
use super::relay::Side;
use super::settings::Passthrough;
use super::splice;
use super::tunnels::Record;
use crate::fleet::{By, GatewayName};

/// What a client has said before it has a gateway; `None`: it gets none, and the connection is over.
///
/// In TLS the client speaks first. Who says nothing takes up no gateway and is charged to none.
pub async fn let_in(
    stream: &mut TcpStream,
    client: SocketAddr,
    door: &Door,
    settings: &Passthrough,
) -> Option<Bytes> {
    if settings.server_names.is_empty() {
        let timeout = door.plan.settings.limits.handshake_timeout;
        let seen = tokio::time::timeout(timeout, stream.peek(&mut [0])).await;
        return matches!(seen, Ok(Ok(1..))).then(Bytes::new);
    }
    let timeout = door.plan.settings.limits.handshake_timeout;
    let (outcome, bytes) = match tokio::time::timeout(timeout, read_hello(stream)).await {
        Ok(read) => read,
        Err(_) => {
            door.refuse_name(client, "it has asked for none in time");
            return None;
        }
    };
    let last_words = match &outcome {
        Outcome::Name(name) if settings.lets_in(name) => return Some(bytes),
        Outcome::Name(_) | Outcome::NoName => &UNRECOGNIZED_NAME[..],
        Outcome::NotTls | Outcome::Incomplete => &[],
    };
    match &outcome {
        Outcome::Name(name) => door.refuse_name(client, format_args!("it asks for {name}")),
        Outcome::NoName => door.refuse_name(client, "it asks for none"),
        Outcome::NotTls => door.refuse_name(client, "it speaks no TLS"),
        // as those do who only look whether somebody listens
        Outcome::Incomplete if bytes.is_empty() => {}
        Outcome::Incomplete => door.refuse_name(client, "its ClientHello breaks off"),
    }
    close(stream, last_words).await;
    None
}

/// Takes a connection to a gateway, and leaves it to the worker's tunnels.
pub async fn serve(
    mut stream: TcpStream,
    early: Bytes,
    ends: Ends,
    door: &Rc<Door>,
    settings: &Passthrough,
    place: Place,
) {
    let came = Instant::now();
    let Connection { gate, active, stream: gateway } = match to_gateway(ends, door, settings).await {
        Ok(connection) => connection,
        Err(why) => {
            door.meter.unavailable.add(1);
            door.tell(ends.client, &why);
            door.log(|| Access {
                event: Event::Untaken,
                client: ends.client,
                listener: Arc::clone(&door.plan.settings.name),
                gateway: None,
                bytes: 0,
                took: came.elapsed(),
            });
            close(&mut stream, &[]).await;
            return;
        }
    };
    for_long(&stream);
    let record = Record::new(door, gate, ends.client, None, active, Rc::new(place));
    let idle_timeout = settings.upstream.tunnel_idle_timeout;
    door.tunnels.spawn(async move {
        let client = Side { stream, early };
        let ended = splice::join(client, gateway.into(), idle_timeout, &record.carried).await;
        record.ended(ended);
    });
}

/// A connection to a gateway.
struct Connection {
    gate: Rc<Gate>,
    active: Counted<GatewayMeter>,
    stream: TcpStream,
}

/// Why a connection is taken to no gateway.
#[derive(Debug, thiserror::Error)]
enum Untaken {
    /// There is none to ask.
    #[error("no gateway is available")]
    NoGateway,
    /// None takes it, the last one for this reason.
    #[error("{gateway}: {cause}")]
    Connect {
        /// Who was asked last.
        gateway: GatewayName,
        /// What is wrong.
        #[source]
        cause: ConnectError,
    },
}

/// Connects to one gateway after the other until one takes the connection. Nothing has been sent before, so
/// nothing can arrive twice.
async fn to_gateway(ends: Ends, door: &Door, settings: &Passthrough) -> Result<Connection, Untaken> {
    let upstream = &settings.upstream;
    let by = if settings.source_affinity { By::Source(ends.client.ip()) } else { door.by(upstream.policy) };
    let mut tried = Tried::default();
    let mut gate = door.choose(by, true, &mut tried, Instant::now()).ok_or(Untaken::NoGateway)?;
    loop {
        let active = Gauge::up(&gate.meter, |meter| &meter.active);
        let error = match connect(&gate, upstream, ends.client, ends.local).await {
            Ok(stream) => {
                gate.meter.request(Fate::Answered);
                return Ok(Connection { gate, active, stream });
            }
            Err(error) => error,
        };
        gate.meter.request(error.fate());
        if !error.is_local() {
            door.failed(&gate, error.to_string());
        }
        let Some(next) = door.choose(by, true, &mut tried, Instant::now()) else {
            return Err(Untaken::Connect { gateway: gate.name.clone(), cause: error });
        };
        gate.meter.retries.add(1);
        gate = next;
    }
}

impl Passthrough {
    /// Whether a client that asks for this name, in lower case, is let through.
    fn lets_in(&self, name: &str) -> bool {
        let after_first_label = name.split_once('.').map(|(_, rest)| rest);
        self.server_names.iter().any(|pattern| match pattern.strip_prefix("*.") {
            Some(domain) => after_first_label == Some(domain),
            None => **pattern == *name,
        })
    }
}

/// Reads until it is clear which name the client asks for, or that it asks for none. Together with what was read.
async fn read_hello(stream: &mut TcpStream) -> (Outcome, Bytes) {
    let mut bytes = BytesMut::with_capacity(USUAL_HELLO);
    loop {
        match stream.read_buf(&mut bytes).await {
            Ok(0) | Err(_) => return (Outcome::Incomplete, bytes.freeze()),
            Ok(_) => {}
        }
        match hello::server_name(&bytes) {
            Outcome::Incomplete => {}
            outcome => return (outcome, bytes.freeze()),
        }
    }
}

/// Closes a connection so that the last words arrive: what the client has sent is read and thrown away until it
/// closes too, for a while. Bytes left unread would turn the close into a reset.
async fn close(stream: &mut TcpStream, last_words: &[u8]) {
    let goodbye = async {
        stream.write_all(last_words).await?;
        stream.shutdown().await?;
        let mut thrown_away = [0; 1024];
        while stream.read(&mut thrown_away).await? > 0 {}
        std::io::Result::Ok(())
    };
    let _ = tokio::time::timeout(LINGER, goodbye).await;
}

/// With a post-quantum key share.
const USUAL_HELLO: usize = 2048;

/// A fatal alert, unrecognized_name (RFC 8446 §5.1, §6, RFC 6066 §3).
#[rustfmt::skip]
const UNRECOGNIZED_NAME: [u8; 7] = [
    0x15, 0x03, 0x03, // an alert record, TLS 1.2
    0x00, 0x02,       // 2 bytes
    0x02, 0x70,       // fatal, unrecognized_name
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_one_label() {
        let server_names = ["vpn.example.com", "*.example.net"].map(Box::from).into();
        let settings = Passthrough { server_names, ..Passthrough::default() };
        for (name, expected) in [
            ("vpn.example.com", true),
            ("a.vpn.example.com", false),
            ("example.com", false),
            ("a.example.net", true),
            ("a.b.example.net", false),
            ("example.net", false),
            ("aexample.net", false),
            ("net", false),
        ] {
            assert_eq!(settings.lets_in(name), expected, "{name}");
        }
    }
}
