//! How a choice comes about, step by step.

use std::net::IpAddr;
use std::time::Instant;

use super::balance::WhenNone;
use super::exclusion::{Ask, Exclusion, exclusion};
use super::failsafe::Role;
use super::load::NOMINAL_TUNNELS;
use super::rendezvous;
use super::select::{By, Choice};
use super::snapshot::{GatewayView, Snapshot};

/// All that a choice depends on.
#[derive(Clone, Copy)]
pub struct Pick<'a, 't> {
    pub snapshot: &'a Snapshot,
    pub ask: Ask,
    pub by: By,
    /// Places of gateways that are left out.
    pub tried: &'t [usize],
    pub now: Instant,
    /// A random number.
    pub draw: u64,
}

/// Among whom it is chosen. The first of these with anybody in it decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Among {
    /// The one that the source belongs to.
    Own,
    /// Those that are available.
    Available,
    /// Those that were in order once.
    LastKnownGood,
    /// Those that work and have no room.
    Full,
    /// Those that nothing is known of.
    NotSeenYet,
    /// Those that do not work.
    Down,
}

impl Among {
    fn all(when_none: WhenNone) -> &'static [Self] {
        match when_none {
            WhenNone::Refuse => &[Self::Own, Self::Available],
            WhenNone::LastKnownGood => &[Self::Own, Self::Available, Self::LastKnownGood],
            // the one with the best prospects: full before not seen yet, that before down
            WhenNone::Any => &[Self::Own, Self::Available, Self::Full, Self::NotSeenYet, Self::Down],
        }
    }
}

