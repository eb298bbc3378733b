//! What will happen, before it does: a gateway is taken out of the choice, or back into it.

use maud::{Markup, html};

use super::farm::how_to_change;
use super::frame::{Frame, Motion, Place};
use super::verdict::Mood;
use super::words::{count, gateway_path, since};
use crate::admin::peers::{PeerState, PeerStatus};
use crate::admin::status::{DrainedBy, GatewayStatus, ListenerEntry, LoadStatus, Status};
use crate::admin::summary::enumerated;
use crate::admin::trust::Rights;
use crate::fleet::{Role, State, Vpn};

/// Asks whether a gateway is to be drained.
pub fn drain(status: &Status, gateway: &GatewayStatus, rights: Rights) -> Markup {
    confirmation(status, gateway, rights, Wish::Drain, &drained(status, gateway))
}

/// Asks whether a gateway is to be resumed.
pub fn resume(status: &Status, gateway: &GatewayStatus, rights: Rights) -> Markup {
    confirmation(status, gateway, rights, Wish::Resume, &resumed(status, gateway))
}

/// What was ordered is in force, and something is to be said of it.
pub fn with_warning(status: &Status, gateway: &GatewayStatus, warning: &str) -> Markup {
    let content = html! {
        h1 { bdi { (gateway.name) } ": done, with a warning" }
        ul.consequences { (said(Mood::Notice, &html! { bdi { (warning) } })) }
        p { a.button href=(gateway_path(&gateway.name)) { "Go on to " bdi { (gateway.name) } } }
    };
    Frame { status, place: Place::Elsewhere, title: &gateway.name, motion: Motion::Still }.around(&content)
}

#[derive(Clone, Copy)]
enum Wish {
    Drain,
    Resume,
}

impl Wish {
    fn verb(self) -> &'static str {
        match self {
            Self::Drain => "Drain",
            Self::Resume => "Resume",
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Drain => "/drain",
            Self::Resume => "/resume",
        }
    }
}

fn confirmation(
    status: &Status,
    gateway: &GatewayStatus,
    rights: Rights,
    wish: Wish,
    consequences: &[Markup],
) -> Markup {
    let (name, verb) = (gateway.name.as_str(), wish.verb());
    let path = gateway_path(name);
    let title = format!("{verb} {name}");
    let content = html! {
        p.crumbs { a href="/" { "Farm" } " / " a href=(path) { bdi { (name) } } }
        h1 { (verb) " " bdi { (name) } "?" }
        ul.consequences { @for consequence in consequences { (consequence) } }
        @if rights == Rights::Nothing {
            (how_to_change(name))
        } @else {
            form method="post" action={ (path) (wish.path()) } data-still {
                @if let Wish::Drain = wish {
                    label for="reason" { "Reason " span.quiet { "for the status and the log; may be left out" } }
                    input #reason name="reason" type="text" maxlength="200" autocomplete="off";
                }
                label for="name" { "Your name " span.quiet { "for the log; may be left out" } }
                input #name name="name" type="text" maxlength="40" autocomplete="username";
                @if rights == Rights::Token {
                    label for="token" { "Token " span.quiet { "the word in [admin] token_file" } }
                    input #token name="token" type="password" autocomplete="current-password" required;
                }
                p.actions {
                    button.primary type="submit" { (title) }
                    a.button href=(path) { "Leave it as it is" }
                }
            }
        }
    };
    Frame { status, place: Place::Elsewhere, title: &title, motion: Motion::Script }.around(&content)
}

fn said(mood: Mood, text: &Markup) -> Markup {
    html! { li.(mood.class()) { (mood.icon()) span { (text) } } }
}

