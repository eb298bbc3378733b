//! Vestibule: the front door of SSL VPN gateway farms.
pub mod fleet;
pub mod heartbeat;
pub mod net;
