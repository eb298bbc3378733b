//! `[peers]`: the other front doors, and whether that fits the rest of the file. Pure: nothing but the file is looked at.

use std::net::{IpAddr, SocketAddr};

use serde_spanned::Spanned;

use super::front_checks::{overlap, repeated};
use super::front_file::{DEFAULT_ADMIN, FrontFile, address, endpoint};
use super::problem::{Problems, Span};
use super::section::Section;
use crate::fleet::{Endpoint, Host};

pub struct PeersTable {
    pub head: Span,
    pub listen: Option<Spanned<SocketAddr>>,
    pub front_doors: Vec<Spanned<PeerUrl>>,
}

/// Where another front door listens for this one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PeerUrl {
    pub endpoint: Endpoint,
}

impl PeersTable {
    pub fn read(root: &Section<'_>) -> Option<Self> {
        let table = root.section("peers")?;
        if !table.has("listen") {
            table.error(
                "missing key 'listen' in [peers]: where the other front door asks this one, like \"192.0.2.1:9465\"",
            );
        }
        if !table.has("front_doors") || table.is_empty_list("front_doors") {
            table.error(
                "[peers] has no 'front_doors': where the others listen, like [\"https://192.0.2.2:9465\"]",
            );
        }
        let peers = Self {
            head: table.span.clone(),
            listen: table.parsed("listen", address),
            front_doors: table.parsed_list("front_doors", PeerUrl::parse).unwrap_or_default(),
        };
        table.finish();
        Some(peers)
    }
}

impl PeerUrl {
    fn parse(text: &str) -> Result<Self, String> {
        let Some(rest) = text.strip_prefix("https://") else {
            return Err("must begin with https://, like \"https://192.0.2.2:9465\"".into());
        };
        Ok(Self { endpoint: endpoint(rest.strip_suffix('/').unwrap_or(rest), PEER_PORT)? })
    }
}

/// The port that front doors ask each other at, beside the agents' 9464.
const PEER_PORT: u16 = 9465;

/// Notes everything that does not fit.
pub fn check(file: &FrontFile, problems: &Problems<'_>) {
    let Some(peers) = &file.peers else {
        if let (Some(head), true) =
            (file.vrrp.first().map(|vrrp| &vrrp.head), file.balance.mode.is_failsafe())
        {
            let message = "without [peers] the two front doors do not know of each other, and may name different gateways";
            problems.warning(head, message);
        }
        return;
    };
    repeated(peers.front_doors.iter(), |url, span| {
        problems.error(span, format!("'front_doors' has {} twice; leave one of them out", url.endpoint));
    });
    let heartbeat = &file.heartbeat;
    for (key, value) in
        [("certificate", &heartbeat.certificate), ("key", &heartbeat.key), ("ca", &heartbeat.ca)]
    {
        if value.is_none() {
            let message = format!(
                "[peers] needs '{key}' in [heartbeat]: front doors show each other certificates of one authority"
            );
            problems.error(&peers.head, message);
        }
    }
    let Some(listen) = &peers.listen else { return };
    check_listen(listen, file, problems);
    for url in &peers.front_doors {
        let Endpoint { host, port } = &url.get_ref().endpoint;
        let is_here = |ip| SocketAddr::new(ip, *port) == *listen.get_ref();
        if matches!(host, Host::Address(ip) if is_here(*ip)) {
            let message =
                "'front_doors' has the address that this front door itself listens on; name only the others";
            problems.error(&url.span(), message);
        }
        if let Host::Address(ip) = host
            && is_virtual(file, *ip)
        {
            let message = format!(
                "{ip} is a virtual address: whoever has it would answer, which may be this front door; name an \
                 address of the other host"
            );
            problems.error(&url.span(), message);
        }
    }
}

fn is_virtual(file: &FrontFile, ip: IpAddr) -> bool {
    let mut shared = file.vrrp.iter().flat_map(super::vrrp::VrrpTable::virtual_addresses);
    shared.any(|address| *address.get_ref() == ip)
}

fn check_listen(listen: &Spanned<SocketAddr>, file: &FrontFile, problems: &Problems<'_>) {
    let own = listen.get_ref();
    let admin = file.admin.listen.as_ref().map_or(DEFAULT_ADMIN, |listen| *listen.get_ref());
    let listeners = file.listeners.iter().filter_map(|listener| listener.address.as_ref());
    let taken = listeners.map(|address| ("a listener", *address.get_ref())).chain([("[admin]", admin)]);
    for (whose, other) in taken {
        if overlap(own, &other) {
            problems
                .error(&listen.span(), format!("{whose} has the address {other}; give [peers] another one"));
        }
    }
    if is_virtual(file, own.ip()) {
        let message = format!(
            "{} is a virtual address: the one who stands by would not be heard; listen on an address of this host",
            own.ip()
        );
        problems.error(&listen.span(), message);
    }
}
