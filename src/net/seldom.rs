//! What keeps the log from being flooded. Pure: the time is an argument.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Keeps what anyone can bring about as often as they like from flooding the log, where it would drown, and
/// even push out, what matters: the first event is told by itself, those that follow are summed up.
#[derive(Debug)]
pub struct Seldom {
    one: &'static str,
    many: &'static str,
    untold: Mutex<Untold>,
}

#[derive(Debug, Default)]
struct Untold {
    /// When a line was last written.
    told: Option<Instant>,
    count: u64,
    last: String,
}

/// From one line to the next.
pub const PAUSE: Duration = Duration::from_secs(10);

impl Seldom {
    /// Of an event that is called like this in the singular and the plural.
    pub fn new(one: &'static str, many: &'static str) -> Self {
        Self { one, many, untold: Mutex::default() }
    }

    /// Takes note of an event, and tells whether it is to be logged by itself. If not, it will be in the next
    /// [`sum`](Self::sum).
    pub fn note(&self, now: Instant, client: Option<SocketAddr>, reason: impl Display) -> bool {
        match client {
            Some(client) => self.note_at(now, format_args!("from {client}: {reason}")),
            None => self.note_at(now, format_args!("from somebody unknown: {reason}")),
        }
    }

    /// The same of an event that was no client's doing, told in these words.
    pub fn note_at(&self, now: Instant, words: impl Display) -> bool {
        let mut untold = self.untold();
        if untold.count == 0 && untold.may_tell(now) {
            untold.told = Some(now);
            return true;
        }
        untold.count = untold.count.saturating_add(1);
        untold.last = words.to_string();
        false
    }

    /// The line for the events that have not been told, as soon as there may be another line. Whoever takes
    /// notes asks for it now and then.
    pub fn sum(&self, now: Instant) -> Option<String> {
        let mut untold = self.untold();
        if !untold.may_tell(now) {
            return None;
        }
        let line = self.take(&mut untold)?;
        untold.told = Some(now);
        Some(line)
    }

    /// The same at once: the last line before the end.
    pub fn rest(&self) -> Option<String> {
        self.take(&mut self.untold())
    }

    fn take(&self, untold: &mut Untold) -> Option<String> {
        let last = std::mem::take(&mut untold.last);
        match std::mem::take(&mut untold.count) {
            0 => None,
            1 => Some(format!("1 more {}, {last}", self.one)),
            count => Some(format!("{count} more {}, the last {last}", self.many)),
        }
    }

    fn untold(&self) -> MutexGuard<'_, Untold> {
        self.untold.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Untold {
    fn may_tell(&self, now: Instant) -> bool {
        self.told.is_none_or(|told| now.saturating_duration_since(told) >= PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusals() -> Seldom {
        Seldom::new("request refused", "requests refused")
    }

    fn client(port: u16) -> Option<SocketAddr> {
        Some(SocketAddr::from(([192, 0, 2, 1], port)))
    }

    #[test]
    fn the_first_is_told_at_once_and_the_others_in_one_line_every_ten_seconds() {
        let (refusals, start) = (refusals(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(refusals.note(at(0), client(1), "no"));
        for port in 2..1000 {
            assert!(!refusals.note(at(1), client(port), "no"));
        }
        assert_eq!(refusals.sum(at(9)), None);
        let line = "998 more requests refused, the last from 192.0.2.1:999: no";
        assert_eq!(refusals.sum(at(10)).as_deref(), Some(line));
        // that was a line, too
        assert!(!refusals.note(at(19), client(7), "never"));
        assert_eq!(refusals.sum(at(19)), None);
        let line = "1 more request refused, from 192.0.2.1:7: never";
        assert_eq!(refusals.sum(at(20)).as_deref(), Some(line));
    }

    #[test]
    fn after_a_pause_the_next_is_a_first_again() {
        let (refusals, start) = (refusals(), Instant::now());
        assert!(refusals.note(start, client(1), "no"));
        // to have asked in vain is no line
        assert_eq!(refusals.sum(start + PAUSE), None);
        assert!(refusals.note(start + PAUSE, client(1), "no"));
    }

    #[test]
    fn nothing_is_lost_while_nobody_asks_for_the_sum() {
        let (refusals, start) = (refusals(), Instant::now());
        refusals.note(start, client(1), "no");
        assert!(!refusals.note(start, client(2), "no"));
        assert!(!refusals.note(start + PAUSE, None, "none"));
        let line = "2 more requests refused, the last from somebody unknown: none";
        assert_eq!(refusals.sum(start + PAUSE).as_deref(), Some(line));
        assert_eq!(refusals.rest(), None);
    }

    #[test]
    fn the_rest_does_not_wait() {
        let (refusals, start) = (refusals(), Instant::now());
        refusals.note(start, client(1), "no");
        refusals.note(start, client(2), "no");
        assert_eq!(refusals.rest().as_deref(), Some("1 more request refused, from 192.0.2.1:2: no"));
    }
}
