use serde_json::Value;
use time::OffsetDateTime;
use time::macros::datetime;

use super::why::Typed;
use super::*;
use crate::admin::events::{Event, Kind, Level};
use crate::admin::headroom::HeadroomStatus;
use crate::admin::history::History;
use crate::admin::peers::{PeerState, PeerStatus};
use crate::admin::rates::Rates;
use crate::admin::status::tests::{Farm, kept_open, listener, refused};
use crate::admin::status::{
    Criteria, DrainStatus, DrainedBy, HolderStatus, KeeperStatus, LoadStatus, Status,
};
use crate::admin::trust::Rights;
use crate::admin::vrrp::{VrrpState, VrrpStatus};
use crate::fleet::{Role, VpnMode, VrrpMode};

const HOSTILE: &str = "<script>alert('x')</script>\"><img src=x onerror=alert(1)> & 'so' on";

/// A status in which every field has something of its own to say.
fn rich() -> Status {
    let mut farm = Farm::new(4);
    farm.at(3).up(&["gw1", "gw2", "gw4"]).observe("gw4", kept_open(&["front-b", "self"], &["front-c"]));
    farm.at(61).observe("gw3", refused()).drain("gw2", "new kernel").at(65);
    let mut status = farm.status(&[listener("portal", 443), listener("second", 444)]);
    let since = datetime!(2026-04-30 11:22:33 UTC);
    status.summary = "Everything hangs together".into();
    status.headroom = "Nobody has room for anybody".into();
    status.node.snapshot = 80_123;
    let gateway = &mut status.gateways[0];
    gateway.role = Some(Role::Active);
    gateway.vrrp_mode = VrrpMode::Master;
    gateway.vrrp_id = Some(213);
    gateway.filling = true;
    gateway.pending = 17;
    gateway.headroom = Some(HeadroomStatus { tunnels: 3017, room: 2999, enough: false });
    gateway.history = History { step_seconds: 40, scores: vec![Some(0.25), None, Some(0.75)] };
    gateway.load = Some(LoadStatus {
        age_seconds: 12.3,
        stale: true,
        score: Some(0.61),
        criteria: Criteria { throughput: Some(0.62), tunnels: Some(0.63), pool: Some(0.64), cpu: Some(0.85) },
        tunnels: Some(3000),
        tunnels_max: Some(5001),
        pool_used: Some(4002),
        pool_size: Some(8190),
    });
    let (by, reason) = (DrainedBy::Agent, "by itself".into());
    gateway.drain = Some(DrainStatus { by, who: None, agent: true, reason, since });
    if let Some(fence) = &mut status.gateways[3].fence {
        fence.holders.push(HolderStatus { by: "local".into(), reason: "because".into(), seconds_left: 7.7 });
        fence.kept_open_by.push(KeeperStatus { by: "front-d".into(), seconds_left: 8.8 });
    }
    status.listeners[0].open = false;
    for (number, listener) in (1_u64..).zip(&mut status.listeners) {
        listener.connections = 6100 + number;
        listener.tunnels = 6200 + number;
        listener.redirects = 6300 + number;
        listener.unavailable = 6400 + number;
        listener.rates = Some(Rates {
            handshakes_per_second: 71.5,
            answers_per_second: 72.5,
            rejected_per_second: 73.5,
            in_bytes_per_second: 7400.0,
            out_bytes_per_second: 7.5e6,
        });
    }
    status.vrrp = vec![VrrpStatus {
        vrrp_id: 77,
        state: VrrpState::Standby,
        since,
        interface: "eth7".into(),
        addresses: vec!["10.7.0.1/24".into(), "10.8.0.1/24".into()],
        reason: "keepalived says so".into(),
        conflict: Some("both have it".into()),
    }];
    status.peers = vec![PeerStatus {
        name: Some("front-z".into()),
        url: "https://10.0.0.9:9465".into(),
        state: PeerState::Silent,
        since,
        reason: "no route to host".into(),
    }];
    status.events = (1..=20).map(|id| event(id, &format!("number {id} has happened"))).collect();
    status
}

fn event(id: u64, text: &str) -> Event {
    let level = if id == 1 { Level::Warning } else { Level::Info };
    let at = datetime!(2026-05-02 11:00:00 UTC) + time::Duration::seconds(id.cast_signed());
    Event { id, at, kind: Kind::Failsafe, level, gateway: Some("gw1".into()), text: text.into() }
}

