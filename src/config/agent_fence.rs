//! What stands in an agent's [fence], and what is to be said of it. Pure: no other file is read here.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use serde_spanned::Spanned;

use super::front_checks::repeated;
use super::front_file::{Health, network};
use super::problem::{Problems, Span};
use super::section::Section;
use crate::heartbeat::{FenceSettings, OnExit};
use crate::net::firewall::{Connections, Engine, Fence, Port, Protocol, RejectWith};

/// The table. What is missing or wrong is its default; the problem has been noted.
pub struct FenceTable {
    head: Span,
    engine: Option<Engine>,
    ports: Option<Vec<Spanned<Port>>>,
    ports_place: Span,
    /// A list that has wrong ones alone is another thing.
    has_no_ports: bool,
    connections: Connections,
    lease: Option<Spanned<Duration>>,
    reject_with: Option<RejectWith>,
    exempt: Option<Vec<Spanned<IpNet>>>,
    spare: Vec<Spanned<IpAddr>>,
    on_exit: OnExit,
}

impl FenceTable {
    pub fn read(table: Section<'_>) -> Self {
        let engines =
            [("nftables", Some(Engine::Nftables)), ("iptables", Some(Engine::Iptables)), ("none", None)];
        let rejections =
            [("tcp-reset", RejectWith::TcpReset), ("icmp-port-unreachable", RejectWith::IcmpPortUnreachable)];
        let fence = Self {
            head: table.span.clone(),
            engine: table.word("engine", &engines).unwrap_or(Some(Engine::Nftables)),
            ports_place: table.place("ports"),
            has_no_ports: table.is_empty_list("ports"),
            ports: table.parsed_list("ports", str::parse),
            connections: table
                .word("connections", &[("new", Connections::New), ("all", Connections::All)])
                .unwrap_or_default(),
            lease: table.duration("lease"),
            reject_with: table.word("reject_with", &rejections),
            exempt: table.parsed_list("exempt", network),
            spare: table.parsed_list("spare", own_address).unwrap_or_default(),
            on_exit: table
                .word("on_exit", &[("remove", OnExit::Remove), ("lease", OnExit::Lease)])
                .unwrap_or_default(),
        };
        table.finish();
        fence
    }

    /// The settings, for an agent that listens there, for front doors and for HAProxy, and makes its rounds so; `None` where it is to have no fence.
    pub fn settings(
        &self,
        listen: [Option<SocketAddr>; 2],
        health: &Health,
        problems: &Problems<'_>,
    ) -> Option<FenceSettings> {
        let engine = self.engine?;
        self.check_ports(listen, problems);
        self.check_exempt(problems);
        self.check_spare(problems);
        let plain = |port: &Spanned<Port>| *port.get_ref();
        let ports = self.ports.as_ref().map(|ports| ports.iter().map(plain).collect());
        let default = match engine {
            Engine::Nftables => RejectWith::TcpReset,
            Engine::Iptables => RejectWith::IcmpPortUnreachable,
        };
        let exempt =
            self.exempt.as_ref().map(|networks| networks.iter().map(|n| n.get_ref().trunc()).collect());
        let refusal = Fence {
            ports: ports.unwrap_or_else(|| DEFAULT_PORTS.to_vec()),
            connections: self.connections,
            reject_with: self.reject_with.unwrap_or(default),
            exempt: exempt.unwrap_or_else(default_exempt),
            spare: self.spare.iter().map(|address| *address.get_ref()).collect(),
        };
        Some(FenceSettings { engine, refusal, lease: self.lease(health, problems), on_exit: self.on_exit })
    }

    /// Rounds renew it: it has to outlive the longest time from one to the next but one.
    fn lease(&self, health: &Health, problems: &Problems<'_>) -> Duration {
        let lease = self.lease.as_ref().map_or(DEFAULT_LEASE, |lease| *lease.get_ref());
        let interval = *health.interval.get_ref();
        if lease < interval * 3 {
            let place = self.lease.as_ref().map_or_else(|| self.head.clone(), Spanned::span);
            let message = format!(
                "'lease' ({lease:?}) is shorter than three rounds of checks ([health] interval is {interval:?}): \
                 the block would end while its reason lasts"
            );
            problems.error(&place, message);
        }
        lease
    }

