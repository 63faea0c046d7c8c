//! How an endpoint is doing: when it is spared, and when it is given up on.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::delivery::{Answer, Spread, later, patience};

/// An endpoint that has failed for this long …
const GIVE_UP_AFTER: SignedDuration = SignedDuration::from_hours(120);
/// … and this often is disabled.
const GIVE_UP_FAILURES: u32 = 10;
/// An endpoint that did not answer so many times in a row is spared as if it were overloaded: what waits for it would
/// else hold up what is sent to others.
pub const UNREACHABLE_AFTER: u32 = 5;
/// The first pause of an overloaded endpoint; each further one doubles it.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(1);
/// The longest pause that an endpoint did not ask for itself.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_mins(5);
/// The least time between two mails about failing deliveries.
const NOTICE_EVERY: SignedDuration = SignedDuration::from_hours(24);

/// How an endpoint has been answering.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// When the first attempt since the last success failed.
    pub failing_since: Option<Timestamp>,
    /// Attempts that failed since the last success.
    pub failures: u32,
    /// Nothing is sent before this time.
    pub paused_until: Option<Timestamp>,
    /// Pauses in a row. While it is above zero a single delivery goes ahead, to see whether the endpoint has recovered.
    pub pauses: u32,
    /// When somebody was last told that deliveries fail.
    pub noticed_at: Option<Timestamp>,
}

impl Health {
    /// Takes note of an answer.
    pub fn observe(
        &mut self,
        answer: Answer,
        retry_after: Option<Duration>,
        at: Timestamp,
        spread: Spread,
    ) {
        if answer == Answer::Taken {
            *self = Self { noticed_at: self.noticed_at, ..Self::default() };
            return;
        }
        self.failing_since.get_or_insert(at);
        self.failures = self.failures.saturating_add(1);
        let unreachable = answer == Answer::Unreachable && self.failures >= UNREACHABLE_AFTER;
        if answer == Answer::Overloaded || unreachable {
            self.pause(retry_after, at, spread);
        }
    }

    /// Whether the endpoint has failed for so long and so often that nothing more should be sent to it.
    #[must_use]
    pub fn is_hopeless(&self, now: Timestamp) -> bool {
        self.failures >= GIVE_UP_FAILURES
            && self.failing_since.is_some_and(|since| now.duration_since(since) >= GIVE_UP_AFTER)
    }

    /// Whether somebody should be told that deliveries fail. One who was is not told again for a day.
    #[must_use]
    pub fn is_notice_due(&self, now: Timestamp) -> bool {
        self.noticed_at.is_none_or(|told| now.duration_since(told) >= NOTICE_EVERY)
    }

    /// Several answers of one batch ask for one pause, so only the first lengthens the next.
    fn pause(&mut self, retry_after: Option<Duration>, at: Timestamp, spread: Spread) {
        let asked = later(at, patience(retry_after));
        let own = if self.paused_until.is_some_and(|until| at < until) {
            at
        } else {
            let doubled = FIRST_PAUSE.saturating_mul(1 << self.pauses.min(16));
            self.pauses = self.pauses.saturating_add(1);
            later(at, spread.apply(doubled.min(LONGEST_PAUSE)))
        };
        self.paused_until = self.paused_until.max(Some(asked.max(own)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIDDLE: Spread = Spread::from_random(u32::MAX / 2);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn hour(hour: i64) -> Timestamp {
        at(hour * 3_600)
    }

    fn paused_for(health: &Health, now: Timestamp) -> i64 {
        let until = health.paused_until.unwrap();
        until.duration_since(now).as_millis_f64().round() as i64 / 100 * 100
    }

    #[test]
    fn an_endpoint_is_given_up_on_after_five_days_and_ten_failures() {
        let mut health = Health::default();
        for failure in 0..9 {
            health.observe(Answer::Failed, None, hour(failure), MIDDLE);
        }
        assert!(!health.is_hopeless(hour(1_000)), "nine failures are not enough");
        health.observe(Answer::Gone, None, hour(119), MIDDLE);
        assert!(!health.is_hopeless(hour(119)));
        assert!(health.is_hopeless(hour(120)));
    }

    #[test]
    fn a_success_makes_good_for_every_failure() {
        let mut health = Health::default();
        for failure in 0..20 {
            health.observe(Answer::Overloaded, None, hour(failure), MIDDLE);
        }
        health.observe(Answer::Taken, None, hour(130), MIDDLE);
        assert_eq!(health, Health::default());
    }

    #[test]
    fn an_overloaded_endpoint_gets_pauses_that_double() {
        let mut health = Health::default();
        let mut now = at(0);
        for expected in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            health.observe(Answer::Overloaded, None, now, MIDDLE);
            let pause = paused_for(&health, now);
            assert!((pause - expected * 1_000).abs() <= 100, "{pause} ms, not {expected} s");
            now = health.paused_until.unwrap();
        }
    }

    #[test]
    fn answers_of_one_batch_ask_for_one_pause() {
        let mut health = Health::default();
        for _ in 0..8 {
            health.observe(Answer::Overloaded, None, at(0), MIDDLE);
        }
        assert_eq!((health.pauses, health.failures), (1, 8));
        health.observe(Answer::Overloaded, Some(Duration::from_secs(90)), at(0), MIDDLE);
        assert_eq!(health.paused_until, Some(at(90)), "the longest that was asked for");
        health.observe(Answer::Overloaded, Some(Duration::from_secs(30)), at(0), MIDDLE);
        assert_eq!(health.paused_until, Some(at(90)));
    }

    #[test]
    fn an_endpoint_that_is_away_is_spared_but_not_for_a_single_hitch() {
        let mut health = Health::default();
        for _ in 1..UNREACHABLE_AFTER {
            health.observe(Answer::Unreachable, None, at(0), MIDDLE);
        }
        assert_eq!(health.paused_until, None);
        health.observe(Answer::Unreachable, None, at(0), MIDDLE);
        assert_eq!(paused_for(&health, at(0)), 1_000);
    }

    #[test]
    fn other_failures_do_not_pause() {
        let mut health = Health::default();
        for _ in 0..20 {
            health.observe(Answer::Failed, Some(Duration::from_secs(90)), at(0), MIDDLE);
        }
        assert_eq!(health.paused_until, None);
    }

    #[test]
    fn people_are_told_once_a_day() {
        let mut health = Health::default();
        assert!(health.is_notice_due(hour(0)));
        health.noticed_at = Some(hour(0));
        assert!(!health.is_notice_due(hour(23)));
        assert!(health.is_notice_due(hour(24)));
        health.observe(Answer::Taken, None, hour(1), MIDDLE);
        assert!(
            !health.is_notice_due(hour(2)),
            "an endpoint that comes and goes is no reason for more mail"
        );
    }
}
