use std::time::SystemTime;

use tokio::sync::{mpsc, oneshot};

use super::doors::Doors;
use super::farm::Farm;
use super::front::hosts;
use super::keeper::Order;
use super::open_files;
use super::peers::Peers;
use super::probes::Probes;
use super::reread::{Reread, read_again, tell_refused};
use super::responders::Responders;
use super::steered::Steered;
use crate::admin::events::{Kind, News};
use crate::admin::metrics::ConfigMetrics;
use crate::admin::order::ReloadRefused;
use crate::admin::recorder::Recorder;
use crate::admin::trust::Trust;
use crate::config::FrontSettings;
use crate::fence::FenceSettings;
use crate::net::inherited::Inherited;
use crate::vrrp::Instance;

/// Goes over to another configuration while the front door runs: whole, or not at all.
pub struct Reloader {
    /// Reads it.
    pub read: Reread<FrontSettings>,
    /// What is in force.
    pub settings: FrontSettings,
    /// The listeners.
    pub doors: Doors,
    /// Who answers native clients.
    pub responders: Responders,
    /// The keeper of the farm.
    pub keeper: mpsc::Sender<Order>,
    /// What the keeper knows.
    pub farm: Farm,
    /// Who may ask the admin endpoint what.
    pub trust: Trust,
    /// What is told of it.
    pub metrics: ConfigMetrics,
    /// The same, for the status.
    pub recorder: Recorder,
    /// The one who fences.
    pub fences: Steered<FenceSettings>,
    /// The one who follows the virtual addresses.
    pub follower: Steered<[Instance]>,
    /// The ones who talk with the other front doors.
    pub peers: Peers,
    /// Sockets that a service manager has given.
    pub inherited: Inherited,
}

impl Reloader {
    /// Reads the configuration and goes over to it, or tells why not and changes nothing. `by` is who or what wants that.
    pub async fn reload(&mut self, probes: &mut Probes, by: &str) -> Result<(), ReloadRefused> {
        match self.try_reload(probes).await {
            Ok(()) => {
                let now = SystemTime::now();
                self.metrics.taken(now);
                tracing::info!(by, "the configuration has been reloaded");
                self.recorder
                    .tell(News::good(Kind::Config, format!("the configuration was reloaded by {by}")), now);
                Ok(())
            }
            Err(problems) => {
                self.metrics.refused();
                tell_refused(&problems);
                let first = problems.first().map(String::as_str).unwrap_or_default();
                let text = format!("the new configuration was refused, the old one stays: {first}");
                self.recorder.tell(News::bad(Kind::Config, text), SystemTime::now());
                Err(ReloadRefused { problems })
            }
        }
    }

    async fn try_reload(&mut self, probes: &mut Probes) -> Result<(), Vec<String>> {
        let mut settings = read_again(&self.read).await?;
        open_files::prepare(&mut settings);
        // the last thing that can fail
        let prepared = self.doors.prepare(&settings.listeners, settings.log.access);
        let prepared = prepared.map_err(|error| vec![error.to_string()])?;
        let native = self.responders.prepare(settings.dve.as_ref(), settings.ike.as_ref());
        let native = native.map_err(|error| vec![error.to_string()])?;
        let peers = self.peers.prepare(settings.peer_door.as_ref(), &self.inherited);
        let peers = peers.map_err(|error| vec![error.to_string()])?;
        self.tell_what_needs_a_restart(&settings);
        probes.pause().await;
        let (done, published) = oneshot::channel();
        // errors mean that the keeper is gone, and that is seen elsewhere
        let _ = self.keeper.send(Order::Reload(settings.fleet.clone(), done)).await;
        let _ = published.await;
        self.fences.change(settings.fence.clone());
        self.follower.change(&*settings.vrrp);
        // the socket is open already: what fails here is this host's memory, and the others are not answered then
        if let Err(error) = self.peers.change(&settings.peers, peers).await {
            tracing::error!(%error, "the other front doors cannot be answered");
        }
        probes.start_again(&settings.probes);
        self.trust.change(settings.admin.token.clone(), hosts(&settings));
        // new gateways first, or a new listener would have nobody to name
        self.farm.first_round(&settings.probes).await;
        self.doors.take_up(prepared).await;
        self.responders.take_up(native).await;
        // what needs a restart is told at every reload until there was one
        settings.node_name.clone_from(&self.settings.node_name);
        settings.workers = self.settings.workers;
        settings.state_dir.clone_from(&self.settings.state_dir);
        settings.admin.listen = self.settings.admin.listen;
        settings.admin.socket.clone_from(&self.settings.admin.socket);
        (settings.log.format, settings.log.level) = (self.settings.log.format, self.settings.log.level);
        self.settings = settings;
        Ok(())
    }

    fn tell_what_needs_a_restart(&self, new: &FrontSettings) {
        let old = &self.settings;
        let changed = [
            ("[node] name", old.node_name != new.node_name),
            ("[node] state_dir", old.state_dir != new.state_dir),
            ("[node] workers", old.workers != new.workers),
            ("[admin] listen", old.admin.listen != new.admin.listen),
            ("[admin] socket", old.admin.socket != new.admin.socket),
            ("[log] format or level", (old.log.format, old.log.level) != (new.log.format, new.log.level)),
        ];
        for (key, _) in changed.into_iter().filter(|(_, changed)| *changed) {
            tracing::warn!(key, "this change takes effect at the next start");
        }
    }
}
