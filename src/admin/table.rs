//! A status as text for people.

use time::OffsetDateTime;

use super::peers::{PeerState, PeerStatus};
use super::status::{Available, FenceStatus, GatewayStatus, ListenerEntry, LoadStatus, Status};
use super::vrrp::{VrrpState, VrrpStatus};
use crate::fleet::{Role, State, VpnMode, VrrpMode};

/// How a table looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// States in colour (ANSI escape sequences).
    pub colour: bool,
    /// Columns of the terminal: the last column of a table is cut to fit; `None`: nothing is cut.
    pub width: Option<usize>,
}

/// Writes the summary, the gateways and the listeners, each line ended by a newline. What came from
/// elsewhere (an agent's reason, say) is stripped of control characters, so that it cannot drive the
/// terminal.
pub fn render(status: &Status, style: Style) -> String {
    let mut text = printable(&status.summary);
    text.push('\n');
    if !status.vrrp.is_empty() {
        text.push('\n');
        let rows = status.vrrp.iter().map(|vrrp| vrrp_row(vrrp, status.at));
        let columns: Vec<_> = VRRP_COLUMNS.iter().collect();
        write_table(&mut text, &columns, rows.collect(), style);
    }
    if !status.peers.is_empty() {
        text.push('\n');
        let rows = status.peers.iter().map(|peer| peer_row(peer, status.at));
        let columns: Vec<_> = PEER_COLUMNS.iter().collect();
        write_table(&mut text, &columns, rows.collect(), style);
    }
    if !status.gateways.is_empty() {
        text.push('\n');
        let rows = status.gateways.iter().map(|gateway| gateway_row(gateway, status.at));
        let (columns, rows) = without_unused(&GATEWAY_COLUMNS, rows.collect());
        write_table(&mut text, &columns, rows, style);
    }
    if !status.listeners.is_empty() {
        text.push('\n');
        let columns: Vec<_> = LISTENER_COLUMNS.iter().collect();
        write_table(&mut text, &columns, status.listeners.iter().map(listener_row).collect(), style);
    }
    text
}

const PEER_COLUMNS: [Column; 5] = [
    Column::left("FRONT DOOR"),
    Column::left("STATE"),
    Column::right("FOR"),
    Column::left("ASKED AT"),
    Column::left("REASON"),
];

const VRRP_COLUMNS: [Column; 6] = [
    Column::right("VRRP"),
    Column::left("STATE"),
    Column::right("FOR"),
    Column::left("ADDRESSES"),
    Column::left("INTERFACE"),
    Column::left("REASON"),
];

const GATEWAY_COLUMNS: [Column; 13] = [
    Column::left("GATEWAY"),
    Column::left("STATE"),
    Column::right("FOR"),
    Column::left("NATIVE"),
    Column::left("SSL"),
    Column::optional("ROLE"),
    Column::optional("VRRP"),
    Column::right("SCORE"),
    Column::right("TUNNELS"),
    Column::right("PENDING"),
    Column::right("REPORT"),
    Column::left("FENCED"),
    Column::left("REASON"),
];

const LISTENER_COLUMNS: [Column; 9] = [
    Column::left("LISTENER"),
    Column::left("ADDRESS"),
    Column::left("MODE"),
    Column::right("VRRP"),
    Column::right("AVAILABLE"),
    Column::right("CONNECTIONS"),
    Column::right("TUNNELS"),
    Column::right("REDIRECTS"),
    Column::right("UNAVAILABLE"),
];

struct Column {
    title: &'static str,
    to_the_right: bool,
    /// Left out where no row has anything to say.
    is_optional: bool,
}

impl Column {
    const fn left(title: &'static str) -> Self {
        Self { title, to_the_right: false, is_optional: false }
    }

    const fn right(title: &'static str) -> Self {
        Self { title, to_the_right: true, is_optional: false }
    }

    const fn optional(title: &'static str) -> Self {
        Self { title, to_the_right: false, is_optional: true }
    }
}

struct Cell {
    text: String,
    colour: Option<Colour>,
}

#[derive(Clone, Copy)]
enum Colour {
    Red,
    Green,
    Yellow,
}

impl Colour {
    fn code(self) -> &'static str {
        match self {
            Self::Red => "\x1b[31m",
            Self::Green => "\x1b[32m",
            Self::Yellow => "\x1b[33m",
        }
    }
}

const PLAIN: &str = "\x1b[0m";

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self { text: printable(&text), colour: None }
    }
}

