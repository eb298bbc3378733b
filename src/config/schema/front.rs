//! A front door's file.

use super::Default::{Is, Otherwise, Required};
use super::Value::{Boolean, Duration, Integer, Number, Text, Texts, Word};
use super::common::{
    ADDRESSES, ADVERTISEMENT_INTERVAL, CA, EXPECT_STATUS, FALL, INTERFACE, INTERVAL, LOG, PATH, PEERS,
    PREEMPT, RISE, ROLE, SERVER_NAME, TIMEOUT, VERIFY, VRRP_ID,
};
use super::proxy::{PASSTHROUGH, PROXY, UPSTREAM_TLS};
use super::{DAY, File, HOUR, Key, Table, milliseconds, seconds};

/// A front door's file.
pub static FRONT: File = File {
    path: "config/vestibule.toml",
    about: "The front door's: `vestibule serve -c vestibule.toml` on the host that holds the virtual address.",
    root: &ROOT,
    tables: &[
        &NODE,
        &ADMIN,
        &LOG,
        &LISTENER,
        &CERTIFICATES,
        &REDIRECT,
        &LIMITS,
        &PROXY,
        &UPSTREAM_TLS,
        &PASSTHROUGH,
        &VRRP,
        &BALANCE,
        &WEIGHTS,
        &HEALTH,
        &DVE,
        &IKEV2,
        &FENCE,
        &GATEWAY,
        &CAPACITY,
        &CHECK,
        &HEARTBEAT,
        &PEERS_TABLE,
    ],
};

static ROOT: Table = Table {
    header: "",
    title: "the file",
    about: "",
    keys: &[
        Key::table("node", &NODE),
        Key::table("admin", &ADMIN),
        Key::table("log", &LOG),
        Key::tables("listener", &LISTENER),
        Key::tables("vrrp", &VRRP),
        Key::table("balance", &BALANCE),
        Key::table("health", &HEALTH),
        Key::table("dve", &DVE),
        Key::table("ikev2_redirect", &IKEV2),
        Key::table("fence", &FENCE),
        Key::tables("gateway", &GATEWAY),
        Key::table("heartbeat", &HEARTBEAT),
        Key::table("peers", &PEERS_TABLE),
    ],
};

static NODE: Table = Table {
    header: "[node]",
    title: "[node]",
    about: "This front door itself. A change needs a restart.",
    keys: &[
        Key::new(
            "name",
            Text("name"),
            Otherwise("the host name"),
            "What this front door is called in its status, its log, and by the others.",
        )
        .example("\"front-a\""),
        Key::new("workers", Integer(0, 1024), Is("0"), "Threads that serve clients; 0: one for each core.")
            .change("Fewer leave cores to other services on the host.")
            .example("3"),
        Key::new(
            "state_dir",
            Text("folder, or \"\""),
            Is("\"/var/lib/vestibule\""),
            "Where it keeps what is to outlive it, in `state.json`: which gateways are drained, and which one is active in failsafe mode. \
             Made where it is missing. \"\": nothing is kept.",
        )
        .change("A folder of its own for each front door, where two run on one host.")
        .example("\"/var/lib/vestibule-b\""),
    ],
};

