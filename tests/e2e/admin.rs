//! What administrators see.

use vestibule::fleet::State;
use vestibule::heartbeat::ServiceState;

use crate::support::Running;

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
