use std::num::NonZeroU32;
use std::sync::Arc;

use super::moment::Moment;
use super::observation::Verdict;

/// Whether a gateway works, from the rounds seen so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    /// What has been concluded.
    pub condition: Condition,
    /// Since when.
    pub since: Moment,
    /// Why, in the words of the check that decided; empty before the first conclusion.
    pub reason: Arc<str>,
    /// Rounds in a row that speak against the present condition.
    contrary: u32,
}

/// What rounds of checks conclude about a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Not asked often enough yet.
    Unknown,
    /// Works.
    Up,
    /// Does not.
    Down,
}

/// How many rounds in a row it takes to change the conclusion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Good ones until a gateway that was down is up.
    pub rise: NonZeroU32,
    /// Bad ones until a gateway is down.
    pub fall: NonZeroU32,
}

impl Default for Thresholds {
    fn default() -> Self {
        let rounds = |n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        Self { rise: rounds(2), fall: rounds(3) }
    }
}

impl Health {
    /// Nothing is known yet.
    pub fn unknown(now: Moment) -> Self {
        Self { condition: Condition::Unknown, since: now, reason: Arc::from(""), contrary: 0 }
    }

    /// Takes in the verdict of a round and tells whether the conclusion has changed.
    ///
    /// A gateway of which nothing is known enters with its first good round; one that was down needs
    /// `rise` of them. Its own agent's word that it is down needs no counting, for the agent has counted.
    pub fn observe(&mut self, verdict: &Verdict, thresholds: Thresholds, now: Moment) -> bool {
        let (condition, needed, reason) = match (verdict, self.condition) {
            (Verdict::Inconclusive, _) => return false,
            (Verdict::Good, Condition::Up) | (Verdict::DeclaredDown(_), Condition::Down) => {
                self.contrary = 0;
                return false;
            }
            (Verdict::Bad(_), Condition::Down) => {
                self.contrary = 0;
                return false;
            }
            (Verdict::Good, Condition::Unknown) => (Condition::Up, 1, "first good round"),
            (Verdict::Good, Condition::Down) => (Condition::Up, thresholds.rise.get(), "checks pass again"),
            (Verdict::DeclaredDown(reason), _) => (Condition::Down, 1, reason.as_str()),
            (Verdict::Bad(reason), _) => (Condition::Down, thresholds.fall.get(), reason.as_str()),
        };
        self.contrary = self.contrary.saturating_add(1);
        if self.contrary < needed {
            return false;
        }
        *self = Self { condition, since: now, reason: reason.into(), contrary: 0 };
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Instant, SystemTime};

    use super::*;

    fn now() -> Moment {
        Moment { instant: Instant::now(), wall: SystemTime::UNIX_EPOCH }
    }

    fn after(rounds: &[Verdict]) -> Vec<Condition> {
        let thresholds = Thresholds { rise: NonZeroU32::new(2).unwrap(), fall: NonZeroU32::new(3).unwrap() };
        let mut health = Health::unknown(now());
        rounds
            .iter()
            .map(|verdict| {
                health.observe(verdict, thresholds, now());
                health.condition
            })
            .collect()
    }

    use Condition::{Down, Unknown, Up};
    use Verdict::{Good, Inconclusive};

    fn bad() -> Verdict {
        Verdict::Bad("portal: connection refused".into())
    }

    fn declared() -> Verdict {
        Verdict::DeclaredDown("portal: 503".into())
    }

    #[test]
    fn a_gateway_enters_with_its_first_good_round() {
        assert_eq!(after(&[bad(), Good]), [Unknown, Up]);
    }

    #[test]
    fn it_falls_after_three_bad_rounds_in_a_row_and_rises_after_two_good_ones() {
        assert_eq!(after(&[Good, bad(), bad(), Good, bad(), bad(), bad()]), [Up, Up, Up, Up, Up, Up, Down]);
        assert_eq!(
            after(&[bad(), bad(), bad(), Good, bad(), Good, Good]),
            [Unknown, Unknown, Down, Down, Down, Down, Up]
        );
    }

    #[test]
    fn its_own_agents_word_needs_no_counting_down_but_rising_does() {
        assert_eq!(after(&[Good, declared(), Good, Good]), [Up, Down, Down, Up]);
    }

    #[test]
    fn a_fault_of_this_host_neither_counts_nor_resets() {
        assert_eq!(after(&[Good, bad(), bad(), Inconclusive, bad()]), [Up, Up, Up, Up, Down]);
    }

    #[test]
    fn the_reason_is_the_one_that_decided() {
        let mut health = Health::unknown(now());
        let once = Thresholds { rise: NonZeroU32::MIN, fall: NonZeroU32::MIN };
        assert!(health.observe(&bad(), once, now()));
        assert_eq!(&*health.reason, "portal: connection refused");
        assert!(!health.observe(&declared(), once, now()));
        assert_eq!(&*health.reason, "portal: connection refused");
    }
}