static ADMIN: Table = Table {
    header: "[admin]",
    title: "[admin]",
    about: "Status page, metrics and API, and the socket of the command line.",
    keys: &[
        Key::new(
            "listen",
            Text("ip:port"),
            Is("\"127.0.0.1:9463\""),
            "The admin address. On one that other hosts reach there has to be a `token_file`, and everything but `/metrics`, `/healthz` and \
             `/readyz` needs the token. A change needs a restart.",
        )
        .change("An address of the inner network, so that Prometheus and administrators reach it.")
        .example("\"127.0.0.1:9563\""),
        Key::new(
            "socket",
            Text("path, or \"\""),
            Is("\"/run/vestibule/admin.sock\""),
            "Where the command line asks: readable and writable for the owner and the group of the process, who are trusted without a token. \
             \"\" turns it off. A change needs a restart.",
        )
        .example("\"/run/vestibule/b.sock\""),
        Key::new(
            "token_file",
            Text("file"),
            Is("\"admin.token\""),
            "One word of 16 characters or more, which every change over HTTP must show. The default file need not be there: then changes go \
             through the socket alone. A new token is taken over when the file changes.",
        )
        .example("\"other.token\""),
        Key::new(
            "hosts",
            Texts("host name without port"),
            Is("[]"),
            "The names under which the status page may be opened, beside addresses, `localhost` and the `name` of `[node]`. A request under \
             any other name is refused, lest a foreign web site reach the page by a name of its own (DNS rebinding).",
        )
        .change("The name that administrators type, or that a proxy in front passes on.")
        .example("[\"front-a.example.com\"]"),
    ],
};

static LISTENER: Table = Table {
    header: "[[listener]]",
    title: "[[listener]]",
    about: "Where browsers and SSL VPN clients arrive. Every address may be configured before this host owns it, so that a standby is ready \
            the moment it does. Two must not have one address.",
    keys: &[
        Key::new("name", Text("name"), Required, "In status, log and metrics; each once.").example("\"portal\""),
        Key::new("address", Text("ip:port"), Required, "The virtual address that people's browsers are given.")
            .example("\"62.168.1.203:443\""),
        Key::new(
            "vrrp_id",
            Integer(1, 255),
            Otherwise("all gateways"),
            "Its candidates are the gateways with the same number.",
        )
        .change("Where one front door serves several farms.")
        .example("31"),
        Key::new(
            "mode",
            Word(&["redirect", "proxy", "passthrough", "https-upgrade"]),
            Required,
            "`redirect`: TLS, then a redirect to the gateway that is least loaded. `proxy`: TLS ends here, requests and tunnels are taken to a \
             gateway. `passthrough`: TLS is taken to a gateway untouched. `https-upgrade`: plain HTTP, redirected to the listener with TLS.",
        )
        .example("\"redirect\""),
        Key::tables("certificates", &CERTIFICATES),
        Key::table("redirect", &REDIRECT),
        Key::table("limits", &LIMITS),
        Key::table("proxy", &PROXY),
        Key::table("passthrough", &PASSTHROUGH),
    ],
};

static CERTIFICATES: Table = Table {
    header: "[[listener.certificates]]",
    // how it is written, for those who have written it otherwise
    title: "certificates = [{ certificate = \"FILE\", key = \"FILE\" }]",
    about: "What a redirect or proxy listener shows, most often written as `certificates = [{ certificate = \"portal.pem\", key = \"portal.key\" }]` \
            in `[[listener]]`. Several are chosen from by the name that the client asks for (SNI); the first one is for everyone else. A change \
            on disk is taken up by itself.",
    keys: &[
        Key::new("certificate", Text("file"), Required, "The certificate with its chain, PEM.")
            .example("\"portal.pem\""),
        Key::new("key", Text("file"), Required, "Its private key, PEM.").example("\"portal.key\""),
    ],
};

static REDIRECT: Table = Table {
    header: "[listener.redirect]",
    title: "[listener.redirect]",
    about: "For `mode = \"redirect\"` and `\"https-upgrade\"`.",
    keys: &[
        Key::new(
            "status",
            Integer(300, 399),
            Is("302"),
            "301, 302, 303, 307 or 308.",
        )
        .change("Leave it: browsers remember 301 and 308, and would not come back here.")
        .example("307"),
        Key::new(
            "keep_path",
            Boolean,
            Is("false"),
            "Whether the gateway is asked for the path that the front door was asked for. The query is never passed on.",
        )
        .change("Where people come with links into the portal.")
        .example("true"),
        Key::new(
            "retry_after",
            Duration(seconds(1), HOUR),
            Is("\"5s\""),
            "What a client is told to wait when no gateway is available (503).",
        )
        .example("\"30s\""),
        Key::new(
            "https_endpoint",
            Text("host[:port]"),
            Otherwise("the first name in the certificate of the redirect or proxy listener on the same address, with its port"),
            "With `mode = \"https-upgrade\"`: where to. Never what the client claims to have asked for.",
        )
        .example("\"vpn.example.com\""),
    ],
};

