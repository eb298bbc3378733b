//! Connections to gateways between and during requests: leased for one at a time, and kept for the next one.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::task::Context;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, Version};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;

use super::body::{RequestBody, Upload};
use super::link::Link;
use super::stream::GatewayStream;
use crate::front::gate::Gate;
use crate::front::meter::{Counted, GatewayMeter, Gauge};

/// A link while it has a request: counted as active, and back where it rests afterwards.
pub struct Lease {
    link: Link,
    gate: Rc<Gate>,
    home: Home,
    /// Whether it is of no use for another request.
    is_spent: bool,
    /// The body of the request that has it.
    upload: Option<Rc<Upload>>,
    _active: Counted<GatewayMeter>,
}

/// Where a link rests between two requests.
enum Home {
    /// At the gate, with as many others at most.
    Gate {
        /// How many may rest there.
        room: usize,
    },
    /// With the one client whose alone it is.
    Client(Weak<Own>),
}

/// What is one client's alone: links, and where he has been.
#[derive(Default)]
pub struct Own {
    links: RefCell<Vec<Owned>>,
    /// The gateway that has answered last.
    pub last: RefCell<Weak<Gate>>,
}

/// A link that rests, where it leads, and its count.
type Owned = (Link, Rc<Gate>, Counted<GatewayMeter>);

impl Own {
    /// Takes the link to this gate that was used last and will do, if there is one.
    pub fn take(self: &Rc<Self>, gate: &Rc<Gate>, fresh: bool, now: Instant) -> Option<Lease> {
        let mut own = self.links.borrow_mut();
        while let Some(found) = own.iter().rposition(|(_, its_gate, _)| Rc::ptr_eq(its_gate, gate)) {
            let (mut link, gate, _) = own.remove(found);
            if link.rested(now) <= longest_rest(fresh) && link.is_usable() {
                let active = Gauge::up(&gate.meter, |meter| &meter.active);
                let home = Home::Client(Rc::downgrade(self));
                return Some(Lease { home, ..Lease::new(link, gate, 0, active) });
            }
        }
        None
    }

    /// Closes those that have rested for too long, and those to gates that nobody may come to.
    pub fn sweep(&self, is_open: impl Fn(&Rc<Gate>) -> bool, now: Instant) {
        self.links.borrow_mut().retain_mut(|(link, gate, _)| {
            is_open(gate) && link.rested(now) <= LONGEST_REST && link.is_usable()
        });
    }

    fn put(&self, link: Link, gate: Rc<Gate>, idle: Counted<GatewayMeter>) {
        let mut own = self.links.borrow_mut();
        if own.len() >= OWN {
            own.remove(0);
        }
        own.push((link, gate, idle));
    }
}

/// Links that wait for a request, the one used last at the end.
#[derive(Default)]
pub struct Resting {
    links: RefCell<VecDeque<(Link, Counted<GatewayMeter>)>>,
    /// Nobody comes to this gate again.
    is_closed: Cell<bool>,
}

impl Lease {
    /// A link that has just been opened, and is to rest at its gate with so many others at most.
    pub fn new(link: Link, gate: Rc<Gate>, room: usize, active: Counted<GatewayMeter>) -> Self {
        Self { link, gate, home: Home::Gate { room }, is_spent: false, upload: None, _active: active }
    }

    /// The same, to rest with one client.
    pub fn owned_by(mut self, own: &Rc<Own>) -> Self {
        if matches!(self.home, Home::Gate { room: 1.. }) {
            self.home = Home::Client(Rc::downgrade(own));
        }
        self
    }

    /// Sends a request. An error has it with it if not a byte of it has left.
    pub async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        self.upload = request.body().upload();
        let response = self.link.send(request).await?;
        // The gateway has answered before the end of a request that still goes on: the next one would wait
        // behind that. To one that speaks HTTP/1.0 hyper would write the next request so, too, and a body
        // without a length would get lost (RFC 9112 §7.1).
        self.is_spent = self.upload.as_ref().is_some_and(|upload| !upload.is_over())
            || response.version() == Version::HTTP_10;
        Ok(response)
    }

    /// Does what there is to do for the rest of the response. `false`: a task does that.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        self.link.poll(cx)
    }

    /// Has a task do that from now on.
    pub fn hand_to_task(&mut self) {
        self.link.hand_to_task();
    }

    /// The stream under it, once it speaks HTTP no longer, with what has been read of it already.
    pub async fn into_stream(self) -> Option<(GatewayStream, Bytes, Counted<GatewayMeter>)> {
        let (stream, early) = self.link.into_stream().await?;
        Some((stream, early, self._active))
    }
}

