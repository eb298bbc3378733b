use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

/// Tells a new report from one that has been seen before: a cache in between, or a second agent that was
/// cloned from the first, can serve the same report again.
#[derive(Debug, Default)]
pub struct Continuity {
    /// The agent's last starts, with the highest sequence seen of each. More than one, so that a report of
    /// an earlier start is known as old too.
    boots: VecDeque<(String, u64)>,
}

/// Why a report that is well-formed is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OldReport {
    /// Its sequence does not grow.
    #[error("the report is old: its sequence is {got}, and {seen} has been seen")]
    Replayed {
        /// What it says.
        got: u64,
        /// What was seen of the same start of the agent.
        seen: u64,
    },
    /// It was made too long before it was sent.
    #[error("the report is stale: it was made {seconds} s before it was sent")]
    Stale {
        /// How long before.
        seconds: u64,
    },
}

impl Continuity {
    /// Takes note of a report, or tells that it is no news.
    pub fn admit(&mut self, boot_id: &str, sequence: u64) -> Result<(), OldReport> {
        if let Some((_, seen)) = self.boots.iter_mut().find(|(boot, _)| boot == boot_id) {
            if sequence <= *seen {
                return Err(OldReport::Replayed { got: sequence, seen: *seen });
            }
            *seen = sequence;
            return Ok(());
        }
        if self.boots.len() == REMEMBERED_BOOTS {
            self.boots.pop_front();
        }
        self.boots.push_back((boot_id.to_owned(), sequence));
        Ok(())
    }
}

const REMEMBERED_BOOTS: usize = 8;

/// Whether a report made at `made` was sent too late at `sent`. Both are the agent's own clock (the
/// second is its answer's Date header), so that clocks which differ between hosts take no gateway down.
pub fn check_age(made: SystemTime, sent: SystemTime, stale_after: Duration) -> Result<(), OldReport> {
    let age = sent.duration_since(made).unwrap_or_default();
    if age > stale_after { Err(OldReport::Stale { seconds: age.as_secs() }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_counts_once() {
        let mut continuity = Continuity::default();
        assert_eq!(continuity.admit("boot-a", 5), Ok(()));
        assert_eq!(continuity.admit("boot-a", 5), Err(OldReport::Replayed { got: 5, seen: 5 }));
        assert_eq!(continuity.admit("boot-a", 4), Err(OldReport::Replayed { got: 4, seen: 5 }));
        assert_eq!(continuity.admit("boot-a", 9), Ok(()));
    }

    #[test]
    fn a_restarted_agent_begins_anew_and_its_earlier_reports_stay_old() {
        let mut continuity = Continuity::default();
        continuity.admit("boot-a", 900).unwrap();
        assert_eq!(continuity.admit("boot-b", 1), Ok(()));
        assert!(continuity.admit("boot-a", 900).is_err());
        assert_eq!(continuity.admit("boot-b", 2), Ok(()));
    }

    #[test]
    fn memory_is_bounded() {
        let mut continuity = Continuity::default();
        for boot in 0..1000 {
            continuity.admit(&boot.to_string(), 1).unwrap();
        }
        assert_eq!(continuity.boots.len(), REMEMBERED_BOOTS);
    }

    #[test]
    fn a_report_is_stale_by_the_agents_own_clock() {
        let (sent, limit) = (SystemTime::UNIX_EPOCH + Duration::from_secs(1000), Duration::from_secs(10));
        assert_eq!(check_age(sent - Duration::from_secs(10), sent, limit), Ok(()));
        assert_eq!(check_age(sent + Duration::from_secs(1), sent, limit), Ok(()));
        let stale = check_age(sent - Duration::from_secs(45), sent, limit);
        assert_eq!(
            stale.unwrap_err().to_string(),
            "the report is stale: it was made 45 s before it was sent"
        );
    }
}
