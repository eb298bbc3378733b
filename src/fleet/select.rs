//! The one choice that every door makes.

use std::net::IpAddr;
use std::time::Instant;

use super::exclusion::Ask;
use super::pick::Pick;
use super::snapshot::{GatewayView, Snapshot};

/// How to choose among those that may be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The lowest load.
    Load,
    /// Their turn: the number of this choice.
    Turn(u64),
    /// The client's address: the same one leads to the same gateway as long as that may be chosen.
    Source(IpAddr),
}

/// The gateway chosen.
#[derive(Clone, Copy, Debug)]
pub struct Choice<'a> {
    /// Its place in [`Snapshot::gateways`].
    pub index: usize,
    /// The gateway.
    pub view: &'a GatewayView,
}

/// No gateway can be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no gateway is available")]
pub struct NoGateway;

/// Chooses an available gateway that has not been `tried`: those places of [`Snapshot::gateways`] are left
/// out, whatever the rule for when none is available says.
///
/// [`By::Load`]: a gateway's load is its score plus its pending assignments, each worth one tunnel. One that
/// has no score (no agent, or a stale report) is taken to be as loaded as the others are on average. Ties are
/// decided by `draw`, a random number.
///
/// [`By::Turn`]: one after the other, in the order of the configuration.
///
/// With both, a gateway that comes back gets only part of its share at first, which `draw` decides as well,
/// and one whose last report has no room for those on their way comes after the others.
///
/// [`By::Source`]: the one that an address belongs to ([`super::rendezvous`]), whatever its load. Other
/// addresses of the same [`super::source`] lead to the same one. That it is full does not exclude it there: who
/// comes again does not count as a newcomer, his own session may be among those that fill it, and who is new
/// cannot be told from him. That it drains does exclude it, for it is to run empty, and so does that it is down;
/// of the others, which none of his sessions fills, one that has room is chosen.
///
/// In failsafe mode all of them choose the active one of the first group in the configuration that has one; whether it
/// fills up and who is on the way there play no part. That it is full does not exclude it by [`By::Source`].
///
/// This only chooses; whoever sends the client there says so with [`super::Assigned::add`].
pub fn select<'a>(
    snapshot: &'a Snapshot,
    ask: Ask,
    by: By,
    tried: &[usize],
    now: Instant,
    draw: u64,
) -> Result<Choice<'a>, NoGateway> {
    Pick { snapshot, ask, by, tried, now, draw }.decide().map(|(_, choice)| choice).ok_or(NoGateway)
}

#[cfg(test)]
pub(super) mod tests {
    use std::num::NonZeroU32;
    use std::sync::Arc;
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::fleet::{
        Balance, BalanceMode, CheckOutcome, CheckResult, Exclusion, FleetSettings, Gateway, GatewayName,
        Load, LocalBlock, Moment, Observation, Roster, Service, ServiceReport, Thresholds, Vpn, VpnMode,
        VrrpId, Weights, WhenNone, exclusion, may_return,
    };

    /// A farm of gateways named a, b, c …, all up from the start, and a clock.
    pub struct Farm {
        pub roster: Roster,
        start: Moment,
        seconds: f64,
    }

    pub const SSL: Ask = Ask { vrrp_id: None, vpn: Vpn::Ssl };

    impl Farm {
        fn new(count: usize) -> Self {
            Self::with(count, WhenNone::Refuse, |_, _| {})
        }

        pub fn with(count: usize, when_none: WhenNone, define: impl Fn(usize, &mut Gateway)) -> Self {
            let start = Moment { instant: Instant::now(), wall: SystemTime::UNIX_EPOCH };
            let gateways = (0..count)
                .map(|i| {
                    let mut gateway = Gateway {
                        tunnels_max: Some(1000),
                        ..Gateway::plain(name(i).as_str(), "gw.example.com")
                    };
                    define(i, &mut gateway);
                    Arc::new(gateway)
                })
                .collect();
            let settings = FleetSettings {
                gateways,
                thresholds: Thresholds { rise: NonZeroU32::MIN, fall: NonZeroU32::MIN },
                weights: Weights::default(),
                balance: Balance {
                    mode: BalanceMode::LoadBalancing,
                    slow_start: Duration::from_secs(30),
                    stale_after: Duration::from_secs(10),
                    when_none,
                },
            };
            Self { roster: Roster::new(settings, start), start, seconds: 0.0 }
        }

