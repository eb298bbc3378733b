//! Carries bytes both ways between two streams, until both sides are done.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::meter::Direction;
use super::tunnels::Carried;

/// One side of a tunnel.
#[derive(Debug)]
pub struct Side<S> {
    /// Where bytes come from and go to.
    pub stream: S,
    /// What has come from there already. The other side gets it first.
    pub early: Bytes,
}

/// How a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Both sides have said all they had to say.
    Closed,
    /// Nobody has said anything for too long.
    Idle,
    /// A connection broke.
    Broken(io::ErrorKind),
}

impl<S> From<S> for Side<S> {
    fn from(stream: S) -> Self {
        Self { stream, early: Bytes::new() }
    }
}

/// Carries bytes until both sides have ended, or nothing has gone either way for `idle_timeout`, or a side
/// breaks. A side that ends is an end for the other one too, which may still go on talking; one that ends
/// without TLS's close_notify has ended like any other.
///
/// Idle tunnels hold no buffers: what is read goes through one that all tunnels of the thread share, and only
/// what the other side does not take at once is kept, and nothing more read before that has left.
pub async fn relay<C, G>(
    mut client: Side<C>,
    mut gateway: Side<G>,
    idle_timeout: Duration,
    carried: &Carried,
) -> Ended
where
    C: AsyncRead + AsyncWrite + Unpin,
    G: AsyncRead + AsyncWrite + Unpin,
{
    let mut inward = Way::new(Direction::In, client.early);
    let mut outward = Way::new(Direction::Out, gateway.early);
    let (client, gateway) = (&mut client.stream, &mut gateway.stream);
    let ended = drive(idle_timeout, carried, |cx| {
        let inward = inward.poll(cx, client, gateway, carried)?;
        let outward = outward.poll(cx, gateway, client, carried)?;
        both(inward, outward)
    })
    .await;
    ended.unless_refused([&inward, &outward])
}

impl Ended {
    /// How it ended, seen that a side may have taken less than there was.
    pub fn unless_refused(self, ways: [&Way; 2]) -> Self {
        match ways.into_iter().find_map(|way| way.refused) {
            Some(why) if self == Self::Closed => Self::Broken(why),
            _ => self,
        }
    }
}

/// Ready when both ways are.
pub fn both(inward: Poll<()>, outward: Poll<()>) -> Poll<io::Result<()>> {
    ready!(inward);
    outward.map(Ok)
}

