use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::{Interval, MissedTickBehavior};

use crate::net::early;
use crate::net::inherited::Inherited;
use crate::net::notify::{Event, Notify};

/// What a service manager has given to this process, if one has started it: sockets, and somebody to tell.
#[derive(Debug, Default)]
pub struct Service {
    /// The sockets.
    pub inherited: Inherited,
    /// Whom to tell.
    pub notify: Notify,
    /// What of it is of no use, for the log.
    pub complaints: Vec<String>,
}

impl Service {
    /// As the environment says. To be called once, while the process has but one thread.
    pub fn from_env() -> Self {
        let (inherited, mut complaints) = Inherited::from_env();
        let (notify, complaint) = Notify::from_env();
        complaints.extend(complaint);
        Self { inherited, notify, complaints }
    }

    /// Keeps the sockets of these addresses, and logs what is of no use.
    pub fn settle(self, tcp: &[SocketAddr], udp: &[SocketAddr]) -> (Inherited, Heart) {
        let (inherited, closed) = self.inherited.only(tcp, udp);
        for words in self.complaints.iter().chain(&closed) {
            tracing::warn!("{words}");
        }
        (inherited, Heart::new(self.notify))
    }
}

/// Opens a control plane's socket, unless it was inherited.
pub fn listen(inherited: &Inherited, address: SocketAddr) -> std::io::Result<std::net::TcpListener> {
    let listener = match inherited.single(address)? {
        Some(inherited) => inherited,
        None => std::net::TcpListener::bind(address)?,
    };
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// The same for this runtime.
pub fn listen_here(inherited: &Inherited, address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::from_std(listen(inherited, address)?)
}

/// Opens one before its address is here, unless it was inherited, so that nothing else waits for that.
pub fn listen_early(inherited: &Inherited, address: SocketAddr) -> std::io::Result<std::net::TcpListener> {
    if let Some(inherited) = inherited.single(address)? {
        return Ok(inherited);
    }
    // any address is always here, and is for both families
    if address.ip().is_unspecified() {
        return listen(inherited, address);
    }
    let socket = early::tcp(address)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// As many as the standard library has waiting.
const BACKLOG: i32 = 128;

/// Tells the service manager how this process is, again and again.
#[derive(Debug)]
pub struct Heart {
    notify: Notify,
    ticks: Interval,
    status: String,
}

impl Heart {
    fn new(notify: Notify) -> Self {
        // so often that one beat that is missed, or two, end nothing
        let period = notify.watchdog().map_or(PERIOD, |patience| (patience / 4).clamp(SHORTEST, PERIOD));
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { notify, ticks, status: String::new() }
    }

    /// Returns when it is time for a [`beat`](Self::beat): each second at least. May be dropped and called again.
    pub async fn tick(&mut self) {
        self.ticks.tick().await;
    }

    /// Tells that all works, if it does, and in words how things are, where they have changed.
    pub fn beat(&mut self, works: bool, status: impl FnOnce() -> String) {
        if !self.notify.is_heard() {
            return;
        }
        if works && self.notify.watchdog().is_some() {
            self.notify.tell(&[Event::Watchdog]);
        }
        let status = status();
        if status != self.status {
            self.notify.tell(&[Event::Status(&status)]);
            self.status = status;
        }
    }

    /// Tells that the start, or a reload, is over.
    pub fn ready(&mut self) {
        self.notify.tell(&[Event::Ready]);
    }

    /// Tells that a reload begins; it has to end with [`ready`](Self::ready), however it goes.
    pub fn reloading(&mut self) {
        self.notify.tell(&[Event::Reloading]);
    }

    /// Tells that the end begins.
    pub fn stopping(&mut self) {
        self.notify.tell(&[Event::Stopping]);
    }

    /// Does some work, and beats meanwhile.
    pub async fn during<T>(&mut self, work: impl Future<Output = T>, beat: impl Fn(&mut Self)) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = self.tick() => beat(self),
            }
        }
    }
}

const PERIOD: Duration = Duration::from_secs(1);
/// Nobody means less.
const SHORTEST: Duration = Duration::from_millis(10);
