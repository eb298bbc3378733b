//! What our two tables of nftables hold. Pure.

use std::net::{IpAddr, SocketAddr};

use ipnet::{IpNet, Ipv4Net};

use super::fence::{Block, Connections, Fence, Port, Protocol, RejectWith};
use super::nft::{Chain, Members, Set, Table, Timed};

/// The name of the table that refuses newcomers on a gateway.
pub const FENCE_TABLE: &str = "vestibule";
/// The name of the table that keeps a front door from gateways elsewhere.
pub const WALL_TABLE: &str = "vestibule_front";

/// The table of a fence. It is there, with empty sets, while nothing is blocked: whoever lists it sees what would be.
/// Ports that no rule would refuse anything on are not in it.
pub fn fence_table(fence: &Fence, block: Option<&Block>, exempt: &[IpNet]) -> Table {
    let timed = |block: &Block| {
        let timed = |&key| Timed { key, until: block.until, comment: block.holders.clone() };
        fence.ports.iter().filter(|port| refuses(fence.connections, **port)).map(timed).collect()
    };
    let (ipv4, ipv6) = exempt.iter().partition(|network| matches!(network, IpNet::V4(_)));
    let mut rules = vec![
        ("iifname \"lo\" return".to_owned(), "this host itself passes"),
        ("ip saddr @exempt_ipv4 return".to_owned(), "exempt"),
        ("ip6 saddr @exempt_ipv6 return".to_owned(), "exempt"),
    ];
    rules.extend(fence.spare.iter().map(|address| {
        let family = if address.is_ipv4() { "ip" } else { "ip6" };
        (format!("{family} daddr {address} return"), "another service's")
    }));
    let tcp = match fence.reject_with {
        RejectWith::TcpReset => "tcp reset",
        RejectWith::IcmpPortUnreachable => UNREACHABLE,
    };
    match fence.connections {
        Connections::All => {
            rules.push((format!("meta l4proto 6 counter reject with {tcp}"), "all of TCP"));
            rules.push((format!("meta l4proto 17 counter reject with {UNREACHABLE}"), "all of UDP"));
        }
        Connections::New => {
            rules.push((format!("{OPENING} counter reject with {tcp}"), "openings of TCP connections"));
            for (port, ike) in IKE {
                if fence.ports.iter().any(|p| (p.protocol, p.number) == (Protocol::Udp, port)) {
                    let rule = format!("udp dport {port} {ike} counter reject with {UNREACHABLE}");
                    rules.push((rule, "openings of IKE associations"));
                }
            }
        }
    }
    Table {
        name: FENCE_TABLE,
        sets: vec![
            Set { name: "fenced", members: Members::Ports(block.map(timed).unwrap_or_default()) },
            Set { name: "exempt_ipv4", members: Members::Ipv4Networks(ipv4) },
            Set { name: "exempt_ipv6", members: Members::Ipv6Networks(ipv6) },
        ],
        chains: vec![
            Chain { name: "refuse", hook: None, rules },
            Chain {
                name: "input",
                hook: Some("input"),
                // a fragment without ports matches nothing, and passes
                rules: vec![("meta l4proto . th dport @fenced jump refuse".to_owned(), "what is fenced")],
            },
        ],
    }
}

/// Whether anything that comes to a port is told from what is to pass.
fn refuses(connections: Connections, port: Port) -> bool {
    match (connections, port.protocol) {
        (Connections::All, _) | (_, Protocol::Tcp) => true,
        (Connections::New, Protocol::Udp) => IKE.iter().any(|(ike, _)| *ike == port.number),
    }
}

