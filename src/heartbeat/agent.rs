use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::HeartbeatError;
use super::agent_check::AgentCheck;
use super::checks::{self, LocalCheck};
use super::fence::{Fence, FenceSettings, Legacy};
use super::report::FenceSection;
use super::sample::{LoadSettings, Sampler};
use super::server::serve_agent;
use super::standing::Standing;
use super::state::AgentState;
use super::track_file::TrackFile;
use crate::fleet::{Condition, Moment, Thresholds};
use crate::net::clock::now;
use crate::net::stop::Stop;
use crate::net::tell::tell;

/// What the configuration says of an agent.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What it calls its gateway.
    pub name: Arc<str>,
    /// Where front doors ask; bound by whoever calls [`run`].
    pub listen: SocketAddr,
    /// Where HAProxy asks, if it does; bound in the same way.
    pub agent_check: Option<SocketAddr>,
    /// TLS that asks for client certificates; absent only where `listen` is on loopback.
    pub tls: Option<Arc<ServerConfig>>,
    /// From the beginning of one round to that of the next; not zero.
    pub interval: Duration,
    /// For each check, and each program or file asked for load.
    pub timeout: Duration,
    /// How many rounds it takes to change the conclusion.
    pub thresholds: Thresholds,
    /// What "this gateway works" means; their names are unique.
    pub checks: Vec<LocalCheck>,
    /// Where the load is found.
    pub load: LoadSettings,
    /// How newcomers are refused; absent: not at all.
    pub fence: Option<FenceSettings>,
    /// Where keepalived reads whether this gateway is fit to have an address that it shares with another one; absent: it
    /// shares none.
    pub track_file: Option<PathBuf>,
}

/// Where an agent is asked.
#[derive(Debug)]
pub struct Doors {
    /// By front doors.
    pub reports: TcpListener,
    /// By HAProxy, if it is.
    pub agent_check: Option<TcpListener>,
}

/// What a round has shown, for whoever watches over the agent.
#[derive(Clone, Debug)]
pub struct Round {
    /// When it was over.
    pub ended: Instant,
    /// What is concluded of this gateway, in one sentence.
    pub summary: String,
}

/// Watches this gateway, fences it, and answers front doors, until told to stop.
///
/// The first round is over before anyone is answered, so that an agent that is started again never reports
/// what it has not seen. Everything it has begun has ended when this returns, but for its firewall rules: they are
/// as they were, and go to another life (`legacy`), or are to be settled. `told` has the last round, from the moment on
/// in which front doors are answered.
///
/// # Errors
/// See [`serve_state`](super::serve_state). The firewall rules are then left to run out.
pub async fn run(
    settings: Settings,
    doors: Doors,
    legacy: Legacy,
    told: watch::Sender<Option<Round>>,
    stop: Stop,
) -> Result<Legacy, HeartbeatError> {
    let Settings { name, tls, interval, fence, track_file, .. } = settings.clone();
    let mut fence = Fence::after(legacy, fence, interval).await?;
    let mut rounds = Rounds::new(settings, now());
    let mut stopped = stop.clone();
    let first = tokio::select! {
        () = stopped.stopped() => return Ok(Legacy::of(fence)),
        state = rounds.next() => state,
    };
    if let Some(begun) = fence.take() {
        begun.judge(rounds.standing.health());
        fence = begun.begin(interval).await;
    }
    told.send_replace(Some(rounds.last()));
    let (sender, receiver) = watch::channel(first);
    let mut tracked = receiver.clone();
    let watching = async {
        tokio::select! {
            () = stopped.stopped() => {}
            () = rounds.keep(&sender, &told, fence.as_deref(), interval) => {}
            () = upkeep(fence.as_deref()) => {}
            () = track(track_file, &mut tracked) => {}
        }
        Ok(())
    };
    let Doors { reports, agent_check } = doors;
    let checked = answer_checks(agent_check, receiver.clone(), fence.as_deref(), stop.clone());
    // one task: if one half fails, the other ends with it
    tokio::try_join!(watching, checked, serve_agent(reports, tls, name, receiver, fence.clone(), stop))?;
    Ok(Legacy::of(fence))
}

async fn upkeep(fence: Option<&Fence>) {
    match fence {
        Some(fence) => fence.upkeep().await,
        None => std::future::pending().await,
    }
}

/// Tells HAProxy what follows from the last round, where it asks.
async fn answer_checks(
    listener: Option<TcpListener>,
    state: watch::Receiver<AgentState>,
    fence: Option<&Fence>,
    stop: Stop,
) -> Result<(), HeartbeatError> {
    let Some(listener) = listener else { return Ok(()) };
    let line = || {
        let fence = fence.map_or_else(FenceSection::none, Fence::section);
        Some(AgentCheck::of(&state.borrow(), &fence).to_string())
    };
    tell("agent-check", listener, line, stop).await;
    Ok(())
}

