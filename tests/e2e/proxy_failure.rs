//! What a proxy does when a gateway does not do its part, or a client does not.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use vestibule::fleet::State;
use vestibule::front::Proxy;
use vestibule::heartbeat::ServiceState;

use crate::client::{Answer, Client};
use crate::gateway::{RawGateway, Then, ok, proxy_to};
use crate::support::{Running, own_address};

/// A farm with one worker, so that each of its connections to gateways is known to all its clients.
async fn farm(gateways: &[SocketAddr], change: impl FnOnce(&mut Proxy)) -> Running {
    Running::with(gateways.len(), |settings| {
        settings.workers = 1;
        proxy_to(settings, gateways, change);
    })
    .await
}

/// The same metric of all gateways together.
async fn of_all_gateways(farm: &Running, count: usize, name: &str, labels: &str) -> f64 {
    let mut sum = 0.0;
    for number in 1..=count {
        let sample = format!("{name}{{gateway=\"gw{number}\"{labels}}}");
        sum += farm.metric(&sample).await.unwrap_or_else(|| panic!("no {sample}"));
    }
    sum
}

async fn fates(farm: &Running, count: usize, fate: &str) -> f64 {
    let labels = format!(",result=\"{fate}\"");
    of_all_gateways(farm, count, "vestibule_upstream_requests_total", &labels).await
}

async fn retries(farm: &Running, count: usize) -> f64 {
    of_all_gateways(farm, count, "vestibule_upstream_retries_total", "").await
}

/// How often a gateway has seen a request that begins like this.
fn times(gateway: &RawGateway, request: &str) -> usize {
    gateway.received().concat().matches(request).count()
}

/// An answer of the front door's own, which tells nobody how things are inside.
fn assert_tells_nothing(answer: &Answer, status: u16, gateways: &[SocketAddr]) {
    assert_eq!(answer.status(), status, "{answer:?}");
    assert_eq!(answer.header("Content-Type"), Some("text/html; charset=utf-8"));
    assert_eq!(answer.header("Cache-Control"), Some("no-store"));
    let all = format!("{}{}", answer.head, answer.text());
    assert!(all.contains("<h1>"), "{all}");
    for word in ["127.", "gw1", "gw2", "refused", "timed out", "ms", "error", "hyper", "localhost"] {
        assert!(!all.contains(word), "{word} stands in {all}");
    }
    for gateway in gateways {
        assert!(!all.contains(&gateway.port().to_string()), "{all}");
    }
}

