//! What a bad configuration of a proxy or a passthrough gets.

use rustix::process::Signal;

use crate::front_config::{GATEWAY, LISTENER, assert_problems};
use crate::support::{Folder, Running, accept_all, free_port, own_address};

/// A proxy with these keys in a table that begins at line 6; its gateway stands behind it.
fn proxy(keys: &str) -> String {
    let listener = LISTENER.replace("\"redirect\"", "\"proxy\"");
    format!("{listener}[listener.proxy]\n{keys}{GATEWAY}upstream = \"10.0.0.1:8080\"\n")
}

/// A passthrough with these keys in a table that begins at line 5.
fn passthrough(keys: &str) -> String {
    let (head, _) = LISTENER.split_once("certificates").unwrap();
    let head = head.replace("\"redirect\"", "\"passthrough\"");
    format!("{head}[listener.passthrough]\n{keys}{GATEWAY}")
}

/// One more gateway.
fn another(name: &str) -> String {
    GATEWAY.replace("gw1", name) + "upstream = \"10.0.0.2:8080\"\n"
}

#[test]
fn a_proxy_and_a_passthrough_that_are_as_they_should_be_have_no_problems() {
    let folder = Folder::with_certificates();
    assert_problems(&folder, &proxy(""), &[]);
    assert_problems(&folder, &passthrough(""), &[]);
    let all = "policy = \"least-loaded\"\naffinity = \"cookie\"\naffinity_cookie = \"__Host-v\"\nretries = 0\n\
               trusted_proxies = [\"10.0.0.0/8\", \"2001:db8::1\"]\naccept_proxy_protocol = true\n\
               upstream_tls = { ca = \"certs/ca.pem\" }\n";
    assert_problems(&folder, &format!("{}{}", proxy(all), another("gw2")), &[]);
    let all = "server_names = [\"vpn.example.com\", \"*.EXAMPLE.com\"]\n\
               trusted_proxies = [\"10.0.0.1\"]\naccept_proxy_protocol = true\nsend_proxy_protocol = \"v2\"\n";
    assert_problems(&folder, &format!("{}{}", passthrough(all), another("gw2")), &[]);
}

#[test]
fn a_table_stands_with_the_mode_that_it_is_for() {
    let folder = Folder::with_certificates();
    let redirect = "[listener.redirect] is for the modes 'redirect' and 'https-upgrade'";
    let (head, _) = LISTENER.split_once("certificates").unwrap();
    assert_problems(
        &folder,
        &format!("{LISTENER}[listener.proxy]\n[listener.passthrough]\n{GATEWAY}"),
        &[
            "v.toml:6:1: error: [listener.proxy] is for mode 'proxy'",
            "v.toml:7:1: error: [listener.passthrough] is for mode 'passthrough'",
        ],
    );
    assert_problems(
        &folder,
        &proxy("[listener.passthrough]\n[listener.redirect]\n"),
        &[
            "v.toml:7:1: error: [listener.passthrough] is for mode 'passthrough'",
            &format!("v.toml:8:1: error: {redirect}"),
        ],
    );
    assert_problems(
        &folder,
        &passthrough("[listener.proxy]\n[listener.redirect]\n"),
        &[
            "v.toml:6:1: error: [listener.proxy] is for mode 'proxy'",
            &format!("v.toml:7:1: error: {redirect}"),
        ],
    );
    // which mode it was to be is not known
    assert_problems(
        &folder,
        &format!("{}[listener.proxy]\n{GATEWAY}", LISTENER.replace("\"redirect\"", "\"proxi\"")),
        &["v.toml:4:8: error: 'mode' cannot be 'proxi'; it is one of 'redirect', 'proxy', 'passthrough', \
           'https-upgrade'"],
    );
    assert_problems(
        &folder,
        &format!("{}{GATEWAY}", LISTENER.replace("\"redirect\"", "\"passthrough\"")),
        &[
            "v.toml:1:1: error: 'certificates' is not for mode 'passthrough', which leaves TLS to the gateways",
        ],
    );
    assert_problems(
        &folder,
        &format!("{}{GATEWAY}upstream = \"10.0.0.1:80\"\n", head.replace("\"redirect\"", "\"proxy\"")),
        &[
            "v.toml:1:1: error: missing key 'certificates' in [[listener]]; for a trial make some with: vestibule \
           certs init --dir certs --name HOST",
        ],
    );
}

