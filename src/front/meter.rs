//! What a listener counts: one meter a worker and listener, each written by its worker alone and added up
//! when somebody looks.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;
use rustls::{HandshakeKind, ProtocolVersion};

use super::limit::Rejection;
use crate::fleet::GatewayName;

/// A counter with one writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds. One writer alone, so a load and a store do, which cost less than an atomic addition.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// What has been added so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number of things that come and go, with one writer.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// One more, for as long as the returned guard lives.
    pub fn up<T>(owner: &Arc<T>, which: fn(&T) -> &Self) -> Counted<T> {
        which(owner).add(1);
        Counted { owner: Arc::clone(owner), which }
    }

    /// How many there are.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }
}

/// One thing that a [`Gauge`] counts, until it is dropped. It must not leave the gauge's one writing thread.
pub struct Counted<T> {
    owner: Arc<T>,
    which: fn(&T) -> &Gauge,
}

impl<T> Drop for Counted<T> {
    fn drop(&mut self) {
        (self.which)(&self.owner).add(u64::MAX);
    }
}

/// Everything one worker counts of one listener.
#[derive(Debug, Default)]
pub struct Meter {
    /// By class: 1xx to 5xx.
    pub responses: [Counter; 5],
    /// Answers that named no gateway.
    pub unavailable: Counter,
    /// By [`Rejection::index`].
    pub rejected: [Counter; Rejection::ALL.len()],
    /// By [`Handshake::index`].
    pub handshakes: [Counter; Handshake::COUNT],
    /// Of the handshakes that succeeded.
    pub handshake_duration: Histogram,
    /// Bytes from and to clients, inside TLS where TLS ends here.
    pub transferred: [Counter; 2],
    gateways: Mutex<BTreeMap<GatewayName, Arc<GatewayMeter>>>,
}

/// Everything one worker counts of one listener and one gateway.
#[derive(Debug, Default)]
pub struct GatewayMeter {
    /// Answers that named it.
    pub redirects: Counter,
    /// Tunnels to it.
    pub tunnels: Gauge,
    /// Connections to it that wait for a request.
    pub idle: Gauge,
    /// Connections to it that have a request or a tunnel, and those that are being opened.
    pub active: Gauge,
    /// Requests taken to it, by [`Fate::index`].
    pub requests: [Counter; Fate::ALL.len()],
    /// Requests that had to go elsewhere, or to it once more.
    pub retries: Counter,
    /// From the end of a request to the head of its response.
    pub response_time: Histogram,
}

/// What became of a request, or a connection, that was taken to a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was answered; the connection stands.
    Answered,
    /// There was no connection to the gateway.
    ConnectFailed,
    /// There was none in time.
    ConnectTimeout,
    /// There was a connection, and no proper response.
    Broken,
    /// There was no response in time.
    ResponseTimeout,
}

impl Fate {
    /// All, in the order of [`Self::index`].
    pub const ALL: [Self; 5] =
        [Self::Answered, Self::ConnectFailed, Self::ConnectTimeout, Self::Broken, Self::ResponseTimeout];

    /// The word used in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::ConnectFailed => "connect_failed",
            Self::ConnectTimeout => "connect_timeout",
            Self::Broken => "broken",
            Self::ResponseTimeout => "response_timeout",
        }
    }

    /// Its place in [`Self::ALL`].
    pub fn index(self) -> usize {
        match self {
            Self::Answered => 0,
            Self::ConnectFailed => 1,
            Self::ConnectTimeout => 2,
            Self::Broken => 3,
            Self::ResponseTimeout => 4,
        }
    }
}

impl GatewayMeter {
    /// Counts a request.
    pub fn request(&self, fate: Fate) {
        if let Some(counter) = self.requests.get(fate.index()) {
            counter.add(1);
        }
    }
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From clients.
    In,
    /// To clients.
    Out,
}

impl Direction {
    /// Both, in the order of [`Self::index`].
    pub const ALL: [Self; 2] = [Self::In, Self::Out];

    /// The word used in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }

    /// Its place in [`Self::ALL`].
    pub fn index(self) -> usize {
        match self {
            Self::In => 0,
            Self::Out => 1,
        }
    }
}

impl Meter {
    /// The meters of these gateways, in their order; those of others are forgotten. Takes a lock: for when
    /// the set of gateways changes, not for when a request comes.
    pub fn of_gateways<'a>(&self, gateways: impl Iterator<Item = &'a GatewayName>) -> Vec<Arc<GatewayMeter>> {
        let mut known = self.gateways.lock().unwrap_or_else(PoisonError::into_inner);
        let mut old = std::mem::take(&mut *known);
        let mut keep = |name: &GatewayName| {
            let meter = old.remove(name).unwrap_or_default();
            known.insert(name.clone(), Arc::clone(&meter));
            meter
        };
        gateways.map(&mut keep).collect()
    }

    /// The meters by gateway.
    pub fn by_gateway(&self) -> Vec<(GatewayName, Arc<GatewayMeter>)> {
        let known = self.gateways.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().map(|(name, meter)| (name.clone(), Arc::clone(meter))).collect()
    }

    /// Counts bytes.
    pub fn transferred(&self, direction: Direction, bytes: usize) {
        if let Some(counter) = self.transferred.get(direction.index()) {
            counter.add(bytes as u64);
        }
    }

    /// Counts an answer.
    pub fn responded(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).saturating_sub(1);
        if let Some(counter) = self.responses.get(class) {
            counter.add(1);
        }
    }

    /// Counts a connection that was turned away.
    pub fn rejected(&self, rejection: Rejection) {
        if let Some(counter) = self.rejected.get(rejection.index()) {
            counter.add(1);
        }
    }

    /// Counts a handshake.
    pub fn handshake(&self, handshake: Handshake) {
        if let Some(counter) = self.handshakes.get(handshake.index()) {
            counter.add(1);
        }
    }
}

