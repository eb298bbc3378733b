use std::time::Instant;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;

use super::guard::Guard;
use crate::net::clock;
use crate::net::seldom::Seldom;

/// What all responders of a front door share, without locks on the way of a datagram. Survives a reload.
#[derive(Debug)]
pub struct Common {
    pub(super) guard: Guard,
    /// Clients that were redirected to where they have been.
    pub(super) circles: Seldom,
}

/// This host has no random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random numbers for the secret of IKEv2 cookies")]
pub struct NoRandomness;

impl Common {
    /// A secret that nobody knows.
    pub fn new() -> Result<Self, NoRandomness> {
        let secret = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        Ok(Self::with(secret.map_err(|_| NoRandomness)?, clock::now().instant))
    }

    pub(super) fn with(secret: hmac::Key, now: Instant) -> Self {
        let circles = Seldom::new("IKEv2 client sent in a circle", "IKEv2 clients sent in a circle");
        Self { guard: Guard::new(secret, now), circles }
    }
}

impl Drop for Common {
    fn drop(&mut self) {
        if let Some(summary) = self.circles.rest() {
            tracing::warn!("{summary}");
        }
    }
}
