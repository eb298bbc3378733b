use std::sync::Arc;
use std::time::{Duration, Instant};

use super::plan::{Kind, Post, Stance};
use crate::fleet::{FenceReading, Lease};

/// What is to be asked of a gateway's agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// To refuse newcomers, for this reason; or on.
    Block {
        /// Why.
        reason: Arc<str>,
        /// It did not before, as far as is known.
        is_new: bool,
        /// The other front doors that are known to keep it open: where there are more by then, it is not to begin.
        kept_open_by: Arc<[Arc<str>]>,
    },
    /// To refuse them no longer on our account.
    Unblock,
    /// Not to refuse them by itself; or on.
    KeepOpen {
        /// It was not kept open before, as far as is known.
        is_new: bool,
    },
    /// To do as it likes again.
    LetGo,
}

/// What is asked of one agent: one thing at a time, renewed as long as it is wanted.
#[derive(Debug, Default)]
pub struct Duty {
    block: Held,
    open: Held,
    under_way: Option<Request>,
    not_before: Option<Instant>,
    /// When it was to be kept open last, where that has failed more than once in a row.
    not_opened: Option<Instant>,
    was_not_opened: bool,
}

/// A lease at an agent, as far as we have asked for it or given it up.
#[derive(Debug, Default)]
struct Held {
    last: Option<Deed>,
    /// How it was given up last, where it has been asked for again since.
    given_up: Option<Deed>,
}

#[derive(Clone, Copy, Debug)]
struct Deed {
    verb: Verb,
    began: Instant,
    /// `None` while it is under way.
    ended: Option<Instant>,
    succeeded: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Put,
    /// It was to be put, and somebody of whom we did not know keeps the gateway open.
    PutInVain,
    Delete,
}

/// What an agent's last report says of us.
#[derive(Clone, Copy)]
struct Word<'a> {
    reading: Option<&'a FenceReading>,
    /// How much is left of our lease, if we have one.
    left: Option<Duration>,
}

/// How leases are held.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// Our name among the holders.
    pub holder: &'a str,
    /// How long a lease lives; it is renewed at a third of that.
    pub lease: Duration,
    /// A report older than this is no answer any more.
    pub stale_after: Duration,
}

impl Duty {
    /// What the plan has to know of us beside the reports, where the agent can be asked.
    pub fn post(&self, kind: Kind, reading: Option<&FenceReading>, lease: Duration, now: Instant) -> Post {
        let newer = |deed: &Deed| !deed.is_told_by(reading);
        let blocks = self.block.last.filter(newer).is_some_and(|deed| deed.may_hold(lease, now));
        // also where it has been asked for again: what the report says is of the time before
        let given_up = [self.open.last, self.open.given_up].into_iter().flatten();
        let let_go = given_up.filter(newer).any(|deed| deed.verb == Verb::Delete);
        let failed_lately = |at| now.saturating_duration_since(at) < lease;
        let will_not_open = self.not_opened.is_some_and(failed_lately);
        Post { kind, can_ask: true, blocks, let_go, will_not_open }
    }

