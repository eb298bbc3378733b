//! What a bad configuration of a heartbeat agent gets.

use crate::support::Folder;

/// An agent that is as it should be; line 1 to 3 of a file that begins with it.
const AGENT: &str = "[agent]\nname = \"gw1\"\nlisten = \"127.0.0.1:9464\"\n";
/// A check that is as it should be; line 4 to 6 after the agent.
const CHECK: &str = "[[check]]\nkind = \"tcp\"\naddress = \"127.0.0.1:443\"\n";

#[track_caller]
fn assert_problems(folder: &Folder, content: &str, problems: &[&str]) {
    let (status, printed) = folder.check("h.toml", content);
    let told = printed.lines().filter(|line| line.starts_with("h.toml:") && line.contains(": error: "));
    assert_eq!(told.collect::<Vec<_>>(), problems, "of:\n{content}");
    let count = match problems.len() {
        0 => "no errors".to_owned(),
        1 => "1 error".to_owned(),
        n => format!("{n} errors"),
    };
    assert_eq!(printed.lines().last(), Some(format!("h.toml: {count}, no warnings").as_str()));
    assert_eq!(status, i32::from(!problems.is_empty()));
}

#[test]
fn a_good_configuration_has_no_problems() {
    let folder = Folder::with_certificates();
    assert_problems(&folder, &format!("{AGENT}{CHECK}"), &[]);
    let tls = "certificate = \"certs/gw1.pem\"\nkey = \"certs/gw1.key\"\nclient_ca = \"certs/ca.pem\"\n";
    assert_problems(&folder, &format!("{}{tls}{CHECK}", AGENT.replace("127.0.0.1", "192.168.200.1")), &[]);
}

#[test]
fn an_agent_that_others_reach_says_who_may_ask() {
    let folder = Folder::with_certificates();
    let outside = AGENT.replace("127.0.0.1", "192.168.200.1");
    let pair = "certificate = \"certs/gw1.pem\"\nkey = \"certs/gw1.key\"\n";
    let exposed = "h.toml:3:10: error: 'listen' is reached from other hosts, so 'client_ca', 'certificate' and \
                   'key' must say who may ask; or listen on 127.0.0.1";
    for (agent, problem) in [
        (outside.clone(), exposed),
        (format!("{outside}{pair}"), exposed),
        (
            format!("{AGENT}{pair}"),
            "h.toml:3:10: error: 'certificate' and 'key' need 'client_ca': only front doors may ask",
        ),
        (
            format!("{AGENT}client_ca = \"certs/ca.pem\"\n"),
            "h.toml:4:13: error: 'client_ca' needs 'certificate' and 'key': client certificates go over TLS",
        ),
        (
            format!("{AGENT}certificate = \"certs/gw1.pem\"\n"),
            "h.toml:4:15: error: 'certificate' and 'key' in [agent] belong together",
        ),
        (
            format!("{AGENT}{}client_ca = \"certs/ca.pem\"\n", pair.replace("gw1.key", "gw2.key")),
            "h.toml:5:7: error: the certificate certs/gw1.pem does not match its key certs/gw2.key",
        ),
        (
            format!("{AGENT}{pair}client_ca = \"certs/none.pem\"\n"),
            "h.toml:6:13: error: certs/none.pem cannot be read: no such file or directory",
        ),
    ] {
        assert_problems(&folder, &format!("{agent}{CHECK}"), &[problem]);
    }
}

#[test]
fn an_unknown_source_is_told_with_all_known_ones() {
    let folder = Folder::new();
    assert_problems(
        &folder,
        &format!(
            "{AGENT}{CHECK}[load]\ntunnels = {{ source = \"occtl\" }}\npool = {{ source = \"interfaces\" }}\n"
        ),
        &[
            "h.toml:8:22: error: 'source' cannot be 'occtl'; it is one of 'ocserv', 'interfaces', 'exec', 'file', \
             'none'",
            "h.toml:9:19: error: 'source' cannot be 'interfaces'; it is one of 'ocserv', 'exec', 'file', 'none'",
        ],
    );
}

