//! The reverse proxy: each request is taken to a gateway, over connections that are kept open, and some become
//! tunnels.
//!
//! A [`Visitor`] is one client's connection. Each of its requests goes through [`carry`]: the [`headers`] are
//! looked at, a [`trip`] takes it to one gateway after the other until one answers, and what comes back is
//! streamed. The [`Carrier`] finds the gateway, and a connection from the [`pool`] or a new one ([`open`]);
//! [`retry`] says when another gateway may be asked.

mod account;
mod body;
mod carrier;
mod cookie;
mod exchange;
mod failure;
mod forwarded;
mod headers;
mod link;
mod open;
mod pool;
mod retry;
mod stream;
mod trip;
mod visitor;

pub use body::GatewayBody;
pub use carrier::Carrier;
pub use exchange::carry;
pub use forwarded::Asker;
pub use pool::Resting;
pub use visitor::Visitor;
