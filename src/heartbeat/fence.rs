use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus::{IntCounterVec, Opts};
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;

use super::HeartbeatError;
use super::fence_log::FenceLog;
use super::learned::Learned;
use super::leases::{Hold, Leases, TooMany};
use super::report::{FenceSection, HolderSection, LeaseSection};
use super::timestamp::Timestamp;
use crate::fleet::{Condition, Health};
use crate::net::clock::now;
use crate::net::firewall::{self, Block, Engine, Firewall, FirewallError};

/// What the configuration says of an agent's fence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FenceSettings {
    /// What sets the rules.
    pub engine: Engine,
    /// What is refused, and who is not.
    pub refusal: firewall::Fence,
    /// How long the agent's own block lives after the last failing round that has renewed it. At least three
    /// intervals, as it is renewed by rounds when a third of it is over.
    pub lease: Duration,
    /// What becomes of the agent's own block when the agent stops in order.
    pub on_exit: OnExit,
}

/// What becomes of a block when the one who holds it stops in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnExit {
    /// It is given up.
    #[default]
    Remove,
    /// It runs out.
    Lease,
}

/// What one life of an agent leaves to the next: its firewall rules, with who holds them. Whoever drops it
/// leaves a block to run out.
#[derive(Debug, Default)]
pub struct Legacy(Option<Arc<Fence>>);

/// Refuses newcomers on this gateway while somebody holds a block.
///
/// What is held, and what is known to be in force, can be asked and told at any time without waiting. Rules are
/// written by one at a time, who writes what is wanted by then.
#[derive(Debug)]
pub(super) struct Fence {
    settings: FenceSettings,
    held: Mutex<Held>,
    hand: tokio::sync::Mutex<Hand>,
    /// Something has changed that nobody waits for.
    due: Notify,
    /// By their result.
    pub(super) writes: IntCounterVec,
}

#[derive(Debug, Default)]
struct Held {
    leases: Leases,
    learned: Learned,
    /// Until when newcomers are refused, as has been read back last.
    in_force: Option<Instant>,
}

/// The one who writes.
#[derive(Debug, Default)]
struct Hand {
    /// `None` as soon as another life, or nobody, is to write.
    firewall: Option<Firewall>,
    log: FenceLog,
    /// Whether this engine's rules have been in order in this life or one before.
    has_begun: bool,
}

/// All that is to be set at a moment.
pub(super) struct Wanted {
    pub(super) block: Option<Block>,
    pub(super) exempt: Vec<IpAddr>,
    /// Whose block it is.
    pub(super) holders: Vec<Hold>,
    /// What the gateway holds by itself in vain, and who sees to that.
    pub(super) suspended: Option<(Hold, Vec<Arc<str>>)>,
    /// Whose blocks have run out since the last time.
    pub(super) ran_out: Vec<Arc<str>>,
}

