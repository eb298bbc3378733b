//! docs/configuration.md is what the program knows of its configuration, and what it says is true.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

use std::path::Path;

use vestibule::certs::{Named, Request, init};
use vestibule::config::schema::{AGENT, Default, FRONT, File, Key, Table, Value, reference};
use vestibule::config::{load_agent, load_front};

#[test]
fn the_reference_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, reference()).unwrap();
    }
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = page.lines().zip(reference().lines().map(str::to_owned)).find(|(is, should)| is != should);
    assert!(
        page == reference(),
        "docs/configuration.md is not what src/config/schema says; write it anew with:\n\n    UPDATE=1 cargo test \
         --test configuration_reference\n\nthe first line that differs: {differs:#?}"
    );
}

/// What every table needs to be looked at: it stands here, with the keys that have to be there and those that its
/// optional ones need.
const FRONT_BASE: &str = r#"
[node]
[admin]
[log]
[[listener]]
name = "portal"
address = "127.0.0.1:4443"
mode = "redirect"
certificates = [{ certificate = "portal.pem", key = "portal.key" }]
[listener.redirect]
[listener.limits]
[[listener]]
name = "http"
address = "127.0.0.1:4480"
mode = "https-upgrade"
[[listener]]
name = "proxy"
address = "127.0.0.2:4443"
mode = "proxy"
certificates = [{ certificate = "portal.pem", key = "portal.key" }]
[listener.proxy]
[listener.proxy.upstream_tls]
[[listener]]
name = "raw"
address = "127.0.0.3:4443"
mode = "passthrough"
[listener.passthrough]
[[vrrp]]
vrrp_id = 31
role = "master"
interface = "eth0"
addresses = ["192.0.2.1/24"]
[balance]
[balance.weights]
[health]
[dve]
listen = ["127.0.0.1:4463"]
keys = ["dve.key"]
[ikev2_redirect]
listen = ["127.0.0.1:4500"]
[fence]
[[gateway]]
name = "gw1"
vrrp_id = 31
ssl_endpoint = "gw1.example.com"
[gateway.capacity]
[[gateway.check]]
kind = "https"
[[gateway]]
name = "gw2"
vrrp_id = 31
vrrp_mode = "master"
ssl_endpoint = "gw2.example.com"
heartbeat = "https://192.0.2.9"
[[gateway]]
name = "gw3"
vrrp_id = 31
vrrp_mode = "backup"
ssl_endpoint = "gw3.example.com"
[heartbeat]
ca = "ca.pem"
certificate = "front-a.pem"
key = "front-a.key"
[peers]
listen = "127.0.0.4:9465"
front_doors = ["https://127.0.0.5:9465"]
"#;

const AGENT_BASE: &str = r#"
[agent]
name = "gw1"
listen = "127.0.0.1:9464"
certificate = "gw1.pem"
key = "gw1.key"
client_ca = "ca.pem"
[log]
[health]
[[check]]
kind = "https"
address = "127.0.0.1:443"
[load]
[load.capacity]
[load.tunnels]
source = "ocserv"
[load.pool]
source = "ocserv"
[fence]
[vrrp]
[[vrrp.instance]]
vrrp_id = 41
role = "master"
interface = "eth0"
addresses = ["192.0.2.1/24"]
"#;

