//! One request: which gateway gets it, and what the client is told.

use std::rc::Rc;
use std::time::Instant;

use http::{Method, Request, Response, Version, response};
use hyper::body::{Body as _, Incoming};

use super::account::Account;
use super::body::{GatewayBody, RequestBody};
use super::headers::{self, Wish};
use super::retry::Nature;
use super::trip::Trip;
use super::visitor::{Granted, Visitor};
use crate::front::answer::{Answer, Body};
use crate::front::door::Tried;
use crate::front::reply::{self, Reply};
use crate::front::visit::Passing;

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
    let (own, tried) = (visitor.own_of(client.ip()), Tried::default());
    let mut trip = Trip { visitor: &visitor, client: client.ip(), own, head, wish, nature, tried };
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
    // the length as it was understood; a response to HEAD, and one without a body, may speak of one
    let length = if body.is_end_stream() { None } else { body.size_hint().exact() };
    // what follows a request for a tunnel that was not granted may be meant for that tunnel
    let must_close = wish != Wish::Exchange && !has_tunnel;
    let mut out = head_for_client(&mut response, length, has_tunnel, must_close);
    let Trip { head, own, .. } = trip;
    visitor.carrier.remember(&head.headers, &response.headers, &mut out, &gate, received);
    own.last.replace(Rc::downgrade(&gate));
    account.answered(response.status);
    if has_tunnel {
        let session = visitor.carrier.session(&head.headers);
        if let Some(session) = &session {
            // nobody may have known it
            visitor.carrier.keep(session, &gate, received);
        }
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

fn head_for_client(
    response: &mut response::Parts,
    length: Option<u64>,
    has_tunnel: bool,
    must_close: bool,
) -> Response<()> {
    let mut out = Response::new(());
    *out.status_mut() = response.status;
    *out.headers_mut() = headers::for_client(&response.headers, length, has_tunnel, must_close);
    // the case of the names, and the reason phrase
    *out.extensions_mut() = std::mem::take(&mut response.extensions);
    out
}
