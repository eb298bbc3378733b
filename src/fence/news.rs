use crate::fleet::{GatewayName, LocalBlock};

/// What a front door has done about fences, for the keeper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Something was asked of an agent or of this host's firewall.
    Done {
        /// About which gateway.
        gateway: GatewayName,
        /// What.
        operation: Operation,
        /// Why it could not be done.
        failure: Option<String>,
    },
    /// What stands against a gateway in this host's firewall from now on.
    Local {
        /// Which gateway.
        gateway: GatewayName,
        /// `None`: nothing.
        block: Option<LocalBlock>,
    },
}

/// What can be done about a fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Newcomers are refused.
    Block,
    /// They are refused no longer.
    Unblock,
    /// Its agent does not refuse them by itself.
    KeepOpen,
    /// It may again.
    LetGo,
}

impl Operation {
    /// In messages and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Unblock => "unblock",
            Self::KeepOpen => "keep_open",
            Self::LetGo => "let_go",
        }
    }
}
