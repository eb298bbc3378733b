//! A table of nftables in the kernel, kept as it is to be.

use std::time::Instant;

use super::engine::{Done, FirewallError};
use super::fence::Block;
use super::label::LONGEST;
use super::nft::{Difference, Listing, Table, removal};
use super::program::Program;
use crate::net::command::Finished;

/// One of our tables.
#[derive(Debug)]
pub struct KeptTable {
    name: &'static str,
    /// What was last found in force, and how it was listed.
    last: Option<(Table, Listing)>,
}

impl KeptTable {
    /// Nothing is looked at or changed yet.
    pub fn new(name: &'static str) -> Self {
        Self { name, last: None }
    }

    /// Makes it so, unless it is.
    pub async fn set(&mut self, table: Table) -> Result<Done, FirewallError> {
        let nft = nft()?;
        let mut listing = look(&nft, self.name).await?;
        let now = Instant::now();
        let mut difference = table.differs_from(&listing, now);
        let mut untouched = None;
        if let Some((last, listed)) = &self.last {
            // a rule that was replaced may have kept its comment
            let same_rules = listing.has_rules_of(listed);
            difference = if same_rules { difference } else { Some(Difference::All) };
            let same = same_rules && last.differs_from(&listing, now).is_none();
            if same && difference.is_none() && *last == table {
                return Ok(Done::AsItWas);
            }
            untouched = Some(same);
        }
        self.last = None;
        let mut failure = FirewallError::NotInForce(format!("table inet {}", self.name));
        for _ in 0..ATTEMPTS {
            let now = Instant::now();
            let script = match difference {
                Some(Difference::All) => table.script(now),
                // times may differ by less than a listing shows
                Some(Difference::Members) | None => table.members_script(&listing, now),
            };
            match nft.run(&["-f", "-"], &script).await {
                // somebody may have changed it at the same time
                Err(error @ FirewallError::Failed(_)) => failure = error,
                Err(error) => return Err(error),
                Ok(_) => {
                    listing = look(&nft, self.name).await?;
                    if table.differs_from(&listing, Instant::now()).is_none() {
                        self.last = Some((table, listing));
                        return Ok(if untouched == Some(false) { Done::Repaired } else { Done::Written });
                    }
                }
            }
            difference = Some(Difference::All);
        }
        Err(failure)
    }

    /// The block that its timed members are, without changing anything.
    pub async fn find_block(&self) -> Result<Option<Block>, FirewallError> {
        let listing = look(&nft()?, self.name).await?;
        let now = Instant::now();
        // one without an end is not ours
        let timed = listing.timed().into_iter().filter_map(|timed| Some((timed.left?, timed.comment)));
        Ok(timed.max().map(|(left, holders)| Block { until: now + left.min(LONGEST), holders }))
    }

    /// Takes it away. Whether it was there.
    pub async fn remove(&mut self) -> Result<bool, FirewallError> {
        self.last = None;
        remove(&nft()?, self.name).await
    }
}

/// The program.
pub fn nft() -> Result<Program, FirewallError> {
    Program::require("nft", "nftables")
}

/// Takes a table away. Whether it was there.
pub async fn remove(nft: &Program, name: &str) -> Result<bool, FirewallError> {
    if told(nft, name).await?.is_none() {
        return Ok(false);
    }
    nft.run(&["-f", "-"], &removal(name)).await?;
    if told(nft, name).await?.is_some() {
        return Err(FirewallError::NotInForce(format!("the removal of table inet {name}")));
    }
    Ok(true)
}

/// What is there of a table; `None`: it is not there.
pub async fn find(nft: &Program, name: &str) -> Result<Option<Listing>, FirewallError> {
    let Some(listing) = told(nft, name).await? else { return Ok(None) };
    match Listing::read(&listing.stdout.bytes) {
        Some(listing) => Ok(Some(listing)),
        None => Err(FirewallError::Failed(format!("nft: its list of table inet {name} cannot be read"))),
    }
}

/// The same for whoever writes it anew where it is not in order.
async fn look(nft: &Program, name: &str) -> Result<Listing, FirewallError> {
    let listing = told(nft, name).await?;
    Ok(listing.map(|listing| Listing::parse(&listing.stdout.bytes)).unwrap_or_default())
}

/// What nft tells of a table; `None`: it is not there.
async fn told(nft: &Program, name: &str) -> Result<Option<Finished>, FirewallError> {
    let listing = nft.ask(&["-j", "list", "table", "inet", name], "").await?;
    if listing.status.success() {
        return Ok(Some(listing));
    }
    let said = String::from_utf8_lossy(&listing.stderr.bytes);
    // where nft itself cannot be started, the same is said of its libraries
    let says_so = |line: &str| line.contains("Error: ") && line.contains("No such file or directory");
    let is_missing = listing.status.code() == Some(NOT_DONE) && said.lines().any(says_so);
    if is_missing { Ok(None) } else { Err(nft.refused(&listing)) }
}

const ATTEMPTS: usize = 2;
/// The exit status of nft where the kernel has refused.
const NOT_DONE: i32 = 1;
