//! What has happened lately, in words: what is different between one status and the next.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::peers::{PeerState, PeerStatus};
use super::status::{FenceStatus, GatewayStatus, ListenerEntry, Status};
use super::vrrp::{VrrpState, VrrpStatus};
use crate::fleet::{Role, State};

/// Something that has happened to this front door or to its farm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Grows by one with each event; begins anew with the process.
    pub id: u64,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// What it is about.
    pub kind: Kind,
    /// Whether somebody should look.
    pub level: Level,
    /// The gateway that it is about, if it is about one.
    pub gateway: Option<String>,
    /// A sentence without its full stop.
    pub text: String,
}

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// This front door's process.
    Process,
    /// Its configuration.
    Config,
    /// A gateway's state.
    Gateway,
    /// What an administrator has ordered.
    Order,
    /// A firewall block.
    Fence,
    /// Which gateway is the active one, in failsafe mode.
    Failsafe,
    /// A listener.
    Listener,
    /// A virtual address.
    Vrrp,
    /// Another front door.
    Peer,
}

impl Kind {
    /// The word used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Config => "config",
            Self::Gateway => "gateway",
            Self::Order => "order",
            Self::Fence => "fence",
            Self::Failsafe => "failsafe",
            Self::Listener => "listener",
            Self::Vrrp => "vrrp",
            Self::Peer => "peer",
        }
    }
}

/// Whether somebody should look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Something is better than before, or as it was meant.
    Info,
    /// Something is worse than before.
    Warning,
}

impl Level {
    /// The word used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
        }
    }
}

/// An event that has no number and no time yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// What it is about.
    pub kind: Kind,
    /// Whether somebody should look.
    pub level: Level,
    /// The gateway that it is about.
    pub gateway: Option<String>,
    /// A sentence without its full stop.
    pub text: String,
}

impl News {
    /// Something that is as it was meant.
    pub fn good(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, level: Level::Info, gateway: None, text: text.into() }
    }

    /// Something that somebody should look at.
    pub fn bad(kind: Kind, text: impl Into<String>) -> Self {
        Self { level: Level::Warning, ..Self::good(kind, text) }
    }

    /// The same, about that gateway.
    pub fn of(self, gateway: &str) -> Self {
        Self { gateway: Some(gateway.to_owned()), ..self }
    }
}

/// Everything that is different `after`, in the order of the document. What administrators order is not in it: who gives an
/// order stands in no status.
pub fn changes(before: &Status, after: &Status) -> Vec<News> {
    let mut news = Vec::new();
    for vrrp in &after.vrrp {
        let known = before.vrrp.iter().find(|known| known.vrrp_id == vrrp.vrrp_id);
        news.extend(known.into_iter().flat_map(|known| of_vrrp(known, vrrp)));
    }
    for peer in &after.peers {
        let known = before.peers.iter().find(|known| known.url == peer.url);
        news.extend(known.and_then(|known| of_peer(known, peer)));
    }
    for gateway in &after.gateways {
        match before.gateways.iter().find(|known| known.name == gateway.name) {
            Some(known) => news.extend(of_gateway(known, gateway)),
            None => {
                news.push(News::good(Kind::Gateway, format!("{} is new", gateway.name)).of(&gateway.name))
            }
        }
    }
    for gateway in before.gateways.iter().filter(|known| after.gateways.iter().all(|g| g.name != known.name))
    {
        let text = format!("{} is no longer in the configuration", gateway.name);
        news.push(News::good(Kind::Gateway, text).of(&gateway.name));
    }
    for listener in &after.listeners {
        let is_it = |known: &&ListenerEntry| known.name == listener.name && known.address == listener.address;
        let known = before.listeners.iter().find(is_it);
        news.extend(known.into_iter().flat_map(|known| of_listener(known, listener)));
    }
    news
}

fn of_gateway(before: &GatewayStatus, after: &GatewayStatus) -> Vec<News> {
    let name = &after.name;
    let mut news = Vec::new();
    if before.state != after.state {
        let because = if after.reason.is_empty() { String::new() } else { format!(": {}", after.reason) };
        let (text, is_good) = match after.state {
            State::Up if before.state == State::Draining => (format!("{name} takes newcomers again"), true),
            State::Up => (format!("{name} is up{because}"), true),
            State::Down => (format!("{name} is down{because}"), before.drain.is_some()),
            State::Draining => (format!("{name} drains{because}"), true),
            State::Unknown => (format!("{name} has not been checked yet"), true),
        };
        let told = if is_good { News::good(Kind::Gateway, text) } else { News::bad(Kind::Gateway, text) };
        news.push(told);
    }
    news.extend(of_fence(name, before.fence.as_ref(), after.fence.as_ref()));
    if before.role != after.role && after.role == Some(Role::Active) {
        news.push(News::bad(Kind::Failsafe, format!("{name} is the active gateway now")));
    }
    news.into_iter().map(|news| news.of(name)).collect()
}

