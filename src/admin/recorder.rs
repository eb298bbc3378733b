//! What the status tells of the past: events, rates and the history of loads. Written about once a second, and whenever
//! something has happened; read by whoever looks.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use tokio::sync::watch;

use super::events::{Event, News, changes};
use super::history::Scores;
use super::listener::ListenerStatus;
use super::rates::Track;
use super::status::Status;

/// Keeps the past. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    past: Mutex<Past>,
    /// The number of the newest event, for whoever waits for one.
    newest: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Past {
    events: VecDeque<Event>,
    last_id: u64,
    before: Option<Status>,
    tracks: BTreeMap<ListenerKey, Track>,
    scores: BTreeMap<String, Scores>,
}

/// What answers over UDP has one name for all of its addresses.
type ListenerKey = (String, SocketAddr);

/// As many as somebody who comes in the morning wants to read.
const MOST_EVENTS: usize = 200;

impl Recorder {
    /// Something has happened that no status tells of.
    pub fn tell(&self, news: News, at: SystemTime) {
        self.past().add(news, at);
        self.announce();
    }

    /// Compares with the status before this one. The first one is taken as it is.
    pub fn compare(&self, status: Status) {
        let at = SystemTime::from(status.at);
        let mut past = self.past();
        let news = past.before.as_ref().map(|before| changes(before, &status)).unwrap_or_default();
        for news in news {
            past.add(news, at);
        }
        past.scores.retain(|name, _| status.gateways.iter().any(|gateway| gateway.name == *name));
        past.before = Some(status);
        drop(past);
        self.announce();
    }

    /// Notes how fast the listeners count, and how loaded the gateways of the last status are.
    pub fn measure(&self, listeners: &[ListenerStatus], now: Instant) {
        let mut past = self.past();
        let Past { tracks, scores, before, .. } = &mut *past;
        tracks.retain(|key, _| listeners.iter().any(|listener| key_of(listener) == *key));
        for listener in listeners {
            tracks.entry(key_of(listener)).or_default().note(listener.counted, now);
        }
        for gateway in before.iter().flat_map(|status| &status.gateways) {
            let load = gateway.load.as_ref().filter(|load| !load.stale);
            let score = load.and_then(|load| load.score);
            scores.entry(gateway.name.clone()).or_default().note(score, now);
        }
    }

    /// The status with the past in it: the newest event first.
    pub fn complete(&self, mut status: Status) -> Status {
        let past = self.past();
        status.events = past.events.iter().rev().cloned().collect();
        for listener in &mut status.listeners {
            let key = (listener.name.clone(), listener.address);
            listener.rates = past.tracks.get(&key).and_then(Track::rates);
        }
        for gateway in &mut status.gateways {
            gateway.history = past.scores.get(&gateway.name).map(Scores::history).unwrap_or_default();
        }
        status
    }

    /// The events after the one with that number, the oldest first.
    pub fn since(&self, id: u64) -> Vec<Event> {
        self.past().events.iter().filter(|event| event.id > id).cloned().collect()
    }

    /// Tells the number of the newest event whenever there is one.
    pub fn newest(&self) -> watch::Receiver<u64> {
        self.0.newest.subscribe()
    }

    fn announce(&self) {
        let id = self.past().last_id;
        crate::net::news::tell(&self.0.newest, id);
    }

    fn past(&self) -> MutexGuard<'_, Past> {
        // what a panic may have left is a list of events, and each of them is whole
        self.0.past.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Past {
    fn add(&mut self, News { kind, level, gateway, text }: News, at: SystemTime) {
        self.last_id += 1;
        self.events.push_back(Event {
            id: self.last_id,
            at: super::status::date(at),
            kind,
            level,
            gateway,
            text,
        });
        if self.events.len() > MOST_EVENTS {
            self.events.pop_front();
        }
    }
}

fn key_of(listener: &ListenerStatus) -> ListenerKey {
    (listener.name.clone(), listener.address)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::events::Kind;
    use super::super::rates::Counted;
    use super::super::status::tests::{Farm, listener, refused};
    use super::*;

    #[test]
    fn what_has_happened_is_numbered_and_the_newest_comes_first() {
        let (recorder, mut farm) = (Recorder::default(), Farm::new(1));
        let mut newest = recorder.newest();
        recorder.compare(farm.up(&["gw1"]).status(&[]));
        assert!(!newest.has_changed().unwrap(), "there is nothing to compare with");
        recorder.compare(farm.at(1).observe("gw1", refused()).status(&[]));
        assert_eq!(*newest.borrow_and_update(), 1);
        recorder.tell(News::bad(Kind::Config, "the new configuration was refused"), SystemTime::now());
        assert_eq!(*newest.borrow_and_update(), 2);
        let status = recorder.complete(farm.status(&[]));
        let shown: Vec<_> = status.events.iter().map(|event| (event.id, event.kind)).collect();
        assert_eq!(shown, [(2, Kind::Config), (1, Kind::Gateway)]);
        assert_eq!(recorder.since(1).iter().map(|event| event.id).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn only_the_last_events_are_kept() {
        let recorder = Recorder::default();
        for number in 0..1000 {
            recorder.tell(News::good(Kind::Config, number.to_string()), SystemTime::now());
        }
        let events = recorder.since(0);
        assert_eq!((events.len(), events[0].id, &*events[199].text), (200, 801, "999"));
    }

    #[test]
    fn rates_and_loads_are_those_of_the_listener_and_the_gateway_and_go_with_them() {
        let (recorder, mut farm) = (Recorder::default(), Farm::new(1));
        let counted = |answers| ListenerStatus {
            counted: Counted { answers, ..Counted::default() },
            ..listener("portal", 443)
        };
        recorder.compare(farm.up(&["gw1"]).status(&[]));
        let start = Instant::now();
        recorder.measure(&[counted(0), listener("other", 444)], start);
        recorder.measure(&[counted(30), listener("other", 444)], start + Duration::from_secs(2));
        let status = recorder.complete(farm.status(&[counted(30), listener("other", 444)]));
        let rates: Vec<_> =
            status.listeners.iter().map(|listener| listener.rates.unwrap().answers_per_second).collect();
        assert_eq!(rates, [15.0, 0.0]);
        assert_eq!(status.gateways[0].history.scores, [Some(0.3)]);
        recorder.measure(&[counted(30)], start + Duration::from_secs(3));
        recorder.compare(Farm::new(0).status(&[]));
        let past = recorder.past();
        assert_eq!((past.tracks.len(), past.scores.len()), (1, 0));
    }
}
