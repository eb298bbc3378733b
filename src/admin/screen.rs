//! A status as it fits on a screen.

use time::OffsetDateTime;
use time::macros::format_description;

use super::columns::{self, Colour, PLAIN, Style, age, cut, printable, seconds_between, wrapped};
use super::detail;
use super::peers::PeerState;
use super::status::{GatewayStatus, Status};
use super::table::{self, Part};
use crate::fleet::{Exclusion, State};

/// A terminal's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Characters in a line.
    pub columns: usize,
    /// Lines.
    pub rows: usize,
}

/// What there is to show.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// As last told; `None`: nobody has told anything yet.
    pub status: Option<Status>,
    /// Since when the front door tells nothing, and why.
    pub silent: Option<(OffsetDateTime, String)>,
    /// The one gateway that is to be shown.
    pub gateway: Option<String>,
}

impl View {
    /// The lines of a screen, no more and no longer than fit: what matters most first, and of what does not fit as much as
    /// does.
    pub fn lines(&self, now: OffsetDateTime, events: usize, size: Size, style: Style) -> Vec<String> {
        let style = Style { width: Some(size.columns), ..style };
        let mut lines = vec![self.title(now, style)];
        if let Some((since, why)) = &self.silent {
            let told = match &self.status {
                Some(_) => "; below is what it told last",
                None => "",
            };
            let words = format!(
                "NOT REACHABLE for {}, since {}: {}{told}",
                age(seconds_between(*since, now)),
                clock(*since),
                printable(why)
            );
            lines.extend(
                wrapped(&words, size.columns).into_iter().map(|line| in_colour(&line, Colour::Red, style)),
            );
        }
        if let Some(status) = &self.status {
            let left = size.rows.saturating_sub(lines.len());
            lines.extend(match &self.gateway {
                Some(name) => one(status, name, events, style),
                None => all(status, events, left, style),
            });
        }
        lines.truncate(size.rows);
        lines
    }

    fn title(&self, now: OffsetDateTime, style: Style) -> String {
        let name = match &self.status {
            Some(status) => printable(&format!("{} {}", status.node.name, status.node.version)),
            None => "vestibule".to_owned(),
        };
        let width = style.width.unwrap_or_default();
        let right = format!("{}   q: end", clock(now));
        let gap = width.saturating_sub(columns::width(&name) + right.len());
        let title = if gap < 2 { name } else { name + &" ".repeat(gap) + &right };
        cut(&title, width, style)
    }
}

fn one(status: &Status, name: &str, events: usize, style: Style) -> Vec<String> {
    let found = status.gateways.iter().find(|gateway| gateway.name == name);
    let text = match found {
        Some(gateway) => detail::render(status, gateway, events, style),
        None => format!("There is no gateway {} any more.\n", printable(name)),
    };
    std::iter::once(String::new()).chain(text.lines().map(str::to_owned)).collect()
}

/// A part of the screen. What is more dispensable goes first.
struct Block {
    lines: Vec<String>,
    dispensable: u8,
}

fn all(status: &Status, events: usize, rows: usize, style: Style) -> Vec<String> {
    let mut sorted = status.clone();
    sorted.gateways.sort_by_key(trouble);
    let width = style.width.unwrap_or(usize::MAX);
    let is_bad = status.gateways.iter().any(|gateway| trouble(gateway) < FINE)
        || status.listeners.iter().any(|listener| !listener.open)
        || status.peers.iter().any(|peer| peer.state == PeerState::Silent)
        || status.vrrp.iter().any(|vrrp| vrrp.conflict.is_some());
    let mut sentence = wrapped(&printable(&status.summary), width);
    let colour = if is_bad { Colour::Yellow } else { Colour::Green };
    let headroom = match status.headroom.is_empty() {
        true => Vec::new(),
        false => wrapped(&printable(&status.headroom), width),
    };
    let part = |part: Part, dispensable: u8| {
        let mut text = String::new();
        table::push_part(&mut text, &sorted, part, events, style);
        Block { lines: text.lines().map(str::to_owned).collect(), dispensable }
    };
    let blocks = vec![
        Block { lines: headroom, dispensable: 1 },
        part(Part::Gateways, 0),
        part(Part::Vrrp, 2),
        part(Part::FrontDoors, 2),
        part(Part::Listeners, 3),
        part(Part::Events, 2),
        part(Part::Loads, 4),
        part(Part::Rates, 5),
    ];
    // so much is said of a farm with many troubles that nothing else would be seen
    let most = sentence.len().min((rows / 3).max(1));
    let rest = fitted(blocks, rows.saturating_sub(most), style);
    // where there is nothing else, all of it
    let most = rows.saturating_sub(rest.len());
    if sentence.len() > most {
        sentence.truncate(most);
        if let Some(last) = sentence.last_mut() {
            *last = cut(&format!("{last} {}", style.ellipsis()), width, style);
        }
    }
    let sentence = sentence.iter().map(|line| in_colour(line, colour, style));
    sentence.chain(rest).collect()
}

const FINE: u8 = 4;

/// How soon one should look at a gateway; the lowest first.
fn trouble(gateway: &GatewayStatus) -> u8 {
    match gateway.state {
        State::Down => 0,
        State::Unknown => 1,
        State::Up if gateway.unavailable_because().is_some_and(|why| why != Exclusion::Standby.as_str()) => 2,
        State::Draining => 3,
        State::Up if gateway.filling => FINE,
        State::Up => FINE + 1,
    }
}