fn of_fence(name: &str, before: Option<&FenceStatus>, after: Option<&FenceStatus>) -> Option<News> {
    let words = |fence: Option<&FenceStatus>| fence.and_then(FenceStatus::in_words);
    let holders = |fence: Option<&FenceStatus>| -> Vec<String> {
        let fence = fence.filter(|fence| fence.blocked);
        fence.into_iter().flat_map(|fence| fence.blockers().map(|holder| holder.by.clone())).collect()
    };
    let is_blocked = |fence: Option<&FenceStatus>| fence.is_some_and(|fence| fence.blocked);
    match (is_blocked(before), is_blocked(after)) {
        (_, true) if is_blocked(before) && holders(before) == holders(after) => None,
        (_, true) => {
            let text = format!("{name} is fenced {}", words(after).unwrap_or_default());
            Some(News::bad(Kind::Fence, text))
        }
        (true, false) => Some(News::good(Kind::Fence, format!("{name} is no longer fenced"))),
        (false, false) => None,
    }
}

fn of_vrrp(before: &VrrpStatus, after: &VrrpStatus) -> Vec<News> {
    let id = after.vrrp_id;
    let mut news = Vec::new();
    if before.state != after.state {
        let what = match after.state {
            VrrpState::Active => "this front door is active for",
            VrrpState::Standby => "this front door stands by for",
        };
        let text = format!("{what} {} (vrrp_id {id}): {}", after.addresses.join(", "), after.reason);
        news.push(News::bad(Kind::Vrrp, text));
    }
    match (&before.conflict, &after.conflict) {
        (before, Some(conflict)) if before.as_ref() != Some(conflict) => {
            news.push(News::bad(Kind::Vrrp, conflict.clone()));
        }
        (Some(_), None) => {
            let text = format!("{} (vrrp_id {id}) is on one host again", after.addresses.join(", "));
            news.push(News::good(Kind::Vrrp, text));
        }
        _ => {}
    }
    news
}

fn of_peer(before: &PeerStatus, after: &PeerStatus) -> Option<News> {
    if before.state == after.state {
        return None;
    }
    let name = after.name.as_deref().unwrap_or(&after.url);
    Some(match after.state {
        PeerState::Active => News::good(Kind::Peer, format!("the other front door {name} is active")),
        PeerState::Standby => News::good(Kind::Peer, format!("the other front door {name} stands by")),
        PeerState::Silent => {
            News::bad(Kind::Peer, format!("the other front door {name} is silent: {}", after.reason))
        }
        PeerState::Unknown => {
            News::good(Kind::Peer, format!("the other front door {name} has not answered yet"))
        }
    })
}