const fn timeout(name: &'static str, default: &'static str, meaning: &'static str) -> Key {
    Key::new(name, Duration(milliseconds(100), DAY), Is(default), meaning)
}

static LIMITS: Table = Table {
    header: "[listener.limits]",
    title: "[listener.limits]",
    about: "What a listener bears.",
    keys: &[
        Key::new(
            "connections",
            Integer(1, 10_000_000),
            Is("50000"),
            "Connections at a time. Where the limit of open files (`LimitNOFILE`) is too low for all listeners, fewer are taken, and the log \
             says so.",
        )
        .change("Higher for a proxy of very many people; raise `LimitNOFILE` with it.")
        .example("100000"),
        Key::new(
            "connections_per_source",
            Integer(1, 10_000_000),
            Is("512"),
            "The same from one source: an IPv4 address or an IPv6 /64. A trusted proxy is limited by those on whose behalf it comes.",
        )
        .change("Higher where many come from behind one NAT: the metric `vestibule_connections_rejected_total` shows it.")
        .example("5000"),
        timeout(
            "handshake_timeout",
            "\"5s\"",
            "For a whole TLS handshake; on a passthrough, for the client's first byte (its name, where names are asked for).",
        )
        .change("Longer for very slow lines only: it is what idle attackers may take.")
        .example("\"15s\""),
        timeout("header_timeout", "\"10s\"", "For a whole request, from its first byte on.").example("\"20s\""),
        timeout("idle_timeout", "\"60s\"", "How long a connection may stay open without a request.")
            .change("Shorter where places are scarce.")
            .example("\"15s\""),
        Key::new("header_bytes", Text("size, 8KiB to 1MiB"), Is("\"32KiB\""), "Size of a request's head.")
            .change("Higher if clients bring very large cookies and get 431.")
            .example("\"64KiB\""),
    ],
};

static VRRP: Table = Table {
    header: "[[vrrp]]",
    title: "[[vrrp]]",
    about: "Virtual addresses that this front door shares with another one: keepalived (VRRP) gives them to one of the two, all of them to the \
            same. `vestibule keepalived` makes keepalived's configuration from this; make it again when this changes.",
    keys: &[
        VRRP_ID,
        ROLE,
        INTERFACE,
        ADDRESSES,
        PEERS,
        ADVERTISEMENT_INTERVAL,
        PREEMPT,
        Key::new(
            "notify_fifo",
            Text("path"),
            Is("\"/run/vestibule/keepalived.fifo\""),
            "Where keepalived says what it does; made where it is missing. In all tables alike.",
        )
        .example("\"/run/vestibule/k.fifo\""),
    ],
};

static BALANCE: Table = Table {
    header: "[balance]",
    title: "[balance]",
    about: "Who is chosen.",
    keys: &[
        Key::new(
            "mode",
            Word(&["load-balancing", "failsafe"]),
            Is("\"load-balancing\""),
            "`load-balancing`: the gateway that is least loaded first. `failsafe`: one gateway at a time, the first in the file that is up, not \
             draining and not fenced; of each `vrrp_id` one, and one of those without any.",
        )
        .change("`failsafe` where a second gateway stands by for the first.")
        .example("\"failsafe\""),
        Key::new(
            "failback",
            Boolean,
            Is("true"),
            "With `mode = \"failsafe\"`: an earlier gateway takes over again once it is up. `false`: the active one stays until it fails or \
             drains, over a restart as well.",
        )
        .change("`false` where each change costs people a login.")
        .example("false"),
        Key::new(
            "slow_start",
            Duration(seconds(0), HOUR),
            Is("\"30s\""),
            "A gateway that comes back is filled gradually for so long, and not by everyone at once.",
        )
        .change("Longer where a gateway takes its time to warm up.")
        .example("\"2m\""),
        Key::table("weights", &WEIGHTS),
    ],
};

