//! What follows from what the other front doors say, and from their silence. Pure.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::account::Account;
use super::settings::PATIENCE;
use crate::fleet::{Claim, Elsewhere, GatewayName, Lead, Memory, Moment, VrrpId};

/// Where another front door tells how things stand, as configured: `https://192.0.2.1:9465`.
pub type Url = Arc<str>;

/// All front doors of one virtual address but this one, as this one knows them.
#[derive(Debug)]
pub struct Circle {
    own: Own,
    members: Vec<Member>,
}

/// This front door.
#[derive(Clone, Debug)]
struct Own {
    name: Arc<str>,
    active: bool,
    holds: Vec<VrrpId>,
    /// When that has changed last.
    since: Instant,
}

#[derive(Debug)]
struct Member {
    url: Url,
    /// Since when it is asked.
    known_since: Instant,
    last: Option<Heard>,
    /// Why it has said nothing the last time.
    failure: Option<String>,
    /// What it was last, and since when.
    told: Option<(PeerState, Moment)>,
    /// Newcomers of a life of its process that is over.
    inherited: Vec<(GatewayName, u64)>,
    /// Newcomers of its present life who were inherited when it fell silent.
    lent: Vec<(GatewayName, u64)>,
}

#[derive(Debug)]
struct Heard {
    account: Account,
    asked: Instant,
    at: Instant,
    /// Since when it says that it has those addresses.
    holds_since: Instant,
}

/// What follows.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// For the keeper.
    pub elsewhere: Elsewhere,
    /// Whether another front door is active, and sees to the fences.
    pub is_guarded: bool,
    /// Who else says that it has a virtual address that this front door has, too.
    pub claims: Vec<Claim>,
    /// How it stands with each, in the order of the configuration.
    pub reports: Vec<Report>,
}

/// How it stands with another front door.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Where it is asked.
    pub url: Url,
    /// Its name, once it has told that.
    pub name: Option<Arc<str>>,
    /// In one word.
    pub state: PeerState,
    /// Since when.
    pub since: Moment,
    /// Why nothing is known of it; empty otherwise.
    pub reason: String,
}

/// Another front door in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// It answers newcomers.
    Active,
    /// It waits for its turn.
    Standby,
    /// It has said nothing for too long.
    Silent,
    /// It has not been asked for long enough yet.
    Unknown,
}

/// For so long both may have an address while it is moved.
const MOMENT: Duration = Duration::from_secs(2);

impl Circle {
    /// Nothing is known of anybody yet.
    pub fn new(own: Arc<str>, urls: &[Url], now: Instant) -> Self {
        let own = Own { name: own, active: false, holds: Vec::new(), since: now };
        let members = urls.iter().map(|url| Member::new(Arc::clone(url), now)).collect();
        Self { own, members }
    }

    /// Goes over to others. Of those that stay, what is known is kept.
    pub fn change(&mut self, urls: &[Url], now: Instant) {
        let mut old = std::mem::take(&mut self.members);
        let member = |url: &Url| match old.iter().position(|member| member.url == *url) {
            Some(i) => old.swap_remove(i),
            None => Member::new(Arc::clone(url), now),
        };
        self.members = urls.iter().map(member).collect();
    }

    /// How it stands with this front door.
    pub fn this_one(&mut self, active: bool, holds: &[VrrpId], now: Instant) {
        if self.own.active != active || self.own.holds != holds {
            (self.own.active, self.own.holds, self.own.since) = (active, holds.to_vec(), now);
        }
    }

    /// One has answered what it was `asked` then.
    pub fn heard(&mut self, url: &Url, account: Account, asked: Instant, now: Instant) {
        let own = Arc::clone(&self.own.name);
        let Some(member) = self.member(url) else { return };
        if account.front_door == own {
            // it would follow itself
            member.last = None;
            member.failure = Some(format!(
                "its [node] name is '{own}', too: each front door needs a name of its own, and front_doors must not \
                 name this one"
            ));
            return;
        }
        let before = member.last.take();
        let is_as_before =
            |heard: &&Heard| heard.account.life == account.life && heard.account.holds == account.holds;
        let holds_since = before.as_ref().filter(is_as_before).map_or(asked, |heard| heard.holds_since);
        if let Some(Heard { account: old, .. }) = before.filter(|heard| heard.account.life != account.life) {
            member.inherited.extend(old.pending);
            // nobody else counts them any more
            member.lent.clear();
        }
        member.failure = None;
        member.last = Some(Heard { account, asked, at: now, holds_since });
    }

