//! The other front doors of a virtual address: each asks each how things stand, over mutual TLS. Who stands by follows
//! the active one's failsafe choices, knows its drains and whom it has sent where, and so goes on where that one stops.

mod account;
mod circle;
mod memory_body;
mod server;
mod settings;
mod task;

pub use account::{Account, AccountError};
pub use circle::{PeerState, Report, Url};
pub use memory_body::{MemoryBody, MemoryError};
pub use server::{Accounts, serve_accounts};
pub use settings::{FrontDoorAt, PeerSettings, TIMEOUT};
pub use task::{Inputs, Posture, Told, run};