async fn track(file: Option<PathBuf>, state: &mut watch::Receiver<AgentState>) {
    match file {
        Some(file) => TrackFile::new(file).keep(state).await,
        None => std::future::pending().await,
    }
}

/// The rounds of checks and samples.
struct Rounds {
    checks: Vec<LocalCheck>,
    timeout: Duration,
    head_start: Duration,
    standing: Standing,
    sampler: Sampler,
}

impl Rounds {
    fn new(settings: Settings, now: Moment) -> Self {
        Self {
            checks: settings.checks,
            timeout: settings.timeout,
            head_start: HEAD_START,
            standing: Standing::new(settings.thresholds, now),
            sampler: Sampler::new(settings.load),
        }
    }

    /// Does one round.
    async fn next(&mut self) -> AgentState {
        let mut sample = std::pin::pin!(self.sampler.sample(self.timeout));
        let checks = checks::round(&self.checks, self.timeout);
        // the sample first: an SSL VPN server counts the connection of a check as a session
        let (load, checks) = match tokio::time::timeout(self.head_start, &mut sample).await {
            Ok(load) => (load, checks.await),
            Err(_) => tokio::join!(sample, checks),
        };
        let ended = now();
        if self.standing.observe(&checks::verdict(&checks), ended) {
            let health = self.standing.health();
            tracing::info!(state = ?health.condition, reason = %health.reason, "this gateway has changed");
        }
        let since = self.standing.health().since.wall;
        AgentState { observed: ended.wall, service: self.standing.service(), since, checks, load }
    }

    /// The round that has just ended.
    fn last(&self) -> Round {
        let health = self.standing.health();
        let summary = match health.condition {
            Condition::Up => "This gateway is up.".to_owned(),
            Condition::Down => format!("This gateway is down: {}", health.reason),
            Condition::Unknown => "Nothing is known of this gateway yet.".to_owned(),
        };
        Round { ended: Instant::now(), summary }
    }

    /// Does one round after the other.
    async fn keep(
        &mut self,
        state: &watch::Sender<AgentState>,
        told: &watch::Sender<Option<Round>>,
        fence: Option<&Fence>,
        interval: Duration,
    ) {
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + interval, interval);
        // a round that took too long is followed by a pause, not by those that were missed
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let next = self.next().await;
            if let Some(fence) = fence {
                fence.judge(self.standing.health());
            }
            state.send_replace(next);
            told.send_replace(Some(self.last()));
        }
    }
}

/// How long the checks wait for the sample. Whether the gateway works is not found out any later because
/// what is asked for its load hangs.
const HEAD_START: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::path::Path;

    use super::*;
    use crate::fleet::CheckOutcome;
    use crate::heartbeat::count::CountSource;
    use crate::heartbeat::sample::Capacity;
    use crate::heartbeat::state::ServiceState;
    use crate::net::command::CommandLine;

    fn shell(script: &str, directory: &Path) -> CommandLine {
        CommandLine::new(["sh", "-c", &format!("cd {}; {script}", directory.display())]).unwrap()
    }

    const LONG: Duration = Duration::from_secs(10);

    /// One round of an agent that checks with one script and counts tunnels with another.
    async fn round(check: &str, tunnels: &str, timeout: Duration, head_start: Duration) -> AgentState {
        let directory = tempfile::tempdir().unwrap();
        let command = shell(check, directory.path());
        let settings = Settings {
            name: "gw1".into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            agent_check: None,
            tls: None,
            interval: timeout,
            timeout,
            thresholds: Thresholds { rise: NonZeroU32::MIN, fall: NonZeroU32::MIN },
            checks: vec![LocalCheck::Command { name: "portal".into(), command }],
            load: LoadSettings {
                interface: None,
                capacity: Capacity::default(),
                tunnels: CountSource::Command(shell(tunnels, directory.path())),
                pool: CountSource::None,
            },
            fence: None,
            track_file: None,
        };
        Rounds { head_start, ..Rounds::new(settings, now()) }.next().await
    }

    #[tokio::test]
    async fn a_check_is_not_counted_as_a_tunnel() {
        // slow enough for the check to get in, if it were begun at the same time
        let tunnels = "sleep 0.03; if test -e checked; then echo 4; else echo 3; fi";
        let state = round("touch checked", tunnels, LONG, LONG).await;
        assert_eq!(state.load.tunnels, Some(3));
    }

    #[tokio::test]
    async fn a_load_source_that_hangs_does_not_keep_the_checks_waiting() {
        // the sample ends only when the check has been done
        let tunnels = "until test -e checked; do sleep 0.01; done; echo 3";
        let state = round("touch checked", tunnels, LONG, HEAD_START).await;
        assert_eq!(state.load.tunnels, Some(3));
        let state = round("true", "sleep 1000", Duration::from_millis(500), HEAD_START).await;
        assert_eq!((state.service, state.load.tunnels), (ServiceState::Up, None));
        assert!(matches!(state.checks[0].outcome, CheckOutcome::Pass(_)));
    }
}
