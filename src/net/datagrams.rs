//! Answering datagrams: sockets that tell at which address they were asked and answer from there, and the loop that
//! takes what is waiting, has it answered, and sends the answers.

use std::cell::RefCell;
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket as StdSocket};
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};
use socket2::{Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::clock;
use super::early;
use super::seldom::Seldom;
use super::stop::Stop;
use crate::fleet::Moment;

/// A datagram that has come.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// What it says.
    pub bytes: &'a [u8],
    /// Who has sent it, or pretends to.
    pub from: SocketAddr,
}

/// Who answers datagrams.
pub trait Responder {
    /// Answers those that were waiting, all at once; any of them may stay without an answer. An answer that is longer
    /// than its question is not sent.
    fn answer(&mut self, asked: &[Datagram<'_>], now: Moment, replies: &mut Replies);
}

/// Answers that are to be sent.
#[derive(Debug, Default)]
pub struct Replies {
    bytes: Vec<u8>,
    replies: Vec<(usize, Range<usize>)>,
}

impl Replies {
    /// Answers the datagram at that place among those asked, with what is written.
    pub fn push(&mut self, place: usize, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        write(&mut self.bytes);
        self.replies.push((place, start..self.bytes.len()));
    }

    /// Those of this turn, each with the place of its question.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &[u8])> {
        self.replies.iter().filter_map(|(place, range)| Some((*place, self.bytes.get(range.clone())?)))
    }

    /// Forgets them.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.replies.clear();
    }
}

/// Opens sockets, so many beside each other (SO_REUSEPORT), but not beside those of another program; also at an address
/// that this host does not have yet (IP_FREEBIND).
pub fn bind(address: SocketAddr, count: usize) -> io::Result<Vec<StdSocket>> {
    // as with listeners: the first one, without SO_REUSEPORT, finds out whether somebody is there
    let alone = socket(address)?;
    alone.bind(&address.into())?;
    drop(alone);
    let shared = || {
        let socket = socket(address)?;
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        Ok(socket.into())
    };
    (0..count).map(|_| shared()).collect()
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    early::socket(address, Type::DGRAM, Protocol::UDP)
}

/// Has whoever is `responder` at the time answer what comes, until told to stop.
pub async fn serve(
    socket: StdSocket,
    responder: Rc<RefCell<Box<dyn Responder + Send>>>,
    mut stop: Stop,
) -> io::Result<()> {
    let mut post = Post::new(socket)?;
    loop {
        tokio::select! {
            biased;
            () = stop.stopped() => break,
            ready = post.socket.readable() => ready?,
        }
        let turned = post.turn(&mut **responder.borrow_mut());
        if let Err(error) = turned {
            post.troubles.tell(error);
            // it may well be there again at once
            tokio::time::sleep(AFTER_AN_ERROR).await;
        }
        post.troubles.sum();
        // others on this thread are ready as well
        tokio::task::yield_now().await;
    }
    Ok(())
}

struct Post {
    socket: UdpSocket,
    state: UdpSocketState,
    buffer: Box<[u8]>,
    metas: Box<[RecvMeta]>,
    replies: Replies,
    troubles: Troubles,
}

impl Post {
    fn new(socket: StdSocket) -> io::Result<Self> {
        let state = UdpSocketState::new((&socket).into())?;
        Ok(Self {
            socket: UdpSocket::from_std(socket)?,
            state,
            buffer: vec![0; CALLS * BATCH_SIZE * MOST_BYTES].into(),
            metas: vec![RecvMeta::default(); CALLS * BATCH_SIZE].into(),
            replies: Replies::default(),
            troubles: Troubles::default(),
        })
    }

