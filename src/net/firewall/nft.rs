//! A table of nftables: how it is to be, the script that makes it so, and whether what `nft -j list table` tells
//! of it is that. Pure.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use serde_json::Value;

use super::fence::{Port, Protocol};
use super::label::{LONGEST, fingerprint, label};

/// A table of the family inet as it is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// What it is called; nobody else's table may be called so.
    pub name: &'static str,
    /// Its sets.
    pub sets: Vec<Set>,
    /// Its chains; one that is jumped to stands before those that do.
    pub chains: Vec<Chain>,
}

/// A set of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// What it is called.
    pub name: &'static str,
    /// What is in it.
    pub members: Members,
}

/// The members of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Members {
    /// Protocols and ports, each for a time.
    Ports(Vec<Timed<Port>>),
    /// IPv4 endpoints, each for a time.
    Ipv4Endpoints(Vec<Timed<SocketAddr>>),
    /// IPv6 endpoints, each for a time.
    Ipv6Endpoints(Vec<Timed<SocketAddr>>),
    /// IPv4 networks.
    Ipv4Networks(Vec<IpNet>),
    /// IPv6 networks.
    Ipv6Networks(Vec<IpNet>),
}

/// A member that the kernel drops by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timed<K> {
    /// What it is.
    pub key: K,
    /// When the kernel drops it.
    pub until: Instant,
    /// A comment for whoever lists it.
    pub comment: String,
}

/// A chain of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// What it is called.
    pub name: &'static str,
    /// Which packets come to it; `None`: those of rules that jump to it.
    pub hook: Option<&'static str>,
    /// Its rules, each with a comment for whoever lists it.
    pub rules: Vec<(String, &'static str)>,
}

/// What there is of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Whether all of it could be read, and nothing is in it that we never put there.
    is_whole: bool,
    sets: Vec<ListedSet>,
    chains: Vec<ListedChain>,
    rules: Vec<ListedRule>,
}

/// A set that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ListedSet {
    name: String,
    kind: Vec<String>,
    flags: Vec<String>,
    members: Vec<Value>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct ListedChain {
    name: String,
    hook: Option<(String, String, i64, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct ListedRule {
    chain: String,
    comment: String,
    /// What nft makes of its text, without what it has counted.
    expressions: Vec<Value>,
}

/// In what a table differs from how it is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Nothing but the members of its sets.
    Members,
    /// More than that, or it is not there.
    All,
}

/// A timed member that is there, for whoever wants to see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// `tcp/443` or `192.0.2.1:443`.
    pub what: String,
    /// How much longer, at least, where the kernel drops it by itself.
    pub left: Option<Duration>,
    /// Its comment.
    pub comment: String,
}

impl Table {
    /// The script that makes the table from nothing, or anew, in one transaction.
    pub fn script(&self, now: Instant) -> String {
        let mut text = removal(self.name);
        let _ = writeln!(text, "table inet {} {{", self.name);
        self.sets.iter().for_each(|set| set.write(&mut text, now));
        for chain in &self.chains {
            let _ = writeln!(text, " chain {} {{", chain.name);
            if let Some(hook) = chain.hook {
                let _ = writeln!(text, "  type filter hook {hook} priority {PRIORITY}; policy accept;");
            }
            for (rule, comment) in &chain.rules {
                let _ = writeln!(text, "  {rule} comment \"{}\"", rule_comment(rule, comment));
            }
            text.push_str(" }\n");
        }
        text.push_str("}\n");
        text
    }

    /// The script that changes nothing but the members of the sets, in one transaction: counters go on. Times are
    /// told anew in any case.
    pub fn members_script(&self, listing: &Listing, now: Instant) -> String {
        let mut text = String::new();
        for set in self.sets.iter().filter(|set| set.members.is_timed() || !set.is(listing, now)) {
            // adding a member that is there does not change its time, and deleting one that has just gone is an error
            let _ = writeln!(text, "flush set inet {} {}", self.name, set.name);
            let _ = writeln!(text, "table inet {} {{", self.name);
            set.write(&mut text, now);
            text.push_str("}\n");
        }
        text
    }

    /// In what the listed table differs from this one; `None`: in nothing that matters.
    pub fn differs_from(&self, listing: &Listing, now: Instant) -> Option<Difference> {
        if !self.is_built_as(listing) {
            return Some(Difference::All);
        }
        let same = self.sets.iter().all(|set| set.is(listing, now));
        (!same).then_some(Difference::Members)
    }

