use std::sync::Arc;
use std::time::Duration;

use super::balance::{Balance, BalanceMode};
use super::failsafe::{self, Actives, Role, Takeover};
use super::fence::{FenceReading, LocalBlock};
use super::gateway::{Gateway, GatewayName};
use super::health::{Condition, Health, Thresholds};
use super::load::{Score, Weights};
use super::memory::{Elsewhere, Lead, Memory, Remembered, Stamp, Word};
use super::moment::Moment;
use super::observation::{Failure, Observation, Verdict};
use super::pending::{Ledger, Tally};
use super::snapshot::{Drain, GatewayView, LoadReading, Snapshot, State};

/// Everything the keeper knows of the farm. The one mutable truth; it has one owner.
#[derive(Debug)]
pub struct Roster {
    settings: FleetSettings,
    members: Vec<Member>,
    /// In failsafe mode.
    actives: Actives,
    /// Who decides on them, if not this front door.
    lead: Option<Lead>,
    started: Moment,
    number: u64,
    generation: u64,
}

/// What the configuration says of the farm.
#[derive(Clone, Debug, PartialEq)]
pub struct FleetSettings {
    /// In file order; their names are unique.
    pub gateways: Vec<Arc<Gateway>>,
    /// How many rounds make a gateway up or down.
    pub thresholds: Thresholds,
    /// What each criterion counts.
    pub weights: Weights,
    /// The rules of the choice.
    pub balance: Balance,
}

/// A gateway's state has changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// Whose.
    pub gateway: GatewayName,
    /// What it was.
    pub from: State,
    /// What it is.
    pub to: State,
    /// Why.
    pub reason: Arc<str>,
}

/// What the keeper holds of one gateway: what everyone sees, and the account behind the pending count.
#[derive(Debug)]
struct Member {
    view: Arc<GatewayView>,
    ledger: Ledger,
    /// Of the last word of administrators, if there was one.
    stamp: Option<Stamp>,
}

impl Roster {
    /// A farm of which nothing is known yet.
    pub fn new(settings: FleetSettings, now: Moment) -> Self {
        let members = settings.gateways.iter().map(|g| Member::new(Arc::clone(g), now)).collect();
        Self {
            settings,
            members,
            actives: Actives::new(),
            lead: None,
            started: now,
            number: 0,
            generation: 0,
        }
    }

    /// Whether there is a gateway of that name.
    pub fn has(&self, name: &GatewayName) -> bool {
        self.members.iter().any(|member| member.view.gateway.name == *name)
    }

    /// Takes in what a round has found. Rounds of a gateway that is no longer there are ignored.
    pub fn observe(
        &mut self,
        name: &GatewayName,
        observation: Observation,
        now: Moment,
    ) -> Option<Transition> {
        let entering_late = self.started.until(now.instant) > self.settings.balance.slow_start;
        let (thresholds, weights) = (self.settings.thresholds, self.settings.weights);
        let member = self.member(name)?;
        let tunnels = observation.report.as_ref().and_then(|r| r.load.tunnels);
        member.ledger.settle(member.view.assigned.total(), tunnels, now.instant);
        let tally = member.ledger.tally();
        member.change(|view| {
            let before = view.health.condition;
            let verdict = observation.verdict();
            if verdict == Verdict::Good {
                view.last_good = Some(now);
            }
            let changed = view.health.observe(&verdict, thresholds, now);
            // Those found up when this front door starts do not come back from anywhere: all are filled
            // at once.
            if changed
                && view.health.condition == Condition::Up
                && (before == Condition::Down || entering_late)
            {
                view.filling_since = Some(now.instant);
            }
            if observation.report.is_some() {
                let draining = observation.is_draining();
                view.agent_drains_since = draining.then(|| view.agent_drains_since.unwrap_or(now));
            }
            view.tally = tally;
            // a reload may have taken its checks away
            view.direct = observation.direct_verdict().map(|verdict| {
                let mut direct = view.direct.take().unwrap_or_else(|| Health::unknown(now));
                direct.observe(&verdict, thresholds, now);
                direct
            });
            let at = observation.asked.unwrap_or(now);
            if let Some(report) = observation.report {
                // one that no longer speaks of a fence has none
                view.fence = report.fence.map(|report| FenceReading { report, at });
                let load = report.load.completed_by(&view.gateway);
                let score = Score::of(&load, &weights);
                view.load = Some(LoadReading { load, at, score });
            }
            view.checks = observation.checks.into();
        })
    }

