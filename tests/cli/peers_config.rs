//! What a bad configuration gets of the other front doors.

use crate::front_config::{GATEWAY, LISTENER, assert_problems};
use crate::support::Folder;

const PASS: &str =
    "[heartbeat]\nca = \"certs/ca.pem\"\ncertificate = \"certs/front-a.pem\"\nkey = \"certs/front-a.key\"\n";
const PEERS: &str = "[peers]\nlisten = \"127.0.0.1:9465\"\nfront_doors = [\"https://127.0.0.2\"]\n";

#[test]
fn front_doors_that_know_of_each_other_need_their_certificates() {
    let folder = Folder::with_certificates();
    assert_problems(&folder, &format!("{LISTENER}{GATEWAY}{PASS}{PEERS}"), &[]);
    let missing = |key: &str| {
        format!(
            "v.toml:9:1: error: [peers] needs '{key}' in [heartbeat]: front doors show each other certificates of one authority"
        )
    };
    let all = ["certificate", "key", "ca"].map(missing);
    assert_problems(&folder, &format!("{LISTENER}{GATEWAY}{PEERS}"), &all.each_ref().map(String::as_str));
}

#[test]
fn what_leads_to_nobody_is_told() {
    let folder = Folder::with_certificates();
    assert_problems(
        &folder,
        &format!("{LISTENER}{GATEWAY}{PASS}[peers]\nfront_doors = []\n"),
        &[
            "v.toml:13:1: error: missing key 'listen' in [peers]: where the other front door asks this one, like \"192.0.2.1:9465\"",
            "v.toml:13:1: error: [peers] has no 'front_doors': where the others listen, like [\"https://192.0.2.2:9465\"]",
        ],
    );
    assert_problems(
        &folder,
        &format!(
            "{LISTENER}{GATEWAY}{PASS}[peers]\nlisten = \"127.0.0.1:9465\"\nfront_doors = [\"http://127.0.0.2:9465\", \
             \"https://127.0.0.1:9465\", \"https://127.0.0.3\", \"https://127.0.0.3:9465/\"]\nname = \"b\"\n"
        ),
        &[
            "v.toml:15:16: error: 'front_doors': must begin with https://, like \"https://192.0.2.2:9465\"",
            "v.toml:15:41: error: 'front_doors' has the address that this front door itself listens on; name only the others",
            "v.toml:15:88: error: 'front_doors' has 127.0.0.3:9465 twice; leave one of them out",
            "v.toml:16:1: error: unknown key 'name' in [peers]",
        ],
    );
}

#[test]
fn where_the_others_ask_nobody_else_does() {
    let folder = Folder::with_certificates();
    let at = |address: &str| {
        format!(
            "{LISTENER}{GATEWAY}{PASS}[peers]\nlisten = \"{address}\"\nfront_doors = [\"https://192.0.2.2\"]\n"
        )
    };
    assert_problems(
        &folder,
        &at("127.0.0.1:9463"),
        &["v.toml:14:10: error: [admin] has the address 127.0.0.1:9463; give [peers] another one"],
    );
    let vrrp =
        "[[vrrp]]\nvrrp_id = 31\nrole = \"master\"\ninterface = \"eth0\"\naddresses = [\"192.0.2.9/24\"]\n";
    assert_problems(
        &folder,
        &format!("{}{vrrp}", at("192.0.2.9:9465")).replace("127.0.0.1:8443", "192.0.2.9:8443"),
        &[
            "v.toml:14:10: error: 192.0.2.9 is a virtual address: the one who stands by would not be heard; listen on an address of this host",
        ],
    );
    let asked = at("127.0.0.1:9465").replace("https://192.0.2.2", "https://192.0.2.9");
    assert_problems(
        &folder,
        &format!("{asked}{vrrp}").replace("127.0.0.1:8443", "192.0.2.9:8443"),
        &[
            "v.toml:15:16: error: 192.0.2.9 is a virtual address: whoever has it would answer, which may be this front \
             door; name an address of the other host",
        ],
    );
}

#[test]
fn two_front_doors_in_failsafe_mode_that_do_not_know_of_each_other_are_warned_of() {
    let folder = Folder::with_certificates();
    let vrrp =
        "[[vrrp]]\nvrrp_id = 31\nrole = \"master\"\ninterface = \"eth0\"\naddresses = [\"192.0.2.9/24\"]\n";
    let failsafe = "[balance]\nmode = \"failsafe\"\n";
    let gateways = format!("{GATEWAY}{}", GATEWAY.replace("gw1", "gw2").replace("192.0.2.1", "192.0.2.2"));
    let listener = LISTENER.replace("127.0.0.1", "192.0.2.9");
    let text = format!("{listener}{gateways}{failsafe}{vrrp}");
    let line = text.lines().position(|line| line == "[[vrrp]]").unwrap() + 1;
    let warning = format!(
        "v.toml:{line}:1: warning: without [peers] the two front doors do not know of each other, and may name different gateways"
    );
    assert_problems(&folder, &text, &[&warning]);
}
