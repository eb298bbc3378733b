//! A chain of iptables: the rules that it is to hold, the script that makes it so, and whether what `iptables -S`
//! tells is that. Pure.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use ipnet::IpNet;
use time::OffsetDateTime;
use time::macros::format_description;

use super::fence::{Connections, Fence, Port, Protocol, RejectWith};
use super::label::label;

/// The chain of our rules, called so since long before us.
pub const CHAIN: &str = "sslvpn-heartbeat-chain";
/// A chain that is never jumped to, to find out what the kernel knows.
pub const PROBE: &str = "sslvpn-heartbeat-probe";

/// The two tools of iptables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// iptables.
    Ipv4,
    /// ip6tables.
    Ipv6,
}

/// What a kernel can do beside what it must.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    /// Looking into packets (xt_u32).
    pub u32: bool,
    /// Comments (xt_comment).
    pub comment: bool,
}

/// How long a block lasts and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// The second from which on the kernel lets everything pass.
    pub until: SystemTime,
    /// Who wants it.
    pub holders: String,
}

/// The rules of the chain, as `iptables -S` lists them. Without a term there are none.
pub fn rules(
    family: Family,
    fence: &Fence,
    exempt: &[IpNet],
    term: Option<&Term>,
    can: Abilities,
) -> Vec<String> {
    let Some(Term { until, holders }) = term else { return Vec::new() };
    let comment = match label(holders) {
        comment if comment.is_empty() || !can.comment => String::new(),
        comment => format!(" -m comment --comment \"held by {comment}\""),
    };
    let mut rules = vec![
        "-i lo -j RETURN".to_owned(),
        format!("-m time --datestart {}{comment} -j RETURN", date(*until)),
    ];
    let networks =
        exempt.iter().filter(|network| matches!(network, IpNet::V4(_)) == (family == Family::Ipv4));
    rules.extend(networks.map(|network| match network.prefix_len() {
        0 => "-j RETURN".to_owned(),
        _ => format!("-s {network} -j RETURN"),
    }));
    rules.extend(fence.ports.iter().filter_map(|port| {
        let (of_port, opening) = (matches(*port), opening(family, fence.connections, *port, can)?);
        Some(format!(
            "{of_port}{opening} -j REJECT --reject-with {}",
            answer(family, fence.reject_with, *port)
        ))
    }));
    rules
}

/// The packets to a port.
fn matches(Port { protocol, number }: Port) -> String {
    let protocol = protocol.as_str();
    format!("-p {protocol} -m {protocol} --dport {number}")
}

/// Which of the packets to a port; `None`: none of them.
fn opening(family: Family, connections: Connections, port: Port, can: Abilities) -> Option<String> {
    // where in the packet the UDP header begins: IPv4's own length tells; headers between IPv6 and UDP would move
    // it, so there must be none
    let (condition, udp, base) = match family {
        Family::Ipv4 => ("", "0x0>>0x16&0x3c@", 0),
        Family::Ipv6 => ("0x4>>0x8&0xff=0x11&&", "", 40),
    };
    let zero = |offsets: &[u32]| {
        let words: Vec<_> = offsets.iter().map(|offset| format!("{udp}{:#x}=0x0", base + offset)).collect();
        format!(" -m u32 --u32 \"{condition}{}\"", words.join("&&"))
    };
    match (connections, port.protocol, port.number) {
        (Connections::All, _, _) => Some(String::new()),
        (Connections::New, Protocol::Tcp, _) => Some(" --tcp-flags FIN,SYN,RST,ACK SYN".to_owned()),
        // the responder's SPI (RFC 7296 §3.1); on port 4500 with a marker before it all (RFC 7296 §2.23)
        (Connections::New, Protocol::Udp, 500) if can.u32 => Some(zero(&[16, 20])),
        (Connections::New, Protocol::Udp, 4500) if can.u32 => Some(zero(&[8, 20, 24])),
        (Connections::New, Protocol::Udp, _) => None,
    }
}

fn answer(family: Family, reject_with: RejectWith, port: Port) -> &'static str {
    match (port.protocol, reject_with, family) {
        (Protocol::Tcp, RejectWith::TcpReset, _) => "tcp-reset",
        (_, _, Family::Ipv4) => "icmp-port-unreachable",
        (_, _, Family::Ipv6) => "icmp6-port-unreachable",
    }
}

