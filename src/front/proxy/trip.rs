use std::future::Future;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Instant;

use http::{Method, Request, Response, StatusCode, request};
use hyper::body::{Body as _, Incoming};
use tokio::time::sleep_until;

use super::account::Account;
use super::body::{RequestBody, Upload};
use super::carrier::Chosen;
use super::failure::Failure;
use super::headers::{self, Change, Wish};
use super::pool::{Lease, Own};
use super::retry::{Nature, Progress};
use super::visitor::Visitor;
use crate::front::door::Tried;
use crate::front::gate::Gate;
use crate::front::meter::Fate;

/// A request on its way from gateway to gateway.
pub struct Trip<'a> {
    /// Who has sent it.
    pub visitor: &'a Visitor,
    /// The client, as far as trusted proxies tell.
    pub client: IpAddr,
    /// What is that client's alone.
    pub own: Rc<Own>,
    /// Its head, as it came.
    pub head: request::Parts,
    /// What it asks for.
    pub wish: Wish,
    /// What it allows.
    pub nature: Nature,
    /// Where it has been.
    pub tried: Tried,
}

type Answered = (Response<Incoming>, Lease);

/// What is left of a request that got no answer.
struct Unanswered {
    why: Failure,
    /// Its body, if the request may be sent again.
    again: Option<RequestBody>,
}

impl Trip<'_> {
    /// Asks one gateway after the other until one answers, as far as that is safe.
    pub async fn make(
        &mut self,
        mut body: RequestBody,
        account: &mut Account,
    ) -> Result<(Response<Incoming>, Lease, Rc<Gate>), Failure> {
        let visitor = self.visitor;
        let (mut why, mut failures) = (Failure::NoGateway, 0);
        let mut refused = None;
        while let Some(Chosen { gate, is_known }) = visitor.carrier.choose(visitor, self, Instant::now()) {
            if failures > 0 {
                gate.meter.retries.add(1);
            }
            account.asked(&gate);
            match self.ask(&gate, body).await {
                Ok((response, lease)) if !is_known && self.is_a_strangers(Ok(&response)) => {
                    refused = Some((response, lease, gate));
                    body = RequestBody::none();
                }
                Ok((response, lease)) => return Ok((response, lease, gate)),
                Err(Unanswered { why: broken, .. }) if !is_known && self.is_a_strangers(Err(&broken)) => {
                    why = broken;
                    body = RequestBody::none();
                }
                Err(unanswered) => {
                    why = unanswered.why;
                    failures += 1;
                    // A tunnel belongs to the gateway that has its session. Any other one says so, for which
                    // clients give up; told that there was no answer they try again.
                    let stays = is_known && self.wish != Wish::Exchange;
                    match unanswered.again {
                        Some(left) if !stays && failures <= visitor.carrier.settings.retries => body = left,
                        _ => break,
                    }
                }
            }
        }
        // one that could not be asked may be the one that knows the session
        if let Some((response, lease, gate)) = refused
            && failures == 0
        {
            account.asked(&gate);
            return Ok((response, lease, gate));
        }
        if matches!(why, Failure::NoGateway) {
            visitor.door.meter.unavailable.add(1);
        }
        Err(why)
    }

    /// Whether a gateway does not know the session that a tunnel is asked for in: it says so, or breaks off as
    /// ocserv does. Nobody here knows it either, after a restart or in place of another front door; so the
    /// gateways are asked one after the other, for one of them may.
    fn is_a_strangers(&self, answer: Result<&Response<Incoming>, &Failure>) -> bool {
        let is_refused = match answer {
            Ok(response) => response.status() == StatusCode::UNAUTHORIZED,
            Err(why) => matches!(why, Failure::Broken { .. }),
        };
        self.wish == Wish::Connect && is_refused && self.visitor.carrier.session(&self.head.headers).is_some()
    }

    /// What may be sent again of a request that has come this far.
    fn again(&self, why: &Failure, progress: Progress, unsent: Option<RequestBody>) -> Option<RequestBody> {
        if !why.is_gateways() || !self.nature.may_be_sent_again(progress) {
            return None;
        }
        unsent.or_else(|| (!self.nature.has_body).then(RequestBody::none))
    }

    /// Asks one gateway: over a connection that is open already if there is one that will do, else over a new
    /// one.
    async fn ask(&self, gate: &Rc<Gate>, mut body: RequestBody) -> Result<Answered, Unanswered> {
        let carrier = &self.visitor.carrier;
        if let Some(lease) = carrier.take(self, gate, Instant::now()) {
            match self.send(gate, lease, body).await {
                // it died while it waited, which says nothing about the gateway: a new one will do
                Err(Unanswered { why: Failure::Broken { .. }, again: Some(again) }) => {
                    gate.meter.retries.add(1);
                    body = again;
                }
                other => return other.inspect_err(|unanswered| count(&unanswered.why, gate)),
            }
        }
        match carrier.open(self.visitor, self, gate).await {
            Ok(lease) => {
                self.send(gate, lease, body).await.inspect_err(|unanswered| count(&unanswered.why, gate))
            }
            Err(error) => {
                if !error.is_local() {
                    self.visitor.door.failed(gate, error.to_string());
                }
                let why = error.into();
                count(&why, gate);
                Err(Unanswered { why, again: Some(body) })
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
        let gone = |why| Err(Unanswered { why, again: None });
        match sent {
            Ok(Ok(response)) => {
                let ended = upload.map_or(started, |upload| upload.moved().max(started));
                gate.meter.response_time.observe(ended.elapsed());
                let gateway = || gate.name.to_string();
                if response.status() == StatusCode::SWITCHING_PROTOCOLS && self.wish != Wish::Upgrade {
                    return gone(Failure::Unasked { gateway: gateway() });
                }
                if !headers::is_understood(response.headers()) {
                    return gone(Failure::Coding { gateway: gateway() });
                }
                gate.meter.request(Fate::Answered);
                Ok((response, lease))
            }
            // that is not the gateway's doing
            Ok(Err(_)) if upload.is_some_and(|upload| upload.has_broken_off()) => gone(Failure::BrokenOff),
            Ok(Err(mut error)) => {
                let unsent = error.take_message().map(Request::into_body);
                let progress = if unsent.is_some() { Progress::NotSent } else { Progress::PerhapsSent };
                let why = Failure::Broken { gateway: gate.name.to_string(), cause: error.into_error() };
                Err(Unanswered { again: self.again(&why, progress, unsent), why })
            }
            Err(true) => gone(Failure::Stalled),
            Err(false) => {
                let after = self.visitor.carrier.settings.response_timeout;
                gone(Failure::Silent { gateway: gate.name.to_string(), after })
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

fn count(why: &Failure, gate: &Gate) {
    if let Some(fate) = why.fate() {
        gate.meter.request(fate);
    }
}
