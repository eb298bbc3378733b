//! What happens between a request and its answer.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::{Request, Version};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use hyper::service::Service;

use super::answer::{Answer, Body};
use super::door::Door;
use super::limit::{Place, Rejection};
use super::pace::{Pace, Passage, SharedPace};
use super::proxy::{self, Asker, Visitor};
use super::proxy_protocol::Ends;
use super::reply;

/// One client at one door, as hyper calls it for each request.
pub struct Visit {
    /// Where it has come.
    pub door: Rc<Door>,
    client: SocketAddr,
    /// How long the connection may take.
    pub pace: SharedPace,
    /// Where requests are taken to gateways.
    pub carried: Option<Rc<Visitor>>,
    place: Rc<Place>,
    /// The request on its way to a gateway that needs no place but its connection's.
    first: RefCell<Weak<Passing>>,
}

impl Visit {
    /// A client who has just come and been given this place.
    pub fn new(door: &Rc<Door>, Ends { client, local }: Ends, place: &Rc<Place>) -> Self {
        let pace = Pace::new(&door.plan.settings.limits, Instant::now());
        let carried = door.carrier.as_ref().map(|carrier| {
            let is_trusted = carrier.settings.upstream.trusts(client.ip());
            let asker = Asker::new(client, is_trusted);
            Rc::new(Visitor::new(Rc::clone(door), Rc::clone(carrier), asker, local))
        });
        let pace = SharedPace::new(pace);
        Self {
            door: Rc::clone(door),
            client,
            pace,
            carried,
            place: Rc::clone(place),
            first: RefCell::default(),
        }
    }

    fn carry(&self, visitor: &Rc<Visitor>, request: Request<Incoming>, received: Instant) -> Answering {
        let mut first = self.first.borrow_mut();
        let is_first = first.strong_count() == 0;
        let place = if is_first { Ok(Rc::clone(&self.place)) } else { self.another_place() };
        let place = match place {
            Ok(place) => place,
            Err(rejection) => {
                let reply = self.door.turn_away(rejection, self.client, received);
                return Answering::Ready(Some(reply.map(Body::from)));
            }
        };
        let passing = Rc::new(Passing::begin(&self.pace, visitor, place, received));
        if is_first {
            *first = Rc::downgrade(&passing);
        }
        Answering::Later(Box::pin(proxy::carry(Rc::clone(visitor), request, passing)))
    }

    /// A connection to a gateway of its own takes a place of its own.
    fn another_place(&self) -> Result<Rc<Place>, Rejection> {
        self.place.another(&self.door.plan.settings.limits).map(Rc::new)
    }
}

impl Service<Request<Incoming>> for Visit {
    type Response = Answer;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        let received = Instant::now();
        if let Some(visitor) = &self.carried {
            return self.carry(visitor, request, received);
        }
        let request_pace = RequestPace::begin(&self.pace, received);
        if request.body().is_end_stream() {
            let reply = self.door.answer(&request, self.client, received);
            return Answering::Ready(Some(reply.map(Body::from)));
        }
        let (door, client) = (Rc::clone(&self.door), self.client);
        Answering::Later(Box::pin(async move {
            let _pace = request_pace;
            let version = request.version();
            let (head, body) = request.into_parts();
            let head = Request::from_parts(head, ());
            // over HTTP/2 the connection's one deadline moves with every request
            let limit = door.plan.settings.limits.header_timeout;
            let body = tokio::time::timeout(limit, read_and_forget(body)).await.unwrap_or(Read::Broken);
            let reply = match body {
                Read::Whole => door.answer(&head, client, received),
                // what is left of the body would be taken for the next request; HTTP/2 has frames for that
                Read::TooLong if version == Version::HTTP_2 => door.answer(&head, client, received),
                Read::TooLong => reply::and_close(door.answer(&head, client, received)),
                // whoever gives up half way is not sent anywhere, and no gateway is charged
                Read::Broken => reply::and_close(door.refuse(client, received)),
            };
            reply.map(Body::from)
        }))
    }
}

/// A request's part in the connection's pace: it ends with the answer, or when the request is given up.
struct RequestPace(SharedPace);

impl RequestPace {
    fn begin(pace: &SharedPace, now: Instant) -> Self {
        pace.update(|pace| pace.request_came(now));
        Self(pace.clone())
    }
}

impl Drop for RequestPace {
    fn drop(&mut self) {
        self.0.update(|pace| pace.answered(Instant::now()));
    }
}

/// The same of a request that is taken to a gateway. Request and response have one together, and it ends, and its
/// place is free again, with the later of them.
pub struct Passing {
    pace: SharedPace,
    passage: Rc<Passage>,
    patience_with_client: Duration,
    patience_with_gateway: Duration,
    _place: Rc<Place>,
}

impl Passing {
    fn begin(pace: &SharedPace, visitor: &Visitor, place: Rc<Place>, now: Instant) -> Self {
        let Visitor { door, carrier, .. } = visitor;
        Self {
            pace: pace.clone(),
            passage: pace.begin_passage(carrier.standstill, now),
            patience_with_client: door.plan.settings.limits.idle_timeout,
            patience_with_gateway: carrier.settings.upstream.tunnel_idle_timeout,
            _place: place,
        }
    }

    /// A part of it has gone on.
    pub fn moves(&self) {
        self.passage.moves(Instant::now());
    }

    /// It is the client's turn to take, or to send, what comes next.
    pub fn waits_for_client(&self) {
        self.passage.waits(self.patience_with_client, Instant::now());
    }

    /// It is the gateway's turn to go on with its response. Pauses may mean something, as they do in a tunnel.
    pub fn waits_for_gateway(&self) {
        self.passage.waits(self.patience_with_gateway, Instant::now());
    }

    /// Whether it is over for having stood still. If not, the task is woken when it is.
    pub fn poll_given_up(&self, cx: &Context<'_>) -> bool {
        self.passage.poll_given_up(cx)
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        self.pace.end_passage(&self.passage, Instant::now());
    }
}

/// An answer on its way: at once where there is no body, which takes no allocation.
pub enum Answering {
    /// Made already.
    Ready(Option<Answer>),
    /// When the body has been read, or a gateway has answered.
    Later(Pin<Box<dyn Future<Output = Answer>>>),
}

impl Future for Answering {
    type Output = Result<Answer, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Ready(reply) => Poll::Ready(Ok(reply.take().unwrap_or_default())),
            Self::Later(answer) => answer.as_mut().poll(cx).map(Ok),
        }
    }
}

/// How a request's body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    Whole,
    TooLong,
    Broken,
}

/// Reads a body up to [`BODY_LIMIT`]. VPN clients take an answer that comes before they have sent their
/// request for an error, and a close in between for worse.
async fn read_and_forget(mut body: Incoming) -> Read {
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Read::Broken };
        read += frame.data_ref().map_or(0, bytes::Bytes::len);
        if read > BODY_LIMIT as usize {
            return Read::TooLong;
        }
    }
    Read::Whole
}

/// A login request is a few hundred bytes.
pub const BODY_LIMIT: u32 = 64 * 1024;
