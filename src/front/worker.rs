//! The data plane: threads with a runtime, sockets and a cached snapshot of their own. A request never
//! leaves the thread that accepted it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, LocalSet};

use super::access::AccessQueue;
use super::door::Door;
use super::listener;
use super::plan::Plan;
use super::tunnels::Tunnels;
use crate::fleet::{Failure, View};
use crate::net::roll::Member;
use crate::net::stop::{self, Stop, Stopper};

/// What a worker is to serve from now on: every listener, with its sockets for those that are new.
pub struct Assignment {
    /// Listeners that are not among these are closed. One that is open already comes without sockets.
    pub listeners: Vec<(Arc<Plan>, Vec<StdListener>)>,
    /// Where requests are noted, if they are.
    pub access: Option<AccessQueue>,
    /// To whom it is told that a gateway cannot be connected to.
    pub failures: mpsc::Sender<Failure>,
}

/// A running worker.
pub struct Worker {
    assignments: mpsc::UnboundedSender<Assignment>,
    thread: JoinHandle<()>,
}

impl Worker {
    /// Starts the thread. It serves nothing until it is given something to serve.
    /// It answers to the roll as `member`.
    pub fn start(number: usize, view: View, member: Member, stop: Stop) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (assignments, receiver) = mpsc::unbounded_channel();
        let thread = std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
            let desk =
                Desk { number, view, open: HashMap::new(), tasks: JoinSet::new(), tunnels: Tunnels::new() };
            LocalSet::new().block_on(&runtime, desk.run(receiver, member, stop));
            // a lookup that hangs is not waited for
            runtime.shutdown_background();
        })?;
        Ok(Self { assignments, thread })
    }

    /// Has the worker serve this from now on.
    pub fn assign(&self, assignment: Assignment) {
        // a worker that is gone is found by `join`
        let _ = self.assignments.send(assignment);
    }

    /// Whether the thread has ended.
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the thread to end after its stop; `Err` if it has panicked.
    pub fn join(self) -> std::thread::Result<()> {
        drop(self.assignments);
        self.thread.join()
    }
}

struct Desk {
    number: usize,
    view: View,
    open: HashMap<SocketAddr, Open>,
    tasks: JoinSet<()>,
    tunnels: Tunnels,
}

struct Open {
    door: Rc<RefCell<Rc<Door>>>,
    // dropping it closes the listener
    _stopper: Stopper,
}

/// Counts a listener as open on this worker for as long as it lives.
struct CountedOpen(Arc<watch::Sender<usize>>);

impl CountedOpen {
    fn new(open: Arc<watch::Sender<usize>>) -> Self {
        open.send_modify(|open| *open += 1);
        Self(open)
    }
}

impl Drop for CountedOpen {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

/// Has a door tidy up now and then, as long as anybody is served by it.
async fn tidy_up(door: Weak<Door>) {
    loop {
        tokio::time::sleep(TIDYING).await;
        let Some(door) = door.upgrade() else { return };
        door.tidy_up(Instant::now());
    }
}

const TIDYING: Duration = Duration::from_secs(1);

/// How long open connections have to finish when a worker stops.
const GRACE: Duration = Duration::from_secs(5);

impl Desk {
    async fn run(
        mut self,
        mut assignments: mpsc::UnboundedReceiver<Assignment>,
        mut member: Member,
        mut stop: Stop,
    ) {
        loop {
            tokio::select! {
                biased;
                () = stop.stopped() => break,
                assignment = assignments.recv() => match assignment {
                    Some(assignment) => self.take(assignment),
                    None => break,
                },
                () = member.answer() => {}
                Some(ended) = self.tasks.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "a listener has failed on one worker; restart the front door");
                    }
                }
            }
        }
        self.open.clear();
        while self.tasks.join_next().await.is_some() {}
        // those that are left are cut when the tasks of this thread are dropped
        let _ = tokio::time::timeout(GRACE, self.tunnels.ended()).await;
    }

    fn take(&mut self, assignment: Assignment) {
        let stay: Vec<_> = assignment.listeners.iter().map(|(plan, _)| plan.settings.address).collect();
        self.open.retain(|address, _| stay.contains(address));
        for (plan, sockets) in assignment.listeners {
            let address = plan.settings.address;
            let access = assignment.access.clone();
            let failures = assignment.failures.clone();
            let (view, tunnels) = (self.view.clone(), self.tunnels.clone());
            let Some(door) = Door::new(plan, self.number, view, access, failures, tunnels) else {
                continue;
            };
            let door = Rc::new(door);
            if door.plan.settings.mode.upstream().is_some() {
                tokio::task::spawn_local(tidy_up(Rc::downgrade(&door)));
            }
            match self.open.get(&address) {
                Some(open) => *open.door.borrow_mut() = door,
                None if sockets.is_empty() => {
                    tracing::error!(%address, "a listener has come without its socket");
                }
                None => self.open(address, door, sockets),
            }
        }
    }

    fn open(&mut self, address: SocketAddr, door: Rc<Door>, sockets: Vec<StdListener>) {
        let (stopper, stop) = stop::channel();
        // open as long as one of them is
        let counted = Rc::new(CountedOpen::new(Arc::clone(&door.plan.open)));
        let door = Rc::new(RefCell::new(door));
        self.open.insert(address, Open { door: Rc::clone(&door), _stopper: stopper });
        for socket in sockets {
            let (door, counted, stop) = (Rc::clone(&door), Rc::clone(&counted), stop.clone());
            self.tasks.spawn_local(async move {
                if let Err(error) = listener::run(socket, door, counted, stop).await {
                    tracing::error!(%address, %error, "a listener has failed");
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::{Balance, FleetSettings, Publisher, Roster, Thresholds, Weights};
    use crate::net::clock::now;
    use crate::net::roll::Roll;

    #[test]
    fn a_worker_answers_the_roll_as_long_as_it_turns() {
        let settings = FleetSettings {
            gateways: Vec::new(),
            thresholds: Thresholds::default(),
            weights: Weights::default(),
            balance: Balance::default(),
        };
        let publisher = Publisher::new(Roster::new(settings, now()).snapshot());
        let (roll, (stopper, stop)) = (Roll::default(), stop::channel());
        let worker = Worker::start(0, publisher.view(), roll.enlist(), stop).unwrap();
        let answers = || {
            let called = Instant::now();
            while !roll.call() {
                if called.elapsed() > Duration::from_secs(20) {
                    return false;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            true
        };
        assert!(answers() && answers() && answers());
        stopper.stop();
        worker.join().unwrap();
        // the last call has either come too late, or was answered, and then the next one is not
        assert!(!roll.call() || !roll.call());
    }
}