impl<'a> Pick<'a, '_> {
    /// The choice, and among whom it was made.
    pub fn decide(&self) -> Option<(Among, Choice<'a>)> {
        let all = Among::all(self.snapshot.balance.when_none).iter();
        all.copied().find_map(|among| Some((among, self.one_among(among)?)))
    }

    fn one_among(&self, among: Among) -> Option<Choice<'a>> {
        match among {
            Among::Own => {
                let own = self.own(|view| self.ask.misfit(&view.gateway).is_none());
                own.filter(|choice| self.is_among(among, choice.view))
            }
            Among::LastKnownGood => self.last_known_good(|view| self.is_among(among, view)),
            Among::Available | Among::Full | Among::NotSeenYet | Among::Down => {
                self.one_of(|view| self.is_among(among, view))
            }
        }
    }

    /// Whether its state allows that it is chosen among those.
    pub fn is_among(&self, among: Among, view: &GatewayView) -> bool {
        let excluded = || exclusion(view, self.ask, &self.snapshot.balance, self.now);
        // one that would refuse him is no help to anybody
        let for_want_of_better = || if self.is_fenced(view) { Some(Exclusion::Fenced) } else { excluded() };
        match among {
            Among::Own => excluded().is_none_or(Exclusion::is_full),
            Among::Available => excluded().is_none(),
            Among::LastKnownGood => for_want_of_better().is_some_and(may_be_overruled),
            Among::Full => for_want_of_better().is_some_and(Exclusion::is_full),
            Among::NotSeenYet => for_want_of_better() == Some(Exclusion::NotSeenYet),
            Among::Down => for_want_of_better() == Some(Exclusion::Down),
        }
    }

    fn is_fenced(&self, view: &GatewayView) -> bool {
        view.is_fenced(self.now, self.snapshot.balance.stale_after)
    }

    fn candidates(&self, fits: impl Fn(&GatewayView) -> bool) -> impl Iterator<Item = Choice<'a>> {
        let views = self.snapshot.gateways.iter().enumerate();
        let untried = views.filter(|(index, _)| !self.tried.contains(index));
        untried.map(|(index, view)| Choice { index, view }).filter(move |c| fits(c.view))
    }

    fn one_of(&self, fits: impl Fn(&GatewayView) -> bool) -> Option<Choice<'a>> {
        if self.snapshot.balance.mode.is_failsafe() {
            return self.first(fits);
        }
        match self.by {
            By::Load => self.least_loaded(fits),
            By::Turn(number) => self.in_turn(number, fits),
            By::Source(client) => self.home(client, fits),
        }
    }

    /// The gateway that the source belongs to when all work, unless it was tried.
    pub fn own(&self, fits: impl Fn(&GatewayView) -> bool) -> Option<Choice<'a>> {
        let By::Source(client) = self.by else { return None };
        let everyone = Self { tried: &[], ..*self };
        if self.snapshot.balance.mode.is_failsafe() {
            let active = |view: &GatewayView| view.role == Some(Role::Active) && fits(view);
            return everyone.first(active).filter(|c| !self.tried.contains(&c.index));
        }
        everyone.home(client, fits).filter(|c| !self.tried.contains(&c.index))
    }

    /// In failsafe mode: who is active goes before who is not; of equals, the group that comes first in the
    /// configuration, and in it who does.
    fn first(&self, fits: impl Fn(&GatewayView) -> bool) -> Option<Choice<'a>> {
        self.candidates(fits).min_by_key(|c| {
            let in_group = |view: &GatewayView| view.gateway.vrrp_id == c.view.gateway.vrrp_id;
            let group = self.snapshot.gateways.iter().position(|view| in_group(view));
            (c.view.role != Some(Role::Active), group, c.index)
        })
    }

    fn least_loaded(&self, fits: impl Fn(&GatewayView) -> bool) -> Option<Choice<'a>> {
        let average = self.average_score(&fits);
        self.candidates(fits)
            .map(|c| (self.rank(&c), self.load(c.view, average), self.chance(c.index), c))
            .min_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2)))
            .map(|(.., choice)| choice)
    }

    fn in_turn(&self, number: u64, fits: impl Fn(&GatewayView) -> bool) -> Option<Choice<'a>> {
        let best = self.candidates(&fits).map(|c| self.rank(&c)).min()?;
        let equals = || self.candidates(&fits).filter(|c| self.rank(c) == best);
        let place = number % (equals().count() as u64).max(1);
        // Other doors count up what is pending in the meantime, and ranks move with that: whom they leave
        // at no place still finds somebody.
        equals().nth(usize::try_from(place).unwrap_or(0)).or_else(|| self.candidates(&fits).next())
    }

    fn home(&self, client: IpAddr, fits: impl Fn(&GatewayView) -> bool) -> Option<Choice<'a>> {
        self.candidates(fits).max_by_key(|c| rendezvous::weight(&c.view.gateway.name, client))
    }

    /// Those that others should be preferred to: still filling up, or full once those who are on their way
    /// arrive. They stay the last resort, for a guess must not turn a client away.
    pub fn rank(&self, choice: &Choice<'_>) -> u8 {
        u8::from(self.is_held_back(choice)) + 2 * u8::from(self.is_spoken_for(choice.view))
    }

    fn last_known_good(&self, fits: impl Fn(&GatewayView) -> bool) -> Option<Choice<'a>> {
        if self.snapshot.balance.mode.is_failsafe() {
            // who was active last was in order last
            return self.first(|view| view.last_good.is_some() && fits(view));
        }
        self.candidates(fits)
            .filter_map(|c| Some((c.view.last_good?.instant, c)))
            .max_by_key(|(good, _)| *good)
            .map(|(_, choice)| choice)
    }

    /// By its last report, if that counts.
    pub fn score(&self, view: &GatewayView) -> Option<f64> {
        view.fresh_load(self.now, self.snapshot.balance.stale_after)?.score.total
    }

    /// What one that has no score is taken to have.
    pub fn average_score(&self, fits: impl Fn(&GatewayView) -> bool) -> f64 {
        let known = self.candidates(fits).filter_map(|c| self.score(c.view));
        let (sum, count) = known.fold((0.0, 0u32), |(sum, count), score| (sum + score, count + 1));
        if count == 0 { 0.0 } else { sum / f64::from(count) }
    }

    /// What it is compared by.
    pub fn load(&self, view: &GatewayView, average: f64) -> f64 {
        self.score(view).unwrap_or(average) + view.pending() as f64 * tunnel_share(view)
    }

    /// Whether as many are on their way as the last report had room for.
    pub fn is_spoken_for(&self, view: &GatewayView) -> bool {
        view.fresh_load(self.now, self.snapshot.balance.stale_after)
            .and_then(|reading| reading.load.room())
            .is_some_and(|room| view.pending() >= room)
    }

    /// Whether a gateway that has come back sits this one out: its share grows over `slow_start`.
    pub fn is_held_back(&self, choice: &Choice<'_>) -> bool {
        let chance = self.chance(choice.index) as f64 / u64::MAX as f64;
        self.filling_share(choice.view).is_some_and(|share| chance >= share)
    }

    /// In which share of the choices a gateway that has come back takes part; `None`: in all.
    pub fn filling_share(&self, view: &GatewayView) -> Option<f64> {
        let since = view.filling_since?;
        let slow_start = self.snapshot.balance.slow_start;
        let elapsed = self.now.saturating_duration_since(since);
        (elapsed < slow_start).then(|| (elapsed.as_secs_f64() / slow_start.as_secs_f64()).max(FIRST_SHARE))
    }

    /// A random number of its own for each gateway, made from the one draw.
    fn chance(&self, index: usize) -> u64 {
        rendezvous::mix(self.draw ^ rendezvous::mix(index as u64))
    }
}

/// What each pending assignment adds to its load.
pub fn tunnel_share(view: &GatewayView) -> f64 {
    view.load.as_ref().map_or(1.0 / NOMINAL_TUNNELS as f64, |reading| reading.score.tunnel_share)
}

/// Whether a gateway left out for this reason may be named when nobody else can be. Who does not fit, and
/// who has been taken out on purpose, may not.
fn may_be_overruled(exclusion: Exclusion) -> bool {
    match exclusion {
        Exclusion::OtherVrrpId
        | Exclusion::VpnMode
        | Exclusion::Draining
        | Exclusion::Fenced
        | Exclusion::Standby => false,
        Exclusion::NotSeenYet | Exclusion::Down | Exclusion::OutOfTunnels | Exclusion::OutOfAddresses => true,
    }
}

/// The share of the choices that a gateway takes part in the moment it comes back.
const FIRST_SHARE: f64 = 0.05;