/// Keeps a link for the next request, unless enough rest there already, or it is of no more use.
pub fn give_back(lease: Lease) {
    let Lease { mut link, gate, home, is_spent, upload, _active: active } = lease;
    if upload.is_some_and(|upload| !upload.is_over()) {
        link.finish(active);
        return;
    }
    drop(active);
    if is_spent {
        return;
    }
    link.rests(Instant::now());
    let idle = Gauge::up(&gate.meter, |meter| &meter.idle);
    match home {
        Home::Client(own) => {
            if let Some(own) = own.upgrade() {
                own.put(link, gate, idle);
            }
        }
        Home::Gate { room } => {
            let mut resting = gate.resting.links.borrow_mut();
            if resting.len() < room && !gate.resting.is_closed.get() {
                resting.push_back((link, idle));
            }
        }
    }
}

/// Takes the link that was used last, if one rests at the gate; with `fresh`, only if that was just now.
pub fn take(gate: &Rc<Gate>, room: usize, fresh: bool, now: Instant) -> Option<Lease> {
    let mut resting = gate.resting.links.borrow_mut();
    // those before the last one have rested longer
    while resting.back().is_some_and(|(link, _)| link.rested(now) <= longest_rest(fresh)) {
        let (mut link, _) = resting.pop_back()?;
        if link.is_usable() {
            let active = Gauge::up(&gate.meter, |meter| &meter.active);
            return Some(Lease::new(link, Rc::clone(gate), room, active));
        }
    }
    None
}

impl Resting {
    /// Closes those that have rested for too long, and lets go of those that the gateway has closed.
    pub fn sweep(&self, now: Instant) {
        self.links.borrow_mut().retain_mut(|(link, _)| link.rested(now) <= LONGEST_REST && link.is_usable());
    }

    /// Closes all.
    pub fn clear(&self) {
        self.links.borrow_mut().clear();
    }

    /// Closes all, and those as well that still have a request, as soon as they are done with it.
    pub fn close(&self) {
        self.is_closed.set(true);
        self.clear();
    }
}

fn longest_rest(fresh: bool) -> Duration {
    if fresh { JUST_NOW } else { LONGEST_REST }
}

/// How long a connection waits for the next request. Common servers close theirs after 5 (Apache) to 75 s
/// (nginx).
const LONGEST_REST: Duration = Duration::from_secs(15);

/// How many rest with one client: as many as a browser may need at the same time again.
const OWN: usize = 2;

