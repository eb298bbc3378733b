//! One request: which gateway gets it, what to do if that does not answer, and what the client is told.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::{Duration, Instant};

use http::{Method, Request, Response, StatusCode, Version, request, response};
use hyper::body::{Body as _, Incoming};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::sleep_until;

use super::account::Account;
use super::body::{GatewayBody, RequestBody, Upload};
use super::carrier::{Carrier, Session};
use super::headers::{self, Asker, Change, Wish};
use super::open::OpenError;
use super::pool::{Lease, Own};
use super::retry::{Nature, Progress};
use crate::front::answer::{Answer, Body};
use crate::front::door::{Door, Tried};
use crate::front::gate::Gate;
use crate::front::limit::Place;
use crate::front::meter::Fate;
use crate::front::relay::{Side, relay};
use crate::front::reply::{self, Reply};
use crate::front::tunnels::Record;
use crate::front::visit::Passing;

/// One client's connection, as far as its requests share something.
pub struct Visitor {
    /// Where it has come.
    pub door: Rc<Door>,
    /// How this door takes requests to gateways.
    pub carrier: Rc<Carrier>,
    /// Who it is.
    pub asker: Asker,
    /// The address that it has come to.
    pub local: SocketAddr,
    /// Its own connection to a gateway, where a connection to a gateway is one client's alone.
    pub own: Rc<Own>,
    /// The tunnel that the connection becomes after the response that is on its way.
    pub granted: RefCell<Option<Granted>>,
}

impl Visitor {
    /// Someone who has just come.
    pub fn new(door: Rc<Door>, carrier: Rc<Carrier>, asker: Asker, local: SocketAddr) -> Self {
        Self { door, carrier, asker, local, own: Rc::default(), granted: RefCell::default() }
    }

    /// Who has sent a request, as far as those who may say so do.
    fn client(&self, head: &request::Parts) -> SocketAddr {
        let client = self.asker.client;
        let trusts = |address| self.carrier.settings.upstream.trusts(address);
        match self.asker.is_trusted.then(|| headers::origin(&head.headers, trusts)).flatten() {
            // the port is not told
            Some(origin) => SocketAddr::new(origin, 0),
            None => client,
        }
    }
}

/// A tunnel that a gateway has granted.
pub struct Granted {
    lease: Lease,
    gate: Rc<Gate>,
    /// What is told of the request until the tunnel begins.
    account: Account,
    /// The session that it belongs to.
    session: Option<Session>,
}

impl Granted {
    /// Runs the tunnel until it ends.
    pub async fn tunnel<S>(self, visitor: Rc<Visitor>, client: Side<S>, place: Rc<Place>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Self { lease, gate, account, session } = self;
        let client_address = account.client();
        let Some((stream, early, active)) = lease.into_stream().await else { return };
        let status = account.becomes_tunnel();
        let record = Record::new(&visitor.door, Rc::clone(&gate), client_address, status, active, place);
        // the stream has counted what it has read
        record.carried.has_counted(client.early.len());
        let idle_timeout = visitor.carrier.settings.upstream.tunnel_idle_timeout;
        relay(client, Side { stream, early }, idle_timeout, &record.carried).await;
        if let Some(session) = session {
            visitor.carrier.tunnel_ended(&session, &gate, Instant::now());
        }
    }
}

/// Takes a request to a gateway and gives back what the client gets.
pub async fn carry(visitor: Rc<Visitor>, request: Request<Incoming>, passing: Rc<Passing>) -> Answer {
    let received = Instant::now();
    let (head, body) = request.into_parts();
    let client = visitor.client(&head);
    let mut account = Account::new(&visitor.door, client, received);
    let body = RequestBody::new(body, &passing, received);
    let nature = Nature::of(&head.method, !body.is_end_stream());
    let wish = match headers::examine(&head, nature.has_body) {
        Err(_) => return own_answer(account, reply::and_close(reply::malformed())),
        // TRACE would show a client what only gateways are to see; HTTP/2 has tunnels of another kind (RFC
        // 9113 §8.5)
        Ok(wish)
            if head.method == Method::TRACE || (wish == Wish::Connect && head.version == Version::HTTP_2) =>
        {
            return own_answer(account, reply::and_close(reply::not_through_here()));
        }
        Ok(wish) => wish,
    };
    let mut trip =
        Trip { visitor: &visitor, client: client.ip(), head, wish, nature, tried: Tried::default() };
    let (response, lease, gate) = match trip.make(body, &mut account).await {
        Ok(answered) => answered,
        Err(why) => {
            visitor.door.tell(client, &why);
            // what is left of the request would be taken for the next one
            let close = wish != Wish::Exchange || nature.has_body;
            let reply = why.told_to_client(&visitor.door);
            return own_answer(account, if close { reply::and_close(reply) } else { reply });
        }
    };
    let (mut response, body) = response.into_parts();
    let has_tunnel = wish.is_granted_by(response.status);
    // what follows a request for a tunnel that was not granted may be meant for that tunnel
    let must_close = wish != Wish::Exchange && !has_tunnel;
    let mut out = head_for_client(&mut response, has_tunnel, must_close);
    let Trip { head, .. } = trip;
    visitor.carrier.remember(&head.headers, &response.headers, &mut out, &gate, received);
    account.answered(response.status);
    if has_tunnel {
        let session = visitor.carrier.session(&head.headers);
        *visitor.granted.borrow_mut() = Some(Granted { lease, gate, account, session });
        return out.map(|()| Body::default());
    }
    out.map(|()| Body::Gateway(Box::new(GatewayBody::new(body, lease, account, passing, head.version))))
}

