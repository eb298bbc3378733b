//! A whole farm in one process, for trying things out: a real front door and real heartbeat agents over
//! loopback, and pretend gateways with a load that moves. The end-to-end tests use its pieces too.

mod farm;
mod gateway;
mod weather;

pub use farm::{Farm, Ports};
pub use gateway::PretendGateway;