    /// One has not answered.
    pub fn failed(&mut self, url: &Url, reason: String) {
        if let Some(member) = self.member(url) {
            member.failure = Some(reason);
        }
    }

    /// What follows from all that now. Newcomers of front doors that have fallen silent are in it once.
    pub fn picture(&mut self, now: Moment) -> Picture {
        let instant = now.instant;
        let mut elsewhere = Elsewhere { lead: self.lead(instant), ..Elsewhere::default() };
        for member in &mut self.members {
            elsewhere.inherited.append(&mut member.inherited);
            let is_fresh = member.fresh(instant).is_some();
            let Some(heard) = &mut member.last else { continue };
            elsewhere.words.extend(heard.account.memory.words.iter().cloned());
            if is_fresh {
                elsewhere.pending.extend(heard.account.pending.iter().cloned());
                elsewhere.given_back.append(&mut member.lent);
            } else {
                member.lent.extend(heard.account.pending.iter().cloned());
                elsewhere.inherited.append(&mut heard.account.pending);
            }
        }
        let is_guarded = self.fresh(instant).any(|heard| heard.account.active)
            || self.members.iter().any(|member| member.is_awaited(instant));
        let claims = self.claims(instant);
        let reports = self.members.iter_mut().map(|member| member.report(now)).collect();
        Picture { elsewhere, is_guarded, claims, reports }
    }

    /// Whether each has answered, or failed to, at least once.
    pub fn all_were_asked(&self) -> bool {
        self.members.iter().all(|member| member.last.is_some() || member.failure.is_some())
    }

    /// The active one; of several the one whose name comes first. What another one has said before this one took over its
    /// addresses is of the time before, and it may be dead.
    fn lead(&self, now: Instant) -> Option<Lead> {
        let has_taken_over = self.own.active && !self.own.holds.is_empty();
        let counts =
            |heard: &&Heard| heard.account.active && (!has_taken_over || heard.asked > self.own.since);
        let first =
            self.fresh(now).filter(counts).min_by(|a, b| a.account.front_door.cmp(&b.account.front_door))?;
        let Account { front_door, memory: Memory { actives, .. }, .. } = &first.account;
        let is_ours = self.own.active && self.own.name < *front_door;
        (!is_ours).then(|| Lead { front_door: Arc::clone(front_door), actives: actives.clone() })
    }

    fn claims(&self, now: Instant) -> Vec<Claim> {
        let lasts = |since: Instant| now.saturating_duration_since(since) >= MOMENT;
        if !lasts(self.own.since) {
            return Vec::new();
        }
        let claimants = self.fresh(now).filter(|heard| lasts(heard.holds_since));
        let both = |heard: &Heard| {
            let ids = self.own.holds.iter().filter(|id| heard.account.holds.contains(id));
            let by = || Arc::clone(&heard.account.front_door);
            ids.map(|id| Claim { vrrp_id: *id, by: by() }).collect::<Vec<_>>()
        };
        claimants.flat_map(both).collect()
    }

    fn fresh(&self, now: Instant) -> impl Iterator<Item = &Heard> {
        self.members.iter().filter_map(move |member| member.fresh(now))
    }

    fn member(&mut self, url: &Url) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.url == *url)
    }
}

impl Member {
    fn new(url: Url, now: Instant) -> Self {
        Self {
            url,
            known_since: now,
            last: None,
            failure: None,
            told: None,
            inherited: Vec::new(),
            lent: Vec::new(),
        }
    }

    /// Whether it has said nothing yet and has had no time to.
    fn is_awaited(&self, now: Instant) -> bool {
        self.last.is_none() && now.saturating_duration_since(self.known_since) < PATIENCE
    }

    fn fresh(&self, now: Instant) -> Option<&Heard> {
        self.last.as_ref().filter(|heard| now.saturating_duration_since(heard.at) <= PATIENCE)
    }

