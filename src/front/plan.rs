use std::sync::Arc;

use super::limit::Admission;
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
}

impl Plan {
    /// A listener that nobody has come to yet.
    pub fn new(settings: ListenerSettings, tickets: &Tickets, workers: usize) -> Result<Self, TlsError> {
        let meters = (0..workers).map(|_| Arc::default()).collect();
        Self::assemble(settings, tickets, Arc::default(), meters)
    }

    /// The same listener under new settings: it goes on counting where it was.
    pub fn with(&self, settings: ListenerSettings, tickets: &Tickets) -> Result<Self, TlsError> {
        Self::assemble(settings, tickets, Arc::clone(&self.admission), Arc::clone(&self.meters))
    }

    fn assemble(
        settings: ListenerSettings,
        tickets: &Tickets,
        admission: Arc<Admission>,
        meters: Arc<[Arc<Meter>]>,
    ) -> Result<Self, TlsError> {
        let tls = match &settings.mode {
            Mode::Redirect(certificates) => Some(Tls::new(Arc::clone(certificates), tickets)?),
            Mode::HttpsUpgrade(_) => None,
        };
        Ok(Self { settings, tls, admission, meters })
    }
}
