//! An agent's file.

use super::Default::{Is, Otherwise, Required};
use super::Value::{Duration, Integer, Text, Texts, Word};
use super::common::{
    ADDRESSES, ADVERTISEMENT_INTERVAL, CA, EXPECT_STATUS, FALL, INTERFACE, INTERVAL, LOG, PATH, PEERS,
    PREEMPT, RISE, ROLE, SERVER_NAME, TIMEOUT, VERIFY, VRRP_ID,
};
use super::{File, HOUR, Key, Table, seconds};

/// An agent's file.
pub static AGENT: File = File {
    path: "config/heartbeat.toml",
    about: "The heartbeat agent's: `vestibule heartbeat -c heartbeat.toml` on each gateway.",
    root: &ROOT,
    tables: &[
        &AGENT_TABLE,
        &LOG,
        &HEALTH,
        &CHECK,
        &LOAD,
        &CAPACITY,
        &TUNNELS,
        &POOL,
        &FENCE,
        &VRRP,
        &INSTANCE,
    ],
};

static ROOT: Table = Table {
    header: "",
    title: "the file",
    about: "",
    keys: &[
        Key::table("agent", &AGENT_TABLE),
        Key::table("log", &LOG),
        Key::table("health", &HEALTH),
        Key::tables("check", &CHECK),
        Key::table("load", &LOAD),
        Key::table("fence", &FENCE),
        Key::table("vrrp", &VRRP),
    ],
};

static AGENT_TABLE: Table = Table {
    header: "[agent]",
    title: "[agent]",
    about: "Who asks this agent, and where.",
    keys: &[
        Key::new("name", Text("name"), Required, "What this gateway is called.").example("\"gw1\""),
        Key::new("listen", Text("ip:port"), Required, "Where front doors ask: an address of the inner network.")
            .example("\"192.168.200.1:9464\""),
        Key::new(
            "certificate",
            Text("file"),
            Otherwise("plain HTTP, which is for loopback alone"),
            "What the agent shows, PEM. The address or name in the front door's `heartbeat` must be in it.",
        )
        .example("\"../certs/gw1.pem\""),
        Key::new("key", Text("file"), Otherwise("none"), "Its private key, PEM.").example("\"../certs/gw1.key\""),
        Key::new(
            "client_ca",
            Text("file"),
            Otherwise("needed where `listen` is not on loopback"),
            "Only front doors with a certificate of this authority may ask. Whoever has one may ask, fence this gateway and keep it open: let it be \
             an authority of the farm's own (`vestibule certs init`), not the one that signs users.",
        )
        .example("\"../certs/ca.pem\""),
        Key::new(
            "haproxy_agent_check",
            Text("ip:port, or \"\""),
            Is("\"\""),
            "Where HAProxy's agent-check is answered (docs/recipes.md). \"\": nowhere.",
        )
        .change("Where HAProxy stands in front of this gateway. Whoever can connect is answered: an address of the inner network.")
        .example("\"192.168.200.1:9466\""),
    ],
};

static HEALTH: Table = Table {
    header: "[health]",
    title: "[health]",
    about: "When this gateway works and when it does not, as its agent sees it.",
    keys: &[INTERVAL, TIMEOUT, RISE, FALL],
};

static CHECK: Table = Table {
    header: "[[check]]",
    title: "[[check]]",
    about: "What \"this gateway works\" means; at least one, and all must pass.",
    keys: &[
        Key::new(
            "kind",
            Word(&["tcp", "tls", "http", "https", "exec", "systemd"]),
            Required,
            "`tcp`: a connection. `tls`: and a handshake. `http`, `https`: and a request. `exec`: a program. `systemd`: a unit.",
        )
        .example("\"https\""),
        Key::new(
            "name",
            Text("name"),
            Otherwise("the kind, or the unit"),
            "In reports and metrics; each once.",
        )
        .example("\"portal\""),
        Key::new(
            "address",
            Text("host[:port]"),
            Otherwise("needed for tcp, tls, http and https"),
            "Where; port 443, for http 80.",
        )
        .example("\"127.0.0.1:443\""),
        PATH,
        EXPECT_STATUS,
        SERVER_NAME,
        VERIFY,
        CA,
        Key::new(
            "command",
            Texts("word"),
            Otherwise("needed for exec"),
            "The program and its arguments; without a shell. Exit status 0 passes. It is ended after `timeout`, with all that it has started.",
        )
        .example("[\"/usr/local/bin/check-radius\", \"--quick\"]"),
        Key::new("unit", Text("name of a unit"), Otherwise("needed for systemd"), "The unit; `active` passes.")
            .example("\"ocserv.service\""),
    ],
};