/// Lets both ways of a tunnel run until they have ended, or one breaks, or nothing is carried for too long.
pub async fn drive(
    idle_timeout: Duration,
    carried: &Carried,
    mut poll_both_ways: impl FnMut(&mut Context<'_>) -> Poll<io::Result<()>>,
) -> Ended {
    let mut last = Instant::now();
    let mut timer = pin!(tokio::time::sleep_until(last + idle_timeout));
    let mut before = carried.sum();
    poll_fn(|cx| {
        match poll_both_ways(cx) {
            Poll::Ready(Ok(())) => return Poll::Ready(Ended::Closed),
            Poll::Ready(Err(error)) => return Poll::Ready(Ended::Broken(error.kind())),
            Poll::Pending => {}
        }
        let now_carried = carried.sum();
        if now_carried != before {
            before = now_carried;
            last = Instant::now();
        }
        // the timer stays where it is when bytes go; where it should be is looked up when it fires
        while timer.as_mut().poll(cx).is_ready() {
            let deadline = last + idle_timeout;
            if deadline <= Instant::now() {
                return Poll::Ready(Ended::Idle);
            }
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    })
    .await
}

/// One of the two ways through a tunnel.
pub struct Way {
    direction: Direction,
    phase: Phase,
    /// Read, and not taken by the other side yet.
    unwritten: Bytes,
    /// The other side has taken bytes that it may not have sent yet.
    unflushed: bool,
    /// Why the other side takes no more.
    refused: Option<io::ErrorKind>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// No more bytes come; the other side is yet to be told.
    Ending,
    Ended,
}

impl Way {
    /// A way on which these bytes go first.
    pub fn new(direction: Direction, early: Bytes) -> Self {
        Self { direction, phase: Phase::Open, unwritten: early, unflushed: false, refused: None }
    }

    /// Carries what there is to carry. Ready when the end of `from` has been passed on to `to`, or when `to`
    /// takes no more: it may have said why, and that is still to be read from it.
    pub fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
        carried: &Carried,
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let polled = self.poll_passes(cx, from, to, carried);
        self.settle(polled)
    }

    /// Makes an end to this way alone of a refusal.
    pub fn settle(&mut self, polled: Poll<io::Result<()>>) -> Poll<io::Result<()>> {
        match polled {
            Poll::Ready(Err(_)) if self.refused.is_some() => {
                self.phase = Phase::Ended;
                self.unwritten = Bytes::new();
                Poll::Ready(Ok(()))
            }
            polled => polled,
        }
    }

    fn poll_passes<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
        carried: &Carried,
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        for _ in 0..PASSES {
            ready!(self.poll_unwritten(cx, to, carried))?;
            if self.is_ending() {
                return self.poll_end(cx, to);
            }
            // what is written into an empty buffer is not cut in two, so that a record stays one
            ready!(self.poll_flush(cx, to))?;
            match self.poll_pass(cx, from, to, carried) {
                Poll::Ready(passed) => _ = passed?,
                Poll::Pending => return Poll::Pending,
            }
        }
        // others have their turn
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Whether the other side has been told that no more bytes come.
    pub fn has_passed_on_end(&self) -> bool {
        self.phase == Phase::Ended && self.refused.is_none()
    }

    /// Whether no more bytes come from here.
    pub fn is_ending(&self) -> bool {
        self.phase != Phase::Open
    }

    /// No more bytes come from here.
    pub fn end(&mut self) {
        self.phase = Phase::Ending;
    }

    /// These go next.
    pub fn put_back(&mut self, bytes: Bytes) {
        self.unwritten = bytes;
    }

    /// Passes on the end.
    pub fn poll_end<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut W,
    ) -> Poll<io::Result<()>> {
        if self.phase == Phase::Ending {
            match ready!(Pin::new(to).poll_shutdown(cx)) {
                // its connection is gone already; what it still has to say is read, or the reason why it has not
                Err(error) if error.kind() != io::ErrorKind::NotConnected => {
                    return Poll::Ready(Err(self.refuse(error)));
                }
                Ok(()) | Err(_) => self.phase = Phase::Ended,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Ready when nothing is left that has been read.
    pub fn poll_unwritten<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut W,
        carried: &Carried,
    ) -> Poll<io::Result<()>> {
        while !self.unwritten.is_empty() {
            let written = ready!(poll_write(cx, to, &self.unwritten)).map_err(|error| self.refuse(error))?;
            self.wrote(written, carried);
            self.unwritten.advance(written);
            if self.unwritten.is_empty() {
                // gives the memory back
                self.unwritten = Bytes::new();
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once and writes as much of it as `to` takes at once. How much was read; 0 at the end.
    pub fn poll_pass<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
        carried: &Carried,
    ) -> Poll<io::Result<usize>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut scratch = Scratch::take();
        let mut buffer = ReadBuf::new(&mut scratch.0);
        match ready!(Pin::new(from).poll_read(cx, &mut buffer)) {
            Ok(()) => {}
            // a TLS session without its close_notify
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => buffer.clear(),
            Err(error) => return Poll::Ready(Err(error)),
        }
        let mut rest = buffer.filled();
        let read = rest.len();
        if read == 0 {
            self.end();
        }
        while !rest.is_empty() {
            match poll_write(cx, to, rest).map_err(|error| self.refuse(error))? {
                Poll::Ready(written) => {
                    self.wrote(written, carried);
                    rest.advance(written);
                }
                Poll::Pending => {
                    self.unwritten = Bytes::copy_from_slice(rest);
                    break;
                }
            }
        }
        Poll::Ready(Ok(read))
    }

    fn poll_flush<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut W,
    ) -> Poll<io::Result<()>> {
        if self.unflushed {
            ready!(Pin::new(to).poll_flush(cx)).map_err(|error| self.refuse(error))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Notes an error as the other side's, which takes no more.
    pub fn refuse(&mut self, error: io::Error) -> io::Error {
        self.refused = Some(error.kind());
        error
    }

    /// These bytes have been taken by the other side.
    pub fn wrote(&mut self, bytes: usize, carried: &Carried) {
        self.unflushed = true;
        carried.add(self.direction, bytes);
    }
}

fn poll_write<W: AsyncWrite + Unpin>(
    cx: &mut Context<'_>,
    to: &mut W,
    bytes: &[u8],
) -> Poll<io::Result<usize>> {
    match ready!(Pin::new(to).poll_write(cx, bytes)) {
        Ok(0) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
        result => Poll::Ready(result),
    }
}

/// The buffer that all tunnels of a thread read into. Nothing stays in it from one read to the next.
struct Scratch(Vec<u8>);

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl Scratch {
    fn take() -> Self {
        let scratch = SCRATCH.take();
        Self(if scratch.is_empty() { vec![0; SCRATCH_LENGTH] } else { scratch })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        SCRATCH.set(std::mem::take(&mut self.0));
    }
}

const SCRATCH_LENGTH: usize = 64 * 1024;

/// How many times a tunnel reads each way before the thread's other tasks have their turn.
pub const PASSES: u32 = 8;

/// What every way to carry bytes must be able to do, over any kind of stream.
#[cfg(test)]
pub mod trial {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    pub const HOUR: Duration = Duration::from_secs(3600);

    /// Two ends of a TCP connection over loopback.
    pub async fn tcp() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (one, other) =
            tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (one.unwrap(), other.unwrap().0)
    }

    /// Two ends of a pipe in memory.
    pub async fn memory() -> (DuplexStream, DuplexStream) {
        tokio::io::duplex(10_000)
    }

    pub fn carried() -> Carried {
        Carried::new(&Default::default())
    }

    fn counted(carried: &Carried) -> [u64; 2] {
        Direction::ALL.map(|direction| carried.get(direction))
    }

    pub async fn each_side_may_end_before_the_other<S>(
        mut first: S,
        mut second: S,
        tunnel: impl Future<Output = Ended>,
    ) where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let sides = async {
            first.write_all(b"question").await.unwrap();
            first.shutdown().await.unwrap();
            let mut received = String::new();
            second.read_to_string(&mut received).await.unwrap();
            assert_eq!(received, "question");
            // the other way is still open, however often it is used
            for part in ["an ", "ans", "wer"] {
                second.write_all(part.as_bytes()).await.unwrap();
                let mut received = [0; 3];
                first.read_exact(&mut received).await.unwrap();
                assert_eq!(&received, part.as_bytes());
            }
            second.shutdown().await.unwrap();
            assert_eq!(first.read(&mut [0]).await.unwrap(), 0);
        };
        let (ended, ()) = tokio::join!(tunnel, sides);
        assert_eq!(ended, Ended::Closed);
    }

    pub async fn every_byte_arrives_both_ways_at_once<S>(
        client: S,
        gateway: S,
        tunnel: impl Future<Output = Ended>,
        carried: &Carried,
    ) where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        const LENGTH: usize = 50 * 1024 * 1024;
        let (mut from_client, mut to_client) = tokio::io::split(client);
        let (mut from_gateway, mut to_gateway) = tokio::io::split(gateway);
        let sides = async {
            tokio::join!(
                send(&mut to_client, LENGTH, 1),
                send(&mut to_gateway, LENGTH, 2),
                receive(&mut from_gateway, LENGTH, 1, 70_001),
                // one who is slow, and takes little at a time
                receive(&mut from_client, LENGTH, 2, 3_001),
            )
        };
        let (ended, _) = tokio::join!(tunnel, sides);
        assert_eq!(ended, Ended::Closed);
        assert_eq!(counted(carried), [LENGTH as u64; 2]);
    }

    async fn send<W: AsyncWrite + Unpin>(to: &mut W, length: usize, seed: u64) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut chunk = [0; 16 * 1024];
        for _ in 0..length / chunk.len() {
            random.fill(&mut chunk);
            to.write_all(&chunk).await.unwrap();
        }
        to.shutdown().await.unwrap();
    }

    /// Reads to the end and compares with what [`send`] has sent.
    async fn receive<R: AsyncRead + Unpin>(from: &mut R, length: usize, seed: u64, at_a_time: usize) {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut expected, mut chunk) = ([0; 16 * 1024], vec![0; at_a_time]);
        let (mut place, mut received) = (expected.len(), 0);
        loop {
            let read = from.read(&mut chunk).await.unwrap();
            if read == 0 {
                break;
            }
            if received / 1_000_000 != (received + read) / 1_000_000 && at_a_time < 10_000 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let mut rest = &chunk[..read];
            while !rest.is_empty() {
                if place == expected.len() {
                    random.fill(&mut expected);
                    place = 0;
                }
                let same = rest.len().min(expected.len() - place);
                assert!(rest[..same] == expected[place..place + same], "at {}", received);
                (rest, place, received) = (&rest[same..], place + same, received + same);
            }
        }
        assert_eq!(received, length);
    }

    /// With a tunnel that ends after an hour without a byte, on a clock that is paused.
    pub async fn only_silence_on_both_sides_is_idle<S>(
        mut client: S,
        mut gateway: S,
        tunnel: impl Future<Output = Ended>,
    ) where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let began = Instant::now();
        let sides = async {
            for _ in 0..3 {
                tokio::time::sleep(HOUR - Duration::from_secs(60)).await;
                client.write_all(b"a").await.unwrap();
                assert_eq!(gateway.read_u8().await.unwrap(), b'a');
                tokio::time::sleep(HOUR - Duration::from_secs(60)).await;
                gateway.write_all(b"b").await.unwrap();
                assert_eq!(client.read_u8().await.unwrap(), b'b');
            }
            Instant::now()
        };
        let (ended, last) = tokio::join!(tunnel, sides);
        assert_eq!(ended, Ended::Idle);
        assert!(last - began > 5 * HOUR);
        let silent = last.elapsed();
        assert!(silent >= HOUR && silent < HOUR + Duration::from_secs(1), "{silent:?}");
    }

    /// With `early from client` and `early from gateway` in the tunnel.
    pub async fn early_bytes_go_first_and_count<S>(
        mut client: S,
        mut gateway: S,
        tunnel: impl Future<Output = Ended>,
        carried: &Carried,
    ) where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let sides = async {
            client.write_all(b", and more").await.unwrap();
            client.shutdown().await.unwrap();
            gateway.write_all(b", and more").await.unwrap();
            gateway.shutdown().await.unwrap();
            let (mut there, mut here) = (String::new(), String::new());
            gateway.read_to_string(&mut there).await.unwrap();
            client.read_to_string(&mut here).await.unwrap();
            assert_eq!(there, "early from client, and more");
            assert_eq!(here, "early from gateway, and more");
        };
        let (ended, ()) = tokio::join!(tunnel, sides);
        assert_eq!(ended, Ended::Closed);
        assert_eq!(counted(carried), [27, 28]);
    }

    pub fn early<S>(client: S, gateway: S) -> (Side<S>, Side<S>) {
        let side = |stream, early| Side { stream, early: Bytes::from_static(early) };
        (side(client, b"early from client"), side(gateway, b"early from gateway"))
    }

    pub async fn a_reset_on_one_side_ends_both(
        client: TcpStream,
        gateway: TcpStream,
        tunnel: impl Future<Output = Ended>,
    ) {
        let sides = async {
            gateway.set_zero_linger().unwrap();
            drop(gateway);
        };
        let (ended, ()) = tokio::join!(tunnel, sides);
        assert_eq!(ended, Ended::Broken(io::ErrorKind::ConnectionReset));
        drop(client);
    }

    pub async fn the_last_words_of_one_who_resets_still_arrive(
        mut client: TcpStream,
        mut gateway: TcpStream,
        tunnel: impl Future<Output = Ended>,
    ) {
        client.write_all(b"more than it takes").await.unwrap();
        gateway.write_all(b"enough").await.unwrap();
        gateway.set_zero_linger().unwrap();
        drop(gateway);
        // only now is there somebody who carries
        let sides = async {
            let mut received = [0; 6];
            client.read_exact(&mut received).await.unwrap();
            assert_eq!(&received, b"enough");
        };
        let (ended, ()) = tokio::join!(tunnel, sides);
        assert!(matches!(ended, Ended::Broken(_)), "{ended:?}");
    }

    /// What has been counted is what the other side has taken, though nobody has read it.
    pub async fn a_side_that_does_not_read_holds_up_the_one_that_writes<S>(
        mut client: S,
        gateway: S,
        tunnel: impl Future<Output = Ended>,
    ) where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut written = 0;
        let sides = async {
            let chunk = [0; 64 * 1024];
            // longer than anything on loopback takes
            while let Ok(Ok(n)) = tokio::time::timeout(Duration::from_millis(300), client.write(&chunk)).await
            {
                written += n;
                assert!(written < 64 * 1024 * 1024, "the writer is never held up");
            }
        };
        tokio::select! {
            () = sides => {}
            ended = tunnel => panic!("{ended:?}"),
        }
        drop(gateway);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::trial::{HOUR, carried, memory, tcp};
    use super::*;

    #[tokio::test]
    async fn each_side_may_end_before_the_other() {
        let carried = carried();
        let ((client, ours), (theirs, gateway)) = (memory().await, memory().await);
        let tunnel = relay(ours.into(), theirs.into(), HOUR, &carried);
        trial::each_side_may_end_before_the_other(client, gateway, tunnel).await;
        let ((client, ours), (theirs, gateway)) = (memory().await, memory().await);
        let tunnel = relay(ours.into(), theirs.into(), HOUR, &carried);
        trial::each_side_may_end_before_the_other(gateway, client, tunnel).await;
        let ((client, ours), (theirs, gateway)) = (tcp().await, tcp().await);
        let tunnel = relay(ours.into(), theirs.into(), HOUR, &carried);
        trial::each_side_may_end_before_the_other(gateway, client, tunnel).await;
    }

    #[tokio::test]
    async fn every_byte_arrives_both_ways_at_once() {
        let carried = carried();
        let ((client, ours), (theirs, gateway)) = (memory().await, memory().await);
        let tunnel = relay(ours.into(), theirs.into(), HOUR, &carried);
        trial::every_byte_arrives_both_ways_at_once(client, gateway, tunnel, &carried).await;
    }

    #[tokio::test]
    async fn every_byte_arrives_both_ways_at_once_over_tcp() {
        let carried = carried();
        let ((client, ours), (theirs, gateway)) = (tcp().await, tcp().await);
        let tunnel = relay(ours.into(), theirs.into(), HOUR, &carried);
        trial::every_byte_arrives_both_ways_at_once(client, gateway, tunnel, &carried).await;
    }

    #[tokio::test(start_paused = true)]
    async fn only_silence_on_both_sides_is_idle() {
        let carried = carried();
        let ((client, ours), (theirs, gateway)) = (memory().await, memory().await);
        let tunnel = relay(ours.into(), theirs.into(), HOUR, &carried);
        trial::only_silence_on_both_sides_is_idle(client, gateway, tunnel).await;
    }

    #[tokio::test]
    async fn early_bytes_go_first_and_count() {
        let carried = carried();
        let ((client, ours), (theirs, gateway)) = (memory().await, memory().await);
        let (ours, theirs) = trial::early(ours, theirs);
        let tunnel = relay(ours, theirs, HOUR, &carried);
        trial::early_bytes_go_first_and_count(client, gateway, tunnel, &carried).await;
    }

    #[tokio::test]
    async fn a_reset_on_one_side_ends_both() {
        let carried = carried();
        let ((client, ours), (theirs, gateway)) = (tcp().await, tcp().await);
        let tunnel = relay(ours.into(), theirs.into(), HOUR, &carried);
        trial::a_reset_on_one_side_ends_both(client, gateway, tunnel).await;
    }

    #[tokio::test]
    async fn the_last_words_of_one_who_resets_still_arrive() {
        let carried = carried();
        let ((client, ours), (theirs, gateway)) = (tcp().await, tcp().await);
        let tunnel = relay(ours.into(), theirs.into(), HOUR, &carried);
        trial::the_last_words_of_one_who_resets_still_arrive(client, gateway, tunnel).await;
    }

    #[tokio::test]
    async fn a_side_that_does_not_read_holds_up_the_one_that_writes() {
        let carried = carried();
        let ((client, ours), (theirs, gateway)) = (tcp().await, tcp().await);
        let tunnel = relay(ours.into(), theirs.into(), HOUR, &carried);
        trial::a_side_that_does_not_read_holds_up_the_one_that_writes(client, gateway, tunnel).await;
    }

    #[tokio::test]
    async fn a_tunnel_under_way_leaves_others_their_turn() {
        let carried = carried();
        // sides that never run dry, and never wait
        let endless = || tokio::io::join(tokio::io::repeat(1), tokio::io::sink());
        let tunnel = relay(endless().into(), endless().into(), HOUR, &carried);
        let other = async {
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            ended = tunnel => panic!("{ended:?}"),
            () = other => {}
        }
    }

    /// TLS over memory, as `tests/e2e` has it over TCP: both sessions, and their two tunnel ends.
    #[tokio::test]
    async fn what_is_written_leaves_though_nobody_says_flush_and_an_end_without_goodbye_is_one() {
        let key = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        let certificate = key.cert.der().clone();
        let private = rustls::pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap();
        let server = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], private)
            .unwrap();
        let anyone = crate::net::tls::client_config(&crate::net::tls::Trust::Anyone, None).unwrap();
        let ((client, ours), (theirs, mut gateway)) = (memory().await, memory().await);
        let name = "localhost".try_into().unwrap();
        let (client, ours) = tokio::join!(
            tokio_rustls::TlsConnector::from(anyone).connect(name, client),
            tokio_rustls::TlsAcceptor::from(Arc::new(server)).accept(ours),
        );
        let mut client = client.unwrap();
        let carried = carried();
        let tunnel = relay(Side::from(ours.unwrap()), theirs.into(), HOUR, &carried);
        let sides = async {
            for _ in 0..3 {
                client.write_all(b"ping").await.unwrap();
                client.flush().await.unwrap();
                let mut received = [0; 4];
                gateway.read_exact(&mut received).await.unwrap();
                gateway.write_all(&received).await.unwrap();
                client.read_exact(&mut received).await.unwrap();
                assert_eq!(&received, b"ping");
            }
            // gone without close_notify
            drop(client);
            assert_eq!(gateway.read(&mut [0]).await.unwrap(), 0);
            gateway.shutdown().await.unwrap();
        };
        let (ended, ()) = tokio::join!(tunnel, sides);
        // closing a session whose other end is gone may break it
        assert!(matches!(ended, Ended::Closed | Ended::Broken(io::ErrorKind::BrokenPipe)), "{ended:?}");
    }
}
