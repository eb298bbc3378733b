//! What follows from the addresses that this host has, and from what keepalived says of them. Pure.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::instance::{Family, Instance, InstanceName};
use super::notice::State;
use crate::fleet::{Claim, VrrpId};

/// What keepalived has said, as far as it counts.
#[derive(Clone, Debug, Default)]
pub struct Said {
    states: HashMap<InstanceName, State>,
    /// Those of which it was master when it was killed.
    abandoned: HashSet<InstanceName>,
    /// When another host has last announced itself as their master.
    contested: HashMap<InstanceName, Instant>,
}

impl Said {
    /// An instance has come to be that.
    pub fn state(&mut self, instance: InstanceName, state: State) {
        self.abandoned.remove(&instance);
        if state != State::Master {
            self.contested.remove(&instance);
        }
        self.states.insert(instance, state);
    }

    /// keepalived no longer knows of an instance.
    pub fn deleted(&mut self, instance: InstanceName) {
        self.states.remove(&instance);
        self.contested.remove(&instance);
    }

    /// Another host has announced itself as the master, too.
    pub fn contested(&mut self, instance: InstanceName, now: Instant) {
        self.contested.insert(instance, now);
    }

    /// keepalived has ended. If it has not said that it stops, it was killed, and where it was master it has left its addresses
    /// here: nothing is known of those any more. Tells whether that is so of any.
    pub fn ended(&mut self) -> bool {
        let masters = self.states.iter().filter(|(_, state)| **state == State::Master);
        let masters: Vec<_> = masters.map(|(instance, _)| *instance).collect();
        self.states.retain(|_, state| *state != State::Master);
        self.contested.clear();
        self.abandoned.extend(&masters);
        !masters.is_empty()
    }

    /// What keepalived may say from now on is not heard. Where it has not said that it stops, nothing is known any more. Tells
    /// whether that is so of any instance.
    pub fn lost(&mut self) -> bool {
        let before = self.states.len();
        self.states.retain(|_, state| *state == State::Stop);
        self.contested.clear();
        self.states.len() < before
    }

    /// Of an instance with both families: the worst of what is said of either.
    fn of(&self, instance: &Instance) -> Option<State> {
        let said: Vec<_> = names(instance).filter_map(|name| self.states.get(&name).copied()).collect();
        said.iter().find(|state| **state != State::Master).or(said.first()).copied()
    }

    fn is_abandoned(&self, instance: &Instance) -> bool {
        names(instance).any(|name| self.abandoned.contains(&name))
    }

    /// Whether another host has announced itself lately: within three of the intervals in which it would.
    fn is_contested(&self, instance: &Instance, now: Instant) -> bool {
        let lately = (instance.advertisement_interval * 3).max(LATELY);
        let since = |at: &Instant| now.saturating_duration_since(*at);
        names(instance).any(|name| self.contested.get(&name).is_some_and(|at| since(at) <= lately))
    }
}

/// What keepalived calls an instance: one for each family.
fn names(instance: &Instance) -> impl Iterator<Item = InstanceName> {
    let has = |family: &Family| instance.addresses.iter().any(|own| Family::of(own.addr()) == *family);
    let vrrp_id = instance.vrrp_id;
    Family::ALL.into_iter().filter(has).map(move |family| InstanceName { vrrp_id, family })
}

/// Long enough to be seen by people and by whoever collects metrics.
const LATELY: Duration = Duration::from_secs(30);

/// Why an address may be on two hosts at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Conflict {
    /// keepalived says that it is not this host's, and it is here.
    LeftOver,
    /// keepalived was killed while it was master.
    Abandoned,
    /// Another host says that it has it.
    Contested,
    /// The front door of that name says that it has it.
    Claimed(Arc<str>),
}

/// Which virtual addresses this host has. [`Display`](fmt::Display) tells it in words for the log.
#[derive(Clone, Debug, Default)]
pub struct Judgement {
    instances: Vec<Judged>,
}

/// What is so of one instance.
#[derive(Clone, Debug)]
pub struct Judged {
    vrrp_id: VrrpId,
    addresses: Vec<IpNet>,
    /// The first of them that is here.
    here: Option<IpAddr>,
    said: Option<State>,
    conflict: Option<Conflict>,
}

