//! Whether the parts of a front door's file fit each other. Pure: nothing but the file is looked at.

use std::collections::HashSet;
use std::hash::Hash;
use std::net::SocketAddr;

use serde_spanned::Spanned;

use super::front_file::{DEFAULT_ADMIN, FenceTable, FrontFile, GatewayTable, Preset};
use super::native_checks;
use super::problem::{Problems, Span};
use super::{pair_checks, peers, proxy_checks, vrrp};
use crate::admin::metrics::UPSTREAM;
use crate::fence::Kind;
use crate::fleet::{Endpoint, HEARTBEAT, Host, Vpn, VpnMode, VrrpMode};

/// Notes everything that does not fit.
pub fn check(file: &FrontFile, problems: &Problems<'_>) {
    check_names(file, problems);
    check_addresses(file, problems);
    for gateway in &file.gateways {
        check_checks(gateway, problems);
    }
    check_farm(file, problems);
    check_circles(file, problems);
    check_fence(file, problems);
    proxy_checks::check(file, problems);
    native_checks::check(file, problems);
    pair_checks::check(file, problems);
    vrrp::check(file, problems);
    peers::check(file, problems);
}

/// Names and addresses that must be unique.
fn check_names(file: &FrontFile, problems: &Problems<'_>) {
    repeated(file.listeners.iter().filter_map(|l| l.name.as_ref()), |name, span| {
        problems.error(span, format!("two listeners are named '{name}'; give one of them another name"));
    });
    repeated(file.gateways.iter().filter_map(|g| g.name.as_ref()), |name, span| {
        problems.error(span, format!("two gateways are named '{name}'; give one of them another name"));
    });
}

/// One address has one listener, and the admin endpoint has its own.
fn check_addresses(file: &FrontFile, problems: &Problems<'_>) {
    let addresses: Vec<_> = file.listeners.iter().filter_map(|l| l.address.clone()).collect();
    repeated(addresses.iter(), |address, span| {
        problems
            .error(span, format!("two listeners have the address {address}; one address has one listener"));
    });
    for (wide, narrow) in
        pairs(&addresses).filter(|(wide, narrow)| contains(wide.get_ref(), narrow.get_ref()))
    {
        let (wide, narrow_address) = (wide.get_ref(), narrow.get_ref());
        let message = format!("{narrow_address} is part of {wide}, which another listener has");
        problems.error(&narrow.span(), message);
    }
    let admin = file.admin.listen.as_ref().map_or(DEFAULT_ADMIN, |listen| *listen.get_ref());
    if let Some(same) = addresses.iter().find(|address| overlap(address.get_ref(), &admin)) {
        problems.error(&same.span(), format!("the admin endpoint has the address {admin} ([admin] listen)"));
    }
}

pub fn pairs<T>(items: &[T]) -> impl Iterator<Item = (&T, &T)> {
    items.iter().flat_map(move |one| items.iter().map(move |other| (one, other)))
}

/// Whether somebody who comes to one of them may come to the other.
pub fn overlap(one: &SocketAddr, other: &SocketAddr) -> bool {
    one == other || contains(one, other) || contains(other, one)
}

/// Whether `wide` is all addresses of a port, and `narrow` one of them.
pub fn contains(wide: &SocketAddr, narrow: &SocketAddr) -> bool {
    wide.ip().is_unspecified()
        && !narrow.ip().is_unspecified()
        && wide.is_ipv4() == narrow.is_ipv4()
        && wide.port() == narrow.port()
}

/// A check's name stands for one series in the metrics.
fn check_checks(gateway: &GatewayTable, problems: &Problems<'_>) {
    let names = || gateway.checks.iter().filter_map(|check| check.name.as_ref());
    repeated(names(), |name, span| {
        problems.error(span, format!("two checks are named '{name}'; give one of them another name"));
    });
    if let Some(name) = names().find(|name| name.get_ref() == UPSTREAM) {
        let message = format!(
            "'{UPSTREAM}' is the name of the connections that doors cannot open; give this check another name"
        );
        problems.error(&name.span(), message);
    }
    if let Some(name) = names().find(|name| name.get_ref() == HEARTBEAT) {
        let message =
            format!("'{HEARTBEAT}' is the name of the agent's answer; give this check another name");
        problems.error(&name.span(), message);
    }
    if let (Some(check), true) = (gateway.checks.first(), gateway.preset != Preset::None) {
        let message = "the checks given here replace the one of 'preset', which has no effect";
        problems.warning(&check.head, message);
    }
}

