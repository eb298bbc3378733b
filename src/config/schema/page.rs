//! The schema as docs/configuration.md.

use std::fmt::Write;
use std::time::Duration;

use super::{AGENT, Default, FRONT, File, Key, Table, Value};

/// The whole of docs/configuration.md.
pub fn reference() -> String {
    let mut page = String::from(INTRODUCTION);
    for (file, title) in [(&FRONT, "The front door"), (&AGENT, "The agent")] {
        write_file(&mut page, file, title);
    }
    page
}

const INTRODUCTION: &str = "\
# Configuration

Every table and key of both files. This page is made from the program's own list, by which it reads the files; it is not edited by \
hand (`UPDATE=1 cargo test --test configuration_reference` writes it anew). The files to begin with are \
[`config/vestibule.toml`](../config/vestibule.toml) and [`config/heartbeat.toml`](../config/heartbeat.toml), which have the same in the \
order in which one fills it in.

- The files are TOML. `vestibule check -c FILE` tells every error with file, line and column, and warns of what is legal but likely wrong. A \
key that is not on this page is an error.
- A duration is a text with its unit: `\"250ms\"`, `\"2s\"`, `\"10m\"`, `\"1h\"`, `\"1d\"`. A size: `\"32KiB\"`, `\"1MiB\"`. A bit rate: `\"100Mbit\"`, \
`\"1Gbit\"`. An address with its port: `\"192.0.2.1:443\"`, `\"[2001:db8::1]:443\"`.
- Paths are relative to the file in which they stand.
- `vestibule reload`, SIGHUP (`systemctl reload`), and a certificate that changes on disk bring a change into force, wholly or not at all, \
and no connection is lost. What needs a restart says so here, and the log says so when such a key has changed.
";

/// Most often the tables are in each other, and their headers say so; the anchor is the one of the title.
fn write_file(page: &mut String, file: &File, title: &str) {
    // a String takes everything
    let _ = write!(page, "\n## {title}: {}\n\n{}\n", file.path, file.about);
    let links: Vec<_> =
        file.tables.iter().map(|table| format!("[`{}`](#{})", table.header, anchor(file, table))).collect();
    let _ = writeln!(page, "\nTables: {}.", links.join(", "));
    for table in file.tables {
        write_table(page, file, table);
    }
}

/// The name of a table within the page; both files have a `[log]`.
fn anchor(file: &File, table: &Table) -> String {
    let of = if file.path == FRONT.path { "front" } else { "agent" };
    let name: String = table
        .header
        .chars()
        .filter(|c| !matches!(c, '[' | ']'))
        .map(|c| if c == '.' { '-' } else { c })
        .collect();
    format!("{of}-{name}")
}

fn write_table(page: &mut String, file: &File, table: &Table) {
    let anchor = anchor(file, table);
    let _ = write!(page, "\n<a id=\"{anchor}\"></a>\n### `{}`\n\n{}\n\n", table.header, table.about);
    for key in table.keys {
        match key.value {
            Value::Table(inner) | Value::Tables(inner) => {
                let _ =
                    writeln!(page, "- `{}`: [`{}`](#{})", key.name, inner.header, self::anchor(file, inner));
            }
            _ => write_key(page, &anchor, key),
        }
    }
}

fn write_key(page: &mut String, table: &str, key: &Key) {
    let name = key.name;
    let _ = write!(
        page,
        "- <a id=\"{table}-{name}\"></a>**`{name}`** ({}; {}): {}",
        allowed(&key.value),
        default(key),
        key.meaning
    );
    if !key.change.is_empty() {
        let _ = write!(page, " *When to change it:* {}", key.change);
    }
    if !key.example.is_empty() {
        let _ = write!(page, " Example: `{name} = {}`", key.example);
    }
    page.push('\n');
}

/// Type, unit and range.
fn allowed(value: &Value) -> String {
    match value {
        Value::Text(what) => format!("text: {what}"),
        Value::Texts(what) => format!("list of texts: {what}"),
        Value::Boolean => "`true` or `false`".to_owned(),
        Value::Integer(from, to) => format!("whole number, {from} to {to}"),
        Value::Number => "number, 0 to 1000000".to_owned(),
        Value::Duration(from, to) => format!("duration, {} to {}", short(*from), short(*to)),
        Value::Word(words) => words.iter().map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(", "),
        // they are told of by a link
        Value::Table(table) | Value::Tables(table) => table.header.to_owned(),
    }
}

fn default(key: &Key) -> String {
    match key.default {
        Default::Required => "**required**".to_owned(),
        Default::Is(value) => format!("default `{value}`"),
        Default::Otherwise(words) => format!("without it: {words}"),
    }
}

/// As one writes it in the file.
fn short(duration: Duration) -> String {
    let (seconds, milliseconds) = (duration.as_secs(), duration.as_millis());
    match seconds {
        _ if duration.subsec_millis() != 0 => {
            if milliseconds < 1000 {
                format!("{milliseconds}ms")
            } else {
                format!("{}s", duration.as_secs_f64())
            }
        }
        0 => "0s".to_owned(),
        s if s % 86_400 == 0 => format!("{}d", s / 86_400),
        s if s % 3600 == 0 => format!("{}h", s / 3600),
        s => format!("{s}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_one_types_them() {
        let shown = |milliseconds| short(Duration::from_millis(milliseconds));
        assert_eq!([10, 100, 40_950, 0].map(shown), ["10ms", "100ms", "40.95s", "0s"]);
        assert_eq!([1000, 60_000, 3_600_000, 86_400_000].map(shown), ["1s", "60s", "1h", "1d"]);
    }

    #[test]
    fn every_anchor_is_there_once() {
        let page = reference();
        let anchors: Vec<_> =
            page.split("<a id=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
        let mut once = anchors.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), anchors.len());
        for link in page.split("](#").skip(1) {
            let target = link.split(')').next().unwrap();
            assert!(anchors.contains(&target), "{target} is nowhere");
        }
    }
}
