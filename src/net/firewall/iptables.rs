//! A chain of iptables: the rules that it is to hold, the script that makes it so, and whether what `iptables -S`
//! tells is that. Pure.

use std::fmt::Write as _;
use std::time::{Duration, Instant, SystemTime};

use ipnet::IpNet;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

use super::fence::{Connections, Fence, Port, Protocol, RejectWith};
use super::label::{LONGEST, label};

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
    /// Between which seconds.
    pub bounds: Bounds,
    /// Who wants it.
    pub holders: String,
}

/// Where on the wall clock, which the kernel goes by, a block is in force. It has a beginning as well, so that a clock that
/// is set back ends it, where nobody is there to see that, and does not make it last longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// When it ends, by a clock that nobody sets.
    pub end: Instant,
    /// The kernel lets everything pass up to this second, and in it.
    pub after: SystemTime,
    /// The kernel lets everything pass from this second on.
    pub until: SystemTime,
}

impl Bounds {
    /// Those of a block from now on, until `end`.
    pub fn of(end: Instant, now: Instant, wall: SystemTime) -> Self {
        Self { end, after: before(wall), until: last_second(exact(end, now, wall), wall) }
    }

    /// Those of a block from now on, until a second of the wall clock.
    pub fn to(until: SystemTime, now: Instant, wall: SystemTime) -> Self {
        let left = until.duration_since(wall).unwrap_or_default().min(LONGEST);
        Self { end: now + left, after: before(wall), until }
    }

    /// Whether they still are right for a block until `end`, or somebody has set the wall clock.
    pub fn are_right(&self, end: Instant, now: Instant, wall: SystemTime) -> bool {
        let exact = exact(end, now, wall);
        let off = self.until.duration_since(exact).or_else(|_| exact.duration_since(self.until));
        let has_begun = wall.duration_since(self.after).is_ok_and(|since| since >= ROUNDING);
        self.end == end && has_begun && off.is_ok_and(|off| off <= ROUNDING)
    }
}

fn before(wall: SystemTime) -> SystemTime {
    wall.checked_sub(LAG).map_or(SystemTime::UNIX_EPOCH, second)
}

fn exact(end: Instant, now: Instant, wall: SystemTime) -> SystemTime {
    wall + end.saturating_duration_since(now).min(LONGEST)
}

/// The rules of the chain, as `iptables -S` lists them. Without a term there are none.
pub fn rules(
    family: Family,
    fence: &Fence,
    exempt: &[IpNet],
    term: Option<&Term>,
    can: Abilities,
) -> Vec<String> {
    let Some(Term { bounds, holders }) = term else { return Vec::new() };
    let comment = match label(holders) {
        comment if comment.is_empty() || !can.comment => String::new(),
        comment => format!(" -m comment --comment \"held by {comment}\""),
    };
    let mut rules = vec![
        "-i lo -j RETURN".to_owned(),
        format!("-m time --datestop {} -j RETURN", date(bounds.after)),
        format!("-m time --datestart {}{comment} -j RETURN", date(bounds.until)),
    ];
    let networks =
        exempt.iter().filter(|network| matches!(network, IpNet::V4(_)) == (family == Family::Ipv4));
    rules.extend(networks.map(|network| match network.prefix_len() {
        0 => "-j RETURN".to_owned(),
        _ => format!("-s {network} -j RETURN"),
    }));
    let spare = fence.spare.iter().filter(|address| address.is_ipv4() == (family == Family::Ipv4));
    rules.extend(spare.map(|address| format!("-d {} -j RETURN", IpNet::from(*address))));
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

/// What a chain of ours does, for whoever wants to see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blocked {
    /// `tcp/443`.
    pub ports: Vec<String>,
    /// The second up to which, and in which, everything passes.
    pub after: Option<SystemTime>,
    /// When it ends by itself.
    pub until: Option<SystemTime>,
    /// Who wants it, where that is told.
    pub holders: String,
    /// Networks that pass.
    pub exempt: Vec<String>,
}

impl Blocked {
    /// Whether it is in force at that time.
    pub fn is_in_force(&self, now: SystemTime) -> bool {
        self.after.is_none_or(|after| after < second(now)) && self.until.is_none_or(|until| now < until)
    }
}

