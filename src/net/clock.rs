//! The clocks, for those who may look at them: the domain gets the time as an argument.

use std::time::{Instant, SystemTime};

use crate::fleet::Moment;

/// This moment, on both clocks.
pub fn now() -> Moment {
    Moment { instant: Instant::now(), wall: SystemTime::now() }
}
