//! What administrators order, and how the endpoint answers.

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

/// What an administrator wants done; each order carries the way back for its answer.
#[derive(Debug)]
pub enum AdminOrder {
    /// Read the configuration again.
    Reload(oneshot::Sender<Result<(), ReloadRefused>>),
}

/// The new configuration has errors; the old one stays.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the new configuration was refused and the old one stays")]
pub struct ReloadRefused {
    /// Every error found, each with its place.
    pub problems: Vec<String>,
}

/// The answer to a reload that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Always true.
    pub reloaded: bool,
}

/// The answer to a request that was not fulfilled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What is wrong and what to do.
    pub error: String,
    /// The particulars, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}
