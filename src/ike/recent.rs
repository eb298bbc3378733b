use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::message::Spi;
use crate::fleet::PENDING_LIFETIME;

/// Which gateways one thread has named lately, so that a request that is sent once more gets the same answer and counts
/// once. The kernel gives all that comes from one address and port to the same thread.
///
/// Each request has one cell, found by a secret hash, and whoever comes later takes it over: memory is bounded, and a
/// repetition that is not known any more counts as a request of its own.
#[derive(Debug)]
pub struct Recent {
    cells: Box<[Option<Cell>]>,
    secret: RandomState,
}

#[derive(Clone, Copy, Debug)]
struct Cell {
    hash: u64,
    at: Instant,
    generation: u64,
    gateway: usize,
}

impl Recent {
    /// None yet.
    pub fn new() -> Self {
        Self { cells: vec![None; CELLS].into(), secret: RandomState::new() }
    }

    /// By what a request is known.
    pub fn hash(&self, from: SocketAddr, spi: &Spi) -> u64 {
        self.secret.hash_one((from, spi))
    }

    /// The place of the gateway that it was given, among those of this generation.
    pub fn find(&self, hash: u64, generation: u64, now: Instant) -> Option<usize> {
        let cell = self.cells.get(hash as usize % CELLS)?.as_ref()?;
        let is_known = cell.hash == hash
            && cell.generation == generation
            && now.saturating_duration_since(cell.at) < LIFETIME;
        is_known.then_some(cell.gateway)
    }

    /// Keeps which it was given.
    pub fn keep(&mut self, hash: u64, generation: u64, gateway: usize, now: Instant) {
        if let Some(cell) = self.cells.get_mut(hash as usize % CELLS) {
            *cell = Some(Cell { hash, at: now, generation, gateway });
        }
    }
}

/// 160 KiB for each thread and address; a flood has to bring cookies before it can fill them.
const CELLS: usize = 4096;
/// After that the first one does not count any more.
const LIFETIME: Duration = PENDING_LIFETIME;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_known_for_a_while() {
        let (mut recent, now) = (Recent::new(), Instant::now());
        let hash = recent.hash(([192, 0, 2, 1], 500).into(), &[1; 8]);
        assert_eq!(recent.find(hash, 3, now), None);
        recent.keep(hash, 3, 7, now);
        let later = now + LIFETIME - Duration::from_millis(1);
        assert_eq!(recent.find(hash, 3, later), Some(7));
        assert_eq!(recent.find(hash, 3, now + LIFETIME), None);
        assert_eq!(recent.find(hash, 4, now), None, "of other gateways");
        for (from, spi) in [("192.0.2.1:501", [1; 8]), ("192.0.2.2:500", [1; 8]), ("192.0.2.1:500", [2; 8])] {
            assert_eq!(recent.find(recent.hash(from.parse().unwrap(), &spi), 3, now), None);
        }
    }

    #[test]
    fn who_comes_later_takes_over() {
        let (mut recent, now) = (Recent::new(), Instant::now());
        for hash in 0..10 * CELLS as u64 {
            recent.keep(hash, 0, 1, now);
        }
        assert_eq!(recent.cells.len(), CELLS);
        assert_eq!((0..10 * CELLS as u64).filter(|hash| recent.find(*hash, 0, now).is_some()).count(), CELLS);
    }
}
