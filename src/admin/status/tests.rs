use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use super::*;
use crate::admin::listener::Steering;
use crate::admin::rates::Counted;
use crate::fleet::{
    Balance, BalanceMode, CheckOutcome, CheckResult, Elsewhere, FenceReport, FleetSettings, Gateway,
    GatewayName, Holder, Lead, Lease, Load, LocalBlock, Observation, Roster, Service, ServiceReport, State,
    Thresholds, Vpn, VpnMode, VrrpId, VrrpMode, Weights, WhenNone,
};

/// A farm whose clock starts at 12:00:00 on 2 May 2026.
pub struct Farm {
    pub roster: Roster,
    start: Moment,
    pub now: Moment,
}

impl Farm {
    /// The same in failsafe mode.
    pub fn failsafe(count: u8) -> Self {
        let mut farm = Self::new(count);
        let snapshot = farm.roster.snapshot();
        let settings = FleetSettings {
            gateways: snapshot.gateways.iter().map(|view| std::sync::Arc::clone(&view.gateway)).collect(),
            thresholds: Thresholds { rise: NonZeroU32::MIN, fall: NonZeroU32::MIN },
            weights: Weights::default(),
            balance: Balance { mode: BalanceMode::Failsafe { failback: true }, ..snapshot.balance },
        };
        farm.roster = Roster::new(settings, farm.start);
        farm
    }

    /// Gateways gw1, gw2 … at 192.168.200.1:443 …, all unknown.
    pub fn new(count: u8) -> Self {
        Self::with(count, |_, _| {})
    }

    pub fn with(count: u8, define: impl Fn(u8, &mut Gateway)) -> Self {
        let wall = SystemTime::from(time::macros::datetime!(2026-05-02 12:00:00 UTC));
        let start = Moment { instant: Instant::now(), wall };
        let gateways = (1..=count).map(|i| {
            let mut gateway = Gateway {
                vrrp_id: VrrpId::new(31),
                tunnels_max: Some(1000),
                ..Gateway::plain(&format!("gw{i}"), &format!("192.168.200.{i}"))
            };
            define(i, &mut gateway);
            std::sync::Arc::new(gateway)
        });
        let settings = FleetSettings {
            gateways: gateways.collect(),
            thresholds: Thresholds { rise: NonZeroU32::MIN, fall: NonZeroU32::MIN },
            weights: Weights::default(),
            balance: Balance {
                mode: BalanceMode::LoadBalancing,
                slow_start: Duration::from_secs(30),
                stale_after: Duration::from_secs(10),
                when_none: WhenNone::Refuse,
            },
        };
        Self { roster: Roster::new(settings, start), start, now: start }
    }

    pub fn at(&mut self, seconds: u64) -> &mut Self {
        let after = Duration::from_secs(seconds);
        self.now = Moment { instant: self.start.instant + after, wall: self.start.wall + after };
        self
    }

    pub fn observe(&mut self, name: &str, observation: Observation) -> &mut Self {
        self.roster.observe(&GatewayName::new(name), observation, self.now);
        self
    }

    pub fn up(&mut self, names: &[&str]) -> &mut Self {
        for name in names {
            self.observe(name, report(100, Service::Up));
        }
        self
    }

    pub fn drain(&mut self, name: &str, reason: &str) -> &mut Self {
        self.roster.drain(&GatewayName::new(name), reason, "uid 0", self.now).unwrap();
        self
    }

    /// From now on it follows a front door that has chosen that one.
    pub fn follow(&mut self, name: &str) -> &mut Self {
        let actives = vec![(VrrpId::new(31), GatewayName::new(name))];
        let lead = Some(Lead { front_door: "front-b".into(), actives });
        self.roster.hear(Elsewhere { lead, ..Elsewhere::default() }, self.now);
        self
    }

    pub fn status(&mut self, listeners: &[ListenerStatus]) -> Status {
        self.roster.decide(self.now);
        let node = Node { name: "front-a".into(), started: self.start.wall };
        Status::of(&self.roster.snapshot(), listeners, &node, self.now)
    }
}

