//! When a delivery is attempted again. After Standard Webhooks (<https://www.standardwebhooks.com>): each delay counts from
//! the failure before it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// The delays between a failure and the next attempt.
const DELAYS: [SignedDuration; 9] = [
    SignedDuration::from_secs(5),
    SignedDuration::from_mins(5),
    SignedDuration::from_mins(30),
    SignedDuration::from_hours(2),
    SignedDuration::from_hours(5),
    SignedDuration::from_hours(10),
    SignedDuration::from_hours(14),
    SignedDuration::from_hours(20),
    SignedDuration::from_hours(24),
];

/// How often a delivery is attempted before it has failed: the first attempt is due at once.
pub const MAX_ATTEMPTS: u32 = DELAYS.len() as u32 + 1;

/// The longest pause that a receiver can ask for.
pub const RETRY_AFTER_MAX: SignedDuration = SignedDuration::from_hours(24);

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeliveryStatus {
    /// It is being attempted, or waits for its next attempt.
    Pending,
    /// The receiver took it.
    Succeeded,
    /// Every attempt failed; only somebody's asking makes it pending again.
    Failed,
}

impl DeliveryStatus {
    /// The stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }

    /// The status with that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Pending, Self::Succeeded, Self::Failed]
            .into_iter()
            .find(|status| status.as_str() == name)
    }
}

/// How a receiver answered one attempt, as far as it decides what comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 2xx: it has the webhook.
    Taken,
    /// 410: it wants no more webhooks.
    Gone,
    /// 429, 502 or 504: it is overloaded.
    Overloaded,
    /// No answer arrived at all.
    Unreachable,
    /// Anything else, redirects included.
    Failed,
}

impl Answer {
    /// Reads the status of an answer, `None` without one. Success takes an answer that arrived whole.
    #[must_use]
    pub const fn of(status: Option<u16>, whole: bool) -> Self {
        match status {
            Some(200..=299) if whole => Self::Taken,
            Some(410) => Self::Gone,
            Some(429 | 502 | 504) => Self::Overloaded,
            None => Self::Unreachable,
            Some(_) => Self::Failed,
        }
    }
}

/// What becomes of a delivery after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It is done.
    Succeeded,
    /// It is attempted again, not before this time.
    RetryAt(Timestamp),
    /// It has failed for good.
    Exhausted,
}

/// A random factor within ±20 %, so that deliveries that failed together do not come back together.
#[derive(Clone, Copy, Debug)]
pub struct Spread(u32);

impl Spread {
    /// The factor of a uniformly distributed number.
    #[must_use]
    pub const fn from_random(bits: u32) -> Self {
        Self(bits)
    }

    /// The delay, spread.
    #[must_use]
    pub fn apply(self, delay: SignedDuration) -> SignedDuration {
        let share = f64::from(self.0) / f64::from(u32::MAX);
        delay.mul_f64(0.8 + 0.4 * share)
    }
}

/// What becomes of a delivery whose attempt number `attempt`, from 1, ended at `ended_at`. A receiver that asks for patience
/// gets it, up to 24 h, but nothing comes earlier than the schedule says.
#[must_use]
pub fn after_attempt(
    attempt: u32,
    answer: Answer,
    retry_after: Option<Duration>,
    ended_at: Timestamp,
    spread: Spread,
) -> Next {
    if answer == Answer::Taken {
        return Next::Succeeded;
    }
    let made = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
    let Some(delay) = DELAYS.get(made) else { return Next::Exhausted };
    let delay = spread.apply(*delay).max(patience(retry_after));
    Next::RetryAt(later(ended_at, delay))
}

/// The pause that a receiver asked for, within what it can ask for.
pub(super) fn patience(retry_after: Option<Duration>) -> SignedDuration {
    let asked = retry_after.unwrap_or_default();
    SignedDuration::try_from(asked).map_or(RETRY_AFTER_MAX, |asked| asked.min(RETRY_AFTER_MAX))
}

