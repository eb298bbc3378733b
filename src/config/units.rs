//! Durations, sizes and bit rates as they are written in a configuration file.

use std::time::Duration;

/// Why a text is not a quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not a duration.
    #[error("must be a duration with its unit, like \"250ms\", \"2s\", \"10m\" or \"1h\"")]
    Duration,
    /// Not a size.
    #[error("must be a size with its unit, like \"32KiB\" or \"1MiB\"")]
    Size,
    /// Not a bit rate.
    #[error("must be a bit rate with its unit, like \"100Mbit\" or \"1Gbit\"")]
    Rate,
}

/// Reads `250ms`, `2s`, `10m`, `1h`, `1d`.
pub fn duration(text: &str) -> Result<Duration, UnitError> {
    let units = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86400.0)];
    let seconds = quantity(text, &units).ok_or(UnitError::Duration)?;
    Duration::try_from_secs_f64(seconds).map_err(|_| UnitError::Duration)
}

/// Reads `512B`, `32KiB`, `1MiB`, and the decimal `32KB`, `1MB`, as bytes.
pub fn size(text: &str) -> Result<u64, UnitError> {
    let units = [
        ("KiB", 1024.0),
        ("MiB", 1024.0 * 1024.0),
        ("GiB", 1024.0 * 1024.0 * 1024.0),
        ("KB", 1e3),
        ("MB", 1e6),
        ("GB", 1e9),
        ("B", 1.0),
    ];
    whole(quantity(text, &units)).ok_or(UnitError::Size)
}

/// Reads `100Mbit`, `1Gbit`, as bits per second.
pub fn bit_rate(text: &str) -> Result<u64, UnitError> {
    let units = [("kbit", 1e3), ("Kbit", 1e3), ("Mbit", 1e6), ("Gbit", 1e9), ("Tbit", 1e12), ("bit", 1.0)];
    whole(quantity(text, &units)).filter(|rate| *rate > 0).ok_or(UnitError::Rate)
}

fn quantity(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let (number, factor) =
        units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?.trim_end(), *factor)))?;
    // f64::from_str would take "inf", "nan" and "1e9"
    let plain = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    Some(number.parse::<f64>().ok().filter(|_| plain)? * factor)
}

fn whole(value: Option<f64>) -> Option<u64> {
    value.filter(|v| *v >= 0.0 && *v < 9e15).map(|v| v.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_with_their_units() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        assert_eq!(size("32KiB"), Ok(32768));
        assert_eq!(size("512B"), Ok(512));
        assert_eq!(bit_rate("2.5Gbit"), Ok(2_500_000_000));
    }

    #[test]
    fn a_number_without_unit_and_other_nonsense_is_refused() {
        for text in ["", "5", "s", "-1s", "infs", "1e3s", "1..2s", "five s", "99999999999999999999999d"] {
            assert_eq!(duration(text), Err(UnitError::Duration), "{text:?}");
        }
        assert_eq!(size("32"), Err(UnitError::Size));
        assert_eq!(bit_rate("1GB"), Err(UnitError::Rate));
        assert_eq!(bit_rate("0Gbit"), Err(UnitError::Rate), "nothing has no room for anything");
    }
}
