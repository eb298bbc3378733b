//! A status as text for people.

use time::OffsetDateTime;

use super::columns::{Cell, Colour, Column, Style, UNKNOWN, age, printable, push_table, seconds_between};
use super::events::{Event, Level};
use super::headroom::HeadroomStatus;
use super::history::History;
use super::peers::{PeerState, PeerStatus};
use super::status::{Available, FenceStatus, GatewayStatus, ListenerEntry, LoadStatus, Status};
use super::vrrp::{VrrpState, VrrpStatus};
use crate::fleet::{Role, State, VpnMode, VrrpMode};

/// Writes everything that there is to know, at a glance, each line ended by a newline: the sentences, and all parts with the
/// last `events`.
pub fn render(status: &Status, events: usize, style: Style) -> String {
    let mut text = printable(&status.summary) + "\n";
    for part in Part::ALL {
        push_part(&mut text, status, part, events, style);
    }
    text.push('\n');
    if !status.headroom.is_empty() {
        text.push_str(&printable(&status.headroom));
        text.push('\n');
    }
    text + &node(status)
}

/// What a status is made of, beside its first sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The virtual addresses.
    Vrrp,
    /// The other front doors.
    FrontDoors,
    /// The gateways.
    Gateways,
    /// What their scores are made of, and their trends.
    Loads,
    /// The listeners.
    Listeners,
    /// How much they have to do.
    Rates,
    /// What has happened.
    Events,
}

impl Part {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 7] = [
        Self::Vrrp,
        Self::FrontDoors,
        Self::Gateways,
        Self::Loads,
        Self::Listeners,
        Self::Rates,
        Self::Events,
    ];
}

/// Adds one part, with an empty line before it; nothing if there is nothing to tell.
pub fn push_part(text: &mut String, status: &Status, part: Part, events: usize, style: Style) {
    let now = status.at;
    match part {
        Part::Vrrp => push_table(text, &VRRP, rows(&status.vrrp, |vrrp| vrrp_row(vrrp, now)), style),
        Part::FrontDoors => push_table(text, &PEERS, rows(&status.peers, |peer| peer_row(peer, now)), style),
        Part::Gateways => {
            push_table(text, &GATEWAYS, rows(&status.gateways, |gateway| gateway_row(gateway, now)), style);
        }
        Part::Loads => {
            let loaded: Vec<_> = status.gateways.iter().filter(|gateway| gateway.load.is_some()).collect();
            push_table(text, &LOADS, rows(&loaded, |gateway| load_row(gateway, style)), style);
        }
        Part::Listeners => push_table(text, &LISTENERS, rows(&status.listeners, listener_row), style),
        Part::Rates => {
            push_table(text, &RATES, status.listeners.iter().filter_map(rates_row).collect(), style);
        }
        Part::Events => push_events(text, status.events.iter().take(events), now, style),
    }
}

/// Which front door this is.
pub fn node(status: &Status) -> String {
    let node = &status.node;
    let up = age(seconds_between(node.started, status.at));
    let (name, version) = (printable(&node.name), printable(&node.version));
    format!("Front door {name} {version}, started {up} ago, snapshot {}.\n", node.snapshot)
}

/// Adds what has happened, the newest first.
pub fn push_events<'a>(
    text: &mut String,
    events: impl Iterator<Item = &'a Event>,
    now: OffsetDateTime,
    style: Style,
) {
    push_table(text, &EVENTS, events.map(|event| event_row(event, now)).collect(), style);
}

fn rows<T>(all: &[T], row: impl Fn(&T) -> Vec<Cell>) -> Vec<Vec<Cell>> {
    all.iter().map(row).collect()
}

const VRRP: [Column; 6] = [
    Column::right("VRRP"),
    Column::left("STATE"),
    Column::right("FOR"),
    Column::left("ADDRESSES"),
    Column::left("INTERFACE").dispensable(1),
    Column::left("REASON"),
];

const PEERS: [Column; 5] = [
    Column::left("FRONT DOOR"),
    Column::left("STATE"),
    Column::right("FOR"),
    Column::left("ASKED AT").dispensable(1),
    Column::left("REASON"),
];

