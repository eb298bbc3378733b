//! From what stands in an agent's file to its settings.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use serde_spanned::Spanned;

use super::agent_file::{AgentFile, AgentTable, LocalCheckTable, Source, SourceTable};
use super::files::{self, Files};
use super::front::resolve_check;
use super::front_file::CheckKind;
use super::problem::Problem;
use super::schema;
use super::settings::AgentSettings;
use super::vrrp::{self, VrrpTable};
use crate::heartbeat::{Capacity, CountSource, LoadSettings, LocalCheck, Settings};
use crate::net::command::CommandLine;
use crate::net::tls;

/// Reads an agent's configuration: the settings with the warnings, or every problem.
pub fn load_agent(path: &Path) -> Result<(AgentSettings, Vec<Problem>), Vec<Problem>> {
    files::load(path, &schema::AGENT, |root, files| {
        let file = AgentFile::read(root);
        // everything is looked at before the first `?`, so that no problem hides another
        let tls = file.agent.as_ref().map(|agent| server_tls(agent, files));
        let checks: Vec<_> = file.checks.iter().map(|check| local_check(check, files)).collect();
        let checks = checks.into_iter().collect::<Option<Vec<_>>>();
        check_names(&file, files);
        let default_socket = file.load.tunnels.as_ref().and_then(|table| table.socket.as_ref());
        let tunnels = file.load.tunnels.as_ref().map(|table| count_source(table, None, files));
        let pool = file.load.pool.as_ref().map(|table| count_source(table, default_socket, files));
        let listen =
            file.agent.as_ref().and_then(|agent| agent.listen.as_ref()).map(|listen| *listen.get_ref());
        let check = file.agent.as_ref().and_then(|agent| agent.haproxy_agent_check.as_ref());
        let agent_check = check.map(|check| *check.get_ref());
        let fence = file
            .fence
            .as_ref()
            .map(|table| table.settings([listen, agent_check], &file.health, files.problems()));
        let instances = file.vrrp.as_ref().map_or(&[][..], |pair| &pair.instances);
        vrrp::check_pair(instances, "[[vrrp.instance]]", files.problems());
        let vrrp = instances.iter().map(VrrpTable::instance).collect::<Option<_>>();
        let agent = file.agent?;
        Some(AgentSettings {
            agent: Settings {
                name: agent.name?.into_inner().into(),
                listen: agent.listen?.into_inner(),
                agent_check,
                tls: tls??,
                interval: *file.health.interval.get_ref(),
                timeout: *file.health.timeout.get_ref(),
                thresholds: file.health.thresholds,
                checks: checks?,
                load: LoadSettings {
                    interface: file.load.interface,
                    capacity: Capacity {
                        bits_per_second: file.load.throughput,
                        tunnels: file.load.tunnels_max,
                        pool: file.load.pool_size,
                    },
                    tunnels: tunnels.unwrap_or(Some(CountSource::None))?,
                    pool: pool.unwrap_or(Some(CountSource::None))?,
                },
                fence: fence.flatten(),
                track_file: file.vrrp.map(|pair| pair.track_file),
            },
            vrrp: vrrp?,
            log: file.log,
            files: files.seen(),
        })
    })
}

/// The outer `None` is an error; the inner one is plain HTTP, which is for loopback alone.
#[expect(clippy::option_option, reason = "both are meant, see above")]
fn server_tls(agent: &AgentTable, files: &Files<'_>) -> Option<Option<Arc<rustls::ServerConfig>>> {
    let problems = files.problems();
    let identity = match (&agent.certificate, &agent.key) {
        (Some(certificate), Some(key)) => Some((files.identity(certificate, key), certificate)),
        (None, None) => None,
        (Some(one), None) | (None, Some(one)) => {
            problems.error(&one.span(), "'certificate' and 'key' in [agent] belong together");
            return None;
        }
    };
    let client_ca = agent.client_ca.as_ref().map(|ca| (files.certificates(ca), ca));
    let loopback = agent.listen.as_ref().is_none_or(|listen| listen.get_ref().ip().is_loopback());
    match (identity, client_ca) {
        (Some((identity, certificate)), Some((authorities, _))) => {
            let config = tls::mutual_server_config(&identity?.shown.0, &authorities?);
            Some(Some(problems.take(&certificate.span(), config)?))
        }
        (None, None) if loopback => Some(None),
        (None, Some((_, ca))) => {
            problems.error(
                &ca.span(),
                "'client_ca' needs 'certificate' and 'key': client certificates go over TLS",
            );
            None
        }
        (_, None) => {
            let span = agent.listen.as_ref().map_or(0..0, Spanned::span);
            let message = "'listen' is reached from other hosts, so 'client_ca', 'certificate' and 'key' must say \
                           who may ask; or listen on 127.0.0.1";
            if loopback {
                problems.error(&span, "'certificate' and 'key' need 'client_ca': only front doors may ask");
            } else {
                problems.error(&span, message);
            }
            None
        }
    }
}