    fn is_built_as(&self, listing: &Listing) -> bool {
        let set = |set: &Set| {
            listing
                .set(set.name)
                .is_some_and(|there| there.kind == set.members.kind() && there.flags == [set.members.flag()])
        };
        let chain = |chain: &Chain| {
            let hook = chain.hook.map(|hook| ("filter".into(), hook.into(), PRIORITY, "accept".into()));
            let there = listing.chains.iter().find(|there| there.name == chain.name);
            let comments = chain.rules.iter().map(|(rule, comment)| rule_comment(rule, comment));
            there.is_some_and(|there| there.hook == hook) && listing.rules_of(chain.name).eq(comments)
        };
        listing.is_whole
            && listing.sets.len() == self.sets.len()
            && listing.chains.len() == self.chains.len()
            && self.sets.iter().all(set)
            && self.chains.iter().all(chain)
    }
}

/// The script that takes a table away, whether it is there or not.
pub fn removal(name: &str) -> String {
    format!("table inet {name}\ndelete table inet {name}\n")
}

impl Set {
    /// Its members stand in it: for the command that adds some, nft reads every member of every set on this host.
    fn write(&self, text: &mut String, now: Instant) {
        let (name, kind, flags) = (self.name, self.members.kind().join(" . "), self.members.flag());
        let _ = write!(text, " set {name} {{\n  type {kind}\n  flags {flags}\n");
        let members = self.members.written(now);
        if !members.is_empty() {
            let _ = writeln!(text, "  elements = {{ {} }}", members.join(", "));
        }
        text.push_str(" }\n");
    }

    fn is(&self, listing: &Listing, now: Instant) -> bool {
        listing.set(self.name).is_some_and(|there| self.members.are(&there.members, now))
    }
}

impl Members {
    fn kind(&self) -> &'static [&'static str] {
        match self {
            Self::Ports(_) => &["inet_proto", "inet_service"],
            Self::Ipv4Endpoints(_) => &["ipv4_addr", "inet_service"],
            Self::Ipv6Endpoints(_) => &["ipv6_addr", "inet_service"],
            Self::Ipv4Networks(_) => &["ipv4_addr"],
            Self::Ipv6Networks(_) => &["ipv6_addr"],
        }
    }

    fn is_timed(&self) -> bool {
        match self {
            Self::Ports(_) | Self::Ipv4Endpoints(_) | Self::Ipv6Endpoints(_) => true,
            Self::Ipv4Networks(_) | Self::Ipv6Networks(_) => false,
        }
    }

    fn flag(&self) -> &'static str {
        if self.is_timed() { "timeout" } else { "interval" }
    }

    fn written(&self, now: Instant) -> Vec<String> {
        match self {
            Self::Ports(ports) => ports.iter().filter_map(|port| port.written(now)).collect(),
            Self::Ipv4Endpoints(endpoints) | Self::Ipv6Endpoints(endpoints) => {
                endpoints.iter().filter_map(|endpoint| endpoint.written(now)).collect()
            }
            Self::Ipv4Networks(networks) | Self::Ipv6Networks(networks) => {
                networks.iter().map(IpNet::to_string).collect()
            }
        }
    }

    fn are(&self, listed: &[Value], now: Instant) -> bool {
        match self {
            Self::Ports(ports) => timed_are(ports, listed, now),
            Self::Ipv4Endpoints(endpoints) | Self::Ipv6Endpoints(endpoints) => {
                timed_are(endpoints, listed, now)
            }
            Self::Ipv4Networks(networks) | Self::Ipv6Networks(networks) => {
                let there: Option<Vec<_>> = listed.iter().map(range).collect();
                let wanted = networks.iter().map(|network| (network.network(), network.broadcast()));
                there.is_some_and(|there| merged(there) == merged(wanted.collect()))
            }
        }
    }
}

/// What names a timed member.
pub trait Key: Sized + PartialEq {
    /// As it stands in scripts. Numbers, for names of protocols may not be known to a host.
    fn written(&self) -> String;
    /// As it stands in a listing.
    fn read(first: &Value, port: u16) -> Option<Self>;
}

impl Key for Port {
    fn written(&self) -> String {
        let protocol = match self.protocol {
            Protocol::Tcp => TCP,
            Protocol::Udp => UDP,
        };
        format!("{protocol} . {}", self.number)
    }

