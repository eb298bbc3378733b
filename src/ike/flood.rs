//! Whether more comes than real clients ever send. Pure: the time is an argument.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Counts requests, over all threads and without a lock, and tells a flood: more than so many in one second. It lasts
/// until there have been no more than half as many in each of the last few seconds.
#[derive(Debug)]
pub struct Flood {
    begun: Instant,
    most_per_second: u32,
    /// The second that is being counted, and in the lower half what has come in it.
    window: AtomicU64,
    /// The second with which the flood is over; 0: there has been none.
    over: AtomicU64,
}

impl Flood {
    /// None so far.
    pub fn new(most_per_second: u32, now: Instant) -> Self {
        Self { begun: now, most_per_second, window: AtomicU64::new(0), over: AtomicU64::new(0) }
    }

    /// Counts a request, and tells whether it is one of a flood.
    pub fn note(&self, now: Instant) -> bool {
        let second = now.saturating_duration_since(self.begun).as_secs();
        let count = self.count(second);
        let is_on = second < self.over.load(Ordering::Relaxed);
        let most = if is_on { self.most_per_second / 2 } else { self.most_per_second };
        if count > most {
            self.over.fetch_max(second.saturating_add(CALM.as_secs() + 1), Ordering::Relaxed);
        }
        is_on || count > most
    }

    /// How many have come in this second, with this one.
    fn count(&self, second: u64) -> u32 {
        // whoever is the first in a second loses what others count meanwhile; that is near enough
        let window = self.window.load(Ordering::Relaxed);
        if window >> 32 == second & u64::from(u32::MAX) {
            // four thousand million in a second do not come
            self.window.fetch_add(1, Ordering::Relaxed) as u32 + 1
        } else {
            self.window.store(second << 32 | 1, Ordering::Relaxed);
            1
        }
    }
}

/// For so long there has to be calm before a flood is over.
const CALM: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of those that come in a second are of a flood.
    fn in_second(flood: &Flood, second: u64, requests: u32) -> u32 {
        let at = |i: u32| flood.begun + Duration::from_secs(second) + Duration::from_micros(i.into());
        (0..requests).filter(|i| flood.note(at(*i))).count() as u32
    }

    #[test]
    fn a_flood_is_more_than_so_many_in_one_second() {
        let flood = Flood::new(500, Instant::now());
        for second in 0..10 {
            assert_eq!(in_second(&flood, second, 500), 0);
        }
        assert_eq!(in_second(&flood, 10, 800), 300);
    }

    #[test]
    fn a_flood_is_over_after_a_few_seconds_with_half_as_many() {
        let flood = Flood::new(500, Instant::now());
        assert_eq!(in_second(&flood, 1, 501), 1);
        for second in 2..30 {
            assert_eq!(in_second(&flood, second, 251), 251, "it goes on");
        }
        for second in 30..33 {
            assert_eq!(in_second(&flood, second, 250), 250);
        }
        assert_eq!(in_second(&flood, 33, 500), 0);
        assert_eq!(in_second(&flood, 34, 501), 1);
        assert_eq!(in_second(&flood, 100, 500), 0, "silence is calm, too");
    }

    #[test]
    fn threads_count_together() {
        let flood = Flood::new(500, Instant::now());
        flood.note(flood.begun);
        let count = || (0..1000).filter(|_| flood.note(flood.begun)).count();
        let told: usize = std::thread::scope(|scope| {
            let threads = [scope.spawn(count), scope.spawn(count)];
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert!(told >= 2001 - 500, "{told}");
    }
}
