use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::fleet::{LoadReading, is_used_up};

/// A load report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadStatus {
    /// How old it is.
    pub age_seconds: f64,
    /// It is too old to count.
    pub stale: bool,
    /// The weighted mean of the criteria, 0..1; `None` if none is known that counts.
    pub score: Option<f64>,
    /// What the score is made of.
    pub criteria: Criteria,
    /// VPN sessions.
    pub tunnels: Option<u64>,
    /// VPN sessions it can hold.
    pub tunnels_max: Option<u64>,
    /// Addresses lent to clients.
    pub pool_used: Option<u64>,
    /// Addresses it has to lend.
    pub pool_size: Option<u64>,
}

/// The four criteria as ratios, 0..1; `None` where unknown.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Criteria {
    /// Bits per second of capacity, in the busier direction.
    pub throughput: Option<f64>,
    /// VPN sessions of the most it can hold.
    pub tunnels: Option<f64>,
    /// Pool addresses lent of those it has.
    pub pool: Option<f64>,
    /// Processor use.
    pub cpu: Option<f64>,
}

impl LoadStatus {
    pub(in crate::admin) fn of(reading: &LoadReading, stale: bool, now: Instant) -> Self {
        let LoadReading { load, at, score } = reading;
        let [throughput, tunnels, pool, cpu] = score.components.0;
        Self {
            age_seconds: (at.until(now).as_millis() as f64) / 1000.0,
            stale,
            score: score.total,
            criteria: Criteria { throughput, tunnels, pool, cpu },
            tunnels: load.tunnels,
            tunnels_max: load.tunnels_max,
            pool_used: load.pool_used,
            pool_size: load.pool_size,
        }
    }

    /// Whether it has no room for newcomers.
    pub(in crate::admin) fn is_full(&self) -> bool {
        is_used_up(self.tunnels, self.tunnels_max) || is_used_up(self.pool_used, self.pool_size)
    }
}
