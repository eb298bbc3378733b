//! The front door's state as a document: what `GET /api/v1/status` answers and `vestibule status` reads.

mod check;
mod fence;
mod gateway;
mod listener;
mod load;
#[cfg(test)]
pub(super) mod tests;
mod words;

use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

pub use self::check::{CheckStatus, CheckWord};
pub use self::fence::{FenceStatus, HolderStatus, KeeperStatus};
pub use self::gateway::{Availability, Available, DrainStatus, DrainedBy, GatewayStatus};
pub use self::listener::ListenerEntry;
pub use self::load::{Criteria, LoadStatus};
use super::events::Event;
use super::headroom;
use super::listener::ListenerStatus;
use super::peers::{PeerState, PeerStatus};
use super::summary;
use super::vrrp::VrrpStatus;
use crate::fleet::{Moment, Snapshot};

/// Everything there is to know of a front door at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// What is wrong, in words; or that nothing is.
    pub summary: String,
    /// Whether the others could take each gateway's tunnels if it failed now, in words.
    #[serde(default)]
    pub headroom: String,
    /// The front door itself.
    pub node: NodeStatus,
    /// The moment it describes.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// In the order of the configuration.
    pub gateways: Vec<GatewayStatus>,
    /// In the order of the configuration.
    pub listeners: Vec<ListenerEntry>,
    /// The virtual addresses that are shared with another front door; none: this one is alone, and always active.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vrrp: Vec<VrrpStatus>,
    /// The other front doors, in the order of the configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<PeerStatus>,
    /// What has happened lately, the newest first.
    #[serde(default)]
    pub events: Vec<Event>,
}

/// The front door itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its name in the configuration.
    pub name: String,
    /// Of the program.
    pub version: String,
    /// When the process started.
    #[serde(with = "time::serde::rfc3339")]
    pub started: OffsetDateTime,
    /// The number of the snapshot described; grows with every change.
    pub snapshot: u64,
}

/// Which front door this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name in the configuration.
    pub name: String,
    /// When the process started.
    pub started: SystemTime,
}

/// The version of the program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

impl Status {
    /// Describes `snapshot` and `listeners` as they are `now`.
    pub fn of(snapshot: &Snapshot, listeners: &[ListenerStatus], node: &Node, now: Moment) -> Self {
        Self {
            summary: summary::sentence(snapshot, listeners, now),
            headroom: headroom::sentence(snapshot, now.instant),
            node: NodeStatus {
                name: node.name.clone(),
                version: VERSION.into(),
                started: date(node.started),
                snapshot: snapshot.number,
            },
            at: date(now.wall),
            gateways: snapshot
                .gateways
                .iter()
                .enumerate()
                .map(|(index, view)| GatewayStatus::of(index, view, snapshot, now.instant))
                .collect(),
            listeners: listeners.iter().map(|l| ListenerEntry::of(l, snapshot, now.instant)).collect(),
            vrrp: Vec::new(),
            peers: Vec::new(),
            events: Vec::new(),
        }
    }

    /// The same, with the virtual addresses. What is wrong with them is the first thing that is said.
    pub fn sharing(self, vrrp: Vec<VrrpStatus>) -> Self {
        let conflicts = vrrp.iter().filter_map(|vrrp| vrrp.conflict.clone());
        let summary = conflicts.chain([self.summary]).collect::<Vec<_>>().join(". ");
        Self { vrrp, summary, ..self }
    }

    /// The same, with the other front doors. One that is not heard is said after everything else: nobody who comes notices
    /// it, yet.
    pub fn beside(self, peers: Vec<PeerStatus>) -> Self {
        let silent = peers.iter().filter(|peer| peer.state == PeerState::Silent).map(|peer| {
            let name = peer.name.as_deref().map(|name| format!("{name} ")).unwrap_or_default();
            let url = &peer.url;
            format!("The other front door {name}({url}) is silent: {}", peer.reason)
        });
        // that all is well is a sentence with its full stop; what is wrong is not
        let summary = self.summary.trim_end_matches('.').to_owned();
        let summary = match silent.collect::<Vec<_>>().as_slice() {
            [] => self.summary,
            silent => format!("{summary}. {}", silent.join(". ")),
        };
        Self { peers, summary, ..self }
    }

    /// Why the front door is not fit to own the virtual address, one sentence a reason; empty if it is fit:
    /// every listener is open, and at least one of them has an available gateway among those it may send
    /// clients to. In failsafe mode one that waits for its turn counts, too: whom a standby follows may have chosen one
    /// that is down from here, or may not have seen yet that it is; once it is gone, this front door chooses.
    pub fn unfitness(&self) -> Vec<String> {
        if self.listeners.is_empty() {
            return vec!["there is no listener".into()];
        }
        let closed = self.listeners.iter().filter(|listener| !listener.open);
        let mut reasons: Vec<_> =
            closed.map(|l| format!("listener {} ({}) is not open", l.name, l.address)).collect();
        let has_one = |listener: &ListenerEntry| {
            let own = || self.gateways.iter().filter(|gateway| listener.is_for(gateway));
            listener.available > 0 || own().any(|gateway| gateway.waits_for_its_turn(listener.vpn))
        };
        if !self.listeners.iter().any(has_one) {
            reasons.extend(self.listeners.iter().map(|listener| self.without_gateway(listener)));
        }
        reasons
    }

    /// That no gateway is available to a listener, and why.
    fn without_gateway(&self, listener: &ListenerEntry) -> String {
        let own = self.gateways.iter().filter(|gateway| listener.is_for(gateway));
        let reasons: Vec<_> = own
            .map(|gateway| {
                let reason = gateway.availability.of(listener.vpn).reason.as_deref();
                format!("{}: {}", gateway.name, reason.unwrap_or_default())
            })
            .collect();
        let named = if reasons.is_empty() { "there is none for it".into() } else { reasons.join(", ") };
        format!("listener {} ({}) has no available gateway ({named})", listener.name, listener.address)
    }
}

/// To the millisecond: more is noise to whoever reads it.
pub(super) fn date(time: SystemTime) -> OffsetDateTime {
    let time = OffsetDateTime::from(time);
    time.replace_millisecond(time.millisecond()).unwrap_or(time)
}
