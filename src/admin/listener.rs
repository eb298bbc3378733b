//! What the app tells the endpoint of its listeners.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::rates::Counted;
use crate::fleet::{Ask, By, GatewayView, Policy, Vpn, VrrpId};

/// What a listener says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerStatus {
    /// Its name in the configuration.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// What it does with those who come: the word of the configuration.
    pub mode: &'static str,
    /// Limits its gateways.
    pub vrrp_id: Option<VrrpId>,
    /// The kind of VPN that its clients want.
    pub vpn: Vpn,
    /// How it chooses a gateway; `None`: it chooses none.
    pub steering: Option<Steering>,
    /// It takes connections.
    pub open: bool,
    /// Connections at this moment.
    pub connections: u64,
    /// Of these, tunnels to gateways: upgraded, CONNECT and passthrough connections.
    pub tunnels: u64,
    /// Clients sent to a gateway since the start.
    pub redirects: u64,
    /// Answers that named no gateway since the start.
    pub unavailable: u64,
    /// What its rates are made of.
    pub counted: Counted,
}

/// How a listener chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steering {
    /// For a newcomer.
    pub policy: Policy,
    /// How who comes again finds his gateway.
    pub affinity: Affinity,
    /// The number of the next choice by turns.
    pub turn: u64,
}

/// How who comes again finds his gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Affinity {
    /// He does not.
    None,
    /// By his address.
    SourceAddress,
    /// By the session that the gateway has opened.
    Session,
    /// By a cookie of the front door's own.
    Cookie,
}

impl Steering {
    /// The rule for the next client; `None`: that depends on its address.
    pub fn by(self, source: Option<IpAddr>) -> Option<By> {
        match (self.affinity, self.policy) {
            (Affinity::SourceAddress, _) => source.map(By::Source),
            (_, Policy::LeastLoaded) => Some(By::Load),
            (_, Policy::RoundRobin) => Some(By::Turn(self.turn)),
        }
    }
}

impl Default for Steering {
    /// As those choose who cannot be told to do otherwise.
    fn default() -> Self {
        Self { policy: Policy::LeastLoaded, affinity: Affinity::None, turn: 0 }
    }
}

impl Affinity {
    /// The word used in the configuration and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::SourceAddress => "source-address",
            Self::Session => "session",
            Self::Cookie => "cookie",
        }
    }
}

/// Asks all listeners how they are, in the order of the configuration. Called at every request for the
/// status, so it must not wait.
pub type Listeners = Arc<dyn Fn() -> Vec<ListenerStatus> + Send + Sync>;

impl ListenerStatus {
    /// What its clients ask for.
    pub fn ask(&self) -> Ask {
        Ask { vrrp_id: self.vrrp_id, vpn: self.vpn }
    }

    /// Whether it may send clients to that gateway, whatever state it is in.
    pub fn is_for(&self, view: &GatewayView) -> bool {
        self.ask().misfit(&view.gateway).is_none()
    }
}
