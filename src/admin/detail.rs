//! One gateway as text for people, whole.

use time::OffsetDateTime;
use time::macros::format_description;

use super::columns::{
    Cell, Colour, Column, PLAIN, Style, UNKNOWN, age, printable, push_table, seconds_between,
};
use super::status::{
    Available, CheckStatus, CheckWord, DrainStatus, DrainedBy, FenceStatus, GatewayStatus, LoadStatus, Status,
};
use super::table::{colour, of_most, percent, push_events, report_age, trend};
use crate::fleet::{Role, VrrpMode};

/// Writes all that is known of one of the gateways, each line ended by a newline, and the last `events` about it.
pub fn render(status: &Status, gateway: &GatewayStatus, events: usize, style: Style) -> String {
    let mut text = String::new();
    for (label, value) in facts(gateway, status.at, style) {
        let value = printable(&value);
        let value = match label {
            "State" if style.colour => format!("{}{value}{PLAIN}", colour(gateway.state).code()),
            _ => value,
        };
        text.push_str(&format!("{label:<LABEL$}  {value}\n"));
    }
    push_table(&mut text, &CHECKS, gateway.checks.iter().map(check_row).collect(), style);
    let about = status.events.iter().filter(|event| event.gateway.as_ref() == Some(&gateway.name));
    push_events(&mut text, about.take(events), status.at, style);
    text
}

/// As wide as the longest label.
const LABEL: usize = 15;

const CHECKS: [Column; 4] =
    [Column::left("CHECK"), Column::left("RESULT"), Column::right("TOOK"), Column::left("DETAIL")];

fn check_row(check: &CheckStatus) -> Vec<Cell> {
    let colour = match check.result {
        CheckWord::Pass => Colour::Green,
        CheckWord::Fail | CheckWord::Timeout => Colour::Red,
        CheckWord::Inconclusive => Colour::Yellow,
    };
    vec![
        check.name.clone().into(),
        Cell::coloured(check.result.as_str(), colour),
        format!("{:.1} ms", check.milliseconds).into(),
        check.detail.clone().into(),
    ]
}

fn facts(gateway: &GatewayStatus, now: OffsetDateTime, style: Style) -> Vec<(&'static str, String)> {
    let state = gateway.state.as_str();
    let since = since(gateway.since, now);
    let because = if gateway.reason.is_empty() { String::new() } else { format!(": {}", gateway.reason) };
    let mut facts = vec![
        ("Gateway", gateway.name.clone()),
        ("State", format!("{state} {since}{because}")),
        ("For native VPN", available(&gateway.availability.native)),
        ("For SSL VPN", available(&gateway.availability.ssl)),
        ("Native endpoint", gateway.native_endpoint.clone()),
        ("SSL endpoint", gateway.ssl_endpoint.clone()),
        ("VPN mode", gateway.vpn_mode.as_str().to_owned()),
        ("VRRP ID", gateway.vrrp_id.map_or(UNKNOWN.to_owned(), |id| id.to_string())),
    ];
    if gateway.vrrp_mode != VrrpMode::Inactive {
        facts.push(("VRRP mode", gateway.vrrp_mode.as_str().to_owned()));
    }
    facts.extend(gateway.role.map(|role| {
        let words = match role {
            Role::Active => "active: newcomers are sent to it",
            Role::Standby => "standby: it waits for its turn",
        };
        ("Role", words.to_owned())
    }));
    match &gateway.load {
        Some(load) => facts.extend(load_facts(load)),
        None => facts.push(("Report", "none".to_owned())),
    }
    let trend = trend(&gateway.history, style);
    if !trend.is_empty() {
        facts.push(("Last 15 minutes", trend));
    }
    facts.push(("Pending", format!("{} sent to it that no report shows yet", gateway.pending)));
    facts.extend(gateway.headroom.map(|headroom| {
        let enough = if headroom.enough { "enough" } else { "not enough" };
        let (room, tunnels) = (headroom.room, headroom.tunnels);
        (
            "Headroom",
            format!(
                "{enough}: it has {tunnels} tunnels, and the others have room for {room} if it fails now"
            ),
        )
    }));
    if gateway.filling {
        facts.push((
            "Filling",
            "yes: it has come back, and gets its share of newcomers little by little".into(),
        ));
    }
    facts.extend(gateway.drain.as_ref().map(|drain| ("Drain", drained(drain, now))));
    facts.extend(gateway.fence.as_ref().into_iter().flat_map(fence_facts));
    facts
}

fn available(available: &Available) -> String {
    match (&available.reason, available.available) {
        (_, true) => "available".to_owned(),
        (Some(reason), false) => format!("not available: {reason}"),
        (None, false) => "not available".to_owned(),
    }
}

fn load_facts(load: &LoadStatus) -> Vec<(&'static str, String)> {
    let ratio = |ratio: Option<f64>| ratio.map_or(UNKNOWN.to_owned(), percent);
    let criteria = &load.criteria;
    let with = |part: Option<f64>, used: Option<u64>, most: Option<u64>| match (used, most) {
        (None, None) => ratio(part),
        (used, most) => format!("{} ({})", ratio(part), of_most(used, most)),
    };
    let stale = if load.stale { ", too old to count" } else { "" };
    vec![
        ("Report", format!("{} old{stale}", report_age(load).trim_end_matches(" stale"))),
        ("Score", ratio(load.score)),
        ("  throughput", ratio(criteria.throughput)),
        ("  tunnels", with(criteria.tunnels, load.tunnels, load.tunnels_max)),
        ("  pool", with(criteria.pool, load.pool_used, load.pool_size)),
        ("  cpu", ratio(criteria.cpu)),
    ]
}

