//! The heartbeat agent: it runs on a gateway, checks whether the gateway works, samples its load, and tells
//! both to the front doors that ask.
//!
//! The front door reads a [`Report`] and knows nothing else of this room.

mod checks;
mod command;
mod count;
mod counters;
mod occtl;
mod report;
mod sample;
mod standing;
mod state;
mod text;
mod timestamp;

pub use checks::LocalCheck;
pub use command::{CommandLine, NoProgram};
pub use count::CountSource;
pub use report::{
    CheckSection, FenceSection, HolderSection, LoadSection, MAX_REPORT_BYTES, Report, ReportError,
    ServiceSection,
};
pub use sample::{Capacity, InterfaceName, LoadSettings, NotAnInterfaceName};
pub use state::{AgentState, ServiceState};
pub use timestamp::Timestamp;
