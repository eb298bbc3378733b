//! Server-sent events: whoever looks at the page sees each change when it happens.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::sse::{Event as Message, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http::header::HeaderName;
use http::{HeaderValue, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::events::Event;
use super::recorder::Recorder;
use super::reply::refused;
use super::server::Admin;
use crate::net::stop::Stop;

/// Lookers-on at the same time; more are turned away, and their pages go on without. Behind a proxy or a tunnel all come
/// from one address, which may have 64 connections ([`crate::net::serve`]): with a second one for each of their pages this
/// leaves some for monitoring and the command line.
pub const MOST_STREAMS: usize = 24;

/// A browser comes back by itself: nobody holds a place for ever.
const LIFETIME: Duration = Duration::from_secs(3600);

/// How often whoever looks on is told to look again: ages and loads change all the time.
const TICK: Duration = Duration::from_secs(1);

/// A message `change` for each event, with the event as JSON and its number as the id, and once a second a message
/// `tick`, which says nothing but that it is time to ask for the status again. Who comes back says what he has heard last (Last-Event-ID, HTML §9.2.4) and gets
/// what he has missed, as far as it is kept.
pub async fn events(State(admin): State<Arc<Admin>>, request: Request) -> Response {
    let Ok(place) = Arc::clone(&admin.places).try_acquire_owned() else {
        return refused(StatusCode::SERVICE_UNAVAILABLE, "too many look on at once; try again later");
    };
    let mut newest = admin.recorder.newest();
    let known = *newest.borrow_and_update();
    let last: Option<u64> =
        request.headers().get(LAST_EVENT_ID).and_then(|id| id.to_str().ok()?.parse().ok());
    let heard = match last {
        None => known,
        Some(last) if last <= known => last,
        // the number is of another life of the front door, of which nothing is known
        Some(_) => 0,
    };
    newest.mark_changed();
    let mut ticks = interval_at(Instant::now() + TICK, TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let feed = Feed {
        recorder: admin.recorder.clone(),
        newest,
        heard,
        waiting: Vec::new(),
        ticks,
        end: Instant::now() + LIFETIME,
        stop: admin.stop.clone(),
        _place: place,
    };
    let messages =
        stream::unfold(feed, async |mut feed| Some((Ok::<_, Infallible>(feed.next().await?), feed)));
    let mut response = Sse::new(messages).into_response();
    // one that gathers answers before it passes them on would gather for ever
    response.headers_mut().insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response
}

const LAST_EVENT_ID: &str = "last-event-id";
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

struct Feed {
    recorder: Recorder,
    newest: watch::Receiver<u64>,
    heard: u64,
    /// The newest first.
    waiting: Vec<Event>,
    ticks: Interval,
    end: Instant,
    stop: Stop,
    _place: OwnedSemaphorePermit,
}

impl Feed {
    /// `None` where it ends.
    async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some(event) = self.waiting.pop() {
                self.heard = event.id;
                // what cannot be written is left out: there is nothing of that kind in an event
                match Message::default().event("change").id(event.id.to_string()).json_data(&event) {
                    Ok(message) => return Some(message),
                    Err(_) => continue,
                }
            }
            tokio::select! {
                biased;
                () = self.stop.stopped() => return None,
                () = tokio::time::sleep_until(self.end) => return None,
                changed = self.newest.changed() => {
                    changed.ok()?;
                    self.newest.borrow_and_update();
                    self.waiting = self.recorder.since(self.heard);
                    self.waiting.reverse();
                }
                _ = self.ticks.tick() => return Some(Message::default().event("tick").data("{}")),
            }
        }
    }
}

/// As many places as there are.
pub fn places() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(MOST_STREAMS))
}
