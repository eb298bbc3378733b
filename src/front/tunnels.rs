use std::cell::Cell;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::StatusCode;
use tokio::sync::watch;

use super::access::{Access, End, Event};
use super::door::Door;
use super::gate::Gate;
use super::limit::Place;
use super::meter::{Counted, Direction, GatewayMeter, Gauge, Meter};
use super::relay::Ended;

/// The tunnels of one worker, and what else is no longer a listener's: the connections of one that is closed. They
/// go on until they end by themselves; a worker that stops waits for them a while and then cuts them.
///
/// Every clone stands for the same tunnels.
#[derive(Clone)]
pub struct Tunnels(Rc<watch::Sender<usize>>);

impl Tunnels {
    /// None yet.
    pub fn new() -> Self {
        Self(Rc::new(watch::Sender::new(0)))
    }

    /// Runs a tunnel on this thread, inside its [`LocalSet`](tokio::task::LocalSet), until it ends or the
    /// worker does.
    pub fn spawn(&self, tunnel: impl Future<Output = ()> + 'static) {
        let running = Running::new(self);
        tokio::task::spawn_local(async move {
            let _running = running;
            tunnel.await;
        });
    }

    /// Returns when there is none.
    pub async fn ended(&self) {
        // its sender is in here, so it is not gone
        let _ = self.0.subscribe().wait_for(|running| *running == 0).await;
    }
}

/// One tunnel, for as long as it runs.
struct Running(Tunnels);

impl Running {
    fn new(tunnels: &Tunnels) -> Self {
        tunnels.0.send_modify(|running| *running += 1);
        Self(tunnels.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.0.send_modify(|running| *running -= 1);
    }
}

/// What is kept of a tunnel while it lasts. When this is dropped, at the tunnel's end, its place is free again
/// and its line is written to the access log.
pub struct Record {
    /// What has gone through.
    pub carried: Carried,
    door: Rc<Door>,
    gate: Rc<Gate>,
    client: SocketAddr,
    status: Option<StatusCode>,
    began: Instant,
    ended: Cell<Option<Ended>>,
    _tunnel: Counted<GatewayMeter>,
    _active: Counted<GatewayMeter>,
    _place: Rc<Place>,
}

impl Record {
    /// A tunnel of `client` to a gateway that begins now; `status` is that of the answer that opened it, where
    /// one did. `active` is the guard of [`GatewayMeter::active`] of the connection to the gateway.
    pub fn new(
        door: &Rc<Door>,
        gate: Rc<Gate>,
        client: SocketAddr,
        status: Option<StatusCode>,
        active: Counted<GatewayMeter>,
        place: Rc<Place>,
    ) -> Self {
        Self {
            carried: Carried::new(&door.meter),
            door: Rc::clone(door),
            client,
            status,
            began: Instant::now(),
            ended: Cell::new(None),
            _tunnel: Gauge::up(&gate.meter, |meter| &meter.tunnels),
            gate,
            _active: active,
            _place: place,
        }
    }

    /// The tunnel has ended by itself. One that has not is cut off when this is dropped.
    pub fn ended(&self, ended: Ended) {
        self.ended.set(Some(ended));
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.door.log(|| Access {
            event: Event::Tunnel {
                status: self.status,
                end: self.ended.get().map_or(End::Cut, End::from),
                bytes_in: self.carried.get(Direction::In),
            },
            client: self.client,
            listener: Arc::clone(&self.door.plan.settings.name),
            gateway: Some(self.gate.name.clone()),
            bytes: self.carried.get(Direction::Out),
            took: self.began.elapsed(),
        });
    }
}

/// Counts what goes through one tunnel, for the listener as it goes, and altogether.
pub struct Carried {
    meter: Arc<Meter>,
    bytes: [Cell<u64>; 2],
    /// What goes next from the client has been counted for the listener when it came.
    counted: Cell<usize>,
}

impl Carried {
    /// Nothing yet.
    pub fn new(meter: &Arc<Meter>) -> Self {
        Self { meter: Arc::clone(meter), bytes: Default::default(), counted: Cell::new(0) }
    }

    /// So many bytes that the client has sent before the tunnel have been counted for the listener.
    pub fn has_counted(&self, bytes: usize) {
        self.counted.set(bytes);
    }

    /// These bytes have gone through.
    pub fn add(&self, direction: Direction, bytes: usize) {
        let counted = match direction {
            Direction::In => self.counted.get().min(bytes),
            Direction::Out => 0,
        };
        self.counted.set(self.counted.get() - counted);
        self.meter.transferred(direction, bytes - counted);
        if let Some(sum) = self.bytes.get(direction.index()) {
            sum.set(sum.get() + bytes as u64);
        }
    }

    /// How many have gone through so far.
    pub fn get(&self, direction: Direction) -> u64 {
        self.bytes.get(direction.index()).map_or(0, Cell::get)
    }

    /// The same of both ways together.
    pub fn sum(&self) -> u64 {
        self.bytes.iter().map(Cell::get).sum()
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;
    use tokio::task::LocalSet;

    use super::*;

    #[tokio::test]
    async fn whoever_waits_for_the_tunnels_waits_for_the_last_one() {
        let tunnels = Tunnels::new();
        let local = LocalSet::new();
        let all = local.run_until(async {
            tunnels.ended().await;
            let (one, first) = oneshot::channel::<()>();
            let (two, second) = oneshot::channel::<()>();
            for end in [first, second] {
                tunnels.spawn(async move {
                    let _ = end.await;
                });
            }
            let ended = tokio::task::spawn_local({
                let tunnels = tunnels.clone();
                async move { tunnels.ended().await }
            });
            drop(one);
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
            assert!(!ended.is_finished());
            drop(two);
            ended.await.unwrap();
        });
        all.await;
    }

    #[tokio::test]
    async fn a_tunnel_that_panics_has_ended() {
        let tunnels = Tunnels::new();
        let local = LocalSet::new();
        let all = local.run_until(async {
            tunnels.spawn(async { panic!("on purpose") });
            tunnels.ended().await;
        });
        all.await;
    }

    #[test]
    fn what_goes_through_is_counted_for_the_tunnel_and_for_the_listener() {
        let meter = Arc::default();
        let (one, two) = (Carried::new(&meter), Carried::new(&meter));
        one.add(Direction::In, 1);
        one.add(Direction::Out, 10);
        two.add(Direction::Out, 100);
        assert_eq!((one.get(Direction::In), one.get(Direction::Out)), (1, 10));
        assert_eq!(meter.transferred.each_ref().map(super::super::meter::Counter::get), [1, 110]);
    }

    #[test]
    fn what_has_come_before_the_tunnel_is_counted_once_for_the_listener() {
        let meter = Arc::default();
        let carried = Carried::new(&meter);
        carried.has_counted(5);
        for bytes in [3, 4] {
            carried.add(Direction::In, bytes);
            carried.add(Direction::Out, bytes);
        }
        assert_eq!(carried.sum(), 14);
        assert_eq!(meter.transferred.each_ref().map(super::super::meter::Counter::get), [2, 7]);
    }
}