fn drained(drain: &DrainStatus, now: OffsetDateTime) -> String {
    let by = match (drain.by, drain.who.as_deref()) {
        (DrainedBy::Administrator, Some(who)) => format!("by order of {who}"),
        (DrainedBy::Administrator, None) => "by order".to_owned(),
        (DrainedBy::Agent, _) => "by its own agent".to_owned(),
    };
    let too = if drain.is_by_both() { "; its own agent wants no newcomers, either" } else { "" };
    format!("{by} {}: {}{too}", since(drain.since, now), drain.reason)
}

fn fence_facts(fence: &FenceStatus) -> Vec<(&'static str, String)> {
    let ports = if fence.ports.is_empty() { String::new() } else { format!(", {}", fence.ports.join(", ")) };
    let blocked = if fence.blocked { "newcomers are refused" } else { "open" };
    let mut facts = vec![("Fence", format!("{blocked} (engine {}{ports})", fence.engine))];
    facts.extend(fence.holders.iter().map(|holder| {
        ("  wanted by", format!("{}, {} s more: {}", holder.by, holder.seconds_left, holder.reason))
    }));
    let keepers = fence.kept_open_by.iter();
    facts.extend(
        keepers.map(|keeper| ("  kept open by", format!("{}, {} s more", keeper.by, keeper.seconds_left))),
    );
    facts
}

/// "for 3m12s, since 2026-05-02 12:03:11 UTC"
fn since(earlier: OffsetDateTime, now: OffsetDateTime) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");
    let time = earlier.to_offset(time::UtcOffset::UTC).format(format).unwrap_or_default();
    format!("for {}, since {time}", age(seconds_between(earlier, now)))
}

#[cfg(test)]
mod tests {
    use super::super::events::{Event, Kind, Level};
    use super::super::history::History;
    use super::super::status::tests::{Farm, kept_open, refused, report};
    use super::*;
    use crate::fleet::Service;

    fn gw1(farm: &mut Farm) -> String {
        let status = farm.status(&[]);
        render(&status, &status.gateways[0], 5, Style::default())
    }

    #[test]
    fn who_wants_a_drain_is_said_of_both() {
        let mut farm = Farm::new(1);
        let by_both = gw1(farm.observe("gw1", report(7, Service::Draining)).drain("gw1", "new kernel"));
        let line = by_both.lines().find(|line| line.starts_with("Drain ")).unwrap();
        assert!(line.contains("by order of uid 0"), "{line}");
        assert!(line.ends_with(": new kernel; its own agent wants no newcomers, either"), "{line}");
    }

    #[test]
    fn a_gateway_is_shown_whole() {
        let mut farm = Farm::new(2);
        farm.observe("gw1", kept_open(&["self", "front-b"], &["front-a"])).at(60).drain("gw1", "new kernel");
        farm.at(63).observe("gw1", kept_open(&["self", "front-b"], &["front-a"])).at(65);
        let mut status = farm.status(&[]);
        status.gateways[0].history = History { step_seconds: 10, scores: vec![Some(0.3); 12] };
        let about = |gateway: &str, text: &str| Event {
            id: 1,
            at: status.at,
            kind: Kind::Order,
            level: Level::Info,
            gateway: Some(gateway.into()),
            text: text.into(),
        };
        status.events = vec![about("gw2", "gw2 is up"), about("gw1", "gw1 drains")];
        let text = render(&status, &status.gateways[0], 5, Style::default());
        let expected = "\
Gateway          gw1
State            draining for 5s, since 2026-05-02 12:01:00 UTC: new kernel
For native VPN   not available: draining
For SSL VPN      not available: draining
Native endpoint  192.168.200.1:500
SSL endpoint     192.168.200.1:443
VPN mode         both
VRRP ID          31
Report           2s old
Score            30%
  throughput     -
  tunnels        10% (100/1000)
  pool           -
  cpu            50%
Last 15 minutes  ▃▃▃▃▃▃▃▃▃▃▃▃
Pending          0 sent to it that no report shows yet
Headroom         not enough: it has 100 tunnels, and the others have room for 0 if it fails now
Drain            by order of uid 0 for 5s, since 2026-05-02 12:01:00 UTC: new kernel
Fence            newcomers are refused (engine nftables, tcp/443)
  wanted by      self, 13 s more: portal: refused
  wanted by      front-b, 13 s more: portal: refused
  kept open by   front-a, 13 s more

CHECK      RESULT     TOOK  DETAIL
heartbeat  pass    12.3 ms  200 OK

AGO  EVENT
 0s  gw1 drains
";
        assert_eq!(text, expected);
    }

    #[test]
    fn one_of_which_little_is_known_tells_that() {
        let mut farm = Farm::failsafe(1);
        let text = gw1(farm.observe("gw1", refused()));
        for line in [
            "State            down for 0s, since 2026-05-02 12:00:00 UTC: portal: connection refused\n",
            "Role             standby: it waits for its turn\n",
            "Report           none\n",
            "\nportal  fail    12.3 ms  connection refused\n",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        let text = gw1(farm.up(&["gw1"]).at(100));
        assert!(text.contains("Report           1m40s old, too old to count\n"), "{text}");
        assert!(!text.contains("Fence"), "{text}");
        let text = gw1(farm.observe("gw1", refused()).at(101).up(&["gw1"]));
        assert!(text.contains("Filling          yes"), "{text}");
    }

    #[test]
    fn what_an_agent_says_cannot_drive_the_terminal() {
        let mut status = Farm::new(1).observe("gw1", refused()).status(&[]);
        status.gateways[0].reason = "\x1b[2Jgone".into();
        let text = render(&status, &status.gateways[0], 5, Style { colour: true, ..Style::default() });
        assert!(text.contains("UTC:  [2Jgone\x1b[0m\n") && !text.contains("\x1b[2J"), "{text:?}");
    }
}