/// Why what was asked for is not in force.
#[derive(Debug, thiserror::Error)]
pub(super) enum FenceError {
    /// There is no room for another front door.
    #[error(transparent)]
    TooMany(#[from] TooMany),
    /// It is kept open by a front door of which the one who wants it blocked does not know. Nothing is set.
    #[error("{0} keeps this gateway open, and the order does not know of it; nothing is blocked")]
    KeptOpen(Arc<str>),
    /// The rules could not be set. It is tried again each second.
    #[error("the firewall could not be set: {0}")]
    Firewall(#[from] FirewallError),
    /// The agent stops, or begins anew.
    #[error("the agent is stopping or begins anew; ask again")]
    Over,
}

impl Legacy {
    /// The one of a life that has this fence.
    pub(super) fn of(fence: Option<Arc<Fence>>) -> Self {
        Self(fence)
    }

    /// The end in order: a block that the agent holds by itself is given up, or left to run out, as the
    /// settings say; what front doors hold is left to run out. Where nothing is blocked all rules go.
    pub async fn settle(self) {
        if let Some(fence) = self.0 {
            fence.settle().await;
        }
    }
}

impl Fence {
    /// The fence of a life that follows the one that has left this; `None` where there is none to be.
    ///
    /// What was blocked stays so, under the new settings, and rules that these do not know are taken away. Where
    /// there was no life before it is found out what another process has left, and nothing is touched yet: see
    /// [`begin`](Self::begin).
    pub(super) async fn after(
        legacy: Legacy,
        settings: Option<FenceSettings>,
        interval: Duration,
    ) -> Result<Option<Arc<Self>>, HeartbeatError> {
        let before = match legacy.0 {
            Some(fence) => fence.retire().await,
            None => None,
        };
        let Some((old, hand, mut held)) = before else {
            return match settings {
                Some(settings) => Self::anew(settings).await.map(Some),
                None => Ok(None),
            };
        };
        let is_in_order = hand.has_begun;
        let Some(settings) = settings else {
            remove(old, is_in_order).await;
            return Ok(None);
        };
        // the first round of this life decides whether it stays
        held.leases.renew_own(settings.lease, now().instant);
        let firewall = Firewall::new(settings.engine, settings.refusal.clone());
        if settings.engine == old.engine() {
            return Self::new(settings, firewall, held, hand).map(Some);
        }
        // the new rules first, so that nobody slips in between
        let fence =
            Self::new(settings, firewall, held, Hand { has_begun: false, ..hand })?.begin(interval).await;
        remove(old, is_in_order).await;
        Ok(fence)
    }

    /// Of an agent that is started anew, and goes on for a while with the block that it finds.
    async fn anew(settings: FenceSettings) -> Result<Arc<Self>, HeartbeatError> {
        let mut firewall = Firewall::new(settings.engine, settings.refusal.clone());
        // what fails here fails again, and is told, when rules are set
        let found = firewall.find().await.unwrap_or_default();
        let held = Held { leases: Leases::anew(found.as_ref()), ..Held::default() };
        Self::new(settings, firewall, held, Hand::default())
    }

    fn new(
        settings: FenceSettings,
        firewall: Firewall,
        held: Held,
        hand: Hand,
    ) -> Result<Arc<Self>, HeartbeatError> {
        let opts = Opts::new(
            "vestibule_agent_fence_writes_total",
            "Times that firewall rules were written, put in order again after somebody else had changed them, or \
             could not be set.",
        );
        let writes = IntCounterVec::new(opts, &["result"]).map_err(HeartbeatError::Metrics)?;
        for result in [WRITTEN, REPAIRED, FAILED] {
            writes.with_label_values(&[result]);
        }
        Ok(Arc::new(Self {
            settings,
            held: Mutex::new(held),
            hand: tokio::sync::Mutex::new(Hand { firewall: Some(firewall), ..hand }),
            due: Notify::new(),
            writes,
        }))
    }

    /// Takes the rules in hand, also those that an earlier agent has left, just before front doors are answered.
    /// `None` where rules cannot be set on this host, or not by this process, which is told. Rules that a life before has
    /// had in order are seen to beside the answers, which a firewall that hangs is not to delay.
    pub(super) async fn begin(self: Arc<Self>, interval: Duration) -> Option<Arc<Self>> {
        if self.hand.lock().await.has_begun {
            self.due.notify_one();
            return Some(self);
        }
        match self.enforce().await {
            Err(FenceError::Firewall(FirewallError::Unusable(reason))) => {
                let engine = self.settings.engine.as_str();
                tracing::warn!(engine, reason, "this gateway cannot be fenced; the agent goes on without");
                None
            }
            // what fails for now has been told and is tried again
            _ => {
                self.held().leases.begin_grace(interval, now().instant);
                Some(self)
            }
        }
    }

    /// What the rounds of checks have concluded. It is in force soon, and nobody waits.
    pub(super) fn judge(&self, health: &Health) {
        let now = now().instant;
        let is_due = match health.condition {
            Condition::Down => self.held().leases.hold_own(&health.reason, self.settings.lease, now),
            Condition::Up => self.held().leases.give_up_own(),
            // nobody knows: a block from before runs out
            Condition::Unknown => false,
        };
        if is_due {
            self.due.notify_one();
        }
    }

    /// A front door has asked, and checks this gateway from these addresses, which pass from soon on.
    pub(super) fn learn(&self, front_door: &str, addresses: impl IntoIterator<Item = IpAddr>) {
        if self.held().learned.learn(front_door, addresses, now().instant) {
            tracing::info!(front_door, "checks from its addresses pass the fence");
            self.due.notify_one();
        }
    }

    /// Blocks, or goes on blocking, for a front door; in force when this returns. Where it says whom it `knows` to keep
    /// the gateway open, it does not begin to block while anybody else does: it would have decided otherwise.
    pub(super) async fn hold(
        &self,
        by: &str,
        reason: &str,
        lease: Duration,
        knows: Option<&[String]>,
    ) -> Result<FenceSection, FenceError> {
        self.held().hold(by, reason, lease, knows, now().instant)?;
        self.enforced().await
    }

    /// Gives a front door's block up.
    pub(super) async fn give_up(&self, by: &str) -> Result<FenceSection, FenceError> {
        self.held().leases.give_up(by);
        self.enforced().await
    }

    /// Does not block by itself while that front door says so.
    pub(super) async fn keep_open(&self, by: &str, lease: Duration) -> Result<FenceSection, FenceError> {
        self.held().leases.keep_open(by, lease, now().instant)?;
        self.enforced().await
    }

    /// That front door says so no longer.
    pub(super) async fn close(&self, by: &str) -> Result<FenceSection, FenceError> {
        self.held().leases.close(by);
        self.enforced().await
    }

    /// Lets leases run out and keeps the rules in order, for as long as it is polled.
    pub(super) async fn upkeep(&self) {
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + PERIOD, PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.due.notified() => {}
            }
            // what fails has been told and is tried again
            let _ = self.enforce().await;
        }
    }

