//! The import rules of the crate's documentation, checked on the sources.
//!
//! A source is read as Rust's tokens, so that comments and texts say nothing, and without what is under
//! `#[cfg(test)]`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// `cli → demo → app → config → rooms → net → fleet`: each may import what stands after it.
const LAYERS: [&[&str]; 7] = [
    &["cli"],
    &["demo"],
    &["app"],
    &["config"],
    &["admin", "certs", "dve", "fence", "front", "heartbeat", "ike", "peer", "probe", "vrrp"],
    &["net"],
    &["fleet"],
];

/// What one room may take from another: the report that an agent sends and a probe reads.
const BETWEEN_ROOMS: [(&str, &[&str]); 3] = [
    ("probe", &["crate", "heartbeat", "MAX_REPORT_BYTES"]),
    ("probe", &["crate", "heartbeat", "Report"]),
    ("probe", &["crate", "heartbeat", "ReportError"]),
];

/// Files outside `fleet` that know as little of the world as it does. (`front/limit.rs` is not among them:
/// it draws its secret itself.)
const PURE: [&str; 99] = [
    "src/admin/columns.rs",
    "src/admin/detail.rs",
    "src/admin/events.rs",
    "src/admin/headroom.rs",
    "src/admin/history.rs",
    "src/admin/page/change.rs",
    "src/admin/page/doors.rs",
    "src/admin/page/events.rs",
    "src/admin/page/farm.rs",
    "src/admin/page/frame.rs",
    "src/admin/page/gateway.rs",
    "src/admin/page/listeners.rs",
    "src/admin/page/load.rs",
    "src/admin/page/table.rs",
    "src/admin/page/verdict.rs",
    "src/admin/page/why.rs",
    "src/admin/page/words.rs",
    "src/admin/peers.rs",
    "src/admin/rates.rs",
    "src/admin/screen.rs",
    "src/admin/status/check.rs",
    "src/admin/status/fence.rs",
    "src/admin/status/gateway.rs",
    "src/admin/status/listener.rs",
    "src/admin/status/load.rs",
    "src/admin/status/mod.rs",
    "src/admin/status/words.rs",
    "src/admin/summary.rs",
    "src/admin/table.rs",
    "src/admin/vrrp.rs",
    "src/admin/why/mod.rs",
    "src/admin/why/question.rs",
    "src/admin/why/table.rs",
    "src/admin/why/words.rs",
    "src/app/state_document.rs",
    "src/config/agent_fence.rs",
    "src/config/agent_file.rs",
    "src/config/front_checks.rs",
    "src/config/front_file.rs",
    "src/config/native_checks.rs",
    "src/config/native_file.rs",
    "src/config/pair_checks.rs",
    "src/config/peers.rs",
    "src/config/problem.rs",
    "src/config/proxy_checks.rs",
    "src/config/proxy_file.rs",
    "src/config/schema/agent.rs",
    "src/config/schema/common.rs",
    "src/config/schema/front.rs",
    "src/config/schema/mod.rs",
    "src/config/schema/page.rs",
    "src/config/schema/proxy.rs",
    "src/config/section.rs",
    "src/config/units.rs",
    "src/config/vrrp.rs",
    "src/demo/weather.rs",
    "src/dve/answer.rs",
    "src/dve/exchange.rs",
    "src/dve/keys.rs",
    "src/dve/merkle.rs",
    "src/dve/message.rs",
    "src/dve/verify.rs",
    "src/fence/duty.rs",
    "src/fence/plan.rs",
    "src/fence/suspicions.rs",
    "src/front/hello.rs",
    "src/front/pace.rs",
    "src/front/proxy/cookie.rs",
    "src/front/proxy/forwarded.rs",
    "src/front/proxy/headers.rs",
    "src/front/proxy/retry.rs",
    "src/front/proxy_protocol.rs",
    "src/front/redirect.rs",
    "src/front/reply.rs",
    "src/front/route.rs",
    "src/heartbeat/agent_check.rs",
    "src/heartbeat/counters.rs",
    "src/heartbeat/learned.rs",
    "src/heartbeat/leases.rs",
    "src/heartbeat/occtl.rs",
    "src/heartbeat/report.rs",
    "src/heartbeat/standing.rs",
    "src/heartbeat/timestamp.rs",
    "src/ike/answer.rs",
    "src/ike/cookie.rs",
    "src/ike/flood.rs",
    "src/ike/message.rs",
    "src/net/firewall/iptables.rs",
    "src/net/firewall/label.rs",
    "src/net/firewall/nft.rs",
    "src/net/firewall/tables.rs",
    "src/net/seldom.rs",
    "src/peer/account.rs",
    "src/peer/circle.rs",
    "src/peer/memory_body.rs",
    "src/probe/continuity.rs",
    "src/vrrp/keepalived.rs",
    "src/vrrp/notice.rs",
    "src/vrrp/standing.rs",
];

