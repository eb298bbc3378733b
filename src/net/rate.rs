//! How often a source may have something.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// So many a second for each prefix, a second's worth at once; shared by threads without a lock.
///
/// Each prefix has one cell in each of two rows, found by a secret hash, and may have what either of them allows: memory
/// is bounded however many sources there are, or pretend to be, and one prefix is limited wrongly only where
/// others have filled both of its cells.
///
/// A cell is the virtual time of the generic cell rate algorithm (ITU-T I.371, annex A): each thing that is allowed moves
/// it one interval on, and it may be a second ahead.
#[derive(Debug)]
pub struct Rate {
    interval: u64,
    begun: Instant,
    rows: [Box<[AtomicU64]>; 2],
    secret: RandomState,
}

impl Rate {
    /// So many a second; at least one.
    pub fn new(per_second: u32, now: Instant) -> Self {
        let row = || (0..ROW).map(|_| AtomicU64::new(0)).collect();
        let interval = SECOND / u64::from(per_second.max(1));
        Self { interval, begun: now, rows: [row(), row()], secret: RandomState::new() }
    }

    /// Whether `from` may have one now; counts it if so.
    pub fn allows(&self, from: IpAddr, now: Instant) -> bool {
        let now = u64::try_from(now.saturating_duration_since(self.begun).as_nanos()).unwrap_or(u64::MAX);
        let hash = self.secret.hash_one(prefix(from));
        let slots = [hash as usize % ROW, (hash >> 32) as usize % ROW];
        let cells = || self.rows.iter().zip(slots).filter_map(|(row, slot)| row.get(slot));
        let latest = now.saturating_add(SECOND);
        let next = |cell: u64| cell.max(now).saturating_add(self.interval);
        if !cells().any(|cell| next(cell.load(Ordering::Relaxed)) <= latest) {
            return false;
        }
        for cell in cells() {
            // two threads at once may both be allowed the last one; that is near enough
            let moved = next(cell.load(Ordering::Relaxed)).min(latest);
            cell.store(moved, Ordering::Relaxed);
        }
        true
    }
}

/// Whom a limit is for: an IPv4 /24, an IPv6 /56, which is what one site has (RFC 6177 §2).
fn prefix(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits() >> 8 << 8).into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 72 << 72).into(),
    }
}

/// One MiB for both rows.
const ROW: usize = 64 * 1024;
const SECOND: u64 = Duration::from_secs(1).as_nanos() as u64;

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_prefix_has_a_seconds_worth_at_once_and_then_its_rate() {
        let now = Instant::now();
        let rate = Rate::new(10, now);
        let allowed = |after: u64, n: usize| {
            let at = now + Duration::from_millis(after);
            (0..n).filter(|_| rate.allows(ip("192.0.2.1"), at)).count()
        };
        assert_eq!(allowed(0, 50), 10);
        assert_eq!(allowed(99, 50), 0);
        assert_eq!(allowed(100, 50), 1);
        assert_eq!(allowed(600, 50), 5);
        assert_eq!(allowed(60_000, 50), 10, "what was not used is not saved up");
    }

    #[test]
    fn a_prefix_is_a_24_or_a_56() {
        let now = Instant::now();
        let rate = Rate::new(1, now);
        for (first, same, other) in [
            ("192.0.2.1", "::ffff:192.0.2.250", "192.0.3.1"),
            ("2001:db8:0:1::1", "2001:db8:0:ff::2", "2001:db8:0:100::1"),
        ] {
            assert!(rate.allows(ip(first), now));
            assert!(!rate.allows(ip(same), now));
            assert!(rate.allows(ip(other), now));
        }
    }

    #[test]
    fn a_flood_from_everywhere_leaves_others_their_share() {
        let now = Instant::now();
        let rate = Rate::new(1, now);
        let served = |network: u32, count: u32| {
            (0..count).filter(|i| rate.allows(Ipv4Addr::from_bits(network | i << 8).into(), now)).count()
        };
        // fills a quarter of each row
        served(0, 20_000);
        // of a hundred, seven find both of their cells filled; twenty-six would, were there one row alone
        assert!(served(0xc600_0000, 1000) > 850);
    }
}