/// Tells of every item that has been there before.
pub fn repeated<'a, T: Eq + Hash + 'a>(
    items: impl Iterator<Item = &'a Spanned<T>>,
    tell: impl Fn(&T, &Span),
) {
    let mut seen = HashSet::new();
    for item in items {
        if !seen.insert(item.get_ref()) {
            tell(item.get_ref(), &item.span());
        }
    }
}

/// Whether listeners and gateways fit each other.
fn check_farm(file: &FrontFile, problems: &Problems<'_>) {
    for listener in &file.listeners {
        if let Some(span) = &listener.permanent {
            let message = "browsers remember a permanent redirect and would never come back to this front door; \
                           302 is meant for this";
            problems.warning(span, message);
        }
        let Some(id) = &listener.vrrp_id else { continue };
        let mut of_this_id =
            file.gateways.iter().filter(|g| g.vrrp_id.as_ref().is_some_and(|g| g.get_ref() == id.get_ref()));
        if !file.gateways.is_empty() && of_this_id.next().is_none() {
            let message =
                format!("no gateway has vrrp_id {}; this listener could never choose one", id.get_ref());
            problems.error(&id.span(), message);
        }
    }
    let listener_ids: Vec<_> =
        file.listeners.iter().map(|l| l.vrrp_id.as_ref().map(|id| *id.get_ref())).collect();
    for gateway in &file.gateways {
        let Some(name) = &gateway.name else { continue };
        // whoever knows the address that its pair shares comes to it by himself
        if gateway.vpn_mode == VpnMode::VrrpOnly && *gateway.vrrp_mode.get_ref() != VrrpMode::Inactive {
            continue;
        }
        let id = gateway.vrrp_id.as_ref().map(|id| *id.get_ref());
        let of_listeners = listener_ids.iter().any(|listener| listener.is_none() || *listener == id);
        // whoever asks over DVE names the vrrp_id, or none
        let natively = file.dve.is_some() && gateway.vpn_mode.offers(Vpn::Native)
            || file.ikev2.as_ref().is_some_and(|ikev2| ikev2.is_for(gateway));
        let reached = of_listeners || natively || (file.dve.is_some() && gateway.vpn_mode.offers(Vpn::Ssl));
        if !reached && !listener_ids.is_empty() {
            let message = format!(
                "no listener has the vrrp_id of gateway '{}'; nobody is ever sent to it",
                name.get_ref()
            );
            problems.warning(&name.span(), message);
        } else if !natively && !gateway.vpn_mode.offers(Vpn::Ssl) {
            let otherwise = match (gateway.vpn_mode.offers(Vpn::Native), &file.ikev2) {
                (true, Some(_)) => ", and [ikev2_redirect] has another vrrp_id",
                (true, None) => ", and there is no [dve] and no [ikev2_redirect]",
                (false, _) => "",
            };
            let message = format!(
                "gateway '{}' has vpn_mode '{}'; no listener sends anybody to it{otherwise}",
                name.get_ref(),
                gateway.vpn_mode.as_str()
            );
            problems.warning(&name.span(), message);
        } else if let (false, Some(ikev2)) = (reached, &file.ikev2) {
            let id = ikev2.vrrp_id.as_ref().map(|id| format!(", and for vrrp_id {}", id.get_ref()));
            let message = format!(
                "gateway '{}' has vpn_mode '{}'; nobody is ever sent to it: there is no [[listener]] and no [dve], and \
                 [ikev2_redirect] is for gateways with vpn_mode 'native' or 'both'{}",
                name.get_ref(),
                gateway.vpn_mode.as_str(),
                id.unwrap_or_default()
            );
            problems.warning(&name.span(), message);
        }
    }
}

