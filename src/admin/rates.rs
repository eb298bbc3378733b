//! How fast a listener's counters grow.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// What a listener has counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// TLS handshakes, however they ended.
    pub handshakes: u64,
    /// Answers of any kind; where connections are passed through, those that reached a gateway.
    pub answers: u64,
    /// Connections and requests turned away at the door.
    pub rejected: u64,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
}

/// The same by the second, over the last [`WINDOW`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// TLS handshakes, however they ended.
    pub handshakes_per_second: f64,
    /// Answers of any kind; where connections are passed through, those that reached a gateway.
    pub answers_per_second: f64,
    /// Connections and requests turned away at the door.
    pub rejected_per_second: f64,
    /// Bytes from clients.
    pub in_bytes_per_second: f64,
    /// Bytes to clients.
    pub out_bytes_per_second: f64,
}

/// What rates are taken over: short enough to be of the moment, long enough to be read.
pub const WINDOW: Duration = Duration::from_secs(10);

/// What a listener had counted, over the last while.
#[derive(Clone, Debug, Default)]
pub struct Track(VecDeque<(Instant, Counted)>);

impl Track {
    /// Notes what it has counted by now. Called about once a second.
    pub fn note(&mut self, counted: Counted, now: Instant) {
        self.0.push_back((now, counted));
        // the last one that is as old as the window is where the window begins
        while self.0.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= WINDOW) {
            self.0.pop_front();
        }
    }

    /// `None` before there is anything to compare.
    pub fn rates(&self) -> Option<Rates> {
        let ((begun, first), (ended, last)) = (self.0.front()?, self.0.back()?);
        let seconds = ended.saturating_duration_since(*begun).as_secs_f64();
        if seconds <= 0.0 {
            return None;
        }
        let rate = |of: fn(&Counted) -> u64| {
            // less than before: a listener of that name was opened anew
            let grown = of(last).saturating_sub(of(first));
            (grown as f64 / seconds * 10.0).round() / 10.0
        };
        Some(Rates {
            handshakes_per_second: rate(|counted| counted.handshakes),
            answers_per_second: rate(|counted| counted.answers),
            rejected_per_second: rate(|counted| counted.rejected),
            in_bytes_per_second: rate(|counted| counted.bytes_in),
            out_bytes_per_second: rate(|counted| counted.bytes_out),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(count: u64) -> Counted {
        Counted { answers: count, bytes_out: count * 1000, ..Counted::default() }
    }

    #[test]
    fn a_rate_is_over_the_last_ten_seconds_however_long_it_was_quiet_before() {
        let (mut track, start) = (Track::default(), Instant::now());
        for second in 0..100 {
            track.note(answers(0), start + Duration::from_secs(second));
        }
        for second in 100..=110 {
            track.note(answers((second - 100) * 7), start + Duration::from_secs(second));
        }
        let rates = track.rates().unwrap();
        assert_eq!((rates.answers_per_second, rates.out_bytes_per_second), (7.0, 7000.0));
        assert!(track.0.len() <= 12, "{}", track.0.len());
    }

    #[test]
    fn nothing_is_said_of_a_listener_that_was_seen_once() {
        let mut track = Track::default();
        assert_eq!(track.rates(), None);
        track.note(answers(5), Instant::now());
        assert_eq!(track.rates(), None);
    }

    #[test]
    fn counters_that_begin_anew_are_no_negative_rate() {
        let (mut track, start) = (Track::default(), Instant::now());
        track.note(answers(500), start);
        track.note(answers(3), start + Duration::from_secs(1));
        assert_eq!(track.rates().unwrap().answers_per_second, 0.0);
    }
}
