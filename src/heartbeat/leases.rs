//! Who wants newcomers refused, until when and what for, and who wants them let in. Pure: the time is an
//! argument.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::text::one_line;
use crate::fleet::SELF;
use crate::net::firewall::Block;

/// All leases on one gateway's fence.
///
/// Front doors are known by the names of their certificates. Each has one hold at most, and each may keep the
/// gateway from blocking itself; what front doors hold is in force all the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Leases {
    own: Option<Hold>,
    holds: BTreeMap<Arc<str>, Hold>,
    keepers: BTreeMap<Arc<str>, Instant>,
    grace: Grace,
}

/// While front doors find out that an agent has been started anew, and has forgotten which of them keep it open, its own
/// block is not in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Grace {
    /// Nobody is answered yet.
    Ahead,
    Until(Instant),
    #[default]
    Over,
}

/// What one holder has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hold {
    /// A front door's name, or [`SELF`].
    pub(super) by: Arc<str>,
    /// What for, on one short line.
    pub(super) reason: Arc<str>,
    /// When it ends, unless it is renewed.
    pub(super) until: Instant,
    /// Where it has been found in force, and nobody has renewed it: until when the kernel keeps it so.
    found: Option<Instant>,
}

/// There are as many front doors as can be remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{MOST} front doors hold a lease here already; no more can be remembered")]
pub(super) struct TooMany;

impl Leases {
    /// Those of an agent that is started anew: there is a grace to come, for which what it finds in force stays so.
    pub(super) fn anew(found: Option<&Block>) -> Self {
        let mut leases = Self { grace: Grace::Ahead, ..Self::default() };
        let Some(found) = found else { return leases };
        let names =
            found.holders.split(", ").filter(|name| !name.is_empty() && one_line(name, MAX_NAME) == **name);
        for by in names {
            leases.inherit(by, found.until);
        }
        if leases.own.is_none() && leases.holds.is_empty() {
            leases.inherit(UNKNOWN, found.until);
        }
        leases
    }

    fn inherit(&mut self, by: &str, until: Instant) {
        let hold = Hold { found: Some(until), ..Hold::new(by, LEFT, until) };
        if by == SELF {
            self.own = Some(hold);
            // nobody kept the gateway open
            self.grace = Grace::Over;
        } else {
            // no label has room for so many
            let _ = place(&mut self.holds, by, hold);
        }
    }

    /// Front doors are answered from now on, and ask about as often as the gateway checks itself: they have so long to
    /// renew what they hold, and to keep the gateway open.
    pub(super) fn begin_grace(&mut self, interval: Duration, now: Instant) {
        let end = now + interval + GRACE;
        for hold in self.own.iter_mut().chain(self.holds.values_mut()).filter(|hold| hold.found.is_some()) {
            hold.until = hold.until.min(end);
        }
        if self.grace == Grace::Ahead {
            self.grace = Grace::Until(end);
        }
    }

    /// The gateway's own checks have failed in a round again. Its lease is renewed when a third of it is over.
    /// Tells whether there is something to be set.
    pub(super) fn hold_own(&mut self, reason: &str, lease: Duration, now: Instant) -> bool {
        if let Some(own) = &self.own
            && own.found.is_none()
            && own.until.saturating_duration_since(now) > lease / 3 * 2
        {
            return false;
        }
        self.own = Some(Hold::new(SELF, reason, now + lease));
        true
    }

    /// The gateway works again. Tells whether there is something to be set.
    pub(super) fn give_up_own(&mut self) -> bool {
        self.own.take().is_some()
    }

    /// Gives what the gateway holds by itself, if anything, a whole lease.
    pub(super) fn renew_own(&mut self, lease: Duration, now: Instant) {
        if let Some(own) = &mut self.own {
            own.until = now + lease;
        }
    }

    /// A front door's block begins, or is renewed.
    pub(super) fn hold(
        &mut self,
        by: &str,
        reason: &str,
        lease: Duration,
        now: Instant,
    ) -> Result<(), TooMany> {
        let hold = Hold::new(by, reason, now + lease);
        place(&mut self.holds, by, hold)
    }

    /// Who keeps the gateway open, beside that front door itself and those of whom it knows. Nobody where it holds a
    /// block already: its block stands, and to renew it closes nothing.
    pub(super) fn unknown_keeper(&self, by: &str, known: &[String], now: Instant) -> Option<Arc<str>> {
        if self.holds.get(by).is_some_and(|hold| hold.until > now) {
            return None;
        }
        let is_known = |keeper: &str| keeper == by || known.iter().any(|name| name == keeper);
        self.keepers(now).map(|(keeper, _)| keeper).find(|keeper| !is_known(keeper)).cloned()
    }

