//! What several rooms need of the network: TLS material, an HTTP/1.1 client that keeps its connection,
//! the health checks, and the server loop of the control plane. Knows the words of [`crate::fleet`] and
//! none of the rooms.

pub mod certificate;
pub mod check;
pub mod client;
pub mod clock;
pub mod command;
pub mod datagrams;
pub mod early;
pub mod fault;
pub mod firewall;
#[cfg(test)]
pub mod heard;
pub mod inherited;
pub mod news;
pub mod notify;
pub mod pem;
mod places;
pub mod rate;
pub mod records;
pub mod roll;
pub mod seldom;
pub mod serve;
/// Where to connect to.
pub mod site;
pub mod stop;
pub mod tell;
pub mod tls;
pub mod words;

pub use site::{LookupError, Site, Sites};