#[test]
fn a_source_has_what_it_needs_and_nothing_else() {
    let folder = Folder::new();
    for (load, problem) in [
        (
            "tunnels = {}",
            "8:11: error: missing key 'source' in tunnels; it is one of 'ocserv', 'interfaces', 'exec', 'file', 'none'",
        ),
        ("pool = { source = \"exec\" }", "8:8: error: missing key 'command' for this source"),
        ("pool = { source = \"exec\", command = [] }", "8:8: error: 'command' must name a program"),
        ("tunnels = { source = \"interfaces\" }", "8:11: error: missing key 'prefix' for this source"),
        (
            "tunnels = { source = \"interfaces\", prefix = \"\" }",
            "8:11: error: missing key 'prefix' for this source",
        ),
        ("pool = { source = \"file\" }", "8:8: error: missing key 'path' for this source"),
        (
            "tunnels = { source = \"ocserv\", prefix = \"tun\" }",
            "8:11: error: 'prefix' has no effect for this source; leave it out",
        ),
        (
            "interface = \"an/interface\"",
            "8:13: error: 'interface': must be an interface name: at most 15 characters, without slashes and spaces",
        ),
        ("capacity = { pool = -1 }", "8:21: error: 'pool' must be from 1 to 100000000"),
        (
            "capacity = { throughput = \"fast\" }",
            "8:27: error: 'throughput': must be a bit rate with its unit, like \"100Mbit\" or \"1Gbit\"",
        ),
        ("capcity = {}", "8:1: error: unknown key 'capcity' in [load]; did you mean 'capacity'?"),
    ] {
        assert_problems(&folder, &format!("{AGENT}{CHECK}[load]\n{load}\n"), &[&format!("h.toml:{problem}")]);
    }
    for load in [
        "tunnels = { source = \"ocserv\", socket = \"/run/occtl.socket\" }\npool = { source = \"ocserv\" }",
        "tunnels = { source = \"interfaces\", prefix = \"ppp\" }",
        "tunnels = { source = \"exec\", command = [\"tunnels\"] }",
        "tunnels = { source = \"file\", path = \"tunnels\" }\npool = { source = \"none\" }",
    ] {
        assert_problems(&folder, &format!("{AGENT}{CHECK}[load]\n{load}\n"), &[]);
    }
}

#[test]
fn a_check_has_what_its_kind_needs_and_nothing_else() {
    let folder = Folder::new();
    let kinds = "'tcp', 'tls', 'http', 'https', 'exec', 'systemd'";
    for (check, problems) in [
        ("", [format!("4:1: error: missing key 'kind' in [[check]]; it is one of {kinds}")].as_slice()),
        ("kind = \"udp\"", &[format!("5:8: error: 'kind' cannot be 'udp'; it is one of {kinds}")]),
        (
            "kind = \"exec\"",
            &["4:1: error: missing key 'command' in [[check]]; like command = [\"/usr/local/bin/check\", \"--fast\"]"
                .into()],
        ),
        ("kind = \"exec\"\ncommand = []", &["4:1: error: 'command' must name a program".into()]),
        ("kind = \"exec\"\ncommand = [\"a\", 1]", &["6:17: error: 'command' must be a text in quotes".into()]),
        (
            "kind = \"systemd\"",
            &["4:1: error: missing key 'unit' in [[check]]; like unit = \"ocserv.service\"".into()],
        ),
        (
            "kind = \"systemd\"\nunit = \"--all\"",
            &["6:8: error: 'unit' must be the name of a unit, like \"ocserv.service\"".into()],
        ),
        ("kind = \"tcp\"", &["4:1: error: missing key 'address' in this check; say what to connect to".into()]),
        (
            "kind = \"tcp\"\naddress = \"a\"\ncommand = [\"b\"]\nunit = \"c\"",
            &[
                "4:1: error: 'command' is for the kind 'exec'".into(),
                "4:1: error: 'unit' is for the kind 'systemd'".into(),
            ],
        ),
        (
            "kind = \"exec\"\ncommand = [\"a\"]\naddress = \"b\"",
            &["4:1: error: this kind of check connects to nothing; leave out 'address' and what belongs to it"
                .into()],
        ),
    ] {
        let problems: Vec<_> = problems.iter().map(|problem| format!("h.toml:{problem}")).collect();
        let problems: Vec<_> = problems.iter().map(String::as_str).collect();
        assert_problems(&folder, &format!("{AGENT}[[check]]\n{check}\n"), &problems);
    }
}

#[test]
fn checks_have_different_names_given_or_not() {
    let folder = Folder::new();
    let unit = "[[check]]\nkind = \"systemd\"\nunit = \"ocserv.service\"\n";
    let named = "[[check]]\nname = \"ocserv.service\"\nkind = \"exec\"\ncommand = [\"true\"]\n";
    assert_problems(
        &folder,
        &format!("{AGENT}{CHECK}{CHECK}{unit}{named}"),
        &[
            "h.toml:7:1: error: two checks are named 'tcp'; give one of them another 'name'",
            "h.toml:13:1: error: two checks are named 'ocserv.service'; give one of them another 'name'",
        ],
    );
}