impl Judged {
    /// Whether this host has it: an address is here, and keepalived does not say that it is another one's. An address alone
    /// proves nothing, for a keepalived that is killed leaves it behind; nor does a word alone.
    pub fn is_held(&self) -> bool {
        self.here.is_some() && self.said.is_none_or(|state| state == State::Master)
    }

    /// Whether an address is here that keepalived says is not this host's. It is for a moment in each takeover.
    pub fn is_left_over(&self) -> bool {
        self.here.is_some() && !self.is_held()
    }

    /// Why it is held or not.
    pub fn reason(&self) -> String {
        let said = match self.said {
            Some(state) => format!("keepalived says {}", state.as_str()),
            None => "keepalived has said nothing".to_owned(),
        };
        match self.here {
            Some(address) => format!("{address} is here; {said}"),
            None => format!("{} is not here; {said}", self.all_addresses()),
        }
    }

    /// That an address of it may be on two hosts at a time, and why; `None` as long as nothing speaks for it.
    pub fn conflict(&self) -> Option<String> {
        let words = match self.conflict.as_ref()? {
            Conflict::Claimed(by) => {
                return Some(format!(
                    "{} (vrrp_id {}) is on {by} as well, as that says; look at keepalived on both hosts and at the \
                     network between them",
                    self.here?, self.vrrp_id
                ));
            }
            Conflict::LeftOver => {
                "is here though keepalived says that it is not, and may be on another host as well"
            }
            Conflict::Abandoned => {
                "was left here by a keepalived that was killed, and may be on another host as well"
            }
            Conflict::Contested => "is claimed by another host as well",
        };
        Some(format!("{} (vrrp_id {}) {words}", self.here?, self.vrrp_id))
    }

    fn all_addresses(&self) -> String {
        let all: Vec<_> = self.addresses.iter().map(|network| network.addr().to_string()).collect();
        all.join(" or ")
    }
}

impl Judgement {
    /// Looks for the virtual addresses among those that this host has.
    pub fn of(
        instances: &[Instance],
        here: &HashSet<IpAddr>,
        said: &Said,
        claims: &[Claim],
        now: Instant,
    ) -> Self {
        let judged = instances.iter().map(|instance| {
            let state = said.of(instance);
            let claim = claims.iter().find(|claim| claim.vrrp_id == instance.vrrp_id);
            let conflict = if state.is_some_and(|state| state != State::Master) {
                Some(Conflict::LeftOver)
            } else if let Some(claim) = claim {
                Some(Conflict::Claimed(Arc::clone(&claim.by)))
            } else if said.is_abandoned(instance) {
                Some(Conflict::Abandoned)
            } else {
                said.is_contested(instance, now).then_some(Conflict::Contested)
            };
            let here = instance.addresses.iter().map(IpNet::addr).find(|address| here.contains(address));
            Judged {
                vrrp_id: instance.vrrp_id,
                addresses: instance.addresses.clone(),
                here,
                said: state,
                // what is not here is no matter of this host
                conflict: conflict.filter(|_| here.is_some()),
            }
        });
        Self { instances: judged.collect() }
    }

    /// Each instance, in the order of the configuration.
    pub fn instances(&self) -> &[Judged] {
        &self.instances
    }

    /// Whether this front door is the active one. A front door that shares no addresses is alone, and always active. One
    /// that does needs every instance: they are moved together, and half of them is a move under way.
    pub fn is_active(&self) -> bool {
        self.instances.iter().all(Judged::is_held)
    }

    /// Whether it says of every instance what the other one says.
    pub fn agrees_with(&self, other: &Self) -> bool {
        let says = |judged: &Judged| (judged.vrrp_id, judged.is_held());
        self.instances.iter().map(says).eq(other.instances.iter().map(says))
    }

