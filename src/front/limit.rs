use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::settings::Limits;
use crate::fleet::source;

/// Counts a listener's connections, over all workers, altogether and by source, and says who is too many. Where
/// requests are taken to gateways, each that is under way beside another one of its connection counts like one more.
///
/// Sources are counted in two rows of counters, each source in one counter of each row, found by a secret
/// hash: memory is bounded however many sources there are, and no lock is taken. A source is refused when
/// both of its counters are full, of itself or of others: with a secret hash, and some counters for each
/// connection, that is too rare to meet or to arrange, unless a source is allowed fewer than four.
#[derive(Debug)]
pub struct Admission {
    connections: AtomicU32,
    rows: [Box<[AtomicU32]>; 2],
    secret: RandomState,
}

/// A place that has been given. Dropping it gives it back.
#[derive(Debug)]
pub struct Place {
    admission: Arc<Admission>,
    /// `None`: it is not known yet for whom it is.
    slots: Option<[usize; 2]>,
}

/// Why a connection is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The listener is full.
    Connections,
    /// This source has all that one source may have.
    ConnectionsPerSource,
    /// A trusted proxy has not said who comes.
    ProxyHeader,
    /// The name that the client asks for is none of those that are let through, or it asks for none.
    ServerName,
}

impl Rejection {
    /// All, in the order of [`Self::index`].
    pub const ALL: [Self; 4] =
        [Self::Connections, Self::ConnectionsPerSource, Self::ProxyHeader, Self::ServerName];

    /// The word used in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::ConnectionsPerSource => "connections_per_source",
            Self::ProxyHeader => "proxy_header",
            Self::ServerName => "server_name",
        }
    }

    /// Its place in [`Self::ALL`].
    pub fn index(self) -> usize {
        match self {
            Self::Connections => 0,
            Self::ConnectionsPerSource => 1,
            Self::ProxyHeader => 2,
            Self::ServerName => 3,
        }
    }
}

impl Admission {
    /// Nobody is here yet.
    pub fn new() -> Self {
        let row = || (0..ROW).map(|_| AtomicU32::new(0)).collect();
        Self { connections: AtomicU32::new(0), rows: [row(), row()], secret: RandomState::new() }
    }

    /// Gives a place to a connection from `address`, or says why not.
    pub fn admit(self: &Arc<Self>, address: IpAddr, limits: &Limits) -> Result<Place, Rejection> {
        let mut place = self.admit_anyone(limits)?;
        place.charge(address, limits)?;
        Ok(place)
    }

    /// Gives a place to a connection that is yet to say from whom it is. It is to be [charged](Place::charge)
    /// then.
    pub fn admit_anyone(self: &Arc<Self>, limits: &Limits) -> Result<Place, Rejection> {
        if self.connections.fetch_add(1, Ordering::Relaxed) >= limits.connections {
            self.connections.fetch_sub(1, Ordering::Relaxed);
            return Err(Rejection::Connections);
        }
        Ok(Place { admission: Arc::clone(self), slots: None })
    }

    /// Places that are taken.
    pub fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }

    fn slots(&self, source: IpAddr) -> [usize; 2] {
        let hash = self.secret.hash_one(source);
        [hash as usize % ROW, (hash >> 32) as usize % ROW]
    }
}

impl Default for Admission {
    fn default() -> Self {
        Self::new()
    }
}

impl Place {
    /// Counts the place to a source, or says that this one has enough. Whom it was counted to before does not
    /// have it any more.
    pub fn charge(&mut self, address: IpAddr, limits: &Limits) -> Result<(), Rejection> {
        self.discharge();
        self.slots = Some(self.admission.slots(source(address)));
        self.count(limits)
    }

    /// Gives one more place to whoever has this one, or says why not.
    pub fn another(&self, limits: &Limits) -> Result<Self, Rejection> {
        let mut place = self.admission.admit_anyone(limits)?;
        place.slots = self.slots;
        place.count(limits)?;
        Ok(place)
    }

    fn count(&self, limits: &Limits) -> Result<(), Rejection> {
        // the emptier of the two is the nearer to the truth
        let counted = self.counters().map(|counter| counter.fetch_add(1, Ordering::Relaxed)).min();
        if counted.is_some_and(|before| before >= limits.connections_per_source) {
            return Err(Rejection::ConnectionsPerSource);
        }
        Ok(())
    }

    fn discharge(&mut self) {
        for counter in self.counters() {
            counter.fetch_sub(1, Ordering::Relaxed);
        }
        self.slots = None;
    }