    /// Takes in that a door could not connect to a gateway, which counts like a round with a failed check: so
    /// many in a row, without a good round between them, and the gateway is down. What the last round has
    /// found stays as it is. Failures of a gateway that is no longer there, or no longer in that place, are
    /// ignored.
    pub fn fail(&mut self, failure: &Failure, now: Moment) -> Option<Transition> {
        let thresholds = self.settings.thresholds;
        let verdict = Verdict::Bad(failure.reason.clone());
        let member = self.member(&failure.gateway)?;
        if member.view.gateway.upstream != failure.upstream {
            return None;
        }
        member.change(|view| {
            view.health.observe(&verdict, thresholds, now);
        })
    }

    /// Takes a gateway out of the choice. One that is out already stays so since then, with the new reason.
    pub fn drain(
        &mut self,
        name: &GatewayName,
        reason: &str,
        by: &str,
        now: Moment,
    ) -> Result<Option<Transition>, UnknownGateway> {
        let member = self.member(name).ok_or(UnknownGateway)?;
        member.stamp = Some(Stamp::next(now.wall, member.stamp));
        Ok(member.change(|view| {
            let since = view.drain.as_ref().map_or(now, |drain| drain.since);
            view.drain = Some(Drain { reason: reason.into(), by: by.into(), since });
        }))
    }

    /// Takes a gateway back into the choice.
    pub fn resume(&mut self, name: &GatewayName, now: Moment) -> Result<Option<Transition>, UnknownGateway> {
        let member = self.member(name).ok_or(UnknownGateway)?;
        member.stamp = Some(Stamp::next(now.wall, member.stamp));
        Ok(member.change(|view| view.drain = None))
    }

    /// In failsafe mode, decides who is active from now on, and tells of whom that is news. To be called before a
    /// [`snapshot`](Self::snapshot) and now and then: a fence ends without anybody saying so.
    pub fn decide(&mut self, now: Moment) -> Vec<Takeover> {
        let Balance { mode, stale_after, .. } = self.settings.balance;
        let takeovers = match mode {
            BalanceMode::LoadBalancing => {
                self.actives.clear();
                Vec::new()
            }
            BalanceMode::Failsafe { failback } => {
                let views: Vec<_> = self.members.iter().map(|member| &*member.view).collect();
                let (actives, takeovers) =
                    failsafe::decide(&views, &self.actives, self.lead.as_ref(), failback, now, stale_after);
                self.actives = actives;
                takeovers
            }
        };
        for member in &mut self.members {
            let view = &member.view;
            let is_active = self.actives.get(&view.gateway.vrrp_id) == Some(&view.gateway.name);
            let role = if is_active { Role::Active } else { Role::Standby };
            let role = (mode.is_failsafe() && failsafe::takes_part(view)).then_some(role);
            if view.role != role {
                Arc::make_mut(&mut member.view).role = role;
            }
        }
        takeovers
    }

    /// What is to outlive this process, and what the other front doors have to know.
    pub fn memory(&self) -> Memory {
        Memory {
            words: self.members.iter().filter_map(Member::word).collect(),
            actives: self.actives.iter().map(|(group, name)| (*group, name.clone())).collect(),
        }
    }