const fn weight(name: &'static str, meaning: &'static str) -> Key {
    Key::new(name, Number, Is("1"), meaning).example("2")
}

static WEIGHTS: Table = Table {
    header: "[balance.weights]",
    title: "weights",
    about: "What the load is made of, most often written as `weights = { throughput = 1, tunnels = 1, pool = 1, cpu = 1 }` in `[balance]`: each \
            criterion is a share, 0 to 1, of what the gateway can hold, and the load is their weighted mean. Raise what is scarce; 0 leaves a \
            criterion out; not all are 0. Where one is not known of a gateway, the others count.",
    keys: &[
        weight("throughput", "Bits per second, in the busier direction, of the interface's capacity."),
        weight("tunnels", "Tunnels of those it can hold."),
        weight("pool", "Pool addresses lent of those it has."),
        weight("cpu", "Use of the processor."),
    ],
};

static HEALTH: Table = Table {
    header: "[health]",
    title: "[health]",
    about: "When a gateway is up and when it is down, as far as this front door asks.",
    keys: &[
        INTERVAL,
        TIMEOUT,
        RISE,
        FALL,
        Key::new(
            "stale_after",
            Duration(milliseconds(100), DAY),
            Is("\"10s\""),
            "A report of load that is older no longer counts; the gateway is then taken to be as loaded as the others are on average.",
        )
        .change("Longer with a longer `interval`.")
        .example("\"30s\""),
        Key::new(
            "when_none_available",
            Word(&["refuse", "last-known-good", "any"]),
            Is("\"refuse\""),
            "What every door does when no gateway is available. `refuse`: 503 with Retry-After. `last-known-good`: the gateway that was up \
             last. `any`: one of all that are not draining, down or not.",
        )
        .change("`last-known-good` where it is more likely that checks are wrong than that all gateways are gone.")
        .example("\"last-known-good\""),
    ],
};

static DVE: Table = Table {
    header: "[dve]",
    title: "[dve]",
    about: "For native VPN clients that ask over UDP where to go (docs/recipes.md). Without the table nobody is answered.",
    keys: &[
        Key::new(
            "listen",
            Texts("ip:port"),
            Required,
            "On the virtual address; answers leave from the address that was asked. Also on 0.0.0.0 or [::].",
        )
        .example("[\"62.168.1.203:4463\"]"),
        Key::new(
            "keys",
            Texts("file"),
            Required,
            "Ed25519, PKCS #8; `vestibule certs init` makes one. The same on all front doors: clients know its public half. The first one \
             signs; name the next one behind it while clients learn it.",
        )
        .example("[\"../certs/dve.key\"]"),
        Key::new(
            "ttl",
            // the answer has two bytes for it; and whoever holds one for an hour has not heard of much
            Duration(seconds(1), HOUR),
            Is("\"30s\""),
            "For how long a client may use an answer again; whole seconds.",
        )
        .example("\"10s\""),
        Key::new(
            "answers_per_second_per_source",
            Integer(1, 1_000_000),
            Is("100"),
            "One source, an IPv4 /24 or an IPv6 /56, gets so many; what it asks beyond that is dropped.",
        )
        .change("Higher where a whole company is behind one NAT.")
        .example("1000"),
    ],
};

static IKEV2: Table = Table {
    header: "[ikev2_redirect]",
    title: "[ikev2_redirect]",
    about: "For IKEv2 clients of any maker that announce REDIRECT_SUPPORTED (RFC 5685): they are sent to a gateway with their first message. No \
            IKE daemon may listen on the same addresses. Without the table nobody is answered.",
    keys: &[
        Key::new(
            "listen",
            Texts("ip:port"),
            Required,
            "On the virtual address, most often ports 500 and 4500.",
        )
        .example("[\"62.168.1.203:500\", \"62.168.1.203:4500\"]"),
        Key::new(
            "vrrp_id",
            Integer(1, 255),
            Otherwise("all gateways"),
            "Its candidates are the gateways with the same number.",
        )
        .example("31"),
    ],
};

