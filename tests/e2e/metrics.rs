//! What Prometheus is told: by name and label what has been promised, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket};
use vestibule::admin::vrrp::VrrpState;
use vestibule::config::FrontSettings;
use vestibule::fleet::{BalanceMode, Endpoint, Gateway, VrrpId};
use vestibule::front::{Affinity, ListenerSettings, Mode, Passthrough, Proxy};
use vestibule::ike::IkeSettings;
use vestibule::net::client::Target;
use vestibule::peer::FrontDoorAt;
use vestibule::vrrp::{Instance, Role};

use crate::dve;
use crate::gateway::RawGateway;
use crate::support::{Running, anyone, handshake, own_address, read_head, status};

/// Name, type and labels: the tables of the observability contract, what later pieces have added at the end.
const PROMISED: [(&str, &str, &[&str]); 46] = [
    ("vestibule_build_info", "gauge", &["version", "rustc"]),
    ("vestibule_gateway_up", "gauge", &["gateway", "vpn"]),
    ("vestibule_gateway_state", "gauge", &["gateway", "state"]),
    ("vestibule_gateway_load_ratio", "gauge", &["gateway"]),
    ("vestibule_gateway_load_component_ratio", "gauge", &["gateway", "component"]),
    ("vestibule_gateway_tunnels", "gauge", &["gateway"]),
    ("vestibule_gateway_tunnels_max", "gauge", &["gateway"]),
    ("vestibule_gateway_report_age_seconds", "gauge", &["gateway"]),
    ("vestibule_gateway_fenced", "gauge", &["gateway"]),
    ("vestibule_health_checks_total", "counter", &["gateway", "check", "result"]),
    ("vestibule_health_check_duration_seconds", "histogram", &["gateway", "check"]),
    ("vestibule_health_transitions_total", "counter", &["gateway", "to"]),
    ("vestibule_fence_operations_total", "counter", &["gateway", "operation", "result"]),
    ("vestibule_redirects_total", "counter", &["listener", "gateway"]),
    ("vestibule_responses_total", "counter", &["listener", "class"]),
    ("vestibule_unavailable_total", "counter", &["listener"]),
    ("vestibule_tls_handshakes_total", "counter", &["listener", "result", "version", "resumed"]),
    ("vestibule_tls_handshake_duration_seconds", "histogram", &["listener"]),
    ("vestibule_connections", "gauge", &["listener"]),
    ("vestibule_connections_rejected_total", "counter", &["listener", "reason"]),
    ("vestibule_upstream_connections", "gauge", &["gateway", "state"]),
    ("vestibule_upstream_requests_total", "counter", &["gateway", "result"]),
    ("vestibule_upstream_retries_total", "counter", &["gateway"]),
    ("vestibule_upstream_duration_seconds", "histogram", &["gateway"]),
    ("vestibule_tunnels", "gauge", &["listener", "gateway"]),
    ("vestibule_transferred_bytes_total", "counter", &["listener", "direction"]),
    ("vestibule_dve_requests_total", "counter", &["status"]),
    ("vestibule_dve_batch_size", "histogram", &[]),
    ("vestibule_ikev2_redirects_total", "counter", &["gateway"]),
    ("vestibule_vrrp_active", "gauge", &["vrrp_id"]),
    ("vestibule_config_reloads_total", "counter", &["result"]),
    ("vestibule_config_last_success_timestamp_seconds", "gauge", &[]),
    ("process_cpu_seconds_total", "counter", &[]),
    ("process_max_fds", "gauge", &[]),
    ("process_open_fds", "gauge", &[]),
    ("process_resident_memory_bytes", "gauge", &[]),
    ("process_start_time_seconds", "gauge", &[]),
    ("process_threads", "gauge", &[]),
    ("process_virtual_memory_bytes", "gauge", &[]),
    ("vestibule_certificate_expiry_timestamp_seconds", "gauge", &["listener"]),
    ("vestibule_gateway_active", "gauge", &["gateway"]),
    ("vestibule_gateway_draining", "gauge", &["gateway"]),
    ("vestibule_gateway_headroom_tunnels", "gauge", &["gateway"]),
    ("vestibule_ikev2_requests_total", "counter", &["result"]),
    ("vestibule_peer_up", "gauge", &["url"]),
    ("vestibule_vrrp_conflict", "gauge", &["vrrp_id"]),
];

