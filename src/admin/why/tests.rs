use super::super::columns::Style;
use super::super::listener::{Affinity, Steering};
use super::super::status::tests::{Farm, fenced, listener, refused, report};
use super::*;
use crate::fleet::{Policy, Service, VpnMode};

/// What is said at a listener that steers like that.
fn why(farm: &mut Farm, steering: Steering, source: Option<&str>) -> Why {
    let listeners = [ListenerStatus { steering: Some(steering), ..listener("portal", 443) }];
    let source = source.map(|source| source.parse().unwrap());
    asked(farm, &listeners, &Question { source, ..Question::default() }).unwrap()
}

fn asked(farm: &mut Farm, listeners: &[ListenerStatus], question: &Question) -> Result<Why, QuestionError> {
    farm.roster.decide(farm.now);
    Why::of(&farm.roster.snapshot(), listeners, question, farm.now, 7)
}

fn verdicts(why: &Why) -> Vec<(&str, Option<u64>, &str)> {
    why.gateways.iter().map(|g| (g.name.as_str(), g.place, g.verdict.as_str())).collect()
}

const BY_LOAD: Steering = Steering { policy: Policy::LeastLoaded, affinity: Affinity::None, turn: 0 };
const BY_TURNS: Steering = Steering { policy: Policy::RoundRobin, affinity: Affinity::Session, turn: 4 };
const BY_SOURCE: Steering =
    Steering { policy: Policy::LeastLoaded, affinity: Affinity::SourceAddress, turn: 0 };

/// gw1 has 400 tunnels, gw2 200, gw3 is down, gw4 drained, gw5 fenced, gw6 full, gw7 of another listener.
fn farm() -> Farm {
    let mut farm = Farm::with(7, |i, g| {
        if i == 7 {
            g.vrrp_id = VrrpId::new(32);
        }
    });
    farm.observe("gw1", report(400, Service::Up)).observe("gw2", report(200, Service::Up));
    farm.observe("gw3", refused()).up(&["gw4"]).drain("gw4", "new kernel");
    farm.observe("gw5", fenced(&["front-b"])).observe("gw6", report(1000, Service::Up)).at(2);
    farm
}

#[test]
fn the_least_loaded_one_is_named_with_its_load_and_the_next_and_why_the_others_are_left_out() {
    let why = why(&mut farm(), BY_LOAD, None);
    assert_eq!(why.summary, "gw2 would be chosen: it has the lowest load, 0.35; then gw1 (0.45).");
    assert_eq!(why.question, "Listener portal: redirect, SSL VPN, VRRP ID 31, the lowest load first.");
    assert_eq!((why.chosen.as_deref(), why.endpoint.as_deref()), (Some("gw2"), Some("192.168.200.2:443")));
    assert_eq!((why.rule.as_deref(), why.names_somebody()), (Some("least-loaded"), true));
    assert_eq!(why.notes, [""; 0]);
    assert_eq!(
        verdicts(&why),
        [
            ("gw2", Some(1), "chosen: it has the lowest load, 0.35"),
            ("gw1", Some(2), "next"),
            ("gw3", None, "left out: down: portal: connection refused"),
            ("gw4", None, "left out: draining: new kernel"),
            ("gw5", None, "left out: fenced: by front-b: portal: refused"),
            ("gw6", None, "left out: no tunnel left: 1000 of 1000"),
            ("gw7", None, "left out: other VRRP ID: it has 32"),
        ]
    );
}

#[test]
fn a_candidate_is_told_with_all_that_its_load_is_made_of() {
    let mut farm = farm();
    let snapshot = farm.roster.snapshot();
    (0..20).for_each(|_| snapshot.gateways[1].assigned.add());
    let why = why(&mut farm, BY_LOAD, None);
    let expected = serde_json::json!({
        "name": "gw2", "place": 1, "verdict": "chosen: it has the lowest load, 0.37", "left_out": null,
        "load": 0.37, "score": 0.35, "assumed_score": null,
        "report": {
            "age_seconds": 2.0, "stale": false, "score": 0.35,
            "criteria": { "throughput": null, "tunnels": 0.2, "pool": null, "cpu": 0.5 },
            "tunnels": 200, "tunnels_max": 1000, "pool_used": null, "pool_size": null,
        },
        "pending": 20, "pending_share": 0.001,
        "filling_share": null, "sits_out": false, "spoken_for": false,
    });
    assert_eq!(serde_json::to_value(&why.gateways[0]).unwrap(), expected);
    let weights = serde_json::to_value(why.weights).unwrap();
    assert_eq!(weights, serde_json::json!({ "throughput": 1.0, "tunnels": 1.0, "pool": 1.0, "cpu": 1.0 }));
    let text = serde_json::to_string(&why).unwrap();
    assert_eq!(serde_json::from_str::<Why>(&text).unwrap(), why);
}

