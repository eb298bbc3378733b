use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, oneshot, watch};

use super::fence_log::{tell_change, tell_local_change};
use super::state::StateDesk;
use crate::admin::events::{Kind, News as Event};
use crate::admin::metrics::HealthMetrics;
use crate::admin::order::{Answered, Change, Stored, Wanted};
use crate::admin::recorder::Recorder;
use crate::fence::News;
use crate::fleet::{
    Elsewhere, Failure, FleetSettings, GatewayName, Memory, Publisher, Remembered, Roster, State, Takeover,
    Transition, UnknownGateway, View,
};
use crate::net::clock::now;
use crate::net::roll::Member;
use crate::net::seldom::Seldom;
use crate::net::stop::Stop;
use crate::probe::Finding;

/// The one who writes: takes in what probes find and what administrators order, and publishes what follows.
pub struct Keeper {
    roster: Roster,
    publisher: Publisher,
    metrics: HealthMetrics,
    /// Connections of doors that have failed and have changed nothing, of each gateway that has had some.
    troubles: BTreeMap<GatewayName, Seldom>,
    /// What could not be done about fences, of each gateway where that was so.
    fence_troubles: BTreeMap<GatewayName, Seldom>,
    /// The number of the newest snapshot, for whoever waits for one.
    published: watch::Sender<u64>,
    /// Where what is to outlive this process is written.
    desk: StateDesk,
    /// The same, for the other front doors.
    remembered: watch::Sender<Arc<Memory>>,
    /// Who waits for a change to be on the disk, with the number of the wish.
    waiting: Vec<(u64, oneshot::Sender<Answered>)>,
    /// What the status tells of orders.
    recorder: Recorder,
    /// Answers to the roll.
    member: Member,
}

/// What changes other than by findings.
#[derive(Debug)]
pub enum Order {
    /// Goes over to other settings, and says when that has been published.
    Reload(FleetSettings, oneshot::Sender<()>),
    /// Goes on with what was remembered here before.
    Adopt(Memory),
    /// What the other front doors say.
    Hear(Elsewhere),
    /// Drains or resumes a gateway, and answers when that is on the disk, or could not be stored.
    Change(Change, oneshot::Sender<Answered>),
}

impl Keeper {
    /// A keeper who knows nothing yet of these gateways, and answers to the roll as `member`.
    pub fn new(
        settings: FleetSettings,
        metrics: HealthMetrics,
        desk: StateDesk,
        recorder: Recorder,
        member: Member,
    ) -> Self {
        for gateway in &settings.gateways {
            metrics.introduce(&gateway.name);
        }
        let mut roster = Roster::new(settings, now());
        let publisher = Publisher::new(roster.snapshot());
        Self {
            roster,
            publisher,
            metrics,
            troubles: BTreeMap::new(),
            fence_troubles: BTreeMap::new(),
            published: watch::Sender::default(),
            desk,
            remembered: watch::Sender::default(),
            waiting: Vec::new(),
            recorder,
            member,
        }
    }

    /// A reader of what is published.
    pub fn view(&self) -> View {
        self.publisher.view()
    }

    /// Tells of each new snapshot by its number.
    pub fn published(&self) -> watch::Receiver<u64> {
        self.published.subscribe()
    }

    /// Tells what is remembered, whenever that has changed.
    pub fn remembered(&self) -> watch::Receiver<Arc<Memory>> {
        self.remembered.subscribe()
    }

