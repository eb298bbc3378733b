use std::cell::RefCell;
use std::fmt::Display;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderValue, Method, Request, StatusCode};
use hyper::body::Body;
use tokio::sync::mpsc;

use super::access::{Access, AccessQueue, Event};
use super::gate::{Gate, Gates, Marks};
use super::limit::Rejection;
use super::meter::Meter;
use super::plan::Plan;
use super::proxy::Carrier;
use super::redirect::Locations;
use super::reply::{self, Reply};
use super::route::{Action, route};
use super::settings::{Affinity, Mode};
use super::tunnels::Tunnels;
use crate::fleet::{By, Failure, GatewayName, Policy, Snapshot, View, may_return, select};

/// One listener on one worker: has everything at hand that an answer takes.
pub struct Door {
    /// The listener.
    pub plan: Arc<Plan>,
    /// This worker's counters.
    pub meter: Arc<Meter>,
    /// Where connections go on that outlive their listener.
    pub tunnels: Tunnels,
    /// How requests are taken to gateways, where they are.
    pub carrier: Option<Rc<Carrier>>,
    access: Option<AccessQueue>,
    failures: mpsc::Sender<Failure>,
    retry_after: HeaderValue,
    at_hand: RefCell<AtHand>,
}

struct AtHand {
    view: View,
    locations: Locations,
    gates: Gates,
    marks: Marks,
    draws: fastrand::Rng,
}

impl AtHand {
    /// The newest snapshot with its gates, and what draws.
    fn newest(&mut self, meter: &Meter) -> (&Arc<Snapshot>, &Gates, &mut fastrand::Rng) {
        let Self { view, gates, marks, draws, .. } = self;
        let snapshot = view.load();
        if !gates.fit(snapshot) {
            gates.go_over_to(snapshot, meter, marks);
        }
        (snapshot, gates, draws)
    }
}

/// Which gateways a request or a connection has been to. They are not chosen again.
#[derive(Debug, Default)]
pub struct Tried {
    generation: u64,
    /// The first one stands apart: most need no other, and no list.
    first: Option<usize>,
    others: Vec<usize>,
}

impl Tried {
    /// Whether it has been nowhere yet.
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Forgets those of another generation, which are counted otherwise.
    fn of(&mut self, snapshot: &Snapshot) -> &[usize] {
        if self.generation != snapshot.generation {
            *self = Self { generation: snapshot.generation, ..Self::default() };
        }
        if self.others.is_empty() { self.first.as_slice() } else { &self.others }
    }

