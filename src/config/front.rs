//! From what stands in a front door's file to its settings.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use serde_spanned::Spanned;
use toml::de::DeTable;

use super::files::{self, Files, Own};
use super::front_checks;
use super::front_file::{
    CheckKind, CheckTable, DEFAULT_ADMIN, FrontFile, GatewayTable, HeartbeatUrl, Listener, Mode, Preset,
    Verify,
};
use super::native;
use super::peers::{PeerUrl, PeersTable};
use super::problem::{Problem, Span};
use super::proxy::proxy;
use super::schema;
use super::settings::{AdminSettings, FrontSettings, PeerDoor};
use super::vrrp::VrrpTable;
use crate::admin::client::Address;
use crate::admin::metrics::UPSTREAM;
use crate::admin::trust::Token;
use crate::fence::{FenceSettings, Fenced, Kind as FenceKind};
use crate::fleet::{Ask, Endpoint, FleetSettings, Gateway, GatewayName, Host, SELF, Vpn};
use crate::front::{self, Certificates, ListenerSettings};
use crate::net::Site;
use crate::net::check::{Check, Get, Kind, StatusRange};
use crate::net::client::{Mark, Target, Tls};
use crate::net::firewall::CHECK_MARK;
use crate::net::tls::{self, Trust};
use crate::peer::{FrontDoorAt, PeerSettings};
use crate::probe::ProbeSettings;

/// Reads a front door's configuration: the settings with the warnings, or every problem.
pub fn load_front(path: &Path) -> Result<(FrontSettings, Vec<Problem>), Vec<Problem>> {
    files::load(path, &schema::FRONT, |root, files| {
        let file = FrontFile::read(root);
        front_checks::check(&file, files.problems());
        Resolver { file: &file, files }.settings()
    })
}

/// Where the front door of that file is asked: its admin socket, or the endpoint where there is no socket. The rest of the file
/// may have errors, and be missing: who asks whether a running front door works is not to be misled by what somebody is
/// editing.
pub fn admin_of(path: &Path) -> Address {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let (table, _) = DeTable::parse_recoverable(&text);
    let admin = table.get_ref().get("admin").and_then(|admin| admin.get_ref().as_table());
    let value = |key: &str| admin?.get(key)?.get_ref().as_str();
    match value("socket").unwrap_or(DEFAULT_SOCKET) {
        "" => Address::Http(value("listen").and_then(|listen| listen.parse().ok()).unwrap_or(DEFAULT_ADMIN)),
        socket => Address::Socket(path.parent().unwrap_or(Path::new("")).join(socket)),
    }
}

/// What [heartbeat] names: `None` where it is not given, `Some(None)` where it cannot be used, which has been noted.
#[expect(clippy::option_option, reason = "both are meant, see above")]
struct Heartbeat {
    authorities: Option<Option<Vec<CertificateDer<'static>>>>,
    identity: Option<Option<Own>>,
}

struct Resolver<'a> {
    file: &'a FrontFile,
    files: &'a Files<'a>,
}