fn own_answer(mut account: Account, reply: Reply) -> Answer {
    account.answered(reply.status());
    account.bytes = reply.body().size_hint().lower();
    reply.map(Body::from)
}

fn head_for_client(response: &mut response::Parts, has_tunnel: bool, must_close: bool) -> Response<()> {
    let mut out = Response::new(());
    *out.status_mut() = response.status;
    *out.headers_mut() = headers::for_client(&response.headers, has_tunnel, must_close);
    // the case of the names, and the reason phrase
    *out.extensions_mut() = std::mem::take(&mut response.extensions);
    out
}

/// Why a client gets an answer of ours.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// There is no gateway to ask, or none left.
    #[error("no gateway is available")]
    NoGateway,
    /// No connection.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A connection and no proper response.
    #[error("{gateway}: {}", crate::net::client::http_in_words(.cause))]
    Broken {
        /// Who was asked.
        gateway: String,
        /// What is wrong.
        #[source]
        cause: hyper::Error,
    },
    /// A response that makes no sense here.
    #[error("{gateway}: an upgrade that nobody has asked for")]
    Unasked {
        /// Who was asked.
        gateway: String,
    },
    /// No response in time.
    #[error("{gateway}: no response within {} ms", .after.as_millis())]
    Silent {
        /// Who was asked.
        gateway: String,
        /// How long was waited.
        after: Duration,
    },
    /// The client has not sent the rest of its request.
    #[error("the client has not sent the rest of its request")]
    Stalled,
    /// The client's request breaks off, or what follows its head is no body.
    #[error("the client's request breaks off in the middle of its body")]
    BrokenOff,
}

impl Failure {
    fn told_to_client(&self, door: &Door) -> Reply {
        match self {
            Self::NoGateway => door.unavailable(),
            Self::Open(error) if error.fate() == Fate::ConnectTimeout => reply::gateway_timeout(),
            Self::Open(_) | Self::Broken { .. } | Self::Unasked { .. } => reply::bad_gateway(),
            Self::Silent { .. } => reply::gateway_timeout(),
            Self::Stalled => reply::request_timeout(),
            Self::BrokenOff => reply::malformed(),
        }
    }
}

/// A request on its way from gateway to gateway.
struct Trip<'a> {
    visitor: &'a Visitor,
    client: IpAddr,
    head: request::Parts,
    wish: Wish,
    nature: Nature,
    tried: Tried,
}

type Answered = (Response<Incoming>, Lease);

/// What is left of a request that got no answer.
struct Unanswered {
    why: Failure,
    progress: Progress,
    /// `None`: it has been sent, or a part of it.
    body: Option<RequestBody>,
}

