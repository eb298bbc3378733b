//! What both files have.

use super::Default::{Is, Otherwise, Required};
use super::Value::{Boolean, Duration, Integer, Text, Texts, Word};
use super::{HOUR, Key, Table, milliseconds, seconds};

pub static LOG: Table = Table {
    header: "[log]",
    title: "[log]",
    about: "The log goes to standard error, one event a line: into the journal where systemd has started it. No query string, \
            cookie, authorization header or body is ever in it. A change needs a restart, but of `access`.",
    keys: &[
        Key::new("format", Word(&["text", "json"]), Is("\"text\""), "The form of a line.")
            .change("`json` where a program reads the log.")
            .example("\"json\""),
        Key::new(
            "level",
            Word(&["error", "warn", "info", "debug", "trace"]),
            Is("\"info\""),
            "The least important events that are told.",
        )
        .change("`debug` while a fault is looked for: it tells of single connections and checks.")
        .example("\"debug\""),
        Key::new(
            "access",
            Boolean,
            Is("true"),
            "One line for each redirect, request and tunnel that has ended (front door).",
        )
        .change("Turn it off where nobody reads them.")
        .example("false"),
    ],
};

pub const INTERVAL: Key = Key::new(
    "interval",
    Duration(milliseconds(100), HOUR),
    Is("\"1s\""),
    "From one round of questions to the next. Front door: how often each gateway is asked for its report and checked. \
     Agent: how often the `[[check]]`s are made and the load is sampled.",
)
.change("Shorter: a failure is seen sooner, for more traffic. With a fence the agent's is no shorter than the front doors'.")
.example("\"2s\"");

pub const TIMEOUT: Key = Key::new(
    "timeout",
    Duration(milliseconds(10), seconds(60)),
    Is("\"800ms\""),
    "For one answer; of the agent for each check, and each program or file that is asked for the load. Not longer than \
     `interval`.",
)
.change("Longer, together with `interval`, where gateways are slow when they are busy.")
.example("\"500ms\"");

pub const RISE: Key =
    Key::new("rise", Integer(1, 1000), Is("2"), "Good rounds in a row until a gateway is up again.")
        .change("Higher where a gateway goes to and fro.")
        .example("3");

pub const FALL: Key = Key::new(
    "fall",
    Integer(1, 1000),
    Is("3"),
    "Bad rounds in a row until it is down. A failure is seen after about `fall` times `interval`.",
)
.change("Higher where single answers are lost; lower where a failure must be seen at once.")
.example("5");

/// Who speaks VRRP, and what it moves: but for `notify_fifo`.
pub const VRRP_ID: Key = Key::new(
    "vrrp_id",
    Integer(1, 255),
    Required,
    "The virtual router's number, the same at the partner; each once.",
)
.example("31");

pub const ROLE: Key = Key::new(
    "role",
    Word(&["master", "backup"]),
    Required,
    "Who begins with the addresses. In all tables alike: they move together.",
)
.example("\"master\"");

pub const INTERFACE: Key = Key::new(
    "interface",
    Text("name of an interface"),
    Required,
    "Where VRRP is spoken and the addresses are.",
)
.example("\"eth0\"");

pub const ADDRESSES: Key = Key::new(
    "addresses",
    Texts("address/prefix length"),
    Required,
    "The virtual addresses, IPv4 and IPv6; at least one.",
)
.example("[\"62.168.1.203/24\", \"2001:db8::203/64\"]");

pub const PEERS: Key = Key::new(
    "peers",
    Texts("address"),
    Is("[]"),
    "The partner's own addresses, for unicast VRRP. Empty: multicast.",
)
.change("Name the partner where the network does not carry multicast, as in most clouds.")
.example("[\"62.168.1.202\"]");

pub const ADVERTISEMENT_INTERVAL: Key = Key::new(
    "advertisement_interval",
    // what twelve bits hold (RFC 9568 §5.2.7)
    Duration(milliseconds(10), milliseconds(40_950)),
    Is("\"1s\""),
    "How often the one who has the addresses says so; a multiple of 10ms. A takeover comes after about three of them.",
)
.change("Shorter: a takeover comes sooner. The same at the partner.")
.example("\"200ms\"");

pub const PREEMPT: Key = Key::new(
    "preempt",
    Boolean,
    Is("false"),
    "Whether the master takes the addresses back once it is there again. In all tables alike.",
)
.change("Leave it: each move of the addresses breaks the tunnels that run through the front door.")
.example("true");

/// Of a direct check and of an agent's: all but `kind` and `address`.
pub const PATH: Key = Key::new("path", Text("path"), Is("\"/\""), "What is asked for. http and https.")
    .change("Where another page tells more of the product's state.")
    .example("\"/login\"");

pub const EXPECT_STATUS: Key = Key::new(
    "expect_status",
    Text("status, or from-to"),
    Is("\"200-399\""),
    "Which answers are good. http and https.",
)
.change("`\"200\"` for ocserv, which answers 200 with its login form and 503 when it is full.")
.example("\"200\"");

pub const SERVER_NAME: Key = Key::new(
    "server_name",
    Text("host name or address"),
    Otherwise("the host of `address`"),
    "The name that is asked for (SNI) and, with `verify = \"ca\"`, looked for in the certificate. tls and https.",
)
.example("\"vpn.example.com\"");

pub const VERIFY: Key = Key::new(
    "verify",
    Word(&["none", "ca"]),
    Is("\"none\""),
    "`ca`: the certificate must be valid and name `server_name`. tls and https.",
)
.change("`ca`, so that a certificate that has run out counts as a failure, as it does for clients.")
.example("\"ca\"");

pub const CA: Key = Key::new(
    "ca",
    Text("file"),
    Otherwise("the authorities of this machine"),
    "With `verify = \"ca\"`: who has to have signed the certificate. PEM.",
)
.example("\"../certs/ca.pem\"");