impl Resolver<'_> {
    fn settings(&self) -> Option<FrontSettings> {
        // everything is looked at before the first `?`, so that no problem hides another
        let admin = self.admin();
        let identities: Vec<_> = self.file.listeners.iter().map(|l| self.certificates(l)).collect();
        let listeners: Vec<_> = self
            .file
            .listeners
            .iter()
            .zip(&identities)
            .map(|(l, own)| self.listener(l, own, &identities))
            .collect();
        let heartbeat = self.heartbeat();
        let agents = heartbeat.as_ref().and_then(|heartbeat| self.agents(heartbeat));
        let (agents, holder) = agents.unzip();
        let mark = self.mark();
        let gateways: Vec<_> = self.file.gateways.iter().map(gateway).collect();
        let probes: Vec<_> =
            self.file.gateways.iter().map(|g| self.probe(g, agents.as_ref(), mark.as_ref())).collect();
        let node_name = self.file.node_name.clone().unwrap_or_else(host_name);
        let (dve, ike) =
            (self.file.dve.as_ref().map(|table| native::dve(table, self.files)), native::ike(self.file));
        let peers = self.file.peers.as_ref().map(|table| self.peers(table, heartbeat.as_ref()?));
        let probes = probes.into_iter().collect::<Option<Vec<_>>>();
        let vrrp: Option<Vec<_>> = self.file.vrrp.iter().map(VrrpTable::instance).collect();
        let fence = probes.as_deref().map(|probes| self.fence(&node_name, holder.flatten(), probes));
        let (front_doors, peer_door) = match peers {
            Some(peers) => peers.map(|(others, door)| (others, Some(door)))?,
            None => (Vec::new(), None),
        };
        Some(FrontSettings {
            peers: PeerSettings { name: node_name.as_str().into(), front_doors },
            peer_door,
            node_name,
            state_dir: {
                let folder = self.file.state_dir.as_deref().unwrap_or("/var/lib/vestibule");
                (!folder.is_empty()).then(|| self.files.resolve(folder))
            },
            workers: match self.file.workers {
                0 => std::thread::available_parallelism().map_or(1, usize::from),
                workers => workers,
            },
            admin: admin?,
            log: self.file.log,
            listeners: listeners.into_iter().collect::<Option<_>>()?,
            fleet: FleetSettings {
                gateways: gateways.into_iter().collect::<Option<_>>()?,
                thresholds: self.file.health.thresholds,
                weights: self.file.weights,
                balance: self.file.balance,
            },
            probes: probes?,
            dve: match dve {
                Some(settings) => Some(settings?),
                None => None,
            },
            ike,
            fence: fence?,
            vrrp: vrrp?,
            files: self.files.seen(),
        })
    }

    fn admin(&self) -> Option<AdminSettings> {
        let admin = &self.file.admin;
        let listen = admin.listen.as_ref().map_or(DEFAULT_ADMIN, |listen| *listen.get_ref());
        let token = self.token(admin.token_file.as_ref());
        if let Some(listen) = &admin.listen
            && !listen.get_ref().ip().is_loopback()
            && matches!(token, Some(None))
        {
            let message =
                "'listen' is not loopback and there is no token; set 'token_file' to a file that holds one";
            self.files.problems().error(&listen.span(), message);
        }
        let socket = admin.socket.as_deref().unwrap_or(DEFAULT_SOCKET);
        let socket = (!socket.is_empty()).then(|| self.files.resolve(socket));
        Some(AdminSettings { listen, socket, token: token?, hosts: admin.hosts.clone() })
    }

    /// The outer `None` is an error; the inner one is no token at all.
    #[expect(clippy::option_option, reason = "both are meant, see above")]
    fn token(&self, named: Option<&Spanned<String>>) -> Option<Option<Token>> {
        let (file, span) = match named {
            Some(named) => (named.get_ref().as_str(), named.span()),
            None => (DEFAULT_TOKEN_FILE, 0..0),
        };
        let path = self.files.resolve(file);
        let text = match self.files.text(&path) {
            Ok(text) => text,
            // the default file need not be there
            Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
                return Some(None);
            }
            Err(error) => {
                let words = crate::net::words::in_words(&error);
                self.files.problems().error(&span, format!("{} cannot be read: {words}", path.display()));
                return None;
            }
        };
        let token = if text.len() < SHORTEST_TOKEN { None } else { Token::new(&text) };
        if token.is_none() {
            let message = format!(
                "the token in {} must be one word of at least {SHORTEST_TOKEN} characters; make one with: \
                 openssl rand -hex 32",
                path.display()
            );
            self.files.problems().error(&span, message);
        }
        token.map(Some)
    }

    fn certificates(&self, listener: &Listener) -> Vec<Own> {
        let files = listener.certificates.iter();
        let pairs = files.filter_map(|files| Some((files.certificate.as_ref()?, files.key.as_ref()?)));
        pairs.filter_map(|(certificate, key)| self.files.identity(certificate, key)).collect()
    }

    fn listener(&self, listener: &Listener, own: &[Own], all: &[Vec<Own>]) -> Option<ListenerSettings> {
        let problems = self.files.problems();
        let mode = match listener.mode? {
            Mode::Redirect => {
                if let Some(to) = &listener.https_endpoint {
                    problems.error(&to.span(), "'https_endpoint' is for mode 'https-upgrade'");
                }
                front::Mode::Redirect(self.shown(listener, own)?)
            }
            Mode::Proxy => {
                let candidates = self.file.gateways.iter().filter(|gateway| listener.may_choose(gateway));
                let presets: Vec<_> = candidates.map(|gateway| gateway.preset).collect();
                let key = own.first().map(|own| &own.key);
                let proxy = proxy(listener.proxy.as_ref()?, &presets, key, self.files);
                front::Mode::Proxy(self.shown(listener, own)?, Arc::new(proxy?))
            }
            Mode::Passthrough => {
                if listener.has_certificates {
                    problems.error(
                        &listener.head,
                        "'certificates' is not for mode 'passthrough', which leaves TLS to the gateways",
                    );
                }
                front::Mode::Passthrough(Arc::new(listener.passthrough.as_ref()?.settings.clone()))
            }
            Mode::HttpsUpgrade => {
                if listener.has_certificates {
                    problems.error(
                        &listener.head,
                        "'certificates' is not for mode 'https-upgrade', which speaks plain http",
                    );
                }
                if listener.redirect.keep_path {
                    problems.warning(
                        &listener.head,
                        "'keep_path' has an effect only together with the redirect that follows",
                    );
                }
                front::Mode::HttpsUpgrade(self.upgrade_endpoint(listener, all)?)
            }
        };
        Some(ListenerSettings {
            name: listener.name.as_ref()?.get_ref().as_str().into(),
            address: *listener.address.as_ref()?.get_ref(),
            ask: Ask { vrrp_id: listener.vrrp_id.as_ref().map(|id| *id.get_ref()), vpn: Vpn::Ssl },
            limits: listener.limits.clone(),
            redirect: listener.redirect.clone(),
            mode,
        })
    }

    /// What a listener shows.
    fn shown(&self, listener: &Listener, own: &[Own]) -> Option<Arc<Certificates>> {
        if !listener.has_certificates {
            let message = "missing key 'certificates' in [[listener]]; for a trial make some with: \
                           vestibule certs init --dir certs --name HOST";
            self.files.problems().error(&listener.head, message);
        }
        let (first, others) = own.split_first()?;
        let others = others.iter().map(|own| own.shown.clone()).collect();
        Some(Arc::new(Certificates::new(first.shown.clone(), others)))
    }

    /// Where an `https-upgrade` listener sends everyone: never to what the Host header says, which is the
    /// client's to choose, but to the first name in the certificate of the TLS listener beside it.
    fn upgrade_endpoint(&self, listener: &Listener, all: &[Vec<Own>]) -> Option<Endpoint> {
        if let Some(to) = &listener.https_endpoint {
            return Some(to.get_ref().clone());
        }
        let address = listener.address.as_ref()?.get_ref();
        let beside = self.file.listeners.iter().zip(all).find(|(other, _)| {
            let same_ip = other.address.as_ref().is_some_and(|a| a.get_ref().ip() == address.ip());
            matches!(other.mode, Some(Mode::Redirect | Mode::Proxy)) && same_ip
        });
        let Some((other, identities)) = beside else {
            let message = format!(
                "no listener shows a certificate on {}; say where to with 'https_endpoint' in [listener.redirect]",
                address.ip()
            );
            self.files.problems().error(&listener.head, message);
            return None;
        };
        let port = other.address.as_ref()?.get_ref().port();
        let facts = &identities.first()?.shown.1;
        let name = facts.dns_names.iter().find(|name| !name.starts_with('*'));
        match name.map(|name| Endpoint::parse(&format!("{name}:{port}"), port)) {
            Some(Ok(endpoint)) => Some(endpoint),
            _ if facts.addresses.contains(&address.ip()) => {
                Some(Endpoint { host: Host::Address(address.ip()), port })
            }
            _ => {
                let message = "the certificate beside it names no host that could be sent to; say where to with \
                               'https_endpoint' in [listener.redirect]";
                self.files.problems().error(&listener.head, message);
                None
            }
        }
    }

    /// What direct checks carry where this host's own firewall fences.
    fn mark(&self) -> Option<Arc<Mark>> {
        let is_local = self.file.gateways.iter().any(|gateway| gateway.fence_kind() == FenceKind::Local);
        (self.file.fence.enabled && is_local).then(|| Arc::new(Mark::new(CHECK_MARK)))
    }

    fn fence(&self, front: &str, holder: Option<Arc<str>>, probes: &[ProbeSettings]) -> FenceSettings {
        let fenced = |(table, probe): (&GatewayTable, &ProbeSettings)| {
            let endpoints = [&table.ssl_endpoint, &table.upstream].into_iter().flatten();
            let mut endpoints: Vec<Endpoint> = endpoints.map(|endpoint| endpoint.get_ref().clone()).collect();
            endpoints.dedup();
            Fenced {
                gateway: probe.gateway.clone(),
                kind: table.fence_kind(),
                agent: probe.heartbeat.clone().filter(|agent| agent.tls.is_some()),
                endpoints: endpoints.into_iter().map(Site::from).collect(),
            }
        };
        FenceSettings {
            enabled: self.file.fence.enabled,
            lease: *self.file.fence.lease.get_ref(),
            keep_at_least: self.file.fence.keep_at_least,
            front: front.into(),
            holder,
            interval: *self.file.health.interval.get_ref(),
            timeout: *self.file.health.timeout.get_ref(),
            gateways: self.file.gateways.iter().zip(probes).map(fenced).collect(),
        }
    }

    /// What [heartbeat] names, as far as it can be read.
    fn heartbeat(&self) -> Option<Heartbeat> {
        let heartbeat = &self.file.heartbeat;
        let authorities = heartbeat.ca.as_ref().map(|ca| self.files.certificates(ca));
        let identity = match (&heartbeat.certificate, &heartbeat.key) {
            (Some(certificate), Some(key)) => Some(self.files.identity(certificate, key)),
            (None, None) => None,
            (Some(one), None) | (None, Some(one)) => {
                let message = "'certificate' and 'key' in [heartbeat] belong together";
                self.files.problems().error(&one.span(), message);
                return None;
            }
        };
        Some(Heartbeat { authorities, identity })
    }

    /// TLS towards agents, if any is asked over https, and the name that they know this front door by.
    fn agents(&self, heartbeat: &Heartbeat) -> Option<(Arc<rustls::ClientConfig>, Option<Arc<str>>)> {
        let tables = self.file.gateways.iter();
        let https = tables.filter_map(|g| g.heartbeat.as_ref()).find(|url| url.get_ref().tls)?;
        let problems = self.files.problems();
        let Some(authorities) = &heartbeat.authorities else {
            let message = "a heartbeat over https needs 'ca' in [heartbeat]: without it anybody could answer in the agent's name";
            problems.error(&https.span(), message);
            return None;
        };
        if heartbeat.identity.is_none() {
            let message = "[heartbeat] has no 'certificate' and 'key': an agent with 'client_ca' will refuse this front door";
            problems.warning(&https.span(), message);
        }
        let (identity, name) = match &heartbeat.identity {
            Some(found) => {
                let (identity, facts) = &found.as_ref()?.shown;
                (Some(identity), facts.name().filter(|name| *name != SELF).map(Arc::from))
            }
            None => (None, None),
        };
        let config = tls::client_config(&Trust::Authorities(authorities.clone()?), identity);
        Some((problems.take(&https.span(), config)?, name))
    }

    /// Where the other front doors are asked, and where they ask.
    fn peers(&self, table: &PeersTable, heartbeat: &Heartbeat) -> Option<(Vec<FrontDoorAt>, PeerDoor)> {
        // what is missing has been noted
        let (authorities, identity) =
            (heartbeat.authorities.clone()??, &heartbeat.identity.as_ref()?.as_ref()?.shown.0);
        let take = |result| self.files.problems().take(&table.head, result);
        let door = PeerDoor {
            listen: *table.listen.as_ref()?.get_ref(),
            tls: take(tls::mutual_server_config(identity, &authorities))?,
        };
        let client = tls::client_config(&Trust::Authorities(authorities), Some(identity));
        let client = self.files.problems().take(&table.head, client)?;
        let other = |url: &Spanned<PeerUrl>| {
            let endpoint = &url.get_ref().endpoint;
            Some(FrontDoorAt {
                url: format!("https://{endpoint}").into(),
                target: tls_target(endpoint, &client)?,
            })
        };
        Some((table.front_doors.iter().map(other).collect::<Option<_>>()?, door))
    }

    fn probe(
        &self,
        table: &GatewayTable,
        agents: Option<&Arc<rustls::ClientConfig>>,
        mark: Option<&Arc<Mark>>,
    ) -> Option<ProbeSettings> {
        let heartbeat = table.heartbeat.as_ref().map(|url| heartbeat_target(url.get_ref(), agents));
        let checks = self.checks(table);
        Some(ProbeSettings {
            gateway: GatewayName::new(table.name.as_ref()?.get_ref()),
            heartbeat: match heartbeat {
                Some(target) => Some(target?),
                None => None,
            },
            checks: checks?,
            mark: mark.cloned(),
            interval: *self.file.health.interval.get_ref(),
            timeout: *self.file.health.timeout.get_ref(),
            stale_after: self.file.balance.stale_after,
        })
    }

    /// The checks of [`Self::given_checks`], and one of `upstream` where that is somewhere else, is connected
    /// to, and none looks at it: a gateway that doors find down must not be brought back by checks of another
    /// address.
    fn checks(&self, table: &GatewayTable) -> Option<Vec<Check>> {
        let mut checks = self.given_checks(table)?;
        let (upstream, shown) = (table.upstream.as_ref()?.get_ref(), table.ssl_endpoint.as_ref()?.get_ref());
        let is_connected_to = self.file.listeners.iter().any(|listener| {
            matches!(listener.mode, Some(Mode::Proxy | Mode::Passthrough)) && listener.may_choose(table)
        });
        if upstream != shown
            && is_connected_to
            && !checks.iter().any(|check| check.site.endpoint() == upstream)
        {
            checks.push(Check { name: UPSTREAM.into(), site: upstream.clone().into(), kind: Kind::Tcp });
        }
        Some(checks)
    }

    /// The checks given; else the preset's; else, where there is no agent either, `GET /` over https.
    fn given_checks(&self, table: &GatewayTable) -> Option<Vec<Check>> {
        let endpoint = table.ssl_endpoint.as_ref()?.get_ref();
        if !table.checks.is_empty() {
            let resolve =
                |c: &CheckTable| Some((resolve_check(c, Some(endpoint), self.files)?, c.name.is_some()));
            let checks: Vec<_> = table.checks.iter().map(resolve).collect();
            let mut checks = checks.into_iter().collect::<Option<Vec<_>>>()?;
            tell_apart(&mut checks);
            return Some(checks.into_iter().map(|(check, _)| check).collect());
        }
        let expect = match table.preset {
            // a full ocserv answers nothing, a working one answers its login form with 200
            Preset::Ocserv => StatusRange::parse("200").ok()?,
            Preset::Novell => StatusRange::usual(),
            Preset::None if table.heartbeat.is_none() => StatusRange::usual(),
            Preset::None => return Some(Vec::new()),
        };
        let span = table.ssl_endpoint.as_ref()?.span();
        let tls = check_tls(endpoint, None, Some(Trust::Anyone), &span, self.files)?;
        let get = Get { path: "/".into(), expect };
        Some(vec![Check { name: "https".into(), site: endpoint.clone().into(), kind: Kind::Https(tls, get) }])
    }
}

