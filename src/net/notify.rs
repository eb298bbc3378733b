//! What a service manager is told of this process: `sd_notify(3)`, of which this is the whole protocol: datagrams to
//! the Unix socket that NOTIFY_SOCKET names.

use std::collections::VecDeque;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::words::in_words;

/// The way to the service manager, or to nobody.
#[derive(Debug, Default)]
pub struct Notify {
    manager: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
    /// What there was no room for yet.
    unsent: VecDeque<String>,
    complained: bool,
}

/// What can be told.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// The start, or a reload, is over.
    Ready,
    /// A reload has begun. [`Ready`](Self::Ready) ends it, however it went.
    Reloading,
    /// The end has begun.
    Stopping,
    /// How things are, in one sentence for people.
    Status(&'a str),
    /// Everything works: without this, at least as often as the manager asks for, it starts the process anew.
    Watchdog,
}

impl Notify {
    /// As the environment says. With it come words for the log where what it says cannot be followed.
    pub fn from_env() -> (Self, Option<String>) {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let own = std::process::id().to_string();
        let is_ours = variable("WATCHDOG_PID").is_none_or(|pid| pid == own);
        let micros = variable("WATCHDOG_USEC").filter(|_| is_ours).and_then(|value| value.parse().ok());
        let watchdog = micros.filter(|micros| *micros > 0).map(Duration::from_micros);
        let Some(name) = variable("NOTIFY_SOCKET") else { return (Self::default(), None) };
        match open(&name) {
            Ok(manager) => (Self { manager: Some(manager), watchdog, ..Self::default() }, None),
            Err(error) => {
                let words = in_words(&error);
                (Self::default(), Some(format!("the service manager is told nothing: {name}: {words}")))
            }
        }
    }

    /// Whether there is anybody to tell.
    pub fn is_heard(&self) -> bool {
        self.manager.is_some()
    }

    /// How long the manager waits for [`Event::Watchdog`]; `None` if it does not.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Tells these things in one message. Nobody waits: where there is no room, all but the watchdog is kept for the
    /// next time.
    pub fn tell(&mut self, events: &[Event<'_>]) {
        if self.manager.is_none() {
            return;
        }
        let keep = events.iter().any(|event| !matches!(event, Event::Watchdog));
        let message: String = events.iter().map(|event| event.line()).collect();
        self.unsent.push_back(message);
        if !self.flush() && !keep {
            self.unsent.pop_back();
        }
        if self.unsent.len() > MOST_UNSENT {
            self.unsent.pop_front();
        }
    }

    /// Whether all is sent.
    fn flush(&mut self) -> bool {
        let Some((socket, manager)) = &self.manager else { return true };
        while let Some(message) = self.unsent.front() {
            match socket.send_to_addr(message.as_bytes(), manager) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if !self.complained => {
                    self.complained = true;
                    tracing::warn!("the service manager cannot be told anything: {}", in_words(&error));
                }
                Err(_) => {}
                Ok(_) => self.complained = false,
            }
            self.unsent.pop_front();
        }
        true
    }
}

impl Event<'_> {
    fn line(self) -> String {
        match self {
            Self::Ready => "READY=1\n".into(),
            // with it since systemd 253, which asks for it of Type=notify-reload
            Self::Reloading => {
                let now = clock_gettime(ClockId::Monotonic);
                let micros = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1000);
                format!("RELOADING=1\nMONOTONIC_USEC={micros}\n")
            }
            Self::Stopping => "STOPPING=1\n".into(),
            // a line feed in it would begin another assignment
            Self::Status(text) => {
                let shown = text.chars().take(MOST_STATUS).map(|c| if c.is_control() { ' ' } else { c });
                format!("STATUS={}\n", shown.collect::<String>())
            }
            Self::Watchdog => "WATCHDOG=1\n".into(),
        }
    }
}

fn open(name: &str) -> io::Result<(UnixDatagram, SocketAddr)> {
    let manager = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, manager))
}

const MOST_UNSENT: usize = 16;
/// In characters; nobody reads more in one line.
const MOST_STATUS: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    fn to(name: &str) -> Notify {
        Notify { manager: Some(open(name).unwrap()), ..Notify::default() }
    }

    fn heard(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 4096];
        socket.set_nonblocking(true).unwrap();
        let length = socket.recv(&mut buffer).unwrap_or(0);
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn a_manager_is_told_at_a_path_and_at_an_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let at_path = UnixDatagram::bind(&path).unwrap();
        to(path.to_str().unwrap()).tell(&[Event::Ready, Event::Status("All is well.")]);
        assert_eq!(heard(&at_path), "READY=1\nSTATUS=All is well.\n");

        let name = format!("vestibule-test-{}", std::process::id());
        let abstract_one = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        to(&format!("@{name}")).tell(&[Event::Watchdog]);
        assert_eq!(heard(&abstract_one), "WATCHDOG=1\n");
    }

    #[test]
    fn a_status_is_one_line_of_bounded_length() {
        assert_eq!(Event::Status("gw1: a\nREADY=1\tb").line(), "STATUS=gw1: a READY=1 b\n");
        assert_eq!(Event::Status(&"ä".repeat(1000)).line(), format!("STATUS={}\n", "ä".repeat(MOST_STATUS)));
    }

    #[test]
    fn a_reload_is_told_with_its_moment() {
        let line = Event::Reloading.line();
        let micros = line.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().trim_end();
        assert!(micros.parse::<u64>().unwrap() > 0);
    }

    #[test]
    fn a_manager_without_room_is_told_later_and_nobody_waits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let mut notify = to(path.to_str().unwrap());
        for _ in 0..100_000 {
            notify.tell(&[Event::Watchdog]);
        }
        notify.tell(&[Event::Stopping]);
        assert_eq!(notify.unsent, ["STOPPING=1\n"], "a watchdog's sign is not kept");
        while heard(&manager) == "WATCHDOG=1\n" {}
        notify.tell(&[Event::Status("bye")]);
        assert_eq!([heard(&manager), heard(&manager)], ["STOPPING=1\n", "STATUS=bye\n"]);
        for _ in 0..100_000 {
            notify.tell(&[Event::Ready]);
        }
        assert_eq!(notify.unsent.len(), MOST_UNSENT);
    }

    #[test]
    fn a_manager_that_is_gone_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let mut notify = to(folder.path().join("nobody").to_str().unwrap());
        notify.tell(&[Event::Ready]);
        assert!(notify.unsent.is_empty());
    }
}
