//! The server loop for those who connect, read one line, and go.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::places::Places;
use super::seldom::{self, Seldom};
use super::stop::Stop;

/// Tells whoever connects what `line` is then, and closes; where it is `None` without a word. The line has its end of
/// line already. Until told to stop, at once.
///
/// Nothing that a client sends is looked at. It is read, for two seconds and 64 KiB at most, because bytes left unread
/// would turn the close into a reset, which can overtake the line. Connections beyond 64, and 32 from one source, are
/// closed at once.
///
/// `door` is what the log calls it.
pub async fn tell(door: &str, listener: TcpListener, line: impl Fn() -> Option<String>, stop: Stop) {
    tell_within(Limits::default(), door, listener, line, stop).await;
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    connections: usize,
    connections_per_source: usize,
    /// For the line, and again for the client's goodbye.
    patience: Duration,
    /// Of what a client sends, in bytes.
    read: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            connections_per_source: 32,
            patience: Duration::from_secs(2),
            read: 64 * 1024,
        }
    }
}

async fn tell_within(
    limits: Limits,
    door: &str,
    listener: TcpListener,
    line: impl Fn() -> Option<String>,
    mut stop: Stop,
) {
    let places = Arc::new(Places::new(limits.connections, limits.connections_per_source));
    let refusals = Seldom::new("connection refused", "connections refused");
    let mut sums = tokio::time::interval(seldom::PAUSE);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            // those who have not read their line by now do not wait for it
            () = stop.stopped() => break,
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            _ = sums.tick() => {
                if let Some(line) = refusals.sum(Instant::now()) {
                    tracing::warn!(door, "{line}");
                }
                continue;
            }
        };
        let (stream, client) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(door, %error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        match places.take(Some(client.ip())) {
            Ok(place) => {
                let line = line();
                connections.spawn(async move {
                    if let Some(line) = line {
                        answer(stream, &line, limits).await;
                    }
                    drop(place);
                });
            }
            Err(reason) if refusals.note(Instant::now(), Some(client), reason) => {
                tracing::warn!(door, %client, %reason, "connection refused");
            }
            Err(_) => {}
        }
    }
    if let Some(line) = refusals.rest() {
        tracing::warn!(door, "{line}");
    }
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What goes wrong here is the client's affair: it asks again.
async fn answer(mut stream: TcpStream, line: &str, limits: Limits) {
    let told = async {
        stream.write_all(line.as_bytes()).await?;
        stream.shutdown().await
    };
    if !matches!(tokio::time::timeout(limits.patience, told).await, Ok(Ok(()))) {
        return;
    }
    let goodbye = async {
        let (mut left, mut chunk) = (limits.read, [0; 512]);
        while left > 0 {
            match stream.read(&mut chunk).await {
                Ok(0) | Err(_) => break,
                Ok(read) => left = left.saturating_sub(read),
            }
        }
    };
    let _ = tokio::time::timeout(limits.patience, goodbye).await;
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::atomic::{AtomicU64, Ordering};

    use tokio::task::JoinHandle;
    use tokio::time::timeout;

    use super::super::stop::{self, Stopper};
    use super::*;

    const LONG: Duration = Duration::from_secs(10);
    const PATIENT: Limits =
        Limits { connections: 100, connections_per_source: 100, patience: LONG, read: 1024 };

    struct Server {
        address: SocketAddr,
        stopper: Stopper,
        task: JoinHandle<()>,
    }

    impl Server {
        /// Its lines are numbers.
        async fn start(limits: Limits) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let (stopper, stop) = stop::channel();
            let told = AtomicU64::new(0);
            let line = move || Some(format!("{}\n", told.fetch_add(1, Ordering::Relaxed)));
            Self { address, stopper, task: tokio::spawn(tell_within(limits, "test", listener, line, stop)) }
        }

        async fn connect(&self) -> TcpStream {
            TcpStream::connect(self.address).await.unwrap()
        }
    }

    /// All until the end; a reset is an error.
    async fn read(stream: &mut TcpStream) -> std::io::Result<String> {
        let mut text = String::new();
        timeout(LONG, stream.read_to_string(&mut text)).await.unwrap().map(|_| text)
    }

    #[tokio::test]
    async fn everyone_is_told_what_holds_at_that_moment() {
        let server = Server::start(PATIENT).await;
        for expected in ["0\n", "1\n", "2\n"] {
            assert_eq!(read(&mut server.connect().await).await.unwrap(), expected);
        }
    }

    #[tokio::test]
    async fn what_a_client_sends_changes_nothing_and_resets_nothing() {
        let server = Server::start(PATIENT).await;
        let mut stream = server.connect().await;
        stream.write_all(b"gw1\nGET / HTTP/1.1\r\n\r\n\0").await.unwrap();
        assert_eq!(read(&mut stream).await.unwrap(), "0\n");
        // one that goes on is hung up on in the end
        let mut stream = server.connect().await;
        let flood = async { while stream.write_all(&[b'x'; 512]).await.is_ok() {} };
        timeout(LONG, flood).await.unwrap();
    }

    #[tokio::test]
    async fn who_does_not_go_is_left_in_the_end_and_keeps_nobody_waiting() {
        let limits = Limits {
            connections: 2,
            connections_per_source: 2,
            patience: Duration::from_millis(200),
            ..PATIENT
        };
        let server = Server::start(limits).await;
        let mut loiterers = [server.connect().await, server.connect().await];
        for loiterer in &mut loiterers {
            read(loiterer).await.unwrap();
        }
        // they have the two places until then
        let asked = async {
            loop {
                if let Ok(line) = read(&mut server.connect().await).await
                    && !line.is_empty()
                {
                    return line;
                }
            }
        };
        assert_eq!(timeout(LONG, asked).await.unwrap(), "2\n");
    }

    #[tokio::test]
    async fn there_are_so_many_places_and_no_more() {
        let limits = Limits { connections: 1, ..PATIENT };
        let server = Server::start(limits).await;
        let mut first = server.connect().await;
        assert_eq!(read(&mut first).await.unwrap(), "0\n");
        let mut second = server.connect().await;
        assert_eq!(read(&mut second).await.unwrap_or_default(), "");
        drop(first);
    }

    #[tokio::test]
    async fn where_there_is_nothing_to_tell_the_connection_is_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (_stopper, stop) = stop::channel();
        tokio::spawn(tell("test", listener, || None, stop));
        assert_eq!(read(&mut TcpStream::connect(address).await.unwrap()).await.unwrap(), "");
    }

    #[tokio::test]
    async fn the_order_to_stop_ends_it_at_once_whoever_is_there() {
        let server = Server::start(PATIENT).await;
        let mut loiterer = server.connect().await;
        read(&mut loiterer).await.unwrap();
        server.stopper.stop();
        timeout(LONG / 2, server.task).await.unwrap().unwrap();
    }
}