fn gateway(table: &GatewayTable) -> Option<Arc<Gateway>> {
    Some(Arc::new(Gateway {
        name: GatewayName::new(table.name.as_ref()?.get_ref()),
        vrrp_id: table.vrrp_id.as_ref().map(|id| *id.get_ref()),
        vpn_mode: table.vpn_mode,
        vrrp_mode: *table.vrrp_mode.get_ref(),
        ssl_endpoint: table.ssl_endpoint.as_ref()?.get_ref().clone(),
        native_endpoint: table.native_endpoint.as_ref()?.get_ref().clone(),
        upstream: table.upstream.as_ref()?.get_ref().clone(),
        has_agent: table.heartbeat.is_some(),
        tunnels_max: table.tunnels,
        capacity_bits_per_second: table.throughput,
    }))
}

fn heartbeat_target(url: &HeartbeatUrl, agents: Option<&Arc<rustls::ClientConfig>>) -> Option<Target> {
    if url.tls {
        tls_target(&url.endpoint, agents?)
    } else {
        Some(Target { site: url.endpoint.clone().into(), tls: None })
    }
}

/// Who is asked there must show a certificate of that name or address.
fn tls_target(endpoint: &Endpoint, config: &Arc<rustls::ClientConfig>) -> Option<Target> {
    let server_name = ServerName::try_from(endpoint.host.bare()).ok()?;
    let tls = Tls { config: Arc::clone(config), server_name };
    Some(Target { site: endpoint.clone().into(), tls: Some(tls) })
}

