//! Instants that clients send.

use convene_domain::event::has_a_date;
use jiff::Timestamp;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// An instant as RFC 3339 writes it, in whole microseconds, which is what a later read gives; what is finer is cut off.
///
/// jiff alone would take more: years of six digits, which the store does not know, and names of zones (RFC 9557), which
/// would be dropped without a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instant(Timestamp);

impl Instant {
    fn parse(text: &str) -> Option<Self> {
        let instant: Timestamp = text.parse().ok().filter(|_| is_rfc_3339(text))?;
        // Rounded down, not towards 1970.
        let micros = instant.as_nanosecond().div_euclid(1_000);
        let cut = Timestamp::from_microsecond(i64::try_from(micros).ok()?).ok()?;
        // An offset can lead out of the years that have a date.
        has_a_date(cut).then_some(Self(cut))
    }
}

/// Whether text has the shape `2027-04-01T08:00:00[.123456](Z|+02:00)` (RFC 3339 §5.6, whose letters may be small). Whether
/// there is such a day and time, jiff tells.
fn is_rfc_3339(text: &str) -> bool {
    const SHAPE: &[u8] = b"0000-00-00T00:00:00";
    let follows = |text: &[u8], shape: &[u8]| {
        text.len() == shape.len()
            && text.iter().zip(shape).all(|(byte, shape)| match shape {
                b'0' => byte.is_ascii_digit(),
                letter => byte.eq_ignore_ascii_case(letter),
            })
    };
    let Some((date_time, rest)) = text.as_bytes().split_at_checked(SHAPE.len()) else {
        return false;
    };
    let offset = match rest.strip_prefix(b".") {
        Some(fraction) => {
            let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if digits == 0 {
                return false;
            }
            &fraction[digits..]
        }
        None => rest,
    };
    follows(date_time, SHAPE)
        && (follows(offset, b"Z") || follows(offset, b"+00:00") || follows(offset, b"-00:00"))
}

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            D::Error::custom("must be an instant of RFC 3339 such as 2027-04-01T08:00:00Z")
        })
    }
}

impl From<Instant> for Timestamp {
    fn from(instant: Instant) -> Self {
        instant.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_read_from_any_offset_and_cut_to_microseconds() {
        for (text, instant) in [
            ("2027-04-01T08:00:00Z", "2027-04-01T08:00:00Z"),
            ("2027-04-01t08:00:00z", "2027-04-01T08:00:00Z"),
            ("2027-04-01T10:00:00+02:00", "2027-04-01T08:00:00Z"),
            ("2027-04-01T08:00:00.123456789-00:00", "2027-04-01T08:00:00.123456Z"),
            ("1969-12-31T23:59:59.9999999Z", "1969-12-31T23:59:59.999999Z"),
            ("9999-12-30T00:00:00Z", "9999-12-30T00:00:00Z"),
        ] {
            let read = Instant::parse(text).map(|instant| instant.0.to_string());
            assert_eq!(read.as_deref(), Some(instant), "{text}");
        }
    }

    #[test]
    fn nothing_else_is_an_instant() {
        for bad in [
            "",
            "2027-04-01",
            "2027-04-01T08:00Z",
            "2027-04-01T08:00:00",
            "2027-04-01T08:00:00.Z",
            "2027-04-01T08:00:00,5Z",
            "2027-04-01 08:00:00Z",
            "20270401T080000Z",
            "2027-04-01T08:00:00+0200",
            "2027-04-01T08:00:00+02",
            "2027-04-01T08:00:00+02:00[Europe/Berlin]",
            "-009000-04-01T08:00:00Z",
            "0000-01-01T00:00:00+01:00",
            "0000-06-01T00:00:00Z",
            "0001-01-01T00:00:00+01:00",
            "2027-02-30T08:00:00Z",
            "2027-04-01T25:00:00Z",
            "2027-04-01T08:00:00Z\0",
            "２027-04-01T08:00:00Z",
        ] {
            assert_eq!(Instant::parse(bad), None, "{bad}");
        }
    }
}