#[test]
fn that_chance_decides_is_said() {
    let mut farm = Farm::new(3);
    let equal = why(farm.up(&["gw1", "gw2"]).observe("gw3", report(900, Service::Up)), BY_LOAD, None);
    let (chosen, other) =
        if equal.chosen.as_deref() == Some("gw1") { ("gw1", "gw2") } else { ("gw2", "gw1") };
    assert_eq!(
        equal.summary,
        format!(
            "{chosen} would be chosen: it and {other} have the lowest load, 0.30, and chance has decided; then {other} \
             (0.30)."
        )
    );
    assert_eq!(equal.gateways[1].verdict, "next; its load is the same, and chance was against it");
    farm.observe("gw1", refused()).up(&["gw1"]).observe("gw2", report(500, Service::Up)).at(3);
    let filling = why(&mut farm, BY_LOAD, None);
    let gw1 = filling.gateways.iter().find(|gateway| gateway.name == "gw1").unwrap();
    assert_eq!((gw1.filling_share, gw1.sits_out), (Some(0.1), true));
    assert_eq!(
        gw1.verdict,
        "after those above; it fills up after coming back: in 10 of 100 choices, not in this one"
    );
    assert_eq!(
        filling.summary,
        "gw2 would be chosen: it has the lowest load of those that take part, 0.50; then gw3 (0.70)."
    );
    assert_eq!(
        filling.notes,
        [
            "Chance plays a part: gw1 is filling up after coming back, and takes part in some of the choices only."
        ]
    );
}

#[test]
fn what_is_assumed_and_what_is_spoken_for_is_said() {
    let mut farm = Farm::new(3);
    farm.observe("gw2", report(990, Service::Up)).observe("gw3", report(600, Service::Up));
    let silent = crate::fleet::Observation { report: None, ..report(0, Service::Up) };
    farm.observe("gw1", silent);
    (0..12).for_each(|_| farm.roster.snapshot().gateways[1].assigned.add());
    let told = why(&mut farm, BY_LOAD, None);
    assert_eq!(
        verdicts(&told),
        [
            ("gw3", Some(1), "chosen: it has the lowest load, 0.55"),
            ("gw1", Some(2), "next; it has no report: taken to be as loaded as the others on average"),
            (
                "gw2",
                Some(3),
                "after those above; its report had room for 10 and 12 are on their way: it comes after those with \
                 room"
            ),
        ]
    );
    farm.at(12).observe("gw2", report(500, Service::Up));
    let told = why(&mut farm, BY_LOAD, None);
    assert!(told.gateways.iter().any(|g| {
        g.verdict.ends_with(
            "its report is 12 s old and counts no more: taken to be as loaded as the others on average",
        )
    }));
}

#[test]
fn by_turns_it_is_the_turn_that_is_told() {
    let mut farm = Farm::new(3);
    let told = why(farm.up(&["gw1", "gw2", "gw3"]), BY_TURNS, None);
    assert_eq!(told.summary, "gw2 would be chosen: it is its turn; then gw3.");
    assert_eq!((told.policy.as_str(), told.rule.as_deref()), ("round-robin", Some("turn")));
    assert!(told.question.ends_with("by turns, whatever the load."), "{}", told.question);
    assert_eq!(
        told.notes,
        ["This is about newcomers: a session is taken to the gateway that has opened it."]
    );
}

