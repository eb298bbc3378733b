//! How loaded a gateway was over the last quarter of an hour.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// The load scores of a gateway, one a step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// From one to the next.
    pub step_seconds: u64,
    /// The oldest first, each 0..1; `None` where it was not known.
    pub scores: Vec<Option<f64>>,
}

/// From one score to the next.
pub const STEP: Duration = Duration::from_secs(10);

/// A quarter of an hour.
const LENGTH: usize = 90;

/// The scores of one gateway so far.
#[derive(Clone, Debug, Default)]
pub struct Scores {
    kept: VecDeque<Option<f64>>,
    last: Option<Instant>,
}

impl Scores {
    /// Notes the score of this moment: the first of each step is kept.
    pub fn note(&mut self, score: Option<f64>, now: Instant) {
        let steps = match self.last {
            None => 1,
            // after a pause (a machine that slept) what lies between is not known
            Some(last) => now.saturating_duration_since(last).as_secs() / STEP.as_secs(),
        };
        if steps == 0 {
            return;
        }
        for _ in 1..steps.min(LENGTH as u64) {
            self.kept.push_back(None);
        }
        self.kept.push_back(score.map(hundredths));
        let surplus = self.kept.len().saturating_sub(LENGTH);
        self.kept.drain(..surplus);
        self.last = Some(match self.last {
            // steps stay equally far apart, however late each is noted
            Some(last) => last + STEP * u32::try_from(steps).unwrap_or(u32::MAX),
            None => now,
        });
    }

    /// For the status.
    pub fn history(&self) -> History {
        History { step_seconds: STEP.as_secs(), scores: self.kept.iter().copied().collect() }
    }
}

fn hundredths(score: f64) -> f64 {
    (score * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_score_a_step_is_kept_for_a_quarter_of_an_hour() {
        let (mut scores, start) = (Scores::default(), Instant::now());
        for second in 0..2000_u32 {
            scores.note(Some(f64::from(second) / 2000.0), start + Duration::from_secs(second.into()));
        }
        let history = scores.history();
        assert_eq!((history.step_seconds, history.scores.len()), (10, 90));
        assert_eq!((history.scores[0], history.scores[89]), (Some(0.55), Some(1.0)));
    }

    #[test]
    fn what_was_not_known_is_a_gap_and_so_is_a_pause() {
        let (mut scores, start) = (Scores::default(), Instant::now());
        scores.note(Some(0.5), start);
        scores.note(None, start + Duration::from_millis(10_400));
        scores.note(Some(0.7), start + Duration::from_millis(20_100));
        scores.note(Some(0.8), start + Duration::from_secs(55));
        assert_eq!(scores.history().scores, [Some(0.5), None, Some(0.7), None, None, Some(0.8)]);
        scores.note(Some(0.9), start + Duration::from_secs(1_000_000));
        let history = scores.history();
        assert_eq!((history.scores.len(), history.scores[89], history.scores[88]), (90, Some(0.9), None));
    }
}
