//! What ocserv's `occtl -j` prints. It is nearly JSON as one knows it, but keys may repeat (`show users` has
//! `Routes` twice in every session), and numbers may be strings.
//!
//! Measured with ocserv 1.1.6: `Active sessions` of `show status` is the number of entries of `show users`:
//! every TLS connection, also one that has not logged in and has no address yet. That is what `max-clients`
//! limits. An address is held by the entries with an `IPv4` or `IPv6`. A call of `show status` takes 2 ms
//! and 1 kB whatever the number of sessions, `show users` 4 ms and 92 kB with 100 of them.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

/// The sessions of one ocserv.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sessions {
    /// All.
    pub(super) active: u64,
    /// Those that hold an address.
    pub(super) with_address: u64,
}

/// `Active sessions` of `show status`.
pub(super) fn active_sessions(show_status: &[u8]) -> Option<u64> {
    first_value::<Status>(show_status)?.active_sessions
}

/// The sessions in `show users`.
pub(super) fn sessions(show_users: &[u8]) -> Option<Sessions> {
    let users = first_value::<Vec<User>>(show_users)?;
    let count = |n: usize| u64::try_from(n).ok();
    let with_address = users.iter().filter(|user| user.has_address).count();
    Some(Sessions { active: count(users.len())?, with_address: count(with_address)? })
}

#[derive(Default)]
struct Status {
    active_sessions: Option<u64>,
}

#[derive(Default)]
struct User {
    has_address: bool,
}

impl Object for Status {
    const KEYS: &'static [&'static str] = &["Active sessions"];

    fn take(&mut self, value: &Value) {
        self.active_sessions = self.active_sessions.or_else(|| number(value));
    }
}

impl Object for User {
    const KEYS: &'static [&'static str] = &["IPv4", "IPv6"];

    fn take(&mut self, value: &Value) {
        self.has_address |= value.as_str().is_some_and(|address| !address.is_empty());
    }
}

/// A number, also one that stands in quotes.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())
}

/// The first object or array in `text`; what stands before and after it (a notice, say) is not looked at.
fn first_value<T: DeserializeOwned>(text: &[u8]) -> Option<T> {
    let start = text.iter().position(|byte| matches!(byte, b'{' | b'['))?;
    let mut json = serde_json::Deserializer::from_slice(text.get(start..)?);
    T::deserialize(&mut json).ok()
}

/// An object of which some keys are wanted, as often as they come.
trait Object: Default {
    const KEYS: &'static [&'static str];

    fn take(&mut self, value: &Value);
}

struct Keys<T>(T);

impl<'de, T: Object> Visitor<'de> for Keys<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<T, A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if T::KEYS.contains(&key.as_str()) {
                self.0.take(&map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(self.0)
    }
}

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Keys(Self::default()))
    }
}

impl<'de> Deserialize<'de> for User {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Keys(Self::default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ocserv 1.1.6 with one session, shortened.
    const STATUS: &str = r#"  {
    "Status":  "online",
    "Server PID":  15213,
    "Sec-mod PID":  15216,
    "Up since":  "2026-11-21 22:49",
    "_Up since":  "    0s",
    "uptime":  0,
    "Active sessions":  1,
    "Total sessions":  0,
    "Median latency":  "<1ms",
    "raw_median_latency":  0,
    "RX":  "0 bytes",
    "raw_rx":  0
  }
"#;

    /// The same server: a tunnel whose client has an unusual User-Agent, and a connection that has not
    /// logged in; shortened.
    const USERS: &str = r#"[
  {
    "ID":  21523,
    "Username":  "alice",
    "State":  "connected",
    "Device":  "vpns0",
    "MTU":  "1472",
    "Remote IP":  "10.99.0.50",
    "Local Device IP":  "10.99.0.11",
    "IPv4":  "10.101.0.50",
    "P-t-P IPv4":  "10.101.0.1",
    "User-Agent":  "a\"b\\c\u0009tab\", \"IPv4\": \"1.2.3.4",
    "TLS ciphersuite":  "(TLS1.2)-(ECDHE-SECP256R1)-(ECDSA-SHA256)-(AES-256-GCM)",
    "DNS":	[],
    "Routes":	[],
    "Routes":  "defaultroute",
    "No-routes":	[],
    "Restricted to ports":	[]
  },

  {
    "ID":  19830,
    "Username":  "(none)",
    "State":  "pre-auth",
    "Remote IP":  "10.99.0.50",
    "Local Device IP":  "10.99.0.11",
    "DNS":	[],
    "Routes":	[],
    "Routes":  "defaultroute",
    "Restricted to ports":	[]
  }
]
"#;

    #[test]
    fn the_sessions_of_a_real_ocserv_are_read() {
        assert_eq!(active_sessions(STATUS.as_bytes()), Some(1));
        assert_eq!(sessions(USERS.as_bytes()), Some(Sessions { active: 2, with_address: 1 }));
    }

    #[test]
    fn an_idle_ocserv_has_none() {
        assert_eq!(sessions(b"[\n]\n"), Some(Sessions { active: 0, with_address: 0 }));
    }

    #[test]
    fn numbers_may_stand_in_quotes_keys_may_repeat_and_notices_may_come_first() {
        let odd = b"Note: not real-time\n{\"Active sessions\": \" 7 \", \"x\": [{}], \"x\": 1}\nbye";
        assert_eq!(active_sessions(odd), Some(7));
        assert_eq!(active_sessions(b"{\"Active sessions\": -1, \"Active sessions\": 4}"), Some(4));
    }

    #[test]
    fn an_ipv6_address_is_an_address_and_an_empty_one_is_none() {
        let users = br#"[{"IPv6": "fd00::2"}, {"IPv4": ""}, {"IPv4": "10.0.0.1", "IPv6": "fd00::1"}]"#;
        assert_eq!(sessions(users), Some(Sessions { active: 3, with_address: 2 }));
    }

    #[test]
    fn output_cut_at_any_length_is_unknown_and_no_panic() {
        for length in 0..STATUS.trim_end().len() {
            assert_eq!(active_sessions(&STATUS.as_bytes()[..length]), None, "{length}");
        }
        for length in 0..USERS.trim_end().len() {
            assert_eq!(sessions(&USERS.as_bytes()[..length]), None, "{length}");
        }
    }

    #[test]
    fn what_is_no_answer_is_unknown() {
        for text in ["", "error connecting to ocserv socket", "{}", "{\"Active sessions\": 1.5}", "[1]"] {
            assert_eq!((active_sessions(text.as_bytes()), sessions(text.as_bytes())), (None, None), "{text}");
        }
    }
}