/// Reads the rules of our chain back.
pub fn blocked(rules: &[String]) -> Blocked {
    let mut blocked = Blocked::default();
    for rule in rules {
        let after = |word: &str| rule.split_once(word)?.1.split(' ').next();
        match target(rule) {
            Some("RETURN") => {
                // one that starts is listed with the end of all time as its stop
                match after("--datestart ").and_then(from_date) {
                    Some(start) => blocked.until = blocked.until.or(Some(start)),
                    None => blocked.after = blocked.after.or(after("--datestop ").and_then(from_date)),
                }
                blocked.exempt.extend(after("-s ").map(str::to_owned));
                let comment = rule.split_once("\"held by ").and_then(|(_, rest)| rest.split('"').next());
                blocked.holders.push_str(comment.unwrap_or_default());
            }
            Some(target) if target.starts_with("REJECT") => {
                let port = after("-p ").zip(after("--dport "));
                blocked.ports.extend(port.map(|(protocol, number)| format!("{protocol}/{number}")));
            }
            _ => {}
        }
    }
    blocked
}

/// The second that this time is in, for that is all that xt_time can tell apart.
fn second(time: SystemTime) -> SystemTime {
    let since_1970 = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    // no clock shows such a year
    SystemTime::UNIX_EPOCH + Duration::from_secs(since_1970.as_secs().min(LAST_SECOND))
}

/// The one that a block until `end` ends with. It ends early rather than late, as it is renewed long before; only what
/// would then be over as soon as it has begun is in force a bit longer.
fn last_second(end: SystemTime, now: SystemTime) -> SystemTime {
    let lease = end.duration_since(now).unwrap_or_default();
    let early = second(end);
    let left = early.duration_since(now).unwrap_or_default();
    if left < lease / 2 { second(end + Duration::from_secs(1)) } else { early }
}

/// In UTC, which xt_time takes it for.
fn date(time: SystemTime) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]");
    OffsetDateTime::from(second(time)).format(format).unwrap_or_default()
}

fn from_date(text: &str) -> Option<SystemTime> {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]");
    Some(PrimitiveDateTime::parse(text, format).ok()?.assume_utc().into())
}

/// The last second that iptables 1.8 takes, in 2038.
const LAST_SECOND: u64 = i32::MAX as u64;
/// How long before now a block begins: the kernel's clock for packets lags behind by some milliseconds, and one that is
/// put right by a leap second opens nothing.
const LAG: Duration = Duration::from_secs(2);
/// By how much bounds are rounded, and what the clocks may drift apart meanwhile.
const ROUNDING: Duration = Duration::from_millis(1500);

#[cfg(test)]
mod tests {
    use super::super::tables::exempt_networks;
    use super::*;

    /// What iptables and ip6tables 1.8.9 tell of the rules below, of both makes.
    const LISTING: &str = include_str!("../../../tests/firewall/listings/iptables.txt");
    const ALL: Abilities = Abilities { u32: true, comment: true };

    fn fence(ports: &[&str], connections: Connections, reject_with: RejectWith) -> Fence {
        let ports = ports.iter().map(|port| port.parse().unwrap()).collect();
        Fence { ports, connections, reject_with, exempt: Vec::new(), spare: Vec::new() }
    }

    fn term() -> Term {
        let listed =
            |word| LISTING.split_once(word).unwrap().1.split(' ').next().and_then(from_date).unwrap();
        let (after, until) = (listed("--datestop "), listed("--datestart "));
        let bounds = Bounds { end: Instant::now(), after, until };
        Term { bounds, holders: "self, front-a".into() }
    }

    fn written() -> [Vec<String>; 2] {
        let fence = fence(&["tcp/443", "udp/500", "udp/4500"], Connections::New, RejectWith::TcpReset);
        let configured = ["127.0.0.0/8", "fd09::3/128", "10.0.0.4/30"].map(|net| net.parse().unwrap());
        let learned = ["192.0.2.7", "192.0.2.8", "192.0.2.9"].map(|address| address.parse().unwrap());
        let exempt = exempt_networks(&configured, &learned);
        [Family::Ipv4, Family::Ipv6].map(|family| rules(family, &fence, &exempt, Some(&term()), ALL))
    }

    fn listed() -> [Vec<String>; 2] {
        let (ipv4, ipv6) = LISTING.split_at(LISTING.rfind("-N ").unwrap());
        [ipv4, ipv6].map(|listing| listed_rules(listing, CHAIN))
    }