/// The farm, and each gateway.
fn pages(status: &Status, rights: Rights) -> Vec<String> {
    let gateways = status.gateways.iter().map(|gateway| gateway::page(status, gateway, rights).into_string());
    std::iter::once(farm::page(status, rights).into_string()).chain(gateways).collect()
}

/// What a reader reads: without the marks, each of which parts words.
fn text(html: &str) -> String {
    let mut text = String::new();
    let mut inside = false;
    for sign in html.chars() {
        match sign {
            '<' => inside = true,
            '>' if inside => {
                inside = false;
                text.push(' ');
            }
            _ if !inside => text.push(sign),
            _ => {}
        }
    }
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// As words of their own, and not as parts of others.
fn has_words(text: &str, words: &str) -> bool {
    let is_part = |sign: Option<char>| sign.is_some_and(char::is_alphanumeric);
    text.match_indices(words).any(|(at, _)| {
        !is_part(text[..at].chars().next_back()) && !is_part(text[at + words.len()..].chars().next())
    })
}

/// Every value of a document with its path: `gateways[].load.score`.
fn leaves(path: &str, value: &Value, found: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                leaves(&path, value, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| leaves(&format!("{path}[]"), item, found)),
        leaf => found.push((path.to_owned(), leaf.clone())),
    }
}

/// How a value is written on a page; `None` where it is not, and why.
fn shown(path: &str, value: &Value) -> Option<String> {
    let last = path.rsplit('.').next().unwrap_or_default();
    match (path, value) {
        // a line, of which other tests see each point
        ("gateways[].history.scores[]", _) => None,
        // the order of the events
        ("events[].id", _) => None,
        // what is not known or not there has nothing to be looked for
        (_, Value::Null) => None,
        ("gateways[].filling", Value::Bool(filling)) => filling.then(|| "is filled gradually".into()),
        ("gateways[].load.stale", Value::Bool(stale)) => stale.then(|| "stale".into()),
        ("gateways[].headroom.enough", Value::Bool(enough)) => {
            Some(if *enough { "enough" } else { "not enough" }.into())
        }
        ("listeners[].open", Value::Bool(open)) => (!open).then(|| "not open".into()),
        ("gateways[].fence.blocked", Value::Bool(blocked)) => {
            Some(if *blocked { "refuses newcomers" } else { "open, engine" }.into())
        }
        (_, Value::Bool(available)) if last == "available" => {
            Some(if *available { "available" } else { "unavailable" }.into())
        }
        ("gateways[].drain.by", by) => {
            Some(if by == "agent" { "by its own agent" } else { "by administrator" }.into())
        }
        ("gateways[].drain.agent", Value::Bool(agent)) => agent.then(|| "its own agent".into()),
        (_, Value::String(text)) => Some(text.clone()),
        ("gateways[].history.step_seconds", step) => Some(format!("each {step} s")),
        (_, Value::Number(number)) => {
            let number = number.as_f64().unwrap();
            let is_ratio = last == "score" || path.contains(".criteria.");
            Some(match last {
                _ if is_ratio => words::percent(number),
                "seconds_left" | "age_seconds" => words::seconds(number),
                "milliseconds" => format!("{number:.1} ms"),
                "in_bytes_per_second" | "out_bytes_per_second" => words::bytes_rate(number),
                last if last.ends_with("per_second") => words::rate(number),
                _ => number.to_string(),
            })
        }
        _ => panic!("{path} is new; show it, and say how"),
    }
}

/// The paths of all values of a status that these pages do not show.
fn missing(status: &Status, pages: &[String]) -> Vec<String> {
    let html = pages.join("\n");
    let text = text(&html).to_lowercase();
    let mut found = Vec::new();
    leaves("", &serde_json::to_value(status).unwrap(), &mut found);
    assert!(found.len() > 200, "{}", found.len());
    let unseen = found.into_iter().filter(|(path, value)| {
        shown(path, value).is_some_and(|shown| {
            let is_moment = html.contains(&format!("datetime=\"{shown}\""));
            !is_moment && !has_words(&text, &shown.to_lowercase())
        })
    });
    unseen.map(|(path, _)| path).collect()
}

#[test]
fn everything_in_the_document_is_on_a_page() {
    let status = rich();
    assert_eq!(missing(&status, &pages(&status, Rights::Token)), [""; 0]);
}