fn vrrp_row(vrrp: &VrrpStatus, now: OffsetDateTime) -> Vec<Cell> {
    let colour = match vrrp.state {
        VrrpState::Active => Colour::Green,
        VrrpState::Standby => Colour::Yellow,
    };
    vec![
        vrrp.vrrp_id.to_string().into(),
        Cell { text: vrrp.state.as_str().to_owned(), colour: Some(colour) },
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
        Cell { text: peer.state.as_str().to_owned(), colour: Some(colour) },
        age(seconds_between(peer.since, now)).into(),
        peer.url.clone().into(),
        peer.reason.clone().into(),
    ]
}

fn gateway_row(gateway: &GatewayStatus, now: OffsetDateTime) -> Vec<Cell> {
    let colour = match gateway.state {
        State::Up => Colour::Green,
        State::Down => Colour::Red,
        State::Draining | State::Unknown => Colour::Yellow,
    };
    let filling = if gateway.filling { " (filling)" } else { "" };
    let load = gateway.load.as_ref();
    vec![
        gateway.name.clone().into(),
        Cell { text: format!("{}{filling}", gateway.state.as_str()), colour: Some(colour) },
        age(seconds_between(gateway.since, now)).into(),
        available(&gateway.availability.native, gateway.vpn_mode, VpnMode::Native).into(),
        available(&gateway.availability.ssl, gateway.vpn_mode, VpnMode::Ssl).into(),
        gateway.role.map_or(UNKNOWN, Role::as_str).to_owned().into(),
        match gateway.vrrp_mode {
            VrrpMode::Inactive => UNKNOWN.to_owned().into(),
            mode => mode.as_str().to_owned().into(),
        },
        load.and_then(|load| load.score).map_or(UNKNOWN.into(), percent).into(),
        load.map_or(UNKNOWN.into(), tunnels).into(),
        gateway.pending.to_string().into(),
        load.map_or("none".into(), report_age).into(),
        fenced_by(gateway).into(),
        reason(gateway).into(),
    ]
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
    ]
}

const UNKNOWN: &str = "-";

fn available(available: &Available, mode: VpnMode, kind: VpnMode) -> String {
    match available.available {
        true => "yes",
        false if mode == kind || mode == VpnMode::Both => "no",
        // it is not meant to be
        false => UNKNOWN,
    }
    .into()
}

fn percent(ratio: f64) -> String {
    format!("{:.0}%", ratio * 100.0)
}

fn tunnels(load: &LoadStatus) -> String {
    let number = |n: Option<u64>| n.map_or(UNKNOWN.to_owned(), |n| n.to_string());
    match (load.tunnels, load.tunnels_max) {
        (None, None) => UNKNOWN.into(),
        (tunnels, max) => format!("{}/{}", number(tunnels), number(max)),
    }
}

