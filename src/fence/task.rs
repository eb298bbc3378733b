use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};

use super::duty::{Duty, Request, Terms};
use super::errand::{self, Refusal};
use super::local::{Local, Outcome};
use super::news::{News, Operation};
use super::plan::{Front, Kind, Post, Stance, plan};
use super::settings::{FenceSettings, Fenced};
use super::suspicions::Suspicions;
use crate::fleet::{GatewayName, GatewayView, LocalBlock, Snapshot, Standing, View};
use crate::net::client::Client;
use crate::net::stop::Stop;

/// What leads to the one who fences.
#[derive(Debug)]
pub struct Inputs {
    /// How; changes with a reload.
    pub settings: watch::Receiver<Arc<FenceSettings>>,
    /// The newest snapshot.
    pub view: View,
    /// Changes with every snapshot.
    pub published: watch::Receiver<u64>,
    /// Whether this front door is the active one.
    pub standing: Standing,
}

/// Sees to it that gateways that fail for this front door are blocked, and no others, until told to stop. Then what
/// stands in this host's firewall is removed, and leases at agents are left to run out: who starts soon renews them.
pub async fn run(inputs: Inputs, news: mpsc::Sender<News>, mut stop: Stop) {
    let Inputs { mut settings, view, mut published, standing } = inputs;
    let current = Arc::clone(&settings.borrow_and_update());
    let mut warden = Warden::new(current, view, standing, news);
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = stop.stopped() => break,
            Some(errand) = warden.errands.join_next() => warden.take(errand, Instant::now()).await,
            Some(built) = warden.building.join_next() => warden.take_wall(built, Instant::now()).await,
            Ok(()) = settings.changed() => {
                let changed = Arc::clone(&settings.borrow_and_update());
                warden.adopt(changed);
            }
            Ok(()) = published.changed() => {}
            _ = ticks.tick() => {}
        }
        warden.act(Instant::now());
    }
    warden.stop().await;
}

/// Leases are renewed in time also while nothing is found.
const TICK: Duration = Duration::from_millis(250);
/// Longer than the firewall needs.
const LAST_WORK: Duration = Duration::from_secs(3);

struct Warden {
    settings: Arc<FenceSettings>,
    view: View,
    standing: Standing,
    charges: BTreeMap<GatewayName, Charge>,
    local: Local,
    suspicions: Suspicions,
    /// At most one for each gateway.
    errands: JoinSet<Errand>,
    /// At most one.
    building: JoinSet<Outcome>,
    news: mpsc::Sender<News>,
    told_of_wall: bool,
}

/// What is done about one gateway.
struct Charge {
    fenced: Fenced,
    duty: Duty,
    /// `None` while it is out on an errand, and without an agent.
    client: Option<Client>,
}

/// One that has come back.
struct Errand {
    gateway: GatewayName,
    client: Client,
    result: Result<(), Refusal>,
}

impl Warden {
    fn new(settings: Arc<FenceSettings>, view: View, standing: Standing, news: mpsc::Sender<News>) -> Self {
        let mut warden = Self {
            settings: Arc::clone(&settings),
            view,
            standing,
            charges: BTreeMap::new(),
            local: Local::new(),
            suspicions: Suspicions::default(),
            errands: JoinSet::new(),
            building: JoinSet::new(),
            news,
            told_of_wall: false,
        };
        warden.adopt(settings);
        warden
    }

    /// Goes over to other settings. What is held of gateways that are no longer there is left to run out.
    fn adopt(&mut self, settings: Arc<FenceSettings>) {
        if settings.lacks_a_name() {
            tracing::warn!(
                "agents cannot be asked to fence their gateways, nor to keep them open for 'keep_at_least': without \
                 https and a client certificate ([heartbeat] certificate and key) this front door has no name that \
                 they would know it by"
            );
        }
        // what they bring back would end requests of another life; nobody knows what becomes of theirs
        self.errands = JoinSet::new();
        let (pause, now) = (settings.pause(), Instant::now());
        let mut old = std::mem::take(&mut self.charges);
        // leases in another name are not ours
        let keeps_its_name = settings.holder == self.settings.holder;
        for fenced in &settings.gateways {
            let known = old.remove(&fenced.gateway).filter(|_| keeps_its_name);
            let mut duty = known.map(|charge| charge.duty).unwrap_or_default();
            duty.abandoned(pause, now);
            let client = fenced.agent.clone().map(Client::new);
            self.charges.insert(fenced.gateway.clone(), Charge { fenced: fenced.clone(), duty, client });
        }
        self.settings = settings;
    }