/// What else an example needs, as lines before and after: (table, key, what stands there, what is to).
const NEEDS: [(&str, &str, &str, &str); 10] = [
    ("[[gateway]]", "preset", "[[gateway.check]]\nkind = \"https\"\n", ""),
    (
        "[listener.proxy]",
        "affinity_cookie",
        "[listener.proxy]\n",
        "[listener.proxy]\naffinity = \"cookie\"\n",
    ),
    (
        "[listener.proxy]",
        "idle_per_gateway",
        "[listener.proxy]\n",
        "[listener.proxy]\naffinity = \"cookie\"\n",
    ),
    (
        "[listener.proxy]",
        "accept_proxy_protocol",
        "[listener.proxy]\n",
        "[listener.proxy]\ntrusted_proxies = [\"10.0.0.0/8\"]\n",
    ),
    (
        "[listener.passthrough]",
        "accept_proxy_protocol",
        "[listener.passthrough]\n",
        "[listener.passthrough]\ntrusted_proxies = [\"10.0.0.0/8\"]\n",
    ),
    (
        "[listener.passthrough]",
        "policy",
        "[listener.passthrough]\n",
        "[listener.passthrough]\naffinity = \"none\"\n",
    ),
    ("[balance]", "failback", "[balance]\n", "[balance]\nmode = \"failsafe\"\n"),
    ("[[check]]", "command", "kind = \"https\"\naddress = \"127.0.0.1:443\"\n", "kind = \"exec\"\n"),
    ("[[check]]", "unit", "kind = \"https\"\naddress = \"127.0.0.1:443\"\n", "kind = \"systemd\"\n"),
    // without another listener to learn it from
    (
        "[listener.redirect]",
        "https_endpoint",
        "[listener.redirect]\n[listener.limits]\n[[listener]]\nname = \"http\"\naddress = \"127.0.0.1:4480\"\nmode = \"https-upgrade\"\n",
        "[listener.limits]\n[[listener]]\nname = \"http\"\naddress = \"127.0.0.1:4480\"\nmode = \"https-upgrade\"\n[listener.redirect]\n",
    ),
];

/// A folder with the certificates that the files name.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let request = Request {
        server_names: vec!["vpn.example.com".to_owned()],
        fronts: vec![Named { name: "front-a".into(), addresses: Vec::new() }],
        gateways: vec![Named { name: "gw1".into(), addresses: vec!["127.0.0.1".parse().unwrap()] }],
    };
    init(folder.path(), &request).unwrap();
    for token in ["admin.token", "other.token"] {
        std::fs::write(folder.path().join(token), format!("0123456789abcdef-{token}\n")).unwrap();
    }
    std::fs::create_dir(folder.path().join("certs")).unwrap();
    std::fs::copy(folder.path().join("ca.pem"), folder.path().join("certs/ca.pem")).unwrap();
    folder
}