    fn check_ports(&self, listen: [Option<SocketAddr>; 2], problems: &Problems<'_>) {
        let Some(ports) = &self.ports else { return };
        if self.has_no_ports {
            let message = "'ports' must name what is to be refused, like [\"tcp/443\"]; for no fence write \
                           engine = \"none\"";
            problems.error(&self.ports_place, message);
        }
        if ports.is_empty() {
            return;
        }
        if ports.len() > MOST_PORTS {
            problems
                .error(&self.ports_place, format!("'ports' must not have more than {MOST_PORTS} of them"));
        }
        let mut seen = HashSet::new();
        for place in ports {
            let (port, place) = (*place.get_ref(), place.span());
            if !seen.insert(port) {
                problems.error(&place, format!("'ports' has {port} twice"));
            }
            for (listen, who) in listen.into_iter().zip(["the front doors", "HAProxy"]) {
                if port.protocol == Protocol::Tcp && listen.is_some_and(|listen| listen.port() == port.number)
                {
                    let message = format!(
                        "{port} is where this agent listens: {who} could not ask whether the gateway works again"
                    );
                    problems.error(&place, message);
                }
            }
            if port == SSH {
                let message =
                    format!("{port} is where administrators log in: they could not, while the gateway fails");
                problems.warning(&place, message);
            }
        }
        let never = |port: &Port| port.protocol == Protocol::Udp && !IKE.contains(&port.number);
        if self.connections == Connections::New && ports.iter().all(|port| never(port.get_ref())) {
            let message = "nothing would be refused: with connections = \"new\" what opens a connection is, over \
                           TCP and of IKE (udp/500 and udp/4500), and other UDP is not; add the TCP port, or write \
                           connections = \"all\"";
            problems.objection(&self.ports_place, message);
        }
    }

    fn check_exempt(&self, problems: &Problems<'_>) {
        let networks = self.exempt.as_deref().unwrap_or_default();
        for everybody in networks.iter().filter(|network| network.get_ref().prefix_len() == 0) {
            let message = format!("'exempt' {} is everybody: nobody would be refused", everybody.get_ref());
            problems.objection(&everybody.span(), message);
        }
        if let Some(beyond) = networks.get(MOST_EXEMPT) {
            let message = format!("'exempt' must not have more than {MOST_EXEMPT} networks");
            problems.error(&beyond.span(), message);
        }
    }

    fn check_spare(&self, problems: &Problems<'_>) {
        repeated(self.spare.iter(), |address, place| {
            problems.error(place, format!("'spare' has {address} twice"));
        });
        if let Some(beyond) = self.spare.get(MOST_SPARE) {
            problems.error(&beyond.span(), format!("'spare' must not have more than {MOST_SPARE} addresses"));
        }
    }
}

/// One that packets to this host may be sent to.
fn own_address(text: &str) -> Result<IpAddr, String> {
    let address: IpAddr =
        text.parse().map_err(|_| "must be an address of this host, like \"192.0.2.1\"".to_owned())?;
    if address.is_unspecified() || address.is_multicast() {
        return Err(format!("{address} is no address that a host can have"));
    }
    Ok(address.to_canonical())
}

const DEFAULT_PORTS: [Port; 2] =
    [Port { protocol: Protocol::Tcp, number: 443 }, Port { protocol: Protocol::Udp, number: 443 }];
const DEFAULT_LEASE: Duration = Duration::from_secs(15);
/// As many as a report shows.
const MOST_PORTS: usize = 64;
const MOST_EXEMPT: usize = 256;
const MOST_SPARE: usize = 64;
const SSH: Port = Port { protocol: Protocol::Tcp, number: 22 };
/// Where IKE is spoken (RFC 7296 §2.23).
const IKE: [u16; 2] = [500, 4500];

fn default_exempt() -> Vec<IpNet> {
    IpNet::new([127, 0, 0, 0].into(), 8).into_iter().collect()
}
