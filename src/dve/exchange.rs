//! What a client says to one server and what it believes of what comes back. Pure: time and randomness are arguments.

use super::keys::PublicKey;
use super::message::{Accept, Body, Nonce, REQUEST_BYTES, Request};
use super::verify::{Rejection, verify};
use crate::fleet::{Vpn, VrrpId};

/// What a client wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// For which kind of VPN.
    pub vpn: Vpn,
    /// Only gateways with this VRRP ID; `None`: any.
    pub vrrp_id: Option<VrrpId>,
    /// Which endpoints it can use.
    pub accept: Accept,
}

/// The exchange with one address of one server. An answer to any of its requests ends it, also a late one to the first;
/// one to a request of another exchange does not.
#[derive(Debug)]
pub(super) struct Exchange<'a> {
    question: Question,
    keys: &'a [PublicKey],
    nonces: Vec<Nonce>,
    thrown_away: usize,
    worst: Option<Rejection>,
}

impl<'a> Exchange<'a> {
    pub(super) fn new(question: Question, keys: &'a [PublicKey]) -> Self {
        Self { question, keys, nonces: Vec::new(), thrown_away: 0, worst: None }
    }

    /// A request; `nonce` is random and was never used.
    pub(super) fn ask(&mut self, nonce: Nonce) -> [u8; REQUEST_BYTES] {
        self.nonces.push(nonce);
        let Question { vpn, vrrp_id, accept } = self.question;
        Request { vpn, vrrp_id, accept, nonce }.write()
    }

    /// What a datagram answers, if all about it is right. `now_ms`: as in [`verify`].
    pub(super) fn hear(&mut self, datagram: &[u8], now_ms: Option<u64>) -> Option<Body> {
        // a nonce that is not the datagram's is seen before anything costly is done
        let verdicts = self.nonces.iter().map(|nonce| verify(datagram, nonce, self.keys, now_ms));
        let verdict = verdicts.reduce(|one, next| if one == Err(Rejection::Nonce) { next } else { one })?;
        let rejection = match verdict {
            Ok(body) => return Some(body),
            Err(rejection) => rejection,
        };
        self.thrown_away = self.thrown_away.saturating_add(1);
        if self.worst.is_none_or(|worst| telling(rejection) > telling(worst)) {
            self.worst = Some(rejection);
        }
        None
    }

    /// How many requests there were.
    pub(super) fn requests(&self) -> usize {
        self.nonces.len()
    }

    /// How many datagrams were thrown away, and why the one that came nearest to being believed.
    pub(super) fn thrown_away(&self) -> Option<(usize, Rejection)> {
        self.worst.map(|worst| (self.thrown_away, worst))
    }
}

/// How near a datagram came to being believed.
fn telling(rejection: Rejection) -> u8 {
    match rejection {
        Rejection::NoAnswer(_) => 0,
        Rejection::Nonce => 1,
        Rejection::UnknownKey => 2,
        Rejection::Signature => 3,
        Rejection::Time { .. } => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys::SigningKey;
    use super::super::merkle::{Tree, leaf};
    use super::super::message::{Asked, NoAnswer, Proof, Status};
    use super::*;

    const QUESTION: Question = Question { vpn: Vpn::Native, vrrp_id: None, accept: Accept::ANY };

    fn key(first: u8) -> SigningKey {
        // Ed25519 in PKCS #8, as in RFC 8410 §7
        let mut der = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
        der.extend([first; 32]);
        SigningKey::from_pkcs8(&der).unwrap()
    }

    fn standby(nonce: Nonce, key: &SigningKey) -> Vec<u8> {
        let mut datagram = Vec::new();
        Body { status: Status::Standby, ttl: 0, nonce, time_ms: 1_000_000, endpoints: vec![] }
            .write(&mut datagram);
        let tree = Tree::over(&[leaf(&datagram)]).unwrap();
        let signature = key.sign(&tree.root()).unwrap();
        Proof::write(key.public().id(), 0, 0, [].iter(), &signature, &mut datagram);
        datagram
    }

    #[test]
    fn each_request_asks_the_same_with_a_nonce_of_its_own() {
        let mut exchange = Exchange::new(QUESTION, &[]);
        for nonce in [[1; 16], [2; 16]] {
            let Question { vpn, vrrp_id, accept } = QUESTION;
            let asked = Asked::read(&exchange.ask(nonce));
            assert_eq!(asked, Some(Asked::Request(Request { vpn, vrrp_id, accept, nonce })));
        }
        assert_eq!(exchange.requests(), 2);
    }

    #[test]
    fn a_late_answer_to_any_of_its_requests_is_a_true_one() {
        let (signs, nonces) = (key(1), [[1; 16], [2; 16], [3; 16]]);
        let keys = [*signs.public()];
        for nonce in nonces {
            let mut exchange = Exchange::new(QUESTION, &keys);
            for nonce in nonces {
                exchange.ask(nonce);
            }
            let heard = exchange.hear(&standby(nonce, &signs), None);
            assert_eq!(heard.map(|body| body.status), Some(Status::Standby));
        }
    }

    #[test]
    fn what_was_thrown_away_is_told_by_the_one_that_was_nearest_to_the_truth() {
        let (signs, other, now) = (key(1), key(2), Some(1_000_000));
        let keys = [*signs.public()];
        let mut exchange = Exchange::new(QUESTION, &keys);
        assert_eq!(exchange.hear(&standby([1; 16], &signs), now), None, "nothing was asked yet");
        assert_eq!(exchange.thrown_away(), None);
        exchange.ask([1; 16]);
        let true_one = standby([1; 16], &signs);
        let mut forged = true_one.clone();
        *forged.last_mut().unwrap() ^= 1;
        for (datagram, now, worst) in [
            (&true_one[..100], now, Rejection::NoAnswer(NoAnswer::Length)),
            (&standby([9; 16], &signs), now, Rejection::Nonce),
            (&standby([1; 16], &other), now, Rejection::UnknownKey),
            (&forged, now, Rejection::Signature),
            (&true_one, Some(2_000_000), Rejection::Time { ahead_ms: -1_000_000 }),
            (&true_one[..100], now, Rejection::Time { ahead_ms: -1_000_000 }),
        ] {
            assert_eq!(exchange.hear(datagram, now), None);
            assert_eq!(exchange.thrown_away().unwrap().1, worst);
        }
        assert_eq!(exchange.thrown_away().unwrap().0, 6);
        assert!(exchange.hear(&true_one, now).is_some(), "and still it is believed");
    }
}
