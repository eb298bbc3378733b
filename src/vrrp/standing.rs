//! What follows from the addresses that this host has. Pure.

use std::collections::HashSet;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::Instance;
use crate::fleet::VrrpId;

/// Which virtual addresses are here. [`Display`](fmt::Display) tells it in words for the log.
#[derive(Clone, Debug, Default)]
pub struct Judgement {
    instances: Vec<Judged>,
}

#[derive(Clone, Debug)]
struct Judged {
    vrrp_id: VrrpId,
    addresses: Vec<IpNet>,
    /// The first of them that is here.
    here: Option<IpAddr>,
}

impl Judgement {
    /// Looks for the virtual addresses among those that this host has.
    pub fn of(instances: &[Instance], here: &HashSet<IpAddr>) -> Self {
        let judged = instances.iter().map(|instance| Judged {
            vrrp_id: instance.vrrp_id,
            addresses: instance.addresses.clone(),
            here: instance.addresses.iter().map(IpNet::addr).find(|address| here.contains(address)),
        });
        Self { instances: judged.collect() }
    }

    /// Whether this front door is the active one. A front door that shares no addresses is alone, and always active. One
    /// that does needs an address of every instance: they are moved together, and half of them is a move under way.
    pub fn is_active(&self) -> bool {
        self.instances.iter().all(|judged| judged.here.is_some())
    }

    /// Whether it says of every instance what the other one says.
    pub fn agrees_with(&self, other: &Self) -> bool {
        let says = |judged: &Judged| (judged.vrrp_id, judged.here.is_some());
        self.instances.iter().map(says).eq(other.instances.iter().map(says))
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let standing = if self.is_active() { "active" } else { "standby" };
        write!(f, "this front door is {standing}: ")?;
        let (here, missing): (Vec<_>, Vec<_>) =
            self.instances.iter().partition(|judged| judged.here.is_some());
        match (here.is_empty(), missing.is_empty()) {
            (true, true) => write!(f, "it shares no virtual address"),
            (false, true) => write!(f, "it has {}", list(&here)),
            (true, false) => write!(f, "it does not have {}", list(&missing)),
            (false, false) => write!(f, "it has {}, but not {}", list(&here), list(&missing)),
        }
    }
}

fn list(instances: &[&Judged]) -> String {
    let words = instances.iter().map(|judged| {
        let addresses = match judged.here {
            Some(address) => address.to_string(),
            None => {
                let all: Vec<_> = judged.addresses.iter().map(|network| network.addr().to_string()).collect();
                all.join(" or ")
            }
        };
        format!("{addresses} (vrrp_id {})", judged.vrrp_id)
    });
    words.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::vrrp::Role;

    fn instance(vrrp_id: i64, addresses: &[&str]) -> Instance {
        Instance {
            vrrp_id: VrrpId::new(vrrp_id).unwrap(),
            role: Role::Backup,
            interface: "eth0".into(),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            peers: Vec::new(),
            advertisement_interval: Duration::from_secs(1),
            preempt: false,
            notify_fifo: "/run/vestibule/keepalived.fifo".into(),
        }
    }

    fn judge(instances: &[Instance], here: &[&str]) -> Judgement {
        Judgement::of(instances, &here.iter().map(|address| address.parse().unwrap()).collect())
    }

    #[test]
    fn a_front_door_that_shares_no_address_is_active() {
        let alone = judge(&[], &[]);
        assert!(alone.is_active());
        assert_eq!(alone.to_string(), "this front door is active: it shares no virtual address");
    }

    #[test]
    fn one_address_of_an_instance_is_enough_and_none_is_not() {
        let pair = [instance(31, &["10.0.0.100/24", "2001:db8::100/64"])];
        for (here, words) in [
            (&["10.0.0.100"][..], "active: it has 10.0.0.100 (vrrp_id 31)"),
            (&["2001:db8::100"], "active: it has 2001:db8::100 (vrrp_id 31)"),
            (&["10.0.0.1", "2001:db8::100", "10.0.0.100"], "active: it has 10.0.0.100 (vrrp_id 31)"),
            (&["10.0.0.1"], "standby: it does not have 10.0.0.100 or 2001:db8::100 (vrrp_id 31)"),
            (&[], "standby: it does not have 10.0.0.100 or 2001:db8::100 (vrrp_id 31)"),
        ] {
            let judgement = judge(&pair, here);
            assert_eq!(judgement.is_active(), words.starts_with("active"), "of {here:?}");
            assert_eq!(judgement.to_string(), format!("this front door is {words}"), "of {here:?}");
        }
    }

    #[test]
    fn every_instance_must_be_here() {
        let pair = [instance(31, &["10.0.0.100/24"]), instance(32, &["192.168.200.3/24"])];
        assert!(judge(&pair, &["10.0.0.100", "192.168.200.3"]).is_active());
        let half = judge(&pair, &["192.168.200.3"]);
        assert!(!half.is_active());
        let words = "it has 192.168.200.3 (vrrp_id 32), but not 10.0.0.100 (vrrp_id 31)";
        assert_eq!(half.to_string(), format!("this front door is standby: {words}"));
        let words = "it does not have 10.0.0.100 (vrrp_id 31), 192.168.200.3 (vrrp_id 32)";
        assert_eq!(judge(&pair, &[]).to_string(), format!("this front door is standby: {words}"));
    }

    #[test]
    fn another_address_of_the_same_instance_changes_nothing() {
        let pair = [instance(31, &["10.0.0.100/24", "10.0.0.101/24"])];
        let one = judge(&pair, &["10.0.0.100"]);
        assert!(one.agrees_with(&judge(&pair, &["10.0.0.101"])));
        assert!(!one.agrees_with(&judge(&pair, &[])));
        assert!(!one.agrees_with(&judge(&[], &["10.0.0.100"])));
        assert!(!one.agrees_with(&judge(&[instance(32, &["10.0.0.100/24"])], &["10.0.0.100"])));
    }
}
