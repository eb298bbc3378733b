use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::fleet::source;

/// The places that a door of the control plane has for connections: so many altogether, and so many for
/// each source.
#[derive(Debug)]
pub(super) struct Places {
    all: usize,
    per_source: usize,
    taken: Mutex<Taken>,
}

/// A place that has been given. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    source: Option<IpAddr>,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoPlace {
    #[error("all {0} places are taken")]
    AllTaken(usize),
    #[error("this source has all the {0} places that one source may have")]
    SourceHasEnough(usize),
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    /// Those that have at least one.
    by_source: HashMap<IpAddr, usize>,
}

impl Places {
    pub(super) fn new(all: usize, per_source: usize) -> Self {
        Self { all, per_source, taken: Mutex::default() }
    }

    /// Gives a place to a connection; one without an address counts for no source.
    pub(super) fn take(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Place, NoPlace> {
        let source = address.map(source);
        let mut taken = self.taken();
        if taken.all >= self.all {
            return Err(NoPlace::AllTaken(self.all));
        }
        if let Some(source) = source {
            let of_source = taken.by_source.entry(source).or_default();
            if *of_source >= self.per_source {
                return Err(NoPlace::SourceHasEnough(self.per_source));
            }
            *of_source += 1;
        }
        taken.all += 1;
        Ok(Place { places: Arc::clone(self), source })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all -= 1;
        let Some(source) = self.source else { return };
        if let Entry::Occupied(mut of_source) = taken.by_source.entry(source) {
            *of_source.get_mut() -= 1;
            if *of_source.get() == 0 {
                of_source.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(places: &Arc<Places>, address: &str) -> Result<Place, NoPlace> {
        places.take(Some(address.parse().unwrap()))
    }

    #[test]
    fn a_source_gets_its_share_and_others_still_get_in() {
        let places = Arc::new(Places::new(3, 2));
        let first = take(&places, "192.0.2.1").unwrap();
        let _second = take(&places, "::ffff:192.0.2.1").unwrap();
        assert_eq!(take(&places, "192.0.2.1").unwrap_err(), NoPlace::SourceHasEnough(2));
        let other = take(&places, "192.0.2.2").unwrap();
        assert_eq!(take(&places, "192.0.2.3").unwrap_err(), NoPlace::AllTaken(3));
        drop(other);
        assert_eq!(take(&places, "192.0.2.1").unwrap_err(), NoPlace::SourceHasEnough(2));
        drop(first);
        assert!(take(&places, "192.0.2.1").is_ok());
    }

    #[test]
    fn an_ipv6_source_is_a_64() {
        let places = Arc::new(Places::new(3, 1));
        let _first = take(&places, "2001:db8:0:1::1").unwrap();
        assert!(take(&places, "2001:db8:0:1:ffff::2").is_err());
        assert!(take(&places, "2001:db8:0:2::1").is_ok());
    }

    #[test]
    fn without_an_address_only_the_places_altogether_count() {
        let places = Arc::new(Places::new(3, 1));
        let taken: Vec<_> = (0..3).map(|_| places.take(None).unwrap()).collect();
        assert_eq!(places.take(None).unwrap_err(), NoPlace::AllTaken(3));
        drop(taken);
        assert!(places.take(None).is_ok());
    }

    #[test]
    fn sources_that_have_gone_are_forgotten() {
        let places = Arc::new(Places::new(1, 1));
        for n in 0..1000_u32 {
            drop(places.take(Some(IpAddr::from(n.to_be_bytes()))).unwrap());
        }
        let _all = places.take(None).unwrap();
        for n in 0..1000_u32 {
            places.take(Some(IpAddr::from(n.to_be_bytes()))).unwrap_err();
        }
        assert!(places.taken().by_source.is_empty());
    }
}
