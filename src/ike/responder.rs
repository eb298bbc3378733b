use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::answer::{Answer, Knowledge, answer};
use super::common::Common;
use super::guard::Verdict;
use super::message::{Notice, Request, Support, read_identity};
use super::meter::{Meter, Outcome};
use super::recent::Recent;
use super::settings::IkeSettings;
use crate::fleet::{Choice, Moment, Snapshot, Standing, View};
use crate::net::datagrams::{self, Datagram, Replies};

/// Redirects the IKEv2 clients that come to one thread.
#[derive(Debug)]
pub struct Responder {
    settings: Arc<IkeSettings>,
    common: Arc<Common>,
    meter: Arc<Meter>,
    view: View,
    standing: Standing,
    recent: Recent,
    counters: Counters,
    summed: Option<Instant>,
}

/// A datagram, its place among those that came with it, and what is known when it is answered.
#[derive(Clone, Copy)]
struct Asked<'a> {
    datagram: &'a Datagram<'a>,
    place: usize,
    snapshot: &'a Snapshot,
}

/// The redirects to each gateway of a generation, in the order of [`Snapshot::gateways`].
#[derive(Debug)]
struct Counters {
    generation: u64,
    redirects: Vec<Arc<AtomicU64>>,
}

impl Responder {
    /// `standing`: whether this front door answers at all.
    pub fn new(
        settings: Arc<IkeSettings>,
        common: Arc<Common>,
        meter: Arc<Meter>,
        mut view: View,
        standing: Standing,
    ) -> Self {
        let counters = Counters::of(&meter, view.load());
        Self { settings, common, meter, view, standing, recent: Recent::new(), counters, summed: None }
    }

    fn answer_one(&mut self, asked: Asked<'_>, now: Instant, replies: &mut Replies) -> Outcome {
        let Asked { datagram, place, snapshot } = asked;
        let client = datagram.from;
        let Some(request) = Request::read(datagram.bytes) else { return Outcome::Ignored };
        if !self.standing.is_active() {
            return Outcome::Standby;
        }
        let mut reply = |notice: Notice<'_>, outcome: Outcome| {
            if request.answer_len(notice) > request.length {
                return Outcome::Dropped;
            }
            replies.push(place, |out| request.write_answer(notice, out));
            outcome
        };
        match self.common.guard.judge(&request, client, now) {
            Verdict::Admitted => {}
            Verdict::Challenged(cookie) => return reply(Notice::Cookie(&cookie), Outcome::Challenged),
            Verdict::Dropped => return Outcome::Dropped,
        }
        let hash = self.recent.hash(client, &request.spi);
        let before = self.recent.find(hash, snapshot.generation, now);
        let knows = Knowledge { snapshot, vrrp_id: self.settings.vrrp_id, now };
        let told = answer(&request, knows, before, fastrand::u64(..));
        let Answer::Redirect(Choice { index, view }) = told else {
            if !self.common.guard.may_refuse(client, now) {
                return Outcome::Dropped;
            }
            if let Support::Followed(from) = request.support {
                self.tell_circle(client, from, now);
            }
            let is_refused = matches!(told, Answer::Refused);
            return reply(told.notice(), if is_refused { Outcome::Refused } else { Outcome::Unavailable });
        };
        let outcome = reply(told.notice(), Outcome::Redirected);
        if outcome == Outcome::Redirected && before != Some(index) {
            view.assigned.add();
            self.counters.add(index);
            self.recent.keep(hash, snapshot.generation, index, now);
            tracing::debug!(%client, gateway = %view.gateway.name, "an IKEv2 client is redirected");
        }
        outcome
    }

    /// Tells that a client was redirected to a front door, which it is never meant to be.
    fn tell_circle(&self, client: SocketAddr, from: &[u8], now: Instant) {
        let by = read_identity(from).map_or_else(|| "somebody unknown".to_owned(), |host| host.to_string());
        if self.common.circles.note(now, Some(client), format_args!("redirected here by {by}")) {
            tracing::warn!(
                %client,
                by,
                "an IKEv2 client was redirected to this front door, which redirects nobody twice; is its address the \
                 native_endpoint of a gateway?"
            );
        }
    }

    fn sum(&mut self, now: Instant) {
        if self.summed.is_some_and(|at| now.saturating_duration_since(at) < SUM_INTERVAL) {
            return;
        }
        self.summed = Some(now);
        if let Some(summary) = self.common.circles.sum(now) {
            tracing::warn!("{summary}");
        }
    }
}