    fn read(first: &Value, number: u16) -> Option<Self> {
        let protocol = match (first.as_str(), first.as_u64()) {
            (Some("tcp"), _) | (_, Some(TCP)) => Protocol::Tcp,
            (Some("udp"), _) | (_, Some(UDP)) => Protocol::Udp,
            _ => return None,
        };
        Some(Self { protocol, number })
    }
}

impl Key for SocketAddr {
    fn written(&self) -> String {
        format!("{} . {}", self.ip(), self.port())
    }

    fn read(first: &Value, port: u16) -> Option<Self> {
        Some(Self::new(first.as_str()?.parse().ok()?, port))
    }
}

impl<K: Key> Timed<K> {
    /// `None`: its time is over.
    fn written(&self, now: Instant) -> Option<String> {
        let left = self.left(now)?.min(LONGEST);
        let comment = label(&self.comment);
        let comment = if comment.is_empty() { comment } else { format!(" comment \"{comment}\"") };
        // not a millisecond less than asked for
        let milliseconds = left.as_nanos().div_ceil(1_000_000);
        Some(format!("{} timeout {milliseconds}ms{comment}", self.key.written()))
    }

    fn left(&self, now: Instant) -> Option<Duration> {
        self.until.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    /// Whether a listed member is this one.
    fn is(&self, listed: &ListedTimed<K>, now: Instant) -> bool {
        let left = self.left(now).unwrap_or_default().min(LONGEST);
        let Some(expires) = listed.expires else { return false };
        let (least, most) = (expires.saturating_sub(TOLERANCE), expires + SECOND + TOLERANCE);
        listed.key == self.key && listed.comment == label(&self.comment) && (least..=most).contains(&left)
    }
}

struct ListedTimed<K> {
    key: K,
    /// In whole seconds, rounded down.
    expires: Option<Duration>,
    comment: String,
}

impl<K: Key> ListedTimed<K> {
    fn read(member: &Value) -> Option<Self> {
        let member = member.get("elem").unwrap_or(member);
        let value = member.get("val").unwrap_or(member);
        let [first, port] = value.get("concat")?.as_array()?.as_slice() else { return None };
        let key = K::read(first, u16::try_from(port.as_u64()?).ok()?)?;
        let expires = member.get("expires").and_then(Value::as_u64).map(Duration::from_secs);
        Some(Self { key, expires, comment: text(member, "comment").to_owned() })
    }
}

fn timed_are<K: Key>(wanted: &[Timed<K>], listed: &[Value], now: Instant) -> bool {
    let listed: Option<Vec<_>> = listed.iter().map(ListedTimed::<K>::read).collect();
    let Some(listed) = listed else { return false };
    // one that is about to go may be there or not
    let may_be_gone = |timed: &Timed<K>| timed.left(now).is_none_or(|left| left < SECOND);
    wanted.iter().all(|timed| may_be_gone(timed) || listed.iter().any(|there| timed.is(there, now)))
        && listed.iter().all(|there| wanted.iter().any(|timed| timed.is(there, now)))
}

impl Listing {
    /// Reads what `nft -j list table` says. What cannot be read is taken for a table that is not in order.
    pub fn parse(listing: &[u8]) -> Self {
        Self::read(listing).unwrap_or_default()
    }

    /// The same; `None`: it cannot be read.
    pub fn read(listing: &[u8]) -> Option<Self> {
        let mut read = Self { is_whole: true, ..Self::default() };
        let all: Value = serde_json::from_slice(listing).ok()?;
        for object in all.get("nftables")?.as_array()? {
            read.is_whole &= read.take(object).is_some();
        }
        Some(read)
    }

