//! What has happened lately.

use maud::{Markup, html};
use time::OffsetDateTime;

use super::verdict::Mood;
use super::words::moment;
use crate::admin::events::{Event, Level};

/// So many are seen at once; the others are folded.
const SHOWN: usize = 12;

/// The newest first.
pub fn list<'a>(events: impl Iterator<Item = &'a Event>, now: OffsetDateTime) -> Markup {
    let events: Vec<_> = events.collect();
    let (recent, earlier) = events.split_at(events.len().min(SHOWN));
    html! {
        @if events.is_empty() { p.quiet { "Nothing since this front door began." } }
        @else { ol.events { @for event in recent { (item(event, now)) } } }
        @if !earlier.is_empty() {
            details.earlier {
                summary { (earlier.len()) " earlier" }
                ol.events { @for event in earlier { (item(event, now)) } }
            }
        }
    }
}

fn item(event: &Event, now: OffsetDateTime) -> Markup {
    let mood = match event.level {
        Level::Info => Mood::Calm,
        Level::Warning => Mood::Notice,
    };
    html! {
        li.(mood.class()) data-key=(event.id) {
            (moment(event.at, now))
            span.level { (mood.icon()) span.unseen { (event.level.as_str()) " " } span.kind { (event.kind.as_str()) } }
            bdi { (event.text) }
        }
    }
}
