//! The one line that HAProxy's agent-check reads (HAProxy 2.6, configuration manual, 5.2, "agent-check").
//!
//! Only the words `up` and `down` are used, and the percentage. `drain` and `maint` would set the administrative state of
//! the server in HAProxy, which only `ready` takes back; and `ready` takes back whatever HAProxy's own administrator has
//! set there, too. 0% keeps newcomers away in the same way, and the next percentage lets them in again.

use std::fmt;

use super::report::{FenceSection, HolderSection, ServiceSection};
use super::state::{AgentState, ServiceState};
use super::text::one_line;
use crate::fleet::{Score, Weights};

/// What HAProxy is told of this gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AgentCheck {
    /// It works: newcomers in this share of what it may have at most, 1 to 100.
    Up(u8),
    /// It works, but newcomers are to go elsewhere: it drains, or no tunnel or address is left.
    NoNewcomers,
    /// It does not work, or its firewall refuses newcomers, with the reason.
    Down(String),
}

impl AgentCheck {
    /// What follows from the last round, and from who holds a block now.
    pub(super) fn of(state: &AgentState, fence: &FenceSection) -> Self {
        match state.service {
            ServiceState::Down => Self::Down(ServiceSection::of(state).why_down()),
            // HAProxy's connections would be refused like anybody's
            _ if fence.blocked => Self::Down(why_fenced(&fence.holders)),
            ServiceState::Draining => Self::NoNewcomers,
            ServiceState::Up if state.load.is_out_of_tunnels() || state.load.is_out_of_addresses() => {
                Self::NoNewcomers
            }
            ServiceState::Up => Self::Up(percentage(state)),
        }
    }
}

impl fmt::Display for AgentCheck {
    /// With its end of line. A description is a word of its own: `down#…` is an unknown word for HAProxy 2.6, and the
    /// server stays up.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Up(percentage) => writeln!(f, "up {percentage}%"),
            Self::NoNewcomers => writeln!(f, "up 0%"),
            Self::Down(reason) => {
                // an ASCII string, it says
                let ascii: String =
                    reason.chars().map(|c| if (' '..='~').contains(&c) { c } else { '?' }).collect();
                writeln!(f, "down #{}", one_line(&ascii, DESCRIPTION_LIMIT).replace('…', "~"))
            }
        }
    }
}

/// Less of it as the load grows. Not 0 before nothing is left: that would let nobody in. Where no load is known all of
/// it, or else what was said last would hold for ever.
fn percentage(state: &AgentState) -> u8 {
    let load = Score::of(&state.load, &Weights::default()).total.unwrap_or(0.0);
    ((1.0 - load) * 100.0).round().clamp(1.0, 100.0) as u8
}

fn why_fenced(holders: &[HolderSection]) -> String {
    match holders.first() {
        Some(holder) => format!("fenced by {}: {}", holder.by, holder.reason),
        None => "fenced".to_owned(),
    }
}

/// What HAProxy keeps (HCHK_DESC_LEN, with its end).
const DESCRIPTION_LIMIT: usize = 120;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::fleet::{CheckOutcome, CheckResult, Load};

    fn state(service: ServiceState, load: Load) -> AgentState {
        let checks = match service {
            ServiceState::Down => vec![check("connection refused")],
            _ => Vec::new(),
        };
        AgentState { observed: SystemTime::UNIX_EPOCH, service, since: SystemTime::UNIX_EPOCH, checks, load }
    }

    fn check(reason: &str) -> CheckResult {
        let outcome = CheckOutcome::Fail(reason.into());
        CheckResult { check: Arc::from("portal"), outcome, took: Duration::ZERO }
    }

    fn line(service: ServiceState, load: Load) -> String {
        AgentCheck::of(&state(service, load), &FenceSection::none()).to_string()
    }

    fn cpu(ratio: f64) -> Load {
        Load { cpu_ratio: Some(ratio), ..Load::default() }
    }

    #[test]
    fn one_that_works_is_up_with_what_the_load_leaves() {
        assert_eq!(line(ServiceState::Up, cpu(0.37)), "up 63%\n");
        assert_eq!(line(ServiceState::Up, cpu(0.0)), "up 100%\n");
        let load = Load { tunnels: Some(300), tunnels_max: Some(1000), ..cpu(0.1) };
        assert_eq!(line(ServiceState::Up, load), "up 80%\n");
    }

    #[test]
    fn busy_is_not_full() {
        for ratio in [0.99, 0.994, 0.999, 1.0] {
            assert_eq!(line(ServiceState::Up, cpu(ratio)), "up 1%\n");
        }
    }

    #[test]
    fn where_no_load_is_known_the_weight_is_the_configured_one() {
        assert_eq!(line(ServiceState::Up, Load::default()), "up 100%\n");
    }

    #[test]
    fn one_that_is_full_or_drains_wants_no_newcomers() {
        let tunnels = Load { tunnels: Some(1000), tunnels_max: Some(1000), ..cpu(0.1) };
        let pool = Load { pool_used: Some(254), pool_size: Some(254), ..cpu(0.1) };
        for load in [tunnels, pool] {
            assert_eq!(line(ServiceState::Up, load), "up 0%\n");
        }
        assert_eq!(line(ServiceState::Draining, cpu(0.1)), "up 0%\n");
    }

    #[test]
    fn one_that_fails_is_down_with_the_reason_however_full_it_is() {
        let full = Load { tunnels: Some(1), tunnels_max: Some(1), ..Load::default() };
        assert_eq!(line(ServiceState::Down, full), "down #portal: connection refused\n");
        let silent = AgentState { checks: Vec::new(), ..state(ServiceState::Down, Load::default()) };
        let told = AgentCheck::of(&silent, &FenceSection::none()).to_string();
        assert_eq!(told, "down #it calls itself down and names no failing check\n");
    }

    #[test]
    fn behind_its_fence_it_is_down_for_whoever_comes() {
        let holder = |by: &str, reason: &str| HolderSection {
            by: by.into(),
            reason: reason.into(),
            until: SystemTime::UNIX_EPOCH.into(),
        };
        let told = |holders: Vec<HolderSection>| {
            let fence = FenceSection { blocked: true, holders, ..FenceSection::none() };
            AgentCheck::of(&state(ServiceState::Up, cpu(0.1)), &fence).to_string()
        };
        assert_eq!(
            told(vec![holder("front-a", "no answer"), holder("front-b", "x")]),
            "down #fenced by front-a: no answer\n"
        );
        assert_eq!(told(Vec::new()), "down #fenced\n");
    }

    #[test]
    fn a_description_is_one_short_line_of_ascii() {
        let told = |reason: &str| AgentCheck::Down(reason.to_owned()).to_string();
        assert_eq!(told("exec: grün, # 50%\r\nup 100%\n"), "down #exec: gr?n, # 50%??up 100%?\n");
        let long = told(&"x".repeat(1000));
        assert_eq!((long.len(), long.is_ascii()), ("down #\n".len() + DESCRIPTION_LIMIT, true));
        assert!(long.ends_with("x~\n"));
    }
}
