//! How long clients and gateways of a proxy may take.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::task::JoinSet;
use vestibule::front::{Limits, Proxy};

use crate::client::Client;
use crate::gateway::{RawGateway, Then, ok, proxy_to};
use crate::support::{PATIENCE, Running, anyone, connect_with, own_address};

async fn farm(
    gateways: &[SocketAddr],
    limits: impl FnOnce(&mut Limits),
    change: impl FnOnce(&mut Proxy),
) -> Running {
    Running::with(gateways.len(), |settings| {
        settings.workers = 1;
        proxy_to(settings, gateways, change);
        limits(&mut settings.listeners[0].limits);
    })
    .await
}

/// A request and its answer have not much longer than this, as far as the times for gateways go.
fn hurried(proxy: &mut Proxy) {
    proxy.response_timeout = Duration::from_millis(500);
    proxy.upstream.connect_timeout = Duration::from_millis(100);
    proxy.retries = 0;
}

async fn h2(farm: &Running) -> http2::SendRequest<Empty<Bytes>> {
    let mut config = anyone();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = connect_with(farm.front, "localhost", config).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn get(path: &str) -> http::Request<Empty<Bytes>> {
    http::Request::get(format!("https://x{path}")).body(Empty::new()).unwrap()
}

/// HTTP/2 whose incoming side can be held up.
async fn h2_held(farm: &Running, windows: u32) -> (http2::SendRequest<Empty<Bytes>>, watch::Sender<bool>) {
    let mut config = anyone();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = connect_with(farm.front, "localhost", config).await.unwrap();
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    let (hold, mut held) = watch::channel(false);
    tokio::spawn(async move {
        let (mut from, mut to) = tokio::io::split(stream);
        let (mut a, mut b) = tokio::io::split(theirs);
        let up = async {
            let _ = tokio::io::copy(&mut a, &mut to).await;
        };
        let down = async {
            let mut piece = [0; 16384];
            loop {
                match from.read(&mut piece).await {
                    Ok(n) if n > 0 => {
                        held.wait_for(|held| !held).await.unwrap();
                        b.write_all(&piece[..n]).await.unwrap();
                    }
                    _ => break,
                }
            }
            let _ = b.shutdown().await;
        };
        tokio::join!(up, down);
    });
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(windows)
        .initial_connection_window_size(windows)
        .handshake(TokioIo::new(ours))
        .await
        .unwrap();
    tokio::spawn(connection);
    (sender, hold)
}

#[tokio::test]
async fn each_request_under_way_has_a_place_of_its_own() {
    let gateway = RawGateway::start(|request, _| match request.starts_with("GET /silent ") {
        true => Then::Silence,
        false => Then::Answer(ok("x")),
    })
    .await;
    let farm = farm(&[gateway.address], |limits| limits.connections = 10, |_| {}).await;
    let mut sender = h2(&farm).await;
    // the client knows from now on how many streams it may have
    assert_eq!(sender.send_request(get("/")).await.unwrap().status(), 200);
    let mut asking = JoinSet::new();
    for _ in 0..100 {
        let mut sender = sender.clone();
        asking.spawn(async move { sender.send_request(get("/silent")).await.unwrap() });
    }
    for _ in 0..90 {
        let answer = tokio::time::timeout(PATIENCE, asking.join_next()).await.unwrap().unwrap().unwrap();
        assert_eq!(answer.status(), 503);
        assert_eq!(answer.headers()["retry-after"], "5");
    }
    gateway.until(|seen| seen.len() == 10).await;
    farm.until_metric(REJECTED, 90.0).await;
    farm.until_metric("vestibule_connections{listener=\"portal\"}", 10.0).await;
    drop((sender, asking));
    gateway.until_all_over().await;
    farm.wait_until(|status| status.listeners[0].connections == 0).await;
    assert_eq!(gateway.connections(), 10);
    farm.stop().await.unwrap();
}

const REJECTED: &str = "vestibule_connections_rejected_total{listener=\"portal\",reason=\"connections\"}";

#[tokio::test]
async fn a_stream_that_stands_still_is_ended_and_the_others_go_on() {
    let gateway = RawGateway::scripted(|mut line| async move {
        while let Some(request) = line.request().await {
            if request.starts_with("GET /other ") {
                line.send(&ok("x")).await;
                continue;
            }
            line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n").await;
            let piece = vec![0; 65536];
            while line.send(&piece).await {}
        }
    })
    .await;
    let idle = |limits: &mut Limits| limits.idle_timeout = Duration::from_secs(2);
    let farm = farm(&[gateway.address], idle, hurried).await;
    let mut config = anyone();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = connect_with(farm.front, "localhost", config).await.unwrap();
    // it says all the time that it is there
    let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_millis(200))
        .keep_alive_while_idle(true)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let stalled = sender.send_request(get("/")).await.unwrap();
    gateway.until(|seen| seen[0].is_over).await;
    let other = sender.send_request(get("/other")).await.unwrap();
    assert_eq!(other.into_body().collect().await.unwrap().to_bytes(), "x");
    assert!(stalled.into_body().collect().await.is_err());
    farm.stop().await.unwrap();
}