        pub fn now(&self) -> Moment {
            let after = Duration::from_secs_f64(self.seconds);
            Moment { instant: self.start.instant + after, wall: self.start.wall + after }
        }

        fn name(&mut self, i: usize) -> GatewayName {
            self.roster.snapshot().gateways[i].gateway.name.clone()
        }

        pub fn passes(&mut self, time: Duration) {
            self.seconds += time.as_secs_f64();
        }

        pub fn reports_tunnels(&mut self, i: usize, tunnels: u64) {
            self.reports(i, Load { tunnels: Some(tunnels), ..Load::default() });
        }

        fn reports(&mut self, i: usize, load: Load) {
            let report = Some(ServiceReport { service: Service::Up, load, fence: None });
            let (name, now) = (self.name(i), self.now());
            self.roster.observe(&name, Observation { checks: vec![], report, asked: None }, now);
        }

        pub fn tunnels(&mut self, tunnels: &[u64]) -> &mut Self {
            for (i, &n) in tunnels.iter().enumerate() {
                self.reports(i, Load { tunnels: Some(n), ..Load::default() });
            }
            self
        }

        pub fn fails(&mut self, i: usize) -> &mut Self {
            let outcome = CheckOutcome::Fail("connection refused".into());
            let checks = vec![CheckResult { check: "portal".into(), outcome, took: Duration::ZERO }];
            let (name, now) = (self.name(i), self.now());
            self.roster.observe(&name, Observation { checks, report: None, asked: None }, now);
            self
        }

        /// This host's firewall keeps everyone from it for 15 s.
        pub fn fence(&mut self, i: usize) {
            let until = self.now().instant + Duration::from_secs(15);
            let block = LocalBlock { by: "front-a".into(), reason: "refused".into(), until };
            let name = self.name(i);
            self.roster.set_local_block(&name, Some(block));
        }

        fn choose(&mut self, ask: Ask) -> Option<usize> {
            let now = self.now().instant;
            select(&self.roster.snapshot(), ask, By::Load, &[], now, 7).ok().map(|c| c.index)
        }

        fn choose_another(&mut self, by: By, tried: &[usize]) -> Option<usize> {
            let now = self.now().instant;
            select(&self.roster.snapshot(), SSL, by, tried, now, 7).ok().map(|c| c.index)
        }

        /// Whose turn it is, for these numbers, when nobody is tried yet.
        fn turns(&mut self, numbers: std::ops::Range<u64>) -> Vec<usize> {
            let (snapshot, now) = (self.roster.snapshot(), self.now().instant);
            let mut draws = fastrand::Rng::with_seed(1);
            let mut turn = |n| select(&snapshot, SSL, By::Turn(n), &[], now, draws.u64(..)).unwrap().index;
            numbers.map(&mut turn).collect()
        }

        /// Sends `logins` without any report in between; how many each gateway got.
        fn logins(&mut self, logins: usize) -> Vec<usize> {
            let (snapshot, now) = (self.roster.snapshot(), self.now().instant);
            let mut got = vec![0; snapshot.gateways.len()];
            let mut draws = fastrand::Rng::with_seed(1);
            for _ in 0..logins {
                let choice = select(&snapshot, SSL, By::Load, &[], now, draws.u64(..)).unwrap();
                choice.view.assigned.add();
                got[choice.index] += 1;
            }
            got
        }
    }

    fn name(i: usize) -> GatewayName {
        GatewayName::new(&char::from(b'a' + u8::try_from(i).unwrap()).to_string())
    }

