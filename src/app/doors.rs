use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::fleet::{Failure, View};
use crate::front::{self, AccessQueue, Assignment, Common, ListenerSettings, Plan, Worker};
use crate::net::inherited::{Inherited, Shares};
use crate::net::roll::Roll;
use crate::net::stop::Stop;
use crate::net::tls::TlsError;

/// All workers with what they serve.
pub struct Doors {
    workers: Vec<Worker>,
    common: Common,
    access: AccessQueue,
    failures: mpsc::Sender<Failure>,
    plans: Plans,
    inherited: Inherited,
}

/// The listeners that are open, for whoever wants to see them.
#[derive(Clone, Default)]
pub struct Plans(Arc<Mutex<Vec<Arc<Plan>>>>);

/// New listeners with their sockets, made ready and not yet in use.
pub struct Prepared {
    listeners: Vec<(Arc<Plan>, Shares<TcpListener>)>,
    access: bool,
}

/// Why listeners cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum DoorsError {
    /// A socket.
    #[error("cannot listen on {address} ({name}): {}{}", crate::net::words::in_words(.cause), what_to_do(.cause))]
    Bind {
        /// The listener.
        name: Arc<str>,
        /// Its address.
        address: SocketAddr,
        /// What the kernel says.
        #[source]
        cause: io::Error,
    },
    /// TLS.
    #[error("listener {name}: {cause}")]
    Tls {
        /// The listener.
        name: Arc<str>,
        /// What is wrong.
        #[source]
        cause: TlsError,
    },
    /// A thread.
    #[error("cannot start a worker")]
    Worker(#[source] io::Error),
}

impl Doors {
    /// Starts the workers; they serve nothing yet.
    /// What they find out about gateways goes to `failures`. Where a socket is `inherited`, none is opened.
    pub fn start(
        workers: usize,
        view: &View,
        common: Common,
        failures: mpsc::Sender<Failure>,
        (inherited, roll): (Inherited, &Roll),
        stop: &Stop,
    ) -> Result<Self, DoorsError> {
        let start = |number| Worker::start(number, view.clone(), roll.enlist(), stop.clone());
        let workers = (0..workers).map(start);
        let workers = workers.collect::<Result<_, _>>().map_err(DoorsError::Worker)?;
        let (access, plans) = (AccessQueue::new(), Plans::default());
        Ok(Self { workers, common, access, failures, plans, inherited })
    }

    /// Where the workers note requests.
    pub fn access(&self) -> AccessQueue {
        self.access.clone()
    }

    /// The listeners, as they are at any time from now on.
    pub fn plans(&self) -> Plans {
        self.plans.clone()
    }

    /// Makes everything ready that can fail: TLS, and a socket for each worker where a listener is new.
    /// Nothing has changed until this is [taken up](Self::take_up); dropping it changes nothing.
    pub fn prepare(&self, listeners: &[ListenerSettings], access: bool) -> Result<Prepared, DoorsError> {
        let open: HashMap<_, _> =
            self.plans.get().into_iter().map(|plan| (plan.settings.address, plan)).collect();
        let prepare = |settings: &ListenerSettings| {
            let tls = |cause| DoorsError::Tls { name: Arc::clone(&settings.name), cause };
            let known = open.get(&settings.address);
            let plan = match known {
                Some(plan) => plan.with(settings.clone(), &self.common),
                None => Plan::new(settings.clone(), &self.common, self.workers.len()),
            };
            let sockets = if known.is_some() { Shares::new() } else { self.bind(settings)? };
            Ok((Arc::new(plan.map_err(tls)?), sockets))
        };
        Ok(Prepared { listeners: listeners.iter().map(prepare).collect::<Result<_, _>>()?, access })
    }

    /// Has every worker serve what was prepared, from its next connection on; returns when all listeners are
    /// open and those that have gone are closed, or should have been.
    pub async fn take_up(&self, prepared: Prepared) {
        let before = self.plans.get();
        self.hand_out(prepared);
        let now = self.plans.get();
        let done = async {
            for plan in &now {
                plan.opened().await;
            }
            let stays = |old: &Plan| now.iter().any(|plan| plan.settings.address == old.settings.address);
            for old in before.iter().filter(|old| !stays(old)) {
                old.closed().await;
            }
        };
        // one that does not open has said why, and readiness tells
        let _ = tokio::time::timeout(HANDING_OVER, done).await;
    }

    fn hand_out(&self, prepared: Prepared) {
        let Prepared { mut listeners, access } = prepared;
        self.plans.set(listeners.iter().map(|(plan, _)| Arc::clone(plan)).collect());
        for worker in &self.workers {
            let take = |(plan, sockets): &mut (Arc<Plan>, Shares<TcpListener>)| {
                (Arc::clone(plan), sockets.pop().unwrap_or_default())
            };
            let listeners = listeners.iter_mut().map(take).collect();
            let (access, failures) = (access.then(|| self.access.clone()), self.failures.clone());
            worker.assign(Assignment { listeners, access, failures });
        }
    }

    /// Whether a worker has ended though nobody has told it to.
    pub fn has_lost_a_worker(&self) -> bool {
        self.workers.iter().any(Worker::has_ended)
    }

    /// Waits for the workers to end after their stop; tells how many have panicked.
    pub fn join(self) -> usize {
        self.workers.into_iter().filter_map(|worker| worker.join().err()).count()
    }

    /// Sockets for each worker: the manager's, or our own.
    fn bind(&self, settings: &ListenerSettings) -> Result<Shares<TcpListener>, DoorsError> {
        let (address, workers) = (settings.address, self.workers.len());
        let sockets = match self.inherited.tcp(address, workers) {
            Ok(Some(shares)) => Ok(shares),
            Ok(None) => {
                front::bind(address, workers).map(|own| own.into_iter().map(|one| vec![one]).collect())
            }
            Err(error) => Err(error),
        };
        sockets.map_err(|cause| DoorsError::Bind { name: Arc::clone(&settings.name), address, cause })
    }
}

/// A worker that is busy needs no longer to look at what it is handed.
const HANDING_OVER: Duration = Duration::from_secs(1);

impl Plans {
    /// The listeners as they are now.
    pub fn get(&self) -> Vec<Arc<Plan>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, plans: Vec<Arc<Plan>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = plans;
    }
}

/// What to do about an address that cannot be listened on.
pub fn what_to_do(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need root or CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities=)"
        }
        io::ErrorKind::AddrInUse => "; another program has it: see `ss -ltunp`",
        _ => "",
    }
}