impl datagrams::Responder for Responder {
    fn answer(&mut self, asked: &[Datagram<'_>], now: Moment, replies: &mut Replies) {
        let snapshot = Arc::clone(self.view.load());
        if self.counters.generation != snapshot.generation {
            self.counters = Counters::of(&self.meter, &snapshot);
        }
        for (place, datagram) in asked.iter().enumerate() {
            let asked = Asked { datagram, place, snapshot: &snapshot };
            let outcome = self.answer_one(asked, now.instant, replies);
            self.meter.count(outcome);
        }
        self.sum(now.instant);
    }
}

impl Counters {
    fn of(meter: &Meter, snapshot: &Snapshot) -> Self {
        Self { generation: snapshot.generation, redirects: meter.of_gateways(snapshot) }
    }

    fn add(&self, gateway: usize) {
        if let Some(counter) = self.redirects.get(gateway) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// How often it is looked whether there is a line to be logged.
const SUM_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use aws_lc_rs::hmac;

    use super::super::message::Spi;
    use super::super::samples::{ALL, Farm, Payload, basics, message_of, notify, sample};
    use super::*;
    use crate::fleet::{Host, VrrpId};
    use crate::net::datagrams::Responder as _;
    use crate::net::heard::Heard;

    const REDIRECT_SUPPORTED: u16 = 16406;
    const REDIRECTED_FROM: u16 = 16408;

    /// A responder before a farm.
    struct Front {
        farm: Farm,
        responder: Responder,
        meter: Arc<Meter>,
        standing: Standing,
        now: Moment,
    }

    /// What a client is told.
    #[derive(Debug, PartialEq, Eq)]
    enum Told {
        Go(Host),
        Cookie(Vec<u8>),
        NoProposalChosen,
        Nothing,
    }

    impl Front {
        fn new(hosts: &[&str]) -> Self {
            Self::with(Farm::new(hosts), None)
        }

        fn with(farm: Farm, vrrp_id: Option<VrrpId>) -> Self {
            let now = crate::net::clock::now();
            let secret = hmac::Key::new(hmac::HMAC_SHA256, &[1; 32]);
            let common = Arc::new(Common::with(secret, now.instant));
            let standing = Standing::active();
            let settings = Arc::new(IkeSettings { listen: vec![], vrrp_id });
            let meter = Arc::new(Meter::default());
            let view = farm.publisher.view();
            let responder = Responder::new(settings, common, Arc::clone(&meter), view, standing.clone());
            Self { farm, responder, meter, standing, now }
        }

        fn after(&mut self, seconds: u64) {
            self.now.instant += Duration::from_secs(seconds);
        }

        fn asks(&mut self, from: &str, bytes: &[u8]) -> Told {
            let mut replies = Replies::default();
            let datagram = Datagram { bytes, from: from.parse().unwrap() };
            self.responder.answer(&[datagram], self.now, &mut replies);
            let all: Vec<_> = replies.iter().collect();
            let [(0, reply)] = all[..] else { return if all.is_empty() { Told::Nothing } else { panic!() } };
            assert!(reply.len() <= bytes.len(), "{} after {}", reply.len(), bytes.len());
            let request = Request::read(bytes).unwrap();
            let reply = &reply[if request.has_marker { 4 } else { 0 }..];
            assert_eq!(reply[..8], request.spi);
            let data = &reply[36..];
            match u16::from_be_bytes([reply[34], reply[35]]) {
                14 => Told::NoProposalChosen,
                16390 => Told::Cookie(data.to_vec()),
                16407 => {
                    let identity = data.strip_suffix(request.nonce).expect("the nonce");
                    Told::Go(read_identity(identity).unwrap())
                }
                other => panic!("{other}"),
            }
        }

        fn outcomes(&self) -> Vec<(&'static str, u64)> {
            let all = Outcome::ALL.into_iter().map(|o| (o.as_str(), self.meter.outcomes(o)));
            all.filter(|(_, count)| *count > 0).collect()
        }

        fn redirects(&self) -> Vec<u64> {
            self.meter.redirects().into_iter().map(|(_, count)| count).collect()
        }
    }

    fn go(host: &str) -> Told {
        Told::Go(crate::fleet::Endpoint::parse(host, 500).unwrap().host)
    }

    fn asking(spi: Spi, more: &[Payload]) -> Vec<u8> {
        message_of(spi, &[&basics()[..], &[notify(REDIRECT_SUPPORTED, &[])], more].concat())
    }

    const HERE: &str = "192.0.2.1:500";

    #[test]
    fn real_clients_are_told_where_to_go() {
        for host in ["10.0.0.1", "[2001:db8::1]", "gw1.example.com"] {
            let mut front = Front::new(&[host]);
            for name in ALL {
                let told = front.asks(HERE, &sample(name));
                let is_refused = name.ends_with("redirected") || name.ends_with("unsupported");
                assert_eq!(told, if is_refused { Told::NoProposalChosen } else { go(host) }, "{name}");
            }
            assert_eq!(front.outcomes(), [("redirected", 4), ("refused", 2)]);
            assert_eq!(front.asks(HERE, &[0xff]), Told::Nothing);
            assert_eq!(front.outcomes()[2], ("ignored", 1));
        }
    }

    #[test]
    fn newcomers_go_to_the_least_loaded_and_those_on_their_way_count() {
        let mut front = Front::new(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
        front.farm.tunnels(&[20, 0, 10]);
        let mut told = |i: u8| front.asks(HERE, &asking([i; 8], &[]));
        for i in 1..=10 {
            assert_eq!(told(i), go("10.0.0.2"), "{i}");
        }
        let next: Vec<_> = (11..=30).map(&mut told).collect();
        for host in ["10.0.0.2", "10.0.0.3"] {
            assert_eq!(next.iter().filter(|told| **told == go(host)).count(), 10, "{host}");
        }
        assert_eq!(front.redirects(), [0, 20, 10]);
        assert_eq!(front.farm.pending(), [0, 20, 10]);
    }

    #[test]
    fn a_request_that_is_sent_again_gets_the_same_answer_and_counts_once() {
        let mut front = Front::new(&["10.0.0.1", "10.0.0.2"]);
        front.farm.tunnels(&[0, 1]);
        let request = asking([1; 8], &[]);
        for _ in 0..5 {
            assert_eq!(front.asks(HERE, &request), go("10.0.0.1"));
        }
        front.farm.tunnels(&[500, 0]);
        assert_eq!(front.asks(HERE, &request), go("10.0.0.1"));
        assert_eq!((front.farm.pending(), front.redirects()), (vec![1, 0], vec![1, 0]));
        assert_eq!(front.outcomes(), [("redirected", 6)]);
        front.farm.fails(0);
        assert_eq!(front.asks(HERE, &request), go("10.0.0.2"), "a dead one is no answer");
        assert_eq!(front.redirects(), [1, 1]);
        assert_eq!(front.asks("192.0.2.2:500", &request), go("10.0.0.2"));
        assert_eq!(front.redirects(), [1, 2], "that is somebody else");
    }

    #[test]
    fn who_was_redirected_is_not_again() {
        let mut front = Front::new(&["10.0.0.1"]);
        let from = notify(REDIRECTED_FROM, &[1, 4, 10, 0, 0, 1]);
        assert_eq!(front.asks(HERE, &asking([1; 8], &[from])), Told::NoProposalChosen);
        assert_eq!(front.farm.pending(), [0]);
    }

    #[test]
    fn a_client_that_was_sent_in_a_circle_is_told_of_and_not_in_its_own_words() {
        let heard = Heard::begin();
        let mut front = Front::new(&["10.0.0.1"]);
        let mut lines = |identity: &[u8]| {
            front.after(10);
            front.asks(HERE, &asking([1; 8], &[notify(REDIRECTED_FROM, identity)]));
            heard.lines()
        };
        let line = |by: &str| {
            format!(
                "WARN an IKEv2 client was redirected to this front door, which redirects nobody twice; is its address \
                 the native_endpoint of a gateway? client={HERE} by=\"{by}\""
            )
        };
        assert_eq!(lines(&[1, 4, 10, 0, 0, 9]), [line("10.0.0.9")]);
        assert_eq!(lines(b"\x03\x09front.lab"), [line("front.lab")]);
        assert_eq!(lines(b"\x03\x0bgw\nERROR no!"), [line("somebody unknown")]);
    }

    #[test]
    fn where_no_gateway_is_available_the_client_is_told_so() {
        let mut front = Front::new(&["10.0.0.1"]);
        front.farm.fails(0);
        assert_eq!(front.asks(HERE, &asking([1; 8], &[])), Told::NoProposalChosen);
        assert_eq!(front.outcomes(), [("unavailable", 1)]);
        let mut front = Front::with(Farm::new(&["10.0.0.1"]), VrrpId::new(31));
        assert_eq!(front.asks(HERE, &asking([1; 8], &[])), Told::NoProposalChosen, "another VRRP ID");
    }

    #[test]
    fn a_front_door_that_is_not_the_active_one_says_nothing() {
        let mut front = Front::new(&["10.0.0.1"]);
        front.standing.set(false);
        for name in ALL {
            assert_eq!(front.asks(HERE, &sample(name)), Told::Nothing);
        }
        assert_eq!(front.outcomes(), [("standby", 6)]);
        front.standing.set(true);
        assert_eq!(front.asks(HERE, &asking([1; 8], &[])), go("10.0.0.1"));
    }

    #[test]
    fn in_a_flood_a_client_brings_its_cookie_and_is_redirected() {
        let mut front = Front::new(&["10.0.0.1"]);
        for i in 0..700_u32 {
            let [_, a, b, c] = i.to_be_bytes();
            front.asks(&format!("10.{a}.{b}.{c}:500"), &asking([9; 8], &[]));
        }
        let pending = front.farm.pending();
        let Told::Cookie(cookie) = front.asks(HERE, &asking([1; 8], &[])) else { panic!() };
        let (announced, cookie) = (notify(REDIRECT_SUPPORTED, &[]), notify(16390, &cookie));
        let back = message_of([1; 8], &[vec![cookie.clone()], basics(), vec![announced]].concat());
        assert_eq!(front.farm.pending(), pending, "nothing is chosen for who has no cookie");
        assert_eq!(front.asks(HERE, &back), go("10.0.0.1"));
        assert!(matches!(front.asks("192.0.2.1:4500", &back), Told::Cookie(_)), "of another port");
        assert!(matches!(front.asks(HERE, &asking([1; 8], &[cookie])), Told::Cookie(_)), "not at its place");
        front.after(60);
        assert_eq!(front.asks(HERE, &asking([2; 8], &[])), go("10.0.0.1"), "it is over");
    }

    #[test]
    fn nobody_is_refused_often() {
        let mut front = Front::new(&["10.0.0.1"]);
        let told = (0..50).map(|_| front.asks(HERE, &sample("strongswan-unsupported")));
        assert_eq!(told.filter(|told| *told == Told::NoProposalChosen).count(), 10);
        assert_eq!(front.outcomes(), [("refused", 10), ("dropped", 40)]);
    }

    #[test]
    fn no_answer_is_longer_than_its_question() {
        let name = format!("{0}.{0}.{0}.example.com", "a".repeat(60));
        let mut front = Front::new(&[&name]);
        let short = asking([1; 8], &[]);
        assert_eq!(front.asks(HERE, &short), Told::Nothing);
        assert_eq!((front.outcomes(), front.farm.pending()), (vec![("dropped", 1)], vec![0]));
        assert_eq!(front.asks(HERE, &sample("strongswan-500")), go(&name));
        // the least that is a request at all
        let least = |kind| {
            let payloads =
                [Payload(33, vec![]), Payload(34, vec![]), Payload(40, vec![3; 16]), notify(kind, &[])];
            message_of([2; 8], &payloads)
        };
        assert_eq!(front.asks(HERE, &least(1)), Told::NoProposalChosen);
        let mut near = Front::new(&["10.0.0.1"]);
        assert_eq!(near.asks(HERE, &least(REDIRECT_SUPPORTED)), go("10.0.0.1"));
    }

    #[test]
    fn gateways_that_come_and_go_are_counted_by_name() {
        let mut front = Front::new(&["10.0.0.1", "10.0.0.2"]);
        front.farm.tunnels(&[50, 0]);
        front.asks(HERE, &asking([1; 8], &[]));
        front.farm.replace(&["10.0.0.2", "10.0.0.3"]);
        assert_eq!(front.asks(HERE, &asking([1; 8], &[])), go("10.0.0.2"), "nothing is known of the other");
        let named: Vec<_> = front.meter.redirects();
        let named: Vec<_> = named.iter().map(|(name, count)| (name.as_str(), *count)).collect();
        assert_eq!(named, [("gw-10.0.0.2", 2), ("gw-10.0.0.3", 0)]);
    }

    #[test]
    fn many_datagrams_at_once_each_get_their_own_answer() {
        let mut front = Front::new(&["10.0.0.1"]);
        let requests: Vec<_> = (0..64_u8).map(|i| asking([i + 1; 8], &[])).collect();
        let mut asked: Vec<_> =
            requests.iter().map(|bytes| Datagram { bytes, from: HERE.parse().unwrap() }).collect();
        asked.insert(5, Datagram { bytes: &[0xff], from: HERE.parse().unwrap() });
        let mut replies = Replies::default();
        front.responder.answer(&asked, front.now, &mut replies);
        assert_eq!(replies.iter().count(), 64);
        for (place, reply) in replies.iter() {
            assert_eq!(reply[..8], asked[place].bytes[..8]);
        }
    }
}
