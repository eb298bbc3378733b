//! Whether what a front door's file says of native clients fits the rest of it. Pure: nothing but the file is looked at.

use std::net::SocketAddr;

use serde_spanned::Spanned;

use super::front_checks::{contains, pairs, repeated};
use super::front_file::FrontFile;
use super::problem::Problems;
use super::vrrp::VrrpTable;
use crate::fleet::{Endpoint, Host, Vpn};

/// Notes everything that does not fit.
pub fn check(file: &FrontFile, problems: &Problems<'_>) {
    check_addresses(file, problems);
    check_ikev2(file, problems);
}

/// A UDP address answers one thing.
fn check_addresses(file: &FrontFile, problems: &Problems<'_>) {
    let dve = file.dve.iter().flat_map(|dve| &dve.listen);
    let ikev2 = file.ikev2.iter().flat_map(|ikev2| &ikev2.listen);
    let addresses: Vec<_> = dve.chain(ikev2).cloned().collect();
    repeated(addresses.iter(), |address, span| {
        problems.error(span, format!("'listen' has the UDP address {address} twice; leave one of them out"));
    });
    for (wide, narrow) in
        pairs(&addresses).filter(|(wide, narrow)| contains(wide.get_ref(), narrow.get_ref()))
    {
        let message = format!("{} is part of {}, which 'listen' has, too", narrow.get_ref(), wide.get_ref());
        problems.error(&narrow.span(), message);
    }
}

/// A redirect names a host and no port (RFC 5685 §7.2).
fn check_ikev2(file: &FrontFile, problems: &Problems<'_>) {
    let Some(ikev2) = &file.ikev2 else { return };
    let native = || file.gateways.iter().filter(|gateway| gateway.vpn_mode.offers(Vpn::Native));
    if native().next().is_none() && !file.gateways.is_empty() {
        let message = "no gateway has vpn_mode 'native' or 'both': nobody is ever sent to one";
        problems.error(&ikev2.head, message);
    } else if let (Some(id), false) = (&ikev2.vrrp_id, native().any(|gateway| ikev2.is_for(gateway)))
        && !file.gateways.is_empty()
    {
        let message = format!(
            "no gateway with vpn_mode 'native' or 'both' has vrrp_id {}; no client is ever sent to one",
            id.get_ref()
        );
        problems.error(&id.span(), message);
    }
    for gateway in native() {
        let Some(endpoint) = &gateway.native_endpoint else { continue };
        let Endpoint { host, port } = endpoint.get_ref();
        if leads_back(host, &ikev2.listen, file) {
            let message = format!(
                "'native_endpoint' {host} is an address of [ikev2_redirect]: clients would go in circles"
            );
            problems.error(&endpoint.span(), message);
        }
        if ikev2.is_for(gateway) && !IKE_PORTS.contains(port) {
            let message = format!(
                "an IKEv2 redirect names no port: clients go to {host} on 500 or 4500, and not to {port}"
            );
            problems.warning(&endpoint.span(), message);
        }
    }
}

/// Whether who is sent to that host comes to one of these, as far as the file tells.
fn leads_back(host: &Host, listen: &[Spanned<SocketAddr>], file: &FrontFile) -> bool {
    let Host::Address(host) = host else { return false };
    let host = host.to_canonical();
    let is_shared =
        || file.vrrp.iter().flat_map(VrrpTable::virtual_addresses).any(|own| *own.get_ref() == host);
    listen.iter().map(|address| address.get_ref().ip()).any(|own| {
        let is_all = own.is_unspecified() && own.is_ipv4() == host.is_ipv4();
        own == host || (is_all && (host.is_loopback() || is_shared()))
    })
}

/// RFC 7296 §2.23.
const IKE_PORTS: [u16; 2] = [500, 4500];
