//! Where the rooms meet: a front door and an agent put together from their settings.

mod access_log;
mod agent;
mod door_metrics;
mod doors;
mod files;
mod front;
mod keeper;
pub mod log;
mod open_files;
mod probes;
mod reload;

pub use agent::run_agent;
pub use doors::DoorsError;
pub use front::{FrontDoor, Reload};