    /// A front door gives its block up, if it has one.
    pub(super) fn give_up(&mut self, by: &str) {
        self.holds.remove(by);
    }

    /// A front door keeps the gateway from blocking itself, or goes on to.
    pub(super) fn keep_open(&mut self, by: &str, lease: Duration, now: Instant) -> Result<(), TooMany> {
        place(&mut self.keepers, by, now + lease)
    }

    /// A front door no longer does.
    pub(super) fn close(&mut self, by: &str) {
        self.keepers.remove(by);
    }

    /// Forgets what has run out, and tells whose blocks were among it.
    pub(super) fn run_out(&mut self, now: Instant) -> Vec<Arc<str>> {
        let mut whose = Vec::new();
        if let Some(own) = self.own.take_if(|own| own.until <= now) {
            whose.push(own.by);
        }
        whose.extend(self.holds.extract_if(.., |_, hold| hold.until <= now).map(|(by, _)| by));
        self.keepers.retain(|_, until| *until > now);
        whose
    }

    /// Who wants newcomers refused: the gateway itself first, also where it is kept open, then front doors by
    /// name.
    pub(super) fn holders(&self, now: Instant) -> impl Iterator<Item = &Hold> {
        self.own.iter().chain(self.holds.values()).filter(move |hold| hold.until > now)
    }

    /// The front doors that keep the gateway from blocking itself, by name, and until when they do.
    pub(super) fn keepers(&self, now: Instant) -> impl Iterator<Item = (&Arc<str>, Instant)> {
        self.keepers.iter().map(|(by, until)| (by, *until)).filter(move |(_, until)| *until > now)
    }

    /// What the gateway holds by itself and front doors keep from being in force.
    pub(super) fn suspended(&self, now: Instant) -> Option<&Hold> {
        self.own.as_ref().filter(|own| own.until > now && self.keepers(now).next().is_some())
    }

    /// The holders whose blocks are to be in force, in the order of [`holders`](Self::holders).
    pub(super) fn effective(&self, now: Instant) -> impl Iterator<Item = &Hold> {
        let waits = match self.grace {
            Grace::Ahead => true,
            Grace::Until(end) => end > now,
            Grace::Over => false,
        };
        let is_own_open = waits || self.suspended(now).is_some();
        self.holders(now).filter(move |hold| !(is_own_open && &*hold.by == SELF))
    }

    /// The block that is to be in force: until the longest lease ends. What has been found in force is not shortened,
    /// so that it outlives an agent that is killed again and again before a front door has seen it.
    pub(super) fn block(&self, now: Instant) -> Option<Block> {
        let until = self.effective(now).map(|hold| hold.found.unwrap_or(hold.until)).max()?;
        let holders: Vec<&str> = self.effective(now).map(|hold| &*hold.by).collect();
        Some(Block { until, holders: holders.join(", ") })
    }
}

impl Hold {
    fn new(by: &str, reason: &str, until: Instant) -> Self {
        Self { by: by.into(), reason: one_line(reason, REASON_LIMIT).into(), until, found: None }
    }
}

/// Front doors that can hold a block, and that can keep the gateway open.
pub(super) const MOST: usize = 32;
/// The longest name of a front door.
pub(super) const MAX_NAME: usize = 64;
/// How long an agent that is started anew goes by what it has found, once front doors have had the time to ask: they see at
/// the first answer what is missing, and their order takes a moment.
const GRACE: Duration = Duration::from_secs(1);
/// Why what was left is held.
const LEFT: &str = "left by an agent that ran before";
/// Who holds a block that does not say so.
const UNKNOWN: &str = "unknown";
/// What a report shows of a reason.
const REASON_LIMIT: usize = 200;

