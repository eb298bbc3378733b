//! DVE/1: native VPN clients ask over UDP which gateway to use. Signed answers, and the client for them.

mod answer;
mod keys;
mod merkle;
mod message;
mod meter;
mod responder;
mod settings;
mod verify;

pub use keys::{NotAKey, PublicKey, SigningKey};
pub use message::Status;
pub use meter::{BATCH_SIZES, Meter, Outcome};
pub use responder::{Responder, Shared};
pub use settings::DveSettings;

#[cfg(test)]
mod tests;