    /// Does what is to be done now.
    fn act(&mut self, now: Instant) {
        let snapshot = Arc::clone(self.view.load());
        let is_active = self.standing.is_active();
        let stances = self.stances(&snapshot, now).into_iter();
        let stances = stances.map(|stance| if is_active { stance } else { stance.of_a_standby() });
        let settings = Arc::clone(&self.settings);
        if let Some(holder) = &settings.holder {
            self.suspicions.arising(&snapshot, holder, settings.lease, now).iter().for_each(tell_suspicion);
        }
        let mut from_here = Vec::new();
        for (view, stance) in snapshot.gateways.iter().zip(stances) {
            let Some(charge) = self.charges.get_mut(&view.gateway.name) else { continue };
            let stance_at_agent = if charge.fenced.kind == Kind::Local {
                let at_agent = if let Stance::Block(_) = stance { Stance::Free } else { stance.clone() };
                from_here.push((view.gateway.name.clone(), stance, charge.fenced.endpoints.clone()));
                at_agent
            } else {
                stance
            };
            let (Some(holder), true) = (&settings.holder, charge.client.is_some()) else { continue };
            let terms = Terms { holder, lease: settings.lease, stale_after: snapshot.balance.stale_after };
            if let Some(request) = charge.duty.next(&stance_at_agent, view.fence.as_ref(), terms, now) {
                self.send(&view.gateway.name, request, holder);
            }
        }
        if let Some(job) = self.local.next(&from_here, &settings.front, settings.lease, now) {
            self.building.spawn(job.run());
        }
    }

    fn stances(&self, snapshot: &Snapshot, now: Instant) -> Vec<Stance> {
        let post = |view: &Arc<GatewayView>| {
            let name = &view.gateway.name;
            let charge = self.charges.get(name)?;
            let post = charge.duty.post(charge.fenced.kind, view.fence.as_ref(), self.settings.lease, now);
            let blocks = post.blocks || self.local.blocks(name, now);
            Some((name.clone(), Post { can_ask: charge.fenced.agent.is_some(), blocks, ..post }))
        };
        let posts = snapshot.gateways.iter().filter_map(post).collect();
        let front = Front {
            holder: self.settings.holder.as_deref(),
            enabled: self.settings.enabled,
            keep_at_least: self.settings.keep_at_least,
            patience: self.settings.interval * PATIENCE,
        };
        plan(snapshot, front, &posts, now)
    }

    fn send(&mut self, gateway: &GatewayName, request: Request, holder: &Arc<str>) {
        let Some(charge) = self.charges.get_mut(gateway) else { return };
        let Some(mut client) = charge.client.take() else { return };
        let (gateway, holder) = (gateway.clone(), Arc::clone(holder));
        let (lease, deadline) = (self.settings.lease, self.settings.timeout);
        self.errands.spawn(async move {
            let result = errand::ask(&mut client, &request, &holder, lease, deadline).await;
            Errand { gateway, client, result }
        });
    }

    async fn take(&mut self, errand: Result<Errand, JoinError>, now: Instant) {
        let Errand { gateway, client, result } = match errand {
            Ok(errand) => errand,
            Err(error) => return tracing::error!(%error, "an errand to an agent has failed"),
        };
        let Some(charge) = self.charges.get_mut(&gateway) else { return };
        charge.client = Some(client);
        if let Err(Refusal::KeptOpen) = result {
            // two front doors have seen different things for a moment: no failure, and reports tell the rest
            return charge.duty.kept_open(now);
        }
        let Some(request) = charge.duty.ended(result.is_ok(), self.settings.pause(), now) else { return };
        let failure = result.err().map(|refusal| refusal.to_string());
        // a renewal that succeeds is no event
        let is_renewal =
            matches!(request, Request::Block { is_new: false, .. } | Request::KeepOpen { is_new: false });
        if failure.is_some() || !is_renewal {
            self.tell(News::Done { gateway, operation: request.operation(), failure }).await;
        }
    }

    async fn take_wall(&mut self, outcome: Result<Outcome, JoinError>, now: Instant) {
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(error) => return tracing::error!(%error, "work on this host's firewall has failed"),
        };
        let (standing, before) = match self.local.ended(outcome, now) {
            Ok(standings) => standings,
            Err((wanted, error)) => {
                if !std::mem::replace(&mut self.told_of_wall, true) {
                    let reason = error.to_string();
                    tracing::warn!(reason, "this host's firewall cannot be used to fence gateways");
                }
                for gateway in wanted.reasons.into_keys() {
                    let failure = Some(error.to_string());
                    self.tell(News::Done { gateway, operation: Operation::Block, failure }).await;
                }
                return;
            }
        };
        self.told_of_wall = false;
        for gateway in before.reasons.keys().filter(|name| !standing.reasons.contains_key(*name)) {
            let done = News::Done { gateway: gateway.clone(), operation: Operation::Unblock, failure: None };
            self.tell(News::Local { gateway: gateway.clone(), block: None }).await;
            self.tell(done).await;
        }
        let Some((_, until)) = standing.lasts.filter(|_| standing != before) else { return };
        for (gateway, reason) in standing.reasons {
            let block = LocalBlock { by: Arc::clone(&self.settings.front), reason, until };
            let is_new = !before.reasons.contains_key(&gateway);
            self.tell(News::Local { gateway: gateway.clone(), block: Some(block) }).await;
            if is_new {
                self.tell(News::Done { gateway, operation: Operation::Block, failure: None }).await;
            }
        }
    }

    async fn tell(&mut self, news: News) {
        // an error means that the keeper is gone, and that is seen elsewhere
        let _ = self.news.send(news).await;
    }

    /// Ends in order. An agent that is being asked is not waited for; the firewall is.
    async fn stop(mut self) {
        let last = async {
            while let Some(built) = self.building.join_next().await {
                if let Ok(outcome) = built {
                    let _ = self.local.ended(outcome, Instant::now());
                }
            }
            self.local.remove().await
        };
        match tokio::time::timeout(LAST_WORK, last).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "blocks in this host's firewall are left to run out");
            }
            Err(_) => {
                tracing::warn!("blocks in this host's firewall are left to run out: it does not answer")
            }
        }
    }
}

