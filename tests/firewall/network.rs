//! A network of its own for a test: this process is the gateway, and another host is joined to it.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use socket2::{Domain, Socket, Type};

/// The gateway's addresses.
pub const GATEWAY: [&str; 2] = ["10.9.0.1", "fd09::1"];
/// The other host's first addresses; its second ones end in 3.
pub const CLIENT: [&str; 2] = ["10.9.0.2", "fd09::2"];

/// Runs a test in a network namespace that nobody else is in. Where that cannot be done here it says so, or fails if it is
/// [`REQUIRED`].
pub fn alone(test: &str, tools: Tools, body: impl AsyncFnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        return runtime.block_on(body());
    }
    if !rustix::process::geteuid().is_root() || !tools.are_here() {
        assert!(
            std::env::var_os(REQUIRED).is_none(),
            "{test}: needs root, and nft or iptables, and {REQUIRED} is set"
        );
        eprintln!("{test}: left out: needs root, and nft or iptables");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for (name, program) in tools.named() {
        std::os::unix::fs::symlink(program, folder.path().join(name)).unwrap();
    }
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let status = Command::new("unshare")
        .arg("-n")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .env("PATH", path)
        .status();
    assert!(status.unwrap().success(), "{test}: it failed inside; see above");
}

const INSIDE: &str = "VESTIBULE_TEST_NETWORK";
/// Set where nothing is to be left out.
const REQUIRED: &str = "VESTIBULE_TESTS_REQUIRE_ROOT";

/// Which programs a test uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tools {
    Nft,
    /// iptables, as it is installed.
    Iptables,
    /// iptables, with the kernel's older interface.
    Legacy,
}

impl Tools {
    fn named(self) -> Vec<(&'static str, &'static str)> {
        match self {
            Self::Nft | Self::Iptables => Vec::new(),
            Self::Legacy => vec![
                ("iptables", "/usr/sbin/iptables-legacy"),
                ("iptables-restore", "/usr/sbin/iptables-legacy-restore"),
                ("iptables-save", "/usr/sbin/iptables-legacy-save"),
                ("ip6tables", "/usr/sbin/ip6tables-legacy"),
                ("ip6tables-restore", "/usr/sbin/ip6tables-legacy-restore"),
                ("ip6tables-save", "/usr/sbin/ip6tables-legacy-save"),
            ],
        }
    }

    fn are_here(self) -> bool {
        let there = |program: &str| std::path::Path::new(program).exists();
        match self {
            Self::Nft => there("/usr/sbin/nft"),
            Self::Iptables => there("/usr/sbin/iptables") && there("/usr/sbin/nft"),
            Self::Legacy => self.named().iter().all(|(_, program)| there(program)),
        }
    }
}

/// The other host. It goes with this value.
pub struct Client {
    /// Ends with its input, so also with this process.
    host: Child,
    namespace: File,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There was an answer.
    Open,
    /// It was refused at once.
    Refused,
    /// It was refused, but not at once. That is so for TCP with ICMPv6 between two hosts on one machine: the answer
    /// comes while the kernel is still busy with the question, and only the one to the next SYN counts.
    RefusedLate,
    /// Nothing came back.
    Silent,
}

impl Client {
    /// Starts it, and the services of the gateway: TCP and UDP ports that give everything back.
    pub fn new() -> Self {
        let theirs = ["10.9.0.2/24", "10.9.0.3/24", "fd09::2/64", "fd09::3/64"];
        let client = Self::joined("v0", &["10.9.0.1/24", "fd09::1/64"], &theirs);
        for port in [443, 8080] {
            serve_tcp(port);
        }
        for port in [443, 500, 4500] {
            serve_udp(port);
        }
        for (gateway, others) in GATEWAY.into_iter().zip([["10.9.0.2", "10.9.0.3"], ["fd09::2", "fd09::3"]]) {
            for from in others {
                until("the link works", || client.tcp_from(from, gateway, 443) == Outcome::Open);
            }
        }
        client
    }

