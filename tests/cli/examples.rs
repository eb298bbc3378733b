//! The example configurations: they load, and what they show as a comment is true.

use vestibule::config::{AgentSettings, FrontSettings, load_agent, load_front};
use vestibule::fence::FenceSettings;
use vestibule::front::{Affinity, Mode, Passthrough, Proxy};
use vestibule::vrrp::Instance;

use crate::support::Folder;

const FRONT: &str = include_str!("../../config/vestibule.toml");
const AGENT: &str = include_str!("../../config/heartbeat.toml");

/// The examples beside the certificates that they name.
fn folder() -> Folder {
    let folder = Folder::with_certificates();
    std::fs::create_dir(folder.join("config")).unwrap();
    folder.write("config/vestibule.toml", FRONT);
    folder.write("config/heartbeat.toml", AGENT);
    folder
}

#[test]
fn the_examples_load_with_the_certificates_that_they_say_to_make() {
    let folder = folder();
    for file in ["config/vestibule.toml", "config/heartbeat.toml"] {
        let ended = folder.run(["check", "-c", file]);
        let expected = format!("{file}: no errors, no warnings\n");
        assert_eq!((ended.status, ended.stdout, ended.stderr.as_str()), (0, expected, ""));
    }
}

#[test]
fn the_command_that_the_examples_name_is_the_one_that_makes_their_certificates() {
    let command = "vestibule ".to_owned() + &crate::support::CERTS_INIT.join(" ");
    for example in [FRONT, AGENT] {
        let words: Vec<_> = example.split_whitespace().filter(|word| !matches!(*word, "#" | "\\")).collect();
        assert!(words.join(" ").contains(&command), "{command:?} is not in the example");
    }
}

/// A commented line that sets something.
fn setting(line: &str) -> Option<&str> {
    let setting = line.strip_prefix("# ")?;
    let (key, _) = setting.split_once(" = ")?;
    key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_').then_some(setting)
}

/// The example with the comments taken off its settings, apart from those of `left_out`. A commented table
/// with what belongs to it is an example, and stays a comment unless `examples`.
fn uncommented(example: &str, left_out: &[&str], examples: bool) -> String {
    let mut in_commented_table = false;
    let mut text = String::new();
    for line in example.lines() {
        in_commented_table = line.starts_with("# [") || (in_commented_table && !line.is_empty());
        let shown = match setting(line) {
            _ if in_commented_table && !examples => None,
            Some(setting) if left_out.iter().any(|key| setting.starts_with(&format!("{key} "))) => None,
            Some(setting) => Some(setting),
            None if in_commented_table => line.strip_prefix("# ").filter(|line| line.starts_with('[')),
            None => None,
        };
        text += shown.unwrap_or(line);
        text.push('\n');
    }
    text
}

fn front(folder: &Folder, name: &str) -> FrontSettings {
    load_front(&folder.join(name)).unwrap().0
}

fn agent(folder: &Folder, name: &str) -> AgentSettings {
    load_agent(&folder.join(name)).unwrap().0
}

#[test]
fn the_defaults_that_the_front_doors_example_shows_are_the_real_ones() {
    let folder = folder();
    // the default file need not be there unless it is named; capacity has no default
    let shown = uncommented(FRONT, &["token_file", "capacity"], false);
    assert!(shown.lines().filter(|line| !FRONT.contains(&format!("\n{line}\n"))).count() > 20);
    folder.write("config/defaults.toml", &shown);
    let (real, shown) = (front(&folder, "config/vestibule.toml"), front(&folder, "config/defaults.toml"));
    assert_eq!((&real.node_name, real.workers), (&shown.node_name, shown.workers));
    assert_eq!((real.admin.listen, &real.admin.socket), (shown.admin.listen, &shown.admin.socket));
    assert_eq!(real.admin.hosts, shown.admin.hosts);
    assert_eq!(real.log, shown.log);
    assert_eq!(real.listeners.len(), 2);
    for (real, shown) in real.listeners.iter().zip(&shown.listeners) {
        assert_eq!((&real.limits, &real.redirect), (&shown.limits, &shown.redirect));
        assert_eq!(real.ask.vrrp_id, shown.ask.vrrp_id);
    }
    assert_eq!(real.fleet.gateways, shown.fleet.gateways);
    assert_eq!(real.fleet.thresholds, shown.fleet.thresholds);
    assert_eq!(real.fleet.weights, shown.fleet.weights);
    assert_eq!(format!("{:?}", real.fleet.balance), format!("{:?}", shown.fleet.balance));
    let fence = |settings: &FrontSettings| {
        let FenceSettings { enabled, lease, keep_at_least, holder, gateways, .. } = settings.fence.clone();
        let kinds: Vec<_> = gateways.iter().map(|gateway| gateway.kind).collect();
        (enabled, lease, keep_at_least, holder, kinds)
    };
    assert_eq!(fence(&real), fence(&shown));
    assert_eq!(real.fence.holder.as_deref(), Some("front-a"));
    for (real, shown) in real.probes.iter().zip(&shown.probes) {
        assert_eq!((real.interval, real.timeout), (shown.interval, shown.timeout));
        assert_eq!((real.stale_after, real.checks.len()), (shown.stale_after, shown.checks.len()));
    }
}

