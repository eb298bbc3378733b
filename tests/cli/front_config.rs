//! What a bad configuration of a front door gets: its whole text, and what it ends with.

use rcgen::{CertificateParams, KeyPair};
use time::{Duration, OffsetDateTime};

use crate::support::Folder;

/// A listener that is as it should be; line 1 to 5 of a file that begins with it.
pub const LISTENER: &str = r#"[[listener]]
name = "portal"
address = "127.0.0.1:8443"
mode = "redirect"
certificates = [{ certificate = "certs/portal.pem", key = "certs/portal.key" }]
"#;

/// A gateway that is as it should be; line 6 to 8 after the listener.
pub const GATEWAY: &str = r#"[[gateway]]
name = "gw1"
ssl_endpoint = "gw1.example.com"
"#;

/// Checks the file `v.toml` with this content, which has to have exactly these problems.
#[track_caller]
pub fn assert_problems(folder: &Folder, content: &str, problems: &[&str]) {
    let (status, printed) = folder.check("v.toml", content);
    let (total, told) = {
        let lines: Vec<_> = printed.lines().collect();
        let (total, told) = lines.split_last().unwrap();
        (total.to_string(), told.iter().map(|line| line.to_string()).collect::<Vec<_>>())
    };
    assert_eq!(told, problems, "of:\n{content}");
    let errors = problems.iter().filter(|problem| problem.contains(": error: ")).count();
    let count = |n, noun| match n {
        0 => format!("no {noun}s"),
        1 => format!("1 {noun}"),
        n => format!("{n} {noun}s"),
    };
    let warnings = problems.len() - errors;
    assert_eq!(total, format!("v.toml: {}, {}", count(errors, "error"), count(warnings, "warning")));
    assert_eq!(status, i32::from(errors > 0));
}

#[test]
fn a_good_configuration_has_no_problems() {
    let folder = Folder::with_certificates();
    assert_problems(&folder, &format!("{LISTENER}{GATEWAY}"), &[]);
}

#[test]
fn an_unknown_key_is_told_with_the_nearest_known_one() {
    let folder = Folder::with_certificates();
    assert_problems(
        &folder,
        &format!("{LISTENER}{GATEWAY}vrrpid = 3\ncolour = \"red\"\n[balanse]\n"),
        &[
            "v.toml:9:1: error: unknown key 'vrrpid' in [[gateway]]; did you mean 'vrrp_id'?",
            "v.toml:10:1: error: unknown key 'colour' in [[gateway]]",
            "v.toml:11:2: error: unknown key 'balanse' in the file; did you mean 'balance'?",
        ],
    );
    assert_problems(
        &folder,
        &format!("[node]\nnmae = \"a\"\n{LISTENER}[listener.limits]\nconections = 5\n{GATEWAY}"),
        &[
            "v.toml:2:1: error: unknown key 'nmae' in [node]; did you mean 'name'?",
            "v.toml:9:1: error: unknown key 'conections' in [listener.limits]; did you mean 'connections'?",
        ],
    );
    // neither line ends nor a byte order mark move the place
    let content = format!("\u{feff}{LISTENER}{GATEWAY}vrrpid = 3\n").replace('\n', "\r\n");
    let problem = "v.toml:9:1: error: unknown key 'vrrpid' in [[gateway]]; did you mean 'vrrp_id'?";
    assert_problems(&folder, &content, &[problem]);
}

#[test]
fn an_unknown_word_is_told_with_all_known_ones() {
    let folder = Folder::with_certificates();
    let listener = LISTENER.replace("\"redirect\"", "\"redirct\"");
    assert_problems(
        &folder,
        &format!(
            "{listener}{GATEWAY}vpn_mode = \"all\"\npreset = \"cisco\"\n[balance]\nmode = \"round-robin\"\n\
             [health]\nwhen_none_available = \"reject\"\n[log]\nlevel = \"verbose\"\nformat = \"xml\"\n"
        ),
        &[
            "v.toml:4:8: error: 'mode' cannot be 'redirct'; it is one of 'redirect', 'proxy', 'passthrough', \
             'https-upgrade'",
            "v.toml:9:12: error: 'vpn_mode' cannot be 'all'; it is one of 'native', 'ssl', 'both', 'vrrp-only'",
            "v.toml:10:10: error: 'preset' cannot be 'cisco'; it is one of 'ocserv', 'novell', 'none'",
            "v.toml:12:8: error: 'mode' cannot be 'round-robin'; it is one of 'load-balancing', 'failsafe'",
            "v.toml:14:23: error: 'when_none_available' cannot be 'reject'; it is one of 'refuse', \
             'last-known-good', 'any'",
            "v.toml:16:9: error: 'level' cannot be 'verbose'; it is one of 'error', 'warn', 'info', 'debug', 'trace'",
            "v.toml:17:10: error: 'format' cannot be 'xml'; it is one of 'text', 'json'",
        ],
    );
}

#[test]
fn a_port_is_from_1_to_65535() {
    let folder = Folder::with_certificates();
    for (port, problem) in [
        ("8443", None),
        ("70000", Some("port 70000 is out of range; the port must be from 1 to 65535")),
        ("0", Some("the port must be from 1 to 65535")),
        ("", Some("must be an address with its port, like \"192.0.2.1:443\" or \"[2001:db8::1]:443\"")),
        ("https", Some("must be an address with its port, like \"192.0.2.1:443\" or \"[2001:db8::1]:443\"")),
    ] {
        let content = format!("{}{GATEWAY}", LISTENER.replace("8443", port));
        let problem = problem.map(|problem| format!("v.toml:3:11: error: 'address': {problem}"));
        assert_problems(&folder, &content, problem.as_deref().as_slice());
    }
    let mapped = LISTENER.replace("127.0.0.1", "[::ffff:127.0.0.1]");
    assert_problems(
        &folder,
        &format!("{mapped}{GATEWAY}"),
        &["v.toml:3:11: error: 'address': [::ffff:127.0.0.1]:8443 is an IPv4 address; write 127.0.0.1:8443"],
    );
    for (endpoint, problem) in [
        ("gw1.example.com:65536", "the port must be a number from 1 to 65535"),
        ("2001:db8::1", "an IPv6 address must stand in brackets, like [2001:db8::1]:443"),
        (
            "https://gw1.example.com",
            "must be a host with or without a port, like \"192.0.2.1:443\", and not a URL",
        ),
        ("gw1:443/path", "must end after the host or its port; a path has no place here"),
        ("gw_1", "the host must be an address or a host name (letters, digits, hyphens and dots)"),
    ] {
        let content = format!("{LISTENER}{}", GATEWAY.replace("gw1.example.com", endpoint));
        let problem = format!("v.toml:8:16: error: 'ssl_endpoint': {problem}");
        assert_problems(&folder, &content, &[&problem]);
    }
}