    #[test]
    fn rules_are_known_again_in_what_iptables_tells_of_them() {
        for (written, listed) in written().iter().zip(&listed()) {
            assert!(written.len() > 5 && read_as(written, listed), "{written:#?}\n{listed:#?}");
        }
        // another way to write an address
        let rule = |text: &str| [text.to_owned()];
        assert!(read_as(&rule("-s ::102:304/128 -j RETURN"), &rule("-s ::1.2.3.4/128 -j RETURN")));
    }

    #[test]
    fn every_change_is_seen() {
        let ([written, _], [listed, _]) = (written(), listed());
        for (was, is) in [
            ("-i lo", "-i eth0"),
            ("--dport 443", "--dport 444"),
            ("10.0.0.4/30", "10.0.0.4/31"),
            ("--reject-with tcp-reset", "--reject-with icmp-port-unreachable"),
            ("-j REJECT --reject-with tcp-reset", "-j DROP"),
            ("-j RETURN", "-j RETURN --more"),
            ("@0x10=0x0", "@0x10=0x1"),
            ("--datestop 2026", "--datestop 2025"),
            ("--datestart 2026", "--datestart 2027"),
            ("SYN,RST,ACK SYN", "SYN,RST,ACK ACK"),
        ] {
            let position = listed.iter().position(|rule| rule.contains(was)).unwrap();
            let mut changed = listed.clone();
            changed[position] = changed[position].replace(was, is);
            assert!(!read_as(&written, &changed), "{was} → {is}");
        }
        assert!(!read_as(&written, &listed[1..]));
        assert!(!read_as(&written[1..], &listed));
        let mut swapped = listed;
        swapped.swap(2, 3);
        assert!(!read_as(&written, &swapped));
    }

    #[test]
    fn no_listing_however_broken_is_taken_for_rules_in_order() {
        let [written, _] = written();
        let listing = &LISTING[..LISTING.rfind("\n-N ").unwrap()];
        for length in 0..listing.len() {
            let listed = listed_rules(&listing[..length], CHAIN);
            assert!(!read_as(&written, &listed), "cut at {length}");
            let _ = blocked(&listed);
        }
    }

    #[test]
    fn a_listing_says_what_is_refused_for_how_long_and_who_passes() {
        let blocked = listed().map(|listed| blocked(&listed));
        for blocked in &blocked {
            assert_eq!(blocked.ports, ["tcp/443", "udp/500", "udp/4500"]);
            let Bounds { after, until, .. } = term().bounds;
            assert_eq!((blocked.after, blocked.until), (Some(after), Some(until)));
            assert_eq!(blocked.holders, "self, front-a");
            let second = Duration::from_secs(1);
            let times =
                [after, after + second - Duration::from_nanos(1), after + second, until - second, until];
            assert_eq!(times.map(|now| blocked.is_in_force(now)), [false, false, true, true, false]);
        }
        assert_eq!(blocked[0].exempt, ["10.0.0.4/30", "127.0.0.0/8", "192.0.2.7/32", "192.0.2.8/31"]);
        assert_eq!(blocked[1].exempt, ["fd09::3/128"]);
    }

    #[test]
    fn only_a_jump_without_conditions_is_ours() {
        let input = "-P INPUT ACCEPT\n-A INPUT -p tcp -j ACCEPT\n-A INPUT -j sslvpn-heartbeat-chain\n\
                     -A INPUT -p tcp -j sslvpn-heartbeat-chain\n-A INPUT -j sslvpn-heartbeat-chain-2\n-A INPUTS -j x\n";
        let jumps: Vec<_> = listed_rules(input, "INPUT").iter().map(|rule| is_jump(rule)).collect();
        assert_eq!(jumps, [false, true, false, false]);
    }

    #[test]
    fn without_a_term_there_are_no_rules() {
        let fence = fence(&["tcp/443"], Connections::All, RejectWith::TcpReset);
        assert_eq!(rules(Family::Ipv4, &fence, &["127.0.0.0/8".parse().unwrap()], None, ALL), [""; 0]);
        let free = format!("*filter\n:{CHAIN} - [0:0]\nCOMMIT\n");
        assert_eq!(script(&[], None), free);
    }

