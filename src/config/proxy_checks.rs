//! Whether listeners of the modes `proxy` and `passthrough` fit the rest of a file. Pure: nothing but the file
//! is looked at.

use super::front_file::{FrontFile, GatewayTable, Listener, Mode, Preset};
use super::problem::Problems;
use super::proxy_file::{AffinityKind, PassthroughTable, ProxyTable};

/// Notes everything that does not fit.
pub fn check(file: &FrontFile, problems: &Problems<'_>) {
    for listener in &file.listeners {
        check_sections(listener, problems);
        let candidates: Vec<_> =
            file.gateways.iter().filter(|gateway| listener.may_choose(gateway)).collect();
        match (listener.mode, &listener.proxy, &listener.passthrough) {
            (Some(Mode::Proxy), Some(proxy), _) => check_proxy(proxy, &candidates, problems),
            (Some(Mode::Passthrough), _, Some(passthrough)) => {
                check_passthrough(passthrough, &candidates, problems);
            }
            _ => {}
        }
    }
}

/// A section has an effect only in its own mode.
fn check_sections(listener: &Listener, problems: &Problems<'_>) {
    let Some(mode) = listener.mode else { return };
    let proxy = listener.proxy.as_ref().filter(|_| mode != Mode::Proxy);
    if let Some(proxy) = proxy {
        problems.error(&proxy.head, "[listener.proxy] is for mode 'proxy'");
    }
    let passthrough = listener.passthrough.as_ref().filter(|_| mode != Mode::Passthrough);
    if let Some(passthrough) = passthrough {
        problems.error(&passthrough.head, "[listener.passthrough] is for mode 'passthrough'");
    }
    if let (Some(redirect), Mode::Proxy | Mode::Passthrough) = (&listener.redirect_place, mode) {
        problems.error(redirect, "[listener.redirect] is for the modes 'redirect' and 'https-upgrade'");
    }
}

fn check_proxy(proxy: &ProxyTable, candidates: &[&GatewayTable], problems: &Problems<'_>) {
    let several = candidates.len() > 1;
    if several && proxy.affinity == AffinityKind::None {
        let message = format!(
            "without affinity each request may go to another one of {} gateways: a VPN client's login takes \
             several requests and its tunnel one more (CONNECT), all to the same gateway, so that the login \
             breaks at /auth; use affinity 'session' or 'source-address'",
            candidates.len()
        );
        problems.objection(&proxy.affinity_place, message);
    }
    if several
        && proxy.affinity == AffinityKind::Cookie
        && candidates.iter().any(|gateway| gateway.preset == Preset::Ocserv)
    {
        let message = format!(
            "VPN clients do not bring '{}' back when they open their tunnel, which may then reach another gateway; \
             affinity 'cookie' is for browsers, 'session' is for both",
            proxy.affinity_cookie
        );
        problems.warning(&proxy.affinity_place, message);
    }
    let https = candidates.iter().find_map(|gateway| {
        let upstream = gateway.upstream.as_ref().filter(|upstream| upstream.get_ref().port == 443)?;
        Some((gateway.name.as_ref()?, upstream))
    });
    if let (Some((name, upstream)), None) = (https, &proxy.upstream_tls) {
        let message = format!(
            "gateway '{}' is spoken to in plain HTTP on {}, a port where TLS is usual; set 'upstream_tls' in \
             [listener.proxy]",
            name.get_ref(),
            upstream.get_ref()
        );
        problems.warning(&proxy.head, message);
    }
}

fn check_passthrough(passthrough: &PassthroughTable, candidates: &[&GatewayTable], problems: &Problems<'_>) {
    if candidates.len() > 1 && !passthrough.settings.source_affinity {
        let message = format!(
            "without affinity each connection may go to another one of {} gateways: a VPN client whose connection \
             has broken does not get its session back there; use affinity 'source-address'",
            candidates.len()
        );
        problems.warning(&passthrough.affinity_place, message);
    }
}
