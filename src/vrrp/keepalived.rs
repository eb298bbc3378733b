//! What keepalived is to be told of the virtual addresses: a whole keepalived.conf. Pure.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use ipnet::IpNet;

use super::instance::{Family, Instance, InstanceName, Role};

/// What is to be written.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// How this host calls itself.
    pub node: &'a str,
    /// Its virtual addresses; all of them move together.
    pub instances: &'a [Instance],
    /// What tells whether it is fit to have them.
    pub fitness: Fitness<'a>,
    /// Whose the fifo is to be where keepalived makes it; `None`: root's.
    pub fifo_owner: Option<&'a str>,
    /// The addresses of its interfaces by their names; an interface that is not there is missing.
    pub own: &'a BTreeMap<String, Vec<IpNet>>,
    /// This program.
    pub program: &'a Path,
    /// The configuration that the instances come from; it begins with a slash.
    pub config: &'a Path,
}

/// What keepalived looks at. Who is not fit gives the addresses up, or does not take them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fitness<'a> {
    /// `vestibule ready`.
    FrontDoor,
    /// The file that a heartbeat agent writes.
    TrackFile(&'a Path),
}

/// A keepalived.conf, with what is likely wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The whole file.
    pub text: String,
    /// One sentence each.
    pub warnings: Vec<String>,
}

/// A word that cannot stand in keepalived.conf, whose syntax gives many signs a meaning.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{what} '{}' cannot stand in keepalived.conf; use letters, digits and any of {MARKS} alone",
    .word.escape_debug()
)]
pub struct Unwritable {
    /// What it is.
    what: &'static str,
    /// The word.
    word: String,
}

