//! The farm at a glance.

use maud::{Markup, html};

use super::frame::{Frame, Motion, Place};
use super::gateway::{Depth, article, worst_first};
use super::words::{lasting, moment};
use super::{doors, events, listeners, verdict};
use crate::admin::status::{GatewayStatus, Status};
use crate::admin::trust::Rights;
use crate::fleet::VpnMode;

/// The first page.
pub fn page(status: &Status, rights: Rights) -> Markup {
    let node = &status.node;
    let content = html! {
        div.lead {
            h1 { "Farm" }
            p.asof { "as of " (moment(status.at, status.at)) }
        }
        (verdict::banner(status))
        (figures(status))
        section aria-labelledby="gateways" {
            h2 #gateways { "Gateways" }
            @if status.gateways.is_empty() { p.quiet { "None is configured." } }
            div.gateways {
                @for gateway in worst_first(status) { (article(status, gateway, rights, Depth::Row)) }
            }
            @if rights == Rights::Nothing { (how_to_change("GATEWAY")) }
        }
        section aria-labelledby="listeners" {
            h2 #listeners { "Listeners" }
            (listeners::list(&status.listeners.iter().collect::<Vec<_>>()))
        }
        section aria-labelledby="front-doors" {
            h2 #front-doors { "Front doors" }
            p.self-told {
                "This is " strong { bdi { (node.name) } } ", Vestibule " (node.version) ", up for "
                (lasting(node.started, status.at)) ", since " (moment(node.started, status.at))
                "; snapshot " (node.snapshot) "."
            }
            (doors::vrrp(status))
            (doors::peers(status))
        }
        section aria-labelledby="events" {
            h2 #events { "Recent events" }
            (events::list(status.events.iter(), status.at))
        }
    };
    Frame { status, place: Place::Farm, title: "Farm", motion: Motion::Always }.around(&content)
}

/// For those who could not do it here.
pub fn how_to_change(name: &str) -> Markup {
    html! {
        p.hint {
            "To drain or resume a gateway, use the command line on this host, "
            code { "vestibule drain " bdi { (name) } }
            ", or set " code { "token_file" } " in " code { "[admin]" } " and reload; then it can be done here."
        }
    }
}

/// Sums of what is told below.
fn figures(status: &Status) -> Markup {
    let gateways = &status.gateways;
    // nobody is ever sent to the others
    let for_newcomers = || gateways.iter().filter(|gateway| gateway.vpn_mode != VpnMode::VrrpOnly);
    let up = for_newcomers().filter(|gateway| gateway.unavailable_because().is_none()).count();
    let loads = || gateways.iter().filter_map(|gateway| gateway.load.as_ref());
    // of those that tell; that nobody does is not none
    let sum = |of: fn(&crate::admin::status::LoadStatus) -> Option<u64>| {
        loads().filter_map(of).reduce(u64::saturating_add)
    };
    let pending: u64 = gateways.iter().map(|gateway: &GatewayStatus| gateway.pending).sum();
    let connections: u64 = status.listeners.iter().map(|listener| listener.connections).sum();
    let answers: f64 =
        status.listeners.iter().filter_map(|l| l.rates).map(|rates| rates.answers_per_second).sum();
    html! {
        dl.figures {
            div { dt { "Gateways available" } dd { strong { (up) } " of " (for_newcomers().count()) } }
            div { dt { "Tunnels" } dd {
                @match sum(|load| load.tunnels) {
                    None => { "unknown" }
                    Some(used) => { strong { (used) } }
                }
                // where nobody, or not everybody, has told how many fit, there is no telling
                @if loads().all(|load| load.tunnels_max.is_some())
                    && let Some(all) = sum(|load| load.tunnels_max) { " of " (all) }
            } }
            div { dt { "On their way" } dd { strong { (pending) } } }
            div { dt { "Connections here" } dd { strong { (connections) } } }
            div { dt { "Answers per second" } dd { strong { (super::words::rate(answers)) } } }
        }
    }
}
