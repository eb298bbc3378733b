//! What a front door answers. Pure: the time, the snapshot and randomness are arguments.

use std::time::Instant;

use super::message::{Asked, Body, MOST_ENDPOINTS, Nonce, Request, Status, proof_len};
use crate::fleet::{Ask, By, Endpoint, Snapshot, select};

/// What a front door knows when it answers.
#[derive(Clone, Copy, Debug)]
pub struct Knowledge<'a> {
    /// The gateways.
    pub snapshot: &'a Snapshot,
    /// Whether this front door is the active one; another is to be asked otherwise.
    pub is_active: bool,
    /// Now.
    pub now: Instant,
    /// Now by the wall clock, in milliseconds since 1970.
    pub wall_ms: u64,
}

/// For how long answers hold, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holds {
    /// One with endpoints.
    pub ttl: u16,
    /// One without: after that the client may ask again.
    pub retry: u16,
}

/// An answer, and whom it sends the client to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What it says.
    pub body: Body,
    /// The place in [`Snapshot::gateways`] of the gateway named first.
    pub first: Option<usize>,
}

/// Answers a datagram, of which the answer may have `room` bytes and its path `depth` hashes. `None`: there is not
/// room for even one endpoint.
pub fn answer(
    asked: &Asked,
    knows: Knowledge<'_>,
    holds: Holds,
    room: usize,
    depth: usize,
    draw: u64,
) -> Option<Answer> {
    let empty = |status: Status, nonce: Nonce| {
        let body = Body { status, ttl: holds.retry, nonce, time_ms: knows.wall_ms, endpoints: Vec::new() };
        Some(Answer { body, first: None })
    };
    let mut found = match asked {
        Asked::Malformed(nonce) => empty(Status::Malformed, *nonce),
        Asked::Request(request) if !knows.is_active => empty(Status::Standby, request.nonce),
        Asked::Request(request) if !is_offered(request, knows.snapshot) => {
            empty(Status::Unsupported, request.nonce)
        }
        Asked::Request(request) => {
            let (first, endpoints) = endpoints(request, knows, draw);
            if endpoints.is_empty() {
                empty(Status::Unavailable, request.nonce)
            } else {
                let (nonce, time_ms) = (request.nonce, knows.wall_ms);
                let body = Body { status: Status::Ok, ttl: holds.ttl, nonce, time_ms, endpoints };
                Some(Answer { body, first })
            }
        }
    }?;
    let room = room.checked_sub(proof_len(depth))?;
    while found.body.len() > room {
        found.body.endpoints.pop()?;
        if found.body.endpoints.is_empty() {
            return None;
        }
    }
    Some(found)
}

/// Whether any gateway is ever named for this, whatever state it is in.
fn is_offered(request: &Request, snapshot: &Snapshot) -> bool {
    snapshot.gateways.iter().any(|view| ask(request).misfit(&view.gateway).is_none())
}

/// Best first, each endpoint once; of gateways whose endpoint the client cannot use, none.
fn endpoints(request: &Request, knows: Knowledge<'_>, draw: u64) -> (Option<usize>, Vec<Endpoint>) {
    let Knowledge { snapshot, now, .. } = knows;
    let unusable = |endpoint: &Endpoint| !request.accept.takes(&endpoint.host);
    let places = snapshot.gateways.iter().enumerate();
    let mut tried: Vec<usize> =
        places.filter(|(_, view)| unusable(view.gateway.endpoint(request.vpn))).map(|(i, _)| i).collect();
    let (mut first, mut endpoints) = (None, Vec::<Endpoint>::new());
    while endpoints.len() < MOST_ENDPOINTS {
        let Ok(choice) = select(snapshot, ask(request), By::Load, &tried, now, draw) else { break };
        tried.push(choice.index);
        let endpoint = choice.view.gateway.endpoint(request.vpn);
        if !endpoints.contains(endpoint) {
            first = first.or(Some(choice.index));
            endpoints.push(endpoint.clone());
        }
    }
    (first, endpoints)
}

fn ask(request: &Request) -> Ask {
    Ask { vrrp_id: request.vrrp_id, vpn: request.vpn }
}