impl Plan<'_> {
    /// Writes it: VRRPv3 (RFC 9568), an instance for each family of addresses of each virtual router, and all of them in one
    /// group, so that one host has them all.
    pub fn write(&self) -> Result<Written, Unwritable> {
        let (program, config) = (path("the path", self.program)?, path("the path", self.config)?);
        let node = word("the name", self.node)?;
        let mut text = format!(
            "# Made by vestibule. Changes here are lost when it is made again:\n\
             # {program} keepalived -c {config}\n\n\
             global_defs {{\n    router_id {node}\n    vrrp_version 3\n    script_user root\n    enable_script_security\n"
        );
        if let Some(fifo) = self.instances.iter().find_map(|instance| instance.notify_fifo.as_deref()) {
            let fifo = path("'notify_fifo'", fifo)?;
            match self.fifo_owner {
                Some(owner) => {
                    let owner = word("the user", owner)?;
                    line(&mut text, 1, format_args!("vrrp_notify_fifo {fifo} {owner}"));
                }
                None => line(&mut text, 1, format_args!("vrrp_notify_fifo {fifo}")),
            }
        }
        // neighbours that have missed the first announcement of a takeover hear another one a second later
        text += "    vrrp_garp_master_delay 1\n    vrrp_garp_master_repeat 2\n}\n\n";
        let track = match self.fitness {
            Fitness::FrontDoor => {
                // it stays for most of the second, so that keepalived hears at once when the front door is gone
                let watch = WATCH.as_millis();
                text += "vrrp_script vestibule {\n";
                line(&mut text, 1, format_args!("script \"{program} ready -c {config} --watch {watch}ms\""));
                text += "    interval 1\n    timeout 5\n    fall 1\n    rise 2\n}\n\n";
                "track_script"
            }
            Fitness::TrackFile(file) => {
                text += "vrrp_track_file vestibule {\n";
                line(&mut text, 1, format_args!("file \"{}\"", path("'track_file'", file)?));
                // not fit before the agent says so
                text += "    weight 0\n    init_file 1\n}\n\n";
                "track_file"
            }
        };
        let mut warnings = Vec::new();
        let mut sections = String::new();
        let mut names = Vec::new();
        for instance in self.instances {
            self.warn_of(instance, &mut warnings);
            for family in Family::ALL {
                let addresses = of_family(instance, family);
                if !addresses.is_empty() {
                    let name = InstanceName { vrrp_id: instance.vrrp_id, family };
                    names.push(name);
                    let section = self.section(instance, name, &addresses, track, &mut warnings)?;
                    sections += &section;
                }
            }
        }
        // keepalived wants no group of one
        if names.len() > 1 {
            text += "vrrp_sync_group vestibule {\n    group {\n";
            for name in &names {
                line(&mut text, 2, name);
            }
            text += "    }\n}\n\n";
        }
        text += sections.trim_end();
        text.push('\n');
        Ok(Written { text, warnings })
    }

    fn section(
        &self,
        instance: &Instance,
        name: InstanceName,
        addresses: &[IpNet],
        track: &str,
        warnings: &mut Vec<String>,
    ) -> Result<String, Unwritable> {
        let interface = word("the interface", &instance.interface)?;
        // keepalived wants everyone to begin as backup where nobody is to be driven out
        let (state, priority) = match (instance.role, instance.preempt) {
            (Role::Master, true) => ("MASTER", MASTER),
            (Role::Master, false) => ("BACKUP", MASTER),
            (Role::Backup, _) => ("BACKUP", BACKUP),
        };
        let mut text = format!("vrrp_instance {name} {{\n");
        line(&mut text, 1, format_args!("state {state}"));
        line(&mut text, 1, format_args!("interface {interface}"));
        line(&mut text, 1, format_args!("virtual_router_id {}", instance.vrrp_id));
        line(&mut text, 1, format_args!("priority {priority}"));
        line(&mut text, 1, format_args!("advert_int {}", seconds(instance.advertisement_interval)));
        if !instance.preempt {
            line(&mut text, 1, "nopreempt");
        }
        let peers: Vec<_> = instance.peers.iter().filter(|peer| Family::of(**peer) == name.family).collect();
        if let Some(first) = peers.first() {
            match self.source(instance, **first, addresses) {
                Some(source) => line(&mut text, 1, format_args!("unicast_src_ip {source}")),
                None => warnings.push(format!(
                    "this host has no {} address of its own on {interface} in the network of {first} or of the \
                     virtual addresses (vrrp_id {}): the other host may not take what is sent from another one",
                    name.family, instance.vrrp_id
                )),
            }
            text += "    unicast_peer {\n";
            peers.iter().for_each(|peer| line(&mut text, 2, peer));
            text += "    }\n";
        }
        text += "    virtual_ipaddress {\n";
        for address in addresses {
            line(&mut text, 2, format_args!("{address} dev {interface}"));
        }
        text += "    }\n";
        line(&mut text, 1, format_args!("{track} {{"));
        line(&mut text, 2, "vestibule");
        text += "    }\n}\n\n";
        Ok(text)
    }

    /// Which address of this host the peer is to hear from: its own, in the network of a virtual address, or in the peer's.
    fn source(&self, instance: &Instance, peer: IpAddr, addresses: &[IpNet]) -> Option<IpAddr> {
        let all: Vec<_> = self.virtual_addresses().collect();
        let own: Vec<_> = self
            .own
            .get(&instance.interface)?
            .iter()
            // one cannot be talked to from beyond the link by an address that is of the link alone
            .filter(|own| Family::of(own.addr()) == Family::of(peer))
            .filter(|own| is_link_local(own.addr()) == is_link_local(peer))
            .filter(|own| !all.contains(&own.addr()))
            .collect();
        let beside_virtual = |own: &&&IpNet| addresses.iter().any(|network| network.contains(&own.addr()));
        let beside_peer = |own: &&&IpNet| own.contains(&peer);
        own.iter().find(beside_virtual).or_else(|| own.iter().find(beside_peer)).map(|own| own.addr())
    }

    fn warn_of(&self, instance: &Instance, warnings: &mut Vec<String>) {
        let Instance { interface, vrrp_id, .. } = instance;
        if !self.own.contains_key(interface) {
            warnings.push(format!("there is no interface '{interface}' on this host (vrrp_id {vrrp_id})"));
        }
        let mut own = self.own.values().flatten().map(IpNet::addr);
        if let Some(peer) = own.find(|own| instance.peers.contains(own)) {
            warnings.push(format!(
                "the peer {peer} is this host (vrrp_id {vrrp_id}); 'peers' names the other one"
            ));
        }
        for family in Family::ALL {
            let has_peer = instance.peers.iter().any(|peer| Family::of(*peer) == family);
            if !instance.peers.is_empty() && !has_peer && !of_family(instance, family).is_empty() {
                warnings.push(format!(
                    "none of the peers has an {family} address (vrrp_id {vrrp_id}): {family} is spoken by multicast"
                ));
            }
        }
    }

    fn virtual_addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.instances.iter().flat_map(|instance| &instance.addresses).map(IpNet::addr)
    }
}