    fn take(&mut self, object: &Value) -> Option<()> {
        let (kind, object) = object.as_object()?.iter().next()?;
        match kind.as_str() {
            "metainfo" => Some(()),
            // a table that sleeps lets everything pass
            "table" => object.get("flags").is_none().then_some(()),
            "set" => {
                let words = |value: Option<&Value>| match value {
                    Some(Value::String(word)) => vec![word.clone()],
                    Some(Value::Array(words)) => {
                        words.iter().filter_map(Value::as_str).map(Into::into).collect()
                    }
                    _ => Vec::new(),
                };
                self.sets.push(ListedSet {
                    name: text(object, "name").to_owned(),
                    kind: words(object.get("type")),
                    flags: words(object.get("flags")),
                    members: object.get("elem").and_then(Value::as_array).cloned().unwrap_or_default(),
                });
                // one that ends or bounds members by itself is none of ours
                ["timeout", "size", "gc-interval"].iter().all(|key| object.get(key).is_none()).then_some(())
            }
            "chain" => {
                let hook = object.get("hook").and_then(Value::as_str).map(|hook| {
                    let priority = object.get("prio").and_then(Value::as_i64).unwrap_or_default();
                    (text(object, "type").into(), hook.into(), priority, text(object, "policy").into())
                });
                self.chains.push(ListedChain { name: text(object, "name").to_owned(), hook });
                Some(())
            }
            "rule" => {
                let expressions = object.get("expr").and_then(Value::as_array).into_iter().flatten();
                self.rules.push(ListedRule {
                    chain: text(object, "chain").to_owned(),
                    comment: text(object, "comment").to_owned(),
                    expressions: expressions.filter(|expr| expr.get("counter").is_none()).cloned().collect(),
                });
                Some(())
            }
            _ => None,
        }
    }

    fn set(&self, name: &str) -> Option<&ListedSet> {
        self.sets.iter().find(|set| set.name == name)
    }

    fn rules_of(&self, chain: &str) -> impl Iterator<Item = &str> {
        self.rules.iter().filter(move |rule| rule.chain == chain).map(|rule| rule.comment.as_str())
    }

    /// Whether both have the same rules, as this version of nft lists them.
    pub fn has_rules_of(&self, other: &Self) -> bool {
        self.rules == other.rules
    }

    /// The timed members of all sets.
    pub fn timed(&self) -> Vec<Listed> {
        fn listed<K: Key>(member: &Value, word: impl Fn(K) -> String) -> Option<Listed> {
            let ListedTimed { key, expires, comment } = ListedTimed::<K>::read(member)?;
            Some(Listed { what: word(key), left: expires, comment })
        }
        let members = self.sets.iter().flat_map(|set| &set.members);
        let read = |member| {
            listed(member, |port: Port| port.to_string())
                .or_else(|| listed(member, |endpoint: SocketAddr| endpoint.to_string()))
        };
        members.filter_map(read).collect()
    }

    /// The networks of all sets.
    pub fn networks(&self) -> Vec<String> {
        let members = self.sets.iter().flat_map(|set| &set.members);
        let ranges = members.filter_map(|member| Some((range(member)?, member)));
        let word = |((first, last), member): ((IpAddr, IpAddr), &Value)| {
            let length = member.get("prefix").and_then(|prefix| prefix.get("len")?.as_u64());
            match length {
                Some(length) => format!("{first}/{length}"),
                None if first == last => first.to_string(),
                None => format!("{first}-{last}"),
            }
        };
        ranges.map(word).collect()
    }
}

/// From the first address to the last of a listed network.
fn range(member: &Value) -> Option<(IpAddr, IpAddr)> {
    let address = |value: &Value| value.as_str()?.parse::<IpAddr>().ok();
    if let Some(prefix) = member.get("prefix") {
        let length = u8::try_from(prefix.get("len")?.as_u64()?).ok()?;
        let network = IpNet::new(address(prefix.get("addr")?)?, length).ok()?;
        return Some((network.network(), network.broadcast()));
    }
    if let Some(range) = member.get("range") {
        let [first, last] = range.as_array()?.as_slice() else { return None };
        return Some((address(first)?, address(last)?));
    }
    address(member).map(|address| (address, address))
}

/// The same addresses in as few ranges as possible: nft may list neighbours together or apart.
fn merged(mut ranges: Vec<(IpAddr, IpAddr)>) -> Vec<(u128, u128)> {
    let number = |address: IpAddr| match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    };
    ranges.sort();
    let mut merged: Vec<(u128, u128)> = Vec::new();
    for (first, last) in ranges.into_iter().map(|(first, last)| (number(first), number(last))) {
        match merged.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged
}

/// What nft itself makes of a rule depends on its version; the comment that it came with does not.
fn rule_comment(rule: &str, comment: &str) -> String {
    format!("{comment} [{:08x}]", fingerprint(rule))
}

fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Before the usual filter chains, so that none of them has let pass for good what we are to refuse.
const PRIORITY: i64 = -10;
const TCP: u64 = 6;
const UDP: u64 = 17;
const SECOND: Duration = Duration::from_secs(1);
/// Listings tell whole seconds, and come a little after the kernel has looked.
const TOLERANCE: Duration = Duration::from_millis(1500);

#[cfg(test)]
mod tests {
    use super::super::fence::{Block, Connections, Fence, RejectWith};
    use super::super::tables::{exempt_networks, fence_table};
    use super::*;

