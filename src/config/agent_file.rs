//! What stands in an agent's file, each value typed and with its place. Pure: no other file is read here.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde_spanned::Spanned;

use super::agent_fence::FenceTable;
use super::front_checks::overlap;
use super::front_file::{CheckKind, CheckTable, Health, address, read_health, read_log};
use super::problem::Span;
use super::section::Section;
use super::settings::LogSettings;
use super::units;
use super::vrrp::{Owner, VrrpTable, absolute};
use crate::heartbeat::InterfaceName;

/// A whole file. What is missing or wrong is `None`; the problem has been noted.
pub struct AgentFile {
    pub agent: Option<AgentTable>,
    pub log: LogSettings,
    pub health: Health,
    pub checks: Vec<LocalCheckTable>,
    pub load: LoadTable,
    pub fence: Option<FenceTable>,
    pub vrrp: Option<PairTable>,
}

/// [vrrp]: the pair of gateways that shares an address.
pub struct PairTable {
    pub track_file: PathBuf,
    pub instances: Vec<VrrpTable>,
}

pub struct AgentTable {
    pub name: Option<Spanned<String>>,
    pub listen: Option<Spanned<SocketAddr>>,
    pub certificate: Option<Spanned<String>>,
    pub key: Option<Spanned<String>>,
    pub client_ca: Option<Spanned<String>>,
    /// Where HAProxy asks.
    pub haproxy_agent_check: Option<Spanned<SocketAddr>>,
}

pub struct LocalCheckTable {
    pub check: CheckTable,
    pub command: Option<Vec<Spanned<String>>>,
    pub unit: Option<Spanned<String>>,
}

#[derive(Default)]
pub struct LoadTable {
    pub interface: Option<InterfaceName>,
    pub throughput: Option<u64>,
    pub tunnels_max: Option<u64>,
    pub pool_size: Option<u64>,
    pub tunnels: Option<SourceTable>,
    pub pool: Option<SourceTable>,
}

pub struct SourceTable {
    pub head: Span,
    pub source: Option<Source>,
    pub socket: Option<Spanned<String>>,
    pub prefix: Option<Spanned<String>>,
    pub command: Option<Vec<Spanned<String>>>,
    pub path: Option<Spanned<String>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Ocserv,
    Interfaces,
    Exec,
    File,
    None,
}

impl AgentFile {
    pub fn read(root: Section<'_>) -> Self {
        let agent = root.section("agent").map(AgentTable::read);
        if !root.has("agent") {
            root.error("there is no [agent]: say at least its 'name' and where it is to 'listen'");
        }
        if !root.has("check") || root.is_empty_list("check") {
            root.error("there is no [[check]]: say what \"this gateway works\" means here");
        }
        let health_table = root.section("health");
        let health = health_table.as_ref().map(read_health).unwrap_or_default();
        if let Some(table) = health_table {
            table.finish();
        }
        let file = Self {
            agent,
            log: read_log(&root),
            health,
            checks: root.sections("check").into_iter().map(LocalCheckTable::read).collect(),
            load: root.section("load").map(LoadTable::read).unwrap_or_default(),
            fence: root.section("fence").map(FenceTable::read),
            vrrp: root.section("vrrp").map(PairTable::read),
        };
        root.finish();
        file
    }
}

impl PairTable {
    fn read(table: Section<'_>) -> Self {
        let track_file = table.parsed("track_file", absolute);
        let instances = table.sections("instance");
        let read = Self {
            track_file: track_file.map_or_else(|| DEFAULT_TRACK_FILE.into(), Spanned::into_inner),
            instances: instances.into_iter().map(|table| VrrpTable::read(table, Owner::Gateway)).collect(),
        };
        table.finish();
        read
    }
}

const DEFAULT_TRACK_FILE: &str = "/run/vestibule/health";

impl AgentTable {
    fn read(table: Section<'_>) -> Self {
        let agent = Self {
            name: table.required_name("name"),
            listen: table.required_parsed("listen", address),
            certificate: table.text("certificate"),
            key: table.text("key"),
            client_ca: table.text("client_ca"),
            haproxy_agent_check: table.parsed("haproxy_agent_check", address_or_none).and_then(given),
        };
        if let (Some(listen), Some(check)) = (&agent.listen, &agent.haproxy_agent_check)
            && overlap(listen.get_ref(), check.get_ref())
        {
            let message = format!(
                "'listen' has the address {}; give 'haproxy_agent_check' another port",
                listen.get_ref()
            );
            table.error_at(&check.span(), message);
        }
        table.finish();
        agent
    }
}

/// "" is none.
fn address_or_none(text: &str) -> Result<Option<SocketAddr>, String> {
    if text.is_empty() { Ok(None) } else { address(text).map(Some) }
}

fn given<T>(value: Spanned<Option<T>>) -> Option<Spanned<T>> {
    let span = value.span();
    value.into_inner().map(|value| Spanned::new(span, value))
}

impl LocalCheckTable {
    fn read(table: Section<'_>) -> Self {
        let kinds = [
            ("tcp", CheckKind::Tcp),
            ("tls", CheckKind::Tls),
            ("http", CheckKind::Http),
            ("https", CheckKind::Https),
            ("exec", CheckKind::Exec),
            ("systemd", CheckKind::Systemd),
        ];
        let check = Self {
            check: CheckTable::read(&table, &kinds),
            command: table.texts("command"),
            unit: table.text("unit"),
        };
        table.finish();
        check
    }
}

impl LoadTable {
    fn read(table: Section<'_>) -> Self {
        let mut load = Self {
            interface: table.parsed("interface", InterfaceName::new).map(Spanned::into_inner),
            tunnels: table.section("tunnels").map(|t| {
                SourceTable::read(
                    t,
                    &[
                        ("ocserv", Source::Ocserv),
                        ("interfaces", Source::Interfaces),
                        ("exec", Source::Exec),
                        ("file", Source::File),
                        ("none", Source::None),
                    ],
                )
            }),
            pool: table.section("pool").map(|t| {
                SourceTable::read(
                    t,
                    &[
                        ("ocserv", Source::Ocserv),
                        ("exec", Source::Exec),
                        ("file", Source::File),
                        ("none", Source::None),
                    ],
                )
            }),
            ..Self::default()
        };
        if let Some(capacity) = table.section("capacity") {
            let count = |key| {
                let number = capacity.integer(key);
                number.and_then(|n| u64::try_from(n.into_inner()).ok())
            };
            load.throughput = capacity.parsed("throughput", units::bit_rate).map(Spanned::into_inner);
            load.tunnels_max = count("tunnels");
            load.pool_size = count("pool");
            capacity.finish();
        }
        table.finish();
        load
    }
}

impl SourceTable {
    fn read(table: Section<'_>, sources: &[(&str, Source)]) -> Self {
        if !table.has("source") {
            let all = sources.iter().map(|(word, _)| format!("'{word}'")).collect::<Vec<_>>().join(", ");
            table.error(format!("missing key 'source' in {}; it is one of {all}", table.title));
        }
        let by_interfaces = sources.iter().any(|(_, source)| *source == Source::Interfaces);
        let source = Self {
            head: table.span.clone(),
            source: table.word("source", sources),
            socket: table.text("socket"),
            prefix: if by_interfaces { table.text("prefix") } else { None },
            command: table.texts("command"),
            path: table.text("path"),
        };
        table.finish();
        source
    }
}
