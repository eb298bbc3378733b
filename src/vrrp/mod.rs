//! Whether this front door is the active one: it follows the virtual addresses (VRRP, RFC 9568), which keepalived moves
//! from one host of a pair to the other.
//!
//! `addresses` tells which addresses this host has and when they may have changed, `fifo` what keepalived says (`notice` ●);
//! what follows from both is for `standing` ●; [`run`] keeps the doors' [`Standing`](crate::fleet::Standing) true.
//! `keepalived` ● writes what keepalived itself is to be told.

mod addresses;
mod fifo;
mod instance;
mod keepalived;
mod notice;
mod standing;
mod task;

pub use addresses::{AddressesError, own_addresses};
pub use instance::{Family, Instance, InstanceName, NotOurs, Role};
pub use keepalived::{Fitness, Plan, Unwritable, Written};
pub use task::{Follow, Report, run};