/// A check as given; one of the kinds tcp, tls, http, https.
pub fn resolve_check(table: &CheckTable, default: Option<&Endpoint>, files: &Files<'_>) -> Option<Check> {
    let problems = files.problems();
    let kind = table.kind?;
    let is_http = matches!(kind, CheckKind::Http | CheckKind::Https);
    let is_tls = matches!(kind, CheckKind::Tls | CheckKind::Https);
    if table.has_http_keys && !is_http {
        problems.error(&table.head, "'path' and 'expect_status' are for the kinds 'http' and 'https'");
    }
    if table.has_tls_keys && !is_tls {
        problems.error(&table.head, "'server_name', 'verify' and 'ca' are for the kinds 'tls' and 'https'");
    }
    let Some(endpoint) = table.address.as_ref().map(Spanned::get_ref).or(default) else {
        problems.error(&table.head, "missing key 'address' in this check; say what to connect to");
        return None;
    };
    let get = Get {
        path: table.path.as_ref().map_or("/", |path| path.get_ref().as_str()).into(),
        expect: table.expect.clone(),
    };
    let tls = if is_tls {
        let span = table.server_name.as_ref().map_or_else(|| table.head.clone(), Spanned::span);
        let trust = trust(table.verify, table.ca.as_ref(), &span, files);
        Some(check_tls(endpoint, table.server_name.as_ref(), trust, &table.head, files)?)
    } else {
        None
    };
    let (word, kind) = match (kind, tls) {
        (CheckKind::Tls, Some(tls)) => ("tls", Kind::Tls(tls)),
        (CheckKind::Https, Some(tls)) => ("https", Kind::Https(tls, get)),
        (CheckKind::Http, _) => ("http", Kind::Http(get)),
        _ => ("tcp", Kind::Tcp),
    };
    let name = table.name.as_ref().map_or(word, |name| name.get_ref().as_str());
    Some(Check { name: name.into(), site: endpoint.clone().into(), kind })
}

