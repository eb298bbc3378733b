//! What a bad configuration gets of how native clients are answered.

use crate::front_config::{GATEWAY, LISTENER, assert_problems};
use crate::support::Folder;

const DVE: &str = "[dve]\nlisten = [\"127.0.0.1:4463\"]\nkeys = [\"certs/dve.key\"]\n";
const IKEV2: &str = "[ikev2_redirect]\nlisten = [\"127.0.0.1:500\", \"127.0.0.1:4500\"]\n";

#[test]
fn a_front_door_for_native_clients_needs_no_listener() {
    let folder = Folder::with_certificates();
    let native = format!("{GATEWAY}vpn_mode = \"native\"\nnative_endpoint = \"gw1.example.com\"\n");
    assert_problems(&folder, &format!("{native}{DVE}"), &[]);
    assert_problems(&folder, &format!("{native}{IKEV2}"), &[]);
    assert_problems(&folder, &format!("{LISTENER}{GATEWAY}{DVE}{IKEV2}"), &[]);
}

#[test]
fn what_native_clients_need_is_missed() {
    let folder = Folder::with_certificates();
    assert_problems(
        &folder,
        &format!("{LISTENER}{GATEWAY}[dve]\nlisten = []\n[ikev2_redirect]\n"),
        &[
            "v.toml:9:1: error: [dve] has no 'listen': where it answers, like [\"192.0.2.1:4463\"]",
            "v.toml:9:1: error: [dve] has no 'keys': the Ed25519 key that answers are signed with; make one with: openssl \
             genpkey -algorithm ed25519 -out dve.key (`vestibule certs init` makes one, too)",
            "v.toml:11:1: error: [ikev2_redirect] has no 'listen': where it answers, like [\"192.0.2.1:500\", \
             \"192.0.2.1:4500\"]",
        ],
    );
    assert_problems(
        &folder,
        &format!(
            "{LISTENER}{GATEWAY}[dve]\nlisten = [\"127.0.0.1\"]\nkeys = [\"certs/portal.key\", \"none.key\", \"certs/ca.pem\"]\n\
             ttl = \"2h\"\nanswers_per_second_per_source = 0\nkey = 1\n"
        ),
        &[
            "v.toml:10:11: error: 'listen': must be an address with its port, like \"192.0.2.1:443\" or \"[2001:db8::1]:443\"",
            "v.toml:11:9: error: certs/portal.key is not an Ed25519 private key (PKCS #8); `vestibule certs init` makes one, \
             or: openssl genpkey -algorithm ed25519",
            "v.toml:11:29: error: none.key cannot be read: no such file or directory",
            "v.toml:11:41: error: certs/ca.pem holds no private key",
            "v.toml:12:7: error: 'ttl' must be from 1s to 3600s",
            "v.toml:13:33: error: 'answers_per_second_per_source' must be from 1 to 1000000",
            "v.toml:14:1: error: unknown key 'key' in [dve]; did you mean 'keys'?",
        ],
    );
    assert_problems(
        &folder,
        &format!("{LISTENER}{GATEWAY}{DVE}ttl = \"1500ms\"\n"),
        &["v.toml:12:7: error: 'ttl' must be whole seconds: an answer counts in them"],
    );
}

#[test]
fn one_udp_address_answers_one_thing() {
    let folder = Folder::with_certificates();
    assert_problems(
        &folder,
        &format!(
            "{LISTENER}{GATEWAY}[dve]\nlisten = [\"127.0.0.1:500\", \"0.0.0.0:4500\", \"[::]:4500\"]\nkeys = [\"certs/dve.key\"]\n{IKEV2}"
        ),
        &[
            "v.toml:13:11: error: 'listen' has the UDP address 127.0.0.1:500 twice; leave one of them out",
            "v.toml:13:28: error: 127.0.0.1:4500 is part of 0.0.0.0:4500, which 'listen' has, too",
        ],
    );
}

