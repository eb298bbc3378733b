use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::gateway::VrrpId;

/// Whether this front door is the active one, that holds the virtual addresses. Shared: one writes, the doors read.
#[derive(Clone, Debug)]
pub struct Standing(Arc<AtomicBool>);

impl Standing {
    /// Of a front door that is alone.
    pub fn active() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    /// Whether it is the active one.
    pub fn is_active(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Says from now on whether it is.
    pub fn set(&self, active: bool) {
        self.0.store(active, Ordering::Relaxed);
    }
}

/// Another front door says that it has the addresses of that virtual router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Which one.
    pub vrrp_id: VrrpId,
    /// The front door's name.
    pub by: Arc<str>,
}
