//! The agent's local checks: those of [`crate::net::check`], and what only the gateway itself can be asked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::text::one_line;
use crate::fleet::{CheckOutcome, CheckResult, Observation, Verdict};
use crate::net::check::{Check, all_at_once};
use crate::net::command::{CommandError, CommandLine, Finished};

/// One check of what "this gateway works" means.
#[derive(Clone, Debug)]
pub enum LocalCheck {
    /// An endpoint answers.
    Endpoint(Check),
    /// A program ends with status 0.
    Command {
        /// What it is called in messages and metrics.
        name: Arc<str>,
        /// What is run.
        command: CommandLine,
    },
    /// A systemd unit is active.
    Unit {
        /// What it is called in messages and metrics.
        name: Arc<str>,
        /// The unit, like `ocserv.service`.
        unit: String,
    },
}

impl LocalCheck {
    /// What it is called in messages and metrics.
    pub fn name(&self) -> &Arc<str> {
        match self {
            Self::Endpoint(check) => &check.name,
            Self::Command { name, .. } | Self::Unit { name, .. } => name,
        }
    }

    /// Does the check once, for no longer than `timeout`.
    pub async fn run(&self, timeout: Duration) -> CheckResult {
        let started = Instant::now();
        let outcome = match self {
            Self::Endpoint(check) => return check.run(timeout).await,
            Self::Command { command, .. } => outcome(command.run(OUTPUT_LIMIT, timeout).await),
            Self::Unit { unit, .. } => outcome(is_active(unit).run(OUTPUT_LIMIT, timeout).await),
        };
        CheckResult { check: Arc::clone(self.name()), outcome, took: started.elapsed() }
    }
}

/// Does all checks at the same time; the results are in the order of the checks.
pub(super) async fn round(checks: &[LocalCheck], timeout: Duration) -> Vec<CheckResult> {
    let checks = checks.iter().cloned();
    all_at_once(checks.map(|check| async move { check.run(timeout).await })).await
}

/// What a round says of the gateway.
pub(super) fn verdict(results: &[CheckResult]) -> Verdict {
    Observation { checks: results.to_vec(), report: None, asked: None }.verdict()
}

/// Only the first line is shown.
const OUTPUT_LIMIT: usize = 4 * 1024;
const DETAIL_LIMIT: usize = 200;

fn is_active(unit: &str) -> CommandLine {
    CommandLine::of("systemctl", ["is-active", "--", unit])
}

fn outcome(finished: Result<Finished, CommandError>) -> CheckOutcome {
    match finished {
        Ok(finished) => {
            let said = one_line(&finished.text(), DETAIL_LIMIT);
            let detail = if said.is_empty() { finished.ending() } else { said };
            if finished.status.success() { CheckOutcome::Pass(detail) } else { CheckOutcome::Fail(detail) }
        }
        Err(CommandError::Timeout(after)) => CheckOutcome::Timeout(after),
        Err(error) if error.is_shortage() => CheckOutcome::Inconclusive(error.to_string()),
        Err(error) => CheckOutcome::Fail(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(10);

    fn command(name: &str, words: &[&str]) -> LocalCheck {
        LocalCheck::Command { name: name.into(), command: CommandLine::new(words.to_vec()).unwrap() }
    }

    async fn outcome_of(script: &str, timeout: Duration) -> CheckOutcome {
        command("it", &["sh", "-c", script]).run(timeout).await.outcome
    }

    #[tokio::test]
    async fn the_exit_status_decides_and_the_first_line_is_the_detail() {
        use CheckOutcome::{Fail, Pass, Timeout};
        let fine = "printf 'OK - \\033[1m3 tunnels\\nmore\\n'";
        assert_eq!(outcome_of(fine, LONG).await, Pass("OK - [1m3 tunnels".into()));
        assert_eq!(outcome_of("true", LONG).await, Pass("exit status 0".into()));
        assert_eq!(outcome_of("echo radius is gone >&2; exit 2", LONG).await, Fail("radius is gone".into()));
        assert_eq!(outcome_of("kill -9 $$", LONG).await, Fail("ended by signal 9".into()));
        let soon = Duration::from_millis(50);
        assert_eq!(outcome_of("sleep 1000", soon).await, Timeout(soon));
        let long_line = outcome_of("head -c 100000 /dev/zero | tr '\\0' x", LONG).await;
        assert!(matches!(long_line, Pass(line) if line.chars().count() == DETAIL_LIMIT));
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_fails_the_check() {
        let result = command("it", &["/nonexistent/check"]).run(LONG).await;
        let expected = CheckOutcome::Fail("cannot be run: no such file or directory".into());
        assert_eq!(result.outcome, expected);
    }

    #[tokio::test]
    async fn a_unit_that_does_not_exist_is_not_active() {
        let unit = "vestibule-test-no-such-unit.service".to_owned();
        let result = LocalCheck::Unit { name: "vpn".into(), unit }.run(LONG).await;
        assert!(matches!(result.outcome, CheckOutcome::Fail(_)), "{result:?}");
    }

    #[test]
    fn a_unit_is_never_taken_for_an_option() {
        let expected = CommandLine::new(["systemctl", "is-active", "--", "--help"]).unwrap();
        assert_eq!(is_active("--help"), expected);
    }

    #[tokio::test]
    async fn the_checks_of_a_round_run_at_the_same_time_and_keep_their_order() {
        let directory = tempfile::tempdir().unwrap();
        // each ends only when the other one is there
        let meet = |mine: &str, other: &str| {
            let script = format!("touch {mine}; until test -e {other}; do sleep 0.01; done; test {mine} = a");
            format!("cd {} && {script}", directory.path().display())
        };
        let checks = [
            command("good", &["sh", "-c", &meet("a", "b")]),
            command("bad", &["sh", "-c", &meet("b", "a")]),
            command("fast", &["true"]),
        ];
        let results = round(&checks, LONG).await;
        let names: Vec<&str> = results.iter().map(|r| &*r.check).collect();
        assert_eq!(names, ["good", "bad", "fast"]);
        assert_eq!(verdict(&results), Verdict::Bad("bad: exit status 1".into()));
    }

    #[test]
    fn a_gateway_without_checks_works() {
        assert_eq!(verdict(&[]), Verdict::Good);
    }
}
