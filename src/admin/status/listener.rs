use std::net::SocketAddr;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::gateway::GatewayStatus;
use super::words::VpnWord;
use crate::admin::listener::ListenerStatus;
use crate::admin::rates::Rates;
use crate::fleet::{Snapshot, Vpn, VrrpId, exclusion};

/// One listener.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ListenerEntry {
    /// Its name in the configuration.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// What it does with those who come: the word of the configuration.
    pub mode: String,
    /// Limits its gateways.
    pub vrrp_id: Option<u8>,
    /// The kind of VPN that its clients want.
    #[serde(with = "VpnWord")]
    pub vpn: Vpn,
    /// It takes connections.
    pub open: bool,
    /// Gateways that it may send clients to, whatever their state.
    pub gateways: u64,
    /// Those of them that are available.
    pub available: u64,
    /// Connections at this moment.
    pub connections: u64,
    /// Of these, tunnels to gateways: upgraded, CONNECT and passthrough connections.
    pub tunnels: u64,
    /// Clients sent to a gateway since the start.
    pub redirects: u64,
    /// Answers that named no gateway since the start.
    pub unavailable: u64,
    /// How fast it counts; `None` in its first seconds.
    #[serde(default)]
    pub rates: Option<Rates>,
}

impl ListenerEntry {
    pub(super) fn of(listener: &ListenerStatus, snapshot: &Snapshot, now: Instant) -> Self {
        let views = || snapshot.gateways.iter().filter(|view| listener.is_for(view));
        let ask = listener.ask();
        let available = views().filter(|view| exclusion(view, ask, &snapshot.balance, now).is_none());
        Self {
            name: listener.name.clone(),
            address: listener.address,
            mode: listener.mode.into(),
            vrrp_id: listener.vrrp_id.map(VrrpId::get),
            vpn: listener.vpn,
            open: listener.open,
            gateways: views().count() as u64,
            available: available.count() as u64,
            connections: listener.connections,
            tunnels: listener.tunnels,
            redirects: listener.redirects,
            unavailable: listener.unavailable,
            rates: None,
        }
    }

    /// Whether it may send clients to that gateway, whatever state it is in.
    pub(in crate::admin) fn is_for(&self, gateway: &GatewayStatus) -> bool {
        (self.vrrp_id.is_none() || gateway.vrrp_id == self.vrrp_id) && gateway.vpn_mode.offers(self.vpn)
    }
}
