use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, Connection, Parts, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::body::RequestBody;
use super::stream::GatewayStream;

/// A connection to a gateway that takes one request at a time.
pub struct Link {
    sender: SendRequest<RequestBody>,
    drive: Drive,
    last_used: Instant,
}

/// Who sees to it that bytes come and go.
enum Drive {
    /// Whoever has its request. What a short exchange has to do is done on the spot: to wake a task for each
    /// step costs a tenth of the whole.
    User(Box<Driven>),
    /// A task of its own, from the first body on that does not come all at once: then neither direction has to
    /// wait until somebody wants the other.
    Task(Task),
    /// Nobody: it speaks HTTP no longer.
    Ended(Option<Left>),
}

/// It goes with its link: a gateway that hangs would else hold it for ever.
struct Task(JoinHandle<Option<Left>>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

type Driven = Connection<TokioIo<GatewayStream>, RequestBody>;
type Left = Parts<TokioIo<GatewayStream>>;

impl Link {
    /// A connection over this stream.
    pub async fn over(stream: GatewayStream) -> Result<Self, hyper::Error> {
        let (sender, connection) = http1::Builder::new()
            // names as the client writes them; VPN gateways miss a `cookie` that is not a `Cookie`
            .preserve_header_case(true)
            .title_case_headers(true)
            .handshake(TokioIo::new(stream))
            .await?;
        Ok(Self { sender, drive: Drive::User(Box::new(connection)), last_used: Instant::now() })
    }

    /// Sends a request. An error has it with it if not a byte of it has left.
    pub async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        let Self { sender, drive, .. } = self;
        if let Drive::Task(_) = drive {
            // one that has been closed meanwhile says so here, or in what comes of sending
            let _ = sender.ready().await;
        }
        let mut answer = pin!(sender.try_send_request(request));
        poll_fn(|cx| {
            if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
                return Poll::Ready(answer);
            }
            drive.poll(cx);
            answer.as_mut().poll(cx)
        })
        .await
    }

    /// Does what there is to do. `false`: a task does that.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        self.drive.poll(cx);
        !matches!(self.drive, Drive::Task(_))
    }

    /// Has a task of its own do from now on what there is to do.
    pub fn hand_to_task(&mut self) {
        self.drive.hand_to_task();
    }

    /// Lets it send the rest of a request that has been answered already, for a while, and then closes it;
    /// `kept` is kept until then.
    pub fn finish(self, kept: impl Sized + 'static) {
        let Self { sender, mut drive, .. } = self;
        drop(sender);
        tokio::task::spawn_local(async move {
            let _kept = kept;
            let _ = timeout(LAST_PART, drive.end()).await;
        });
    }

    /// Whether it takes another request: it is open, and done with the last one.
    pub fn is_usable(&mut self) -> bool {
        if let Drive::User(_) = self.drive {
            // nobody has looked since the last request
            self.drive.poll(&mut Context::from_waker(Waker::noop()));
            return self.sender.is_ready();
        }
        !self.sender.is_closed()
    }

    /// It is done with a request.
    pub fn rests(&mut self, now: Instant) {
        self.last_used = now;
    }

    /// How long ago that was.
    pub fn rested(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.last_used)
    }

    /// The stream under it, once it speaks HTTP no longer, with what has been read of it already.
    pub async fn into_stream(self) -> Option<(GatewayStream, Bytes)> {
        let Self { sender, mut drive, .. } = self;
        drop(sender);
        let parts = drive.end().await?;
        Some((parts.io.into_inner(), parts.read_buf))
    }
}

impl Drive {
    fn poll(&mut self, cx: &mut Context<'_>) {
        if let Self::User(connection) = self
            // how it ended is told to whoever waits for a response
            && Pin::new(connection).poll(cx).is_ready()
            && let Self::User(connection) = std::mem::replace(self, Self::Ended(None))
        {
            *self = Self::Ended(Some(connection.into_parts()));
        }
    }

    fn poll_to_end(&mut self, cx: &mut Context<'_>) -> Poll<Option<Left>> {
        self.poll(cx);
        match self {
            Self::Ended(left) => Poll::Ready(left.take()),
            Self::User(_) | Self::Task(_) => Poll::Pending,
        }
    }

    /// Goes on until it speaks HTTP no longer; what is left then.
    async fn end(&mut self) -> Option<Left> {
        match self {
            Self::Task(task) => (&mut task.0).await.ok()?,
            Self::User(_) | Self::Ended(_) => poll_fn(|cx| self.poll_to_end(cx)).await,
        }
    }

    fn hand_to_task(&mut self) {
        match std::mem::replace(self, Self::Ended(None)) {
            connection @ Self::User(_) => {
                let mut drive = connection;
                let task = async move { drive.end().await };
                *self = Self::Task(Task(tokio::task::spawn_local(task)));
            }
            other @ (Self::Task(_) | Self::Ended(_)) => *self = other,
        }
    }
}

/// How long the rest of a request has that has been answered already.
const LAST_PART: Duration = Duration::from_secs(60);
