use std::sync::Arc;
use std::time::Duration;

use crate::fleet::GatewayName;
use crate::net::check::Check;
use crate::net::client::{Mark, Target};

/// How one gateway is asked.
#[derive(Clone, Debug)]
pub struct ProbeSettings {
    /// Which.
    pub gateway: GatewayName,
    /// Its agent; `None`: direct checks alone.
    pub heartbeat: Option<Target>,
    /// Direct checks; every one must pass.
    pub checks: Vec<Check>,
    /// What the connections of direct checks carry, where this host's firewall would stop them otherwise.
    pub mark: Option<Arc<Mark>>,
    /// From the start of one round to the start of the next.
    pub interval: Duration,
    /// For each answer.
    pub timeout: Duration,
    /// A report made longer ago than this is a failed answer.
    pub stale_after: Duration,
}