    /// What nft 1.0.6 tells of the table below, a little after it was set for 15 seconds.
    const LISTING: &str = include_str!("../../../tests/firewall/listings/nft.json");

    fn table(now: Instant) -> Table {
        let fence = Fence {
            ports: ["tcp/443", "udp/500", "udp/4500"].map(|port| port.parse().unwrap()).into(),
            connections: Connections::New,
            reject_with: RejectWith::TcpReset,
            exempt: ["127.0.0.0/8", "fd09::3/128", "10.0.0.4/30"].map(|net| net.parse().unwrap()).into(),
            spare: Vec::new(),
        };
        let learned = ["192.0.2.7", "192.0.2.8", "192.0.2.9"].map(|address| address.parse().unwrap());
        let block = Block { until: now + Duration::from_secs(15), holders: "self, front-a".into() };
        fence_table(&fence, Some(&block), &exempt_networks(&fence.exempt, &learned))
    }

    fn difference(listing: &str) -> Option<Difference> {
        let now = Instant::now();
        table(now).differs_from(&Listing::parse(listing.as_bytes()), now + Duration::from_millis(200))
    }

    #[test]
    fn a_table_is_known_again_in_what_nft_tells_of_it() {
        assert_eq!(difference(LISTING), None);
        // numbers, where the host knows no names of protocols
        assert_eq!(difference(&LISTING.replace("\"tcp\", 443", "6, 443").replace("\"udp\", ", "17, ")), None);
    }

    #[test]
    fn networks_are_the_same_however_they_are_cut() {
        let pair = r#""192.0.2.7", {"prefix": {"addr": "192.0.2.8", "len": 31}}"#;
        for same in [
            r#""192.0.2.7", "192.0.2.8", "192.0.2.9""#,
            r#"{"range": ["192.0.2.7", "192.0.2.9"]}"#,
            r#"{"range": ["192.0.2.8", "192.0.2.9"]}, "192.0.2.7""#,
        ] {
            assert_eq!(difference(&LISTING.replace(pair, same)), None, "{same}");
        }
        for other in [r#""192.0.2.7", "192.0.2.8""#, r#"{"range": ["192.0.2.6", "192.0.2.9"]}"#, r#""x""#] {
            assert_eq!(difference(&LISTING.replace(pair, other)), Some(Difference::Members), "{other}");
        }
    }

