//! When a failed job is tried again, and what is remembered of the failure.

use std::error::Error;
use std::time::Duration;

use convene_application::kernel::error::Failure;
use convene_application::kernel::random::Random;

const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// The most characters of a failure that are kept with the job.
const ERROR_LENGTH: usize = 2_000;

/// The wait after the given attempt, from 1: its fourth power in seconds, as Sidekiq and River have it, at most a day,
/// and up to a tenth more or less, so that what failed together does not come back together.
pub(super) fn wait_after(attempt: i16, random: &dyn Random) -> Duration {
    let seconds = u64::from(attempt.max(1).unsigned_abs()).pow(4);
    let steady = Duration::from_secs(seconds).min(LONGEST);
    let chance = f64::from(u32::from_le_bytes(random.bytes())) / f64::from(u32::MAX);
    steady.mul_f64(0.9 + 0.2 * chance)
}

/// The whole chain of a failure as text that a database takes.
pub(super) fn describe(failure: &Failure) -> String {
    let mut text = failure.to_string();
    let mut source = failure.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text.chars().filter(|character| *character != '\0').take(ERROR_LENGTH).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(u8);

    impl Random for Fixed {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.fill(self.0);
        }
    }

    #[test]
    fn waits_grow_with_the_fourth_power_up_to_a_day_and_spread_by_a_tenth() {
        for (attempt, steady) in
            [(1, 1.0), (2, 16.0), (5, 625.0), (17, 83_521.0), (18, 86_400.0), (20, 86_400.0)]
        {
            assert!((wait_after(attempt, &Fixed(0)).as_secs_f64() - steady * 0.9).abs() < 0.01);
            assert!((wait_after(attempt, &Fixed(255)).as_secs_f64() - steady * 1.1).abs() < 0.01);
        }
    }

    #[test]
    fn a_failure_is_kept_with_its_causes_and_without_nul() {
        let failure = Failure::internal(std::io::Error::other("bro\0ken"));
        assert!(describe(&failure).ends_with(": broken"), "{}", describe(&failure));
    }
}
