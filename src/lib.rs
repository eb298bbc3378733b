//! Vestibule: the front door of SSL VPN gateway farms.
//!
//! Data flows one way:
//!
//! ```text
//! heartbeat agent ⇒ probe ⇒ Observation ⇒ keeper ⇒ Snapshot ⇒ front, admin
//!                                admin, reload ⇒ Order ⇒ keeper
//!      other front doors ⇒ peer ⇒ Elsewhere ⇒ keeper ⇒ Memory ⇒ peer, state.json
//!                         Snapshot ⇒ fence ⇒ agents, this host's firewall; what was done ⇒ News ⇒ keeper
//! ```
//!
//! and imports go one way too: `cli → demo → app → config → rooms → net → fleet → std`. The rooms do not know
//! each other, but that `probe` reads the agent's report; `app` is where they meet.

// from the domain outwards
pub mod fleet;
pub mod net;

// the rooms, in the order of the flow
pub mod heartbeat;

pub mod probe;

pub mod fence;

pub mod front;

pub mod dve;

pub mod ike;

pub mod vrrp;

pub mod peer;

pub mod admin;

pub mod certs;

// what puts them together
pub mod config;

pub mod app;

pub mod demo;

pub mod cli;
