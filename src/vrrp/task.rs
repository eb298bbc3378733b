use std::collections::HashSet;
use std::convert::Infallible;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::watch;
use tokio::time::Instant;

use super::addresses::{Addresses, AddressesError};
use super::fifo::{Event, Fifo};
use super::instance::Instance;
use super::notice::Notice;
use super::standing::{Judged, Judgement, Said};
use crate::fleet::{Claim, Moment, Standing, VrrpId};
use crate::net::clock::now;
use crate::net::seldom::Seldom;
use crate::net::stop::Stop;

/// What leads to the one who follows the virtual addresses, and away from him.
#[derive(Debug)]
pub struct Follow {
    /// The virtual addresses; change with a reload.
    pub instances: watch::Receiver<Arc<[Instance]>>,
    /// Kept true.
    pub standing: Standing,
    /// What is so of each instance.
    pub reports: watch::Sender<Arc<[Report]>>,
    /// What other front doors say of the addresses that this one has.
    pub claims: watch::Receiver<Arc<[Claim]>>,
}

/// What is so of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Which one.
    pub vrrp_id: VrrpId,
    /// Where its addresses are.
    pub interface: String,
    /// The virtual addresses.
    pub addresses: Vec<IpNet>,
    /// Whether this host has it.
    pub active: bool,
    /// Since when.
    pub since: Moment,
    /// Why.
    pub reason: String,
    /// That an address of it may be on two hosts at a time, and why.
    pub conflict: Option<String>,
}

/// Keeps the standing true until told to stop, or until nobody can change the instances any more. What is not known is
/// not claimed: a front door that shares addresses is standby until it has looked. If it cannot look later, it stays what
/// it was, and tries again each second.
pub async fn run(follow: Follow, mut stop: Stop) {
    let Follow { mut instances, standing, reports, claims } = follow;
    let mut follower = Follower {
        standing,
        reports,
        claims,
        conflicts: Vec::new(),
        here: None,
        fifo: None,
        said: Said::default(),
        told: Judgement::default(),
        is_blind: false,
        left_over: LeftOver::default(),
        foreign: Seldom::new(
            "keepalived tells of an instance that is not ours",
            "instances that are not ours",
        ),
        contested: Seldom::new("another host claims a virtual address", "claims of another host"),
    };
    loop {
        let shared = instances.borrow_and_update().clone();
        tokio::select! {
            never = follower.follow(&shared) => match never {},
            () = stop.stopped() => return,
            changed = instances.changed() => if changed.is_err() { return },
        }
    }
}

struct Follower {
    standing: Standing,
    reports: watch::Sender<Arc<[Report]>>,
    claims: watch::Receiver<Arc<[Claim]>>,
    /// Those of other front doors that were logged last.
    conflicts: Vec<Claim>,
    /// The addresses of this host, once they are known.
    here: Option<HashSet<IpAddr>>,
    /// Where keepalived is listened to.
    fifo: Option<Fifo>,
    /// What it has said there.
    said: Said,
    /// What was logged last.
    told: Judgement,
    /// Whether the addresses cannot be read, and that was logged.
    is_blind: bool,
    left_over: LeftOver,
    foreign: Seldom,
    contested: Seldom,
}

/// Addresses that are here though keepalived says that they are not.
#[derive(Debug, Default)]
struct LeftOver {
    since: Option<Instant>,
    is_told: bool,
}