/// In whole microseconds, which is what the database keeps.
pub(super) fn later(at: Timestamp, delay: SignedDuration) -> Timestamp {
    let micros = i64::try_from(delay.as_micros()).unwrap_or(i64::MAX);
    at.saturating_add(SignedDuration::from_micros(micros)).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIDDLE: Spread = Spread::from_random(u32::MAX / 2);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn pause(attempt: u32, retry_after: Option<u64>, spread: Spread) -> Option<i64> {
        let retry_after = retry_after.map(Duration::from_secs);
        match after_attempt(attempt, Answer::Failed, retry_after, at(0), spread) {
            Next::RetryAt(next) => Some(next.as_second()),
            Next::Exhausted => None,
            Next::Succeeded => panic!("a failure succeeded"),
        }
    }

    #[test]
    fn the_schedule_is_that_of_standard_webhooks() {
        let hours = |hours: i64| hours * 3_600;
        let schedule =
            [5, 300, 1_800, hours(2), hours(5), hours(10), hours(14), hours(20), hours(24)];
        for (attempt, seconds) in (1..).zip(schedule) {
            let pause = pause(attempt, None, MIDDLE).unwrap();
            assert!((seconds - pause).abs() <= 1, "after attempt {attempt}: {pause} s");
        }
        assert_eq!(pause(MAX_ATTEMPTS, None, MIDDLE), None);
        assert_eq!(pause(MAX_ATTEMPTS + 1, Some(5), MIDDLE), None);
    }

    #[test]
    fn pauses_are_spread_by_a_fifth() {
        assert_eq!(pause(2, None, Spread::from_random(0)), Some(240));
        assert_eq!(pause(2, None, Spread::from_random(u32::MAX)), Some(360));
    }

    #[test]
    fn a_receiver_can_ask_for_patience_up_to_a_day() {
        assert_eq!(pause(1, Some(90), MIDDLE), Some(90));
        assert_eq!(pause(1, Some(1_000_000), MIDDLE), Some(86_400));
        assert_eq!(pause(1, Some(u64::MAX), MIDDLE), Some(86_400));
        assert_eq!(
            pause(2, Some(1), Spread::from_random(0)),
            Some(240),
            "no earlier than scheduled"
        );
    }

    #[test]
    fn only_2xx_is_success() {
        for (status, answer) in [
            (Some(200), Answer::Taken),
            (Some(299), Answer::Taken),
            (Some(199), Answer::Failed),
            (Some(301), Answer::Failed),
            (Some(410), Answer::Gone),
            (Some(429), Answer::Overloaded),
            (Some(500), Answer::Failed),
            (Some(502), Answer::Overloaded),
            (Some(503), Answer::Failed),
            (Some(504), Answer::Overloaded),
            (None, Answer::Unreachable),
        ] {
            assert_eq!(Answer::of(status, true), answer, "{status:?}");
        }
        assert_eq!(Answer::of(Some(200), false), Answer::Failed, "cut off");
        assert_eq!(Answer::of(Some(410), false), Answer::Gone, "the head says it");
        assert_eq!(
            after_attempt(MAX_ATTEMPTS, Answer::Taken, None, at(0), MIDDLE),
            Next::Succeeded
        );
    }

    proptest! {
        #[test]
        fn a_retry_lies_in_the_future_and_within_bounds(
            attempt in 1..MAX_ATTEMPTS,
            bits: u32,
            retry_after in proptest::option::of(0_u64..200_000),
        ) {
            let scheduled = DELAYS[attempt as usize - 1].as_secs();
            let pause = pause(attempt, retry_after, Spread::from_random(bits)).unwrap();
            prop_assert!(pause >= scheduled * 8 / 10);
            let asked = i64::try_from(retry_after.unwrap_or(0)).unwrap().min(86_400);
            prop_assert!(pause <= (scheduled * 12 / 10).max(asked));
        }
    }
}
