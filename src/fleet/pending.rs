//! Assignments that no report can show yet.
//!
//! A gateway's load is known as of its last report. Whoever is sent to it after that is *pending* until
//! the tunnel shows up in a report, or until it is plain that it never will. Doors count with one atomic
//! addition; the keeper settles.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How many newcomers all doors together have ever sent to one gateway.
#[derive(Debug, Default)]
pub struct Assigned(AtomicU64);

impl Assigned {
    /// Counts one more.
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// A counter that stands at that.
    pub(super) fn of(total: u64) -> Self {
        Self(AtomicU64::new(total))
    }

    /// All so far.
    pub fn total(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The keeper's account of which of the assigned are still pending.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    seen: u64,
    pending: u64,
    batches: VecDeque<Batch>,
    tunnels: Option<u64>,
}

/// A ledger in short, for those who know the newest total of assignments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    seen: u64,
    pending: u64,
    inherited: u64,
}

impl Tally {
    /// How many are pending when `assigned` have been assigned in all.
    pub fn pending(&self, assigned: u64) -> u64 {
        self.pending.saturating_add(assigned.saturating_sub(self.seen))
    }

    /// The same without those that were inherited.
    pub fn own_pending(&self, assigned: u64) -> u64 {
        self.pending(assigned).saturating_sub(self.inherited)
    }
}

#[derive(Clone, Copy, Debug)]
struct Batch {
    noted_at: Instant,
    count: u64,
    origin: Origin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Own,
    Inherited,
}

/// After this long an assignment that never became a tunnel (a browser that went away, a wrong
/// password) no longer counts.
pub const PENDING_LIFETIME: Duration = Duration::from_secs(30);

/// Assignments noted this close to each other share a batch, so that a ledger stays small however often
/// a gateway is asked.
const BATCH_SPAN: Duration = Duration::from_secs(1);

impl Ledger {
    /// Takes in the running total of assignments and, where a report came, the tunnels it tells of.
    /// Each tunnel more than last time makes the oldest pending assignment real; the others fade when
    /// their time is over.
    pub fn settle(&mut self, assigned: u64, reported_tunnels: Option<u64>, now: Instant) {
        if let (Some(before), Some(after)) = (self.tunnels, reported_tunnels) {
            self.drop_oldest(after.saturating_sub(before));
        }
        self.tunnels = reported_tunnels.or(self.tunnels);
        while let Some(oldest) = self.batches.front()
            && now.saturating_duration_since(oldest.noted_at) >= PENDING_LIFETIME
        {
            self.pending = self.pending.saturating_sub(oldest.count);
            self.batches.pop_front();
        }
        let new = assigned.saturating_sub(self.seen);
        self.seen = assigned;
        self.note(new, Origin::Own, now);
    }

    /// Takes over newcomers that another front door has sent there, and of whom nobody else knows any more. They become
    /// tunnels, or fade, like those who were sent from here.
    pub fn inherit(&mut self, count: u64, now: Instant) {
        self.note(count, Origin::Inherited, now);
    }

    /// That front door speaks again and counts them itself: so many are not inherited any more, of those that are left.
    pub fn give_back(&mut self, mut count: u64) {
        for batch in self.batches.iter_mut().filter(|batch| batch.origin == Origin::Inherited) {
            let given = count.min(batch.count);
            batch.count -= given;
            count -= given;
            self.pending = self.pending.saturating_sub(given);
        }
        self.batches.retain(|batch| batch.count > 0);
    }

    /// How things stand since it was settled last.
    pub fn tally(&self) -> Tally {
        let inherited = self.batches.iter().filter(|batch| batch.origin == Origin::Inherited);
        let inherited = inherited.fold(0, |sum: u64, batch| sum.saturating_add(batch.count));
        Tally { seen: self.seen, pending: self.pending, inherited }
    }

    fn note(&mut self, count: u64, origin: Origin, now: Instant) {
        if count == 0 {
            return;
        }
        self.pending = self.pending.saturating_add(count);
        let is_near = |batch: &Batch| now.saturating_duration_since(batch.noted_at) < BATCH_SPAN;
        // the last one of each origin
        let mut last = self.batches.iter_mut().rev().take_while(|batch| is_near(batch));
        match last.find(|batch| batch.origin == origin) {
            Some(last) => last.count = last.count.saturating_add(count),
            None => self.batches.push_back(Batch { noted_at: now, count, origin }),
        }
    }