/// A request that crosses the goodbye on its way.
#[tokio::test]
async fn a_request_that_crosses_the_goodbye_is_answered() {
    let gateway = RawGateway::scripted(|mut line| async move {
        while let Some(request) = line.request().await {
            if request.contains("/slow") {
                tokio::time::sleep(Duration::from_secs(4)).await;
            }
            line.send(&ok("x")).await;
        }
    })
    .await;
    let idle = |limits: &mut Limits| limits.idle_timeout = Duration::from_secs(1);
    let farm = farm(&[gateway.address], idle, |_| {}).await;
    let (mut sender, hold) = h2_held(&farm, 65535).await;
    let answer = sender.send_request(get("/")).await.unwrap();
    answer.into_body().collect().await.unwrap();
    // the goodbye is on its way, and the client does not know yet
    hold.send_replace(true);
    tokio::time::sleep(Duration::from_millis(1300)).await;
    let answer = sender.send_request(get("/slow"));
    let asked = tokio::spawn(answer);
    tokio::time::sleep(Duration::from_millis(100)).await;
    hold.send_replace(false);
    let answer = asked.await.unwrap();
    assert_eq!(answer.map(|a| a.status().as_u16()).map_err(|e| format!("{e:?}")), Ok(200));
    farm.stop().await.unwrap();
}

/// One who takes what the front door has already, slowly and steadily.
#[tokio::test]
async fn a_slow_reader_of_h2_gets_the_end_of_its_answer() {
    const LENGTH: usize = 120_000;
    let gateway = RawGateway::start(|_, _| Then::Answer(ok(&"x".repeat(LENGTH)))).await;
    let idle = |limits: &mut Limits| limits.idle_timeout = Duration::from_secs(3);
    let farm = farm(&[gateway.address], idle, hurried).await;
    let (mut sender, _hold) = h2_held(&farm, 8192).await;
    let mut body = sender.send_request(get("/")).await.unwrap().into_body();
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => read += frame.data_ref().map_or(0, Bytes::len),
            Err(error) => panic!("cut after {read} bytes: {error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert_eq!(read, LENGTH);
    farm.stop().await.unwrap();
}

/// Server-sent events with a pause.
#[tokio::test]
async fn a_response_that_pauses_for_longer_than_the_idle_timeout_goes_on() {
    let gateway = RawGateway::scripted(|mut line| async move {
        line.request().await;
        line.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 4\r\n\r\nab").await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        line.send(b"cd").await;
        line.until_closed().await;
    })
    .await;
    let idle = |limits: &mut Limits| limits.idle_timeout = Duration::from_secs(1);
    let farm = farm(&[gateway.address], idle, hurried).await;
    let mut client = Client::connect(&farm).await;
    assert_eq!(client.get("/").await.text(), "abcd");
    drop(client);
    farm.stop().await.unwrap();
}

/// An answer that comes and ends while the request still goes on.
#[tokio::test]
async fn an_upload_goes_on_after_its_answer() {
    let gateway = RawGateway::scripted(|mut line| async move {
        line.head().await;
        line.send(&ok("x")).await;
        line.until_closed().await;
    })
    .await;
    let limits = |limits: &mut Limits| limits.header_timeout = Duration::from_secs(1);
    let farm = farm(&[gateway.address], limits, |_| {}).await;
    let mut client = Client::connect(&farm).await;
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n").await;
    assert_eq!(client.answer().await.text(), "x");
    for _ in 0..50 {
        client.send(b"a").await;
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    gateway.until(|seen| seen[0].bytes.ends_with(&[b'a'; 50])).await;
    // its connection cannot be used again in between
    gateway.until_all_over().await;
    drop(client);
    farm.stop().await.unwrap();
}

/// A download that is under way when its listener goes.
#[tokio::test]
async fn a_download_outlives_its_listener() {
    let gateway = RawGateway::scripted(|mut line| async move {
        line.request().await;
        line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 80\r\n\r\n").await;
        for _ in 0..80 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            line.send(b"x").await;
        }
        line.until_closed().await;
    })
    .await;
    let farm = farm(&[gateway.address], |_| {}, |_| {}).await;
    let mut client = Client::connect(&farm).await;
    client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    client.head().await;
    let mut settings = farm.settings();
    settings.listeners[0].address = own_address();
    farm.reload(settings).await.unwrap();
    assert_eq!(client.exactly(80).await.len(), 80);
    farm.stop().await.unwrap();
}
