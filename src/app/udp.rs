//! The threads that answer datagrams: beside the workers and not on them, so that no flood of datagrams holds up those
//! who are served over TCP.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::rc::Rc;
use std::thread::JoinHandle;

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, LocalSet};

use crate::net::datagrams::{self, Responder};
use crate::net::roll::Member;
use crate::net::stop::{self, Stop, Stopper};

/// What one thread is to answer from now on.
pub struct Duty {
    /// Where, with its sockets where that is new. Addresses that are not among these are closed.
    pub addresses: Vec<(SocketAddr, Box<dyn Responder + Send>, Vec<UdpSocket>)>,
}

/// One of the threads.
pub struct UdpThread {
    duties: mpsc::UnboundedSender<Duty>,
    thread: JoinHandle<()>,
}

impl UdpThread {
    /// Starts it. It answers nothing until it has a duty. `taken` is changed once it has taken one up. It
    /// answers to the roll as `member`.
    pub fn start(number: usize, taken: watch::Sender<usize>, member: Member, stop: Stop) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (duties, receiver) = mpsc::unbounded_channel();
        let thread = std::thread::Builder::new().name(format!("udp-{number}")).spawn(move || {
            LocalSet::new().block_on(&runtime, run(receiver, taken, member, stop));
        })?;
        Ok(Self { duties, thread })
    }

    /// Has it answer this from now on.
    pub fn assign(&self, duty: Duty) {
        // a thread that is gone is found by `join`
        let _ = self.duties.send(duty);
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for its end after its stop; `Err` if it has panicked.
    pub fn join(self) -> std::thread::Result<()> {
        drop(self.duties);
        self.thread.join()
    }
}

/// How the answers at an address have ended.
type Served = Result<(), (SocketAddr, io::Error)>;

struct Open {
    responder: Rc<RefCell<Box<dyn Responder + Send>>>,
    // dropping it closes the socket
    _stopper: Stopper,
}

async fn run(
    mut duties: mpsc::UnboundedReceiver<Duty>,
    taken: watch::Sender<usize>,
    mut member: Member,
    mut stop: Stop,
) {
    let mut open = HashMap::new();
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = stop.stopped() => break,
            duty = duties.recv() => match duty {
                Some(duty) => {
                    take(duty, &mut open, &mut tasks);
                    taken.send_modify(|count| *count += 1);
                }
                None => break,
            },
            () = member.answer() => {}
            Some(ended) = tasks.join_next() => {
                match ended {
                    // its address is no longer wanted
                    Ok(Ok(())) => {}
                    // whoever calls the roll ends the front door, which is better than one that answers some
                    Ok(Err((address, error))) => {
                        tracing::error!(%address, %error, "a UDP socket has failed");
                        break;
                    }
                    Err(error) => {
                        tracing::error!(%error, "a responder has failed");
                        break;
                    }
                }
            }
        }
    }
    open.clear();
    while tasks.join_next().await.is_some() {}
}

fn take(duty: Duty, open: &mut HashMap<SocketAddr, Open>, tasks: &mut JoinSet<Served>) {
    let stay: Vec<_> = duty.addresses.iter().map(|(address, ..)| *address).collect();
    open.retain(|address, _| stay.contains(address));
    for (address, responder, sockets) in duty.addresses {
        match open.get(&address) {
            Some(open) => *open.responder.borrow_mut() = responder,
            None if sockets.is_empty() => {
                tracing::error!(%address, "a UDP address has come without its socket");
            }
            None => {
                let (stopper, stop) = stop::channel();
                let responder = Rc::new(RefCell::new(responder));
                open.insert(address, Open { responder: Rc::clone(&responder), _stopper: stopper });
                for socket in sockets {
                    let (responder, stop) = (Rc::clone(&responder), stop.clone());
                    tasks.spawn_local(async move {
                        datagrams::serve(socket, responder, stop).await.map_err(|error| (address, error))
                    });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::net::roll::Roll;

    #[test]
    fn a_thread_answers_the_roll_as_long_as_it_turns() {
        let (roll, (stopper, stop)) = (Roll::default(), stop::channel());
        let thread = UdpThread::start(0, watch::Sender::new(0), roll.enlist(), stop).unwrap();
        for _ in 0..3 {
            let called = Instant::now();
            while !roll.call() {
                assert!(called.elapsed() < Duration::from_secs(20));
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        stopper.stop();
        thread.join().unwrap();
        // the last call has either come too late, or was answered, and then the next one is not
        assert!(!roll.call() || !roll.call());
    }
}
