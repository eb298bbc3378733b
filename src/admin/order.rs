//! What administrators order, and how the endpoint answers.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::status::GatewayStatus;
use crate::fleet::{GatewayName, UnknownGateway};

/// What an administrator wants done; each order carries the way back for its answer.
#[derive(Debug)]
pub enum AdminOrder {
    /// Read the configuration again; who wants that, as far as is known.
    Reload(Arc<str>, oneshot::Sender<Result<(), ReloadRefused>>),
    /// Take a gateway out of the choice, or back into it.
    Change(Change, oneshot::Sender<Answered>),
}

/// A gateway is to be taken out of the choice, or back into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which one.
    pub gateway: GatewayName,
    /// Out or in.
    pub wanted: Wanted,
    /// Who wants it, as far as is known: `uid 0`, or an address.
    pub by: Arc<str>,
}

/// What is to become of a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// No newcomers; why, in the administrator's words, which may be none.
    Drain(Reason),
    /// Newcomers again.
    Resume,
}

/// What an administrator gives as a reason: 200 characters at most, none of them a control character.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reason(Arc<str>);

/// Why a text is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'reason' must have at most {MOST_CHARACTERS} characters, none of them a control character")]
pub struct ReasonError;

const MOST_CHARACTERS: usize = 200;

impl Reason {
    /// Takes a text, without the white space around it.
    ///
    /// # Errors
    /// If it is too long, or has control characters.
    pub fn new(text: &str) -> Result<Self, ReasonError> {
        let text = text.trim();
        if text.chars().count() > MOST_CHARACTERS || text.chars().any(char::is_control) {
            return Err(ReasonError);
        }
        Ok(Self(text.into()))
    }
}

impl std::ops::Deref for Reason {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// The answer to a [`Change`], which is in force by then.
pub type Answered = Result<Stored, UnknownGateway>;

/// Whether a change that is in force outlives the front door's process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It is on the disk.
    Yes,
    /// It could not be stored, and why.
    No(Arc<str>),
}

/// The body of a request to drain a gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrainBody {
    /// Why; may be missing.
    #[serde(default)]
    pub reason: String,
}

/// The answer to a change that is in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Changed {
    /// The gateway as it is now.
    pub gateway: GatewayStatus,
    /// Whether that outlives the front door's process.
    pub stored: bool,
    /// Why it does not.
    pub warning: Option<String>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_line_of_200_characters_at_most() {
        assert_eq!(&*Reason::new("  new kernel \n").unwrap(), "new kernel");
        assert_eq!(&*Reason::new("").unwrap(), "");
        assert!(Reason::new(&"ü".repeat(200)).is_ok());
        for wrong in [&*"ü".repeat(201), "a\nb", "\u{1b}[2J", "a\u{85}b"] {
            assert_eq!(Reason::new(wrong), Err(ReasonError), "{wrong:?}");
        }
    }
}