const GATEWAYS: [Column; 13] = [
    Column::left("GATEWAY"),
    Column::left("STATE"),
    Column::right("FOR"),
    Column::left("NATIVE").dispensable(1),
    Column::left("SSL").dispensable(1),
    Column::left("ROLE").optional().dispensable(2),
    Column::left("VRRP").optional().dispensable(4),
    Column::right("SCORE").dispensable(3),
    Column::right("TUNNELS").dispensable(3),
    Column::right("PENDING").dispensable(4),
    Column::right("REPORT").dispensable(5),
    Column::left("FENCED").dispensable(6),
    Column::left("REASON"),
];

const LOADS: [Column; 9] = [
    Column::left("LOAD"),
    Column::right("SCORE"),
    Column::right("THROUGHPUT").dispensable(1),
    Column::right("TUNNELS").dispensable(1),
    Column::right("POOL").dispensable(1),
    Column::right("CPU").dispensable(1),
    Column::right("ADDRESSES").optional().dispensable(2),
    Column::left("HEADROOM").optional(),
    Column::left("LAST 15 MINUTES").optional(),
];

const LISTENERS: [Column; 10] = [
    Column::left("LISTENER"),
    Column::left("ADDRESS"),
    Column::left("MODE").dispensable(2),
    Column::right("VRRP").dispensable(4),
    Column::right("AVAILABLE"),
    Column::right("CONNECTIONS").dispensable(1),
    Column::right("TUNNELS").dispensable(1),
    Column::right("REDIRECTS").dispensable(3),
    Column::right("UNAVAILABLE").dispensable(3),
    Column::left("VPN").dispensable(5),
];

const RATES: [Column; 6] = [
    Column::left("A SECOND"),
    Column::right("HANDSHAKES"),
    Column::right("ANSWERS"),
    Column::right("REJECTED"),
    Column::right("IN").dispensable(1),
    Column::right("OUT").dispensable(1),
];

const EVENTS: [Column; 2] = [Column::right("AGO"), Column::left("EVENT")];

fn vrrp_row(vrrp: &VrrpStatus, now: OffsetDateTime) -> Vec<Cell> {
    let colour = match vrrp.state {
        VrrpState::Active => Colour::Green,
        VrrpState::Standby => Colour::Yellow,
    };
    vec![
        vrrp.vrrp_id.to_string().into(),
        Cell::coloured(vrrp.state.as_str(), colour),
        age(seconds_between(vrrp.since, now)).into(),
        vrrp.addresses.join(" ").into(),
        vrrp.interface.clone().into(),
        vrrp.reason.clone().into(),
    ]
}

fn peer_row(peer: &PeerStatus, now: OffsetDateTime) -> Vec<Cell> {
    let colour = match peer.state {
        PeerState::Active => Colour::Green,
        PeerState::Standby | PeerState::Unknown => Colour::Yellow,
        PeerState::Silent => Colour::Red,
    };
    vec![
        peer.name.clone().unwrap_or_else(|| UNKNOWN.into()).into(),
        Cell::coloured(peer.state.as_str(), colour),
        age(seconds_between(peer.since, now)).into(),
        peer.url.clone().into(),
        peer.reason.clone().into(),
    ]
}

fn gateway_row(gateway: &GatewayStatus, now: OffsetDateTime) -> Vec<Cell> {
    let aside = match gateway.state {
        // nobody is to be surprised that it is
        State::Down if gateway.drain.is_some() => " (drained)",
        _ if gateway.filling => " (filling)",
        _ => "",
    };
    let load = gateway.load.as_ref();
    vec![
        gateway.name.clone().into(),
        Cell::coloured(&format!("{}{aside}", gateway.state.as_str()), colour(gateway.state)),
        age(seconds_between(gateway.since, now)).into(),
        available(&gateway.availability.native, gateway.vpn_mode, VpnMode::Native).into(),
        available(&gateway.availability.ssl, gateway.vpn_mode, VpnMode::Ssl).into(),
        gateway.role.map_or(UNKNOWN, Role::as_str).to_owned().into(),
        match gateway.vrrp_mode {
            VrrpMode::Inactive => UNKNOWN.to_owned().into(),
            mode => mode.as_str().to_owned().into(),
        },
        load.and_then(|load| load.score).map_or(UNKNOWN.into(), percent).into(),
        load.map_or(UNKNOWN.into(), |load| of_most(load.tunnels, load.tunnels_max)).into(),
        gateway.pending.to_string().into(),
        load.map_or("none".into(), report_age).into(),
        fenced_by(gateway).into(),
        reason(gateway).into(),
    ]
}