pub fn check(name: &str, outcome: CheckOutcome) -> CheckResult {
    CheckResult { check: name.into(), outcome, took: Duration::from_micros(12_340) }
}

pub fn report(tunnels: u64, service: Service) -> Observation {
    let load = Load { tunnels: Some(tunnels), cpu_ratio: Some(0.5), ..Load::default() };
    Observation {
        checks: vec![check("heartbeat", CheckOutcome::Pass("200 OK".into()))],
        report: Some(ServiceReport { service, load, fence: None }),
        asked: None,
    }
}

/// Works, and is fenced by these for 15 s.
pub fn fenced(holders: &[&str]) -> Observation {
    kept_open(holders, &[])
}

/// The same while these keep it open.
pub fn kept_open(holders: &[&str], by: &[&str]) -> Observation {
    let lease = |by: &str| Lease { by: by.into(), left: Duration::from_secs(15) };
    let holder = |by: &&str| Holder { lease: lease(by), reason: "portal: refused".into() };
    let fence = FenceReport {
        engine: "nftables".into(),
        blocked: !holders.is_empty(),
        ports: ["tcp/443".into()].into(),
        holders: holders.iter().map(holder).collect(),
        kept_open_by: by.iter().map(|by| lease(by)).collect(),
    };
    let mut observation = report(100, Service::Up);
    if let Some(report) = &mut observation.report {
        report.fence = Some(fence);
    }
    observation
}

pub fn refused() -> Observation {
    let outcome = CheckOutcome::Fail("connection refused".into());
    Observation { checks: vec![check("portal", outcome)], report: None, asked: None }
}

pub fn listener(name: &str, port: u16) -> ListenerStatus {
    ListenerStatus {
        name: name.into(),
        address: SocketAddr::from(([62, 168, 1, 203], port)),
        mode: "redirect",
        vrrp_id: VrrpId::new(31),
        vpn: Vpn::Ssl,
        steering: Some(Steering::default()),
        open: true,
        connections: 12,
        tunnels: 5,
        redirects: 4711,
        unavailable: 3,
        counted: Counted::default(),
    }
}

#[test]
fn a_gateway_that_works_is_described_whole() {
    let mut farm = Farm::new(1);
    farm.at(3).up(&["gw1"]).at(5);
    let status = farm.status(&[]);
    let json = serde_json::to_value(&status.gateways[0]).unwrap();
    let expected = serde_json::json!({
        "name": "gw1",
        "state": "up",
        "since": "2026-05-02T12:00:03Z",
        "reason": "first good round",
        "vrrp_id": 31,
        "vpn_mode": "both",
        "vrrp_mode": "inactive",
        "role": null,
        "ssl_endpoint": "192.168.200.1:443",
        "native_endpoint": "192.168.200.1:500",
        "availability": {
            "native": { "available": true, "reason": null },
            "ssl": { "available": true, "reason": null },
        },
        "load": {
            "age_seconds": 2.0,
            "stale": false,
            "score": 0.3,
            "criteria": { "throughput": null, "tunnels": 0.1, "pool": null, "cpu": 0.5 },
            "tunnels": 100,
            "tunnels_max": 1000,
            "pool_used": null,
            "pool_size": null,
        },
        "history": { "step_seconds": 0, "scores": [] },
        "pending": 0,
        "headroom": { "tunnels": 100, "room": 0, "enough": false },
        "filling": false,
        "drain": null,
        "fence": null,
        "checks": [
            { "name": "heartbeat", "result": "pass", "detail": "200 OK", "milliseconds": 12.34 },
        ],
    });
    assert_eq!(json, expected);
}

