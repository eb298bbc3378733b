//! The firewall of this host, as far as it is ours: one table (nftables) or one chain (iptables) that refuses
//! newcomers on a gateway's ports, and another that keeps this host from gateways elsewhere.
//!
//! The kernel itself ends every block: whoever set it may be gone. Nothing but what is ours is ever touched.

mod chains;
mod engine;
mod fence;
pub mod inventory;
mod iptables;
mod kept;
mod label;
mod nft;
mod program;
mod tables;

pub use engine::{Away, CHECK_MARK, Done, Engine, Firewall, FirewallError, Wall};
pub use fence::{Block, Connections, Fence, NotAPort, Port, Protocol, RejectWith};
