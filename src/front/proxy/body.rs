//! Bodies on their way through: nothing is kept, and each side goes as fast as the other lets it.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::Version;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::account::Account;
use super::pool::{Lease, give_back};
use crate::front::visit::Passing;

/// A request's body on its way to a gateway. Trailers stay behind (RFC 9110 §6.5.1).
pub struct RequestBody(Option<Uploading>);

struct Uploading {
    inner: Incoming,
    upload: Rc<Upload>,
    /// `None`: all has gone on.
    passing: Option<Rc<Passing>>,
}

/// How far a request's body has come.
pub struct Upload {
    moved: Cell<Instant>,
    waits_for_client: Cell<bool>,
    has_broken_off: Cell<bool>,
    is_over: Cell<bool>,
}

impl RequestBody {
    /// Of a request that has just come.
    pub fn new(inner: Incoming, passing: &Rc<Passing>, now: Instant) -> Self {
        if inner.is_end_stream() {
            return Self::none();
        }
        let upload = Rc::new(Upload {
            moved: Cell::new(now),
            waits_for_client: Cell::new(false),
            has_broken_off: Cell::new(false),
            is_over: Cell::new(false),
        });
        Self(Some(Uploading { inner, upload, passing: Some(Rc::clone(passing)) }))
    }

    /// Of a request without a body.
    pub fn none() -> Self {
        Self(None)
    }

    /// How far it has come, as can be seen from outside; `None` where there is nothing to wait for.
    pub fn upload(&self) -> Option<Rc<Upload>> {
        self.0.as_ref().map(|uploading| Rc::clone(&uploading.upload))
    }
}

impl Upload {
    /// When a part of it last went on.
    pub fn moved(&self) -> Instant {
        self.moved.get()
    }

    /// Whether it is the client who keeps the rest back.
    pub fn waits_for_client(&self) -> bool {
        self.waits_for_client.get()
    }

    /// Whether the client has gone away before its end, or has sent what is none.
    pub fn has_broken_off(&self) -> bool {
        self.has_broken_off.get()
    }

    /// Whether all of it has gone on.
    pub fn is_over(&self) -> bool {
        self.is_over.get()
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let Some(Uploading { inner, upload, passing }) = &mut self.0 else { return Poll::Ready(None) };
        let mut polled = Pin::new(&mut *inner).poll_frame(cx).map_err(io::Error::other);
        if polled.is_pending() && passing.as_ref().is_some_and(|passing| passing.poll_given_up(cx)) {
            polled = Poll::Ready(Some(Err(io::ErrorKind::TimedOut.into())));
        }
        upload.waits_for_client.set(polled.is_pending());
        match polled {
            Poll::Ready(frame) => {
                upload.moved.set(Instant::now());
                upload.has_broken_off.set(matches!(frame, Some(Err(_))));
                let frame = frame.filter(|frame| frame.as_ref().map_or(true, Frame::is_data));
                // over HTTP/2 the end may come after the last byte, when nobody asks any more
                let is_over =
                    frame.is_none() || inner.is_end_stream() || inner.size_hint().exact() == Some(0);
                upload.is_over.set(is_over);
                if let Some(passing) = passing {
                    passing.moves();
                }
                if upload.is_over() || upload.has_broken_off() {
                    *passing = None;
                }
                Poll::Ready(frame)
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|uploading| uploading.inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), |uploading| uploading.inner.size_hint())
    }
}

/// A gateway's response body on its way to the client. With its end the connection to the gateway is free for
/// the next request; if the client gives up before, that connection is closed.
pub struct GatewayBody {
    inner: Incoming,
    /// Over HTTP/2, what has come and is too much for one piece.
    rest: Bytes,
    is_cut_up: bool,
    has_ended: bool,
    broken: Option<hyper::Error>,
    lease: Option<Lease>,
    account: Account,
    passing: Rc<Passing>,
}

impl GatewayBody {
    /// What is left of a response whose head has come over the leased connection, for a client that speaks this
    /// version of HTTP.
    pub fn new(
        inner: Incoming,
        lease: Lease,
        account: Account,
        passing: Rc<Passing>,
        version: Version,
    ) -> Self {
        passing.waits_for_client();
        Self {
            has_ended: inner.is_end_stream(),
            inner,
            rest: Bytes::new(),
            is_cut_up: version == Version::HTTP_2,
            broken: None,
            lease: Some(lease),
            account,
            passing,
        }
    }

    fn poll_gateway(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        let (Poll::Pending, Some(lease)) = (&polled, &mut self.lease) else { return polled };
        if !lease.poll(cx) {
            return Poll::Pending;
        }
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        if polled.is_pending() {
            lease.hand_to_task();
        }
        polled
    }

    /// The next piece of what has come.
    fn piece(&mut self, mut data: Bytes) -> Frame<Bytes> {
        if self.is_cut_up && data.len() > PIECE {
            self.rest = data.split_off(PIECE);
        }
        Frame::data(data)
    }
}

impl Body for GatewayBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if !self.rest.is_empty() {
            self.passing.waits_for_client();
            let rest = std::mem::take(&mut self.rest);
            return Poll::Ready(Some(Ok(self.piece(rest))));
        }
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        let Poll::Ready(polled) = self.poll_gateway(cx) else {
            self.passing.waits_for_gateway();
            return Poll::Pending;
        };
        self.passing.waits_for_client();
        Poll::Ready(match polled {
            // a body of unknown length does not know its end until it is asked for more
            None => {
                self.has_ended = true;
                None
            }
            Some(Ok(frame)) => {
                self.account.bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
                self.has_ended = frame.is_trailers() || self.inner.is_end_stream();
                Some(Ok(match frame.into_data() {
                    Ok(data) => self.piece(data),
                    Err(frame) => frame,
                }))
            }
            // what has come before goes to the client before the connection breaks off
            Some(Err(error)) => {
                self.account.broke_off(&error);
                self.broken = Some(error);
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (left, inner) = (self.rest.len() as u64, self.inner.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower() + left);
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + left);
        }
        hint
    }
}

impl Drop for GatewayBody {
    fn drop(&mut self) {
        // of the request there may be more to come
        self.passing.waits_for_client();
        if let Some(lease) = self.lease.take()
            && self.has_ended
        {
            give_back(lease);
        }
    }
}

/// So much of a response is given to HTTP/2 at a time: whether its client goes on taking it can be seen by nothing but
/// the pieces that are asked for.
const PIECE: usize = 16 * 1024;
