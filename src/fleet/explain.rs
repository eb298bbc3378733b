//! Why the choice falls out as it does.

use std::time::Instant;

use super::exclusion::{Ask, Exclusion, exclusion};
use super::pick::{Among, Pick, tunnel_share};
use super::select::{By, Choice};
use super::snapshot::Snapshot;

/// A choice with everything that it was made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// Who is chosen and by which rule; `None`: nobody.
    pub chosen: Option<(usize, Rule)>,
    /// By [`By::Source`]: the gateway that the source belongs to, chosen or not.
    pub own: Option<usize>,
    /// Who is exactly as good as the one chosen, so that chance has decided between them.
    pub equals: Vec<usize>,
    /// Of each gateway, in the order of [`Snapshot::gateways`].
    pub accounts: Vec<Account>,
}

/// What decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The lowest load.
    LeastLoaded,
    /// Its turn.
    Turn,
    /// The source belongs to it, or comes to it next.
    Source,
    /// In failsafe mode: it is the active one.
    Active,
    /// None is available: the one that was in order last.
    LastKnownGood,
    /// None is available: any will do.
    Any,
}

impl Rule {
    /// The word used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LeastLoaded => "least-loaded",
            Self::Turn => "turn",
            Self::Source => "source",
            Self::Active => "active",
            Self::LastKnownGood => "last-known-good",
            Self::Any => "any",
        }
    }
}

/// What speaks for and against a gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct Account {
    /// Why it is left out; `None`: it is available. One that is left out may be chosen all the same: by a source that
    /// belongs to it, if it is only full, or when none is available.
    pub exclusion: Option<Exclusion>,
    /// From 1 on, among those that may be chosen: by turns, when its turn comes; else, who is next if there is no
    /// connection to those before. `None`: it may not be chosen, or comes after [`PLACES`] others.
    pub place: Option<usize>,
    /// The score of its last report, 0..1, if it has one that counts.
    pub score: Option<f64>,
    /// What it is taken to have instead: the average of the others. Only where it may be chosen.
    pub assumed_score: Option<f64>,
    /// Newcomers sent to it that no report shows yet.
    pub pending: u64,
    /// What each of them adds to its load.
    pub pending_share: f64,
    /// What it is compared by: its score, or the one assumed, and what is pending. `None`: neither is known.
    pub load: Option<f64>,
    /// It has come back, and takes part in this share of the choices.
    pub filling_share: Option<f64>,
    /// Therefore it does not take part in this one, unless nobody else is left.
    pub sits_out: bool,
    /// As many are on their way as its last report had room for: it comes after the others.
    pub is_spoken_for: bool,
}

/// How many get a place.
pub const PLACES: usize = 100;

/// Explains what [`super::select`] chooses with the same arguments and nobody tried. What is pending is read once, so that
/// the numbers agree with each other and with the choice, whatever the doors count meanwhile.
pub fn explain(snapshot: &Snapshot, ask: Ask, by: By, now: Instant, draw: u64) -> Explanation {
    let snapshot = &snapshot.at_rest();
    let pick = Pick { snapshot, ask, by, tried: &[], now, draw };
    let decided = pick.decide();
    let among = decided.map_or(Among::Available, |(among, _)| among);
    let order = order(&pick, among);
    let averaged = if among == Among::Own { Among::Available } else { among };
    let average = pick.average_score(|view| pick.is_among(averaged, view));
    let accounts = snapshot.gateways.iter().enumerate().map(|(index, view)| {
        let place = order.iter().position(|placed| *placed == index).map(|before| before + 1);
        let score = pick.score(view);
        let may_be_chosen = place.is_some() || pick.is_among(averaged, view);
        let assumed_score = (may_be_chosen && score.is_none()).then_some(average);
        let filling_share = pick.filling_share(view);
        Account {
            exclusion: exclusion(view, ask, &snapshot.balance, now),
            place,
            score,
            assumed_score,
            pending: view.pending(),
            pending_share: tunnel_share(view),
            load: score.or(assumed_score).map(|_| pick.load(view, average)),
            filling_share,
            sits_out: pick.is_held_back(&Choice { index, view }),
            is_spoken_for: pick.is_spoken_for(view),
        }
    });
    let accounts: Vec<_> = accounts.collect();
    let chosen = decided.map(|(among, choice)| (choice.index, pick.rule(among)));
    Explanation { own: pick.home_of_source(), equals: equals(&accounts, chosen, &pick), chosen, accounts }
}

