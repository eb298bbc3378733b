use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::settings::Limits;

/// How long a connection may still take for what it is doing.
///
/// Kept as one deadline that moves, so that a request costs no timer: the connection's one timer looks
/// here when it fires, and goes on if the deadline has moved meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    header_timeout: Duration,
    idle_timeout: Duration,
    phase: Phase,
    /// Requests that are being answered; over HTTP/2 there may be several.
    serving: u32,
    /// How long a request that is taken to a gateway may stand still.
    standstill: Duration,
    deadline: Instant,
}

/// The pace of one connection, for all its parts. They share a thread.
#[derive(Clone, Debug)]
pub struct SharedPace(Rc<Cell<Pace>>);

impl SharedPace {
    /// Shares a pace.
    pub fn new(pace: Pace) -> Self {
        Self(Rc::new(Cell::new(pace)))
    }

    /// The pace as it is now.
    pub fn get(&self) -> Pace {
        self.0.get()
    }

    /// Changes it for all.
    pub fn update(&self, change: impl FnOnce(&mut Pace)) {
        let mut pace = self.0.get();
        change(&mut pace);
        self.0.set(pace);
    }
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing has come yet.
    Opening,
    /// A request has begun.
    Reading,
    /// A request is being answered.
    Serving,
    /// Waiting for the next request.
    Idle,
    /// Said goodbye; the other side has yet to.
    Closing,
}

impl Pace {
    /// A new connection, whose first request is due.
    pub fn new(limits: &Limits, now: Instant) -> Self {
        Self {
            header_timeout: limits.header_timeout,
            idle_timeout: limits.idle_timeout,
            phase: Phase::Opening,
            serving: 0,
            standstill: Duration::ZERO,
            deadline: now + limits.header_timeout,
        }
    }

    /// Whether nothing is under way, so that it can be closed without anyone losing anything.
    pub fn is_waiting(&self) -> bool {
        matches!(self.phase, Phase::Opening | Phase::Idle)
    }

    /// Whether a request is on its way to a gateway, or its response on its way back.
    pub fn is_carrying(&self) -> bool {
        self.phase == Phase::Serving && !self.standstill.is_zero()
    }

    /// What it is doing.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// When it must have done so.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The first bytes of the next request have come.
    pub fn bytes_came(&mut self, now: Instant) {
        match self.phase {
            Phase::Opening => self.phase = Phase::Reading,
            Phase::Idle => self.go(Phase::Reading, now + self.header_timeout),
            Phase::Reading | Phase::Serving | Phase::Closing => {}
        }
    }

    /// A request's head is complete; its body, if any, has as long as a head.
    pub fn request_came(&mut self, now: Instant) {
        self.serving += 1;
        if self.phase != Phase::Closing {
            self.go(Phase::Serving, now + self.header_timeout);
        }
    }

    /// A request's head is complete, and it is taken to a gateway: that may take as long as it needs, but not
    /// stand still for longer than this.
    pub fn carried_request_came(&mut self, standstill: Duration, now: Instant) {
        self.serving += 1;
        self.standstill = standstill;
        if self.phase != Phase::Closing {
            self.go(Phase::Serving, now + standstill);
        }
    }

    /// Bytes have gone to the client or come from it.
    pub fn bytes_moved(&mut self, now: Instant) {
        if self.is_carrying() {
            self.deadline = self.deadline.max(now + self.standstill);
        }
    }

    /// A request has its answer, which leaves right away. Bytes of the next request that came together with
    /// the last one go unnoticed; then it is the idle timeout that ends the wait for the rest.
    pub fn answered(&mut self, now: Instant) {
        self.serving = self.serving.saturating_sub(1);
        if self.serving == 0 && self.phase == Phase::Serving {
            self.go(Phase::Idle, now + self.idle_timeout);
        }
    }

