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
    while found.body.written_len() > room {
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
    // in failsafe mode there is no second best: everybody is to go to the same one
    let most = if snapshot.balance.mode.is_failsafe() { 1 } else { MOST_ENDPOINTS };
    while endpoints.len() < most {
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

#[cfg(test)]
pub mod tests {
    use std::num::NonZeroU32;
    use std::sync::Arc;
    use std::time::SystemTime;

    use super::super::message::{Accept, FEWEST_REQUEST_BYTES, REQUEST_BYTES};
    use super::*;
    use crate::fleet::{
        Balance, FleetSettings, Gateway, GatewayName, Load, Moment, Observation, Roster, Service,
        ServiceReport, Thresholds, Vpn, VpnMode, VrrpId, Weights,
    };

    /// Gateways with these native endpoints, all up, each with ten tunnels more than the one before.
    pub fn snapshot(endpoints: &[&str], define: impl Fn(usize, &mut Gateway)) -> Snapshot {
        let now = Moment { instant: Instant::now(), wall: SystemTime::UNIX_EPOCH };
        let gateways = endpoints.iter().enumerate().map(|(i, endpoint)| {
            let mut gateway = Gateway {
                native_endpoint: Endpoint::parse(endpoint, 500).unwrap(),
                tunnels_max: Some(1000),
                ..Gateway::plain(&format!("gw{i}"), "vpn.example.com")
            };
            define(i, &mut gateway);
            Arc::new(gateway)
        });
        let settings = FleetSettings {
            gateways: gateways.collect(),
            thresholds: Thresholds { rise: NonZeroU32::MIN, fall: NonZeroU32::MIN },
            weights: Weights::default(),
            balance: Balance::default(),
        };
        let mut roster = Roster::new(settings, now);
        for (i, name) in (0..endpoints.len()).map(|i| (i as u64, GatewayName::new(&format!("gw{i}")))) {
            let load = Load { tunnels: Some(10 * i), ..Load::default() };
            let report = Some(ServiceReport { service: Service::Up, load, fence: None });
            roster.observe(&name, Observation { checks: vec![], report, asked: None }, now);
        }
        roster.snapshot()
    }

    const HOLDS: Holds = Holds { ttl: 30, retry: 3 };
    const FOUR: [&str; 4] = ["192.0.2.1", "[2001:db8::2]:4500", "gw3.example.com", "192.0.2.4"];

    fn request(accept: Accept) -> Request {
        Request { vpn: Vpn::Native, vrrp_id: None, accept, nonce: [7; 16] }
    }

    fn answered(
        request: Request,
        snapshot: &Snapshot,
        room: usize,
        depth: usize,
    ) -> Option<(Status, u16, Vec<String>)> {
        let knows = Knowledge { snapshot, is_active: true, now: Instant::now(), wall_ms: 5 };
        let Answer { body, first } = answer(&Asked::Request(request), knows, HOLDS, room, depth, 1)?;
        assert_eq!((body.nonce, body.time_ms), (request.nonce, 5));
        assert_eq!(first.is_some(), body.status == Status::Ok);
        Some((body.status, body.ttl, body.endpoints.iter().map(ToString::to_string).collect()))
    }

    fn ok(endpoints: &[&str]) -> Option<(Status, u16, Vec<String>)> {
        Some((Status::Ok, 30, endpoints.iter().map(|e| (*e).to_owned()).collect()))
    }

    #[test]
    fn three_are_named_best_first_and_only_what_the_client_can_use() {
        let farm = snapshot(&FOUR, |_, _| {});
        let best = ["192.0.2.1:500", "[2001:db8::2]:4500", "gw3.example.com:500", "192.0.2.4:500"];
        assert_eq!(answered(request(Accept::ANY), &farm, REQUEST_BYTES, 6), ok(&best[..3]));
        assert_eq!(answered(request(Accept::IPV4), &farm, REQUEST_BYTES, 6), ok(&[best[0], best[3]]));
        assert_eq!(
            answered(request(Accept::IPV6.and(Accept::NAME)), &farm, REQUEST_BYTES, 6),
            ok(&best[1..3])
        );
        let none = snapshot(&FOUR[..1], |_, _| {});
        assert_eq!(
            answered(request(Accept::NAME), &none, REQUEST_BYTES, 0),
            Some((Status::Unavailable, 3, vec![]))
        );
        let ssl = Request { vpn: Vpn::Ssl, ..request(Accept::ANY) };
        assert_eq!(answered(ssl, &farm, REQUEST_BYTES, 0), ok(&["vpn.example.com:443"]), "once");
    }

    #[test]
    fn an_answer_is_never_longer_than_its_room() {
        let farm = snapshot(&FOUR, |_, _| {});
        let count =
            |room, depth| answered(request(Accept::ANY), &farm, room, depth).map(|(.., all)| all.len());
        assert_eq!(count(FEWEST_REQUEST_BYTES, 0), Some(1));
        assert_eq!(count(FEWEST_REQUEST_BYTES, 1), None, "a batch has no room for it");
        for depth in 0..=6 {
            for room in 0..REQUEST_BYTES {
                let knows = Knowledge { snapshot: &farm, is_active: true, now: Instant::now(), wall_ms: 5 };
                let asked = Asked::Request(request(Accept::ANY));
                if let Some(found) = answer(&asked, knows, HOLDS, room, depth, 1) {
                    assert!(found.body.written_len() + proof_len(depth) <= room && found.first.is_some());
                }
            }
        }
    }

    #[test]
    fn who_cannot_be_served_is_told_why() {
        let farm = snapshot(&FOUR[..2], |_, gateway| gateway.vrrp_id = VrrpId::new(31));
        let told = |asked: Asked, is_active| {
            let knows = Knowledge { snapshot: &farm, is_active, now: Instant::now(), wall_ms: 5 };
            answer(&asked, knows, HOLDS, REQUEST_BYTES, 0, 1).map(|found| found.body.status)
        };
        let of = |vrrp_id| Asked::Request(Request { vrrp_id, ..request(Accept::ANY) });
        assert_eq!(told(of(VrrpId::new(31)), true), Some(Status::Ok));
        assert_eq!(told(of(VrrpId::new(32)), true), Some(Status::Unsupported));
        assert_eq!(told(of(None), true), Some(Status::Ok));
        assert_eq!(told(of(None), false), Some(Status::Standby));
        assert_eq!(told(Asked::Malformed([1; 16]), true), Some(Status::Malformed));
        let ssl_alone = snapshot(&FOUR[..2], |_, gateway| gateway.vpn_mode = VpnMode::Ssl);
        assert_eq!(
            answered(request(Accept::ANY), &ssl_alone, REQUEST_BYTES, 0),
            Some((Status::Unsupported, 3, vec![]))
        );
    }
}
