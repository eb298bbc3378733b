use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderValue, Method, Request, StatusCode};
use hyper::body::Body;

use super::access::{Access, AccessQueue};
use super::meter::{Counter, Meter};
use super::plan::Plan;
use super::redirect::Locations;
use super::reply::{self, Reply};
use super::route::{Action, route};
use super::settings::Mode;
use crate::fleet::{GatewayName, Snapshot, View, select};

/// One listener on one worker: has everything at hand that an answer takes.
pub struct Door {
    /// The listener.
    pub plan: Arc<Plan>,
    /// This worker's counters.
    pub meter: Arc<Meter>,
    access: Option<AccessQueue>,
    retry_after: HeaderValue,
    at_hand: RefCell<AtHand>,
}

struct AtHand {
    view: View,
    locations: Locations,
    redirects: Vec<Arc<Counter>>,
    draws: fastrand::Rng,
}

struct Answer {
    reply: Reply,
    gateway: Option<GatewayName>,
}

impl Door {
    /// The door of `worker`, or `None` if the plan has no such worker.
    pub fn new(plan: Arc<Plan>, worker: usize, mut view: View, access: Option<AccessQueue>) -> Option<Self> {
        let meter = Arc::clone(plan.meters.get(worker)?);
        let retry_after = plan.settings.redirect.retry_after.as_secs().max(1).into();
        let locations = match &plan.settings.mode {
            Mode::Redirect(_) => Locations::of(view.load()),
            Mode::HttpsUpgrade(to) => Locations::of_one(to),
        };
        let redirects = counters(&meter, view.load());
        let at_hand = RefCell::new(AtHand { view, locations, redirects, draws: fastrand::Rng::new() });
        Some(Self { plan, meter, access, retry_after, at_hand })
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
        if let Some(access) = &self.access {
            access.push(Access {
                client,
                listener: Arc::clone(&self.plan.settings.name),
                gateway: answer.gateway,
                status,
                bytes: answer.reply.body().size_hint().lower(),
                took,
            });
        }
        answer.reply
    }

    fn decide(&self, method: &Method, path: &str, now: Instant) -> Answer {
        let nobody = |reply| Answer { reply, gateway: None };
        match (route(method, path), &self.plan.settings.mode) {
            (Action::Redirect { counts }, Mode::Redirect(_)) => self.to_gateway(path, counts, now),
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
        let AtHand { view, locations, redirects, draws } = &mut *at_hand;
        let snapshot = view.load();
        if !locations.fit(snapshot) {
            *locations = Locations::of(snapshot);
            *redirects = counters(&self.meter, snapshot);
        }
        let Ok(choice) = select(snapshot, self.plan.settings.ask, now, draws.u64(..)) else {
            self.meter.unavailable.add(1);
            return Answer { reply: reply::unavailable(&self.retry_after), gateway: None };
        };
        if counts {
            choice.view.assigned.add();
        }
        if let Some(counter) = redirects.get(choice.index) {
            counter.add(1);
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

fn counters(meter: &Meter, snapshot: &Snapshot) -> Vec<Arc<Counter>> {
    meter.redirects_to(snapshot.gateways.iter().map(|view| &view.gateway.name))
}
