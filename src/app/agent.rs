use std::net::{SocketAddr, TcpListener as StdListener};

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::files::WatchedFiles;
use super::listen_error;
use super::reread::{Reread, read_again, tell_refused};
use crate::config::AgentSettings;
use crate::heartbeat::{self, Legacy};
use crate::net::stop::{self, Stop};

/// Runs a heartbeat agent until told to stop. On SIGHUP, and when a certificate changes, it begins anew with
/// the configuration as it is then; one with errors is refused, and the agent goes on as it was.
///
/// The socket stays open meanwhile: front doors that ask wait for the first round of the new life. What is blocked
/// stays blocked.
pub async fn run_agent(
    settings: AgentSettings,
    read: Reread<AgentSettings>,
    stop: Stop,
) -> anyhow::Result<()> {
    let mut hangups = signal(SignalKind::hangup())?;
    let mut life = Life { socket: listen(settings.agent.listen)?, settings };
    let mut legacy = Legacy::default();
    let name = life.settings.agent.name.clone();
    let (address, version) = (life.settings.agent.listen, env!("CARGO_PKG_VERSION"));
    tracing::info!(name = &*name, %address, version, "heartbeat agent starts");
    loop {
        let (left, next) = life.live(legacy, &mut hangups, &read, stop.clone()).await?;
        let Some(next) = next else {
            left.settle().await;
            break;
        };
        tracing::info!("the configuration has been reloaded");
        (life, legacy) = (next, left);
    }
    tracing::info!(name = &*name, "heartbeat agent has stopped");
    Ok(())
}

/// An agent under one configuration.
struct Life {
    settings: AgentSettings,
    socket: StdListener,
}

impl Life {
    /// Runs until told to stop, or until there is another configuration to go on with, on what the life before has
    /// left.
    async fn live(
        &self,
        legacy: Legacy,
        hangups: &mut tokio::signal::unix::Signal,
        read: &Reread<AgentSettings>,
        mut stop: Stop,
    ) -> anyhow::Result<(Legacy, Option<Self>)> {
        let (stopper, own_stop) = stop::channel();
        let listener = TcpListener::from_std(self.socket.try_clone()?)?;
        let running = heartbeat::run(self.settings.agent.clone(), listener, legacy, own_stop);
        let mut running = std::pin::pin!(running);
        let mut watched = WatchedFiles::new(self.settings.files.clone());
        let next = loop {
            tokio::select! {
                ended = &mut running => {
                    ended.context("the heartbeat agent has failed")?;
                    anyhow::bail!("the heartbeat agent has ended");
                }
                () = stop.stopped() => break None,
                _ = hangups.recv() => {}
                () = watched.changed() => {}
            }
            // the agent goes on meanwhile
            let next = tokio::select! {
                next = self.next(read) => next,
                ended = &mut running => {
                    ended.context("the heartbeat agent has failed")?;
                    anyhow::bail!("the heartbeat agent has ended");
                }
                () = stop.stopped() => break None,
            };
            match next {
                Ok(next) => break Some(next),
                Err(problems) => tell_refused(&problems),
            }
        };
        stopper.stop();
        let left = running.await.context("the heartbeat agent has failed")?;
        Ok((left, next))
    }

    async fn next(&self, read: &Reread<AgentSettings>) -> Result<Self, Vec<String>> {
        let settings = read_again(read).await?;
        if settings.log != self.settings.log {
            tracing::warn!(key = "[log]", "this change takes effect at the next start");
        }
        let socket = if settings.agent.listen == self.settings.agent.listen {
            self.socket.try_clone().map_err(|error| vec![error.to_string()])?
        } else {
            listen(settings.agent.listen).map_err(|error| vec![error.to_string()])?
        };
        Ok(Self { settings, socket })
    }
}

fn listen(address: SocketAddr) -> anyhow::Result<StdListener> {
    let listener =
        StdListener::bind(address).map_err(|error| listen_error("[agent] listen", address, &error))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
