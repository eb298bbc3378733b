//! What each kind of request gets (RFC 9110, lab/FINDINGS).

use std::net::SocketAddr;
use std::time::Duration;

use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncWriteExt;
use vestibule::fleet::State;
use vestibule::heartbeat::ServiceState;

use crate::support::{Running, anyone, ask, connect_with, header, read_head, status};

#[tokio::test]
async fn the_least_loaded_gateway_is_named_whatever_the_load_before() {
    let farm = Running::farm(3).await;
    for least in [2, 0, 1] {
        for gateway in 0..3 {
            farm.set_tunnels(gateway, if gateway == least { 50 } else { 600 }).await;
        }
        assert_eq!(farm.gateway_chosen().await, Some(least));
    }
}

#[tokio::test]
async fn the_answer_is_what_clients_follow() {
    let farm = Running::farm(1).await;
    let answer = farm.exchange(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 302 Found\r\n"), "{answer}");
    assert_eq!(header(&answer, "Location"), Some(&*format!("https://{}/", farm.pages[0])));
    assert_eq!(header(&answer, "Content-Length"), Some("0"));
    assert_eq!(header(&answer, "Cache-Control"), Some("no-store"));
    assert_eq!(header(&answer, "Connection"), Some("close"));
    assert_eq!(header(&answer, "Set-Cookie"), None);
}

#[tokio::test]
async fn the_first_request_of_openconnect_is_redirected_and_the_connection_kept() {
    let farm = Running::farm(1).await;
    let mut stream = farm.connect().await;
    let body = "<config-auth client=\"vpn\" type=\"init\"></config-auth>";
    let request = format!(
        "POST / HTTP/1.1\r\nHost: vpn.lab\r\nX-Aggregate-Auth: 1\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    for _ in 0..3 {
        stream.write_all(request.as_bytes()).await.unwrap();
        assert_eq!(status(&read_head(&mut stream).await), 302);
    }
}

#[tokio::test]
async fn neither_host_nor_path_nor_query_changes_where_it_goes() {
    let farm = Running::with(1, |settings| settings.listeners[0].redirect.keep_path = true).await;
    let origin = format!("https://{}/", farm.pages[0]);
    for (target, host) in [
        ("/", "evil.example"),
        ("//evil.example/", "x"),
        ("/\\evil.example", "x"),
        ("/@evil.example", "x"),
        ("http://evil.example/", "evil.example"),
        ("/%0d%0aLocation:%20https://evil.example/", "x"),
        ("/path?next=https://evil.example/", "x"),
        ("/", "evil.example\"><script>"),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = farm.exchange(request.as_bytes()).await;
        if status(&answer) == 302 {
            let location = header(&answer, "Location").unwrap();
            assert!(location.starts_with(&origin), "{target} of {host}: {location}");
            assert!(!location.contains('?'), "{location}");
        } else {
            assert_eq!(status(&answer), 400, "{target} of {host}: {answer}");
        }
        let locations = answer.lines().filter(|line| line.to_ascii_lowercase().starts_with("location:"));
        assert!(locations.count() <= 1, "{answer}");
    }
}

#[tokio::test]
async fn each_method_gets_a_sensible_answer() {
    let farm = Running::farm(1).await;
    for (request, expected) in [
        ("GET / HTTP/1.1", 302),
        ("HEAD / HTTP/1.1", 302),
        ("PUT /x HTTP/1.1", 302),
        ("OPTIONS * HTTP/1.1", 204),
        ("OPTIONS / HTTP/1.1", 204),
        ("TRACE / HTTP/1.1", 405),
        ("CONNECT vpn.lab:443 HTTP/1.1", 405),
        ("CONNECT /CSCOSSLC/tunnel HTTP/1.1", 405),
        ("POST /prx/000/http/localhost/login HTTP/1.1", 403),
        ("FROBNICATE / HTTP/1.1", 302),
        // openconnect --protocol=pulse, and a WebSocket
        ("GET / HTTP/1.1\r\nUpgrade: IF-T/TLS 1.0", 302),
        ("GET / HTTP/1.1\r\nUpgrade: websocket", 302),
    ] {
        let answer =
            farm.exchange(format!("{request}\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).await;
        assert_eq!(status(&answer), expected, "{request}: {answer}");
        if [204, 405].contains(&expected) {
            assert_eq!(header(&answer, "Allow"), Some("GET, HEAD, POST, OPTIONS"), "{request}");
        }
        if expected == 403 {
            assert_eq!(header(&answer, "Location"), None);
        }
    }
}

#[tokio::test]
async fn http_1_0_gets_an_answer_and_the_connection_is_closed() {
    let farm = Running::farm(1).await;
    let answer = farm.exchange(b"GET / HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 302"), "{answer}");
    assert!(header(&answer, "Location").is_some());
}

#[tokio::test]
async fn head_gets_no_body_and_charges_no_gateway() {
    let farm = Running::farm(1).await;
    farm.set_service(0, ServiceState::Down);
    farm.wait_until(|s| s.gateways[0].state == State::Down).await;
    let answer = farm.exchange(b"HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert_eq!(status(&answer), 503);
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    farm.set_service(0, ServiceState::Up);
    farm.wait_until(|s| s.gateways[0].state == State::Up).await;
    farm.exchange(b"HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert_eq!(farm.wait_until(|_| true).await.gateways[0].pending, 0);
    farm.exchange(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert_eq!(farm.wait_until(|_| true).await.gateways[0].pending, 1);
}

#[tokio::test]
async fn what_is_not_http_gets_400_and_what_is_too_long_gets_431() {
    let farm = Running::farm(1).await;
    assert_eq!(status(&farm.exchange(b"GET / HTTP/1.1\r\nHost x\r\n\r\n").await), 400);
    assert_eq!(status(&farm.exchange(b"\x16\x03\x01 nonsense\r\n\r\n").await), 400);
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(200_000));
    assert_eq!(status(&farm.exchange(long.as_bytes()).await), 431);
    let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(500));
    assert_eq!(status(&farm.exchange(many.as_bytes()).await), 431);
}

#[tokio::test]
async fn a_body_is_read_up_to_a_limit_and_the_close_is_clean_either_way() {
    let farm = Running::farm(1).await;
    for size in [1, 65_536, 65_537, 900_000] {
        let head =
            format!("POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {size}\r\n\r\n");
        let request = [head.as_bytes(), &vec![b'x'; size]].concat();
        let answer = farm.exchange(&request).await;
        assert_eq!(status(&answer), 302, "{size}");
    }
    let chunked = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n\
                    3\r\nabc\r\n0\r\n\r\n";
    assert_eq!(status(&farm.exchange(chunked).await), 302);
}

#[tokio::test]
async fn a_body_that_was_not_read_whole_is_not_taken_for_the_next_request() {
    let farm = Running::farm(1).await;
    let hidden = "GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n".repeat(3000);
    let head = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", hidden.len());
    let answer = farm.exchange((head + &hidden).as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1 302").count(), 1, "{answer}");
    assert_eq!(header(&answer, "Connection"), Some("close"));
}

#[tokio::test]
async fn without_a_gateway_there_is_503_with_a_page_that_people_understand() {
    let farm = Running::with(2, |settings| {
        settings.listeners[0].redirect.retry_after = std::time::Duration::from_secs(7);
    })
    .await;
    for gateway in 0..2 {
        farm.set_service(gateway, ServiceState::Down);
    }
    farm.wait_until(|s| s.gateways.iter().all(|g| g.state == State::Down)).await;
    let answer = farm.exchange(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert_eq!(status(&answer), 503);
    assert_eq!(header(&answer, "Retry-After"), Some("7"));
    assert_eq!(header(&answer, "Location"), None);
    assert!(answer.contains("No VPN gateway is available"), "{answer}");
    farm.until_metric("vestibule_unavailable_total{listener=\"portal\"}", 1.0).await;
}

#[tokio::test]
async fn http_2_is_answered_too_with_and_without_a_body() {
    let farm = Running::farm(1).await;
    let mut config = anyone();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = connect_with(farm.front, "localhost", config).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let driver = tokio::spawn(connection);
    for (method, size, expected) in [
        (Method::GET, 0, StatusCode::FOUND),
        (Method::POST, 1000, StatusCode::FOUND),
        (Method::POST, 200_000, StatusCode::FOUND),
        (Method::OPTIONS, 0, StatusCode::NO_CONTENT),
        (Method::TRACE, 0, StatusCode::METHOD_NOT_ALLOWED),
        (Method::GET, 0, StatusCode::FOUND),
    ] {
        let body = Full::new(bytes::Bytes::from(vec![b'x'; size]));
        let request = Request::builder().method(&method).uri("https://vpn.lab/").body(body).unwrap();
        sender.ready().await.unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), expected, "{method} with {size}");
        assert_eq!(response.headers().get("connection"), None, "HTTP/2 has no such header (RFC 9113 §8.2.2)");
        let _ = response.into_body().collect().await;
    }
    driver.abort();
}

#[tokio::test]
async fn a_burst_of_logins_between_two_reports_spreads_over_equal_gateways() {
    let farm = Running::with(4, |settings| {
        for probe in &mut settings.probes {
            probe.interval = std::time::Duration::from_secs(3600);
        }
    })
    .await;
    let mut stream = farm.connect().await;
    for _ in 0..1000 {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        assert_eq!(status(&read_head(&mut stream).await), 302);
    }
    let status = farm.wait_until(|_| true).await;
    let pending: Vec<_> = status.gateways.iter().map(|g| g.pending).collect();
    assert_eq!(pending.iter().sum::<u64>(), 1000);
    assert!(pending.iter().all(|&n| n <= 260), "{pending:?}");
    let redirects: f64 = {
        let mut sum = 0.0;
        for n in 1..=4 {
            let sample = format!("vestibule_redirects_total{{gateway=\"gw{n}\",listener=\"portal\"}}");
            let other = format!("vestibule_redirects_total{{listener=\"portal\",gateway=\"gw{n}\"}}");
            sum += farm.metric(&sample).await.or(farm.metric(&other).await).unwrap();
        }
        sum
    };
    assert!((redirects - 1000.0).abs() < f64::EPSILON, "{redirects}");
}

/// Between two reports all that tells the gateways apart is what the workers have counted.
async fn farm_between_two_reports(tunnels: [u64; 4]) -> Running {
    let farm = Running::with(4, |settings| {
        settings.workers = 4;
        settings.fleet.balance.slow_start = Duration::ZERO;
    })
    .await;
    for (gateway, count) in tunnels.into_iter().enumerate() {
        farm.set_tunnels(gateway, count).await;
    }
    let mut settings = farm.settings();
    for probe in &mut settings.probes {
        probe.interval = Duration::from_secs(3600);
    }
    farm.reload(settings).await.unwrap();
    farm
}

/// Asks `farm` over 50 connections at a time, 20 times each, and tells how many were sent to each gateway.
async fn a_thousand_logins(farm: &Running) -> [u64; 4] {
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let mut stream = farm.connect().await;
        clients.spawn(async move {
            let mut locations = Vec::new();
            for _ in 0..20 {
                locations.push(header(&ask(&mut stream).await, "Location").unwrap().to_owned());
            }
            locations
        });
    }
    let locations = clients.join_all().await.concat();
    let sent_to = |page: &SocketAddr| locations.iter().filter(|l| **l == format!("https://{page}/")).count();
    let counts: Vec<_> = farm.pages.iter().map(|page| sent_to(page) as u64).collect();
    assert_eq!(counts.iter().sum::<u64>(), 1000);
    counts.try_into().unwrap()
}

#[tokio::test]
async fn workers_share_what_they_know_of_those_on_their_way() {
    let farm = farm_between_two_reports([100; 4]).await;
    let counts = a_thousand_logins(&farm).await;
    assert!(counts.iter().all(|count| *count <= 260), "{counts:?}");
    let status = farm.wait_until(|_| true).await;
    assert_eq!(status.gateways.iter().map(|g| g.pending).collect::<Vec<_>>(), counts);

    // workers who each kept an account of their own would all fill the first one for themselves
    let farm = farm_between_two_reports([100, 500, 500, 500]).await;
    let counts = a_thousand_logins(&farm).await;
    assert!(counts[0].abs_diff(550) <= 10 && counts[1..].iter().all(|c| c.abs_diff(150) <= 10), "{counts:?}");
}
