//! What is made for keepalived, and what keepalived asks.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::serve::Place;
use crate::support::{BINARY, Folder, Running, own_address};

const VRRP: &str = "[[vrrp]]\nvrrp_id = 31\nrole = \"backup\"\ninterface = \"nowhere0\"\n\
                    addresses = [\"192.0.2.1/24\"]\n";

const AGENT: &str = "[agent]\nname = \"gw1\"\nlisten = \"127.0.0.1:9464\"\n\
                     [[check]]\nkind = \"exec\"\ncommand = [\"true\"]\n";

#[test]
fn a_front_doors_addresses_become_a_keepalived_conf_that_says_how_it_is_made() {
    let place = Place::new();
    place.configure(&format!("{}{VRRP}", place.config()));
    let made = place.folder.run(["keepalived", "-c", "v.toml"]);
    assert_eq!(made.status, 0, "{}", made.stderr);
    let file = std::fs::canonicalize(place.folder.path()).unwrap().join("v.toml");
    let (binary, file) = (BINARY, file.display());
    let head = format!(
        "# Made by vestibule. Changes here are lost when it is made again:\n# {binary} keepalived -c {file}\n\n\
         global_defs {{\n"
    );
    assert!(made.stdout.starts_with(&head), "{}", made.stdout);
    assert!(made.stdout.contains(&format!("    script \"{binary} ready -c {file} --watch 850ms\"\n")));
    // and its owner, where this machine has the service
    assert!(made.stdout.contains("    vrrp_notify_fifo /run/vestibule/keepalived.fifo"));
    assert!(made.stdout.contains("    priority 240\n"));
    let warning = "warning: there is no interface 'nowhere0' on this host (vrrp_id 31)";
    assert_eq!(made.stderr.lines().last(), Some(warning));
}

#[test]
fn a_gateways_address_becomes_one_that_looks_at_the_agents_file() {
    let folder = Folder::new();
    let instance = VRRP.replace("[[vrrp]]", "[[vrrp.instance]]").replace("nowhere0", "lo");
    folder.write("h.toml", &format!("{AGENT}[vrrp]\ntrack_file = \"/run/fit\"\n{instance}"));
    let made = folder.run(["keepalived", "-c", "h.toml"]);
    assert_eq!((made.status, made.stderr.as_str()), (0, ""));
    assert!(made.stdout.contains("    router_id gw1\n"));
    assert!(made.stdout.contains("vrrp_track_file vestibule {\n    file \"/run/fit\"\n"));
    assert!(!made.stdout.contains("notify_fifo"));
    // for a front door on the same host
    folder.write("h.toml", &format!("{AGENT}[vrrp]\n{instance}notify_fifo = \"/run/fifo\"\n"));
    let made = folder.run(["keepalived", "-c", "h.toml"]);
    assert_eq!((made.status, made.stderr.as_str()), (0, ""));
    assert!(made.stdout.contains("    vrrp_notify_fifo /run/fifo\n"), "{}", made.stdout);
}

#[test]
fn where_nothing_is_shared_there_is_nothing_for_keepalived() {
    let place = Place::new();
    place.configure(&place.config());
    place.folder.write("h.toml", AGENT);
    place.folder.write("bad.toml", "[[vrrp]]\n");
    let nothing = |table: &str, file: &str| {
        format!("error: there is no {table} in {file}, so there is nothing for keepalived to do; add one\n")
    };
    for (file, expected) in
        [("v.toml", nothing("[[vrrp]]", "v.toml")), ("h.toml", nothing("[[vrrp.instance]]", "h.toml"))]
    {
        let ended = place.folder.run(["keepalived", "-c", file]);
        assert_eq!((ended.status, ended.stdout.as_str(), ended.stderr), (2, "", expected));
    }
    let ended = place.folder.run(["keepalived", "-c", "bad.toml"]);
    assert_eq!((ended.status, ended.stdout.as_str()), (2, ""));
    assert!(
        ended.stderr.contains("bad.toml:1:1: error: missing key 'vrrp_id' in [[vrrp]]"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_name_that_keepalived_would_misread_is_refused() {
    let folder = Folder::new();
    let agent = AGENT.replace("gw1", "gw 1 {");
    folder.write("h.toml", &format!("{agent}[vrrp]\n{}", VRRP.replace("[[vrrp]]", "[[vrrp.instance]]")));
    let ended = folder.run(["keepalived", "-c", "h.toml"]);
    assert_eq!((ended.status, ended.stdout.as_str()), (2, ""));
    let words = "error: the name 'gw 1 {' cannot stand in keepalived.conf; use letters, digits and any of /._-+,=: alone\n";
    assert_eq!(ended.stderr, words);
}

#[test]
fn a_front_door_says_whether_it_is_fit_and_why_not() {
    let place = Place::new();
    place.configure(&place.config());
    let ready = || place.folder.run(["ready", "-c", "v.toml"]);
    let nobody = "no front door answers on admin.sock; is it running?\n".to_owned();
    let ended = ready();
    assert_eq!((ended.status, ended.stdout.as_str(), ended.stderr), (1, "", nobody.clone()));
    let front = place.ready();
    let ended = ready();
    assert_eq!((ended.status, ended.stdout.as_str(), ended.stderr.as_str()), (0, "", ""));
    // whoever edits the file meanwhile takes no address away
    let config = std::fs::read_to_string(place.folder.join("v.toml")).unwrap();
    place.folder.write("v.toml", &format!("{config}\n[[gateway\n"));
    assert_eq!(ready().status, 0);
    place.folder.write("v.toml", &config);

    let start = Instant::now();
    assert_eq!(place.folder.run(["ready", "-c", "v.toml", "--watch", "700ms"]).status, 0);
    assert!(start.elapsed() >= Duration::from_millis(700), "{:?}", start.elapsed());
    let watching = Running::start(place.folder.command(["ready", "-c", "v.toml", "--watch", "60s"]));
    std::thread::sleep(Duration::from_millis(500));
    let start = Instant::now();
    drop(front);
    let ended = watching.wait();
    assert_eq!((ended.status, ended.stderr), (1, nobody));
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
fn without_an_available_gateway_a_front_door_is_not_fit() {
    let place = Place::new();
    let nobody = SocketAddr::from((own_address(), 9));
    place.configure(&place.config().replace(&place.gateway.to_string(), &nobody.to_string()));
    let _front = place.ready();
    let ended = place.folder.run(["ready", "-c", "v.toml"]);
    assert_eq!((ended.status, ended.stdout.as_str()), (1, ""));
    assert!(ended.stderr.contains("has no available gateway (gw1: "), "{}", ended.stderr);
}