/// What the certificate of whoever is connected to is checked against.
pub fn trust(verify: Verify, ca: Option<&Spanned<String>>, span: &Span, files: &Files<'_>) -> Option<Trust> {
    match (verify, ca) {
        (Verify::Ca, Some(ca)) => files.certificates(ca).map(Trust::Authorities),
        (Verify::Ca, None) => files.system_authorities(span).map(Trust::System),
        (Verify::None, None) => Some(Trust::Anyone),
        (Verify::None, Some(ca)) => {
            files.problems().error(&ca.span(), "'ca' has no effect without verify = \"ca\"");
            None
        }
    }
}

/// The TLS side of a check; without `trust`, whose problem has been noted, only the name is looked at.
fn check_tls(
    endpoint: &Endpoint,
    server_name: Option<&Spanned<String>>,
    trust: Option<Trust>,
    span: &Span,
    files: &Files<'_>,
) -> Option<Tls> {
    let name = server_name.map_or_else(|| endpoint.host.bare(), |name| name.get_ref().clone());
    let span = server_name.map_or_else(|| span.clone(), Spanned::span);
    let Ok(server_name) = ServerName::try_from(name) else {
        files.problems().error(&span, "'server_name' must be a host name or an address");
        return None;
    };
    let config = files.problems().take(&span, tls::client_config(&trust?, None))?;
    Some(Tls { config, server_name })
}

/// Gives checks without a name of their own a number, for a name stands for one series in the metrics.
fn tell_apart(checks: &mut [(Check, bool)]) {
    let mut taken: Vec<Arc<str>> =
        checks.iter().filter(|(_, named)| *named).map(|(check, _)| Arc::clone(&check.name)).collect();
    for (check, _) in checks.iter_mut().filter(|(_, named)| !*named) {
        let kind = Arc::clone(&check.name);
        let mut number = 1;
        while taken.contains(&check.name) {
            number += 1;
            check.name = format!("{kind}-{number}").into();
        }
        taken.push(Arc::clone(&check.name));
    }
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "front".into() } else { name.into() }
}