fn fitted(mut blocks: Vec<Block>, rows: usize, style: Style) -> Vec<String> {
    loop {
        let total: usize = blocks.iter().map(|block| block.lines.len()).sum();
        let excess = total.saturating_sub(rows);
        let filled = blocks.iter_mut().enumerate().filter(|(_, block)| !block.lines.is_empty());
        let Some((_, block)) = filled.max_by_key(|(at, block)| (block.dispensable, *at)) else { break };
        if excess == 0 {
            break;
        }
        // an empty line, the titles, a row, and how many more there are
        let kept = block.lines.len().saturating_sub(excess + 1);
        if kept >= 3 {
            let more = block.lines.len() - kept;
            block.lines.truncate(kept);
            block.lines.push(format!("{} {more} more", if style.ascii { "..." } else { "…" }));
            break;
        }
        block.lines.clear();
    }
    blocks.into_iter().flat_map(|block| block.lines).collect()
}

fn in_colour(text: &str, colour: Colour, style: Style) -> String {
    if style.colour { format!("{}{text}{PLAIN}", colour.code()) } else { text.to_owned() }
}

/// The time of day.
fn clock(moment: OffsetDateTime) -> String {
    let format = format_description!("[hour]:[minute]:[second] UTC");
    moment.to_offset(time::UtcOffset::UTC).format(format).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::status::tests::{Farm, listener, refused};
    use super::*;

    fn farm(count: u8) -> Status {
        let mut farm = Farm::new(count);
        for i in 1..=count {
            farm.up(&[&format!("gw{i}")]);
        }
        farm.observe(&format!("gw{count}"), refused()).drain("gw2", "new kernel");
        farm.status(&[listener("portal", 443)])
    }

    fn lines(view: &View, columns: usize, rows: usize) -> Vec<String> {
        let now = view.status.as_ref().map_or(OffsetDateTime::UNIX_EPOCH, |status| status.at);
        view.lines(now, 5, Size { columns, rows }, Style::default())
    }

    #[test]
    fn whatever_the_size_nothing_is_larger_and_the_trouble_is_seen() {
        let view = View { status: Some(farm(40)), ..View::default() };
        for columns in [20, 40, 80, 132, 300] {
            for rows in [1, 2, 5, 10, 24, 60, 200] {
                let lines = lines(&view, columns, rows);
                assert!(lines.len() <= rows, "{columns}x{rows}: {lines:#?}");
                let longest = lines.iter().map(|line| line.chars().count()).max().unwrap();
                assert!(longest <= columns.max(30), "{columns}x{rows}: {lines:#?}");
                if rows >= 10 && columns >= 40 {
                    let at = lines.iter().position(|line| line.starts_with("GATEWAY")).unwrap();
                    assert!(lines[at + 1].starts_with("gw40     down"), "{columns}x{rows}: {lines:#?}");
                }
            }
        }
        let all = lines(&view, 132, 200);
        assert!(all.iter().any(|line| line.starts_with("LISTENER")));
        assert!(all.iter().any(|line| line.starts_with("gw39 ")), "{all:#?}");
    }

    #[test]
    fn a_sentence_gets_the_lines_that_nothing_else_could_use() {
        let view = View { status: Some(farm(3)), ..View::default() };
        let shown = lines(&view, 20, 5);
        assert_eq!(shown.len(), 5, "{shown:#?}");
        assert!(shown[1].starts_with("Portal is degraded:") && shown[4].ends_with('…'), "{shown:#?}");
        let well = View { status: Some(Farm::new(1).up(&["gw1"]).status(&[])), ..View::default() };
        assert_eq!(lines(&well, 12, 4)[1..], ["The only", "gateway is", "up."]);
    }

    #[test]
    fn what_is_left_out_is_counted() {
        let view = View { status: Some(farm(40)), ..View::default() };
        let lines = lines(&view, 100, 20);
        assert_eq!(lines.len(), 20);
        let shown = lines.iter().filter(|line| line.starts_with("gw")).count();
        assert_eq!(lines.last().unwrap(), &format!("… {} more", 40 - shown));
        assert!(shown >= 8, "{lines:#?}");
    }

    #[test]
    fn who_tells_nothing_is_said_to_with_the_time_and_what_it_told_last() {
        let status = farm(3);
        let now = status.at + time::Duration::seconds(42);
        let silent = Some((status.at, "no front door answers on admin.sock".to_owned()));
        let view = View { status: Some(status), silent, gateway: None };
        let lines = view.lines(now, 5, Size { columns: 120, rows: 24 }, Style::default());
        assert!(
            lines[0].starts_with("front-a ") && lines[0].ends_with(" 12:00:42 UTC   q: end"),
            "{lines:#?}"
        );
        assert_eq!(
            lines[1],
            "NOT REACHABLE for 42s, since 12:00:00 UTC: no front door answers on admin.sock; below is what it told last"
        );
        assert!(lines.iter().any(|line| line.starts_with("gw3      down")), "{lines:#?}");
        let nobody = View { status: None, ..view };
        let lines = nobody.lines(now, 5, Size { columns: 120, rows: 24 }, Style::default());
        assert_eq!(
            lines[1],
            "NOT REACHABLE for 42s, since 12:00:00 UTC: no front door answers on admin.sock"
        );
    }

    #[test]
    fn one_gateway_has_the_screen_for_itself() {
        let view =
            |name: &str| View { status: Some(farm(3)), gateway: Some(name.to_owned()), ..View::default() };
        let shown = lines(&view("gw3"), 80, 30);
        assert!(shown.contains(&"Gateway          gw3".to_owned()), "{shown:#?}");
        assert!(shown.iter().any(|line| line.starts_with("portal  fail")), "{shown:#?}");
        assert_eq!(lines(&view("gw9"), 80, 30)[2], "There is no gateway gw9 any more.");
    }
}
