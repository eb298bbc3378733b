//! [[vrrp]], and [[vrrp.instance]] of an agent: the virtual addresses that a host shares with another one, and whether
//! they fit the rest of the file. Pure: nothing but the file is looked at.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde_spanned::Spanned;

use super::front_checks::repeated;
use super::front_file::{FrontFile, vrrp_id};
use super::problem::{Problems, Span};
use super::section::Section;
use crate::fleet::VrrpId;
use crate::vrrp::{Instance, Role};

/// One of them. What is missing or wrong is `None`, or missing in its list; the problem has been noted.
pub struct VrrpTable {
    vrrp_id: Option<Spanned<VrrpId>>,
    role: Option<Role>,
    interface: Option<Spanned<String>>,
    addresses: Vec<Spanned<IpNet>>,
    peers: Vec<Spanned<IpAddr>>,
    advertisement_interval: Duration,
    preempt: bool,
    notify_fifo: Option<PathBuf>,
    pub head: Span,
}

/// Whose addresses they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Those of two front doors.
    FrontDoor,
    /// Those of two gateways.
    Gateway,
}

impl VrrpTable {
    pub fn read(table: Section<'_>, owner: Owner) -> Self {
        let missing = |key: &str, hint: &str| {
            if !table.has(key) {
                table.error(format!("missing key '{key}' in {}{hint}", table.title));
            }
        };
        missing("vrrp_id", "");
        missing("role", "; it is 'master' or 'backup'");
        missing("addresses", "");
        if table.is_empty_list("addresses") {
            table.error_at(&table.place("addresses"), "'addresses' must not be empty");
        }
        let interval = table.duration("advertisement_interval");
        if let Some(interval) = &interval
            && interval.get_ref().subsec_nanos() % CENTISECOND != 0
        {
            let message =
                "'advertisement_interval' must be a multiple of 10ms: VRRP counts in hundredths of a second";
            table.error_at(&interval.span(), message);
        }
        let read = Self {
            vrrp_id: vrrp_id(&table),
            role: table.word("role", &[("master", Role::Master), ("backup", Role::Backup)]),
            interface: table.required_parsed("interface", interface),
            addresses: table.parsed_list("addresses", virtual_address).unwrap_or_default(),
            peers: table.parsed_list("peers", peer).unwrap_or_default(),
            advertisement_interval: interval.map_or(Duration::from_secs(1), Spanned::into_inner),
            preempt: table.boolean("preempt").unwrap_or(false),
            notify_fifo: table.parsed("notify_fifo", absolute).map(Spanned::into_inner).or(match owner {
                Owner::FrontDoor => Some(DEFAULT_FIFO.into()),
                // an agent does not listen; a front door on the same host may
                Owner::Gateway => None,
            }),
            head: table.span.clone(),
        };
        table.finish();
        read
    }

    /// What it says, if nothing of it is missing.
    pub fn instance(&self) -> Option<Instance> {
        Some(Instance {
            vrrp_id: *self.vrrp_id.as_ref()?.get_ref(),
            role: self.role?,
            interface: self.interface.as_ref()?.get_ref().clone(),
            addresses: self.addresses.iter().map(|address| *address.get_ref()).collect(),
            peers: self.peers.iter().map(|peer| *peer.get_ref()).collect(),
            advertisement_interval: self.advertisement_interval,
            preempt: self.preempt,
            notify_fifo: self.notify_fifo.clone(),
        })
    }

    pub fn virtual_addresses(&self) -> impl Iterator<Item = Spanned<IpAddr>> {
        self.addresses.iter().map(|network| Spanned::new(network.span(), network.get_ref().addr()))
    }
}

/// Notes everything that does not fit.
pub fn check(file: &FrontFile, problems: &Problems<'_>) {
    check_pair(&file.vrrp, "[[vrrp]]", problems);
    check_listeners(file, problems);
}

/// Notes what does not fit in these tables, which are all of that title.
pub fn check_pair(tables: &[VrrpTable], title: &str, problems: &Problems<'_>) {
    repeated(tables.iter().filter_map(|table| table.vrrp_id.as_ref()), |id, span| {
        problems.error(span, format!("two {title} have the vrrp_id {id}; give one of them another number"));
    });
    if let Some((first, others)) = tables.split_first() {
        for table in others {
            let roles = table.role.is_some() && first.role.is_some() && table.role != first.role;
            for (differs, key) in [
                (roles, "role"),
                (table.preempt != first.preempt, "preempt"),
                (table.notify_fifo != first.notify_fifo, "notify_fifo"),
            ] {
                if differs {
                    let message = format!(
                        "all {title} are moved together; give this one the same '{key}' as the first one"
                    );
                    problems.error(&table.head, message);
                }
            }
        }
    }
    let all: Vec<_> = tables.iter().flat_map(VrrpTable::virtual_addresses).collect();
    repeated(all.iter(), |address, span| {
        let message = format!("the virtual address {address} is there twice; leave one of them out");
        problems.error(span, message);
    });
    for table in tables {
        repeated(table.peers.iter(), |peer, span| {
            problems.error(span, format!("the peer {peer} is there twice; leave one of them out"));
        });
        for peer in &table.peers {
            if all.iter().any(|address| address.get_ref() == peer.get_ref()) {
                let message = format!(
                    "the peer {} is a virtual address, which either host may have; name the other host by its own",
                    peer.get_ref()
                );
                problems.error(&peer.span(), message);
            }
        }
    }
}

