use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::meter::{Direction, Meter};
use super::pace::{Phase, SharedPace};

/// A connection's bytes: tells its [`SharedPace`] when they come, and closes so that the last answer arrives.
///
/// Closing says goodbye first (TLS close_notify, then FIN) and then reads on until the other side has
/// closed too, or until the pace's deadline: bytes left unread at close would make the kernel send a reset.
pub struct Stream<S> {
    inner: S,
    pace: SharedPace,
    meter: Arc<Meter>,
    has_one_request: bool,
    said_goodbye: bool,
    thrown_away: usize,
}

impl<S> Stream<S> {
    /// Wraps a stream of HTTP/1, where bytes belong to the one request that there is, and those after its answer
    /// begin the next.
    pub fn http1(inner: S, pace: SharedPace, meter: Arc<Meter>) -> Self {
        Self { inner, pace, meter, has_one_request: true, said_goodbye: false, thrown_away: 0 }
    }

    /// Wraps a stream of HTTP/2, where bytes may be anything: an acknowledgement, a ping.
    pub fn http2(inner: S, pace: SharedPace, meter: Arc<Meter>) -> Self {
        Self { has_one_request: false, ..Self::http1(inner, pace, meter) }
    }

    /// The stream itself, for what is no longer HTTP.
    pub fn into_inner(self) -> S {
        self.inner
    }

    fn moved(&self, direction: Direction, bytes: usize) {
        if bytes == 0 {
            return;
        }
        self.meter.transferred(direction, bytes);
        if self.has_one_request && self.pace.is_carrying() {
            return self.pace.bytes_moved(Instant::now());
        }
        let pace = self.pace.get();
        match direction {
            Direction::In if self.has_one_request && pace.is_waiting() => {
                self.pace.update(|pace| pace.bytes_came(Instant::now()));
            }
            Direction::Out if self.has_one_request || bytes > PING_LENGTH => {
                if matches!(pace.phase(), Phase::Idle | Phase::Closing) {
                    self.pace.update(|pace| pace.bytes_left(Instant::now()));
                }
            }
            Direction::In | Direction::Out => {}
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.inner).poll_read(cx, buf);
        self.moved(Direction::In, buf.filled().len().saturating_sub(before));
        result
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, buf))?;
        self.moved(Direction::Out, written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.said_goodbye {
            self.pace.shut_down(Instant::now());
            ready!(Pin::new(&mut self.inner).poll_shutdown(cx))?;
            self.said_goodbye = true;
        }
        let mut scratch = [0u8; 4096];
        while self.thrown_away < THROW_AWAY_LIMIT {
            let mut buf = ReadBuf::new(&mut scratch);
            let result = ready!(Pin::new(&mut self.inner).poll_read(cx, &mut buf));
            self.thrown_away += buf.filled().len();
            // an error here is the other side's way to close
            if result.is_err() || buf.filled().is_empty() {
                self.thrown_away = THROW_AWAY_LIMIT;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, bufs))?;
        self.moved(Direction::Out, written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

/// What acknowledges a PING (RFC 9113 §6.7). No answer is as short as that, and anybody can have one at any time.
const PING_LENGTH: usize = 17;
const THROW_AWAY_LIMIT: usize = 1024 * 1024;
