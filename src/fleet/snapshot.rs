use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Cache};

use super::balance::Balance;
use super::failsafe::Role;
use super::fence::{FenceReading, LocalBlock};
use super::gateway::{Gateway, GatewayName};
use super::health::{Condition, Health};
use super::load::{Load, Score, Weights};
use super::moment::Moment;
use super::observation::CheckResult;
use super::pending::{Assigned, Tally};

/// The whole farm as the keeper last knew it: immutable and numbered.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Grows by one with every change.
    pub number: u64,
    /// Grows by one when the set of gateways or their definitions change; what is derived from those
    /// alone may be kept as long as this stays.
    pub generation: u64,
    /// In the order of the configuration.
    pub gateways: Box<[Arc<GatewayView>]>,
    /// How to choose among them.
    pub balance: Balance,
    /// What each criterion counts in their scores.
    pub weights: Weights,
}

/// One gateway in a snapshot.
#[derive(Clone, Debug)]
pub struct GatewayView {
    /// Its definition.
    pub gateway: Arc<Gateway>,
    /// Whether it works.
    pub health: Health,
    /// Since when its own agent wants no newcomers.
    pub agent_drains_since: Option<Moment>,
    /// An administrator has taken it out.
    pub drain: Option<Drain>,
    /// Its part in failsafe mode; `None` in load balancing, and where nobody is ever sent to it.
    pub role: Option<Role>,
    /// Its last load report.
    pub load: Option<LoadReading>,
    /// When it began to be filled after it came back; `None` if it was there from the start.
    pub filling_since: Option<Instant>,
    /// When it was last found in order.
    pub last_good: Option<Moment>,
    /// Everyone the doors have sent to it. Shared with the doors: the one thing that moves under a
    /// snapshot.
    pub assigned: Arc<Assigned>,
    /// How many of those are pending, as the keeper last counted.
    pub tally: Tally,
    /// Newcomers that other front doors have sent to it and that no report shows yet.
    pub pending_elsewhere: u64,
    /// The checks of its last round.
    pub checks: Arc<[CheckResult]>,
    /// What this front door's own checks have concluded, whatever the agent says: what it fences by.
    /// `None` where it has none but the agent's answer.
    pub direct: Option<Health>,
    /// Its agent's last word on its firewall blocks.
    pub fence: Option<FenceReading>,
    /// The block on it in this host's own firewall.
    pub local_block: Option<LocalBlock>,
}

/// A load report with its time and its weight.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadReading {
    /// As reported, completed by the configured capacity.
    pub load: Load,
    /// When it was asked for.
    pub at: Moment,
    /// What it amounts to.
    pub score: Score,
}

/// An administrator's order that no newcomers go to a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drain {
    /// What the administrator gave as the reason; may be empty.
    pub reason: Arc<str>,
    /// Who that was, as far as is known.
    pub by: Arc<str>,
    /// When it was ordered.
    pub since: Moment,
}

/// A gateway's state in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Works and takes newcomers.
    Up,
    /// Does not work.
    Down,
    /// Works; its tunnels stay, newcomers go elsewhere.
    Draining,
    /// Not asked often enough yet.
    Unknown,
}

impl State {
    /// All four, in the order of the metrics contract.
    pub const ALL: [Self; 4] = [Self::Up, Self::Down, Self::Draining, Self::Unknown];

    /// The word used in metrics and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Draining => "draining",
            Self::Unknown => "unknown",
        }
    }
}

impl GatewayView {
    /// Its state in one word.
    pub fn state(&self) -> State {
        match self.health.condition {
            Condition::Unknown => State::Unknown,
            Condition::Down => State::Down,
            Condition::Up if self.is_draining() => State::Draining,
            Condition::Up => State::Up,
        }
    }

    /// Whether newcomers are unwanted, by order or by its own agent's word.
    pub fn is_draining(&self) -> bool {
        self.drain.is_some() || self.agent_drains_since.is_some()
    }

