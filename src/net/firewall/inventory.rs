//! Everything that Vestibule has ever set in the firewall of this host, whether anything of it runs or not.

use std::fmt;
use std::io::ErrorKind;
use std::path::Path;
use std::time::SystemTime;

use serde::Serialize;

use super::chains::Tool;
use super::engine::FirewallError;
use super::iptables::{CHAIN, Family, PROBE, blocked};
use super::kept;
use super::nft::Listing;
use super::program::{Program, Rights};
use super::tables::{FENCE_TABLE, WALL_TABLE};
use crate::net::words::in_words;

/// What is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Inventory {
    /// Our tables and chains.
    pub places: Vec<Place>,
    /// What could not be looked at, and why.
    pub unseen: Vec<String>,
}

/// A table or chain of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// `table inet vestibule`.
    pub name: String,
    /// What shows it: `nft`, `iptables-nft`, `ip6tables-legacy`, …
    pub program: String,
    /// What is refused now.
    pub refused: Vec<Refused>,
    /// Networks that pass.
    pub exempt: Vec<String>,
}

/// Something that is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// `tcp/443`: what comes to that port; `192.0.2.1:443`: connections from here to there.
    pub what: String,
    /// How much longer, at least, unless it is renewed; `null`: until somebody removes it, which is none of our doing.
    pub seconds_left: Option<u64>,
    /// Who wants it, where that is told.
    pub holders: String,
}

/// What was taken away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cleared {
    /// Our tables and chains that are gone now.
    pub removed: Vec<String>,
    /// What is still there, and why.
    pub failed: Vec<String>,
    /// What could not be looked at, and why.
    pub unseen: Vec<String>,
}

/// Looks everywhere.
pub async fn list() -> Inventory {
    let mut inventory = Inventory::default();
    let Sources { nft, tools, unseen } = sources().await;
    inventory.unseen = unseen;
    for table in nft.iter().flat_map(|nft| [(nft, FENCE_TABLE), (nft, WALL_TABLE)]) {
        let found = kept::find(table.0, table.1)
            .await
            .map(|found| found.map(|listing| Place::of_table(table.1, &listing)).into_iter().collect());
        inventory.take(found);
    }
    for tool in &tools {
        let found = Place::of_chains(tool).await;
        inventory.take(found);
    }
    inventory
}

/// Takes everything away that is ours, and nothing else.
pub async fn clear() -> Cleared {
    let mut cleared = Cleared::default();
    let Sources { nft, tools, unseen } = sources().await;
    cleared.unseen = unseen;
    for table in nft.iter().flat_map(|nft| [(nft, FENCE_TABLE), (nft, WALL_TABLE)]) {
        let removed = kept::remove(table.0, table.1).await;
        cleared.take(removed, format!("{} ({})", table_name(table.1), table.0.name()));
    }
    for tool in &tools {
        let removed = tool.remove().await;
        cleared.take(removed, format!("{} ({})", chain_name(CHAIN), tool.list.name()));
    }
    cleared
}

impl Inventory {
    fn take(&mut self, found: Result<Vec<Place>, FirewallError>) {
        match found {
            Ok(places) => self.places.extend(places),
            Err(error) => note(&mut self.unseen, &error),
        }
    }
}

impl Cleared {
    fn take(&mut self, removed: Result<bool, FirewallError>, what: String) {
        match removed {
            Ok(true) => self.removed.push(what),
            Ok(false) => {}
            Err(error @ FirewallError::Unusable(_)) => note(&mut self.unseen, &error),
            Err(error) => self.failed.push(format!("{what}: {error}")),
        }
    }
}

impl Place {
    fn of_table(name: &str, listing: &Listing) -> Self {
        let refused = listing.timed().into_iter().map(|timed| Refused {
            what: timed.what,
            seconds_left: timed.left.map(|left| left.as_secs()),
            holders: timed.comment,
        });
        // the kernel lists them in an order of its own
        let mut refused: Vec<_> = refused.collect();
        refused.sort_by(|one, other| one.what.cmp(&other.what));
        Self { name: table_name(name), program: "nft".to_owned(), refused, exempt: listing.networks() }
    }

    async fn of_chains(tool: &Tool) -> Result<Vec<Self>, FirewallError> {
        let place = |name| Self {
            name: chain_name(name),
            program: tool.list.name().to_owned(),
            refused: Vec::new(),
            exempt: Vec::new(),
        };
        let found = tool.look().await?;
        let mut places = Vec::new();
        if found.rules.is_some() || !found.jumps.is_empty() {
            let blocked = blocked(&found.rules.unwrap_or_default());
            let now = SystemTime::now();
            let left = blocked.until.map(|until| until.duration_since(now).unwrap_or_default());
            // rules that have ended, or begin later because the clock was set back, or that nothing leads to, refuse nothing
            let refuses = !found.jumps.is_empty() && blocked.is_in_force(now);
            let refused = |what| Refused {
                what,
                seconds_left: left.map(|left| left.as_secs()),
                holders: blocked.holders.clone(),
            };
            let refused = blocked.ports.into_iter().filter(|_| refuses).map(refused).collect();
            places.push(Self { refused, exempt: blocked.exempt, ..place(CHAIN) });
        }
        if tool.has_probe().await? {
            places.push(place(PROBE));
        }
        Ok(places)
    }
}

