use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::fleet::{
    CheckOutcome, CheckResult, Condition, GatewayName, GatewayView, HEARTBEAT, SELF, Snapshot,
};

/// How a gateway is fenced from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Its agent is asked to.
    Agent,
    /// This host's own firewall keeps everyone from it.
    Local,
    /// Not at all.
    Off,
}

/// What is to be done about one gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stance {
    /// Newcomers are refused, for this reason.
    Block(Arc<str>),
    /// It is held open: nothing of ours blocks it, and its agent does not block it by itself.
    KeepOpen,
    /// Nothing is held, neither a block nor the gateway open.
    Free,
    /// What is held is neither renewed nor given up.
    AsItIs,
}

impl Stance {
    /// The same for a front door that does not hold the virtual addresses. It leaves blocking to the one that does, which has
    /// checks of its own: it begins no block and renews none at an agent, so that one of before ends by itself, long after
    /// the other has set its own. One in this host's own firewall, of which nobody else knows, stays while its reason
    /// does. What it keeps open stays open: more than one may, and the guardians are the same.
    pub fn of_a_standby(self) -> Self {
        match self {
            Self::Block(_) => Self::AsItIs,
            Self::KeepOpen | Self::Free | Self::AsItIs => self,
        }
    }
}

/// What this front door is in this.
#[derive(Clone, Copy, Debug)]
pub struct Front<'a> {
    /// Its name among the holders; without one no agent can be asked.
    pub holder: Option<&'a str>,
    /// Whether it blocks at all.
    pub enabled: bool,
    /// How many gateways stay open, whatever fails.
    pub keep_at_least: usize,
    /// How long a gateway that another front door keeps open must have been down here until it is blocked, where
    /// that other one is to go first: longer than it takes that each sees what the other does.
    pub patience: Duration,
}

/// What this front door has to do with one gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Post {
    /// How it is fenced.
    pub kind: Kind,
    /// Its agent, if it has one, can be asked in our name.
    pub can_ask: bool,
    /// A block of ours stands, or may stand, whatever reports show: it was asked for since the last one, or is in
    /// this host's own firewall.
    pub blocks: bool,
    /// What the last report says of our keeping it open is over.
    pub let_go: bool,
    /// Its agent has failed lately when it was to keep it open.
    pub will_not_open: bool,
}

/// Says for each gateway of the snapshot, in its order, what is to be done.
///
/// At least `keep_at_least` gateways stay open, counting only those that are known to be reached and not blocked by
/// anyone. Agents block themselves without knowing of each other, so as many are kept open ahead of time: the
/// guardians. All front doors that see the same choose the same ones. Nothing new is blocked, and no guardian of before
/// let go, until every guardian is known to be kept open. Where too few are open at all, guardians are chosen among
/// the blocked ones, and whoever blocks one of those gives in.
pub fn plan(
    snapshot: &Snapshot,
    front: Front<'_>,
    posts: &BTreeMap<GatewayName, Post>,
    now: Instant,
) -> Vec<Stance> {
    if !front.enabled {
        return vec![Stance::Free; snapshot.gateways.len()];
    }
    let seats: Vec<_> = snapshot
        .gateways
        .iter()
        .map(|view| {
            let post = posts.get(&view.gateway.name).copied().unwrap_or(Post::NONE);
            Seat::of(view, post, front.holder, snapshot, now)
        })
        .collect();
    let mut ranked: Vec<_> = seats.iter().filter(|seat| seat.rank.is_some()).collect();
    ranked.sort_by_key(|seat| (seat.rank, !seat.kept_by_anyone, seat.name));
    ranked.truncate(front.keep_at_least);
    let all_secured = ranked.len() == front.keep_at_least && ranked.iter().all(|seat| seat.is_secured);
    let is_guardian = |seat: &Seat<'_>| ranked.iter().any(|guardian| guardian.name == seat.name);
    // Front doors that have just seen different things have different guardians, and could block each other's at
    // the same moment. The one whose guardians come first by name does not wait; the other one sees its block.
    let last = ranked.iter().map(|guardian| guardian.name).max();
    let goes_second = |seat: &Seat<'_>| seat.kept_by_other && last.is_some_and(|last| seat.name < last);
    let stance = |seat: &Seat<'_>| {
        let may_block = all_secured && (seat.down_for >= front.patience || !goes_second(seat));
        seat.stance(is_guardian(seat), all_secured, may_block)
    };
    seats.iter().map(stance).collect()
}