fn local_check(table: &LocalCheckTable, files: &Files<'_>) -> Option<LocalCheck> {
    let problems = files.problems();
    let head = &table.check.head;
    let kind = table.check.kind?;
    if table.command.is_some() && kind != CheckKind::Exec {
        problems.error(head, "'command' is for the kind 'exec'");
    }
    if table.unit.is_some() && kind != CheckKind::Systemd {
        problems.error(head, "'unit' is for the kind 'systemd'");
    }
    let name = |default: &str| -> Arc<str> {
        table.check.name.as_ref().map_or(default, |name| name.get_ref().as_str()).into()
    };
    if matches!(kind, CheckKind::Exec | CheckKind::Systemd)
        && (table.check.address.is_some() || table.check.has_http_keys || table.check.has_tls_keys)
    {
        problems.error(
            head,
            "this kind of check connects to nothing; leave out 'address' and what belongs to it",
        );
    }
    match kind {
        CheckKind::Exec => {
            let Some(words) = &table.command else {
                problems.error(head, "missing key 'command' in [[check]]; like command = [\"/usr/local/bin/check\", \"--fast\"]");
                return None;
            };
            Some(LocalCheck::Command { name: name("exec"), command: command(words, head, files)? })
        }
        CheckKind::Systemd => {
            let Some(unit) = &table.unit else {
                problems.error(head, "missing key 'unit' in [[check]]; like unit = \"ocserv.service\"");
                return None;
            };
            if unit.get_ref().is_empty() || unit.get_ref().starts_with('-') {
                problems.error(&unit.span(), "'unit' must be the name of a unit, like \"ocserv.service\"");
                return None;
            }
            Some(LocalCheck::Unit { name: name(unit.get_ref()), unit: unit.get_ref().clone() })
        }
        CheckKind::Tcp | CheckKind::Tls | CheckKind::Http | CheckKind::Https => {
            resolve_check(&table.check, None, files).map(LocalCheck::Endpoint)
        }
    }
}

/// A check's name stands for one series in the metrics and for one line in a report.
fn check_names(file: &AgentFile, files: &Files<'_>) {
    let mut seen = HashSet::new();
    for table in &file.checks {
        let name = table.check.name.as_ref().map(|name| name.get_ref().clone());
        let unit = table.unit.as_ref().map(|unit| unit.get_ref().clone());
        let name = name.or(unit).or_else(|| table.check.kind.map(|kind| format!("{kind:?}").to_lowercase()));
        if let Some(name) = name
            && !seen.insert(name.clone())
        {
            let message = format!("two checks are named '{name}'; give one of them another 'name'");
            files.problems().error(&table.check.head, message);
        }
    }
}

fn count_source(
    table: &SourceTable,
    default_socket: Option<&Spanned<String>>,
    files: &Files<'_>,
) -> Option<CountSource> {
    let missing = |key: &str| {
        files.problems().error(&table.head, format!("missing key '{key}' for this source"));
    };
    let source = table.source?;
    let given = [
        ("socket", table.socket.is_some(), Source::Ocserv),
        ("prefix", table.prefix.is_some(), Source::Interfaces),
        ("command", table.command.is_some(), Source::Exec),
        ("path", table.path.is_some(), Source::File),
    ];
    for (key, is_given, of) in given {
        if is_given && of != source {
            files
                .problems()
                .error(&table.head, format!("'{key}' has no effect for this source; leave it out"));
        }
    }
    match source {
        Source::None => Some(CountSource::None),
        Source::Ocserv => {
            let socket =
                table.socket.as_ref().or(default_socket).map_or(OCCTL_SOCKET, |s| s.get_ref().as_str());
            Some(CountSource::Ocserv { socket: files.resolve(socket) })
        }
        Source::Interfaces => match &table.prefix {
            Some(prefix) if !prefix.get_ref().is_empty() => {
                Some(CountSource::Interfaces { prefix: prefix.get_ref().clone() })
            }
            _ => {
                missing("prefix");
                None
            }
        },
        Source::Exec => match &table.command {
            Some(words) => Some(CountSource::Command(command(words, &table.head, files)?)),
            None => {
                missing("command");
                None
            }
        },
        Source::File => match &table.path {
            Some(path) => Some(CountSource::File(files.resolve(path.get_ref()))),
            None => {
                missing("path");
                None
            }
        },
    }
}

