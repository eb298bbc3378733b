//! IKEv2 REDIRECT (RFC 5685): IKEv2 clients of any maker are sent to a gateway with their first message.

mod settings;

pub use settings::IkeSettings;