    #[test]
    fn the_least_loaded_gateway_is_chosen() {
        assert_eq!(Farm::new(3).tunnels(&[300, 100, 200]).choose(SSL), Some(1));
    }

    #[test]
    fn a_burst_between_two_reports_spreads_over_equal_gateways() {
        let got = Farm::new(4).tunnels(&[100, 100, 100, 100]).logins(1000);
        assert_eq!(got.iter().sum::<usize>(), 1000);
        assert!(got.iter().all(|&n| n <= 260), "{got:?}");
    }

    #[test]
    fn a_burst_spreads_even_where_nothing_but_reachability_is_known() {
        let mut farm = Farm::new(4);
        for i in 0..4 {
            let now = farm.now();
            farm.roster.observe(&name(i), Observation::default(), now);
        }
        assert!(farm.logins(1000).iter().all(|&n| n <= 260));
    }

    #[test]
    fn a_burst_fills_the_emptier_gateway_up_to_the_others_first() {
        let got = Farm::new(2).tunnels(&[500, 300]).logins(400);
        assert_eq!(got, [100, 300]);
    }

    #[test]
    fn pending_assignments_never_make_a_gateway_unavailable() {
        // Requests are not logins: a flood of them must not close the door.
        let mut farm = Farm::new(1);
        assert_eq!(farm.tunnels(&[990]).logins(5000), [5000]);
    }

    #[test]
    fn a_gateway_whose_last_places_are_spoken_for_comes_after_one_with_room() {
        let mut farm = Farm::new(2);
        farm.reports(0, Load { tunnels: Some(998), cpu_ratio: Some(0.0), ..Load::default() });
        farm.reports(1, Load { tunnels: Some(900), cpu_ratio: Some(1.0), ..Load::default() });
        assert_eq!(farm.logins(10), [2, 8]);
    }

    #[test]
    fn a_full_gateway_is_not_available() {
        let mut farm = Farm::new(2);
        assert_eq!(farm.tunnels(&[1000, 999]).choose(SSL), Some(1));
        assert_eq!(farm.tunnels(&[1000, 1000]).choose(SSL), None);
        farm.reports(1, Load { pool_used: Some(254), pool_size: Some(254), ..Load::default() });
        assert_eq!(farm.choose(SSL), None);
        farm.reports(1, Load { pool_used: Some(253), pool_size: Some(254), ..Load::default() });
        assert_eq!(farm.choose(SSL), Some(1));
    }

    #[test]
    fn only_gateways_of_the_listeners_vrrp_id_that_offer_ssl_vpn_are_chosen() {
        let modes = [VpnMode::Native, VpnMode::VrrpOnly, VpnMode::Ssl, VpnMode::Both];
        let mut farm = Farm::with(4, WhenNone::Any, |i, g| {
            g.vpn_mode = modes[i];
            g.vrrp_id = VrrpId::new(if i == 3 { 7 } else { 31 });
        });
        farm.tunnels(&[0, 0, 500, 0]);
        let ask = |id| Ask { vrrp_id: VrrpId::new(id), vpn: Vpn::Ssl };
        assert_eq!(farm.choose(ask(31)), Some(2));
        assert_eq!(farm.choose(ask(7)), Some(3));
        assert_eq!(farm.choose(ask(8)), None);
        assert_eq!(farm.choose(SSL), Some(3));
        assert_eq!(farm.choose(Ask { vrrp_id: VrrpId::new(31), vpn: Vpn::Native }), Some(0));
    }

    #[test]
    fn a_stale_report_no_longer_counts() {
        let mut farm = Farm::new(3);
        farm.tunnels(&[1000, 400, 600]);
        farm.seconds = 5.0;
        farm.reports(1, Load { tunnels: Some(400), ..Load::default() });
        farm.reports(2, Load { tunnels: Some(600), ..Load::default() });
        assert_eq!(farm.choose(SSL), Some(1));
        farm.seconds = 10.5;
        let snapshot = farm.roster.snapshot();
        let now = farm.now().instant;
        assert_eq!(exclusion(&snapshot.gateways[0], SSL, &snapshot.balance, now), None, "no longer full");
        assert_eq!(farm.choose(SSL), Some(1), "the unknown one counts as average");
    }

