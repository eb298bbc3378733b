use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::fence::FenceReport;
use super::gateway::{Endpoint, GatewayName};
use super::load::Load;
use super::moment::Moment;

/// What one round of asking a gateway has found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observation {
    /// Each check of the round, the heartbeat among them.
    pub checks: Vec<CheckResult>,
    /// What its agent says, where one was asked and answered properly.
    pub report: Option<ServiceReport>,
    /// When it was asked, if not just now: of what was done after that it need not know.
    pub asked: Option<Moment>,
}

/// What a door has found: no connection to a gateway. It counts like a failed check.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// Which gateway.
    pub gateway: GatewayName,
    /// Where it was looked for.
    pub upstream: Endpoint,
    /// Why not.
    pub reason: String,
}

/// One check of a round.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckResult {
    /// The name it has in messages and metrics.
    pub check: Arc<str>,
    /// What came of it.
    pub outcome: CheckOutcome,
    /// How long it took.
    pub took: Duration,
}

/// How one check ended.
#[derive(Clone, Debug, PartialEq)]
pub enum CheckOutcome {
    /// As it should, with what was seen.
    Pass(String),
    /// Not as it should, and why.
    Fail(String),
    /// No answer in time.
    Timeout(Duration),
    /// It could not be tried for a reason that lies on this host (no file descriptors, say), so it
    /// speaks neither for nor against the gateway.
    Inconclusive(String),
}

/// An agent's word on its gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceReport {
    /// The state it has come to by its own checks.
    pub service: Service,
    /// Its load.
    pub load: Load,
    /// Its firewall blocks, where it says anything of them.
    pub fence: Option<FenceReport>,
}

/// An agent's verdict; it has done its own counting of good and bad checks.
#[derive(Clone, Debug, PartialEq)]
pub enum Service {
    /// Works.
    Up,
    /// Does not, and why.
    Down(String),
    /// Works, and wants no newcomers.
    Draining,
}

/// What a round says of the gateway's health.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Every check passed.
    Good,
    /// Some check failed, and why; counts towards `fall`.
    Bad(String),
    /// Its own agent has found it down: no further counting.
    DeclaredDown(String),
    /// Neither for nor against.
    Inconclusive,
}

/// The name of the agent's answer among the checks; no other check may have it.
pub const HEARTBEAT: &str = "heartbeat";

impl Observation {
    /// The verdict of this round. What the agent has declared goes before what was seen from here.
    pub fn verdict(&self) -> Verdict {
        if let Some(ServiceReport { service: Service::Down(reason), .. }) = &self.report {
            return Verdict::DeclaredDown(reason.clone());
        }
        judge(self.checks.iter())
    }

    /// What was seen from here: the verdict of the checks other than the agent's answer. `None` where there are
    /// none.
    pub fn direct_verdict(&self) -> Option<Verdict> {
        let direct = || self.checks.iter().filter(|check| &*check.check != HEARTBEAT);
        direct().next()?;
        Some(judge(direct()))
    }

    /// Whether the agent wants no newcomers.
    pub fn is_draining(&self) -> bool {
        matches!(&self.report, Some(ServiceReport { service: Service::Draining, .. }))
    }
}

fn judge<'a>(checks: impl Iterator<Item = &'a CheckResult> + Clone) -> Verdict {
    let mut failures = checks.clone().filter_map(CheckResult::failure).peekable();
    if failures.peek().is_some() {
        return Verdict::Bad(failures.collect::<Vec<_>>().join("; "));
    }
    let mut checks = checks;
    if checks.any(|check| matches!(check.outcome, CheckOutcome::Inconclusive(_))) {
        return Verdict::Inconclusive;
    }
    Verdict::Good
}

impl CheckResult {
    fn failure(&self) -> Option<String> {
        match &self.outcome {
            CheckOutcome::Fail(_) | CheckOutcome::Timeout(_) => {
                Some(format!("{}: {}", self.check, self.outcome.detail()))
            }
            CheckOutcome::Pass(_) | CheckOutcome::Inconclusive(_) => None,
        }
    }
}

impl CheckOutcome {
    /// What was seen, or why not, in a few words.
    pub fn detail(&self) -> Cow<'_, str> {
        match self {
            Self::Pass(text) | Self::Fail(text) | Self::Inconclusive(text) => Cow::Borrowed(text),
            Self::Timeout(after) => Cow::Owned(format!("no answer within {} ms", after.as_millis())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, outcome: CheckOutcome) -> CheckResult {
        CheckResult { check: name.into(), outcome, took: Duration::from_millis(1) }
    }

    fn pass() -> CheckResult {
        check("portal", CheckOutcome::Pass("200 OK".into()))
    }

    #[test]
    fn a_round_is_good_when_every_check_passes() {
        let good = Observation { checks: vec![pass(), pass()], report: None, asked: None };
        assert_eq!(good.verdict(), Verdict::Good);
    }

    #[test]
    fn one_failure_makes_the_round_bad_and_every_reason_is_told() {
        let checks = vec![
            check("heartbeat", CheckOutcome::Fail("connection refused".into())),
            pass(),
            check("portal", CheckOutcome::Timeout(Duration::from_millis(800))),
        ];
        assert_eq!(
            Observation { checks, report: None, asked: None }.verdict(),
            Verdict::Bad("heartbeat: connection refused; portal: no answer within 800 ms".into())
        );
    }

    #[test]
    fn what_was_seen_from_here_leaves_the_agents_answer_out() {
        let agent = || check(HEARTBEAT, CheckOutcome::Fail("connection refused".into()));
        let round = |checks| Observation { checks, report: None, asked: None }.direct_verdict();
        assert_eq!(round(vec![agent(), pass()]), Some(Verdict::Good));
        assert_eq!(round(vec![agent()]), None);
        let refused = check("portal", CheckOutcome::Fail("refused".into()));
        assert_eq!(round(vec![agent(), refused, pass()]), Some(Verdict::Bad("portal: refused".into())));
    }

    #[test]
    fn a_fault_of_this_host_counts_neither_way() {
        let none_left = check("portal", CheckOutcome::Inconclusive("too many open files".into()));
        let round = Observation { checks: vec![pass(), none_left], report: None, asked: None };
        assert_eq!(round.verdict(), Verdict::Inconclusive);
    }

    #[test]
    fn what_the_agent_declares_needs_no_counting() {
        let report = ServiceReport {
            service: Service::Down("portal: 503".into()),
            load: Load::default(),
            fence: None,
        };
        let round = Observation { checks: vec![pass()], report: Some(report), asked: None };
        assert_eq!(round.verdict(), Verdict::DeclaredDown("portal: 503".into()));
    }
}
