//! What stands in a front door's file, each value typed and with its place. Pure: no other file is read here.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::time::Duration;

use http::StatusCode;
use ipnet::IpNet;
use rustls::pki_types::DnsName;
use serde_spanned::Spanned;

use super::native_file::{DveTable, Ikev2Table};
use super::peers::PeersTable;
use super::proxy_file::{PassthroughTable, ProxyTable};
use super::section::Section;
use super::settings::{LogFormat, LogSettings};
use super::units;
use super::vrrp::{Owner, VrrpTable};
use crate::fence::Kind;
use crate::fleet::{
    Balance, BalanceMode, Endpoint, Host, Thresholds, Vpn, VpnMode, VrrpId, VrrpMode, Weights, WhenNone,
};
use crate::front::{Limits, Redirect};
use crate::net::check::StatusRange;

/// A whole file. What is missing or wrong is `None`; the problem has been noted.
pub struct FrontFile {
    pub node_name: Option<String>,
    pub state_dir: Option<String>,
    pub workers: usize,
    pub admin: Admin,
    pub log: LogSettings,
    pub listeners: Vec<Listener>,
    pub balance: Balance,
    pub weights: Weights,
    pub health: Health,
    pub gateways: Vec<GatewayTable>,
    pub heartbeat: Heartbeat,
    pub fence: FenceTable,
    pub dve: Option<DveTable>,
    pub ikev2: Option<Ikev2Table>,
    pub vrrp: Vec<VrrpTable>,
    pub peers: Option<PeersTable>,
}

pub struct FenceTable {
    pub enabled: bool,
    pub lease: Spanned<Duration>,
    pub keep_at_least: usize,
    /// Where that stands, if it does.
    pub keep_at_least_place: Option<super::problem::Span>,
}

pub struct Admin {
    pub listen: Option<Spanned<SocketAddr>>,
    pub socket: Option<String>,
    pub token_file: Option<Spanned<String>>,
    /// In lower case.
    pub hosts: Vec<String>,
}

pub struct Listener {
    pub head: super::problem::Span,
    pub name: Option<Spanned<String>>,
    pub address: Option<Spanned<SocketAddr>>,
    pub vrrp_id: Option<Spanned<VrrpId>>,
    pub mode: Option<Mode>,
    pub certificates: Vec<CertificateFiles>,
    pub has_certificates: bool,
    pub redirect: Redirect,
    /// Where [listener.redirect] stands, if it does.
    pub redirect_place: Option<super::problem::Span>,
    pub permanent: Option<super::problem::Span>,
    pub https_endpoint: Option<Spanned<Endpoint>>,
    /// There in mode `proxy`, and where [listener.proxy] stands.
    pub proxy: Option<ProxyTable>,
    /// There in mode `passthrough`, and where [listener.passthrough] stands.
    pub passthrough: Option<PassthroughTable>,
    pub limits: Limits,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Redirect,
    Proxy,
    Passthrough,
    HttpsUpgrade,
}

pub struct CertificateFiles {
    pub certificate: Option<Spanned<String>>,
    pub key: Option<Spanned<String>>,
}

pub struct Health {
    pub interval: Spanned<Duration>,
    pub timeout: Spanned<Duration>,
    pub thresholds: Thresholds,
    /// Where `fall` stands.
    pub fall_place: super::problem::Span,
}

pub struct GatewayTable {
    pub name: Option<Spanned<String>>,
    pub vrrp_id: Option<Spanned<VrrpId>>,
    pub vpn_mode: VpnMode,
    /// Where that stands, or the table's head.
    pub vrrp_mode: Spanned<VrrpMode>,
    pub ssl_endpoint: Option<Spanned<Endpoint>>,
    /// Where native clients are sent.
    pub native_endpoint: Option<Spanned<Endpoint>>,
    /// Where proxies and passthroughs connect to it.
    pub upstream: Option<Spanned<Endpoint>>,
    pub has_upstream: bool,
    pub preset: Preset,
    pub heartbeat: Option<Spanned<HeartbeatUrl>>,
    pub has_heartbeat: bool,
    /// As given; where the key stands, or the table's head.
    pub fence: Spanned<Option<Kind>>,
    pub throughput: Option<u64>,
    pub tunnels: Option<u64>,
    pub checks: Vec<CheckTable>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    Ocserv,
    Novell,
    None,
}