    #[test]
    fn a_gateway_without_a_score_gets_its_share_and_no_more() {
        let mut farm = Farm::new(3);
        farm.tunnels(&[200, 200]);
        let now = farm.now();
        farm.roster.observe(&name(2), Observation::default(), now);
        let got = farm.logins(300);
        assert!(got.iter().all(|&n| (90..=110).contains(&n)), "{got:?}");
    }

    #[test]
    fn a_gateway_that_comes_back_is_filled_gradually() {
        let mut farm = Farm::new(2);
        farm.tunnels(&[500, 0]).fails(1);
        farm.seconds = 1.0;
        farm.tunnels(&[500, 0]);
        let mut shares = vec![];
        for seconds in [1.0, 16.0, 31.0] {
            farm.seconds = seconds;
            farm.tunnels(&[500, 0]);
            shares.push(farm.logins(200)[1]);
            farm.tunnels(&[500, 0]).tunnels(&[700, 200]);
        }
        assert!((1..=30).contains(&shares[0]), "{shares:?}");
        assert!((70..=130).contains(&shares[1]), "{shares:?}");
        assert_eq!(shares[2], 200);
    }

    #[test]
    fn a_gateway_that_comes_back_alone_gets_everyone() {
        let mut farm = Farm::new(1);
        farm.tunnels(&[0]).fails(0).tunnels(&[0]);
        assert_eq!(farm.logins(50), [50]);
    }

    #[test]
    fn when_none_is_available_the_configured_rule_decides() {
        for (rule, expected) in
            [(WhenNone::Refuse, None), (WhenNone::LastKnownGood, Some(2)), (WhenNone::Any, Some(0))]
        {
            let mut farm = Farm::with(4, rule, |_, _| {});
            for (i, seconds) in [1.0, 2.0, 4.0, 5.0].into_iter().enumerate() {
                farm.seconds = seconds;
                farm.reports(i, Load { tunnels: Some(10 * (i as u64 + 1)), ..Load::default() });
                farm.fails(i);
            }
            let now = farm.now();
            farm.roster.drain(&name(3), "service", "uid 0", now).unwrap();
            assert_eq!(farm.choose(SSL), expected, "{rule:?}; the drained one is never taken");
        }
    }

    #[test]
    fn a_gateway_that_is_up_and_fenced_gets_nobody_whatever_the_rule() {
        for when_none in [WhenNone::Refuse, WhenNone::LastKnownGood, WhenNone::Any] {
            let mut farm = Farm::with(2, when_none, |_, _| {});
            farm.tunnels(&[10, 500]);
            assert_eq!(farm.choose(SSL), Some(0), "the emptier one");
            farm.fence(0);
            assert_eq!(farm.choose(SSL), Some(1));
            farm.fence(1);
            assert_eq!(farm.choose(SSL), None, "{when_none:?}");
            farm.seconds += 16.0;
            assert!(farm.choose(SSL).is_some(), "the leases have run out");
        }
    }

    #[test]
    fn a_gateway_that_is_down_and_fenced_is_not_named_where_any_would_do() {
        let mut farm = Farm::with(2, WhenNone::Any, |_, _| {});
        farm.tunnels(&[10, 10]).fails(0).fails(1).fence(0);
        assert_eq!(farm.choose(SSL), Some(1));
    }

    #[test]
    fn a_gateway_that_is_full_goes_before_one_that_is_down_when_any_will_do() {
        let mut farm = Farm::with(3, WhenNone::Any, |_, _| {});
        farm.tunnels(&[1000, 3]).fails(1);
        assert_eq!(farm.choose(SSL), Some(0), "one is full, one is down, one was never seen");
        farm.fails(0);
        assert_eq!(farm.choose(SSL), Some(2));
    }