#[test]
fn a_fence_is_told_with_its_holders_its_reasons_and_the_time_left() {
    let mut farm = Farm::new(2);
    farm.observe("gw1", kept_open(&["self", "front-b"], &["front-a"])).at(2);
    let until = farm.now.instant + Duration::from_millis(12_340);
    let block = LocalBlock { by: "front-a".into(), reason: "portal: timeout".into(), until };
    farm.roster.set_local_block(&GatewayName::new("gw2"), Some(block));
    let status = farm.status(&[]);
    let shown = |i: usize| serde_json::to_value(&status.gateways[i].fence).unwrap();
    assert_eq!(
        shown(0),
        serde_json::json!({
            "engine": "nftables", "blocked": true, "ports": ["tcp/443"],
            "holders": [
                { "by": "self", "reason": "portal: refused", "seconds_left": 13.0 },
                { "by": "front-b", "reason": "portal: refused", "seconds_left": 13.0 },
            ],
            "kept_open_by": [{ "by": "front-a", "seconds_left": 13.0 }],
        })
    );
    assert_eq!(
        shown(1),
        serde_json::json!({
            "engine": "local", "blocked": true, "ports": [],
            "holders": [{ "by": "front-a", "reason": "portal: timeout", "seconds_left": 12.3 }],
            "kept_open_by": [],
        })
    );
    assert_eq!(status.gateways[0].availability.ssl.reason.as_deref(), Some("fenced"));
    let later = farm.at(20).status(&[]);
    let over = later.gateways[0].fence.as_ref().unwrap();
    assert!(!over.blocked && over.holders.is_empty(), "the leases have run out");
    assert_eq!(later.gateways[1].fence, None);
}

#[test]
fn who_blocks_a_gateway_is_told_without_what_is_suspended() {
    let words = |observation| {
        let mut farm = Farm::new(1);
        farm.observe("gw1", observation);
        farm.status(&[]).gateways[0].fence.as_ref().unwrap().in_words()
    };
    let told = |text: &str| Some(text.to_owned());
    let both = ["self", "front-b"];
    assert_eq!(words(fenced(&both)), told("by self: portal: refused, by front-b: portal: refused"));
    assert_eq!(words(kept_open(&both, &["front-a"])), told("by front-b: portal: refused"));
    // the agent cannot end its block for now
    assert_eq!(words(kept_open(&["self"], &["front-a"])), told("though nobody wants it to be"));
    assert_eq!(words(fenced(&[])), None);
}

#[test]
fn a_block_of_this_host_is_set_by_it_where_the_agent_has_no_engine() {
    let mut farm = Farm::new(1);
    let mut observation = fenced(&[]);
    let fence = observation.report.as_mut().unwrap().fence.as_mut().unwrap();
    fence.engine = "none".into();
    farm.observe("gw1", observation);
    let engine = |farm: &mut Farm| farm.status(&[]).gateways[0].fence.clone().unwrap().engine;
    assert_eq!(engine(&mut farm), "none");
    let until = farm.now.instant + Duration::from_secs(15);
    let block = LocalBlock { by: "front-a".into(), reason: "portal: timeout".into(), until };
    farm.roster.set_local_block(&GatewayName::new("gw1"), Some(block));
    assert_eq!(engine(&mut farm), "local");
    farm.observe("gw1", fenced(&["front-b"]));
    assert_eq!(engine(&mut farm), "nftables");
}

#[test]
fn the_document_reads_back_as_it_was_written() {
    let mut farm = Farm::with(2, |i, g| g.vpn_mode = if i == 1 { VpnMode::VrrpOnly } else { VpnMode::Ssl });
    farm.up(&["gw1"]).at(1).observe("gw2", refused()).drain("gw1", "new kernel");
    let status = farm.status(&[listener("portal", 443)]);
    let text = serde_json::to_string(&status).unwrap();
    assert_eq!(serde_json::from_str::<Status>(&text).unwrap(), status);
}

#[test]
fn the_words_are_those_of_the_core() {
    let mut farm = Farm::new(1);
    let mut gateway = farm.status(&[]).gateways.remove(0);
    for state in State::ALL {
        gateway.state = state;
        assert_eq!(serde_json::to_value(&gateway).unwrap()["state"], state.as_str());
    }
    for mode in [VpnMode::Native, VpnMode::Ssl, VpnMode::Both, VpnMode::VrrpOnly] {
        gateway.vpn_mode = mode;
        assert_eq!(serde_json::to_value(&gateway).unwrap()["vpn_mode"], mode.as_str());
    }
}