impl Post {
    /// Nothing.
    pub const NONE: Self =
        Self { kind: Kind::Off, can_ask: false, blocks: false, let_go: false, will_not_open: false };
}

/// One gateway, as far as it matters here.
struct Seat<'a> {
    name: &'a GatewayName,
    wish: Wish,
    /// A block of ours stands, as far as is known.
    is_ours: bool,
    kept_by_us: bool,
    kept_by_anyone: bool,
    kept_by_other: bool,
    /// How long our own checks have called it down.
    down_for: Duration,
    /// How well it would do as a guardian; `None` where it cannot be one, because nobody knows whether it is reached.
    rank: Option<Rank>,
    /// It is open, and its agent cannot change that.
    is_secured: bool,
}

/// What one would do about a gateway if it were the only one.
enum Wish {
    Block(Arc<str>),
    Free,
    AsItIs,
}

/// The better ones first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Sound,
    Failing,
    Unknown,
    Down,
    /// It is open, and its agent has failed to keep it so. One that is blocked does not take its place: it would be
    /// freed for it.
    Unwilling,
    /// To keep it open frees it.
    BlockedByItself,
    /// One that we do not block cannot be freed from here; but whoever blocks it ranks it the same, and frees it.
    BlockedByFrontDoor,
}

impl<'a> Seat<'a> {
    fn of(
        view: &'a GatewayView,
        post: Post,
        holder: Option<&str>,
        snapshot: &Snapshot,
        now: Instant,
    ) -> Self {
        let is_fresh = view.fresh_load(now, snapshot.balance.stale_after).is_some();
        let reading = view.fence.as_ref();
        let can_block = reading.is_some_and(|reading| reading.report.can_block());
        let is_ours = post.blocks
            || reading.is_some_and(|reading| reading.holders(now).any(|h| Some(&*h.lease.by) == holder));
        let kept_by = |whose: &dyn Fn(&str) -> bool| {
            reading.is_some_and(|reading| reading.kept_open_by(now).any(|lease| whose(&lease.by)))
        };
        let kept_by_us = !post.let_go && kept_by(&|by| Some(by) == holder);
        let is_blocked = post.blocks || view.is_fenced(now, snapshot.balance.stale_after);
        let by_itself = !post.blocks
            && view.local_block.as_ref().is_none_or(|block| !block.is_alive(now))
            && reading.is_some_and(|reading| reading.holders(now).all(|h| &*h.lease.by == SELF));
        let is_failing =
            view.checks.iter().any(|c| matches!(c.outcome, CheckOutcome::Fail(_) | CheckOutcome::Timeout(_)));
        // one that has never reported may have a fence
        let may_block_itself = view.gateway.has_agent && (can_block || view.load.is_none());
        let can_ask = post.can_ask && holder.is_some();
        let needs_keeping = may_block_itself && can_ask;
        let answers = |c: &CheckResult| &*c.check == HEARTBEAT && matches!(c.outcome, CheckOutcome::Pass(_));
        let rank = match view.health.condition {
            Condition::Down | Condition::Unknown if !is_fresh => None,
            // it may have lost its power: a report is fresh for some rounds more
            Condition::Down if !view.checks.iter().any(answers) => None,
            _ if is_blocked && by_itself => Some(Rank::BlockedByItself),
            _ if is_blocked => Some(Rank::BlockedByFrontDoor),
            _ if needs_keeping && post.will_not_open && !kept_by_us => Some(Rank::Unwilling),
            Condition::Up if is_failing => Some(Rank::Failing),
            Condition::Up => Some(Rank::Sound),
            Condition::Unknown => Some(Rank::Unknown),
            Condition::Down => Some(Rank::Down),
        };
        let wish = match (&view.direct, post.kind) {
            (None, _) | (_, Kind::Off) => Wish::Free,
            (Some(direct), kind) => match direct.condition {
                Condition::Up => Wish::Free,
                Condition::Unknown => Wish::AsItIs,
                Condition::Down if kind == Kind::Local || (is_fresh && can_block && can_ask) => {
                    Wish::Block(Arc::clone(&direct.reason))
                }
                Condition::Down => Wish::AsItIs,
            },
        };
        Self {
            name: &view.gateway.name,
            wish,
            is_ours,
            kept_by_us,
            kept_by_anyone: kept_by(&|_| true),
            kept_by_other: kept_by(&|by| Some(by) != holder),
            down_for: view.direct.as_ref().map(|direct| direct.since.until(now)).unwrap_or_default(),
            rank,
            is_secured: rank.is_some_and(|rank| rank < Rank::BlockedByItself)
                && (kept_by_us || !needs_keeping),
        }
    }