    #[test]
    fn a_gateway_without_a_good_round_is_not_chosen() {
        let mut farm = Farm::new(2);
        assert_eq!(farm.choose(SSL), None);
        farm.tunnels(&[900]);
        assert_eq!(farm.choose(SSL), Some(0));
        let (snapshot, now) = (farm.roster.snapshot(), farm.now().instant);
        assert_eq!(
            exclusion(&snapshot.gateways[1], SSL, &snapshot.balance, now),
            Some(Exclusion::NotSeenYet)
        );
    }

    #[test]
    fn equal_gateways_take_turns_by_chance() {
        let mut farm = Farm::new(2);
        farm.tunnels(&[5, 5]);
        let (snapshot, now) = (farm.roster.snapshot(), farm.now().instant);
        let first = (0..1000u64)
            .filter(|&draw| select(&snapshot, SSL, By::Load, &[], now, draw).unwrap().index == 0)
            .count();
        assert!((400..=600).contains(&first), "{first}");
    }

    #[test]
    fn gateways_take_their_turns_in_the_order_of_the_configuration() {
        let mut farm = Farm::new(3);
        farm.tunnels(&[900, 0, 300]);
        assert_eq!(farm.turns(0..7), [0, 1, 2, 0, 1, 2, 0], "whatever their load");
        assert_eq!(farm.choose_another(By::Turn(u64::MAX), &[]), Some(0));
        farm.fails(1);
        assert_eq!(farm.turns(0..4), [0, 2, 0, 2]);
    }

    #[test]
    fn a_gateway_that_comes_back_gets_its_turns_gradually() {
        let mut farm = Farm::new(2);
        farm.tunnels(&[0, 0]).fails(1);
        let mut shares = vec![];
        for seconds in [0.0, 15.0, 30.0] {
            farm.seconds = seconds;
            farm.tunnels(&[0, 0]);
            shares.push(farm.turns(0..1000).into_iter().sum::<usize>());
        }
        assert!((1..=50).contains(&shares[0]) && (200..=300).contains(&shares[1]), "{shares:?}");
        assert_eq!(shares[2], 500);
    }

    #[test]
    fn whose_last_places_are_spoken_for_misses_a_turn_as_long_as_the_report_is_fresh() {
        let mut farm = Farm::new(2);
        farm.tunnels(&[998, 0]);
        let snapshot = farm.roster.snapshot();
        snapshot.gateways[0].assigned.add();
        assert_eq!(farm.turns(0..4), [0, 1, 0, 1]);
        snapshot.gateways[0].assigned.add();
        assert_eq!(farm.turns(0..4), [1, 1, 1, 1]);
        farm.seconds = 10.5;
        assert_eq!(farm.turns(0..4), [0, 1, 0, 1]);
        farm.fails(1);
        assert_eq!(farm.turns(0..2), [0, 0], "a guess turns nobody away");
    }

    #[test]
    fn those_who_missed_a_gateway_at_their_turn_spread_over_the_others() {
        let mut farm = Farm::new(4);
        farm.tunnels(&[0, 0, 0, 0]);
        let mut got = [0; 4];
        for number in (1..=300).step_by(4) {
            assert_eq!(farm.choose_another(By::Turn(number), &[]), Some(1));
            got[farm.choose_another(By::Turn(number), &[1]).unwrap()] += 1;
        }
        assert_eq!(got, [25, 0, 25, 25]);
    }

