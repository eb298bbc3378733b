use std::sync::Arc;
use std::time::Instant;

use super::fence::Wanted;
use crate::net::firewall::FirewallError;
use crate::net::seldom::Seldom;

/// What the log has been told of a fence, so that it is told of changes alone.
#[derive(Debug)]
pub(super) struct FenceLog {
    /// Whose block is in force.
    holders: Vec<Arc<str>>,
    /// Whether the gateway's own block is known to be suspended.
    is_suspended: bool,
    failures: Seldom,
    repairs: Seldom,
}

impl Default for FenceLog {
    fn default() -> Self {
        Self {
            holders: Vec::new(),
            is_suspended: false,
            failures: Seldom::new(
                "time the firewall could not be set",
                "times the firewall could not be set",
            ),
            repairs: Seldom::new("time the rules had been changed", "times the rules had been changed"),
        }
    }
}

impl FenceLog {
    /// Tells whose leases have run out.
    pub(super) fn ran_out(&self, wanted: &Wanted) {
        for holder in &wanted.ran_out {
            tracing::warn!(holder = &**holder, "its block has not been renewed and has run out");
        }
    }

    /// Tells what has changed now that this is in force; whether somebody else had changed the rules.
    pub(super) fn in_force(&mut self, wanted: Wanted, is_repaired: bool, now: Instant) {
        if is_repaired && self.repairs.note_at(now, "put in order again") {
            tracing::warn!(
                "somebody else had changed the firewall's rules, a second agent on this host perhaps; they are in \
                 order again"
            );
        }
        let mut was_blocked = !self.holders.is_empty();
        for hold in &wanted.holders {
            let (holder, reason) = (&*hold.by, &*hold.reason);
            if self.holders.contains(&hold.by) {
                continue;
            } else if was_blocked {
                tracing::info!(holder, reason, "one more has newcomers refused");
            } else {
                tracing::warn!(holder, reason, "newcomers are refused");
                was_blocked = true;
            }
        }
        let mut gone =
            self.holders.iter().filter(|by| !wanted.holders.iter().any(|hold| hold.by == **by)).peekable();
        while let Some(holder) = gone.next() {
            let holder = &**holder;
            if wanted.holders.is_empty() && gone.peek().is_none() {
                tracing::info!(holder, "newcomers are let in again");
            } else {
                tracing::info!(holder, "one less has newcomers refused");
            }
        }
        if let Some((own, keepers)) = &wanted.suspended
            && !self.is_suspended
        {
            let by = keepers.join(", ");
            tracing::warn!(by, reason = &*own.reason, "own checks fail, but this gateway is kept open");
        }
        self.is_suspended = wanted.suspended.is_some();
        self.holders = wanted.holders.into_iter().map(|hold| hold.by).collect();
        self.sum(now);
    }

    /// Tells that rules could not be set.
    pub(super) fn failed(&mut self, error: &FirewallError, now: Instant) {
        if self.failures.note_at(now, format_args!("with: {error}")) {
            tracing::warn!(%error, "the firewall could not be set; it is tried again each second");
        }
        self.sum(now);
    }

    /// Tells what is left to tell.
    pub(super) fn end(&self) {
        self.tell(Seldom::rest);
    }

    fn sum(&self, now: Instant) {
        self.tell(|seldom| seldom.sum(now));
    }

    fn tell(&self, line: impl Fn(&Seldom) -> Option<String>) {
        for line in [&self.failures, &self.repairs].into_iter().filter_map(line) {
            tracing::warn!("{line}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::heartbeat::leases::Leases;
    use crate::net::heard::Heard;

    fn wanted(leases: &Leases, now: Instant) -> Wanted {
        let keepers = leases.keepers(now).map(|(by, _)| Arc::clone(by)).collect();
        Wanted {
            block: leases.block(now),
            exempt: Vec::new(),
            holders: leases.effective(now).cloned().collect(),
            suspended: leases.suspended(now).map(|own| (own.clone(), keepers)),
            ran_out: Vec::new(),
        }
    }

    #[test]
    fn changes_are_told_once_each_with_who_and_why() {
        let heard = Heard::begin();
        let (mut log, mut leases, now) = (FenceLog::default(), Leases::default(), Instant::now());
        let lease = Duration::from_secs(15);
        let mut tell = |leases: &Leases| {
            for _ in 0..2 {
                log.in_force(wanted(leases, now), false, now);
            }
            heard.lines()
        };
        assert_eq!(tell(&leases), [""; 0]);
        leases.hold_own("portal: 503", lease, now);
        let refused = "WARN newcomers are refused holder=\"self\" reason=\"portal: 503\"";
        assert_eq!(tell(&leases), [refused]);
        leases.hold("front-a", "no route", lease, now).unwrap();
        let more = "INFO one more has newcomers refused holder=\"front-a\" reason=\"no route\"";
        assert_eq!(tell(&leases), [more]);
        leases.keep_open("front-b", lease, now).unwrap();
        let kept =
            "WARN own checks fail, but this gateway is kept open by=\"front-b\" reason=\"portal: 503\"";
        assert_eq!(tell(&leases), ["INFO one less has newcomers refused holder=\"self\"", kept]);
        leases.give_up("front-a");
        assert_eq!(tell(&leases), ["INFO newcomers are let in again holder=\"front-a\""]);
        leases.close("front-b");
        assert_eq!(tell(&leases), [refused]);
    }

    #[test]
    fn what_happens_again_and_again_is_told_in_one_line() {
        let heard = Heard::begin();
        let (mut log, leases, now) = (FenceLog::default(), Leases::default(), Instant::now());
        for _ in 0..3 {
            log.in_force(wanted(&leases, now), true, now);
            log.failed(&FirewallError::Failed("nft: no".to_owned()), now);
        }
        log.end();
        let lines = [
            "WARN somebody else had changed the firewall's rules, a second agent on this host perhaps; they are in order \
             again",
            "WARN the firewall could not be set; it is tried again each second error=nft: no",
            "WARN 2 more times the firewall could not be set, the last with: nft: no",
            "WARN 2 more times the rules had been changed, the last put in order again",
        ];
        assert_eq!(heard.lines(), lines);
    }
}
