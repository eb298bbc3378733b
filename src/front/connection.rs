//! One connection from its first byte to its last.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::arrival;
use super::connect::for_long;
use super::door::Door;
use super::limit::Place;
use super::meter::Handshake;
use super::pace::{LAST_CHANCE, LINGER, Phase, SharedPace};
use super::passthrough;
use super::relay::Side;
use super::settings::Mode;
use super::stream::Stream;
use super::tls::{H2, Tls};
use super::visit::{BODY_LIMIT, Visit};
use crate::net::records::Records;
use crate::net::stop::Stop;

/// Serves a connection that has been given a place.
pub async fn serve(
    mut stream: TcpStream,
    peer: SocketAddr,
    door: Rc<Door>,
    mut place: Place,
    mut stop: Stop,
) {
    // answers are short and leave in one piece; waiting to fill a segment gains nothing
    let _ = stream.set_nodelay(true);
    if door.carrier.is_some() {
        // it may become a tunnel; a passthrough's does when it has a gateway
        for_long(&stream);
    }
    let ends = tokio::select! {
        biased;
        ends = arrival::ends(&mut stream, peer, &door, &mut place) => ends,
        () = last_chance(&mut stop) => None,
    };
    let Some(ends) = ends else { return };
    if let Mode::Passthrough(settings) = &door.plan.settings.mode {
        let let_in = tokio::select! {
            biased;
            early = passthrough::let_in(&mut stream, ends.client, &door, settings) => early,
            () = last_chance(&mut stop) => None,
        };
        if let Some(early) = let_in {
            passthrough::serve(stream, early, ends, &door, settings, place).await;
        }
        return;
    }
    let place = Rc::new(place);
    let visit = Visit::new(&door, ends, &place);
    match &door.plan.tls {
        None => {
            serve_http1(stream, visit, place, stop).await;
        }
        Some(tls) => {
            let stream = tokio::select! {
                biased;
                stream = shake_hands(stream, tls, &door) => stream,
                () = last_chance(&mut stop) => None,
            };
            if let Some(stream) = stream {
                let is_h2 = stream.get_ref().get_ref().1.alpn_protocol() == Some(H2);
                if is_h2 {
                    serve_http2(stream, visit, stop).await;
                    drop(place);
                } else {
                    serve_http1(stream, visit, place, stop).await;
                }
            }
        }
    }
}

/// Returns a while after the order to stop: who has come before it may still get an answer.
async fn last_chance(stop: &mut Stop) {
    stop.stopped().await;
    tokio::time::sleep(LAST_CHANCE).await;
}

async fn shake_hands(stream: TcpStream, tls: &Tls, door: &Door) -> Option<Records<TlsStream<TcpStream>>> {
    let started = Instant::now();
    let handshake = async {
        let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        let config = tls.for_client(&hello.client_hello());
        hello.into_stream(config).await
    };
    let result = tokio::time::timeout(door.plan.settings.limits.handshake_timeout, handshake).await;
    let (outcome, stream) = match result {
        Ok(Ok(stream)) => {
            door.meter.handshake_duration.observe(started.elapsed());
            (Handshake::of(stream.get_ref().1), Some(stream))
        }
        Ok(Err(_)) => (Handshake::Error, None),
        Err(_) => (Handshake::Timeout, None),
    };
    door.meter.handshake(outcome);
    stream.map(Records)
}

async fn serve_http1<S>(stream: S, visit: Visit, place: Rc<Place>, stop: Stop)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (door, pace, carried) = (Rc::clone(&visit.door), visit.pace.clone(), visit.carried.clone());
    let stream = Stream::http1(stream, pace.clone(), Arc::clone(&door.meter));
    let mut connection = http1::Builder::new()
        // our pace keeps the times: hyper's one timeout would cover idle and header alike
        .header_read_timeout(None)
        .max_buf_size(door.plan.settings.limits.header_bytes)
        // at most 100 headers, as hyper has it without being told; told so, it would set up a list for each request
        .title_case_headers(true)
        // what a gateway answers looks as it does without us
        .preserve_header_case(carried.is_some())
        .serve_connection(TokioIo::new(stream), visit);
    if drive(&mut connection, &pace, stop).await == Ended::ByUs {
        return;
    }
    let parts = connection.into_parts();
    let mut stream = parts.io.into_inner();
    if let Some(visitor) = carried
        && let Some(granted) = visitor.granted.take()
    {
        let client = Side { stream: stream.into_inner(), early: parts.read_buf };
        door.tunnels.spawn(granted.tunnel(visitor, client, place));
        return;
    }
    // after a request for an upgrade hyper leaves the closing to others; else this has happened
    let _ = tokio::time::timeout(LINGER, stream.shutdown()).await;
}