#[test]
fn what_a_proxy_does_not_know_is_told_with_what_it_knows() {
    let folder = Folder::with_certificates();
    assert_problems(
        &folder,
        &proxy(
            "policy = \"random\"\naffinity = \"sticky\"\nforwarded = \"xff\"\nsend_proxy_protocol = \"v3\"\n\
             retrys = 1\nupstream_tls = { verify = \"all\", sni = \"a\" }\nserver_names = []\n",
        ),
        &[
            "v.toml:7:10: error: 'policy' cannot be 'random'; it is one of 'round-robin', 'least-loaded'",
            "v.toml:8:12: error: 'affinity' cannot be 'sticky'; it is one of 'none', 'source-address', 'session', \
             'cookie'",
            "v.toml:9:13: error: 'forwarded' cannot be 'xff'; it is one of 'x-forwarded', 'rfc7239', 'both', 'none'",
            "v.toml:10:23: error: 'send_proxy_protocol' cannot be 'v3'; it is one of 'none', 'v1', 'v2'",
            "v.toml:11:1: error: unknown key 'retrys' in [listener.proxy]; did you mean 'retries'?",
            "v.toml:12:27: error: 'verify' cannot be 'all'; it is one of 'none', 'ca'",
            "v.toml:12:34: error: unknown key 'sni' in upstream_tls",
            "v.toml:13:1: error: unknown key 'server_names' in [listener.proxy]",
        ],
    );
    assert_problems(
        &folder,
        &passthrough("affinity = \"session\"\nretries = 1\nupstream_tls = {}\n"),
        &[
            "v.toml:6:12: error: 'affinity' cannot be 'session'; it is one of 'none', 'source-address'",
            "v.toml:7:1: error: unknown key 'retries' in [listener.passthrough]",
            "v.toml:8:1: error: unknown key 'upstream_tls' in [listener.passthrough]",
        ],
    );
}

#[test]
fn numbers_and_times_have_their_ranges() {
    let folder = Folder::with_certificates();
    assert_problems(
        &folder,
        &proxy(
            "persistent_connections = 1\nidle_per_gateway = 0\nconnect_timeout = \"5m\"\n\
             response_timeout = \"1ms\"\ntunnel_idle_timeout = \"8d\"\nretries = 11\n\
             accept_proxy_protocol = \"yes\"\n",
        ),
        &[
            "v.toml:7:26: error: 'persistent_connections' must be true or false",
            "v.toml:8:20: error: 'idle_per_gateway' must be from 1 to 10000",
            "v.toml:9:19: error: 'connect_timeout' must be from 10ms to 60s",
            "v.toml:10:20: error: 'response_timeout' must be from 100ms to 86400s",
            "v.toml:11:23: error: 'tunnel_idle_timeout' must be from 1s to 604800s",
            "v.toml:12:11: error: 'retries' must be from 0 to 10",
            "v.toml:13:25: error: 'accept_proxy_protocol' must be true or false",
        ],
    );
}

#[test]
fn cookies_have_names_and_an_effect_only_with_their_affinity() {
    let folder = Folder::with_certificates();
    let name = "must be the name of a cookie (letters, digits and !#$%&'*+-.^_`|~)";
    assert_problems(
        &folder,
        &proxy("affinity = \"cookie\"\naffinity_cookie = \"a b\"\n"),
        &[&format!("v.toml:8:19: error: 'affinity_cookie': {name}")],
    );
    assert_problems(
        &folder,
        &proxy("session_cookies = [\"webvpn\", \"a=b\", 5]\n"),
        &[
            &format!("v.toml:7:30: error: 'session_cookies': {name}"),
            "v.toml:7:37: error: 'session_cookies' must be a text in quotes",
        ],
    );
    assert_problems(
        &folder,
        &proxy("session_cookies = []\n"),
        &["v.toml:7:19: error: 'session_cookies' must not be empty"],
    );
    assert_problems(
        &folder,
        &proxy("affinity_cookie = \"v\"\n"),
        &["v.toml:7:19: warning: 'affinity_cookie' has no effect without affinity = \"cookie\""],
    );
    assert_problems(
        &folder,
        &proxy("affinity = \"source-address\"\nsession_cookies = [\"sid\"]\n"),
        &["v.toml:8:19: warning: 'session_cookies' has no effect without affinity = \"session\""],
    );
}

