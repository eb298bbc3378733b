//! Run by a service manager: what it is told, and the sockets that it hands over.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use vestibule::dve::{Accept, Request};
use vestibule::fleet::Vpn;

use crate::serve::Place;
use crate::support::{BINARY, Folder, LONG, Running, exchange, free_port, header, http, own_address, until};

/// A service manager, as far as it is told things.
struct Manager {
    heard: Arc<Mutex<Vec<String>>>,
}

impl Manager {
    fn new(folder: &Folder) -> Self {
        let socket = UnixDatagram::bind(folder.join("notify")).unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&heard);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length) = socket.recv(&mut buffer) {
                shared.lock().unwrap().push(String::from_utf8(buffer[..length].to_vec()).unwrap());
            }
        });
        Self { heard }
    }

    /// What it makes known to its services.
    fn know(&self, command: &mut Command, folder: &Folder) {
        command.env("NOTIFY_SOCKET", folder.join("notify")).env("WATCHDOG_USEC", "400000");
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    /// What it has heard but for signs of life.
    fn news(&self) -> Vec<String> {
        self.heard().into_iter().filter(|message| message != "WATCHDOG=1\n").collect()
    }

    fn wait_for(&self, beginning: &str, times: usize) {
        let count = || self.heard().iter().filter(|message| message.starts_with(beginning)).count();
        until(&format!("never told {beginning:?} {times} times: {:?}", self.news()), || count() >= times);
    }
}

/// The messages of a reload, without its moment.
fn without_moments(news: &[String]) -> Vec<&str> {
    news.iter().map(|message| message.split_inclusive('\n').next().unwrap()).collect()
}

#[test]
fn a_service_manager_is_told_how_a_front_door_is() {
    let place = Place::new();
    let manager = Manager::new(&place.folder);
    let mut command = place.folder.command(["serve", "-c", "v.toml"]);
    manager.know(&mut command, &place.folder);
    let running = Running::start(command);
    manager.wait_for("STATUS=", 1);
    assert_eq!(manager.news(), ["READY=1\n", "STATUS=The only gateway is up.\n"]);
    manager.wait_for("WATCHDOG=1", 10);

    running.signal(Signal::HUP);
    manager.wait_for("READY=1", 2);
    place.configure("nonsense");
    running.signal(Signal::HUP);
    manager.wait_for("READY=1", 3);
    let news = manager.news();
    assert_eq!(without_moments(&news[2..]), ["RELOADING=1\n", "READY=1\n", "RELOADING=1\n", "READY=1\n"]);
    assert!(news[2].contains("MONOTONIC_USEC="), "{news:?}");

    running.signal(Signal::TERM);
    assert_eq!(running.wait().status, 0);
    assert_eq!(manager.news().last().map(String::as_str), Some("STOPPING=1\n"));
}

#[test]
fn a_service_manager_is_told_how_an_agent_is() {
    let folder = Folder::new();
    let manager = Manager::new(&folder);
    let address = own_address();
    let listen = SocketAddr::from((address, free_port(address)));
    folder.write("works", "");
    folder.write(
        "a.toml",
        &format!(
            "[agent]\nname = \"gw1\"\nlisten = \"{listen}\"\n[health]\ninterval = \"100ms\"\ntimeout = \"90ms\"\n\
             [[check]]\nname = \"file\"\nkind = \"exec\"\ncommand = [\"test\", \"-e\", \"{}\"]\n",
            folder.join("works").display()
        ),
    );
    let mut command = folder.command(["heartbeat", "-c", "a.toml"]);
    manager.know(&mut command, &folder);
    let running = Running::start(command);
    manager.wait_for("STATUS=This gateway is up.", 1);
    manager.wait_for("WATCHDOG=1", 5);
    std::fs::remove_file(folder.join("works")).unwrap();
    manager.wait_for("STATUS=This gateway is down: file: ", 1);
    let before = manager.news().len();
    running.signal(Signal::HUP);
    manager.wait_for("READY=1", 2);
    folder.write("a.toml", "nonsense");
    running.signal(Signal::HUP);
    manager.wait_for("READY=1", 3);
    let news = manager.news();
    let marks: Vec<_> =
        without_moments(&news[before..]).into_iter().filter(|line| !line.starts_with("STATUS=")).collect();
    assert_eq!(marks, ["RELOADING=1\n", "READY=1\n", "RELOADING=1\n", "READY=1\n"]);
    running.signal(Signal::TERM);
    assert_eq!(running.wait().status, 0);
    assert_eq!(manager.news().last().map(String::as_str), Some("STOPPING=1\n"));
}

