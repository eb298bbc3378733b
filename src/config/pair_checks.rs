//! Whether pairs of gateways that share an address, and failsafe mode, fit the rest of a front door's file. Pure:
//! nothing but the file is looked at.

use std::collections::BTreeSet;

use super::front_file::{FrontFile, GatewayTable};
use super::problem::Problems;
use crate::fleet::{VpnMode, VrrpId, VrrpMode};

/// Notes everything that does not fit.
pub fn check(file: &FrontFile, problems: &Problems<'_>) {
    check_pairs(file, problems);
    if file.balance.mode.is_failsafe() {
        check_groups(file, problems);
    }
}

fn id(gateway: &GatewayTable) -> Option<VrrpId> {
    gateway.vrrp_id.as_ref().map(|id| *id.get_ref())
}

/// Of the gateways that share an address one begins with it, and there is another one to take it over.
fn check_pairs(file: &FrontFile, problems: &Problems<'_>) {
    let paired = || file.gateways.iter().filter(|g| *g.vrrp_mode.get_ref() != VrrpMode::Inactive);
    for gateway in paired().filter(|gateway| gateway.vrrp_id.is_none()) {
        let message = format!(
            "vrrp_mode '{}' needs a vrrp_id: gateways that share an address have the same one",
            gateway.vrrp_mode.get_ref().as_str()
        );
        problems.error(&gateway.vrrp_mode.span(), message);
    }
    for pair in paired().filter_map(id).collect::<BTreeSet<_>>() {
        let members: Vec<_> = paired().filter(|gateway| id(gateway) == Some(pair)).collect();
        let masters: Vec<_> =
            members.iter().filter(|gateway| *gateway.vrrp_mode.get_ref() == VrrpMode::Master).collect();
        let Some(first) = members.first() else { continue };
        if let [_, second, ..] = masters.as_slice() {
            let message = format!(
                "two gateways with vrrp_id {pair} have vrrp_mode 'master'; make one of them 'backup': one begins with the address"
            );
            problems.error(&second.vrrp_mode.span(), message);
        } else if members.len() == 1 {
            let message = format!(
                "no other gateway with vrrp_id {pair} has a vrrp_mode; an address is shared by a 'master' and a 'backup'"
            );
            problems.error(&first.vrrp_mode.span(), message);
        } else if masters.is_empty() {
            let message = format!(
                "no gateway with vrrp_id {pair} has vrrp_mode 'master'; make one of them so: one begins with the address"
            );
            problems.error(&first.vrrp_mode.span(), message);
        } else if file.balance.mode.is_failsafe()
            && *first.vrrp_mode.get_ref() == VrrpMode::Backup
            && first.vpn_mode != VpnMode::VrrpOnly
        {
            let message = format!(
                "in failsafe mode the first gateway in the file is the first to be active, and this one is the \
                 'backup' of vrrp_id {pair}; put the 'master' first"
            );
            problems.warning(&first.vrrp_mode.span(), message);
        }
    }
}

/// In failsafe mode one gateway does everything, and another one takes its place.
fn check_groups(file: &FrontFile, problems: &Problems<'_>) {
    let takes_part = |gateway: &&GatewayTable| gateway.vpn_mode != VpnMode::VrrpOnly;
    let candidates = || file.gateways.iter().filter(takes_part);
    for group in candidates().map(id).collect::<BTreeSet<_>>() {
        let members: Vec<_> = candidates().filter(|gateway| id(gateway) == group).collect();
        let Some((first, others)) = members.split_first() else { continue };
        let Some(name) = first.name.as_ref() else { continue };
        let whose = group.map_or_else(|| "without a vrrp_id".to_owned(), |id| format!("with vrrp_id {id}"));
        if others.is_empty() {
            let message = format!(
                "in failsafe mode nobody takes the place of gateway '{}': it is the only one {whose}",
                name.get_ref()
            );
            problems.warning(&name.span(), message);
        }
        if let Some(other) = others.iter().find(|other| other.vpn_mode != first.vpn_mode)
            && let Some(place) = other.name.as_ref()
        {
            let message = format!(
                "in failsafe mode one gateway {whose} is active at a time, and '{}' has vpn_mode '{}' where '{}' has '{}': \
                 what only one of them offers is not there while the other one is active",
                place.get_ref(),
                other.vpn_mode.as_str(),
                name.get_ref(),
                first.vpn_mode.as_str()
            );
            problems.warning(&place.span(), message);
        }
    }
}
