use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::doors::what_to_do;
use super::udp::{Duty, UdpThread};
use crate::dve::{self, DveSettings};
use crate::fleet::{Ask, Standing, View, Vpn};
use crate::ike::{self, IkeSettings};
use crate::net::datagrams::{self, Responder};
use crate::net::inherited::{Inherited, Shares};
use crate::net::roll::Roll;
use crate::net::stop::Stop;

/// Who answers native clients: over DVE, and over IKEv2.
pub struct Responders {
    count: usize,
    threads: Vec<UdpThread>,
    places: Places,
    view: View,
    standing: Standing,
    /// Once it is needed: its rates are some MiB.
    ike: Option<Arc<ike::Common>>,
    taken: watch::Sender<usize>,
    inherited: Inherited,
    roll: Roll,
    stop: Stop,
}

/// Where datagrams are answered, and were: for whoever wants to see.
#[derive(Clone, Default)]
pub struct Places(Arc<Mutex<Vec<Place>>>);

/// One address.
#[derive(Clone)]
pub struct Place {
    /// The address.
    pub address: SocketAddr,
    /// Whether it is answered there now.
    pub is_open: bool,
    /// Whom its clients may be sent to.
    pub ask: Ask,
    /// What it has counted. It goes on counting when the address comes again.
    pub meter: Meter,
}

/// What is counted, by what is spoken.
#[derive(Clone)]
pub enum Meter {
    /// DVE.
    Dve(Arc<dve::Meter>),
    /// IKEv2.
    Ike(Arc<ike::Meter>),
}

/// New responders with their sockets, made ready and not yet in use.
pub struct Prepared {
    places: Vec<(Place, Kind, Shares<UdpSocket>)>,
}

/// What a responder is made of.
enum Kind {
    Dve(Arc<dve::Shared>, Arc<dve::Meter>),
    Ike(Arc<IkeSettings>, Arc<ike::Common>, Arc<ike::Meter>),
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
    /// A secret.
    #[error(transparent)]
    Secret(#[from] ike::NoRandomness),
}

impl Responders {
    /// As many threads as that, once there is something to answer. Where a socket is `inherited`, none is opened.
    pub fn new(
        count: usize,
        view: &View,
        standing: Standing,
        (inherited, roll): (Inherited, &Roll),
        stop: &Stop,
    ) -> Self {
        Self {
            count,
            threads: Vec::new(),
            places: Places::default(),
            view: view.clone(),
            standing,
            ike: None,
            taken: watch::Sender::new(0),
            inherited,
            roll: roll.clone(),
            stop: stop.clone(),
        }
    }

    /// Where datagrams are answered, as it is at any time from now on.
    pub fn places(&self) -> Places {
        self.places.clone()
    }

    /// Makes everything ready that can fail. Nothing is answered otherwise until this is [taken up](Self::take_up).
    pub fn prepare(
        &mut self,
        dve: Option<&DveSettings>,
        ike: Option<&IkeSettings>,
    ) -> Result<Prepared, RespondersError> {
        let mut places = Vec::new();
        if let Some(settings) = dve {
            let shared = Arc::new(dve::Shared::new(settings.clone(), Instant::now()));
            let ask = Ask { vrrp_id: None, vpn: Vpn::Native };
            for address in settings.listen.iter().copied() {
                let meter = self.places.find(address, |meter| match meter {
                    Meter::Dve(meter) => Some(meter),
                    Meter::Ike(_) => None,
                });
                let kind = Kind::Dve(Arc::clone(&shared), meter.unwrap_or_default());
                places.push(self.place("[dve] listen", address, ask, kind)?);
            }
        }
        if let Some(settings) = ike {
            let common = match &self.ike {
                Some(common) => Arc::clone(common),
                None => Arc::clone(self.ike.insert(Arc::new(ike::Common::new()?))),
            };
            let shared = Arc::new(settings.clone());
            let ask = Ask { vrrp_id: settings.vrrp_id, vpn: Vpn::Native };
            for address in settings.listen.iter().copied() {
                let meter = self.places.find(address, |meter| match meter {
                    Meter::Ike(meter) => Some(meter),
                    Meter::Dve(_) => None,
                });
                let kind = Kind::Ike(Arc::clone(&shared), Arc::clone(&common), meter.unwrap_or_default());
                places.push(self.place("[ikev2_redirect] listen", address, ask, kind)?);
            }
        }
        if self.threads.is_empty() && !places.is_empty() {
            let start =
                |number| UdpThread::start(number, self.taken.clone(), self.roll.enlist(), self.stop.clone());
            let threads = (0..self.count).map(start).collect::<Result<_, _>>();
            self.threads = threads.map_err(RespondersError::Thread)?;
        }
        Ok(Prepared { places })
    }