/// `https://host[:port]`, or `http://` for an agent on the same host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeartbeatUrl {
    pub tls: bool,
    pub endpoint: Endpoint,
}

pub struct CheckTable {
    pub head: super::problem::Span,
    pub name: Option<Spanned<String>>,
    pub kind: Option<CheckKind>,
    pub address: Option<Spanned<Endpoint>>,
    pub path: Option<Spanned<String>>,
    pub expect: StatusRange,
    pub server_name: Option<Spanned<String>>,
    pub verify: Verify,
    pub ca: Option<Spanned<String>>,
    pub has_http_keys: bool,
    pub has_tls_keys: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckKind {
    Tcp,
    Tls,
    Http,
    Https,
    Exec,
    Systemd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    None,
    Ca,
}

pub struct Heartbeat {
    pub ca: Option<Spanned<String>>,
    pub certificate: Option<Spanned<String>>,
    pub key: Option<Spanned<String>>,
}

impl FrontFile {
    pub fn read(root: Section<'_>) -> Self {
        let node = root.section("node");
        let node_name = node.as_ref().and_then(|t| t.name("name")).map(Spanned::into_inner);
        let workers = node.as_ref().and_then(|t| t.integer("workers"));
        let workers = workers.and_then(|n| usize::try_from(n.into_inner()).ok()).unwrap_or(0);
        let state_dir = node.as_ref().and_then(|t| t.text("state_dir")).map(Spanned::into_inner);
        if let Some(node) = node {
            node.finish();
        }
        let (balance, weights, health) = read_balance(&root);
        let file = Self {
            node_name,
            state_dir,
            workers,
            admin: read_admin(&root),
            log: read_log(&root),
            listeners: root.sections("listener").into_iter().map(Listener::read).collect(),
            balance,
            weights,
            health,
            gateways: root.sections("gateway").into_iter().map(GatewayTable::read).collect(),
            heartbeat: read_heartbeat(&root),
            fence: read_fence(&root),
            dve: DveTable::read(&root),
            ikev2: Ikev2Table::read(&root),
            vrrp: root
                .sections("vrrp")
                .into_iter()
                .map(|table| VrrpTable::read(table, Owner::FrontDoor))
                .collect(),
            peers: PeersTable::read(&root),
        };
        let has_listener = root.has("listener") && !root.is_empty_list("listener");
        if !has_listener && file.dve.is_none() && file.ikev2.is_none() {
            root.error(
                "there is no [[listener]], no [dve] and no [ikev2_redirect]: this front door would answer nobody; \
                 add one",
            );
        }
        if !root.has("gateway") || root.is_empty_list("gateway") {
            root.error("there is no [[gateway]]: there is nobody to send clients to; add one");
        }
        root.finish();
        file
    }
}

fn read_admin(root: &Section<'_>) -> Admin {
    let Some(table) = root.section("admin") else {
        return Admin { listen: None, socket: None, token_file: None, hosts: Vec::new() };
    };
    let hosts = table.parsed_list("hosts", host_name).unwrap_or_default();
    let admin = Admin {
        listen: table.parsed("listen", address),
        socket: table.text("socket").map(Spanned::into_inner),
        token_file: table.text("token_file"),
        hosts: hosts.into_iter().map(Spanned::into_inner).collect(),
    };
    table.finish();
    admin
}

pub fn read_log(root: &Section<'_>) -> LogSettings {
    let default = LogSettings::default();
    let Some(table) = root.section("log") else { return default };
    let levels = [
        ("error", tracing::Level::ERROR),
        ("warn", tracing::Level::WARN),
        ("info", tracing::Level::INFO),
        ("debug", tracing::Level::DEBUG),
        ("trace", tracing::Level::TRACE),
    ];
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let log = LogSettings {
        format: table.word("format", &formats).unwrap_or(default.format),
        level: table.word("level", &levels).unwrap_or(default.level),
        access: table.boolean("access").unwrap_or(default.access),
    };
    table.finish();
    log
}

impl Listener {
    fn read(table: Section<'_>) -> Self {
        let modes = [
            ("redirect", Mode::Redirect),
            ("proxy", Mode::Proxy),
            ("passthrough", Mode::Passthrough),
            ("https-upgrade", Mode::HttpsUpgrade),
        ];
        let mode = table.word("mode", &modes);
        if !table.has("mode") {
            table.error(
                "missing key 'mode' in [[listener]]; it is one of 'redirect', 'proxy', 'passthrough', 'https-upgrade'",
            );
        }
        let head = || table.span.clone();
        let proxy = table.section("proxy").map(ProxyTable::read);
        let passthrough = table.section("passthrough").map(PassthroughTable::read);
        let certificates = table.sections("certificates").into_iter();
        if table.is_empty_list("certificates") {
            table.error("'certificates' must not be empty");
        }
        let mut listener = Self {
            head: table.span.clone(),
            name: table.required_name("name"),
            address: table.required_parsed("address", address),
            vrrp_id: vrrp_id(&table),
            mode,
            certificates: certificates.map(CertificateFiles::read).collect(),
            has_certificates: table.has("certificates"),
            redirect: Redirect::default(),
            redirect_place: None,
            permanent: None,
            https_endpoint: None,
            proxy: proxy.or_else(|| (mode == Some(Mode::Proxy)).then(|| ProxyTable::default_at(head()))),
            passthrough: passthrough
                .or_else(|| (mode == Some(Mode::Passthrough)).then(|| PassthroughTable::default_at(head()))),
            limits: table.section("limits").map(read_limits).unwrap_or_default(),
        };
        if let Some(redirect) = table.section("redirect") {
            listener.read_redirect(redirect);
        }
        table.finish();
        listener
    }

