//! Our chain of iptables and ip6tables in the kernel, kept as it is to be.

use std::path::Path;
use std::time::{Instant, SystemTime};

use ipnet::IpNet;

use super::engine::{Done, FirewallError};
use super::fence::{Block, Fence};
use super::iptables::{
    Abilities, Bounds, CHAIN, Family, PROBE, PROBE_BLOCK, PROBE_COMMENT, PROBE_U32, Term, blocked, emptying,
    is_jump, listed_rules, probe, read_as, removal, rules, script, wants_u32,
};
use super::program::Program;
use crate::net::command::Finished;

/// Our chain in both families.
#[derive(Debug, Default)]
pub struct Chains {
    /// Known from the first look on.
    families: Vec<KeptChain>,
    /// Those of the block that is in force.
    bounds: Option<Bounds>,
}

#[derive(Debug)]
struct KeptChain {
    tool: Tool,
    can: Abilities,
    last: Option<Last>,
}

/// What was last found in force.
#[derive(Debug)]
struct Last {
    written: Vec<String>,
    listed: Vec<String>,
    /// The end of the block that it is.
    until: Option<Instant>,
}

/// iptables or ip6tables, of one make.
#[derive(Clone, Debug)]
pub struct Tool {
    /// Of which protocol.
    pub family: Family,
    /// Lists.
    pub list: Program,
    /// Changes.
    pub restore: Program,
}

/// What there is of our chain.
#[derive(Debug, Default)]
pub struct Found {
    /// Where in INPUT the jumps to it stand, counted from 0.
    pub jumps: Vec<usize>,
    /// Its rules; `None`: it is not there.
    pub rules: Option<Vec<String>>,
}

impl Found {
    /// The block that its rules are, with the second that it ends at and who wants it.
    fn block(&self, now: SystemTime) -> Option<(SystemTime, String)> {
        // rules that nothing leads to refuse nothing
        let rules = self.rules.as_ref().filter(|_| !self.jumps.is_empty())?;
        let blocked = blocked(rules);
        let is_block = blocked.is_in_force(now) && !blocked.ports.is_empty();
        // one without an end is not ours
        blocked.until.filter(|_| is_block).map(|until| (until, blocked.holders))
    }
}

impl Chains {
    /// Brings both families into order: the block is in force, or nothing is.
    pub async fn set(
        &mut self,
        fence: &Fence,
        block: Option<&Block>,
        exempt: &[IpNet],
    ) -> Result<Done, FirewallError> {
        if self.families.is_empty() {
            self.families = KeptChain::all(fence).await?;
        }
        let term = self.term(block);
        let until = term.as_ref().and(block).map(|block| block.until);
        let mut all = Done::AsItWas;
        for chain in &mut self.families {
            let rules = rules(chain.tool.family, fence, exempt, term.as_ref(), chain.can);
            match chain.set(rules, until).await? {
                Done::Repaired => all = Done::Repaired,
                Done::Written if all == Done::AsItWas => all = Done::Written,
                Done::Written | Done::AsItWas => {}
            }
        }
        Ok(all)
    }

    /// The block that the rules of both families are, without changing anything.
    pub async fn find_block(&mut self) -> Result<Option<Block>, FirewallError> {
        let mut longest = None;
        for tool in Tool::all()? {
            longest = longest.max(tool.look().await?.block(SystemTime::now()));
        }
        let Some((end, holders)) = longest else { return Ok(None) };
        // one that is but taken over is not rounded up to another second
        let bounds = Bounds::to(end, Instant::now(), SystemTime::now());
        self.bounds = Some(bounds);
        Ok(Some(Block { until: bounds.end, holders }))
    }

    /// Takes the chain away in both families. Whether it was there.
    pub async fn remove(&mut self) -> Result<bool, FirewallError> {
        let mut was_there = false;
        for tool in Tool::all()? {
            was_there |= tool.remove().await?;
        }
        self.families.clear();
        Ok(was_there)
    }