impl Follower {
    async fn follow(&mut self, instances: &[Instance]) -> Infallible {
        self.listen_to(instances.iter().find_map(|instance| instance.notify_fifo.clone()));
        if instances.is_empty() {
            // what nobody follows is not known for long
            self.here = None;
            self.judge(instances);
            return std::future::pending().await;
        }
        if self.here.is_some() {
            self.judge(instances);
        } else {
            self.standing.set(false);
        }
        loop {
            let Err(error) = self.watch(instances).await;
            if !std::mem::replace(&mut self.is_blind, true) {
                let standing = if self.standing.is_active() { "active" } else { "standby" };
                tracing::warn!(
                    "this front door cannot see whether it has the virtual addresses, and stays {standing} until \
                     it can: {error}"
                );
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn listen_to(&mut self, path: Option<PathBuf>) {
        if self.fifo.as_ref().map(Fifo::path) != path.as_deref() {
            self.fifo = path.map(Fifo::new);
            self.said = Said::default();
        }
    }

    /// Returns when it cannot go on.
    async fn watch(&mut self, instances: &[Instance]) -> Result<Infallible, AddressesError> {
        let mut addresses = Addresses::open()?;
        loop {
            self.here = Some(addresses.look().await?);
            if std::mem::take(&mut self.is_blind) {
                tracing::info!("this front door sees again whether it has the virtual addresses");
            }
            self.judge(instances);
            tokio::time::sleep(BREATH).await;
            let mut next_look = Instant::now() + LONGEST;
            if self.left_over.is_to_be_told() {
                next_look = Instant::now() + PAUSE;
            }
            // whether something has changed or not, it is time for another look then
            loop {
                tokio::select! {
                    changed = addresses.changed() => {
                        changed?;
                        break;
                    }
                    () = tokio::time::sleep_until(next_look) => break,
                    Ok(()) = self.claims.changed() => self.judge(instances),
                    event = next_event(&mut self.fifo) => {
                        self.hear(event);
                        self.judge(instances);
                        next_look = next_look.min(Instant::now() + PAUSE);
                    }
                }
            }
        }
    }

    fn hear(&mut self, event: Event) {
        let line = match event {
            Event::Line(line) => line,
            Event::Closed => {
                if self.said.ended() {
                    tracing::warn!(
                        "keepalived has ended without a word while it was master: the virtual addresses stay here, and \
                         the other host may take them as well; start keepalived again, or remove them"
                    );
                }
                return;
            }
            Event::Lost => {
                if self.said.lost() {
                    tracing::warn!(
                        "another file is where the fifo of keepalived was, and keepalived does not write to it: the \
                         addresses of this host alone tell whether it is active; start keepalived again"
                    );
                }
                return;
            }
        };
        tracing::debug!(line, "keepalived says");
        let at = now().instant;
        for told in [&self.contested, &self.foreign] {
            if let Some(sum) = told.sum(at) {
                tracing::warn!("{sum}");
            }
        }
        match Notice::read(&line) {
            Some(Notice::State(instance, state)) => self.said.state(instance, state),
            Some(Notice::Deleted(instance)) => self.said.deleted(instance),
            Some(Notice::Contested(instance)) => {
                self.said.contested(instance, at);
                if self.contested.note_at(at, instance) {
                    tracing::warn!(
                        %instance,
                        "another host claims the virtual address as well; look at the network between the two"
                    );
                }
            }
            Some(Notice::Foreign(name)) if self.foreign.note_at(at, name) => {
                tracing::warn!(
                    name,
                    "keepalived tells of an instance that none of [[vrrp]] is; instances of ours are called \
                     vestibule-31-ipv4 or so, see: vestibule keepalived"
                );
            }
            Some(Notice::Foreign(_)) | None => {}
        }
    }

    fn judge(&mut self, instances: &[Instance]) {
        let nothing = HashSet::new();
        let here = self.here.as_ref().unwrap_or(&nothing);
        let claims = Arc::clone(&self.claims.borrow_and_update());
        let judgement = Judgement::of(instances, here, &self.said, &claims, now().instant);
        for claim in claims.iter().filter(|claim| !self.conflicts.contains(claim)) {
            let (vrrp_id, by) = (claim.vrrp_id, &*claim.by);
            tracing::error!(
                %vrrp_id,
                by,
                "another front door has the virtual address as well: look at keepalived on both hosts and at the network \
                 between them"
            );
        }
        self.conflicts = claims.to_vec();
        self.standing.set(judgement.is_active());
        if !judgement.agrees_with(&self.told) {
            tracing::info!("{judgement}");
        }
        let reports = instances.iter().zip(judgement.instances());
        let reports = reports.map(|(instance, judged)| self.report(instance, judged)).collect();
        self.reports.send_replace(reports);
        match judgement.left_over() {
            Some(words) if self.left_over.has_lasted() => tracing::warn!(
                "virtual addresses are on this host though keepalived says that they are not: {words}; the other host may \
                 have them as well; remove them: ip address del ADDRESS dev INTERFACE"
            ),
            Some(_) => {}
            None => self.left_over = LeftOver::default(),
        }
        self.told = judgement;
    }

    fn report(&self, instance: &Instance, judged: &Judged) -> Report {
        let before = self.reports.borrow();
        let same = before
            .iter()
            .find(|report| report.vrrp_id == instance.vrrp_id && report.active == judged.is_held());
        Report {
            vrrp_id: instance.vrrp_id,
            interface: instance.interface.clone(),
            addresses: instance.addresses.clone(),
            active: judged.is_held(),
            since: same.map_or_else(now, |report| report.since),
            reason: judged.reason(),
            conflict: judged.conflict(),
        }
    }
}

impl LeftOver {
    /// Whether it is time to tell, which is so once.
    fn has_lasted(&mut self) -> bool {
        let since = *self.since.get_or_insert_with(Instant::now);
        !self.is_told && {
            self.is_told = since.elapsed() >= MOMENT;
            self.is_told
        }
    }

    fn is_to_be_told(&self) -> bool {
        self.since.is_some() && !self.is_told
    }
}

async fn next_event(fifo: &mut Option<Fifo>) -> Event {
    match fifo {
        Some(fifo) => fifo.next().await,
        None => std::future::pending().await,
    }
}

/// Between two attempts where the addresses cannot be read, and to the look after keepalived has said something.
const PAUSE: Duration = Duration::from_secs(1);

/// For so long addresses may be here that keepalived has given up.
const MOMENT: Duration = Duration::from_secs(1);

/// Between two looks, however much changes: a host may have many addresses, and somebody may be busy with them.
const BREATH: Duration = Duration::from_millis(5);

/// From one look to the next where no change is told: should a notice be lost in a way that nobody knows of.
const LONGEST: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::net::heard::Heard;
    use crate::net::stop;
    use crate::vrrp::Role;

    fn instance(address: &str) -> Instance {
        Instance {
            vrrp_id: VrrpId::new(31).unwrap(),
            role: Role::Master,
            interface: "lo".into(),
            addresses: vec![address.parse().unwrap()],
            peers: Vec::new(),
            advertisement_interval: Duration::from_secs(1),
            preempt: false,
            notify_fifo: None,
        }
    }

    #[tokio::test]
    async fn each_change_is_logged_once() {
        let heard = Heard::begin();
        let standing = Standing::active();
        let (instances, receiver) = watch::channel(Arc::from([]));
        let (stopper, stop) = stop::channel();
        let (reports, reported) = watch::channel(Arc::from([]));
        let (_claims, claims) = watch::channel(Arc::from([]));
        let follow = Follow { instances: receiver, standing: standing.clone(), reports, claims };
        let task = tokio::spawn(run(follow, stop));
        let line = |words: &str| vec![format!("INFO this front door is {words}")];
        for (shared, active, expected) in [
            (vec![], true, vec![]),
            (vec![instance("127.0.0.1/8")], true, line("active: it has 127.0.0.1 (vrrp_id 31)")),
            (vec![instance("127.0.0.1/8")], true, vec![]),
            (vec![instance("192.0.2.1/24")], false, line("standby: it does not have 192.0.2.1 (vrrp_id 31)")),
            (vec![], true, line("active: it shares no virtual address")),
        ] {
            instances.send_replace(shared.into());
            let (start, mut lines) = (Instant::now(), Vec::new());
            // where nothing is to be told, it is given a while for telling it
            let least = if expected.is_empty() { Duration::from_millis(100) } else { Duration::ZERO };
            while start.elapsed() < least || lines.len() < expected.len() {
                assert!(start.elapsed() < Duration::from_secs(10), "{lines:?}, and not {expected:?}");
                tokio::time::sleep(Duration::from_millis(1)).await;
                lines.extend(heard.lines());
            }
            assert_eq!((standing.is_active(), lines), (active, expected));
            let all: Vec<_> = reported.borrow().iter().map(|report| report.active).collect();
            assert!(all.iter().all(|is_active| *is_active == active), "{all:?}");
        }
        stopper.stop();
        task.await.unwrap();
    }
}