    /// Whether the gateway is a candidate here, as far as the file tells.
    pub fn may_choose(&self, gateway: &GatewayTable) -> bool {
        let id = |id: &Option<Spanned<VrrpId>>| id.as_ref().map(|id| *id.get_ref());
        (self.vrrp_id.is_none() || id(&self.vrrp_id) == id(&gateway.vrrp_id))
            && gateway.vpn_mode.offers(Vpn::Ssl)
    }

    fn read_redirect(&mut self, table: Section<'_>) {
        self.redirect_place = Some(table.span.clone());
        let default = Redirect::default();
        let statuses = [301, 302, 303, 307, 308];
        let status = table.integer("status");
        if let Some(status) = &status
            && !statuses.contains(status.get_ref())
        {
            table.error_at(&status.span(), "'status' must be 301, 302, 303, 307 or 308");
        }
        if let Some(status) = &status
            && [301, 308].contains(status.get_ref())
        {
            self.permanent = Some(status.span());
        }
        let status = status.and_then(|s| u16::try_from(s.into_inner()).ok());
        self.redirect = Redirect {
            status: status.and_then(|s| StatusCode::from_u16(s).ok()).unwrap_or(default.status),
            keep_path: table.boolean("keep_path").unwrap_or(default.keep_path),
            retry_after: or(table.duration("retry_after"), default.retry_after),
        };
        self.https_endpoint = table.parsed("https_endpoint", |text| endpoint(text, 443));
        table.finish();
    }
}

impl CertificateFiles {
    fn read(table: Section<'_>) -> Self {
        let files = Self { certificate: table.required_text("certificate"), key: table.required_text("key") };
        table.finish();
        files
    }
}

fn read_limits(table: Section<'_>) -> Limits {
    let default = Limits::default();
    let count = |key, default: u32| {
        let number = table.integer(key).and_then(|n| u32::try_from(n.into_inner()).ok());
        number.unwrap_or(default)
    };
    let timeout = |key, default| or(table.duration(key), default);
    let header_bytes = table.parsed("header_bytes", |text| match units::size(text) {
        Ok(bytes @ 8192..=1_048_576) => Ok(bytes as usize),
        Ok(_) => Err("must be from 8KiB to 1MiB".to_owned()),
        Err(error) => Err(error.to_string()),
    });
    let limits = Limits {
        connections: count("connections", default.connections),
        connections_per_source: count("connections_per_source", default.connections_per_source),
        handshake_timeout: timeout("handshake_timeout", default.handshake_timeout),
        header_timeout: timeout("header_timeout", default.header_timeout),
        idle_timeout: timeout("idle_timeout", default.idle_timeout),
        header_bytes: or(header_bytes, default.header_bytes),
    };
    table.finish();
    limits
}

fn read_balance(root: &Section<'_>) -> (Balance, Weights, Health) {
    let health_table = root.section("health");
    let (health, stale_after, when_none) = match &health_table {
        Some(table) => (read_health(table), table.duration("stale_after"), {
            let words = [
                ("refuse", WhenNone::Refuse),
                ("last-known-good", WhenNone::LastKnownGood),
                ("any", WhenNone::Any),
            ];
            table.word("when_none_available", &words)
        }),
        None => (Health::default(), None, None),
    };
    let default = Balance::default();
    let lasts = stale_after.as_ref().map_or(default.stale_after, |stale_after| *stale_after.get_ref());
    if let Some(table) = &health_table
        && lasts < *health.interval.get_ref() * 2
    {
        let fences =
            if lasts < *health.interval.get_ref() { ", and fences could lapse in each round" } else { "" };
        let message = format!(
            "'stale_after' ({lasts:?}) is shorter than two intervals: loads would be unknown most of the time{fences}"
        );
        // the one that is not in the file has its default, and no place
        let culprit = stale_after.as_ref().map_or_else(|| health.interval.span(), Spanned::span);
        table.warning_at(&culprit, message);
    }
    if let Some(table) = health_table {
        table.finish();
    }
    let mut weights = None;
    let mut slow_start = None;
    let mut mode = default.mode;
    if let Some(table) = root.section("balance") {
        let modes = [("load-balancing", false), ("failsafe", true)];
        let is_failsafe = table.word("mode", &modes).unwrap_or(false);
        let failback = table.boolean("failback");
        if is_failsafe {
            mode = BalanceMode::Failsafe { failback: failback.unwrap_or(true) };
        } else if failback == Some(false) {
            let message = "'failback' has an effect only with mode = \"failsafe\"";
            table.warning_at(&table.place("failback"), message);
        }
        slow_start = table.duration("slow_start");
        weights = table.section("weights").and_then(read_weights);
        table.finish();
    }
    let balance = Balance {
        mode,
        slow_start: or(slow_start, default.slow_start),
        stale_after: lasts,
        when_none: when_none.unwrap_or(default.when_none),
    };
    (balance, weights.unwrap_or_default(), health)
}

fn read_weights(table: Section<'_>) -> Option<Weights> {
    let weight = |key| table.number(key).map_or(1.0, Spanned::into_inner);
    let weights = [weight("throughput"), weight("tunnels"), weight("pool"), weight("cpu")];
    let weights = Weights::new(weights).map_err(|error| table.error(error.to_string())).ok();
    table.finish();
    weights
}

/// The keys that a front door and an agent share.
pub fn read_health(table: &Section<'_>) -> Health {
    let default = Health::default();
    let count = |key, default| {
        let number = table.integer(key);
        let place = number.as_ref().map_or(0..0, Spanned::span);
        let number = number.and_then(|n| u32::try_from(n.into_inner()).ok());
        (number.and_then(NonZeroU32::new).unwrap_or(default), place)
    };
    let (rise, _) = count("rise", default.thresholds.rise);
    let (fall, fall_place) = count("fall", default.thresholds.fall);
    let health = Health {
        interval: table.duration("interval").unwrap_or(default.interval),
        timeout: table.duration("timeout").unwrap_or(default.timeout),
        thresholds: Thresholds { rise, fall },
        fall_place,
    };
    if health.timeout.get_ref() > health.interval.get_ref() {
        let message = format!(
            "'timeout' ({:?}) is longer than 'interval': a gateway that hangs is asked less often",
            health.timeout.get_ref()
        );
        // the one that is not in the file has its default, and no place
        let culprit = if table.has("timeout") { &health.timeout } else { &health.interval };
        table.warning_at(&culprit.span(), message);
    }
    health
}

impl Default for Health {
    fn default() -> Self {
        Self {
            interval: Spanned::new(0..0, Duration::from_secs(1)),
            timeout: Spanned::new(0..0, Duration::from_millis(800)),
            thresholds: Thresholds::default(),
            fall_place: 0..0,
        }
    }
}

impl GatewayTable {
    fn read(table: Section<'_>) -> Self {
        let modes =
            [VpnMode::Native, VpnMode::Ssl, VpnMode::Both, VpnMode::VrrpOnly].map(|m| (m.as_str(), m));
        let vrrp_modes =
            [VrrpMode::Inactive, VrrpMode::Master, VrrpMode::Backup].map(|mode| (mode.as_str(), mode));
        let presets = [("ocserv", Preset::Ocserv), ("novell", Preset::Novell), ("none", Preset::None)];
        let kinds = [("agent", Kind::Agent), ("local", Kind::Local), ("none", Kind::Off)];
        let capacity = table.section("capacity");
        let throughput = capacity.as_ref().and_then(|t| t.parsed("throughput", units::bit_rate));
        let tunnels = capacity.as_ref().and_then(|t| t.integer("tunnels"));
        if let Some(capacity) = capacity {
            capacity.finish();
        }
        let ssl_endpoint = table.required_parsed("ssl_endpoint", |text| endpoint(text, 443));
        let native_endpoint = table.parsed("native_endpoint", |text| endpoint(text, IKE_PORT));
        let has_native_endpoint = table.has("native_endpoint");
        let upstream = table.parsed("upstream", |text| endpoint(text, 443));
        let has_upstream = table.has("upstream");
        let gateway = Self {
            name: table.required_name("name"),
            vrrp_id: vrrp_id(&table),
            vpn_mode: table.word("vpn_mode", &modes).unwrap_or(VpnMode::Both),
            vrrp_mode: Spanned::new(
                table.place("vrrp_mode"),
                table.word("vrrp_mode", &vrrp_modes).unwrap_or(VrrpMode::Inactive),
            ),
            native_endpoint: if has_native_endpoint {
                native_endpoint
            } else {
                let same_host = |e: &Endpoint| Endpoint { host: e.host.clone(), port: IKE_PORT };
                ssl_endpoint.as_ref().map(|e| Spanned::new(e.span(), same_host(e.get_ref())))
            },
            upstream: if has_upstream { upstream } else { ssl_endpoint.clone() },
            has_upstream,
            ssl_endpoint,
            preset: table.word("preset", &presets).unwrap_or(Preset::None),
            heartbeat: table.parsed("heartbeat", HeartbeatUrl::parse),
            has_heartbeat: table.has("heartbeat"),
            fence: Spanned::new(table.place("fence"), table.word("fence", &kinds)),
            throughput: throughput.map(Spanned::into_inner),
            tunnels: tunnels.and_then(|n| u64::try_from(n.into_inner()).ok()),
            checks: table.sections("check").into_iter().map(CheckTable::read_direct).collect(),
        };
        table.finish();
        gateway
    }
}

impl GatewayTable {
    /// How it is fenced: by its agent where it has one and nothing is said.
    pub fn fence_kind(&self) -> Kind {
        let usual = if self.heartbeat.is_some() { Kind::Agent } else { Kind::Off };
        self.fence.get_ref().unwrap_or(usual)
    }
}

impl Preset {
    /// The cookies that this product keeps its sessions with.
    pub fn session_cookies(self) -> &'static [&'static str] {
        match self {
            Self::Ocserv => &["webvpncontext", "webvpn"],
            Self::Novell => &["JSESSIONID"],
            Self::None => &[],
        }
    }
}

