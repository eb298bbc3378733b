use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use super::limit::{Admission, Place, Rejection};
use super::meter::Meter;
use super::settings::{ListenerSettings, Mode};
use super::tls::{Tickets, Tls};
use crate::net::tls::TlsError;

/// A listener as the workers share it.
#[derive(Debug)]
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
    /// Whose turn it is.
    turns: Arc<AtomicU64>,
}

impl Plan {
    /// A listener that nobody has come to yet.
    pub fn new(settings: ListenerSettings, tickets: &Tickets, workers: usize) -> Result<Self, TlsError> {
        Ok(Self {
            tls: tls(&settings, tickets)?,
            admission: Arc::new(Admission::new()),
            meters: meters(workers),
            open: Arc::new(watch::Sender::new(0)),
            turns: Arc::default(),
            settings,
        })
    }

    /// The listener at the same address under new settings: its connections and its sockets stay. Under
    /// another name it is another one to those who count.
    pub fn with(&self, settings: ListenerSettings, tickets: &Tickets) -> Result<Self, TlsError> {
        let renamed = self.settings.name != settings.name;
        Ok(Self {
            tls: tls(&settings, tickets)?,
            admission: Arc::clone(&self.admission),
            meters: if renamed { meters(self.meters.len()) } else { Arc::clone(&self.meters) },
            open: Arc::clone(&self.open),
            turns: Arc::clone(&self.turns),
            settings,
        })
    }

    /// Gives a place to a connection from `peer`, or says why not. Where `peer` will say on whose behalf it
    /// comes, that is whom the place is [charged](Place::charge) to.
    pub fn admit(&self, peer: IpAddr) -> Result<Place, Rejection> {
        let limits = &self.settings.limits;
        match self.settings.mode.upstream() {
            Some(upstream) if upstream.expects_header(peer) => self.admission.admit_anyone(limits),
            _ => self.admission.admit(peer, limits),
        }
    }

    /// The number of the next choice by turns. All workers count together: each gateway gets its turn however
    /// the kernel spreads the connections over them.
    pub fn turn(&self) -> u64 {
        self.turns.fetch_add(1, Ordering::Relaxed)
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