#[test]
fn names_and_addresses_are_there_once() {
    let folder = Folder::with_certificates();
    assert_problems(
        &folder,
        &format!("{LISTENER}{LISTENER}{GATEWAY}{GATEWAY}"),
        &[
            "v.toml:7:8: error: two listeners are named 'portal'; give one of them another name",
            "v.toml:8:11: error: two listeners have the address 127.0.0.1:8443; one address has one listener",
            "v.toml:15:8: error: two gateways are named 'gw1'; give one of them another name",
        ],
    );
}

#[test]
fn no_listener_has_an_address_that_another_socket_of_ours_has_too() {
    let folder = Folder::with_certificates();
    let other = LISTENER.replace("portal\"", "other\"");
    let all = other.replace("127.0.0.1:8443", "0.0.0.0:8443");
    assert_problems(
        &folder,
        &format!("{LISTENER}{all}{GATEWAY}"),
        &["v.toml:3:11: error: 127.0.0.1:8443 is part of 0.0.0.0:8443, which another listener has"],
    );
    assert_problems(
        &folder,
        &format!("{}{GATEWAY}", LISTENER.replace("8443", "9463")),
        &["v.toml:3:11: error: the admin endpoint has the address 127.0.0.1:9463 ([admin] listen)"],
    );
}

#[test]
fn a_checks_name_is_its_own_and_a_preset_gives_way_to_checks() {
    let folder = Folder::with_certificates();
    let check = |name: &str| format!("[[gateway.check]]\nkind = \"tcp\"\nname = \"{name}\"\n");
    let preset = GATEWAY.replace("[[gateway]]\n", "[[gateway]]\npreset = \"ocserv\"\n");
    assert_problems(
        &folder,
        &format!("{LISTENER}{preset}{}{}{}", check("a"), check("a"), check("heartbeat")),
        &[
            "v.toml:10:1: warning: the checks given here replace the one of 'preset', which has no effect",
            "v.toml:15:8: error: two checks are named 'a'; give one of them another name",
            "v.toml:18:8: error: 'heartbeat' is the name of the agent's answer; give this check another name",
        ],
    );
}

#[test]
fn a_vrrp_id_is_from_1_to_255_and_ties_listeners_to_gateways() {
    let folder = Folder::with_certificates();
    assert_problems(
        &folder,
        &format!("{LISTENER}vrrp_id = 0\n{GATEWAY}vrrp_id = 256\n"),
        &[
            "v.toml:6:11: error: 'vrrp_id' must be from 1 to 255",
            "v.toml:10:11: error: 'vrrp_id' must be from 1 to 255",
        ],
    );
    assert_problems(
        &folder,
        &format!("{LISTENER}vrrp_id = 31\n{GATEWAY}vrrp_id = 32\n"),
        &[
            "v.toml:6:11: error: no gateway has vrrp_id 31; this listener could never choose one",
            "v.toml:8:8: warning: no listener has the vrrp_id of gateway 'gw1'; nobody is ever sent to it",
        ],
    );
    assert_problems(&folder, &format!("{LISTENER}vrrp_id = 255\n{GATEWAY}vrrp_id = 255\n"), &[]);
    // a listener without one takes all
    assert_problems(&folder, &format!("{LISTENER}{GATEWAY}vrrp_id = 1\n"), &[]);
}

#[test]
fn a_gateway_to_which_nobody_is_ever_sent_is_worth_a_warning() {
    let folder = Folder::with_certificates();
    let native = GATEWAY.replace("gw1", "gw2") + "vrrp_id = 31\nvpn_mode = \"native\"\n";
    assert_problems(
        &folder,
        &format!("{LISTENER}vrrp_id = 31\n{GATEWAY}vrrp_id = 31\n{native}{}", GATEWAY.replace("gw1", "gw3")),
        &[
            "v.toml:12:8: warning: gateway 'gw2' has vpn_mode 'native'; no listener sends anybody to it, and there is no \
             [dve] and no [ikev2_redirect]",
            "v.toml:17:8: warning: no listener has the vrrp_id of gateway 'gw3'; nobody is ever sent to it",
        ],
    );
}

#[test]
fn weights_are_not_negative_and_not_all_0() {
    let folder = Folder::with_certificates();
    for (weights, problem) in [
        ("{ throughput = -1 }", Some("v.toml:10:11: error: a weight must be from 0 to 1000000")),
        ("{ cpu = nan }", Some("v.toml:10:11: error: a weight must be from 0 to 1000000")),
        ("{ pool = inf }", Some("v.toml:10:11: error: a weight must be from 0 to 1000000")),
        (
            "{ throughput = 0, tunnels = 0, pool = 0, cpu = 0 }",
            Some("v.toml:10:11: error: at least one weight must be above 0"),
        ),
        ("{ cpu = \"1\" }", Some("v.toml:10:19: error: 'cpu' must be a number")),
        ("{ throughput = 0, tunnels = 0.5, pool = 0, cpu = 0 }", None),
    ] {
        let content = format!("{LISTENER}{GATEWAY}[balance]\nweights = {weights}\n");
        assert_problems(&folder, &content, problem.as_slice());
    }
}

#[test]
fn a_certificate_has_to_match_its_key() {
    let folder = Folder::with_certificates();
    assert_problems(
        &folder,
        &format!("{}{GATEWAY}", LISTENER.replace("portal.key", "gw1.key")),
        &["v.toml:5:59: error: the certificate certs/portal.pem does not match its key certs/gw1.key"],
    );
}

#[test]
fn a_file_that_cannot_be_used_is_told_with_its_path() {
    let folder = Folder::with_certificates();
    folder.write("text.pem", "just text");
    folder.write("damaged.pem", "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n");
    folder.write("cut.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n");
    let with = |certificate: &str, key: &str| {
        LISTENER.replace("certs/portal.pem", certificate).replace("certs/portal.key", key) + GATEWAY
    };
    assert_problems(
        &folder,
        &with("certs/none.pem", "certs/none.key"),
        &[
            "v.toml:5:33: error: certs/none.pem cannot be read: no such file or directory",
            "v.toml:5:57: error: certs/none.key cannot be read: no such file or directory",
        ],
    );
    assert_problems(
        &folder,
        &with("text.pem", "certs/portal.pem"),
        &[
            "v.toml:5:33: error: text.pem holds no certificate",
            "v.toml:5:51: error: certs/portal.pem holds no private key",
        ],
    );
    assert_problems(
        &folder,
        &with("certs", "certs/portal.key"),
        &["v.toml:5:33: error: certs cannot be read: is a directory"],
    );
    assert_problems(
        &folder,
        &with("cut.pem", "certs/portal.key"),
        &["v.toml:5:33: error: cut.pem is not a PEM file: section end \"CERTIFICATE\" missing"],
    );
    assert_problems(
        &folder,
        &with("damaged.pem", "certs/portal.key"),
        &["v.toml:5:33: error: damaged.pem is not a PEM file: what stands between BEGIN and END is damaged"],
    );
}