    /// Works until told to stop.
    pub async fn run(
        mut self,
        mut findings: mpsc::Receiver<Finding>,
        mut failures: mpsc::Receiver<Failure>,
        mut news: mpsc::Receiver<News>,
        mut orders: mpsc::Receiver<Order>,
        mut stop: Stop,
    ) {
        let mut summing_up = tokio::time::interval(SUMMING_UP);
        loop {
            tokio::select! {
                biased;
                () = stop.stopped() => return,
                // before all that others can keep coming without an end: whoever works on it turns
                () = self.member.answer() => {}
                Some(order) = orders.recv() => match order {
                    Order::Reload(settings, done) => {
                        // what was found under the old settings must not count under the new ones
                        self.take_waiting(&mut findings);
                        self.take_waiting_failures(&mut failures);
                        self.reload(settings);
                        self.publish();
                        // nobody need be waiting
                        let _ = done.send(());
                    }
                    Order::Adopt(memory) => {
                        self.adopt(&memory);
                        self.publish();
                    }
                    Order::Hear(elsewhere) => {
                        self.hear(elsewhere);
                        self.publish();
                    }
                    Order::Change(change, answer) => self.change(&change, answer),
                },
                () = self.desk.progress() => self.answer(),
                Some(finding) = findings.recv() => {
                    self.take(finding);
                    // whatever else has come meanwhile goes into the same snapshot
                    self.take_waiting(&mut findings);
                    self.publish();
                }
                Some(news) = news.recv() => {
                    if self.take_news(news) {
                        self.publish();
                    }
                }
                // after the findings: clients can make many, and must not keep good rounds waiting
                Some(failure) = failures.recv() => {
                    let first = self.fail(&failure);
                    let others = self.take_waiting_failures(&mut failures);
                    if first || others {
                        self.publish();
                    }
                }
                _ = summing_up.tick() => {
                    self.sum_up(Instant::now());
                    // a fence ends without a word
                    if self.decide() {
                        self.publish();
                    }
                }
            }
        }
    }

    fn take_waiting(&mut self, findings: &mut mpsc::Receiver<Finding>) {
        while let Ok(finding) = findings.try_recv() {
            self.take(finding);
        }
    }

    /// Takes those that are waiting now, and no more: the doors may send them as fast as they are taken. Tells
    /// whether a gateway's state has changed.
    fn take_waiting_failures(&mut self, failures: &mut mpsc::Receiver<Failure>) -> bool {
        let mut changed = false;
        for _ in 0..failures.len() {
            let Ok(failure) = failures.try_recv() else { break };
            changed |= self.fail(&failure);
        }
        changed
    }

    fn publish(&mut self) {
        self.decide();
        let memory = self.roster.memory();
        self.remembered.send_if_modified(|known| {
            let is_new = **known != memory;
            if is_new {
                *known = Arc::new(memory.clone());
            }
            is_new
        });
        self.desk.wish(memory);
        let snapshot = self.roster.snapshot();
        let number = snapshot.number;
        self.publisher.publish(snapshot);
        self.published.send_replace(number);
    }

    /// Tells whether another gateway is the active one by it.
    fn decide(&mut self) -> bool {
        let takeovers = self.roster.decide(now());
        takeovers.iter().for_each(tell_takeover);
        !takeovers.is_empty()
    }

    fn adopt(&mut self, memory: &Memory) {
        for transition in self.roster.adopt(memory, now()) {
            self.metrics.transition(&transition);
            tell(&transition);
        }
        for word in memory.words.iter().filter(|word| self.roster.has(&word.gateway)) {
            if let Some(Remembered { reason, by, .. }) = &word.drain {
                let (gateway, by, reason) = (word.gateway.as_str(), &**by, &**reason);
                tracing::info!(gateway, by, reason, "gateway stays drained, as it was before");
                self.tell_order(
                    gateway,
                    format!("{gateway} stays drained, as it was before{}", colon(reason)),
                );
            }
        }
    }

    fn hear(&mut self, elsewhere: Elsewhere) {
        for (word, transition) in self.roster.hear(elsewhere, now()) {
            let gateway = word.gateway.as_str();
            match &word.drain {
                Some(Remembered { reason, by, .. }) => {
                    let (by, reason) = (&**by, &**reason);
                    tracing::info!(gateway, by, reason, "gateway is drained by order at another front door");
                    let text = format!("{gateway} is drained by {by} at another front door{}", colon(reason));
                    self.tell_order(gateway, text);
                }
                None => {
                    tracing::info!(gateway, "gateway is resumed by order at another front door");
                    self.tell_order(gateway, format!("{gateway} is resumed at another front door"));
                }
            }
            if let Some(transition) = transition {
                self.metrics.transition(&transition);
                tell(&transition);
            }
        }
    }

