//! What a listener bears.

use std::time::{Duration, Instant};

use http::Request;
use http_body_util::Empty;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{PATIENCE, Running, anyone, connect_with, read_head, read_to_end, status};

/// Waits until the front door closes a connection, and tells how long that took.
async fn time_to_close<S: tokio::io::AsyncRead + Unpin>(stream: &mut S) -> Duration {
    let started = Instant::now();
    let mut rest = Vec::new();
    // a slow client may be cut without ceremony
    let _ =
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("it is closed in time");
    started.elapsed()
}

#[tokio::test]
async fn each_slow_client_is_cut_in_its_time_and_others_are_served_meanwhile() {
    let farm = Running::with(1, |settings| {
        let limits = &mut settings.listeners[0].limits;
        limits.handshake_timeout = Duration::from_millis(300);
        limits.header_timeout = Duration::from_millis(600);
        limits.idle_timeout = Duration::from_millis(900);
    })
    .await;
    let mut silent = TcpStream::connect(farm.front).await.unwrap();
    let mut no_request = farm.connect().await;
    let mut half_a_request = farm.connect().await;
    half_a_request.write_all(b"GET / HTTP/1.1\r\nHost").await.unwrap();
    let mut half_a_body = farm.connect().await;
    half_a_body.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf").await.unwrap();
    let mut idle = farm.connect().await;
    idle.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert_eq!(status(&read_head(&mut idle).await), 302);
    let mut half_of_the_next = farm.connect().await;
    half_of_the_next.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert_eq!(status(&read_head(&mut half_of_the_next).await), 302);
    half_of_the_next.write_all(b"GET / HT").await.unwrap();

    let (a, b, c, d, e, f) = tokio::join!(
        time_to_close(&mut silent),
        time_to_close(&mut no_request),
        time_to_close(&mut half_a_request),
        time_to_close(&mut half_a_body),
        time_to_close(&mut idle),
        time_to_close(&mut half_of_the_next),
    );
    let header = [b, c, d, f];
    let generous = Duration::from_secs(5);
    assert!(a < generous && e < generous && header.iter().all(|t| *t < generous), "{a:?} {header:?} {e:?}");
    assert!(e > header[3], "an idle connection has longer than half a request: {e:?} {header:?}");
    assert_eq!(farm.gateway_chosen().await, Some(0));
    let timeouts =
        "vestibule_tls_handshakes_total{listener=\"portal\",result=\"timeout\",version=\"\",resumed=\"\"}";
    farm.until_metric(timeouts, 1.0).await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_in_order() {
    let farm = Running::with(1, |s| s.listeners[0].limits.idle_timeout = Duration::from_millis(100)).await;
    let mut stream = farm.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert_eq!(status(&read_head(&mut stream).await), 302);
    // close_notify comes before the end, or this would be an error
    assert_eq!(read_to_end(&mut stream).await, "");
}

#[tokio::test]
async fn who_is_one_too_many_is_turned_away_and_counted_until_another_goes() {
    let farm = Running::with(1, |settings| settings.listeners[0].limits.connections_per_source = 3).await;
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(farm.connect().await);
    }
    let mut fourth = TcpStream::connect(farm.front).await.unwrap();
    time_to_close(&mut fourth).await;
    let sample =
        "vestibule_connections_rejected_total{listener=\"portal\",reason=\"connections_per_source\"}";
    farm.until_metric(sample, 1.0).await;
    farm.until_metric("vestibule_connections{listener=\"portal\"}", 3.0).await;
    drop(open);
    farm.wait_until(|status| status.listeners[0].connections == 0).await;
    assert_eq!(farm.gateway_chosen().await, Some(0));
}

#[tokio::test]
async fn an_idle_http_2_connection_has_its_idle_time_whatever_it_says_meanwhile() {
    let farm = Running::with(1, |settings| {
        settings.listeners[0].limits.header_timeout = Duration::from_millis(200);
    })
    .await;
    let mut config = anyone();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = connect_with(farm.front, "localhost", config).await.unwrap();
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let driver = tokio::spawn(connection);
    for _ in 0..2 {
        sender.ready().await.expect("the connection lives");
        let request = Request::get("https://vpn.lab/").body(Empty::<bytes::Bytes>::new()).unwrap();
        assert_eq!(sender.send_request(request).await.unwrap().status(), 302);
        // the acknowledgement of the server's settings is on its way now; this is not waiting for
        // something but giving the fault its time to show
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    driver.abort();
}

#[tokio::test]
async fn who_has_connected_before_the_stop_still_gets_an_answer() {
    let farm = Running::farm(1).await;
    let address = farm.front;
    let mut connected = Vec::new();
    for _ in 0..20 {
        connected.push(TcpStream::connect(address).await.unwrap());
    }
    let asking = connected.into_iter().map(|stream| {
        tokio::spawn(async move {
            let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
            let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(anyone()));
            let mut stream = connector.connect(name, stream).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
            status(&read_to_end(&mut stream).await)
        })
    });
    // the tasks run when this one waits, and that is for the stop
    let asking: Vec<_> = asking.collect();
    farm.stop().await.unwrap();
    for answer in asking {
        assert_eq!(answer.await.unwrap(), 302);
    }
    assert!(TcpStream::connect(address).await.is_err(), "nobody else gets in");
}

