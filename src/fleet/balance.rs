use std::time::Duration;

/// The rules of the choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
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
            slow_start: Duration::from_secs(30),
            stale_after: Duration::from_secs(10),
            when_none: WhenNone::Refuse,
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
