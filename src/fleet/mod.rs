//! The domain: which gateways there are, how they fare, and which one a newcomer is sent to.
//!
//! Nothing here does I/O or reads a clock: `now` and random draws are arguments. The [`Roster`] is the
//! one mutable truth and belongs to the keeper; everyone else reads the immutable [`Snapshot`]s that it
//! publishes, and every door asks the same [`select`] function.

mod balance;
mod exclusion;
mod explain;
mod failsafe;
mod fence;
mod gateway;
mod headroom;
mod health;
mod load;
mod memory;
mod moment;
mod observation;
mod pending;
mod pick;
mod rendezvous;
mod roster;
mod select;
mod snapshot;
mod source;
mod standing;

pub use balance::{Balance, BalanceMode, Policy, WhenNone};
pub use exclusion::{Ask, Exclusion, exclusion, full, may_return};
pub use explain::{Account, Explanation, PLACES, Rule, explain};
pub use failsafe::{Role, Takeover};
pub use fence::{FenceReading, FenceReport, Holder, Lease, LocalBlock, SELF};
pub use gateway::{Endpoint, EndpointError, Gateway, GatewayName, Host, Vpn, VpnMode, VrrpId, VrrpMode};
pub use headroom::{Headroom, NoTelling, headroom};
pub use health::{Condition, Health, Thresholds};
pub use load::{Components, Criterion, Load, Score, Weights, WeightsError, is_used_up};
pub use memory::{Elsewhere, Lead, Memory, Remembered, Stamp, Word};
pub use moment::Moment;
pub use observation::{
    CheckOutcome, CheckResult, Failure, HEARTBEAT, Observation, Service, ServiceReport, Verdict,
};
pub use pending::{Assigned, Ledger, PENDING_LIFETIME, Tally};
pub use roster::{FleetSettings, Roster, Transition, UnknownGateway};
pub use select::{By, Choice, NoGateway, select};
pub use snapshot::{Drain, GatewayView, LoadReading, Publisher, Snapshot, State, View};
pub use source::source;
pub use standing::{Claim, Standing};
