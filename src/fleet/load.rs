use std::fmt;

use super::gateway::Gateway;

/// What a gateway says of its load. Each value is known or not.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Load {
    /// Processor use, 0..1.
    pub cpu_ratio: Option<f64>,
    /// Received on its interface.
    pub receive_bits_per_second: Option<u64>,
    /// Sent on its interface.
    pub transmit_bits_per_second: Option<u64>,
    /// What the interface can carry in one direction.
    pub capacity_bits_per_second: Option<u64>,
    /// VPN sessions.
    pub tunnels: Option<u64>,
    /// VPN sessions it can hold.
    pub tunnels_max: Option<u64>,
    /// Addresses lent to clients.
    pub pool_used: Option<u64>,
    /// Addresses it has to lend.
    pub pool_size: Option<u64>,
}

impl Load {
    /// The four criteria as ratios, 0..1. Throughput is the busier direction: a full-duplex link is
    /// full when one of the two is.
    pub fn components(&self) -> Components {
        let busier = self.receive_bits_per_second.max(self.transmit_bits_per_second);
        Components([
            ratio(busier, self.capacity_bits_per_second),
            ratio(self.tunnels, self.tunnels_max),
            ratio(self.pool_used, self.pool_size),
            self.cpu_ratio.filter(|r| r.is_finite()).map(|r| r.clamp(0.0, 1.0)),
        ])
    }

    /// The same load, with what the report leaves out taken from the gateway's definition.
    pub fn completed_by(self, gateway: &Gateway) -> Self {
        Self {
            tunnels_max: self.tunnels_max.or(gateway.tunnels_max),
            capacity_bits_per_second: self.capacity_bits_per_second.or(gateway.capacity_bits_per_second),
            ..self
        }
    }

    /// Whether no tunnel is left.
    pub fn is_out_of_tunnels(&self) -> bool {
        is_used_up(self.tunnels, self.tunnels_max)
    }

    /// Whether no pool address is left.
    pub fn is_out_of_addresses(&self) -> bool {
        is_used_up(self.pool_used, self.pool_size)
    }

    /// Tunnels that still fit, by tunnels and by pool addresses; `None` if neither is known.
    pub fn room(&self) -> Option<u64> {
        let left = |used: Option<u64>, max: Option<u64>| Some(max?.saturating_sub(used?));
        let tunnels = left(self.tunnels, self.tunnels_max);
        let pool = left(self.pool_used, self.pool_size);
        match (tunnels, pool) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (one, other) => one.or(other),
        }
    }

    /// What one more tunnel adds to the score: its share of the tunnels, or of the pool, or of
    /// [`NOMINAL_TUNNELS`] where the gateway's size is unknown.
    pub fn tunnel_share(&self) -> f64 {
        let size = self.tunnels_max.or(self.pool_size).filter(|&n| n > 0).unwrap_or(NOMINAL_TUNNELS);
        1.0 / size as f64
    }
}

/// Whether nothing is left of something; what is not known is not used up.
pub fn is_used_up(used: Option<u64>, all: Option<u64>) -> bool {
    matches!((used, all), (Some(used), Some(all)) if used >= all)
}

/// The size that a gateway is taken to have when nothing is known of it.
pub const NOMINAL_TUNNELS: u64 = 1000;

/// What load is measured by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Criterion {
    /// Bits per second of capacity, in the busier direction.
    Throughput,
    /// VPN sessions of the most it can hold.
    Tunnels,
    /// Pool addresses lent of those it has.
    Pool,
    /// Processor use.
    Cpu,
}

impl Criterion {
    /// All four, in the order of [`Components`] and [`Weights`].
    pub const ALL: [Self; 4] = [Self::Throughput, Self::Tunnels, Self::Pool, Self::Cpu];

    /// The word used in the configuration, in metrics and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Throughput => "throughput",
            Self::Tunnels => "tunnels",
            Self::Pool => "pool",
            Self::Cpu => "cpu",
        }
    }
}

impl fmt::Display for Criterion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A ratio 0..1 for each criterion, in the order of [`Criterion::ALL`]; `None` where it is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Components(pub [Option<f64>; 4]);

impl Components {
    /// Each criterion with its ratio.
    pub fn iter(&self) -> impl Iterator<Item = (Criterion, Option<f64>)> {
        Criterion::ALL.into_iter().zip(self.0)
    }
}

/// How much each criterion counts. Not all are 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weights([f64; 4]);

/// Why four numbers are not weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WeightsError {
    /// Below 0, or beyond what can be added up.
    #[error("a weight must be from 0 to 1000000")]
    OutOfRange,
    /// Nothing would count.
    #[error("at least one weight must be above 0")]
    AllZero,
}

impl Weights {
    /// Takes the weights in the order of [`Criterion::ALL`].
    pub fn new(weights: [f64; 4]) -> Result<Self, WeightsError> {
        if !weights.iter().all(|w| (0.0..=1e6).contains(w)) {
            return Err(WeightsError::OutOfRange);
        }
        if weights.iter().all(|w| *w == 0.0) {
            return Err(WeightsError::AllZero);
        }
        Ok(Self(weights))
    }

