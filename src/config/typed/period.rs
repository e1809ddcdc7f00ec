//! A duration as an operator writes it: `"300ms"`, `"1s"`, `"2h"`.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A duration, written as number and unit (ns, us, ms, s, m, h); several parts add up (`"1m 30s"`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(pub Duration);

/// The `format` by which `shape` recognises a duration in the schema.
pub const FORMAT: &str = "apd-duration";

impl Period {
    /// `"0s"`.
    pub const ZERO: Period = Period(Duration::ZERO);

    /// Whole seconds.
    pub const fn seconds(seconds: u64) -> Period {
        Period(Duration::from_secs(seconds))
    }

    /// Whole milliseconds.
    pub const fn milliseconds(milliseconds: u64) -> Period {
        Period(Duration::from_millis(milliseconds))
    }
}

/// Text that is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no duration: a duration is a number and a unit (ms, s, m, h)")]
pub struct NoPeriod;

impl FromStr for Period {
    type Err = NoPeriod;
    fn from_str(text: &str) -> Result<Self, NoPeriod> {
        jiff::fmt::friendly::SpanParser::new()
            .parse_unsigned_duration(text.trim())
            .map(Period)
            .map_err(|_| NoPeriod)
    }
}

impl fmt::Display for Period {
    /// The largest unit that keeps it a whole number.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u128, &str); 6] = [
            (3_600_000_000_000, "h"),
            (60_000_000_000, "m"),
            (1_000_000_000, "s"),
            (1_000_000, "ms"),
            (1_000, "us"),
            (1, "ns"),
        ];
        let nanoseconds = self.0.as_nanos();
        if nanoseconds == 0 {
            return formatter.write_str("0s");
        }
        match UNITS.iter().find(|(unit, _)| nanoseconds.is_multiple_of(*unit)) {
            Some((unit, word)) => write!(formatter, "{}{word}", nanoseconds / unit),
            None => write!(formatter, "{nanoseconds}ns"),
        }
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for Period {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": FORMAT,
            "description": "A number and a unit (ms, s, m, h): \"300ms\", \"1s\", \"2h\".",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_operators_write_and_shows_it_short() {
        for (text, milliseconds, shown) in [
            ("300ms", 300, "300ms"),
            ("1s", 1000, "1s"),
            ("1.5s", 1500, "1500ms"),
            ("2h", 7_200_000, "2h"),
            ("1m 30s", 90_000, "90s"),
            ("0s", 0, "0s"),
            ("0ms", 0, "0s"),
            ("40950ms", 40_950, "40950ms"),
        ] {
            let period: Period = text.parse().expect(text);
            assert_eq!(period.0, Duration::from_millis(milliseconds), "{text}");
            assert_eq!(period.to_string(), shown, "{text}");
        }
    }

    #[test]
    fn refuses_what_has_no_unit_or_no_meaning() {
        for text in ["", "300", "ms", "-1s", "1 fortnight", "99999999999999999999h", "1s;"] {
            assert!(text.parse::<Period>().is_err(), "{text}");
        }
    }
}