#[tokio::test]
async fn who_goes_away_in_the_middle_of_a_request_is_sent_nowhere() {
    let farm = Running::farm(1).await;
    let mut stream = farm.connect().await;
    stream.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf").await.unwrap();
    stream.shutdown().await.unwrap();
    time_to_close(&mut stream).await;
    farm.wait_until(|status| status.listeners[0].connections == 0).await;
    let status = farm.wait_until(|_| true).await;
    assert_eq!((status.gateways[0].pending, status.listeners[0].redirects), (0, 0));
}

#[tokio::test]
async fn a_front_door_that_stops_lets_go_of_idle_clients_at_once() {
    let farm = Running::farm(1).await;
    let _silent = TcpStream::connect(farm.front).await.unwrap();
    let _no_request = farm.connect().await;
    let mut idle = farm.connect().await;
    idle.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert_eq!(status(&read_head(&mut idle).await), 302);
    let started = Instant::now();
    let closed = tokio::spawn(async move { read_to_end(&mut idle).await });
    farm.stop().await.unwrap();
    assert_eq!(closed.await.unwrap(), "", "the idle one is told goodbye");
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
}

#[tokio::test]
async fn an_idle_http_2_client_is_told_goodbye_by_a_front_door_that_stops() {
    let farm = Running::farm(1).await;
    let mut config = anyone();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = connect_with(farm.front, "localhost", config.clone()).await.unwrap();
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get("https://vpn.lab/").body(Empty::<bytes::Bytes>::new()).unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), 302);
    // and one that shows what comes over the wire
    let mut stream = connect_with(farm.front, "localhost", config).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&[0, 0, 0, SETTINGS, 0, 0, 0, 0, 0]).await.unwrap();
    // GET https x /: 2, 7 and 4 of the static table (RFC 7541, appendix A), and 1 with a value
    let head = [0x82, 0x87, 0x84, 0x41, 1, b'x'];
    stream.write_all(&[0, 0, 6, HEADERS, END_STREAM | END_HEADERS, 0, 0, 0, 1]).await.unwrap();
    stream.write_all(&head).await.unwrap();
    while next_frame(&mut stream).await.expect("an answer").0 != HEADERS {}

    let started = Instant::now();
    let last_words = tokio::spawn(async move {
        let mut goodbyes = Vec::new();
        while let Some((kind, flags, payload)) = next_frame(&mut stream).await {
            match kind {
                GOAWAY => goodbyes.push(payload),
                PING if flags & ACK == 0 => {
                    stream.write_all(&[0, 0, 8, PING, ACK, 0, 0, 0, 0]).await.unwrap();
                    stream.write_all(&payload).await.unwrap();
                }
                _ => {}
            }
        }
        goodbyes
    });
    farm.stop().await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    let goodbyes = last_words.await.unwrap();
    // the last stream that was served, and that nothing was wrong
    assert_eq!(goodbyes.last().expect("a GOAWAY"), &[0, 0, 0, 1, 0, 0, 0, 0], "{goodbyes:?}");
    connection.await.unwrap().expect("the client sees an end in order");
}

/// The type, flags and payload of the next frame (RFC 9113 §4.1); `None` at an end in order.
async fn next_frame<S: tokio::io::AsyncRead + Unpin>(stream: &mut S) -> Option<(u8, u8, Vec<u8>)> {
    let read = async {
        let mut head = [0; 9];
        if stream.read(&mut head[..1]).await.expect("no end out of order") == 0 {
            return None;
        }
        stream.read_exact(&mut head[1..]).await.unwrap();
        let [a, b, c, kind, flags, ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        stream.read_exact(&mut payload).await.unwrap();
        Some((kind, flags, payload))
    };
    tokio::time::timeout(PATIENCE, read).await.expect("a frame in time")
}

// RFC 9113 §6
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
