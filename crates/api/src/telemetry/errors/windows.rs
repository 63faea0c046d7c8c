//! Each failure once a minute: what comes again is counted.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long a failure that was reported is not reported again.
pub(super) const WINDOW: Duration = Duration::from_mins(1);
/// Failures that are told apart at once.
const MOST: usize = 1_024;

/// The failures of the last minute, by what tells them apart.
#[derive(Default)]
pub(super) struct Windows(HashMap<u64, Window>);

struct Window {
    until: Instant,
    suppressed: u64,
}

/// What becomes of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// It is reported, with how often it came since it was reported last.
    Report(u64),
    /// It was reported a moment ago.
    Suppressed,
    /// There are too many different ones.
    Full,
}

impl Windows {
    pub(super) fn admit(&mut self, failure: u64, now: Instant) -> Admission {
        if let Some(window) = self.0.get_mut(&failure) {
            if now < window.until {
                window.suppressed += 1;
                return Admission::Suppressed;
            }
            window.until = now + WINDOW;
            return Admission::Report(std::mem::take(&mut window.suppressed));
        }
        if self.0.len() >= MOST {
            self.0.retain(|_, window| now < window.until);
            if self.0.len() >= MOST {
                return Admission::Full;
            }
        }
        self.0.insert(failure, Window { until: now + WINDOW, suppressed: 0 });
        Admission::Report(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_reported_once_a_minute_with_how_often_it_came() {
        let (mut windows, begin) = (Windows::default(), Instant::now());
        assert_eq!(windows.admit(1, begin), Admission::Report(0));
        assert_eq!(windows.admit(2, begin), Admission::Report(0), "another failure");
        for second in 1..60 {
            let now = begin + Duration::from_secs(second);
            assert_eq!(windows.admit(1, now), Admission::Suppressed);
        }
        assert_eq!(windows.admit(1, begin + WINDOW), Admission::Report(59));
        assert_eq!(windows.admit(1, begin + WINDOW), Admission::Suppressed);
        assert_eq!(windows.admit(2, begin + WINDOW * 3), Admission::Report(0));
    }

    #[test]
    fn memory_is_bounded_and_free_again_after_a_minute() {
        let (mut windows, begin) = (Windows::default(), Instant::now());
        for failure in 0..MOST as u64 {
            assert_eq!(windows.admit(failure, begin), Admission::Report(0));
        }
        assert_eq!(windows.admit(u64::MAX, begin), Admission::Full);
        assert_eq!(windows.admit(u64::MAX, begin + WINDOW), Admission::Report(0));
        assert_eq!(windows.0.len(), 1);
    }
}