#[test]
fn a_cookie_of_our_own_is_none_that_gateways_set() {
    let folder = Folder::with_certificates();
    for name in ["webvpn", "webvpncontext", "JSESSIONID"] {
        let told = format!(
            "v.toml:8:19: error: 'affinity_cookie' cannot be '{name}': that is the name of a gateway's session cookie, \
             which ours would replace"
        );
        let keys = format!("affinity = \"cookie\"\naffinity_cookie = \"{name}\"\n");
        assert_problems(&folder, &proxy(&keys), &[&told]);
    }
    assert_problems(
        &folder,
        &proxy("session_cookies = [\"sid\"]\naffinity_cookie = \"sid\"\n"),
        &[
            "v.toml:8:19: warning: 'affinity_cookie' has no effect without affinity = \"cookie\"",
            "v.toml:8:19: error: 'affinity_cookie' cannot be 'sid': that is the name of a gateway's session cookie, \
             which ours would replace",
        ],
    );
}

#[test]
fn a_policy_has_no_effect_where_the_address_chooses() {
    let folder = Folder::with_certificates();
    let told = "warning: 'policy' has no effect with affinity = \"source-address\", which chooses by the address alone";
    let keys = "affinity = \"source-address\"\npolicy = \"round-robin\"\n";
    assert_problems(&folder, &proxy(keys), &[&format!("v.toml:8:10: {told}")]);
    assert_problems(&folder, &passthrough(keys), &[&format!("v.toml:7:10: {told}")]);
    // that is what a passthrough does where nothing is said
    let keys = "policy = \"round-robin\"\n";
    assert_problems(&folder, &passthrough(keys), &[&format!("v.toml:6:10: {told}")]);
    assert_problems(&folder, &proxy(keys), &[]);
    assert_problems(&folder, &passthrough("affinity = \"none\"\npolicy = \"round-robin\"\n"), &[]);
}

#[test]
fn the_word_of_others_is_taken_only_from_those_who_are_named() {
    let folder = Folder::with_certificates();
    let needed = "'accept_proxy_protocol' needs 'trusted_proxies': without them no header would be believed";
    for trusted in ["", "trusted_proxies = []\n"] {
        let keys = format!("accept_proxy_protocol = true\n{trusted}");
        assert_problems(&folder, &proxy(&keys), &[&format!("v.toml:7:25: error: {needed}")]);
        assert_problems(&folder, &passthrough(&keys), &[&format!("v.toml:6:25: error: {needed}")]);
    }
    assert_problems(
        &folder,
        &proxy("trusted_proxies = [\"10.0.0.0/8\", \"proxy.example.com\", \"10.0.0.0/40\"]\n"),
        &[
            "v.toml:7:34: error: 'trusted_proxies': must be a network or an address, like \"10.0.0.0/8\" or \
             \"2001:db8::1\"",
            "v.toml:7:55: error: 'trusted_proxies': must be a network or an address, like \"10.0.0.0/8\" or \
             \"2001:db8::1\"",
        ],
    );
    assert_problems(
        &folder,
        &proxy("trusted_proxies = [\"10.0.0.1\", \"0.0.0.0/0\", \"::/0\"]\n"),
        &[
            "v.toml:7:32: warning: 'trusted_proxies' 0.0.0.0/0 is everybody: any client could claim to be at any \
             address",
            "v.toml:7:45: warning: 'trusted_proxies' ::/0 is everybody: any client could claim to be at any address",
        ],
    );
    // a proxy takes their X-Forwarded-For, too
    assert_problems(
        &folder,
        &passthrough("trusted_proxies = [\"10.0.0.1\"]\n"),
        &[
            "v.toml:6:19: warning: without accept_proxy_protocol 'trusted_proxies' does no more than free them of connections_per_source",
        ],
    );
}

#[test]
fn kept_connections_are_counted_only_where_they_are_kept() {
    let folder = Folder::with_certificates();
    assert_problems(
        &folder,
        &proxy("persistent_connections = false\nidle_per_gateway = 5\n"),
        &["v.toml:8:20: warning: 'idle_per_gateway' has no effect without persistent_connections"],
    );
}

