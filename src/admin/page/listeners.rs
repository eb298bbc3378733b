//! Where clients come in.

use maud::{Markup, html};

use super::table::{Column, Row, table};
use super::words::{bytes_rate, rate};
use crate::admin::status::ListenerEntry;

const COLUMNS: [Column; 12] = [
    Column::words("Listener"),
    Column::words("Address"),
    Column::words("Mode"),
    Column::numbers("Gateways"),
    Column::numbers("Connections"),
    Column::numbers("Tunnels"),
    Column::numbers("Redirects"),
    Column::numbers("Unavailable"),
    Column::numbers("Answers/s"),
    Column::numbers("Handshakes/s"),
    Column::numbers("Rejected/s"),
    Column::numbers("In, out"),
];

/// Listeners with what they count.
pub fn list(listeners: &[&ListenerEntry]) -> Markup {
    html! {
        @if listeners.is_empty() { p.quiet { "None." } }
        @else { div.wide-table { (table("Listeners", &COLUMNS, &listeners.iter().map(|l| row(l)).collect::<Vec<_>>())) } }
    }
}

fn row(listener: &ListenerEntry) -> Row {
    let rates = listener.rates;
    let figure = |value: Option<String>| html! { (value.as_deref().unwrap_or("–")) };
    Row {
        key: format!("{} {}", listener.name, listener.address),
        class: if listener.open && listener.available > 0 { "calm" } else { "trouble" },
        cells: vec![
            html! { bdi { (listener.name) } },
            html! { bdi { (listener.address) } @if !listener.open { " " strong.no { "not open" } } },
            html! {
                (listener.mode) span.aside { "VPN " (listener.vpn.as_str()) @if let Some(id) = listener.vrrp_id { ", VRRP ID " (id) } }
            },
            html! {
                @if listener.available == 0 { strong.no { "0" } } @else { (listener.available) }
                " of " (listener.gateways)
            },
            html! { (listener.connections) },
            html! { (listener.tunnels) },
            html! { (listener.redirects) },
            html! { (listener.unavailable) },
            figure(rates.map(|rates| rate(rates.answers_per_second))),
            figure(rates.map(|rates| rate(rates.handshakes_per_second))),
            figure(rates.map(|rates| rate(rates.rejected_per_second))),
            html! {
                @match rates {
                    None => { "–" }
                    Some(rates) => {
                        (bytes_rate(rates.in_bytes_per_second)) br; (bytes_rate(rates.out_bytes_per_second))
                    }
                }
            },
        ],
    }
}