#[test]
fn paths_are_relative_to_the_file_they_stand_in() {
    let folder = Folder::with_certificates();
    std::fs::create_dir(folder.join("etc")).unwrap();
    let content = LISTENER.replace("certs/", "../certs/") + GATEWAY;
    assert_eq!(folder.check("etc/v.toml", &content), (0, "etc/v.toml: no errors, no warnings\n".to_owned()));
    let (status, printed) = folder.check("etc/v.toml", &content.replace("portal.pem", "none.pem"));
    let line = "etc/v.toml:5:33: error: etc/../certs/none.pem cannot be read: no such file or directory";
    assert_eq!((status, printed.lines().next()), (1, Some(line)));
}

#[test]
fn a_listener_shows_a_certificate() {
    let folder = Folder::with_certificates();
    let (head, _) = LISTENER.split_once("certificates").unwrap();
    for (certificates, problem) in [
        (
            "",
            "v.toml:1:1: error: missing key 'certificates' in [[listener]]; for a trial make some with: \
             vestibule certs init --dir certs --name HOST",
        ),
        ("certificates = []\n", "v.toml:1:1: error: 'certificates' must not be empty"),
        (
            "certificates = \"certs/portal.pem\"\n",
            "v.toml:5:16: error: 'certificates' must be a list of tables; write certificates = [{ certificate = \
             \"FILE\", key = \"FILE\" }]",
        ),
        (
            "certificates = [{ certificate = \"certs/portal.pem\" }]\n",
            "v.toml:5:17: error: missing key 'key' in certificates = [{ certificate = \"FILE\", key = \"FILE\" }]",
        ),
    ] {
        assert_problems(&folder, &format!("{head}{certificates}{GATEWAY}"), &[problem]);
    }
}

#[test]
fn a_heartbeat_over_https_needs_a_ca() {
    let folder = Folder::with_certificates();
    let asked = format!("{LISTENER}{GATEWAY}heartbeat = \"https://192.168.200.1:9464\"\n");
    assert_problems(
        &folder,
        &asked,
        &["v.toml:9:13: error: a heartbeat over https needs 'ca' in [heartbeat]: without it anybody could \
           answer in the agent's name"],
    );
    let asked = format!("{asked}[heartbeat]\nca = \"certs/ca.pem\"\n");
    assert_problems(
        &folder,
        &asked,
        &[
            "v.toml:9:13: warning: [heartbeat] has no 'certificate' and 'key': an agent with 'client_ca' will \
           refuse this front door",
        ],
    );
    assert_problems(
        &folder,
        &format!("{asked}key = \"certs/front-a.key\"\n"),
        &["v.toml:12:7: error: 'certificate' and 'key' in [heartbeat] belong together"],
    );
    let pair = "certificate = \"certs/front-a.pem\"\nkey = \"certs/front-a.key\"\n";
    assert_problems(&folder, &format!("{asked}{pair}"), &[]);
}

#[test]
fn a_heartbeat_is_a_url_and_plain_http_is_for_this_host() {
    let folder = Folder::with_certificates();
    for (url, problem) in [
        (
            "http://192.168.200.1:9464",
            Some("plain http is for an agent on this host; use https:// and [heartbeat] ca"),
        ),
        (
            "https://192.168.200.1:9464/v1/report",
            Some("must end after the host or its port; a path has no place here"),
        ),
        ("192.168.200.1:9464", Some("must begin with https://, like \"https://192.0.2.1:9464\"")),
        ("http://127.0.0.1:9464", None),
    ] {
        let problem = problem.map(|problem| format!("v.toml:10:13: error: 'heartbeat': {problem}"));
        let content = format!("{LISTENER}{GATEWAY}fence = \"none\"\nheartbeat = \"{url}\"\n");
        assert_problems(&folder, &content, problem.as_deref().as_slice());
    }
}

#[test]
fn a_redirect_to_this_front_door_itself_would_be_a_circle() {
    let folder = Folder::with_certificates();
    assert_problems(
        &folder,
        &format!("{LISTENER}{}", GATEWAY.replace("gw1.example.com", "127.0.0.1:8443")),
        &[
            "v.toml:8:16: error: 'ssl_endpoint' 127.0.0.1:8443 is a listener of this front door: clients would \
           go in circles",
        ],
    );
}

#[test]
fn a_permanent_redirect_is_worth_a_warning() {
    let folder = Folder::with_certificates();
    for vrrp_id in ["", "vrrp_id = 31\n"] {
        for status in [301, 308] {
            let line = if vrrp_id.is_empty() { 7 } else { 8 };
            assert_problems(
                &folder,
                &format!("{LISTENER}{vrrp_id}[listener.redirect]\nstatus = {status}\n{GATEWAY}{vrrp_id}"),
                &[&format!(
                    "v.toml:{line}:10: warning: browsers remember a permanent redirect and would never come \
                     back to this front door; 302 is meant for this"
                )],
            );
        }
    }
    for (status, problem) in [
        ("304", "'status' must be 301, 302, 303, 307 or 308"),
        ("200", "'status' must be from 300 to 399"),
        ("\"302\"", "'status' must be a whole number"),
    ] {
        assert_problems(
            &folder,
            &format!("{LISTENER}[listener.redirect]\nstatus = {status}\n{GATEWAY}"),
            &[&format!("v.toml:7:10: error: {problem}")],
        );
    }
}

#[test]
fn an_upgrade_to_https_knows_where_to() {
    let folder = Folder::with_certificates();
    let upgrade = "[[listener]]\nname = \"http\"\naddress = \"127.0.0.1:8080\"\nmode = \"https-upgrade\"\n";
    assert_problems(
        &folder,
        &format!("{upgrade}{GATEWAY}"),
        &[
            "v.toml:1:1: error: no listener shows a certificate on 127.0.0.1; say where to with 'https_endpoint' in \
           [listener.redirect]",
        ],
    );
    let told = "[listener.redirect]\nhttps_endpoint = \"vpn.example.com\"\n";
    assert_problems(&folder, &format!("{upgrade}{told}{GATEWAY}"), &[]);
    assert_problems(&folder, &format!("{upgrade}{LISTENER}{GATEWAY}"), &[]);
    assert_problems(
        &folder,
        &format!("{LISTENER}{told}{GATEWAY}"),
        &["v.toml:7:18: error: 'https_endpoint' is for mode 'https-upgrade'"],
    );
    // a certificate that names no host but others' addresses
    let certificates = "certificates = [{ certificate = \"certs/gw1.pem\", key = \"certs/gw1.key\" }]\n";
    let upgrade_with = format!("{upgrade}{certificates}{told}{GATEWAY}");
    assert_problems(
        &folder,
        &upgrade_with,
        &["v.toml:1:1: error: 'certificates' is not for mode 'https-upgrade', which speaks plain http"],
    );
}