    #[test]
    fn every_change_is_seen() {
        for (was, is, expected) in [
            (r#""expires": 14, "comment""#, r#""expires": 11, "comment""#, Difference::Members),
            (r#""expires": 14, "comment""#, r#""expires": 30, "comment""#, Difference::Members),
            // one that would never end
            (r#""timeout": 14, "expires": 14, "comment""#, r#""comment""#, Difference::Members),
            (r#""comment": "self, front-a""#, r#""comment": "self""#, Difference::Members),
            (r#"["tcp", 443]"#, r#"["tcp", 444]"#, Difference::Members),
            (r#"["tcp", 443]"#, r#"["sctp", 443]"#, Difference::Members),
            (r#"["tcp", 443]"#, r#"["tcp", 443, 1]"#, Difference::Members),
            (r#""prio": -10"#, r#""prio": 0"#, Difference::All),
            (r#""policy": "accept""#, r#""policy": "drop""#, Difference::All),
            (r#""hook": "input""#, r#""hook": "prerouting""#, Difference::All),
            ("[6240004b]", "[6240004c]", Difference::All),
            (r#""flags": ["interval"]"#, r#""flags": ["interval", "timeout"]"#, Difference::All),
            (r#""flags": ["timeout"]"#, r#""flags": ["timeout"], "size": 1"#, Difference::All),
            (r#""name": "fenced""#, r#""name": "fence""#, Difference::All),
            (r#"{"table": {"#, r#"{"table": {"flags": "dormant", "#, Difference::All),
            (r#"{"rule": {"#, r#"{"flowtable": {"#, Difference::All),
            (
                r#"{"chain": {"family": "inet""#,
                r#"{"chain": {}}, {"chain": {"family": "inet""#,
                Difference::All,
            ),
            (r#"{"nftables""#, r#"{"nftable""#, Difference::All),
        ] {
            let changed = LISTING.replacen(was, is, 1);
            assert_ne!(changed, LISTING, "{was}");
            assert_eq!(difference(&changed), Some(expected), "{was} → {is}");
        }
    }

    #[test]
    fn a_rule_that_keeps_its_comment_is_seen_to_be_another_and_one_that_has_counted_is_not() {
        let listing = |text: &str| Listing::parse(text.as_bytes());
        let counted = LISTING.replace(r#""packets": 0, "bytes": 0"#, r#""packets": 7, "bytes": 420"#);
        assert!(counted != LISTING && listing(&counted).has_rules_of(&listing(LISTING)));
        let replaced = LISTING.replace(r#""right": "syn""#, r#""right": "fin""#);
        assert!(replaced != LISTING && !listing(&replaced).has_rules_of(&listing(LISTING)));
    }

    #[test]
    fn what_is_about_to_end_may_be_there_or_not() {
        let now = Instant::now();
        let empty = LISTING.replace("\"name\": \"fenced\"", "\"name\": \"fenced\", \"was\": 0");
        let (before, rest) = empty.split_once(", \"elem\": [{\"elem\"").unwrap();
        let empty = format!("{before}{}", rest.split_once("}}]").unwrap().1);
        let empty = Listing::parse(empty.as_bytes());
        let after = |milliseconds| table(now).differs_from(&empty, now + Duration::from_millis(milliseconds));
        assert_eq!(after(13_000), Some(Difference::Members));
        assert_eq!([after(14_500), after(15_000), after(20_000)], [None; 3]);
    }

    #[test]
    fn no_listing_however_broken_is_taken_for_a_table_in_order() {
        let (now, bytes) = (Instant::now(), LISTING.trim_end().as_bytes());
        let table = table(now);
        for length in 0..bytes.len() {
            let listing = Listing::parse(&bytes[..length]);
            assert_eq!(table.differs_from(&listing, now), Some(Difference::All), "cut at {length}");
            assert!(listing.timed().is_empty() && listing.networks().is_empty());
        }
        for position in (0..bytes.len()).step_by(3) {
            let mut bytes = bytes.to_vec();
            bytes[position] ^= 1 << (position % 7);
            let listing = Listing::parse(&bytes);
            let _ = (table.differs_from(&listing, now), listing.timed(), listing.networks());
        }
    }

    #[test]
    fn a_listing_says_what_is_refused_and_who_passes() {
        let listing = Listing::parse(LISTING.as_bytes());
        let timed = listing.timed();
        let what: Vec<_> = timed.iter().map(|timed| timed.what.as_str()).collect();
        assert_eq!(what, ["udp/4500", "tcp/443", "udp/500"]);
        assert_eq!(
            (timed[0].left, timed[0].comment.as_str()),
            (Some(Duration::from_secs(14)), "self, front-a")
        );
        let networks = ["10.0.0.4/30", "127.0.0.0/8", "192.0.2.7", "192.0.2.8/31", "fd09::3"];
        assert_eq!(listing.networks(), networks);
    }

    #[test]
    fn a_renewal_leaves_rules_and_networks_alone() {
        let now = Instant::now();
        let script = table(now).members_script(&Listing::parse(LISTING.as_bytes()), now);
        let member = |key| format!("{key} timeout 15000ms comment \"self, front-a\"");
        let members = ["6 . 443", "17 . 500", "17 . 4500"].map(member).join(", ");
        let expected = format!(
            "flush set inet vestibule fenced\ntable inet vestibule {{\n set fenced {{\n  type inet_proto . inet_service\n  \
             flags timeout\n  elements = {{ {members} }}\n }}\n}}\n"
        );
        assert_eq!(script, expected);
    }

    #[test]
    fn nobody_writes_a_script_with_his_name() {
        let now = Instant::now();
        let timed = Timed {
            key: "tcp/443".parse::<Port>().unwrap(),
            until: now + Duration::from_micros(1500),
            comment: "\" }; flush ruleset\n".into(),
        };
        assert_eq!(timed.written(now).unwrap(), "6 . 443 timeout 2ms comment \"? }; flush ruleset?\"");
        assert_eq!(timed.written(timed.until), None);
    }
}
