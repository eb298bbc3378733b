//! `vestibule status --watch` at a real terminal.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::{read, write};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::serve::Place;
use crate::support::{BINARY, own_address, until};

/// A terminal at which the command runs.
struct Terminal {
    master: Arc<OwnedFd>,
    /// The end that the command has, so that what becomes of it can be seen.
    end: OwnedFd,
    before: LocalModes,
    written: Arc<Mutex<String>>,
    child: Child,
}

impl Terminal {
    fn watch(place: &Place, arguments: &[&str], rows: u16, columns: u16) -> Self {
        let command = [&[BINARY, "status", "--watch", "--admin", "admin.sock"], arguments].concat();
        Self::with(place, &command, rows, columns)
    }

    /// At which that command runs.
    fn with(place: &Place, words: &[&str], rows: u16, columns: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let end = open(&name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        tcsetwinsize(&end, size(rows, columns)).unwrap();
        let before = tcgetattr(&end).unwrap().local_modes;
        let copy = || Stdio::from(end.try_clone().unwrap());
        // keys that are signals, and hanging up, are for whose controlling terminal it is
        let mut command = Command::new("setsid");
        command.arg("--ctty").args(words);
        command.env("TERM", "xterm").env("LC_ALL", "C.UTF-8").env("NO_COLOR", "1");
        command.current_dir(place.folder.path()).stdin(copy()).stdout(copy()).stderr(copy());
        let child = command.spawn().unwrap();
        let (master, written) = (Arc::new(master), Arc::new(Mutex::new(String::new())));
        let (reader, text) = (Arc::clone(&master), Arc::clone(&written));
        std::thread::spawn(move || {
            let mut bytes = [0; 65_536];
            while let Ok(count @ 1..) = read(&reader, &mut bytes) {
                text.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        });
        Self { master, end, before, written, child }
    }

    /// Everything that has been written to it.
    fn written(&self) -> String {
        self.written.lock().unwrap().clone()
    }

    /// What stands on the screen: the last frame that is whole.
    fn screen(&self) -> Vec<String> {
        let all = self.written();
        let Some((frames, _)) = all.rsplit_once(FRAME_END) else { return Vec::new() };
        let (_, frame) = frames.rsplit_once(FRAME_BEGIN).unwrap();
        // each line begins with its place, and "erase the line"
        let lines = frame.split("\x1b[").filter_map(|piece| piece.strip_prefix('K'));
        lines.map(str::to_owned).collect()
    }

    fn shows(&self, words: &str) {
        until_shown(self, words, |screen| screen.iter().any(|line| line.contains(words)));
    }

    fn press(&self, keys: &[u8]) {
        write(&*self.master, keys).unwrap();
    }

    /// Waits until it has ended without having drawn anything, and with what it says then.
    fn refused(mut self, words: &str) {
        let mut status = None;
        until("it never ended", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        assert_eq!(status.unwrap().code(), Some(2));
        until("it does not say why", || self.written().contains(words));
        assert!(!self.written().contains('\x1b'), "{:?}", self.written());
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits until it has ended, and sees that the terminal is as it was.
    fn ended(mut self) {
        let mut status = None;
        until("it never ended", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        assert_eq!(status.unwrap().code(), Some(0), "{:?}", self.screen());
        assert_eq!(tcgetattr(&self.end).unwrap().local_modes, self.before);
        until("the screen is not given back", || self.written().ends_with(LEFT));
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // an error means that it has ended already
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const FRAME_BEGIN: &str = "\x1b[?2026h";
const FRAME_END: &str = "\x1b[?2026l";
/// A cursor, lines that go on, and the screen as it was.
const LEFT: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

fn until_shown(terminal: &Terminal, what: &str, is_it: impl Fn(&[String]) -> bool) {
    let complaint = format!("it never shows {what:?}");
    let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        until(&complaint, || is_it(&terminal.screen()));
    }));
    assert!(seen.is_ok(), "{complaint}: {:#?}", terminal.screen());
}

/// A gateway that can be shut.
struct Gateway {
    address: SocketAddr,
    shut: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Gateway {
    fn open(address: impl Into<SocketAddr>) -> Self {
        let listener = TcpListener::bind(address.into()).unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let shut = Arc::new(AtomicBool::new(false));
        let is_shut = Arc::clone(&shut);
        let thread = std::thread::spawn(move || {
            while !is_shut.load(Ordering::Relaxed) {
                drop(listener.accept());
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Self { address, shut, thread: Some(thread) }
    }

    fn shut(&mut self) {
        self.shut.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// A front door with such a gateway.
fn place() -> (Place, Gateway) {
    let place = Place::new();
    let gateway = Gateway::open((own_address(), 0));
    place.configure(&place.config().replace(&place.gateway.to_string(), &gateway.address.to_string()));
    (place, gateway)
}

#[test]
fn a_gateway_is_seen_to_go_down_and_q_ends_it() {
    let (place, mut gateway) = place();
    let _running = place.ready();
    let terminal = Terminal::watch(&place, &[], 24, 80);
    terminal.shows("The only gateway is up.");
    assert_eq!(terminal.screen()[0].split_whitespace().next(), Some("front-a"));
    let modes = tcgetattr(&terminal.end).unwrap().local_modes;
    assert!(!modes.contains(LocalModes::ICANON) && modes.contains(LocalModes::ISIG));
    gateway.shut();
    terminal.shows("gw1      down");
    terminal.shows("connection refused");
    terminal.shows("gw1 is down: ");
    let _gateway = Gateway::open(gateway.address);
    terminal.shows("The only gateway is up.");
    terminal.press(b"x");
    terminal.press(b"q");
    terminal.ended();
}

#[test]
fn it_fits_the_terminal_and_follows_its_size() {
    let (place, _gateway) = place();
    let _running = place.ready();
    let terminal = Terminal::watch(&place, &[], 30, 120);
    terminal.shows("LISTENER");
    assert!(terminal.screen().len() > 8, "{:#?}", terminal.screen());
    for (rows, columns) in [(5, 40), (3, 30), (24, 80)] {
        tcsetwinsize(&*terminal.master, size(rows, columns)).unwrap();
        until_shown(&terminal, "fewer lines", |screen| {
            let longest = screen.iter().map(|line| line.chars().count()).max().unwrap_or_default();
            !screen.is_empty()
                && screen.len() <= usize::from(rows)
                && longest <= usize::from(columns)
                && (rows < 24 || screen.len() > 5)
        });
    }
    terminal.press(b"Q");
    terminal.ended();
}

#[test]
fn a_front_door_that_is_gone_is_said_to_be_and_waited_for() {
    let (place, _gateway) = place();
    let running = place.ready();
    let terminal = Terminal::watch(&place, &["gw1"], 30, 100);
    terminal.shows("SSL endpoint     gw1.example.com:443");
    drop(running);
    terminal.shows("no front door answers on admin.sock");
    until_shown(&terminal, "for how long", |screen| {
        let told =
            screen.iter().find_map(|line| line.strip_prefix("NOT REACHABLE for ")?.split_once("s, since "));
        told.is_some_and(|(seconds, _)| seconds.parse::<u64>().unwrap() >= 2)
    });
    terminal.shows("SSL endpoint     gw1.example.com:443");
    let _running = place.ready();
    until_shown(&terminal, "it again", |screen| !screen.iter().any(|line| line.contains("NOT REACHABLE")));
    terminal.press(&[CTRL_C]);
    terminal.ended();
}

const CTRL_C: u8 = 3;
const CTRL_Z: u8 = 26;

#[test]
fn the_terminal_is_left_as_it_was_however_it_ends() {
    let (place, _gateway) = place();
    let _running = place.ready();
    for signal in [Signal::TERM, Signal::HUP, Signal::INT, Signal::QUIT] {
        let terminal = Terminal::watch(&place, &[], 24, 80);
        terminal.shows("The only gateway is up.");
        terminal.signal(signal);
        terminal.ended();
    }
}

#[test]
fn stopped_by_hand_it_gives_the_terminal_back_and_takes_it_again() {
    let (place, _gateway) = place();
    let _running = place.ready();
    let terminal = Terminal::watch(&place, &[], 24, 80);
    terminal.shows("The only gateway is up.");
    terminal.press(&[CTRL_Z]);
    until("it never stops", || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", terminal.child.id())).unwrap();
        stat.rsplit_once(") ").unwrap().1.starts_with('T')
    });
    assert_eq!(tcgetattr(&terminal.end).unwrap().local_modes, terminal.before);
    until("the screen is not given back", || terminal.written().ends_with(LEFT));
    let before = terminal.written().len();
    terminal.signal(Signal::CONT);
    until("it never draws again", || terminal.written()[before..].contains("The only gateway is up."));
    terminal.press(b"q");
    terminal.ended();
}

#[test]
fn it_can_be_ended_while_it_is_stopped() {
    let (place, _gateway) = place();
    let _running = place.ready();
    // as a shell does with `kill %1`; it has the terminal then
    let script = format!(
        "{BINARY} status --watch --admin admin.sock; kill -TERM %1; kill -CONT %1; wait %1; echo ended: $?"
    );
    let terminal = Terminal::with(&place, &["bash", "-mc", &script], 24, 80);
    terminal.shows("The only gateway is up.");
    terminal.press(&[CTRL_Z]);
    let end = || terminal.written().split_once("ended: ").map(|(_, status)| status.to_owned());
    until("it never ends", || end().is_some_and(|status| status.ends_with('\n')));
    assert_eq!(end().as_deref(), Some("0\r\n"), "{:?}", terminal.written());
    assert_eq!(tcgetattr(&terminal.end).unwrap().local_modes, terminal.before);
}

#[test]
fn a_gateway_that_there_is_not_is_told_before_anything_is_drawn() {
    let (place, _gateway) = place();
    let _running = place.ready();
    let terminal = Terminal::watch(&place, &["gw9"], 24, 80);
    terminal.refused("error: there is no gateway of that name; there are: gw1");
}

#[test]
fn where_nothing_can_be_drawn_one_document_follows_the_other() {
    let (place, _gateway) = place();
    let _running = place.ready();
    let command = place.folder.command(["status", "--watch", "--format", "json", "--admin", "admin.sock"]);
    let running = crate::support::Running::start(command);
    until("there is no second document", || running.stdout().matches("\"summary\"").count() >= 2);
    assert!(!running.stdout().contains('\x1b'));
}
