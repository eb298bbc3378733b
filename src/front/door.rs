use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderValue, Method, Request, StatusCode};
use hyper::body::Body;
use tokio::sync::mpsc;

use super::access::{Access, AccessQueue, Event};
use super::gate::{Gate, Gates};
use super::meter::Meter;
use super::plan::Plan;
use super::redirect::Locations;
use super::reply::{self, Reply};
use super::route::{Action, route};
use super::settings::Mode;
use super::tunnels::Tunnels;
use crate::fleet::{By, Failure, GatewayName, Policy, Snapshot, View, select};

/// One listener on one worker: has everything at hand that an answer takes.
pub struct Door {
    /// The listener.
    pub plan: Arc<Plan>,
    /// This worker's counters.
    pub meter: Arc<Meter>,
    /// Where connections go on that outlive their listener.
    pub tunnels: Tunnels,
    access: Option<AccessQueue>,
    failures: mpsc::Sender<Failure>,
    retry_after: HeaderValue,
    at_hand: RefCell<AtHand>,
}

struct AtHand {
    view: View,
    locations: Locations,
    gates: Gates,
    draws: fastrand::Rng,
}

impl AtHand {
    /// The newest snapshot, with everything that is derived from it.
    fn snapshot(&mut self, meter: &Meter) -> Arc<Snapshot> {
        let snapshot = self.view.load();
        if !self.gates.fit(snapshot) {
            self.gates.go_over_to(snapshot, meter);
        }
        Arc::clone(snapshot)
    }
}

/// Which gateways a request or a connection has been to. They are not chosen again.
#[derive(Debug, Default)]
pub struct Tried {
    generation: u64,
    indices: Vec<usize>,
}

struct Answer {
    reply: Reply,
    gateway: Option<GatewayName>,
}

impl Door {
    /// The door of `worker`, or `None` if the plan has no such worker.
    pub fn new(
        plan: Arc<Plan>,
        worker: usize,
        mut view: View,
        access: Option<AccessQueue>,
        failures: mpsc::Sender<Failure>,
        tunnels: Tunnels,
    ) -> Option<Self> {
        let meter = Arc::clone(plan.meters.get(worker)?);
        let retry_after = plan.settings.redirect.retry_after.as_secs().max(1).into();
        let locations = match &plan.settings.mode {
            Mode::HttpsUpgrade(to) => Locations::of_one(to),
            Mode::Redirect(_) | Mode::Proxy(..) | Mode::Passthrough(_) => Locations::of(view.load()),
        };
        let mut gates = Gates::default();
        gates.go_over_to(view.load(), &meter);
        let at_hand = RefCell::new(AtHand { view, locations, gates, draws: fastrand::Rng::new() });
        Some(Self { plan, meter, tunnels, access, failures, retry_after, at_hand })
    }

    /// Chooses a gateway that has not been tried yet, and notes it as tried. Whoever is taken there counts as
    /// pending, as someone who is sent there does.
    pub fn choose(&self, by: By, tried: &mut Tried, now: Instant) -> Option<Rc<Gate>> {
        let mut at_hand = self.at_hand.borrow_mut();
        let snapshot = at_hand.snapshot(&self.meter);
        if tried.generation != snapshot.generation {
            *tried = Tried { generation: snapshot.generation, indices: Vec::new() };
        }
        let draw = at_hand.draws.u64(..);
        let choice = select(&snapshot, self.plan.settings.ask, by, &tried.indices, now, draw).ok()?;
        tried.indices.push(choice.index);
        choice.view.assigned.add();
        at_hand.gates.get(choice.index).cloned()
    }

    /// How newcomers are spread.
    pub fn by(&self, policy: Policy) -> By {
        match policy {
            Policy::LeastLoaded => By::Load,
            Policy::RoundRobin => By::Turn(self.plan.turn()),
        }
    }

    /// Tells the keeper that there was no connection to a gateway. A keeper who is too busy is not waited for.
    pub fn failed(&self, gate: &Gate, reason: String) {
        let _ = self.failures.try_send(Failure { gateway: gate.name.clone(), reason });
    }

    /// Answers a request whose body has been read, or was too long to be.
    pub fn answer<B>(&self, request: &Request<B>, client: SocketAddr, received: Instant) -> Reply {
        let now = Instant::now();
        let answer = self.decide(request.method(), request.uri().path(), now);
        self.note(answer, client, now.saturating_duration_since(received))
    }

    /// Answers a request whose body never came to its end.
    pub fn refuse(&self, client: SocketAddr, received: Instant) -> Reply {
        self.note(Answer { reply: reply::bad_request(), gateway: None }, client, received.elapsed())
    }

    fn note(&self, answer: Answer, client: SocketAddr, took: Duration) -> Reply {
        let status = answer.reply.status();
        self.meter.responded(status);
        self.log(|| Access {
            event: Event::Request(status),
            client,
            listener: Arc::clone(&self.plan.settings.name),
            gateway: answer.gateway,
            bytes: answer.reply.body().size_hint().lower(),
            took,
        });
        answer.reply
    }

    /// Adds a line to the access log, if there is one.
    pub fn log(&self, line: impl FnOnce() -> Access) {
        if let Some(access) = &self.access {
            access.push(line());
        }
    }

    fn decide(&self, method: &Method, path: &str, now: Instant) -> Answer {
        let nobody = |reply| Answer { reply, gateway: None };
        match (route(method, path), &self.plan.settings.mode) {
            (Action::Redirect { counts }, Mode::Redirect(_)) => self.to_gateway(path, counts, now),
            // these two answer nothing by themselves
            (Action::Redirect { .. }, Mode::Proxy(..) | Mode::Passthrough(_)) => {
                nobody(reply::unavailable(&self.retry_after))
            }
            (Action::Redirect { .. }, Mode::HttpsUpgrade(_)) => {
                let location = self.at_hand.borrow().locations.location(0, path, &self.plan.settings);
                nobody(self.redirect_or_unavailable(location))
            }
            (Action::Options, _) => nobody(reply::options()),
            (Action::MethodNotAllowed, _) => nobody(reply::and_close(reply::method_not_allowed())),
            (Action::PasswordComesFirst, _) => nobody(reply::and_close(reply::password_comes_first())),
        }
    }

    fn to_gateway(&self, path: &str, counts: bool, now: Instant) -> Answer {
        let mut at_hand = self.at_hand.borrow_mut();
        let AtHand { view, locations, gates, draws } = &mut *at_hand;
        let snapshot = view.load();
        if !locations.fit(snapshot) {
            *locations = Locations::of(snapshot);
            gates.go_over_to(snapshot, &self.meter);
        }
        let Ok(choice) = select(snapshot, self.plan.settings.ask, By::Load, &[], now, draws.u64(..)) else {
            self.meter.unavailable.add(1);
            return Answer { reply: reply::unavailable(&self.retry_after), gateway: None };
        };
        if counts {
            choice.view.assigned.add();
        }
        if let Some(gate) = gates.get(choice.index) {
            gate.meter.redirects.add(1);
        }
        let gateway = self.access.is_some().then(|| choice.view.gateway.name.clone());
        let location = locations.location(choice.index, path, &self.plan.settings);
        Answer { reply: self.redirect_or_unavailable(location), gateway }
    }

    fn redirect_or_unavailable(&self, location: Option<HeaderValue>) -> Reply {
        match location {
            Some(location) => reply::redirect(self.status(), location),
            None => reply::unavailable(&self.retry_after),
        }
    }

    fn status(&self) -> StatusCode {
        self.plan.settings.redirect.status
    }
}
