use crate::fleet::{Condition, Health, Moment, Thresholds, Verdict};

use super::state::ServiceState;

/// What an agent has concluded of its own gateway from the rounds so far.
#[derive(Debug)]
pub(super) struct Standing {
    health: Health,
    thresholds: Thresholds,
}

impl Standing {
    /// Nothing is known yet.
    pub(super) fn new(thresholds: Thresholds, now: Moment) -> Self {
        Self { health: Health::unknown(now), thresholds }
    }

    /// Takes in a round and tells whether the conclusion has changed.
    ///
    /// The first round that says anything decides alone: nobody can be told "not known", and an agent that
    /// is started again must not call a gateway up, or down, that it has just seen to be otherwise.
    pub(super) fn observe(&mut self, verdict: &Verdict, now: Moment) -> bool {
        match (self.health.condition, verdict) {
            (Condition::Unknown, Verdict::Bad(reason)) => {
                self.health.observe(&Verdict::DeclaredDown(reason.clone()), self.thresholds, now)
            }
            _ => self.health.observe(verdict, self.thresholds, now),
        }
    }

    /// The conclusion as a word. As long as nothing is known it is down: an agent vouches only for what it
    /// has seen.
    pub(super) fn service(&self) -> ServiceState {
        match self.health.condition {
            Condition::Up => ServiceState::Up,
            Condition::Down | Condition::Unknown => ServiceState::Down,
        }
    }

    /// Since when, and why.
    pub(super) fn health(&self) -> &Health {
        &self.health
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::{Instant, SystemTime};

    use super::ServiceState::{Down, Up};
    use super::*;
    use Verdict::{Good, Inconclusive};

    fn after(rounds: &[Verdict]) -> Vec<ServiceState> {
        let now = Moment { instant: Instant::now(), wall: SystemTime::UNIX_EPOCH };
        let thresholds = Thresholds { rise: NonZeroU32::new(2).unwrap(), fall: NonZeroU32::new(3).unwrap() };
        let mut standing = Standing::new(thresholds, now);
        rounds
            .iter()
            .map(|verdict| {
                standing.observe(verdict, now);
                standing.service()
            })
            .collect()
    }

    fn bad() -> Verdict {
        Verdict::Bad("portal: connection refused".into())
    }

    #[test]
    fn the_first_round_decides_alone() {
        assert_eq!(after(&[Good]), [Up]);
        assert_eq!(after(&[bad()]), [Down]);
    }

    #[test]
    fn an_agent_does_not_claim_up_before_it_knows() {
        assert_eq!(after(&[Inconclusive, Inconclusive, Good]), [Down, Down, Up]);
    }

    #[test]
    fn after_that_rounds_are_counted() {
        assert_eq!(after(&[bad(), Good, Good]), [Down, Down, Up]);
        assert_eq!(after(&[Good, bad(), bad(), bad()]), [Up, Up, Up, Down]);
    }
}
