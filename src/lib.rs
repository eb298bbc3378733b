//! Vestibule: the front door of SSL VPN gateway farms.
pub mod config;
pub mod fleet;
pub mod front;
pub mod net;
pub mod probe;