/// How a TLS handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// With a session.
    Ok {
        /// TLS 1.3; else 1.2.
        tls13: bool,
        /// By a ticket of an earlier session.
        resumed: bool,
    },
    /// Not in time.
    Timeout,
    /// With an error on either side.
    Error,
}

impl Handshake {
    const COUNT: usize = 6;
    /// All, in the order of [`Self::index`].
    pub const ALL: [Self; Self::COUNT] = [
        Self::Ok { tls13: false, resumed: false },
        Self::Ok { tls13: false, resumed: true },
        Self::Ok { tls13: true, resumed: false },
        Self::Ok { tls13: true, resumed: true },
        Self::Timeout,
        Self::Error,
    ];

    /// That of an established session.
    pub fn of(session: &rustls::ServerConnection) -> Self {
        Self::Ok {
            tls13: session.protocol_version() == Some(ProtocolVersion::TLSv1_3),
            resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
        }
    }

    /// The labels `result`, `version` and `resumed` of the metrics contract.
    pub fn labels(self) -> [&'static str; 3] {
        match self {
            Self::Ok { tls13, resumed } => {
                ["ok", if tls13 { "1.3" } else { "1.2" }, if resumed { "true" } else { "false" }]
            }
            Self::Timeout => ["timeout", "", ""],
            Self::Error => ["error", "", ""],
        }
    }

    /// Its place in [`Self::ALL`].
    pub fn index(self) -> usize {
        match self {
            Self::Ok { tls13, resumed } => usize::from(tls13) * 2 + usize::from(resumed),
            Self::Timeout => 4,
            Self::Error => 5,
        }
    }
}

/// Durations by size.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Counter; BOUNDS.len()],
    count: Counter,
    sum_nanoseconds: Counter,
}

/// Upper bounds in seconds.
pub const BOUNDS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

impl Histogram {
    /// Counts a duration.
    pub fn observe(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        if let Some(bucket) =
            BOUNDS.iter().position(|bound| seconds <= *bound).and_then(|i| self.buckets.get(i))
        {
            bucket.add(1);
        }
        self.count.add(1);
        self.sum_nanoseconds.add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    /// For each bound how many were in its bucket (not cumulated), how many there were, and their sum in
    /// seconds.
    pub fn read(&self) -> ([u64; BOUNDS.len()], u64, f64) {
        let buckets = std::array::from_fn(|i| self.buckets.get(i).map_or(0, Counter::get));
        (buckets, self.count.get(), self.sum_nanoseconds.get() as f64 / 1e9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_a_handshake_ends_has_a_counter_of_its_own() {
        for (i, handshake) in Handshake::ALL.into_iter().enumerate() {
            assert_eq!(handshake.index(), i);
        }
        for (i, rejection) in Rejection::ALL.into_iter().enumerate() {
            assert_eq!(rejection.index(), i);
        }
        for (i, fate) in Fate::ALL.into_iter().enumerate() {
            assert_eq!(fate.index(), i);
        }
        for (i, direction) in Direction::ALL.into_iter().enumerate() {
            assert_eq!(direction.index(), i);
        }
    }

    #[test]
    fn a_histogram_counts_into_the_smallest_bucket_that_fits() {
        let histogram = Histogram::default();
        for milliseconds in [1, 3, 9000] {
            histogram.observe(Duration::from_millis(milliseconds));
        }
        let (buckets, count, sum) = histogram.read();
        assert_eq!((buckets[1], buckets[3], buckets.iter().sum::<u64>(), count), (1, 1, 2, 3));
        assert!((sum - 9.004).abs() < 1e-9);
    }

    #[test]
    fn gateways_that_are_gone_are_forgotten() {
        let (meter, [a, b]) = (Meter::default(), ["a", "b"].map(GatewayName::new));
        meter.of_gateways([&a, &b].into_iter())[1].redirects.add(5);
        meter.of_gateways([&b].into_iter())[0].redirects.add(1);
        let left: Vec<_> =
            meter.by_gateway().into_iter().map(|(name, meter)| (name, meter.redirects.get())).collect();
        assert_eq!(left, [(b, 6)]);
    }

    #[test]
    fn a_gauge_goes_down_when_what_it_counts_is_gone() {
        let meter = Arc::new(GatewayMeter::default());
        let one = Gauge::up(&meter, |meter| &meter.tunnels);
        let two = Gauge::up(&meter, |meter| &meter.tunnels);
        assert_eq!(meter.tunnels.get(), 2);
        drop((one, two));
        assert_eq!(meter.tunnels.get(), 0);
    }

    #[test]
    fn an_odd_status_is_counted_nowhere_and_does_no_harm() {
        let meter = Meter::default();
        meter.responded(StatusCode::from_u16(999).unwrap());
        meter.responded(StatusCode::FOUND);
        assert_eq!(meter.responses.iter().map(Counter::get).collect::<Vec<_>>(), [0, 0, 1, 0, 0]);
    }
}