/// Who gets which place, best first.
fn order(pick: &Pick<'_, '_>, among: Among) -> Vec<usize> {
    let is_regular = |among: Among| matches!(among, Among::Own | Among::Available);
    let next = |pick: Pick<'_, '_>| {
        let (found, choice) = pick.decide()?;
        // those who would only be asked for want of better have no place beside those who are available
        (is_regular(found) == is_regular(among)).then_some(choice.index)
    };
    let mut order = Vec::new();
    if let (By::Turn(number), false) = (pick.by, pick.snapshot.balance.mode.is_failsafe()) {
        let count = pick.snapshot.gateways.len().min(PLACES) as u64;
        let turns = (0..count).map(|later| By::Turn(number.wrapping_add(later)));
        for index in turns.map_while(|by| next(Pick { by, ..*pick })) {
            if !order.contains(&index) {
                order.push(index);
            }
        }
    }
    while order.len() < PLACES
        && let Some(index) = next(Pick { tried: &order, ..*pick })
    {
        order.push(index);
    }
    order
}

/// Who is as good as the one chosen, where the load decides.
fn equals(accounts: &[Account], chosen: Option<(usize, Rule)>, pick: &Pick<'_, '_>) -> Vec<usize> {
    let Some((chosen, rule)) = chosen else { return Vec::new() };
    let by_load = matches!(rule, Rule::LeastLoaded | Rule::Any) && pick.by == By::Load;
    let Some(best) = accounts.get(chosen).filter(|_| by_load && !pick.snapshot.balance.mode.is_failsafe())
    else {
        return Vec::new();
    };
    let is_equal = |account: &Account| {
        account.place.is_some()
            && account.exclusion == best.exclusion
            && account.load == best.load
            && account.sits_out == best.sits_out
            && account.is_spoken_for == best.is_spoken_for
    };
    let others = accounts.iter().enumerate().filter(|(index, account)| *index != chosen && is_equal(account));
    others.map(|(index, _)| index).collect()
}

impl Pick<'_, '_> {
    fn rule(&self, among: Among) -> Rule {
        match (among, self.by) {
            (Among::LastKnownGood, _) => Rule::LastKnownGood,
            (Among::Full | Among::NotSeenYet | Among::Down, _) => Rule::Any,
            _ if self.snapshot.balance.mode.is_failsafe() => Rule::Active,
            (Among::Own | Among::Available, By::Load) => Rule::LeastLoaded,
            (Among::Own | Among::Available, By::Turn(_)) => Rule::Turn,
            (Among::Own | Among::Available, By::Source(_)) => Rule::Source,
        }
    }

