//! Where a status is taken from.

use std::sync::Arc;

use super::listener::Listeners;
use super::peers::Peers;
use super::status::{Node, Status};
use super::vrrp::Vrrp;
use crate::fleet::View;
use crate::net::clock::now;

/// Everything that a status shows of the present. Nothing here waits.
#[derive(Clone)]
pub struct Scene {
    /// Which front door this is.
    pub node: Node,
    /// The farm.
    pub farm: View,
    /// The listeners.
    pub listeners: Listeners,
    /// The virtual addresses.
    pub vrrp: Vrrp,
    /// The other front doors.
    pub peers: Peers,
}

impl Scene {
    /// How things stand at this moment.
    pub fn status(&self) -> Status {
        // a reader of its own each time, instead of a lock around one
        let snapshot = Arc::clone(self.farm.clone().load());
        Status::of(&snapshot, &(self.listeners)(), &self.node, now())
            .sharing((self.vrrp)())
            .beside((self.peers)())
    }
}