fn report_age(load: &LoadStatus) -> String {
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

fn seconds_between(earlier: OffsetDateTime, later: OffsetDateTime) -> u64 {
    u64::try_from((later - earlier).whole_seconds()).unwrap_or(0)
}

/// Two units at most: 42s, 3m12s, 5h03m, 12d04h.
fn age(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m{:02}s", seconds % 60),
        3600..86_400 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Without the optional columns in which no row says anything.
fn without_unused(columns: &[Column], rows: Vec<Vec<Cell>>) -> (Vec<&Column>, Vec<Vec<Cell>>) {
    let is_used = |i: usize, column: &Column| {
        let mut cells = rows.iter().filter_map(|row| row.get(i));
        !column.is_optional || cells.any(|cell| cell.text != UNKNOWN)
    };
    let used: Vec<bool> = columns.iter().enumerate().map(|(i, column)| is_used(i, column)).collect();
    let kept = columns.iter().zip(&used).filter(|(_, used)| **used).map(|(column, _)| column).collect();
    let rows = rows
        .into_iter()
        .map(|row| row.into_iter().zip(&used).filter(|(_, used)| **used).map(|(cell, _)| cell).collect());
    (kept, rows.collect())
}

fn write_table(text: &mut String, columns: &[&Column], rows: Vec<Vec<Cell>>, style: Style) {
    let titles = columns.iter().map(|column| Cell::from(column.title.to_owned())).collect();
    let lines: Vec<Vec<Cell>> = std::iter::once(titles).chain(rows).collect();
    let widths: Vec<usize> = (0..columns.len())
        .map(|i| lines.iter().filter_map(|line| line.get(i)).map(Cell::width).max().unwrap_or(0))
        .collect();
    for line in &lines {
        let mut written = 0;
        for (i, ((cell, column), width)) in line.iter().zip(columns).zip(&widths).enumerate() {
            let last = i + 1 == columns.len();
            let room = style.width.map(|width| width.saturating_sub(written));
            let shown = match room {
                Some(room) if last => cell.text.chars().count().min(room),
                _ => cell.width(),
            };
            let padding = width.saturating_sub(shown);
            if column.to_the_right {
                push_spaces(text, padding);
            }
            cell.push_to(text, shown, style.colour);
            if !last {
                let gap = if column.to_the_right { GAP } else { padding + GAP };
                push_spaces(text, gap);
                written += width + GAP;
            }
        }
        let end = text.trim_end_matches(' ').len();
        text.truncate(end);
        text.push('\n');
    }
}

const GAP: usize = 2;

impl Cell {
    fn width(&self) -> usize {
        self.text.chars().count()
    }

    /// Writes the first `shown` characters, the last of them an ellipsis if some are left out.
    fn push_to(&self, text: &mut String, shown: usize, colour: bool) {
        let colour = self.colour.filter(|_| colour);
        text.push_str(colour.map_or("", Colour::code));
        if shown < self.width() {
            text.extend(self.text.chars().take(shown.saturating_sub(1)));
            if shown > 0 {
                text.push('…');
            }
        } else {
            text.push_str(&self.text);
        }
        text.push_str(colour.map_or("", |_| PLAIN));
    }
}

fn push_spaces(text: &mut String, count: usize) {
    text.extend(std::iter::repeat_n(' ', count));
}

#[cfg(test)]
mod tests {
    use super::super::listener::ListenerStatus;
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
        let text = render(&status(), Style::default());
        let (_summary, tables) = text.split_once("\n\n").unwrap();
        let expected = "\
GATEWAY  STATE       FOR  NATIVE  SSL  SCORE    TUNNELS  PENDING       REPORT  FENCED         REASON
gw1      draining     6s  no      no     30%   100/1000        0           6s  -              new kernel
gw2      down         6s  no      no     30%   100/1000        0  3m17s stale  -              portal: connection refused
gw3      up        3m17s  -       no     75%  1000/1000        0           2s  -              no tunnel left
gw4      unknown   3m17s  no      no       -          -        0         none  -
gw5      up        3m17s  no      no     30%   100/1000        0           2s  self, front-b  fenced by self: portal: refused, by front-b: portal: refused

LISTENER      ADDRESS            MODE      VRRP  AVAILABLE  CONNECTIONS  TUNNELS  REDIRECTS  UNAVAILABLE
portal        62.168.1.203:443   redirect    31        0/4           12        5       4711            3
all (closed)  62.168.1.203:8443  proxy        -        0/5           12        5       4711            3
";
        assert_eq!(tables, expected);
    }

    #[test]
    fn what_part_a_gateway_has_is_shown_where_it_has_one() {
        let mut farm = Farm::failsafe(2);
        farm.up(&["gw1", "gw2"]);
        let mut status = farm.status(&[]);
        let head = |status: &Status| {
            let text = render(status, Style::default());
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
        let text = render(&status.clone().sharing(vrrp), Style::default());
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
        let text = render(&status.clone().beside(peers), Style::default());
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
        assert_eq!(render(&status, Style::default()).lines().next(), Some(status.summary.as_str()));
    }

    #[test]
    fn colour_changes_nothing_but_the_colour() {
        let coloured = render(&status(), Style { colour: true, ..Style::default() });
        assert!(coloured.contains("\x1b[31mdown\x1b[0m "));
        let stripped = [Colour::Red, Colour::Green, Colour::Yellow]
            .iter()
            .fold(coloured.replace(PLAIN, ""), |text, colour| text.replace(colour.code(), ""));
        assert_eq!(stripped, render(&status(), Style::default()));
    }

    #[test]
    fn a_narrow_terminal_cuts_the_last_column_and_nothing_else() {
        let text = render(&status(), Style { colour: false, width: Some(105) });
        let gw2 = text.lines().find(|line| line.starts_with("gw2")).unwrap();
        assert!(gw2.ends_with("3m17s stale  -              portal: co…"), "{gw2:?}");
        assert_eq!(gw2.chars().count(), 105);
    }

    #[test]
    fn what_an_agent_says_cannot_drive_the_terminal() {
        let mut status = status();
        status.gateways[1].reason = "\x1b[2Jgone\nfor good".into();
        let text = render(&status, Style::default());
        assert!(text.contains(" [2Jgone for good\n") && !text.contains('\x1b'));
    }

    #[test]
    fn an_age_has_two_units_at_most() {
        assert_eq!([0, 59, 192, 18_180, 1_051_200].map(age), ["0s", "59s", "3m12s", "5h03m", "12d04h"]);
    }
}
