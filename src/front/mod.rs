//! The doors on TCP: listeners, TLS, and what a request gets.
//!
//! A [`Worker`] is a thread; it has a [`Door`](door::Door) for each listener ([`Plan`]). A connection is
//! admitted ([`limit`]), shakes hands ([`tls`]), keeps its [`pace`], and each of its requests is
//! [`route`]d to a [`reply`], or taken to a gateway by the [`proxy`]. A [`passthrough`] takes whole connections
//! to one.

mod access;
mod answer;
mod arrival;
mod certificates;
mod connect;
mod connection;
mod door;
mod gate;
mod hello;
mod limit;
mod listener;
mod meter;
mod pace;
mod passthrough;
mod plan;
mod proxy;
mod proxy_protocol;
mod redirect;
mod relay;
mod reply;
mod route;
mod sessions;
mod settings;
mod splice;
mod stream;
mod tls;
mod tunnels;
mod visit;
mod worker;

pub use access::{Access, AccessQueue, Event};
pub use certificates::Certificates;
pub use limit::Rejection;
pub use listener::bind;
pub use meter::{BOUNDS, Counter, Direction, Fate, GatewayMeter, Gauge, Handshake, Histogram, Meter};
pub use plan::{Common, Plan};
pub use settings::{
    Affinity, AffinityCookie, Forwarded, Limits, ListenerSettings, Mode, Passthrough, Proxy, ProxyProtocol,
    Redirect, Upstream, UpstreamTls,
};
pub use splice::PIPE_FILES;
pub use worker::{Assignment, Worker};
