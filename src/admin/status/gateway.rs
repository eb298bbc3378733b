use std::time::Instant;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::super::headroom::HeadroomStatus;
use super::check::CheckStatus;
use super::date;
use super::fence::FenceStatus;
use super::load::LoadStatus;
use super::words::{RoleWord, StateWord, VpnModeWord, VrrpModeWord};
use crate::admin::history::History;
use crate::fleet::{
    Ask, Exclusion, GatewayView, Role, Snapshot, State, Vpn, VpnMode, VrrpId, VrrpMode, exclusion,
};

/// One gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GatewayStatus {
    /// Its name in the configuration.
    pub name: String,
    /// In one word.
    #[serde(with = "StateWord")]
    pub state: State,
    /// Since when it is in that state.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
    /// Why it is in that state; empty before the first conclusion.
    pub reason: String,
    /// Ties it to listeners.
    pub vrrp_id: Option<u8>,
    /// What it offers.
    #[serde(with = "VpnModeWord")]
    pub vpn_mode: VpnMode,
    /// Its part in a pair of gateways that shares an address.
    #[serde(with = "VrrpModeWord")]
    pub vrrp_mode: VrrpMode,
    /// Its part in failsafe mode; `None` in load balancing, and where nobody is ever sent to it.
    #[serde(with = "RoleWord")]
    pub role: Option<Role>,
    /// Where a browser or SSL VPN client is sent: `host:port`.
    pub ssl_endpoint: String,
    /// Where a native client is sent: `host:port`.
    pub native_endpoint: String,
    /// Whether newcomers may be sent to it.
    pub availability: Availability,
    /// Its last load report; `None` if none ever came.
    pub load: Option<LoadStatus>,
    /// How loaded it was lately.
    #[serde(default)]
    pub history: History,
    /// Newcomers sent to it that no report shows yet.
    pub pending: u64,
    /// Whether the others could take its tunnels if it failed now; `None`: it cannot be known, or nobody is sent to it,
    /// or it is down and its tunnels are gone.
    #[serde(default)]
    pub headroom: Option<HeadroomStatus>,
    /// It has come back and is still being filled gradually.
    pub filling: bool,
    /// Who has taken it out, and why.
    pub drain: Option<DrainStatus>,
    /// The firewall blocks on it; `None` where nobody can set any, as far as is known.
    pub fence: Option<FenceStatus>,
    /// The checks of its last round.
    pub checks: Vec<CheckStatus>,
}

/// Availability by kind of VPN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Availability {
    /// For native clients.
    pub native: Available,
    /// For browsers and SSL VPN clients.
    pub ssl: Available,
}

/// Whether newcomers of one kind may be sent to a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Available {
    /// They may.
    pub available: bool,
    /// Why not.
    pub reason: Option<String>,
}

/// A gateway that newcomers are kept from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainStatus {
    /// Whose wish it is.
    pub by: DrainedBy,
    /// Which administrator: `uid 0`, or an address; `None` where it is no administrator's wish.
    pub who: Option<String>,
    /// Whether its own agent wants no newcomers, whatever an administrator wants: no resume ends that.
    #[serde(default)]
    pub agent: bool,
    /// Why.
    pub reason: String,
    /// Since when.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
}

/// Who has taken a gateway out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DrainedBy {
    /// An administrator, on this front door.
    Administrator,
    /// The gateway's own agent.
    Agent,
}

impl GatewayStatus {
    /// Why no newcomer of any kind may be sent to it; `None` if some may.
    pub fn unavailable_because(&self) -> Option<&str> {
        let Availability { native, ssl } = &self.availability;
        if native.available || ssl.available {
            return None;
        }
        // what it does not offer is no reason where it offers the other
        let telling = if self.vpn_mode == VpnMode::Ssl { ssl } else { native };
        telling.reason.as_deref()
    }

    /// Whether nothing speaks against it but that another one is the active one.
    pub(in crate::admin) fn waits_for_its_turn(&self, vpn: Vpn) -> bool {
        self.availability.of(vpn).reason.as_deref() == Some(Exclusion::Standby.as_str())
    }

    pub(super) fn of(index: usize, view: &GatewayView, snapshot: &Snapshot, now: Instant) -> Self {
        let balance = &snapshot.balance;
        let available = |vpn| {
            let reason = exclusion(view, Ask { vrrp_id: None, vpn }, balance, now);
            Available { available: reason.is_none(), reason: reason.map(|r| r.as_str().to_owned()) }
        };
        Self {
            name: view.gateway.name.to_string(),
            state: view.state(),
            since: date(view.since().wall),
            reason: view.reason().to_string(),
            vrrp_id: view.gateway.vrrp_id.map(VrrpId::get),
            vpn_mode: view.gateway.vpn_mode,
            vrrp_mode: view.gateway.vrrp_mode,
            role: view.role,
            ssl_endpoint: view.gateway.ssl_endpoint.to_string(),
            native_endpoint: view.gateway.native_endpoint.to_string(),
            availability: Availability { native: available(Vpn::Native), ssl: available(Vpn::Ssl) },
            load: view.load.as_ref().map(|reading| {
                let stale = view.fresh_load(now, balance.stale_after).is_none();
                LoadStatus::of(reading, stale, now)
            }),
            history: History::default(),
            pending: view.pending(),
            headroom: HeadroomStatus::of(snapshot, index, now),
            filling: view
                .filling_since
                .is_some_and(|since| now.saturating_duration_since(since) < balance.slow_start),
            drain: DrainStatus::of(view),
            fence: FenceStatus::of(view, balance, now),
            checks: view.checks.iter().map(CheckStatus::of).collect(),
        }
    }
}

impl Availability {
    /// For one kind of VPN.
    pub fn of(&self, vpn: Vpn) -> &Available {
        match vpn {
            Vpn::Native => &self.native,
            Vpn::Ssl => &self.ssl,
        }
    }
}

impl DrainStatus {
    /// Whether an administrator and its own agent both want it.
    pub(in crate::admin) fn is_by_both(&self) -> bool {
        self.agent && self.by == DrainedBy::Administrator
    }

    fn of(view: &GatewayView) -> Option<Self> {
        let (reason, since) = view.draining()?;
        let by = if view.drain.is_some() { DrainedBy::Administrator } else { DrainedBy::Agent };
        let who = view.drain.as_ref().map(|drain| drain.by.to_string());
        let agent = view.agent_drains_since.is_some();
        Some(Self { by, who, agent, reason: reason.to_string(), since: date(since.wall) })
    }
}
