use std::cell::RefCell;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::connection;
use super::door::Door;
use crate::net::stop::Stop;

/// Opens listening sockets, one for each worker: also on an address that this host does not have yet
/// (IP_FREEBIND, so that a standby is ready before the virtual address comes), and beside each other
/// (SO_REUSEPORT), but not beside those of another program.
pub fn bind(address: SocketAddr, workers: usize) -> io::Result<Vec<StdListener>> {
    // With SO_REUSEPORT the kernel would let a second front door of the same user share the clients. It
    // asks both sides, so a first socket without it finds out; it must be gone before the others come.
    let alone = socket(address)?;
    alone.bind(&address.into())?;
    drop(alone);
    (0..workers).map(|_| shared(address)).collect()
}

fn shared(address: SocketAddr) -> io::Result<StdListener> {
    let socket = socket(address)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    match address {
        SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
        SocketAddr::V6(_) => {
            socket.set_only_v6(true)?;
            socket.set_freebind_v6(true)?;
        }
    }
    // connections of an earlier run may still be in TIME_WAIT
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The kernel takes as many as net.core.somaxconn allows.
const BACKLOG: i32 = 4096;

/// Accepts connections until told to stop, then those that the kernel has already taken; then lets those
/// that are open finish, for [`GRACE`] at most.
///
/// The door is looked up for each connection, so that a new one serves whoever comes next.
pub async fn run(listener: StdListener, door: Rc<RefCell<Rc<Door>>>, mut stop: Stop) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let mut connections = JoinSet::new();
    let mut out_of_files = OutOfFiles::default();
    let admit = |connections: &mut JoinSet<()>, stream, client: SocketAddr, stop: Stop| {
        let door = Rc::clone(&door.borrow());
        match door.plan.admission.admit(client.ip(), &door.plan.settings.limits) {
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
    while let Some(Ok((stream, client))) = accept_now(&listener).await {
        admit(&mut connections, stream, client, stop.clone());
    }
    drop(listener);
    let finished = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(GRACE, finished).await;
    Ok(())
}

/// A connection that is there already, if any.
async fn accept_now(listener: &TcpListener) -> Option<io::Result<(TcpStream, SocketAddr)>> {
    std::future::poll_fn(|cx| match listener.poll_accept(cx) {
        Poll::Ready(accepted) => Poll::Ready(Some(accepted)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// How long open connections have to finish when a listener closes.
pub const GRACE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);

fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
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
