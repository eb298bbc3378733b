//! Vestibule: the front door of SSL VPN gateway farms.
pub mod admin;
pub mod certs;
pub mod fleet;
pub mod net;
