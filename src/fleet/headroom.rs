use std::time::Instant;

use super::balance::Balance;
use super::exclusion::{Ask, Exclusion, exclusion};
use super::failsafe::{Role, takes_part};
use super::gateway::Vpn;
use super::health::Condition;
use super::snapshot::{GatewayView, Snapshot};

/// Whether the rest could take a gateway's tunnels if it failed now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headroom {
    /// Tunnels that would look for another gateway: those of its last report, and whoever is on the way to it.
    pub tunnels: u64,
    /// Tunnels that the rest have room for. At least so many: of some of the rest it may not be known, where that of
    /// the others is enough.
    pub room: u64,
    /// Who would take them, as places of [`Snapshot::gateways`]; they may be full.
    pub heirs: Vec<usize>,
}

/// Why there is no telling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoTelling {
    /// The question makes no sense: nobody is ever sent to it, or it is down, and its tunnels are gone already.
    Moot,
    /// It has not had a good round yet.
    NotSeenYet,
    /// No report that counts tells how many tunnels it has.
    Tunnels,
    /// What room is known of is not enough, and no report that counts tells that of these: places of
    /// [`Snapshot::gateways`].
    Room(Vec<usize>),
}

impl Headroom {
    /// Whether everybody would find a place; where nobody is left, not even newcomers would.
    pub fn is_enough(&self) -> bool {
        !self.heirs.is_empty() && self.room >= self.tunnels
    }

    /// Places that would be left; below 0: so many would find none.
    pub fn left(&self) -> i64 {
        let clamped = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        clamped(self.room).saturating_sub(clamped(self.tunnels))
    }
}

/// Whether the rest could take the tunnels of the gateway at that place of [`Snapshot::gateways`] if it failed now.
///
/// Who drains, or is fenced, has its tunnels still: they are asked about as well. The rest: the gateways with the same
/// VRRP ID that offer every kind of VPN that this one does, and could be sent newcomers to but for a lack of room. In
/// failsafe mode that is one gateway alone: the active one, or if that fails the first one in the configuration that
/// can be.
pub fn headroom(snapshot: &Snapshot, index: usize, now: Instant) -> Result<Headroom, NoTelling> {
    let farm = Farm { snapshot, now };
    let view = snapshot.gateways.get(index).filter(|view| takes_part(view)).ok_or(NoTelling::Moot)?;
    match view.health.condition {
        Condition::Up => {}
        Condition::Unknown => return Err(NoTelling::NotSeenYet),
        Condition::Down => return Err(NoTelling::Moot),
    }
    let tunnels = farm.tunnels(view).ok_or(NoTelling::Tunnels)?;
    let heirs = if snapshot.balance.mode.is_failsafe() { farm.successor(index) } else { farm.rest(index) };
    let (mut room, mut unknown) = (0_u64, Vec::new());
    for &heir in &heirs {
        match snapshot.gateways.get(heir).and_then(|view| farm.room(view)) {
            Some(more) => room = room.saturating_add(more),
            None => unknown.push(heir),
        }
    }
    let headroom = Headroom { tunnels, room, heirs };
    if headroom.is_enough() || unknown.is_empty() { Ok(headroom) } else { Err(NoTelling::Room(unknown)) }
}

struct Farm<'a> {
    snapshot: &'a Snapshot,
    now: Instant,
}

