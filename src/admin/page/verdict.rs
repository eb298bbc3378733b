//! How bad it is, for the eye and for the ear.

use maud::{Markup, html};

use crate::admin::peers::PeerState;
use crate::admin::status::{GatewayStatus, Status};
use crate::fleet::{State, Vpn};

/// How bad something is. The worst is the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mood {
    /// As it should be.
    Calm,
    /// Somebody should know: it does not take part, and that may be meant so.
    Notice,
    /// Somebody should do something.
    Trouble,
}

impl Mood {
    /// The class of what is shown so.
    pub fn class(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::Notice => "notice",
            Self::Trouble => "trouble",
        }
    }

    /// A sign that is told apart by its form, too.
    pub fn icon(self) -> Markup {
        let path = match self {
            Self::Calm => "M8 1.2a6.8 6.8 0 1 0 0 13.6A6.8 6.8 0 0 0 8 1.2zM4.9 8.2l2.1 2.1 4.1-4.5",
            Self::Notice => "M8 1.8 15 14.2H1L8 1.8zM8 6.4v3.6M8 12v.1",
            Self::Trouble => "M5.2 1.2h5.6l4 4v5.6l-4 4H5.2l-4-4V5.2l4-4zM5.6 5.6l4.8 4.8M10.4 5.6l-4.8 4.8",
        };
        html! { svg.icon viewBox="0 0 16 16" aria-hidden="true" focusable="false" { path d=(path) {} } }
    }
}

/// How bad it is with a gateway.
pub fn of_gateway(gateway: &GatewayStatus) -> Mood {
    let is_fenced = gateway.fence.as_ref().is_some_and(|fence| fence.blocked);
    match gateway.state {
        // one that was taken out is expected to be down while it is worked on
        State::Down if gateway.drain.is_none() => Mood::Trouble,
        State::Up if is_fenced => Mood::Trouble,
        State::Down | State::Draining | State::Unknown => Mood::Notice,
        State::Up if is_left_out(gateway) => Mood::Notice,
        State::Up => Mood::Calm,
    }
}

/// Whether newcomers are kept from it that it is there for, and not because it is another one's turn.
fn is_left_out(gateway: &GatewayStatus) -> bool {
    let mut offered = [Vpn::Native, Vpn::Ssl].into_iter().filter(|vpn| gateway.vpn_mode.offers(*vpn));
    offered.any(|vpn| !gateway.availability.of(vpn).available && !gateway.waits_for_its_turn(vpn))
}

/// How bad it is with the whole.
pub fn of(status: &Status) -> Mood {
    let shut = status.listeners.iter().any(|listener| !listener.open || listener.available == 0);
    let alone = status.gateways.iter().all(|gateway| gateway.unavailable_because().is_some());
    let conflict = status.vrrp.iter().any(|vrrp| vrrp.conflict.is_some());
    if shut || alone || conflict {
        return Mood::Trouble;
    }
    let silent = status.peers.iter().any(|peer| peer.state == PeerState::Silent);
    match status.gateways.iter().map(of_gateway).max() {
        // others do its work: somebody should know, and may sleep on
        Some(Mood::Trouble | Mood::Notice) => Mood::Notice,
        _ if silent => Mood::Notice,
        _ => Mood::Calm,
    }
}

/// The sentence that says what is wrong, or that nothing is.
pub fn banner(status: &Status) -> Markup {
    let mood = of(status);
    let word = match mood {
        Mood::Calm => "All is well",
        Mood::Notice => "Attention",
        Mood::Trouble => "Out of order",
    };
    html! {
        section.banner.(mood.class()) aria-label="How it stands" {
            (mood.icon())
            div {
                p.word { (word) }
                p.sentence { bdi { (status.summary) } }
                @if !status.headroom.is_empty() {
                    p.headroom { strong { "Headroom: " } bdi { (status.headroom) } }
                }
            }
        }
    }
}