impl fmt::Display for Inventory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.places.is_empty() && self.unseen.is_empty() {
            return writeln!(f, "Vestibule has set no rules here.");
        }
        self.places.iter().try_for_each(|place| write!(f, "{place}"))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ({})", self.name, self.program)?;
        if self.refused.is_empty() {
            writeln!(f, "  nothing is refused")?;
        }
        for Refused { what, seconds_left, holders } in &self.refused {
            let left = seconds_left
                .map_or_else(|| "until somebody removes it".to_owned(), |left| format!("for {left} s more"));
            let holders = if holders.is_empty() { String::new() } else { format!(", held by {holders}") };
            writeln!(f, "  refused: {what}, {left}{holders}")?;
        }
        if !self.exempt.is_empty() {
            writeln!(f, "  exempt: {}", self.exempt.join(", "))?;
        }
        Ok(())
    }
}

impl fmt::Display for Cleared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.removed.is_empty() && self.failed.is_empty() && self.unseen.is_empty() {
            return writeln!(f, "Vestibule has set no rules here.");
        }
        self.removed.iter().try_for_each(|what| writeln!(f, "removed: {what}"))?;
        if self.removed.is_empty() {
            return Ok(());
        }
        writeln!(
            f,
            "An agent or front door that runs sets again what it still has a reason for. If that is not wanted, stop \
             it,\nor set engine = \"none\" in its [fence] and reload it."
        )
    }
}

/// Where rules of ours could be.
struct Sources {
    nft: Option<Program>,
    tools: Vec<Tool>,
    unseen: Vec<String>,
}

async fn sources() -> Sources {
    let nft = Program::find("nft");
    let (mut tools, mut unseen) = (Vec::new(), Vec::new());
    let ipv6 = Path::new("/proc/net/if_inet6").exists();
    for (family, makes) in MAKES.iter().filter(|(family, _)| *family == Family::Ipv4 || ipv6) {
        let [nft, legacy, unknown] = makes.map(|(list, restore)| {
            Program::find(list).zip(Program::find(restore)).map(|(list, restore)| Tool {
                family: *family,
                list,
                restore,
            })
        });
        let is_known = nft.is_some() || legacy.is_some();
        tools.extend(nft);
        let mut old = legacy;
        if let Some(tool) = unknown.filter(|_| !is_known) {
            match tool.list.run(&["--version"], "").await {
                Ok(version) if version.text().contains("nf_tables") => tools.push(tool),
                Ok(_) => old = Some(tool),
                Err(error) => note(&mut unseen, &error),
            }
        }
        if let Some(tool) = old {
            match has_old_table(*family) {
                Ok(true) => tools.push(tool),
                Ok(false) => {}
                Err(error) => note(&mut unseen, &error),
            }
        }
    }
    if nft.is_none() && tools.is_empty() && unseen.is_empty() {
        let text = "nft is not installed, and iptables has no rules; to look for rules of nftables, install the package nftables";
        unseen.push(text.to_owned());
    }
    Sources { nft, tools, unseen }
}

/// Whether the kernel's older interface has a filter table. To ask iptables itself would make one.
fn has_old_table(family: Family) -> Result<bool, FirewallError> {
    let names = match family {
        Family::Ipv4 => "/proc/net/ip_tables_names",
        Family::Ipv6 => "/proc/net/ip6_tables_names",
    };
    match std::fs::read_to_string(names) {
        Ok(tables) => Ok(tables.lines().any(|table| table == "filter")),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error)
            if error.kind() == ErrorKind::PermissionDenied && Rights::of_children() != Rights::None =>
        {
            Err(FirewallError::Unusable(
                "only root can see whether iptables-legacy has rules here".to_owned(),
            ))
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(FirewallError::not_allowed()),
        Err(error) => Err(FirewallError::Failed(format!("{names}: {}", in_words(&error)))),
    }
}

fn note(unseen: &mut Vec<String>, error: &FirewallError) {
    let text = error.to_string();
    if !unseen.contains(&text) {
        unseen.push(text);
    }
}

fn table_name(name: &str) -> String {
    format!("table inet {name}")
}

fn chain_name(name: &str) -> String {
    format!("chain {name}")
}

/// A program that lists, and one that changes.
type Make = (&'static str, &'static str);

/// By the kernel's newer interface, by the older one, and where it is not told by which.
const MAKES: [(Family, [Make; 3]); 2] = [
    (
        Family::Ipv4,
        [
            ("iptables-nft", "iptables-nft-restore"),
            ("iptables-legacy", "iptables-legacy-restore"),
            ("iptables", "iptables-restore"),
        ],
    ),
    (
        Family::Ipv6,
        [
            ("ip6tables-nft", "ip6tables-nft-restore"),
            ("ip6tables-legacy", "ip6tables-legacy-restore"),
            ("ip6tables", "ip6tables-restore"),
        ],
    ),
];