#[test]
fn tls_to_gateways_says_whom_it_trusts() {
    let folder = Folder::with_certificates();
    assert_problems(
        &folder,
        &proxy("upstream_tls = { ca = \"none.pem\", server_name = \"a b\" }\n"),
        &[
            "v.toml:7:23: error: none.pem cannot be read: no such file or directory",
            "v.toml:7:49: error: 'server_name' must be a host name or an address",
        ],
    );
    assert_problems(
        &folder,
        &proxy("upstream_tls = { verify = \"none\", ca = \"certs/ca.pem\" }\n"),
        &["v.toml:7:40: error: 'ca' has no effect without verify = \"ca\""],
    );
    for good in ["{ verify = \"none\" }", "{ ca = \"certs/ca.pem\", server_name = \"vpn.example.com\" }"] {
        assert_problems(&folder, &proxy(&format!("upstream_tls = {good}\n")), &[]);
    }
}

#[test]
fn plain_http_to_the_port_of_https_is_worth_a_warning() {
    let folder = Folder::with_certificates();
    let plain = "gateway 'gw1' is spoken to in plain HTTP on gw1.example.com:443, a port where TLS is usual; set \
                 'upstream_tls' in [listener.proxy]";
    let listener = LISTENER.replace("\"redirect\"", "\"proxy\"");
    assert_problems(&folder, &format!("{listener}{GATEWAY}"), &[&format!("v.toml:1:1: warning: {plain}")]);
    assert_problems(
        &folder,
        &proxy("").replace("10.0.0.1:8080", "gw1.example.com"),
        &[&format!("v.toml:6:1: warning: {plain}")],
    );
    // who is no candidate is not spoken to
    let native = GATEWAY.replace("gw1", "gw2") + "vpn_mode = \"native\"\n";
    assert_problems(
        &folder,
        &format!("{}{native}", proxy("")),
        &[
            "v.toml:12:8: warning: gateway 'gw2' has vpn_mode 'native'; no listener sends anybody to it, and there is no \
             [dve] and no [ikev2_redirect]",
        ],
    );
}

#[test]
fn names_that_are_let_through_are_names_of_hosts() {
    let folder = Folder::with_certificates();
    let name = "must be a host name, or '*.' and a domain, like \"vpn.example.com\" or \"*.example.com\"";
    assert_problems(
        &folder,
        &passthrough("server_names = [\"vpn.example.com\", \"192.0.2.1\", \"*\"]\n"),
        &[
            &format!("v.toml:6:36: error: 'server_names': {name}"),
            &format!("v.toml:6:49: error: 'server_names': {name}"),
        ],
    );
}

#[test]
fn an_upstream_is_a_host_and_not_this_front_door() {
    let folder = Folder::with_certificates();
    assert_problems(
        &folder,
        &proxy("").replace("10.0.0.1:8080", "https://10.0.0.1"),
        &[
            "v.toml:10:12: error: 'upstream': must be a host with or without a port, like \"192.0.2.1:443\", and not \
           a URL",
        ],
    );
    let circle = "is a listener of this front door: clients would go in circles";
    assert_problems(
        &folder,
        &proxy("").replace("10.0.0.1:8080", "127.0.0.1:8443"),
        &[&format!("v.toml:10:12: error: 'upstream' 127.0.0.1:8443 {circle}")],
    );
    // all addresses of a port: loopback is among them
    assert_problems(
        &folder,
        &proxy("")
            .replace("\"127.0.0.1:8443\"", "\"0.0.0.0:8443\"")
            .replace("10.0.0.1:8080", "127.0.0.1:8443"),
        &[&format!("v.toml:10:12: error: 'upstream' 127.0.0.1:8443 {circle}")],
    );
    // told once where the one is the other
    assert_problems(
        &folder,
        &passthrough("").replace("gw1.example.com", "127.0.0.1:8443"),
        &[&format!("v.toml:8:16: error: 'ssl_endpoint' 127.0.0.1:8443 {circle}")],
    );
}

/// What is said of a proxy that leads a client's requests to any of two gateways.
const SCATTERED: &str = "without affinity each request may go to another one of 2 gateways: a VPN client's login \
                         takes several requests and its tunnel one more (CONNECT), all to the same gateway, so \
                         that the login breaks at /auth; use affinity 'session' or 'source-address'";