impl CheckTable {
    fn read_direct(table: Section<'_>) -> Self {
        let kinds = [
            ("tcp", CheckKind::Tcp),
            ("tls", CheckKind::Tls),
            ("http", CheckKind::Http),
            ("https", CheckKind::Https),
        ];
        let check = Self::read(&table, &kinds);
        table.finish();
        check
    }

    /// The keys that direct checks and an agent's checks share.
    pub fn read(table: &Section<'_>, kinds: &[(&str, CheckKind)]) -> Self {
        if !table.has("kind") {
            let all = kinds.iter().map(|(word, _)| format!("'{word}'")).collect::<Vec<_>>().join(", ");
            table.error(format!("missing key 'kind' in {}; it is one of {all}", table.title));
        }
        let kind = table.word("kind", kinds);
        let default_port = if kind == Some(CheckKind::Http) { 80 } else { 443 };
        let verify = [("none", Verify::None), ("ca", Verify::Ca)];
        Self {
            head: table.span.clone(),
            name: table.name("name"),
            kind,
            address: table.parsed("address", |text| endpoint(text, default_port)),
            path: table.parsed("path", request_path),
            expect: or(table.parsed("expect_status", StatusRange::parse), StatusRange::usual()),
            server_name: table.text("server_name"),
            verify: table.word("verify", &verify).unwrap_or(Verify::None),
            ca: table.text("ca"),
            has_http_keys: table.has("path") || table.has("expect_status"),
            has_tls_keys: table.has("server_name") || table.has("verify") || table.has("ca"),
        }
    }
}