fn drained(status: &Status, gateway: &GatewayStatus) -> Vec<Markup> {
    let mut all = Vec::new();
    if let Some(drain) = &gateway.drain {
        let text = html! {
            @match drain.by {
                DrainedBy::Administrator => {
                    "It is drained already, by " bdi { (drain.who.as_deref().unwrap_or("an administrator")) }
                }
                DrainedBy::Agent => { "It drains already, by its own agent's wish" }
            }
            ", " (since(drain.since, status.at))
            @if !drain.reason.is_empty() { ": " bdi { (drain.reason) } } ". "
            @match drain.by {
                DrainedBy::Administrator => { "The new reason takes the place of the old one." }
                DrainedBy::Agent => { "From now on it drains by your order, too, whatever its agent wishes later." }
            }
        };
        all.push(said(Mood::Notice, &text));
    }
    if gateway.state == State::Down {
        // its tunnels are gone, and nobody is sent to it now
        all.push(said(
            Mood::Notice,
            &html! { "It is down, and gets no newcomers when it is up again until somebody resumes it." },
        ));
        all.extend(newcomers(status, gateway));
        all.extend(told(status));
        return all;
    }
    all.push(said(
        Mood::Calm,
        &html! {
            @match gateway.load.as_ref().and_then(|load| load.tunnels) {
                Some(0) => "It has no tunnel now.",
                Some(1) => "Its one tunnel stays until its user ends it.",
                Some(tunnels) => { "Its " (count(tunnels, "tunnel")) " stay until their users end them." }
                None => "Its tunnels stay until their users end them; how many there are is not known.",
            }
            " It gets no newcomers until somebody resumes it."
        },
    ));
    all.extend(newcomers(status, gateway));
    if let Some(headroom) = gateway.headroom {
        let (mood, word) =
            if headroom.enough { (Mood::Calm, "enough") } else { (Mood::Notice, "not enough") };
        all.push(said(mood, &html! {
            "The others have room for " (count(headroom.room, "tunnel")) " now: " (word) " for all who are at it."
        }));
    } else {
        all.push(said(
            Mood::Notice,
            &html! {
                "Whether the others have room for all who are at it is not known."
            },
        ));
    }
    all.extend(told(status));
    all
}

/// For each kind of client, who takes them from then on.
fn newcomers(status: &Status, gateway: &GatewayStatus) -> Vec<Markup> {
    let own: Vec<&ListenerEntry> = status.listeners.iter().filter(|l| l.is_for(gateway)).collect();
    let mut asked: Vec<(Option<u8>, Vpn, Vec<&str>)> = Vec::new();
    for listener in &own {
        match asked.iter_mut().find(|(id, vpn, _)| (*id, *vpn) == (listener.vrrp_id, listener.vpn)) {
            Some((.., names)) if names.contains(&listener.name.as_str()) => {}
            Some((.., names)) => names.push(&listener.name),
            None => asked.push((listener.vrrp_id, listener.vpn, vec![&listener.name])),
        }
    }
    let said_of = |id: Option<u8>, vpn: Vpn, of: &str| {
        let takers = takers(status, gateway, id, vpn);
        let takes_some = gateway.availability.of(vpn).available;
        if takers.is_empty() {
            let last = if takes_some {
                "It is the last one available for "
            } else {
                "No other one is available for "
            };
            said(
                Mood::Trouble,
                &html! {
                    strong { (last) bdi { (of) } ": " } "whoever comes from then on finds no gateway that works."
                },
            )
        } else {
            said(
                Mood::Calm,
                &html! { "Newcomers of " bdi { (of) } " go to " bdi { (enumerated(&takers)) } "." },
            )
        }
    };
    if asked.is_empty() {
        let offered = [(Vpn::Native, "native clients"), (Vpn::Ssl, "SSL VPN clients")].into_iter();
        let offered = offered.filter(|(vpn, _)| gateway.vpn_mode.offers(*vpn));
        return offered.map(|(vpn, of)| said_of(gateway.vrrp_id, vpn, of)).collect();
    }
    asked.iter().map(|(id, vpn, names)| said_of(*id, *vpn, &enumerated(names))).collect()
}

/// Who of the others takes such newcomers. In failsafe mode that is one alone.
fn takers<'a>(status: &'a Status, gateway: &GatewayStatus, id: Option<u8>, vpn: Vpn) -> Vec<&'a str> {
    let others = || status.gateways.iter().filter(|other| other.name != gateway.name);
    let fit = || others().filter(|other| id.is_none() || other.vrrp_id == id);
    let able = |other: &GatewayStatus| {
        other.vpn_mode.offers(vpn) && (other.availability.of(vpn).available || other.waits_for_its_turn(vpn))
    };
    if !is_failsafe(status) {
        return fit().filter(|other| able(other)).map(|other| other.name.as_str()).collect();
    }
    // the first group in the configuration that can, by the one who is active in it then: who is so now, or else the first
    // one that works, whatever it offers
    let next = fit().find_map(|member| {
        let group = others().filter(|other| other.vrrp_id == member.vrrp_id && can_be_active(other));
        group.min_by_key(|other| other.role != Some(Role::Active)).filter(|next| able(next))
    });
    next.into_iter().map(|next| next.name.as_str()).collect()
}