#[test]
fn a_proxy_that_breaks_every_login_is_refused_by_check() {
    let folder = Folder::with_certificates();
    for policy in ["round-robin", "least-loaded"] {
        let two = |keys: &str| format!("{}{}", proxy(keys), another("gw2"));
        let scattered = format!("policy = \"{policy}\"\naffinity = \"none\"\n");
        let (status, printed) = folder.check("v.toml", &two(&scattered));
        let expected =
            format!("v.toml:8:12: warning: {SCATTERED}\nv.toml: no errors, 1 warning, which check refuses\n");
        assert_eq!((status, printed), (1, expected));
        let keys = format!("policy = \"{policy}\"\naffinity = \"session\"\n");
        assert_problems(&folder, &two(&keys), &[]);
        assert_problems(&folder, &two("affinity = \"source-address\"\n"), &[]);
        // there is one alone, or one alone for this listener
        assert_problems(&folder, &proxy(&scattered), &[]);
        let native = format!("{}vpn_mode = \"native\"\n", two(&scattered));
        assert_problems(
            &folder,
            &native,
            &[
                "v.toml:14:8: warning: gateway 'gw2' has vpn_mode 'native'; no listener sends anybody to it, and there is no \
             [dve] and no [ikev2_redirect]",
            ],
        );
    }
}

#[test]
fn what_check_refuses_is_told_among_other_warnings_and_to_programs() {
    let folder = Folder::with_certificates();
    let keys = "affinity = \"none\"\naffinity_cookie = \"v\"\n";
    let (status, printed) = folder.check("v.toml", &format!("{}{}", proxy(keys), another("gw2")));
    let expected = format!(
        "v.toml:7:12: warning: {SCATTERED}\n\
         v.toml:8:19: warning: 'affinity_cookie' has no effect without affinity = \"cookie\"\n\
         v.toml: no errors, 2 warnings, 1 of which check refuses\n"
    );
    assert_eq!((status, printed), (1, expected));
    let ended = folder.run(["check", "-c", "v.toml", "--format", "json"]);
    assert_eq!((ended.status, ended.stderr.as_str()), (1, ""));
    let printed: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(printed["refused"], true);
    assert_eq!((&printed["errors"], &printed["warnings"]), (&0.into(), &2.into()));
    let told =
        |n: usize| (printed["problems"][n]["severity"].clone(), printed["problems"][n]["refused"].clone());
    assert_eq!(told(0), ("warning".into(), true.into()));
    assert_eq!(told(1), ("warning".into(), false.into()));
}

#[test]
fn serve_starts_with_what_check_refuses_and_says_so() {
    let folder = Folder::with_certificates();
    let address = own_address();
    let (door, admin, gateway) = (free_port(address), free_port(address), accept_all(address));
    let check = format!("[[gateway.check]]\nkind = \"tcp\"\naddress = \"{gateway}\"\n");
    let content = format!(
        "[node]\nstate_dir = \"\"\n[admin]\nlisten = \"{address}:{admin}\"\nsocket = \"\"\n{}{check}{}{check}",
        proxy("affinity = \"none\"\n").replace("127.0.0.1:8443", &format!("{address}:{door}")),
        another("gw2"),
    );
    folder.write("v.toml", &content);
    let running = Running::start(folder.command(["serve", "-c", "v.toml"]));
    running.wait_for("the front door is ready");
    running.signal(Signal::TERM);
    let ended = running.wait();
    assert_eq!(ended.status, 0);
    let told = format!("WARN v.toml:12:12: warning: {SCATTERED}");
    assert!(ended.stderr.contains(&told), "{}", ended.stderr);
}

#[test]
fn a_passthrough_that_breaks_reconnects_is_worth_a_warning() {
    let folder = Folder::with_certificates();
    let scattered = passthrough("affinity = \"none\"\n");
    assert_problems(
        &folder,
        &format!("{scattered}{}", another("gw2")),
        &[
            "v.toml:6:12: warning: without affinity each connection may go to another one of 2 gateways: a VPN client \
           whose connection has broken does not get its session back there; use affinity 'source-address'",
        ],
    );
    assert_problems(&folder, &scattered, &[]);
    assert_problems(&folder, &format!("{}{}", passthrough(""), another("gw2")), &[]);
}

#[test]
fn a_cookie_of_our_own_for_vpn_clients_is_worth_a_warning() {
    let folder = Folder::with_certificates();
    let cookie = proxy("affinity = \"cookie\"\n") + "preset = \"ocserv\"\n";
    assert_problems(
        &folder,
        &format!("{cookie}{}", another("gw2")),
        &[
            "v.toml:7:12: warning: VPN clients do not bring 'VESTIBULE' back when they open their tunnel, which may \
             then reach another gateway; affinity 'cookie' is for browsers, 'session' is for both",
        ],
    );
    assert_problems(&folder, &cookie, &[]);
}