static LOAD: Table = Table {
    header: "[load]",
    title: "[load]",
    about: "Where the load is found. The use of the processor is always reported; what is not reported does not count in the choice.",
    keys: &[
        Key::new(
            "interface",
            Text("name of an interface"),
            Otherwise("throughput is not reported"),
            "The interface that carries the tunnels: its traffic is the throughput.",
        )
        .example("\"eth0\""),
        Key::table("capacity", &CAPACITY),
        Key::table("tunnels", &TUNNELS),
        Key::table("pool", &POOL),
    ],
};

static CAPACITY: Table = Table {
    header: "[load.capacity]",
    title: "capacity",
    about: "What this gateway can hold, so that unlike gateways compare; most often written as `capacity = { throughput = \"1Gbit\", tunnels = 1000, \
            pool = 1022 }` in `[load]`.",
    keys: &[
        Key::new(
            "throughput",
            Text("bit rate"),
            Otherwise("the speed of the interface's link"),
            "Bits per second in one direction.",
        )
        .change("Where the line is slower than the link, or the machine slower than the line.")
        .example("\"1Gbit\""),
        Key::new(
            "tunnels",
            Integer(1, 100_000_000),
            Otherwise("the front door's `capacity` of this gateway"),
            "Tunnels; with ocserv its `max-clients`. A gateway with so many gets no newcomers.",
        )
        .example("1000"),
        Key::new(
            "pool",
            Integer(1, 100_000_000),
            Otherwise("not known, and the pool does not count"),
            "Addresses for clients. A gateway that has lent them all gets no newcomers.",
        )
        .example("1022"),
    ],
};

const SOCKET: Key = Key::new(
    "socket",
    Text("path"),
    Is("\"/run/occtl.socket\""),
    "For `source = \"ocserv\"`: its `occtl-socket-file`.",
)
.example("\"/run/ocserv/occtl.socket\"");

const COMMAND: Key = Key::new(
    "command",
    Texts("word"),
    Otherwise("needed for exec"),
    "For `source = \"exec\"`: a program that prints the number.",
)
.example("[\"/usr/local/bin/tunnels\"]");

const PATH_OF_COUNT: Key = Key::new(
    "path",
    Text("file"),
    Otherwise("needed for file"),
    "For `source = \"file\"`: a file that holds the number.",
)
.example("\"/run/tunnels\"");

static TUNNELS: Table = Table {
    header: "[load.tunnels]",
    title: "tunnels",
    about: "How tunnels are counted, most often written as `tunnels = { source = \"ocserv\" }` in `[load]`. Without the table they are not, and the \
            other criteria decide.",
    keys: &[
        Key::new(
            "source",
            Word(&["ocserv", "interfaces", "exec", "file", "none"]),
            Required,
            "`ocserv`: it is asked (`occtl`). `interfaces`: network interfaces whose names begin with `prefix`. `exec`: a program. `file`: a file.",
        )
        .example("\"ocserv\""),
        SOCKET,
        Key::new(
            "prefix",
            Text("text"),
            Otherwise("needed for interfaces"),
            "For `source = \"interfaces\"`: how the names of the tunnels' interfaces begin.",
        )
        .example("\"ppp\""),
        COMMAND,
        PATH_OF_COUNT,
    ],
};

static POOL: Table = Table {
    header: "[load.pool]",
    title: "pool",
    about: "How addresses lent to clients are counted, most often written as `pool = { source = \"ocserv\" }` in `[load]`.",
    keys: &[
        Key::new("source", Word(&["ocserv", "exec", "file", "none"]), Required, "As for the tunnels.")
            .example("\"ocserv\""),
        Key { default: Otherwise("that of the tunnels, or `\"/run/occtl.socket\"`"), ..SOCKET },
        COMMAND,
        PATH_OF_COUNT,
    ],
};