#[test]
fn an_admin_endpoint_that_others_reach_needs_a_token() {
    let folder = Folder::with_certificates();
    folder.write("short.token", "abc\n");
    folder.write("words.token", "one two three four five six\n");
    folder.write("good.token", "  0123456789abcdef\n");
    let with = |admin: &str| format!("[admin]\n{admin}\n{LISTENER}{GATEWAY}");
    let bad = |file: &str, line| {
        format!(
            "v.toml:{line}:14: error: the token in {file} must be one word of at least 16 characters; make one \
             with: openssl rand -hex 32"
        )
    };
    assert_problems(
        &folder,
        &with("listen = \"0.0.0.0:9463\""),
        &[
            "v.toml:2:10: error: 'listen' is not loopback and there is no token; set 'token_file' to a file that \
           holds one",
        ],
    );
    assert_problems(
        &folder,
        &with("listen = \"[::]:9463\"\ntoken_file = \"short.token\""),
        &[&bad("short.token", 3)],
    );
    assert_problems(&folder, &with("token_file = \"words.token\""), &[&bad("words.token", 2)]);
    assert_problems(
        &folder,
        &with("token_file = \"none.token\""),
        &["v.toml:2:14: error: none.token cannot be read: no such file or directory"],
    );
    assert_problems(&folder, &with("listen = \"0.0.0.0:9463\"\ntoken_file = \"good.token\""), &[]);
    assert_problems(&folder, &with("listen = \"127.0.0.1:9463\""), &[]);
    // the default file
    folder.write("admin.token", "0123456789abcdef\n");
    assert_problems(&folder, &with("listen = \"0.0.0.0:9463\""), &[]);
    folder.write("admin.token", "abc\n");
    assert_problems(
        &folder,
        &with(""),
        &[
            "v.toml:1:1: error: the token in admin.token must be one word of at least 16 characters; make one \
           with: openssl rand -hex 32",
        ],
    );
}

