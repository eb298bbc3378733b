use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::FrontSettings;
use crate::front::{ListenerSettings, Mode, PIPE_FILES};

/// Raises the limit of open files as far as it goes, and fits the listeners' limits of connections into
/// it: clients must never take the files with which gateways are asked, or every gateway would seem down.
pub fn prepare(settings: &mut FrontSettings) {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let available = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    // no limit at all
    let Some(available) = available else { return };
    let passes_through = settings.listeners.iter().any(|l| matches!(l.mode, Mode::Passthrough(_)));
    let files_per_worker = FILES_PER_WORKER + if passes_through { PIPE_FILES } else { 0 };
    let (workers, gateways) = (settings.workers as u64, settings.fleet.gateways.len() as u64);
    let resting: u64 = settings.listeners.iter().map(|l| resting_at_a_gateway(l) * gateways * workers).sum();
    let own =
        OWN_FILES + files_per_worker * workers + FILES_PER_GATEWAY * settings.probes.len() as u64 + resting;
    let for_clients = available.saturating_sub(own).max(available / 2);
    let wanted: u64 =
        settings.listeners.iter().map(|l| u64::from(l.limits.connections) * files_per_connection(l)).sum();
    if wanted <= for_clients {
        return;
    }
    for listener in &mut settings.listeners {
        let share = u64::from(listener.limits.connections) * for_clients / wanted;
        listener.limits.connections = u32::try_from(share.max(1)).unwrap_or(u32::MAX);
        tracing::warn!(
            listener = &*listener.name,
            connections = listener.limits.connections,
            open_files = available,
            "fewer connections than configured: the limit of open files is too low; raise LimitNOFILE"
        );
    }
}

/// How many connections of one worker may wait for a request at one gateway, beside those of the clients who are
/// there.
fn resting_at_a_gateway(listener: &ListenerSettings) -> u64 {
    match &listener.mode {
        Mode::Proxy(_, proxy) if proxy.persistent_connections && proxy.shares() => {
            (proxy.idle_per_gateway as u64).min(listener.limits.connections.into())
        }
        Mode::Redirect(_) | Mode::HttpsUpgrade(_) | Mode::Proxy(..) | Mode::Passthrough(_) => 0,
    }
}

/// The client's connection, and where it leads to a gateway, that one too; one more may rest with a client whose
/// connections are his own. A connection with several requests under way has a place for each of them.
fn files_per_connection(listener: &ListenerSettings) -> u64 {
    match &listener.mode {
        Mode::Redirect(_) | Mode::HttpsUpgrade(_) => 1,
        Mode::Proxy(_, proxy) if proxy.persistent_connections && !proxy.shares() => 3,
        Mode::Proxy(..) | Mode::Passthrough(_) => 2,
    }
}

const OWN_FILES: u64 = 64;
const FILES_PER_WORKER: u64 = 16;
const FILES_PER_GATEWAY: u64 = 8;
