//! When an event takes place: wall-clock times in a zone, as people say them, and the instants derived from them.
//!
//! The wall-clock time is the truth, since it is what people agreed on; the instants follow from it and from the zone's
//! rules. Where clocks are set forward a time does not exist and is refused; where they are set back a time occurs twice,
//! and the organiser chooses.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};

use crate::text::TextError;
use crate::zone::TimeZoneName;

/// A wall-clock time in whole seconds, `YYYY-MM-DDTHH:MM:SS`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalTime(DateTime);

impl LocalTime {
    /// Checks the rule without keeping the time.
    ///
    /// # Errors
    /// [`TextError::Form`].
    pub fn check(text: &str) -> Result<(), TextError> {
        Self::parse(text).map(|_| ())
    }

    /// Reads `YYYY-MM-DDTHH:MM` or `YYYY-MM-DDTHH:MM:SS`.
    ///
    /// # Errors
    /// [`TextError::Form`].
    pub fn parse(text: &str) -> Result<Self, TextError> {
        const FORM: TextError =
            TextError::Form("must be a local time such as 2027-05-01T18:00:00, without an offset");
        const SHAPE: &[u8] = b"0000-00-00T00:00:00";
        let has_shape = matches!(text.len(), 16 | 19)
            && text.bytes().zip(SHAPE).all(|(byte, shape)| match shape {
                b'0' => byte.is_ascii_digit(),
                separator => byte == *separator,
            });
        // jiff reads a leap second as the second before it.
        if !has_shape || text.get(17..) == Some("60") {
            return Err(FORM);
        }
        text.parse().map(Self).map_err(|_| FORM)
    }

    /// A time as it was stored; what is finer than a second is cut off.
    #[must_use]
    pub fn from_civil(time: DateTime) -> Self {
        Self(time.with().subsec_nanosecond(0).build().unwrap_or(time))
    }

    /// The time.
    #[must_use]
    pub fn civil(self) -> DateTime {
        self.0
    }
}

impl fmt::Display for LocalTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for LocalTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Which one is meant of two equal wall-clock times, where clocks are set back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fold {
    /// The first, before clocks are set back.
    Earlier,
    /// The second.
    Later,
}

impl Fold {
    /// The stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Earlier => "earlier",
            Self::Later => "later",
        }
    }

    /// The choice with that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Earlier, Self::Later].into_iter().find(|fold| fold.as_str() == name)
    }
}

/// When an event takes place, in the words of its organiser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// When it starts, by the clocks of the zone.
    pub starts_at_local: LocalTime,
    /// When it ends, by the clocks of the zone.
    pub ends_at_local: LocalTime,
    /// The zone.
    pub time_zone: TimeZoneName,
    /// Which of two equal times is meant, for both ends; without effect on times that occur once.
    pub fold: Option<Fold>,
}

/// A plan with the instants that it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    plan: Plan,
    starts_at: Timestamp,
    ends_at: Timestamp,
}

/// One end of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// Its start.
    Start,
    /// Its end.
    End,
}

/// Why a plan means no instants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// Clocks are set forward over this time.
    #[error("does not exist in the time zone, whose clocks are set forward over it")]
    Nonexistent(Edge),
    /// Clocks are set back over this time, and no choice was made.
    #[error("occurs twice in the time zone, whose clocks are set back over it; choose with fold")]
    Ambiguous(Edge),
    /// Before the year 1 or beyond the year 9999 in UTC.
    #[error("is out of range")]
    OutOfRange(Edge),
    /// The end is not after the start.
    #[error("must be later than starts_at_local")]
    EndsTooEarly,
}

