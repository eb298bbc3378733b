//! What a passthrough tells of those whom it does not take anywhere.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use crate::support::{Folder, LONG, Running, free_port, own_address};

/// A front door with one passthrough before one gateway, of which all checks pass until it is closed.
struct Place {
    folder: Folder,
    door: SocketAddr,
    gateway: Option<TcpListener>,
    upstream: SocketAddr,
}

impl Place {
    /// `keys`: more lines for the passthrough.
    fn new(keys: &str) -> Self {
        let folder = Folder::new();
        let address = own_address();
        let gateway = TcpListener::bind((address, 0)).unwrap();
        let upstream = gateway.local_addr().unwrap();
        let (door, admin) = (free_port(address), free_port(address));
        // what fails is told, and takes the gateway down much later
        folder.write(
            "v.toml",
            &format!(
                "[node]\nstate_dir = \"\"\n[admin]\nlisten = \"{address}:{admin}\"\nsocket = \"\"\n\
                 [health]\nrise = 1\nfall = 100\n\
                 [[listener]]\nname = \"raw\"\naddress = \"{address}:{door}\"\nmode = \"passthrough\"\n\
                 [listener.passthrough]\n{keys}\
                 [[gateway]]\nname = \"gw1\"\nssl_endpoint = \"{upstream}\"\n\
                 [[gateway.check]]\nkind = \"tcp\"\n"
            ),
        );
        Self { folder, door: (address, door).into(), gateway: Some(gateway), upstream }
    }

    fn ready(&self) -> Running {
        let running = Running::start(self.folder.command(["serve", "-c", "v.toml"]));
        running.wait_for("the front door is ready");
        running
    }

    /// Says this, and waits until the connection is closed.
    fn say(&self, words: &[u8]) {
        let mut stream = TcpStream::connect(self.door).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.write_all(words).unwrap();
        // it may be a reset, where what was said is left unread
        let _ = stream.read_to_end(&mut Vec::new());
    }
}

#[test]
fn why_a_connection_is_taken_to_no_gateway_is_told_at_length_and_then_summed_up() {
    let mut place = Place::new("");
    let running = place.ready();
    running.wait_for("gateway is up");
    drop(place.gateway.take());
    for _ in 0..3 {
        place.say(b"hello");
    }
    let why = format!("gw1: cannot connect to {}: connection refused", place.upstream);
    running.wait_for(&format!("listener=\"raw\" reason={why}"));
    running.wait_for_times(" connection client=127.", 3);
    let log = running.stderr();
    assert_eq!(log.matches("no gateway has answered a client").count(), 1, "{log}");
    // all checks of the gateway may pass meanwhile
    let trouble =
        format!("a connection to the gateway has failed gateway=\"gw1\" upstream={} ", place.upstream);
    assert_eq!(log.matches(&trouble).count(), 1, "{log}");
    let line = log.lines().find(|line| line.contains(" connection client=")).unwrap();
    assert!(line.contains("listener=\"raw\" gateway=\"-\" status=\"-\" bytes=0 "), "{line}");
    running.wait_for("2 more clients whom no gateway has answered, the last from 127.");
    running.wait_for("2 more connections to the gateway have failed, the last with: cannot connect to ");
}

#[test]
fn a_proxy_without_its_header_and_a_name_that_is_not_let_through_are_told() {
    let place = Place::new("trusted_proxies = [\"127.0.0.0/8\"]\naccept_proxy_protocol = true\n");
    let running = place.ready();
    place.say(b"GET / HTTP/1.1\r\n\r\n");
    running.wait_for("trusted proxy 127.0.0.1 has sent no PROXY header; does it send one to this listener?");
    let place = Place::new("server_names = [\"vpn.example.com\"]\n");
    let running = place.ready();
    place.say(b"SSH-2.0-OpenSSH_9.2\r\n");
    running.wait_for("a client's server name is not let through client=127.");
    running.wait_for("listener=\"raw\" reason=it speaks no TLS");
}

/// Both ends of a tunnel, after a first word of the client's, and the client's port.
fn tunnel(place: &Place) -> (TcpStream, TcpStream, u16) {
    let gateway = place.gateway.as_ref().unwrap();
    let mut here = TcpStream::connect(place.door).unwrap();
    here.write_all(b"hello").unwrap();
    loop {
        let mut there = gateway.accept().unwrap().0;
        // the connections of checks end without a word
        if there.read_exact(&mut [0; 5]).is_ok() {
            let port = here.local_addr().unwrap().port();
            return (here, there, port);
        }
    }
}

#[test]
fn the_access_log_tells_why_a_tunnel_is_over() {
    let line = |port: u16, rest: &str| {
        format!(
            " tunnel client=127.0.0.1:{port} listener=\"raw\" gateway=\"gw1\" status=\"-\" bytes={rest}\" milliseconds="
        )
    };
    let place = Place::new("tunnel_idle_timeout = \"1s\"\n");
    let running = place.ready();
    running.wait_for("gateway is up");
    let (mut here, mut there, port) = tunnel(&place);
    there.write_all(b"bye").unwrap();
    drop(there);
    here.read_to_end(&mut Vec::new()).unwrap();
    drop(here);
    running.wait_for(&line(port, "3 bytes_in=5 end=\"closed"));
    let (_here, _there, port) = tunnel(&place);
    running.wait_for(&line(port, "0 bytes_in=5 end=\"idle"));

    let place = Place::new("");
    let running = place.ready();
    running.wait_for("gateway is up");
    let (_here, there, port) = tunnel(&place);
    rustix::net::sockopt::set_socket_linger(&there, Some(std::time::Duration::ZERO)).unwrap();
    drop(there);
    running.wait_for(&line(port, "0 bytes_in=5 end=\"broken"));
    let (_here, _there, port) = tunnel(&place);
    running.signal(rustix::process::Signal::TERM);
    let log = running.wait().stderr;
    assert!(log.contains(&line(port, "0 bytes_in=5 end=\"cut")), "{log}");
}
