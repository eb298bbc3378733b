use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::gateway::{GatewayName, VpnMode, VrrpId};
use super::health::Condition;
use super::memory::Lead;
use super::moment::Moment;
use super::snapshot::GatewayView;

/// A gateway's part in failsafe mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The one that newcomers are sent to.
    Active,
    /// It waits for its turn.
    Standby,
}

impl Role {
    /// The word used in JSON and in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Standby => "standby",
        }
    }
}

/// Another gateway has become the active one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Takeover {
    /// The group: the gateways with this VRRP ID, or those without any.
    pub group: Option<VrrpId>,
    /// Who was it before, if anybody; it may be gone from the configuration.
    pub from: Option<GatewayName>,
    /// Who is it now.
    pub to: GatewayName,
    /// Why.
    pub reason: Arc<str>,
}

impl fmt::Display for Takeover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is active now: {}", self.to, self.reason)
    }
}

/// Who is active in each group.
pub type Actives = BTreeMap<Option<VrrpId>, GatewayName>;

/// Whom newcomers are sent to from now on in each group, and what is another one by that than `before`. A group of
/// which nobody can be active keeps whom it had, so that it is the first one to be so again. What the front door that
/// leads has chosen is chosen here, too, even if things look otherwise from here: two are worse than the wrong one.
pub fn decide(
    views: &[&GatewayView],
    before: &Actives,
    lead: Option<&Lead>,
    failback: bool,
    now: Moment,
    stale_after: Duration,
) -> (Actives, Vec<Takeover>) {
    let (mut actives, mut takeovers) = (Actives::new(), Vec::new());
    for first in views.iter().filter(|view| takes_part(view)) {
        let group = first.gateway.vrrp_id;
        if actives.contains_key(&group) {
            continue;
        }
        let members: Vec<_> =
            views.iter().copied().filter(|v| takes_part(v) && v.gateway.vrrp_id == group).collect();
        let judge = Judge { now, stale_after };
        let held = before.get(&group);
        let holder = held.and_then(|name| members.iter().copied().find(|v| v.gateway.name == *name));
        let followed = lead.and_then(|lead| followed(lead, group, &members));
        let chosen = followed.or_else(|| judge.choose(&members, holder, failback));
        let Some(chosen) = chosen else { continue };
        let name = chosen.gateway.name.clone();
        if held != Some(&name) {
            let reason = match (held, holder) {
                _ if let (Some(_), Some(lead)) = (followed, lead) => {
                    format!("{} has chosen it, the front door that leads", lead.front_door).into()
                }
                (None, _) => "it is the first one that can be".into(),
                (Some(held), None) => format!("{held} is no longer one of them").into(),
                (Some(_), Some(holder)) => judge.why_not(holder, &name),
            };
            takeovers.push(Takeover { group, from: held.cloned(), to: name.clone(), reason });
        }
        actives.insert(group, name);
    }
    (actives, takeovers)
}

/// Whom the front door that leads has chosen in that group, if that is one of it here as well.
fn followed<'a>(lead: &Lead, group: Option<VrrpId>, members: &[&'a GatewayView]) -> Option<&'a GatewayView> {
    let (_, name) = lead.actives.iter().find(|(theirs, _)| *theirs == group)?;
    members.iter().copied().find(|view| view.gateway.name == *name)
}

/// Whether newcomers are ever sent to it.
pub fn takes_part(view: &GatewayView) -> bool {
    view.gateway.vpn_mode != VpnMode::VrrpOnly
}

/// What is to be thought of a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It can be the active one.
    Fit,
    /// Its first round has not come back yet: in a moment more is known.
    Awaited,
    /// It cannot be.
    Unfit,
}

#[derive(Clone, Copy)]
struct Judge {
    now: Moment,
    stale_after: Duration,
}

impl Judge {
    /// Whether it is full plays no part: who would take its place then would have the tunnels of both.
    fn verdict(self, view: &GatewayView) -> Verdict {
        if view.is_draining() || view.is_fenced(self.now.instant, self.stale_after) {
            return Verdict::Unfit;
        }
        match view.health.condition {
            Condition::Up => Verdict::Fit,
            Condition::Unknown if !view.was_asked() => Verdict::Awaited,
            Condition::Unknown | Condition::Down => Verdict::Unfit,
        }
    }