    fn add(&mut self, index: usize) {
        match self.first {
            None => self.first = Some(index),
            Some(first) => {
                if self.others.is_empty() {
                    self.others.push(first);
                }
                self.others.push(index);
            }
        }
    }
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
        let marks = match &plan.settings.mode {
            Mode::Proxy(_, proxy) => match &proxy.affinity {
                Affinity::Session(_) => Marks::Sessions(Arc::clone(&plan.sessions)),
                Affinity::Cookie(cookie) => Marks::Cookie(cookie.clone()),
                Affinity::None | Affinity::SourceAddress => Marks::None,
            },
            Mode::Redirect(_) | Mode::HttpsUpgrade(_) | Mode::Passthrough(_) => Marks::None,
        };
        let mut gates = Gates::new(&plan.sites);
        gates.go_over_to(view.load(), &meter, &marks);
        let draws = fastrand::Rng::new();
        let at_hand = RefCell::new(AtHand { view, locations, gates, marks, draws });
        let carrier = match &plan.settings.mode {
            Mode::Proxy(_, proxy) => {
                let idle_timeout = plan.settings.limits.idle_timeout;
                Some(Rc::new(Carrier::new(proxy, idle_timeout, &plan.sessions)))
            }
            Mode::Redirect(_) | Mode::HttpsUpgrade(_) | Mode::Passthrough(_) => None,
        };
        Some(Self { plan, meter, tunnels, carrier, access, failures, retry_after, at_hand })
    }

    /// Chooses a gateway that has not been tried yet, and notes it as tried. `counts`: a login may follow, so
    /// the gateway is charged with it.
    pub fn choose(&self, by: By, counts: bool, tried: &mut Tried, now: Instant) -> Option<Rc<Gate>> {
        let mut at_hand = self.at_hand.borrow_mut();
        let (snapshot, gates, draws) = at_hand.newest(&self.meter);
        let (ask, draw) = (self.plan.settings.ask, draws.u64(..));
        let choice = select(snapshot, ask, by, tried.of(snapshot), now, draw).ok()?;
        tried.add(choice.index);
        if counts {
            choice.view.assigned.add();
        }
        gates.get(choice.index).cloned()
    }

    /// The gateway that a client who has been there is to come to again, if it may and has not been tried.
    pub fn return_to(&self, is_meant: impl Fn(&Gate) -> bool, tried: &mut Tried) -> Option<Rc<Gate>> {
        let mut at_hand = self.at_hand.borrow_mut();
        let (snapshot, gates, _) = at_hand.newest(&self.meter);
        let (index, gate) = gates.iter().enumerate().find(|(_, gate)| is_meant(gate))?;
        let view = snapshot.gateways.get(index)?;
        if tried.of(snapshot).contains(&index) || !may_return(view, self.plan.settings.ask) {
            return None;
        }
        tried.add(index);
        Some(Rc::clone(gate))
    }

    /// The next gateway that a client may have been at before, if any is left that has not been tried: one that takes no
    /// newcomers may know him all the same.
    pub fn return_to_any(&self, tried: &mut Tried) -> Option<Rc<Gate>> {
        let mut at_hand = self.at_hand.borrow_mut();
        let (snapshot, gates, _) = at_hand.newest(&self.meter);
        let known = tried.of(snapshot);
        let mut views = snapshot.gateways.iter().enumerate();
        let (index, _) =
            views.find(|(index, view)| !known.contains(index) && may_return(view, self.plan.settings.ask))?;
        tried.add(index);
        gates.get(index).cloned()
    }

    /// Looks after what waits: connections that have waited for too long, and those to gateways that are
    /// gone or down, are closed, and what there is to tell is told.
    pub fn tidy_up(&self, now: Instant) {
        let mut at_hand = self.at_hand.borrow_mut();
        let (snapshot, gates, _) = at_hand.newest(&self.meter);
        for (gate, view) in gates.iter().zip(&snapshot.gateways) {
            if may_return(view, self.plan.settings.ask) {
                gate.resting.sweep(now)
            } else {
                gate.resting.clear()
            }
        }
        if let Some(carrier) = &self.carrier {
            let open = |gate: &Rc<Gate>| {
                let mut all = gates.iter().zip(&snapshot.gateways);
                all.any(|(known, view)| Rc::ptr_eq(known, gate) && may_return(view, self.plan.settings.ask))
            };
            carrier.sweep(open, now);
        }
        for troubles in self.plan.troubles.all() {
            if let Some(summary) = troubles.sum(now) {
                tracing::warn!(listener = &*self.plan.settings.name, "{summary}");
            }
        }
    }

    /// Tells why a client has got no answer from a gateway, or no connection to one: at length the first time,
    /// summed up when there is one after the other.
    pub fn tell(&self, client: SocketAddr, why: &impl Display) {
        if self.plan.troubles.unanswered.note(Instant::now(), Some(client), why) {
            let listener = &*self.plan.settings.name;
            tracing::warn!(%client, listener, reason = %why, "no gateway has answered a client");
        }
    }

    /// Turns away a trusted proxy that has not said who comes.
    pub fn refuse_headerless(&self, proxy: SocketAddr, why: &str) {
        self.meter.rejected(Rejection::ProxyHeader);
        if self.plan.troubles.headerless.note(Instant::now(), Some(proxy), why) {
            let listener = &*self.plan.settings.name;
            let address = proxy.ip();
            tracing::warn!(
                listener,
                reason = why,
                "trusted proxy {address} has sent no PROXY header; does it send one to this listener?"
            );
        }
    }

    /// Turns away a client for the name that it asks for.
    pub fn refuse_name(&self, client: SocketAddr, why: impl Display) {
        self.meter.rejected(Rejection::ServerName);
        if self.plan.troubles.nameless.note(Instant::now(), Some(client), &why) {
            let listener = &*self.plan.settings.name;
            tracing::warn!(%client, listener, reason = %why, "a client's server name is not let through");
        }
    }

    /// The answer where no gateway is available.
    pub fn unavailable(&self) -> Reply {
        reply::unavailable(&self.retry_after)
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
        let (gateway, upstream) = (gate.name.clone(), gate.site.endpoint().clone());
        let _ = self.failures.try_send(Failure { gateway, upstream, reason });
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

    /// Answers a request that there is no place for.
    pub fn turn_away(&self, rejection: Rejection, client: SocketAddr, received: Instant) -> Reply {
        self.meter.rejected(rejection);
        self.note(Answer { reply: self.unavailable(), gateway: None }, client, received.elapsed())
    }

    fn note(&self, answer: Answer, client: SocketAddr, took: Duration) -> Reply {
        let status = answer.reply.status();
        self.meter.responded(status);
        self.log(|| Access {
            event: Event::Request(Some(status)),
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
        let AtHand { view, locations, gates, marks, draws } = &mut *at_hand;
        let snapshot = view.load();
        if !locations.fit(snapshot) {
            *locations = Locations::of(snapshot);
            gates.go_over_to(snapshot, &self.meter, marks);
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