/// The addresses of one family; those of the link come first (RFC 9568 §5.2.9).
fn of_family(instance: &Instance, family: Family) -> Vec<IpNet> {
    let mut all: Vec<_> =
        instance.addresses.iter().copied().filter(|network| Family::of(network.addr()) == family).collect();
    all.sort_by_key(|network| !is_link_local(network.addr()));
    all
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => four.is_link_local(),
        IpAddr::V6(six) => six.is_unicast_link_local(),
    }
}

/// Whole centiseconds.
fn seconds(interval: Duration) -> String {
    let (whole, centiseconds) = (interval.as_secs(), interval.subsec_millis() / 10);
    match (centiseconds, centiseconds % 10) {
        (0, _) => whole.to_string(),
        (tens, 0) => format!("{whole}.{}", tens / 10),
        _ => format!("{whole}.{centiseconds:02}"),
    }
}

fn line(text: &mut String, depth: usize, words: impl Display) {
    // a string takes whatever is written to it
    let _ = writeln!(text, "{}{words}", "    ".repeat(depth));
}

fn path<'a>(what: &'static str, path: &'a Path) -> Result<&'a str, Unwritable> {
    match path.to_str() {
        Some(text) => word(what, text),
        None => Err(Unwritable { what, word: path.to_string_lossy().into_owned() }),
    }
}

/// The word, if no sign of it has a meaning in keepalived's syntax: comments (`#`, `!`), conditions (`@`), definitions (`$`),
/// escapes, quotes, braces and white space have.
fn word<'a>(what: &'static str, word: &'a str) -> Result<&'a str, Unwritable> {
    let plain = |c: char| c.is_ascii_alphanumeric() || MARKS.contains(c);
    if word.is_empty() || !word.chars().all(plain) {
        return Err(Unwritable { what, word: word.to_owned() });
    }
    Ok(word)
}

/// Beside letters and digits.
const MARKS: &str = "/._-+,=:";

/// Of 1 to 254 (RFC 9568 §5.2.4). High ones, for a backup waits for the longer the lower its own is: up to one interval more
/// (Skew_Time, §6.1).
const MASTER: u8 = 250;
const BACKUP: u8 = 240;