/// All that comes of a file, as text, without what differs from one time to the next.
fn settings(file: &File, folder: &Path, content: &str) -> Result<String, String> {
    let path = folder.join("f.toml");
    std::fs::write(&path, content).unwrap();
    let told = |problems: Vec<vestibule::config::Problem>| {
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let text = if file.path == FRONT.path {
        format!("{:#?}", load_front(&path).map_err(told)?.0)
    } else {
        format!("{:#?}", load_agent(&path).map_err(told)?.0)
    };
    Ok(text.lines().filter(|line| !is_fleeting(line)).collect::<Vec<_>>().join("\n"))
}

/// Places in memory, and keys that are drawn anew.
fn is_fleeting(line: &str) -> bool {
    line.contains("0x")
}

/// The base with one key set in that table.
fn with(base: &str, table: &Table, key: &Key, value: &str) -> String {
    let need = NEEDS.iter().find(|(header, name, ..)| (*header, *name) == (table.header, key.name));
    let base = match need {
        Some((_, _, is, should)) => {
            assert!(base.contains(is), "{is:?} is not in the base");
            base.replacen(is, should, 1)
        }
        None => base.to_owned(),
    };
    let header = format!("\n{}\n", table.header);
    let (before, after) =
        base.split_once(&header).unwrap_or_else(|| panic!("{} is not in the base", table.header));
    // what the base has already gives way
    let mut given = false;
    let mut own = true;
    let lines: Vec<_> = after
        .lines()
        .map(|line| {
            own = own && !line.starts_with('[');
            if own && line.starts_with(&format!("{} = ", key.name)) {
                given = true;
                format!("{} = {value}", key.name)
            } else {
                line.to_owned()
            }
        })
        .collect();
    let first = if given { String::new() } else { format!("{} = {value}\n", key.name) };
    format!("{before}{header}{first}{}\n", lines.join("\n"))
}

/// Every key that is set to a value, with its table.
fn keys(file: &'static File) -> impl Iterator<Item = (&'static Table, &'static Key)> {
    file.tables.iter().flat_map(|table| table.keys.iter().map(move |key| (*table, key))).filter(|(_, key)| {
        // tables have their keys themselves
        !matches!(key.value, Value::Table(_) | Value::Tables(_))
    })
}

#[test]
fn every_default_is_the_real_one() {
    let folder = folder();
    let mut wrong = Vec::new();
    for (file, base) in [(&FRONT, FRONT_BASE), (&AGENT, AGENT_BASE)] {
        for (table, key) in keys(file).filter(|(table, _)| table.header != "[[listener.certificates]]") {
            let Default::Is(default) = key.default else { continue };
            let shown = settings(file, folder.path(), &with(base, table, key, default));
            // another line in the same place, so that what else the key needs is there as well
            let without =
                with(base, table, key, default).replacen(&format!("\n{} = {default}\n", key.name), "\n", 1);
            let real = settings(file, folder.path(), &without);
            if shown != real || shown.is_err() {
                wrong.push(format!(
                    "{} {} {} = {default}\n{}",
                    file.path,
                    table.header,
                    key.name,
                    difference(&shown, &real)
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Keys whose settings do not show: what is read from files, and what is taken to be the same.
const UNSEEN: [(&str, &str); 9] = [
    ("[admin]", "token_file"),
    ("[listener.proxy.upstream_tls]", "verify"),
    ("[listener.proxy.upstream_tls]", "ca"),
    ("[[gateway.check]]", "verify"),
    ("[[gateway.check]]", "ca"),
    ("[[check]]", "verify"),
    ("[[check]]", "ca"),
    ("[load.tunnels]", "command"),
    ("[load.pool]", "command"),
];

#[test]
fn every_example_is_taken_and_makes_a_difference() {
    let folder = folder();
    let mut wrong = Vec::new();
    for (file, base) in [(&FRONT, FRONT_BASE), (&AGENT, AGENT_BASE)] {
        for (table, key) in keys(file).filter(|(_, key)| matches!(key.default, Default::Is(_))) {
            assert!(!key.example.is_empty(), "{} {} has no example", table.header, key.name);
            let Default::Is(default) = key.default else { continue };
            let example = settings(file, folder.path(), &with(base, table, key, key.example));
            let usual = settings(file, folder.path(), &with(base, table, key, default));
            let unseen = UNSEEN.contains(&(table.header, key.name));
            if example.is_err() || (example == usual && !unseen) {
                wrong.push(format!(
                    "{} {} {} = {}\n{}",
                    file.path,
                    table.header,
                    key.name,
                    key.example,
                    example.err().unwrap_or_else(|| "makes no difference".to_owned())
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn difference(shown: &Result<String, String>, real: &Result<String, String>) -> String {
    match (shown, real) {
        (Err(error), _) | (_, Err(error)) => error.clone(),
        (Ok(shown), Ok(real)) => {
            let lines = shown.lines().zip(real.lines()).filter(|(a, b)| a != b);
            lines.take(3).map(|(a, b)| format!("  {a} | {b}")).collect::<Vec<_>>().join("\n")
        }
    }
}

/// A key of each table that is in an example file, as a setting or a comment.
#[test]
fn the_example_files_and_the_reference_have_the_same_keys() {
    let examples = [
        (&FRONT, include_str!("../config/vestibule.toml")),
        (&AGENT, include_str!("../config/heartbeat.toml")),
    ];
    for (file, example) in examples {
        // an agent has no access log; it reads that key because front doors do
        let of_front_doors = |table: &Table, key: &Key| {
            file.path == AGENT.path && (table.header, key.name) == ("[log]", "access")
        };
        for (table, key) in keys(file).filter(|(table, key)| !of_front_doors(table, key)) {
            // alternatives that stand in a sentence
            let shown =
                example.contains(&format!("{} = ", key.name)) || example.contains(&format!("{}: ", key.name));
            assert!(shown, "{} has no '{}' of {}", file.path, key.name, table.header);
        }
    }
}