    fn change(&mut self, change: &Change, answer: oneshot::Sender<Answered>) {
        let Change { gateway, wanted, by } = change;
        let changed = match wanted {
            Wanted::Drain(reason) => self.roster.drain(gateway, reason, by, now()),
            Wanted::Resume => self.roster.resume(gateway, now()),
        };
        let transition = match changed {
            Ok(transition) => transition,
            Err(UnknownGateway) => {
                // nobody need be waiting any more
                let _ = answer.send(Err(UnknownGateway));
                return;
            }
        };
        let gateway = gateway.as_str();
        match wanted {
            Wanted::Drain(reason) => {
                tracing::info!(gateway, by = &**by, reason = &**reason, "gateway is drained by order");
                self.tell_order(gateway, format!("{gateway} is drained by {by}{}", colon(reason)));
            }
            Wanted::Resume => {
                tracing::info!(gateway, by = &**by, "gateway is resumed by order");
                self.tell_order(gateway, format!("{gateway} is resumed by {by}"));
            }
        }
        if let Some(transition) = &transition {
            self.metrics.transition(transition);
            tell(transition);
        }
        self.publish();
        let number = self.desk.wish(self.roster.memory());
        self.waiting.push((number, answer));
        self.answer();
    }

    fn tell_order(&self, gateway: &str, text: String) {
        self.recorder.tell(Event::good(Kind::Order, text).of(gateway), SystemTime::now());
    }

    /// Answers those whose changes are stored, or could not be.
    fn answer(&mut self) {
        let outcome = self.desk.outcome();
        let (done, waiting) = std::mem::take(&mut self.waiting)
            .into_iter()
            .filter(|(_, answer)| !answer.is_closed())
            .partition(|(number, _)| *number <= outcome.number);
        self.waiting = waiting;
        for (_, answer) in done {
            let stored = outcome.failure.as_ref().map_or(Stored::Yes, |why| Stored::No(Arc::clone(why)));
            let _ = answer.send(Ok(stored));
        }
    }

    fn take(&mut self, Finding { gateway, observation }: Finding) {
        // one that a reload has removed may still have sent this
        if !self.roster.has(&gateway) {
            return;
        }
        self.metrics.observe(&gateway, &observation);
        let (before, now) = (self.roster.view(&gateway).cloned(), now());
        if let Some(transition) = self.roster.observe(&gateway, observation, now) {
            self.metrics.transition(&transition);
            tell(&transition);
        }
        let before = before.as_ref().and_then(|view| view.fence.as_ref());
        let after = self.roster.view(&gateway).and_then(|view| view.fence.as_ref());
        tell_change(&gateway, before, after, self.roster.stale_after(), now.instant);
    }

    /// Tells whether the farm is another one by it.
    fn take_news(&mut self, news: News) -> bool {
        match news {
            News::Local { gateway, block } => {
                let before = self.roster.view(&gateway).and_then(|view| view.local_block.clone());
                tell_local_change(&gateway, before.as_ref(), block.as_ref());
                self.roster.set_local_block(&gateway, block);
                true
            }
            News::Done { gateway, operation, failure } => {
                if self.roster.has(&gateway) {
                    self.metrics.fence_operation(&gateway, operation.as_str(), failure.is_none());
                    if let Some(reason) = failure {
                        self.tell_fence_trouble(&gateway, operation.as_str(), &reason, Instant::now());
                    }
                }
                false
            }
        }
    }

    fn tell_fence_trouble(&mut self, gateway: &GatewayName, operation: &str, reason: &str, now: Instant) {
        let troubles = self.fence_troubles.entry(gateway.clone()).or_insert_with(|| {
            Seldom::new(
                "change of the gateway's fence has failed",
                "changes of the gateway's fence have failed",
            )
        });
        if troubles.note_at(now, format_args!("with: {operation}: {reason}")) {
            let gateway = gateway.as_str();
            tracing::warn!(gateway, operation, reason, "the gateway's fence could not be changed");
        }
    }

