//! The virtual addresses, and the other front doors.

use maud::{Markup, html};

use super::table::{Column, Row, table};
use super::words::since;
use crate::admin::peers::PeerState;
use crate::admin::status::Status;

const VRRP_COLUMNS: [Column; 5] = [
    Column::words("VRRP ID"),
    Column::words("State"),
    Column::words("Addresses"),
    Column::words("Interface"),
    Column::words("Why"),
];

/// The virtual addresses that are shared.
pub fn vrrp(status: &Status) -> Markup {
    let rows = status.vrrp.iter().map(|vrrp| Row {
        key: vrrp.vrrp_id.to_string(),
        class: if vrrp.conflict.is_some() { "trouble" } else { "calm" },
        cells: vec![
            html! { (vrrp.vrrp_id) },
            html! { strong { (vrrp.state.as_str()) } span.aside { (since(vrrp.since, status.at)) } },
            html! { bdi { (vrrp.addresses.join(", ")) } },
            html! { bdi { (vrrp.interface) } },
            html! {
                bdi { (vrrp.reason) }
                @if let Some(conflict) = &vrrp.conflict { br; strong.no { bdi { (conflict) } } }
            },
        ],
    });
    html! {
        @if status.vrrp.is_empty() { p.quiet { "It shares no virtual address: it is always active." } }
        @else { (table("Virtual addresses", &VRRP_COLUMNS, &rows.collect::<Vec<_>>())) }
    }
}

const PEER_COLUMNS: [Column; 4] =
    [Column::words("Front door"), Column::words("State"), Column::words("Asked at"), Column::words("Why")];

/// The other front doors.
pub fn peers(status: &Status) -> Markup {
    let rows = status.peers.iter().map(|peer| Row {
        key: peer.url.clone(),
        class: if peer.state == PeerState::Silent { "trouble" } else { "calm" },
        cells: vec![
            html! { bdi { (peer.name.as_deref().unwrap_or("not known yet")) } },
            html! { strong { (peer.state.as_str()) } span.aside { (since(peer.since, status.at)) } },
            html! { bdi { (peer.url) } },
            html! { bdi { (peer.reason) } },
        ],
    });
    html! {
        @if !status.peers.is_empty() {
            (table("Other front doors", &PEER_COLUMNS, &rows.collect::<Vec<_>>()))
        }
    }
}
