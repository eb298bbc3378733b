//! A front door's part in fencing: gateways that fail for it are blocked, by their agents or by this host's own
//! firewall, as long as they do, and never so many that too few stay open.
//!
//! The `plan` ● says what is to be done, from the newest snapshot alone; [`run`] asks agents for it (`duty` ● knows
//! what of it is due) and builds in this host's firewall (`local`). Whether a block may be what our own checks run into
//! is for `suspicions` ●. What was done goes to the keeper as [`News`].

mod duty;
mod errand;
mod local;
mod news;
mod plan;
mod settings;
#[cfg(test)]
mod simulation;
mod suspicions;
mod task;

pub use news::{News, Operation};
pub use plan::Kind;
pub use settings::{FenceSettings, Fenced};
pub use task::{Inputs, run};
