//! A listener in mode `proxy`: requests, responses and the connections that they go over.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::sync::Barrier;
use vestibule::front::{Forwarded, Proxy};
use vestibule::heartbeat::ServiceState;

use crate::client::Client;
use crate::gateway::{RawGateway, Then, ok, proxy_to};
use crate::support::{PATIENCE, Running, status};

/// A farm with one worker, whose connections to gateways all clients share.
async fn farm(gateways: &[SocketAddr], change: impl FnOnce(&mut Proxy)) -> Running {
    Running::with(gateways.len(), |settings| {
        settings.workers = 1;
        proxy_to(settings, gateways, change);
    })
    .await
}

const IDLE: &str = "vestibule_upstream_connections{gateway=\"gw1\",state=\"idle\"}";

#[tokio::test]
async fn requests_go_to_the_gateways_one_after_the_other_and_their_names_keep_case_and_order() {
    let gateways = [RawGateway::named("one").await, RawGateway::named("two").await];
    let addresses = gateways.each_ref().map(|gateway| gateway.address);
    let farm = Running::with(2, |settings| proxy_to(settings, &addresses, |_| {})).await;
    let mut bodies = Vec::new();
    for _ in 0..4 {
        let request = b"GET /a?b HTTP/1.1\r\nX-CSTP-Version: 1\r\nHost: vpn.example.com\r\nuser-AGENT: x\r\nConnection: close, X-Odd\r\nX-Odd: 1\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n";
        let answer = farm.exchange(request).await;
        assert_eq!(status(&answer), 200, "{answer}");
        bodies.push(answer.split("\r\n\r\n").nth(1).unwrap().to_owned());
    }
    assert_eq!(bodies, ["one", "two", "one", "two"]);
    let received = gateways[0].received().concat();
    let first = received.split("\r\n\r\n").next().unwrap();
    assert_eq!(
        first,
        "GET /a?b HTTP/1.1\r\nX-CSTP-Version: 1\r\nHost: vpn.example.com\r\nuser-AGENT: x\r\nX-Forwarded-For: \
         127.0.0.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: vpn.example.com"
    );
    farm.stop().await.unwrap();
}

#[tokio::test]
async fn one_request_after_the_other_takes_one_connection_whoever_asks() {
    let gateway = RawGateway::named("x").await;
    let farm = farm(&[gateway.address], |_| {}).await;
    let mut first = Client::connect(&farm).await;
    for _ in 0..20 {
        assert_eq!(first.get("/").await.text(), "x");
        farm.until_metric(IDLE, 1.0).await;
    }
    for _ in 0..5 {
        let mut client = Client::connect(&farm).await;
        assert_eq!(client.get("/").await.text(), "x");
        farm.until_metric(IDLE, 1.0).await;
    }
    assert_eq!((gateway.connections(), gateway.requests()), (1, 25));
    drop(first);
    farm.stop().await.unwrap();
}

#[tokio::test]
async fn where_connections_do_not_persist_each_request_has_its_own() {
    let gateway = RawGateway::named("x").await;
    let farm = farm(&[gateway.address], |proxy| proxy.persistent_connections = false).await;
    let mut client = Client::connect(&farm).await;
    for _ in 0..5 {
        assert_eq!(client.get("/").await.text(), "x");
    }
    assert_eq!((gateway.connections(), gateway.requests()), (5, 5));
    gateway.until_all_over().await;
    assert_eq!(farm.metric(IDLE).await, Some(0.0));
    drop(client);
    farm.stop().await.unwrap();
}