fn read_heartbeat(root: &Section<'_>) -> Heartbeat {
    let Some(table) = root.section("heartbeat") else {
        return Heartbeat { ca: None, certificate: None, key: None };
    };
    let heartbeat =
        Heartbeat { ca: table.text("ca"), certificate: table.text("certificate"), key: table.text("key") };
    table.finish();
    heartbeat
}

fn read_fence(root: &Section<'_>) -> FenceTable {
    let mut fence = FenceTable {
        enabled: true,
        lease: Spanned::new(0..0, Duration::from_secs(15)),
        keep_at_least: 1,
        keep_at_least_place: None,
    };
    let Some(table) = root.section("fence") else { return fence };
    fence.enabled = table.boolean("enabled").unwrap_or(fence.enabled);
    fence.lease = table.duration("lease").unwrap_or(fence.lease);
    if let Some(count) = table.integer("keep_at_least") {
        fence.keep_at_least_place = Some(count.span());
        fence.keep_at_least = usize::try_from(count.into_inner()).unwrap_or(fence.keep_at_least);
    }
    table.finish();
    fence
}

impl HeartbeatUrl {
    fn parse(text: &str) -> Result<Self, String> {
        let (tls, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err("must begin with https://, like \"https://192.0.2.1:9464\"".into()),
        };
        let endpoint = endpoint(rest.strip_suffix('/').unwrap_or(rest), HEARTBEAT_PORT)?;
        let loopback = match &endpoint.host {
            Host::Address(address) => address.is_loopback(),
            Host::Name(name) => &**name == "localhost",
        };
        if !tls && !loopback {
            return Err("plain http is for an agent on this host; use https:// and [heartbeat] ca".into());
        }
        Ok(Self { tls, endpoint })
    }
}