    /// What to ask now, if anything; it is under way from then on, until [`ended`](Self::ended).
    pub fn next(
        &mut self,
        stance: &Stance,
        reading: Option<&FenceReading>,
        terms: Terms<'_>,
        now: Instant,
    ) -> Option<Request> {
        if self.under_way.is_some() || self.not_before.is_some_and(|earliest| now < earliest) {
            return None;
        }
        let answers = |r: &FenceReading| r.report.can_block() && r.at.until(now) <= terms.stale_after;
        let ours = |lease: &Lease| reading.filter(|_| *lease.by == *terms.holder)?.left(lease, now);
        let block = Word {
            reading,
            left: reading.and_then(|r| r.report.holders.iter().find_map(|holder| ours(&holder.lease))),
        };
        let open = Word { reading, left: reading.and_then(|r| r.report.kept_open_by.iter().find_map(ours)) };
        let may_block = self.block.may_stand(block, terms, now);
        let may_keep_open = self.open.may_stand(open, terms, now);
        let request = match stance {
            Stance::Block(reason) if self.block.is_due(block, terms, now) => {
                // also those whose time seems to be over: the agent may know better
                let keepers = reading.into_iter().flat_map(|r| r.report.kept_open_by.iter()).map(|l| &l.by);
                let others = keepers.filter(|by| ***by != *terms.holder).take(MOST_NAMES).cloned();
                let reason = Arc::clone(reason);
                let is_new = !self.block.stands(block, terms, now);
                Request::Block { reason, is_new, kept_open_by: others.collect() }
            }
            Stance::KeepOpen | Stance::Free if may_block => Request::Unblock,
            Stance::KeepOpen if reading.is_some_and(answers) && self.open.is_due(open, terms, now) => {
                Request::KeepOpen { is_new: !self.open.stands(open, terms, now) }
            }
            Stance::Block(_) | Stance::Free if may_keep_open => Request::LetGo,
            Stance::Block(_) | Stance::KeepOpen | Stance::Free | Stance::AsItIs => return None,
        };
        let (verb, held) = match request {
            Request::Block { .. } => (Verb::Put, &mut self.block),
            Request::Unblock => (Verb::Delete, &mut self.block),
            Request::KeepOpen { .. } => (Verb::Put, &mut self.open),
            Request::LetGo => (Verb::Delete, &mut self.open),
        };
        held.given_up = held.last.filter(|deed| deed.verb == Verb::Delete).or(held.given_up);
        held.last = Some(Deed { verb, began: now, ended: None, succeeded: false });
        self.under_way = Some(request.clone());
        Some(request)
    }

    /// What was under way, if anything, has ended, one way or the other.
    pub fn ended(&mut self, succeeded: bool, pause: Duration, now: Instant) -> Option<Request> {
        let request = self.under_way.take()?;
        for deed in [&mut self.block.last, &mut self.open.last].into_iter().flatten() {
            if deed.ended.is_none() {
                (deed.ended, deed.succeeded) = (Some(now), succeeded);
            }
        }
        self.not_before = (!succeeded).then(|| now + pause);
        if let Request::KeepOpen { .. } = request {
            // one order may get lost
            self.not_opened = (!succeeded && self.was_not_opened).then_some(now);
            self.was_not_opened = !succeeded;
        }
        Some(request)
    }

    /// Nobody waits for what is under way any more: it may have been done or not.
    pub fn abandoned(&mut self, pause: Duration, now: Instant) {
        let before = (self.not_opened, self.was_not_opened);
        self.ended(false, pause, now);
        (self.not_opened, self.was_not_opened) = before;
    }

    /// The block that was under way was not begun, since the gateway is kept open. It is not asked for again before a
    /// report tells by whom.
    pub fn kept_open(&mut self, now: Instant) {
        if self.ended(true, Duration::ZERO, now).is_some()
            && let Some(deed) = &mut self.block.last
        {
            deed.verb = Verb::PutInVain;
        }
    }
}

/// Agents remember so many, and take no more.
const MOST_NAMES: usize = 32;

impl Held {
    /// Whether it stands, or nobody knows that it does not.
    fn may_stand(&self, word: Word<'_>, terms: Terms<'_>, now: Instant) -> bool {
        let may_have_been_done = |deed: &Deed| {
            !deed.is_told_by(word.reading) && !deed.succeeded && deed.may_hold(terms.lease, now)
        };
        self.stands(word, terms, now) || self.last.as_ref().is_some_and(may_have_been_done)
    }

    /// Whether it is known to stand.
    fn stands(&self, word: Word<'_>, terms: Terms<'_>, now: Instant) -> bool {
        match &self.last {
            Some(deed) if !deed.is_told_by(word.reading) && deed.succeeded => deed.may_hold(terms.lease, now),
            _ => word.left.is_some(),
        }
    }

    /// Whether it is to be asked for, or renewed.
    fn is_due(&self, word: Word<'_>, terms: Terms<'_>, now: Instant) -> bool {
        match &self.last {
            Some(deed) if deed.verb == Verb::Put && deed.succeeded => {
                // an agent that has been started anew keeps what it has found for a moment only
                let is_short = word.left.is_none_or(|left| left < terms.lease / 2);
                let lost = deed.is_told_by(word.reading) && is_short;
                lost || now.saturating_duration_since(deed.began) >= terms.lease / 3
            }
            Some(deed) if deed.verb == Verb::PutInVain => deed.is_told_by(word.reading),
            _ => true,
        }
    }
}