#[test]
fn what_is_not_on_a_page_is_noticed() {
    let pages = pages(&rich(), Rights::Token);
    let mut other = rich();
    other.vrrp[0].interface = "eth8".into();
    other.peers[0].since = OffsetDateTime::UNIX_EPOCH;
    other.listeners[1].redirects = 6309;
    if let Some(load) = &mut other.gateways[0].load {
        load.pool_used = Some(4003);
        load.criteria.cpu = Some(0.93);
    }
    let expected = [
        "gateways[].load.criteria.cpu",
        "gateways[].load.pool_used",
        "listeners[].redirects",
        "peers[].since",
        "vrrp[].interface",
    ];
    let mut missing = missing(&other, &pages);
    missing.sort();
    assert_eq!(missing, expected);
}

#[test]
fn what_was_written_by_others_is_text_and_nothing_else() {
    let mut status = rich();
    status.summary = HOSTILE.into();
    status.headroom = HOSTILE.into();
    status.node.name = HOSTILE.into();
    for gateway in &mut status.gateways {
        gateway.name = HOSTILE.into();
        gateway.reason = HOSTILE.into();
        gateway.drain = Some(DrainStatus {
            by: DrainedBy::Administrator,
            who: Some(HOSTILE.into()),
            agent: true,
            reason: HOSTILE.into(),
            since: OffsetDateTime::UNIX_EPOCH,
        });
        for check in &mut gateway.checks {
            (check.name, check.detail) = (HOSTILE.into(), HOSTILE.into());
        }
        for holder in gateway.fence.iter_mut().flat_map(|fence| &mut fence.holders) {
            (holder.by, holder.reason) = (HOSTILE.into(), HOSTILE.into());
        }
    }
    for listener in &mut status.listeners {
        listener.name = HOSTILE.into();
    }
    for vrrp in &mut status.vrrp {
        vrrp.conflict = Some(HOSTILE.into());
    }
    for peer in &mut status.peers {
        (peer.name, peer.reason) = (Some(HOSTILE.into()), HOSTILE.into());
    }
    status.events = vec![event(1, HOSTILE)];
    let gateway = &status.gateways[0];
    let mut all = pages(&status, Rights::Token);
    all.push(change::drain(&status, gateway, Rights::Token).into_string());
    all.push(change::resume(&status, gateway, Rights::Free).into_string());
    all.push(change::with_warning(&status, gateway, HOSTILE).into_string());
    let typed = Typed { listener: HOSTILE.into(), vpn: HOSTILE.into(), source: HOSTILE.into() };
    let unknown = crate::admin::why::QuestionError::UnknownParameter(HOSTILE.into());
    all.push(why::page(&status, &typed, &Err(unknown)).into_string());
    for html in all {
        assert!(html.contains("&lt;script&gt;"), "{html}");
        // our own script is named by a path
        let own = html.matches("<script src=\"/assets/page.js?").count();
        assert_eq!(html.matches("<script").count(), own, "{html}");
        assert!(!html.contains("<img") && !html.contains("\"><img"), "{html}");
    }
}

#[test]
fn tunnels_are_a_part_of_all_that_fit_only_where_that_is_known() {
    let mut status = rich();
    let figure = |status: &Status| {
        let html = farm::page(status, Rights::Nothing).into_string();
        let (_, figure) = html.split_once("<dt>Tunnels</dt><dd>").unwrap();
        figure.split_once("</dd>").unwrap().0.trim().to_owned()
    };
    assert!(figure(&status).contains(" of "), "{}", figure(&status));
    status.gateways[0].load.as_mut().unwrap().tunnels_max = None;
    assert!(!figure(&status).contains("of"), "{}", figure(&status));
}

#[test]
fn nothing_is_in_a_page_that_the_policy_forbids() {
    let status = rich();
    let mut all = pages(&status, Rights::Token);
    all.push(change::drain(&status, &status.gateways[0], Rights::Token).into_string());
    for html in all {
        for forbidden in
            [" style=", "<style", " onclick", "javascript:", "src=\"http", "href=\"http", "href=\"//"]
        {
            assert!(!html.contains(forbidden), "{forbidden} in {html}");
        }
    }
}

#[test]
fn whoever_can_change_nothing_is_shown_no_button_and_told_how() {
    let status = rich();
    let gateway = &status.gateways[1];
    for html in pages(&status, Rights::Nothing) {
        assert!(!html.contains("/drain\"") && !html.contains("/resume\""), "{html}");
        assert!(text(&html).contains("use the command line on this host, vestibule drain"), "{html}");
    }
    let html = change::drain(&status, gateway, Rights::Nothing).into_string();
    assert!(!html.contains("<form") && html.contains("token_file"), "{html}");
    let asked = |rights| change::drain(&status, gateway, rights).into_string().contains("name=\"token\"");
    assert_eq!((asked(Rights::Token), asked(Rights::Free)), (true, false));
    let farm = farm::page(&status, Rights::Token).into_string();
    assert!(farm.contains("href=\"/gateways/gw2/resume\"") && farm.contains("href=\"/gateways/gw3/drain\""));
    assert!(!farm.contains("/gateways/gw2/drain"), "it is drained already");
}