fn load_row(gateway: &GatewayStatus, style: Style) -> Vec<Cell> {
    let load = gateway.load.as_ref().filter(|load| !load.stale);
    let ratio = |of: fn(&LoadStatus) -> Option<f64>| load.and_then(of).map_or(UNKNOWN.into(), percent).into();
    vec![
        gateway.name.clone().into(),
        ratio(|load| load.score),
        ratio(|load| load.criteria.throughput),
        ratio(|load| load.criteria.tunnels),
        ratio(|load| load.criteria.pool),
        ratio(|load| load.criteria.cpu),
        load.map_or(UNKNOWN.into(), |load| of_most(load.pool_used, load.pool_size)).into(),
        gateway.headroom.map_or(UNKNOWN.into(), headroom),
        trend(&gateway.history, style).into(),
    ]
}

/// Whether the others have room for its tunnels, and for how many of them they have.
fn headroom(headroom: HeadroomStatus) -> Cell {
    match headroom.enough {
        true => "enough".into(),
        false => Cell::coloured(&format!("{} of {}", headroom.room, headroom.tunnels), Colour::Yellow),
    }
}

/// A bar for each of fifteen equal parts of the history, the newest last; a space where nothing is known.
pub fn trend(history: &History, style: Style) -> String {
    let bars: &[char; 8] = if style.ascii { &BARS_IN_ASCII } else { &BARS };
    let step = history.scores.len().div_ceil(TREND_LENGTH).max(1);
    let bar = |scores: &[Option<f64>]| {
        let known: Vec<_> = scores.iter().flatten().collect();
        if known.is_empty() {
            return ' ';
        }
        let mean = known.iter().copied().sum::<f64>() / known.len() as f64;
        // the highest bar is for what is above seven eighths
        let height = (mean.clamp(0.0, 1.0) * bars.len() as f64) as usize;
        bars.get(height.min(bars.len() - 1)).copied().unwrap_or(' ')
    };
    // from the end, so that each part but the oldest is whole
    let mut bars: Vec<_> = history.scores.rchunks(step).map(bar).collect();
    bars.reverse();
    bars.into_iter().collect::<String>().trim_start().to_owned()
}

const TREND_LENGTH: usize = 15;
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const BARS_IN_ASCII: [char; 8] = ['_', '.', '-', '=', '+', 'x', '%', '#'];

fn rates_row(listener: &ListenerEntry) -> Option<Vec<Cell>> {
    let rates = listener.rates?;
    Some(vec![
        listener.name.clone().into(),
        format!("{:.1}", rates.handshakes_per_second).into(),
        format!("{:.1}", rates.answers_per_second).into(),
        format!("{:.1}", rates.rejected_per_second).into(),
        bytes(rates.in_bytes_per_second).into(),
        bytes(rates.out_bytes_per_second).into(),
    ])
}

/// Three digits: 999 B, 9.9 kB, 120 MB.
fn bytes(count: f64) -> String {
    let (mut count, mut unit) = (count, "B");
    for next in ["kB", "MB", "GB", "TB"] {
        if count < 999.5 {
            break;
        }
        (count, unit) = (count / 1000.0, next);
    }
    let decimals = usize::from(unit != "B" && count < 9.95);
    format!("{count:.decimals$} {unit}")
}

fn event_row(event: &Event, now: OffsetDateTime) -> Vec<Cell> {
    let what = match event.level {
        Level::Info => event.text.clone().into(),
        Level::Warning => Cell::coloured(&event.text, Colour::Yellow),
    };
    vec![age(seconds_between(event.at, now)).into(), what]
}

/// What a gateway's state looks like.
pub fn colour(state: State) -> Colour {
    match state {
        State::Up => Colour::Green,
        State::Down => Colour::Red,
        State::Draining | State::Unknown => Colour::Yellow,
    }
}

fn listener_row(listener: &ListenerEntry) -> Vec<Cell> {
    let closed = if listener.open { "" } else { " (closed)" };
    vec![
        format!("{}{closed}", listener.name).into(),
        listener.address.to_string().into(),
        listener.mode.clone().into(),
        listener.vrrp_id.map_or(UNKNOWN.into(), |id| id.to_string()).into(),
        format!("{}/{}", listener.available, listener.gateways).into(),
        listener.connections.to_string().into(),
        listener.tunnels.to_string().into(),
        listener.redirects.to_string().into(),
        listener.unavailable.to_string().into(),
        listener.vpn.as_str().into(),
    ]
}

