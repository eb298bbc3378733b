//! The heartbeat agent: it runs on a gateway, checks whether the gateway works, samples its load, and tells
//! both to the front doors that ask.
//!
//! A loop of rounds ([`run`]) brings about [`AgentState`]s; a server ([`serve_state`]) answers with the latest
//! one. They meet in a `watch` channel alone, so that anything else may bring states about, too. Beside it both
//! tell the fence what they know, and it refuses newcomers or lets them in. The front door reads a [`Report`] and
//! knows nothing else of this room.

mod agent;
mod agent_check;
mod boot_id;
mod checks;
mod count;
mod counters;
mod fence;
mod fence_log;
mod learned;
mod leases;
mod metrics;
mod occtl;
mod orders;
mod report;
mod sample;
mod server;
mod standing;
mod state;
mod text;
mod timestamp;
mod track_file;

pub use agent::{Doors, Round, Settings, run};
pub use checks::LocalCheck;
pub use count::CountSource;
pub use fence::{FenceSettings, Legacy, OnExit};
pub use report::{
    CheckSection, FenceSection, HolderSection, LeaseSection, LoadSection, MAX_REPORT_BYTES, Report,
    ReportError, ServiceSection,
};
pub use sample::{Capacity, InterfaceName, LoadSettings, NotAnInterfaceName};
pub use server::serve_state;
pub use state::{AgentState, ServiceState};
pub use timestamp::Timestamp;

/// Why an agent cannot run.
#[derive(Debug, thiserror::Error)]
pub enum HeartbeatError {
    /// The operating system gives none.
    #[error("this machine has no random numbers")]
    NoRandomNumbers,
    /// Two of them collide: a mistake in this program.
    #[error("the metrics cannot be set up")]
    Metrics(#[source] prometheus::Error),
}