    /// Tells whether the gateway's state has changed: what has only been counted need not be published.
    fn fail(&mut self, failure: &Failure) -> bool {
        // a worker may not have heard yet that a reload has removed it
        if !self.roster.has(&failure.gateway) {
            return false;
        }
        self.metrics.upstream_failed(&failure.gateway);
        let transition = self.roster.fail(failure, now());
        if let Some(transition) = &transition {
            self.metrics.transition(transition);
            tell(transition);
        } else {
            self.tell_trouble(failure, Instant::now());
        }
        transition.is_some()
    }

    /// Tells of a connection that has failed: its checks may all pass, and a state that does not change is not
    /// told otherwise.
    fn tell_trouble(&mut self, Failure { gateway, upstream, reason }: &Failure, now: Instant) {
        let troubles = self.troubles.entry(gateway.clone()).or_insert_with(|| {
            Seldom::new("connection to the gateway has failed", "connections to the gateway have failed")
        });
        if troubles.note_at(now, format_args!("with: {reason}")) {
            let gateway = gateway.as_str();
            tracing::warn!(gateway, %upstream, reason, "a connection to the gateway has failed");
        }
    }

    fn sum_up(&self, now: Instant) {
        for (gateway, troubles) in self.troubles.iter().chain(&self.fence_troubles) {
            if let Some(summary) = troubles.sum(now) {
                tracing::warn!(gateway = gateway.as_str(), "{summary}");
            }
        }
    }

    fn reload(&mut self, settings: FleetSettings) {
        let before = self.roster.snapshot();
        for view in &before.gateways {
            let name = &view.gateway.name;
            if !settings.gateways.iter().any(|gateway| gateway.name == *name) {
                self.metrics.forget(name);
                self.troubles.remove(name);
                self.fence_troubles.remove(name);
            }
        }
        for gateway in settings.gateways.iter().filter(|g| before.gateway(&g.name).is_none()) {
            self.metrics.introduce(&gateway.name);
        }
        self.roster.reload(settings, now());
    }
}

fn colon(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(": {reason}") }
}

const SUMMING_UP: Duration = Duration::from_secs(1);

fn tell(Transition { gateway, from, to, reason }: &Transition) {
    let (gateway, from, word, reason) = (gateway.as_str(), from.as_str(), to.as_str(), &**reason);
    match to {
        State::Down => tracing::warn!(gateway, from, to = word, reason, "gateway is down"),
        State::Up => tracing::info!(gateway, from, to = word, reason, "gateway is up"),
        State::Draining => tracing::info!(gateway, from, to = word, reason, "gateway drains"),
        State::Unknown => tracing::info!(gateway, from, to = word, reason, "gateway is unknown"),
    }
}

