use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};
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
    deadline: Instant,
}

/// The pace of one connection, for all its parts. They share a thread.
#[derive(Clone)]
pub struct SharedPace(Rc<Shared>);

struct Shared {
    pace: Cell<Pace>,
    /// The requests on their way to gateways and back. As long as there are any, it is their deadlines that count.
    passages: RefCell<Vec<Rc<Passage>>>,
    /// The one that has begun last, until somebody takes it.
    begun: Cell<Option<Rc<Passage>>>,
}

impl SharedPace {
    /// Shares a pace.
    pub fn new(pace: Pace) -> Self {
        let pace = Cell::new(pace);
        Self(Rc::new(Shared { pace, passages: RefCell::default(), begun: Cell::default() }))
    }

    /// The pace as it is now.
    pub fn get(&self) -> Pace {
        self.0.pace.get()
    }

    /// Changes it for all.
    pub fn update(&self, change: impl FnOnce(&mut Pace)) {
        let mut pace = self.0.pace.get();
        change(&mut pace);
        self.0.pace.set(pace);
    }

    /// When the connection, or one of its requests, must have done what it is doing.
    pub fn deadline(&self) -> Instant {
        let first = self.0.passages.borrow().iter().map(|passage| passage.deadline()).min();
        first.unwrap_or_else(|| self.get().deadline())
    }

    /// A request's head is complete, and it is taken to a gateway: that may take as long as it needs, but not
    /// stand still for longer than its `patience`.
    pub fn begin_passage(&self, patience: Duration, now: Instant) -> Rc<Passage> {
        self.update(|pace| pace.request_came(now));
        let passage = Rc::new(Passage {
            moved: Cell::new(now),
            patience: Cell::new(patience),
            is_given_up: Cell::new(false),
            those_who_wait: RefCell::default(),
        });
        self.0.passages.borrow_mut().push(Rc::clone(&passage));
        self.0.begun.set(Some(Rc::clone(&passage)));
        passage
    }

    /// The request that has just begun.
    pub fn take_begun(&self) -> Option<Rc<Passage>> {
        self.0.begun.take()
    }

    /// Whether a request is on its way to a gateway, or its response on its way back.
    pub fn is_carrying(&self) -> bool {
        !self.0.passages.borrow().is_empty()
    }

    /// Bytes have gone to the client or come from it that belong to whatever request there is.
    pub fn bytes_moved(&self, now: Instant) {
        for passage in self.0.passages.borrow().iter() {
            passage.moves(now);
        }
    }

    /// A request has its answer, and its own end has come, or it is given up.
    pub fn end_passage(&self, passage: &Rc<Passage>, now: Instant) {
        let mut passages = self.0.passages.borrow_mut();
        if let Some(at) = passages.iter().position(|other| Rc::ptr_eq(other, passage)) {
            passages.swap_remove(at);
            self.update(|pace| pace.answered(now));
        }
    }

    /// Gives up the requests that have stood still for too long; whether there are any.
    pub fn give_up_overdue(&self, now: Instant) -> bool {
        let passages = self.0.passages.borrow();
        let overdue: Vec<_> =
            passages.iter().filter(|passage| passage.deadline() <= now).map(Rc::clone).collect();
        drop(passages);
        for passage in &overdue {
            self.end_passage(passage, now);
            passage.give_up();
        }
        !overdue.is_empty()
    }

    /// All has been said on this side, and nothing goes on any more.
    pub fn shut_down(&self, now: Instant) {
        self.0.passages.borrow_mut().clear();
        self.update(|pace| pace.closing(now));
    }
}

/// How long one request on its way to a gateway and back may stand still. For how long depends on whom it waits
/// for.
#[derive(Debug)]
pub struct Passage {
    moved: Cell<Instant>,
    patience: Cell<Duration>,
    is_given_up: Cell<bool>,
    those_who_wait: RefCell<Vec<Waker>>,
}

impl Passage {
    /// A part of it has gone on.
    pub fn moves(&self, now: Instant) {
        self.moved.set(now);
    }

    /// It waits from now on, for so long at most.
    pub fn waits(&self, patience: Duration, now: Instant) {
        self.moved.set(now);
        self.patience.set(patience);
    }

    /// Whether it is over for having stood still. If not, the task is woken when it is.
    pub fn poll_given_up(&self, cx: &Context<'_>) -> bool {
        if !self.is_given_up.get() {
            let mut those_who_wait = self.those_who_wait.borrow_mut();
            if !those_who_wait.iter().any(|waker| waker.will_wake(cx.waker())) {
                those_who_wait.push(cx.waker().clone());
            }
        }
        self.is_given_up.get()
    }

    fn give_up(&self) {
        self.is_given_up.set(true);
        self.those_who_wait.take().into_iter().for_each(Waker::wake);
    }

