//! DVE/1: native VPN clients ask over UDP which gateway to use. Signed answers, and the client for them.

mod answer;
mod client;
mod exchange;
mod keys;
mod merkle;
mod message;
mod meter;
mod responder;
mod settings;
mod verify;

pub use client::{Attempt, Clock, Failure, PORT, ResolveError, Resolved, Server, resolve};
pub use exchange::Question;
pub use keys::{NotAKey, PublicKey, SigningKey};
pub use merkle::{Tree, leaf};
pub use message::{Accept, Asked, Body, Nonce, Proof, Request, Status};
pub use meter::{BATCH_SIZES, Meter, Outcome};
pub use responder::{Responder, Shared};
pub use settings::DveSettings;
pub use verify::{Rejection, verify};

/// For the test of all doors together.
#[cfg(test)]
pub use answer::{Answer, Holds, Knowledge, answer};

#[cfg(test)]
mod tests;
