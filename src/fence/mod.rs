//! A front door's part in fencing: what is done about gateways that fail for it, by their agents or by this
//! host's own firewall.

mod duty;
mod plan;
#[cfg(test)]
mod simulation;

pub use plan::Kind;