    /// What a report says of it.
    pub(super) fn section(&self) -> FenceSection {
        let (now, held) = (now(), self.held());
        let at = |until: Instant| {
            let left = until.saturating_duration_since(now.instant);
            Timestamp::from(now.wall + left)
        };
        let holder = |hold: &Hold| HolderSection {
            by: hold.by.to_string(),
            reason: hold.reason.to_string(),
            until: at(hold.until),
        };
        FenceSection {
            engine: self.settings.engine.as_str().to_owned(),
            blocked: held.is_blocked(now.instant),
            ports: self.settings.refusal.ports.iter().map(ToString::to_string).collect(),
            holders: held.leases.holders(now.instant).map(holder).collect(),
            kept_open_by: held
                .leases
                .keepers(now.instant)
                .map(|(by, until)| LeaseSection { by: by.to_string(), until: at(until) })
                .collect(),
        }
    }

    /// Whether newcomers are refused, and how many hold a block that is to be in force.
    pub(super) fn figures(&self) -> (bool, usize) {
        let (now, held) = (now().instant, self.held());
        (held.is_blocked(now), held.leases.effective(now).count())
    }

    async fn enforced(&self) -> Result<FenceSection, FenceError> {
        self.enforce().await?;
        Ok(self.section())
    }

    /// Brings about what is wanted now. Whoever is cut off in the middle leaves it to the next.
    async fn enforce(&self) -> Result<(), FenceError> {
        let mut hand = self.hand.lock().await;
        let Hand { firewall, log, has_begun } = &mut *hand;
        let firewall = firewall.as_mut().ok_or(FenceError::Over)?;
        let now = now().instant;
        let wanted = self.held().wanted(now);
        log.ran_out(&wanted);
        let done = firewall.set(wanted.block.as_ref(), &wanted.exempt).await;
        let result = match &done {
            Ok(firewall::Done::AsItWas) => None,
            // to have found the rules of an earlier agent is no repair
            Ok(firewall::Done::Repaired) if *has_begun => Some(REPAIRED),
            Ok(firewall::Done::Written | firewall::Done::Repaired) => Some(WRITTEN),
            Err(_) => Some(FAILED),
        };
        if let Some(result) = result {
            self.writes.with_label_values(&[result]).inc();
        }
        match done {
            Ok(_) => {
                self.held().in_force = wanted.block.as_ref().map(|block| block.until);
                *has_begun = true;
                log.in_force(wanted, result == Some(REPAIRED), now);
                Ok(())
            }
            Err(error) => {
                // one that has never worked is told by `begin`
                if *has_begun || !matches!(error, FirewallError::Unusable(_)) {
                    log.failed(&error, now);
                }
                Err(error.into())
            }
        }
    }

    /// Nobody writes for this life any more.
    async fn retire(&self) -> Option<(Firewall, Hand, Held)> {
        let mut hand = self.hand.lock().await;
        let firewall = hand.firewall.take()?;
        Some((firewall, std::mem::take(&mut *hand), std::mem::take(&mut *self.held())))
    }

    async fn settle(&self) {
        let Some((mut firewall, hand, mut held)) = self.retire().await else { return };
        if !hand.has_begun {
            return;
        }
        hand.log.end();
        if self.settings.on_exit == OnExit::Remove {
            held.leases.give_up_own();
        }
        let wanted = held.wanted(now().instant);
        let done = match &wanted.block {
            Some(block) => {
                let holders = &*block.holders;
                tracing::info!(holders, "the block is left to run out");
                firewall.set(Some(block), &wanted.exempt).await.map(|_| ())
            }
            None => firewall.remove().await,
        };
        if let Err(error) = done {
            tracing::warn!(%error, "the firewall rules are left as they are; a block runs out by itself");
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn hold(
        &mut self,
        by: &str,
        reason: &str,
        lease: Duration,
        knows: Option<&[String]>,
        now: Instant,
    ) -> Result<(), FenceError> {
        if let Some(keeper) = knows.and_then(|known| self.leases.unknown_keeper(by, known, now)) {
            return Err(FenceError::KeptOpen(keeper));
        }
        Ok(self.leases.hold(by, reason, lease, now)?)
    }

    fn is_blocked(&self, now: Instant) -> bool {
        self.in_force.is_some_and(|until| until > now)
    }

    fn wanted(&mut self, now: Instant) -> Wanted {
        self.learned.forget(now);
        let ran_out = self.leases.run_out(now);
        let keepers = || self.leases.keepers(now).map(|(by, _)| Arc::clone(by)).collect();
        Wanted {
            block: self.leases.block(now),
            exempt: self.learned.passing(now),
            holders: self.leases.effective(now).cloned().collect(),
            suspended: self.leases.suspended(now).map(|own| (own.clone(), keepers())),
            ran_out,
        }
    }
}

/// Takes rules away that are not to be any more.
async fn remove(mut old: Firewall, is_in_order: bool) {
    if !is_in_order {
        return;
    }
    let engine = old.engine().as_str();
    match old.remove().await {
        Ok(()) => tracing::info!(engine, "the old firewall rules are removed"),
        Err(error) => tracing::warn!(
            engine,
            %error,
            "the old firewall rules cannot be removed; their block runs out by itself"
        ),
    }
}

const WRITTEN: &str = "written";
const REPAIRED: &str = "repaired";
const FAILED: &str = "error";

/// From one look at the rules to the next: what somebody else has changed is in order again within a second.
const PERIOD: Duration = Duration::from_millis(750);