/// Every value that a label may have, whatever clients do.
const WORDS: [(&str, &[&str]); 12] = [
    ("gateway", &["gw1", "gw2"]),
    ("listener", &["portal", "plain", "proxy", "raw"]),
    ("vpn", &["native", "ssl"]),
    ("check", &["heartbeat", "https", "upstream"]),
    ("component", &["throughput", "tunnels", "pool", "cpu"]),
    ("direction", &["in", "out"]),
    ("operation", &["block", "unblock", "keep_open", "let_go"]),
    ("class", &["1xx", "2xx", "3xx", "4xx", "5xx"]),
    ("to", &["up", "down", "draining", "unknown"]),
    ("state", &["up", "down", "draining", "unknown", "idle", "active"]),
    ("vrrp_id", &["31"]),
    ("url", &["https://192.0.2.9:9465"]),
];

/// Every kind of door, at these addresses.
struct Doors {
    plain: SocketAddr,
    proxy: SocketAddr,
    raw: SocketAddr,
    dve: SocketAddr,
    ike: SocketAddr,
}

impl Doors {
    fn new() -> Self {
        Self {
            plain: own_address(),
            proxy: own_address(),
            raw: own_address(),
            dve: own_address(),
            ike: own_address(),
        }
    }

    fn add_to(&self, front: &mut FrontSettings) {
        let Mode::Redirect(certificates) = &front.listeners[0].mode else { panic!("it redirects") };
        let proxy = Proxy { affinity: Affinity::None, ..Proxy::default() };
        let doors = [
            ("plain", self.plain, Mode::HttpsUpgrade(Endpoint::parse("vpn.example.com", 443).unwrap())),
            ("proxy", self.proxy, Mode::Proxy(Arc::clone(certificates), Arc::new(proxy))),
            ("raw", self.raw, Mode::Passthrough(Arc::new(Passthrough::default()))),
        ];
        let like = front.listeners[0].clone();
        let listener = |(name, address, mode): (&str, _, _)| ListenerSettings {
            name: name.into(),
            address,
            mode,
            ..like.clone()
        };
        front.listeners.extend(doors.map(listener));
        front.dve = Some(dve::settings(self.dve));
        front.ike = Some(IkeSettings { listen: vec![self.ike], vrrp_id: None });
        front.fleet.balance.mode = BalanceMode::Failsafe { failback: true };
        front.vrrp = vec![Instance {
            vrrp_id: VrrpId::new(31).unwrap(),
            role: Role::Master,
            interface: "lo".into(),
            addresses: vec!["127.0.0.1/8".parse().unwrap()],
            peers: vec![],
            advertisement_interval: Duration::from_secs(1),
            preempt: false,
            notify_fifo: None,
        }];
        // TEST-NET-1 (RFC 5737): nobody answers there
        let target = Target { site: Endpoint::parse("192.0.2.9:9465", 9465).unwrap().into(), tls: None };
        front.peers.front_doors = vec![FrontDoorAt { url: "https://192.0.2.9:9465".into(), target }];
    }

    /// Somebody comes to each of them.
    async fn visit(&self, farm: &Running) {
        assert!(farm.gateway_chosen().await.is_some());
        let request = b"GET /secret-path?token=1 HTTP/1.1\r\nHost: some.host\r\nConnection: close\r\n\r\n";
        let mut plain = TcpStream::connect(self.plain).await.unwrap();
        plain.write_all(request).await.unwrap();
        assert_eq!(status(&read_head(&mut plain).await) / 100, 3);
        let proxied = TcpStream::connect(self.proxy).await.unwrap();
        let mut proxied = handshake(proxied, "localhost", anyone()).await.unwrap();
        proxied.write_all(request).await.unwrap();
        assert_eq!(status(&read_head(&mut proxied).await), 200);
        let mut raw = TcpStream::connect(self.raw).await.unwrap();
        raw.write_all(request).await.unwrap();
        assert_eq!(status(&read_head(&mut raw).await), 200);
        assert_eq!(dve::endpoints(self.dve).await.len(), 1);
        let client = UdpSocket::bind((IpAddr::from([127, 0, 0, 1]), 0)).await.unwrap();
        client.connect(self.ike).await.unwrap();
        client.send(&dve::ike_sa_init()).await.unwrap();
        dve::hear(&client, &mut [0; 2048]).await;
    }
}

/// A metric as it is told.
#[derive(Debug, Default)]
struct Told {
    kind: String,
    has_help: bool,
    /// The labels of each of its samples, without `le`.
    samples: Vec<BTreeMap<String, String>>,
}