    #[test]
    fn what_a_kernel_cannot_do_is_left_out() {
        let fence = fence(&["tcp/443", "udp/443", "udp/500"], Connections::New, RejectWith::TcpReset);
        let rules = rules(Family::Ipv4, &fence, &[], Some(&term()), Abilities::default());
        assert_eq!(rules.len(), 4);
        assert!(!rules.iter().any(|rule| rule.contains("u32") || rule.contains("comment")));
        assert!(wants_u32(&fence));
    }

    #[test]
    fn who_is_exempt_with_everybody_needs_no_address() {
        let fence = fence(&["tcp/443"], Connections::All, RejectWith::IcmpPortUnreachable);
        let rules = rules(Family::Ipv6, &fence, &["::/0".parse().unwrap()], Some(&term()), ALL);
        assert_eq!(rules[3], "-j RETURN");
        let reject = "-p tcp -m tcp --dport 443 -j REJECT --reject-with icmp6-port-unreachable";
        assert_eq!(rules[4], reject);
    }

    #[test]
    fn a_block_ends_at_a_full_second_and_not_after_its_time() {
        let at = |milliseconds| SystemTime::UNIX_EPOCH + Duration::from_millis(milliseconds);
        assert_eq!(date(at(1_798_761_599_999)), "2026-12-31T23:59:59");
        assert_eq!(last_second(at(17_999), at(3_000)), at(17_000));
        assert_eq!(last_second(at(18_000), at(3_000)), at(18_000));
        // one that would be over before it begins
        assert_eq!(last_second(at(4_900), at(3_900)), at(5_000));
        assert_eq!(last_second(at(4_100), at(3_100)), at(4_000));
        // more than iptables can write
        assert_eq!(date(at(4_000_000_000_000)), "2038-01-19T03:14:07");
        assert_eq!(from_date(&date(at(1_798_761_599_000))), Some(at(1_798_761_599_000)));
        assert_eq!(from_date("2026-02-30T00:00:00"), None);
    }

    #[test]
    fn a_block_is_bounded_anew_where_it_is_renewed_or_the_clock_was_set() {
        let (begun, milliseconds) = (Instant::now(), Duration::from_millis);
        let wall = SystemTime::UNIX_EPOCH + milliseconds(1_798_761_598_001);
        let end = begun + milliseconds(15_000);
        let bounds = Bounds::of(end, begun, wall);
        assert_eq!(date(bounds.after), "2026-12-31T23:59:56");
        assert_eq!(date(bounds.until), "2027-01-01T00:00:13");
        let after = |passed: u64, step: i64| {
            let now = begun + milliseconds(passed);
            let wall = wall + milliseconds(passed);
            let step_length = milliseconds(step.unsigned_abs());
            let wall = if step < 0 { wall - step_length } else { wall + step_length };
            (bounds.are_right(end, now, wall), Bounds::of(end, now, wall))
        };
        for (passed, step, are_right) in [
            (0, 0, true),
            (14_000, 0, true),
            (5000, -400, true),
            // it would not be in force, or not yet
            (0, -1000, false),
            (5000, -4000, false),
            (5000, -3_600_000, false),
            (5000, 3_600_000, false),
        ] {
            let (were_right, anew) = after(passed, step);
            assert_eq!(were_right, are_right, "{step} ms after {passed} ms");
            let lasts = anew.until.duration_since(anew.after).unwrap();
            assert!(lasts <= milliseconds(18_000 - passed), "{step} ms after {passed} ms: {lasts:?}");
        }
        assert!(!bounds.are_right(end + milliseconds(1), begun, wall));
        // no clock shows that, but a host may begin with it
        assert_eq!(Bounds::of(end, begun, SystemTime::UNIX_EPOCH).after, SystemTime::UNIX_EPOCH);
    }

    #[test]
    fn the_jumps_become_one_at_the_top() {
        let text = script(&["-i lo -j RETURN".into()], Some(2));
        let expected = "*filter\n:sslvpn-heartbeat-chain - [0:0]\n-D INPUT -j sslvpn-heartbeat-chain\n\
                        -D INPUT -j sslvpn-heartbeat-chain\n-I INPUT 1 -j sslvpn-heartbeat-chain\n\
                        -A sslvpn-heartbeat-chain -i lo -j RETURN\nCOMMIT\n";
        assert_eq!(text, expected);
    }
}
