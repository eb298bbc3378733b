//! The firewall engines against the real kernel, each test in a network namespace of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod fence;
mod inventory;
mod network;
mod wall;