/// Where the admin endpoint listens unless told otherwise.
pub const DEFAULT_ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9463);

/// Where a native client begins (RFC 7296 §2).
const IKE_PORT: u16 = 500;

/// The agent's usual port.
const HEARTBEAT_PORT: u16 = 9464;

/// `host[:port]`. A URL is what people give most often instead; the errors of the parts would mislead them.
pub fn endpoint(text: &str, default_port: u16) -> Result<Endpoint, String> {
    if text.contains("://") {
        return Err("must be a host with or without a port, like \"192.0.2.1:443\", and not a URL".into());
    }
    if text.contains('/') {
        return Err("must end after the host or its port; a path has no place here".into());
    }
    Endpoint::parse(text, default_port).map_err(|error| error.to_string())
}

/// `ip:port`.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        let canonical = SocketAddr::new(address.ip().to_canonical(), address.port());
        return match address.port() {
            0 => Err(PORT.into()),
            // sockets for IPv6 take nothing else
            _ if canonical.ip() != address.ip() => {
                Err(format!("{address} is an IPv4 address; write {canonical}"))
            }
            _ => Ok(address),
        };
    }
    let port = text.rsplit(':').next().unwrap_or_default();
    let out_of_range =
        !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_err();
    if out_of_range {
        return Err(format!("port {port} is out of range; {PORT}"));
    }
    Err("must be an address with its port, like \"192.0.2.1:443\" or \"[2001:db8::1]:443\"".into())
}