/// The binary with these sockets handed over as systemd does: from file descriptor 3 on.
fn serve_on(place: &Place, tcp: &TcpListener, udp: &UdpSocket) -> Running {
    let take = "exec 3<&0 4<&1 </dev/null >/dev/null; LISTEN_PID=$$ LISTEN_FDS=2 exec \"$0\" serve -c v.toml";
    let mut command = Command::new("sh");
    command.args(["-c", take, BINARY]).current_dir(place.folder.path()).env("NO_COLOR", "1");
    command.stdin(Stdio::from(OwnedFd::from(tcp.try_clone().unwrap())));
    Running::start_with_stdout(command, OwnedFd::from(udp.try_clone().unwrap()))
}

#[test]
fn an_agent_takes_its_socket_over_as_well() {
    let folder = Folder::new();
    let tcp = TcpListener::bind((own_address(), 0)).unwrap();
    let listen = tcp.local_addr().unwrap();
    folder.write(
        "a.toml",
        &format!(
            "[agent]\nname = \"gw1\"\nlisten = \"{listen}\"\n[[check]]\nname = \"true\"\nkind = \"exec\"\n\
             command = [\"true\"]\n"
        ),
    );
    let take = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" heartbeat -c a.toml";
    let mut command = Command::new("sh");
    command.args(["-c", take, BINARY]).current_dir(folder.path());
    // who comes before it waits
    let early = TcpStream::connect_timeout(&listen, LONG).unwrap();
    let running = Running::start({
        command.stdin(Stdio::from(OwnedFd::from(tcp)));
        command
    });
    let asked = exchange(&mut { early }, b"GET /healthz HTTP/1.1\r\nHost: gw1\r\nConnection: close\r\n\r\n");
    assert!(asked.starts_with("HTTP/1.1 200 OK"), "{asked}: {}", running.stderr());
    // its address is still its own after a reload
    running.signal(Signal::HUP);
    running.wait_for("the configuration has been reloaded");
    assert!(http(listen).starts_with("HTTP/1.1 404"));
}

/// A place that answers native clients as well, where two workers share what comes.
fn place_with_sockets() -> (Place, TcpListener, UdpSocket) {
    let place = Place::new();
    let udp = UdpSocket::bind((place.door.ip(), 0)).unwrap();
    let config = place.config().replace("workers = 1", "workers = 2").replace("connections = 100\n", "");
    let dve = udp.local_addr().unwrap();
    place.configure(&format!(
        "{config}[dve]\nlisten = [\"{dve}\"]\nkeys = [\"certs/dve.key\"]\nanswers_per_second_per_source = 10000\n"
    ));
    let tcp = TcpListener::bind(place.upgrade).unwrap();
    (place, tcp, udp)
}

/// Whoever asks again and again, and how that went.
#[derive(Default)]
struct Asking {
    over: AtomicBool,
    answered: AtomicUsize,
    wrong: Mutex<Vec<String>>,
}

impl Asking {
    fn go_on(self: &Arc<Self>, pause: Duration, ask: impl Fn() -> Result<(), String> + Send + 'static) {
        let asking = Arc::clone(self);
        std::thread::spawn(move || {
            while !asking.over.load(Ordering::Relaxed) {
                match ask() {
                    Ok(()) => drop(asking.answered.fetch_add(1, Ordering::Relaxed)),
                    Err(complaint) => asking.wrong.lock().unwrap().push(complaint),
                }
                std::thread::sleep(pause);
            }
        });
    }
}

/// One request on a connection of its own; in whatever way it fails, that is told.
fn redirected(address: SocketAddr) -> Result<(), String> {
    redirected_on(TcpStream::connect_timeout(&address, LONG).map_err(|e| format!("connect: {e}"))?)
}

fn redirected_on(mut stream: TcpStream) -> Result<(), String> {
    stream.set_read_timeout(Some(LONG)).unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: vpn.example.com\r\nConnection: close\r\n\r\n";
    stream.write_all(request).map_err(|e| format!("write: {e}"))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(|e| format!("read: {e} after {answer:?}"))?;
    let _ = stream.shutdown(Shutdown::Both);
    if header(&answer, "location").is_some() { Ok(()) } else { Err(format!("answer: {answer:?}")) }
}

/// One question over DVE, asked once.
fn resolved(address: SocketAddr) -> Result<(), String> {
    let socket = UdpSocket::bind((address.ip(), 0)).unwrap();
    socket.set_read_timeout(Some(LONG)).unwrap();
    socket.connect(address).unwrap();
    let request = Request { nonce: [7; 16], vpn: Vpn::Native, vrrp_id: None, accept: Accept::IPV4 };
    socket.send(&request.write()).map_err(|e| format!("send: {e}"))?;
    socket.recv(&mut [0; 1500]).map(drop).map_err(|e| format!("receive: {e}"))
}

