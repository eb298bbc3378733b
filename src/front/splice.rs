//! Carries bytes between two TCP connections inside the kernel, where that pays.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::meter::Direction;
use super::relay::{Ended, PASSES, Side, Way, both, drive};
use super::tunnels::Carried;

/// As [`relay`](super::relay::relay) does it, but bulk goes through a pipe (splice(2)) and never through this
/// process. After a break both sides get a reset, so that nobody takes it for an end;
/// but one who has had the other's end already has had all.
pub async fn join(
    client: Side<TcpStream>,
    gateway: Side<TcpStream>,
    idle_timeout: Duration,
    carried: &Carried,
) -> Ended {
    let mut inward = Spliced::new(Direction::In, client.early);
    let mut outward = Spliced::new(Direction::Out, gateway.early);
    let (mut client, mut gateway) = (client.stream, gateway.stream);
    let ended = drive(idle_timeout, carried, |cx| {
        let inward = inward.poll(cx, &mut client, &mut gateway, carried)?;
        let outward = outward.poll(cx, &mut gateway, &mut client, carried)?;
        both(inward, outward)
    })
    .await;
    let ended = ended.unless_refused([&inward.way, &outward.way]);
    if let Ended::Broken(_) = ended {
        // whose own end has been passed on has all there was: a reset would destroy what is still on its way
        for (stream, way) in [(client, &outward.way), (gateway, &inward.way)] {
            if !way.has_passed_on_end() {
                // one that is gone already needs none
                let _ = stream.set_zero_linger();
            }
        }
    }
    ended
}

/// One of the two ways: by copying, or through a pipe while there is much to carry.
struct Spliced {
    way: Way,
    /// What is on its way in the kernel. A way has a pipe only while there are bytes in it.
    pipe: Option<Filled>,
    /// The last pass has carried enough for a pipe to pay.
    bulk: bool,
    /// The kernel does it for these two connections.
    able: bool,
}

struct Filled {
    pipe: Pipe,
    bytes: usize,
}

impl Spliced {
    fn new(direction: Direction, early: Bytes) -> Self {
        Self { way: Way::new(direction, early), pipe: None, bulk: false, able: true }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut TcpStream,
        to: &mut TcpStream,
        carried: &Carried,
    ) -> Poll<io::Result<()>> {
        let polled = self.poll_passes(cx, from, to, carried);
        if polled.is_ready() {
            // what is left in it has nowhere to go
            self.pipe = None;
        }
        self.way.settle(polled)
    }