    fn turn(&mut self, responder: &mut dyn Responder) -> io::Result<()> {
        let Self { socket, state, buffer, metas, replies, troubles } = self;
        let mut received = 0;
        for (buffer, metas) in buffer.chunks_mut(BATCH_SIZE * MOST_BYTES).zip(metas.chunks_mut(BATCH_SIZE)) {
            let mut chunks = buffer.chunks_exact_mut(MOST_BYTES);
            let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
                std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
            let receive = || state.recv((&*socket).into(), &mut slices, metas);
            match socket.try_io(Interest::READABLE, receive) {
                Ok(count) => received += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
            if received < BATCH_SIZE {
                break;
            }
        }
        let came = || buffer.chunks_exact(MOST_BYTES).zip(&*metas).take(received);
        let asked: Vec<_> = came().flat_map(|(bytes, meta)| datagrams(bytes, meta)).collect();
        replies.clear();
        responder.answer(&asked, clock::now(), replies);
        let asked_at: Vec<_> =
            came().flat_map(|(bytes, meta)| datagrams(bytes, meta).map(|_| meta.dst_ip)).collect();
        for (place, contents) in replies.iter() {
            let Some((question, asked_at)) = asked.get(place).zip(asked_at.get(place)) else { continue };
            debug_assert!(contents.len() <= question.bytes.len(), "an answer longer than its question");
            if contents.len() > question.bytes.len() {
                continue;
            }
            let answer = Transmit {
                destination: question.from,
                ecn: None,
                contents,
                segment_size: None,
                src_ip: *asked_at,
            };
            // where there is no room, nobody waits for it: who gets no answer asks again
            match state.try_send((&*socket).into(), &answer) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => troubles.tell(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// What came with one message: one datagram, or several of one length from one client that the kernel has put together
/// (UDP_GRO). One that fills the buffer was longer, and is left out; so is one from port 0, which nothing can be sent to
/// (RFC 768: its sender wants no answer).
fn datagrams<'a>(buffer: &'a [u8], meta: &RecvMeta) -> impl Iterator<Item = Datagram<'a>> {
    let from = meta.addr;
    let bytes = buffer.get(..meta.len).filter(|_| from.port() != 0).unwrap_or_default();
    let whole = move |piece: &&[u8]| piece.len() < MOST_BYTES;
    bytes.chunks(meta.stride.max(1)).filter(whole).map(move |bytes| Datagram { bytes, from })
}

/// Tells what goes wrong at a socket, but not as often as it does.
struct Troubles(Seldom);

impl Default for Troubles {
    fn default() -> Self {
        Self(Seldom::new(
            "a datagram could not be received or sent",
            "datagrams could not be received or sent",
        ))
    }
}

impl Troubles {
    fn tell(&self, error: io::Error) {
        let words = super::words::in_words(&error);
        if self.0.note_at(clock::now().instant, &words) {
            tracing::warn!("a datagram could not be received or sent: {words}");
        }
    }

    fn sum(&self) {
        if let Some(line) = self.0.sum(clock::now().instant) {
            tracing::warn!("{line}");
        }
    }
}

/// How much of a datagram is read: more than any that is answered. An IKE_SA_INIT with a post-quantum key share is half
/// as long.
const MOST_BYTES: usize = 4096;

/// So many calls a turn at most: two bring as many datagrams as one signature is for.
const CALLS: usize = 2;

const AFTER_AN_ERROR: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn what_the_kernel_puts_together_is_taken_apart() {
        let buffer: Vec<u8> = (0..=255).cycle().take(MOST_BYTES).collect();
        let came_from = |port, len, stride| {
            let addr = (IpAddr::from([192, 0, 2, 1]), port).into();
            let meta = RecvMeta { addr, len, stride, ..RecvMeta::default() };
            datagrams(&buffer, &meta).map(|datagram| datagram.bytes.to_vec()).collect::<Vec<_>>()
        };
        let came = |len, stride| came_from(1000, len, stride);
        assert_eq!(came(3, 3), [[0, 1, 2]]);
        assert_eq!(came(7, 3), [vec![0, 1, 2], vec![3, 4, 5], vec![6]]);
        assert_eq!(came(0, 0), Vec::<Vec<u8>>::new());
        assert_eq!(came(MOST_BYTES, MOST_BYTES), Vec::<Vec<u8>>::new(), "cut off");
        assert_eq!(came(MOST_BYTES + 1, 9), Vec::<Vec<u8>>::new(), "never");
        assert_eq!(came_from(0, 3, 3), Vec::<Vec<u8>>::new(), "cannot be answered");
    }

    /// Says what it has heard, without two dots at its end; to "nothing", nothing.
    struct Echo;

    impl Responder for Echo {
        fn answer(&mut self, asked: &[Datagram<'_>], _: Moment, replies: &mut Replies) {
            for (place, question) in asked.iter().enumerate().filter(|(_, q)| q.bytes != b"nothing") {
                let text = question.bytes.strip_suffix(b"..").unwrap_or(question.bytes);
                replies.push(place, |out| out.extend_from_slice(text));
            }
        }
    }

    #[tokio::test]
    async fn each_is_answered_from_the_address_it_has_asked() {
        for (bound, asked) in [("0.0.0.0:0", ["127.0.0.1", "127.1.2.3"]), ("[::]:0", ["::1", "::1"])] {
            let socket = bind(bound.parse().unwrap(), 1).unwrap().remove(0);
            let port = socket.local_addr().unwrap().port();
            let (stopper, stop) = super::super::stop::channel();
            let responder = Rc::new(RefCell::new(Box::new(Echo) as Box<dyn Responder + Send>));
            let asking = async {
                for address in asked {
                    let address: IpAddr = address.parse().unwrap();
                    let client = UdpSocket::bind((if address.is_ipv4() { "127.0.0.1" } else { "::1" }, 0))
                        .await
                        .unwrap();
                    // a connected socket takes only what comes from there
                    client.connect((address, port)).await.unwrap();
                    client.send(b"nothing").await.unwrap();
                    for text in ["one", "a second.."] {
                        client.send(text.as_bytes()).await.unwrap();
                        let mut buffer = [0; 64];
                        let length = client.recv(&mut buffer).await.unwrap();
                        assert_eq!(&buffer[..length], text.trim_end_matches('.').as_bytes());
                    }
                }
                stopper.stop();
            };
            let patience = Duration::from_secs(20);
            let (served, ()) = tokio::time::timeout(patience, async {
                tokio::join!(serve(socket, Rc::clone(&responder), stop), asking)
            })
            .await
            .unwrap();
            served.unwrap();
        }
    }

    #[test]
    fn an_address_is_not_shared_with_another_program() {
        let theirs = StdSocket::bind("127.0.0.1:0").unwrap();
        let address = theirs.local_addr().unwrap();
        assert_eq!(bind(address, 1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(theirs);
        let ours = bind(address, 3).unwrap();
        assert_eq!(ours.len(), 3);
        assert_eq!(bind(address, 1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
