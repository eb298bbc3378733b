use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::fleet::{GatewayName, Snapshot};

/// What is counted at one address, by all threads together.
#[derive(Debug, Default)]
pub struct Meter {
    outcomes: [AtomicU64; Outcome::ALL.len()],
    redirects: Mutex<Redirects>,
}

/// What became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered with a gateway.
    Redirected,
    /// It was asked for a cookie.
    Challenged,
    /// It follows no redirects, or was redirected before, and was told that there is nothing for it.
    Refused,
    /// It was told the same because no gateway was available.
    Unavailable,
    /// It got no answer because this front door was not the active one.
    Standby,
    /// It got no answer because its source had had enough, or because the answer would have been longer than it.
    Dropped,
    /// It was no IKE_SA_INIT request of IKE 2.
    Ignored,
}

impl Outcome {
    /// All, in the order of [`Self::index`].
    pub const ALL: [Self; 7] = [
        Self::Redirected,
        Self::Challenged,
        Self::Refused,
        Self::Unavailable,
        Self::Standby,
        Self::Dropped,
        Self::Ignored,
    ];

    /// The word used in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Redirected => "redirected",
            Self::Challenged => "cookie",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
            Self::Standby => "standby",
            Self::Dropped => "dropped",
            Self::Ignored => "ignored",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

/// How often each gateway was named.
#[derive(Debug, Default)]
struct Redirects {
    /// Whose gateways they are.
    generation: u64,
    by_gateway: BTreeMap<GatewayName, Arc<AtomicU64>>,
}

impl Meter {
    /// Counts a datagram.
    pub fn count(&self, outcome: Outcome) {
        if let Some(counter) = self.outcomes.get(outcome.index()) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many came to that.
    pub fn outcomes(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(outcome.index()).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    /// How often each gateway was named.
    pub fn redirects(&self) -> Vec<(GatewayName, u64)> {
        let known = self.redirects.lock().unwrap_or_else(PoisonError::into_inner);
        known.by_gateway.iter().map(|(name, count)| (name.clone(), count.load(Ordering::Relaxed))).collect()
    }

    /// The counters of redirects to these gateways, in their order; those of gateways that are gone are forgotten. Takes
    /// a lock: for when the set of gateways changes, not for when a datagram comes.
    pub fn of_gateways(&self, snapshot: &Snapshot) -> Vec<Arc<AtomicU64>> {
        let mut known = self.redirects.lock().unwrap_or_else(PoisonError::into_inner);
        let names = snapshot.gateways.iter().map(|view| &view.gateway.name);
        let counters =
            names.map(|name| Arc::clone(known.by_gateway.entry(name.clone()).or_default())).collect();
        // a thread that is late must not take away what another counts already
        if snapshot.generation >= known.generation {
            known.generation = snapshot.generation;
            known.by_gateway.retain(|name, _| snapshot.gateway(name).is_some());
        }
        counters
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::Farm;
    use super::*;

    #[test]
    fn every_outcome_has_a_counter_of_its_own() {
        let meter = Meter::default();
        for (i, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome.index(), i);
            (0..=i).for_each(|_| meter.count(outcome));
        }
        assert_eq!(Outcome::ALL.map(|outcome| meter.outcomes(outcome)), [1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn a_thread_that_is_late_takes_nothing_away() {
        let (meter, mut farm) = (Meter::default(), Farm::new(&["10.0.0.1", "10.0.0.2"]));
        let before = farm.snapshot();
        farm.replace(&["10.0.0.2", "10.0.0.3"]);
        let counters = meter.of_gateways(&farm.snapshot());
        let late = meter.of_gateways(&before);
        late[1].fetch_add(1, Ordering::Relaxed);
        counters[0].fetch_add(1, Ordering::Relaxed);
        counters[1].fetch_add(5, Ordering::Relaxed);
        let told = |meter: &Meter| -> Vec<_> {
            meter.redirects().into_iter().map(|(name, count)| (name.to_string(), count)).collect()
        };
        let all = [("gw-10.0.0.1", 0), ("gw-10.0.0.2", 2), ("gw-10.0.0.3", 5)];
        assert_eq!(told(&meter), all.map(|(name, count)| (name.to_owned(), count)));
        meter.of_gateways(&farm.snapshot());
        assert_eq!(told(&meter).len(), 2, "the next one does");
    }
}
