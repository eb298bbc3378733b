//! What administrators see.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use vestibule::admin::events::Kind;
use vestibule::admin::status::Status;
use vestibule::fleet::State;
use vestibule::heartbeat::ServiceState;

use crate::support::{Running, read_head};

#[tokio::test]
async fn readiness_follows_the_farm() {
    let farm = Running::farm(1).await;
    assert_eq!(farm.admin("/healthz").await.0, 200);
    assert_eq!(farm.admin("/readyz").await, (200, "ready\n".into()));
    farm.set_service(0, ServiceState::Down);
    farm.wait_until(|status| status.gateways[0].state == State::Down).await;
    let (code, reasons) = farm.admin("/readyz").await;
    assert_eq!(code, 503);
    assert!(reasons.contains("gateway"), "{reasons}");
    assert_eq!(farm.admin("/healthz").await.0, 200);
}

#[tokio::test]
async fn metrics_have_the_names_and_labels_of_the_contract() {
    let farm = Running::farm(2).await;
    farm.gateway_chosen().await;
    let (code, text) = farm.admin("/metrics").await;
    assert_eq!(code, 200);
    for start in [
        "vestibule_build_info{",
        "vestibule_gateway_up{gateway=\"gw1\",vpn=\"ssl\"} 1",
        "vestibule_gateway_state{gateway=\"gw1\",state=\"up\"} 1",
        "vestibule_gateway_load_ratio{gateway=\"gw1\"} 0.1",
        "vestibule_gateway_load_component_ratio{gateway=\"gw1\",component=\"tunnels\"} 0.1",
        "vestibule_gateway_tunnels{gateway=\"gw2\"} 100",
        "vestibule_gateway_tunnels_max{gateway=\"gw2\"} 1000",
        "vestibule_gateway_report_age_seconds{gateway=\"gw1\"}",
        "vestibule_health_checks_total{check=\"heartbeat\",gateway=\"gw1\",result=\"pass\"}",
        "vestibule_health_check_duration_seconds_bucket{check=\"https\",gateway=\"gw2\"",
        "vestibule_health_transitions_total{gateway=\"gw1\",to=\"up\"} 1",
        "vestibule_redirects_total{",
        "vestibule_responses_total{listener=\"portal\",class=\"3xx\"} 1",
        "vestibule_unavailable_total{listener=\"portal\"} 0",
        "vestibule_tls_handshake_duration_seconds_count{listener=\"portal\"} 1",
        "vestibule_connections{listener=\"portal\"}",
        "vestibule_connections_rejected_total{listener=\"portal\",reason=\"connections\"} 0",
        "vestibule_config_reloads_total{result=\"ok\"} 0",
        "vestibule_config_last_success_timestamp_seconds ",
        "process_open_fds ",
    ] {
        assert!(text.lines().any(|line| line.starts_with(start)), "no {start} in\n{text}");
    }
    assert!(!text.contains("127.0.0.1"), "no address is a label");
}

#[tokio::test]
async fn the_status_says_in_words_what_is_wrong() {
    let farm = Running::farm(3).await;
    assert_eq!(farm.wait_until(|_| true).await.summary, "All 3 gateways are up.");
    farm.set_service(1, ServiceState::Down);
    let status = farm.wait_until(|status| status.gateways[1].state == State::Down).await;
    assert!(status.summary.contains("1 of 3") && status.summary.contains("gw2"), "{}", status.summary);
}

#[tokio::test]
async fn the_status_tells_what_has_happened_how_fast_and_how_loaded() {
    let farm = Running::farm(2).await;
    farm.set_service(1, ServiceState::Down);
    farm.gateway_chosen().await;
    let is_told = |status: &Status| status.events.iter().any(|event| event.text.starts_with("gw2 is down"));
    let status = farm.wait_until(is_told).await;
    assert_eq!(status.events.last().unwrap().kind, Kind::Process, "it begins with the start");
    assert!(status.events.windows(2).all(|pair| pair[0].id == pair[1].id + 1), "the newest first");
    let drained = farm.post("/api/v1/gateways/gw1/drain", "{\"reason\": \"new kernel\"}").await;
    assert_eq!(drained.status, 200);
    let status = farm.wait_until(|status| status.events[0].kind == Kind::Gateway).await;
    let order = status.events.iter().find(|event| event.kind == Kind::Order).unwrap();
    assert_eq!(order.text, "gw1 is drained by 127.0.0.1: new kernel");
    let measured = |status: &Status| {
        status.listeners[0].rates.is_some_and(|rates| rates.answers_per_second > 0.0)
            && !status.gateways[0].history.scores.is_empty()
    };
    while !measured(&farm.status().await) {
        farm.gateway_chosen().await;
    }
}

#[tokio::test]
async fn whoever_looks_on_hears_of_a_change_when_it_happens_and_of_the_end() {
    let farm = Running::farm(1).await;
    let mut stream = TcpStream::connect(farm.settings().admin.listen).await.unwrap();
    stream.write_all(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut heard = read_head(&mut stream).await;
    assert!(heard.contains("text/event-stream"), "{heard}");
    farm.set_service(0, ServiceState::Down);
    while !heard.contains("gw1 is down") {
        let mut some = [0; 4096];
        let length = stream.read(&mut some).await.unwrap();
        assert!(length > 0, "the stream has ended: {heard}");
        heard.push_str(std::str::from_utf8(&some[..length]).unwrap());
    }
    farm.stop().await.unwrap();
    // in order, and not by a reset
    stream.read_to_end(&mut Vec::new()).await.unwrap();
}

#[tokio::test]
async fn many_who_look_on_from_one_address_leave_room_for_what_else_is_asked_from_there() {
    let farm = Running::farm(1).await;
    let mut streams = Vec::new();
    loop {
        let mut stream = TcpStream::connect(farm.admin).await.unwrap();
        stream.write_all(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        if !read_head(&mut stream).await.starts_with("HTTP/1.1 200") {
            break;
        }
        streams.push(stream);
    }
    // each of them asks for the page, too
    let mut others = Vec::new();
    for _ in &streams {
        let mut other = TcpStream::connect(farm.admin).await.unwrap();
        other.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        assert!(read_head(&mut other).await.starts_with("HTTP/1.1 200"));
        others.push(other);
    }
    assert_eq!(farm.admin("/readyz").await.0, 200);
}
