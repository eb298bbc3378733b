//! Sockets that are older than this process: a service manager has opened them and keeps them open while one process
//! takes the other's place (`sd_listen_fds(3)`). Whoever comes meanwhile waits in their backlog.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use listenfd::ListenFd;
use rustix::net::sockopt::socket_acceptconn;
use rustix::net::{AddressFamily, SocketType};

/// The sockets that were handed over. Cheap to clone.
///
/// They stay open as long as this lives, and what is given out are copies: a listener that a reload takes away can
/// come back, though its address is the manager's all the time.
#[derive(Clone, Debug, Default)]
pub struct Inherited(Arc<Sockets>);

#[derive(Debug, Default)]
struct Sockets {
    tcp: Vec<(SocketAddr, TcpListener)>,
    udp: Vec<(SocketAddr, UdpSocket)>,
}

/// The sockets of one address, in shares: whoever has a share serves all that is in it.
pub type Shares<S> = Vec<Vec<S>>;

impl Inherited {
    /// As the environment says. To be called once, while the process has but one thread, because it changes the
    /// environment. With it come words for the log about what cannot be used, which is closed.
    pub fn from_env() -> (Self, Vec<String>) {
        let variable = |name| std::env::var(name).unwrap_or_default();
        let for_us = variable("LISTEN_PID") == std::process::id().to_string();
        let count: usize = variable("LISTEN_FDS").parse().unwrap_or(0);
        // listenfd knows this one besides, and adds up what it says without a look
        let begins_elsewhere = !variable("LISTEN_FDS_FIRST_FD").is_empty();
        if !for_us || count > MOST || begins_elsewhere {
            return (Self::default(), Vec::new());
        }
        let mut given = ListenFd::from_env();
        let (mut sockets, mut words) = (Sockets::default(), Vec::new());
        for number in 0..given.len() {
            if let Err(complaint) = sockets.take(&mut given, number) {
                words.push(format!("inherited socket {number} is not used: {complaint}; {ADVICE}"));
            }
        }
        (Self(Arc::new(sockets)), words)
    }

    /// Those of a listening address in so many shares; `None` if there are none. There is a socket in each share, and
    /// each socket in one share at least: with fewer sockets than shares, several shares have the same ones.
    ///
    /// # Errors
    /// If there are no file descriptors left.
    pub fn tcp(&self, address: SocketAddr, shares: usize) -> io::Result<Option<Shares<TcpListener>>> {
        deal(&self.0.tcp, address, shares, TcpListener::try_clone)
    }

    /// The same of an address for datagrams.
    ///
    /// # Errors
    /// As [`tcp`](Self::tcp).
    pub fn udp(&self, address: SocketAddr, shares: usize) -> io::Result<Option<Shares<UdpSocket>>> {
        deal(&self.0.udp, address, shares, UdpSocket::try_clone)
    }

    /// The one of a listening address that a single server has to itself.
    ///
    /// # Errors
    /// If there are several, which would all have to be served, or no file descriptors left.
    pub fn single(&self, address: SocketAddr) -> io::Result<Option<TcpListener>> {
        let Some(shares) = self.tcp(address, 1)? else { return Ok(None) };
        match <[TcpListener; 1]>::try_from(shares.into_iter().flatten().collect::<Vec<_>>()) {
            Ok([socket]) => Ok(Some(socket)),
            Err(_) => Err(io::Error::other("the service manager hands over several sockets for it, not one")),
        }
    }

    /// Without those whose addresses are not among these, with words for the log about each that is closed.
    pub fn only(self, tcp: &[SocketAddr], udp: &[SocketAddr]) -> (Self, Vec<String>) {
        let strange = self.beside(tcp, udp);
        let words = strange.iter().map(|which| format!("an inherited socket is closed: {which}; {ADVICE}"));
        let words = words.collect();
        match Arc::try_unwrap(self.0) {
            Ok(mut sockets) => {
                sockets.tcp.retain(|(address, _)| tcp.contains(address));
                sockets.udp.retain(|(address, _)| udp.contains(address));
                (Self(Arc::new(sockets)), words)
            }
            // whoever has a copy keeps all of them open
            Err(shared) => (Self(shared), words),
        }
    }

    /// Those whose addresses are not among these, in words. Whoever comes there waits, and is never answered.
    pub fn beside(&self, tcp: &[SocketAddr], udp: &[SocketAddr]) -> Vec<String> {
        let words =
            |address: SocketAddr, kind| format!("nothing is configured to listen on {address} ({kind})");
        let all_tcp = self.0.tcp.iter().map(|(address, _)| *address).filter(|a| !tcp.contains(a));
        let all_udp = self.0.udp.iter().map(|(address, _)| *address).filter(|a| !udp.contains(a));
        let told = all_tcp.map(|a| words(a, "TCP")).chain(all_udp.map(|a| words(a, "UDP")));
        let mut told: Vec<_> = told.collect();
        // one line for all sockets of an address
        told.dedup();
        told
    }
}