#[test]
fn what_must_be_there_is_missed() {
    let folder = Folder::new();
    let no_check = "h.toml:1:1: error: there is no [[check]]: say what \"this gateway works\" means here";
    assert_problems(&folder, AGENT, &[no_check]);
    assert_problems(&folder, &format!("check = []\n{AGENT}"), &[no_check]);
    assert_problems(
        &folder,
        CHECK,
        &["h.toml:1:1: error: there is no [agent]: say at least its 'name' and where it is to 'listen'"],
    );
    assert_problems(
        &folder,
        "[agent]\n[[check]]\nkind = \"exec\"\ncommand = [\"true\"]\n",
        &[
            "h.toml:1:1: error: missing key 'name' in [agent]",
            "h.toml:1:1: error: missing key 'listen' in [agent]",
        ],
    );
    // what both kinds of files have does not make it a front door's
    assert_problems(&folder, &format!("[log]\n[health]\n{AGENT}"), &[no_check]);
}

#[test]
fn what_is_not_known_is_refused() {
    let folder = Folder::new();
    assert_problems(
        &folder,
        &format!(
            "{AGENT}clientca = \"ca.pem\"\nhaproxy_agentcheck = \"\"\n{CHECK}inteval = \"1s\"\n[vrrp]\npath = 1\n[admin]\n"
        ),
        &[
            "h.toml:4:1: error: unknown key 'clientca' in [agent]; did you mean 'client_ca'?",
            "h.toml:5:1: error: unknown key 'haproxy_agentcheck' in [agent]; did you mean 'haproxy_agent_check'?",
            "h.toml:9:1: error: unknown key 'inteval' in [[check]]",
            "h.toml:11:1: error: unknown key 'path' in [vrrp]",
            "h.toml:12:2: error: unknown key 'admin' in the file",
        ],
    );
}

#[test]
fn haproxy_asks_at_an_address_of_its_own_or_not_at_all() {
    let folder = Folder::new();
    let asked =
        |address: &str, more: &str| format!("{AGENT}haproxy_agent_check = \"{address}\"\n{CHECK}{more}");
    assert_problems(&folder, &asked("", ""), &[]);
    assert_problems(&folder, &asked("0.0.0.0:9466", ""), &[]);
    let taken = "h.toml:4:23: error: 'listen' has the address 127.0.0.1:9464; give 'haproxy_agent_check' another port";
    assert_problems(&folder, &asked("127.0.0.1:9464", ""), &[taken]);
    assert_problems(&folder, &asked("0.0.0.0:9464", ""), &[taken]);
    let what = "must be an address with its port, like \"192.0.2.1:443\" or \"[2001:db8::1]:443\"";
    assert_problems(
        &folder,
        &asked("9466", ""),
        &[&format!("h.toml:4:23: error: 'haproxy_agent_check': {what}")],
    );
    assert_problems(
        &folder,
        &asked("192.0.2.1:9466", "[fence]\nports = [\"tcp/443\", \"tcp/9466\"]\n"),
        &[
            "h.toml:9:21: error: tcp/9466 is where this agent listens: HAProxy could not ask whether the gateway works again",
        ],
    );
}

#[test]
fn a_pair_of_gateways_shares_its_addresses_as_front_doors_do() {
    let folder = Folder::new();
    let start = format!("{AGENT}{CHECK}[vrrp]\n");
    let instance = "[[vrrp.instance]]\nvrrp_id = 41\nrole = \"master\"\ninterface = \"eth0\"\n\
                    addresses = [\"192.0.2.9/24\"]\n";
    assert_problems(&folder, &start, &[]);
    assert_problems(&folder, &format!("{start}track_file = \"/run/fit\"\n{instance}"), &[]);
    let path = "must be a path that begins with '/': keepalived runs in another folder";
    assert_problems(
        &folder,
        &format!(
            "{start}track_file = \"fit\"\n[[vrrp.instance]]\nnotify_fifo = \"fifo\"\n{instance}{instance}"
        ),
        &[
            &format!("h.toml:8:14: error: 'track_file': {path}"),
            "h.toml:9:1: error: missing key 'vrrp_id' in [[vrrp.instance]]",
            "h.toml:9:1: error: missing key 'role' in [[vrrp.instance]]; it is 'master' or 'backup'",
            "h.toml:9:1: error: missing key 'addresses' in [[vrrp.instance]]",
            "h.toml:9:1: error: missing key 'interface' in [[vrrp.instance]]",
            &format!("h.toml:10:15: error: 'notify_fifo': {path}"),
            "h.toml:17:11: error: two [[vrrp.instance]] have the vrrp_id 41; give one of them another number",
            "h.toml:20:14: error: the virtual address 192.0.2.9 is there twice; leave one of them out",
        ],
    );
}