const DEFAULT_SOCKET: &str = "/run/vestibule/admin.sock";
const DEFAULT_TOKEN_FILE: &str = "admin.token";
const SHORTEST_TOKEN: usize = 16;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::certs::{Named, Request, init};
    use crate::fleet::Policy;

    const GATEWAY: &str = "[[gateway]]\nname = \"gw1\"\nssl_endpoint = \"gw1.example.com\"\n";

    fn listener(address: &str) -> String {
        format!(
            "[[listener]]\nname = \"{address}\"\naddress = \"{address}\"\nmode = \"redirect\"\n\
             certificates = [{{ certificate = \"portal.pem\", key = \"portal.key\" }}]\n"
        )
    }

    fn upgrade(address: &str) -> String {
        format!("[[listener]]\nname = \"{address}\"\naddress = \"{address}\"\nmode = \"https-upgrade\"\n")
    }

    /// What comes of a file beside certificates for a portal of these names.
    fn load(names: &[&str], content: &str) -> (tempfile::TempDir, Result<FrontSettings, Vec<String>>) {
        let folder = tempfile::tempdir().unwrap();
        let request = Request {
            server_names: names.iter().map(|name| (*name).to_owned()).collect(),
            fronts: Vec::new(),
            gateways: vec![Named { name: "gw1".into(), addresses: vec!["10.0.0.1".parse().unwrap()] }],
        };
        init(folder.path(), &request).unwrap();
        let path = folder.path().join("v.toml");
        std::fs::write(&path, content).unwrap();
        let told = |problems: Vec<Problem>| problems.into_iter().map(|problem| problem.message).collect();
        let loaded = load_front(&path).map(|(settings, _)| settings).map_err(told);
        (folder, loaded)
    }

    fn goes_to(names: &[&str], content: &str) -> Result<String, Vec<String>> {
        let settings = load(names, &format!("{content}{GATEWAY}")).1?;
        let to = settings.listeners.iter().find_map(|listener| match &listener.mode {
            front::Mode::HttpsUpgrade(endpoint) => Some(endpoint.to_string()),
            _ => None,
        });
        Ok(to.unwrap())
    }

    #[test]
    fn who_only_asks_a_front_door_is_not_misled_by_the_rest_of_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("v.toml");
        let asked = |content: Option<&str>| {
            if let Some(content) = content {
                std::fs::write(&path, content).unwrap();
            }
            admin_of(&path).to_string().replace(folder.path().to_str().unwrap(), ".")
        };
        for (content, expected) in [
            (None, "/run/vestibule/admin.sock"),
            (Some(""), "/run/vestibule/admin.sock"),
            (Some("[admin]\nsocket = \"a.sock\"\n[[listener]]\nmode = 5"), "./a.sock"),
            (Some("[admin]\nsocket = \"/run/a.sock\"\n[[listener\nx"), "/run/a.sock"),
            (Some("[admin]\nsocket = \"\"\nlisten = \"192.0.2.1:99\"\n"), "192.0.2.1:99"),
            (Some("[admin]\nsocket = \"\"\nlisten = \"nonsense\"\n"), "127.0.0.1:9463"),
            (Some("admin = 1"), "/run/vestibule/admin.sock"),
            (Some("\u{0}"), "/run/vestibule/admin.sock"),
        ] {
            assert_eq!(asked(content), expected, "{content:?}");
        }
    }

    #[test]
    fn an_upgrade_goes_to_the_first_name_of_the_certificate_beside_it() {
        let both = listener("127.0.0.1:443") + &upgrade("127.0.0.1:80");
        let names = ["*.example.com", "vpn.example.com", "127.0.0.1"];
        assert_eq!(goes_to(&names, &both), Ok("vpn.example.com:443".to_owned()));
        // no name, but its own address
        assert_eq!(goes_to(&["127.0.0.1"], &both), Ok("127.0.0.1:443".to_owned()));
        // neither
        for names in [["10.0.0.1"], ["*.example.com"]] {
            let message = "the certificate beside it names no host that could be sent to; say where to with \
                           'https_endpoint' in [listener.redirect]";
            assert_eq!(goes_to(&names, &both), Err(vec![message.to_owned()]));
        }
    }

    #[test]
    fn an_upgrade_has_its_own_address_beside_it_and_the_port_of_that_listener() {
        let three = listener("127.0.0.2:443") + &upgrade("127.0.0.1:80") + &listener("127.0.0.1:8443");
        assert_eq!(goes_to(&["vpn.example.com"], &three), Ok("vpn.example.com:8443".to_owned()));
    }

    #[test]
    fn a_proxy_counts_as_the_listener_with_tls_beside_an_upgrade() {
        let both = upgrade("127.0.0.1:80") + &listener("127.0.0.1:443").replace("redirect", "proxy");
        assert_eq!(goes_to(&["vpn.example.com"], &both), Ok("vpn.example.com:443".to_owned()));
    }

    /// The first listener, a proxy with these lines, and the gateways after it.
    fn proxied(lines: &str, gateways: &str) -> FrontSettings {
        let listener = listener("127.0.0.1:443").replace("redirect", "proxy");
        load(&["vpn.example.com"], &format!("{listener}{lines}\n{gateways}")).1.unwrap()
    }

    fn proxy_of(settings: &FrontSettings) -> &front::Proxy {
        match &settings.listeners[0].mode {
            front::Mode::Proxy(_, proxy) => proxy,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_proxy_and_a_passthrough_do_without_a_table_of_their_own() {
        let settings = proxied("", GATEWAY);
        assert_eq!(format!("{:?}", proxy_of(&settings)), format!("{:?}", front::Proxy::default()));
        let raw = upgrade("127.0.0.1:443").replace("https-upgrade", "passthrough");
        let settings = load(&["vpn.example.com"], &format!("{raw}{GATEWAY}")).1.unwrap();
        let front::Mode::Passthrough(passthrough) = &settings.listeners[0].mode else { panic!() };
        assert_eq!(**passthrough, front::Passthrough::default());
    }

    #[test]
    fn what_stands_in_the_tables_is_what_comes_out() {
        let lines = "[listener.proxy]\npolicy = \"least-loaded\"\npersistent_connections = false\n\
                     affinity = \"source-address\"\nconnect_timeout = \"1s\"\nresponse_timeout = \"7s\"\n\
                     tunnel_idle_timeout = \"7d\"\nretries = 0\nforwarded = \"both\"\n\
                     trusted_proxies = [\"10.0.0.0/8\"]\nsend_proxy_protocol = \"v2\"\n\
                     accept_proxy_protocol = true\nupstream_tls = { ca = \"ca.pem\", server_name = \"VPN.example.com\" }";
        let settings = proxied(lines, GATEWAY);
        let proxy = proxy_of(&settings);
        assert_eq!(
            proxy.upstream,
            front::Upstream {
                policy: Policy::LeastLoaded,
                connect_timeout: Duration::from_secs(1),
                tunnel_idle_timeout: Duration::from_secs(604_800),
                send_proxy_protocol: Some(front::ProxyProtocol::V2),
                accept_proxy_protocol: true,
                trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
            }
        );
        assert_eq!((proxy.persistent_connections, proxy.retries), (false, 0));
        assert_eq!(
            (proxy.response_timeout, proxy.forwarded),
            (Duration::from_secs(7), front::Forwarded::Both)
        );
        assert_eq!(proxy.affinity, front::Affinity::SourceAddress);
        let tls = proxy.tls.as_ref().unwrap();
        assert_eq!(tls.server_name, Some(ServerName::try_from("vpn.example.com").unwrap()));

        let raw = upgrade("127.0.0.1:443").replace("https-upgrade", "passthrough");
        let lines = "[listener.passthrough]\npolicy = \"round-robin\"\naffinity = \"none\"\n\
                     server_names = [\"*.Example.com\", \"example.com\"]\nsend_proxy_protocol = \"v1\"\n";
        let settings = load(&["vpn.example.com"], &format!("{raw}{lines}{GATEWAY}")).1.unwrap();
        let front::Mode::Passthrough(passthrough) = &settings.listeners[0].mode else { panic!() };
        assert_eq!(passthrough.upstream.policy, Policy::RoundRobin);
        assert_eq!(passthrough.upstream.send_proxy_protocol, Some(front::ProxyProtocol::V1));
        assert!(!passthrough.source_affinity);
        assert_eq!(passthrough.server_names, ["*.example.com", "example.com"].map(Box::from));
    }

    #[test]
    fn the_sessions_followed_are_those_of_the_candidates_unless_told_otherwise() {
        let with = |lines: &str, gateways: &str| match &proxy_of(&proxied(lines, gateways)).affinity {
            front::Affinity::Session(names) => names.join(" "),
            other => panic!("{other:?}"),
        };
        let gateway =
            |name: &str, more: &str| format!("{}{more}", GATEWAY.replace("\"gw1\"", &format!("\"{name}\"")));
        let ocserv = gateway("gw1", "preset = \"ocserv\"\nvrrp_id = 31\n");
        assert_eq!(with("", GATEWAY), "webvpncontext webvpn JSESSIONID");
        assert_eq!(with("", &ocserv), "webvpncontext webvpn");
        // neither the one of another farm nor one that has no SSL VPN is a candidate
        let others = gateway("gw2", "preset = \"novell\"\n")
            + &gateway("gw3", "preset = \"novell\"\nvrrp_id = 31\nvpn_mode = \"native\"\n");
        assert_eq!(with("vrrp_id = 31", &format!("{ocserv}{others}")), "webvpncontext webvpn");
        assert_eq!(with("", &format!("{ocserv}{others}")), "webvpncontext webvpn JSESSIONID");
        assert_eq!(with("[listener.proxy]\nsession_cookies = [\"sid\"]", &ocserv), "sid");
    }

    #[test]
    fn front_doors_with_the_same_certificate_sign_their_cookies_with_the_same_key() {
        let cookie = |settings: &FrontSettings| match &proxy_of(settings).affinity {
            front::Affinity::Cookie(cookie) => cookie.clone(),
            other => panic!("{other:?}"),
        };
        let lines = "[listener.proxy]\naffinity = \"cookie\"\n";
        let content = format!("{}{lines}{GATEWAY}", listener("127.0.0.1:443").replace("redirect", "proxy"));
        let (folder, settings) = load(&["vpn.example.com"], &content);
        let first = cookie(&settings.unwrap());
        assert_eq!(&*first.name, "VESTIBULE");
        // another front door's file beside the same certificate, and the same one after a restart
        let path = folder.path().join("other.toml");
        let other = format!("[node]\nname = \"b\"\n{}", content.replace("127.0.0.1:443", "127.0.0.2:443"));
        std::fs::write(&path, other).unwrap();
        assert_eq!(cookie(&load_front(&path).unwrap().0), first);
        let named = format!("{lines}affinity_cookie = \"__Host-v\"");
        let stranger = cookie(&proxied(&named, GATEWAY));
        assert_eq!(&*stranger.name, "__Host-v");
        assert_ne!(stranger.key, first.key);
    }

    #[test]
    fn a_gateway_is_connected_to_at_its_upstream_or_else_where_clients_are_sent() {
        let upstream = |line: &str| {
            let settings = proxied("", &format!("{GATEWAY}{line}"));
            let gateway = &settings.fleet.gateways[0];
            (gateway.ssl_endpoint.to_string(), gateway.upstream.to_string())
        };
        let gw1 = "gw1.example.com:443".to_owned();
        assert_eq!(upstream(""), (gw1.clone(), gw1.clone()));
        assert_eq!(upstream("upstream = \"10.0.0.1:8443\""), (gw1.clone(), "10.0.0.1:8443".to_owned()));
        assert_eq!(upstream("upstream = \"10.0.0.1\""), (gw1, "10.0.0.1:443".to_owned()));
    }

    #[test]
    fn what_is_checked_follows_from_what_is_given() {
        let checks = |gateway: &str| {
            let content = format!("{}{GATEWAY}{gateway}", listener("127.0.0.1:443"));
            let settings = load(&["vpn.example.com"], &content).1.unwrap();
            let probe = settings.probes.first().unwrap();
            let shown = probe.checks.iter().map(|check| match &check.kind {
                Kind::Https(_, get) => format!("{} {} {}", check.name, check.site.endpoint(), get.expect),
                _ => format!("{} {}", check.name, check.site.endpoint()),
            });
            (probe.heartbeat.is_some(), shown.collect::<Vec<_>>())
        };
        let https = |expect: &str| vec![format!("https gw1.example.com:443 {expect}")];
        assert_eq!(checks(""), (false, https("200-399")));
        assert_eq!(checks("preset = \"novell\"\n"), (false, https("200-399")));
        let agent = "heartbeat = \"http://127.0.0.1\"\n";
        assert_eq!(checks(agent), (true, Vec::new()));
        assert_eq!(checks(&format!("{agent}preset = \"ocserv\"\n")), (true, https("200")));
        let tcp = "[[gateway.check]]\nkind = \"tcp\"\n";
        let http = "[[gateway.check]]\nkind = \"http\"\naddress = \"10.0.0.1\"\n";
        assert_eq!(
            checks(&format!("preset = \"ocserv\"\n{tcp}{tcp}{http}")).1,
            ["tcp gw1.example.com:443", "tcp-2 gw1.example.com:443", "http 10.0.0.1:80"]
        );
    }

    #[test]
    fn an_upstream_that_no_check_looks_at_gets_one_where_it_is_connected_to() {
        let checks = |listener: &str, gateway: &str| {
            let content = format!("{listener}{GATEWAY}{gateway}");
            let settings = load(&["vpn.example.com"], &content).1.unwrap();
            let checks = settings.probes.first().unwrap().checks.iter();
            checks.map(|check| format!("{} {}", check.name, check.site.endpoint())).collect::<Vec<_>>()
        };
        let redirect = listener("127.0.0.1:443");
        let proxy = redirect.replace("redirect", "proxy");
        let passthrough = upgrade("127.0.0.1:443").replace("https-upgrade", "passthrough");
        let (shown, own) = ("https gw1.example.com:443", "upstream 10.0.0.1:443");
        let elsewhere = "upstream = \"10.0.0.1\"\n";
        for connects in [&proxy, &passthrough] {
            assert_eq!(checks(connects, ""), [shown]);
            assert_eq!(checks(connects, "upstream = \"gw1.example.com:443\"\n"), [shown]);
            assert_eq!(checks(connects, elsewhere), [shown, own]);
            let agent = format!("{elsewhere}heartbeat = \"http://127.0.0.1\"\n");
            assert_eq!(checks(connects, &agent), [own]);
            let here = "[[gateway.check]]\nkind = \"http\"\naddress = \"10.0.0.1:443\"\n";
            assert_eq!(checks(connects, &format!("{elsewhere}{here}")), ["http 10.0.0.1:443"]);
        }
        assert_eq!(checks(&redirect, elsewhere), [shown]);
        let other_gateways = proxy.replace("mode", "vrrp_id = 31\nmode");
        let another = GATEWAY.replace("gw1", "gw2") + "vrrp_id = 31\n";
        assert_eq!(checks(&other_gateways, &format!("{elsewhere}{another}")), [shown]);
    }

    #[test]
    fn an_empty_socket_is_none_and_a_relative_one_stands_beside_the_file() {
        let socket = |line: &str| {
            let content = format!("[admin]\n{line}\n{}{GATEWAY}", listener("127.0.0.1:443"));
            let (folder, settings) = load(&["vpn.example.com"], &content);
            let socket = settings.unwrap().admin.socket;
            socket.map(|path| path.strip_prefix(folder.path()).unwrap_or(&path).display().to_string())
        };
        assert_eq!(socket(""), Some("/run/vestibule/admin.sock".to_owned()));
        assert_eq!(socket("socket = \"\""), None);
        assert_eq!(socket("socket = \"admin.sock\""), Some("admin.sock".to_owned()));
    }

    #[test]
    fn the_status_page_has_no_name_but_those_that_are_given() {
        let hosts = |line: &str| {
            let content = format!("[admin]\n{line}\n{}{GATEWAY}", listener("127.0.0.1:443"));
            load(&["vpn.example.com"], &content).1.map(|settings| settings.admin.hosts)
        };
        assert_eq!(hosts(""), Ok(Vec::new()));
        assert_eq!(
            hosts("hosts = [\"Front-A.example.com\", \"a\"]"),
            Ok(vec!["front-a.example.com".into(), "a".into()])
        );
        let message = "'hosts': must be a host name without a port, like \"front-a.example.com\"; addresses need not \
                       be named";
        assert_eq!(hosts("hosts = [\"front-a:9463\"]"), Err(vec![message.to_owned()]));
    }

    #[test]
    fn every_file_that_was_read_is_known() {
        let content = format!("{}{}{GATEWAY}", listener("127.0.0.1:443"), listener("127.0.0.2:443"));
        let (folder, settings) = load(&["vpn.example.com"], &content);
        let files = settings.unwrap().files;
        let names: Vec<_> =
            files.iter().map(|file| file.path().strip_prefix(folder.path()).unwrap()).collect();
        assert_eq!(names, ["admin.token", "portal.pem", "portal.key"].map(Path::new));
    }
}
