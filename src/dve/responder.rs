//! Answers what is waiting at a socket: all of it by one choice each, and under as few signatures as there can be.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::answer::{Answer, Holds, Knowledge, answer};
use super::merkle::{MOST_LEAVES, Tree, leaf};
use super::message::{Asked, FEWEST_REQUEST_BYTES, MOST_REQUEST_BYTES, Proof};
use super::meter::{Meter, Outcome, Tally};
use super::settings::DveSettings;
use crate::fleet::{Moment, Snapshot, Standing, View};
use crate::net::datagrams::{self, Datagram, Replies};
use crate::net::rate::Rate;

/// What the threads share that answer by the same settings.
#[derive(Debug)]
pub struct Shared {
    settings: DveSettings,
    rate: Rate,
}

/// One thread's answers at one address.
pub struct Responder {
    shared: Arc<Shared>,
    meter: Arc<Meter>,
    view: View,
    standing: Standing,
    alone: usize,
}

impl Shared {
    /// Nobody has asked yet.
    pub fn new(settings: DveSettings, now: Instant) -> Self {
        Self { rate: Rate::new(settings.answers_per_second_per_source, now), settings }
    }
}

impl Responder {
    /// Answers by the newest snapshot, as long as this front door is the active one.
    pub fn new(shared: Arc<Shared>, meter: Arc<Meter>, view: View, standing: Standing) -> Self {
        Self { shared, meter, view, standing, alone: 0 }
    }
}

impl datagrams::Responder for Responder {
    fn answer(&mut self, asked: &[Datagram<'_>], now: Moment, replies: &mut Replies) {
        let snapshot = Arc::clone(self.view.load());
        let wall_ms = now.wall.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |t| t.as_millis() as u64);
        let (is_active, mut tally) = (self.standing.is_active(), Tally::default());
        let knows = Knowledge { snapshot: &snapshot, is_active, now: now.instant, wall_ms };
        self.alone = MOST_ALONE;
        for (i, batch) in asked.chunks(MOST_LEAVES).enumerate() {
            self.answer_batch(batch, i * MOST_LEAVES, knows, &mut tally, replies);
        }
        self.meter.add(&tally);
    }
}

