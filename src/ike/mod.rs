//! IKEv2 REDIRECT (RFC 5685): IKEv2 clients of any maker are sent to a gateway with their first message.

mod cookie;
mod flood;
mod guard;
mod message;
mod settings;

pub use message::{Notice, Request, Spi, Support, read_identity};
pub use settings::IkeSettings;

#[cfg(test)]
mod samples;