/// What is not pure, as the beginning of a path.
const IMPURE: [&[&str]; 19] = [
    &["tokio"],
    &["tokio_rustls"],
    &["hyper"],
    &["hyper_util"],
    &["axum"],
    &["socket2"],
    &["rustix"],
    &["fastrand"],
    &["rand"],
    &["getrandom"],
    &["std", "fs"],
    &["std", "env"],
    &["std", "process"],
    &["std", "thread"],
    &["std", "os"],
    &["std", "io", "stdin"],
    &["std", "io", "stdout"],
    &["std", "io", "stderr"],
    &["std", "hash", "RandomState"],
];

/// The clock, as part of a path: `std::time::Instant::now`, or `Instant::now` after an import.
const CLOCK: [&[&str]; 3] = [&["Instant", "now"], &["SystemTime", "now"], &["OffsetDateTime", "now_utc"]];

/// All that a pure file may take from `std::net`.
const ADDRESSES: [&str; 7] =
    ["IpAddr", "Ipv4Addr", "Ipv6Addr", "SocketAddr", "SocketAddrV4", "SocketAddrV6", "AddrParseError"];

#[test]
fn imports_go_one_way() {
    assert_none(sources().iter().flat_map(against_layers));
}

#[test]
fn the_domain_knows_no_io_no_clock_and_no_chance() {
    let sources = sources();
    let fleet: Vec<_> = sources.iter().filter(|source| source.file.starts_with("src/fleet/")).collect();
    assert!(!fleet.is_empty());
    assert_none(fleet.into_iter().flat_map(against_purity));
}

#[test]
fn what_is_marked_pure_is_pure() {
    let sources = sources();
    for file in PURE {
        assert!(sources.iter().any(|source| source.file == file), "{file} is gone; take it off the list");
    }
    let pure = sources.iter().filter(|source| PURE.contains(&source.file.as_str()));
    assert_none(pure.flat_map(against_purity));
}

#[test]
fn pem_files_are_read_in_one_place() {
    let sources = sources();
    let used = sources.iter().flat_map(|source| {
        let paths = source.paths.iter().filter(|path| path.starts_with(&["rustls_pemfile"]));
        paths.map(|path| path.tell(&source.file))
    });
    let (there, elsewhere): (Vec<_>, Vec<_>) = used.partition(|used| used.starts_with("src/net/pem.rs: "));
    assert!(!there.is_empty());
    assert_none(elsewhere);
}

#[test]
fn nothing_is_unsafe() {
    for folder in ["src", "tests"] {
        assert_none(files(folder).iter().flat_map(|file| against_unsafe(file, &read(file))));
    }
    assert_none(against_unsafe("build.rs", &read("build.rs")));
}

#[test]
fn the_program_is_the_command_line_and_nothing_else() {
    let main = Source::parse("src/main.rs", &read("src/main.rs"), Tests::LeftOut);
    let used: Vec<_> = main.paths.iter().filter(|path| path.starts_with(&["vestibule"])).collect();
    assert!(!used.is_empty());
    assert_none(
        used.iter().filter(|path| !path.starts_with(&["vestibule", "cli"])).map(|p| p.tell(&main.file)),
    );
}