    /// Starts a host at the other end of a link of this one.
    pub fn joined(link: &str, ours: &[&str], theirs: &[&str]) -> Self {
        let mut command = Command::new("unshare");
        command.args(["-n", "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut host = command.spawn().unwrap();
        // once it answers it is where it is to be
        host.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        host.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let namespace = File::open(format!("/proc/{}/ns/net", host.id())).unwrap();
        let client = Self { host, namespace };
        run(&format!("ip link add {link} type veth peer name v netns {}", client.host.id()));
        let up = |link: &str, addresses: &[&str]| {
            run("ip link set lo up");
            for address in addresses {
                let nodad = if address.contains(':') { "nodad" } else { "" };
                run(&format!("ip addr add {address} dev {link} {nodad}"));
            }
            run(&format!("ip link set {link} up"));
        };
        up(link, ours);
        client.inside(|| up("v", theirs));
        client
    }

    /// Runs something on it. Sockets that are made there stay there.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let moved = || {
            move_into_link_name_space(self.namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        };
        std::thread::scope(|scope| scope.spawn(moved).join()).unwrap()
    }

    /// A connection that is to live.
    pub fn connect(&self, gateway: &str, port: u16) -> TcpStream {
        let address = SocketAddr::new(gateway.parse().unwrap(), port);
        let stream = self.inside(|| {
            let socket = bound(Type::STREAM, client_for(address), address);
            socket.connect_timeout(&address.into(), Duration::from_secs(2)).unwrap();
            TcpStream::from(socket)
        });
        stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        stream
    }

    /// Tries a new connection.
    pub fn tcp(&self, gateway: &str, port: u16) -> Outcome {
        self.tcp_from(client_for(SocketAddr::new(gateway.parse().unwrap(), port)), gateway, port)
    }

    /// The same from one of its addresses.
    pub fn tcp_from(&self, from: &str, gateway: &str, port: u16) -> Outcome {
        let address = SocketAddr::new(gateway.parse().unwrap(), port);
        self.inside(|| {
            let socket = bound(Type::STREAM, from, address);
            let begun = Instant::now();
            outcome(begun, socket.connect_timeout(&address.into(), Duration::from_secs(3)))
        })
    }

    /// Sends a datagram and waits for the answer.
    pub fn udp(&self, gateway: &str, port: u16, datagram: &[u8]) -> Outcome {
        let gateway = SocketAddr::new(gateway.parse().unwrap(), port);
        self.inside(|| {
            let socket = UdpSocket::from(bound(Type::DGRAM, client_for(gateway), gateway));
            socket.connect(gateway).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
            let begun = Instant::now();
            socket.send(datagram).unwrap();
            outcome(begun, socket.recv(&mut [0; 2000]))
        })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.host.kill();
        let _ = self.host.wait();
    }
}

fn client_for(gateway: SocketAddr) -> &'static str {
    if gateway.is_ipv4() { CLIENT[0] } else { CLIENT[1] }
}

fn bound(kind: Type, from: &str, to: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::for_address(to), kind, None).unwrap();
    socket.bind(&SocketAddr::new(from.parse::<IpAddr>().unwrap(), 0).into()).unwrap();
    socket
}

fn outcome<T>(begun: Instant, result: std::io::Result<T>) -> Outcome {
    match result {
        Ok(_) => Outcome::Open,
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            if begun.elapsed() < Duration::from_millis(200) { Outcome::Refused } else { Outcome::RefusedLate }
        }
        Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) => Outcome::Silent,
        Err(error) => panic!("{error}"),
    }
}

/// Whether a connection still carries bytes both ways.
pub fn lives(connection: &mut TcpStream) -> bool {
    connection.write_all(b"x").is_ok() && matches!(connection.read(&mut [0; 10]), Ok(1..))
}

/// Waits for something that comes by itself.
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(15), "not within 15 s: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Runs a command in the gateway's namespace and takes what it says.
#[track_caller]
pub fn run(command: &str) -> String {
    let output = Command::new("sh").args(["-ec", command]).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {complaint}");
    String::from_utf8(output.stdout).unwrap()
}

/// Takes connections in the namespace it is called in, and gives everything back.
pub fn serve_tcp(port: u16) {
    let listener = TcpListener::bind(("::", port)).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut buffer = [0; 1000];
                while let Ok(length @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..length]).is_err() {
                        return;
                    }
                }
            });
        }
    });
}

fn serve_udp(port: u16) {
    let socket = UdpSocket::bind(("::", port)).unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 2000];
        loop {
            // an error is that of an earlier answer that nobody waited for
            if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(&buffer[..length], from);
            }
        }
    });
}