    /// Goes on with what was remembered: each word of administrators counts unless there is a later one, and without
    /// failback these are the active gateways as far as they can be; with it, the order of the configuration decides.
    /// Gateways that are not there are left out.
    pub fn adopt(&mut self, memory: &Memory, now: Moment) -> Vec<Transition> {
        if self.settings.balance.mode == (BalanceMode::Failsafe { failback: false }) {
            self.actives = memory.actives.iter().cloned().collect();
        }
        self.take_words(&memory.words, now).into_iter().filter_map(|(_, transition)| transition).collect()
    }

    /// Takes in what the other front doors say. Tells of each word that is news, and what has changed by it.
    pub fn hear(&mut self, elsewhere: Elsewhere, now: Moment) -> Vec<(Word, Option<Transition>)> {
        let Elsewhere { lead, words, pending, inherited, given_back } = elsewhere;
        self.lead = lead;
        for member in &mut self.members {
            let name = &member.view.gateway.name;
            let of = |counts: &[(GatewayName, u64)]| {
                let ours = counts.iter().filter(|(gateway, _)| gateway == name);
                ours.fold(0, |sum: u64, (_, count)| sum.saturating_add(*count))
            };
            let (pending, inherited, given_back) = (of(&pending), of(&inherited), of(&given_back));
            member.ledger.give_back(given_back);
            member.ledger.inherit(inherited, now.instant);
            let tally = member.ledger.tally();
            if (member.view.pending_elsewhere, member.view.tally) != (pending, tally) {
                let view = Arc::make_mut(&mut member.view);
                (view.pending_elsewhere, view.tally) = (pending, tally);
            }
        }
        self.take_words(&words, now)
    }

    fn take_words(&mut self, words: &[Word], now: Moment) -> Vec<(Word, Option<Transition>)> {
        let mut news = Vec::new();
        for word in words {
            let Some(member) = self.member(&word.gateway) else { continue };
            if member.word().is_some_and(|known| !word.beats(&known)) {
                continue;
            }
            member.stamp = Some(word.stamp);
            let drain = word.drain.clone().map(|Remembered { reason, by, since }| Drain {
                reason,
                by,
                since: now.at(since),
            });
            let transition = member.change(|view| view.drain = drain);
            news.push((word.clone(), transition));
        }
        news
    }

    /// Takes in what stands in this host's own firewall against a gateway. One that is no longer there is
    /// ignored.
    pub fn set_local_block(&mut self, name: &GatewayName, block: Option<LocalBlock>) {
        if let Some(member) = self.member(name) {
            member.change(|view| view.local_block = block);
        }
    }

    /// What is known of a gateway.
    pub fn view(&self, name: &GatewayName) -> Option<&Arc<GatewayView>> {
        self.members.iter().map(|member| &member.view).find(|view| view.gateway.name == *name)
    }

    /// How old a report may be to count.
    pub fn stale_after(&self) -> Duration {
        self.settings.balance.stale_after
    }

    /// Goes over to other settings. A gateway that keeps its name keeps what is known of it, but for what
    /// the change makes doubtful: whether it works where clients would be sent or taken now, and what an agent
    /// that it no longer has once said.
    pub fn reload(&mut self, settings: FleetSettings, now: Moment) {
        if settings.gateways != self.settings.gateways {
            self.generation += 1;
        }
        let mut old = std::mem::take(&mut self.members);
        self.members = settings
            .gateways
            .iter()
            .map(|gateway| match old.iter().position(|m| m.view.gateway.name == gateway.name) {
                Some(i) => old.swap_remove(i).redefined(gateway, &settings.weights, now),
                None => Member::new(Arc::clone(gateway), now),
            })
            .collect();
        self.settings = settings;
    }

    /// The farm as it is now.
    pub fn snapshot(&mut self) -> Snapshot {
        self.number += 1;
        Snapshot {
            number: self.number,
            generation: self.generation,
            gateways: self.members.iter().map(|m| Arc::clone(&m.view)).collect(),
            balance: self.settings.balance,
            weights: self.settings.weights,
        }
    }