    fn stance(&self, is_guardian: bool, all_secured: bool, may_block: bool) -> Stance {
        // a guardian of before: the new ones first
        let relieved = self.kept_by_us && !self.is_ours && !all_secured;
        if is_guardian || relieved {
            return Stance::KeepOpen;
        }
        match &self.wish {
            Wish::Block(reason) if self.is_ours || may_block => Stance::Block(Arc::clone(reason)),
            Wish::Block(_) | Wish::AsItIs => Stance::AsItIs,
            Wish::Free => Stance::Free,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::fleet::{
        Balance, FenceReport, FleetSettings, Gateway, Holder, Lease, Load, Moment, Observation, Roster,
        Service, ServiceReport, Thresholds, Weights,
    };

    /// What one front door sees of one gateway.
    #[derive(Clone)]
    struct Seen {
        /// Its agent answers, and has this engine.
        agent: Option<&'static str>,
        /// What our own checks conclude.
        passes: Option<bool>,
        /// Of the last round.
        fails_lately: bool,
        /// Its agent has given no answer in the last round.
        falls_silent: bool,
        holders: Vec<&'static str>,
        kept_open_by: Vec<&'static str>,
        post: Post,
    }

    fn up() -> Seen {
        Seen {
            agent: Some("nftables"),
            passes: Some(true),
            fails_lately: false,
            falls_silent: false,
            holders: vec![],
            kept_open_by: vec![],
            post: Post { kind: Kind::Agent, can_ask: true, ..Post::NONE },
        }
    }

    fn down() -> Seen {
        Seen { passes: Some(false), ..up() }
    }

    impl Seen {
        fn held(self, holders: &[&'static str]) -> Self {
            Self { holders: holders.to_vec(), ..self }
        }

        fn kept(self, by: &[&'static str]) -> Self {
            Self { kept_open_by: by.to_vec(), ..self }
        }

        fn post(mut self, change: impl FnOnce(&mut Post)) -> Self {
            change(&mut self.post);
            self
        }

        fn unknown(self) -> Self {
            Self { passes: None, ..self }
        }
    }

    /// So many bad ones make a gateway down.
    const ROUNDS: u32 = 2;
    const PATIENCE: Duration = Duration::from_secs(5);

    /// Gateways `a`, `b`, `c` … seen by front door `A`, which keeps so many open.
    fn planned(keep_at_least: usize, seen: &[Seen]) -> String {
        planned_by(Front { holder: Some("A"), enabled: true, keep_at_least, patience: PATIENCE }, seen)
    }

    /// The stances, a letter each: Block, Keep open, Free, - as it is.
    fn planned_by(front: Front<'_>, seen: &[Seen]) -> String {
        let start = Moment { instant: Instant::now(), wall: SystemTime::UNIX_EPOCH };
        let name = |i: usize| GatewayName::new(&char::from(b'a' + i as u8).to_string());
        let gateways = seen.iter().enumerate().map(|(i, seen)| gateway(name(i), seen.agent.is_some()));
        let mut roster = Roster::new(settings(gateways.collect()), start);
        for (i, seen) in seen.iter().enumerate() {
            for _ in 0..ROUNDS {
                roster.observe(&name(i), seen.observation(), start);
            }
            if seen.fails_lately {
                let mut failing = seen.observation();
                failing.checks.push(result(CheckOutcome::Fail("late".into())));
                roster.observe(&name(i), failing, start);
            }
        }
        for (i, _) in seen.iter().enumerate().filter(|(_, seen)| seen.falls_silent) {
            let outcome = CheckOutcome::Timeout(Duration::ZERO);
            let checks =
                vec![CheckResult { check: HEARTBEAT.into(), ..result(outcome.clone()) }, result(outcome)];
            roster.observe(&name(i), Observation { checks, report: None, asked: None }, start);
        }
        let posts = seen.iter().enumerate().map(|(i, seen)| (name(i), seen.post)).collect();
        let stances = plan(&roster.snapshot(), front, &posts, start.instant);
        stances.iter().map(letter).collect()
    }

    fn letter(stance: &Stance) -> char {
        match stance {
            Stance::Block(reason) => {
                assert!(!reason.is_empty());
                'B'
            }
            Stance::KeepOpen => 'K',
            Stance::Free => 'F',
            Stance::AsItIs => '-',
        }
    }

    fn gateway(name: GatewayName, has_agent: bool) -> Arc<Gateway> {
        Arc::new(Gateway { has_agent, ..Gateway::plain(name.as_str(), "10.0.0.1") })
    }

    fn settings(gateways: Vec<Arc<Gateway>>) -> FleetSettings {
        let rounds = |n| NonZeroU32::new(n).unwrap();
        FleetSettings {
            gateways,
            thresholds: Thresholds { rise: rounds(1), fall: rounds(ROUNDS) },
            weights: Weights::default(),
            balance: Balance { stale_after: Duration::from_secs(10), ..Balance::default() },
        }
    }

    fn result(outcome: CheckOutcome) -> CheckResult {
        CheckResult { check: "portal".into(), outcome, took: Duration::ZERO }
    }

    impl Seen {
        fn observation(&self) -> Observation {
            let lease = |by: &&str| Lease { by: (*by).into(), left: Duration::from_secs(15) };
            let holder = |by| Holder { lease: lease(by), reason: "x".into() };
            let fence = FenceReport {
                engine: self.agent.unwrap_or("none").into(),
                blocked: !self.holders.is_empty(),
                ports: Arc::from([]),
                holders: self.holders.iter().map(holder).collect(),
                kept_open_by: self.kept_open_by.iter().map(lease).collect(),
            };
            let service = Service::Up;
            let report = ServiceReport { service, load: Load::default(), fence: Some(fence) };
            let mut checks =
                vec![CheckResult { check: HEARTBEAT.into(), ..result(CheckOutcome::Pass(String::new())) }];
            match self.passes {
                Some(true) => checks.push(result(CheckOutcome::Pass("200 OK".into()))),
                Some(false) => checks.push(result(CheckOutcome::Fail("refused".into()))),
                None => checks.push(result(CheckOutcome::Inconclusive("no files".into()))),
            }
            Observation { checks, report: self.agent.map(|_| report), asked: None }
        }
    }

    #[test]
    fn a_standby_blocks_nothing_and_keeps_open_what_it_has_kept() {
        let standby = |stance: &Stance| stance.clone().of_a_standby();
        assert_eq!(standby(&Stance::Block("down".into())), Stance::AsItIs);
        for stance in [Stance::KeepOpen, Stance::Free, Stance::AsItIs] {
            assert_eq!(standby(&stance), stance);
        }
    }

    #[test]
    fn what_is_done_about_each_gateway() {
        let ours = |post: &mut Post| post.blocks = true;
        let local = |post: &mut Post| post.kind = Kind::Local;
        let shut = |post: &mut Post| post.will_not_open = true;
        let silent = |seen: Seen| Seen { falls_silent: true, ..seen };
        let alone = |seen: Seen| Seen { agent: None, ..seen };
        let mut wrong = Vec::new();
        for (keep, seen, stances, why) in [
            (1, vec![up(), up(), up()], "KFF", "the first by name is kept open ahead of time"),
            (1, vec![up(), up().kept(&["B"]), up()], "FKF", "or the one that is kept open already"),
            (2, vec![up(), up(), up()], "KKF", "as many as are to stay"),
            (0, vec![up(), down()], "FB", "or none"),
            (1, vec![up(), down()], "K-", "nothing is blocked before it is known that the other stays open"),
            (1, vec![up().kept(&["A"]), down()], "KB", "then it is"),
            (1, vec![up().kept(&["B"]), down()], "K-", "another's keeping it open is not ours"),
            (
                1,
                vec![up().kept(&["A"]).post(|p| p.let_go = true), down()],
                "K-",
                "nor is one that was given up",
            ),
            (1, vec![down().kept(&["A"]), down(), down()], "KBB", "all fail: the one that is kept stays"),
            (2, vec![down().kept(&["A"]), down(), down().kept(&["A"])], "KBK", "or those"),
            (1, vec![down().kept(&["A"]), up()], "KK", "a sound one takes over: first it is kept open"),
            (1, vec![down().kept(&["A"]), up().kept(&["A"])], "BK", "then the other is let go"),
            (
                1,
                vec![Seen { fails_lately: true, ..up().kept(&["A"]) }, up()],
                "KK",
                "at the first check that fails",
            ),
            (1, vec![down().kept(&["B"]), up().kept(&["A", "B"])], "-K", "who keeps the second goes second"),
            (1, vec![up().kept(&["A", "B"]), down().kept(&["B"])], "KB", "who keeps the first goes first"),
            (1, vec![down()], "K", "the only one"),
            (5, vec![down(), down(), up()], "KKK", "more than there are"),
            (1, vec![down().held(&["self"]), down().held(&["self"])], "K-", "all blocked by themselves"),
            (1, vec![up().kept(&["A"]), down().held(&["A"])], "KB", "renewed"),
            (1, vec![up(), down().held(&["A"])], "KB", "whatever becomes of the guardian"),
            (1, vec![up().kept(&["A"]), up().held(&["A"])], "KF", "given up when it works"),
            (1, vec![up().kept(&["A"]), up().held(&["A"]).unknown()], "K-", "left alone after a restart"),
            (
                1,
                vec![down().held(&["A"]), down().held(&["B"])],
                "K-",
                "the first one is opened by who blocks it",
            ),
            (1, vec![down().held(&["B"]), down().held(&["A"])], "KB", "and only that one"),
            (1, vec![down().held(&["A"]).unknown(), down().held(&["A"]).unknown()], "K-", "even then"),
            (1, vec![down().post(ours), down().post(ours)], "KB", "of those that reports do not show yet"),
            (1, vec![up().held(&["B"]), down()], "FK", "the last open one"),
            (1, vec![alone(up()), down()], "KB", "one without agent is open by nature"),
            (1, vec![Seen { agent: Some("none"), ..up() }, down()], "KB", "so is one without engine"),
            (1, vec![alone(down()), down()], "-K", "one that nobody reaches is not open"),
            (
                1,
                vec![alone(up().unknown()), down()],
                "-K",
                "nor is one that was never found, by its name, say",
            ),
            (1, vec![up().kept(&["A"]), Seen { agent: Some("none"), ..down() }], "K-", "who cannot block"),
            (1, vec![up().kept(&["A"]), alone(down())], "K-", "who does not answer"),
            (
                1,
                vec![silent(down().kept(&["A"])), down().held(&["A"])],
                "KK",
                "beside one that is down and answers no more another is opened",
            ),
            (1, vec![silent(up().kept(&["A"])), down()], "KB", "one that is up has three rounds"),
            (
                1,
                vec![up().post(shut), up().kept(&["A"]), down()],
                "FKB",
                "one that fails to stay open is passed over",
            ),
            (1, vec![up().post(shut), down(), down()], "FK-", "also where the others are down"),
            (1, vec![up().post(shut), down().held(&["A"])], "KB", "but none is freed for it"),
            (1, vec![up().kept(&["A"]).post(shut), down()], "KB", "nor while it is kept open all the same"),
            (1, vec![up().post(|p| p.can_ask = false), down()], "KB", "one that cannot be asked is as it is"),
            (1, vec![up().kept(&["A"]), down().post(|p| p.can_ask = false)], "K-", "or who cannot be asked"),
            (1, vec![up().kept(&["A"]), alone(down()).post(local)], "KB", "but from here"),
            (1, vec![alone(down()).post(local), alone(down()).post(local)], "--", "not all of them"),
            (1, vec![up().kept(&["A"]), down().post(|p| p.kind = Kind::Off)], "KF", "not to be fenced"),
        ] {
            let found = planned(keep, &seen);
            if found != stances {
                wrong.push(format!("{why}: {found}, not {stances}"));
            }
        }
        assert_eq!(wrong, [""; 0]);
    }

    #[test]
    fn who_goes_second_waits_no_longer_than_it_takes_to_see_what_the_other_does() {
        let seen = [down().kept(&["B"]), up().kept(&["A", "B"])];
        let front = Front { holder: Some("A"), enabled: true, keep_at_least: 1, patience: Duration::ZERO };
        assert_eq!(planned_by(front, &seen), "BK");
    }

    #[test]
    fn a_front_door_that_does_not_fence_holds_nothing() {
        let seen = [up().kept(&["A"]), down().held(&["A"]), down()];
        let front = Front { holder: Some("A"), enabled: false, keep_at_least: 1, patience: PATIENCE };
        assert_eq!(planned_by(front, &seen), "FFF");
    }

    #[test]
    fn a_front_door_without_a_name_blocks_only_from_here() {
        let local = down().post(|post| post.kind = Kind::Local);
        let front = Front { holder: None, enabled: true, keep_at_least: 1, patience: PATIENCE };
        assert_eq!(planned_by(front, &[up(), down(), local]), "K-B");
    }
}