/// The table of a wall.
pub fn wall_table(away: Vec<Timed<SocketAddr>>, mark: u32) -> Table {
    let away = away.into_iter().map(|timed| Timed {
        key: SocketAddr::new(timed.key.ip().to_canonical(), timed.key.port()),
        ..timed
    });
    let (ipv4, ipv6) = away.partition(|timed| timed.key.is_ipv4());
    let rule = |family, set| {
        let rule = format!("{family} daddr . tcp dport @{set} {OPENING} counter reject with tcp reset");
        (rule, "openings of TCP connections")
    };
    let to_refuse = || ("jump refuse".to_owned(), "what goes to gateways");
    Table {
        name: WALL_TABLE,
        sets: vec![
            Set { name: "away_ipv4", members: Members::Ipv4Endpoints(ipv4) },
            Set { name: "away_ipv6", members: Members::Ipv6Endpoints(ipv6) },
        ],
        chains: vec![
            Chain {
                name: "refuse",
                hook: None,
                rules: vec![rule("ip", "away_ipv4"), rule("ip6", "away_ipv6")],
            },
            Chain {
                name: "output",
                hook: Some("output"),
                rules: vec![(format!("meta mark {mark:#x} return"), "health checks pass"), to_refuse()],
            },
            Chain { name: "forward", hook: Some("forward"), rules: vec![to_refuse()] },
        ],
    }
}

/// All networks that are exempt, none of them inside another, IPv4 first. An IPv4 address in IPv6's clothes
/// (RFC 4291 §2.5.5.2) is an IPv4 address.
pub fn exempt_networks(configured: &[IpNet], learned: &[IpAddr]) -> Vec<IpNet> {
    let configured = configured.iter().map(|&network| plain(network));
    let learned = learned.iter().map(|address| IpNet::from(address.to_canonical()));
    let mut networks = IpNet::aggregate(&configured.chain(learned).collect());
    networks.sort();
    networks
}

fn plain(network: IpNet) -> IpNet {
    let IpNet::V6(ipv6) = network else { return network.trunc() };
    let ipv4 = ipv6.addr().to_ipv4_mapped().zip(ipv6.prefix_len().checked_sub(96));
    match ipv4.and_then(|(address, length)| Ipv4Net::new(address, length).ok()) {
        Some(ipv4) => IpNet::V4(ipv4.trunc()),
        None => network.trunc(),
    }
}

const UNREACHABLE: &str = "icmpx type port-unreachable";
/// Stateless: `ct state new` takes living connections for new ones if nobody had tracked them before.
const OPENING: &str = "tcp flags & (fin|syn|rst|ack) == syn";
/// The first message of an IKE association: the responder has no SPI yet (RFC 7296 §3.1). On port 4500 a marker goes
/// before (RFC 7296 §2.23), which an ESP packet does not have.
const IKE: [(u16, &str); 2] = [(500, "@th,128,64 0"), (4500, "@th,64,32 0 @th,160,64 0")];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_refused_is_listed_as_such() {
        let block = Block { until: std::time::Instant::now(), holders: "self".into() };
        let fenced = |connections| {
            let ports =
                ["tcp/443", "udp/443", "udp/500", "udp/4500"].map(|port| port.parse().unwrap()).into();
            let fence = Fence {
                ports,
                connections,
                reject_with: RejectWith::TcpReset,
                exempt: Vec::new(),
                spare: Vec::new(),
            };
            match &fence_table(&fence, Some(&block), &[]).sets[0].members {
                Members::Ports(ports) => ports.iter().map(|timed| timed.key.to_string()).collect::<Vec<_>>(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(fenced(Connections::New), ["tcp/443", "udp/500", "udp/4500"]);
        assert_eq!(fenced(Connections::All), ["tcp/443", "udp/443", "udp/500", "udp/4500"]);
    }

    #[test]
    fn exempt_networks_hold_everyone_once() {
        let configured = ["10.1.2.3/8", "::ffff:192.0.2.0/120", "fd00::1/8"].map(|net| net.parse().unwrap());
        let learned =
            ["10.0.0.1", "::ffff:192.0.2.7", "198.51.100.1", "2001:db8::1", "198.51.100.0", "fd00::2"];
        let networks = exempt_networks(&configured, &learned.map(|address| address.parse().unwrap()));
        let networks: Vec<_> = networks.iter().map(IpNet::to_string).collect();
        assert_eq!(
            networks,
            ["10.0.0.0/8", "192.0.2.0/24", "198.51.100.0/31", "2001:db8::1/128", "fd00::/8"]
        );
        assert_eq!(exempt_networks(&["0.0.0.0/0".parse().unwrap()], &[]).len(), 1);
        assert_eq!(exempt_networks(&[], &[]), []);
    }
}
