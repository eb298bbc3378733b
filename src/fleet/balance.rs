use std::time::Duration;

/// The rules of the choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// Whether all gateways are used, or one at a time.
    pub mode: BalanceMode,
    /// How long a gateway that comes back takes to get its full share.
    pub slow_start: Duration,
    /// A load report older than this no longer counts.
    pub stale_after: Duration,
    /// What to do when no gateway is available.
    pub when_none: WhenNone,
}

impl Default for Balance {
    fn default() -> Self {
        Self {
            mode: BalanceMode::LoadBalancing,
            slow_start: Duration::from_secs(30),
            stale_after: Duration::from_secs(10),
            when_none: WhenNone::Refuse,
        }
    }
}

/// Whether all gateways are used, or one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BalanceMode {
    /// All that are available, the least loaded first.
    LoadBalancing,
    /// One at a time: of each VRRP ID the active one, which the keeper decides on ([`super::Roster::decide`]).
    Failsafe {
        /// An earlier gateway of the configuration takes over again once it is up.
        failback: bool,
    },
}

impl BalanceMode {
    /// Whether one gateway at a time is used.
    pub fn is_failsafe(self) -> bool {
        matches!(self, Self::Failsafe { .. })
    }

    /// The word used in the configuration and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LoadBalancing => "load-balancing",
            Self::Failsafe { .. } => "failsafe",
        }
    }
}

/// How a gateway is chosen among those that are available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// The one with the lowest load.
    LeastLoaded,
    /// One after the other.
    RoundRobin,
}

impl Policy {
    /// The word used in the configuration and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LeastLoaded => "least-loaded",
            Self::RoundRobin => "round-robin",
        }
    }
}

/// What to do when no gateway is available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenNone {
    /// Say so.
    Refuse,
    /// Name the one that was last found in order.
    LastKnownGood,
    /// Choose among all that have not been taken out on purpose, whatever their state.
    Any,
}

impl WhenNone {
    /// The word used in the configuration and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::LastKnownGood => "last-known-good",
            Self::Any => "any",
        }
    }
}