#[test]
fn a_fence_says_what_is_refused_and_how() {
    let folder = Folder::new();
    for (fence, problem) in [
        (
            "engine = \"nft\"",
            "8:10: error: 'engine' cannot be 'nft'; it is one of 'nftables', 'iptables', 'none'",
        ),
        (
            "ports = [\"443\"]",
            "8:10: error: 'ports': must be a protocol and a port, like \"tcp/443\" or \"udp/443\"",
        ),
        ("ports = [\"tcp/443\", \"tcp/443\"]", "8:21: error: 'ports' has tcp/443 twice"),
        (
            "ports = []",
            "8:9: error: 'ports' must name what is to be refused, like [\"tcp/443\"]; for no fence write engine = \"none\"",
        ),
        (
            "ports = [\"tcp/443\", \"tcp/9464\"]",
            "8:21: error: tcp/9464 is where this agent listens: the front doors could not ask whether the gateway works again",
        ),
        ("connections = \"old\"", "8:15: error: 'connections' cannot be 'old'; it is one of 'new', 'all'"),
        ("lease = \"2h\"", "8:9: error: 'lease' must be from 1s to 3600s"),
        (
            "lease = \"2s\"",
            "8:9: error: 'lease' (2s) is shorter than three rounds of checks ([health] interval is 1s): the block would end while its reason lasts",
        ),
        (
            "[health]\ninterval = \"10s\"",
            "7:1: error: 'lease' (15s) is shorter than three rounds of checks ([health] interval is 10s): the block would end while its reason lasts",
        ),
        (
            "reject_with = \"drop\"",
            "8:15: error: 'reject_with' cannot be 'drop'; it is one of 'tcp-reset', 'icmp-port-unreachable'",
        ),
        (
            "exempt = [\"10.0.0.0/33\"]",
            "8:11: error: 'exempt': must be a network or an address, like \"10.0.0.0/8\" or \"2001:db8::1\"",
        ),
        (
            "spare = [\"10.0.0.0/8\"]",
            "8:10: error: 'spare': must be an address of this host, like \"192.0.2.1\"",
        ),
        ("spare = [\"0.0.0.0\"]", "8:10: error: 'spare': 0.0.0.0 is no address that a host can have"),
        ("spare = [\"10.0.0.1\", \"10.0.0.1\"]", "8:22: error: 'spare' has 10.0.0.1 twice"),
        ("on_exit = \"stay\"", "8:11: error: 'on_exit' cannot be 'stay'; it is one of 'remove', 'lease'"),
        ("port = [\"tcp/443\"]", "8:1: error: unknown key 'port' in [fence]; did you mean 'ports'?"),
    ] {
        let problem = &format!("h.toml:{problem}");
        assert_problems(&folder, &format!("{AGENT}{CHECK}[fence]\n{fence}\n"), &[problem]);
    }
    for fence in [
        "",
        "engine = \"iptables\"\nports = [\"tcp/8080\", \"udp/9464\"]\nconnections = \"all\"\nreject_with = \"tcp-reset\"",
        "lease = \"3s\"\non_exit = \"lease\"\nexempt = [\"192.168.200.7/24\", \"2001:db8::2\"]",
        "ports = [\"udp/500\", \"udp/4500\"]",
        // what is not used cannot be wrong
        "engine = \"none\"\nports = []\nlease = \"1s\"",
    ] {
        assert_problems(&folder, &format!("{AGENT}{CHECK}[fence]\n{fence}\n"), &[]);
    }
}

#[test]
fn a_fence_that_refuses_nobody_or_the_wrong_ones_is_told() {
    let folder = Folder::new();
    let nothing = "nothing would be refused: with connections = \"new\" what opens a connection is, over TCP and of \
                   IKE (udp/500 and udp/4500), and other UDP is not; add the TCP port, or write connections = \"all\"";
    let ssh = "tcp/22 is where administrators log in: they could not, while the gateway fails";
    for (fence, place, warning, status) in [
        (
            "exempt = [\"10.0.0.1\", \"::/0\"]",
            "8:23",
            "'exempt' ::/0 is everybody: nobody would be refused",
            1,
        ),
        ("ports = [\"udp/443\", \"udp/1194\"]", "8:9", nothing, 1),
        ("ports = [\"tcp/443\", \"tcp/22\"]", "8:21", ssh, 0),
    ] {
        let (ended, printed) = folder.check("h.toml", &format!("{AGENT}{CHECK}[fence]\n{fence}\n"));
        let told = printed.lines().find(|line| line.starts_with("h.toml:8:"));
        assert_eq!(told, Some(format!("h.toml:{place}: warning: {warning}").as_str()), "{printed}");
        assert_eq!(ended, status, "{printed}");
    }
}
