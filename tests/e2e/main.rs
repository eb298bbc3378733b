//! The library over loopback: a real front door, real agents, pretend gateways; no privileges, no files.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail in any way that says where"
)]

mod admin;
mod client;
mod dve;
mod failsafe;
mod fence;
mod gateway;
mod health;
mod limits;
mod metrics;
mod page;
mod passthrough;
mod peers;
mod proxy;
mod proxy_affinity;
mod proxy_failure;
mod proxy_gateways;
mod proxy_http2;
mod proxy_pace;
mod proxy_protocol;
mod proxy_smuggling;
mod proxy_tls;
mod proxy_tunnel;
mod proxy_vpn;
mod redirect;
mod reload;
mod support;
mod tls;