    const EVERY_WAY: [By; 5] = [
        By::Load,
        By::Turn(0),
        By::Turn(2),
        By::Source(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1))),
        By::Source(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2))),
    ];

    #[test]
    fn nobody_is_sent_to_the_same_gateway_twice() {
        let mut farm = Farm::new(4);
        farm.tunnels(&[0, 0, 0, 0]).fails(2);
        for by in EVERY_WAY {
            let mut tried = vec![];
            while let Some(index) = farm.choose_another(by, &tried) {
                assert!(!tried.contains(&index), "{by:?} {tried:?}");
                tried.push(index);
            }
            tried.sort();
            assert_eq!(tried, [0, 1, 3], "{by:?}");
        }
    }

    #[test]
    fn the_rule_for_when_none_is_available_holds_for_every_way_of_choosing() {
        for (rule, expected) in [
            (WhenNone::Refuse, &[][..]),
            (WhenNone::LastKnownGood, &[2, 1, 0]),
            (WhenNone::Any, &[0, 3, 1, 2]),
        ] {
            // full, down, down and seen later, never seen, drained
            let mut farm = Farm::with(5, rule, |_, _| {});
            for i in [0, 1, 2] {
                farm.seconds += 1.0;
                farm.reports(i, Load { tunnels: Some(if i == 0 { 1000 } else { 0 }), ..Load::default() });
            }
            farm.fails(1).fails(2);
            let now = farm.now();
            farm.roster.drain(&name(4), "service", "uid 0", now).unwrap();
            for by in EVERY_WAY {
                let mut tried = vec![];
                while let Some(index) = farm.choose_another(by, &tried) {
                    tried.push(index);
                }
                // of two that are down, each way takes its own first
                if rule == WhenNone::Any {
                    tried[2..].sort();
                }
                assert_eq!(tried, expected, "{rule:?} {by:?}");
            }
        }
    }

    #[test]
    fn a_source_comes_to_its_own_gateway_though_that_is_full_and_to_no_other_that_is() {
        let by = By::Source(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)));
        let mut farm = Farm::new(3);
        farm.tunnels(&[0, 0, 0]);
        let own = farm.choose_another(by, &[]).unwrap();
        let second = farm.choose_another(by, &[own]).unwrap();
        let full = |index: usize| (0..3).map(|i| if i == index { 1000 } else { 0 }).collect::<Vec<_>>();
        farm.tunnels(&full(own));
        assert_eq!(farm.choose_another(by, &[]), Some(own));
        assert_ne!(farm.choose_another(By::Load, &[]), Some(own));
        farm.tunnels(&full(second));
        let third = farm.choose_another(by, &[own]);
        assert_eq!(third, Some(3 - own - second), "it may have no connection to its own");
        farm.tunnels(&[0, 0, 0]);
        let now = farm.now();
        farm.roster.drain(&name(own), "service", "uid 0", now).unwrap();
        assert_eq!(farm.choose_another(by, &[]), Some(second));
    }

    #[test]
    fn who_has_been_at_a_gateway_may_return_unless_it_fails_or_does_not_fit() {
        let mut farm = Farm::with(6, WhenNone::Refuse, |i, g| {
            g.vpn_mode = if i == 5 { VpnMode::Native } else { VpnMode::Both };
            g.vrrp_id = VrrpId::new(if i == 4 { 7 } else { 31 });
        });
        let ask = Ask { vrrp_id: VrrpId::new(31), vpn: Vpn::Ssl };
        let may = |farm: &mut Farm| {
            farm.roster.snapshot().gateways.iter().map(|v| may_return(v, ask)).collect::<Vec<_>>()
        };
        assert_eq!(may(&mut farm), [false; 6], "nothing is known yet");
        farm.tunnels(&[0, 1000, 0, 0, 0, 0]).fails(3);
        let now = farm.now();
        farm.roster.drain(&name(0), "service", "uid 0", now).unwrap();
        let report = ServiceReport { service: Service::Draining, load: Load::default(), fence: None };
        farm.roster.observe(&name(2), Observation { checks: vec![], report: Some(report), asked: None }, now);
        // drained, full, draining by itself; down, other VRRP ID, other VPN
        assert_eq!(may(&mut farm), [true, true, true, false, false, false]);
        assert_eq!(
            select(&farm.roster.snapshot(), ask, By::Load, &[], now.instant, 7).ok().map(|c| c.index),
            None
        );
    }
}
