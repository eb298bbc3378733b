//! Times and numbers as people read them. All times are UTC.

use maud::{Markup, html};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

/// "since 12:03:11 UTC, 4 min"
pub fn since(at: OffsetDateTime, now: OffsetDateTime) -> Markup {
    html! { "since " (moment(at, now)) ", " (lasting(at, now)) }
}

/// The time of day, with the date where that is not today's.
pub fn moment(at: OffsetDateTime, now: OffsetDateTime) -> Markup {
    let machine = at.format(&Rfc3339).unwrap_or_default();
    html! { time datetime=(machine) { (clock(at, now)) } }
}

/// The same as text.
pub fn clock(at: OffsetDateTime, now: OffsetDateTime) -> String {
    let shown = if at.date() == now.date() {
        at.format(format_description!("[hour]:[minute]:[second] UTC"))
    } else {
        at.format(format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC"))
    };
    shown.unwrap_or_default()
}

/// How long ago that was: "4 min".
pub fn lasting(at: OffsetDateTime, now: OffsetDateTime) -> String {
    // clocks are set, and no time runs backwards
    duration((now - at).whole_seconds().max(0).unsigned_abs())
}

/// The two units that matter.
pub fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {} min", minutes % 60),
        (days, hours, _) => format!("{days} d {} h", hours % 24),
    }
}

/// A span of a few seconds.
pub fn seconds(seconds: f64) -> String {
    format!("{seconds:.1} s")
}

/// A ratio 0..1.
pub fn percent(ratio: f64) -> String {
    format!("{:.0} %", ratio * 100.0)
}

/// So many of so many, each of which may not be known.
pub fn of(used: Option<u64>, all: Option<u64>) -> String {
    match (used, all) {
        (None, None) => "unknown".into(),
        (Some(used), None) => used.to_string(),
        (None, Some(all)) => format!("unknown of {all}"),
        (Some(used), Some(all)) => format!("{used} of {all}"),
    }
}

/// So many by the second.
pub fn rate(per_second: f64) -> String {
    if per_second >= 100.0 { format!("{per_second:.0}") } else { format!("{per_second:.1}") }
}

/// So many bytes by the second.
pub fn bytes_rate(per_second: f64) -> String {
    let units = [(1e9, "GB/s"), (1e6, "MB/s"), (1e3, "kB/s")];
    match units.iter().find(|(size, _)| per_second >= *size) {
        Some((size, unit)) => format!("{:.1} {unit}", per_second / size),
        None => format!("{per_second:.0} B/s"),
    }
}

/// "1 tunnel", "2 tunnels"
pub fn count(number: u64, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
}

/// A path below `/gateways/`, with everything escaped that means something in a URL (RFC 3986 §2.3).
pub fn gateway_path(name: &str) -> String {
    let mut path = String::from("/gateways/");
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                path.push(char::from(byte))
            }
            _ => path.push_str(&format!("%{byte:02X}")),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_time_is_todays_or_has_its_date() {
        let now = datetime!(2026-05-02 12:07:30 UTC);
        let html = since(datetime!(2026-05-02 12:03:11 UTC), now).into_string();
        assert_eq!(html, "since <time datetime=\"2026-05-02T12:03:11Z\">12:03:11 UTC</time>, 4 min");
        assert_eq!(clock(datetime!(2026-04-30 1:02:03 UTC), now), "2026-04-30 01:02:03 UTC");
        assert_eq!(lasting(datetime!(2026-05-02 12:07:40 UTC), now), "0 s");
    }

    #[test]
    fn a_duration_has_the_two_units_that_matter() {
        let shown = [59, 60, 3599, 3600, 86_399, 86_400, 900_000].map(duration);
        assert_eq!(shown, ["59 s", "1 min", "59 min", "1 h 0 min", "23 h 59 min", "1 d 0 h", "10 d 10 h"]);
    }

    #[test]
    fn rates_have_the_unit_that_fits() {
        assert_eq!(
            [0.0, 999.0, 1500.0, 2.5e6, 3e9].map(bytes_rate),
            ["0 B/s", "999 B/s", "1.5 kB/s", "2.5 MB/s", "3.0 GB/s"]
        );
        assert_eq!([0.0, 3.25, 1234.6].map(rate), ["0.0", "3.2", "1235"]);
    }

    #[test]
    fn no_name_leads_anywhere_else() {
        assert_eq!(gateway_path("gw-1.a_b~c"), "/gateways/gw-1.a_b~c");
        assert_eq!(gateway_path("a b?c#d%&ü"), "/gateways/a%20b%3Fc%23d%25%26%C3%BC");
    }
}