impl Sockets {
    /// Takes one, whatever it is, or says why it is of no use. What cannot even be a socket stays open.
    fn take(&mut self, given: &mut ListenFd, number: usize) -> Result<(), String> {
        let words = |error: io::Error| error.to_string();
        if let Ok(Some(socket)) = given.take_tcp_listener(number) {
            if !socket_acceptconn(&socket).unwrap_or(false) {
                return Err(
                    "it is a connection, and does not listen (Accept=no belongs into the unit)".into()
                );
            }
            socket.set_nonblocking(true).map_err(words)?;
            self.tcp.push((socket.local_addr().map_err(words)?, socket));
            return Ok(());
        }
        if let Ok(Some(socket)) = given.take_udp_socket(number) {
            socket.set_nonblocking(true).map_err(words)?;
            self.udp.push((socket.local_addr().map_err(words)?, socket));
            return Ok(());
        }
        let unix = i32::from(AddressFamily::UNIX.as_raw());
        for kind in [SocketType::STREAM, SocketType::DGRAM, SocketType::SEQPACKET] {
            let kind = i32::try_from(kind.as_raw()).unwrap_or_default();
            if let Ok(Some(_closed)) = given.take_custom::<OwnedFd>(number, unix, kind, "Unix socket") {
                return Err("it is a Unix socket, and those are not taken over".into());
            }
        }
        Err("it is neither TCP nor UDP".into())
    }
}

fn deal<S>(
    all: &[(SocketAddr, S)],
    address: SocketAddr,
    shares: usize,
    copy: impl Fn(&S) -> io::Result<S>,
) -> io::Result<Option<Shares<S>>> {
    let sockets: Vec<_> = all.iter().filter(|(at, _)| *at == address).map(|(_, socket)| socket).collect();
    if sockets.is_empty() {
        return Ok(None);
    }
    let mut dealt: Shares<S> = (0..shares).map(|_| Vec::new()).collect();
    let turns = shares.max(sockets.len());
    for (share, socket) in (0..shares).cycle().zip(sockets.iter().cycle()).take(turns) {
        if let Some(share) = dealt.get_mut(share) {
            share.push(copy(socket)?);
        }
    }
    Ok(Some(dealt))
}

const ADVICE: &str = "correct ListenStream= and ListenDatagram= in the socket unit, or the configuration";

/// Nobody has as many; a number beyond is not the manager's.
const MOST: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn listener() -> (SocketAddr, TcpListener) {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        (socket.local_addr().unwrap(), socket)
    }

    /// Which socket is in which share.
    fn dealt(sockets: usize, shares: usize) -> Vec<Vec<usize>> {
        let address: SocketAddr = "192.0.2.1:443".parse().unwrap();
        let other: SocketAddr = "192.0.2.1:444".parse().unwrap();
        let mut all: Vec<_> = (0..sockets).map(|number| (address, number)).collect();
        all.insert(0, (other, 99));
        deal(&all, address, shares, |number| Ok(*number)).unwrap().unwrap()
    }

    #[test]
    fn every_share_has_a_socket_and_no_socket_is_left_out() {
        assert_eq!(dealt(1, 3), [[0], [0], [0]]);
        assert_eq!(dealt(2, 3), [[0], [1], [0]]);
        assert_eq!(dealt(3, 3), [[0], [1], [2]]);
        assert_eq!(dealt(5, 2), [vec![0, 2, 4], vec![1, 3]]);
    }

    #[test]
    fn a_socket_without_a_listener_is_closed_and_told_with_what_to_do() {
        let ((wanted, one), (strange, other)) = (listener(), listener());
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let at = udp.local_addr().unwrap();
        let all = Sockets { tcp: vec![(wanted, one), (strange, other)], udp: vec![(at, udp)] };
        // a TCP socket is of no use to whoever answers datagrams there
        let (kept, words) = Inherited(Arc::new(all)).only(&[wanted, at], &[]);
        let closed = |address, kind| {
            format!(
                "an inherited socket is closed: nothing is configured to listen on {address} ({kind}); {ADVICE}"
            )
        };
        assert_eq!(words, [closed(strange, "TCP"), closed(at, "UDP")]);
        assert!(kept.tcp(wanted, 2).unwrap().is_some());
        assert!(kept.tcp(strange, 2).unwrap().is_none() && kept.udp(at, 1).unwrap().is_none());
        let refused = std::net::TcpStream::connect(strange).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(kept.beside(&[], &[]).len(), 1);
    }

    #[test]
    fn a_single_server_takes_one_socket_and_not_several() {
        let (address, socket) = listener();
        let again = socket.try_clone().unwrap();
        let one = Inherited(Arc::new(Sockets { tcp: vec![(address, socket)], udp: Vec::new() }));
        assert!(one.single(address).unwrap().is_some());
        assert!(one.single("127.0.0.1:1".parse().unwrap()).unwrap().is_none());
        let sockets = one.tcp(address, 1).unwrap().unwrap().remove(0);
        let two = sockets.into_iter().chain([again]).map(|socket| (address, socket)).collect();
        let two = Inherited(Arc::new(Sockets { tcp: two, udp: Vec::new() }));
        assert!(two.single(address).unwrap_err().to_string().contains("several"));
    }
}