fn read(text: &str) -> BTreeMap<String, Told> {
    let mut all = BTreeMap::<String, Told>::new();
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            all.entry(name.into()).or_default().has_help = !help.is_empty();
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            all.entry(name.into()).or_default().kind = kind.into();
        } else {
            let (sample, _) = line.rsplit_once(' ').unwrap();
            let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            let histogram = base.filter(|base| all.get(*base).is_some_and(|told| told.kind == "histogram"));
            let labels = labels.trim_end_matches('}').split("\",").filter(|pair| !pair.is_empty());
            let labels = labels.map(|pair| pair.split_once("=\"").unwrap());
            let labels =
                labels.map(|(name, value)| (name.to_owned(), value.trim_end_matches('"').to_owned()));
            let labels = labels.filter(|(name, _)| name != "le").collect();
            all.get_mut(histogram.unwrap_or(name)).expect(line).samples.push(labels);
        }
    }
    all
}

#[tokio::test]
async fn a_front_door_with_every_kind_of_door_tells_what_was_promised_and_nothing_else() {
    let doors = Doors::new();
    let gateways = [RawGateway::named("one").await, RawGateway::named("two").await];
    let farm = Running::with(2, |front| {
        for (gateway, raw) in front.fleet.gateways.iter_mut().zip(&gateways) {
            let upstream = Endpoint::parse(&raw.address.to_string(), 443).unwrap();
            let native_endpoint = Endpoint::parse("192.0.2.1", 500).unwrap();
            *gateway = Arc::new(Gateway { upstream, native_endpoint, ..Gateway::clone(gateway) });
        }
        doors.add_to(front);
    })
    .await;
    farm.wait_until(|status| status.vrrp.iter().all(|vrrp| vrrp.state == VrrpState::Active)).await;
    farm.wait_until(|status| status.gateways.iter().all(|gateway| gateway.load.is_some())).await;
    doors.visit(&farm).await;
    farm.until_metric("vestibule_ikev2_redirects_total{gateway=\"gw1\"}", 1.0).await;
    let (_, text) = farm.admin("/metrics").await;
    let told = read(&text);

    let names: BTreeSet<&str> = told.keys().map(String::as_str).collect();
    let promised: BTreeSet<&str> = PROMISED.iter().map(|(name, ..)| *name).collect();
    assert_eq!(names, promised);
    for (name, kind, labels) in &PROMISED {
        let told = &told[*name];
        assert!(told.has_help && told.kind == *kind && !told.samples.is_empty(), "{name}: {told:?}");
        let labels: BTreeSet<&str> = labels.iter().copied().collect();
        for sample in &told.samples {
            assert_eq!(sample.keys().map(String::as_str).collect::<BTreeSet<_>>(), labels, "{name}");
        }
    }
    for (name, told) in &told {
        for (label, value) in told.samples.iter().flatten() {
            if let Some((_, words)) = WORDS.iter().find(|(word, _)| word == label) {
                assert!(words.contains(&value.as_str()), "{name}: {label} is {value:?}");
            }
        }
    }
    for secret in ["secret", "token", "some.host", "127.0.0.1"] {
        assert!(!text.contains(secret), "a client's {secret} is in the metrics");
    }
}

#[tokio::test]
async fn headroom_is_told_the_same_in_the_metrics_and_in_the_status() {
    let farm = Running::farm(3).await;
    for (gateway, tunnels) in [900, 850, 300].into_iter().enumerate() {
        farm.set_tunnels(gateway, tunnels).await;
    }
    let status = farm.wait_until(|status| status.gateways.iter().all(|g| g.headroom.is_some())).await;
    let figures: Vec<_> = status.gateways.iter().map(|gateway| gateway.headroom.unwrap()).collect();
    assert_eq!((figures[0].tunnels, figures[0].room, figures[0].enough), (900, 850, false));
    assert!(
        status.headroom.starts_with("If gw1 fails now, the others have room for 850 of its 900 tunnels."),
        "{}",
        status.headroom
    );
    farm.until_metric("vestibule_gateway_headroom_tunnels{gateway=\"gw1\"}", -50.0).await;
    farm.set_tunnels(1, 100).await;
    let status = farm.wait_until(|status| status.gateways[0].headroom.is_some_and(|h| h.enough)).await;
    assert_eq!(status.headroom, "Whichever gateway fails, the others can take its tunnels.");
    assert_eq!(farm.post("/api/v1/gateways/gw2/drain", "{}").await.status, 200);
    farm.until_metric("vestibule_gateway_headroom_tunnels{gateway=\"gw1\"}", -200.0).await;
}
