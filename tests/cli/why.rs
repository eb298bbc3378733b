//! What the front door would choose, and one gateway whole, as the command line tells it.

use std::net::SocketAddr;

use crate::serve::Place;
use crate::support::{Ended, Running, connect, exchange, own_address, until};

fn run(place: &Place, words: &[&str]) -> Ended {
    place.folder.run(words.iter().chain(&["--admin", "admin.sock"]))
}

/// Three gateways, of which the last is down, and a proxy by turns and a passthrough by address beside the redirect.
fn place() -> (Place, Running) {
    let place = Place::new();
    let nobody = SocketAddr::from((own_address(), 9));
    let gateway = |name: &str, check: &dyn std::fmt::Display| {
        format!(
            "[[gateway]]\nname = \"{name}\"\nssl_endpoint = \"{name}.example.com\"\n[[gateway.check]]\nkind = \"tcp\"\n\
             address = \"{check}\"\n"
        )
    };
    let listener = |name: &str, mode: &str, port: u16, rest: &str| {
        let address = SocketAddr::new(place.door.ip(), port);
        format!("[[listener]]\nname = \"{name}\"\naddress = \"{address}\"\nmode = \"{mode}\"\n{rest}")
    };
    let port = || crate::support::free_port(own_address());
    let certificates = "certificates = [{ certificate = \"certs/portal.pem\", key = \"certs/portal.key\" }]\n[listener.proxy]\naffinity = \"none\"\n";
    let config = place.config();
    let (head, _) = config.split_once("[[gateway]]").unwrap();
    let config = head.to_owned()
        + &listener("by turns", "proxy", port(), certificates)
        + &listener("raw", "passthrough", port(), "")
        + &gateway("gw1", &place.gateway)
        + &gateway("gw2", &place.gateway)
        + &gateway("gw3", &nobody);
    place.configure(&config);
    let running = place.ready();
    until("the gateways are never known", || {
        let shown = run(&place, &["status"]).stdout;
        shown.contains("gw2      up") && shown.contains("gw3      down")
    });
    (place, running)
}

#[test]
fn why_tells_the_choice_of_each_listener() {
    let (place, _running) = place();
    let why = run(&place, &["why"]);
    assert_eq!((why.status, why.stderr.as_str()), (0, ""));
    let lines: Vec<_> = why.stdout.lines().collect();
    assert!(
        lines[0].contains(" would be chosen: it and gw") && lines[0].contains("chance has decided"),
        "{lines:#?}"
    );
    assert_eq!(lines[1], "Listener portal: redirect, SSL VPN, the lowest load first.");
    let gw3 = lines.iter().find(|line| line.contains("gw3")).unwrap();
    assert!(gw3.starts_with("-  gw3  ") && gw3.contains("left out: down: tcp: connection refused"), "{gw3}");

    // whose turn it is now is whose turn it then is
    let turn = run(&place, &["why", "--listener", "by turns"]).stdout;
    let again = run(&place, &["why", "--listener", "by turns"]).stdout;
    assert!(turn.contains(" would be chosen: it is its turn; then gw"), "{turn}");
    assert_eq!(turn.lines().next(), again.lines().next(), "asking changes nothing");

    let open = run(&place, &["why", "--listener", "raw"]);
    assert_eq!(open.status, 0);
    assert!(open.stdout.starts_with("The client's address decides: name a source"), "{}", open.stdout);
    let own = run(&place, &["why", "--listener", "raw", "--source", "203.0.113.7", "--format", "json"]);
    let document: serde_json::Value = serde_json::from_str(&own.stdout).unwrap();
    assert_eq!((&document["rule"], &document["source"]), (&"source".into(), &"203.0.113.7".into()));
    assert_eq!(document["chosen"], document["gateways"][0]["name"]);
    // the same from the endpoint itself
    let request = "GET /api/v1/why?listener=raw&vpn=&source=203.0.113.7 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = exchange(&mut connect(place.admin), request.as_bytes());
    let body: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!((&body["chosen"], &body["summary"]), (&document["chosen"], &document["summary"]));
}

#[test]
fn a_question_without_an_answer_is_told_with_what_to_do() {
    let (place, _running) = place();
    for (words, complaint) in [
        (
            &["--listener", "portl"][..],
            "error: there is no listener of that name; there are: portal, portal-http, by turns, raw\n",
        ),
        (
            &["--listener", "portal", "--vpn", "native"],
            "error: listener portal has ssl clients alone; leave vpn out, or name another listener\n",
        ),
        (
            &["--listener", "portal-http"],
            "error: listener portal-http sends everyone to the same place and chooses no gateway; name another one\n",
        ),
    ] {
        let ended = run(&place, &[&["why"], words].concat());
        assert_eq!((ended.status, ended.stdout.as_str(), ended.stderr.as_str()), (2, "", complaint));
    }
    assert_eq!(run(&place, &["why", "--source", "gw1"]).status, 2);
    for name in ["gw1", "gw2"] {
        assert_eq!(run(&place, &["drain", name, "--reason", "new kernel"]).status, 0);
    }
    let nobody = run(&place, &["why"]);
    assert_eq!(nobody.status, 1);
    assert!(
        nobody.stdout.starts_with(
            "No gateway would be chosen, and newcomers are turned away: gw1 (draining), gw2 (draining) and gw3 (down) \
             are left out.\n"
        ),
        "{}",
        nobody.stdout
    );
}

#[test]
fn one_gateway_is_shown_whole() {
    let (place, _running) = place();
    let well = run(&place, &["status", "gw1"]);
    assert_eq!((well.status, well.stderr.as_str()), (0, ""));
    assert!(well.stdout.contains("\nState            up for "), "{}", well.stdout);
    assert!(well.stdout.contains("\nSSL endpoint     gw1.example.com:443\n"), "{}", well.stdout);
    let down = run(&place, &["status", "gw3"]);
    assert_eq!(down.status, 1);
    assert!(down.stdout.contains(": tcp: connection refused\n"), "{}", down.stdout);
    assert!(
        down.stdout.lines().any(|line| line.starts_with("tcp") && line.contains("fail")),
        "{}",
        down.stdout
    );
    let json = run(&place, &["status", "gw3", "--format", "json"]);
    let gateway: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((json.status, &gateway["name"]), (1, &"gw3".into()));
    let nobody = run(&place, &["status", "gw9"]);
    assert_eq!((nobody.status, nobody.stdout.as_str()), (2, ""));
    assert_eq!(nobody.stderr, "error: there is no gateway of that name; there are: gw1, gw2, gw3\n");
}
