use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use super::limit::{Admission, Place, Rejection};
use super::meter::Meter;
use super::sessions::Sessions;
use super::settings::{ListenerSettings, Mode};
use super::tls::{Tickets, Tls};
use super::troubles::Troubles;
use crate::net::Sites;
use crate::net::tls::TlsError;

/// A listener as the workers share it.
pub struct Plan {
    /// As configured.
    pub settings: ListenerSettings,
    /// Its TLS; `None`: plain HTTP.
    pub tls: Option<Tls>,
    /// Its connections, over all workers.
    pub admission: Arc<Admission>,
    /// One for each worker.
    pub meters: Arc<[Arc<Meter>]>,
    /// How many workers have its socket open.
    pub open: Arc<watch::Sender<usize>>,
    /// The sessions that gateways have opened.
    pub sessions: Arc<Sessions>,
    /// Where gateways are.
    pub sites: Arc<Sites>,
    /// What goes wrong with clients.
    pub troubles: Arc<Troubles>,
    /// Whose turn it is.
    turns: Arc<AtomicU64>,
}

/// What all listeners share, for the life of the process.
#[derive(Clone)]
pub struct Common {
    /// The keys of TLS sessions.
    pub tickets: Tickets,
    /// The sessions that gateways have opened.
    pub sessions: Arc<Sessions>,
    /// Where gateways are.
    pub sites: Arc<Sites>,
}

impl Common {
    /// New keys, and nobody is known yet.
    pub fn new() -> Result<Self, TlsError> {
        Ok(Self { tickets: Tickets::new()?, sessions: Arc::new(Sessions::new()), sites: Arc::default() })
    }
}

impl Plan {
    /// A listener that nobody has come to yet.
    pub fn new(settings: ListenerSettings, common: &Common, workers: usize) -> Result<Self, TlsError> {
        Ok(Self {
            tls: tls(&settings, &common.tickets)?,
            admission: Arc::new(Admission::new()),
            meters: meters(workers),
            open: Arc::new(watch::Sender::new(0)),
            sessions: Arc::clone(&common.sessions),
            sites: Arc::clone(&common.sites),
            troubles: Arc::default(),
            turns: Arc::default(),
            settings,
        })
    }

    /// The listener at the same address under new settings: its connections and its sockets stay. Under
    /// another name it is another one to those who count.
    pub fn with(&self, settings: ListenerSettings, common: &Common) -> Result<Self, TlsError> {
        let renamed = self.settings.name != settings.name;
        Ok(Self {
            tls: tls(&settings, &common.tickets)?,
            admission: Arc::clone(&self.admission),
            meters: if renamed { meters(self.meters.len()) } else { Arc::clone(&self.meters) },
            open: Arc::clone(&self.open),
            sessions: Arc::clone(&self.sessions),
            sites: Arc::clone(&self.sites),
            troubles: Arc::clone(&self.troubles),
            turns: Arc::clone(&self.turns),
            settings,
        })
    }

    /// Gives a place to a connection from `peer`, or says why not. A trusted proxy stands for many, and is
    /// itself not limited as a source; where it will say on whose behalf a connection comes, that is whom the
    /// place is [charged](Place::charge) to.
    pub fn admit(&self, peer: IpAddr) -> Result<Place, Rejection> {
        let limits = &self.settings.limits;
        match self.settings.mode.upstream() {
            Some(upstream) if upstream.trusts(peer) => self.admission.admit_anyone(limits),
            _ => self.admission.admit(peer, limits),
        }
    }

    /// The number of the next choice by turns. All workers count together: each gateway gets its turn however
    /// the kernel spreads the connections over them.
    pub fn turn(&self) -> u64 {
        self.turns.fetch_add(1, Ordering::Relaxed)
    }

    /// The number that the next one will have.
    pub fn next_turn(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// Whether every worker has its socket open.
    pub fn is_open(&self) -> bool {
        *self.open.borrow() == self.meters.len()
    }

    /// Returns when every worker has its socket open.
    pub async fn opened(&self) {
        // its sender is in this plan, so it is not gone
        let _ = self.open.subscribe().wait_for(|open| *open == self.meters.len()).await;
    }

    /// Returns when no worker has its socket open.
    pub async fn closed(&self) {
        let _ = self.open.subscribe().wait_for(|open| *open == 0).await;
    }
}

fn tls(settings: &ListenerSettings, tickets: &Tickets) -> Result<Option<Tls>, TlsError> {
    match &settings.mode {
        Mode::Redirect(certificates) | Mode::Proxy(certificates, _) => {
            Ok(Some(Tls::new(Arc::clone(certificates), tickets)?))
        }
        Mode::HttpsUpgrade(_) | Mode::Passthrough(_) => Ok(None),
    }
}

fn meters(workers: usize) -> Arc<[Arc<Meter>]> {
    (0..workers).map(|_| Arc::default()).collect()
}
