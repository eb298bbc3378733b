use std::time::Duration;

use super::open::OpenError;
use crate::front::door::Door;
use crate::front::meter::Fate;
use crate::front::reply::{self, Reply};

/// Why a client gets an answer of ours.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// There is no gateway to ask, or none left.
    #[error("no gateway is available")]
    NoGateway,
    /// No connection.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A connection and no proper response.
    #[error("{gateway}: {}", crate::net::client::http_in_words(.cause))]
    Broken {
        /// Who was asked.
        gateway: String,
        /// What is wrong.
        #[source]
        cause: hyper::Error,
    },
    /// A response in a coding that nobody has asked for, so that where it ends is not known here.
    #[error("{gateway}: a Transfer-Encoding that is not 'chunked' alone")]
    Coding {
        /// Who was asked.
        gateway: String,
    },
    /// A response that makes no sense here.
    #[error("{gateway}: an upgrade that nobody has asked for")]
    Unasked {
        /// Who was asked.
        gateway: String,
    },
    /// No response in time.
    #[error("{gateway}: no response within {} ms", .after.as_millis())]
    Silent {
        /// Who was asked.
        gateway: String,
        /// How long was waited.
        after: Duration,
    },
    /// The client has not sent the rest of its request.
    #[error("the client has not sent the rest of its request")]
    Stalled,
    /// The client's request breaks off, or what follows its head is no body.
    #[error("the client's request breaks off in the middle of its body")]
    BrokenOff,
}

impl Failure {
    /// What the client is told: as little as will do.
    pub fn told_to_client(&self, door: &Door) -> Reply {
        match self {
            Self::NoGateway => door.unavailable(),
            Self::Open(error) if error.fate() == Fate::ConnectTimeout => reply::gateway_timeout(),
            Self::Open(_) | Self::Broken { .. } | Self::Coding { .. } | Self::Unasked { .. } => {
                reply::bad_gateway()
            }
            Self::Silent { .. } => reply::gateway_timeout(),
            Self::Stalled => reply::request_timeout(),
            Self::BrokenOff => reply::malformed(),
        }
    }

    /// What it is counted as for the gateway that was asked; `None`: that is none of its doing.
    pub fn fate(&self) -> Option<Fate> {
        match self {
            Self::Open(error) => Some(error.fate()),
            Self::Broken { .. } | Self::Coding { .. } | Self::Unasked { .. } => Some(Fate::Broken),
            Self::Silent { .. } => Some(Fate::ResponseTimeout),
            Self::NoGateway | Self::Stalled | Self::BrokenOff => None,
        }
    }

    /// Whether the gateway is to blame, or the way to it, so that another one may do better. One whose answer
    /// cannot be read has answered: whatever was asked of it has been done.
    pub fn is_gateways(&self) -> bool {
        match self {
            Self::Open(_) => true,
            Self::Broken { cause, .. } => !cause.is_parse(),
            Self::NoGateway
            | Self::Coding { .. }
            | Self::Unasked { .. }
            | Self::Silent { .. }
            | Self::Stalled
            | Self::BrokenOff => false,
        }
    }
}