fn is_failsafe(status: &Status) -> bool {
    status.gateways.iter().any(|gateway| gateway.role.is_some())
}

/// However full it is.
fn can_be_active(gateway: &GatewayStatus) -> bool {
    let is_fenced = gateway.fence.as_ref().is_some_and(|fence| fence.blocked);
    gateway.role.is_some() && gateway.state == State::Up && !is_fenced
}

fn resumed(status: &Status, gateway: &GatewayStatus) -> Vec<Markup> {
    let Some(drain) = &gateway.drain else {
        return vec![said(Mood::Calm, &html! { "It is not drained: nothing changes." })];
    };
    let mut all = Vec::new();
    let is_agents = drain.by == DrainedBy::Agent;
    let text = html! {
        @match (drain.by, &drain.who) {
            (DrainedBy::Administrator, Some(who)) => { "It was drained by " bdi { (who) } }
            (DrainedBy::Administrator, None) => { "It was drained by an administrator" }
            (DrainedBy::Agent, _) => { "It drains by its own agent's wish, which ends there and not here" }
        }
        ", " (since(drain.since, status.at))
        @if !drain.reason.is_empty() { ": " bdi { (drain.reason) } } "."
        @if is_agents { " It gets no newcomers until its agent wishes so no more." }
    };
    all.push(said(if is_agents { Mood::Notice } else { Mood::Calm }, &text));
    if drain.is_by_both() {
        all.push(said(
            Mood::Notice,
            &html! {
                "Its own agent wants no newcomers, either, which ends there and not here: it gets none until then."
            },
        ));
    } else if !is_agents {
        all.push(from_then_on(status, gateway));
    }
    all.extend(told(status));
    all
}

/// Whether one that is resumed gets newcomers.
fn from_then_on(status: &Status, gateway: &GatewayStatus) -> Markup {
    let fence = gateway.fence.as_ref().and_then(|fence| fence.in_words());
    let load = gateway.load.as_ref().filter(|load| !load.stale);
    let (mood, text) = match (gateway.state, fence) {
        (State::Down, _) => (
            Mood::Notice,
            html! { "It is down: it gets newcomers once its checks pass. " bdi { (gateway.reason) } },
        ),
        (State::Unknown, _) => (Mood::Notice, html! { "It gets newcomers once its checks pass." }),
        (State::Up | State::Draining, Some(fence)) => (
            Mood::Notice,
            html! { "It gets newcomers once its firewall lets them in, which refuses them " bdi { (fence) } "." },
        ),
        _ if is_failsafe(status) => (
            Mood::Calm,
            html! { "It can be the active gateway again, and gets newcomers when it is its turn." },
        ),
        _ if load.is_some_and(LoadStatus::is_full) => {
            (Mood::Notice, html! { "It is full: it gets newcomers once it has room." })
        }
        _ if gateway.filling => {
            (Mood::Calm, html! { "It gets newcomers again, first a few and then its share." })
        }
        (State::Up | State::Draining, None) => (
            Mood::Calm,
            html! {
                "It gets newcomers again, at once."
                @if let Some(tunnels) = load.and_then(|load| load.tunnels) {
                    " It has " (count(tunnels, "tunnel")) " now."
                }
            },
        ),
    };
    said(mood, &text)
}

/// Who else hears of it.
fn told(status: &Status) -> Option<Markup> {
    let is_heard = |peer: &PeerStatus| matches!(peer.state, PeerState::Active | PeerState::Standby);
    let name = |heard: bool| -> Vec<&str> {
        let peers = status.peers.iter().filter(|peer| is_heard(peer) == heard);
        peers.map(|peer| peer.name.as_deref().unwrap_or(&peer.url)).collect()
    };
    let (hear, silent) = (name(true), name(false));
    (!status.peers.is_empty()).then(|| {
        let mood = if silent.is_empty() { Mood::Calm } else { Mood::Notice };
        said(
            mood,
            &html! {
                @if !hear.is_empty() { "It holds at " bdi { (enumerated(&hear)) } ", too. " }
                @if !silent.is_empty() {
                    bdi { (enumerated(&silent)) } (if silent.len() > 1 { " are" } else { " is" })
                    " not heard now and will do the same once heard."
                }
            },
        )
    })
}