    /// No more requests are wanted, but one that is on its way may still come.
    pub fn hurry(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Opening | Phase::Reading) {
            self.deadline = self.deadline.min(now + LAST_CHANCE);
        }
    }

    /// This side has said all it will.
    pub fn closing(&mut self, now: Instant) {
        if self.phase != Phase::Closing {
            self.go(Phase::Closing, now + LINGER);
        }
    }

    fn go(&mut self, phase: Phase, deadline: Instant) {
        self.phase = phase;
        self.deadline = deadline;
    }
}

/// How long what the other side still sends is read and thrown away after the last answer. To close before
/// would reset the connection, and the reset can overtake the answer (RFC 9112 §9.6).
pub const LINGER: Duration = Duration::from_secs(2);

/// How long who has just come has to ask when we stop.
pub const LAST_CHANCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_on_its_way_to_a_gateway_lasts_as_long_as_bytes_move() {
        let (mut pace, now) = pace();
        pace.carried_request_came(s(36), now);
        assert_eq!((pace.phase(), pace.deadline()), (Phase::Serving, now + s(36)));
        for minute in 1..100 {
            pace.bytes_moved(now + s(minute * 30));
            assert_eq!(pace.deadline(), now + s(minute * 30 + 36));
        }
        pace.answered(now + s(3000));
        assert_eq!((pace.phase(), pace.deadline()), (Phase::Idle, now + s(3060)));
        pace.bytes_moved(now + s(3001));
        assert_eq!(pace.deadline(), now + s(3060), "what moves between requests buys no time");
    }

    #[test]
    fn bytes_buy_no_time_for_a_request_that_is_answered_here() {
        let (mut pace, now) = pace();
        pace.request_came(now);
        pace.bytes_moved(now + s(5));
        assert_eq!(pace.deadline(), now + s(10));
    }

    fn pace() -> (Pace, Instant) {
        let now = Instant::now();
        let limits = Limits {
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            ..Limits::default()
        };
        (Pace::new(&limits, now), now)
    }

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_first_request_is_due_within_the_header_timeout() {
        let (mut pace, now) = pace();
        pace.bytes_came(now + s(9));
        assert_eq!((pace.phase(), pace.deadline()), (Phase::Reading, now + s(10)), "a byte buys no time");
    }

    #[test]
    fn between_requests_a_connection_may_idle_but_a_request_once_begun_must_come() {
        let (mut pace, now) = pace();
        pace.request_came(now);
        assert_eq!((pace.phase(), pace.deadline()), (Phase::Serving, now + s(10)));
        pace.answered(now + s(1));
        assert_eq!((pace.phase(), pace.deadline()), (Phase::Idle, now + s(61)));
        pace.bytes_came(now + s(50));
        assert_eq!((pace.phase(), pace.deadline()), (Phase::Reading, now + s(60)));
        pace.bytes_came(now + s(55));
        assert_eq!(pace.deadline(), now + s(60), "nor does every further byte");
    }

    #[test]
    fn several_requests_at_a_time_are_idle_when_the_last_is_answered() {
        let (mut pace, now) = pace();
        pace.request_came(now);
        pace.request_came(now);
        pace.answered(now);
        assert_eq!(pace.phase(), Phase::Serving);
        pace.answered(now);
        assert_eq!(pace.phase(), Phase::Idle);
    }

    #[test]
    fn at_a_stop_a_request_is_hurried_and_an_answer_is_not() {
        let (mut pace, now) = pace();
        pace.hurry(now);
        assert_eq!(pace.deadline(), now + LAST_CHANCE);
        pace.request_came(now);
        pace.hurry(now);
        assert_eq!(pace.deadline(), now + s(10));
    }

    #[test]
    fn the_goodbye_is_short_and_final() {
        let (mut pace, now) = pace();
        pace.closing(now);
        pace.closing(now + s(1));
        pace.bytes_came(now + s(1));
        pace.request_came(now + s(1));
        pace.answered(now + s(1));
        assert_eq!((pace.phase(), pace.deadline()), (Phase::Closing, now + LINGER));
    }
}