/// Whether gateways can be fenced as they are to be.
fn check_fence(file: &FrontFile, problems: &Problems<'_>) {
    for gateway in &file.gateways {
        let place = gateway.fence.span();
        match (gateway.fence_kind(), &gateway.heartbeat) {
            (Kind::Agent, None) if !gateway.has_heartbeat => {
                let message = "'fence' is 'agent', and there is no agent; give it a 'heartbeat', or use 'local': \
                               the firewall of this host";
                problems.error(&place, message);
            }
            (Kind::Local, Some(url)) => {
                // its polls carry no mark
                let agent = &url.get_ref().endpoint;
                let fenced = [&gateway.ssl_endpoint, &gateway.upstream];
                if fenced.into_iter().flatten().any(|endpoint| endpoint.get_ref() == agent) {
                    let message = format!(
                        "a local fence would block this front door's own questions to the agent, which has the \
                         same endpoint {agent}"
                    );
                    problems.error(&place, message);
                }
            }
            (Kind::Agent | Kind::Local | Kind::Off, _) => {}
        }
    }
    let FenceTable { enabled: true, lease, keep_at_least, keep_at_least_place } = &file.fence else { return };
    let is_fenced = |gateway: &GatewayTable| gateway.fence_kind() != Kind::Off;
    if let Some(place) = keep_at_least_place
        && *keep_at_least >= file.gateways.len()
        && file.gateways.iter().any(is_fenced)
    {
        let count = file.gateways.len();
        let message = format!(
            "'keep_at_least' is {keep_at_least}, and there are no more gateways ({count}): none is ever fenced"
        );
        problems.warning(place, message);
    }
    let concluded = *file.health.interval.get_ref() * (file.health.thresholds.fall.get().saturating_add(2));
    if *lease.get_ref() < concluded && file.gateways.iter().any(is_fenced) {
        let message = format!(
            "'lease' ({:?}) is shorter than 'fall' and two more intervals ({concluded:?}): at a restart of this front door its \
             blocks lapse before its checks have concluded anything",
            lease.get_ref()
        );
        // those that are not in the file have their defaults, and no place
        let places = [lease.span(), file.health.interval.span(), file.health.fall_place.clone()];
        let place = places.into_iter().find(|place| !place.is_empty()).unwrap_or_default();
        problems.warning(&place, message);
    }
    let by_agent = |gateway: &&GatewayTable| gateway.fence_kind() == Kind::Agent;
    let plain = file.gateways.iter().filter(by_agent).filter_map(|gateway| gateway.heartbeat.as_ref());
    if let Some(url) = plain.into_iter().find(|url| !url.get_ref().tls) {
        let message = "an agent asked over plain http does not know who asks: it fences nothing for this front door, \
                       and does not stay open for its 'keep_at_least'; use https://, or set fence = \"none\"";
        problems.warning(&url.span(), message);
    }
}

/// Nobody is sent or taken to where he comes from.
fn check_circles(file: &FrontFile, problems: &Problems<'_>) {
    let endpoints = file.gateways.iter().flat_map(|gateway| {
        let upstream = gateway.upstream.as_ref().filter(|_| gateway.has_upstream);
        [("ssl_endpoint", gateway.ssl_endpoint.as_ref()), ("upstream", upstream)]
    });
    for (key, endpoint) in endpoints {
        let Some(endpoint) = endpoint else { continue };
        let addresses = file.listeners.iter().filter_map(|listener| listener.address.as_ref());
        if addresses.into_iter().any(|address| answers(address.get_ref(), endpoint.get_ref())) {
            let message = format!(
                "'{key}' {} is a listener of this front door: clients would go in circles",
                endpoint.get_ref()
            );
            problems.error(&endpoint.span(), message);
        }
    }
}

/// Whether who listens at `address` is reached at `endpoint`, as far as the two tell.
fn answers(address: &SocketAddr, endpoint: &Endpoint) -> bool {
    let Host::Address(host) = endpoint.host else { return false };
    let host = SocketAddr::new(host.to_canonical(), endpoint.port);
    *address == host || (host.ip().is_loopback() && contains(address, &host))
}