fn tell_takeover(takeover: &Takeover) {
    let Takeover { group, from, to, .. } = takeover;
    let vrrp_id = group.map(tracing::field::display);
    let from = from.as_ref().map(GatewayName::as_str);
    tracing::info!(gateway = to.as_str(), from, vrrp_id, "{takeover}");
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::sync::Arc;
    use std::time::Duration;

    use prometheus::{Registry, TextEncoder};
    use tokio::task::JoinHandle;

    use super::super::state::StateWriter;
    use super::super::state_file::StateFile;
    use super::*;
    use crate::admin::order::Reason;
    use crate::fence::Operation;
    use crate::fleet::{
        Balance, CheckOutcome, CheckResult, Condition, Endpoint, Gateway, GatewayName, LocalBlock,
        Observation, Stamp, Thresholds, Weights, Word,
    };
    use crate::net::roll::Roll;
    use crate::net::stop::{self, Stopper};

    fn settings(host: &str) -> FleetSettings {
        let gateway = Gateway { has_agent: false, ..Gateway::plain("gw1", host) };
        FleetSettings {
            gateways: vec![Arc::new(gateway)],
            thresholds: Thresholds { rise: NonZeroU32::MIN, fall: NonZeroU32::new(3).unwrap() },
            weights: Weights::default(),
            balance: Balance::default(),
        }
    }

    /// A keeper at work, and all that leads to him.
    struct Office {
        registry: Registry,
        view: View,
        published: watch::Receiver<u64>,
        remembered: watch::Receiver<Arc<Memory>>,
        findings: mpsc::Sender<Finding>,
        failures: mpsc::Sender<Failure>,
        news: mpsc::Sender<News>,
        orders: mpsc::Sender<Order>,
        roll: Roll,
        stopper: Stopper,
        keeper: JoinHandle<()>,
    }

    impl Office {
        /// The test's runtime has one thread: the keeper begins when the test waits for something.
        fn open() -> Self {
            let registry = Registry::new();
            let metrics = HealthMetrics::register(&registry).unwrap();
            let (file, found) = StateFile::open(None);
            let (writer, desk) = StateWriter::new(file, found);
            tokio::spawn(writer.run());
            let roll = Roll::default();
            let keeper = Keeper::new(settings("10.0.0.1"), metrics, desk, Recorder::default(), roll.enlist());
            let (view, published, remembered) = (keeper.view(), keeper.published(), keeper.remembered());
            let (findings, finding_receiver) = mpsc::channel(16);
            let (failures, failure_receiver) = mpsc::channel(256);
            let (news, news_receiver) = mpsc::channel(16);
            let (orders, order_receiver) = mpsc::channel(1);
            let (stopper, stop) = stop::channel();
            let running = keeper.run(finding_receiver, failure_receiver, news_receiver, order_receiver, stop);
            let keeper = tokio::spawn(running);
            Self {
                registry,
                view,
                published,
                remembered,
                findings,
                failures,
                news,
                orders,
                roll,
                stopper,
                keeper,
            }
        }

        fn fails(&self, gateway: &str, times: usize) {
            for n in 0..times {
                let (gateway, reason) = (GatewayName::new(gateway), format!("connection refused ({n})"));
                let upstream = Endpoint::parse("10.0.0.1", 443).unwrap();
                self.failures.try_send(Failure { gateway, upstream, reason }).unwrap();
            }
        }

        fn finds_it_good(&self) {
            let outcome = CheckOutcome::Pass("200 OK".into());
            let check = CheckResult { check: "portal".into(), outcome, took: Duration::ZERO };
            let observation = Observation { checks: vec![check], report: None, asked: None };
            self.findings.try_send(Finding { gateway: GatewayName::new("gw1"), observation }).unwrap();
        }

        async fn next_snapshot(&mut self) -> u64 {
            tokio::time::timeout(Duration::from_secs(5), self.published.changed()).await.unwrap().unwrap();
            *self.published.borrow_and_update()
        }

        fn condition(&mut self) -> (Condition, String) {
            let health = &self.view.load().gateways[0].health;
            (health.condition, health.reason.to_string())
        }

        /// The counts of `check="upstream"`.
        fn counted(&self) -> Vec<String> {
            let text = TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap();
            let ours = text.lines().filter(|line| line.contains("check=\"upstream\""));
            ours.map(str::to_owned).collect()
        }

        /// Everything that was sent has been dealt with when the keeper has gone.
        async fn close(mut self) -> Self {
            while self.failures.capacity() < self.failures.max_capacity() {
                tokio::task::yield_now().await;
            }
            self.stopper.stop();
            (&mut self.keeper).await.unwrap();
            self
        }
    }

    #[tokio::test]
    async fn a_burst_of_failures_is_counted_whole_and_changes_the_farm_once() {
        let mut office = Office::open();
        office.finds_it_good();
        let before = office.next_snapshot().await;
        office.fails("gw1", 100);
        assert_eq!(office.next_snapshot().await, before + 1);
        assert_eq!(office.condition(), (Condition::Down, "connection refused (2)".into()));
        let mut office = office.close().await;
        assert_eq!(office.view.load().number, before + 1);
        assert_eq!(
            office.counted(),
            ["vestibule_health_checks_total{check=\"upstream\",gateway=\"gw1\",result=\"fail\"} 100"]
        );
    }

    #[tokio::test]
    async fn failures_too_few_to_change_a_state_are_counted_and_published_with_the_next_change() {
        let mut office = Office::open();
        office.finds_it_good();
        let before = office.next_snapshot().await;
        office.fails("gw1", 2);
        while office.counted().is_empty() {
            tokio::task::yield_now().await;
        }
        assert!(!office.published.has_changed().unwrap());
        office.fails("gw1", 1);
        assert_eq!(office.next_snapshot().await, before + 1);
        assert_eq!(office.condition().0, Condition::Down);
    }

    #[tokio::test]
    async fn a_good_round_does_not_wait_behind_failures() {
        let office = Office::open();
        office.fails("gw1", 200);
        office.finds_it_good();
        let mut office = office.close().await;
        assert_eq!(office.condition().0, Condition::Down, "up first, then down");
        assert_eq!(office.view.load().number, 3);
    }

    #[tokio::test]
    async fn a_block_in_this_hosts_firewall_is_published_and_what_is_done_is_counted() {
        let mut office = Office::open();
        let gateway = GatewayName::new("gw1");
        let until = Instant::now() + Duration::from_secs(15);
        let block = LocalBlock { by: "front-a".into(), reason: "refused".into(), until };
        let done = |operation, failure: Option<&str>| News::Done {
            gateway: gateway.clone(),
            operation,
            failure: failure.map(str::to_owned),
        };
        let gone = News::Done {
            gateway: GatewayName::new("gw9"),
            operation: Operation::Block,
            failure: Some("no nft".into()),
        };
        for news in [
            gone,
            done(Operation::Block, Some("no nft")),
            done(Operation::Block, None),
            done(Operation::KeepOpen, Some("403 Forbidden")),
            News::Local { gateway: gateway.clone(), block: Some(block.clone()) },
        ] {
            office.news.send(news).await.unwrap();
        }
        office.next_snapshot().await;
        assert_eq!(office.view.load().gateways[0].local_block, Some(block));
        let text = TextEncoder::new().encode_to_string(&office.registry.gather()).unwrap();
        let counted: Vec<_> = text.lines().filter(|l| l.starts_with("vestibule_fence_operations")).collect();
        let series = |operation, result, count| {
            format!(
                "vestibule_fence_operations_total{{gateway=\"gw1\",operation=\"{operation}\",\
                 result=\"{result}\"}} {count}"
            )
        };
        assert_eq!(
            counted,
            [
                series("block", "error", 1),
                series("block", "ok", 1),
                series("keep_open", "error", 1),
                series("keep_open", "ok", 0),
                series("let_go", "error", 0),
                series("let_go", "ok", 0),
                series("unblock", "error", 0),
                series("unblock", "ok", 0)
            ]
        );
    }

    #[tokio::test]
    async fn an_order_is_in_force_when_it_is_answered_and_says_where_it_is_not_stored() {
        let mut office = Office::open();
        office.finds_it_good();
        let order = |name: &str, wanted| {
            let (answer, answered) = oneshot::channel();
            let change = Change { gateway: GatewayName::new(name), wanted, by: "uid 0".into() };
            office.orders.try_send(Order::Change(change, answer)).unwrap();
            answered
        };
        let drain = Wanted::Drain(Reason::new("new kernel").unwrap());
        let stored = order("gw1", drain.clone()).await.unwrap().unwrap();
        assert_eq!(stored, Stored::No("[node] state_dir is empty".into()));
        assert_eq!(office.view.load().gateways[0].drain.as_ref().unwrap().by, Arc::from("uid 0"));
        let unknown = order("gw9", drain).await.unwrap();
        assert_eq!(unknown, Err(UnknownGateway));
        order("gw1", Wanted::Resume).await.unwrap().unwrap();
        assert_eq!(office.view.load().gateways[0].drain, None);
    }

    #[tokio::test]
    async fn what_was_remembered_is_in_force_before_anything_is_found() {
        let mut office = Office::open();
        let since = std::time::SystemTime::UNIX_EPOCH;
        office.finds_it_good();
        let words = vec![drained("gw9", 7), drained("gw1", 7)];
        office.orders.try_send(Order::Adopt(Memory { words, actives: vec![] })).unwrap();
        office.next_snapshot().await;
        let view = Arc::clone(&office.view.load().gateways[0]);
        assert_eq!((view.drain.as_ref().unwrap().since.wall, &*view.reason()), (since, "new kernel"));
        assert_eq!(view.state(), State::Draining);
    }

    fn drained(gateway: &str, stamp: u64) -> Word {
        let since = std::time::SystemTime::UNIX_EPOCH;
        let drain = Remembered { reason: "new kernel".into(), by: "uid 0".into(), since };
        let stamp = Stamp::new(stamp).unwrap();
        Word { gateway: GatewayName::new(gateway), stamp, drain: Some(drain) }
    }

    #[tokio::test]
    async fn what_other_front_doors_say_is_in_force_and_is_remembered_as_the_own_words_are() {
        let mut office = Office::open();
        office.finds_it_good();
        office.next_snapshot().await;
        let hear = |words: Vec<Word>| {
            let pending = vec![(GatewayName::new("gw1"), 3)];
            Order::Hear(Elsewhere { words, pending, ..Elsewhere::default() })
        };
        office.orders.try_send(hear(vec![drained("gw1", 7), drained("gw9", 7)])).unwrap();
        office.next_snapshot().await;
        let view = Arc::clone(&office.view.load().gateways[0]);
        assert_eq!((view.state(), view.pending(), view.own_pending()), (State::Draining, 3, 0));
        assert_eq!(office.remembered.borrow().words, [drained("gw1", 7)]);
        let resumed = Word { drain: None, ..drained("gw1", 8) };
        for (words, state) in [
            (vec![resumed.clone()], State::Up),
            // what is older is of no weight, from wherever it comes
            (vec![drained("gw1", 7)], State::Up),
            (vec![drained("gw1", 9)], State::Draining),
        ] {
            office.orders.try_send(hear(words)).unwrap();
            office.next_snapshot().await;
            assert_eq!(office.view.load().gateways[0].state(), state);
        }
    }

    #[tokio::test]
    async fn a_failure_of_a_gateway_that_is_gone_leaves_no_trace() {
        let office = Office::open();
        office.fails("gw9", 5);
        let mut office = office.close().await;
        assert_eq!(office.counted(), [""; 0]);
        assert_eq!(office.view.load().number, 1);
    }

    #[tokio::test]
    async fn a_keeper_who_hangs_is_missed() {
        let office = Office::open();
        let answers = async || {
            let called = Instant::now();
            while !office.roll.call() {
                assert!(called.elapsed() < Duration::from_secs(20), "it does not answer");
                tokio::task::yield_now().await;
            }
        };
        for _ in 0..3 {
            answers().await;
            // it has no turn between the two, and so it is as good as stuck
            assert!(!office.roll.call(), "nobody has answered");
            // what waits to be done is no excuse, and there may be more of it all the time
            office.fails("gw1", 10);
        }
        let office = office.close().await;
        // the last call has either come too late, or was answered, and then the next one is not
        assert!(!office.roll.call() || !office.roll.call());
    }

    #[tokio::test]
    async fn what_failed_under_the_old_settings_does_not_count_under_the_new_ones() {
        let mut office = Office::open();
        office.finds_it_good();
        office.next_snapshot().await;
        office.fails("gw1", 3);
        let (done, reloaded) = oneshot::channel();
        office.orders.try_send(Order::Reload(settings("10.0.0.2"), done)).unwrap();
        reloaded.await.unwrap();
        assert_eq!(office.condition().0, Condition::Unknown);
        office.fails("gw1", 2);
        let mut office = office.close().await;
        assert_eq!(office.condition().0, Condition::Unknown, "two, and not five");
    }
}
