//! `[listener.proxy]` and `[listener.passthrough]`.

use super::Default::{Is, Otherwise};
use super::Value::{Boolean, Duration, Integer, Text, Texts, Word};
use super::{DAY, Key, Table, milliseconds, seconds};

pub static PROXY: Table = Table {
    header: "[listener.proxy]",
    title: "[listener.proxy]",
    about: "For `mode = \"proxy\"`: TLS ends here, and each request, WebSocket and VPN tunnel is taken to a gateway's `upstream`.",
    keys: &[
        policy("\"round-robin\"", "\"least-loaded\""),
        Key::new(
            "persistent_connections",
            Boolean,
            Is("true"),
            "Keep connections to gateways open between requests. Each is one client's alone, for VPN gateways take a connection for a \
             client; only with `affinity` none or cookie, and no gateway of `preset = \"ocserv\"`, does one serve many.",
        )
        .change("Turn it off for a gateway that does not bear idle connections.")
        .example("false"),
        Key::new(
            "idle_per_gateway",
            Integer(1, 10_000),
            Is("32"),
            "How many connections that serve many clients may be idle, for each gateway and worker.",
        )
        .change("Higher where the metrics show many new connections to gateways under load.")
        .example("64"),
        Key::new(
            "affinity",
            Word(&["none", "source-address", "session", "cookie"]),
            Is("\"session\""),
            "How those who have been at a gateway come to it again: a VPN client logs in with several requests, and all must reach the \
             same gateway. `session`: by the session cookies that gateways set. `source-address`: by the client's IPv4 address or \
             IPv6 /64. `cookie`: by a signed cookie of our own, which browsers keep and VPN clients drop. `none`: not at all. \
             Sessions are remembered for 24 hours in memory, and not after a restart or at the other front door; the others need no memory.",
        )
        .change("`source-address` where sessions must survive a takeover and people do not come from behind one NAT.")
        .example("\"source-address\""),
        Key::new(
            "session_cookies",
            Texts("name of a cookie"),
            Otherwise("those of the candidates' `preset`s; `[\"webvpncontext\", \"webvpn\", \"JSESSIONID\"]` where one has none"),
            "With `affinity = \"session\"`: the cookies that tell sessions apart.",
        )
        .change("For a product that sets others.")
        .example("[\"SVPNCOOKIE\"]"),
        Key::new(
            "affinity_cookie",
            Text("name of a cookie"),
            Is("\"VESTIBULE\""),
            "With `affinity = \"cookie\"`: its name. It is signed with a key drawn from the private key of the listener's first \
             certificate, so that all front doors with that key understand it.",
        )
        .change("Where a gateway uses that name.")
        .example("\"DOOR\""),
        CONNECT_TIMEOUT,
        Key::new(
            "response_timeout",
            Duration(milliseconds(100), DAY),
            Is("\"30s\""),
            "For the head of a response, from the end of the request on.",
        )
        .change("Longer where a page takes long to come, as after a slow second factor.")
        .example("\"2m\""),
        TUNNEL_IDLE_TIMEOUT,
        Key::new(
            "retries",
            Integer(0, 10),
            Is("2"),
            "How many more gateways are tried where that is safe: what may have reached a gateway is not sent twice.",
        )
        .example("0"),
        Key::new(
            "forwarded",
            Word(&["x-forwarded", "rfc7239", "both", "none"]),
            Is("\"x-forwarded\""),
            "Which headers tell gateways who the client is: `x-forwarded` X-Forwarded-For, -Proto and -Host, `rfc7239` Forwarded. What \
             a client itself says there is replaced.",
        )
        .change("As the product behind reads it.")
        .example("\"rfc7239\""),
        TRUSTED_PROXIES,
        SEND_PROXY_PROTOCOL,
        ACCEPT_PROXY_PROTOCOL,
        Key::table("upstream_tls", &UPSTREAM_TLS),
    ],
};