fn tell_suspicion(gateway: &GatewayName) {
    let gateway = gateway.as_str();
    tracing::warn!(
        gateway,
        "our checks of the gateway are refused while our own block is in force and its agent finds it well; if they \
         pass a NAT, name that address in 'exempt' of the agent's [fence]"
    );
}

/// In intervals: each front door asks once in each, and then it takes a round until the other has seen it.
const PATIENCE: u32 = 5;

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::SystemTime;

    use tokio::net::TcpListener;

    use super::*;
    use crate::fleet::{
        Balance, CheckOutcome, CheckResult, Endpoint, FenceReport, FleetSettings, Gateway, HEARTBEAT, Load,
        Moment, Observation, Publisher, Roster, Service, ServiceReport, Thresholds, Weights,
    };
    use crate::net::client::Target;

    const GATEWAY: &str = "gw1";
    const SHORT: Duration = Duration::from_millis(100);
    const LONG: Duration = Duration::from_secs(60);

    /// One who is to have gateway gw1 blocked by an agent.
    fn warden(settings: FenceSettings) -> Warden {
        let now = Moment { instant: Instant::now(), wall: SystemTime::UNIX_EPOCH };
        let gateway = Gateway::plain(GATEWAY, "10.0.0.1");
        let settings_of_fleet = FleetSettings {
            gateways: vec![Arc::new(gateway)],
            thresholds: Thresholds { rise: NonZeroU32::MIN, fall: NonZeroU32::MIN },
            weights: Weights::default(),
            balance: Balance { stale_after: LONG, ..Balance::default() },
        };
        let mut roster = Roster::new(settings_of_fleet, now);
        let check = |name: &str, outcome| CheckResult { check: name.into(), outcome, took: Duration::ZERO };
        let checks = vec![
            check(HEARTBEAT, CheckOutcome::Pass("reported".into())),
            check("portal", CheckOutcome::Fail("refused".into())),
        ];
        let fence = FenceReport { engine: "nftables".into(), ..FenceReport::default() };
        let report = ServiceReport { service: Service::Up, load: Load::default(), fence: Some(fence) };
        let seen = Observation { checks, report: Some(report), asked: Some(now) };
        roster.observe(&GatewayName::new(GATEWAY), seen, now);
        let view = Publisher::new(roster.snapshot()).view();
        Warden::new(Arc::new(settings), view, Standing::active(), mpsc::channel(8).0)
    }

    fn settings(agent: Endpoint, holder: &str, timeout: Duration) -> FenceSettings {
        let fenced = Fenced {
            gateway: GatewayName::new(GATEWAY),
            kind: Kind::Agent,
            agent: Some(Target { site: agent.into(), tls: None }),
            endpoints: Vec::new(),
        };
        FenceSettings {
            enabled: true,
            lease: LONG,
            keep_at_least: 0,
            front: "front".into(),
            holder: Some(holder.into()),
            interval: SHORT,
            timeout,
            gateways: vec![fenced],
        }
    }

    #[tokio::test]
    async fn a_standby_leaves_blocking_to_the_active_one() {
        // nobody answers
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let agent = Endpoint::parse(&listener.local_addr().unwrap().to_string(), 80).unwrap();
        let mut warden = warden(settings(agent, "front-a", LONG));
        warden.standing.set(false);
        warden.act(Instant::now());
        assert!(warden.errands.is_empty());
        // it takes over
        warden.standing.set(true);
        warden.act(Instant::now());
        assert_eq!(warden.errands.len(), 1);
    }

    #[tokio::test]
    async fn what_was_asked_in_an_older_life_ends_nothing_that_is_asked_in_this_one() {
        // nobody answers
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let agent = Endpoint::parse(&listener.local_addr().unwrap().to_string(), 80).unwrap();
        for (holder, waits) in [("front-a", true), ("front-b", false)] {
            let mut warden = warden(settings(agent.clone(), "front-a", SHORT));
            warden.act(Instant::now());
            assert_eq!(warden.errands.len(), 1);
            warden.adopt(Arc::new(settings(agent.clone(), holder, LONG)));
            // what the same front door has asked may have been done; another one has asked nothing
            warden.act(Instant::now());
            assert_eq!(warden.errands.is_empty(), waits, "{holder}");
            warden.act(Instant::now() + 2 * SHORT);
            assert_eq!(warden.errands.len(), 1, "{holder}");
            let came_back = tokio::time::timeout(3 * SHORT, warden.errands.join_next()).await;
            assert!(came_back.is_err(), "{holder}");
        }
    }
}