impl Responder {
    fn answer_batch(
        &mut self,
        batch: &[Datagram<'_>],
        first: usize,
        knows: Knowledge<'_>,
        tally: &mut Tally,
        replies: &mut Replies,
    ) {
        let mut waiting = Vec::with_capacity(batch.len());
        for (place, datagram) in (first..).zip(batch) {
            match self.admit(datagram, knows.now) {
                Ok(asked) => waiting.push((place, asked, datagram.bytes.len())),
                Err(outcome) => tally.note(outcome),
            }
        }
        let depth = waiting.len().next_power_of_two().trailing_zeros() as usize;
        let mut together = Vec::with_capacity(waiting.len());
        for (place, asked, room) in waiting {
            if let Some(answer) = self.choose(&asked, knows, room, depth) {
                together.push((place, answer));
            } else if depth > 0
                && self.alone > 0
                && let Some(answer) = self.choose(&asked, knows, room, 0)
            {
                self.alone -= 1;
                self.sign(&[(place, answer)], tally, replies);
            } else {
                tally.note(Outcome::Dropped);
            }
        }
        self.sign(&together, tally, replies);
    }

    fn admit(&self, datagram: &Datagram<'_>, now: Instant) -> Result<Asked, Outcome> {
        let asked = Asked::read(datagram.bytes).ok_or(Outcome::Ignored)?;
        let fits = (FEWEST_REQUEST_BYTES..=MOST_REQUEST_BYTES).contains(&datagram.bytes.len());
        if fits && self.shared.rate.allows(datagram.from.ip(), now) {
            Ok(asked)
        } else {
            Err(Outcome::Dropped)
        }
    }

    fn choose(&self, asked: &Asked, knows: Knowledge<'_>, room: usize, depth: usize) -> Option<Answer> {
        let holds = Holds { ttl: self.shared.settings.ttl, retry: RETRY_SECONDS };
        let answer = answer(asked, knows, holds, room, depth, fastrand::u64(..))?;
        count_assigned(knows.snapshot, &answer);
        Some(answer)
    }

    fn sign(&self, answers: &[(usize, Answer)], tally: &mut Tally, replies: &mut Replies) {
        let mut bodies = Vec::new();
        let mut leaves = Vec::with_capacity(answers.len());
        let mut ranges = Vec::with_capacity(answers.len());
        for (_, answer) in answers {
            let begin = bodies.len();
            answer.body.write(&mut bodies);
            leaves.push(leaf(bodies.get(begin..).unwrap_or_default()));
            ranges.push(begin..bodies.len());
        }
        let Some(tree) = Tree::over(&leaves) else { return };
        let key = &self.shared.settings.key;
        let Some(signature) = key.sign(&tree.root()) else {
            answers.iter().for_each(|_| tally.note(Outcome::Dropped));
            return;
        };
        for (i, ((place, answer), range)) in answers.iter().zip(ranges).enumerate() {
            replies.push(*place, |out| {
                out.extend_from_slice(bodies.get(range).unwrap_or_default());
                Proof::write(key.public().id(), i, tree.depth(), tree.path(i), &signature, out);
            });
            tally.note(Outcome::Answered(answer.body.status));
        }
        tally.note_batch(answers.len());
    }
}

/// Whoever comes next is to know of this one.
fn count_assigned(snapshot: &Snapshot, answer: &Answer) {
    if let Some(view) = answer.first.and_then(|first| snapshot.gateways.get(first)) {
        view.assigned.add();
    }
}

/// Requests that are too short for a batch's path get a signature of their own, so many at a turn: more would let
/// them take the whole processor.
const MOST_ALONE: usize = 4;

/// After this long a client that got no gateway may ask again: health changes no faster.
const RETRY_SECONDS: u16 = 3;

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::super::keys::PublicKey;
    use super::super::message::{Accept, Request, Status};
    use super::super::tests::{signing_key, vectors};
    use super::super::verify::verify;
    use super::*;
    use crate::fleet::{Publisher, Vpn};
    use crate::net::datagrams::Responder as _;

    struct Door {
        responder: Responder,
        view: View,
        standing: Standing,
        meter: Arc<Meter>,
        key: PublicKey,
        now: Moment,
    }

    fn door(rate: u32) -> Door {
        let key = signing_key(&vectors());
        let public = *key.public();
        let listen = Vec::new();
        let settings =
            DveSettings { listen, key: Arc::new(key), ttl: 30, answers_per_second_per_source: rate };
        let now = Moment { instant: Instant::now(), wall: SystemTime::now() };
        let view =
            Publisher::new(super::super::answer::tests::snapshot(&["192.0.2.1", "192.0.2.2"], |_, _| {}))
                .view();
        let (meter, standing) = (Arc::new(Meter::default()), Standing::active());
        let shared = Arc::new(Shared::new(settings, now.instant));
        let responder = Responder::new(shared, Arc::clone(&meter), view.clone(), standing.clone());
        Door { responder, view, standing, meter, key: public, now }
    }

    fn request(nonce: u8) -> Request {
        Request { vpn: Vpn::Native, vrrp_id: None, accept: Accept::ANY, nonce: [nonce; 16] }
    }

    impl Door {
        fn answers(&mut self, asked: &[Vec<u8>]) -> Vec<(usize, Vec<u8>)> {
            let from = "192.0.2.77:1000".parse().unwrap();
            let asked: Vec<_> = asked.iter().map(|bytes| Datagram { bytes, from }).collect();
            let mut replies = Replies::default();
            self.responder.answer(&asked, self.now, &mut replies);
            let replies: Vec<_> = replies.iter().map(|(place, bytes)| (place, bytes.to_vec())).collect();
            assert!(replies.iter().all(|(place, bytes)| bytes.len() <= asked[*place].bytes.len()));
            replies
        }

        fn signed(&self) -> (u64, u64) {
            (self.meter.batches().sum(), self.meter.answers())
        }