    /// The addresses that are here though keepalived says that they are not this host's, with what it says; `None` if there
    /// are none.
    pub fn left_over(&self) -> Option<String> {
        let left: Vec<_> = self.instances.iter().filter(|judged| judged.is_left_over()).collect();
        (!left.is_empty()).then(|| list(&left))
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let standing = if self.is_active() { "active" } else { "standby" };
        write!(f, "this front door is {standing}: ")?;
        let (held, others): (Vec<_>, Vec<_>) = self.instances.iter().partition(|judged| judged.is_held());
        let (left, missing): (Vec<_>, Vec<_>) = others.into_iter().partition(|judged| judged.is_left_over());
        let mut parts = Vec::new();
        if !held.is_empty() {
            parts.push(format!("it has {}", list(&held)));
        }
        match (missing.is_empty(), held.is_empty()) {
            (true, _) => {}
            (false, true) => parts.push(format!("it does not have {}", list(&missing))),
            (false, false) => parts.push(format!("but not {}", list(&missing))),
        }
        if !left.is_empty() {
            parts.push(format!("what is here is to go: {}", list(&left)));
        }
        if parts.is_empty() {
            parts.push("it shares no virtual address".to_owned());
        }
        f.write_str(&parts.join(", "))
    }
}

fn list(instances: &[&Judged]) -> String {
    let words = instances.iter().map(|judged| {
        let addresses = judged.here.map_or_else(|| judged.all_addresses(), |address| address.to_string());
        let said = judged.said.map(|state| format!(", keepalived says {}", state.as_str()));
        format!("{addresses} (vrrp_id {}{})", judged.vrrp_id, said.unwrap_or_default())
    });
    words.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
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
            notify_fifo: None,
        }
    }

    fn judge(instances: &[Instance], here: &[&str]) -> Judgement {
        told(instances, here, &[])
    }

    /// The same after keepalived has said that.
    fn told(instances: &[Instance], here: &[&str], said: &[(&str, State)]) -> Judgement {
        let mut all = Said::default();
        said.iter().for_each(|(name, state)| all.state(name.parse().unwrap(), *state));
        Judgement::of(
            instances,
            &here.iter().map(|address| address.parse().unwrap()).collect(),
            &all,
            &[],
            Instant::now(),
        )
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

    #[test]
    fn an_address_counts_unless_keepalived_says_otherwise() {
        let pair = [instance(31, &["10.0.0.100/24"])];
        let (here, four) = (&["10.0.0.100"][..], "vestibule-31-ipv4");
        use State::{Backup, Fault, Master, Stop};
        for (here, said, words) in [
            (here, vec![(four, Master)], "active: it has 10.0.0.100 (vrrp_id 31, keepalived says MASTER)"),
            (
                here,
                vec![(four, Master), (four, Backup)],
                "standby: what is here is to go: 10.0.0.100 (vrrp_id 31, keepalived says BACKUP)",
            ),
            (
                here,
                vec![(four, Fault)],
                "standby: what is here is to go: 10.0.0.100 (vrrp_id 31, keepalived says FAULT)",
            ),
            (
                here,
                vec![(four, Stop)],
                "standby: what is here is to go: 10.0.0.100 (vrrp_id 31, keepalived says STOP)",
            ),
            (
                &[],
                vec![(four, Master)],
                "standby: it does not have 10.0.0.100 (vrrp_id 31, keepalived says MASTER)",
            ),
            // of another one
            (here, vec![("vestibule-32-ipv4", Backup)], "active: it has 10.0.0.100 (vrrp_id 31)"),
            (here, vec![("vestibule-31-ipv6", Backup)], "active: it has 10.0.0.100 (vrrp_id 31)"),
        ] {
            let judgement = told(&pair, here, &said);
            assert_eq!(judgement.to_string(), format!("this front door is {words}"));
            assert_eq!(judgement.is_active(), words.starts_with("active"), "{words}");
            assert_eq!(judgement.left_over().is_some(), words.contains("is to go"), "{words}");
        }
    }

    #[test]
    fn either_family_can_be_lost() {
        let pair = [instance(31, &["10.0.0.100/24", "2001:db8::100/64"])];
        let (four, six) = ("vestibule-31-ipv4", "vestibule-31-ipv6");
        for (said, active) in [
            ([(four, State::Master), (six, State::Master)], true),
            ([(four, State::Master), (six, State::Fault)], false),
            ([(four, State::Backup), (six, State::Master)], false),
        ] {
            assert_eq!(told(&pair, &["10.0.0.100", "2001:db8::100"], &said).is_active(), active, "{said:?}");
        }
    }

    #[test]
    fn what_a_keepalived_that_was_killed_has_left_is_known_by_the_addresses_alone() {
        let pair = [instance(31, &["10.0.0.100/24"])];
        let here = HashSet::from(["10.0.0.100".parse().unwrap()]);
        let name = "vestibule-31-ipv4".parse().unwrap();
        for (state, was_killed, active) in [
            (State::Master, true, true),
            (State::Backup, false, false),
            (State::Fault, false, false),
            // in order
            (State::Stop, false, false),
        ] {
            let mut said = Said::default();
            said.state(name, state);
            assert_eq!(said.ended(), was_killed, "{state:?}");
            assert!(!said.ended(), "it was told already");
            assert_eq!(
                Judgement::of(&pair, &here, &said, &[], Instant::now()).is_active(),
                active,
                "{state:?}"
            );
        }
        let mut said = Said::default();
        said.state(name, State::Backup);
        said.deleted(name);
        assert!(Judgement::of(&pair, &here, &said, &[], Instant::now()).is_active());
    }

    #[test]
    fn the_reason_names_both() {
        let pair = [instance(31, &["10.0.0.100/24", "10.0.0.101/24"])];
        let reason = |judgement: Judgement| judgement.instances()[0].reason();
        assert_eq!(reason(judge(&pair, &["10.0.0.101"])), "10.0.0.101 is here; keepalived has said nothing");
        assert_eq!(
            reason(told(&pair, &[], &[("vestibule-31-ipv4", State::Backup)])),
            "10.0.0.100 or 10.0.0.101 is not here; keepalived says BACKUP"
        );
    }

    #[test]
    fn an_address_that_may_be_on_two_hosts_is_told() {
        let pair = [instance(31, &["10.0.0.100/24"])];
        let (name, now) = ("vestibule-31-ipv4".parse().unwrap(), Instant::now());
        let here = HashSet::from(["10.0.0.100".parse().unwrap()]);
        let told = |said: &Said, here: &HashSet<IpAddr>, later: u64| {
            let now = now + Duration::from_secs(later);
            Judgement::of(&pair, here, said, &[], now).instances()[0].conflict().unwrap_or_default()
        };
        let mut said = Said::default();
        assert_eq!(told(&said, &here, 0), "");
        said.state(name, State::Master);
        assert_eq!(told(&said, &here, 0), "");
        said.contested(name, now);
        let claimed = "10.0.0.100 (vrrp_id 31) is claimed by another host as well";
        assert_eq!(told(&said, &here, 30), claimed);
        assert_eq!(told(&said, &HashSet::new(), 0), "", "it is the other one's alone");
        assert_eq!(told(&said, &here, 31), "");
        said.ended();
        let left = "10.0.0.100 (vrrp_id 31) was left here by a keepalived that was killed, and may be on another host as well";
        assert_eq!(told(&said, &here, 0), left);
        said.state(name, State::Fault);
        let words = "10.0.0.100 (vrrp_id 31) is here though keepalived says that it is not, and may be on another host as well";
        assert_eq!(told(&said, &here, 0), words);
        assert_eq!(told(&said, &HashSet::new(), 0), "");
    }

    #[test]
    fn what_another_front_door_says_is_told_with_its_name() {
        let pair = [instance(31, &["10.0.0.100/24"]), instance(32, &["192.168.200.3/24"])];
        let here = ["10.0.0.100", "192.168.200.3"].map(|address| address.parse().unwrap()).into();
        let claims = [Claim { vrrp_id: VrrpId::new(32).unwrap(), by: "front-b".into() }];
        let told = |here: &HashSet<IpAddr>| {
            let judgement = Judgement::of(&pair, here, &Said::default(), &claims, Instant::now());
            judgement.instances().iter().filter_map(Judged::conflict).collect::<Vec<_>>()
        };
        let words = told(&here);
        assert_eq!(words.len(), 1);
        assert!(words[0].starts_with("192.168.200.3 (vrrp_id 32) is on front-b as well"), "{words:?}");
        assert_eq!(told(&HashSet::new()), [""; 0]);
    }
}