/// A connection used this lately is not about to be closed by the gateway for having waited too long.
const JUST_NOW: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::AsyncReadExt;
    use tokio::net::TcpStream;
    use tokio::task::LocalSet;

    use super::*;
    use crate::fleet::{Endpoint, GatewayName};
    use crate::front::relay::trial::tcp;

    fn gate() -> Rc<Gate> {
        let endpoint = Endpoint::parse("192.0.2.1", 443).unwrap();
        Rc::new(Gate::new(GatewayName::new("gw1"), &endpoint, Arc::default()))
    }

    /// A connection that has just had a request, and the gateway's end of it.
    async fn lease(gate: &Rc<Gate>, home: Home) -> (Lease, TcpStream) {
        let (ours, theirs) = tcp().await;
        let link = Link::over(GatewayStream::Plain(ours)).await.unwrap();
        let active = Gauge::up(&gate.meter, |meter| &meter.active);
        (Lease { home, ..Lease::new(link, Rc::clone(gate), ROOM, active) }, theirs)
    }

    const ROOM: usize = 2;

    /// So many connections that rest at the gate.
    async fn resting<const N: usize>(gate: &Rc<Gate>) -> [TcpStream; N] {
        let mut theirs = Vec::new();
        for _ in 0..N {
            let (lease, stream) = lease(gate, Home::Gate { room: ROOM }).await;
            give_back(lease);
            theirs.push(stream);
        }
        theirs.try_into().unwrap()
    }

    fn counted(gate: &Gate) -> [u64; 2] {
        [gate.meter.active.get(), gate.meter.idle.get()]
    }

    #[tokio::test]
    async fn a_connection_rests_until_it_is_wanted_or_there_is_no_room() {
        let all = LocalSet::new();
        let test = all.run_until(async {
            let gate = gate();
            let [_first, _second, mut third] = resting(&gate).await;
            assert_eq!(third.read(&mut [0]).await.unwrap(), 0, "two is all there is room for");
            assert_eq!(counted(&gate), [0, 2]);
            let one = take(&gate, ROOM, true, Instant::now()).unwrap();
            let _two = take(&gate, ROOM, true, Instant::now()).unwrap();
            assert!(take(&gate, ROOM, true, Instant::now()).is_none());
            assert_eq!(counted(&gate), [2, 0]);
            give_back(one);
            assert_eq!(counted(&gate), [1, 1]);
        });
        test.await;
    }

    #[tokio::test]
    async fn who_cannot_risk_it_gets_one_that_was_in_use_just_now() {
        let all = LocalSet::new();
        let test = all.run_until(async {
            let gate = gate();
            let _theirs: [_; 1] = resting(&gate).await;
            let later = Instant::now() + JUST_NOW * 2;
            assert!(take(&gate, ROOM, true, later).is_none());
            assert_eq!(counted(&gate), [0, 1], "for others it is still there");
            assert!(take(&gate, ROOM, false, later).is_some());
            let _theirs: [_; 1] = resting(&gate).await;
            assert!(take(&gate, ROOM, false, Instant::now() + LONGEST_REST * 2).is_none());
        });
        test.await;
    }

    #[tokio::test]
    async fn what_has_rested_too_long_and_what_is_closed_is_swept_away() {
        let all = LocalSet::new();
        let test = all.run_until(async {
            let gate = gate();
            let [mut old, closed] = resting(&gate).await;
            gate.resting.sweep(Instant::now());
            assert_eq!(counted(&gate), [0, 2]);
            drop(closed);
            while counted(&gate) != [0, 1] {
                tokio::task::yield_now().await;
                gate.resting.sweep(Instant::now());
            }
            gate.resting.sweep(Instant::now() + LONGEST_REST * 2);
            assert_eq!(counted(&gate), [0, 0]);
            assert_eq!(old.read(&mut [0]).await.unwrap(), 0);
            let [mut other] = resting(&gate).await;
            gate.resting.clear();
            assert_eq!(other.read(&mut [0]).await.unwrap(), 0);
        });
        test.await;
    }

    #[tokio::test]
    async fn nothing_comes_to_rest_at_a_gate_that_is_closed() {
        let all = LocalSet::new();
        let test = all.run_until(async {
            let gate = gate();
            let (in_use, mut theirs) = lease(&gate, Home::Gate { room: ROOM }).await;
            let [mut resting] = resting(&gate).await;
            gate.resting.close();
            assert_eq!(resting.read(&mut [0]).await.unwrap(), 0);
            give_back(in_use);
            assert_eq!(counted(&gate), [0, 0], "however long somebody else still has the gate");
            assert_eq!(theirs.read(&mut [0]).await.unwrap(), 0);
        });
        test.await;
    }

    #[tokio::test]
    async fn a_connection_that_is_one_clients_alone_goes_with_him() {
        let all = LocalSet::new();
        let test = all.run_until(async {
            let (gate, other) = (gate(), gate());
            let own = Rc::new(Own::default());
            let (lease, _theirs) = lease(&gate, Home::Gate { room: ROOM }).await;
            give_back(lease.owned_by(&own));
            assert!(take(&gate, ROOM, false, Instant::now()).is_none(), "nobody else gets it");
            let lease = own.take(&gate, true, Instant::now()).unwrap();
            give_back(lease);
            assert!(own.take(&other, true, Instant::now()).is_none(), "it leads to one gateway");
            assert!(own.take(&gate, true, Instant::now()).is_some(), "and waits for him meanwhile");
            let (lease, mut theirs) = self::lease(&gate, Home::Gate { room: ROOM }).await;
            give_back(lease.owned_by(&own));
            drop(own);
            assert_eq!(theirs.read(&mut [0]).await.unwrap(), 0);
        });
        test.await;
    }
}