#[test]
fn dates_of_a_certificate_are_worth_a_warning() {
    let folder = Folder::with_certificates();
    let now = OffsetDateTime::now_utc();
    let hour = Duration::hours(1);
    for (from, to, problem) in [
        (now - 30 * 24 * hour, now - 49 * hour, "expired 2 days ago; clients will refuse it"),
        (now - hour, now + 49 * hour, "expires in 2 days"),
        (now + hour, now + 1000 * hour, "is not valid yet; is this machine's clock right?"),
    ] {
        let mut params = CertificateParams::new(["vpn.example.com".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (from, to);
        let key = KeyPair::generate().unwrap();
        folder.write("old.pem", &params.self_signed(&key).unwrap().pem());
        folder.write("old.key", &key.serialize_pem());
        let problem = format!("v.toml:5:33: warning: the certificate old.pem {problem}");
        assert_problems(&folder, &(LISTENER.replace("certs/portal", "old") + GATEWAY), &[&problem]);
    }
}

#[test]
fn times_that_do_not_fit_each_other_are_worth_a_warning() {
    let folder = Folder::with_certificates();
    let with = |health: &str| format!("{LISTENER}{GATEWAY}[health]\n{health}");
    assert_problems(
        &folder,
        &with("interval = \"1s\"\ntimeout = \"2s\"\nstale_after = \"1500ms\"\n"),
        &[
            "v.toml:11:11: warning: 'timeout' (2s) is longer than 'interval': a gateway that hangs is asked less often",
            "v.toml:12:15: warning: 'stale_after' (1.5s) is shorter than two intervals: loads would be unknown \
             most of the time",
        ],
    );
    // the other one is the default, and stands nowhere
    assert_problems(
        &folder,
        &with("interval = \"500ms\"\n"),
        &[
            "v.toml:10:12: warning: 'timeout' (800ms) is longer than 'interval': a gateway that hangs is asked \
           less often",
        ],
    );
    assert_problems(
        &folder,
        &with("interval = \"30s\"\n"),
        &[
            "v.toml:10:12: warning: 'stale_after' (10s) is shorter than two intervals: loads would be unknown \
           most of the time, and fences could lapse in each round",
        ],
    );
    assert_problems(
        &folder,
        &with("interval = \"1ms\"\ntimeout = \"2h\"\nrise = 0\nfall = \"3\"\nstale_after = 10\n"),
        &[
            "v.toml:10:12: error: 'interval' must be from 100ms to 3600s",
            "v.toml:11:11: error: 'timeout' must be from 10ms to 60s",
            "v.toml:12:8: error: 'rise' must be from 1 to 1000",
            "v.toml:13:8: error: 'fall' must be a whole number",
            "v.toml:14:15: error: 'stale_after' must be a text in quotes",
        ],
    );
}

#[test]
fn quantities_have_a_unit_and_a_range() {
    let folder = Folder::with_certificates();
    assert_problems(
        &folder,
        &format!(
            "{LISTENER}[listener.limits]\nconnections = 0\nheader_bytes = \"1KiB\"\nidle_timeout = \"1ms\"\n\
             header_timeout = \"fast\"\n[listener.redirect]\nkeep_path = \"yes\"\nretry_after = \"0s\"\n\
             {GATEWAY}capacity = {{ throughput = \"1GB\", tunnels = 0, pool = 5 }}\n"
        ),
        &[
            "v.toml:7:15: error: 'connections' must be from 1 to 10000000",
            "v.toml:8:16: error: 'header_bytes': must be from 8KiB to 1MiB",
            "v.toml:9:16: error: 'idle_timeout' must be from 100ms to 86400s",
            "v.toml:10:18: error: 'header_timeout': must be a duration with its unit, like \"250ms\", \"2s\", \
             \"10m\" or \"1h\"",
            "v.toml:12:13: error: 'keep_path' must be true or false",
            "v.toml:13:15: error: 'retry_after' must be from 1s to 3600s",
            "v.toml:17:27: error: 'throughput': must be a bit rate with its unit, like \"100Mbit\" or \"1Gbit\"",
            "v.toml:17:44: error: 'tunnels' must be from 1 to 100000000",
            "v.toml:17:47: error: unknown key 'pool' in capacity",
        ],
    );
}

#[test]
fn direct_checks_take_what_belongs_to_their_kind() {
    let folder = Folder::with_certificates();
    assert_problems(
        &folder,
        &format!(
            "{LISTENER}{GATEWAY}[[gateway.check]]\nkind = \"exec\"\n[[gateway.check]]\n[[gateway.check]]\n\
             kind = \"tcp\"\npath = \"/\"\nverify = \"ca\"\n[[gateway.check]]\nkind = \"https\"\n\
             ca = \"certs/ca.pem\"\npath = \"x\"\nexpect_status = \"700\"\n[[gateway.check]]\nkind = \"tls\"\n\
             server_name = \"a b\"\n[[gateway.check]]\nkind = \"tls\"\nverify = \"ca\"\nca = \"none.pem\"\n"
        ),
        &[
            "v.toml:10:8: error: 'kind' cannot be 'exec'; it is one of 'tcp', 'tls', 'http', 'https'",
            "v.toml:11:1: error: missing key 'kind' in [[gateway.check]]; it is one of 'tcp', 'tls', 'http', 'https'",
            "v.toml:12:1: error: 'path' and 'expect_status' are for the kinds 'http' and 'https'",
            "v.toml:12:1: error: 'server_name', 'verify' and 'ca' are for the kinds 'tls' and 'https'",
            "v.toml:18:6: error: 'ca' has no effect without verify = \"ca\"",
            "v.toml:19:8: error: 'path': must be a path, like \"/\" or \"/login\"",
            "v.toml:20:17: error: 'expect_status': must be a status or a range of them from 100 to 599, like 200 \
             or 200-399",
            "v.toml:23:15: error: 'server_name' must be a host name or an address",
            "v.toml:27:6: error: none.pem cannot be read: no such file or directory",
        ],
    );
}

#[test]
fn what_must_be_there_is_missed() {
    let folder = Folder::new();
    let no_listener = "v.toml:1:1: error: there is no [[listener]], no [dve] and no [ikev2_redirect]: this front door would answer nobody; add one";
    let no_gateway =
        "v.toml:1:1: error: there is no [[gateway]]: there is nobody to send clients to; add one";
    assert_problems(&folder, "", &[no_listener, no_gateway]);
    assert_problems(&folder, "listener = []\ngateway = []\n", &[no_listener, no_gateway]);
    assert_problems(
        &folder,
        "[[listener]]\n[[gateway]]\nname = \" \"\n",
        &[
            "v.toml:1:1: error: missing key 'mode' in [[listener]]; it is one of 'redirect', 'proxy', 'passthrough', \
             'https-upgrade'",
            "v.toml:1:1: error: missing key 'name' in [[listener]]",
            "v.toml:1:1: error: missing key 'address' in [[listener]]",
            "v.toml:2:1: error: missing key 'ssl_endpoint' in [[gateway]]",
            "v.toml:3:8: error: 'name' must not be empty",
        ],
    );
    assert_problems(
        &folder,
        "listener = 5\ngateway = 6\nnode = 1\n[heartbeat]\nca = 1\n",
        &[
            "v.toml:1:12: error: 'listener' must be a list of tables; write [[listener]]",
            "v.toml:2:11: error: 'gateway' must be a list of tables; write [[gateway]]",
            "v.toml:3:8: error: 'node' must be a table",
            "v.toml:5:6: error: 'ca' must be a text in quotes",
        ],
    );
}

/// Gateways with these lines of their own, called a, b, c …; the first one's head is line 6, and each has four lines and its
/// own.
fn gateways(lines: &[&str]) -> String {
    let names = 'a'..='z';
    let gateway = |(name, line): (char, &&str)| {
        format!(
            "[[gateway]]\nname = \"{name}\"\nssl_endpoint = \"{name}.example.com\"\nvrrp_id = 31\n{line}\n"
        )
    };
    names.zip(lines).map(gateway).collect()
}

#[test]
fn gateways_that_share_an_address_are_a_master_and_its_backups() {
    let folder = Folder::with_certificates();
    let check = |lines: &[&str], rest: &str, expected: &[&str]| {
        let text = format!("{LISTENER}{}{rest}", gateways(lines));
        let (status, output) = folder.check("v.toml", &text);
        let lines: Vec<_> =
            output.lines().filter(|line| line.contains("vrrp_mode") || line.contains("vrrp_id 31")).collect();
        let shown: Vec<_> = lines.iter().map(|line| line.split_once(": ").unwrap().1).collect();
        assert_eq!(shown, expected, "{text}\n{output}");
        assert_eq!(status, i32::from(expected.iter().any(|line| line.starts_with("error"))), "{output}");
    };
    let (master, backup) = ("vrrp_mode = \"master\"", "vrrp_mode = \"backup\"");
    check(&[master, backup, ""], "", &[]);
    check(&[backup, master, backup], "", &[]);
    // nobody is sent to them, and that is how it is meant
    let alone = "vpn_mode = \"vrrp-only\"\n";
    let pair = [master, backup].map(|mode| format!("{alone}{mode}"));
    let (_, output) = folder.check("v.toml", &format!("{LISTENER}{}", gateways(&[&pair[0], &pair[1], ""])));
    assert_eq!(output, "v.toml: no errors, no warnings\n");
    check(
        &[master, master, backup],
        "",
        &[
            "error: two gateways with vrrp_id 31 have vrrp_mode 'master'; make one of them 'backup': one begins with the address",
        ],
    );
    for alone in [master, backup] {
        check(
            &[alone, "vrrp_mode = \"inactive\""],
            "",
            &[
                "error: no other gateway with vrrp_id 31 has a vrrp_mode; an address is shared by a 'master' and a 'backup'",
            ],
        );
    }
    check(
        &[backup, backup],
        "",
        &[
            "error: no gateway with vrrp_id 31 has vrrp_mode 'master'; make one of them so: one begins with the address",
        ],
    );
    check(
        &[backup, master],
        "[balance]\nmode = \"failsafe\"\n",
        &[
            "warning: in failsafe mode the first gateway in the file is the first to be active, and this one is the 'backup' \
           of vrrp_id 31; put the 'master' first",
        ],
    );
    let nameless = gateways(&[master, backup]).replace("vrrp_id = 31\n", "");
    let (_, output) = folder.check("v.toml", &format!("{LISTENER}{nameless}"));
    let expected =
        "error: vrrp_mode 'master' needs a vrrp_id: gateways that share an address have the same one";
    assert!(output.contains(expected), "{output}");
    let (_, output) =
        folder.check("v.toml", &format!("{LISTENER}{}", gateways(&["vrrp_mode = \"slave\"", ""])));
    assert!(
        output.contains("'vrrp_mode' cannot be 'slave'; it is one of 'inactive', 'master', 'backup'"),
        "{output}"
    );
}

#[test]
fn failsafe_mode_is_checked_for_what_could_not_be_meant() {
    let folder = Folder::with_certificates();
    let check = |balance: &str, lines: &[&str]| {
        let text = format!("{LISTENER}{}[balance]\n{balance}", gateways(lines));
        let (status, output) = folder.check("v.toml", &text);
        assert_eq!(status, 0, "{output}");
        let lines = output.lines().filter(|line| line.contains(" warning: "));
        lines.map(|line| line.split_once(" warning: ").unwrap().1.to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(check("mode = \"failsafe\"\n", &["", ""]), [""; 0]);
    assert_eq!(check("mode = \"failsafe\"\nfailback = false\n", &["", ""]), [""; 0]);
    assert_eq!(
        check("failback = false\n", &["", ""]),
        ["'failback' has an effect only with mode = \"failsafe\""]
    );
    assert_eq!(
        check("mode = \"failsafe\"\n", &[""]),
        ["in failsafe mode nobody takes the place of gateway 'a': it is the only one with vrrp_id 31"]
    );
    assert_eq!(
        check("mode = \"failsafe\"\n", &["", "vpn_mode = \"ssl\""]),
        [
            "in failsafe mode one gateway with vrrp_id 31 is active at a time, and 'b' has vpn_mode 'ssl' where 'a' has 'both': \
          what only one of them offers is not there while the other one is active"
        ]
    );
}

/// A virtual address, which the listener has; line 9 to 13 after the gateway.
const VRRP: &str = "[[vrrp]]\nvrrp_id = 31\nrole = \"master\"\ninterface = \"eth0\"\n\
                    addresses = [\"192.0.2.1/24\"]\n";

/// On the virtual address of [`VRRP`].
fn virtual_listener() -> String {
    LISTENER.replace("127.0.0.1", "192.0.2.1")
}

#[test]
fn virtual_addresses_are_shared_under_a_number_of_their_own() {
    let folder = Folder::with_certificates();
    let start = virtual_listener() + GATEWAY;
    let all = "peers = [\"192.0.2.3\", \"2001:db8::3\"]\nadvertisement_interval = \"100ms\"\npreempt = true\n\
               notify_fifo = \"/run/fifo\"\n";
    assert_problems(&folder, &format!("{start}{VRRP}{all}"), &[]);
    assert_problems(
        &folder,
        &format!("{start}[[vrrp]]\n[[vrrp]]\naddresses = []\npriority = 100\n"),
        &[
            "v.toml:9:1: error: missing key 'vrrp_id' in [[vrrp]]",
            "v.toml:9:1: error: missing key 'role' in [[vrrp]]; it is 'master' or 'backup'",
            "v.toml:9:1: error: missing key 'addresses' in [[vrrp]]",
            "v.toml:9:1: error: missing key 'interface' in [[vrrp]]",
            "v.toml:10:1: error: missing key 'vrrp_id' in [[vrrp]]",
            "v.toml:10:1: error: missing key 'role' in [[vrrp]]; it is 'master' or 'backup'",
            "v.toml:10:1: error: missing key 'interface' in [[vrrp]]",
            "v.toml:11:13: error: 'addresses' must not be empty",
            "v.toml:12:1: error: unknown key 'priority' in [[vrrp]]",
        ],
    );
    let second = VRRP.replace("192.0.2.1/24", "192.0.2.2/24\", \"192.0.2.1/32\", \"192.0.2.2/25");
    assert_problems(
        &folder,
        &format!("{start}{VRRP}peers = [\"192.0.2.3\", \"192.0.2.2\", \"192.0.2.3\"]\n{second}"),
        &[
            "v.toml:14:23: error: the peer 192.0.2.2 is a virtual address, which either host may have; name the other \
           host by its own",
            "v.toml:14:36: error: the peer 192.0.2.3 is there twice; leave one of them out",
            "v.toml:16:11: error: two [[vrrp]] have the vrrp_id 31; give one of them another number",
            "v.toml:19:14: warning: nothing listens at the virtual address 192.0.2.2",
            "v.toml:19:30: error: the virtual address 192.0.2.1 is there twice; leave one of them out",
            "v.toml:19:46: error: the virtual address 192.0.2.2 is there twice; leave one of them out",
            "v.toml:19:46: warning: nothing listens at the virtual address 192.0.2.2",
        ],
    );
}

#[test]
fn what_moves_together_is_described_alike() {
    let folder = Folder::with_certificates();
    let start = virtual_listener() + GATEWAY;
    let inside = VRRP.replace("31", "32").replace("192.0.2.1", "192.168.200.3");
    let differs = |key: &str| {
        format!(
            "v.toml:14:1: error: all [[vrrp]] are moved together; give this one the same '{key}' as the first one"
        )
    };
    for (second, key) in [
        (inside.replace("master", "backup"), "role"),
        (format!("{inside}preempt = true\n"), "preempt"),
        (format!("{inside}notify_fifo = \"/run/other\"\n"), "notify_fifo"),
    ] {
        assert_problems(&folder, &format!("{start}{VRRP}{second}"), &[&differs(key)]);
    }
    let faster = format!("{inside}advertisement_interval = \"10ms\"\npeers = [\"192.168.200.2\"]\n");
    assert_problems(&folder, &format!("{start}{VRRP}{faster}"), &[]);
}

#[test]
fn what_vrrp_cannot_say_is_refused() {
    let folder = Folder::with_certificates();
    let start = virtual_listener() + GATEWAY;
    let with = |key: &str, value: &str| {
        let place = format!("\n{key} = ");
        match VRRP.split_once(&place) {
            Some((before, after)) => {
                let rest = after.split_once('\n').unwrap().1;
                format!("{start}{before}{place}{value}\n{rest}")
            }
            None => format!("{start}{VRRP}{key} = {value}\n"),
        }
    };
    let addresses = |address: &str| format!("[\"192.0.2.1/24\", \"{address}\"]");
    let prefix = "must be an address with the length of its network's prefix, like \"192.0.2.1/24\" or \
                  \"2001:db8::1/64\"";
    let no_host = |address: &str| format!("{address} is no address that a host can have");
    let whole = |network: &str| {
        format!("{network} is a whole network, or its broadcast address; give an address in it")
    };
    for (address, message) in [
        ("192.0.2.2", prefix.to_owned()),
        ("192.0.2.2/33", prefix.to_owned()),
        ("vpn.example.com/24", prefix.to_owned()),
        ("", prefix.to_owned()),
        ("0.0.0.0/0", no_host("0.0.0.0")),
        ("127.0.0.1/8", no_host("127.0.0.1")),
        ("224.0.0.18/24", no_host("224.0.0.18")),
        ("::1/128", no_host("::1")),
        ("ff02::12/64", no_host("ff02::12")),
        ("::ffff:192.0.2.2/120", no_host("::ffff:192.0.2.2")),
        ("192.0.2.0/24", whole("192.0.2.0/24")),
        ("192.0.2.255/24", whole("192.0.2.255/24")),
        ("2001:db8::/64", whole("2001:db8::/64")),
    ] {
        let expected = format!("v.toml:13:30: error: 'addresses': {message}");
        assert_problems(&folder, &with("addresses", &addresses(address)), &[&expected]);
    }
    let (interval, name) = ("must be from 10ms to 40.95s", "must be the name of an interface, like \"eth0\"");
    let multiple = "must be a multiple of 10ms: VRRP counts in hundredths of a second";
    let path = "must be a path that begins with '/': keepalived runs in another folder";
    for (key, value, place, message) in [
        ("vrrp_id", "0", "10:11", "'vrrp_id' must be from 1 to 255"),
        ("vrrp_id", "256", "10:11", "'vrrp_id' must be from 1 to 255"),
        ("role", "\"slave\"", "11:8", "'role' cannot be 'slave'; it is one of 'master', 'backup'"),
        ("interface", "\"\"", "12:13", "'interface' must not be empty"),
        ("interface", "\"eth0:1\"", "12:13", &format!("'interface': {name}")),
        ("interface", "\"0123456789abcdef\"", "12:13", &format!("'interface': {name}")),
        ("peers", "[\"front-b\"]", "14:10", "'peers': must be an address, like \"192.0.2.2\""),
        ("peers", "[\"::\"]", "14:10", "'peers': :: is no address that a host can have"),
        ("advertisement_interval", "\"9ms\"", "14:26", &format!("'advertisement_interval' {interval}")),
        ("advertisement_interval", "\"40.96s\"", "14:26", &format!("'advertisement_interval' {interval}")),
        ("advertisement_interval", "\"15ms\"", "14:26", &format!("'advertisement_interval' {multiple}")),
        ("preempt", "\"no\"", "14:11", "'preempt' must be true or false"),
        ("notify_fifo", "\"fifo\"", "14:15", &format!("'notify_fifo': {path}")),
    ] {
        assert_problems(&folder, &with(key, value), &[&format!("v.toml:{place}: error: {message}")]);
    }
    for (key, value) in [
        ("addresses", "[\"192.0.2.1/32\", \"fe80::1/64\"]"),
        ("addresses", "[\"192.0.2.1/31\"]"),
        ("interface", "\"bond0.2001-vrrp\""),
        ("advertisement_interval", "\"10ms\""),
        ("advertisement_interval", "\"40.95s\""),
        ("advertisement_interval", "\"0.07s\""),
        ("vrrp_id", "255"),
    ] {
        assert_problems(&folder, &with(key, value), &[]);
    }
}

#[test]
fn a_virtual_address_at_which_nobody_listens_is_warned_of_unless_it_belongs_to_the_inside() {
    let folder = Folder::with_certificates();
    let nothing = |place: &str, address: &str| {
        format!("v.toml:{place}: warning: nothing listens at the virtual address {address}")
    };
    let inside = VRRP.replace("31", "32").replace("192.0.2.1", "192.168.200.3");
    // nobody listens at any
    assert_problems(
        &folder,
        &format!("{LISTENER}{GATEWAY}{VRRP}{inside}"),
        &[&nothing("13:14", "192.0.2.1"), &nothing("18:14", "192.168.200.3")],
    );
    let (start, all) = (virtual_listener() + GATEWAY, LISTENER.replace("127.0.0.1", "0.0.0.0") + GATEWAY);
    assert_problems(&folder, &format!("{start}{VRRP}{inside}"), &[]);
    assert_problems(&folder, &format!("{all}{VRRP}{inside}"), &[]);
    // it moves along with one at which somebody listens
    let both = VRRP.replace("/24\"]", "/24\", \"2001:db8::1/64\"]");
    assert_problems(&folder, &format!("{start}{both}"), &[&nothing("13:30", "2001:db8::1")]);
    assert_problems(&folder, &format!("{all}{both}"), &[&nothing("13:30", "2001:db8::1")]);
}

/// Asks agents, and has a name.
const HEARTBEAT: &str = "[heartbeat]\nca = \"certs/ca.pem\"\ncertificate = \"certs/front-a.pem\"\n\
                         key = \"certs/front-a.key\"\n";

#[test]
fn a_fence_needs_somebody_who_sets_it() {
    let folder = Folder::with_certificates();
    assert_problems(&folder, &format!("{LISTENER}{GATEWAY}fence = \"local\"\n"), &[]);
    assert_problems(&folder, &format!("{LISTENER}{GATEWAY}fence = \"none\"\n[fence]\nenabled = true\n"), &[]);
    assert_problems(
        &folder,
        &format!("{LISTENER}{GATEWAY}fence = \"agent\"\n"),
        &[
            "v.toml:9:9: error: 'fence' is 'agent', and there is no agent; give it a 'heartbeat', or use 'local': the \
           firewall of this host",
        ],
    );
    assert_problems(
        &folder,
        &format!("{LISTENER}{GATEWAY}fence = \"firewall\"\n"),
        &["v.toml:9:9: error: 'fence' cannot be 'firewall'; it is one of 'agent', 'local', 'none'"],
    );
    let with_agent = format!("{GATEWAY}heartbeat = \"https://gw1.example.com\"\n");
    let good = "fence = \"agent\"\n[fence]\nenabled = true\nlease = \"5s\"\nkeep_at_least = 0\n";
    assert_problems(&folder, &format!("{LISTENER}{with_agent}{good}{HEARTBEAT}"), &[]);
}

#[test]
fn a_fence_that_would_keep_the_front_door_from_the_agent_is_refused() {
    let folder = Folder::with_certificates();
    let gateway = format!("{GATEWAY}heartbeat = \"https://gw1.example.com:443\"\nfence = \"local\"\n");
    assert_problems(
        &folder,
        &format!("{LISTENER}{gateway}{HEARTBEAT}"),
        &[
            "v.toml:10:9: error: a local fence would block this front door's own questions to the agent, which has the \
           same endpoint gw1.example.com:443",
        ],
    );
}

#[test]
fn a_lease_is_long_enough_to_be_renewed_and_something_may_be_blocked() {
    let folder = Folder::with_certificates();
    let gateway = format!("{GATEWAY}fence = \"local\"\n");
    assert_problems(
        &folder,
        &format!("{LISTENER}{gateway}[fence]\nlease = \"2s\"\nkeep_at_least = -1\nleas = \"5s\"\n"),
        &[
            "v.toml:11:9: error: 'lease' must be from 3s to 3600s",
            "v.toml:12:17: error: 'keep_at_least' must be from 0 to 100000",
            "v.toml:13:1: error: unknown key 'leas' in [fence]; did you mean 'lease'?",
        ],
    );
    assert_problems(
        &folder,
        &format!("{LISTENER}{gateway}[fence]\nkeep_at_least = 1\n"),
        &[
            "v.toml:11:17: warning: 'keep_at_least' is 1, and there are no more gateways (1): none is ever fenced",
        ],
    );
    assert_problems(
        &folder,
        &format!("{LISTENER}{gateway}[fence]\nkeep_at_least = 1\nenabled = false\n"),
        &[],
    );
}

#[test]
fn a_lease_outlasts_a_restart_or_that_is_worth_a_warning() {
    let folder = Folder::with_certificates();
    let gateway = format!("{GATEWAY}fence = \"local\"\n[fence]\nkeep_at_least = 0\n");
    let warns = |rest: &str, (place, lease, concluded): (&str, &str, &str)| {
        let warning = format!(
            "v.toml:{place}: warning: 'lease' ({lease}) is shorter than 'fall' and two more intervals ({concluded}): at a \
             restart of this front door its blocks lapse before its checks have concluded anything"
        );
        assert_problems(&folder, &format!("{LISTENER}{gateway}{rest}"), &[&warning]);
    };
    warns("lease = \"4999ms\"\n", ("12:9", "4.999s", "5s"));
    warns("[health]\ninterval = \"4s\"\n", ("13:12", "15s", "20s"));
    warns("[health]\nfall = 14\n", ("13:8", "15s", "16s"));
    assert_problems(&folder, &format!("{LISTENER}{gateway}lease = \"5s\"\n"), &[]);
    let off = "[health]\nfall = 14\n[fence]\nenabled = false\n";
    assert_problems(&folder, &format!("{LISTENER}{GATEWAY}fence = \"local\"\n{off}"), &[]);
    assert_problems(&folder, &format!("{LISTENER}{GATEWAY}[health]\nfall = 14\n"), &[]);
}

#[test]
fn an_agent_over_plain_http_does_not_know_who_asks_it_to_fence() {
    let folder = Folder::with_certificates();
    let gateway = format!("{GATEWAY}heartbeat = \"http://127.0.0.1:9464\"\n");
    let warning = "v.toml:9:13: warning: an agent asked over plain http does not know who asks: it fences nothing for this \
                   front door, and does not stay open for its 'keep_at_least'; use https://, or set fence = \"none\"";
    assert_problems(&folder, &format!("{LISTENER}{gateway}"), &[warning]);
    assert_problems(&folder, &format!("{LISTENER}{gateway}fence = \"none\"\n"), &[]);
    assert_problems(&folder, &format!("{LISTENER}{gateway}[fence]\nenabled = false\n"), &[]);
}

#[test]
fn errors_of_syntax_are_told_with_their_place() {
    let folder = Folder::with_certificates();
    assert_problems(
        &folder,
        &format!("{LISTENER}{GATEWAY}vrrp_id =\n[balance\n"),
        &[
            "v.toml:9:10: error: string values must be quoted, expected literal string",
            "v.toml:10:9: error: unclosed table, expected `]`",
        ],
    );
    assert_problems(
        &folder,
        &format!("{LISTENER}{GATEWAY}name = \"gw2\"\n[listener]\n"),
        &[
            "v.toml:9:1: error: duplicate key 'name'; each key and each [table] stands once",
            "v.toml:10:2: error: duplicate key 'listener'; each key and each [table] stands once",
        ],
    );
}

#[test]
fn all_errors_are_told_at_once_in_the_order_of_the_file() {
    let folder = Folder::with_certificates();
    // found by the schema, by the files and by comparing parts; told as they stand
    assert_problems(
        &folder,
        &format!(
            "[admin]\ntoken_file = \"none.token\"\n{}{}weigth = 1\n[balance]\nslow_start = \"1\"\n",
            LISTENER.replace("8443", "70000").replace("portal.key", "gw1.key"),
            GATEWAY.replace("gw1.example.com", "gw1:0")
        ),
        &[
            "v.toml:2:14: error: none.token cannot be read: no such file or directory",
            "v.toml:5:11: error: 'address': port 70000 is out of range; the port must be from 1 to 65535",
            "v.toml:7:59: error: the certificate certs/portal.pem does not match its key certs/gw1.key",
            "v.toml:10:16: error: 'ssl_endpoint': the port must be a number from 1 to 65535",
            "v.toml:11:1: error: unknown key 'weigth' in [[gateway]]",
            "v.toml:13:14: error: 'slow_start': must be a duration with its unit, like \"250ms\", \"2s\", \"10m\" \
             or \"1h\"",
        ],
    );
}

#[test]
fn check_prints_json_for_programs() {
    let folder = Folder::with_certificates();
    let content = format!("{LISTENER}[listener.redirect]\nstatus = 301\n{GATEWAY}vrrpid = 3\n");
    folder.write("v.toml", &content);
    let ended = folder.run(["check", "-c", "v.toml", "--format", "json"]);
    assert_eq!((ended.status, ended.stderr.as_str()), (1, ""));
    let printed: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    let expected = serde_json::json!({
        "refused": true,
        "errors": 1,
        "warnings": 1,
        "problems": [
            {
                "severity": "warning",
                "refused": false,
                "file": "v.toml",
                "line": 7,
                "column": 10,
                "message": "browsers remember a permanent redirect and would never come back to this front door; \
                            302 is meant for this",
            },
            {
                "severity": "error",
                "refused": true,
                "file": "v.toml",
                "line": 11,
                "column": 1,
                "message": "unknown key 'vrrpid' in [[gateway]]; did you mean 'vrrp_id'?",
            },
        ],
    });
    assert_eq!(printed, expected);
    folder.write("v.toml", &format!("{LISTENER}{GATEWAY}"));
    let ended = folder.run(["check", "-c", "v.toml", "--format", "json"]);
    assert_eq!(ended.status, 0);
    let printed: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(printed, serde_json::json!({ "refused": false, "errors": 0, "warnings": 0, "problems": [] }));
}

#[test]
fn a_configuration_that_cannot_be_read_is_told_with_its_path() {
    let folder = Folder::with_certificates();
    std::fs::write(folder.join("binary.toml"), b"\xff\xfe\x00").unwrap();
    for (file, cause) in [
        ("none.toml", "no such file or directory"),
        ("certs", "is a directory"),
        ("binary.toml", "stream did not contain valid UTF-8"),
    ] {
        let ended = folder.run(["check", "-c", file]);
        assert_eq!(ended.status, 1);
        let expected = format!("{file}: error: cannot be read: {cause}\n{file}: 1 error, no warnings\n");
        assert_eq!(ended.stdout, expected);
    }
}