/// keepalived begins a script each second, if the one before has ended.
const WATCH: Duration = Duration::from_millis(850);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::VrrpId;

    fn instance(vrrp_id: i64, addresses: &[&str], peers: &[&str]) -> Instance {
        Instance {
            vrrp_id: VrrpId::new(vrrp_id).unwrap(),
            role: Role::Master,
            interface: "eth0".into(),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            peers: peers.iter().map(|peer| peer.parse().unwrap()).collect(),
            advertisement_interval: Duration::from_secs(1),
            preempt: false,
            notify_fifo: Some("/run/vestibule/keepalived.fifo".into()),
        }
    }

    fn own(addresses: &[&str]) -> BTreeMap<String, Vec<IpNet>> {
        [("eth0".to_owned(), addresses.iter().map(|address| address.parse().unwrap()).collect())].into()
    }

    fn write(instances: &[Instance], addresses: &[&str]) -> Result<Written, Unwritable> {
        let plan = Plan {
            node: "front-a",
            instances,
            fitness: Fitness::FrontDoor,
            fifo_owner: None,
            own: &own(addresses),
            program: Path::new("/usr/local/bin/vestibule"),
            config: Path::new("/etc/vestibule/config/vestibule.toml"),
        };
        plan.write()
    }

    fn lines(text: &str, beginning: &str) -> Vec<String> {
        let all = text.lines().map(str::trim).filter(|line| line.starts_with(beginning));
        all.map(str::to_owned).collect()
    }

    #[test]
    fn one_address_makes_a_whole_file() {
        let pair = [instance(31, &["62.168.1.203/24"], &["62.168.1.202"])];
        let written = write(&pair, &["62.168.1.203/24", "62.168.1.201/24"]).unwrap();
        assert_eq!(written.warnings, [""; 0]);
        let expected = r#"# Made by vestibule. Changes here are lost when it is made again:
# /usr/local/bin/vestibule keepalived -c /etc/vestibule/config/vestibule.toml

global_defs {
    router_id front-a
    vrrp_version 3
    script_user root
    enable_script_security
    vrrp_notify_fifo /run/vestibule/keepalived.fifo
    vrrp_garp_master_delay 1
    vrrp_garp_master_repeat 2
}

vrrp_script vestibule {
    script "/usr/local/bin/vestibule ready -c /etc/vestibule/config/vestibule.toml --watch 850ms"
    interval 1
    timeout 5
    fall 1
    rise 2
}

vrrp_instance vestibule-31-ipv4 {
    state BACKUP
    interface eth0
    virtual_router_id 31
    priority 250
    advert_int 1
    nopreempt
    unicast_src_ip 62.168.1.201
    unicast_peer {
        62.168.1.202
    }
    virtual_ipaddress {
        62.168.1.203/24 dev eth0
    }
    track_script {
        vestibule
    }
}
"#;
        assert_eq!(written.text, expected);
    }

    #[test]
    fn a_fifo_that_keepalived_makes_is_the_front_doors() {
        let plan = Plan {
            node: "front-a",
            instances: &[instance(31, &["10.0.0.9/24"], &[])],
            fitness: Fitness::FrontDoor,
            fifo_owner: Some("vestibule"),
            own: &own(&[]),
            program: Path::new("/usr/local/bin/vestibule"),
            config: Path::new("/etc/vestibule.toml"),
        };
        let text = plan.write().unwrap().text;
        let expected = ["vrrp_notify_fifo /run/vestibule/keepalived.fifo vestibule"];
        assert_eq!(lines(&text, "vrrp_notify_fifo"), expected);
    }

    #[test]
    fn each_family_is_an_instance_of_its_own_and_all_move_together() {
        let outside = instance(31, &["2001:db8::203/64", "10.0.0.203/24", "fe80::31/64"], &[]);
        let inside = Instance { interface: "eth1".into(), ..instance(32, &["192.168.200.3/24"], &[]) };
        let text = write(&[outside, inside], &["10.0.0.1/24"]).unwrap().text;
        assert!(text.contains(
            "vrrp_sync_group vestibule {\n    group {\n        vestibule-31-ipv4\n        vestibule-31-ipv6\n        \
             vestibule-32-ipv4\n    }\n}\n"
        ));
        assert_eq!(lines(&text, "vrrp_instance").len(), 3);
        assert_eq!(
            lines(&text, "virtual_router_id"),
            ["31", "31", "32"].map(|id| format!("virtual_router_id {id}"))
        );
        assert!(text.contains("        fe80::31/64 dev eth0\n        2001:db8::203/64 dev eth0\n"), "{text}");
        assert!(text.contains("        192.168.200.3/24 dev eth1\n"));
        assert_eq!(lines(&text, "unicast"), [""; 0]);
    }

    #[test]
    fn who_is_which_follows_from_the_role() {
        for (role, preempt, expected) in [
            (Role::Master, false, ["state BACKUP", "priority 250", "nopreempt"].as_slice()),
            (Role::Backup, false, &["state BACKUP", "priority 240", "nopreempt"]),
            (Role::Master, true, &["state MASTER", "priority 250"]),
            (Role::Backup, true, &["state BACKUP", "priority 240"]),
        ] {
            let text = write(&[Instance { role, preempt, ..instance(31, &["10.0.0.9/24"], &[]) }], &[]);
            let text = text.unwrap().text;
            let told: Vec<_> =
                ["state", "priority", "nopreempt"].iter().flat_map(|key| lines(&text, key)).collect();
            assert_eq!(told, expected, "{role:?}, preempt {preempt}");
        }
    }

    #[test]
    fn the_peer_hears_from_an_address_that_is_this_hosts_own() {
        for (addresses, peer, own, source) in [
            // not the virtual one, though it is here
            ("10.0.0.9/24", "10.0.0.2", &["10.0.0.9/24", "10.0.0.1/24"][..], Some("10.0.0.1")),
            // the virtual address is on a network of its own
            ("62.168.1.203/32", "10.0.0.2", &["172.16.0.1/16", "10.0.0.1/24"], Some("10.0.0.1")),
            ("62.168.1.203/24", "10.0.0.2", &["10.0.0.1/24", "62.168.1.201/24"], Some("62.168.1.201")),
            ("10.0.0.9/24", "10.0.0.2", &["172.16.0.1/16", "2001:db8::1/64"], None),
            ("2001:db8::9/64", "2001:db8::2", &["fe80::1/64", "2001:db8::1/64"], Some("2001:db8::1")),
            ("2001:db8::9/64", "fe80::2", &["2001:db8::1/64", "fe80::1/64"], Some("fe80::1")),
        ] {
            let written = write(&[instance(31, &[addresses], &[peer])], own).unwrap();
            let expected: Vec<_> = source.iter().map(|source| format!("unicast_src_ip {source}")).collect();
            assert_eq!(lines(&written.text, "unicast_src_ip"), expected, "{addresses} {own:?}");
            assert_eq!(written.warnings.len(), usize::from(source.is_none()), "{:?}", written.warnings);
        }
    }

    #[test]
    fn what_is_likely_wrong_is_told() {
        let both = instance(31, &["10.0.0.9/24", "2001:db8::9/64"], &["10.0.0.1"]);
        let written = write(std::slice::from_ref(&both), &["10.0.0.1/24"]).unwrap();
        assert_eq!(
            written.warnings,
            [
                "the peer 10.0.0.1 is this host (vrrp_id 31); 'peers' names the other one",
                "none of the peers has an IPv6 address (vrrp_id 31): IPv6 is spoken by multicast",
            ]
        );
        let missing = Instance { interface: "eth9".into(), peers: Vec::new(), ..both };
        let written = write(&[missing], &[]).unwrap();
        assert_eq!(written.warnings, ["there is no interface 'eth9' on this host (vrrp_id 31)"]);
    }

    #[test]
    fn an_interval_is_told_in_seconds() {
        for (milliseconds, words) in
            [(10, "0.01"), (70, "0.07"), (100, "0.1"), (1000, "1"), (40_950, "40.95")]
        {
            assert_eq!(seconds(Duration::from_millis(milliseconds)), words);
        }
    }

    #[test]
    fn a_gateway_is_fit_by_a_file() {
        let plan = Plan {
            node: "gw1",
            instances: &[Instance { notify_fifo: None, ..instance(41, &["10.0.0.9/24"], &[]) }],
            fitness: Fitness::TrackFile(Path::new("/run/vestibule/health")),
            fifo_owner: None,
            own: &own(&[]),
            program: Path::new("/usr/local/bin/vestibule"),
            config: Path::new("/etc/vestibule/config/heartbeat.toml"),
        };
        let text = plan.write().unwrap().text;
        let file = "vrrp_track_file vestibule {\n    file \"/run/vestibule/health\"\n    weight 0\n    init_file 1\n}\n";
        assert!(text.contains(file), "{text}");
        assert!(text.contains("    track_file {\n        vestibule\n    }\n"), "{text}");
        assert!(!text.contains("fifo") && !text.contains("script \""), "{text}");
    }

    #[test]
    fn what_would_break_the_syntax_is_refused() {
        let pair = [instance(31, &["10.0.0.9/24"], &[])];
        let plan = Plan {
            node: "front-a",
            instances: &pair,
            fitness: Fitness::FrontDoor,
            fifo_owner: None,
            own: &own(&[]),
            program: Path::new("/usr/local/bin/vestibule"),
            config: Path::new("/etc/vestibule.toml"),
        };
        assert!(plan.write().is_ok());
        for bad in
            ["", "a b", "a#", "!a", "@a", "$a", "a\"", "a'", "{a", "a}", "a\\", "a\nb", "ä", "~", "a;b"]
        {
            let words = format!(
                "the name '{}' cannot stand in keepalived.conf; use letters, digits and any of /._-+,=: alone",
                bad.escape_debug()
            );
            assert_eq!(Plan { node: bad, ..plan }.write().unwrap_err().to_string(), words);
            assert!(Plan { program: Path::new(bad), ..plan }.write().is_err(), "{bad:?}");
            assert!(Plan { config: Path::new(bad), ..plan }.write().is_err(), "{bad:?}");
            assert!(Plan { fitness: Fitness::TrackFile(Path::new(bad)), ..plan }.write().is_err(), "{bad:?}");
            let interface = [Instance { interface: bad.into(), ..pair[0].clone() }];
            assert!(Plan { instances: &interface, ..plan }.write().is_err(), "{bad:?}");
            assert!(Plan { fifo_owner: Some(bad), ..plan }.write().is_err(), "{bad:?}");
            let fifo = [Instance { notify_fifo: Some(bad.into()), ..pair[0].clone() }];
            assert!(Plan { instances: &fifo, ..plan }.write().is_err(), "{bad:?}");
        }
    }
}
