//! How loaded a gateway is: figures, bars, and a line of the last while.

use maud::{Markup, html};

use super::words;
use crate::admin::history::History;
use crate::admin::status::{GatewayStatus, LoadStatus};

/// The score, its history, and the criteria that it is made of.
pub fn whole(gateway: &GatewayStatus) -> Markup {
    let load = gateway.load.as_ref();
    html! {
        div.score {
            p.figure {
                span.label { "Load" }
                strong { (score(load)) }
                @if load.is_some_and(|load| load.stale) { span.aside { "report too old to count" } }
            }
            (sparkline(&gateway.history, load))
        }
        @if let Some(load) = load {
            ul.bars {
                @for (word, ratio) in criteria(load) { (bar(word, ratio)) }
            }
        }
    }
}

fn score(load: Option<&LoadStatus>) -> String {
    load.and_then(|load| load.score).map_or_else(|| "unknown".into(), words::percent)
}

fn criteria(load: &LoadStatus) -> [(&'static str, Option<f64>); 4] {
    let of = load.criteria;
    [("Throughput", of.throughput), ("Tunnels", of.tunnels), ("Pool", of.pool), ("CPU", of.cpu)]
}

/// The number is what counts; the bar is for the eye.
fn bar(word: &str, ratio: Option<f64>) -> Markup {
    let class = match ratio {
        Some(ratio) if ratio >= 0.95 => "bar full",
        Some(ratio) if ratio >= 0.8 => "bar high",
        _ => "bar",
    };
    html! {
        li {
            span.label { (word) }
            svg class=(class) viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true" focusable="false" {
                rect.track width="100" height="6" {}
                @if let Some(ratio) = ratio {
                    rect.fill width=(format!("{:.1}", ratio.clamp(0.0, 1.0) * 100.0)) height="6" {}
                }
            }
            span.number {
                @match ratio {
                    Some(ratio) => { (words::percent(ratio)) }
                    None => { span aria-hidden="true" { "–" } span.unseen { "unknown" } }
                }
            }
        }
    }
}

/// A point a step, the newest at the right; nothing where nothing is known.
fn sparkline(history: &History, load: Option<&LoadStatus>) -> Markup {
    let known = || history.scores.iter().flatten().copied();
    let (low, high) = (known().reduce(f64::min), known().reduce(f64::max));
    let minutes = (STEPS as u64 * history.step_seconds.max(1)) / 60;
    let mut name = format!("load over the last {minutes} minutes, now {}", score(load));
    if let (Some(low), Some(high)) = (low, high) {
        name.push_str(&format!(", lowest {}, highest {}", words::percent(low), words::percent(high)));
    }
    html! {
        svg.sparkline viewBox="0 0 90 30" preserveAspectRatio="none" role="img" aria-label=(name) {
            path.ground d="M0 29.5H90" {}
            @for run in runs(&history.scores) {
                path.area d=(area(&run)) {}
                path.line d=(line(&run)) {}
            }
        }
    }
}

/// As many as fit between the edges.
const STEPS: usize = 90;

/// Points that belong together: column and ratio.
type Run = Vec<(usize, f64)>;

fn runs(scores: &[Option<f64>]) -> Vec<Run> {
    let shown = scores.get(scores.len().saturating_sub(STEPS)..).unwrap_or_default();
    let first_column = STEPS - shown.len();
    let mut runs: Vec<Run> = Vec::new();
    let mut goes_on = false;
    for (column, score) in (first_column..).zip(shown) {
        match (score, runs.last_mut()) {
            (Some(score), Some(run)) if goes_on => run.push((column, *score)),
            (Some(score), _) => runs.push(vec![(column, *score)]),
            (None, _) => {}
        }
        goes_on = score.is_some();
    }
    runs
}

fn line(run: &Run) -> String {
    let mut path = String::new();
    for (column, score) in run {
        // a step is as wide as it lasts, so that a single one is seen, too
        let (sign, y) = (if path.is_empty() { 'M' } else { 'L' }, height(*score));
        path.push_str(&format!("{sign}{column} {y}H{}", column + 1));
    }
    path
}

fn area(run: &Run) -> String {
    run.first().map(|(first, _)| format!("{}V30H{first}Z", line(run))).unwrap_or_default()
}

fn height(score: f64) -> String {
    format!("{:.1}", 29.0 - score.clamp(0.0, 1.0) * 28.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_has_a_gap_where_nothing_was_known_and_ends_at_the_right() {
        let runs = runs(&[Some(0.0), Some(0.5), None, Some(1.0)]);
        assert_eq!(runs, [vec![(86, 0.0), (87, 0.5)], vec![(89, 1.0)]]);
        assert_eq!(line(&runs[0]), "M86 29.0H87L87 15.0H88");
        assert_eq!(area(&runs[1]), "M89 1.0H90V30H89Z");
    }

    #[test]
    fn more_than_there_is_room_for_is_left_out_on_the_left() {
        let scores: Vec<_> = (0..200).map(|n| Some(f64::from(n) / 200.0)).collect();
        let runs = runs(&scores);
        assert_eq!((runs.len(), runs[0].len(), runs[0][0]), (1, 90, (0, 0.55)));
        assert!(super::runs(&[]).is_empty() && super::runs(&[None, None]).is_empty());
    }
}
