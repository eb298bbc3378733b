use serde::{Deserialize, Serialize};

use crate::fleet::{CheckOutcome, CheckResult};

/// One check of the last round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckStatus {
    /// Its name in messages and metrics.
    pub name: String,
    /// What came of it.
    pub result: CheckWord,
    /// What was seen, or why it failed.
    pub detail: String,
    /// How long it took.
    pub milliseconds: f64,
}

/// What came of a check, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckWord {
    /// As it should.
    Pass,
    /// Not as it should.
    Fail,
    /// No answer in time.
    Timeout,
    /// It could not be tried, for a reason on this host.
    Inconclusive,
}

impl CheckStatus {
    pub(super) fn of(check: &CheckResult) -> Self {
        Self {
            name: check.check.to_string(),
            result: CheckWord::of(&check.outcome),
            detail: check.outcome.detail().into_owned(),
            milliseconds: check.took.as_micros() as f64 / 1000.0,
        }
    }
}

impl CheckWord {
    /// The word for an outcome.
    pub fn of(outcome: &CheckOutcome) -> Self {
        match outcome {
            CheckOutcome::Pass(_) => Self::Pass,
            CheckOutcome::Fail(_) => Self::Fail,
            CheckOutcome::Timeout(_) => Self::Timeout,
            CheckOutcome::Inconclusive(_) => Self::Inconclusive,
        }
    }

    /// The word used in metrics and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Timeout => "timeout",
            Self::Inconclusive => "inconclusive",
        }
    }
}