impl Trip<'_> {
    /// Asks one gateway after the other until one answers, as far as that is safe.
    async fn make(
        &mut self,
        mut body: RequestBody,
        account: &mut Account,
    ) -> Result<(Response<Incoming>, Lease, Rc<Gate>), Failure> {
        let visitor = self.visitor;
        let mut why = Failure::NoGateway;
        for attempt in 0..=visitor.carrier.settings.retries {
            let Self { client, head, wish, tried, .. } = self;
            let chosen = visitor.carrier.choose(&visitor.door, *client, head, *wish, tried, Instant::now());
            let Some(gate) = chosen else { break };
            if attempt > 0 {
                gate.meter.retries.add(1);
            }
            account.asked(&gate);
            match self.ask(&gate, body).await {
                Ok((response, lease)) => return Ok((response, lease, gate)),
                Err(unanswered) => {
                    let again = self.again(&unanswered);
                    why = unanswered.why;
                    let left = unanswered.body.or_else(|| self.body_once_more());
                    match left {
                        Some(left) if again => body = left,
                        _ => break,
                    }
                }
            }
        }
        if matches!(why, Failure::NoGateway) {
            visitor.door.meter.unavailable.add(1);
        }
        Err(why)
    }

    /// Whether another gateway may be asked.
    fn again(&self, unanswered: &Unanswered) -> bool {
        match unanswered.why {
            Failure::Open(_) | Failure::Broken { .. } => self.nature.may_be_sent_again(unanswered.progress),
            Failure::NoGateway
            | Failure::Unasked { .. }
            | Failure::Silent { .. }
            | Failure::Stalled
            | Failure::BrokenOff => false,
        }
    }

    /// The body of a request that has none.
    fn body_once_more(&self) -> Option<RequestBody> {
        (!self.nature.has_body).then(RequestBody::none)
    }

    /// Asks one gateway: over a connection that is open already if there is one that will do, else over a new
    /// one.
    async fn ask(&self, gate: &Rc<Gate>, mut body: RequestBody) -> Result<Answered, Unanswered> {
        let carrier = &self.visitor.carrier;
        let fresh = !self.nature.may_use_a_connection_that_has_waited();
        if let Some(lease) = carrier.take(self.visitor, gate, fresh, Instant::now()) {
            match self.send(gate, lease, body).await {
                // it died while it waited, which says nothing about the gateway: a new one will do
                Err(Unanswered { why: Failure::Broken { gateway, cause }, progress, body: left }) => {
                    let left = left.or_else(|| self.body_once_more());
                    match left {
                        Some(left) if self.nature.may_be_sent_again(progress) => body = left,
                        left => {
                            let why = Failure::Broken { gateway, cause };
                            gate.meter.request(Fate::Broken);
                            return Err(Unanswered { why, progress, body: left });
                        }
                    }
                    gate.meter.retries.add(1);
                }
                other => return other,
            }
        }
        match carrier.open(self.visitor, gate).await {
            Ok(lease) => {
                let sent = self.send(gate, lease, body).await;
                if let Err(Unanswered { why: Failure::Broken { .. }, .. }) = &sent {
                    gate.meter.request(Fate::Broken);
                }
                sent
            }
            Err(error) => {
                gate.meter.request(error.fate());
                if !error.is_local() {
                    self.visitor.door.failed(gate, error.to_string());
                }
                Err(Unanswered { why: error.into(), progress: Progress::NotSent, body: Some(body) })
            }
        }
    }

    /// Sends the request over a connection and waits for the head of the response.
    async fn send(
        &self,
        gate: &Rc<Gate>,
        mut lease: Lease,
        body: RequestBody,
    ) -> Result<Answered, Unanswered> {
        let upload = body.upload();
        let request = self.request(gate, body);
        let started = Instant::now();
        let sent = {
            let mut sending = pin!(lease.send(request));
            self.wait(&mut sending, upload.as_deref(), started).await
        };
        match sent {
            Ok(Ok(response)) => {
                let asked = upload.as_deref().map_or(started, |upload| upload.moved().max(started));
                gate.meter.response_time.observe(asked.elapsed());
                if response.status() == StatusCode::SWITCHING_PROTOCOLS && self.wish != Wish::Upgrade {
                    gate.meter.request(Fate::Broken);
                    let why = Failure::Unasked { gateway: gate.name.to_string() };
                    return Err(Unanswered { why, progress: Progress::PerhapsSent, body: None });
                }
                gate.meter.request(Fate::Answered);
                Ok((response, lease))
            }
            // that is not the gateway's doing
            Ok(Err(_)) if upload.is_some_and(|upload| upload.has_broken_off()) => {
                let why = Failure::BrokenOff;
                Err(Unanswered { why, progress: Progress::PerhapsSent, body: None })
            }
            Ok(Err(mut error)) => {
                let unsent = error.take_message();
                let progress = if unsent.is_some() { Progress::NotSent } else { Progress::PerhapsSent };
                let why = Failure::Broken { gateway: gate.name.to_string(), cause: error.into_error() };
                Err(Unanswered { why, progress, body: unsent.map(Request::into_body) })
            }
            Err(stalled) => {
                let why = if stalled {
                    Failure::Stalled
                } else {
                    gate.meter.request(Fate::ResponseTimeout);
                    let after = self.visitor.carrier.settings.response_timeout;
                    Failure::Silent { gateway: gate.name.to_string(), after }
                };
                Err(Unanswered { why, progress: Progress::PerhapsSent, body: None })
            }
        }
    }

    /// Waits for a response as long as the request's body goes on, and then for the response timeout. The
    /// error tells whether it is the client who is late.
    async fn wait<F: Future>(
        &self,
        sending: &mut Pin<&mut F>,
        upload: Option<&Upload>,
        started: Instant,
    ) -> Result<F::Output, bool> {
        let patience = self.visitor.carrier.settings.response_timeout;
        let mut since = started;
        loop {
            tokio::select! {
                biased;
                output = sending.as_mut() => return Ok(output),
                () = sleep_until((since + patience).into()) => {}
            }
            match upload {
                Some(upload) if upload.moved() > since => since = upload.moved(),
                upload => return Err(upload.is_some_and(Upload::waits_for_client)),
            }
        }
    }

    fn request(&self, gate: &Gate, body: RequestBody) -> Request<RequestBody> {
        let Self { head, wish, .. } = self;
        let carrier = &self.visitor.carrier;
        let change = Change {
            asker: &self.visitor.asker,
            forwarded: carrier.settings.forwarded,
            wish: *wish,
            length: body.size_hint().exact(),
            says_empty: !self.nature.has_body
                && matches!(head.method, Method::POST | Method::PUT | Method::PATCH),
            own_cookie: carrier.own_cookie(),
            host: &gate.host,
        };
        let mut request = Request::new(body);
        *request.method_mut() = head.method.clone();
        *request.uri_mut() = headers::target(head);
        *request.headers_mut() = headers::for_gateway(head, &change);
        // the case of the names
        *request.extensions_mut() = head.extensions.clone();
        request
    }
}
