use std::net::{SocketAddr, TcpListener as StdListener};
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use super::files::WatchedFiles;
use super::listen_error;
use super::reread::{Reread, read_again, tell_refused};
use super::service::{self, Heart, Service};
use crate::config::AgentSettings;
use crate::heartbeat::{self, Doors, Legacy, Round};
use crate::net::inherited::Inherited;
use crate::net::stop::{self, Stop};

/// Runs a heartbeat agent until told to stop. On SIGHUP, and when a certificate changes, it begins anew with
/// the configuration as it is then; one with errors is refused, and the agent goes on as it was.
///
/// The socket stays open meanwhile: front doors that ask wait for the first round of the new life. What is blocked
/// stays blocked.
pub async fn run_agent(
    service: Service,
    settings: AgentSettings,
    read: Reread<AgentSettings>,
    stop: Stop,
) -> anyhow::Result<()> {
    let mut hangups = signal(SignalKind::hangup())?;
    let tcp: Vec<_> = std::iter::once(settings.agent.listen).chain(settings.agent.agent_check).collect();
    let (inherited, mut heart) = service.settle(&tcp, &[]);
    let mut life = Life {
        socket: open(&inherited, LISTEN, settings.agent.listen)?,
        agent_check: match settings.agent.agent_check {
            Some(address) => Some((address, open(&inherited, AGENT_CHECK, address)?)),
            None => None,
        },
        settings,
    };
    let mut legacy = Legacy::default();
    let name = life.settings.agent.name.clone();
    let (address, version) = (life.settings.agent.listen, env!("CARGO_PKG_VERSION"));
    tracing::info!(name = &*name, %address, version, "heartbeat agent starts");
    loop {
        let around = Around { heart: &mut heart, inherited: &inherited, hangups: &mut hangups, read: &read };
        let (left, next) = life.live(legacy, around, stop.clone()).await?;
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

/// What one life of an agent leaves to the next.
struct Around<'a> {
    heart: &'a mut Heart,
    inherited: &'a Inherited,
    hangups: &'a mut Signal,
    read: &'a Reread<AgentSettings>,
}

/// An agent under one configuration.
struct Life {
    settings: AgentSettings,
    socket: StdListener,
    /// Where HAProxy asks, if it does.
    agent_check: Option<(SocketAddr, StdListener)>,
}

impl Life {
    /// Runs until told to stop, or until there is another configuration to go on with, on what the life before has
    /// left.
    async fn live(
        &self,
        legacy: Legacy,
        Around { heart, inherited, hangups, read }: Around<'_>,
        mut stop: Stop,
    ) -> anyhow::Result<(Legacy, Option<Self>)> {
        let (stopper, own_stop) = stop::channel();
        let agent_check = self.agent_check.as_ref();
        let doors = Doors {
            reports: TcpListener::from_std(self.socket.try_clone()?)?,
            agent_check: agent_check
                .map(|(_, socket)| TcpListener::from_std(socket.try_clone()?))
                .transpose()?,
        };
        let (told, rounds) = watch::channel(None);
        let running = heartbeat::run(self.settings.agent.clone(), doors, legacy, told, own_stop);
        let mut running = std::pin::pin!(running);
        let mut watched = WatchedFiles::new(self.settings.files.clone());
        let beat = |heart: &mut Heart| self.beat(heart, &rounds);
        let mut first = rounds.clone();
        let mut is_ready = false;
        let next = loop {
            tokio::select! {
                ended = &mut running => {
                    ended.context("the heartbeat agent has failed")?;
                    anyhow::bail!("the heartbeat agent has ended");
                }
                () = stop.stopped() => break None,
                () = heart.tick() => {
                    beat(heart);
                    continue;
                }
                // front doors are answered from now on
                Ok(_) = first.changed(), if !is_ready => {
                    is_ready = true;
                    heart.ready();
                    beat(heart);
                    continue;
                }
                _ = hangups.recv() => {}
                () = watched.changed() => {}
            }
            heart.reloading();
            // the agent goes on meanwhile
            let next = tokio::select! {
                next = heart.during(self.next(read, inherited), beat) => next,
                ended = &mut running => {
                    ended.context("the heartbeat agent has failed")?;
                    anyhow::bail!("the heartbeat agent has ended");
                }
                () = stop.stopped() => break None,
            };
            match next {
                Ok(next) => break Some(next),
                Err(problems) => {
                    tell_refused(&problems);
                    heart.ready();
                }
            }
        };
        if next.is_none() {
            heart.stopping();
        }
        stopper.stop();
        let left = heart.during(running, beat).await.context("the heartbeat agent has failed")?;
        Ok((left, next))
    }

    /// Vouches for the agent as long as its rounds come to an end.
    fn beat(&self, heart: &mut Heart, rounds: &watch::Receiver<Option<Round>>) {
        let Some(Round { ended, summary }) = rounds.borrow().clone() else {
            // the first one is bounded by its own deadlines, and nobody has been told that we are ready
            return heart.beat(true, || "The first round of checks is under way.".into());
        };
        let agent = &self.settings.agent;
        let patience = agent.interval.saturating_add(agent.timeout).saturating_mul(2).saturating_add(MARGIN);
        heart.beat(ended.elapsed() < patience, || summary);
    }

    async fn next(&self, read: &Reread<AgentSettings>, inherited: &Inherited) -> Result<Self, Vec<String>> {
        let settings = read_again(read).await?;
        if settings.log != self.settings.log {
            tracing::warn!(key = "[log]", "this change takes effect at the next start");
        }
        let in_words = |error: anyhow::Error| vec![error.to_string()];
        let again = |socket: &StdListener| socket.try_clone().map_err(|error| in_words(error.into()));
        let socket = if settings.agent.listen == self.settings.agent.listen {
            again(&self.socket)?
        } else {
            open(inherited, LISTEN, settings.agent.listen).map_err(in_words)?
        };
        let agent_check = match (settings.agent.agent_check, &self.agent_check) {
            (None, _) => None,
            (Some(address), Some((before, socket))) if address == *before => Some((address, again(socket)?)),
            (Some(address), _) => Some((address, open(inherited, AGENT_CHECK, address).map_err(in_words)?)),
        };
        Ok(Self { settings, socket, agent_check })
    }
}

/// How long a round may take beyond what its deadlines allow.
const MARGIN: Duration = Duration::from_secs(2);

const LISTEN: &str = "[agent] listen";
const AGENT_CHECK: &str = "[agent] haproxy_agent_check";

fn open(inherited: &Inherited, key: &str, address: SocketAddr) -> anyhow::Result<StdListener> {
    service::listen(inherited, address).map_err(|error| listen_error(key, address, &error))
}