async fn serve_http2<S>(stream: S, visit: Visit, stop: Stop)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (door, pace) = (Rc::clone(&visit.door), visit.pace.clone());
    let stream = Stream::http2(stream, pace.clone(), Arc::clone(&door.meter));
    // bodies that are thrown away need no large window
    let (window, window_for_all, streams) = if visit.carried.is_some() {
        (STREAM_WINDOW, CONNECTION_WINDOW, MAX_CARRIED_STREAMS)
    } else {
        (BODY_LIMIT, BODY_LIMIT, MAX_STREAMS)
    };
    let header_bytes = u32::try_from(door.plan.settings.limits.header_bytes).unwrap_or(u32::MAX);
    let mut connection = http2::Builder::new(StreamExecutor(pace.clone()))
        .timer(TokioTimer::new())
        .max_concurrent_streams(streams)
        .max_header_list_size(header_bytes)
        .initial_stream_window_size(window)
        .initial_connection_window_size(window_for_all)
        .max_send_buf_size(SEND_BUFFER)
        .serve_connection(TokioIo::new(stream), visit);
    drive(&mut connection, &pace, stop).await;
}

/// Lets a connection run until it ends, is overdue, or is told to stop and has finished what it was doing.
async fn drive<C: Connection>(connection: &mut C, pace: &SharedPace, mut stop: Stop) -> Ended {
    let mut connection = Pin::new(connection);
    let mut timer = pin!(tokio::time::sleep_until(pace.deadline().into()));
    let mut told_to_stop = pin!(stop.stopped());
    let mut told = false;
    let mut saying_goodbye = false;
    poll_fn(|cx| {
        loop {
            // how it ended is the client's business: a broken request has had its answer from hyper
            if connection.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ended::ByItself);
            }
            if !told && told_to_stop.as_mut().poll(cx).is_ready() {
                told = true;
                pace.update(|pace| pace.hurry(Instant::now()));
            }
            // a request that is on its way is waited for, which hyper would not do
            if told && !saying_goodbye && !matches!(pace.get().phase(), Phase::Opening | Phase::Reading) {
                saying_goodbye = true;
                connection.as_mut().say_goodbye();
                continue;
            }
            // a deadline that has moved away is looked at when the timer fires: that saves resetting it
            // for every request
            let deadline = pace.deadline();
            if timer.deadline() > deadline.into() {
                timer.as_mut().reset(deadline.into());
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            if deadline > now {
                timer.as_mut().reset(deadline.into());
            } else if C::HAS_STREAMS && pace.give_up_overdue(now) {
                // the others go on
                continue;
            } else if pace.get().phase() == Phase::Idle && !saying_goodbye {
                saying_goodbye = true;
                connection.as_mut().say_goodbye();
                pace.update(|pace| pace.closing(now));
                timer.as_mut().reset(pace.get().deadline().into());
            } else {
                return Poll::Ready(Ended::ByUs);
            }
        }
    })
    .await
}

/// Why a connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// Both sides are done with it.
    ByItself,
    /// It is overdue, or we stop: it is cut.
    ByUs,
}

/// What both protocols' connections can do.
trait Connection: Future<Output = hyper::Result<()>> + Unpin {
    /// Whether one request can be given up without the others.
    const HAS_STREAMS: bool;

    /// Finishes what is under way, takes no more requests, and closes.
    fn say_goodbye(self: Pin<&mut Self>);
}

impl<S: AsyncRead + AsyncWrite + Unpin + 'static> Connection
    for http1::Connection<TokioIo<Stream<S>>, Visit>
{
    const HAS_STREAMS: bool = false;

    fn say_goodbye(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + 'static> Connection
    for http2::Connection<TokioIo<Stream<S>>, Visit, StreamExecutor>
{
    const HAS_STREAMS: bool = true;

    fn say_goodbye(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Runs HTTP/2 streams on the connection's own thread. One whose request is given up is dropped, which resets it
/// (RFC 9113 §5.4.2): whether it stands still cannot be left to its body, which nobody asks for more as long as the
/// client takes nothing.
#[derive(Clone)]
struct StreamExecutor(SharedPace);

impl<F: Future + 'static> hyper::rt::Executor<F> for StreamExecutor {
    fn execute(&self, future: F) {
        // hyper asks for the answer to a request and then has its stream run
        let begun = self.0.take_begun();
        tokio::task::spawn_local(async move {
            let mut future = pin!(future);
            poll_fn(|cx| {
                if begun.as_ref().is_some_and(|passage| passage.poll_given_up(cx)) {
                    return Poll::Ready(());
                }
                future.as_mut().poll(cx).map(drop)
            })
            .await;
        });
    }
}

/// What a client may send ahead in one stream. It bounds what a slow gateway makes us keep.
const STREAM_WINDOW: u32 = 256 * 1024;
/// The same in all streams: a few that wait for their gateways do not hold up the others.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What waits in one stream for a slow client.
const SEND_BUFFER: usize = 32 * 1024;
const MAX_CARRIED_STREAMS: u32 = 32;
const MAX_STREAMS: u32 = 16;