    /// An address with its sockets, where it is not open yet.
    fn place(
        &self,
        section: &'static str,
        address: SocketAddr,
        ask: Ask,
        kind: Kind,
    ) -> Result<(Place, Kind, Shares<UdpSocket>), RespondersError> {
        let is_open = self.places.get().iter().any(|place| place.is_open && place.address == address);
        let sockets = if is_open { Ok(Shares::new()) } else { self.bind(address) };
        let sockets = sockets.map_err(|cause| RespondersError::Bind { section, address, cause })?;
        Ok((Place { address, is_open: true, ask, meter: kind.meter() }, kind, sockets))
    }

    /// Sockets for each thread: the manager's, or our own.
    fn bind(&self, address: SocketAddr) -> io::Result<Shares<UdpSocket>> {
        match self.inherited.udp(address, self.count)? {
            Some(shares) => Ok(shares),
            None => Ok(datagrams::bind(address, self.count)?.into_iter().map(|own| vec![own]).collect()),
        }
    }

    /// Has every thread answer what was prepared; returns when they do, or should.
    pub async fn take_up(&self, mut prepared: Prepared) {
        self.places.go_over_to(prepared.places.iter().map(|(place, ..)| place));
        self.taken.send_replace(0);
        for thread in &self.threads {
            let addresses = prepared.places.iter_mut().map(|(place, kind, sockets)| {
                (place.address, self.responder(kind), sockets.pop().unwrap_or_default())
            });
            thread.assign(Duty { addresses: addresses.collect() });
        }
        let mut taken = self.taken.subscribe();
        let all = taken.wait_for(|count| *count >= self.threads.len());
        // one that does not take its duty up has said why
        let _ = tokio::time::timeout(HANDING_OVER, all).await;
    }

    fn responder(&self, kind: &Kind) -> Box<dyn Responder + Send> {
        let (view, standing) = (self.view.clone(), self.standing.clone());
        match kind {
            Kind::Dve(shared, meter) => {
                Box::new(dve::Responder::new(Arc::clone(shared), Arc::clone(meter), view, standing))
            }
            Kind::Ike(settings, common, meter) => {
                let (settings, common, meter) = (Arc::clone(settings), Arc::clone(common), Arc::clone(meter));
                Box::new(ike::Responder::new(settings, common, meter, view, standing))
            }
        }
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

impl Places {
    /// As they are now, also those that are no longer open.
    pub fn get(&self) -> Vec<Place> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What an address has counted before, of one kind.
    fn find<T>(&self, address: SocketAddr, kind: impl Fn(Meter) -> Option<T>) -> Option<T> {
        self.get().into_iter().filter(|place| place.address == address).find_map(|place| kind(place.meter))
    }

    fn go_over_to<'a>(&self, new: impl Iterator<Item = &'a Place>) {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut now: Vec<_> = new.cloned().collect();
        // what was counted elsewhere is not lost
        for old in places.drain(..) {
            if !now.iter().any(|place| place.meter.is_same(&old.meter)) {
                now.push(Place { is_open: false, ..old });
            }
        }
        *places = now;
    }
}

impl Kind {
    fn meter(&self) -> Meter {
        match self {
            Self::Dve(_, meter) => Meter::Dve(Arc::clone(meter)),
            Self::Ike(.., meter) => Meter::Ike(Arc::clone(meter)),
        }
    }
}

impl Meter {
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Dve(one), Self::Dve(other)) => Arc::ptr_eq(one, other),
            (Self::Ike(one), Self::Ike(other)) => Arc::ptr_eq(one, other),
            (Self::Dve(_), Self::Ike(_)) | (Self::Ike(_), Self::Dve(_)) => false,
        }
    }
}

const HANDING_OVER: Duration = Duration::from_secs(1);