impl Schedule {
    /// Finds the instants that a plan means.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn derive(plan: Plan) -> Result<Self, Vec<ScheduleError>> {
        let starts_at = instant(&plan, plan.starts_at_local, Edge::Start);
        let ends_at = instant(&plan, plan.ends_at_local, Edge::End);
        match (starts_at, ends_at) {
            (Ok(starts_at), Ok(ends_at)) if starts_at < ends_at => {
                Ok(Self { plan, starts_at, ends_at })
            }
            (Ok(_), Ok(_)) => Err(vec![ScheduleError::EndsTooEarly]),
            (starts_at, ends_at) => Err(starts_at.err().into_iter().chain(ends_at.err()).collect()),
        }
    }

    /// A schedule as it was stored.
    #[must_use]
    pub fn stored(plan: Plan, starts_at: Timestamp, ends_at: Timestamp) -> Self {
        Self { plan, starts_at, ends_at }
    }

    /// The wall-clock times.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The instant of the start.
    #[must_use]
    pub fn starts_at(&self) -> Timestamp {
        self.starts_at
    }

    /// The instant of the end.
    #[must_use]
    pub fn ends_at(&self) -> Timestamp {
        self.ends_at
    }
}

fn instant(plan: &Plan, local: LocalTime, edge: Edge) -> Result<Timestamp, ScheduleError> {
    let candidates = plan.time_zone.rules().to_ambiguous_timestamp(local.civil());
    let instant = match (candidates.offset(), plan.fold) {
        (AmbiguousOffset::Unambiguous { .. }, _) => candidates.unambiguous(),
        (AmbiguousOffset::Gap { .. }, _) => return Err(ScheduleError::Nonexistent(edge)),
        (AmbiguousOffset::Fold { .. }, None) => return Err(ScheduleError::Ambiguous(edge)),
        (AmbiguousOffset::Fold { .. }, Some(Fold::Earlier)) => candidates.earlier(),
        (AmbiguousOffset::Fold { .. }, Some(Fold::Later)) => candidates.later(),
    };
    instant.ok().filter(|instant| has_a_date(*instant)).ok_or(ScheduleError::OutOfRange(edge))
}

