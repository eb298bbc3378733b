//! Asking gateways how they are: one task a gateway, whose findings go to the keeper.

mod settings;

pub use settings::ProbeSettings;