static FENCE: Table = Table {
    header: "[fence]",
    title: "[fence]",
    about: "The firewall of this gateway refuses newcomers while its checks fail, and while a front door that cannot reach the service says so. \
            The kernel itself ends every block that nobody renews. Without the table nothing is touched. Needs root or CAP_NET_ADMIN, and the \
            program nft or iptables.",
    keys: &[
        Key::new(
            "engine",
            Word(&["nftables", "iptables", "none"]),
            Is("\"nftables\""),
            "nftables: the table `inet vestibule`. iptables: the chain `sslvpn-heartbeat-chain`. none: no fence.",
        )
        .change("`iptables` where that manages this host's firewall.")
        .example("\"iptables\""),
        Key::new(
            "ports",
            Texts("protocol/port"),
            Is("[\"tcp/443\", \"udp/443\"]"),
            "Where the VPN service listens; up to 64.",
        )
        .change("Add `udp/500` and `udp/4500` for IPsec.")
        .example("[\"tcp/443\", \"udp/443\", \"udp/500\", \"udp/4500\"]"),
        Key::new(
            "connections",
            Word(&["new", "all"]),
            Is("\"new\""),
            "`new`: what opens a connection is refused (TCP, and IKE on udp/500 and udp/4500), and tunnels live on. `all`: they are cut.",
        )
        .change("`all` where a failing gateway's tunnels are dead anyway, so that clients notice at once.")
        .example("\"all\""),
        Key::new(
            "lease",
            Duration(seconds(1), HOUR),
            Is("\"15s\""),
            "How long a block of this agent's own lives after the last round of checks that has renewed it; at least three intervals.",
        )
        .example("\"30s\""),
        Key::new(
            "reject_with",
            Word(&["tcp-reset", "icmp-port-unreachable"]),
            Otherwise("tcp-reset with nftables, icmp-port-unreachable with iptables"),
            "What those who are refused are told over TCP. Over UDP it is always icmp-port-unreachable.",
        )
        .example("\"icmp-port-unreachable\""),
        Key::new(
            "exempt",
            Texts("network or address"),
            Is("[\"127.0.0.0/8\"]"),
            "Who is never refused; up to 256. The addresses that front doors check from pass by themselves, and so does the loopback interface.",
        )
        .change("Name the front doors' addresses where they come from behind a NAT.")
        .example("[\"127.0.0.0/8\", \"192.168.200.0/24\"]"),
        Key::new(
            "spare",
            Texts("address"),
            Is("[]"),
            "Addresses of this host at which another service listens on the same ports, like a front door's virtual address; up to 64.",
        )
        .example("[\"62.168.1.203\"]"),
        Key::new(
            "on_exit",
            Word(&["remove", "lease"]),
            Is("\"remove\""),
            "What becomes of this agent's own block when it stops in order: it is taken away, or runs out.",
        )
        .change("`lease` where newcomers must not arrive before the next agent has looked.")
        .example("\"lease\""),
    ],
};

static VRRP: Table = Table {
    header: "[vrrp]",
    title: "[vrrp]",
    about: "For a gateway that shares an address with another one, for IPsec clients that can neither ask over DVE nor be redirected. Without the \
            table it shares none.",
    keys: &[
        Key::new(
            "track_file",
            Text("path"),
            Is("\"/run/vestibule/health\""),
            "The agent writes 0 into it while its gateway is fit, and 1 while its checks fail; keepalived reads it, and gives the address to the \
             other gateway then.",
        )
        .example("\"/run/vestibule/fit\""),
        Key::tables("instance", &INSTANCE),
    ],
};

static INSTANCE: Table = Table {
    header: "[[vrrp.instance]]",
    title: "[[vrrp.instance]]",
    about: "The address, for keepalived, as front doors describe theirs: `vestibule keepalived -c heartbeat.toml` on each of the two gateways.",
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
            Otherwise("none"),
            "For a front door on this host that has the same in its `[[vrrp]]`.",
        )
        .example("\"/run/vestibule/keepalived.fifo\""),
    ],
};
