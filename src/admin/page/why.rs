//! Why the front door chooses as it does.

use maud::{Markup, html};

use super::frame::{Frame, Motion, Place};
use super::table::{Column, Row, table};
use super::verdict::Mood;
use super::words::{moment, of, percent, seconds};
use crate::admin::status::{LoadStatus, Status};
use crate::admin::why::{Candidate, QuestionError, Why, number};

/// What stands in the fields of the form, as it was typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Typed {
    /// A listener's name, or nothing.
    pub listener: String,
    /// `native`, `ssl`, or nothing.
    pub vpn: String,
    /// An address, or nothing.
    pub source: String,
}

impl Typed {
    /// Reads a query (URL Standard §5.1); of what is there twice the first counts.
    pub fn of(query: &str) -> Self {
        let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query).unwrap_or_default();
        let find = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        let field = |name| find(name).unwrap_or_default();
        Self { listener: field("listener"), vpn: field("vpn"), source: field("source") }
    }
}

/// The page with a question and its answer.
pub fn page(status: &Status, typed: &Typed, answer: &Result<Why, QuestionError>) -> Markup {
    let content = html! {
        div.lead {
            h1 { "Why?" }
            p.asof { "as of " (moment(status.at, status.at)) }
        }
        p.quiet { "Whom would the front door choose now, and what speaks for and against each gateway?" }
        (form(status, typed))
        @match answer {
            Ok(why) => { (explained(why, status)) }
            Err(error) => {
                section.banner.notice role="alert" {
                    (Mood::Notice.icon())
                    p.sentence { (crate::admin::summary::capitalised(&error.to_string())) "." }
                }
            }
        }
    };
    Frame { status, place: Place::Why, title: "Why", motion: Motion::Script }.around(&content)
}

fn form(status: &Status, typed: &Typed) -> Markup {
    let mut names: Vec<&str> = status.listeners.iter().map(|listener| listener.name.as_str()).collect();
    // what answers over UDP has one name for all of its addresses, which come one after the other
    names.dedup();
    let option = |value: &str, shown: &str, chosen: &str| {
        html! { option value=(value) selected[value == chosen] { (shown) } }
    };
    html! {
        form.question method="get" action="/why" data-still {
            div {
                label for="listener" { "Listener" }
                select #listener name="listener" {
                    (option("", "the first that fits", &typed.listener))
                    @for name in names { (option(name, name, &typed.listener)) }
                }
            }
            div {
                label for="vpn" { "Kind of client" }
                select #vpn name="vpn" {
                    (option("", "as the listener has them", &typed.vpn))
                    (option("ssl", "SSL VPN", &typed.vpn))
                    (option("native", "native VPN", &typed.vpn))
                }
            }
            div {
                label for="source" { "Client's address" }
                input #source name="source" type="text" value=(typed.source) placeholder="anybody's" autocomplete="off" spellcheck="false";
            }
            button.primary type="submit" { "Explain" }
        }
    }
}

fn explained(why: &Why, status: &Status) -> Markup {
    let mood = if why.names_somebody() { Mood::Calm } else { Mood::Trouble };
    let weights = &why.weights;
    html! {
        section.banner.(mood.class()) aria-label="The answer" {
            (mood.icon())
            div {
                p.word { bdi { (why.question) } }
                p.sentence { bdi { (why.summary) } }
                @for note in &why.notes { p.headroom { bdi { (note) } } }
            }
        }
        section aria-labelledby="candidates" {
            h2 #candidates { "The gateways, best first" }
            (table("Gateways", &COLUMNS, &why.gateways.iter().map(|candidate| row(candidate, why)).collect::<Vec<_>>()))
            p.hint {
                "Load is the score and what is on its way. The score weighs throughput " (weights.throughput) ", tunnels "
                (weights.tunnels) ", pool " (weights.pool) ", CPU " (weights.cpu) "."
            }
        }
        section aria-labelledby="rules" {
            h2 #rules { "The rules" }
            dl.facts {
                div { dt { "Listener" } dd { bdi { (why.listener.as_deref().unwrap_or("none")) } } }
                div { dt { "VPN" } dd { (why.vpn) } }
                div { dt { "VRRP ID" } dd { (why.vrrp_id.map_or_else(|| "any".into(), |id| id.to_string())) } }
                div { dt { "Source" } dd {
                    (why.source.map_or_else(|| "anybody".into(), |source| source.to_string()))
                    @if why.depends_on_source { span.aside { "who asks decides who is chosen" } }
                } }
                div { dt { "Balance" } dd { (why.balance) } }
                div { dt { "Policy" } dd { (why.policy) } }
                div { dt { "Affinity" } dd { (why.affinity) } }
                div { dt { "When none is available" } dd { (why.when_none_available) } }
                div { dt { "Chosen" } dd { bdi { (why.chosen.as_deref().unwrap_or("nobody")) } } }
                div { dt { "Sent to" } dd { bdi { (why.endpoint.as_deref().unwrap_or("nowhere")) } } }
                div { dt { "Decided by" } dd { (why.rule.as_deref().unwrap_or("nothing")) } }
                div { dt { "As of" } dd { (moment(why.at, status.at)) } }
            }
        }
    }
}

