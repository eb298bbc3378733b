//! One gateway.

use maud::{Markup, html};
use time::OffsetDateTime;

use super::frame::{Frame, Motion, Place};
use super::table::{Column, Row, table};
use super::verdict::{self, Mood, banner};
use super::words::{count, duration, gateway_path, of, seconds, since};
use super::{events, farm, listeners, load};
use crate::admin::status::{Available, CheckWord, DrainedBy, FenceStatus, GatewayStatus, Status};
use crate::admin::summary::capitalised;
use crate::admin::trust::Rights;
use crate::fleet::{State, Vpn};

/// The page of one gateway.
pub fn page(status: &Status, gateway: &GatewayStatus, rights: Rights) -> Markup {
    let own = status.listeners.iter().filter(|listener| listener.is_for(gateway)).collect::<Vec<_>>();
    let about = status.events.iter().filter(|event| event.gateway.as_deref() == Some(&gateway.name));
    let content = html! {
        p.crumbs { a href="/" { "Farm" } " / Gateway" }
        (banner(status))
        section aria-label="The gateway" {
            (article(status, gateway, rights, Depth::Whole))
            @if rights == Rights::Nothing { (farm::how_to_change(&gateway.name)) }
        }
        section aria-labelledby="doors" {
            h2 #doors { "Listeners that send clients to it" }
            (listeners::list(&own))
        }
        section aria-labelledby="events" {
            h2 #events { "What has happened to it" }
            (events::list(about, status.at))
        }
    };
    Frame { status, place: Place::Elsewhere, title: &gateway.name, motion: Motion::Always }.around(&content)
}

/// How much is told of a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// One among others: the particulars are folded.
    Row,
    /// All of it.
    Whole,
}

/// A gateway with everything that is known of it.
pub fn article(status: &Status, gateway: &GatewayStatus, rights: Rights, depth: Depth) -> Markup {
    let (mood, now) = (verdict::of_gateway(gateway), status.at);
    let name = gateway.name.as_str();
    html! {
        article.gateway.(mood.class()) data-key=(name) aria-label={ "Gateway " (name) } {
            div.who {
                div.name {
                    @match depth {
                        Depth::Row => { h3 { a href=(gateway_path(name)) { bdi { (name) } } } }
                        Depth::Whole => { h1 { bdi { (name) } } }
                    }
                    (actions(gateway, rights))
                }
                p.state { (mood.icon()) strong { (state_word(gateway)) } " " span { (since(gateway.since, now)) } }
                @if !is_told(gateway) { p.why { bdi { (gateway.reason) } } }
                (notes(gateway, now))
            }
            (facts(gateway))
            div.load { (load::whole(gateway)) }
            @match depth {
                Depth::Row => {
                    details {
                        summary { (checks_in_short(gateway)) ", particulars" }
                        (particulars(gateway))
                    }
                }
                Depth::Whole => { div.particulars { h2 { (checks_in_short(gateway)) } (particulars(gateway)) } }
            }
        }
    }
}

fn state_word(gateway: &GatewayStatus) -> String {
    let is_fenced = gateway.fence.as_ref().is_some_and(|fence| fence.blocked);
    let word = capitalised(gateway.state.as_str());
    match gateway.state {
        State::Up if is_fenced => format!("{word}, fenced"),
        State::Down if gateway.drain.is_some() => format!("{word}, drained"),
        _ => word,
    }
}

/// Whether there is nothing more to say of why it is in its state.
fn is_told(gateway: &GatewayStatus) -> bool {
    gateway.reason.is_empty() || gateway.drain.as_ref().is_some_and(|drain| drain.reason == gateway.reason)
}

/// What is not as usual.
fn notes(gateway: &GatewayStatus, now: OffsetDateTime) -> Markup {
    html! {
        @if let Some(drain) = &gateway.drain {
            p.note {
                @match (drain.by, &drain.who) {
                    (DrainedBy::Administrator, Some(who)) => { "Drained by administrator " bdi { (who) } }
                    (DrainedBy::Administrator, None) => { "Drained by an administrator" }
                    (DrainedBy::Agent, _) => { "Drained by its own agent" }
                }
                " " (since(drain.since, now))
                @if !drain.reason.is_empty() { ": " bdi { (drain.reason) } }
                @if drain.is_by_both() {
                    ". Its own agent wants no newcomers, either."
                }
            }
        }
        @if let Some(fence) = gateway.fence.as_ref().filter(|fence| fence.blocked) {
            p.note { "Its firewall refuses newcomers " bdi { (fence.in_words().unwrap_or_default()) } }
        }
        @if gateway.filling { p.note { "It has come back and is filled gradually." } }
    }
}