    /// The first of `members` that is fit; without `failback` the holder as long as that is. Where an answer that is
    /// awaited would decide, nothing changes yet; but with `failback`, what is done meanwhile is undone by that answer, and
    /// who comes meanwhile is helped. `None`: there has never been anybody.
    fn choose<'a>(
        self,
        members: &[&'a GatewayView],
        holder: Option<&'a GatewayView>,
        failback: bool,
    ) -> Option<&'a GatewayView> {
        let preferred = holder.filter(|_| !failback);
        for view in preferred.into_iter().chain(members.iter().copied()) {
            match self.verdict(view) {
                Verdict::Fit => return Some(view),
                Verdict::Awaited if holder.is_none() || !failback => return holder,
                Verdict::Awaited | Verdict::Unfit => {}
            }
        }
        holder
    }

    /// Why the one who was active is so no more, and `successor` is.
    fn why_not(self, view: &GatewayView, successor: &GatewayName) -> Arc<str> {
        let name = &view.gateway.name;
        let because = |what: &str, reason: &str| match reason {
            "" => format!("{name} {what}").into(),
            reason => format!("{name} {what}: {reason}").into(),
        };
        if let Some((reason, _)) = view.draining() {
            return because("is draining", &reason);
        }
        match view.health.condition {
            Condition::Down => because("is down", &view.health.reason),
            Condition::Unknown => because("has no good check yet", ""),
            Condition::Up if view.is_fenced(self.now.instant, self.stale_after) => because("is fenced", ""),
            Condition::Up => format!("{successor} is up and comes before {name}").into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::num::NonZeroU32;
    use std::time::{Instant, SystemTime};

    use super::*;
    use crate::fleet::{
        Ask, Balance, BalanceMode, By, CheckOutcome, CheckResult, Elsewhere, FleetSettings, Gateway, Load,
        LocalBlock, Memory, Observation, Roster, Service, ServiceReport, Thresholds, Vpn, Weights, WhenNone,
        select,
    };

    /// Gateways gw0, gw1 … in failsafe mode.
    struct Farm {
        roster: Roster,
        settings: FleetSettings,
        now: Moment,
    }

    const SSL: Ask = Ask { vrrp_id: None, vpn: Vpn::Ssl };

    impl Farm {
        fn new(count: usize, failback: bool) -> Self {
            Self::with(count, failback, |_, _| {})
        }

        fn with(count: usize, failback: bool, define: impl Fn(usize, &mut Gateway)) -> Self {
            let gateways = (0..count).map(|i| {
                let mut gateway =
                    Gateway { tunnels_max: Some(100), ..Gateway::plain(&format!("gw{i}"), "192.0.2.1") };
                define(i, &mut gateway);
                Arc::new(gateway)
            });
            let settings = FleetSettings {
                gateways: gateways.collect(),
                thresholds: Thresholds { rise: NonZeroU32::new(2).unwrap(), fall: NonZeroU32::MIN },
                weights: Weights::default(),
                balance: Balance { mode: BalanceMode::Failsafe { failback }, ..Balance::default() },
            };
            let now = Moment { instant: Instant::now(), wall: SystemTime::UNIX_EPOCH };
            Self { roster: Roster::new(settings.clone(), now), settings, now }
        }

        fn name(i: usize) -> GatewayName {
            GatewayName::new(&format!("gw{i}"))
        }

        fn observe(&mut self, i: usize, outcome: CheckOutcome, tunnels: u64) {
            let checks = vec![CheckResult { check: "portal".into(), outcome, took: Duration::ZERO }];
            let load = Load { tunnels: Some(tunnels), ..Load::default() };
            let report = Some(ServiceReport { service: Service::Up, load, fence: None });
            self.roster.observe(&Self::name(i), Observation { checks, report, asked: None }, self.now);
        }

        fn works(&mut self, gateways: &[usize]) -> &mut Self {
            for i in gateways {
                self.observe(*i, CheckOutcome::Pass("200 OK".into()), 10);
            }
            self
        }

        fn fails(&mut self, i: usize) -> &mut Self {
            self.observe(i, CheckOutcome::Fail("connection refused".into()), 10);
            self
        }

        /// What is news.
        fn told(&mut self) -> Vec<String> {
            self.roster.decide(self.now).iter().map(ToString::to_string).collect()
        }

        /// Whom everybody is sent to, however he chooses.
        fn named(&mut self, ask: Ask) -> Option<usize> {
            self.roster.decide(self.now);
            let snapshot = self.roster.snapshot();
            let source = |last| By::Source(IpAddr::from([192, 0, 2, last]));
            let ways = [By::Load, By::Turn(0), By::Turn(1), source(1), source(2), source(3)];
            let choose =
                |by, draw| select(&snapshot, ask, by, &[], self.now.instant, draw).ok().map(|c| c.index);
            let first = choose(By::Load, 0);
            for by in ways {
                for draw in [1, u64::MAX] {
                    assert_eq!(choose(by, draw), first, "{by:?}");
                }
            }
            first
        }

        fn reload(&mut self, change: impl FnOnce(&mut FleetSettings)) {
            change(&mut self.settings);
            self.roster.reload(self.settings.clone(), self.now);
        }
    }

    #[test]
    fn the_first_one_in_the_file_is_active_and_nobody_is_named_another_whatever_the_load() {
        let mut farm = Farm::new(3, true);
        farm.works(&[0, 1, 2]);
        farm.observe(0, CheckOutcome::Pass("200 OK".into()), 90);
        assert_eq!(farm.told(), ["gw0 is active now: it is the first one that can be"]);
        assert_eq!(farm.named(SSL), Some(0));
        let roles: Vec<_> =
            farm.roster.snapshot().gateways.iter().map(|v| v.role.unwrap().as_str()).collect();
        assert_eq!(roles, ["active", "standby", "standby"]);
        assert_eq!(farm.told(), [""; 0]);
    }

    #[test]
    fn when_it_dies_the_next_one_takes_over_and_gives_back_or_not_as_configured() {
        for failback in [true, false] {
            let mut farm = Farm::new(3, failback);
            assert_eq!(farm.works(&[0, 1, 2]).named(SSL), Some(0));
            farm.fails(0);
            assert_eq!(farm.told(), ["gw1 is active now: gw0 is down: portal: connection refused"]);
            assert_eq!(farm.named(SSL), Some(1));
            assert_eq!(farm.works(&[0]).named(SSL), Some(1), "it needs two good rounds");
            farm.works(&[0]);
            if failback {
                assert_eq!(farm.told(), ["gw0 is active now: gw0 is up and comes before gw1"]);
            }
            assert_eq!(farm.named(SSL), Some(if failback { 0 } else { 1 }));
        }
    }

    #[test]
    fn who_drains_or_is_fenced_gives_way() {
        let mut farm = Farm::new(2, true);
        assert_eq!(farm.works(&[0, 1]).named(SSL), Some(0));
        farm.roster.drain(&Farm::name(0), "new kernel", "uid 0", farm.now).unwrap();
        assert_eq!(farm.told(), ["gw1 is active now: gw0 is draining: new kernel"]);
        farm.roster.resume(&Farm::name(0), farm.now).unwrap();
        assert_eq!(farm.named(SSL), Some(0));
        let until = farm.now.instant + Duration::from_secs(15);
        let block = LocalBlock { by: "front-a".into(), reason: "refused".into(), until };
        farm.roster.set_local_block(&Farm::name(0), Some(block));
        assert_eq!(farm.told(), ["gw1 is active now: gw0 is fenced"]);
        farm.now.instant += Duration::from_secs(16);
        assert_eq!(farm.told(), ["gw0 is active now: gw0 is up and comes before gw1"], "nobody has said so");
    }

    #[test]
    fn who_is_full_stays_active_and_takes_nobody_but_those_who_may_come_again() {
        let mut farm = Farm::new(2, true);
        farm.works(&[0, 1]).observe(0, CheckOutcome::Pass("200 OK".into()), 100);
        farm.roster.decide(farm.now);
        let snapshot = farm.roster.snapshot();
        let choose = |by| select(&snapshot, SSL, by, &[], farm.now.instant, 7).ok().map(|c| c.index);
        assert_eq!((choose(By::Load), choose(By::Turn(1))), (None, None));
        assert_eq!(
            choose(By::Source(IpAddr::from([192, 0, 2, 1]))),
            Some(0),
            "his may be among those that fill it"
        );
        assert_eq!(farm.told(), [""; 0]);
        for rule in [WhenNone::LastKnownGood, WhenNone::Any] {
            farm.reload(|settings| settings.balance.when_none = rule);
            assert_eq!(farm.named(SSL), Some(0), "{rule:?}: never the other one");
        }
    }

    #[test]
    fn where_nobody_is_available_the_rule_names_the_last_active_one_at_every_door() {
        for (rule, expected) in
            [(WhenNone::Refuse, None), (WhenNone::LastKnownGood, Some(1)), (WhenNone::Any, Some(1))]
        {
            let mut farm = Farm::new(3, true);
            farm.reload(|settings| settings.balance.when_none = rule);
            farm.works(&[0, 1, 2]).fails(0).named(SSL);
            farm.fails(2).fails(1);
            assert_eq!(farm.named(SSL), expected, "{rule:?}");
            assert_eq!(farm.told(), [""; 0], "there is nobody else");
        }
    }

    #[test]
    fn each_vrrp_id_has_its_own_and_who_asks_for_none_gets_that_of_the_first_one_that_has_one() {
        let mut farm =
            Farm::with(6, true, |i, gateway| gateway.vrrp_id = VrrpId::new([31, 32, 31, 32, 0, 0][i]));
        farm.works(&[0, 1, 2, 3, 4, 5]);
        let of = |id| Ask { vrrp_id: VrrpId::new(id), vpn: Vpn::Ssl };
        let all = |farm: &mut Farm| [farm.named(of(31)), farm.named(of(32)), farm.named(SSL)];
        assert_eq!(all(&mut farm), [Some(0), Some(1), Some(0)]);
        farm.fails(0);
        assert_eq!(all(&mut farm), [Some(2), Some(1), Some(2)], "31 is still the first group");
        farm.fails(2);
        assert_eq!(all(&mut farm), [None, Some(1), Some(1)]);
        farm.fails(1).fails(3);
        assert_eq!(all(&mut farm), [None, None, Some(4)], "those without a VRRP ID");
    }

    #[test]
    fn who_is_reached_by_vrrp_alone_is_no_candidate() {
        let mut farm = Farm::with(2, true, |i, gateway| {
            if i == 0 {
                gateway.vpn_mode = VpnMode::VrrpOnly;
            }
        });
        farm.works(&[0, 1]);
        assert_eq!(farm.named(SSL), Some(1));
        assert_eq!(farm.roster.snapshot().gateways[0].role, None);
    }

    #[test]
    fn the_start_waits_for_the_answer_that_would_decide() {
        let mut farm = Farm::new(2, true);
        assert_eq!(farm.works(&[1]).told(), [""; 0], "gw0 has not been asked yet");
        assert_eq!(farm.works(&[0]).told(), ["gw0 is active now: it is the first one that can be"]);
        let mut farm = Farm::new(2, true);
        farm.works(&[1]).observe(0, CheckOutcome::Inconclusive("no file".into()), 10);
        assert_eq!(farm.named(SSL), Some(1), "it was asked");
    }

    #[test]
    fn while_the_active_one_is_asked_anew_at_another_address_the_next_one_helps_out_if_it_may_give_back() {
        for (failback, meanwhile) in [(true, Some(1)), (false, None)] {
            let mut farm = Farm::new(2, failback);
            assert_eq!(farm.works(&[0, 1]).named(SSL), Some(0));
            let moved = Gateway { tunnels_max: Some(100), ..Gateway::plain("gw0", "192.0.2.9") };
            farm.reload(|settings| settings.gateways[0] = Arc::new(moved));
            assert_eq!(farm.named(SSL), meanwhile, "failback: {failback}");
            assert_eq!(farm.works(&[0]).named(SSL), Some(0));
        }
    }

    #[test]
    fn with_failback_the_file_decides_anew_after_a_restart() {
        let mut farm = Farm::new(2, true);
        assert_eq!(farm.works(&[0, 1]).fails(0).named(SSL), Some(1));
        let memory = farm.roster.memory();
        let mut next = Farm::new(2, true);
        next.roster.adopt(&memory, next.now);
        assert_eq!(next.works(&[1]).told(), [""; 0], "gw0 has not been asked yet");
        assert_eq!(next.works(&[0]).named(SSL), Some(0));
    }

    #[test]
    fn without_failback_the_choice_outlives_a_restart() {
        let mut farm = Farm::new(2, false);
        assert_eq!(farm.works(&[0, 1]).fails(0).named(SSL), Some(1));
        let memory = farm.roster.memory();
        assert_eq!(memory.actives, [(None, Farm::name(1))]);
        for (answer_first, works, expected) in [(0, true, 1), (1, true, 1), (0, false, 0)] {
            let mut next = Farm::new(2, false);
            next.roster.adopt(&memory, next.now);
            next.works(&[answer_first]).told();
            assert_eq!(next.roster.memory(), memory);
            if works {
                next.works(&[1 - answer_first]);
            } else {
                next.fails(1);
            }
            assert_eq!(next.named(SSL), Some(expected), "gw{answer_first} answers first; {works}");
        }
    }

    #[test]
    fn what_is_adopted_names_nobody_who_is_gone_and_ends_no_drain_without_a_word() {
        let mut farm = Farm::new(2, false);
        farm.works(&[0, 1]).told();
        farm.roster.drain(&Farm::name(0), "new kernel", "uid 0", farm.now).unwrap();
        let memory = farm.roster.memory();
        assert_eq!(memory.words.len(), 1);
        let gone =
            Memory { words: vec![], actives: vec![(None, Farm::name(9)), (VrrpId::new(7), Farm::name(1))] };
        assert_eq!(farm.roster.adopt(&gone, farm.now), []);
        assert_eq!(farm.told(), ["gw1 is active now: gw9 is no longer one of them"]);
        assert_eq!(farm.roster.memory().actives, [(None, Farm::name(1))]);
    }

    /// What the front door that leads says of its choice.
    fn led_to(i: usize) -> Elsewhere {
        let actives = vec![(None, Farm::name(i)), (VrrpId::new(7), Farm::name(i))];
        Elsewhere { lead: Some(Lead { front_door: "front-a".into(), actives }), ..Elsewhere::default() }
    }

    #[test]
    fn what_the_leading_front_door_has_chosen_is_chosen_here_whatever_things_look_like_from_here() {
        for failback in [true, false] {
            let mut farm = Farm::new(3, failback);
            assert_eq!(farm.works(&[0, 1, 2]).named(SSL), Some(0));
            farm.roster.hear(led_to(1), farm.now);
            assert_eq!(farm.told(), ["gw1 is active now: front-a has chosen it, the front door that leads"]);
            assert_eq!(farm.named(SSL), Some(1));
            // it is cut off from here, and not from there
            farm.fails(1);
            assert_eq!((farm.told(), farm.named(SSL)), (vec![], None), "never another one");
            farm.roster.hear(led_to(2), farm.now);
            assert_eq!(farm.named(SSL), Some(2));
            farm.roster.hear(led_to(9), farm.now);
            let own = if failback { 0 } else { 2 };
            assert_eq!(farm.named(SSL), Some(own), "nobody by that name is known here");
        }
    }

    #[test]
    fn who_takes_over_goes_on_with_the_choice_of_the_one_before() {
        for (failback, holder_works, expected) in
            [(false, true, Some(1)), (false, false, Some(0)), (true, true, Some(0)), (true, false, Some(0))]
        {
            let mut farm = Farm::new(3, failback);
            farm.works(&[0, 1, 2]).told();
            farm.roster.hear(led_to(1), farm.now);
            farm.told();
            if !holder_works {
                farm.fails(1);
            }
            farm.roster.hear(Elsewhere::default(), farm.now);
            assert_eq!(farm.named(SSL), expected, "failback: {failback}, the holder works: {holder_works}");
        }
    }

    #[test]
    fn a_reload_may_change_the_mode_the_order_and_the_gateways() {
        let mut farm = Farm::new(3, false);
        assert_eq!(farm.works(&[0, 1, 2]).fails(0).named(SSL), Some(1));
        farm.works(&[0]).works(&[0]);
        farm.reload(|settings| settings.gateways.swap(1, 2));
        assert_eq!(farm.roster.decide(farm.now), [], "the order alone changes nobody");
        farm.reload(|settings| settings.gateways.retain(|gateway| gateway.name != Farm::name(1)));
        assert_eq!(farm.told(), ["gw0 is active now: gw1 is no longer one of them"]);
        farm.reload(|settings| settings.balance.mode = BalanceMode::LoadBalancing);
        farm.roster.decide(farm.now);
        assert!(farm.roster.snapshot().gateways.iter().all(|view| view.role.is_none()));
        assert_eq!(farm.roster.memory(), Memory::default());
        farm.reload(|settings| settings.balance.mode = BalanceMode::Failsafe { failback: true });
        assert_eq!(farm.told(), ["gw0 is active now: it is the first one that can be"]);
        let first = Gateway { vpn_mode: VpnMode::Both, ..Gateway::plain("gw7", "192.0.2.7") };
        farm.reload(|settings| settings.gateways.insert(0, Arc::new(first)));
        assert_eq!(farm.told(), [""; 0], "who is new has not been asked yet");
    }
}