#[test]
fn while_one_process_takes_the_others_place_nobody_is_refused_and_everybody_is_answered() {
    let (place, tcp, udp) = place_with_sockets();
    let (http_at, dve_at) = (place.upgrade, udp.local_addr().unwrap());
    let asking = Arc::new(Asking::default());
    let mut running = serve_on(&place, &tcp, &udp);
    running.wait_for("the front door is ready");
    for _ in 0..4 {
        asking.go_on(Duration::from_millis(3), move || redirected(http_at));
    }
    asking.go_on(Duration::from_millis(10), move || resolved(dve_at));
    for _ in 0..RESTARTS {
        let before = asking.answered.load(Ordering::Relaxed);
        until("nobody is answered", || asking.answered.load(Ordering::Relaxed) > before + 50);
        running.signal(Signal::TERM);
        let ended = running.wait();
        assert_eq!(ended.status, 0, "{}", ended.stderr);
        // nobody serves it now
        let early = TcpStream::connect_timeout(&http_at, LONG).unwrap();
        running = serve_on(&place, &tcp, &udp);
        assert_eq!(redirected_on(early), Ok(()));
    }
    let before = asking.answered.load(Ordering::Relaxed);
    until("nobody is answered", || asking.answered.load(Ordering::Relaxed) > before + 50);
    asking.over.store(true, Ordering::Relaxed);
    assert_eq!(*asking.wrong.lock().unwrap(), Vec::<String>::new());
    assert!(!running.stderr().contains("inherited"), "{}", running.stderr());
}

const RESTARTS: usize = 5;

#[test]
fn sockets_that_nothing_is_configured_for_are_closed_with_a_warning() {
    let place = Place::new();
    let tcp = TcpListener::bind((place.door.ip(), 0)).unwrap();
    let udp = UdpSocket::bind((place.door.ip(), 0)).unwrap();
    let running = serve_on(&place, &tcp, &udp);
    running.wait_for("the front door is ready");
    for (address, kind) in [(tcp.local_addr().unwrap(), "TCP"), (udp.local_addr().unwrap(), "UDP")] {
        running.wait_for(&format!(
            "an inherited socket is closed: nothing is configured to listen on {address} ({kind}); correct ListenStream="
        ));
    }
    drop(tcp);
    assert!(place.folder.run(["status", "--admin", "admin.sock"]).stdout.contains("portal-http"));
    assert!(header(&http(place.upgrade), "location").is_some());
}

#[test]
fn a_listener_on_an_inherited_socket_can_go_and_come_back() {
    let (place, tcp, udp) = place_with_sockets();
    let whole = std::fs::read_to_string(place.folder.join("v.toml")).unwrap();
    let running = serve_on(&place, &tcp, &udp);
    running.wait_for("the front door is ready");
    let (before, rest) = whole.split_once("[[listener]]\nname = \"portal-http\"").unwrap();
    let (_, after) = rest.split_once("[[gateway]]").unwrap();
    place.configure(&format!("{before}[[gateway]]{after}"));
    running.signal(Signal::HUP);
    running.wait_for("the configuration has been reloaded");
    let waits = format!("waits in vain: nothing is configured to listen on {} (TCP)", place.upgrade);
    running.wait_for(&waits);
    place.configure(&whole);
    running.signal(Signal::HUP);
    running.wait_for_times("the configuration has been reloaded", 2);
    assert!(header(&http(place.upgrade), "location").is_some());
    assert_eq!(running.stderr().matches("waits in vain").count(), 1);
}

#[test]
fn systemd_itself_hands_sockets_over_in_the_same_way() {
    if Command::new("systemd-socket-activate").arg("--version").output().is_err() {
        let required = "VESTIBULE_TESTS_REQUIRE_ROOT";
        assert!(std::env::var_os(required).is_none(), "systemd is not installed, and {required} is set");
        eprintln!("left out: systemd is not installed");
        return;
    }
    let place = Place::new();
    let mut command = Command::new("systemd-socket-activate");
    command.args(["-l", &place.upgrade.to_string(), "-l", &place.door.to_string()]);
    command.args([BINARY, "serve", "-c", "v.toml"]).current_dir(place.folder.path());
    let running = Running::start(command);
    running.wait_for(&format!("Listening on {}", place.door));
    // the first one to come starts it, and is answered
    let started = Instant::now();
    assert_eq!(redirected(place.upgrade), Ok(()));
    assert!(started.elapsed() < LONG);
    assert!(!running.stderr().contains("inherited"), "{}", running.stderr());
}

#[test]
fn sockets_that_are_meant_for_somebody_else_are_left_alone() {
    let place = Place::new();
    let mut command = place.folder.command(["serve", "-c", "v.toml"]);
    command.env("LISTEN_PID", "1").env("LISTEN_FDS", "5");
    let running = Running::start(command);
    running.wait_for("the front door is ready");
    assert!(!running.stderr().contains("inherited"), "{}", running.stderr());
}
