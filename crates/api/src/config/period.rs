//! Lengths of time as people write them.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

/// A length of time, written as a whole number with its unit: `250ms`, `30s`, `15m`, `24h` or `7d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(pub Duration);

impl Period {
    fn parse(text: &str) -> Option<Self> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().ok()?;
        let milliseconds = match unit {
            "ms" => Some(number),
            "s" => number.checked_mul(1_000),
            "m" => number.checked_mul(60_000),
            "h" => number.checked_mul(3_600_000),
            "d" => number.checked_mul(86_400_000),
            _ => None,
        }?;
        Some(Self(Duration::from_millis(milliseconds)))
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            serde::de::Error::custom(format!(
                "`{text}` is not a length of time: write a whole number and ms, s, m, h or d, such as `30s`"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        let seconds = |text| Period::parse(text).map(|period| period.0.as_secs_f64());
        assert_eq!(seconds("250ms"), Some(0.25));
        assert_eq!(seconds("30s"), Some(30.0));
        assert_eq!(seconds("2d"), Some(172_800.0));
        for bad in ["", "30", "s", "-1s", "1.5s", "1w", "99999999999999999999s"] {
            assert_eq!(Period::parse(bad), None, "{bad}");
        }
    }
}