        fn count(&self, outcome: Outcome) -> u64 {
            self.meter.outcome(outcome)
        }
    }

    #[test]
    fn whatever_waits_is_answered_under_one_signature_for_up_to_64() {
        for (count, signatures) in [(1, 1), (2, 1), (63, 1), (64, 1), (65, 2), (200, 4)] {
            let mut door = door(1000);
            let asked: Vec<_> = (0..count).map(|i| request(i).write().to_vec()).collect();
            let answers = door.answers(&asked);
            assert_eq!(answers.len(), asked.len());
            for (place, bytes) in answers {
                let body = verify(&bytes, &[place as u8; 16], &[door.key], None).unwrap();
                assert_eq!((body.status, body.endpoints.len()), (Status::Ok, 2));
            }
            assert_eq!(door.signed(), (signatures, count.into()));
            assert_eq!(door.count(Outcome::Answered(Status::Ok)), u64::from(count));
        }
    }

    #[test]
    fn whoever_is_named_first_is_pending_for_the_next_request() {
        let mut door = door(1000);
        let asked: Vec<_> = (0..40).map(|i| request(i).write().to_vec()).collect();
        door.answers(&asked);
        let total = |i: usize, view: &mut View| view.load().gateways[i].assigned.total();
        let (first, second) = (total(0, &mut door.view), total(1, &mut door.view));
        // the second one has ten tunnels more
        assert_eq!((first + second, first - second), (40, 10));
    }

    #[test]
    fn short_requests_get_a_signature_of_their_own_and_the_others_still_share_one() {
        let mut door = door(1000);
        let asked: Vec<_> = (0..20)
            .map(|i| request(i).write()[..if i % 2 == 0 { FEWEST_REQUEST_BYTES } else { 576 }].to_vec())
            .collect();
        let answers = door.answers(&asked);
        assert_eq!(answers.len(), 10 + MOST_ALONE);
        assert_eq!(door.signed(), (1 + MOST_ALONE as u64, answers.len() as u64));
        assert_eq!(door.count(Outcome::Dropped), 6);
        // one that comes alone has room enough
        assert_eq!(door.answers(&asked[..1]).len(), 1);
    }

    #[test]
    fn too_short_too_long_too_many_and_others_get_nothing() {
        let mut door = door(5);
        let long = |length: usize| {
            let mut bytes = request(1).write().to_vec();
            bytes.resize(length, 0);
            bytes
        };
        let ignored = [vec![], b"DVE1".to_vec(), b"DVE1\x02".repeat(100), vec![0xff; 576]];
        assert_eq!(door.answers(&ignored), []);
        assert_eq!(door.count(Outcome::Ignored), 4);
        assert_eq!(door.answers(&[long(FEWEST_REQUEST_BYTES - 1), long(MOST_REQUEST_BYTES + 1)]), []);
        assert_eq!(door.count(Outcome::Dropped), 2);
        assert_eq!(door.answers(&[long(MOST_REQUEST_BYTES)]).len(), 1);
        assert_eq!(door.answers(&vec![long(576); 20]).len(), 4);
        assert_eq!(door.count(Outcome::Dropped), 18);
    }

    #[test]
    fn a_standby_says_so_and_who_is_not_understood_is_told() {
        let mut door = door(1000);
        let statuses = |answers: Vec<(usize, Vec<u8>)>, key| {
            let status =
                |(_, bytes): (usize, Vec<u8>)| verify(&bytes, &[1; 16], &[key], None).unwrap().status;
            answers.into_iter().map(status).collect::<Vec<_>>()
        };
        let mut malformed = request(1).write().to_vec();
        malformed[5] = 9;
        let (asked, key) = (vec![request(1).write().to_vec(), malformed], door.key);
        assert_eq!(statuses(door.answers(&asked), key), [Status::Ok, Status::Malformed]);
        door.standing.set(false);
        assert_eq!(statuses(door.answers(&asked), key), [Status::Standby, Status::Malformed]);
    }
}