fn told(farm: &mut Farm, name: &str) -> String {
    let status = farm.status(&[listener("portal", 443)]);
    let gateway = status.gateways.iter().find(|gateway| gateway.name == name).unwrap();
    text(&change::drain(&status, gateway, Rights::Free).into_string())
}

#[test]
fn before_a_drain_it_is_said_who_stays_and_who_takes_the_newcomers() {
    let said = told(Farm::new(3).up(&["gw1", "gw2", "gw3"]), "gw1");
    assert!(said.contains("Its 100 tunnels stay until their users end them."), "{said}");
    assert!(said.contains("Newcomers of portal go to gw2 and gw3 ."), "{said}");
    assert!(said.contains("The others have room for 1800 tunnels now: enough"), "{said}");
}

#[test]
fn before_a_drain_of_the_last_one_that_is_said() {
    let mut farm = Farm::new(2);
    let said = told(farm.up(&["gw1"]).observe("gw2", refused()), "gw1");
    assert!(said.contains("It is the last one available for portal : whoever comes"), "{said}");
    let said = told(&mut farm, "gw2");
    assert!(said.contains("Newcomers of portal go to gw1 ."), "{said}");
    let said = told(Farm::new(1).observe("gw1", refused()), "gw1");
    assert!(said.contains("No other one is available for portal :"), "{said}");
}

#[test]
fn in_failsafe_mode_the_one_that_waits_for_its_turn_takes_the_newcomers() {
    let said = told(Farm::failsafe(2).up(&["gw1", "gw2"]), "gw1");
    assert!(said.contains("Newcomers of portal go to gw2 ."), "{said}");
}

#[test]
fn in_failsafe_mode_newcomers_go_to_one_alone() {
    let mut farm = Farm::failsafe(3);
    let said = told(farm.up(&["gw1", "gw2", "gw3"]), "gw1");
    assert!(said.contains("Newcomers of portal go to gw2 ."), "{said}");
    for standby in ["gw2", "gw3"] {
        let said = told(&mut farm, standby);
        assert!(said.contains("Newcomers of portal go to gw1 ."), "{said}");
    }
    let said = told(farm.at(1).observe("gw2", refused()), "gw1");
    assert!(said.contains("Newcomers of portal go to gw3 ."), "{said}");
    let full = crate::admin::status::tests::report(1000, crate::fleet::Service::Up);
    let said = told(farm.at(2).observe("gw1", full), "gw3");
    assert!(said.contains("No other one is available for portal"), "the active one keeps its part: {said}");
}

#[test]
fn before_a_drain_of_one_that_drains_by_itself_or_is_down_nothing_untrue_is_said() {
    let mut farm = Farm::new(2);
    farm.up(&["gw1"]).observe("gw2", crate::admin::status::tests::report(7, crate::fleet::Service::Draining));
    let said = told(&mut farm, "gw2");
    assert!(said.contains("by its own agent's wish") && said.contains("by your order, too"), "{said}");
    assert!(!said.contains("place of the old one"), "{said}");
    let said = told(farm.at(1).observe("gw2", refused()), "gw2");
    assert!(said.contains("It is down, and gets no newcomers") && !said.contains("tunnels stay"), "{said}");
}

/// Before it is resumed.
fn told_of_resuming(farm: &mut Farm, name: &str) -> String {
    let status = farm.status(&[listener("portal", 443)]);
    let gateway = status.gateways.iter().find(|gateway| gateway.name == name).unwrap();
    text(&change::resume(&status, gateway, Rights::Free).into_string())
}

