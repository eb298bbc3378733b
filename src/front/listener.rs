use std::cell::RefCell;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::connection;
use super::door::Door;
use crate::net::early;
use crate::net::stop::Stop;

/// Opens listening sockets, one for each worker: also on an address that this host does not have yet
/// (IP_FREEBIND, so that a standby is ready before the virtual address comes), and beside each other
/// (SO_REUSEPORT), but not beside those of another program.
pub fn bind(address: SocketAddr, workers: usize) -> io::Result<Vec<StdListener>> {
    // With SO_REUSEPORT the kernel would let a second front door of the same user share the clients. It
    // asks both sides, so a first socket without it finds out; it must be gone before the others come.
    let alone = early::tcp(address)?;
    alone.bind(&address.into())?;
    drop(alone);
    (0..workers).map(|_| shared(address)).collect()
}

fn shared(address: SocketAddr) -> io::Result<StdListener> {
    let socket = early::tcp(address)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The kernel takes as many as net.core.somaxconn allows.
const BACKLOG: i32 = 4096;

/// Accepts connections until told to stop, then those that the kernel has already taken. Those that are open then
/// finish what they are doing among the worker's tunnels.
///
/// The door is looked up for each connection, so that a new one serves whoever comes next.
/// `open` is dropped with the socket.
pub async fn run<O>(
    listener: StdListener,
    door: Rc<RefCell<Rc<Door>>>,
    open: O,
    mut stop: Stop,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let mut connections = JoinSet::new();
    let mut out_of_files = OutOfFiles::default();
    let admit = |connections: &mut JoinSet<()>, stream, client: SocketAddr, stop: Stop| {
        let door = Rc::clone(&door.borrow());
        match door.plan.admit(client.ip()) {
            Ok(place) => {
                connections.spawn_local(connection::serve(stream, client, door, place, stop));
            }
            Err(rejection) => door.meter.rejected(rejection),
        }
    };
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.stopped() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, client)) => {
                out_of_files.over();
                admit(&mut connections, stream, client, stop.clone());
            }
            // the client was gone before we looked
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                let door = Rc::clone(&door.borrow());
                out_of_files.tell(&door.plan.settings.name, &error);
                // connections that end give files back; until then whoever comes waits in the backlog
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    // closing the socket resets whoever waits in its backlog
    for (stream, client) in Backlog(listener.into_std()?) {
        if let Ok(stream) = TcpStream::from_std(stream) {
            admit(&mut connections, stream, client, stop.clone());
        }
    }
    // no more are taken from here on
    drop(open);
    let door = Rc::clone(&door.borrow());
    door.tunnels.spawn(async move { while connections.join_next().await.is_some() {} });
    Ok(())
}

/// The connections that are there already. The kernel is asked itself: the runtime says "none" too when a
/// task has had its share of a turn.
struct Backlog(StdListener);

impl Iterator for Backlog {
    type Item = (StdStream, SocketAddr);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.0.accept() {
                Ok((stream, client)) => {
                    // tokio takes no other
                    stream.set_nonblocking(true).ok()?;
                    return Some((stream, client));
                }
                Err(error) if is_about_one_connection(&error) => {}
                Err(_) => return None,
            }
        }
    }
}

const PAUSE: Duration = Duration::from_millis(50);

fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// Tells once when accepting begins to fail (EMFILE, ENFILE, ENOMEM), and once when that is over.
#[derive(Default)]
struct OutOfFiles {
    told: bool,
}

impl OutOfFiles {
    fn tell(&mut self, listener: &str, error: &io::Error) {
        if !self.told {
            self.told = true;
            tracing::error!(
                listener,
                %error,
                "connections cannot be accepted for now; raise the limit of open files (LimitNOFILE) or lower \
                 listener.limits.connections"
            );
        }
    }

    fn over(&mut self) {
        if self.told {
            self.told = false;
            tracing::info!("connections are accepted again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_backlog_is_taken_however_long_it_is() {
        let listener = bind("127.0.0.1:0".parse().unwrap(), 1).unwrap().remove(0);
        let address = listener.local_addr().unwrap();
        let waiting: Vec<_> = (0..300).map(|_| StdStream::connect(address).unwrap()).collect();
        assert_eq!(Backlog(listener).count(), waiting.len());
    }

    #[test]
    fn sockets_are_shared_among_workers_and_with_nobody_else() {
        let address = StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let ours = bind(address, 3).unwrap();
        assert_eq!(ours.len(), 3);
        assert_eq!(bind(address, 1).err().map(|error| error.kind()), Some(io::ErrorKind::AddrInUse));
    }

    #[test]
    fn an_address_need_not_exist_yet() {
        // TEST-NET-3 (RFC 5737) and the documentation prefix (RFC 3849) are nobody's
        for address in ["203.0.113.7:0", "[2001:db8::7]:0"] {
            assert!(bind(address.parse().unwrap(), 1).is_ok(), "{address}");
        }
    }
}