    fn deadline(&self) -> Instant {
        self.moved.get() + self.patience.get()
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
            deadline: now + limits.header_timeout,
        }
    }

    /// Whether nothing is under way, so that it can be closed without anyone losing anything.
    pub fn is_waiting(&self) -> bool {
        matches!(self.phase, Phase::Opening | Phase::Idle)
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
        match self.phase {
            // it was on its way when we said goodbye
            Phase::Closing => self.deadline = self.deadline.max(now + self.header_timeout),
            _ => self.go(Phase::Serving, now + self.header_timeout),
        }
    }

    /// Bytes have gone to the client. Of an answer that is made a part may still be waiting to leave, for as long
    /// as the client takes it.
    pub fn bytes_left(&mut self, now: Instant) {
        let more = match self.phase {
            Phase::Idle => self.idle_timeout,
            Phase::Closing => LINGER,
            Phase::Opening | Phase::Reading | Phase::Serving => return,
        };
        self.deadline = self.deadline.max(now + more);
    }

    /// A request has its answer, which leaves right away. Bytes of the next request that came together with
    /// the last one go unnoticed; then it is the idle timeout that ends the wait for the rest.
    pub fn answered(&mut self, now: Instant) {
        self.serving = self.serving.saturating_sub(1);
        match self.phase {
            _ if self.serving > 0 => {}
            Phase::Serving => self.go(Phase::Idle, now + self.idle_timeout),
            Phase::Closing => self.deadline = now + LINGER,
            Phase::Opening | Phase::Reading | Phase::Idle => {}
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
        if self.phase == Phase::Closing {
            self.deadline = self.deadline.min(now + LINGER);
        } else {
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
        let (pace, now) = pace();
        let pace = SharedPace::new(pace);
        let passage = pace.begin_passage(s(36), now);
        assert_eq!((pace.get().phase(), pace.deadline()), (Phase::Serving, now + s(36)));
        for minute in 1..100 {
            pace.bytes_moved(now + s(minute * 30));
            assert_eq!(pace.deadline(), now + s(minute * 30 + 36));
        }
        passage.waits(s(3600), now + s(2980));
        assert_eq!(pace.deadline(), now + s(6580), "it depends on whom it waits for");
        pace.end_passage(&passage, now + s(3000));
        pace.end_passage(&passage, now + s(3001));
        assert_eq!((pace.get().phase(), pace.deadline()), (Phase::Idle, now + s(3060)));
        pace.bytes_moved(now + s(3001));
        assert_eq!(pace.deadline(), now + s(3060), "what comes between requests buys no time");
    }

    #[test]
    fn a_request_that_stands_still_is_given_up_whatever_others_do() {
        let (pace, now) = pace();
        let pace = SharedPace::new(pace);
        let (still, moving) = (pace.begin_passage(s(36), now), pace.begin_passage(s(36), now));
        moving.moves(now + s(20));
        assert!(!pace.give_up_overdue(now + s(35)));
        assert!(pace.give_up_overdue(now + s(36)));
        let cx = Context::from_waker(Waker::noop());
        assert!(still.poll_given_up(&cx) && !moving.poll_given_up(&cx));
        assert_eq!((pace.get().phase(), pace.deadline()), (Phase::Serving, now + s(56)));
        pace.end_passage(&moving, now + s(40));
        assert_eq!((pace.get().phase(), pace.deadline()), (Phase::Idle, now + s(100)));
    }

    #[test]
    fn what_still_leaves_of_an_answer_buys_time() {
        let (mut pace, now) = pace();
        pace.request_came(now);
        pace.answered(now + s(1));
        pace.bytes_left(now + s(50));
        assert_eq!((pace.phase(), pace.deadline()), (Phase::Idle, now + s(110)));
    }

    #[test]
    fn bytes_buy_no_time_for_a_request_that_is_answered_here() {
        let (mut pace, now) = pace();
        pace.request_came(now);
        pace.bytes_left(now + s(5));
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
        assert_eq!((pace.phase(), pace.deadline()), (Phase::Closing, now + LINGER));
    }

    #[test]
    fn a_request_that_crosses_the_goodbye_gets_its_time() {
        let (pace, now) = pace();
        let pace = SharedPace::new(pace);
        pace.update(|pace| pace.closing(now));
        let passage = pace.begin_passage(s(36), now + s(1));
        assert_eq!((pace.get().phase(), pace.deadline()), (Phase::Closing, now + s(37)));
        pace.end_passage(&passage, now + s(20));
        assert_eq!(pace.deadline(), now + s(20) + LINGER);
        pace.update(|pace| pace.bytes_left(now + s(21)));
        assert_eq!(pace.deadline(), now + s(21) + LINGER);
        pace.shut_down(now + s(21));
        pace.shut_down(now + s(22));
        assert_eq!(pace.deadline(), now + s(21) + LINGER);
    }
}
