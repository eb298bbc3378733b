//! The real binary: what it prints and how it ends.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod agent_config;
mod certs;
mod demo;
mod deployment;
mod drain;
mod examples;
mod front_config;
mod help;
mod keepalived;
mod manual;
mod native_config;
mod operations;
mod passthrough;
mod peers_config;
mod privacy;
mod proxy_config;
mod recipes;
mod resolve;
mod serve;
mod service;
mod support;
mod systemd;
mod watch;
mod why;
