use std::time::{Duration, Instant, SystemTime};

/// One point in time on both clocks: the monotonic one that durations are measured with, and the wall
/// clock that people read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// For measuring.
    pub instant: Instant,
    /// For showing.
    pub wall: SystemTime,
}

impl Moment {
    /// The time that has passed between `self` and a later instant; zero if `later` is earlier.
    pub fn until(&self, later: Instant) -> Duration {
        later.saturating_duration_since(self.instant)
    }
}