/// Whether an instant lies in the years 1 to 9999 in UTC, which every calendar, store and client can write (RFC 3339 has
/// four digits for the year). The zone's offset can lead out of them.
#[must_use]
pub fn has_a_date(instant: Timestamp) -> bool {
    (1..=9_999).contains(&instant.to_zoned(TimeZone::UTC).year())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plan(starts: &str, ends: &str, zone: &str, fold: Option<Fold>) -> Plan {
        Plan {
            starts_at_local: LocalTime::parse(starts).unwrap(),
            ends_at_local: LocalTime::parse(ends).unwrap(),
            time_zone: TimeZoneName::new(zone).unwrap(),
            fold,
        }
    }

    fn instants(plan: Plan) -> Result<(String, String), Vec<ScheduleError>> {
        Schedule::derive(plan)
            .map(|schedule| (schedule.starts_at().to_string(), schedule.ends_at().to_string()))
    }

    #[test]
    fn local_times_have_one_form() {
        let time = LocalTime::parse("2027-05-01T18:00").unwrap();
        assert_eq!(time, LocalTime::parse("2027-05-01T18:00:00").unwrap());
        assert_eq!(time.to_string(), "2027-05-01T18:00:00");
        for bad in [
            "",
            "2027-05-01",
            "2027-05-01 18:00",
            "2027-05-01t18:00",
            "2027-05-01T18:00Z",
            "2027-05-01T18:00:00.5",
            "2027-05-01T18:00:00+02:00",
            "2027-02-29T18:00",
            "2027-05-01T24:00",
            "2027-05-01T23:59:60",
            "+002027-05-01T18",
            "2027-05-01T18:é0",
        ] {
            assert!(LocalTime::check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_instants_follow_from_the_rules_of_the_zone() {
        let winter = plan("2027-03-27T18:00", "2027-03-28T18:00", "Europe/Berlin", None);
        let expected = ("2027-03-27T17:00:00Z".to_owned(), "2027-03-28T16:00:00Z".to_owned());
        assert_eq!(instants(winter), Ok(expected));
    }

    #[test]
    fn a_time_that_clocks_skip_is_refused_whatever_the_choice() {
        for fold in [None, Some(Fold::Earlier), Some(Fold::Later)] {
            let skipped = plan("2027-03-28T02:30", "2027-03-28T04:00", "Europe/Berlin", fold);
            assert_eq!(instants(skipped), Err(vec![ScheduleError::Nonexistent(Edge::Start)]));
        }
    }

    #[test]
    fn a_time_that_occurs_twice_needs_a_choice_that_holds_for_both_ends() {
        let twice = |fold| plan("2027-10-31T02:15", "2027-10-31T02:45", "Europe/Berlin", fold);
        let both = vec![ScheduleError::Ambiguous(Edge::Start), ScheduleError::Ambiguous(Edge::End)];
        assert_eq!(instants(twice(None)), Err(both));
        let earlier = ("2027-10-31T00:15:00Z".to_owned(), "2027-10-31T00:45:00Z".to_owned());
        assert_eq!(instants(twice(Some(Fold::Earlier))), Ok(earlier));
        let later = ("2027-10-31T01:15:00Z".to_owned(), "2027-10-31T01:45:00Z".to_owned());
        assert_eq!(instants(twice(Some(Fold::Later))), Ok(later));
    }

    #[test]
    fn the_end_comes_after_the_start_in_time_not_by_the_clock() {
        let refused = Err(vec![ScheduleError::EndsTooEarly]);
        assert_eq!(instants(plan("2027-05-01T18:00", "2027-05-01T18:00", "UTC", None)), refused);
        // By the clock it ends ten minutes before it starts; in truth fifty minutes later.
        let over_the_change =
            plan("2027-10-31T02:50", "2027-10-31T03:10", "Europe/Berlin", Some(Fold::Later));
        assert!(instants(over_the_change).is_ok());
        let reversed =
            plan("2027-10-31T02:50", "2027-10-31T02:40", "Europe/Berlin", Some(Fold::Later));
        assert_eq!(instants(reversed), refused);
    }

    #[test]
    fn what_no_clock_can_show_is_out_of_range() {
        let late = plan("9999-12-31T20:00", "9999-12-31T23:00", "America/Los_Angeles", None);
        assert!(
            matches!(instants(late), Err(errors) if errors.contains(&ScheduleError::OutOfRange(Edge::End)))
        );
    }

    #[test]
    fn a_zone_cannot_lead_out_of_the_years_with_a_date() {
        let early =
            |starts: &str, zone: &str| instants(plan(starts, "0001-06-01T00:00", zone, None));
        let refused = Err(vec![ScheduleError::OutOfRange(Edge::Start)]);
        assert_eq!(early("0000-01-01T00:30", "Asia/Kathmandu"), refused, "the year -1 in UTC");
        assert_eq!(early("0000-06-01T00:00", "UTC"), refused);
        assert_eq!(early("0001-01-01T00:30", "Asia/Kathmandu"), refused, "the year 0 in UTC");
        assert!(early("0001-01-01T00:30", "UTC").is_ok());
        assert!(early("0001-01-01T12:00", "Asia/Kathmandu").is_ok());
    }

    proptest! {
        /// Whatever the zone's clocks do, an accepted time reads back as itself.
        #[test]
        fn an_accepted_time_is_what_the_clock_shows_then(
            second in 1_700_000_000_i64..2_000_000_000,
            zone in prop::sample::select(vec!["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
            fold in prop::sample::select(vec![Fold::Earlier, Fold::Later]),
        ) {
            let zone = TimeZoneName::new(zone).unwrap();
            let local = LocalTime::from_civil(zone.rules().to_datetime(Timestamp::from_second(second).unwrap()));
            let end = LocalTime::from_civil(local.civil().checked_add(jiff::Span::new().days(2)).unwrap());
            let plan = Plan { starts_at_local: local, ends_at_local: end, time_zone: zone.clone(), fold: Some(fold) };
            if let Ok(schedule) = Schedule::derive(plan) {
                prop_assert_eq!(zone.rules().to_datetime(schedule.starts_at()), local.civil());
            }
        }
    }
}
