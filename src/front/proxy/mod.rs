//! The reverse proxy: each request is taken to a gateway, over connections that are kept open, and some become
//! tunnels.
//!
//! A [`Visitor`] is one client's connection. Each of its requests goes through [`carry`]: the [`headers`] are
//! looked at and changed, the [`Carrier`] finds the gateway and a connection from the [`pool`], and what comes
//! back is streamed. [`retry`] says when another gateway may be asked.

mod account;
mod body;
mod carrier;
mod cookie;
mod exchange;
mod headers;
mod link;
mod open;
mod pool;
mod retry;
mod stream;

pub use body::GatewayBody;
pub use carrier::Carrier;
pub use exchange::{Visitor, carry};
pub use headers::Asker;
pub use pool::Resting;
