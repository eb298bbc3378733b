//! What the app tells the endpoint of its listeners.

use std::net::SocketAddr;
use std::sync::Arc;

use super::rates::Counted;
use crate::fleet::{Ask, GatewayView, Vpn, VrrpId};

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