    fn drop_oldest(&mut self, mut count: u64) {
        while count > 0
            && let Some(oldest) = self.batches.front_mut()
        {
            let taken = count.min(oldest.count);
            oldest.count -= taken;
            self.pending = self.pending.saturating_sub(taken);
            count -= taken;
            if oldest.count == 0 {
                self.batches.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(ledger: &Ledger, assigned: u64) -> u64 {
        ledger.tally().pending(assigned)
    }

    #[test]
    fn what_was_assigned_since_the_last_report_is_pending() {
        let ledger = Ledger::default();
        assert_eq!(pending(&ledger, 7), 7);
    }

    #[test]
    fn pending_assignments_fade_as_reports_show_their_tunnels() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        ledger.settle(0, Some(100), now);
        ledger.settle(10, Some(100), now + Duration::from_secs(1));
        assert_eq!(pending(&ledger, 10), 10);
        ledger.settle(10, Some(104), now + Duration::from_secs(2));
        assert_eq!(pending(&ledger, 10), 6);
        ledger.settle(12, Some(110), now + Duration::from_secs(3));
        assert_eq!(pending(&ledger, 12), 2, "two came after those that the report shows");
        ledger.settle(12, Some(130), now + Duration::from_secs(4));
        assert_eq!(pending(&ledger, 12), 0, "never below none");
    }

    #[test]
    fn those_who_never_log_in_are_forgotten_after_a_while() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        ledger.settle(5, None, now);
        ledger.settle(8, None, now + Duration::from_secs(20));
        ledger.settle(8, None, now + PENDING_LIFETIME - Duration::from_millis(1));
        assert_eq!(pending(&ledger, 8), 8);
        ledger.settle(8, None, now + PENDING_LIFETIME);
        assert_eq!(pending(&ledger, 8), 3);
        ledger.settle(8, None, now + PENDING_LIFETIME + Duration::from_secs(20));
        assert_eq!(pending(&ledger, 8), 0);
    }

    #[test]
    fn tunnels_that_end_settle_nothing() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        ledger.settle(0, Some(100), now);
        ledger.settle(4, Some(50), now);
        ledger.settle(4, None, now);
        assert_eq!(pending(&ledger, 4), 4);
        ledger.settle(4, Some(52), now);
        assert_eq!(pending(&ledger, 4), 2);
    }

    #[test]
    fn newcomers_that_were_inherited_are_pending_like_the_own_ones() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        ledger.settle(2, Some(100), now);
        ledger.inherit(5, now + Duration::from_secs(1));
        assert_eq!(pending(&ledger, 3), 8);
        ledger.settle(3, Some(104), now + Duration::from_secs(2));
        assert_eq!(pending(&ledger, 3), 4);
        ledger.settle(3, Some(104), now + PENDING_LIFETIME + Duration::from_secs(2));
        assert_eq!(pending(&ledger, 3), 0);
    }

    #[test]
    fn what_was_inherited_is_told_apart_and_given_back_as_far_as_it_is_left() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        ledger.settle(2, Some(100), now);
        ledger.inherit(5, now);
        ledger.settle(3, Some(100), now);
        assert_eq!((pending(&ledger, 4), ledger.tally().own_pending(4)), (9, 4));
        // the own ones came first; another one of them is new
        ledger.settle(4, Some(104), now);
        assert_eq!((pending(&ledger, 4), ledger.tally().own_pending(4)), (5, 1));
        ledger.give_back(3);
        assert_eq!(pending(&ledger, 4), 2);
        ledger.give_back(5);
        assert_eq!(pending(&ledger, 4), 1);
        ledger.give_back(5);
        assert_eq!(
            (pending(&ledger, 4), ledger.tally().own_pending(4)),
            (1, 1),
            "its own ones are nobody else's"
        );
    }

    #[test]
    fn a_ledger_stays_small_however_often_it_is_settled() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        for i in 0..100_000u64 {
            ledger.settle(i, None, now + Duration::from_millis(i));
        }
        assert!(ledger.batches.len() <= 31, "{}", ledger.batches.len());
    }
}