#[test]
fn before_a_resume_it_is_said_whether_newcomers_come() {
    let ready = "It gets newcomers again";
    let mut farm = Farm::new(2);
    let said = told_of_resuming(farm.up(&["gw1", "gw2"]).drain("gw1", ""), "gw1");
    assert!(said.contains("It gets newcomers again, at once. It has 100 tunnels now."), "{said}");
    let said = told_of_resuming(&mut farm, "gw2");
    assert!(said.contains("It is not drained: nothing changes.") && !said.contains(ready), "{said}");
    let report = crate::admin::status::tests::report;
    let said = told_of_resuming(farm.observe("gw1", report(1000, crate::fleet::Service::Up)), "gw1");
    assert!(said.contains("It is full") && !said.contains(ready), "{said}");
    let fenced = crate::admin::status::tests::fenced(&["front-b"]);
    let said = told_of_resuming(farm.observe("gw1", fenced), "gw1");
    assert!(said.contains("once its firewall lets them in") && !said.contains(ready), "{said}");
    let said = told_of_resuming(farm.observe("gw2", report(7, crate::fleet::Service::Draining)), "gw2");
    assert!(said.contains("until its agent wishes so no more") && !said.contains(ready), "{said}");
    let said = told_of_resuming(farm.drain("gw2", ""), "gw2");
    assert!(said.contains("It was drained by uid 0") && said.contains("it gets none until then"), "{said}");
    assert!(!said.contains(ready), "{said}");
    let mut pair = Farm::failsafe(2);
    let said = told_of_resuming(pair.up(&["gw1", "gw2"]).drain("gw2", ""), "gw2");
    assert!(said.contains("when it is its turn") && !said.contains(ready), "{said}");
}

#[test]
fn whom_nobody_is_sent_to_is_not_missing() {
    let mut farm = Farm::with(3, |number, gateway| {
        if number == 3 {
            gateway.vpn_mode = VpnMode::VrrpOnly;
        }
    });
    let status = farm.up(&["gw1", "gw2", "gw3"]).status(&[listener("portal", 443)]);
    let said = text(&farm::page(&status, Rights::Free).into_string());
    assert!(said.contains("Gateways available 2 of 2"), "{said}");
}

#[test]
fn that_nobody_tells_its_tunnels_is_not_none() {
    let sums = |farm: &mut Farm| text(&farm::page(&farm.status(&[]), Rights::Free).into_string());
    let said = sums(Farm::new(1).observe("gw1", refused()));
    assert!(said.contains("Tunnels unknown On their way"), "{said}");
    let said = sums(Farm::new(2).up(&["gw1"]));
    assert!(said.contains("Tunnels 100 of 1000 On their way"), "{said}");
}

#[test]
fn before_a_drain_it_is_said_who_else_does_the_same() {
    let peer = |name: &str, state| PeerStatus {
        name: Some(name.into()),
        url: "https://10.0.0.9:9465".into(),
        state,
        since: OffsetDateTime::UNIX_EPOCH,
        reason: String::new(),
    };
    let mut status = Farm::new(1).status(&[]);
    status.peers =
        [("front-b", PeerState::Standby), ("front-c", PeerState::Silent), ("front-d", PeerState::Unknown)]
            .map(|(name, state)| peer(name, state))
            .into();
    let said = text(&change::drain(&status, &status.gateways[0], Rights::Free).into_string());
    assert!(
        said.contains("It holds at front-b , too. front-c and front-d are not heard now and will"),
        "{said}"
    );
}

#[test]
fn trouble_stands_first_and_the_worst_of_it_in_the_title() {
    let mut farm = Farm::new(3);
    let status = farm.up(&["gw1", "gw2"]).observe("gw3", refused()).status(&[listener("portal", 443)]);
    let html = farm::page(&status, Rights::Free).into_string();
    let places = ["gw3", "gw1", "gw2"].map(|name| html.find(&format!("data-key=\"{name}\"")).unwrap());
    assert!(places.is_sorted(), "{places:?}");
    assert!(html.contains("<title>▲ Farm – front-a</title>"), "{html}");
    let status = Farm::new(1).observe("gw1", refused()).status(&[listener("portal", 443)]);
    let html = farm::page(&status, Rights::Free).into_string();
    assert!(html.contains("<title>✖ Farm – front-a</title>") && html.contains("Out of order"), "{html}");
    let status = Farm::new(1).up(&["gw1"]).status(&[listener("portal", 443)]);
    let html = farm::page(&status, Rights::Free).into_string();
    assert!(html.contains("<title>Farm – front-a</title>") && html.contains("All is well"), "{html}");
}

#[test]
fn a_page_with_a_form_does_not_load_itself_again() {
    let status = rich();
    assert!(farm::page(&status, Rights::Free).into_string().contains("http-equiv=\"refresh\""));
    let form = change::drain(&status, &status.gateways[0], Rights::Free).into_string();
    assert!(!form.contains("refresh"));
}
