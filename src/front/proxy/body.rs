//! Bodies on their way through: nothing is kept, and each side goes as fast as the other lets it.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::account::Account;
use super::pool::{Lease, give_back};
use crate::front::visit::RequestPace;

/// A request's body on its way to a gateway. Trailers stay behind (RFC 9110 §6.5.1).
pub struct RequestBody(Option<Uploading>);

struct Uploading {
    inner: Incoming,
    upload: Rc<Upload>,
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
    pub fn new(inner: Incoming, now: Instant) -> Self {
        if inner.is_end_stream() {
            return Self::none();
        }
        let upload = Rc::new(Upload {
            moved: Cell::new(now),
            waits_for_client: Cell::new(false),
            has_broken_off: Cell::new(false),
            is_over: Cell::new(false),
        });
        Self(Some(Uploading { inner, upload }))
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
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(Uploading { inner, upload }) = &mut self.0 else { return Poll::Ready(None) };
        let polled = Pin::new(&mut *inner).poll_frame(cx);
        upload.waits_for_client.set(polled.is_pending());
        match polled {
            Poll::Ready(frame) => {
                upload.moved.set(Instant::now());
                upload.has_broken_off.set(matches!(frame, Some(Err(_))));
                let frame = frame.filter(|frame| frame.as_ref().map_or(true, Frame::is_data));
                upload.is_over.set(frame.is_none() || inner.is_end_stream());
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
    has_ended: bool,
    broken: Option<hyper::Error>,
    lease: Option<Lease>,
    account: Account,
    _pace: RequestPace,
}

impl GatewayBody {
    /// What is left of a response whose head has come over the leased connection.
    pub fn new(inner: Incoming, lease: Lease, account: Account, pace: RequestPace) -> Self {
        let has_ended = inner.is_end_stream();
        Self { inner, has_ended, broken: None, lease: Some(lease), account, _pace: pace }
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
}

impl Body for GatewayBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        let polled = match self.poll_gateway(cx) {
            // what has come before goes to the client before the connection breaks off
            Poll::Ready(Some(Err(error))) => {
                self.account.broke_off(&error);
                self.broken = Some(error);
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            polled => polled,
        };
        match &polled {
            // a body of unknown length does not know its end until it is asked for more
            Poll::Ready(None) => self.has_ended = true,
            Poll::Ready(Some(Ok(frame))) => {
                self.account.bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
                self.has_ended = frame.is_trailers() || self.inner.is_end_stream();
            }
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for GatewayBody {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take()
            && self.has_ended
        {
            give_back(lease);
        }
    }
}
