use std::net::SocketAddr;
use std::sync::Arc;

use super::keys::SigningKey;

/// The responder, as configured.
#[derive(Clone, Debug)]
pub struct DveSettings {
    /// Where it listens.
    pub listen: Vec<SocketAddr>,
    /// Signs.
    pub key: Arc<SigningKey>,
    /// How long an answer may be used again, in seconds.
    pub ttl: u16,
    /// How many a second one source prefix gets.
    pub answers_per_second_per_source: u32,
}