/// The front door's example with everything on but what these keys set, and without presets.
fn all_but(left_out: &[&str]) -> String {
    uncommented(&without_presets(FRONT), left_out, true)
}

/// They give way to checks of one's own, and say which session cookies there are.
fn without_presets(example: &str) -> String {
    example.replace("preset = \"ocserv\"\n", "")
}

#[test]
fn the_defaults_that_the_example_shows_of_a_proxy_and_a_passthrough_are_the_real_ones() {
    let folder = folder();
    // only with this there is TLS to gateways; the cookie is for another affinity
    let left_out = ["token_file", "upstream_tls", "affinity_cookie"];
    folder.write("config/shown.toml", &all_but(&left_out));
    let shown = front(&folder, "config/shown.toml");
    let [_, _, proxy, passthrough] = shown.listeners.as_slice() else { panic!("{:?}", shown.listeners) };
    let Mode::Proxy(_, proxy) = &proxy.mode else { panic!("{proxy:?}") };
    assert_eq!(format!("{proxy:?}"), format!("{:?}", Proxy::default()));
    let Mode::Passthrough(passthrough) = &passthrough.mode else { panic!("{passthrough:?}") };
    assert_eq!(**passthrough, Passthrough::default());
    // every key that these tables have is shown
    for (table, keys) in [("# [listener.proxy]\n", 15), ("# [listener.passthrough]\n", 8)] {
        let (_, table) = FRONT.split_once(table).unwrap();
        assert_eq!(table.lines().take_while(|line| !line.is_empty()).filter_map(setting).count(), keys);
    }

    let cookie = all_but(&["token_file", "session_cookies"]).replace("\"session\"", "\"cookie\"");
    folder.write("config/shown.toml", &cookie);
    let unnamed = cookie.replace("affinity_cookie =", "# affinity_cookie =");
    folder.write("config/unnamed.toml", &unnamed);
    let name = |file| match &front(&folder, file).listeners[2].mode {
        Mode::Proxy(_, proxy) => match &proxy.affinity {
            Affinity::Cookie(cookie) => cookie.name.clone(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    assert_eq!(name("config/shown.toml"), name("config/unnamed.toml"));
}

#[test]
fn the_defaults_that_the_example_shows_for_native_clients_are_the_real_ones() {
    let folder = folder();
    let native = |left_out: &[&str]| {
        let left_out = [&["token_file", "affinity_cookie"], left_out].concat();
        folder.write("config/shown.toml", &all_but(&left_out));
        let front = front(&folder, "config/shown.toml");
        let dve = front.dve.unwrap();
        let first = front.fleet.gateways[0].native_endpoint.clone();
        (dve.ttl, dve.answers_per_second_per_source, first)
    };
    assert_eq!(native(&[]), native(&["ttl", "answers_per_second_per_source", "native_endpoint"]));
    // every key that these tables have is shown
    for (table, keys) in [("\n[dve]\n", 4), ("\n[ikev2_redirect]\n", 2)] {
        let (_, table) = FRONT.split_once(table).unwrap();
        let lines = table.lines().take_while(|line| !line.is_empty());
        let settings = lines.filter(|line| setting(line).is_some() || !line.starts_with('#'));
        assert_eq!(settings.count(), keys);
    }
}

#[test]
fn the_defaults_that_the_example_shows_of_virtual_addresses_are_the_real_ones() {
    let folder = folder();
    let vrrp = |left_out: &[&str]| {
        let left_out = [&["token_file", "affinity_cookie"], left_out].concat();
        folder.write("config/shown.toml", &all_but(&left_out));
        front(&folder, "config/shown.toml").vrrp
    };
    let [shown] = vrrp(&[]).try_into().unwrap();
    let [real] = vrrp(&["peers", "advertisement_interval", "preempt", "notify_fifo"]).try_into().unwrap();
    assert!(real.peers.is_empty());
    assert_eq!(Instance { peers: Vec::new(), ..shown }, real);
}

#[test]
fn the_upgrade_of_the_example_goes_where_the_example_says() {
    let folder = folder();
    let mode = &front(&folder, "config/vestibule.toml").listeners[1].mode;
    assert_eq!(format!("{mode:?}"), "HttpsUpgrade(Endpoint { host: Name(\"vpn.example.com\"), port: 443 })");
    assert!(FRONT.contains("\n# https_endpoint = \"vpn.example.com\"\n"));
}

#[test]
fn the_defaults_that_the_agents_example_shows_are_the_real_ones() {
    let folder = folder();
    let shown = uncommented(AGENT, &["server_name", "interface", "capacity", "tunnels", "pool"], false);
    folder.write("config/defaults.toml", &shown);
    let (real, shown) = (agent(&folder, "config/heartbeat.toml"), agent(&folder, "config/defaults.toml"));
    assert_eq!(real.log, shown.log);
    let (real, shown) = (real.agent, shown.agent);
    assert_eq!((real.interval, real.timeout), (shown.interval, shown.timeout));
    assert_eq!(real.agent_check, shown.agent_check);
    assert_eq!(real.thresholds, shown.thresholds);
    assert_eq!(real.load, shown.load);
    assert!(real.fence.is_some());
    assert_eq!(real.fence, shown.fence);
    let check = |settings: &vestibule::heartbeat::Settings| {
        // path and expected status; what TLS is made of prints addresses of memory
        let text = format!("{:?}", settings.checks);
        text.split_once("Get {").map(|(_, get)| get.to_owned()).unwrap()
    };
    assert_eq!((check(&real), real.checks.len()), (check(&shown), 1));
}

#[test]
fn the_defaults_that_the_agents_example_shows_of_a_pair_are_the_real_ones() {
    let folder = folder();
    let pair = |left_out: &[&str]| {
        folder.write("config/shown.toml", &uncommented(AGENT, left_out, true));
        let settings = agent(&folder, "config/shown.toml");
        (settings.agent.track_file, settings.vrrp)
    };
    let (shown_file, shown) = pair(&[]);
    let (real_file, real) =
        pair(&["track_file", "peers", "advertisement_interval", "preempt", "notify_fifo"]);
    assert!(shown_file.is_some());
    assert_eq!(shown_file, real_file);
    let [shown] = shown.try_into().unwrap();
    let [real] = real.try_into().unwrap();
    assert!(real.peers.is_empty());
    assert_eq!(real.notify_fifo, None);
    assert_eq!(Instance { peers: Vec::new(), notify_fifo: None, ..shown }, real);
    // who shares nothing says nothing to keepalived
    assert_eq!(agent(&folder, "config/heartbeat.toml").agent.track_file, None);
}

#[test]
fn everything_that_the_examples_show_can_be_switched_on() {
    let folder = folder();
    folder.write("config/admin.token", "0123456789abcdef0123456789abcdef");
    // the cookies of one affinity have no effect with another one
    let session = all_but(&["affinity_cookie"]);
    let cookie = all_but(&["session_cookies"]).replace("\"session\"", "\"cookie\"");
    let agent = uncommented(AGENT, &[], true);
    let fronts = [session, cookie].map(|all| (all, "config/vestibule.toml"));
    for (all, file) in fronts.into_iter().chain([(agent, "config/heartbeat.toml")]) {
        // a passthrough has this one for another affinity than the one that it has
        folder.write(file, &all.replace("policy = \"least-loaded\"\n", ""));
        let ended = folder.run(["check", "-c", file]);
        assert_eq!(ended.stdout, format!("{file}: no errors, no warnings\n"));
    }
}

#[test]
fn only_lines_that_set_something_are_uncommented() {
    let example =
        "# words = of a kind\n# Key = 1\n# key = 1\n\n# [[table]]\n# other = 2  # why\n\n# last = 3\n";
    let defaults = "words = of a kind\n# Key = 1\nkey = 1\n\n# [[table]]\n# other = 2  # why\n\nlast = 3\n";
    assert_eq!(uncommented(example, &[], false), defaults);
    let all = "words = of a kind\n# Key = 1\nkey = 1\n\n[[table]]\nother = 2  # why\n\n# last = 3\n";
    assert_eq!(uncommented(example, &["last"], true), all);
}