fn facts(gateway: &GatewayStatus) -> Markup {
    let load = gateway.load.as_ref();
    html! {
        dl.facts {
            div { dt { "SSL VPN" } dd { (availability(gateway, Vpn::Ssl)) } }
            div { dt { "Native VPN" } dd { (availability(gateway, Vpn::Native)) } }
            div { dt { "Tunnels" } dd { (of(load.and_then(|load| load.tunnels), load.and_then(|load| load.tunnels_max))) @if gateway.pending > 0 { span.aside { "+" (gateway.pending) " coming" } } } }
            div { dt { "Report" } dd {
                @match load {
                    Some(load) => { (seconds(load.age_seconds)) " old" @if load.stale { ", " strong { "stale" } } }
                    None => { "none yet" }
                }
            } }
            div.wide { dt { "Headroom" } dd { (headroom(gateway)) } }
            div { dt { "VPN mode" } dd {
                (gateway.vpn_mode.as_str())
                @if let Some(role) = gateway.role { ", " strong { (role.as_str()) } }
            } }
            div { dt { "VRRP mode" } dd {
                (gateway.vrrp_mode.as_str())
                @if let Some(id) = gateway.vrrp_id { span.aside { "VRRP ID " (id) } }
            } }
        }
    }
}

fn availability(gateway: &GatewayStatus, vpn: Vpn) -> Markup {
    let Available { available, reason } = gateway.availability.of(vpn);
    let mood = match (available, gateway.vpn_mode.offers(vpn)) {
        (true, _) => "yes",
        (false, true) => "no",
        (false, false) => "quiet",
    };
    html! {
        span.(mood) { (if *available { "available" } else { "unavailable" }) }
        @if let Some(reason) = reason { span.aside { bdi { (reason) } } }
    }
}

fn headroom(gateway: &GatewayStatus) -> Markup {
    html! {
        @match gateway.headroom {
            None => { span.quiet { "unknown" } }
            Some(headroom) => {
                span.(if headroom.enough { "yes" } else { "no" }) {
                    (if headroom.enough { "enough" } else { "not enough" })
                }
                span.aside { "room for " (headroom.room) ", has " (headroom.tunnels) }
            }
        }
    }
}

fn checks_in_short(gateway: &GatewayStatus) -> String {
    let passed = gateway.checks.iter().filter(|check| check.result == CheckWord::Pass).count();
    match gateway.checks.len() {
        0 => "No check yet".into(),
        all => format!("{passed} of {} passed", count(all as u64, "check")),
    }
}

const CHECK_COLUMNS: [Column; 4] =
    [Column::words("Check"), Column::words("Result"), Column::numbers("Took"), Column::words("Detail")];

fn particulars(gateway: &GatewayStatus) -> Markup {
    let rows = gateway.checks.iter().map(|check| Row {
        key: check.name.clone(),
        class: if check.result == CheckWord::Pass { "calm" } else { "trouble" },
        cells: vec![
            html! { bdi { (check.name) } },
            html! { strong { (check.result.as_str()) } },
            html! { (format!("{:.1} ms", check.milliseconds)) },
            html! { bdi { (check.detail) } },
        ],
    });
    let load = gateway.load.as_ref();
    html! {
        @if !gateway.checks.is_empty() {
            (table(&format!("Checks of {}", gateway.name), &CHECK_COLUMNS, &rows.collect::<Vec<_>>()))
        }
        dl.facts {
            div { dt { "SSL endpoint" } dd { bdi { (gateway.ssl_endpoint) } } }
            div { dt { "Native endpoint" } dd { bdi { (gateway.native_endpoint) } } }
            div { dt { "Pool addresses" } dd { (of(load.and_then(|load| load.pool_used), load.and_then(|load| load.pool_size))) } }
            div { dt { "Load history" } dd {
                "one point each " (duration(gateway.history.step_seconds)) ", " (count(gateway.history.scores.len() as u64, "point"))
            } }
            div.wide { dt { "Fence" } dd { (fence(gateway.fence.as_ref())) } }
        }
    }
}

fn fence(fence: Option<&FenceStatus>) -> Markup {
    let Some(fence) = fence else { return html! { "none" } };
    html! {
        (if fence.blocked { "blocked" } else { "open" }) ", engine " bdi { (fence.engine) }
        @if !fence.ports.is_empty() { ", on " bdi { (fence.ports.join(", ")) } }
        @for holder in &fence.holders {
            br; "held by " bdi { (holder.by) } ": " bdi { (holder.reason) } ", " (seconds(holder.seconds_left)) " left"
        }
        @for keeper in &fence.kept_open_by {
            br; "kept open by " bdi { (keeper.by) } ", " (seconds(keeper.seconds_left)) " left"
        }
    }
}

fn actions(gateway: &GatewayStatus, rights: Rights) -> Markup {
    let path = gateway_path(&gateway.name);
    let is_ours = gateway.drain.as_ref().is_some_and(|drain| drain.by == DrainedBy::Administrator);
    html! {
        @if rights != Rights::Nothing {
            p.actions {
                @if is_ours {
                    a.button href={ (path) "/resume" } aria-label={ "Resume " (gateway.name) } { "Resume …" }
                } @else {
                    a.button href={ (path) "/drain" } aria-label={ "Drain " (gateway.name) } { "Drain …" }
                }
            }
        }
    }
}

/// Troubled ones come first, so that they are seen first; apart from that in the order of the configuration.
pub fn worst_first(status: &Status) -> Vec<&GatewayStatus> {
    let mut gateways: Vec<_> = status.gateways.iter().collect();
    gateways.sort_by_key(|gateway| {
        std::cmp::Reverse(match verdict::of_gateway(gateway) {
            Mood::Trouble => Mood::Trouble,
            // one that is drained or full may stay where it is looked for
            Mood::Notice | Mood::Calm => Mood::Calm,
        })
    });
    gateways
}