    /// Why newcomers are unwanted, and since when. An administrator's order goes before the agent's wish: it
    /// is the one that can be taken back here.
    pub fn draining(&self) -> Option<(Arc<str>, Moment)> {
        match &self.drain {
            Some(drain) if drain.reason.is_empty() => Some((Arc::from("by order"), drain.since)),
            Some(drain) => Some((Arc::clone(&drain.reason), drain.since)),
            None => Some((Arc::from("its agent wants no newcomers"), self.agent_drains_since?)),
        }
    }

    /// Why it is in its [`state`](Self::state).
    pub fn reason(&self) -> Arc<str> {
        match (self.draining(), self.state()) {
            (Some((reason, _)), State::Draining) => reason,
            _ => Arc::clone(&self.health.reason),
        }
    }

    /// Since when it is in its [`state`](Self::state).
    pub fn since(&self) -> Moment {
        match (self.draining(), self.state()) {
            (Some((_, since)), State::Draining) if since.instant > self.health.since.instant => since,
            _ => self.health.since,
        }
    }

    /// Its last load report, unless that is too old to count.
    pub fn fresh_load(&self, now: Instant, stale_after: Duration) -> Option<&LoadReading> {
        self.load.as_ref().filter(|reading| reading.at.until(now) <= stale_after)
    }

    /// Whether a firewall, its own or this host's, refuses newcomers, as far as is known.
    pub fn is_fenced(&self, now: Instant, stale_after: Duration) -> bool {
        self.fence.as_ref().is_some_and(|reading| reading.is_blocked(now, stale_after))
            || self.local_block.as_ref().is_some_and(|block| block.is_alive(now))
    }

    /// Whether a round has been done, however it ended.
    pub fn was_asked(&self) -> bool {
        !self.checks.is_empty()
    }

    /// Newcomers sent to it that no report shows yet, from wherever.
    pub fn pending(&self) -> u64 {
        self.tally.pending(self.assigned.total()).saturating_add(self.pending_elsewhere)
    }

    /// Those of them that were sent from here.
    pub fn own_pending(&self) -> u64 {
        self.tally.own_pending(self.assigned.total())
    }
}

impl Snapshot {
    /// The same, with counters of its own: nothing moves under it any more.
    pub(super) fn at_rest(&self) -> Self {
        let still = |view: &Arc<GatewayView>| {
            let assigned = Arc::new(Assigned::of(view.assigned.total()));
            Arc::new(GatewayView { assigned, ..GatewayView::clone(view) })
        };
        Self { gateways: self.gateways.iter().map(still).collect(), ..*self }
    }

    /// The gateway of that name.
    pub fn gateway(&self, name: &GatewayName) -> Option<&GatewayView> {
        self.gateways.iter().find(|view| view.gateway.name == *name).map(AsRef::as_ref)
    }
}

/// Where the keeper puts each new snapshot. One swap a change: no reader sees half of one.
#[derive(Debug)]
pub struct Publisher {
    current: Arc<ArcSwap<Snapshot>>,
}

impl Publisher {
    /// Starts with `first`.
    pub fn new(first: Snapshot) -> Self {
        Self { current: Arc::new(ArcSwap::from_pointee(first)) }
    }

    /// Replaces the snapshot.
    pub fn publish(&self, snapshot: Snapshot) {
        self.current.store(Arc::new(snapshot));
    }

    /// A reader for one thread.
    pub fn view(&self) -> View {
        View { cache: Cache::new(Arc::clone(&self.current)) }
    }
}

/// One thread's way to the newest snapshot; it costs one atomic load while nothing has changed.
#[derive(Clone, Debug)]
pub struct View {
    cache: Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>,
}

impl View {
    /// The newest snapshot.
    pub fn load(&mut self) -> &Arc<Snapshot> {
        self.cache.load()
    }
}
