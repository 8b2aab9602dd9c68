//! Sizes and times as people write them: `16MiB`, `10s`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Suffix and factor of each size unit, largest first.
const SIZES: [(&str, u64); 5] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];
/// Suffix and milliseconds of each time unit, largest first.
const TIMES: [(&str, u64); 5] = [
    ("d", 24 * 60 * 60 * 1000),
    ("h", 60 * 60 * 1000),
    ("m", 60 * 1000),
    ("s", 1000),
    ("ms", 1),
];

/// A number of bytes: an integer, or text like `16MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(u64);

impl ByteSize {
    /// A size in bytes.
    #[must_use]
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The size in bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

/// A length of time: text like `500ms`, `10s`, `5m`, `24h`, `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(Duration);

impl Period {
    /// A time in whole milliseconds; smaller parts are not kept when written.
    #[must_use]
    pub const fn new(duration: Duration) -> Self {
        Self(duration)
    }

    /// The time.
    #[must_use]
    pub const fn duration(self) -> Duration {
        self.0
    }
}

/// Why text is not a quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not a size.
    #[error("a size is a whole number and a unit, such as 512KiB, 16MiB or 2GiB")]
    Size,
    /// Not a time.
    #[error("a time is a whole number and a unit, such as 500ms, 10s, 5m or 24h")]
    Time,
}

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let is_bare = text.bytes().all(|byte| byte.is_ascii_digit());
        let bytes = if is_bare {
            text.parse().ok()
        } else {
            quantity(text, &SIZES)
        };
        bytes.map(Self).ok_or(UnitError::Size)
    }
}

impl FromStr for Period {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let millis = quantity(text, &TIMES).ok_or(UnitError::Time)?;
        Ok(Self(Duration::from_millis(millis)))
    }
}

/// Reads digits, an optional space and one of the units.
fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits_end = text.find(|c: char| !c.is_ascii_digit())?;
    let (digits, unit) = text.split_at_checked(digits_end)?;
    let unit = unit.strip_prefix(' ').unwrap_or(unit);
    let (_, factor) = units.iter().find(|(suffix, _)| *suffix == unit)?;
    digits.parse::<u64>().ok()?.checked_mul(*factor)
}

/// Writes the value in the largest unit that loses nothing.
fn write_quantity(value: u64, units: &[(&str, u64)], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let fits = |(_, factor): &&(&str, u64)| value > 0 && value.is_multiple_of(*factor);
    let chosen = units.iter().find(fits).or_else(|| units.last());
    let (suffix, factor) = chosen.expect("invariant: the lists of units are not empty");
    write!(f, "{}{suffix}", value / factor)
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_quantity(self.0, &SIZES, f)
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        write_quantity(millis, &TIMES, f)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SizeVisitor;

        impl Visitor<'_> for SizeVisitor {
            type Value = ByteSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as \"16MiB\"")
            }

            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<ByteSize, E> {
                let bytes = u64::try_from(bytes).map_err(|_| E::custom(UnitError::Size))?;
                Ok(ByteSize(bytes))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_any(SizeVisitor)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PeriodVisitor;

        impl Visitor<'_> for PeriodVisitor {
            type Value = Period;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time such as \"10s\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Period, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_any(PeriodVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_back_as_written() {
        for text in ["0B", "1B", "1536B", "16KiB", "17MiB", "2GiB", "1TiB"] {
            assert_eq!(
                text.parse::<ByteSize>().map(|size| size.to_string()),
                Ok(text.to_owned())
            );
        }
        assert_eq!("1024KiB".parse::<ByteSize>().unwrap().to_string(), "1MiB");
        assert_eq!("4096".parse(), Ok(ByteSize::new(4096)));
        assert_eq!("2 GiB".parse(), Ok(ByteSize::new(2 << 30)));
    }

    #[test]
    fn times_read_back_as_written() {
        for text in ["0ms", "999ms", "10s", "90s", "5m", "23h", "7d"] {
            assert_eq!(
                text.parse::<Period>().map(|time| time.to_string()),
                Ok(text.to_owned())
            );
        }
        assert_eq!("24h".parse::<Period>().unwrap().to_string(), "1d");
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for bad in [
            "",
            "-1B",
            "+1B",
            "1.5MiB",
            "MiB",
            "1mib",
            "1MB",
            "1  MiB",
            "20000000TiB",
        ] {
            assert_eq!(bad.parse::<ByteSize>(), Err(UnitError::Size), "{bad}");
        }
        for bad in ["", "10", "s", "1 week", "-1s", "99999999999999999999s"] {
            assert_eq!(bad.parse::<Period>(), Err(UnitError::Time), "{bad}");
        }
    }
}