    fn home_of_source(&self) -> Option<usize> {
        self.own(|view| self.ask.misfit(&view.gateway).is_none()).map(|choice| choice.index)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Duration;

    use super::super::select::tests::{Farm, SSL};
    use super::*;
    use crate::fleet::{Balance, BalanceMode, FleetSettings, Vpn, VpnMode, VrrpId, WhenNone, select};
    use crate::fleet::{Roster, Thresholds, Weights};

    fn of(farm: &mut Farm, by: By) -> Explanation {
        explain(&farm.roster.snapshot(), SSL, by, farm.now().instant, 7)
    }

    fn chosen(explanation: &Explanation) -> Option<usize> {
        explanation.chosen.map(|(index, _)| index)
    }

    /// A farm in which anything may have happened.
    fn random_farm(random: &mut fastrand::Rng) -> Farm {
        let count = random.usize(1..=6);
        let rules = [WhenNone::Refuse, WhenNone::LastKnownGood, WhenNone::Any];
        let modes = [VpnMode::Both, VpnMode::Both, VpnMode::Ssl, VpnMode::Native];
        let defined: Vec<_> =
            (0..count).map(|_| (modes[random.usize(..4)], VrrpId::new(random.i64(31..=32)))).collect();
        let mut farm =
            Farm::with(count, rules[random.usize(..3)], |i, g| (g.vpn_mode, g.vrrp_id) = defined[i]);
        if random.u8(..4) == 0 {
            let snapshot = farm.roster.snapshot();
            let mode = BalanceMode::Failsafe { failback: random.bool() };
            let settings = FleetSettings {
                gateways: snapshot.gateways.iter().map(|view| view.gateway.clone()).collect(),
                thresholds: Thresholds { rise: 1.try_into().unwrap(), fall: 1.try_into().unwrap() },
                weights: Weights::default(),
                balance: Balance { mode, ..snapshot.balance },
            };
            farm.roster = Roster::new(settings, farm.now());
        }
        for _ in 0..random.usize(..20) {
            farm.passes(Duration::from_millis(random.u64(..4000)));
            let i = random.usize(..count);
            let name = farm.roster.snapshot().gateways[i].gateway.name.clone();
            let now = farm.now();
            match random.u8(..10) {
                0 | 1 => drop(farm.fails(i)),
                2 => drop(farm.roster.drain(&name, "", "uid 0", now)),
                3 => drop(farm.roster.resume(&name, now)),
                4 => farm.fence(i),
                5 => (0..random.u8(..50)).for_each(|_| farm.roster.snapshot().gateways[i].assigned.add()),
                // few different ones, so that some are equal
                _ => farm.reports_tunnels(i, [0, 300, 300, 960, 1000][random.usize(..5)]),
            }
        }
        farm.roster.decide(farm.now());
        farm
    }

    #[test]
    fn what_is_explained_is_what_would_be_chosen() {
        let mut random = fastrand::Rng::with_seed(20_260_502);
        let (mut somebody, mut nobody, mut rules) = (0, 0, Vec::new());
        for round in 0..4000 {
            let mut farm = random_farm(&mut random);
            let (snapshot, now, draw) = (farm.roster.snapshot(), farm.now().instant, random.u64(..));
            let ask = Ask {
                vrrp_id: VrrpId::new(random.i64(29..=32)).filter(|id| id.get() > 30),
                vpn: if random.bool() { Vpn::Ssl } else { Vpn::Native },
            };
            let source = IpAddr::V4(Ipv4Addr::from_bits(random.u32(..)));
            for by in [By::Load, By::Turn(random.u64(..)), By::Source(source)] {
                let explained = explain(&snapshot, ask, by, now, draw);
                let said = format!("round {round}, {by:?}, {explained:?}");
                let select = |tried: &[usize], by| select(&snapshot, ask, by, tried, now, draw).ok();
                let choice = select(&[], by).map(|choice| choice.index);
                assert_eq!(chosen(&explained), choice, "{said}");
                let first = explained.accounts.iter().position(|account| account.place == Some(1));
                assert_eq!(first, choice, "{said}");
                let Some((index, rule)) = explained.chosen else {
                    nobody += 1;
                    assert!(explained.accounts.iter().all(|account| account.exclusion.is_some()), "{said}");
                    continue;
                };
                somebody += 1;
                if !rules.contains(&rule) {
                    rules.push(rule);
                }
                let best = &explained.accounts[index];
                if best.exclusion.is_some() {
                    let may = matches!(rule, Rule::LastKnownGood | Rule::Any | Rule::Source | Rule::Active);
                    assert!(may, "{said}");
                }
                if rule == Rule::LeastLoaded {
                    let key = |account: &Account| (account.is_spoken_for, account.sits_out);
                    for other in explained.accounts.iter().filter(|account| account.exclusion.is_none()) {
                        assert!(key(best) <= key(other), "{said}");
                        assert!(key(best) < key(other) || best.load <= other.load, "{said}");
                    }
                }
                for account in &explained.accounts {
                    let Some(load) = account.load else { continue };
                    let made_of = account.score.or(account.assumed_score).unwrap()
                        + account.pending as f64 * account.pending_share;
                    assert_eq!(load, made_of, "{said}");
                }
                if !matches!(by, By::Turn(_)) {
                    let mut tried = vec![index];
                    for place in 2.. {
                        let at = |account: &Account| account.place == Some(place);
                        let Some(next) = explained.accounts.iter().position(at) else { break };
                        assert_eq!(select(&tried, by).map(|choice| choice.index), Some(next), "{said}");
                        tried.push(next);
                    }
                }
            }
        }
        assert!(somebody > 5000 && nobody > 500, "{somebody} {nobody}");
        assert_eq!(rules.len(), 6, "{rules:?}");
    }

    #[test]
    fn the_order_is_that_of_the_loads_with_what_is_pending() {
        let mut farm = Farm::with(3, WhenNone::Refuse, |_, _| {});
        farm.tunnels(&[300, 100, 200]);
        let snapshot = farm.roster.snapshot();
        (0..150).for_each(|_| snapshot.gateways[1].assigned.add());
        let explained = of(&mut farm, By::Load);
        assert_eq!(explained.chosen, Some((2, Rule::LeastLoaded)));
        let places: Vec<_> = explained.accounts.iter().map(|account| account.place).collect();
        assert_eq!(places, [Some(3), Some(2), Some(1)]);
        let second = &explained.accounts[1];
        assert_eq!((second.score, second.pending, second.pending_share), (Some(0.1), 150, 0.001));
        assert_eq!(second.load, Some(0.25));
    }

    #[test]
    fn who_has_no_score_is_taken_to_have_the_average() {
        let mut farm = Farm::with(3, WhenNone::Refuse, |_, _| {});
        farm.tunnels(&[300, 100]);
        let now = farm.now();
        let name = farm.roster.snapshot().gateways[2].gateway.name.clone();
        farm.roster.observe(&name, crate::fleet::Observation::default(), now);
        let account = of(&mut farm, By::Load).accounts.remove(2);
        assert_eq!((account.score, account.assumed_score, account.load), (None, Some(0.2), Some(0.2)));
        farm.fails(2);
        let account = of(&mut farm, By::Load).accounts.remove(2);
        assert_eq!((account.exclusion, account.place), (Some(Exclusion::Down), None));
        assert_eq!(
            (account.assumed_score, account.load),
            (None, None),
            "nothing is assumed of who is left out"
        );
    }

    #[test]
    fn those_whose_turn_comes_next_are_next() {
        let mut farm = Farm::with(4, WhenNone::Refuse, |_, _| {});
        farm.tunnels(&[0, 900, 0, 0]).fails(2);
        let explained = of(&mut farm, By::Turn(4));
        assert_eq!(explained.chosen, Some((1, Rule::Turn)));
        let places: Vec<_> = explained.accounts.iter().map(|account| account.place).collect();
        assert_eq!(places, [Some(3), Some(1), None, Some(2)]);
    }

    #[test]
    fn that_chance_decides_between_equals_is_told() {
        let mut farm = Farm::with(3, WhenNone::Refuse, |_, _| {});
        farm.tunnels(&[5, 5, 80]);
        let explained = of(&mut farm, By::Load);
        let winner = chosen(&explained).unwrap();
        assert_eq!(explained.equals, [1 - winner]);
        assert!(of(&mut farm, By::Turn(0)).equals.is_empty());
        assert!(of(farm.tunnels(&[5, 6, 80]), By::Load).equals.is_empty());
    }

    #[test]
    fn a_gateway_that_fills_up_tells_its_share_and_whether_it_takes_part() {
        let mut farm = Farm::with(2, WhenNone::Refuse, |_, _| {});
        farm.tunnels(&[500, 0]).fails(1).tunnels(&[500, 0]);
        farm.passes(Duration::from_secs(9));
        farm.tunnels(&[500, 0]);
        let (snapshot, now) = (farm.roster.snapshot(), farm.now().instant);
        let mut took_part = 0;
        for draw in 0..1000 {
            let explained = explain(&snapshot, SSL, By::Load, now, draw);
            let account = &explained.accounts[1];
            assert!((account.filling_share.unwrap() - 0.3).abs() < 1e-9);
            assert_eq!(chosen(&explained) == Some(0), account.sits_out);
            took_part += u32::from(!account.sits_out);
        }
        assert!((250..=350).contains(&took_part), "{took_part}");
    }

    #[test]
    fn the_gateway_that_a_source_belongs_to_is_told_though_it_cannot_be_chosen() {
        let by = By::Source(Ipv4Addr::new(192, 0, 2, 1).into());
        let mut farm = Farm::with(3, WhenNone::Refuse, |_, _| {});
        let explained = of(farm.tunnels(&[0, 0, 0]), by);
        let own = explained.own.unwrap();
        assert_eq!(explained.chosen, Some((own, Rule::Source)));
        let full: Vec<_> = (0..3).map(|i| if i == own { 1000 } else { 0 }).collect();
        let explained = of(farm.tunnels(&full), by);
        assert_eq!((chosen(&explained), explained.accounts[own].place), (Some(own), Some(1)));
        assert_eq!(explained.accounts[own].exclusion, Some(Exclusion::OutOfTunnels));
        let explained = of(farm.fails(own), by);
        assert_eq!(explained.own, Some(own));
        assert_ne!(chosen(&explained), Some(own));
    }
}