    fn report(&mut self, now: Moment) -> Report {
        let (state, reason) = match self.fresh(now.instant) {
            Some(heard) if heard.account.active => (PeerState::Active, String::new()),
            Some(_) => (PeerState::Standby, String::new()),
            None => {
                let reason = self.failure.clone().unwrap_or_else(|| "it has not answered yet".to_owned());
                let is_awaited = self.is_awaited(now.instant);
                (if is_awaited { PeerState::Unknown } else { PeerState::Silent }, reason)
            }
        };
        let name = self.last.as_ref().map(|heard| Arc::clone(&heard.account.front_door));
        let since = self.told.filter(|(told, _)| *told == state).map_or(now, |(_, since)| since);
        self.told = Some((state, since));
        Report { url: Arc::clone(&self.url), name, state, since, reason }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::fleet::{Stamp, Word};

    struct World {
        circle: Circle,
        base: Instant,
    }

    fn url(n: usize) -> Url {
        format!("https://192.0.2.{n}:9465").into()
    }

    fn id(number: i64) -> VrrpId {
        VrrpId::new(number).unwrap()
    }

    fn account(name: &str, active: bool) -> Account {
        Account {
            front_door: name.into(),
            life: 1,
            active,
            holds: if active { vec![id(31)] } else { Vec::new() },
            memory: Memory { words: Vec::new(), actives: vec![(Some(id(31)), GatewayName::new("gw2"))] },
            pending: vec![(GatewayName::new("gw2"), 4)],
        }
    }

    impl World {
        fn new(own: &str, others: usize) -> Self {
            let (base, urls) = (Instant::now(), (1..=others).map(url).collect::<Vec<_>>());
            Self { circle: Circle::new(own.into(), &urls, base), base }
        }

        fn at(&self, milliseconds: u64) -> Instant {
            self.base + Duration::from_millis(milliseconds)
        }

        fn own(&mut self, active: bool, milliseconds: u64) {
            let holds = if active { vec![id(31)] } else { Vec::new() };
            self.circle.this_one(active, &holds, self.at(milliseconds));
        }

        /// It was asked, and answered at once.
        fn hears(&mut self, n: usize, account: Account, milliseconds: u64) {
            let at = self.at(milliseconds);
            self.circle.heard(&url(n), account, at, at);
        }

        fn picture(&mut self, milliseconds: u64) -> Picture {
            let wall = SystemTime::UNIX_EPOCH + Duration::from_millis(milliseconds);
            self.circle.picture(Moment { instant: self.at(milliseconds), wall })
        }

        fn follows(&mut self, milliseconds: u64) -> Option<String> {
            self.picture(milliseconds).elsewhere.lead.map(|lead| lead.front_door.to_string())
        }

        fn states(&mut self, milliseconds: u64) -> Vec<PeerState> {
            self.picture(milliseconds).reports.iter().map(|report| report.state).collect()
        }
    }

    #[test]
    fn a_standby_follows_the_active_one_as_long_as_that_speaks() {
        let mut world = World::new("front-b", 1);
        assert_eq!(world.follows(0), None);
        world.hears(1, account("front-a", true), 1_000);
        assert_eq!(world.follows(4_000).as_deref(), Some("front-a"));
        let lead = world.picture(4_000).elsewhere.lead.unwrap();
        assert_eq!(lead.actives, [(Some(id(31)), GatewayName::new("gw2"))]);
        assert_eq!(world.follows(4_001), None);
        world.hears(1, account("front-a", false), 5_000);
        assert_eq!(world.follows(5_000), None, "it is standby as well");
    }

    #[test]
    fn who_takes_over_decides_whatever_the_one_before_has_said() {
        let mut world = World::new("front-b", 1);
        world.hears(1, account("front-a", true), 1_000);
        world.own(true, 1_500);
        assert_eq!(world.follows(1_500), None);
        // asked before, answered after
        world.circle.heard(&url(1), account("front-a", true), world.at(1_400), world.at(1_600));
        assert_eq!(world.follows(1_600), None);
        world.hears(1, account("front-a", true), 2_000);
        assert_eq!(world.follows(2_000).as_deref(), Some("front-a"), "both are active, and a comes first");
        world.own(false, 2_500);
        assert_eq!(world.follows(2_500).as_deref(), Some("front-a"));
    }

    #[test]
    fn of_several_that_are_active_all_follow_the_same_one() {
        let names = ["front-c", "front-a", "front-b"];
        for (i, own) in names.iter().enumerate() {
            let mut world = World::new(own, 3);
            world.own(true, 10);
            for (j, name) in names.iter().enumerate().filter(|(j, _)| *j != i) {
                world.hears(j + 1, account(name, true), 100);
            }
            let expected = (*own != "front-a").then_some("front-a");
            assert_eq!(world.follows(200).as_deref(), expected, "{own}");
        }
    }

    #[test]
    fn a_standby_is_guarded_by_an_active_one_that_speaks_and_by_nobody_else() {
        let mut world = World::new("front-b", 1);
        let guarded = |world: &mut World, at| world.picture(at).is_guarded;
        assert!(guarded(&mut world, 2_999), "the other one has not had time to answer");
        assert!(!guarded(&mut world, 3_000));
        world.hears(1, account("front-a", true), 4_000);
        assert!(guarded(&mut world, 7_000));
        assert!(!guarded(&mut world, 7_001));
        world.hears(1, account("front-a", false), 8_000);
        assert!(!guarded(&mut world, 8_000), "none of the two is active");
    }

    #[test]
    fn newcomers_of_who_falls_silent_are_inherited_once() {
        let mut world = World::new("front-b", 1);
        let pending = vec![(GatewayName::new("gw2"), 4)];
        world.hears(1, account("front-a", true), 1_000);
        let Elsewhere { pending: of_it, inherited, .. } = world.picture(4_000).elsewhere;
        assert_eq!((of_it, inherited), (pending.clone(), vec![]));
        let Elsewhere { pending: of_it, inherited, .. } = world.picture(4_001).elsewhere;
        assert_eq!((of_it, inherited), (vec![], pending.clone()));
        let Elsewhere { pending: of_it, inherited, .. } = world.picture(4_002).elsewhere;
        assert_eq!((of_it, inherited), (vec![], vec![]));
        // its process ends and another one begins, too soon to be missed
        world.hears(1, account("front-a", true), 5_000);
        world.hears(1, Account { life: 2, pending: vec![], ..account("front-a", true) }, 5_100);
        let Elsewhere { pending: of_it, inherited, .. } = world.picture(5_100).elsewhere;
        assert_eq!((of_it, inherited), (vec![], pending));
    }

    #[test]
    fn newcomers_of_who_speaks_again_are_given_back() {
        let mut world = World::new("front-b", 1);
        let pending = vec![(GatewayName::new("gw2"), 4)];
        for cut in 0..3 {
            let at = cut * 10_000;
            world.hears(1, account("front-a", true), at);
            let Elsewhere { pending: of_it, given_back, .. } = world.picture(at).elsewhere;
            assert_eq!(
                (of_it, given_back),
                (pending.clone(), if cut == 0 { vec![] } else { pending.clone() })
            );
            assert_eq!(world.picture(at + 1_000).elsewhere.given_back, []);
            assert_eq!(world.picture(at + 5_000).elsewhere.inherited, pending);
        }
        // those of a life that is over stay here
        world.hears(1, Account { life: 2, ..account("front-a", true) }, 40_000);
        let Elsewhere { inherited, given_back, .. } = world.picture(40_000).elsewhere;
        assert_eq!((inherited, given_back), (vec![], vec![]));
    }

    #[test]
    fn the_words_of_who_is_silent_stay() {
        let mut world = World::new("front-b", 1);
        let word = Word { gateway: GatewayName::new("gw1"), stamp: Stamp::new(7).unwrap(), drain: None };
        let memory = Memory { words: vec![word.clone()], actives: Vec::new() };
        world.hears(1, Account { memory, ..account("front-a", true) }, 1_000);
        assert_eq!(world.picture(60_000).elsewhere.words, [word]);
    }

    #[test]
    fn both_with_the_address_is_a_claim_once_it_has_lasted() {
        let mut world = World::new("front-a", 1);
        world.own(true, 10);
        let claims = |world: &mut World, at| world.picture(at).claims.len();
        world.hears(1, account("front-b", true), 1_000);
        assert_eq!(claims(&mut world, 2_500), 0, "a takeover has such moments");
        world.hears(1, account("front-b", true), 3_000);
        assert_eq!(world.picture(3_000).claims, [Claim { vrrp_id: id(31), by: "front-b".into() }]);
        assert_eq!(claims(&mut world, 6_001), 0, "it has fallen silent");
        world.hears(1, account("front-b", false), 7_000);
        world.hears(1, account("front-b", true), 8_000);
        assert_eq!(claims(&mut world, 9_999), 0, "it began anew");
        world.own(false, 9_999);
        assert_eq!(claims(&mut world, 10_900), 0, "it has it alone");
        world.hears(1, Account { holds: vec![id(32)], ..account("front-b", true) }, 11_000);
        world.own(true, 11_000);
        assert_eq!(claims(&mut world, 13_500), 0, "another address");
    }

    #[test]
    fn who_has_one_of_its_addresses_claims_it_though_it_is_not_active() {
        let mut world = World::new("front-a", 1);
        world.circle.this_one(true, &[id(31), id(32)], world.at(10));
        let half = Account { holds: vec![id(32)], ..account("front-b", false) };
        world.hears(1, half.clone(), 1_000);
        assert_eq!(world.picture(2_500).claims, []);
        world.hears(1, half, 3_000);
        assert_eq!(world.picture(3_000).claims, [Claim { vrrp_id: id(32), by: "front-b".into() }]);
    }

    #[test]
    fn one_that_a_reload_brings_has_time_to_answer() {
        let mut world = World::new("front-b", 1);
        world.hears(1, account("front-a", true), 59_000);
        world.circle.change(&[url(2)], world.at(60_000));
        let picture = world.picture(60_000);
        assert_eq!((picture.reports[0].state, picture.is_guarded), (PeerState::Unknown, true));
        let picture = world.picture(63_000);
        assert_eq!((picture.reports[0].state, picture.is_guarded), (PeerState::Silent, false));
        // of one that stays nothing is forgotten
        world.circle.change(&[url(2), url(3)], world.at(64_000));
        assert_eq!(world.states(64_000), [PeerState::Silent, PeerState::Unknown]);
    }

    #[test]
    fn without_virtual_addresses_nothing_is_taken_over_and_who_has_been_followed_is_followed_on() {
        let mut world = World::new("front-b", 1);
        let other = Account { holds: Vec::new(), ..account("front-a", true) };
        world.hears(1, other, 1_000);
        assert_eq!(world.follows(1_000).as_deref(), Some("front-a"));
        // it answers clients from now on
        world.circle.this_one(true, &[], world.at(1_100));
        assert_eq!(world.follows(1_100).as_deref(), Some("front-a"));
    }

    #[test]
    fn each_is_told_in_a_word_with_the_time_and_the_reason() {
        let mut world = World::new("front-b", 2);
        assert_eq!(world.states(0), [PeerState::Unknown, PeerState::Unknown]);
        assert!(!world.circle.all_were_asked());
        world.circle.failed(&url(1), "connection refused".into());
        world.hears(2, account("front-c", false), 500);
        assert!(world.circle.all_were_asked());
        assert_eq!(world.states(600), [PeerState::Unknown, PeerState::Standby]);
        assert_eq!(world.states(3_000), [PeerState::Silent, PeerState::Standby]);
        world.hears(2, account("front-c", true), 3_100);
        let reports = world.picture(3_200).reports;
        assert_eq!((reports[0].state, &*reports[0].reason), (PeerState::Silent, "connection refused"));
        assert_eq!(reports[0].since.instant, world.at(3_000));
        assert_eq!((reports[1].state, reports[1].name.as_deref()), (PeerState::Active, Some("front-c")));
        world.circle.change(&[url(2)], world.at(3_300));
        assert_eq!(world.states(3_300), [PeerState::Active]);
    }

    #[test]
    fn one_of_the_same_name_is_not_listened_to() {
        let mut world = World::new("front-a", 1);
        world.hears(1, account("front-a", true), 1_000);
        assert_eq!(world.follows(1_000), None);
        let reports = world.picture(4_000).reports;
        assert!(reports[0].reason.contains("a name of its own"), "{}", reports[0].reason);
    }
}
