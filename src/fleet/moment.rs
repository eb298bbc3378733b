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

    /// An earlier time of the wall clock on both clocks. One that this clock does not reach back to, or that lies in
    /// the future, is taken to be now for measuring.
    pub fn at(&self, wall: SystemTime) -> Self {
        let ago = self.wall.duration_since(wall).unwrap_or_default();
        Self { instant: self.instant.checked_sub(ago).unwrap_or(self.instant), wall }
    }
}
