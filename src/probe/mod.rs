//! Asking gateways how they are: one task a gateway, whose findings go to the keeper.

mod continuity;
mod origin;
mod settings;
mod task;

pub use settings::ProbeSettings;
pub use task::{Finding, run};
