use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::doors::what_to_do;
use super::udp::{Duty, UdpThread};
use crate::dve::{self, DveSettings};
use crate::fleet::{Standing, View};
use crate::ike::IkeSettings;
use crate::net::datagrams::{self, Responder};
use crate::net::stop::Stop;

/// Who answers native clients: over DVE, and over IKEv2.
pub struct Responders {
    count: usize,
    threads: Vec<UdpThread>,
    open: Vec<SocketAddr>,
    view: View,
    standing: Standing,
    meters: Meters,
    taken: watch::Sender<usize>,
    stop: Stop,
}

/// What they count, for as long as the front door runs.
#[derive(Clone, Default)]
pub struct Meters {
    /// DVE.
    pub dve: Arc<dve::Meter>,
}

/// New responders with their sockets, made ready and not yet in use.
pub struct Prepared {
    addresses: Vec<(SocketAddr, Kind, Option<Vec<UdpSocket>>)>,
}

#[derive(Clone)]
enum Kind {
    Dve(Arc<dve::Shared>),
}

/// Why they cannot answer.
#[derive(Debug, thiserror::Error)]
pub enum RespondersError {
    /// A socket.
    #[error("cannot listen on {address}/udp ({section}): {}{}", crate::net::words::in_words(.cause), what_to_do(.cause))]
    Bind {
        /// Where in the configuration.
        section: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the kernel says.
        #[source]
        cause: io::Error,
    },
    /// A thread.
    #[error("cannot start a thread for UDP")]
    Thread(#[source] io::Error),
}

impl Responders {
    /// As many threads as that, once there is something to answer.
    pub fn new(count: usize, view: &View, standing: Standing, stop: &Stop) -> Self {
        Self {
            count,
            threads: Vec::new(),
            open: Vec::new(),
            view: view.clone(),
            standing,
            meters: Meters::default(),
            taken: watch::Sender::new(0),
            stop: stop.clone(),
        }
    }

    /// What they count.
    pub fn meters(&self) -> Meters {
        self.meters.clone()
    }

    /// Makes everything ready that can fail. Nothing is answered otherwise until this is [taken up](Self::take_up).
    pub fn prepare(
        &mut self,
        dve: Option<&DveSettings>,
        _ike: Option<&IkeSettings>,
    ) -> Result<Prepared, RespondersError> {
        let mut addresses = Vec::new();
        if let Some(settings) = dve {
            let shared = dve::Shared::new(settings.clone(), Arc::clone(&self.meters.dve), Instant::now());
            let kind = Kind::Dve(Arc::new(shared));
            addresses.extend(settings.listen.iter().map(|address| ("[dve] listen", *address, kind.clone())));
        }
        let addresses = addresses.into_iter().map(|(section, address, kind)| {
            let is_open = self.open.contains(&address);
            let bind = || datagrams::bind(address, self.count);
            let sockets = (!is_open).then(bind).transpose();
            Ok((address, kind, sockets.map_err(|cause| RespondersError::Bind { section, address, cause })?))
        });
        let addresses = addresses.collect::<Result<Vec<_>, _>>()?;
        if self.threads.is_empty() && !addresses.is_empty() {
            let start = |number| UdpThread::start(number, self.taken.clone(), self.stop.clone());
            let threads = (0..self.count).map(start).collect::<Result<_, _>>();
            self.threads = threads.map_err(RespondersError::Thread)?;
        }
        Ok(Prepared { addresses })
    }

    /// Has every thread answer what was prepared; returns when they do, or should.
    pub async fn take_up(&mut self, mut prepared: Prepared) {
        self.open = prepared.addresses.iter().map(|(address, ..)| *address).collect();
        self.taken.send_replace(0);
        for thread in &self.threads {
            let addresses = prepared.addresses.iter_mut().map(|(address, kind, sockets)| {
                let responder: Box<dyn Responder + Send> = match kind {
                    Kind::Dve(shared) => {
                        let (view, standing) = (self.view.clone(), self.standing.clone());
                        Box::new(dve::Responder::new(Arc::clone(shared), view, standing))
                    }
                };
                (*address, responder, sockets.as_mut().and_then(Vec::pop))
            });
            thread.assign(Duty { addresses: addresses.collect() });
        }
        let mut taken = self.taken.subscribe();
        let all = taken.wait_for(|count| *count >= self.threads.len());
        // one that does not take its duty up has said why
        let _ = tokio::time::timeout(HANDING_OVER, all).await;
    }

    /// Whether a thread has ended though nobody has told it to.
    pub fn has_lost_a_thread(&self) -> bool {
        self.threads.iter().any(UdpThread::has_ended)
    }

    /// Waits for the threads to end after their stop; tells how many have panicked.
    pub fn join(self) -> usize {
        self.threads.into_iter().filter_map(|thread| thread.join().err()).count()
    }
}

const HANDING_OVER: Duration = Duration::from_secs(1);