#[test]
fn an_ikev2_redirect_names_a_host_that_is_somebody_else() {
    let folder = Folder::with_certificates();
    let gateway = |endpoint: &str| format!("{GATEWAY}vrrp_id = 7\nnative_endpoint = \"{endpoint}\"\n");
    assert_problems(
        &folder,
        &format!("{LISTENER}{}{IKEV2}vrrp_id = 8\n", gateway("127.0.0.1")),
        &[
            "v.toml:10:19: error: 'native_endpoint' 127.0.0.1 is an address of [ikev2_redirect]: clients would go in circles",
            "v.toml:13:11: error: no gateway with vpn_mode 'native' or 'both' has vrrp_id 8; no client is ever sent to one",
        ],
    );
    // wherever this host is
    let all = "[ikev2_redirect]\nlisten = [\"0.0.0.0:500\"]\n";
    let vrrp = "[[vrrp]]\nvrrp_id = 1\nrole = \"master\"\ninterface = \"eth0\"\naddresses = [\"192.0.2.1/24\", \"2001:db8::1/64\"]\n";
    for circle in ["127.0.0.9", "192.0.2.1"] {
        assert_problems(
            &folder,
            &format!("{LISTENER}{}{all}{vrrp}", gateway(circle)),
            &[
                &format!(
                    "v.toml:10:19: error: 'native_endpoint' {circle} is an address of [ikev2_redirect]: clients would go in circles"
                ),
                "v.toml:17:30: warning: nothing listens at the virtual address 2001:db8::1",
            ],
        );
    }
    for elsewhere in ["192.0.2.2", "[2001:db8::1]"] {
        assert_problems(
            &folder,
            &format!("{LISTENER}{}{all}{vrrp}", gateway(elsewhere)),
            &["v.toml:17:30: warning: nothing listens at the virtual address 2001:db8::1"],
        );
    }
    assert_problems(
        &folder,
        &format!("{LISTENER}{}{IKEV2}vrrp_id = 7\n", gateway("127.0.0.2:1194")),
        &[
            "v.toml:10:19: warning: an IKEv2 redirect names no port: clients go to 127.0.0.2 on 500 or 4500, and not to 1194",
        ],
    );
    assert_problems(
        &folder,
        &format!("{LISTENER}{}{IKEV2}", gateway("gw1.example.com:1194")),
        &[
            "v.toml:10:19: warning: an IKEv2 redirect names no port: clients go to gw1.example.com on 500 or 4500, and \
             not to 1194",
        ],
    );
    assert_problems(
        &folder,
        &format!("{LISTENER}{GATEWAY}vpn_mode = \"ssl\"\n{IKEV2}"),
        &["v.toml:10:1: error: no gateway has vpn_mode 'native' or 'both': nobody is ever sent to one"],
    );
}

#[test]
fn an_ikev2_redirect_has_gateways_that_native_clients_may_be_sent_to() {
    let folder = Folder::with_certificates();
    let none = "there is no [[gateway]]: there is nobody to send clients to; add one";
    assert_problems(&folder, &format!("{IKEV2}vrrp_id = 7\n"), &[&format!("v.toml:1:1: error: {none}")]);
    let gateway = |name: &str, mode: &str, id: u8| {
        format!("{}vpn_mode = \"{mode}\"\nvrrp_id = {id}\n", GATEWAY.replace("gw1", name))
    };
    let farm = gateway("gw1", "ssl", 7) + &gateway("gw2", "native", 8);
    assert_problems(
        &folder,
        &format!("{LISTENER}{farm}{IKEV2}vrrp_id = 7\n"),
        &[
            "v.toml:12:8: warning: gateway 'gw2' has vpn_mode 'native'; no listener sends anybody to it, and \
             [ikev2_redirect] has another vrrp_id",
            "v.toml:18:11: error: no gateway with vpn_mode 'native' or 'both' has vrrp_id 7; no client is ever sent to one",
        ],
    );
    let sent = "nobody is ever sent to it: there is no [[listener]] and no [dve], and [ikev2_redirect] is for gateways with \
                vpn_mode 'native' or 'both'";
    assert_problems(
        &folder,
        &format!("{farm}{IKEV2}"),
        &[&format!("v.toml:2:8: warning: gateway 'gw1' has vpn_mode 'ssl'; {sent}")],
    );
    assert_problems(
        &folder,
        &format!("{}{}{IKEV2}vrrp_id = 8\n", gateway("gw1", "both", 7), gateway("gw2", "both", 8)),
        &[&format!("v.toml:2:8: warning: gateway 'gw1' has vpn_mode 'both'; {sent}, and for vrrp_id 8")],
    );
    assert_problems(&folder, &format!("{farm}{DVE}{IKEV2}vrrp_id = 8\n"), &[]);
    // only DVE names it, with its port
    let other = gateway("gw4", "native", 7) + "native_endpoint = \"gw1.example.com:1194\"\n";
    let other = other + &gateway("gw3", "native", 7) + "native_endpoint = \"127.0.0.3:1194\"\n";
    assert_problems(&folder, &format!("{other}{farm}{DVE}{IKEV2}vrrp_id = 8\n"), &[]);
}