/// A virtual address is there for somebody who listens. An instance where nobody does at all is on the side of the
/// gateways as a rule, and moves along with one where somebody does.
fn check_listeners(file: &FrontFile, problems: &Problems<'_>) {
    let listening: Vec<_> = listening(file).collect();
    let is_used = |address: &IpAddr| {
        let all = |own: &IpAddr| own.is_unspecified() && own.is_ipv4() == address.is_ipv4();
        listening.iter().any(|own| own == address || all(own))
    };
    let is_used_at_all =
        |table: &&VrrpTable| table.virtual_addresses().any(|address| is_used(address.get_ref()));
    let somebody_does = file.vrrp.iter().any(|table| is_used_at_all(&table));
    for table in file.vrrp.iter().filter(|table| !somebody_does || is_used_at_all(table)) {
        // an IPv6 router announces itself by such a one (RFC 9568 §5.2.9), whoever listens
        let link_local = |address: &IpAddr| matches!(address, IpAddr::V6(six) if six.is_unicast_link_local());
        for address in table.virtual_addresses() {
            if !is_used(address.get_ref()) && !link_local(address.get_ref()) {
                let message = format!("nothing listens at the virtual address {}", address.get_ref());
                problems.warning(&address.span(), message);
            }
        }
    }
}

/// Every address that this front door listens at.
fn listening(file: &FrontFile) -> impl Iterator<Item = IpAddr> {
    let listeners = file.listeners.iter().filter_map(|listener| listener.address.as_ref());
    let dve = file.dve.iter().flat_map(|dve| &dve.listen);
    let ikev2 = file.ikev2.iter().flat_map(|ikev2| &ikev2.listen);
    listeners.chain(dve).chain(ikev2).map(|address| address.get_ref().ip())
}

/// `address/prefix length`.
fn virtual_address(text: &str) -> Result<IpNet, String> {
    let network: IpNet = text.parse().map_err(|_| {
        "must be an address with the length of its network's prefix, like \"192.0.2.1/24\" or \"2001:db8::1/64\""
            .to_owned()
    })?;
    let address = network.addr();
    if !is_a_hosts(address) {
        return Err(format!("{address} is no address that a host can have"));
    }
    let has_room = network.max_prefix_len() - network.prefix_len() > 1;
    let is_broadcast = address.is_ipv4() && address == network.broadcast();
    if has_room && (address == network.network() || is_broadcast) {
        return Err(format!("{network} is a whole network, or its broadcast address; give an address in it"));
    }
    Ok(network)
}

fn peer(text: &str) -> Result<IpAddr, String> {
    let address: IpAddr = text.parse().map_err(|_| "must be an address, like \"192.0.2.2\"".to_owned())?;
    if !is_a_hosts(address) {
        return Err(format!("{address} is no address that a host can have"));
    }
    Ok(address)
}

fn is_a_hosts(address: IpAddr) -> bool {
    let is_mapped = address.to_canonical() != address;
    let is_broadcast = address == IpAddr::V4(std::net::Ipv4Addr::BROADCAST);
    !(address.is_unspecified()
        || address.is_multicast()
        || address.is_loopback()
        || is_mapped
        || is_broadcast)
}

/// What the kernel takes for a name: up to 15 bytes, none of them a slash, a colon or white space.
fn interface(text: &str) -> Result<String, &'static str> {
    let strange = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    if text.len() > 15 || text.contains(strange) || matches!(text, "." | "..") {
        return Err("must be the name of an interface, like \"eth0\"");
    }
    Ok(text.to_owned())
}

pub fn absolute(text: &str) -> Result<PathBuf, &'static str> {
    if !text.starts_with('/') || text.contains(char::is_control) {
        return Err("must be a path that begins with '/': keepalived runs in another folder");
    }
    Ok(text.into())
}

const DEFAULT_FIFO: &str = "/run/vestibule/keepalived.fifo";

/// In nanoseconds.
const CENTISECOND: u32 = 10_000_000;