#[test]
fn by_source_the_address_decides_and_must_be_named() {
    let mut farm = Farm::new(3);
    farm.up(&["gw1", "gw2", "gw3"]);
    let nobody_named = why(&mut farm, BY_SOURCE, None);
    assert_eq!(
        nobody_named.summary,
        "The client's address decides: name a source to see which gateway it leads to. gw1, gw2 and gw3 may be chosen."
    );
    assert_eq!((nobody_named.chosen.as_deref(), nobody_named.depends_on_source), (None, true));
    assert!(nobody_named.names_somebody());
    assert_eq!(verdicts(&nobody_named)[0], ("gw1", None, "may be chosen"));

    // gw2 is its own, gw1 comes next: see the weights of rendezvous
    let own = why(&mut farm, BY_SOURCE, Some("192.0.2.1"));
    let home = own.chosen.clone().unwrap();
    let next = own.gateways[1].name.clone();
    assert_eq!(
        own.summary,
        format!("{home} would be chosen: 192.0.2.1 belongs to it, whatever its load; then {next}.")
    );
    farm.observe(&home, report(1000, Service::Up));
    let full = why(&mut farm, BY_SOURCE, Some("192.0.2.1"));
    assert_eq!(
        full.summary,
        format!(
            "{home} would be chosen: 192.0.2.1 belongs to it, though it has no tunnel left; then {next}."
        )
    );
    farm.observe(&home, refused());
    let moved = why(&mut farm, BY_SOURCE, Some("192.0.2.1"));
    assert!(
        moved.summary.starts_with(&format!(
            "{next} would be chosen: 192.0.2.1 belongs to {home}, which is left out (down), and comes here next"
        )),
        "{}",
        moved.summary
    );
    let useless = why(&mut farm, BY_LOAD, Some("192.0.2.1"));
    assert_eq!(useless.notes, ["The source plays no part: this listener does not choose by address."]);
}

#[test]
fn in_failsafe_mode_it_is_the_active_one_whoever_asks() {
    let mut farm = Farm::failsafe(2);
    farm.up(&["gw1", "gw2"]);
    for steering in [BY_LOAD, BY_TURNS, BY_SOURCE] {
        let told = why(&mut farm, steering, None);
        assert_eq!(told.summary, "gw1 would be chosen: it is the active one.");
        assert_eq!((told.balance.as_str(), told.rule.as_deref()), ("failsafe", Some("active")));
        assert_eq!(told.gateways[1].verdict, "left out: not the active one: gw1 is");
    }
    farm.observe("gw1", report(1000, Service::Up));
    let told = why(&mut farm, BY_SOURCE, Some("192.0.2.1"));
    assert_eq!(told.summary, "gw1 would be chosen: it is the active one, though it has no tunnel left.");
}

#[test]
fn that_nobody_would_be_chosen_is_said_with_every_reason() {
    let mut farm = Farm::new(2);
    farm.observe("gw1", refused());
    let told = why(&mut farm, BY_LOAD, None);
    assert_eq!(
        told.summary,
        "No gateway would be chosen, and newcomers are turned away: gw1 (down) and gw2 (no good check yet) are left \
         out."
    );
    assert!(!told.names_somebody());
    let mut farm = Farm::with(1, |_, g| g.vpn_mode = VpnMode::Native);
    let told = why(farm.up(&["gw1"]), BY_LOAD, None);
    assert_eq!(
        told.summary,
        "No gateway would be chosen, and newcomers are turned away: there is none for such clients here."
    );
    assert_eq!(told.gateways[0].verdict, "left out: does not offer this VPN: its vpn_mode is native");
    let told = why(Farm::new(1).observe("gw1", refused()), BY_SOURCE, None);
    assert!(!told.names_somebody(), "{}", told.summary);
}

