use tokio::sync::{mpsc, oneshot, watch};

use crate::admin::metrics::HealthMetrics;
use crate::fleet::{Failure, FleetSettings, Publisher, Roster, State, Transition, View};
use crate::net::clock::now;
use crate::net::stop::Stop;
use crate::probe::Finding;

/// The one who writes: takes in what probes find and what administrators order, and publishes what follows.
pub struct Keeper {
    roster: Roster,
    publisher: Publisher,
    metrics: HealthMetrics,
    /// The number of the newest snapshot, for whoever waits for one.
    published: watch::Sender<u64>,
}

/// What changes other than by findings.
#[derive(Debug)]
pub enum Order {
    /// Goes over to other settings, and says when that has been published.
    Reload(FleetSettings, oneshot::Sender<()>),
}

impl Keeper {
    /// A keeper who knows nothing yet of these gateways.
    pub fn new(settings: FleetSettings, metrics: HealthMetrics) -> Self {
        for gateway in &settings.gateways {
            metrics.introduce(&gateway.name);
        }
        let mut roster = Roster::new(settings, now());
        let publisher = Publisher::new(roster.snapshot());
        Self { roster, publisher, metrics, published: watch::Sender::default() }
    }

    /// A reader of what is published.
    pub fn view(&self) -> View {
        self.publisher.view()
    }

    /// Tells of each new snapshot by its number.
    pub fn published(&self) -> watch::Receiver<u64> {
        self.published.subscribe()
    }

    /// Works until told to stop.
    pub async fn run(
        mut self,
        mut findings: mpsc::Receiver<Finding>,
        mut failures: mpsc::Receiver<Failure>,
        mut orders: mpsc::Receiver<Order>,
        mut stop: Stop,
    ) {
        loop {
            tokio::select! {
                biased;
                () = stop.stopped() => return,
                Some(Order::Reload(settings, done)) = orders.recv() => {
                    // what was found under the old settings must not count under the new ones
                    self.take_waiting(&mut findings);
                    self.reload(settings);
                    self.publish();
                    // nobody need be waiting
                    let _ = done.send(());
                }
                Some(failure) = failures.recv() => {
                    self.fail(&failure);
                    self.publish();
                }
                Some(finding) = findings.recv() => {
                    self.take(finding);
                    // whatever else has come meanwhile goes into the same snapshot
                    self.take_waiting(&mut findings);
                    self.publish();
                }
            }
        }
    }

    fn take_waiting(&mut self, findings: &mut mpsc::Receiver<Finding>) {
        while let Ok(finding) = findings.try_recv() {
            self.take(finding);
        }
    }

    fn publish(&mut self) {
        let snapshot = self.roster.snapshot();
        let number = snapshot.number;
        self.publisher.publish(snapshot);
        self.published.send_replace(number);
    }

    fn take(&mut self, Finding { gateway, observation }: Finding) {
        // one that a reload has removed may still have sent this
        if !self.roster.has(&gateway) {
            return;
        }
        self.metrics.observe(&gateway, &observation);
        if let Some(transition) = self.roster.observe(&gateway, observation, now()) {
            self.metrics.transition(&transition);
            tell(&transition);
        }
    }

    fn fail(&mut self, Failure { gateway, reason }: &Failure) {
        if let Some(transition) = self.roster.fail(gateway, reason, now()) {
            self.metrics.transition(&transition);
            tell(&transition);
        }
    }

    fn reload(&mut self, settings: FleetSettings) {
        let before = self.roster.snapshot();
        for view in &before.gateways {
            let name = &view.gateway.name;
            if !settings.gateways.iter().any(|gateway| gateway.name == *name) {
                self.metrics.forget(name);
            }
        }
        for gateway in settings.gateways.iter().filter(|g| before.gateway(&g.name).is_none()) {
            self.metrics.introduce(&gateway.name);
        }
        self.roster.reload(settings, now());
    }
}

fn tell(Transition { gateway, from, to, reason }: &Transition) {
    let (gateway, from, word, reason) = (gateway.as_str(), from.as_str(), to.as_str(), &**reason);
    match to {
        State::Down => tracing::warn!(gateway, from, to = word, reason, "gateway is down"),
        State::Up => tracing::info!(gateway, from, to = word, reason, "gateway is up"),
        State::Draining => tracing::info!(gateway, from, to = word, reason, "gateway drains"),
        State::Unknown => tracing::info!(gateway, from, to = word, reason, "gateway is unknown"),
    }
}