#[test]
fn the_part_in_failsafe_mode_and_in_a_pair_are_words_that_read_back() {
    let mut farm = Farm::failsafe(2);
    farm.up(&["gw1", "gw2"]);
    let status = farm.status(&[listener("portal", 443)]);
    let json = serde_json::to_value(&status.gateways).unwrap();
    assert_eq!((&json[0]["role"], &json[1]["role"]), (&"active".into(), &"standby".into()));
    assert_eq!(json[1]["availability"]["ssl"]["reason"], "not the active one");
    assert_eq!((status.listeners[0].gateways, status.listeners[0].available), (2, 1));
    let text = serde_json::to_string(&status).unwrap();
    assert_eq!(serde_json::from_str::<Status>(&text).unwrap(), status);
    assert!(serde_json::from_str::<Status>(&text.replace("\"standby\"", "\"waiting\"")).is_err());
    let mut gateway = status.gateways.into_iter().next().unwrap();
    for mode in [VrrpMode::Inactive, VrrpMode::Master, VrrpMode::Backup] {
        gateway.vrrp_mode = mode;
        assert_eq!(serde_json::to_value(&gateway).unwrap()["vrrp_mode"], mode.as_str());
    }
}

#[test]
fn availability_is_told_for_native_and_ssl_apart_with_the_reason() {
    let mut farm = Farm::with(2, |i, g| {
        if i == 1 {
            g.vpn_mode = VpnMode::Native;
        }
    });
    farm.up(&["gw1"]).observe("gw2", report(1000, Service::Up));
    let status = farm.status(&[]);
    let reasons: Vec<_> = status
        .gateways
        .iter()
        .map(|g| (g.availability.native.reason.as_deref(), g.availability.ssl.reason.as_deref()))
        .collect();
    assert_eq!(
        reasons,
        [(None, Some("does not offer this VPN")), (Some("no tunnel left"), Some("no tunnel left"))]
    );
}

#[test]
fn an_old_report_is_shown_and_marked_stale() {
    let mut farm = Farm::new(1);
    farm.up(&["gw1"]).at(11);
    let load = farm.status(&[]).gateways.remove(0).load.unwrap();
    assert_eq!((load.stale, load.age_seconds, load.tunnels), (true, 11.0, Some(100)));
}

#[test]
fn a_gateway_that_came_back_is_filling_for_as_long_as_the_slow_start() {
    let mut farm = Farm::new(1);
    farm.up(&["gw1"]).at(1).observe("gw1", refused()).at(2).up(&["gw1"]);
    assert!(farm.status(&[]).gateways[0].filling);
    assert!(!farm.at(32).status(&[]).gateways[0].filling);
}

#[test]
fn a_drain_tells_whose_wish_it_is() {
    let mut farm = Farm::new(1);
    farm.observe("gw1", report(1, Service::Draining));
    let by_agent = farm.status(&[]).gateways.remove(0);
    assert_eq!(by_agent.drain.as_ref().unwrap().who, None);
    assert_eq!((by_agent.state, by_agent.drain.unwrap().by), (State::Draining, DrainedBy::Agent));
    farm.at(60).drain("gw1", "new kernel");
    let drain = farm.status(&[]).gateways.remove(0).drain.unwrap();
    assert_eq!(
        (drain.by, drain.who.as_deref(), drain.reason.as_str()),
        (DrainedBy::Administrator, Some("uid 0"), "new kernel")
    );
    assert_eq!(drain.since, time::macros::datetime!(2026-05-02 12:01:00 UTC));
}

#[test]
fn a_listener_counts_its_own_gateways_and_those_available() {
    let mut farm = Farm::with(4, |i, g| match i {
        1 => g.vrrp_id = VrrpId::new(32),
        2 => g.vpn_mode = VpnMode::Native,
        _ => {}
    });
    farm.up(&["gw1", "gw2", "gw3"]);
    let entry = farm.status(&[listener("portal", 443)]).listeners.remove(0);
    assert_eq!((entry.gateways, entry.available), (2, 1));
    let all = ListenerStatus { vrrp_id: None, ..listener("portal", 443) };
    let entry = farm.status(&[all]).listeners.remove(0);
    assert_eq!((entry.gateways, entry.available), (3, 2));
}

