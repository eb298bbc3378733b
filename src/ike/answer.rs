//! What a client is told. Pure: the time, the snapshot and randomness are arguments.

use std::time::Instant;

use super::message::{Notice, Request, Support};
use crate::fleet::{Ask, By, Choice, Snapshot, Vpn, VrrpId, exclusion, select};

/// What the active front door knows when it answers.
#[derive(Clone, Copy, Debug)]
pub struct Knowledge<'a> {
    /// The gateways.
    pub snapshot: &'a Snapshot,
    /// Only gateways with this VRRP ID are named.
    pub vrrp_id: Option<VrrpId>,
    /// Now.
    pub now: Instant,
}

/// What a client is told.
#[derive(Clone, Copy, Debug)]
pub enum Answer<'a> {
    /// To go to that gateway.
    Redirect(Choice<'a>),
    /// That there is nothing for it: no gateway is available.
    Unavailable,
    /// That there is nothing for it: it follows no redirects, or has followed one that led here.
    Refused,
}

impl<'a> Answer<'a> {
    /// The same in the words of the protocol.
    pub fn notice(&self) -> Notice<'a> {
        match self {
            Self::Redirect(choice) => Notice::Redirect(&choice.view.gateway.native_endpoint.host),
            Self::Unavailable | Self::Refused => Notice::NoProposalChosen,
        }
    }
}

/// Answers a request. `before`: the place of the gateway that this same request was given before, when it was sent for
/// the first time; it gets that one again as long as that is available.
pub fn answer<'a>(
    request: &Request<'_>,
    knows: Knowledge<'a>,
    before: Option<usize>,
    draw: u64,
) -> Answer<'a> {
    match request.support {
        // who was redirected here was sent in a circle, and would be again
        Support::None | Support::Followed(_) => Answer::Refused,
        Support::Announced => {
            let Knowledge { snapshot, vrrp_id, now } = knows;
            let ask = Ask { vrrp_id, vpn: Vpn::Native };
            let again = before.and_then(|index| Some(Choice { index, view: snapshot.gateways.get(index)? }));
            let again = again.filter(|choice| exclusion(choice.view, ask, &snapshot.balance, now).is_none());
            let chosen = again.or_else(|| select(snapshot, ask, By::Load, &[], now, draw).ok());
            chosen.map_or(Answer::Unavailable, Answer::Redirect)
        }
    }
}