const COLUMNS: [Column; 10] = [
    Column::words("Gateway"),
    Column::numbers("Place"),
    Column::numbers("Load"),
    Column::numbers("Score"),
    Column::numbers("On their way"),
    Column::numbers("Throughput"),
    Column::numbers("Tunnels"),
    Column::numbers("Pool, CPU"),
    Column::words("Report"),
    Column::words("Why"),
];

fn row(candidate: &Candidate, why: &Why) -> Row {
    let report = candidate.report.as_ref();
    let ratio = |of: fn(&LoadStatus) -> Option<f64>| {
        let known = report.and_then(of);
        html! { (known.map_or_else(|| "–".to_owned(), percent)) }
    };
    let is_chosen = why.chosen.as_ref() == Some(&candidate.name);
    Row {
        key: candidate.name.clone(),
        class: if is_chosen { "chosen" } else { "calm" },
        cells: vec![
            html! { bdi { (candidate.name) } @if is_chosen { span.aside { "chosen" } } },
            html! { (candidate.place.map_or_else(|| "–".to_owned(), |place| place.to_string())) },
            html! { strong { (candidate.load.map_or_else(|| "unknown".to_owned(), number)) } },
            html! {
                @match (candidate.score, candidate.assumed_score) {
                    (Some(score), _) => { (number(score)) }
                    (None, Some(assumed)) => { (number(assumed)) span.aside { "assumed" } }
                    (None, None) => { "unknown" }
                }
            },
            html! {
                (candidate.pending)
                span.aside { "each " (candidate.pending_share) }
                @if candidate.spoken_for { span.aside { "all its room is spoken for" } }
            },
            ratio(|report| report.criteria.throughput),
            html! {
                (ratio(|report| report.criteria.tunnels))
                (used(report, |report| (report.tunnels, report.tunnels_max)))
            },
            html! {
                (ratio(|report| report.criteria.pool)) ", " (ratio(|report| report.criteria.cpu))
                (used(report, |report| (report.pool_used, report.pool_size)))
            },
            html! {
                @match report {
                    Some(report) => {
                        (seconds(report.age_seconds)) " old" @if report.stale { ", " strong { "stale" } }
                        @if report.score != candidate.score {
                            span.aside { "its score " (report.score.map_or_else(|| "unknown".to_owned(), number)) }
                        }
                    }
                    None => { "none yet" }
                }
            },
            html! {
                bdi.(if candidate.left_out.is_some() { "no" } else { "verdict" }) { (candidate.verdict) }
                @if let Some(share) = candidate.filling_share {
                    span.aside { "filling: in " (percent(share)) " of the choices" @if candidate.sits_out { ", not in this one" } }
                }
            },
        ],
    }
}

/// So many of so many, where any of that is known.
fn used(report: Option<&LoadStatus>, which: fn(&LoadStatus) -> (Option<u64>, Option<u64>)) -> Markup {
    let (used, all) = report.map(which).unwrap_or_default();
    html! {
        @if used.is_some() || all.is_some() { span.aside { (of(used, all)) } }
    }
}
