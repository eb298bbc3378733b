use std::sync::Arc;
use std::time::{Duration, Instant};

use super::moment::Moment;

/// What an agent says of the firewall blocks on its gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FenceReport {
    /// What sets them: `nftables` or `iptables`; `none` where nothing can or is to.
    pub engine: Arc<str>,
    /// Whether newcomers are refused now.
    pub blocked: bool,
    /// Which ports, as `tcp/443`.
    pub ports: Arc<[Arc<str>]>,
    /// Who wants newcomers refused.
    pub holders: Arc<[Holder]>,
    /// The front doors that keep this gateway from blocking itself.
    pub kept_open_by: Arc<[Lease]>,
}

/// One who keeps a block up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Until when, unless it is renewed.
    pub lease: Lease,
    /// What for.
    pub reason: Arc<str>,
}

/// What somebody has for a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// A front door's name, or [`SELF`].
    pub by: Arc<str>,
    /// How much longer from the moment of the report on, unless it is renewed.
    pub left: Duration,
}

/// How an agent calls itself among the holders.
pub const SELF: &str = "self";

/// A report on blocks with its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FenceReading {
    /// As reported.
    pub report: FenceReport,
    /// When it was asked for.
    pub at: Moment,
}

/// A block in the firewall of this host, on a gateway that has no agent to fence it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalBlock {
    /// Who has set it: this front door's name.
    pub by: Arc<str>,
    /// What for.
    pub reason: Arc<str>,
    /// Until when, unless it is renewed.
    pub until: Instant,
}

impl LocalBlock {
    /// Whether it is in force.
    pub fn is_alive(&self, now: Instant) -> bool {
        self.until > now
    }
}

impl FenceReport {
    /// Whether that holder is among them.
    pub fn is_held_by(&self, holder: &str) -> bool {
        self.holders.iter().any(|h| &*h.lease.by == holder)
    }

    /// Whether a block can be set at all.
    pub fn can_block(&self) -> bool {
        matches!(&*self.engine, "nftables" | "iptables")
    }
}

impl FenceReading {
    /// Whether newcomers are refused, as far as is known: until every lease has run out, where no newer report
    /// comes. A block without holders is one that the agent could not end: how long it has nobody tells, and it
    /// counts until the report is too old.
    pub fn is_blocked(&self, now: Instant, stale_after: Duration) -> bool {
        let longest = self.report.holders.iter().map(|holder| holder.lease.left).max();
        self.report.blocked && self.at.until(now) <= longest.unwrap_or(stale_after)
    }

    /// How much is left of a lease that it tells of; `None` if it has run out.
    pub fn left(&self, lease: &Lease, now: Instant) -> Option<Duration> {
        lease.left.checked_sub(self.at.until(now))
    }

    /// Who keeps a block up, without those whose lease has run out since.
    pub fn holders(&self, now: Instant) -> impl Iterator<Item = &Holder> {
        self.report.holders.iter().filter(move |holder| self.left(&holder.lease, now).is_some())
    }

    /// Who keeps the gateway from blocking itself, likewise.
    pub fn kept_open_by(&self, now: Instant) -> impl Iterator<Item = &Lease> {
        self.report.kept_open_by.iter().filter(move |lease| self.left(lease, now).is_some())
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    const STALE: Duration = Duration::from_secs(10);

    fn reading(at: Instant, blocked: bool, holders: &[(&str, u64)]) -> FenceReading {
        let holder = |(by, seconds): &(&str, u64)| Holder {
            lease: Lease { by: (*by).into(), left: Duration::from_secs(*seconds) },
            reason: "portal: refused".into(),
        };
        let holders = holders.iter().map(holder).collect();
        let report = FenceReport { engine: "nftables".into(), blocked, holders, ..FenceReport::default() };
        FenceReading { report, at: Moment { instant: at, wall: SystemTime::UNIX_EPOCH } }
    }

    #[test]
    fn a_block_of_which_nothing_more_is_heard_ends_with_its_longest_lease() {
        let now = Instant::now();
        let reading = reading(now, true, &[("front-a", 5), (SELF, 15)]);
        let later = |seconds| now + Duration::from_secs(seconds);
        let holders = |at| reading.holders(at).map(|h| h.lease.by.to_string()).collect::<Vec<_>>();
        assert_eq!(
            (reading.is_blocked(later(5), STALE), holders(later(5))),
            (true, vec!["front-a".into(), SELF.into()])
        );
        assert_eq!((reading.is_blocked(later(15), STALE), holders(later(15))), (true, vec![SELF.into()]));
        assert_eq!((reading.is_blocked(later(16), STALE), holders(later(16))), (false, vec![]));
    }

    #[test]
    fn who_holds_a_block_that_is_not_in_force_blocks_nobody() {
        let now = Instant::now();
        assert!(!reading(now, false, &[("front-a", 5)]).is_blocked(now, STALE));
        assert!(!reading(now, false, &[]).is_blocked(now, STALE));
    }

    #[test]
    fn a_block_that_nobody_holds_and_that_stands_all_the_same_counts_while_its_report_is_fresh() {
        let now = Instant::now();
        let reading = reading(now, true, &[]);
        assert!(reading.is_blocked(now + STALE, STALE));
        assert!(!reading.is_blocked(now + STALE + Duration::from_nanos(1), STALE));
    }

    #[test]
    fn only_an_engine_that_is_known_can_block() {
        for (engine, can) in [("nftables", true), ("iptables", true), ("none", false), ("pf", false)] {
            let report = FenceReport { engine: engine.into(), ..FenceReport::default() };
            assert_eq!(report.can_block(), can, "{engine}");
        }
    }
}