    /// The kernel goes by the wall clock: if that is set, the bounds of the block are set anew.
    fn term(&mut self, block: Option<&Block>) -> Option<Term> {
        let (now, wall) = (Instant::now(), SystemTime::now());
        let block = block.filter(|block| block.until > now);
        self.bounds = block.map(|Block { until, .. }| {
            let known = self.bounds.filter(|bounds| bounds.are_right(*until, now, wall));
            known.unwrap_or_else(|| Bounds::of(*until, now, wall))
        });
        Some(Term { bounds: self.bounds?, holders: block?.holders.clone() })
    }
}

impl KeptChain {
    async fn all(fence: &Fence) -> Result<Vec<Self>, FirewallError> {
        let mut chains = Vec::new();
        for tool in Tool::all()? {
            let can = tool.abilities().await?;
            if wants_u32(fence) && !can.u32 {
                tracing::warn!(
                    "{} cannot look into packets here (no xt_u32): openings of IKE associations are not refused \
                     with connections = \"new\"",
                    tool.list.name()
                );
            }
            chains.push(Self { tool, can, last: None });
        }
        Ok(chains)
    }

    async fn set(&mut self, rules: Vec<String>, until: Option<Instant>) -> Result<Done, FirewallError> {
        let mut found = self.tool.look().await?;
        // a rule before the jump may let everything pass, so it goes to the top where a block begins or is renewed; not at
        // each look, for others may want to be first as well
        let to_top = until.is_some() && self.last.as_ref().is_none_or(|last| last.until != until);
        let is =
            |found: &Found, rules: &[String]| found.jumps.len() == 1 && found.rules.as_deref() == Some(rules);
        let untouched = self.last.as_ref().map(|last| {
            let is_overtaken = to_top && last.until.is_some() && found.jumps != [0];
            is(&found, &last.listed) && !is_overtaken
        });
        let as_wanted = match &self.last {
            Some(last) => untouched == Some(true) && last.written == rules,
            None => rules.is_empty() && is(&found, &rules),
        };
        if as_wanted {
            self.last = Some(Last { written: rules, listed: found.rules.unwrap_or_default(), until });
            return Ok(Done::AsItWas);
        }
        self.last = None;
        let mut failure = FirewallError::NotInForce(format!("chain {CHAIN} of {}", self.tool.list.name()));
        for _ in 0..ATTEMPTS {
            let is_in_order = match found.jumps.as_slice() {
                [0] => true,
                [_] => !to_top,
                _ => false,
            };
            let jumps = (!is_in_order).then_some(found.jumps.len());
            match self.tool.restore(&script(&rules, jumps)).await {
                // somebody may have changed it at the same time
                Err(error @ FirewallError::Failed(_)) => failure = error,
                Err(error) => return Err(error),
                Ok(()) => {}
            }
            found = self.tool.look().await?;
            let listed =
                found.rules.clone().filter(|listed| found.jumps.len() == 1 && read_as(&rules, listed));
            if let Some(listed) = listed {
                self.last = Some(Last { written: rules, listed, until });
                return Ok(if untouched == Some(false) { Done::Repaired } else { Done::Written });
            }
        }
        Err(failure)
    }
}

impl Tool {
    /// Those that `iptables` and `ip6tables` are here; the latter only where there is IPv6.
    pub fn all() -> Result<Vec<Self>, FirewallError> {
        let tool = |family, list, restore| {
            let list = Program::require(list, "iptables")?;
            Ok(Self { family, list, restore: Program::require(restore, "iptables")? })
        };
        let mut tools = vec![tool(Family::Ipv4, "iptables", "iptables-restore")?];
        if Path::new("/proc/net/if_inet6").exists() {
            tools.push(tool(Family::Ipv6, "ip6tables", "ip6tables-restore")?);
        }
        Ok(tools)
    }

