//! DVE/1: native VPN clients ask over UDP which gateway to use. Signed answers, and the client for them.

mod answer;
mod keys;
mod merkle;
mod message;
mod settings;
mod verify;

pub use keys::{NotAKey, PublicKey};
pub use message::{Accept, Asked, Body, Nonce, Request, Status};
pub use settings::DveSettings;
pub use verify::{Rejection, verify};

#[cfg(test)]
mod tests;