#[test]
fn the_listener_is_the_one_named_or_the_first_for_such_clients() {
    let mut farm = Farm::new(1);
    farm.up(&["gw1"]);
    let upgrade = ListenerStatus { steering: None, ..listener("http", 80) };
    let dve = ListenerStatus { vpn: Vpn::Native, vrrp_id: None, mode: "dve", ..listener("dve", 4463) };
    let taken = ListenerStatus { mode: "proxy", open: false, ..listener("proxy", 444) };
    let all = [upgrade, listener("portal", 443), dve, taken];
    let mut ask = |listener: Option<&str>, vpn: Option<Vpn>| {
        let question = Question { listener: listener.map(str::to_owned), vpn, source: None };
        asked(&mut farm, &all, &question)
            .map(|why| (why.listener.unwrap_or_default(), why.endpoint.unwrap_or_default()))
            .map_err(|error| error.to_string())
    };
    let told = |name: &str, endpoint: &str| Ok((name.to_owned(), endpoint.to_owned()));
    assert_eq!(ask(None, None), told("portal", "192.168.200.1:443"));
    assert_eq!(ask(None, Some(Vpn::Native)), told("dve", "192.168.200.1:500"));
    assert_eq!(ask(Some("dve"), None), told("dve", "192.168.200.1:500"));
    assert_eq!(ask(Some("proxy"), Some(Vpn::Ssl)), told("proxy", "192.168.200.1:443"));
    assert_eq!(
        ask(Some("portl"), None).unwrap_err(),
        "there is no listener of that name; there are: http, portal, dve, proxy"
    );
    assert_eq!(
        ask(Some("portal"), Some(Vpn::Native)).unwrap_err(),
        "listener portal has ssl clients alone; leave vpn out, or name another listener"
    );
    assert_eq!(
        ask(Some("http"), None).unwrap_err(),
        "listener http sends everyone to the same place and chooses no gateway; name another one"
    );
    let none = asked(&mut farm, &[], &Question { vpn: Some(Vpn::Native), ..Question::default() }).unwrap();
    assert_eq!((none.listener, none.chosen.as_deref()), (None, Some("gw1")));
    assert_eq!(
        none.notes,
        ["There is no listener for such clients; this is what one would choose that names no VRRP ID."]
    );
    let closed = Question { listener: Some("proxy".into()), ..Question::default() };
    assert_eq!(asked(&mut farm, &all, &closed).unwrap().notes, ["Listener proxy is not open."]);
}

#[test]
fn a_front_door_on_standby_says_that_clients_come_to_the_other_one() {
    let mut farm = farm();
    let shared = |state| VrrpStatus {
        vrrp_id: 31,
        state,
        since: date(farm.now.wall),
        interface: "eth0".into(),
        addresses: vec!["10.0.0.9/24".into()],
        reason: String::new(),
        conflict: None,
    };
    let vrrp = [shared(VrrpState::Active), shared(VrrpState::Standby)];
    let why = why(&mut farm, BY_LOAD, None);
    assert_eq!(why.clone().sharing(&[]).notes, [""; 0]);
    assert_eq!(why.clone().sharing(&vrrp[..1]).notes, [""; 0]);
    assert_eq!(
        why.sharing(&vrrp).notes,
        ["This front door is on standby: clients come to the one that has the virtual address."]
    );
}

#[test]
fn the_table_has_the_sentences_and_a_row_for_each_gateway_best_first() {
    let mut farm = farm();
    (0..20).for_each(|_| farm.roster.snapshot().gateways[1].assigned.add());
    let text = table::render(&why(&mut farm, BY_LOAD, None), Style::default());
    let expected = "\
gw2 would be chosen: it has the lowest load, 0.37; then gw1 (0.45).
Listener portal: redirect, SSL VPN, VRRP ID 31, the lowest load first.

#  GATEWAY   LOAD  SCORE    PENDING  THROUGHPUT  TUNNELS  POOL    CPU  REPORT  WHY
1  gw2      0.370  0.350  20 +0.020           -    0.200     -  0.500      2s  chosen: it has the lowest load, 0.37
2  gw1      0.450  0.450          0           -    0.400     -  0.500      2s  next
-  gw3          -      -          0           -        -     -      -    none  left out: down: portal: connection refused
-  gw4      0.300  0.300          0           -    0.100     -  0.500      2s  left out: draining: new kernel
-  gw5      0.300  0.300          0           -    0.100     -  0.500      2s  left out: fenced: by front-b: portal: refused
-  gw6      0.750  0.750          0           -    1.000     -  0.500      2s  left out: no tunnel left: 1000 of 1000
-  gw7          -      -          0           -        -     -      -    none  left out: other VRRP ID: it has 32

LOAD is SCORE and what is pending; SCORE weighs throughput 1, tunnels 1, pool 1, cpu 1.
Sent to 192.168.200.2:443. Balance: load-balancing; policy: least-loaded; affinity: none; when none is available: refuse.
";
    assert_eq!(text, expected);
    farm.at(20);
    let stale = table::render(&why(&mut farm, BY_LOAD, None), Style { colour: true, ..Style::default() });
    assert!(stale.contains("20s stale") && stale.contains("\x1b[32mgw"), "{stale}");
}