#[tokio::test]
async fn who_finds_a_gateway_closed_is_taken_to_the_next_one_body_and_all() {
    let good = RawGateway::named("good").await;
    let farm = farm(&[own_address(), good.address], |_| {}).await;
    let mut client = Client::connect(&farm).await;
    let body = "0123456789".repeat(20_000);
    for number in 0..4 {
        assert_eq!(client.get(&format!("/get/{number}")).await.text(), "good");
        assert_eq!(client.post(&format!("/post/{number}"), &body).await.text(), "good");
        let chunked = format!(
            "POST /chunked/{number} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        );
        assert_eq!(client.ask(chunked.as_bytes()).await.text(), "good");
    }
    let received = good.received().concat();
    for number in 0..4 {
        assert_eq!(times(&good, &format!("GET /get/{number} ")), 1);
        assert_eq!(times(&good, &format!("POST /post/{number} ")), 1);
        assert_eq!(times(&good, &format!("POST /chunked/{number} ")), 1);
    }
    assert_eq!(received.matches(&body).count(), 4, "each body arrives once, and whole");
    assert_eq!(received.matches("\r\n\r\n5\r\nhello\r\n0\r\n\r\n").count(), 4);
    let failed = fates(&farm, 2, "connect_failed").await;
    assert!(failed >= 1.0);
    assert_eq!(retries(&farm, 2).await, failed);
    assert_eq!(
        farm.metric("vestibule_upstream_requests_total{gateway=\"gw2\",result=\"answered\"}").await,
        Some(12.0)
    );
    drop(client);
    farm.stop().await.unwrap();
}

#[tokio::test]
async fn a_gateway_that_cannot_be_connected_to_is_down_before_the_next_check_and_the_status_says_why() {
    let (closed, good) = (own_address(), RawGateway::named("good").await);
    let farm = Running::with(2, |settings| {
        settings.workers = 1;
        for probe in &mut settings.probes {
            probe.interval = Duration::from_secs(3600);
        }
        proxy_to(settings, &[closed, good.address], |_| {});
    })
    .await;
    farm.wait_until(|status| status.gateways.iter().all(|gateway| gateway.state == State::Up)).await;
    let fall = u32::from(farm.settings().fleet.thresholds.fall);
    let mut client = Client::connect(&farm).await;
    // each second one is meant for the closed one
    for _ in 0..fall * 2 {
        assert_eq!(client.get("/").await.text(), "good");
    }
    let status = farm.wait_until(|status| status.gateways[0].state == State::Down).await;
    let told = format!("cannot connect to {closed}: connection refused");
    assert_eq!(status.gateways[0].reason, told);
    assert_eq!(status.gateways[1].state, State::Up);
    let failed = fates(&farm, 2, "connect_failed").await;
    for _ in 0..4 {
        assert_eq!(client.get("/").await.text(), "good");
    }
    assert_eq!(fates(&farm, 2, "connect_failed").await, failed, "nobody tries it any more");
    drop(client);
    farm.stop().await.unwrap();
}

#[tokio::test]
async fn no_more_gateways_are_tried_than_are_allowed() {
    for (allowed, answer) in [(0, 502), (2, 502), (9, 502)] {
        let closed: Vec<_> = (0..5).map(|_| own_address()).collect();
        let farm = farm(&closed, |proxy| proxy.retries = allowed).await;
        let got = Client::connect(&farm).await.get("/").await;
        assert_tells_nothing(&got, answer, &closed);
        assert_eq!(fates(&farm, 5, "connect_failed").await, f64::from((allowed + 1).min(5)));
        assert_eq!(retries(&farm, 5).await, f64::from(allowed.min(4)));
        farm.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_client_does_not_see_that_a_kept_connection_has_died() {
    // with the second request on a connection, the gateway finds that it has waited for too long
    let gateway = RawGateway::start(|_, number| match number {
        0 => Then::Answer(ok("x")),
        _ => Then::AnswerAndClose(Vec::new()),
    })
    .await;
    let farm = farm(&[gateway.address], |_| {}).await;
    let mut client = Client::connect(&farm).await;
    for number in 0..5 {
        assert_eq!(client.get(&format!("/{number}")).await.text(), "x");
        farm.until_metric("vestibule_upstream_connections{gateway=\"gw1\",state=\"idle\"}", 1.0).await;
    }
    assert_eq!(gateway.connections(), 5);
    assert_eq!(retries(&farm, 1).await, 4.0);
    assert_eq!(fates(&farm, 1, "answered").await, 5.0);
    assert_eq!(
        fates(&farm, 1, "broken").await,
        0.0,
        "a connection that has died while it waited is no fault"
    );
    drop(client);
    farm.stop().await.unwrap();
}

#[tokio::test]
async fn a_connection_that_the_gateway_has_closed_is_forgotten_and_a_post_gets_a_new_one() {
    let gateway = RawGateway::start(|_, _| Then::AnswerAndClose(ok("x"))).await;
    let farm = farm(&[gateway.address], |_| {}).await;
    let mut client = Client::connect(&farm).await;
    for number in 0..3 {
        assert_eq!(client.post(&format!("/{number}"), "body").await.text(), "x");
        farm.until_metric("vestibule_upstream_connections{gateway=\"gw1\",state=\"idle\"}", 0.0).await;
    }
    assert_eq!((gateway.connections(), gateway.requests()), (3, 3));
    drop(client);
    farm.stop().await.unwrap();
}

#[tokio::test]
async fn a_post_takes_no_connection_that_has_waited_for_long() {
    let gateway = RawGateway::named("x").await;
    let farm = farm(&[gateway.address], |_| {}).await;
    let mut client = Client::connect(&farm).await;
    let idle = "vestibule_upstream_connections{gateway=\"gw1\",state=\"idle\"}";
    let started = Instant::now();
    client.post("/", "body").await;
    farm.until_metric(idle, 1.0).await;
    client.post("/", "body").await;
    if started.elapsed() < Duration::from_secs(1) {
        assert_eq!(gateway.connections(), 1, "one that was in use just now will do");
    }
    farm.until_metric(idle, gateway.connections() as f64).await;
    let before = gateway.connections();
    // this is what the test is about
    tokio::time::sleep(Duration::from_millis(1100)).await;
    client.post("/", "body").await;
    assert_eq!(gateway.connections(), before + 1);
    farm.until_metric(idle, gateway.connections() as f64).await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    client.get("/").await;
    assert_eq!(gateway.connections(), before + 1, "what may be sent again may risk it");
    drop(client);
    farm.stop().await.unwrap();
}

#[tokio::test]
async fn what_may_be_sent_again_goes_to_the_next_gateway_and_a_post_that_may_have_arrived_does_not() {
    let bad = RawGateway::start(|_, _| Then::AnswerAndClose(Vec::new())).await;
    let good = RawGateway::named("good").await;
    let addresses = [bad.address, good.address];
    let farm = farm(&addresses, |_| {}).await;
    let mut failures = 0;
    for number in 0..6 {
        let mut client = Client::connect(&farm).await;
        assert_eq!(client.get(&format!("/get/{number}")).await.text(), "good");
        let delete = format!("DELETE /delete/{number} HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(client.ask(delete.as_bytes()).await.text(), "good");
        for (method, body) in [("POST", "body"), ("POST", ""), ("PUT", "body"), ("PATCH", "body")] {
            let mut client = Client::connect(&farm).await;
            let line = format!("{method} /{number}/{} ", body.len());
            let length = body.len();
            let request = format!("{line}HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}");
            let answer = client.ask(request.as_bytes()).await;
            assert_eq!(times(&bad, &line) + times(&good, &line), 1, "{line}");
            if times(&bad, &line) == 1 {
                failures += 1;
                assert_tells_nothing(&answer, 502, &addresses);
            } else {
                assert_eq!(answer.text(), "good");
            }
        }
    }
    assert!(failures > 0, "both have their turn");
    farm.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_no_answer_is_502() {
    for garbage in [
        &b"220 mail.example.com ESMTP\r\n"[..],
        b"HTTP/1.1 ok\r\n\r\n",
        b"HTTP/1.1 99 x\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA b: c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: \0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nhello!",
        b"\x15\x03\x03\x00\x02\x02\x46",
        b"HTTP/1.1 200 O",
        b"",
    ] {
        let gateway = RawGateway::start(move |_, _| Then::AnswerAndClose(garbage.to_vec())).await;
        let farm = farm(&[gateway.address], |_| {}).await;
        let mut client = Client::connect(&farm).await;
        assert_tells_nothing(&client.get("/").await, 502, &[gateway.address]);
        // nothing of the request is left, so the connection goes on
        assert_tells_nothing(&client.post("/", "body").await, 502, &[gateway.address]);
        client.is_told_goodbye().await;
        assert_eq!(fates(&farm, 1, "broken").await, 2.0, "{}", garbage.escape_ascii());
        assert_eq!(gateway.requests(), 2, "there is nobody else to ask");
        drop(client);
        farm.stop().await.unwrap();
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_seen_to_break_off_and_nobody_else_is_asked() {
    for half in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        let gateway = RawGateway::start(move |_, _| Then::AnswerAndClose(half.to_vec())).await;
        let other = RawGateway::start(move |_, _| Then::AnswerAndClose(half.to_vec())).await;
        let farm = farm(&[gateway.address, other.address], |_| {}).await;
        let mut client = Client::connect(&farm).await;
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(client.head().await.starts_with("HTTP/1.1 200 OK\r\n"));
        let body = client.rest().await;
        assert!(
            body.windows(4).any(|w| w == b"half") && !body.ends_with(b"0\r\n\r\n"),
            "{}",
            body.escape_ascii()
        );
        assert_eq!(gateway.requests() + other.requests(), 1);
        assert_eq!([fates(&farm, 2, "answered").await, fates(&farm, 2, "broken").await], [1.0, 1.0]);
        drop(client);
        farm.stop().await.unwrap();
    }
}

/// A listener whose backlog is full: whoever connects hears nothing.
async fn deaf() -> (TcpListener, TcpStream) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let only = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (listener, only)
}

#[tokio::test]
async fn a_gateway_that_does_not_take_connections_is_504_or_the_next_one() {
    let (deaf, _only) = deaf().await;
    let good = RawGateway::named("good").await;
    let addresses = [deaf.local_addr().unwrap(), good.address];
    let impatient = |proxy: &mut Proxy| proxy.upstream.connect_timeout = Duration::from_millis(200);
    let alone = farm(&addresses[..1], impatient).await;
    assert_tells_nothing(&Client::connect(&alone).await.get("/").await, 504, &addresses);
    assert_eq!(fates(&alone, 1, "connect_timeout").await, 1.0);
    alone.stop().await.unwrap();
    let both = farm(&addresses, impatient).await;
    for _ in 0..2 {
        assert_eq!(Client::connect(&both).await.post("/", "body").await.text(), "good");
    }
    assert!(fates(&both, 2, "connect_timeout").await >= 1.0);
    both.stop().await.unwrap();
}

#[tokio::test]
async fn a_gateway_that_does_not_answer_in_time_is_504_and_nobody_else_is_asked() {
    let silent =
        [RawGateway::start(|_, _| Then::Silence).await, RawGateway::start(|_, _| Then::Silence).await];
    let addresses = silent.each_ref().map(|gateway| gateway.address);
    let farm = farm(&addresses, |proxy| proxy.response_timeout = Duration::from_millis(200)).await;
    let mut client = Client::connect(&farm).await;
    assert_tells_nothing(&client.get("/").await, 504, &addresses);
    assert_eq!(silent[0].requests() + silent[1].requests(), 1);
    assert_eq!(fates(&farm, 2, "response_timeout").await, 1.0);
    assert_eq!(retries(&farm, 2).await, 0.0);
    // the connection goes on; that to the gateway does not, for the answer may still come
    assert_tells_nothing(&client.post("/", "body").await, 504, &addresses);
    client.is_told_goodbye().await;
    drop(client);
    for gateway in &silent {
        gateway.until_all_over().await;
    }
    farm.stop().await.unwrap();
}

#[tokio::test]
async fn an_upload_has_as_long_as_it_moves_and_a_client_that_stalls_is_408() {
    let gateway =
        RawGateway::start(|request, _| Then::Answer(ok(request.split("\r\n\r\n").nth(1).unwrap()))).await;
    let farm = farm(&[gateway.address], |proxy| proxy.response_timeout = Duration::from_millis(400)).await;
    let mut client = Client::connect(&farm).await;
    client.send(b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n").await;
    for digit in "0123456789".bytes() {
        // five times the response timeout in all
        tokio::time::sleep(Duration::from_millis(200)).await;
        client.send(&[digit]).await;
    }
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.text()), (200, "0123456789"));

    client.send(b"POST /stalled HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n01234").await;
    let answer = client.answer().await;
    assert_tells_nothing(&answer, 408, &[gateway.address]);
    client.is_told_goodbye().await;
    assert_eq!(times(&gateway, "POST /stalled "), 1);
    gateway.until_all_over().await;
    assert_eq!(fates(&farm, 1, "answered").await, 1.0);
    assert_eq!(fates(&farm, 1, "broken").await + fates(&farm, 1, "response_timeout").await, 0.0);
    drop(client);
    farm.stop().await.unwrap();
}

#[tokio::test]
async fn a_client_that_goes_away_in_the_middle_of_a_body_is_not_the_gateways_fault() {
    let gateway = RawGateway::named("x").await;
    let farm = farm(&[gateway.address], |_| {}).await;
    let mut client = Client::connect(&farm).await;
    client.send(b"POST /gone HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n01234").await;
    gateway.until(|seen| seen.iter().any(|seen| seen.bytes.ends_with(b"01234"))).await;
    drop(client);
    gateway.until_all_over().await;
    assert_eq!(Client::connect(&farm).await.get("/").await.text(), "x");
    assert_eq!((times(&gateway, "POST /gone "), gateway.requests()), (1, 2));
    assert_eq!(fates(&farm, 1, "broken").await, 0.0);
    farm.stop().await.unwrap();
}

#[tokio::test]
async fn where_no_gateway_is_available_the_answer_says_when_to_come_again() {
    let gateway = RawGateway::named("x").await;
    let farm = farm(&[gateway.address], |_| {}).await;
    let mut client = Client::connect(&farm).await;
    farm.set_service(0, ServiceState::Down);
    farm.wait_until(|status| !status.gateways[0].availability.ssl.available).await;
    let answer = client.get("/").await;
    assert_tells_nothing(&answer, 503, &[gateway.address]);
    assert_eq!(answer.header("Retry-After"), Some("5"));
    farm.until_metric("vestibule_unavailable_total{listener=\"portal\"}", 1.0).await;
    assert_eq!(gateway.connections(), 0);
    farm.set_service(0, ServiceState::Up);
    farm.wait_until(|status| status.gateways[0].availability.ssl.available).await;
    assert_eq!(client.get("/").await.text(), "x", "over the same connection");
    drop(client);
    farm.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_counted_of_gateways_is_true() {
    let gateway = RawGateway::start(|request, _| match request.starts_with("GET /silent ") {
        true => Then::Silence,
        false => Then::Answer(ok("x")),
    })
    .await;
    let farm = farm(&[gateway.address], |_| {}).await;
    let connections = |state| format!("vestibule_upstream_connections{{gateway=\"gw1\",state=\"{state}\"}}");
    let mut client = Client::connect(&farm).await;
    for _ in 0..3 {
        client.get("/").await;
    }
    farm.until_metric(&connections("idle"), 1.0).await;
    farm.until_metric(&connections("active"), 0.0).await;
    assert_eq!(fates(&farm, 1, "answered").await, 3.0);
    let durations = "vestibule_upstream_duration_seconds_count{gateway=\"gw1\"}";
    farm.until_metric(durations, 3.0).await;
    client.send(b"GET /silent HTTP/1.1\r\nHost: x\r\n\r\n").await;
    farm.until_metric(&connections("active"), 1.0).await;
    farm.until_metric(&connections("idle"), 0.0).await;
    // who gives up takes the connection along
    drop(client);
    farm.until_metric(&connections("active"), 0.0).await;
    gateway.until_all_over().await;
    farm.until_metric(durations, 3.0).await;
    farm.stop().await.unwrap();
}
