use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::fleet::{CheckResult, Load};

/// What an agent says of its gateway, whoever asks: the outcome of its last round.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentState {
    /// When the round that this tells of ended.
    pub observed: SystemTime,
    /// What it has concluded.
    pub service: ServiceState,
    /// Since when.
    pub since: SystemTime,
    /// The checks of the last round, in the order of the configuration.
    pub checks: Vec<CheckResult>,
    /// The load of the last round.
    pub load: Load,
}

/// The one word on a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceState {
    /// Works.
    Up,
    /// Does not, or it is not known yet.
    Down,
    /// Works, and wants no newcomers.
    Draining,
}