impl Farm<'_> {
    fn balance(&self) -> &Balance {
        &self.snapshot.balance
    }

    fn tunnels(&self, view: &GatewayView) -> Option<u64> {
        let reading = view.fresh_load(self.now, self.balance().stale_after)?;
        Some(reading.load.tunnels?.saturating_add(view.pending()))
    }

    fn room(&self, view: &GatewayView) -> Option<u64> {
        let reading = view.fresh_load(self.now, self.balance().stale_after)?;
        Some(reading.load.room()?.saturating_sub(view.pending()))
    }

    /// The others that could take everybody who is at that gateway.
    fn rest(&self, index: usize) -> Vec<usize> {
        let others = self.others(index);
        others.filter(|(_, other, failing)| self.could_take(other, failing)).map(|(i, ..)| i).collect()
    }

    /// The one that would be active without that gateway, if it could take everybody who is there.
    fn successor(&self, index: usize) -> Vec<usize> {
        let fit = self.others(index).filter(|(_, other, _)| self.can_be_active(other));
        // the active one goes first, wherever it stands
        let next = fit.min_by_key(|(i, other, _)| (other.role != Some(Role::Active), *i));
        let next = next.filter(|(_, other, failing)| self.could_take(other, failing));
        next.map(|(i, ..)| i).into_iter().collect()
    }

    /// Those with its VRRP ID, each with it.
    fn others(&self, index: usize) -> impl Iterator<Item = (usize, &GatewayView, &GatewayView)> {
        let failing = self.snapshot.gateways.get(index);
        let others = self.snapshot.gateways.iter().enumerate().filter(move |(i, _)| *i != index);
        others
            .filter_map(move |(i, other)| Some((i, other.as_ref(), failing?.as_ref())))
            .filter(|(_, other, failing)| other.gateway.vrrp_id == failing.gateway.vrrp_id)
    }

    fn could_take(&self, other: &GatewayView, failing: &GatewayView) -> bool {
        let kinds = [Vpn::Native, Vpn::Ssl].into_iter().filter(|vpn| failing.gateway.vpn_mode.offers(*vpn));
        kinds.into_iter().all(|vpn| self.would_take(other, vpn))
    }

    fn can_be_active(&self, other: &GatewayView) -> bool {
        // what it offers plays no part there
        [Vpn::Native, Vpn::Ssl].into_iter().any(|vpn| self.would_take(other, vpn))
    }

    /// Whether newcomers would be sent to it, but for a lack of room.
    fn would_take(&self, view: &GatewayView, vpn: Vpn) -> bool {
        match exclusion(view, Ask { vrrp_id: None, vpn }, self.balance(), self.now) {
            None | Some(Exclusion::Standby | Exclusion::OutOfTunnels | Exclusion::OutOfAddresses) => true,
            Some(
                Exclusion::OtherVrrpId
                | Exclusion::VpnMode
                | Exclusion::Draining
                | Exclusion::NotSeenYet
                | Exclusion::Down
                | Exclusion::Fenced,
            ) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::sync::Arc;
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::fleet::{
        BalanceMode, CheckOutcome, CheckResult, FleetSettings, Gateway, GatewayName, Load, LocalBlock,
        Moment, Observation, Roster, Service, ServiceReport, Thresholds, VpnMode, VrrpId, Weights,
    };

    /// Gateways gw0, gw1 …, each with room for 1000 tunnels, and a clock.
    struct House {
        roster: Roster,
        now: Moment,
    }

    impl House {
        fn new(tunnels: &[u64]) -> Self {
            Self::with(tunnels, BalanceMode::LoadBalancing, |_, _| {})
        }

        fn with(tunnels: &[u64], mode: BalanceMode, define: impl Fn(usize, &mut Gateway)) -> Self {
            let gateways = (0..tunnels.len()).map(|i| {
                let mut gateway =
                    Gateway { tunnels_max: Some(1000), ..Gateway::plain(&format!("gw{i}"), "192.0.2.1") };
                define(i, &mut gateway);
                Arc::new(gateway)
            });
            let settings = FleetSettings {
                gateways: gateways.collect(),
                thresholds: Thresholds { rise: NonZeroU32::MIN, fall: NonZeroU32::MIN },
                weights: Weights::default(),
                balance: Balance { mode, ..Balance::default() },
            };
            let now = Moment { instant: Instant::now(), wall: SystemTime::UNIX_EPOCH };
            let mut house = Self { roster: Roster::new(settings, now), now };
            for (i, count) in tunnels.iter().enumerate() {
                house.tells(i, Load { tunnels: Some(*count), ..Load::default() });
            }
            house
        }

        fn name(i: usize) -> GatewayName {
            GatewayName::new(&format!("gw{i}"))
        }

        fn tells(&mut self, i: usize, load: Load) {
            let checks = vec![CheckResult {
                check: "portal".into(),
                outcome: CheckOutcome::Pass("200 OK".into()),
                took: Duration::ZERO,
            }];
            let report = Some(ServiceReport { service: Service::Up, load, fence: None });
            self.roster.observe(&Self::name(i), Observation { checks, report, asked: None }, self.now);
        }

        fn fails(&mut self, i: usize) -> &mut Self {
            let outcome = CheckOutcome::Fail("connection refused".into());
            let checks = vec![CheckResult { check: "portal".into(), outcome, took: Duration::ZERO }];
            let observation = Observation { checks, report: None, asked: None };
            self.roster.observe(&Self::name(i), observation, self.now);
            self
        }

        fn drain(&mut self, i: usize) -> &mut Self {
            self.roster.drain(&Self::name(i), "new kernel", "uid 0", self.now).unwrap();
            self
        }

        fn fence(&mut self, i: usize) -> &mut Self {
            let until = self.now.instant + Duration::from_secs(15);
            let block = LocalBlock { by: "front-a".into(), reason: "refused".into(), until };
            self.roster.set_local_block(&Self::name(i), Some(block));
            self
        }

        fn ask(&mut self, i: usize) -> Result<Headroom, NoTelling> {
            self.roster.decide(self.now);
            headroom(&self.roster.snapshot(), i, self.now.instant)
        }

        /// Tunnels and room.
        fn figures(&mut self, i: usize) -> Result<(u64, u64), NoTelling> {
            self.ask(i).map(|headroom| (headroom.tunnels, headroom.room))
        }
    }

    #[test]
    fn the_others_are_enough_or_so_many_find_no_place() {
        let mut house = House::new(&[400, 900, 700]);
        let room = house.ask(0).unwrap();
        assert_eq!(room, Headroom { tunnels: 400, room: 400, heirs: vec![1, 2] });
        assert_eq!((room.is_enough(), room.left()), (true, 0));
        let short = House::new(&[401, 900, 700]).ask(0).unwrap();
        assert_eq!((short.is_enough(), short.left()), (false, -1));
        assert_eq!(house.ask(3), Err(NoTelling::Moot), "there is none");
    }

    #[test]
    fn who_is_on_the_way_needs_a_place_and_takes_one() {
        let mut house = House::new(&[400, 900]);
        let snapshot = house.roster.snapshot();
        (0..7).for_each(|_| snapshot.gateways[0].assigned.add());
        (0..30).for_each(|_| snapshot.gateways[1].assigned.add());
        assert_eq!(house.figures(0), Ok((407, 70)));
        (0..100).for_each(|_| snapshot.gateways[1].assigned.add());
        assert_eq!(house.figures(0), Ok((407, 0)), "never less than none");
    }

    #[test]
    fn a_gateway_that_is_down_has_no_tunnels_and_takes_none() {
        let mut house = House::new(&[400, 300, 200]);
        house.fails(1);
        assert_eq!(house.figures(1), Err(NoTelling::Moot));
        assert_eq!(house.figures(0), Ok((400, 800)));
    }

    #[test]
    fn who_drains_or_is_fenced_keeps_its_tunnels_and_takes_no_others() {
        for out in [House::drain, House::fence] {
            let mut house = House::new(&[400, 300, 200]);
            out(&mut house, 1);
            assert_eq!(house.figures(1), Ok((300, 1400)));
            assert_eq!(house.figures(0), Ok((400, 800)));
            house.fails(2);
            let alone = house.ask(0).unwrap();
            assert_eq!((alone.room, &alone.heirs, alone.is_enough()), (0, &vec![], false));
        }
    }

    #[test]
    fn only_those_count_that_its_clients_may_be_sent_to() {
        let mut house = House::with(&[100; 6], BalanceMode::LoadBalancing, |i, gateway| {
            gateway.vrrp_id = VrrpId::new([31, 31, 31, 31, 32, 31][i]);
            gateway.vpn_mode = [
                VpnMode::Both,
                VpnMode::Both,
                VpnMode::Ssl,
                VpnMode::Native,
                VpnMode::Both,
                VpnMode::VrrpOnly,
            ][i];
        });
        let heirs = (0..6).map(|i| house.ask(i).map(|headroom| headroom.heirs)).collect::<Vec<_>>();
        assert_eq!(
            heirs,
            [Ok(vec![1]), Ok(vec![0]), Ok(vec![0, 1]), Ok(vec![0, 1]), Ok(vec![]), Err(NoTelling::Moot)]
        );
    }

    #[test]
    fn what_is_not_known_is_not_guessed_but_where_the_rest_is_enough_anyway() {
        let sized = |i: usize, gateway: &mut Gateway| {
            if i == 2 {
                gateway.tunnels_max = None;
            }
        };
        let mut house = House::with(&[400, 300, 200], BalanceMode::LoadBalancing, sized);
        assert_eq!(house.figures(0), Ok((400, 700)), "gw1 alone is enough");
        house.tells(1, Load { tunnels: Some(700), ..Load::default() });
        assert_eq!(house.figures(0), Err(NoTelling::Room(vec![2])));
        house.tells(0, Load { cpu_ratio: Some(0.5), ..Load::default() });
        assert_eq!(house.figures(0), Err(NoTelling::Tunnels));
        // reports that are too old tell nothing
        let mut house = House::new(&[400, 300]);
        house.now.instant += Duration::from_secs(60);
        assert_eq!(house.figures(0), Err(NoTelling::Tunnels));
        house.tells(0, Load { tunnels: Some(400), ..Load::default() });
        assert_eq!(house.figures(0), Err(NoTelling::Room(vec![1])));
    }

    #[test]
    fn pool_addresses_are_room_as_well() {
        let mut house = House::new(&[400, 0]);
        let pool = Load { tunnels: Some(10), pool_used: Some(10), pool_size: Some(254), ..Load::default() };
        house.tells(1, pool);
        assert_eq!(house.figures(0), Ok((400, 244)));
    }

    #[test]
    fn before_the_first_good_round_there_is_no_telling() {
        let mut house = House::new(&[]);
        let settings = FleetSettings {
            gateways: vec![Arc::new(Gateway::plain("gw0", "192.0.2.1"))],
            thresholds: Thresholds::default(),
            weights: Weights::default(),
            balance: Balance::default(),
        };
        house.roster = Roster::new(settings, house.now);
        assert_eq!(house.figures(0), Err(NoTelling::NotSeenYet));
    }

    #[test]
    fn in_failsafe_mode_one_takes_over_and_no_other_helps_it() {
        for failback in [true, false] {
            let mode = BalanceMode::Failsafe { failback };
            let mut house = House::with(&[400, 900, 0], mode, |_, _| {});
            let heirs = |house: &mut House, i| house.ask(i).map(|h| (h.tunnels, h.room, h.heirs));
            assert_eq!(heirs(&mut house, 0), Ok((400, 100, vec![1])), "gw2 is not its turn");
            // what is left on a standby comes to the active one
            assert_eq!(heirs(&mut house, 1), Ok((900, 600, vec![0])));
            house.fails(0);
            assert_eq!(heirs(&mut house, 1), Ok((900, 1000, vec![2])));
            house.tells(0, Load { tunnels: Some(0), ..Load::default() });
            // gw1 is active still without failback, though gw0 comes before it
            let active = if failback { 0 } else { 1 };
            assert_eq!(heirs(&mut house, 2).unwrap().2, [active]);
            house.fails(1).fails(2);
            assert_eq!(heirs(&mut house, 0), Ok((0, 0, vec![])));
            assert!(!house.ask(0).unwrap().is_enough(), "no tunnels, but nobody for newcomers either");
        }
    }

    #[test]
    fn in_failsafe_mode_one_that_takes_over_without_offering_the_same_takes_nobody() {
        let mode = BalanceMode::Failsafe { failback: true };
        let mut house = House::with(&[400, 0, 0], mode, |i, gateway| {
            if i == 1 {
                gateway.vpn_mode = VpnMode::Native;
            }
        });
        assert_eq!(house.figures(0), Ok((400, 0)));
    }
}