fn place<T>(leases: &mut BTreeMap<Arc<str>, T>, by: &str, lease: T) -> Result<(), TooMany> {
    if let Some(known) = leases.get_mut(by) {
        *known = lease;
        return Ok(());
    }
    if leases.len() >= MOST {
        return Err(TooMany);
    }
    leases.insert(by.into(), lease);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(15);
    const SECOND: Duration = Duration::from_secs(1);

    struct Clock(Instant);

    impl Clock {
        fn new() -> Self {
            Self(Instant::now())
        }

        fn at(&self, seconds: u64) -> Instant {
            self.0 + Duration::from_secs(seconds)
        }
    }

    fn block(leases: &Leases, now: Instant) -> Option<(String, Instant)> {
        leases.block(now).map(|block| (block.holders, block.until))
    }

    #[test]
    fn the_gateway_is_blocked_while_anyone_holds_it() {
        let (clock, mut leases) = (Clock::new(), Leases::default());
        assert_eq!(block(&leases, clock.at(0)), None);
        leases.hold("front-b", "refused", LEASE, clock.at(0)).unwrap();
        leases.hold("front-a", "no route", LEASE, clock.at(5)).unwrap();
        leases.hold_own("portal: 503", LEASE, clock.at(2));
        let expected = ("self, front-a, front-b".to_owned(), clock.at(20));
        assert_eq!(block(&leases, clock.at(6)), Some(expected));
        leases.give_up("front-a");
        leases.give_up("nobody");
        assert_eq!(block(&leases, clock.at(6)), Some(("self, front-b".to_owned(), clock.at(17))));
        assert!(leases.give_up_own() && !leases.give_up_own());
        assert_eq!(block(&leases, clock.at(6)), Some(("front-b".to_owned(), clock.at(15))));
        leases.give_up("front-b");
        assert_eq!(block(&leases, clock.at(6)), None);
    }

    #[test]
    fn a_lease_ends_unless_it_is_renewed() {
        let (clock, mut leases) = (Clock::new(), Leases::default());
        leases.hold("front-a", "refused", LEASE, clock.at(0)).unwrap();
        leases.hold("front-b", "refused", LEASE, clock.at(0)).unwrap();
        leases.hold("front-b", "still refused", LEASE, clock.at(10)).unwrap();
        // nobody need have looked
        assert_eq!(block(&leases, clock.at(15)), Some(("front-b".to_owned(), clock.at(25))));
        assert_eq!(leases.run_out(clock.at(15)), ["front-a".into()]);
        assert_eq!(leases.run_out(clock.at(15)), []);
        assert_eq!(
            leases.holders(clock.at(15)).map(|hold| &*hold.reason).collect::<Vec<_>>(),
            ["still refused"]
        );
        assert_eq!((block(&leases, clock.at(25)), leases.holders(clock.at(25)).count()), (None, 0));
        assert_eq!(leases.run_out(clock.at(25)), ["front-b".into()]);
        leases.hold_own("portal: 503", LEASE, clock.at(30));
        assert_eq!(leases.run_out(clock.at(45)), [SELF.into()]);
    }

    #[test]
    fn ones_own_lease_is_renewed_by_failing_rounds_when_a_third_of_it_is_over() {
        let (clock, mut leases) = (Clock::new(), Leases::default());
        assert!(leases.hold_own("portal: 503", LEASE, clock.at(0)));
        assert!((1..5).all(|second| !leases.hold_own("portal: 503", LEASE, clock.at(second))));
        assert!(leases.hold_own("portal: 503", LEASE, clock.at(5)));
        assert_eq!(block(&leases, clock.at(6)).unwrap().1, clock.at(20));
        leases.renew_own(LEASE, clock.at(7));
        assert_eq!(block(&leases, clock.at(7)).unwrap().1, clock.at(22));
        // what is not there is not renewed into being
        leases.give_up_own();
        leases.renew_own(LEASE, clock.at(8));
        assert_eq!(block(&leases, clock.at(8)), None);
    }

    #[test]
    fn a_gateway_that_is_kept_open_does_not_block_itself() {
        let (clock, mut leases) = (Clock::new(), Leases::default());
        leases.hold_own("portal: 503", LEASE, clock.at(0));
        leases.keep_open("front-a", LEASE, clock.at(1)).unwrap();
        leases.keep_open("front-b", LEASE, clock.at(2)).unwrap();
        assert_eq!(block(&leases, clock.at(3)), None);
        assert_eq!(&*leases.suspended(clock.at(3)).unwrap().reason, "portal: 503");
        // it still says that it wants to
        assert_eq!(leases.holders(clock.at(3)).count(), 1);
        leases.close("front-a");
        assert_eq!(block(&leases, clock.at(3)), None);
        // its own lease goes on meanwhile
        assert!(leases.hold_own("portal: 503", LEASE, clock.at(14)));
        assert_eq!(block(&leases, clock.at(16)), None);
        // the other one says no more
        let own = Some((SELF.to_owned(), clock.at(29)));
        assert_eq!(block(&leases, clock.at(17)), own);
        assert_eq!(leases.suspended(clock.at(17)), None);
        leases.run_out(clock.at(17));
        assert_eq!(leases.keepers(clock.at(3)).count(), 0);
        leases.close("front-b");
        assert_eq!(block(&leases, clock.at(17)), own);
    }

    #[test]
    fn what_a_front_door_holds_is_in_force_whoever_keeps_the_gateway_open() {
        let (clock, mut leases) = (Clock::new(), Leases::default());
        leases.hold_own("portal: 503", LEASE, clock.at(0));
        leases.keep_open("front-a", LEASE, clock.at(0)).unwrap();
        leases.hold("front-b", "refused", LEASE, clock.at(1)).unwrap();
        assert_eq!(block(&leases, clock.at(2)), Some(("front-b".to_owned(), clock.at(16))));
    }

    #[test]
    fn who_keeps_the_gateway_open_unknown_to_one_who_blocks_is_told_but_not_where_the_block_stands() {
        let (clock, mut leases) = (Clock::new(), Leases::default());
        let known = ["front-b".to_owned()];
        let unknown = |leases: &Leases, by, known: &[String], seconds| {
            leases.unknown_keeper(by, known, clock.at(seconds)).map(|keeper| keeper.to_string())
        };
        assert_eq!(unknown(&leases, "front-a", &[], 0), None);
        leases.keep_open("front-a", LEASE, clock.at(0)).unwrap();
        assert_eq!(unknown(&leases, "front-a", &[], 1), None, "it knows of itself");
        leases.keep_open("front-b", LEASE, clock.at(0)).unwrap();
        assert_eq!(unknown(&leases, "front-a", &known, 1), None);
        assert_eq!(unknown(&leases, "front-a", &[], 1), Some("front-b".to_owned()));
        assert_eq!(unknown(&leases, "front-c", &known, 1), Some("front-a".to_owned()));
        assert_eq!(unknown(&leases, "front-a", &[], 15), None, "it does so no more");
        leases.keep_open("front-b", LEASE, clock.at(10)).unwrap();
        leases.hold("front-a", "refused", LEASE, clock.at(0)).unwrap();
        assert_eq!(unknown(&leases, "front-a", &[], 14), None);
        assert_eq!(unknown(&leases, "front-a", &[], 15), Some("front-b".to_owned()), "it has run out");
    }

    #[test]
    fn nobody_can_make_it_remember_more_than_it_has_room_for() {
        let (clock, mut leases) = (Clock::new(), Leases::default());
        for i in 0..MOST {
            leases.hold(&format!("front-{i}"), "refused", LEASE, clock.at(0)).unwrap();
            leases.keep_open(&format!("front-{i}"), LEASE, clock.at(0)).unwrap();
        }
        assert_eq!(leases.hold("one more", "refused", LEASE, clock.at(0)), Err(TooMany));
        assert_eq!(leases.keep_open("one more", LEASE, clock.at(0)), Err(TooMany));
        // those who are known can always renew
        leases.hold("front-0", &"long ".repeat(1000), LEASE, clock.at(1)).unwrap();
        leases.keep_open("front-0", LEASE, clock.at(1)).unwrap();
        assert!(leases.holders(clock.at(2)).all(|hold| hold.reason.chars().count() <= REASON_LIMIT));
        leases.run_out(clock.at(15));
        leases.hold("one more", "two\nlines", LEASE, clock.at(15)).unwrap();
        assert_eq!(leases.holders(clock.at(15)).map(|hold| &*hold.reason).last(), Some("two"));
    }

    /// What an agent finds where these were in force when the one before was killed.
    fn found(holders: &str, until: Instant) -> Block {
        Block { until, holders: holders.to_owned() }
    }

    fn names(leases: &Leases, now: Instant) -> Vec<String> {
        leases.holders(now).map(|hold| hold.by.to_string()).collect()
    }

    #[test]
    fn what_is_found_in_force_stays_for_those_whom_its_label_names_until_the_grace_is_over() {
        let clock = Clock::new();
        let found = found("front-a, front-b", clock.at(12));
        let mut leases = Leases::anew(Some(&found));
        assert_eq!(leases.block(clock.at(0)).as_ref(), Some(&found));
        leases.begin_grace(SECOND, clock.at(1));
        // the kernel need not be told anything
        assert_eq!(leases.block(clock.at(2)).as_ref(), Some(&found));
        let told: Vec<_> =
            leases.holders(clock.at(2)).map(|hold| (&*hold.by, &*hold.reason, hold.until)).collect();
        assert_eq!(told, [("front-a", LEFT, clock.at(3)), ("front-b", LEFT, clock.at(3))]);

        leases.hold("front-b", "refused", LEASE, clock.at(2)).unwrap();
        assert_eq!(block(&leases, clock.at(2)), Some(("front-a, front-b".to_owned(), clock.at(17))));
        leases.give_up("front-b");
        assert_eq!(names(&leases, clock.at(2)), ["front-a"]);
        assert_eq!(block(&leases, clock.at(3)), None);
        assert_eq!(leases.run_out(clock.at(3)), ["front-a".into()]);
    }

    #[test]
    fn what_is_found_in_force_lasts_no_longer_than_the_kernel_would_have_kept_it() {
        let clock = Clock::new();
        let mut leases = Leases::anew(Some(&found("front-a", clock.at(1))));
        leases.begin_grace(SECOND, clock.at(0));
        assert_eq!(block(&leases, clock.at(0)), Some(("front-a".to_owned(), clock.at(1))));
        assert_eq!(block(&leases, clock.at(1)), None);
    }

    #[test]
    fn of_what_is_found_the_gateways_own_block_ends_or_goes_on_as_the_first_round_says() {
        let clock = Clock::new();
        let anew = |holders| Leases::anew(Some(&found(holders, clock.at(12))));
        let mut up = anew("self");
        assert!(up.give_up_own());
        assert_eq!(block(&up, clock.at(0)), None);
        let mut up = anew("self, front-a");
        up.give_up_own();
        assert_eq!(block(&up, clock.at(0)), Some(("front-a".to_owned(), clock.at(12))));

        let mut down = anew("self, front-a");
        assert!(down.hold_own("portal: 503", LEASE, clock.at(0)));
        down.begin_grace(SECOND, clock.at(0));
        assert_eq!(block(&down, clock.at(1)), Some(("self, front-a".to_owned(), clock.at(15))));
        assert_eq!(block(&down, clock.at(2)), Some(("self".to_owned(), clock.at(15))));

        let mut unknown = anew("self");
        unknown.begin_grace(SECOND, clock.at(0));
        assert_eq!(block(&unknown, clock.at(1)), Some(("self".to_owned(), clock.at(12))));
        assert_eq!(block(&unknown, clock.at(2)), None);
    }

    #[test]
    fn a_label_that_says_nothing_is_somebodys_all_the_same() {
        let clock = Clock::new();
        for label in ["", ", ", &"x".repeat(MAX_NAME + 1)] {
            let leases = Leases::anew(Some(&found(label, clock.at(12))));
            assert_eq!(names(&leases, clock.at(0)), [UNKNOWN], "{label:?}");
        }
        let many: Vec<_> = (0..2 * MOST).map(|i| i.to_string()).collect();
        let leases = Leases::anew(Some(&found(&many.join(", "), clock.at(12))));
        assert_eq!(names(&leases, clock.at(0)).len(), MOST);
    }

    #[test]
    fn an_agent_that_is_started_anew_does_not_block_itself_before_front_doors_have_had_time_to_keep_it_open()
    {
        let clock = Clock::new();
        for found in [None, Some(found("front-a", clock.at(1)))] {
            for is_kept_open in [false, true] {
                let mut leases = Leases::anew(found.as_ref());
                leases.hold_own("portal: 503", LEASE, clock.at(1));
                assert_eq!(block(&leases, clock.at(1)), None, "nobody has been answered");
                leases.begin_grace(SECOND, clock.at(2));
                assert_eq!(block(&leases, clock.at(3)), None);
                assert_eq!(names(&leases, clock.at(3)), [SELF], "it says that it wants to");
                if is_kept_open {
                    leases.keep_open("front-b", LEASE, clock.at(3)).unwrap();
                }
                // another life that follows a reload has no other grace
                leases.begin_grace(SECOND, clock.at(3));
                let own = Some((SELF.to_owned(), clock.at(16)));
                assert_eq!(block(&leases, clock.at(4)), own.filter(|_| !is_kept_open));
            }
        }
    }
}
