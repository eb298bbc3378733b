use std::time::{Duration, SystemTime};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

/// A point on the wall clock as it stands in a report: RFC 3339, UTC, with milliseconds. It is always
/// between the years 1970 and 9999; what is earlier or later is taken to be the nearer end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    milliseconds: u64,
}

impl Timestamp {
    /// The same for the rest of the program.
    pub fn to_system_time(self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.milliseconds)
    }

    fn from_nanoseconds(since_1970: i128) -> Self {
        let milliseconds = u64::try_from(since_1970.max(0) / 1_000_000).unwrap_or(u64::MAX);
        Self { milliseconds: milliseconds.min(LAST_MILLISECOND) }
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let since_1970 = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self::from_nanoseconds(i128::try_from(since_1970.as_nanos()).unwrap_or(i128::MAX))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let nanoseconds = i128::from(self.milliseconds) * 1_000_000;
        let time =
            OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).map_err(serde::ser::Error::custom)?;
        serializer.serialize_str(&time.format(WRITTEN).map_err(serde::ser::Error::custom)?)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match OffsetDateTime::parse(&text, &Rfc3339) {
            // to_offset(UTC) would panic for the last hours of year 9999
            Ok(time) => Ok(Self::from_nanoseconds(time.unix_timestamp_nanos())),
            Err(_) => Err(serde::de::Error::custom("a time is not in the form 2026-03-01T12:00:00.000Z")),
        }
    }
}

const WRITTEN: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// 9999-12-31T23:59:59.999Z
const LAST_MILLISECOND: u64 = 253_402_300_799_999;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Timestamp> {
        serde_json::from_value(text.into()).ok()
    }

    fn written(timestamp: Timestamp) -> String {
        serde_json::to_value(timestamp).unwrap().as_str().unwrap().to_owned()
    }

    #[test]
    fn it_is_written_with_milliseconds_in_utc() {
        let at = |milliseconds| Timestamp::from(SystemTime::UNIX_EPOCH + Duration::from_millis(milliseconds));
        assert_eq!(written(at(0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(written(at(1_772_366_400_120)), "2026-03-01T12:00:00.120Z");
        assert_eq!(read("2026-03-01T12:00:00.120Z"), Some(at(1_772_366_400_120)));
        assert_eq!(read("2026-03-01T13:00:00+01:00"), Some(at(1_772_366_400_000)));
        assert_eq!(read("2026-03-01T12:00:00.1209Z").map(written).unwrap(), "2026-03-01T12:00:00.120Z");
    }

    #[test]
    fn a_time_beyond_the_ends_is_the_nearer_end() {
        assert_eq!(written(read("0000-01-01T00:00:00+23:59").unwrap()), "1970-01-01T00:00:00.000Z");
        assert_eq!(written(read("9999-12-31T23:59:59-23:59").unwrap()), "9999-12-31T23:59:59.999Z");
        let before_1970 = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(written(before_1970.into()), "1970-01-01T00:00:00.000Z");
        let far = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40);
        assert_eq!(written(far.into()), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn what_is_not_rfc_3339_is_refused() {
        for text in ["", "now", "2026-03-01", "2026-03-01T12:00:00", "2026-13-01T12:00:00Z", "1772366400"] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }
}