#[test]
fn a_front_door_is_fit_when_its_listeners_are_open_and_one_of_them_has_an_available_gateway() {
    let mut farm = Farm::new(2);
    let closed = ListenerStatus { open: false, ..listener("raw", 444) };
    farm.observe("gw1", refused());
    assert_eq!(
        farm.status(&[listener("portal", 443), closed]).unfitness(),
        [
            "listener raw (62.168.1.203:444) is not open",
            "listener portal (62.168.1.203:443) has no available gateway (gw1: down, gw2: no good check yet)",
            "listener raw (62.168.1.203:444) has no available gateway (gw1: down, gw2: no good check yet)",
        ]
    );
    farm.up(&["gw2"]);
    assert_eq!(farm.status(&[listener("portal", 443)]).unfitness(), [""; 0]);
    let closed = ListenerStatus { open: false, ..listener("raw", 444) };
    let unfitness = farm.status(&[listener("portal", 443), closed]).unfitness();
    assert_eq!(unfitness, ["listener raw (62.168.1.203:444) is not open"]);
    assert_eq!(farm.status(&[]).unfitness(), ["there is no listener"]);
}

#[test]
fn a_front_door_that_is_silent_is_said_after_everything_else() {
    let peer = |state| PeerStatus {
        name: Some("front-b".into()),
        url: "https://192.168.200.4:9465".into(),
        state,
        since: time::OffsetDateTime::UNIX_EPOCH,
        reason: "connection refused".into(),
    };
    let mut farm = Farm::new(1);
    farm.up(&["gw1"]);
    let mut said = |state| farm.status(&[listener("portal", 443)]).beside(vec![peer(state)]).summary;
    let well = said(PeerState::Standby);
    assert_eq!(
        said(PeerState::Silent),
        format!(
            "{well} The other front door front-b (https://192.168.200.4:9465) is silent: connection refused"
        )
    );
    let mut farm = Farm::new(1);
    let status = farm.observe("gw1", refused()).status(&[listener("portal", 443)]);
    let wrong = status.summary.clone();
    let both = status.beside(vec![peer(PeerState::Silent), peer(PeerState::Silent)]).summary;
    assert!(both.starts_with(&format!("{wrong}. The other front door ")), "{both}");
    assert_eq!(both.matches("connection refused. The other").count(), 1, "{both}");
}

#[test]
fn a_standby_is_fit_though_it_follows_one_who_names_a_gateway_that_is_down_from_here() {
    let mut farm = Farm::failsafe(2);
    farm.up(&["gw1", "gw2"]).follow("gw1").observe("gw1", refused());
    let status = farm.status(&[listener("portal", 443)]);
    assert_eq!((status.listeners[0].available, status.unfitness()), (0, vec![]));
    farm.observe("gw2", refused());
    assert_eq!(farm.status(&[listener("portal", 443)]).unfitness().len(), 1);
}

#[test]
fn a_gateway_that_is_not_for_a_listener_makes_nobody_fit() {
    let mut farm = Farm::with(3, |i, g| match i {
        1 => g.vpn_mode = VpnMode::Native,
        2 => g.vrrp_id = VrrpId::new(32),
        _ => {}
    });
    farm.up(&["gw1", "gw2"]).observe("gw3", refused());
    let native = ListenerStatus { vrrp_id: VrrpId::new(33), vpn: Vpn::Native, ..listener("ike", 500) };
    assert_eq!(
        farm.status(&[listener("portal", 443), native]).unfitness(),
        [
            "listener portal (62.168.1.203:443) has no available gateway (gw3: down)",
            "listener ike (62.168.1.203:500) has no available gateway (there is none for it)",
        ]
    );
    let other = ListenerStatus { vrrp_id: VrrpId::new(32), ..listener("partners", 8443) };
    assert_eq!(farm.status(&[listener("portal", 443), other]).unfitness(), [""; 0]);
}