static FENCE: Table = Table {
    header: "[fence]",
    title: "[fence]",
    about: "Firewall blocks on gateways that fail: where clients talk to gateways themselves, a failing one must refuse newcomers itself.",
    keys: &[
        Key::new(
            "enabled",
            Boolean,
            Is("true"),
            "`false`: nothing is blocked by this front door. Agents go on blocking their own gateways as they are told to, and this front door \
             keeps none of them open.",
        )
        .example("false"),
        Key::new(
            "lease",
            // long enough to be renewed three times, and no longer than an agent takes
            Duration(seconds(3), HOUR),
            Is("\"15s\""),
            "A block ends by itself so long after this front door has renewed it last, which it does at a third of that.",
        )
        .change("Longer where the way to the agents is bad; whatever stops this front door leaves a block no longer than this.")
        .example("\"30s\""),
        Key::new(
            "keep_at_least",
            Integer(0, 100_000),
            Is("1"),
            "However many gateways fail, so many stay unblocked, over all front doors and agents as far as reports tell. The same at all \
             front doors.",
        )
        .change("Higher in a large farm, so that a fault of the checks cannot close it.")
        .example("0"),
    ],
};

static GATEWAY: Table = Table {
    header: "[[gateway]]",
    title: "[[gateway]]",
    about: "The gateways. In failsafe mode their order counts.",
    keys: &[
        Key::new("name", Text("name"), Required, "In status, log and metrics; each once.").example("\"gw1\""),
        Key::new(
            "vrrp_id",
            Integer(1, 255),
            Otherwise("a candidate only where a listener names no number"),
            "One with the number of a listener is a candidate there; of a pair that shares an address: the pair's number.",
        )
        .example("31"),
        Key::new(
            "ssl_endpoint",
            Text("host[:port]"),
            Required,
            "Where browsers are sent, as they reach it from outside; port 443. The gateway's certificate must fit this name.",
        )
        .example("\"gw1.example.com\""),
        Key::new(
            "native_endpoint",
            Text("host[:port]"),
            Otherwise("the host of `ssl_endpoint`, port 500"),
            "Where DVE and IKEv2 answers send native clients; port 500. An IKEv2 redirect cannot name another.",
        )
        .example("\"62.168.1.201:1194\""),
        Key::new(
            "upstream",
            Text("host[:port]"),
            Otherwise("`ssl_endpoint`"),
            "Where proxy and passthrough connect; port 443. Where no check looks at it, it gets a tcp check of its own, called \"upstream\".",
        )
        .change("The gateway's address in the inner network.")
        .example("\"192.168.200.1\""),
        Key::new(
            "heartbeat",
            Text("https://host[:port]"),
            Otherwise("no agent: direct checks alone tell its health, and its load is unknown"),
            "Its agent; port 9464. Plain http only on loopback.",
        )
        .example("\"https://192.168.200.1:9464\""),
        Key::new(
            "vpn_mode",
            Word(&["native", "ssl", "both", "vrrp-only"]),
            Is("\"both\""),
            "Listeners choose among ssl and both, DVE and IKEv2 answers among native and both; vrrp-only is chosen by nobody.",
        )
        .example("\"ssl\""),
        Key::new(
            "vrrp_mode",
            Word(&["inactive", "master", "backup"]),
            Is("\"inactive\""),
            "Two gateways that share an address, for clients that can be sent nowhere: `master` for the one that begins with it, `backup` for the \
             other. Their own keepalived moves it; here it is shown.",
        )
        .example("\"backup\""),
        Key::new(
            "preset",
            Word(&["ocserv", "novell", "none"]),
            Is("\"none\""),
            "Adds the direct check that fits the product, from here to `ssl_endpoint` (ocserv: GET / must answer 200), and tells a proxy its \
             session cookies.",
        )
        .change("Name the product wherever it is one of these.")
        .example("\"ocserv\""),
        Key::new(
            "fence",
            Word(&["agent", "local", "none"]),
            Otherwise("agent where there is a `heartbeat`, else none"),
            "How it is fenced when the checks of this front door find it down. `agent`: its agent is asked to refuse newcomers; for that it must \
             answer, over https, and have a `[fence]`. `local`: this host's firewall keeps everyone who comes through here from it; needs nft \
             and CAP_NET_ADMIN.",
        )
        .example("\"none\""),
        Key::table("capacity", &CAPACITY),
        Key::tables("check", &CHECK),
    ],
};