    /// What there is of our chain.
    pub async fn look(&self) -> Result<Found, FirewallError> {
        let input = self.list.run(&["-w", WAIT, "-S", "INPUT"], "").await?;
        let input = String::from_utf8_lossy(&input.stdout.bytes).into_owned();
        let rules = listed_rules(&input, "INPUT");
        let jumps =
            rules.iter().enumerate().filter(|(_, rule)| is_jump(rule)).map(|(index, _)| index).collect();
        Ok(Found { jumps, rules: self.rules(CHAIN).await? })
    }

    /// The rules of a chain. That it cannot be listed means that it is not there, for INPUT could be.
    async fn rules(&self, chain: &str) -> Result<Option<Vec<String>>, FirewallError> {
        let listing = self.list.ask(&["-w", WAIT, "-S", chain], "").await?;
        if is_busy(&listing) {
            return Err(self.list.refused(&listing));
        }
        let text = String::from_utf8_lossy(&listing.stdout.bytes);
        Ok(listing.status.success().then(|| listed_rules(&text, chain)))
    }

    /// Takes our chains away. Whether any was there.
    pub async fn remove(&self) -> Result<bool, FirewallError> {
        let probe = self.remove_probe().await?;
        let found = self.look().await?;
        if found.rules.is_none() && found.jumps.is_empty() {
            return Ok(probe);
        }
        let jumps = found.jumps.len();
        if self.restore(&removal(CHAIN, jumps)).await.is_err() {
            self.restore(&emptying(CHAIN, jumps)).await?;
            let what = format!("chain {CHAIN} of {}", self.list.name());
            return Err(FirewallError::Failed(format!(
                "{what} is empty now, but another rule refers to it; remove that rule first"
            )));
        }
        let found = self.look().await?;
        if found.rules.is_some() || !found.jumps.is_empty() {
            let what = format!("the removal of chain {CHAIN} of {}", self.list.name());
            return Err(FirewallError::NotInForce(what));
        }
        Ok(true)
    }

    /// Whether the chain is there that is for a moment at each start.
    pub async fn has_probe(&self) -> Result<bool, FirewallError> {
        Ok(self.rules(PROBE).await?.is_some())
    }

    async fn remove_probe(&self) -> Result<bool, FirewallError> {
        if !self.has_probe().await? {
            return Ok(false);
        }
        self.restore(&removal(PROBE, 0)).await?;
        Ok(true)
    }

    async fn abilities(&self) -> Result<Abilities, FirewallError> {
        self.restore(&probe("")).await?;
        let block = self.try_out(PROBE_BLOCK).await?;
        let (u32, comment) = (self.try_out(PROBE_U32).await?, self.try_out(PROBE_COMMENT).await?);
        self.restore(&removal(PROBE, 0)).await?;
        match block {
            Ok(()) => Ok(Abilities { u32: u32.is_ok(), comment: comment.is_ok() }),
            Err(said) => Err(FirewallError::Unusable(format!(
                "the kernel has no xt_time or no REJECT for {}, and blocks must end by themselves; use engine = \
                 \"nftables\" ({said})",
                self.list.name()
            ))),
        }
    }

    /// Whether the kernel takes such a rule, or what is said of it. That it could not be asked is an error.
    async fn try_out(&self, rule: &str) -> Result<Result<(), String>, FirewallError> {
        let finished = self.restore.ask(&RESTORE, &probe(rule)).await?;
        if finished.status.success() {
            return Ok(Ok(()));
        }
        match self.restore.refused(&finished) {
            FirewallError::Failed(said) if finished.status.code().is_some() && !is_busy(&finished) => {
                Ok(Err(said))
            }
            error => Err(error),
        }
    }

    async fn restore(&self, script: &str) -> Result<(), FirewallError> {
        self.restore.run(&RESTORE, script).await.map(drop)
    }
}

/// Whether others have been changing rules for longer than it waits. The exit status may mean more than that.
fn is_busy(finished: &Finished) -> bool {
    String::from_utf8_lossy(&finished.stderr.bytes).contains("xtables lock")
}

const RESTORE: [&str; 3] = ["-w", WAIT, "--noflush"];

/// For how many seconds it waits for others that change rules.
const WAIT: &str = "2";
const ATTEMPTS: usize = 2;
