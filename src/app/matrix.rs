//! Whom each door names, over everything that a gateway can be: one table for all doors, so that they cannot differ.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::dve;
use crate::fleet::{
    Ask, Balance, BalanceMode, By, CheckOutcome, CheckResult, Endpoint, FleetSettings, Gateway, GatewayName,
    Load, LocalBlock, Moment, Observation, Roster, Service, ServiceReport, Snapshot, Thresholds, Vpn,
    VpnMode, VrrpId, VrrpMode, Weights, select,
};
use crate::ike;

/// What the first gateway, `a`, is found in. The other one, `b`, offers both kinds, is up and has more tunnels.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Found {
    Unknown,
    Up,
    Down,
    Draining,
    Fenced,
    Full,
}

const STATES: [Found; 6] =
    [Found::Unknown, Found::Up, Found::Down, Found::Draining, Found::Fenced, Found::Full];

/// Everybody who names a gateway.
#[derive(Clone, Copy, Debug)]
enum Door {
    Redirect,
    ProxyInTurn,
    ProxyByLoad,
    ProxyBySource,
    PassthroughByLoad,
    PassthroughBySource,
    DveNative,
    DveSsl,
    Ike,
}

const DOORS: [Door; 9] = [
    Door::Redirect,
    Door::ProxyInTurn,
    Door::ProxyByLoad,
    Door::ProxyBySource,
    Door::PassthroughByLoad,
    Door::PassthroughBySource,
    Door::DveNative,
    Door::DveSsl,
    Door::Ike,
];

/// Who is named when `a` has that vpn_mode and is in each of [`STATES`], `-`: nobody. Three columns of doors: those for SSL
/// VPN; the same by source address, of a client to whom `a` belongs; those for native VPN.
const TABLE: [(BalanceMode, VpnMode, [&str; 3]); 12] = {
    use VpnMode::{Both, Native, Ssl, VrrpOnly};
    const LOAD: BalanceMode = BalanceMode::LoadBalancing;
    const SAFE: BalanceMode = BalanceMode::Failsafe { failback: true };
    const STAY: BalanceMode = BalanceMode::Failsafe { failback: false };
    //                    unknown, up, down, draining, fenced, full
    [
        (LOAD, Both, ["babbbb", "babbba", "babbbb"]),
        (LOAD, Native, ["bbbbbb", "bbbbbb", "babbbb"]),
        (LOAD, Ssl, ["babbbb", "babbba", "bbbbbb"]),
        (LOAD, VrrpOnly, ["bbbbbb", "bbbbbb", "bbbbbb"]),
        // one at a time: what the active one does not offer, nobody does
        (SAFE, Both, ["babbb-", "babbba", "babbb-"]),
        (SAFE, Native, ["b-bbb-", "b-bbb-", "babbb-"]),
        (SAFE, Ssl, ["babbb-", "babbba", "b-bbb-"]),
        (SAFE, VrrpOnly, ["bbbbbb", "bbbbbb", "bbbbbb"]),
        (STAY, Both, ["babbb-", "babbba", "babbb-"]),
        (STAY, Native, ["b-bbb-", "b-bbb-", "babbb-"]),
        (STAY, Ssl, ["babbb-", "babbba", "b-bbb-"]),
        (STAY, VrrpOnly, ["bbbbbb", "bbbbbb", "bbbbbb"]),
    ]
};

const NATIVE: [&str; 2] = ["192.0.2.1", "192.0.2.2"];

fn now() -> Moment {
    static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    Moment { instant: *START, wall: SystemTime::UNIX_EPOCH }
}

fn farm(mode: BalanceMode, vpn_mode: VpnMode, vrrp_mode: VrrpMode, found: Found) -> Snapshot {
    let other = match vrrp_mode {
        VrrpMode::Inactive => VrrpMode::Inactive,
        VrrpMode::Master => VrrpMode::Backup,
        VrrpMode::Backup => VrrpMode::Master,
    };
    let gateway = |name: &str, native: &str, vpn_mode, vrrp_mode| {
        Arc::new(Gateway {
            vrrp_id: VrrpId::new(31),
            vpn_mode,
            vrrp_mode,
            native_endpoint: Endpoint::parse(native, 500).unwrap(),
            tunnels_max: Some(100),
            ..Gateway::plain(name, &format!("{name}.example.com"))
        })
    };
    let [native_a, native_b] = NATIVE;
    let settings = FleetSettings {
        gateways: vec![
            gateway("a", native_a, vpn_mode, vrrp_mode),
            gateway("b", native_b, VpnMode::Both, other),
        ],
        thresholds: Thresholds { rise: NonZeroU32::MIN, fall: NonZeroU32::MIN },
        weights: Weights::default(),
        balance: Balance { mode, ..Balance::default() },
    };
    let mut roster = Roster::new(settings, now());
    let [a, b] = ["a", "b"].map(GatewayName::new);
    let round = |outcome, tunnels| Observation {
        checks: vec![CheckResult { check: "portal".into(), outcome, took: Duration::ZERO }],
        report: Some(ServiceReport {
            service: Service::Up,
            load: Load { tunnels: Some(tunnels), ..Load::default() },
            fence: None,
        }),
        asked: None,
    };
    let (pass, fail) = (CheckOutcome::Pass("200 OK".into()), CheckOutcome::Fail("refused".into()));
    let first = match found {
        Found::Unknown => round(CheckOutcome::Inconclusive("no file".into()), 10),
        Found::Down => round(fail, 10),
        Found::Full => round(pass.clone(), 100),
        Found::Up | Found::Draining | Found::Fenced => round(pass.clone(), 10),
    };
    roster.observe(&a, first, now());
    roster.observe(&b, round(pass, 50), now());
    match found {
        Found::Draining => {
            roster.drain(&a, "new kernel", "uid 0", now()).unwrap();
        }
        Found::Fenced => {
            let until = now().instant + Duration::from_secs(15);
            let block = LocalBlock { by: "front-a".into(), reason: "refused".into(), until };
            roster.set_local_block(&a, Some(block));
        }
        Found::Unknown | Found::Up | Found::Down | Found::Full => {}
    }
    roster.decide(now());
    roster.snapshot()
}