static CAPACITY: Table = Table {
    header: "[gateway.capacity]",
    title: "capacity",
    about: "What it can hold, for what its agent does not report; most often written as `capacity = { throughput = \"1Gbit\", tunnels = 1000 }` in \
            `[[gateway]]`. A criterion of which the size is not known does not count for this gateway.",
    keys: &[
        Key::new("throughput", Text("bit rate"), Otherwise("not known"), "Bits per second in one direction.")
            .example("\"1Gbit\""),
        Key::new("tunnels", Integer(1, 100_000_000), Otherwise("not known"), "Tunnels.").example("1000"),
    ],
};

static CHECK: Table = Table {
    header: "[[gateway.check]]",
    title: "[[gateway.check]]",
    about: "Direct checks of this front door, beside the agent and in place of the preset's; all must pass. Where there is neither agent nor preset \
            nor check, it is https GET / on `ssl_endpoint`.",
    keys: &[
        Key::new(
            "kind",
            Word(&["tcp", "tls", "http", "https"]),
            Required,
            "`tcp`: a connection. `tls`: and a handshake. `http`, `https`: and a request.",
        )
        .example("\"https\""),
        Key::new(
            "name",
            Text("name"),
            Otherwise("the kind"),
            "In status and metrics; each once for a gateway.",
        )
        .example("\"portal\""),
        Key::new(
            "address",
            Text("host[:port]"),
            Otherwise("`ssl_endpoint`"),
            "Where; port 443, for http 80.",
        )
        .example("\"62.168.1.201:443\""),
        PATH,
        EXPECT_STATUS,
        SERVER_NAME,
        VERIFY,
        CA,
    ],
};

static HEARTBEAT: Table = Table {
    header: "[heartbeat]",
    title: "[heartbeat]",
    about: "How agents are asked, and how the other front doors are: who they must be, and who this front door is to them. PEM files, as \
            `vestibule certs init` makes them.",
    keys: &[
        Key::new(
            "ca",
            Text("file"),
            Otherwise("no agent can be asked over https"),
            "Who has to have signed the agents' certificates.",
        )
        .example("\"../certs/ca.pem\""),
        Key::new(
            "certificate",
            Text("file"),
            Otherwise("none is shown"),
            "What this front door shows; belongs together with `key`. Its names are those in which it may hold a block.",
        )
        .example("\"../certs/front-a.pem\""),
        Key::new("key", Text("file"), Otherwise("none"), "Its private key.").example("\"../certs/front-a.key\""),
    ],
};

static PEERS_TABLE: Table = Table {
    header: "[peers]",
    title: "[peers]",
    about: "The other front doors of the same gateways: each asks each how things stand, over mutual TLS with the certificates of `[heartbeat]`. \
            What one is told, the others know within a moment: drains and their ends, failsafe choices, newcomers under way.",
    keys: &[
        Key::new(
            "listen",
            Text("ip:port"),
            Required,
            "Where the others ask this one: an address of this host, not a virtual one.",
        )
        .example("\"192.168.200.3:9465\""),
        Key::new(
            "front_doors",
            Texts("https://host[:port]"),
            Required,
            "Where the others listen; port 9465.",
        )
        .example("[\"https://192.168.200.4:9465\"]"),
    ],
};