const PORT: &str = "the port must be from 1 to 65535";

/// A network, or one address.
pub fn network(text: &str) -> Result<IpNet, &'static str> {
    let one = text.parse::<IpAddr>().map(|address| IpNet::from(address.to_canonical()));
    one.or_else(|_| text.parse())
        .map_err(|_| "must be a network or an address, like \"10.0.0.0/8\" or \"2001:db8::1\"")
}

/// A host name without a port, in lower case. An address is none: what is opened under an address needs no name.
fn host_name(text: &str) -> Result<String, &'static str> {
    let name = text.to_ascii_lowercase();
    if name.parse::<IpAddr>().is_ok() || name.ends_with('.') || DnsName::try_from(name.as_str()).is_err() {
        return Err(
            "must be a host name without a port, like \"front-a.example.com\"; addresses need not be named",
        );
    }
    Ok(name)
}

fn request_path(text: &str) -> Result<String, &'static str> {
    if !text.starts_with('/') || text.parse::<http::Uri>().is_err() {
        return Err("must be a path, like \"/\" or \"/login\"");
    }
    Ok(text.to_owned())
}

pub fn vrrp_id(table: &Section<'_>) -> Option<Spanned<VrrpId>> {
    let id = table.integer("vrrp_id")?;
    Some(Spanned::new(id.span(), VrrpId::new(*id.get_ref())?))
}

fn or<T>(value: Option<Spanned<T>>, default: T) -> T {
    value.map_or(default, Spanned::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_the_status_page_is_a_host_without_a_port_in_lower_case() {
        assert_eq!(host_name("Front-A.Example.com").as_deref(), Ok("front-a.example.com"));
        assert_eq!(host_name("front-a").as_deref(), Ok("front-a"));
        for text in [
            "",
            "front-a:9463",
            "front-a.",
            "http://front-a",
            "*.example.com",
            "192.0.2.1",
            "2001:db8::1",
            "[2001:db8::1]",
            "-a",
            "a b",
            "a/b",
            "ä.de",
        ] {
            assert!(host_name(text).is_err(), "{text:?} was taken");
        }
    }
}
