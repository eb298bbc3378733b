use std::time::Duration;

use crate::fleet::Load;

/// The load of pretend gateway number `number` of `count`, `elapsed` after the start, with `visitors` on it.
///
/// Everyone's load goes up and down like a tide, one gateway after the other, so that the least-loaded
/// one changes every few seconds; each visitor is a tunnel on top.
pub fn load(number: usize, count: usize, elapsed: Duration, visitors: u64) -> Load {
    let turn = elapsed.as_secs_f64() / PERIOD.as_secs_f64() + number as f64 / count.max(1) as f64;
    // 0..1
    let tide = (1.0 + (turn * std::f64::consts::TAU).sin()) / 2.0;
    let tunnels = (LOW + tide * (HIGH - LOW)).round() as u64 + visitors;
    let share = tunnels as f64 / TUNNELS_MAX as f64;
    Load {
        cpu_ratio: Some((0.05 + 0.8 * share).min(1.0)),
        receive_bits_per_second: Some(tunnels * 1_000_000),
        transmit_bits_per_second: Some(tunnels * 9_000_000),
        capacity_bits_per_second: Some(1_000_000_000),
        tunnels: Some(tunnels.min(TUNNELS_MAX)),
        tunnels_max: Some(TUNNELS_MAX),
        pool_used: Some(tunnels.min(POOL_SIZE)),
        pool_size: Some(POOL_SIZE),
    }
}

const PERIOD: Duration = Duration::from_secs(15);
// small gateways and a low tide, so that a handful of visits is enough to be sent elsewhere
const LOW: f64 = 30.0;
const HIGH: f64 = 42.0;
const TUNNELS_MAX: u64 = 100;
const POOL_SIZE: u64 = 126;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::{Score, Weights};

    #[test]
    fn every_gateway_has_its_turn_to_be_the_least_loaded() {
        let least = |second| {
            let score = |n| Score::of(&load(n, 3, Duration::from_secs(second), 0), &Weights::default());
            (0..3).min_by(|a, b| score(*a).total.partial_cmp(&score(*b).total).unwrap()).unwrap()
        };
        let mut seen: Vec<_> = (0..15).map(least).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, [0, 1, 2]);
    }

    #[test]
    fn a_visitor_is_a_tunnel() {
        let (without, with) = (load(0, 3, Duration::ZERO, 0), load(0, 3, Duration::ZERO, 7));
        assert_eq!(with.tunnels.unwrap() - without.tunnels.unwrap(), 7);
    }
}