#[tokio::test]
async fn no_more_connections_are_kept_than_there_is_room_for() {
    let all_have_come = Arc::new(Barrier::new(5));
    let gateway = RawGateway::scripted(move |mut line| {
        let all_have_come = Arc::clone(&all_have_come);
        async move {
            line.request().await.unwrap();
            all_have_come.wait().await;
            line.send(&ok("x")).await;
            line.until_closed().await;
        }
    })
    .await;
    let farm = farm(&[gateway.address], |proxy| proxy.idle_per_gateway = 2).await;
    let farm = Arc::new(farm);
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..5 {
        let farm = Arc::clone(&farm);
        clients.spawn(async move { Client::connect(&farm).await.get("/").await.status() });
    }
    assert_eq!(clients.join_all().await, [200; 5]);
    gateway.until(|seen| seen.iter().filter(|seen| seen.is_over).count() == 3).await;
    farm.until_metric(IDLE, 2.0).await;
    Arc::into_inner(farm).unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn connections_to_a_gateway_that_is_down_or_no_longer_there_are_closed() {
    let gateways = [RawGateway::named("one").await, RawGateway::named("two").await];
    let farm = farm(&gateways.each_ref().map(|gateway| gateway.address), |_| {}).await;
    let mut client = Client::connect(&farm).await;
    for expected in ["one", "two"] {
        assert_eq!(client.get("/").await.text(), expected);
    }
    for gateway in &gateways {
        assert!(gateway.seen().iter().all(|seen| !seen.is_over));
    }
    farm.set_service(0, ServiceState::Down);
    gateways[0].until_all_over().await;
    assert!(gateways[1].seen().iter().all(|seen| !seen.is_over));
    farm.set_service(0, ServiceState::Up);
    farm.wait_until(|status| status.gateways[0].availability.ssl.available).await;
    let mut settings = farm.settings();
    settings.fleet.gateways.remove(1);
    settings.probes.remove(1);
    farm.reload(settings).await.unwrap();
    gateways[1].until_all_over().await;
    assert_eq!(client.get("/").await.text(), "one");
    drop(client);
    farm.stop().await.unwrap();
}

/// A response of a gateway and what a client that has asked like this gets, without Date.
struct Case {
    request: &'static [u8],
    response: &'static [u8],
    head: &'static str,
    body: &'static [u8],
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
const HEAD: &[u8] = b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n";

const CASES: &[Case] = &[
    Case {
        request: GET,
        response: b"HTTP/1.1 200 OK\r\nx-ODD-Name: 1\r\nContent-Length: 5\r\nSet-Cookie: a=1\r\nb: 2\r\nset-COOKIE: c=3\r\n\r\nhello",
        head: "HTTP/1.1 200 OK\r\nx-ODD-Name: 1\r\nContent-Length: 5\r\nSet-Cookie: a=1\r\nset-COOKIE: c=3\r\nb: 2\r\n\r\n",
        body: b"hello",
    },
    Case {
        request: GET,
        response: b"HTTP/1.1 200 Fine so far\r\nContent-Length: 0\r\n\r\n",
        head: "HTTP/1.1 200 Fine so far\r\nContent-Length: 0\r\n\r\n",
        body: b"",
    },
    Case {
        request: GET,
        response: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
        head: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        body: b"hello",
    },
    // RFC 9112 §6.3: the coding counts
    Case {
        request: GET,
        response: b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        head: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        body: b"hello",
    },
    Case {
        request: GET,
        response: b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        head: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        body: b"hello",
    },
    // what belongs to the gateway's connection alone
    Case {
        request: GET,
        response: b"HTTP/1.1 200 OK\r\nConnection: X-Odd, keep-alive\r\nX-Odd: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: a\r\nTE: b\r\nUpgrade: h2c\r\nContent-Length: 5\r\n\r\nhello",
        head: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        body: b"hello",
    },
    // answers before the answer are for this hop
    Case {
        request: GET,
        response: b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        head: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        body: b"hello",
    },
    Case {
        request: HEAD,
        response: b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        head: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        body: b"",
    },
    Case {
        request: GET,
        response: b"HTTP/1.1 204 No Content\r\nA: b\r\n\r\n",
        head: "HTTP/1.1 204 No Content\r\nA: b\r\n\r\n",
        body: b"",
    },
    // the length of what does not come may be left out (RFC 9110 §15.4.5)
    Case {
        request: GET,
        response: b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: \"a\"\r\n\r\n",
        head: "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n",
        body: b"",
    },
    Case {
        request: GET,
        response: b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 5\r\n\r\nhello",
        head: "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 5\r\n\r\n",
        body: b"hello",
    },
    Case {
        request: GET,
        response: b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 5\r\n\r\nhello",
        head: "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 5\r\n\r\n",
        body: b"hello",
    },
];

/// Bodies that end with the gateway's connection.
const CASES_WITH_CLOSE: &[Case] = &[
    Case {
        request: GET,
        response: b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nhello",
        head: "HTTP/1.1 200 OK\r\nA: b\r\nTransfer-Encoding: chunked\r\n\r\n",
        body: b"hello",
    },
    Case {
        request: GET,
        response: b"HTTP/1.0 200 OK\r\nA: b\r\n\r\nhello",
        head: "HTTP/1.1 200 OK\r\nA: b\r\nTransfer-Encoding: chunked\r\n\r\n",
        body: b"hello",
    },
    Case {
        request: GET,
        response: b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
        head: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        body: b"hello",
    },
    Case {
        request: HEAD,
        response: b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n",
        head: "HTTP/1.1 200 OK\r\nA: b\r\n\r\n",
        body: b"",
    },
];

#[tokio::test]
async fn every_kind_of_response_arrives_and_both_connections_go_on() {
    let gateway = RawGateway::start(|_, number| Then::Answer(CASES[number].response.to_vec())).await;
    let farm = farm(&[gateway.address], |_| {}).await;
    let mut client = Client::connect(&farm).await;
    for case in CASES {
        arrives(&mut client, case).await;
        farm.until_metric(IDLE, 1.0).await;
    }
    assert_eq!(gateway.connections(), 1);
    drop(client);
    farm.stop().await.unwrap();
}

#[tokio::test]
async fn a_response_that_ends_with_the_gateways_connection_ends_nothing_else() {
    let gateway = RawGateway::scripted(|mut line| async move {
        line.request().await.unwrap();
        line.send(CASES_WITH_CLOSE[line.number()].response).await;
        line.shut_down().await;
    })
    .await;
    let farm = farm(&[gateway.address], |_| {}).await;
    let mut client = Client::connect(&farm).await;
    for case in CASES_WITH_CLOSE {
        arrives(&mut client, case).await;
        farm.until_metric(IDLE, 0.0).await;
    }
    drop(client);
    farm.stop().await.unwrap();
}

async fn arrives(client: &mut Client, case: &Case) {
    client.send(case.request).await;
    let (head, body) = if case.request.starts_with(b"HEAD ") {
        (client.head().await, Vec::new())
    } else {
        let answer = client.answer().await;
        (answer.head, answer.body)
    };
    assert_eq!(without_date(&head), case.head);
    assert_eq!(body, case.body, "{head}");
}

fn without_date(head: &str) -> String {
    head.split_inclusive("\r\n").filter(|line| !line.starts_with("Date: ")).collect()
}

#[tokio::test]
async fn an_http_1_0_client_gets_what_it_understands() {
    let gateway = RawGateway::start(|request, _| match request.starts_with("GET /chunked ") {
        true => Then::Answer(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".to_vec(),
        ),
        false => Then::Answer(ok("hello")),
    })
    .await;
    let farm = farm(&[gateway.address], |_| {}).await;
    let mut client = Client::connect(&farm).await;
    let kept = client.ask(b"GET /length HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
    assert_eq!((kept.status(), kept.header("Content-Length"), kept.text()), (200, Some("5"), "hello"));
    let last = client.ask(b"GET /chunked HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
    assert_eq!((last.status(), last.header("Transfer-Encoding"), last.text()), (200, None, "hello"));
    let received = gateway.received().concat();
    let host = format!("\r\nHost: {}\r\n", gateway.address);
    assert_eq!(received.matches(" HTTP/1.1\r\n").count(), 2);
    assert_eq!(received.matches(&host).count(), 2, "who names no host means this one: {received}");
    assert!(!received.contains("X-Forwarded-Host"), "and has not asked for any: {received}");
    drop(client);
    farm.stop().await.unwrap();
}

#[tokio::test]
async fn who_asks_whether_to_go_on_is_told_and_the_gateway_is_not_asked() {
    let gateway = RawGateway::named("x").await;
    let farm = farm(&[gateway.address], |_| {}).await;
    let mut client = Client::connect(&farm).await;
    for _ in 0..2 {
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n").await;
        assert_eq!(client.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
        assert_eq!(client.ask(b"hello").await.text(), "x");
    }
    let received = gateway.received().concat();
    assert!(received.ends_with("\r\n\r\nhello") && !received.contains("Expect"), "{received}");
    drop(client);
    farm.stop().await.unwrap();
}

#[tokio::test]
async fn an_answer_to_half_an_upload_arrives_and_nobody_waits_for_the_rest() {
    let gateway = RawGateway::scripted(|mut line| async move {
        while let Some(head) = line.head().await {
            let answer = match head.starts_with("POST ") {
                true => &b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 5\r\n\r\nlarge"[..],
                false => b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            };
            line.send(answer).await;
            if head.starts_with("POST ") {
                line.until_closed().await;
            }
        }
    })
    .await;
    let farm = farm(&[gateway.address], |_| {}).await;
    for _ in 0..3 {
        let mut uploading = Client::connect(&farm).await;
        uploading.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nbegin").await;
        let answer = uploading.answer().await;
        assert_eq!((answer.status(), answer.text()), (413, "large"));
        // the connection to the gateway still waits for a body, so it is no use to anybody else
        let started = Instant::now();
        assert_eq!(Client::connect(&farm).await.get("/").await.text(), "hello");
        assert!(started.elapsed() < PATIENCE / 4);
    }
    farm.stop().await.unwrap();
}

#[tokio::test]
async fn a_long_answer_arrives_whole() {
    let value = "v".repeat(10_000);
    let many: String = (0..90).map(|n| format!("X-Header-{n}: {n}\r\n")).collect();
    let head = format!("HTTP/1.1 200 OK\r\nX-Long: {value}\r\n{many}Content-Length: 0\r\n");
    let response = format!("{head}\r\n");
    let gateway = RawGateway::start(move |_, _| Then::Answer(response.clone().into_bytes())).await;
    let farm = farm(&[gateway.address], |_| {}).await;
    let mut client = Client::connect(&farm).await;
    let answer = client.get("/").await;
    assert!(answer.head.starts_with(&head), "{}", answer.head);
    drop(client);
    farm.stop().await.unwrap();
}

#[tokio::test]
async fn gateways_are_told_who_asks_and_not_what_the_client_says_of_that() {
    let lies = "X-Forwarded-For: 1.1.1.1\r\nx-forwarded-for: 2.2.2.2\r\nX_Forwarded_For: 3.3.3.3\r\nForwarded: for=4.4.4.4\r\nX-Real-IP: 5.5.5.5\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: y\r\n";
    let x = "X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: x:8443\r\n";
    let rfc7239 = "Forwarded: for=127.0.0.1;host=\"x:8443\";proto=https\r\n";
    for (forwarded, told) in [
        (Forwarded::None, String::new()),
        (Forwarded::XForwarded, x.to_owned()),
        (Forwarded::Rfc7239, rfc7239.to_owned()),
        (Forwarded::Both, format!("{x}{rfc7239}")),
    ] {
        let gateway = RawGateway::named("x").await;
        let farm = farm(&[gateway.address], |proxy| proxy.forwarded = forwarded).await;
        let mut client = Client::connect(&farm).await;
        client.ask(format!("GET / HTTP/1.1\r\nHost: x:8443\r\n{lies}A: b\r\n\r\n").as_bytes()).await;
        let expected = format!("GET / HTTP/1.1\r\nHost: x:8443\r\nA: b\r\n{told}\r\n");
        assert_eq!(gateway.received().concat().to_ascii_lowercase(), expected.to_ascii_lowercase());
        drop(client);
        farm.stop().await.unwrap();
    }
}

#[tokio::test]
async fn what_a_trusted_proxy_says_is_kept_and_added_to() {
    let gateway = RawGateway::named("x").await;
    let farm = farm(&[gateway.address], |proxy| {
        proxy.forwarded = Forwarded::Both;
        proxy.upstream.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    let mut client = Client::connect(&farm).await;
    client.ask(b"GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 192.0.2.2\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: y\r\nForwarded: for=192.0.2.1\r\nX-Real-IP: 192.0.2.1\r\n\r\n").await;
    let received = gateway.received().concat();
    for line in [
        "X-Forwarded-For: 192.0.2.1, 192.0.2.2, 127.0.0.1",
        "X-Forwarded-Proto: http",
        "X-Forwarded-Host: y",
        "Forwarded: for=192.0.2.1, for=127.0.0.1;host=\"x\";proto=https",
        "X-Real-IP: 192.0.2.1",
    ] {
        assert_eq!(received.matches(&format!("\r\n{line}\r\n")).count(), 1, "{line} in {received}");
    }
    assert_eq!(received.matches("X-Forwarded-For").count(), 1);
    drop(client);
    farm.stop().await.unwrap();
}

/// How much of this process is in memory.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;
static SEVENS: [u8; 64 * 1024] = [7; 64 * 1024];

#[tokio::test]
async fn a_gibibyte_goes_through_both_ways_and_never_sits_in_memory() {
    let gateway = RawGateway::scripted(|mut line| async move {
        let head = line.head().await.unwrap();
        let mut piece = vec![7; 64 * 1024];
        let mut count = 0;
        if head.starts_with("GET ") {
            line.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {GIB}\r\n\r\n").as_bytes()).await;
            while count < GIB {
                assert!(line.send(&piece).await);
                count += piece.len() as u64;
            }
        } else {
            while count < GIB {
                let read = line.read_into(&mut piece).await;
                assert!(read > 0 && piece[..read] == SEVENS[..read]);
                count += read as u64;
            }
            line.send(&ok(&count.to_string())).await;
        }
        line.until_closed().await;
    })
    .await;
    let farm = farm(&[gateway.address], |_| {}).await;
    let mut up = Client::connect(&farm).await;
    let mut down = Client::connect(&farm).await;
    let before = resident();
    let uploading = tokio::spawn(async move {
        up.send(format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {GIB}\r\n\r\n").as_bytes()).await;
        let piece = vec![7; 64 * 1024];
        for _ in 0..GIB / piece.len() as u64 {
            up.stream.write_all(&piece).await.unwrap();
        }
        // TLS may still hold the last of it
        up.stream.flush().await.unwrap();
        up.answer().await
    });
    let downloading = tokio::spawn(async move {
        down.send(GET).await;
        let head = down.head().await;
        let mut count = 0;
        while count < GIB {
            let piece = down.some().await;
            assert!(!piece.is_empty() && piece == SEVENS[..piece.len()]);
            count += piece.len() as u64;
        }
        (head, count)
    });
    let mut most = before;
    while !(uploading.is_finished() && downloading.is_finished()) {
        most = most.max(resident());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(uploading.await.unwrap().text(), GIB.to_string());
    let (head, count) = downloading.await.unwrap();
    assert_eq!((status(&head), count), (200, GIB));
    // other tests run meanwhile, in the same process
    assert!(most - before < 128 * MIB, "{} MiB more than before", (most - before) / MIB);
    for (direction, total) in [("in", GIB), ("out", GIB)] {
        let sample =
            format!("vestibule_transferred_bytes_total{{listener=\"portal\",direction=\"{direction}\"}}");
        assert!(farm.metric(&sample).await.unwrap() >= total as f64);
    }
    farm.stop().await.unwrap();
}

/// Waits until a number has not grown for a while. This is not waiting for something but giving a fault its
/// time to show.
async fn comes_to_rest(number: &AtomicU64) -> u64 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let before = number.load(Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(500)).await;
        let after = number.load(Ordering::Relaxed);
        if before == after && after > 0 {
            return after;
        }
        assert!(Instant::now() < deadline, "it never stops, after {after} bytes");
    }
}

const FAR_TOO_MUCH: u64 = 256 * MIB;

#[tokio::test]
async fn a_client_that_does_not_read_stops_the_gateway() {
    let written = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&written);
    let gateway = RawGateway::scripted(move |mut line| {
        let written = Arc::clone(&counted);
        async move {
            line.head().await.unwrap();
            line.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {FAR_TOO_MUCH}\r\n\r\n").as_bytes()).await;
            let piece = vec![7; 64 * 1024];
            while written.load(Ordering::Relaxed) < FAR_TOO_MUCH && line.send(&piece).await {
                written.fetch_add(piece.len() as u64, Ordering::Relaxed);
            }
            line.until_closed().await;
        }
    })
    .await;
    let farm = farm(&[gateway.address], |_| {}).await;
    let mut client = Client::connect(&farm).await;
    client.send(GET).await;
    client.head().await;
    let stopped = comes_to_rest(&written).await;
    assert!(stopped < FAR_TOO_MUCH / 4, "{} MiB were taken", stopped / MIB);
    let mut count = 0;
    while count < FAR_TOO_MUCH {
        count += client.some().await.len() as u64;
    }
    assert_eq!(count, FAR_TOO_MUCH, "it goes on where it stopped");
    drop(client);
    farm.stop().await.unwrap();
}

#[tokio::test]
async fn a_gateway_that_does_not_read_stops_the_client() {
    let (release, released) = tokio::sync::watch::channel(false);
    let gateway = RawGateway::scripted(move |mut line| {
        let mut released = released.clone();
        async move {
            line.head().await.unwrap();
            released.wait_for(|released| *released).await.unwrap();
            let (mut piece, mut count) = (vec![0; 64 * 1024], 0);
            while count < FAR_TOO_MUCH {
                count += line.read_into(&mut piece).await as u64;
            }
            line.send(&ok("all")).await;
            line.until_closed().await;
        }
    })
    .await;
    let farm = farm(&[gateway.address], |_| {}).await;
    let mut client = Client::connect(&farm).await;
    let written = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&written);
    let uploading = tokio::spawn(async move {
        let head = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {FAR_TOO_MUCH}\r\n\r\n");
        client.send(head.as_bytes()).await;
        let piece = vec![7; 64 * 1024];
        while counted.load(Ordering::Relaxed) < FAR_TOO_MUCH {
            client.stream.write_all(&piece).await.unwrap();
            counted.fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
        // TLS may still hold the last of it
        client.stream.flush().await.unwrap();
        client.answer().await
    });
    let stopped = comes_to_rest(&written).await;
    assert!(stopped < FAR_TOO_MUCH / 4, "{} MiB were taken", stopped / MIB);
    release.send_replace(true);
    assert_eq!(uploading.await.unwrap().text(), "all");
    farm.stop().await.unwrap();
}

/// Time to the head, not the time of the upload.
#[tokio::test]
async fn the_response_time_begins_with_the_end_of_the_request() {
    let gateway = RawGateway::named("x").await;
    let farm = farm(&[gateway.address], |_| {}).await;
    let mut client = Client::connect(&farm).await;
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\na").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    client.send(b"b").await;
    client.answer().await;
    let sum = farm.metric("vestibule_upstream_duration_seconds_sum{gateway=\"gw1\"}").await.unwrap();
    assert!(sum < 1.0, "{sum}");
    drop(client);
    farm.stop().await.unwrap();
}

#[tokio::test]
async fn a_client_that_is_gone_without_a_word_is_found_out() {
    let gateway = RawGateway::named("x").await;
    let farm = farm(&[gateway.address], |_| {}).await;
    let client = tokio::net::TcpStream::connect(farm.front).await.unwrap();
    // as /proc/net/tcp has them: the last timer of the front door's end is that of keepalive (2)
    let [ours, theirs] = [farm.front, client.local_addr().unwrap()].map(|address| {
        let SocketAddr::V4(address) = address else { panic!("IPv4") };
        format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port())
    });
    let began = Instant::now();
    loop {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let line = table.lines().find(|line| line.contains(&format!("{ours} {theirs}")));
        if line.is_some_and(|line| line.split_whitespace().nth(5).unwrap().starts_with("02:")) {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{line:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