    fn member(&mut self, name: &GatewayName) -> Option<&mut Member> {
        self.members.iter_mut().find(|m| m.view.gateway.name == *name)
    }
}

/// There is no gateway of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no gateway of that name")]
pub struct UnknownGateway;

impl Member {
    fn new(gateway: Arc<Gateway>, now: Moment) -> Self {
        let view = GatewayView {
            gateway,
            health: Health::unknown(now),
            agent_drains_since: None,
            drain: None,
            role: None,
            load: None,
            filling_since: None,
            last_good: None,
            assigned: Arc::default(),
            tally: Tally::default(),
            pending_elsewhere: 0,
            checks: Arc::from([]),
            direct: None,
            fence: None,
            local_block: None,
        };
        Self { view: Arc::new(view), ledger: Ledger::default(), stamp: None }
    }

    /// The same member under a new definition.
    fn redefined(mut self, gateway: &Arc<Gateway>, weights: &Weights, now: Moment) -> Self {
        let view = Arc::make_mut(&mut self.view);
        let before = &view.gateway;
        if before.ssl_endpoint != gateway.ssl_endpoint || before.upstream != gateway.upstream {
            view.health = Health::unknown(now);
            view.last_good = None;
            view.checks = Arc::from([]);
            view.direct = None;
        }
        if !gateway.has_agent {
            view.agent_drains_since = None;
            view.load = None;
            view.fence = None;
        }
        view.gateway = Arc::clone(gateway);
        if let Some(reading) = &mut view.load {
            reading.score = Score::of(&reading.load, weights);
        }
        self
    }

    /// The last one of administrators.
    fn word(&self) -> Option<Word> {
        let drain = self.view.drain.clone().map(|Drain { reason, by, since }| Remembered {
            reason,
            by,
            since: since.wall,
        });
        Some(Word { gateway: self.view.gateway.name.clone(), stamp: self.stamp?, drain })
    }

