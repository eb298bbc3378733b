use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::gateway::{GatewayName, VrrpId};

/// What a front door has been told or has decided, and no look at the gateways would show again: what outlives a
/// restart, and what the other front door of a pair has to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The last word of administrators on each gateway of which they have said something, each gateway once.
    pub words: Vec<Word>,
    /// In failsafe mode: who is active among the gateways with that VRRP ID, or without any; each group once.
    pub actives: Vec<(Option<VrrpId>, GatewayName)>,
}

/// What administrators have said last of one gateway. That it was resumed is kept, too: otherwise the other front door
/// would bring the drain back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// Of whom.
    pub gateway: GatewayName,
    /// When, as far as the order of words goes.
    pub stamp: Stamp,
    /// That it is drained; `None`: that it no longer is.
    pub drain: Option<Remembered>,
}

/// A drain, as the wall clock tells it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Remembered {
    /// What the administrator gave as the reason; may be empty.
    pub reason: Arc<str>,
    /// Who that was, as far as is known.
    pub by: Arc<str>,
    /// Since when.
    pub since: SystemTime,
}

/// Which of two words on a gateway is the later one, wherever they were said: milliseconds since 1970 by the clock of the
/// front door that was told, but later in any case than the word that it knew before. So a clock that is wrong decides
/// only between two words neither of whose front doors knew of the other's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(u64);

impl Stamp {
    /// As large as every program that reads JSON can tell from its neighbours (RFC 8259 §6); clocks are some 285,000 years
    /// away from it.
    pub const LAST: Self = Self((1 << 53) - 1);

    /// Of a word that is said now, where the one before it had `last`.
    pub fn next(now: SystemTime, last: Option<Self>) -> Self {
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let clock = Self(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)).min(Self::LAST);
        let after = last.map_or(Self(0), |Self(last)| Self(last.saturating_add(1)));
        // at the very end a word can no longer be later; it can still be read
        clock.max(after).min(Self::LAST)
    }

    /// The number; `None` beyond [`LAST`](Self::LAST).
    pub fn new(number: u64) -> Option<Self> {
        (number <= Self::LAST.0).then_some(Self(number))
    }

    /// The number.
    pub fn get(self) -> u64 {
        self.0
    }
}

impl Word {
    /// Whether it goes before `other`. Of two that were said at the same moment the drain does: whoever ordered it may
    /// have the gateway open on his bench. The rest only sees to it that all decide alike.
    pub fn beats(&self, other: &Self) -> bool {
        (self.stamp, &self.drain) > (other.stamp, &other.drain)
    }
}

/// What the other front doors say, taken together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Elsewhere {
    /// Whom to follow in failsafe mode; `None`: this front door decides.
    pub lead: Option<Lead>,
    /// What administrators have told them.
    pub words: Vec<Word>,
    /// How many newcomers they have sent to each gateway that no report shows yet. Gateways that are not named: none.
    pub pending: Vec<(GatewayName, u64)>,
    /// The same of those who have fallen silent since the last time: nobody else knows of these newcomers now.
    pub inherited: Vec<(GatewayName, u64)>,
    /// Of these, those of whom he who has sent them speaks again: they are in `pending`.
    pub given_back: Vec<(GatewayName, u64)>,
}

/// The front door that decides which gateway is the active one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lead {
    /// Its name.
    pub front_door: Arc<str>,
    /// Its choices; a group that is not named it has not decided on.
    pub actives: Vec<(Option<VrrpId>, GatewayName)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_later_word_has_a_later_stamp_whatever_the_clocks_say() {
        let first = Stamp::next(at(5_000), None);
        assert_eq!(first.get(), 5_000);
        assert_eq!(Stamp::next(at(5_000), Some(first)).get(), 5_001, "within one millisecond");
        assert_eq!(Stamp::next(at(1_000), Some(first)).get(), 5_001, "a clock that is behind");
        assert_eq!(Stamp::next(at(9_000), Some(first)).get(), 9_000);
        assert_eq!(Stamp::next(SystemTime::UNIX_EPOCH - Duration::from_secs(1), None).get(), 0);
        let last = Stamp::new(Stamp::LAST.get()).unwrap();
        let next = Stamp::next(at(9_000), Some(last));
        assert_eq!(Stamp::new(next.get()), Some(last), "what is told can be read");
        assert_eq!(Stamp::new(Stamp::LAST.get() + 1), None);
    }

    #[test]
    fn all_decide_alike_between_two_words() {
        let word = |stamp, drain: Option<(&str, &str)>| Word {
            gateway: GatewayName::new("gw1"),
            stamp: Stamp::new(stamp).unwrap(),
            drain: drain.map(|(reason, by)| Remembered {
                reason: reason.into(),
                by: by.into(),
                since: at(1),
            }),
        };
        let in_order = [
            word(1, Some(("new disk", "uid 0"))),
            word(2, None),
            word(2, Some(("new disk", "uid 0"))),
            word(2, Some(("new disk", "uid 1000"))),
            word(2, Some(("new kernel", "uid 0"))),
            word(3, None),
        ];
        for (i, one) in in_order.iter().enumerate() {
            for (j, other) in in_order.iter().enumerate() {
                assert_eq!(one.beats(other), i > j, "{one:?} and {other:?}");
            }
        }
    }
}
