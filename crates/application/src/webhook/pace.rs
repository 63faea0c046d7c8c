//! Sending no faster than an endpoint takes it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use convene_domain::webhook::RateLimit;

/// Gives each request of a run its moment, evenly apart. One run at a time sends to an endpoint, so its pace is that of all
/// processes.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When the next request may go out.
    next: Mutex<Option<Instant>>,
}

impl Pace {
    /// Takes the next moment, as the time until then; `None` if that is no earlier than `until`.
    pub(super) fn take(
        &self,
        rate: Option<RateLimit>,
        now: Instant,
        until: Instant,
    ) -> Option<Duration> {
        let Some(rate) = rate else { return (now < until).then_some(Duration::ZERO) };
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let moment = next.map_or(now, |next| next.max(now));
        if moment >= until {
            return None;
        }
        *next = Some(moment + Duration::from_secs(1) / u32::from(rate.as_per_second()));
        Some(moment - now)
    }

    /// How long it is until the next request may go out.
    pub(super) fn rest(&self, now: Instant) -> Duration {
        let next = *self.next.lock().unwrap_or_else(PoisonError::into_inner);
        next.map_or(Duration::ZERO, |next| next.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_evenly_apart_and_late_ones_are_not_made_up_for() {
        let (pace, start) = (Pace::default(), Instant::now());
        let rate = RateLimit::per_second(10);
        let at = |millis| start + Duration::from_millis(millis);
        let take = |now| pace.take(rate, at(now), at(1_000)).map(|wait| wait.as_millis());
        assert_eq!([take(0), take(0), take(50)], [Some(0), Some(100), Some(150)]);
        assert_eq!(pace.rest(at(50)).as_millis(), 250);
        assert_eq!([take(900), take(900)], [Some(0), None], "the second would be too late");
        assert_eq!(
            (pace.rest(at(1_000)), Pace::default().rest(start)),
            (Duration::ZERO, Duration::ZERO)
        );
        assert_eq!(pace.take(None, at(900), at(1_000)), Some(Duration::ZERO));
        assert_eq!(pace.take(None, at(1_000), at(1_000)), None);
    }
}