fn command(words: &[Spanned<String>], head: &super::problem::Span, files: &Files<'_>) -> Option<CommandLine> {
    let command = CommandLine::new(words.iter().map(|word| word.get_ref().clone()));
    command.map_err(|error| files.problems().error(head, format!("'command' {error}"))).ok()
}

/// Where occtl and ocserv meet unless told otherwise.
const OCCTL_SOCKET: &str = "/run/occtl.socket";

#[cfg(test)]
mod tests {
    use super::*;

    fn load(content: &str) -> Settings {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("h.toml");
        let agent = "[agent]\nname = \"gw1\"\nlisten = \"127.0.0.1:9464\"\n";
        std::fs::write(&path, format!("{agent}{content}")).unwrap();
        load_agent(&path).unwrap().0.agent
    }

    #[test]
    fn the_pool_is_counted_by_the_ocserv_that_counts_the_tunnels() {
        let sockets = |load_table: &str| {
            let check = "[[check]]\nkind = \"tcp\"\naddress = \"127.0.0.1\"\n";
            let load = load(&format!("{check}[load]\n{load_table}")).load;
            [load.tunnels, load.pool].map(|source| match source {
                CountSource::Ocserv { socket } => socket.display().to_string(),
                other => format!("{other:?}"),
            })
        };
        let other = "tunnels = { source = \"ocserv\", socket = \"/run/other\" }\n";
        let pool = "pool = { source = \"ocserv\" }\n";
        assert_eq!(sockets(""), ["None", "None"]);
        assert_eq!(sockets(pool), ["None", "/run/occtl.socket"]);
        assert_eq!(sockets(&format!("{other}{pool}")), ["/run/other", "/run/other"]);
        assert_eq!(sockets(other), ["/run/other", "None"]);
    }

    #[test]
    fn a_check_without_a_name_is_called_by_its_kind_or_its_unit() {
        let checks = "[[check]]\nkind = \"tls\"\naddress = \"127.0.0.1\"\n[[check]]\nkind = \"exec\"\n\
                      command = [\"true\"]\n[[check]]\nkind = \"systemd\"\nunit = \"ocserv.service\"\n";
        let names: Vec<_> = load(checks)
            .checks
            .iter()
            .map(|check| match check {
                LocalCheck::Endpoint(check) => check.name.to_string(),
                LocalCheck::Command { name, .. } | LocalCheck::Unit { name, .. } => name.to_string(),
            })
            .collect();
        assert_eq!(names, ["tls", "exec", "ocserv.service"]);
    }

    #[test]
    fn there_is_a_fence_where_its_section_stands_and_the_engine_says_how_it_refuses() {
        let check = "[[check]]\nkind = \"tcp\"\naddress = \"127.0.0.1\"\n";
        let fence = |table: &str| load(&format!("{check}{table}")).fence;
        assert_eq!(fence(""), None);
        assert_eq!(fence("[fence]\nengine = \"none\"\n"), None);
        let told = |table: &str| {
            let fence = fence(table).unwrap();
            let ports: Vec<_> = fence.refusal.ports.iter().map(ToString::to_string).collect();
            let exempt: Vec<_> = fence.refusal.exempt.iter().map(ToString::to_string).collect();
            let reject_with = format!("{:?}", fence.refusal.reject_with);
            (fence.engine.as_str(), ports.join(" "), reject_with, fence.lease.as_secs(), exempt.join(" "))
        };
        let default = |engine, reject_with: &str| {
            (engine, "tcp/443 udp/443".to_owned(), reject_with.to_owned(), 15, "127.0.0.0/8".to_owned())
        };
        assert_eq!(told("[fence]\n"), default("nftables", "TcpReset"));
        let iptables = "[fence]\nengine = \"iptables\"\n";
        assert_eq!(told(iptables), default("iptables", "IcmpPortUnreachable"));
        assert_eq!(
            told(&format!("{iptables}reject_with = \"tcp-reset\"\n")),
            default("iptables", "TcpReset")
        );
        // a network is what its mask leaves of it
        let exempt = "[fence]\nexempt = [\"192.168.200.7/24\", \"2001:db8::2\"]\nlease = \"1m\"\n";
        let expected = ("nftables", "tcp/443 udp/443", "TcpReset", 60, "192.168.200.0/24 2001:db8::2/128");
        let (engine, ports, reject_with, lease, networks) = told(exempt);
        assert_eq!((engine, &*ports, &*reject_with, lease, &*networks), expected);
        let spare =
            fence("[fence]\nspare = [\"62.168.1.203\", \"::ffff:62.168.1.204\"]\n").unwrap().refusal.spare;
        assert_eq!(
            spare,
            ["62.168.1.203", "62.168.1.204"].map(|address| address.parse::<std::net::IpAddr>().unwrap())
        );
    }
}