/// Whether newcomers of a kind may come; `-`: they are not meant to.
pub fn available(available: &Available, mode: VpnMode, kind: VpnMode) -> String {
    match available.available {
        true => "yes",
        false if mode == kind || mode == VpnMode::Both => "no",
        // it is not meant to be
        false => UNKNOWN,
    }
    .into()
}

/// A ratio for people.
pub fn percent(ratio: f64) -> String {
    format!("{:.0}%", ratio * 100.0)
}

/// How many of the most there can be: 312/1000.
pub fn of_most(used: Option<u64>, most: Option<u64>) -> String {
    let number = |n: Option<u64>| n.map_or(UNKNOWN.to_owned(), |n| n.to_string());
    match (used, most) {
        (None, None) => UNKNOWN.into(),
        (used, most) => format!("{}/{}", number(used), number(most)),
    }
}

/// How old its report is.
pub fn report_age(load: &LoadStatus) -> String {
    let age = age(load.age_seconds as u64);
    if load.stale { format!("{age} stale") } else { age }
}

/// Who keeps newcomers from it.
fn fenced_by(gateway: &GatewayStatus) -> String {
    let fence = gateway.fence.as_ref().filter(|fence| fence.blocked);
    let Some(fence) = fence else { return UNKNOWN.to_owned() };
    let blockers: Vec<_> = fence.blockers().map(|holder| holder.by.as_str()).collect();
    if blockers.is_empty() { "yes".to_owned() } else { blockers.join(", ") }
}

