//! What a client gets: an answer of ours, or a gateway's.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::proxy::GatewayBody;

/// An answer on its way to a client.
pub type Answer = Response<Body>;

/// What follows the head of an answer.
pub enum Body {
    /// Made here, and whole.
    Own(Full<Bytes>),
    /// As it comes from a gateway.
    Gateway(Box<GatewayBody>),
}

impl Default for Body {
    fn default() -> Self {
        Self::Own(Full::default())
    }
}

impl From<Full<Bytes>> for Body {
    fn from(body: Full<Bytes>) -> Self {
        Self::Own(body)
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Own(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Self::Gateway(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(body) => body.is_end_stream(),
            Self::Gateway(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(body) => body.size_hint(),
            Self::Gateway(body) => body.size_hint(),
        }
    }
}