    fn change(&mut self, change: impl FnOnce(&mut GatewayView)) -> Option<Transition> {
        let from = self.view.state();
        let view = Arc::make_mut(&mut self.view);
        change(view);
        let to = view.state();
        let gateway = view.gateway.name.clone();
        (from != to).then(|| Transition { gateway, from, to, reason: view.reason() })
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::{Duration, Instant, SystemTime};

    use super::*;
    use crate::fleet::{
        CheckOutcome, CheckResult, Endpoint, FenceReport, Load, Service, ServiceReport, WhenNone,
    };

    fn at(seconds: u64) -> Moment {
        // one base for all, so that the seconds of two calls can be compared
        static BASE: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
        let after = Duration::from_secs(seconds);
        Moment { instant: *BASE + after, wall: SystemTime::UNIX_EPOCH + after }
    }

    fn gateway(name: &str, host: &str) -> Arc<Gateway> {
        Arc::new(Gateway { tunnels_max: Some(100), ..Gateway::plain(name, host) })
    }

    fn settings(gateways: Vec<Arc<Gateway>>) -> FleetSettings {
        FleetSettings {
            gateways,
            thresholds: Thresholds { rise: NonZeroU32::MIN, fall: NonZeroU32::MIN },
            weights: Weights::default(),
            balance: Balance {
                mode: BalanceMode::LoadBalancing,
                slow_start: Duration::from_secs(30),
                stale_after: Duration::from_secs(10),
                when_none: WhenNone::Refuse,
            },
        }
    }

    fn good(tunnels: u64) -> Observation {
        let load = Load { tunnels: Some(tunnels), ..Load::default() };
        Observation {
            checks: vec![],
            report: Some(ServiceReport { service: Service::Up, load, fence: None }),
            asked: None,
        }
    }

    fn bad() -> Observation {
        let outcome = CheckOutcome::Fail("connection refused".into());
        let check = CheckResult { check: "heartbeat".into(), outcome, took: Duration::ZERO };
        Observation { checks: vec![check], report: None, asked: None }
    }

    #[test]
    fn a_transition_tells_from_what_to_what_and_why() {
        let mut roster = Roster::new(settings(vec![gateway("gw1", "10.0.0.1")]), at(0));
        let name = GatewayName::new("gw1");
        let up = roster.observe(&name, good(0), at(1)).unwrap();
        assert_eq!((up.from, up.to), (State::Unknown, State::Up));
        assert_eq!(roster.observe(&name, good(0), at(2)), None);
        let down = roster.observe(&name, bad(), at(3)).unwrap();
        assert_eq!(
            (down.from, down.to, &*down.reason),
            (State::Up, State::Down, "heartbeat: connection refused")
        );
    }

    #[test]
    fn newcomers_of_another_front_door_count_once_while_it_speaks_while_it_is_silent_and_when_it_speaks_again()
     {
        let name = GatewayName::new("gw1");
        let mut roster = Roster::new(settings(vec![gateway("gw1", "10.0.0.1")]), at(0));
        roster.observe(&name, good(0), at(1));
        roster.view(&name).unwrap().assigned.add();
        let speaks = Elsewhere { pending: vec![(name.clone(), 4)], ..Elsewhere::default() };
        let falls_silent = Elsewhere { inherited: vec![(name.clone(), 4)], ..Elsewhere::default() };
        let speaks_again = Elsewhere { given_back: vec![(name.clone(), 4)], ..speaks.clone() };
        let all = [speaks, falls_silent.clone(), speaks_again.clone(), falls_silent, speaks_again];
        for (now, elsewhere) in (2..).zip(all) {
            roster.hear(elsewhere, at(now));
            roster.observe(&name, good(0), at(now));
            let view = roster.view(&name).unwrap();
            assert_eq!((view.pending(), view.own_pending()), (5, 1), "after {now} s");
        }
    }

    #[test]
    fn the_configured_capacity_completes_the_report() {
        let mut roster = Roster::new(settings(vec![gateway("gw1", "10.0.0.1")]), at(0));
        roster.observe(&GatewayName::new("gw1"), good(25), at(1));
        let snapshot = roster.snapshot();
        assert_eq!(snapshot.gateways[0].load.as_ref().unwrap().score.total, Some(0.25));
    }

    #[test]
    fn only_a_gateway_that_comes_back_is_filled_gradually() {
        let gateways = vec![gateway("gw1", "10.0.0.1"), gateway("late", "10.0.0.2")];
        let mut roster = Roster::new(settings(gateways), at(0));
        let name = GatewayName::new("gw1");
        roster.observe(&name, good(0), at(1));
        assert_eq!(roster.snapshot().gateways[0].filling_since, None, "there from the start");
        roster.observe(&name, bad(), at(2));
        roster.observe(&name, good(0), at(3));
        assert_eq!(roster.snapshot().gateways[0].filling_since, Some(at(3).instant));
        roster.observe(&GatewayName::new("late"), good(0), at(60));
        assert_eq!(roster.snapshot().gateways[1].filling_since, Some(at(60).instant));
    }

    #[test]
    fn a_drained_gateway_keeps_its_drain_until_it_is_resumed() {
        let mut roster = Roster::new(settings(vec![gateway("gw1", "10.0.0.1")]), at(0));
        let name = GatewayName::new("gw1");
        roster.observe(&name, good(0), at(1));
        let drained = roster.drain(&name, "new kernel", "uid 0", at(2)).unwrap().unwrap();
        assert_eq!((drained.to, &*drained.reason), (State::Draining, "new kernel"));
        roster.observe(&name, bad(), at(3));
        let back = roster.observe(&name, good(0), at(4)).unwrap();
        assert_eq!((back.from, back.to), (State::Down, State::Draining));
        assert_eq!(roster.resume(&name, at(5)).unwrap().unwrap().to, State::Up);
        assert_eq!(roster.resume(&GatewayName::new("gw9"), at(5)), Err(UnknownGateway));
    }

    fn two_gateways(second: &str) -> FleetSettings {
        settings(vec![gateway("gw3", "10.0.0.3"), gateway("gw2", second)])
    }

    #[test]
    fn a_reload_keeps_what_is_known_of_the_gateways_that_stay() {
        let before = settings(vec![gateway("gw1", "10.0.0.1"), gateway("gw2", "10.0.0.2")]);
        let mut roster = Roster::new(before, at(0));
        roster.observe(&GatewayName::new("gw2"), good(10), at(1));
        let before = roster.snapshot();
        roster.reload(two_gateways("10.0.0.2"), at(2));
        let after = roster.snapshot();
        let shown: Vec<_> = after.gateways.iter().map(|v| (v.gateway.name.as_str(), v.state())).collect();
        assert_eq!(shown, [("gw3", State::Unknown), ("gw2", State::Up)]);
        assert!(after.gateways[1].load.is_some());
        assert!(after.number > before.number && after.generation > before.generation);
        roster.reload(two_gateways("10.0.0.2"), at(3));
        assert_eq!(roster.snapshot().generation, after.generation, "nothing about the gateways has changed");
    }

    #[test]
    fn a_gateway_under_another_address_must_be_found_in_order_there() {
        let mut roster = Roster::new(two_gateways("10.0.0.2"), at(0));
        roster.observe(&GatewayName::new("gw2"), good(10), at(1));
        roster.reload(two_gateways("10.0.0.22"), at(2));
        let after = roster.snapshot();
        assert_eq!(after.gateways[1].state(), State::Unknown);
        assert_eq!(after.gateways[1].gateway.ssl_endpoint.to_string(), "10.0.0.22:443");
    }

    #[test]
    fn failed_connections_to_where_a_gateway_was_do_not_count_where_it_is() {
        let (mut roster, name) = one_gateway(2);
        roster.fail(&failed(&name, "10.0.0.1:443: connection refused"), at(2));
        let mut elsewhere = roster.settings.clone();
        let upstream = Endpoint::parse("10.0.0.9", 443).unwrap();
        elsewhere.gateways[0] = Arc::new(Gateway { upstream, ..(*elsewhere.gateways[0]).clone() });
        roster.reload(elsewhere, at(3));
        assert_eq!(roster.snapshot().gateways[0].state(), State::Unknown);
        assert_eq!(roster.observe(&name, good(10), at(4)).unwrap().to, State::Up);
        for seconds in 5..10 {
            let late = failed(&name, "10.0.0.1:443: connection refused");
            assert_eq!(roster.fail(&late, at(seconds)), None, "from a worker that has not heard of it");
        }
        assert_eq!(roster.snapshot().gateways[0].state(), State::Up);
    }

    #[test]
    fn the_word_of_an_agent_that_is_gone_counts_no_more() {
        let mut roster = Roster::new(two_gateways("10.0.0.2"), at(0));
        let name = GatewayName::new("gw2");
        let mut draining = good(100);
        if let Some(report) = &mut draining.report {
            report.service = Service::Draining;
        }
        roster.observe(&name, draining, at(1));
        assert_eq!(roster.snapshot().gateways[1].state(), State::Draining);
        let mut without = two_gateways("10.0.0.2");
        without.gateways[1] = Arc::new(Gateway { has_agent: false, ..(*without.gateways[1]).clone() });
        roster.reload(without, at(2));
        roster.observe(&name, Observation::default(), at(3));
        let view = Arc::clone(&roster.snapshot().gateways[1]);
        assert_eq!((view.state(), view.load.clone()), (State::Up, None));
    }

    #[test]
    fn the_word_of_an_agent_on_its_fence_stays_until_its_next_word() {
        let mut roster = Roster::new(two_gateways("10.0.0.2"), at(0));
        let name = GatewayName::new("gw2");
        let mut fenced = good(100);
        let report = fenced.report.as_mut().unwrap();
        report.fence = Some(FenceReport { engine: "nftables".into(), ..FenceReport::default() });
        roster.observe(&name, fenced, at(1));
        roster.observe(&name, bad(), at(2));
        assert_eq!(roster.view(&name).unwrap().fence.as_ref().unwrap().at, at(1));
        roster.observe(&name, good(100), at(3));
        assert_eq!(roster.view(&name).unwrap().fence, None, "it has a fence no more");
    }

    #[test]
    fn what_an_agent_says_is_as_old_as_the_question() {
        let mut roster = Roster::new(settings(vec![gateway("gw1", "10.0.0.1")]), at(0));
        let name = GatewayName::new("gw1");
        let mut late = Observation { asked: Some(at(3)), ..good(1) };
        late.report.as_mut().unwrap().fence = Some(FenceReport::default());
        roster.observe(&name, late, at(4));
        let view = roster.view(&name).unwrap();
        assert_eq!((view.fence.as_ref().unwrap().at, view.load.as_ref().unwrap().at), (at(3), at(3)));
        assert_eq!(view.health.since, at(4));
    }

    #[test]
    fn what_the_checks_from_here_conclude_is_kept_apart_from_what_the_agent_says() {
        let mut roster = Roster::new(two_gateways("10.0.0.2"), at(0));
        let name = GatewayName::new("gw2");
        let seen = |outcome| CheckResult { check: "portal".into(), outcome, took: Duration::ZERO };
        let declared = Service::Down("vpn: dead".into());
        let report = ServiceReport { service: declared, load: Load::default(), fence: None };
        let checks = vec![seen(CheckOutcome::Pass("200 OK".into()))];
        roster.observe(&name, Observation { checks, report: Some(report), asked: None }, at(1));
        let conditions = |roster: &Roster| {
            let view = roster.view(&name).unwrap();
            (view.health.condition, view.direct.as_ref().map(|direct| direct.condition))
        };
        assert_eq!(conditions(&roster), (Condition::Down, Some(Condition::Up)));
        let checks = vec![seen(CheckOutcome::Fail("refused".into()))];
        roster.observe(&name, Observation { checks, ..good(1) }, at(2));
        assert_eq!(conditions(&roster), (Condition::Down, Some(Condition::Down)));
        assert_eq!(&*roster.view(&name).unwrap().direct.as_ref().unwrap().reason, "portal: refused");
        roster.observe(&name, good(1), at(3));
        assert_eq!(conditions(&roster), (Condition::Up, None), "a reload has taken its checks away");
    }

    #[test]
    fn a_block_in_this_hosts_firewall_fences_until_it_runs_out() {
        let mut roster = Roster::new(two_gateways("10.0.0.2"), at(0));
        let name = GatewayName::new("gw2");
        let block = LocalBlock { by: "front-a".into(), reason: "refused".into(), until: at(15).instant };
        roster.set_local_block(&name, Some(block.clone()));
        let fenced = |roster: &Roster, seconds| {
            let view = roster.view(&name).unwrap();
            view.is_fenced(at(seconds).instant, Duration::from_secs(10))
        };
        assert!(fenced(&roster, 14) && !fenced(&roster, 15));
        roster.set_local_block(&name, None);
        assert!(!fenced(&roster, 1));
        roster.set_local_block(&GatewayName::new("gw9"), Some(block));
    }

    #[test]
    fn counts_that_nobody_can_have_are_as_many_as_can_be() {
        let mut roster = Roster::new(settings(vec![gateway("gw1", "10.0.0.1")]), at(0));
        let name = GatewayName::new("gw1");
        let most = vec![(name.clone(), u64::MAX), (name.clone(), 1)];
        for _ in 0..2 {
            let elsewhere =
                Elsewhere { pending: most.clone(), inherited: most.clone(), ..Elsewhere::default() };
            roster.hear(elsewhere, at(1));
            assert_eq!(roster.snapshot().gateways[0].pending(), u64::MAX);
        }
        roster.hear(Elsewhere { given_back: most, ..Elsewhere::default() }, at(2));
        roster.observe(&name, good(10), at(60));
        assert_eq!(roster.snapshot().gateways[0].pending(), 0);
    }

    #[test]
    fn an_observation_of_a_gateway_that_is_gone_is_ignored() {
        let mut roster = Roster::new(settings(vec![]), at(0));
        assert_eq!(roster.observe(&GatewayName::new("gw1"), good(0), at(1)), None);
    }

    /// A farm of one gateway that was found in order.
    fn one_gateway(fall: u32) -> (Roster, GatewayName) {
        let thresholds = Thresholds { rise: NonZeroU32::MIN, fall: NonZeroU32::new(fall).unwrap() };
        let settings = FleetSettings { thresholds, ..settings(vec![gateway("gw1", "10.0.0.1")]) };
        let (mut roster, name) = (Roster::new(settings, at(0)), GatewayName::new("gw1"));
        roster.observe(&name, good(10), at(1));
        (roster, name)
    }

    fn failed(gateway: &GatewayName, reason: &str) -> Failure {
        let upstream = Endpoint::parse("10.0.0.1", 443).unwrap();
        Failure { gateway: gateway.clone(), upstream, reason: reason.into() }
    }

    #[test]
    fn failed_connections_in_a_row_make_a_gateway_down() {
        let (mut roster, name) = one_gateway(3);
        assert_eq!(roster.fail(&failed(&name, "10.0.0.1:443: connection refused"), at(2)), None);
        assert_eq!(roster.observe(&name, bad(), at(2)), None, "together with failed checks");
        let down = roster.fail(&failed(&name, "10.0.0.1:443: connection refused"), at(2)).unwrap();
        assert_eq!((down.from, down.to), (State::Up, State::Down));
        assert_eq!(&*down.reason, "10.0.0.1:443: connection refused");
        assert_eq!(roster.fail(&failed(&name, "once more"), at(2)), None);
        let up = roster.observe(&name, good(10), at(3)).unwrap();
        assert_eq!(up.to, State::Up);
        assert_eq!(roster.snapshot().gateways[0].filling_since, Some(at(3).instant));
    }

    #[test]
    fn a_good_round_forgives_failed_connections() {
        let (mut roster, name) = one_gateway(3);
        for seconds in 2..10 {
            roster.fail(&failed(&name, "connection refused"), at(seconds));
            roster.fail(&failed(&name, "connection refused"), at(seconds));
            assert_eq!(roster.observe(&name, good(10), at(seconds)), None);
        }
        assert_eq!(roster.snapshot().gateways[0].state(), State::Up);
    }

    #[test]
    fn a_failed_connection_changes_nothing_of_what_the_last_round_has_found() {
        let (mut roster, name) = one_gateway(1);
        roster.observe(&name, Observation { report: good(10).report, ..bad() }, at(2));
        roster.observe(&name, good(20), at(3));
        let before = Arc::clone(&roster.snapshot().gateways[0]);
        roster.fail(&failed(&name, "connection refused"), at(4)).unwrap();
        let after = Arc::clone(&roster.snapshot().gateways[0]);
        assert_eq!(after.state(), State::Down);
        assert_eq!((&after.load, &after.checks), (&before.load, &before.checks));
        assert_eq!((after.last_good, after.filling_since), (before.last_good, before.filling_since));
        assert_eq!(after.last_good, Some(at(3)));
    }

    #[test]
    fn a_failure_of_a_gateway_that_is_gone_is_ignored() {
        let mut roster = Roster::new(settings(vec![]), at(0));
        assert_eq!(roster.fail(&failed(&GatewayName::new("gw1"), "connection refused"), at(1)), None);
    }
}