/// Whether openings on some port cannot be told from the rest without looking into packets.
pub fn wants_u32(fence: &Fence) -> bool {
    let ike = |port: &Port| port.protocol == Protocol::Udp && matches!(port.number, 500 | 4500);
    fence.connections == Connections::New && fence.ports.iter().any(ike)
}

/// The script that makes the chain hold these rules, in one transaction. With `jumps`, the jumps to it, of which there
/// are so many, become one at the top.
pub fn script(rules: &[String], jumps: Option<usize>) -> String {
    let mut text = format!("*filter\n:{CHAIN} - [0:0]\n");
    if let Some(jumps) = jumps {
        text.push_str(&format!("-D INPUT -j {CHAIN}\n").repeat(jumps));
        let _ = writeln!(text, "-I INPUT 1 -j {CHAIN}");
    }
    for rule in rules {
        let _ = writeln!(text, "-A {CHAIN} {rule}");
    }
    text.push_str("COMMIT\n");
    text
}

/// The script that takes the chain away, with the jumps to it, of which there are so many.
pub fn removal(chain: &str, jumps: usize) -> String {
    let jumps = format!("-D INPUT -j {CHAIN}\n").repeat(jumps);
    format!("*filter\n{jumps}-F {chain}\n-X {chain}\nCOMMIT\n")
}

/// The same, but for the chain itself, which another rule may hold on to.
pub fn emptying(chain: &str, jumps: usize) -> String {
    let jumps = format!("-D INPUT -j {CHAIN}\n").repeat(jumps);
    format!("*filter\n{jumps}-F {chain}\nCOMMIT\n")
}

/// The script that makes a probe chain with one rule, or none.
pub fn probe(rule: &str) -> String {
    let rule = if rule.is_empty() { String::new() } else { format!("-A {PROBE} {rule}\n") };
    format!("*filter\n:{PROBE} - [0:0]\n{rule}COMMIT\n")
}

/// A rule that needs all that a block needs.
pub const PROBE_BLOCK: &str =
    "-p tcp -m tcp --dport 1 -m time --datestart 2026-01-01T00:00:00 -j REJECT --reject-with tcp-reset";
/// A rule that looks into packets.
pub const PROBE_U32: &str = "-m u32 --u32 \"0x0=0x0\" -j RETURN";
/// A rule with a comment.
pub const PROBE_COMMENT: &str = "-m comment --comment \"probe\" -j RETURN";

/// The rules of a chain in what `iptables -S` tells, without the name of the chain.
pub fn listed_rules(listing: &str, chain: &str) -> Vec<String> {
    let rule =
        |line: &str| Some(line.strip_prefix("-A ")?.strip_prefix(chain)?.strip_prefix(' ')?.to_owned());
    listing.lines().filter_map(rule).collect()
}

/// Whether a rule in the list is the jump to our chain.
pub fn is_jump(rule: &str) -> bool {
    rule.strip_prefix("-j ") == Some(CHAIN)
}

/// Whether the rules of a list are those that were written: every word of theirs stands there in the same order, for
/// versions differ in what they add of themselves.
pub fn read_as(written: &[String], listed: &[String]) -> bool {
    let reads_as = |(written, listed): (&String, &String)| {
        let mut there = listed.split(' ');
        let in_order = written.split(' ').all(|word| there.any(|listed| same_word(word, listed)));
        in_order && target(written) == target(listed)
    };
    written.len() == listed.len() && written.iter().zip(listed).all(reads_as)
}

fn same_word(written: &str, listed: &str) -> bool {
    let same_network = || written.parse::<IpNet>().ok().is_some_and(|net| listed.parse() == Ok(net));
    written == listed || same_network()
}

/// What a rule does, from its last `-j` on.
fn target(rule: &str) -> Option<&str> {
    rule.rsplit_once("-j ").map(|(_, target)| target)
}

/// The first full second not before that time, for that is all that xt_time can tell apart.
pub fn full_second(time: SystemTime) -> SystemTime {
    let since_1970 = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let more = u64::from(since_1970.subsec_nanos() > 0);
    // no clock shows such a year
    let seconds = since_1970.as_secs().saturating_add(more).min(LAST_SECOND);
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

/// In UTC, which xt_time takes it for.
fn date(time: SystemTime) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]");
    OffsetDateTime::from(full_second(time)).format(format).unwrap_or_default()
}

/// The last second that iptables 1.8 takes, in 2038.
const LAST_SECOND: u64 = i32::MAX as u64;
