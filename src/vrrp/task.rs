use std::collections::HashSet;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::Instance;
use super::addresses::{Addresses, AddressesError};
use super::standing::Judgement;
use crate::fleet::Standing;
use crate::net::stop::Stop;

/// Keeps the standing true until told to stop, or until nobody can change the instances any more. What is not known is
/// not claimed: a front door that shares addresses is standby until it has looked. If it cannot look later, it stays what
/// it was, and tries again each second.
pub async fn run(mut instances: watch::Receiver<Arc<[Instance]>>, standing: Standing, mut stop: Stop) {
    let mut follower = Follower { standing, here: None, told: Judgement::default(), is_blind: false };
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
    /// The addresses of this host, once they are known.
    here: Option<HashSet<IpAddr>>,
    /// What was logged last.
    told: Judgement,
    /// Whether the addresses cannot be read, and that was logged.
    is_blind: bool,
}

impl Follower {
    async fn follow(&mut self, instances: &[Instance]) -> Infallible {
        if instances.is_empty() {
            // what nobody follows is not known for long
            self.here = None;
            self.judge(instances, &HashSet::new());
            return std::future::pending().await;
        }
        match self.here.take() {
            Some(here) => {
                self.judge(instances, &here);
                self.here = Some(here);
            }
            None => self.standing.set(false),
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

    /// Returns when it cannot go on.
    async fn watch(&mut self, instances: &[Instance]) -> Result<Infallible, AddressesError> {
        let mut addresses = Addresses::open()?;
        loop {
            let here = addresses.look().await?;
            if std::mem::take(&mut self.is_blind) {
                tracing::info!("this front door sees again whether it has the virtual addresses");
            }
            self.judge(instances, &here);
            self.here = Some(here);
            tokio::time::sleep(BREATH).await;
            // whether something has changed or not, it is time for another look
            if let Ok(changed) = tokio::time::timeout(LONGEST, addresses.changed()).await {
                changed?;
            }
        }
    }

    fn judge(&mut self, instances: &[Instance], here: &HashSet<IpAddr>) {
        let judgement = Judgement::of(instances, here);
        self.standing.set(judgement.is_active());
        if !judgement.agrees_with(&self.told) {
            tracing::info!("{judgement}");
        }
        self.told = judgement;
    }
}

/// Between two attempts where the addresses cannot be read.
const PAUSE: Duration = Duration::from_secs(1);

/// Between two looks, however much changes: a host may have many addresses, and somebody may be busy with them.
const BREATH: Duration = Duration::from_millis(5);

/// From one look to the next where no change is told: should a notice be lost in a way that nobody knows of.
const LONGEST: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::fleet::VrrpId;
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
            notify_fifo: "/run/vestibule/keepalived.fifo".into(),
        }
    }

    #[tokio::test]
    async fn each_change_is_logged_once() {
        let heard = Heard::begin();
        let standing = Standing::active();
        let (instances, receiver) = watch::channel(Arc::from([]));
        let (stopper, stop) = stop::channel();
        let task = tokio::spawn(run(receiver, standing.clone(), stop));
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
        }
        stopper.stop();
        task.await.unwrap();
    }
}
