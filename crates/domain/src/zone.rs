//! Time zones by their IANA name, and nothing else: an offset such as `+02:00` does not know when clocks change.
//!
//! The rules come with the binary (the tz database that jiff bundles), so every process of a version agrees on them
//! whatever the machine has installed.

use std::fmt;
use std::sync::LazyLock;

use jiff::tz::{TimeZone, TimeZoneDatabase};

use crate::text::TextError;

static DATABASE: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// The name of a time zone as the tz database spells it, such as `Europe/Berlin`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeZoneName(String);

impl TimeZoneName {
    /// Checks that the tz database knows the name in exactly this spelling.
    ///
    /// # Errors
    /// [`TextError::Form`].
    pub fn check(name: &str) -> Result<(), TextError> {
        find(name).map(|_| ())
    }

    /// Keeps the name if the tz database knows it.
    ///
    /// # Errors
    /// [`TextError::Form`].
    pub fn new(name: impl Into<String>) -> Result<Self, TextError> {
        let name = name.into();
        Self::check(&name)?;
        Ok(Self(name))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The zone's rules. A zone that a later tz database dropped keeps its name and counts as UTC, which
    /// [`TimeZoneName::check`] prevents for everything that is written with this database.
    #[must_use]
    pub fn rules(&self) -> TimeZone {
        find(&self.0).unwrap_or(TimeZone::UTC)
    }
}

fn find(name: &str) -> Result<TimeZone, TextError> {
    const FORM: TextError =
        TextError::Form("must be the name of an IANA time zone such as Europe/Berlin");
    DATABASE
        .get(name)
        .ok()
        .filter(|zone| !zone.is_unknown() && zone.iana_name() == Some(name))
        .ok_or(FORM)
}

impl fmt::Display for TimeZoneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TimeZoneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TimeZoneName({:?})", self.0)
    }
}

impl From<TimeZoneName> for String {
    fn from(name: TimeZoneName) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_tz_database_are_taken_as_it_spells_them() {
        for good in [
            "Europe/Berlin",
            "America/Argentina/Buenos_Aires",
            "UTC",
            "Etc/GMT+1",
            "Asia/Kathmandu",
        ] {
            assert_eq!(TimeZoneName::new(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            "europe/berlin",
            "Europe/Atlantis",
            "+02:00",
            "Etc/Unknown",
            "local",
            "Europe/Berlin\0",
        ] {
            assert!(TimeZoneName::check(bad).is_err(), "{bad}");
        }
    }
}