fn of_listener(before: &ListenerEntry, after: &ListenerEntry) -> Option<News> {
    let named = format!("listener {} ({})", after.name, after.address);
    match (before.open, after.open) {
        (true, false) => Some(News::bad(Kind::Listener, format!("{named} is not open"))),
        (false, true) => Some(News::good(Kind::Listener, format!("{named} is open"))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::status::tests::{Farm, fenced, listener, refused};
    use super::*;
    use crate::admin::listener::ListenerStatus;

    fn told(before: &Status, after: &Status) -> Vec<(Level, String)> {
        changes(before, after).into_iter().map(|news| (news.level, news.text)).collect()
    }

    #[test]
    fn a_gateway_that_dies_and_comes_back_is_told_once_each() {
        let mut farm = Farm::new(2);
        let well = farm.up(&["gw1", "gw2"]).status(&[]);
        let still_well = farm.at(1).up(&["gw1", "gw2"]).status(&[]);
        assert_eq!(told(&well, &still_well), []);
        let dead = farm.at(2).observe("gw2", refused()).status(&[]);
        let down = "gw2 is down: portal: connection refused".to_owned();
        assert_eq!(told(&still_well, &dead), [(Level::Warning, down)]);
        assert_eq!(changes(&still_well, &dead)[0].gateway.as_deref(), Some("gw2"));
        let back = farm.at(3).up(&["gw2"]).status(&[]);
        assert!(told(&dead, &back)[0].1.starts_with("gw2 is up"), "{:?}", told(&dead, &back));
    }

    #[test]
    fn a_gateway_that_drains_and_is_resumed_was_up_all_the_time() {
        let mut farm = Farm::new(1);
        let before = farm.up(&["gw1"]).status(&[]);
        let drained = farm.at(1).drain("gw1", "new kernel").status(&[]);
        assert_eq!(told(&before, &drained), [(Level::Info, "gw1 drains: new kernel".to_owned())]);
        assert_eq!(told(&drained, &before), [(Level::Info, "gw1 takes newcomers again".to_owned())]);
    }

    #[test]
    fn a_fence_is_told_when_it_begins_when_its_holders_change_and_when_it_ends() {
        let mut farm = Farm::new(1);
        let free = farm.up(&["gw1"]).status(&[]);
        let one = farm.at(1).observe("gw1", fenced(&["front-b"])).status(&[]);
        let renewed = farm.at(2).observe("gw1", fenced(&["front-b"])).status(&[]);
        let two = farm.at(3).observe("gw1", fenced(&["front-b", "self"])).status(&[]);
        let open = farm.at(4).observe("gw1", fenced(&[])).status(&[]);
        let words = |before, after| told(before, after).into_iter().map(|(_, text)| text).collect::<Vec<_>>();
        assert_eq!(words(&free, &one), ["gw1 is fenced by front-b: portal: refused"]);
        assert_eq!(words(&one, &renewed), [""; 0]);
        assert_eq!(
            words(&renewed, &two),
            ["gw1 is fenced by front-b: portal: refused, by self: portal: refused"]
        );
        assert_eq!(words(&two, &open), ["gw1 is no longer fenced"]);
    }

    #[test]
    fn another_active_gateway_is_told_in_failsafe_mode() {
        let mut farm = Farm::failsafe(2);
        let before = farm.up(&["gw1", "gw2"]).status(&[]);
        let after = farm.at(1).observe("gw1", refused()).status(&[]);
        let texts: Vec<_> = told(&before, &after).into_iter().map(|(_, text)| text).collect();
        assert_eq!(texts, ["gw1 is down: portal: connection refused", "gw2 is the active gateway now"]);
    }

    #[test]
    fn gateways_that_come_and_go_and_listeners_that_close_are_told() {
        let closed = ListenerStatus { open: false, ..listener("portal", 443) };
        let before = Farm::new(2).status(&[listener("portal", 443)]);
        let after = Farm::new(1).status(&[closed]);
        assert_eq!(
            told(&before, &after),
            [
                (Level::Info, "gw2 is no longer in the configuration".to_owned()),
                (Level::Warning, "listener portal (62.168.1.203:443) is not open".to_owned()),
            ]
        );
        assert_eq!(
            told(&after, &before),
            [
                (Level::Info, "gw2 is new".to_owned()),
                (Level::Info, "listener portal (62.168.1.203:443) is open".to_owned()),
            ]
        );
    }

    #[test]
    fn virtual_addresses_and_other_front_doors_are_told() {
        let vrrp = |state, conflict: Option<&str>| VrrpStatus {
            vrrp_id: 31,
            state,
            since: OffsetDateTime::UNIX_EPOCH,
            interface: "eth0".into(),
            addresses: vec!["10.0.0.1/24".into()],
            reason: "keepalived says so".into(),
            conflict: conflict.map(str::to_owned),
        };
        let peer = |state| PeerStatus {
            name: Some("front-b".into()),
            url: "https://10.0.0.3:9465".into(),
            state,
            since: OffsetDateTime::UNIX_EPOCH,
            reason: "connection refused".into(),
        };
        let status =
            |vrrp: VrrpStatus, state| Farm::new(1).status(&[]).sharing(vec![vrrp]).beside(vec![peer(state)]);
        let before = status(vrrp(VrrpState::Standby, None), PeerState::Active);
        let after = status(vrrp(VrrpState::Active, Some("it is on both")), PeerState::Silent);
        assert_eq!(
            told(&before, &after).into_iter().map(|(_, text)| text).collect::<Vec<_>>(),
            [
                "this front door is active for 10.0.0.1/24 (vrrp_id 31): keepalived says so",
                "it is on both",
                "the other front door front-b is silent: connection refused",
            ]
        );
        let texts: Vec<_> = told(&after, &before).into_iter().map(|(_, text)| text).collect();
        assert_eq!(
            texts[1..],
            ["10.0.0.1/24 (vrrp_id 31) is on one host again", "the other front door front-b is active"]
        );
    }

    #[test]
    fn the_words_are_those_of_the_json() {
        let all = [
            Kind::Process,
            Kind::Config,
            Kind::Gateway,
            Kind::Order,
            Kind::Fence,
            Kind::Failsafe,
            Kind::Listener,
            Kind::Vrrp,
            Kind::Peer,
        ];
        for kind in all {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        for level in [Level::Info, Level::Warning] {
            assert_eq!(serde_json::to_value(level).unwrap(), level.as_str());
        }
    }
}
