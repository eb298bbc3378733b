//! IKEv2 REDIRECT (RFC 5685): IKEv2 clients of any maker are sent to a gateway with their first message.
//!
//! Nothing is kept of a client but what was answered lately, and that may be lost: there is no IKE SA here. A datagram
//! goes through `message` ● (is it an IKE_SA_INIT request?), `guard` with `flood` ● and `cookie` ● (is it to be believed?)
//! and `answer` ● (which gateway?); `responder` puts them together. ● is pure.

mod answer;
mod common;
mod cookie;
mod flood;
mod guard;
mod message;
mod meter;
mod recent;
mod responder;
mod settings;

pub use common::{Common, NoRandomness};
pub use message::{Notice, Request, Spi, Support, read_identity};
pub use meter::{Meter, Outcome};
pub use responder::Responder;
pub use settings::IkeSettings;

/// For the test of all doors together.
#[cfg(test)]
pub use answer::{Answer, Knowledge, answer};

#[cfg(test)]
mod samples;