#[test]
fn the_map_names_every_part_of_the_house() {
    let parts = std::fs::read_dir(root().join("src")).unwrap().map(|entry| entry.unwrap());
    let mut parts: Vec<_> =
        parts.map(|part| part.path().file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    parts.retain(|part| part != "lib" && part != "main");
    parts.sort();
    let mut known = LAYERS.concat();
    known.sort();
    assert_eq!(parts, known, "each part of src/ has its place in LAYERS");
    let order = "cli → demo → app → config → rooms → net → fleet → std";
    assert!(read("src/lib.rs").contains(order), "src/lib.rs tells another order than {order}");
}

#[test]
fn the_checker_sees_a_violation() {
    for (file, text, complaint) in [
        // up, sideways, and down
        ("src/fleet/a.rs", "use crate::net::tls;", Some("src/fleet/a.rs: crate::net::tls")),
        ("src/net/a.rs", "use crate::fleet::Load;", None),
        ("src/front/a.rs", "use crate::admin::status;", Some("src/front/a.rs: crate::admin::status")),
        ("src/front/a.rs", "use crate::front::Limits;", None),
        ("src/front/a.rs", "use super::settings::Limits;", None),
        ("src/probe/a.rs", "use crate::heartbeat::Report;", None),
        ("src/probe/a.rs", "use crate::heartbeat::run;", Some("src/probe/a.rs: crate::heartbeat::run")),
        ("src/config/a.rs", "use crate::probe::ProbeSettings;", None),
        ("src/config/a.rs", "use crate::app::log;", Some("src/config/a.rs: crate::app::log")),
        ("src/app/a.rs", "use crate::demo::Farm;", Some("src/app/a.rs: crate::demo::Farm")),
        ("src/demo/a.rs", "use crate::app::FrontDoor;", None),
        ("src/front/a.rs", "use crate::elsewhere::A;", Some("src/front/a.rs: crate::elsewhere::A")),
        // in every form
        (
            "src/front/a.rs",
            "use crate::{fleet::{self, Load}, admin::{status as s}};",
            Some("src/front/a.rs: crate::admin::status"),
        ),
        ("src/front/a.rs", "use super::super::admin::*;", Some("src/front/a.rs: crate::admin::*")),
        ("src/front/mod.rs", "use super::admin;", Some("src/front/mod.rs: crate::admin")),
        ("src/front/a/b.rs", "use super::super::super::admin;", Some("src/front/a/b.rs: crate::admin")),
        ("src/front/a/b.rs", "use super::super::tls;", None),
        (
            "src/front/a.rs",
            "fn a() { m!(x => { crate::admin::a::<u8>() }) }",
            Some("src/front/a.rs: crate::admin::a"),
        ),
        // where nothing is used
        ("src/front/a.rs", "// use crate::admin::A;\n/* crate::admin /* crate::cli */ */", None),
        (
            "src/front/a.rs",
            "/// See [`crate::admin`].\nfn a() { b(\"crate::admin\", r#\"\"crate::cli\"#, 'c') }",
            None,
        ),
        ("src/front/a.rs", "#[cfg(test)]\nmod tests { use crate::admin::A; }", None),
        ("src/front/a.rs", "#[cfg(test)] #[allow(x)] fn a() { crate::admin::a() }", None),
        ("src/front/a.rs", "#[cfg(test)]\nuse crate::admin::A;", None),
        (
            "src/front/a.rs",
            "#[cfg(test)]\nuse crate::admin::A;\nuse crate::cli::B;",
            Some("src/front/a.rs: crate::cli::B"),
        ),
        (
            "src/front/a.rs",
            "#[cfg(test)]\nmod tests {}\nuse crate::cli::B;",
            Some("src/front/a.rs: crate::cli::B"),
        ),
    ] {
        let told = against_layers(&Source::parse(file, text, Tests::LeftOut));
        assert_eq!(told.first().map(String::as_str), complaint, "of {text:?} in {file}");
    }
}

#[test]
fn the_checker_sees_what_is_not_pure() {
    for (text, complaint) in [
        ("use std::net::{IpAddr, SocketAddr};", None),
        ("use std::net::{IpAddr, TcpStream};", Some("std::net::TcpStream")),
        ("use std::net;", Some("std::net")),
        ("use std::{fmt, fs};", Some("std::fs")),
        ("fn a() { std::env::var(b) }", Some("std::env::var")),
        ("use ::std::fs::File;", Some("std::fs::File")),
        ("fn a() { B::<u8>::fs(); b::<C>::std::d() }", None),
        ("use tokio::sync::watch;", Some("tokio::sync::watch")),
        ("use std::time::{Duration, Instant};", None),
        ("fn a(i: Instant) { b(Instant::now()) }", Some("Instant::now")),
        ("fn a() { std::time::SystemTime::now() }", Some("std::time::SystemTime::now")),
        ("fn a(i: Instant) { i.elapsed() }", Some(".elapsed()")),
        ("fn a(elapsed: Duration) { elapsed.as_secs() }", None),
        ("fn a() { fastrand::u64(..) }", Some("fastrand::u64")),
        ("#[cfg(test)] mod tests { fn a() { Instant::now() } }", None),
        ("#[cfg(not(test))] fn a() { Instant::now() }", Some("Instant::now")),
    ] {
        let told = against_purity(&Source::parse("a.rs", text, Tests::LeftOut));
        let complaint = complaint.map(|complaint| format!("a.rs: {complaint}"));
        assert_eq!(told.first(), complaint.as_ref(), "of {text:?}");
    }
    assert_eq!(against_unsafe("a.rs", "fn a() { unsafe { b() } }"), ["a.rs: unsafe"]);
    assert_eq!(against_unsafe("a.rs", "#![forbid(unsafe_code)] // unsafe\nfn a() { \"unsafe\" }"), [""; 0]);
}

/// Imports that go the wrong way.
fn against_layers(source: &Source) -> Vec<String> {
    let own = source.file.trim_start_matches("src/").split('/').next().unwrap().trim_end_matches(".rs");
    let layer = |part: &str| LAYERS.iter().position(|layer| layer.contains(&part));
    let Some(own_layer) = layer(own) else { return Vec::new() };
    let paths = source.paths.iter().filter_map(|path| Some((path, path.part()?)));
    let wrong = paths.filter(|(path, part)| {
        let allowed = BETWEEN_ROOMS.iter().any(|(room, taken)| own == *room && path.starts_with(taken));
        let down = layer(part).is_some_and(|layer| layer > own_layer);
        own != *part && !down && !allowed
    });
    wrong.map(|(path, _)| path.tell(&source.file)).collect()
}

/// Uses of the world outside.
fn against_purity(source: &Source) -> Vec<String> {
    let wrong = source.paths.iter().filter(|path| {
        let socket = path.starts_with(&["std", "net"])
            && !path.segments.get(2).is_some_and(|segment| ADDRESSES.contains(&segment.as_str()));
        socket
            || IMPURE.iter().any(|impure| path.starts_with(impure))
            || CLOCK.iter().any(|clock| path.segments.windows(clock.len()).any(|window| window == *clock))
    });
    let call = source.asks_elapsed.then(|| format!("{}: .elapsed()", source.file));
    wrong.map(|path| path.tell(&source.file)).chain(call).collect()
}

fn against_unsafe(file: &str, text: &str) -> Vec<String> {
    let words = flat(text.parse().unwrap(), Tests::Kept);
    let found = words.iter().filter(|word| word.text == "unsafe");
    found.map(|_| format!("{file}: unsafe")).collect()
}

#[track_caller]
fn assert_none(complaints: impl IntoIterator<Item = String>) {
    let complaints: Vec<_> = complaints.into_iter().collect();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// A source with every path that stands in it.
struct Source {
    file: String,
    paths: Vec<UsedPath>,
    /// Whether `.elapsed()` is in it, which asks the clock without naming it.
    asks_elapsed: bool,
}

/// A path as if it had been written out: `crate::…` in place of `super::…`, and one for each end of a
/// `use a::{b, c}`.
#[derive(Clone)]
struct UsedPath {
    segments: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tests {
    Kept,
    LeftOut,
}

impl Source {
    fn parse(file: &str, text: &str, tests: Tests) -> Self {
        let words = flat(text.parse().unwrap_or_else(|error| panic!("{file}: {error}")), tests);
        let module = module_of(file);
        let mut paths = Vec::new();
        let mut position = 0;
        while position < words.len() {
            // in `a::<B>::c`, c begins no path
            let goes_on =
                position >= 2 && words[position - 1].text == "::" && words[position - 2].text == ">";
            if words[position].is_name && !goes_on {
                position = read_path(&words, position, &[], &mut paths);
            } else {
                position += 1;
            }
        }
        for path in &mut paths {
            path.write_out(&module);
        }
        let asks_elapsed = words
            .windows(3)
            .any(|window| window.iter().map(|word| word.text.as_str()).eq([".", "elapsed", "("]));
        Self { file: file.to_owned(), paths, asks_elapsed }
    }
}

impl UsedPath {
    fn starts_with(&self, beginning: &[&str]) -> bool {
        self.segments.len() >= beginning.len() && self.segments.iter().zip(beginning).all(|(a, b)| a == b)
    }

    /// The part of this crate that it leads to.
    fn part(&self) -> Option<&str> {
        match self.segments.as_slice() {
            [first, part, ..] if first == "crate" => Some(part),
            _ => None,
        }
    }

    fn write_out(&mut self, module: &[String]) {
        let ups = self.segments.iter().take_while(|segment| *segment == "super").count();
        let selves = usize::from(self.segments[0] == "self");
        if ups + selves > 0 {
            let base = &module[..module.len().saturating_sub(ups)];
            let rest = self.segments.split_off(ups + selves);
            self.segments =
                std::iter::once("crate".to_owned()).chain(base.iter().cloned()).chain(rest).collect();
        }
        // use a::{self}
        if self.segments.last().is_some_and(|last| last == "self") {
            self.segments.pop();
        }
    }

    fn tell(&self, file: &str) -> String {
        format!("{file}: {}", self.segments.join("::"))
    }
}

/// `src/front/door.rs` → `front`, `door`; `src/front/mod.rs` → `front`.
fn module_of(file: &str) -> Vec<String> {
    let path = file.trim_start_matches("src/").trim_end_matches(".rs");
    let mut module: Vec<_> = path.split('/').map(str::to_owned).collect();
    if matches!(module.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        module.pop();
    }
    module
}

/// Reads a path, or a tree of them, from `position` on; returns where it ends.
fn read_path(words: &[Word], mut position: usize, before: &[String], paths: &mut Vec<UsedPath>) -> usize {
    let mut segments = before.to_vec();
    loop {
        segments.push(words[position].text.clone());
        position += 1;
        let next = |offset: usize| words.get(position + offset);
        if next(0).is_none_or(|word| word.text != "::") {
            break;
        }
        match next(1) {
            Some(word) if word.is_name || word.text == "*" => position += 1,
            Some(word) if word.text == "{" => {
                position += 2;
                while words[position].text != "}" {
                    if words[position].is_name || words[position].text == "*" {
                        position = read_path(words, position, &segments, paths);
                        // the new name of a `b as c`
                        while !matches!(words[position].text.as_str(), "," | "}") {
                            position += 1;
                        }
                    } else {
                        position += 1;
                    }
                }
                return position + 1;
            }
            // a::<B>
            _ => break,
        }
    }
    paths.push(UsedPath { segments });
    position
}

/// A token; `::` is one of its own.
struct Word {
    text: String,
    is_name: bool,
}

/// Words that a path may follow, and which are not part of it: `use ::std::fs`.
const BEFORE_PATHS: [&str; 9] = ["use", "return", "in", "as", "else", "match", "if", "dyn", "impl"];

/// All tokens in their order, groups as their brackets with what is between them. A literal says nothing.
fn flat(stream: TokenStream, tests: Tests) -> Vec<Word> {
    let mut words = Vec::new();
    flatten(stream, tests, &mut words);
    words
}

fn flatten(stream: TokenStream, tests: Tests, words: &mut Vec<Word>) {
    let mut tokens = stream.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let mut push = |text: String, is_name| words.push(Word { text, is_name });
        match token {
            TokenTree::Ident(name) => {
                let name = name.to_string();
                let is_keyword = BEFORE_PATHS.contains(&name.as_str());
                push(name, !is_keyword);
            }
            TokenTree::Literal(_) => push("\"\"".to_owned(), false),
            TokenTree::Punct(mark) if mark.as_char() == ':' => {
                let double = tokens.next_if(|next| matches!(next, TokenTree::Punct(p) if p.as_char() == ':'));
                push(if double.is_some() { "::" } else { ":" }.to_owned(), false);
            }
            TokenTree::Punct(mark) => {
                let of_tests = tests == Tests::LeftOut
                    && mark.as_char() == '#'
                    && tokens.peek().is_some_and(is_cfg_test);
                if of_tests {
                    skip_item(&mut tokens);
                } else {
                    push(mark.as_char().to_string(), false);
                }
            }
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                push(open.to_owned(), false);
                flatten(group.stream(), tests, words);
                words.push(Word { text: close.to_owned(), is_name: false });
            }
        }
    }
}

/// `[cfg(test)]`
fn is_cfg_test(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Group(group) if group.to_string().replace(' ', "") == "[cfg(test)]")
}

/// Takes what an attribute stands before: up to the first semicolon, or the braces of a body. Those of a
/// `use` are followed by a semicolon.
fn skip_item(tokens: &mut std::iter::Peekable<impl Iterator<Item = TokenTree>>) {
    let mut is_use = false;
    for token in tokens.by_ref() {
        match token {
            TokenTree::Ident(name) => is_use |= name == "use",
            TokenTree::Punct(mark) if mark.as_char() == ';' => return,
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace && !is_use => return,
            _ => {}
        }
    }
}

fn sources() -> Vec<Source> {
    files("src").iter().map(|file| Source::parse(file, &read(file), Tests::LeftOut)).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap()
}

/// Every Rust file under a folder, as seen from the root.
fn files(folder: &str) -> Vec<String> {
    let mut folders: Vec<PathBuf> = vec![root().join(folder)];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    files.sort();
    files
}
