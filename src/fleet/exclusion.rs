//! Why a gateway is left out of a choice.

use std::fmt;
use std::time::Instant;

use super::balance::Balance;
use super::failsafe::Role;
use super::gateway::{Gateway, Vpn, VrrpId};
use super::health::Condition;
use super::snapshot::GatewayView;

/// What a client wants, as far as it limits the choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Only gateways with this VRRP ID; `None`: all.
    pub vrrp_id: Option<VrrpId>,
    /// Only gateways that offer this kind of VPN.
    pub vpn: Vpn,
}

impl Ask {
    /// Why a gateway is none for this, whatever state it is in.
    pub fn misfit(self, gateway: &Gateway) -> Option<Exclusion> {
        if self.vrrp_id.is_some() && gateway.vrrp_id != self.vrrp_id {
            Some(Exclusion::OtherVrrpId)
        } else if !gateway.vpn_mode.offers(self.vpn) {
            Some(Exclusion::VpnMode)
        } else {
            None
        }
    }
}

/// Why a gateway is left out of the choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exclusion {
    /// The listener asks for another VRRP ID.
    OtherVrrpId,
    /// It does not offer this kind of VPN.
    VpnMode,
    /// An administrator, or its own agent, wants no newcomers.
    Draining,
    /// It has not had a good round yet.
    NotSeenYet,
    /// Its checks fail.
    Down,
    /// Its firewall refuses newcomers.
    Fenced,
    /// In failsafe mode: another one is the active one.
    Standby,
    /// It has no tunnel left.
    OutOfTunnels,
    /// It has no pool address left.
    OutOfAddresses,
}

impl Exclusion {
    /// The reason in a few words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OtherVrrpId => "other VRRP ID",
            Self::VpnMode => "does not offer this VPN",
            Self::Draining => "draining",
            Self::NotSeenYet => "no good check yet",
            Self::Down => "down",
            Self::Fenced => "fenced",
            Self::Standby => "not the active one",
            Self::OutOfTunnels => "no tunnel left",
            Self::OutOfAddresses => "no pool address left",
        }
    }

    /// Whether it works and has no room.
    pub fn is_full(self) -> bool {
        matches!(self, Self::OutOfTunnels | Self::OutOfAddresses)
    }

    /// Whether it would be none in any state.
    pub fn is_misfit(self) -> bool {
        matches!(self, Self::OtherVrrpId | Self::VpnMode)
    }
}

impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why `view` may not be chosen for `ask`, if so. What comes first in [`Exclusion`] is told first.
pub fn exclusion(view: &GatewayView, ask: Ask, balance: &Balance, now: Instant) -> Option<Exclusion> {
    if let Some(misfit) = ask.misfit(&view.gateway) {
        return Some(misfit);
    }
    if view.is_draining() {
        return Some(Exclusion::Draining);
    }
    match view.health.condition {
        Condition::Unknown => return Some(Exclusion::NotSeenYet),
        Condition::Down => return Some(Exclusion::Down),
        Condition::Up => {}
    }
    if view.is_fenced(now, balance.stale_after) {
        return Some(Exclusion::Fenced);
    }
    if view.role == Some(Role::Standby) {
        return Some(Exclusion::Standby);
    }
    full(view, balance, now)
}

/// Of what nothing is left, by its last report that counts.
pub fn full(view: &GatewayView, balance: &Balance, now: Instant) -> Option<Exclusion> {
    let load = &view.fresh_load(now, balance.stale_after)?.load;
    if load.is_out_of_tunnels() {
        Some(Exclusion::OutOfTunnels)
    } else if load.is_out_of_addresses() {
        Some(Exclusion::OutOfAddresses)
    } else {
        None
    }
}

/// Whether someone who has been at a gateway before may come to it again: it fits and works. It may be full,
/// or draining by an administrator's order or its own agent's wish, or no longer the active one, for he does not count as
/// a newcomer.
pub fn may_return(view: &GatewayView, ask: Ask) -> bool {
    ask.misfit(&view.gateway).is_none() && view.health.condition == Condition::Up
}