    /// In the order of [`Criterion::ALL`].
    pub fn get(&self) -> [f64; 4] {
        self.0
    }

    /// The weighted mean over the known criteria, 0..1; `None` if no known criterion counts.
    pub fn mean(&self, components: &Components) -> Option<f64> {
        let known = self.0.iter().zip(components.0).filter_map(|(w, c)| Some((*w, c?)));
        let (sum, weight) = known.fold((0.0, 0.0), |(s, t), (w, c)| (s + w * c, t + w));
        (weight > 0.0).then(|| sum / weight)
    }
}

impl Default for Weights {
    fn default() -> Self {
        Self([1.0; 4])
    }
}

/// A load turned into what the choice works with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// The criteria it was made of.
    pub components: Components,
    /// Their weighted mean, 0..1; `None` if none is known that counts.
    pub total: Option<f64>,
    /// What one pending assignment adds.
    pub tunnel_share: f64,
}

impl Score {
    /// Weighs `load`.
    pub fn of(load: &Load, weights: &Weights) -> Self {
        let components = load.components();
        Self { components, total: weights.mean(&components), tunnel_share: load.tunnel_share() }
    }
}

fn ratio(used: Option<u64>, of: Option<u64>) -> Option<f64> {
    match (used?, of?) {
        (_, 0) => Some(1.0),
        (used, of) => Some((used as f64 / of as f64).min(1.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full_report() -> Load {
        Load {
            cpu_ratio: Some(0.4),
            receive_bits_per_second: Some(100),
            transmit_bits_per_second: Some(200),
            capacity_bits_per_second: Some(1000),
            tunnels: Some(300),
            tunnels_max: Some(1000),
            pool_used: Some(500),
            pool_size: Some(1000),
        }
    }

    #[test]
    fn the_score_is_the_weighted_mean_of_four_ratios() {
        let score = Score::of(&full_report(), &Weights::default());
        assert_eq!(score.components, Components([Some(0.2), Some(0.3), Some(0.5), Some(0.4)]));
        assert!((score.total.unwrap() - 0.35).abs() < 1e-9);
        let weights = Weights::new([3.0, 1.0, 0.0, 0.0]).unwrap();
        assert!((weights.mean(&score.components).unwrap() - 0.225).abs() < 1e-9);
    }

    #[test]
    fn an_unknown_criterion_leaves_the_score_to_the_known_ones() {
        let load = Load { cpu_ratio: None, pool_size: None, ..full_report() };
        let score = Score::of(&load, &Weights::default());
        assert_eq!(score.components, Components([Some(0.2), Some(0.3), None, None]));
        assert!((score.total.unwrap() - 0.25).abs() < 1e-9);
    }

    #[test]
    fn nothing_known_that_counts_is_no_score() {
        assert_eq!(Score::of(&Load::default(), &Weights::default()).total, None);
        let cpu_alone = Weights::new([0.0, 0.0, 0.0, 1.0]).unwrap();
        assert_eq!(cpu_alone.mean(&Components([Some(0.1), None, None, None])), None);
    }

    #[test]
    fn a_gateway_is_full_without_tunnels_or_without_addresses() {
        assert!(!full_report().is_out_of_tunnels() && !full_report().is_out_of_addresses());
        assert!(Load { tunnels: Some(1000), ..full_report() }.is_out_of_tunnels());
        assert!(Load { pool_used: Some(1001), ..full_report() }.is_out_of_addresses());
        assert!(!Load { tunnels_max: None, tunnels: Some(9999), ..full_report() }.is_out_of_tunnels());
        assert_eq!(full_report().room(), Some(500));
        assert_eq!(Load { pool_size: None, ..full_report() }.room(), Some(700));
    }

    #[test]
    fn nonsense_in_a_report_stays_within_0_and_1() {
        let load = Load {
            cpu_ratio: Some(f64::NAN),
            receive_bits_per_second: Some(u64::MAX),
            capacity_bits_per_second: Some(1),
            tunnels: Some(5),
            tunnels_max: Some(0),
            ..Load::default()
        };
        assert_eq!(load.components(), Components([Some(1.0), Some(1.0), None, None]));
        assert!(load.tunnel_share().is_finite());
        assert_eq!(Load { cpu_ratio: Some(-3.0), ..Load::default() }.components().0[3], Some(0.0));
    }

    #[test]
    fn weights_that_cannot_be_weighed_are_refused() {
        assert_eq!(Weights::new([1.0, -0.1, 1.0, 1.0]), Err(WeightsError::OutOfRange));
        assert_eq!(Weights::new([f64::NAN; 4]), Err(WeightsError::OutOfRange));
        assert_eq!(Weights::new([1e308; 4]), Err(WeightsError::OutOfRange));
        assert_eq!(Weights::new([0.0; 4]), Err(WeightsError::AllZero));
    }
}
