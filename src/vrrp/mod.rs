//! Whether this front door is the active one: it follows the virtual addresses (VRRP, RFC 9568), which keepalived moves
//! from one host of a pair to the other.
//!
//! `addresses` tells which addresses this host has and when they may have changed; what follows from them is for
//! `standing` ●; [`run`] keeps the doors' [`Standing`](crate::fleet::Standing) true. What an [`Instance`] says beyond its
//! number and its addresses is keepalived's.

mod addresses;
mod instance;
mod standing;
mod task;

pub use instance::{Instance, Role};
pub use task::run;
