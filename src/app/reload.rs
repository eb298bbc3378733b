use std::time::SystemTime;

use tokio::sync::{mpsc, oneshot};

use super::doors::Doors;
use super::farm::Farm;
use super::front::Reload;
use super::keeper::Order;
use super::open_files;
use super::probes::Probes;
use crate::admin::metrics::ConfigMetrics;
use crate::admin::order::ReloadRefused;
use crate::admin::trust::Trust;
use crate::config::{FrontSettings, Problem};

/// Goes over to another configuration while the front door runs: whole, or not at all.
pub struct Reloader {
    /// Reads it; `None` while it is being read.
    pub read: Option<Reload>,
    /// What is in force.
    pub settings: FrontSettings,
    /// The listeners.
    pub doors: Doors,
    /// The keeper of the farm.
    pub keeper: mpsc::Sender<Order>,
    /// What the keeper knows.
    pub farm: Farm,
    /// Who may ask the admin endpoint what.
    pub trust: Trust,
    /// What is told of it.
    pub metrics: ConfigMetrics,
}

impl Reloader {
    /// Reads the configuration and goes over to it, or tells why not and changes nothing.
    pub async fn reload(&mut self, probes: &mut Probes) -> Result<(), ReloadRefused> {
        match self.try_reload(probes).await {
            Ok(()) => {
                self.metrics.taken(SystemTime::now());
                tracing::info!("the configuration has been reloaded");
                Ok(())
            }
            Err(problems) => {
                self.metrics.refused();
                for problem in &problems {
                    tracing::error!(%problem, "the new configuration is refused, the old one stays");
                }
                Err(ReloadRefused { problems })
            }
        }
    }

    async fn try_reload(&mut self, probes: &mut Probes) -> Result<(), Vec<String>> {
        let in_words = |problems: Vec<Problem>| problems.iter().map(ToString::to_string).collect::<Vec<_>>();
        let (mut settings, warnings) = self.read().await?.map_err(in_words)?;
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        open_files::prepare(&mut settings);
        // the last thing that can fail
        let prepared = self.doors.prepare(&settings.listeners, settings.log.access);
        let prepared = prepared.map_err(|error| vec![error.to_string()])?;
        self.tell_what_needs_a_restart(&settings);
        let (done, published) = oneshot::channel();
        // errors mean that the keeper is gone, and that is seen elsewhere
        let _ = self.keeper.send(Order::Reload(settings.fleet.clone(), done)).await;
        let _ = published.await;
        probes.replace(&settings.probes).await;
        self.trust.set_token(settings.admin.token.clone());
        // new gateways first, or a new listener would have nobody to name
        self.farm.first_round(&settings.probes).await;
        self.doors.take_up(prepared);
        self.settings = settings;
        Ok(())
    }

    /// Reads the configuration on another thread: files may be many, or far away.
    async fn read(&mut self) -> Result<Result<(FrontSettings, Vec<Problem>), Vec<Problem>>, Vec<String>> {
        const BUSY: &str = "the configuration is being read already";
        let mut read = self.read.take().ok_or_else(|| vec![BUSY.to_owned()])?;
        let reading = tokio::task::spawn_blocking(move || {
            let result = read();
            (read, result)
        });
        let (read, result) =
            reading.await.map_err(|error| vec![format!("the configuration cannot be read: {error}")])?;
        self.read = Some(read);
        Ok(result)
    }

    fn tell_what_needs_a_restart(&self, new: &FrontSettings) {
        let old = &self.settings;
        let changed = [
            ("[node] name", old.node_name != new.node_name),
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