impl Deed {
    /// Whether the report came after it, and so knows of it.
    fn is_told_by(&self, reading: Option<&FenceReading>) -> bool {
        let (Some(reading), Some(ended)) = (reading, self.ended) else { return false };
        reading.at.instant > ended
    }

    /// Whether a lease may live by it: one that got no answer may have been done all the same.
    fn may_hold(&self, lease: Duration, now: Instant) -> bool {
        let alive = now.saturating_duration_since(self.ended.unwrap_or(now)) < lease;
        self.verb == Verb::Put && alive
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::fleet::{FenceReport, Holder, Moment};

    const LEASE: Duration = Duration::from_secs(15);
    const TERMS: Terms<'_> = Terms { holder: "front-a", lease: LEASE, stale_after: Duration::from_secs(10) };
    const PAUSE: Duration = Duration::from_secs(1);

    struct Clock(Instant);

    impl Clock {
        fn at(&self, milliseconds: u64) -> Instant {
            self.0 + Duration::from_millis(milliseconds)
        }

        fn reading(&self, milliseconds: u64, held: bool, kept: bool) -> FenceReading {
            let lease = Lease { by: "front-a".into(), left: LEASE };
            let holders = held.then(|| Holder { lease: lease.clone(), reason: "x".into() });
            let report = FenceReport {
                engine: "nftables".into(),
                blocked: held,
                ports: Arc::from([]),
                holders: holders.into_iter().collect(),
                kept_open_by: kept.then_some(lease).into_iter().collect(),
            };
            FenceReading {
                report,
                at: Moment { instant: self.at(milliseconds), wall: SystemTime::UNIX_EPOCH },
            }
        }
    }

    fn block() -> Stance {
        Stance::Block("refused".into())
    }

    fn asked(is_new: bool) -> Option<Request> {
        Some(Request::Block { reason: "refused".into(), is_new, kept_open_by: Arc::from([]) })
    }

    #[test]
    fn a_block_is_renewed_at_a_third_of_its_lease_and_one_thing_is_asked_at_a_time() {
        let (clock, mut duty) = (Clock(Instant::now()), Duty::default());
        let next = |duty: &mut Duty, at, held| {
            duty.next(&block(), Some(&clock.reading(at, held, false)), TERMS, clock.at(at))
        };
        assert_eq!(next(&mut duty, 0, false), asked(true));
        assert_eq!(next(&mut duty, 1, false), None, "it is under way");
        duty.ended(true, PAUSE, clock.at(10));
        assert_eq!(next(&mut duty, 4999, true), None);
        assert_eq!(next(&mut duty, 5000, true), asked(false));
    }

    #[test]
    fn a_lease_that_an_agent_has_forgotten_is_asked_for_at_once() {
        let (clock, mut duty) = (Clock(Instant::now()), Duty::default());
        duty.next(&block(), Some(&clock.reading(0, false, false)), TERMS, clock.at(0));
        duty.ended(true, PAUSE, clock.at(10));
        let before = clock.reading(5, false, false);
        assert_eq!(duty.next(&block(), Some(&before), TERMS, clock.at(20)), None, "it does not know yet");
        let after = clock.reading(1000, false, false);
        assert_eq!(duty.next(&block(), Some(&after), TERMS, clock.at(1000)), asked(true));
    }

    /// What a report tells that comes now, where our lease had so much left when it was made.
    fn told(clock: &Clock, comes: u64, stance: &Stance, left: Option<Duration>) -> FenceReading {
        let blocks = *stance != Stance::KeepOpen;
        let mut reading = clock.reading(comes, left.is_some() && blocks, left.is_some() && !blocks);
        let lease = Lease { by: "front-a".into(), left: left.unwrap_or_default() };
        for holder in Arc::make_mut(&mut reading.report.holders) {
            holder.lease = lease.clone();
        }
        Arc::make_mut(&mut reading.report.kept_open_by).fill(lease);
        reading
    }

    #[test]
    fn what_an_agent_keeps_for_a_moment_only_is_renewed_before_it_ends() {
        let (clock, mut duty) = (Clock(Instant::now()), Duty::default());
        duty.next(&block(), Some(&clock.reading(0, false, false)), TERMS, clock.at(0));
        duty.ended(true, PAUSE, clock.at(10));
        // it has found the block that its predecessor has left, and keeps it for two seconds
        let reading = told(&clock, 1000, &block(), Some(Duration::from_secs(2)));
        assert_eq!(duty.next(&block(), Some(&reading), TERMS, clock.at(1000)), asked(false));
        duty.ended(true, PAUSE, clock.at(1100));
        assert_eq!(duty.next(&block(), Some(&reading), TERMS, clock.at(1100)), None, "it is not told yet");
    }

    #[test]
    fn nothing_is_asked_more_often_than_leases_have_to_be_renewed() {
        let clock = Clock(Instant::now());
        // how long a report, and an order, is on its way; how long an answer
        for (report, order, answer) in
            [(0, 0, 0), (10, 20, 60), (240, 240, 490), (900, 10, 20), (10, 900, 1800)]
        {
            for stance in [block(), Stance::KeepOpen] {
                let (mut duty, mut orders, mut ends) = (Duty::default(), Vec::new(), None);
                let mut reading = clock.reading(0, false, false);
                for now in (0..60_000).step_by(10) {
                    if now % 1000 == report % 1000 && now >= report {
                        let made = now - report;
                        let last = orders.iter().rev().find(|at| **at <= made);
                        let left = last.and_then(|at| LEASE.checked_sub(Duration::from_millis(made - at)));
                        reading = told(&clock, now, &stance, left);
                    }
                    if ends.is_some_and(|end| end <= now) {
                        duty.ended(true, PAUSE, clock.at(now));
                        ends = None;
                    }
                    if now % 250 == 0 && duty.next(&stance, Some(&reading), TERMS, clock.at(now)).is_some() {
                        orders.push(now + order);
                        ends = Some(now + answer);
                    }
                }
                let most = 60 / 5 + 1;
                assert!(
                    (12..=most).contains(&orders.len()),
                    "{report} {order} {answer} {stance:?}: asked at {orders:?}"
                );
            }
        }
    }

    #[test]
    fn after_a_failure_there_is_a_pause_and_the_block_may_stand_all_the_same() {
        let (clock, mut duty) = (Clock(Instant::now()), Duty::default());
        let reading = clock.reading(0, false, false);
        let blocks = |duty: &Duty, at| duty.post(Kind::Agent, Some(&reading), LEASE, clock.at(at)).blocks;
        duty.next(&block(), Some(&reading), TERMS, clock.at(0));
        duty.ended(false, PAUSE, clock.at(800));
        assert_eq!(duty.next(&block(), Some(&reading), TERMS, clock.at(1799)), None);
        assert!(blocks(&duty, 1800) && !blocks(&duty, 15_800), "a lease after it was asked for last");
        assert_eq!(duty.next(&Stance::Free, Some(&reading), TERMS, clock.at(1800)), Some(Request::Unblock));
    }

    #[test]
    fn a_block_that_was_not_begun_waits_for_a_report_that_tells_who_keeps_the_gateway_open() {
        let (clock, mut duty) = (Clock(Instant::now()), Duty::default());
        let before = clock.reading(0, false, false);
        assert_eq!(duty.next(&block(), Some(&before), TERMS, clock.at(0)), asked(true));
        duty.kept_open(clock.at(10));
        assert!(!duty.post(Kind::Agent, Some(&before), LEASE, clock.at(11)).blocks, "nothing stands");
        assert_eq!(duty.next(&block(), Some(&before), TERMS, clock.at(900)), None);
        assert_eq!(duty.next(&Stance::Free, Some(&before), TERMS, clock.at(900)), None, "nothing to give up");
        let mut after = clock.reading(1000, false, true);
        let other = Lease { by: "front-b".into(), left: LEASE };
        after.report.kept_open_by = after.report.kept_open_by.iter().cloned().chain([other]).collect();
        let kept_open_by = Arc::from(["front-b".into()]);
        let known = Request::Block { reason: "refused".into(), is_new: true, kept_open_by };
        assert_eq!(duty.next(&block(), Some(&after), TERMS, clock.at(1000)), Some(known));
    }

    #[test]
    fn what_is_held_by_a_front_door_of_that_name_before_it_has_started_anew_is_taken_on_or_given_up() {
        let clock = Clock(Instant::now());
        let reading = clock.reading(0, true, true);
        for (stance, request) in [
            (block(), asked(false)),
            (Stance::KeepOpen, Some(Request::Unblock)),
            (Stance::Free, Some(Request::Unblock)),
            (Stance::AsItIs, None),
        ] {
            assert_eq!(Duty::default().next(&stance, Some(&reading), TERMS, clock.at(0)), request);
        }
    }

    #[test]
    fn what_was_given_up_is_not_asked_for_again_and_nothing_is_given_up_twice() {
        let (clock, mut duty) = (Clock(Instant::now()), Duty::default());
        let kept = clock.reading(0, false, true);
        assert_eq!(duty.next(&Stance::Free, Some(&kept), TERMS, clock.at(0)), Some(Request::LetGo));
        assert!(duty.post(Kind::Agent, Some(&kept), LEASE, clock.at(1)).let_go);
        duty.ended(true, PAUSE, clock.at(10));
        assert_eq!(duty.next(&Stance::Free, Some(&kept), TERMS, clock.at(20)), None);
        let still = clock.reading(1000, false, true);
        assert!(!duty.post(Kind::Agent, Some(&still), LEASE, clock.at(1000)).let_go);
        assert_eq!(duty.next(&Stance::Free, Some(&still), TERMS, clock.at(1000)), Some(Request::LetGo));
    }

    #[test]
    fn what_a_report_says_of_a_gateway_kept_open_is_over_once_that_was_given_up_also_when_it_is_asked_for_again()
     {
        let (clock, mut duty) = (Clock(Instant::now()), Duty::default());
        let kept = clock.reading(0, false, true);
        let let_go =
            |duty: &Duty, reading| duty.post(Kind::Agent, Some(reading), LEASE, clock.at(1000)).let_go;
        assert_eq!(duty.next(&Stance::Free, Some(&kept), TERMS, clock.at(1)), Some(Request::LetGo));
        duty.ended(true, PAUSE, clock.at(10));
        let again = duty.next(&Stance::KeepOpen, Some(&kept), TERMS, clock.at(20));
        assert_eq!(again, Some(Request::KeepOpen { is_new: true }));
        assert!(let_go(&duty, &kept), "a block may come first");
        duty.ended(true, PAUSE, clock.at(30));
        assert!(let_go(&duty, &kept));
        assert!(!let_go(&duty, &clock.reading(1000, false, true)));
    }

    #[test]
    fn an_agent_that_has_failed_to_keep_open_is_known_for_that_for_a_lease_or_until_it_does() {
        let (clock, mut duty) = (Clock(Instant::now()), Duty::default());
        let reading = clock.reading(0, false, false);
        let shut =
            |duty: &Duty, at| duty.post(Kind::Agent, Some(&reading), LEASE, clock.at(at)).will_not_open;
        let keep = |duty: &mut Duty, at| duty.next(&Stance::KeepOpen, Some(&reading), TERMS, clock.at(at));
        assert_eq!(keep(&mut duty, 0), Some(Request::KeepOpen { is_new: true }));
        duty.ended(false, PAUSE, clock.at(10));
        assert!(!shut(&duty, 10), "one order may get lost");
        assert_eq!(keep(&mut duty, 2000), Some(Request::KeepOpen { is_new: true }));
        duty.ended(false, PAUSE, clock.at(2010));
        // it may have been done all the same, and is given up
        assert_eq!(duty.next(&Stance::Free, Some(&reading), TERMS, clock.at(3010)), Some(Request::LetGo));
        duty.ended(false, PAUSE, clock.at(3020));
        assert!(shut(&duty, 17_009) && !shut(&duty, 17_010));
        assert!(keep(&mut duty, 5000).is_some());
        duty.abandoned(PAUSE, clock.at(5010));
        assert!(shut(&duty, 5010) && keep(&mut duty, 7000).is_some());
        duty.ended(true, PAUSE, clock.at(7010));
        assert!(!shut(&duty, 7010));
    }

    #[test]
    fn an_agent_that_cannot_block_is_asked_nothing() {
        let clock = Clock(Instant::now());
        let mut reading = clock.reading(0, false, false);
        reading.report.engine = "none".into();
        assert_eq!(Duty::default().next(&Stance::KeepOpen, Some(&reading), TERMS, clock.at(0)), None);
        assert_eq!(Duty::default().next(&Stance::KeepOpen, None, TERMS, clock.at(0)), None);
        let silent = clock.reading(0, false, false);
        assert_eq!(Duty::default().next(&Stance::KeepOpen, Some(&silent), TERMS, clock.at(10_001)), None);
    }
}
