//! Times as they appear in events.

use std::{borrow::Cow, fmt};

use jiff::{Timestamp, civil::DateTime};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An instant, written in RFC 3339 with `Z` and exactly six fraction digits, so that times sort as
/// text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UtcTimestamp(Timestamp);

impl UtcTimestamp {
    /// The instant, of microsecond precision.
    #[must_use]
    pub fn get(self) -> Timestamp {
        self.0
    }
}

/// Cuts off what is finer than a microsecond, so that a value equals itself after a round trip.
impl From<Timestamp> for UtcTimestamp {
    fn from(instant: Timestamp) -> Self {
        let truncated = Timestamp::from_microsecond(instant.as_microsecond());
        Self(truncated.expect("the microseconds of a valid timestamp are in range"))
    }
}

impl fmt::Display for UtcTimestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.6}", self.0)
    }
}

impl Serialize for UtcTimestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UtcTimestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Timestamp::deserialize(deserializer).map(Self::from)
    }
}

impl JsonSchema for UtcTimestamp {
    fn schema_name() -> Cow<'static, str> {
        "UtcTimestamp".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": "date-time",
            "pattern": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}Z$",
        })
    }
}

/// A wall-clock time, written `YYYY-MM-DDTHH:MM:SS`; the time zone stands in a member beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalDateTime(DateTime);

impl LocalDateTime {
    /// The wall-clock time, of second precision.
    #[must_use]
    pub fn get(self) -> DateTime {
        self.0
    }
}

/// Cuts off what is finer than a second.
impl From<DateTime> for LocalDateTime {
    fn from(local: DateTime) -> Self {
        let whole_seconds = local.with().subsec_nanosecond(0).build();
        Self(whole_seconds.expect("zero nanoseconds are valid at any time"))
    }
}

impl fmt::Display for LocalDateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0}", self.0)
    }
}

impl Serialize for LocalDateTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LocalDateTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        DateTime::deserialize(deserializer).map(Self::from)
    }
}

impl JsonSchema for LocalDateTime {
    fn schema_name() -> Cow<'static, str> {
        "LocalDateTime".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}$",
        })
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn json(value: impl Serialize) -> String {
        serde_json::to_string(&value).unwrap()
    }

    #[test]
    fn an_instant_always_has_six_fraction_digits() {
        for (nanosecond, written) in [
            (0, "\"2027-05-01T16:00:00.000000Z\""),
            (500_000_000, "\"2027-05-01T16:00:00.500000Z\""),
            (123_456_999, "\"2027-05-01T16:00:00.123456Z\""),
        ] {
            let instant = Timestamp::new(1_809_187_200, nanosecond).unwrap();
            assert_eq!(json(UtcTimestamp::from(instant)), written);
        }
    }

    #[test]
    fn an_instant_is_read_from_any_offset_and_survives_a_round_trip() {
        let read: UtcTimestamp =
            serde_json::from_str("\"2027-05-01T18:00:00.1234567+02:00\"").unwrap();
        assert_eq!(json(read), "\"2027-05-01T16:00:00.123456Z\"");
        assert_eq!(serde_json::from_str::<UtcTimestamp>(&json(read)).unwrap(), read);
    }

    #[test]
    fn a_local_time_always_has_seconds_and_never_a_fraction() {
        let local = LocalDateTime::from(date(2027, 5, 1).at(18, 0, 0, 999));
        assert_eq!(json(local), "\"2027-05-01T18:00:00\"");
        assert_eq!(serde_json::from_str::<LocalDateTime>("\"2027-05-01T18:00\"").unwrap(), local);
    }
}