    fn counters(&self) -> impl Iterator<Item = &AtomicU32> {
        let slots = self.slots.into_iter().flatten();
        self.admission.rows.iter().zip(slots).filter_map(|(row, slot)| row.get(slot))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.discharge();
        self.admission.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One MiB; five counters a connection at the default limit.
const ROW: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(connections: u32, connections_per_source: u32) -> Limits {
        Limits { connections, connections_per_source, ..Limits::default() }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_source_gets_its_share_and_others_still_get_in() {
        let (admission, limits) = (Arc::new(Admission::new()), limits(100, 2));
        let first = admission.admit(ip("192.0.2.1"), &limits).unwrap();
        let _second = admission.admit(ip("::ffff:192.0.2.1"), &limits).unwrap();
        let third = admission.admit(ip("192.0.2.1"), &limits);
        assert_eq!(third.err(), Some(Rejection::ConnectionsPerSource));
        assert!(admission.admit(ip("192.0.2.2"), &limits).is_ok());
        drop(first);
        assert!(admission.admit(ip("192.0.2.1"), &limits).is_ok());
    }

    #[test]
    fn an_ipv6_source_is_a_64() {
        let (admission, limits) = (Arc::new(Admission::new()), limits(100, 1));
        let _first = admission.admit(ip("2001:db8:0:1::1"), &limits).unwrap();
        assert!(admission.admit(ip("2001:db8:0:1:ffff::2"), &limits).is_err());
        assert!(admission.admit(ip("2001:db8:0:2::1"), &limits).is_ok());
    }

    #[test]
    fn a_place_is_charged_to_whom_it_turns_out_to_be_for() {
        let (admission, limits) = (Arc::new(Admission::new()), limits(3, 1));
        let mut first = admission.admit_anyone(&limits).unwrap();
        let mut second = admission.admit_anyone(&limits).unwrap();
        let _third = admission.admit_anyone(&limits).unwrap();
        assert_eq!(admission.admit_anyone(&limits).err(), Some(Rejection::Connections));
        first.charge(ip("192.0.2.1"), &limits).unwrap();
        assert_eq!(second.charge(ip("192.0.2.1"), &limits), Err(Rejection::ConnectionsPerSource));
        drop(second);
        assert_eq!(admission.connections(), 2);
        // once more, to somebody else: the first one has nothing any more
        first.charge(ip("192.0.2.2"), &limits).unwrap();
        let other = admission.admit(ip("192.0.2.1"), &limits).unwrap();
        drop((first, other));
        assert!(admission.rows.iter().flatten().all(|c| c.load(Ordering::Relaxed) == 0));
    }

    #[test]
    fn another_place_is_charged_like_the_first() {
        let (admission, limits) = (Arc::new(Admission::new()), limits(3, 2));
        let first = admission.admit(ip("192.0.2.1"), &limits).unwrap();
        let second = first.another(&limits).unwrap();
        assert_eq!(second.another(&limits).err(), Some(Rejection::ConnectionsPerSource));
        assert_eq!(admission.connections(), 2);
        let other = admission.admit(ip("192.0.2.2"), &limits).unwrap();
        assert_eq!(other.another(&limits).err(), Some(Rejection::Connections));
        drop((first, second, other));
        assert_eq!(admission.connections(), 0);
        assert!(admission.rows.iter().flatten().all(|c| c.load(Ordering::Relaxed) == 0));
    }

    #[test]
    fn the_listeners_limit_goes_before_the_sources() {
        let (admission, limits) = (Arc::new(Admission::new()), limits(1, 1));
        let place = admission.admit(ip("192.0.2.1"), &limits).unwrap();
        assert_eq!(admission.admit(ip("192.0.2.1"), &limits).err(), Some(Rejection::Connections));
        assert_eq!(admission.connections(), 1);
        drop(place);
        assert_eq!(admission.connections(), 0);
        assert!(admission.rows.iter().flatten().all(|c| c.load(Ordering::Relaxed) == 0));
    }

    #[test]
    fn fifty_thousand_sources_do_not_get_in_each_others_way() {
        for (allowed, refused_at_most) in [(512, 0), (8, 0), (4, 2), (2, 100)] {
            let limits = limits(50_000, allowed);
            let admission = Arc::new(Admission::new());
            let places: Vec<_> =
                (0..50_000u32).map(|n| admission.admit(IpAddr::from(n.to_be_bytes()), &limits)).collect();
            let refused = places.iter().filter(|place| place.is_err()).count();
            assert!(refused <= refused_at_most, "{refused} refused where {allowed} are allowed");
        }
    }
}
