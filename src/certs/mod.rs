//! Keys and certificates for trials, and for the mutual TLS between front doors and agents: a private
//! authority and everything that it signs, made in memory ([`make()`]) or as files ([`init`]). No network.

mod make;
mod write;

pub use make::{DveKey, Made, MakeError, Named, Pair, Request, make};
pub use write::{CertsError, Written, init};
