//! How the words of the core are written in JSON.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::fleet::{Role, State, Vpn, VpnMode, VrrpMode};

/// How [`State`] is written in JSON; the same words as [`State::as_str`].
#[derive(Serialize, Deserialize)]
#[serde(remote = "State", rename_all = "lowercase")]
pub(super) enum StateWord {
    Up,
    Down,
    Draining,
    Unknown,
}

/// How [`VpnMode`] is written in JSON; the same words as [`VpnMode::as_str`].
#[derive(Serialize, Deserialize)]
#[serde(remote = "VpnMode", rename_all = "kebab-case")]
pub(super) enum VpnModeWord {
    Native,
    Ssl,
    Both,
    VrrpOnly,
}

/// How [`VrrpMode`] is written in JSON; the same words as [`VrrpMode::as_str`].
#[derive(Serialize, Deserialize)]
#[serde(remote = "VrrpMode", rename_all = "lowercase")]
pub(super) enum VrrpModeWord {
    Inactive,
    Master,
    Backup,
}

/// How an `Option` of a [`Role`] is written in JSON; the same words as [`Role::as_str`], or null.
pub(super) struct RoleWord;

impl RoleWord {
    pub(super) fn serialize<S: Serializer>(role: &Option<Role>, serializer: S) -> Result<S::Ok, S::Error> {
        role.map(Role::as_str).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Role>, D::Error> {
        let word: Option<String> = Option::deserialize(deserializer)?;
        match word.as_deref() {
            None => Ok(None),
            Some("active") => Ok(Some(Role::Active)),
            Some("standby") => Ok(Some(Role::Standby)),
            Some(_) => Err(serde::de::Error::custom("a role is 'active' or 'standby'")),
        }
    }
}

/// How [`Vpn`] is written in JSON.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Vpn", rename_all = "lowercase")]
pub(super) enum VpnWord {
    Native,
    Ssl,
}