/// Why it does not take newcomers; nothing for one that does.
fn reason(gateway: &GatewayStatus) -> String {
    let fence = gateway.fence.as_ref().and_then(FenceStatus::in_words);
    match gateway.state {
        State::Up if fence.is_some() => format!("fenced {}", fence.unwrap_or_default()),
        State::Up => gateway.unavailable_because().unwrap_or_default().into(),
        State::Down | State::Draining | State::Unknown => gateway.reason.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::columns::PLAIN;
    use super::super::events::Kind;
    use super::super::listener::ListenerStatus;
    use super::super::rates::Rates;
    use super::super::status::VERSION;
    use super::super::status::tests::{Farm, fenced, listener, refused, report};
    use super::*;
    use crate::fleet::Service;

    fn status() -> Status {
        let mut farm = Farm::with(5, |i, g| match i {
            3 => g.vpn_mode = VpnMode::Ssl,
            4 => g.vrrp_id = None,
            _ => {}
        });
        farm.up(&["gw1", "gw2", "gw5"]).observe("gw3", report(1000, Service::Up));
        farm.at(191).observe("gw2", refused()).up(&["gw1"]).drain("gw1", "new kernel");
        farm.at(195).observe("gw3", report(1000, Service::Up));
        farm.observe("gw5", fenced(&["self", "front-b"])).at(197);
        let closed = ListenerStatus { open: false, vrrp_id: None, mode: "proxy", ..listener("all", 8443) };
        farm.status(&[listener("portal", 443), closed])
    }

    #[test]
    fn the_table_shows_the_summary_then_gateways_then_listeners() {
        let text = render(&status(), 5, Style::default());
        let (_summary, tables) = text.split_once("\n\n").unwrap();
        let expected = "\
GATEWAY  STATE       FOR  NATIVE  SSL  SCORE    TUNNELS  PENDING       REPORT  FENCED         REASON
gw1      draining     6s  no      no     30%   100/1000        0           6s  -              new kernel
gw2      down         6s  no      no     30%   100/1000        0  3m17s stale  -              portal: connection refused
gw3      up        3m17s  -       no     75%  1000/1000        0           2s  -              no tunnel left
gw4      unknown   3m17s  no      no       -          -        0         none  -
gw5      up        3m17s  no      no     30%   100/1000        0           2s  self, front-b  fenced by self: portal: refused, by front-b: portal: refused

LOAD  SCORE  THROUGHPUT  TUNNELS  POOL  CPU  HEADROOM
gw1     30%           -      10%     -  50%  0 of 100
gw2       -           -        -     -    -  -
gw3     75%           -     100%     -  50%  0 of 1000
gw5     30%           -      10%     -  50%  0 of 100

LISTENER      ADDRESS            MODE      VRRP  AVAILABLE  CONNECTIONS  TUNNELS  REDIRECTS  UNAVAILABLE  VPN
portal        62.168.1.203:443   redirect    31        0/4           12        5       4711            3  ssl
all (closed)  62.168.1.203:8443  proxy        -        0/5           12        5       4711            3  ssl

HEADROOM
Front door front-a VERSION, started 3m17s ago, snapshot 1.
";
        let expected = expected
            .replace("VERSION", VERSION)
            .replace("HEADROOM\nFront", &format!("{}\nFront", status().headroom));
        assert_eq!(tables, expected);
    }

    #[test]
    fn what_part_a_gateway_has_is_shown_where_it_has_one() {
        let mut farm = Farm::failsafe(2);
        farm.up(&["gw1", "gw2"]);
        let mut status = farm.status(&[]);
        let head = |status: &Status| {
            let text = render(status, 5, Style::default());
            let mut lines = text.lines().skip(2).map(|line| line.split_whitespace().map(str::to_owned));
            let shown =
                |line: Option<_>| Iterator::take(Option::unwrap(line), 7).collect::<Vec<String>>().join(" ");
            [shown(lines.next()), shown(lines.next()), shown(lines.next())]
        };
        assert_eq!(
            head(&status),
            [
                "GATEWAY STATE FOR NATIVE SSL ROLE SCORE",
                "gw1 up 0s yes yes active 30%",
                "gw2 up 0s no no standby 30%"
            ]
        );
        status.gateways[0].vrrp_mode = VrrpMode::Backup;
        status.gateways.iter_mut().for_each(|gateway| gateway.role = None);
        assert_eq!(
            head(&status),
            [
                "GATEWAY STATE FOR NATIVE SSL VRRP SCORE",
                "gw1 up 0s yes yes backup 30%",
                "gw2 up 0s no no - 30%"
            ]
        );
    }

    #[test]
    fn a_gateway_that_is_down_because_it_is_worked_on_says_that_it_is_drained() {
        let mut farm = Farm::new(1);
        farm.up(&["gw1"]).drain("gw1", "new kernel").observe("gw1", refused());
        let text = render(&farm.status(&[]), 5, Style::default());
        let line = text.lines().find(|line| line.starts_with("gw1 ")).unwrap();
        assert!(
            line.starts_with("gw1      down (drained)  ") && line.ends_with("connection refused"),
            "{text}"
        );
    }

    #[test]
    fn shared_addresses_come_before_the_gateways() {
        let status = status();
        let shared = |vrrp_id, state, addresses: &[&str], reason: &str| VrrpStatus {
            vrrp_id,
            state,
            since: status.at - time::Duration::seconds(90),
            interface: "eth0".into(),
            addresses: addresses.iter().map(ToString::to_string).collect(),
            reason: reason.into(),
            conflict: (vrrp_id == 132).then(|| "10.1.0.9 (vrrp_id 132) is claimed".into()),
        };
        let vrrp = vec![
            shared(31, VrrpState::Active, &["10.0.0.9/24", "2001:db8::9/64"], "10.0.0.9 is here"),
            shared(132, VrrpState::Standby, &["10.1.0.9/24"], "10.1.0.9 is not here"),
        ];
        let text = render(&status.clone().sharing(vrrp), 5, Style::default());
        assert!(
            text.starts_with(&format!("10.1.0.9 (vrrp_id 132) is claimed. {}\n", status.summary)),
            "{text}"
        );
        let expected = "\
VRRP  STATE      FOR  ADDRESSES                   INTERFACE  REASON
  31  active   1m30s  10.0.0.9/24 2001:db8::9/64  eth0       10.0.0.9 is here
 132  standby  1m30s  10.1.0.9/24                 eth0       10.1.0.9 is not here

GATEWAY";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn other_front_doors_come_before_the_gateways() {
        let status = status();
        let peer = |name: Option<&str>, number, state, reason: &str| PeerStatus {
            name: name.map(str::to_owned),
            url: format!("https://192.168.200.{number}:9465"),
            state,
            since: status.at - time::Duration::seconds(90),
            reason: reason.into(),
        };
        let peers = vec![
            peer(Some("front-b"), 4, PeerState::Active, ""),
            peer(None, 5, PeerState::Silent, "connection\x1brefused"),
        ];
        let text = render(&status.clone().beside(peers), 5, Style::default());
        let expected = "
FRONT DOOR  STATE     FOR  ASKED AT                    REASON
front-b     active  1m30s  https://192.168.200.4:9465
-           silent  1m30s  https://192.168.200.5:9465  connection refused

GATEWAY";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn the_first_line_is_the_summary() {
        let status = status();
        assert_eq!(render(&status, 5, Style::default()).lines().next(), Some(status.summary.as_str()));
    }

    #[test]
    fn colour_changes_nothing_but_the_colour() {
        let coloured = render(&status(), 5, Style { colour: true, ..Style::default() });
        assert!(coloured.contains("\x1b[31mdown\x1b[0m "));
        let stripped = [Colour::Red, Colour::Green, Colour::Yellow]
            .iter()
            .fold(coloured.replace(PLAIN, ""), |text, colour| text.replace(colour.code(), ""));
        assert_eq!(stripped, render(&status(), 5, Style::default()));
    }

    #[test]
    fn what_is_new_is_shown_with_trends_rates_and_events() {
        let mut status = status();
        let scores = |n: usize, score: fn(usize) -> Option<f64>| History {
            step_seconds: 10,
            scores: (0..n).map(score).collect(),
        };
        status.gateways[0].history = scores(90, |i| (i >= 12).then(|| (i / 6) as f64 / 16.0));
        status.gateways[2].history = scores(3, |_| Some(1.0));
        status.listeners[0].rates = Some(Rates {
            handshakes_per_second: 12.3,
            answers_per_second: 1234.5,
            rejected_per_second: 0.0,
            in_bytes_per_second: 999.4,
            out_bytes_per_second: 3_456_789.0,
        });
        let event = |id, level, text: &str| Event {
            id,
            at: status.at - time::Duration::seconds(200 - i64::try_from(id).unwrap()),
            kind: Kind::Gateway,
            level,
            gateway: None,
            text: text.into(),
        };
        status.events =
            vec![event(9, Level::Warning, "gw2 is down: portal: \x1bc"), event(8, Level::Info, "gw2 is up")];
        let text = render(&status, 5, Style::default());
        for expected in [
            "gw1     30%           -      10%     -  50%  0 of 100   ▂▂▃▃▄▄▅▅▆▆▇▇█\n",
            "gw3     75%           -     100%     -  50%  0 of 1000  ███\n",
            "\nA SECOND  HANDSHAKES  ANSWERS  REJECTED     IN     OUT\n\
             portal          12.3   1234.5       0.0  999 B  3.5 MB\n",
            "\n  AGO  EVENT\n3m11s  gw2 is down: portal:  c\n3m12s  gw2 is up\n\nIf gw3 fails now",
        ] {
            assert!(text.contains(expected), "{expected}\n{text}");
        }
        let one = render(&status, 1, Style { ascii: true, ..Style::default() });
        assert!(one.contains("  ..--==++xx%%#\n") && !one.contains("gw2 is up"), "{one}");
        assert!(!render(&status, 0, Style::default()).contains("EVENT"));
    }

    #[test]
    fn a_narrow_terminal_shows_what_matters_most() {
        let status = Status { headroom: String::new(), ..status() };
        for width in 50..130 {
            let text = render(&status, 5, Style { width: Some(width), ..Style::default() });
            let (_, tables) = text.split_once("\n\n").unwrap();
            let (tables, _) = tables.rsplit_once("\n\n").unwrap();
            for line in tables.lines() {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
            let gw2 = tables.lines().find(|line| line.starts_with("gw2")).unwrap();
            assert!(gw2.contains("down  ") && gw2.contains("portal: conne"), "{gw2}");
        }
    }

    #[test]
    fn what_an_agent_says_cannot_drive_the_terminal() {
        let mut status = status();
        status.gateways[1].reason = "\x1b[2Jgone\nfor good".into();
        let text = render(&status, 5, Style::default());
        assert!(text.contains(" [2Jgone for good\n") && !text.contains('\x1b'));
    }
}