pub static UPSTREAM_TLS: Table = Table {
    header: "[listener.proxy.upstream_tls]",
    title: "upstream_tls",
    about: "TLS towards gateways, most often written as `upstream_tls = { verify = \"ca\", ca = \"../certs/ca.pem\" }` in \
            `[listener.proxy]`. Without it gateways are spoken to in plain HTTP.",
    keys: &[
        Key::new(
            "verify",
            Word(&["none", "ca"]),
            Is("\"ca\""),
            "`ca`: a gateway's certificate must be valid and name `server_name`. `none`: whatever it shows is taken.",
        )
        .change("`none` for a trial only: whoever is in between can read everything.")
        .example("\"none\""),
        Key::new(
            "ca",
            Text("file"),
            Otherwise("the authorities of this machine"),
            "With `verify = \"ca\"`: who has to have signed the certificates. PEM.",
        )
        .example("\"certs/ca.pem\""),
        Key::new(
            "server_name",
            Text("host name or address"),
            Otherwise("the host of the gateway's `upstream`"),
            "The name that is asked for (SNI) and looked for in the certificate.",
        )
        .change("Where `upstream` is an address and the certificate names a host.")
        .example("\"vpn.example.com\""),
    ],
};

pub static PASSTHROUGH: Table = Table {
    header: "[listener.passthrough]",
    title: "[listener.passthrough]",
    about: "For `mode = \"passthrough\"`: TLS is taken to a gateway's `upstream` untouched, for client certificates, and for clients that \
            know the gateways' certificate.",
    keys: &[
        policy("\"least-loaded\"", "\"round-robin\""),
        Key::new(
            "affinity",
            Word(&["none", "source-address"]),
            Is("\"source-address\""),
            "`source-address`: a client comes to the same gateway again, by its IPv4 address or IPv6 /64. `none`: it need not.",
        )
        .change("`none` where each connection stands for itself.")
        .example("\"none\""),
        Key::new(
            "server_names",
            Texts("host name, or `*.` and a domain"),
            Is("[]"),
            "The names that may be asked for (SNI); others are refused. Empty: everybody, also without a name.",
        )
        .change("Where scanners that come by address are to stay outside.")
        .example("[\"vpn.example.com\"]"),
        CONNECT_TIMEOUT,
        TUNNEL_IDLE_TIMEOUT,
        TRUSTED_PROXIES,
        SEND_PROXY_PROTOCOL,
        ACCEPT_PROXY_PROTOCOL,
    ],
};

const fn policy(default: &'static str, other: &'static str) -> Key {
    Key::new(
        "policy",
        Word(&["round-robin", "least-loaded"]),
        Is(default),
        "Where those go who have no gateway yet: to each in its turn, or to the one that is least loaded, as a redirect chooses. \
         Without effect where `affinity` is source-address.",
    )
    .change("`least-loaded` where gateways are unlike or logins are heavy.")
    .example(other)
}

const CONNECT_TIMEOUT: Key = Key::new(
    "connect_timeout",
    Duration(milliseconds(10), seconds(60)),
    Is("\"2s\""),
    "For a connection to one gateway; then the next one is tried.",
)
.change("Shorter in a local network: a client waits that long for each gateway that is gone.")
.example("\"500ms\"");

const TUNNEL_IDLE_TIMEOUT: Key = Key::new(
    "tunnel_idle_timeout",
    Duration(seconds(1), seconds(604_800)),
    Is("\"1h\""),
    "How long a tunnel (WebSocket, CONNECT, passthrough) may be without a byte either way.",
)
.change("Longer than the keepalive of the VPN clients; they send one every few minutes as a rule.")
.example("\"12h\"");

const TRUSTED_PROXIES: Key = Key::new(
    "trusted_proxies",
    Texts("network or address"),
    Is("[]"),
    "Proxies in front of this one: their word on who the client is (forwarding headers, PROXY header) is taken, and \
     `connections_per_source` does not hold for them.",
)
.change("Name the load balancers in front, and nothing wider: whoever is in there can claim any address.")
.example("[\"10.0.0.0/8\"]");

const SEND_PROXY_PROTOCOL: Key = Key::new(
    "send_proxy_protocol",
    Word(&["none", "v1", "v2"]),
    Is("\"none\""),
    "A PROXY header towards gateways, so that they know the client's address.",
)
.change("Where all gateways expect it (ocserv: `listen-proxy-proto`); none works with it that does not.")
.example("\"v2\"");

const ACCEPT_PROXY_PROTOCOL: Key = Key::new(
    "accept_proxy_protocol",
    Boolean,
    Is("false"),
    "Connections from `trusted_proxies` begin with a PROXY header.",
)
.change("Where the load balancer in front sends one.")
.example("true");
