//! An explanation as text for people.

use super::{Candidate, Why};
use crate::admin::columns::{Cell, Colour, Column, Style, UNKNOWN, age, printable, push_table};

/// Writes the sentences, a row for each gateway, best first, and the rules, each line ended by a newline.
pub fn render(why: &Why, style: Style) -> String {
    let sentences = [&why.summary, &why.question].into_iter().chain(&why.notes);
    let mut text: String = sentences.map(|sentence| printable(sentence) + "\n").collect();
    push_table(&mut text, &COLUMNS, why.gateways.iter().map(row).collect(), style);
    if !why.gateways.is_empty() {
        let weights = &why.weights;
        text.push_str(&format!(
            "\nLOAD is SCORE and what is pending; SCORE weighs throughput {}, tunnels {}, pool {}, cpu {}.\n",
            weights.throughput, weights.tunnels, weights.pool, weights.cpu
        ));
    }
    // where clients arrive, and what of the configuration has a say in it
    if let Some(endpoint) = &why.endpoint {
        text.push_str(&format!("Sent to {}. ", printable(endpoint)));
    }
    text.push_str(&format!(
        "Balance: {}; policy: {}; affinity: {}; when none is available: {}.\n",
        why.balance, why.policy, why.affinity, why.when_none_available
    ));
    text
}

const COLUMNS: [Column; 11] = [
    Column::right("#"),
    Column::left("GATEWAY"),
    Column::right("LOAD"),
    Column::right("SCORE").dispensable(1),
    Column::right("PENDING").dispensable(2),
    Column::right("THROUGHPUT").dispensable(3),
    Column::right("TUNNELS").dispensable(3),
    Column::right("POOL").dispensable(3),
    Column::right("CPU").dispensable(3),
    Column::right("REPORT").dispensable(2),
    Column::left("WHY"),
];

fn row(gateway: &Candidate) -> Vec<Cell> {
    let ratio = |of: fn(&super::super::status::Criteria) -> Option<f64>| -> Cell {
        let report = gateway.report.as_ref().filter(|report| !report.stale);
        report.and_then(|report| of(&report.criteria)).map_or(UNKNOWN.into(), number).into()
    };
    let score = match (gateway.score, gateway.assumed_score) {
        (Some(score), _) => number(score),
        (None, Some(assumed)) => format!("({})", number(assumed)),
        (None, None) => UNKNOWN.into(),
    };
    let pending = match gateway.pending {
        0 => "0".to_owned(),
        pending => format!("{pending} +{}", number(pending as f64 * gateway.pending_share)),
    };
    let report = gateway.report.as_ref().map_or("none".to_owned(), |report| {
        let age = age(report.age_seconds as u64);
        if report.stale { format!("{age} stale") } else { age }
    });
    let name: Cell = match gateway.place {
        Some(1) => Cell::coloured(&gateway.name, Colour::Green),
        _ if gateway.left_out.is_some() => Cell::coloured(&gateway.name, Colour::Yellow),
        _ => gateway.name.clone().into(),
    };
    vec![
        gateway.place.map_or(UNKNOWN.into(), |place| place.to_string()).into(),
        name,
        gateway.load.map_or(UNKNOWN.into(), number).into(),
        score.into(),
        pending.into(),
        ratio(|criteria| criteria.throughput),
        ratio(|criteria| criteria.tunnels),
        ratio(|criteria| criteria.pool),
        ratio(|criteria| criteria.cpu),
        report.into(),
        gateway.verdict.clone().into(),
    ]
}

/// A number that stands beneath others: all have as many decimals.
fn number(number: f64) -> String {
    format!("{number:.3}")
}