/// An address that belongs to `a` while both work.
fn home_of_a() -> IpAddr {
    let farm = farm(BalanceMode::LoadBalancing, VpnMode::Both, VrrpMode::Inactive, Found::Up);
    let ask = Ask { vrrp_id: None, vpn: Vpn::Ssl };
    let mut addresses = (1..=255).map(|last| IpAddr::V4(Ipv4Addr::new(198, 51, last, 1)));
    let is_home = |address: &IpAddr| {
        select(&farm, ask, By::Source(*address), &[], now().instant, 0).unwrap().index == 0
    };
    addresses.find(is_home).unwrap()
}

/// `a`, `b` or `-`.
fn named(door: Door, farm: &Snapshot, client: IpAddr) -> char {
    let chosen = |by| {
        let ask = Ask { vrrp_id: VrrpId::new(31), vpn: Vpn::Ssl };
        select(farm, ask, by, &[], now().instant, 0).ok().map(|choice| choice.index)
    };
    let over_dve = |vpn| {
        let asked = dve::Asked::Request(dve::Request {
            vpn,
            vrrp_id: VrrpId::new(31),
            accept: dve::Accept::ANY,
            nonce: [0; 16],
        });
        let knows = dve::Knowledge { snapshot: farm, is_active: true, now: now().instant, wall_ms: 0 };
        let answer = dve::answer(&asked, knows, dve::Holds { ttl: 30, retry: 3 }, 400, 0, 0).unwrap();
        if farm.balance.mode.is_failsafe() {
            assert!(answer.body.endpoints.len() <= 1, "{:?}", answer.body.endpoints);
        }
        let endpoint = answer.first.map(|index| farm.gateways[index].gateway.endpoint(vpn));
        assert_eq!(answer.body.endpoints.first(), endpoint);
        answer.first
    };
    let index = match door {
        Door::Redirect | Door::ProxyByLoad | Door::PassthroughByLoad => chosen(By::Load),
        Door::ProxyInTurn => chosen(By::Turn(0)),
        Door::ProxyBySource | Door::PassthroughBySource => chosen(By::Source(client)),
        Door::DveNative => over_dve(Vpn::Native),
        Door::DveSsl => over_dve(Vpn::Ssl),
        Door::Ike => {
            let request = ike::Request {
                has_marker: false,
                spi: [1; 8],
                nonce: &[2; 32],
                cookie: None,
                support: ike::Support::Announced,
                length: 400,
            };
            let knows = ike::Knowledge { snapshot: farm, vrrp_id: VrrpId::new(31), now: now().instant };
            match ike::answer(&request, knows, None, 0) {
                ike::Answer::Redirect(choice) => Some(choice.index),
                ike::Answer::Unavailable | ike::Answer::Refused => None,
            }
        }
    };
    match index {
        Some(0) => 'a',
        Some(_) => 'b',
        None => '-',
    }
}

#[test]
fn every_door_names_whom_the_table_says_for_every_mode_and_state() {
    let client = home_of_a();
    let mut seen = 0;
    for (mode, vpn_mode, [ssl, source, native]) in TABLE {
        // the pair's own keepalived moves its address: that changes nothing here
        for vrrp_mode in [VrrpMode::Inactive, VrrpMode::Master, VrrpMode::Backup] {
            for door in DOORS {
                let expected = match door {
                    Door::Redirect
                    | Door::ProxyInTurn
                    | Door::ProxyByLoad
                    | Door::PassthroughByLoad
                    | Door::DveSsl => ssl,
                    Door::ProxyBySource | Door::PassthroughBySource => source,
                    Door::DveNative | Door::Ike => native,
                };
                let got: String = STATES
                    .iter()
                    .map(|found| named(door, &farm(mode, vpn_mode, vrrp_mode, *found), client))
                    .collect();
                assert_eq!(got, expected, "{mode:?} {vpn_mode:?} {vrrp_mode:?} {door:?}, in {STATES:?}");
                seen += STATES.len();
            }
        }
    }
    assert_eq!(seen, 3 * 4 * 3 * 9 * 6);
}