    fn poll_passes(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut TcpStream,
        to: &mut TcpStream,
        carried: &Carried,
    ) -> Poll<io::Result<()>> {
        for _ in 0..PASSES {
            ready!(self.poll_empty(cx, to, carried))?;
            ready!(self.way.poll_unwritten(cx, to, carried))?;
            if self.way.is_ending() {
                return self.way.poll_end(cx, to);
            }
            let passed = match self.free_pipe() {
                Some(pipe) => self.poll_fill(cx, from, pipe),
                None => self.way.poll_pass(cx, from, to, carried),
            };
            self.bulk = ready!(passed)? >= BULK;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn free_pipe(&self) -> Option<Pipe> {
        if self.bulk && self.able { Pipe::take() } else { None }
    }

    /// Reads once into an empty pipe. How much was read; 0 at the end, or if the kernel does not do it.
    fn poll_fill(&mut self, cx: &mut Context<'_>, from: &TcpStream, pipe: Pipe) -> Poll<io::Result<usize>> {
        loop {
            let Poll::Ready(ready) = from.poll_read_ready(cx) else {
                pipe.give_back();
                return Poll::Pending;
            };
            ready?;
            let read = from.try_io(Interest::READABLE, || {
                Ok(splice(from, None, &pipe.writer, None, PIPE_LENGTH, FLAGS)?)
            });
            match read {
                Ok(0) => {
                    self.way.end();
                    pipe.give_back();
                    return Poll::Ready(Ok(0));
                }
                Ok(bytes) => {
                    self.pipe = Some(Filled { pipe, bytes });
                    return Poll::Ready(Ok(bytes));
                }
                Err(error) if is_passing(&error) => {}
                Err(error) if is_refusal(&error) => {
                    self.able = false;
                    return Poll::Ready(Ok(0));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Ready when nothing is on its way in a pipe.
    fn poll_empty(
        &mut self,
        cx: &mut Context<'_>,
        to: &TcpStream,
        carried: &Carried,
    ) -> Poll<io::Result<()>> {
        let Some(Filled { pipe, bytes }) = &mut self.pipe else { return Poll::Ready(Ok(())) };
        while *bytes > 0 {
            ready!(to.poll_write_ready(cx))?;
            let written =
                to.try_io(Interest::WRITABLE, || Ok(splice(&pipe.reader, None, to, None, *bytes, FLAGS)?));
            match written {
                Ok(written @ 1..) => {
                    *bytes = bytes.saturating_sub(written);
                    self.way.wrote(written, carried);
                }
                Err(error) if is_passing(&error) => {}
                Err(error) if is_refusal(&error) => {
                    self.able = false;
                    self.way.put_back(pipe.read(*bytes)?);
                    *bytes = 0;
                }
                Ok(0) => return Poll::Ready(Err(self.way.refuse(io::ErrorKind::WriteZero.into()))),
                Err(error) => return Poll::Ready(Err(self.way.refuse(error))),
            }
        }
        if let Some(Filled { pipe, .. }) = self.pipe.take() {
            pipe.give_back();
        }
        Poll::Ready(Ok(()))
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// Whether the kernel, or what guards it, does not do this at all.
fn is_refusal(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::INVAL | Errno::NOSYS | Errno::PERM))
}

/// Both ends of an empty pipe.
struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
    _counted: Counted,
}

/// The pipes of one thread.
#[derive(Default)]
struct Pipes {
    free: Vec<Pipe>,
    /// Free ones and others.
    count: usize,
}

thread_local! {
    static PIPES: RefCell<Pipes> = RefCell::default();
}

impl Pipe {
    /// `None`: there are enough, or this host has no files left for more.
    fn take() -> Option<Self> {
        if let Some(free) = PIPES.with_borrow_mut(|pipes| pipes.free.pop()) {
            return Some(free);
        }
        let counted = Counted::new()?;
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        // a smaller one does it, too (fs.pipe-user-pages-soft)
        let _ = fcntl_setpipe_size(&writer, PIPE_LENGTH);
        Some(Self { reader, writer, _counted: counted })
    }

    /// Keeps it for the next one who needs one. Only empty pipes may come back.
    fn give_back(self) {
        let superfluous = PIPES.with_borrow_mut(|pipes| {
            if pipes.free.len() < MAX_FREE {
                pipes.free.push(self);
                None
            } else {
                Some(self)
            }
        });
        // outside, for it is counted down in there
        drop(superfluous);
    }

    /// Takes this many bytes out again.
    fn read(&self, bytes: usize) -> io::Result<Bytes> {
        let mut taken = vec![0; bytes];
        let mut rest = &mut taken[..];
        while !rest.is_empty() {
            let read = rustix::io::read(&self.reader, &mut *rest)?;
            rest = rest.get_mut(read..).filter(|_| read > 0).ok_or(io::ErrorKind::UnexpectedEof)?;
        }
        Ok(taken.into())
    }
}

/// One of the thread's pipes, for as long as it is open.
struct Counted(());

impl Counted {
    fn new() -> Option<Self> {
        PIPES.with_borrow_mut(|pipes| {
            let may = pipes.count < MAX_PIPES;
            pipes.count += usize::from(may);
            may.then_some(Self(()))
        })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        // where the thread's pipes are dropped themselves, nobody counts any more
        let _ = PIPES.try_with(|pipes| pipes.try_borrow_mut().map(|mut pipes| pipes.count -= 1));
    }
}

/// What a pass has to carry for the next one to go through a pipe. In bulk a pipe takes half the processor time of
/// copying (0.11 against 0.23 s a gigabyte over loopback); with messages of up to 16 KiB nothing is gained.
const BULK: usize = 16 * 1024;

const PIPE_LENGTH: usize = 256 * 1024;
const FLAGS: SpliceFlags = SpliceFlags::NONBLOCK.union(SpliceFlags::MOVE);

/// What clients that are slow to take theirs can hold of a thread's files and of fs.pipe-user-pages-soft (64 MiB
/// for all pipes of a user). Who comes when there are no more is served by copying.
const MAX_PIPES: usize = 64;

const MAX_FREE: usize = 16;

/// How many files a worker may have open for pipes.
pub const PIPE_FILES: u64 = 2 * MAX_PIPES as u64;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::super::relay::trial::{self, HOUR, carried, tcp};
    use super::*;

    /// How many pipes this thread has, and how many of them are free.
    fn pipes() -> (usize, usize) {
        PIPES.with_borrow(|pipes| (pipes.count, pipes.free.len()))
    }

    /// How many pipes this process has open, whoever made them.
    fn open_pipes() -> usize {
        let files = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        let targets = files.filter_map(|file| std::fs::read_link(file.path()).ok());
        targets.filter(|target| target.to_string_lossy().starts_with("pipe:")).count()
    }

    #[tokio::test]
    async fn each_side_may_end_before_the_other() {
        let carried = carried();
        let ((client, ours), (theirs, gateway)) = (tcp().await, tcp().await);
        let tunnel = join(ours.into(), theirs.into(), HOUR, &carried);
        trial::each_side_may_end_before_the_other(client, gateway, tunnel).await;
        let ((client, ours), (theirs, gateway)) = (tcp().await, tcp().await);
        let tunnel = join(ours.into(), theirs.into(), HOUR, &carried);
        trial::each_side_may_end_before_the_other(gateway, client, tunnel).await;
        assert_eq!(pipes(), (0, 0), "so little is not worth a pipe");
    }

    #[tokio::test]
    async fn every_byte_arrives_both_ways_at_once_through_pipes_that_are_given_back() {
        let carried = carried();
        let ((client, ours), (theirs, gateway)) = (tcp().await, tcp().await);
        let tunnel = join(ours.into(), theirs.into(), HOUR, &carried);
        trial::every_byte_arrives_both_ways_at_once(client, gateway, tunnel, &carried).await;
        let (count, free) = pipes();
        assert!(count > 0, "no pipe was used");
        assert_eq!(count, free, "all are free again");
        let open = open_pipes();
        let dropped = PIPES.with_borrow_mut(|pipes| std::mem::take(&mut pipes.free));
        drop(dropped);
        assert_eq!(pipes(), (0, 0));
        // other tests have pipes of their own, and may have closed them in the meantime
        assert!(open_pipes() + 2 * count <= open + 2 * MAX_FREE);
    }

    #[tokio::test(start_paused = true)]
    async fn only_silence_on_both_sides_is_idle() {
        let carried = carried();
        let ((client, ours), (theirs, gateway)) = (tcp().await, tcp().await);
        let tunnel = join(ours.into(), theirs.into(), HOUR, &carried);
        trial::only_silence_on_both_sides_is_idle(client, gateway, tunnel).await;
    }

    #[tokio::test]
    async fn early_bytes_go_first_and_count() {
        let carried = carried();
        let ((client, ours), (theirs, gateway)) = (tcp().await, tcp().await);
        let (ours, theirs) = trial::early(ours, theirs);
        let tunnel = join(ours, theirs, HOUR, &carried);
        trial::early_bytes_go_first_and_count(client, gateway, tunnel, &carried).await;
    }

    #[tokio::test]
    async fn a_reset_on_one_side_is_one_for_the_other() {
        let carried = carried();
        let ((mut client, ours), (theirs, gateway)) = (tcp().await, tcp().await);
        let sides = async {
            gateway.set_zero_linger().unwrap();
            drop(gateway);
            client.read(&mut [0]).await.unwrap_err().kind()
        };
        let tunnel = join(ours.into(), theirs.into(), HOUR, &carried);
        let (ended, seen) = tokio::join!(tunnel, sides);
        assert_eq!(ended, Ended::Broken(io::ErrorKind::ConnectionReset));
        assert_eq!(seen, io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn who_has_had_an_end_keeps_what_came_before_it() {
        let carried = carried();
        let ((client, ours), (theirs, gateway)) = (tcp().await, tcp().await);
        let mut client = client;
        let mut gateway = gateway;
        let sides = async {
            gateway.write_all(b"all there is").await.unwrap();
            gateway.shutdown().await.unwrap();
            // the end has come, and nothing has been read
            client.ready(Interest::READABLE).await.unwrap();
            while !client.ready(Interest::READABLE).await.unwrap().is_read_closed() {
                tokio::task::yield_now().await;
            }
            gateway.set_zero_linger().unwrap();
            drop(gateway);
            client.write_all(b"nobody takes this").await.unwrap();
        };
        let tunnel = join(ours.into(), theirs.into(), HOUR, &carried);
        let (ended, ()) = tokio::join!(tunnel, sides);
        assert!(matches!(ended, Ended::Broken(_)), "{ended:?}");
        let mut received = String::new();
        client.read_to_string(&mut received).await.unwrap();
        assert_eq!(received, "all there is");
    }

    #[tokio::test]
    async fn the_last_words_of_one_who_resets_still_arrive() {
        let carried = carried();
        let ((client, ours), (theirs, gateway)) = (tcp().await, tcp().await);
        let tunnel = join(ours.into(), theirs.into(), HOUR, &carried);
        trial::the_last_words_of_one_who_resets_still_arrive(client, gateway, tunnel).await;
    }

    #[tokio::test]
    async fn a_side_that_does_not_read_holds_up_the_one_that_writes() {
        let carried = carried();
        let ((client, ours), (theirs, gateway)) = (tcp().await, tcp().await);
        let tunnel = join(ours.into(), theirs.into(), HOUR, &carried);
        trial::a_side_that_does_not_read_holds_up_the_one_that_writes(client, gateway, tunnel).await;
        assert_eq!(pipes(), (0, 0), "a pipe with bytes in it is closed with its tunnel");
    }

    #[tokio::test]
    async fn without_a_pipe_bytes_are_copied() {
        let taken: Vec<_> = (0..MAX_PIPES).map(|_| Pipe::take().unwrap()).collect();
        assert!(Pipe::take().is_none());
        let carried = carried();
        let ((client, ours), (theirs, gateway)) = (tcp().await, tcp().await);
        let tunnel = join(ours.into(), theirs.into(), HOUR, &carried);
        trial::every_byte_arrives_both_ways_at_once(client, gateway, tunnel, &carried).await;
        assert_eq!(pipes(), (MAX_PIPES, 0));
        for pipe in taken {
            pipe.give_back();
        }
        assert_eq!(pipes(), (MAX_FREE, MAX_FREE));
    }

    #[tokio::test]
    async fn what_is_in_a_pipe_is_not_lost_when_the_kernel_refuses() {
        let carried = carried();
        let ((mut client, mut ours), (mut theirs, mut gateway)) = (tcp().await, tcp().await);
        let mut way = Spliced::new(Direction::In, Bytes::new());
        way.bulk = true;
        client.write_all(b"on its way").await.unwrap();
        ours.readable().await.unwrap();
        let filled = std::future::poll_fn(|cx| way.poll_fill(cx, &ours, Pipe::take().unwrap())).await;
        assert_eq!(filled.unwrap(), 10);
        // as `poll_empty` does it
        let Filled { pipe, bytes } = way.pipe.take().unwrap();
        way.able = false;
        way.way.put_back(pipe.read(bytes).unwrap());
        pipe.give_back();
        client.write_all(b", and more").await.unwrap();
        client.shutdown().await.unwrap();
        std::future::poll_fn(|cx| way.poll(cx, &mut ours, &mut theirs, &carried)).await.unwrap();
        let mut received = String::new();
        gateway.read_to_string(&mut received).await.unwrap();
        assert_eq!((&*received, carried.sum()), ("on its way, and more", 20));
    }
}
