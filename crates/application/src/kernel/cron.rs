//! Duties that come back at fixed times: their schedules, what becomes of ticks that were missed, and who fires them.
//!
//! There is no leader. Each duty is a row that knows its next tick; whoever looks first when it has come takes the row,
//! stores a job for it and moves the row on, in one transaction. A tick is fired once, whoever else is up, down or slow.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cronexpr::Crontab;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::jobs::NewJob;
use super::store::StoreError;

/// A tick that nobody fired for so long was missed.
const ON_TIME: SignedDuration = SignedDuration::from_secs(60);

/// How far back to look for the last ticks of a cron expression, the nearest first: years of minutes are not walked to find
/// the last of them.
const WINDOWS: [SignedDuration; 3] = [
    SignedDuration::from_hours(2),
    SignedDuration::from_hours(2 * 24),
    SignedDuration::from_hours(64 * 24),
];

/// When a duty comes up.
#[derive(Clone, Debug)]
pub enum Schedule {
    /// At the multiples of this period since 1970.
    Every(Duration),
    /// At the minutes of a cron expression.
    Cron(Arc<CronExpression>),
}

/// A cron expression in a time zone.
#[derive(Debug)]
pub struct CronExpression {
    text: String,
    zone: TimeZone,
    /// In UTC where hours are named, else in the zone.
    crontab: Crontab,
    named_hours: bool,
}

/// A text that is no cron expression.
#[derive(Debug, thiserror::Error)]
#[error("not a cron expression with a time zone, such as `30 3 * * * Europe/Berlin`: {reason}")]
pub struct InvalidExpression {
    reason: String,
}

impl Schedule {
    /// The minutes of `minute hour day-of-month month day-of-week zone`, such as `30 3 * * MON-FRI Europe/Berlin`, where
    /// the zone is IANA's name. Where the expression names hours, the clock on the wall counts: a tick that the change to
    /// summer time skips comes as much later, and one that the change back repeats comes once. Where it does not
    /// (`*/15 * …`), time goes on as usual.
    ///
    /// # Errors
    /// [`InvalidExpression`].
    pub fn cron(text: &str) -> Result<Self, InvalidExpression> {
        let invalid = |reason: String| InvalidExpression { reason };
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let (fields, zone) =
            text.rsplit_once(' ').ok_or_else(|| invalid("there is one field".to_owned()))?;
        let tz = TimeZone::get(zone).map_err(|error| invalid(error.to_string()))?;
        let named_hours = fields.split(' ').nth(1).is_some_and(|hours| !hours.starts_with('*'));
        let walked = if named_hours { "UTC" } else { zone };
        let crontab = cronexpr::parse_crontab(&format!("{fields} {walked}"))
            .map_err(|error| invalid(error.to_string()))?;
        Ok(Self::Cron(Arc::new(CronExpression { zone: tz, crontab, named_hours, text })))
    }

    /// The first tick behind `time`; none if there is none within four years.
    #[must_use]
    pub fn next_after(&self, time: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Every(period) => {
                let every = whole_micros(*period);
                let next = (time.as_microsecond().div_euclid(every) + 1).checked_mul(every)?;
                Timestamp::from_microsecond(next).ok()
            }
            Self::Cron(expression) => expression.next_after(time),
        }
    }

    /// The last ticks from `from` to `until`, both included, at most `most` of them, in their order.
    #[must_use]
    pub fn last_between(&self, from: Timestamp, until: Timestamp, most: usize) -> Vec<Timestamp> {
        match self {
            Self::Every(period) => {
                let every = whole_micros(*period);
                let last = until.as_microsecond().div_euclid(every);
                let first = from.as_microsecond().div_euclid(every)
                    + i64::from(from.as_microsecond().rem_euclid(every) > 0);
                let first = first.max(last - i64::try_from(most).unwrap_or(i64::MAX) + 1);
                (first..=last)
                    .filter_map(|tick| Timestamp::from_microsecond(tick.checked_mul(every)?).ok())
                    .collect()
            }
            Self::Cron(expression) => expression.last_between(from, until, most),
        }
    }

    /// The tick that a new duty begins with. What comes every so often begins with the tick that has come last, so that a
    /// new installation has done it once; what comes at certain times waits for them.
    #[must_use]
    pub fn first_tick(&self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Every(_) => self.last_between(Timestamp::UNIX_EPOCH, now, 1).pop(),
            Self::Cron(_) => self.next_after(now),
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every(period) => write!(formatter, "every {period:?}"),
            Self::Cron(expression) => formatter.write_str(&expression.text),
        }
    }
}

impl CronExpression {
    fn next_after(&self, time: Timestamp) -> Option<Timestamp> {
        if !self.named_hours {
            return Some(self.crontab.find_next(time).ok()?.timestamp());
        }
        let mut wall = self.zone.to_datetime(time);
        loop {
            wall = self.next_on_the_wall(wall)?;
            let tick = self.zone.to_ambiguous_timestamp(wall).compatible().ok()?;
            // In the hour that is repeated the wall shows what has been before.
            if tick > time {
                return Some(tick);
            }
        }
    }

    fn next_on_the_wall(&self, wall: DateTime) -> Option<DateTime> {
        let as_utc = TimeZone::UTC.to_timestamp(wall).ok()?;
        Some(self.crontab.find_next(as_utc).ok()?.datetime())
    }

    fn last_between(&self, from: Timestamp, until: Timestamp, most: usize) -> Vec<Timestamp> {
        let windows = WINDOWS.iter().map(|window| (until - *window).max(from)).chain([from]);
        for start in windows {
            let mut last = VecDeque::new();
            let mut tick = self.next_after(start - SignedDuration::from_micros(1));
            while let Some(come) = tick.filter(|tick| *tick <= until) {
                if last.len() == most {
                    last.pop_front();
                }
                last.push_back(come);
                tick = self.next_after(come);
            }
            if last.len() >= most || start == from {
                return last.into();
            }
        }
        Vec::new()
    }
}

fn whole_micros(period: Duration) -> i64 {
    i64::try_from(period.as_micros()).unwrap_or(i64::MAX).max(1)
}

/// What becomes of ticks that nobody fired in time, because no worker ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// They are left out. The last one is not missed for a minute.
    Skip,
    /// All of them are one.
    Once,
    /// Each comes, the last so many of them.
    Each {
        /// How many.
        at_most: u16,
    },
}

impl fmt::Display for Missed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Skip => formatter.write_str("skip"),
            Self::Once => formatter.write_str("once"),
            Self::Each { at_most } => write!(formatter, "each, at most {at_most}"),
        }
    }
}

/// A duty of the scheduler.
#[derive(Clone, Debug)]
pub struct Duty {
    /// Its stable name.
    pub name: &'static str,
    /// When it comes up.
    pub schedule: Schedule,
    /// What becomes of missed ticks.
    pub missed: Missed,
    /// The job that a tick stores.
    pub job: NewJob,
}

/// Where a duty stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The next tick to fire.
    pub next_tick: Timestamp,
    /// Its ticks pass unfired.
    pub paused: bool,
}

/// What is to be done about a duty now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Ticks to fire, unless somebody has.
    pub ticks: Vec<Timestamp>,
    /// The tick behind them.
    pub next_tick: Timestamp,
}

impl Duty {
    /// A duty that comes back after each period. Missed ticks run once.
    #[must_use]
    pub fn every(name: &'static str, period: Duration, job: NewJob) -> Self {
        Self { name, schedule: Schedule::Every(period), missed: Missed::Once, job }
    }

    /// What is to be done about a duty that stands like this; none if its time has not come. `shared` is the time of the
    /// store: a next tick that is far ahead of both clocks was set by a clock that was wrong, and is set anew.
    #[must_use]
    pub fn turn(&self, standing: Standing, now: Timestamp, shared: Timestamp) -> Option<Turn> {
        let after = |time| self.schedule.next_after(time);
        if standing.next_tick > now {
            let next_tick = after(now.max(shared))?;
            let strayed = after(next_tick).is_some_and(|second| standing.next_tick > second);
            return strayed.then(|| Turn { ticks: Vec::new(), next_tick });
        }
        let most = match self.missed {
            Missed::Skip | Missed::Once => 1,
            Missed::Each { at_most } => usize::from(at_most),
        };
        let mut ticks = self.schedule.last_between(standing.next_tick, now, most);
        if self.missed == Missed::Skip {
            ticks.retain(|tick| now.duration_since(*tick) <= ON_TIME);
        }
        if standing.paused {
            ticks.clear();
        }
        Some(Turn { ticks, next_tick: after(now)? })
    }

    /// The job of a tick. Where each tick counts, each is a job of its own, and they come in their order.
    #[must_use]
    pub fn job_of(&self, tick: Timestamp) -> NewJob {
        let job = self.job.clone();
        match self.missed {
            Missed::Skip | Missed::Once => job,
            Missed::Each { .. } => {
                let unique_key = job.unique_key.as_ref().map(|key| format!("{key}@{tick}"));
                NewJob { unique_key, run_at: Some(tick), ..job }
            }
        }
    }

    /// How long it is until the next tick.
    #[must_use]
    pub fn until_next(&self, now: Timestamp) -> Option<Duration> {
        let next = self.schedule.next_after(now)?;
        Duration::try_from(next.duration_since(now)).ok()
    }
}

/// The rows of duties. Each tick of a name is fired once, whoever is first.
#[async_trait]
pub trait CronStore: Send + Sync {
    /// Stores the jobs of the duties whose tick has come, and makes duties known that are not; returns how many jobs were
    /// stored.
    ///
    /// # Errors
    /// The store's.
    async fn fire(&self, duties: &[Duty], now: Timestamp) -> Result<usize, StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn job() -> NewJob {
        NewJob {
            kind: "test",
            queue: "default",
            group: None,
            payload: serde_json::Value::Null,
            unique_key: Some("test".to_owned()),
            run_at: None,
            priority: 100,
            max_attempts: 1,
            keep: true,
            traceparent: None,
            correlation_id: None,
        }
    }

    fn ten_minutes(missed: Missed) -> Duty {
        Duty { missed, ..Duty::every("test", Duration::from_secs(600), job()) }
    }

    fn cron(text: &str) -> Schedule {
        Schedule::cron(text).unwrap()
    }

    fn ticks(schedule: &Schedule, after: &str, count: usize) -> Vec<String> {
        let first = schedule.next_after(at(after));
        std::iter::successors(first, |tick| schedule.next_after(*tick))
            .take(count)
            .map(|tick| tick.to_string())
            .collect()
    }

    #[test]
    fn ticks_are_multiples_of_the_period() {
        let duty = ten_minutes(Missed::Once);
        let now = at("2027-04-01T10:07:30Z");
        assert_eq!(duty.schedule.first_tick(now), Some(at("2027-04-01T10:00:00Z")));
        assert_eq!(duty.until_next(now), Some(Duration::from_secs(150)));
        let on_time = at("2027-04-01T10:10:00Z");
        assert_eq!(duty.schedule.first_tick(on_time), Some(on_time));
        assert_eq!(duty.until_next(on_time), Some(Duration::from_secs(600)));
    }

    #[test]
    fn missed_ticks_are_skipped_are_one_or_come_each() {
        let standing = Standing { next_tick: at("2027-04-01T10:00:00Z"), paused: false };
        let turn = |missed, now| ten_minutes(missed).turn(standing, now, now);
        let (late, on_time) = (at("2027-04-01T10:35:00Z"), at("2027-04-01T10:30:01Z"));
        let next_tick = at("2027-04-01T10:40:00Z");
        let fired = |ticks: &[&str]| {
            Some(Turn { ticks: ticks.iter().map(|tick| at(tick)).collect(), next_tick })
        };
        assert_eq!(turn(Missed::Skip, late), fired(&[]));
        assert_eq!(turn(Missed::Skip, on_time), fired(&["2027-04-01T10:30:00Z"]));
        assert_eq!(turn(Missed::Once, late), fired(&["2027-04-01T10:30:00Z"]));
        assert_eq!(
            turn(Missed::Each { at_most: 2 }, late),
            fired(&["2027-04-01T10:20:00Z", "2027-04-01T10:30:00Z"])
        );
        assert_eq!(turn(Missed::Each { at_most: 9 }, late).unwrap().ticks.len(), 4);
        assert_eq!(turn(Missed::Once, at("2027-04-01T09:59:59Z")), None, "not yet");
        let paused = Standing { paused: true, ..standing };
        assert_eq!(ten_minutes(Missed::Once).turn(paused, late, late), fired(&[]));
    }

    #[test]
    fn a_tick_far_ahead_of_both_clocks_is_set_anew() {
        let duty = ten_minutes(Missed::Once);
        let stands = |next_tick| Standing { next_tick: at(next_tick), paused: false };
        let now = at("2027-04-01T10:05:00Z");
        let again = Turn { ticks: vec![], next_tick: at("2027-04-01T10:10:00Z") };
        assert_eq!(duty.turn(stands("2029-01-01T00:00:00Z"), now, now), Some(again));
        assert_eq!(
            duty.turn(stands("2027-04-01T10:20:00Z"), now, now),
            None,
            "a clock a bit ahead"
        );
        let slow = at("2027-04-01T07:00:00Z");
        assert_eq!(duty.turn(stands("2027-04-01T10:10:00Z"), slow, now), None, "ours is slow");
    }

    #[test]
    fn the_jobs_of_ticks_that_each_count_are_apart() {
        let tick = at("2027-04-01T10:00:00Z");
        let each = ten_minutes(Missed::Each { at_most: 2 }).job_of(tick);
        assert_eq!(each.unique_key.as_deref(), Some("test@2027-04-01T10:00:00Z"));
        assert_eq!(each.run_at, Some(tick));
        let once = ten_minutes(Missed::Once).job_of(tick);
        assert_eq!((once.unique_key.as_deref(), once.run_at), (Some("test"), None));
    }

    #[test]
    fn a_named_hour_is_that_of_the_wall_and_comes_once_a_day() {
        let nightly = cron("30  2 * * *  Europe/Berlin");
        assert_eq!(nightly.to_string(), "30 2 * * * Europe/Berlin");
        // Summer time begins on 28 March: there is no 02:30.
        assert_eq!(
            ticks(&nightly, "2027-03-26T12:00:00Z", 3),
            ["2027-03-27T01:30:00Z", "2027-03-28T01:30:00Z", "2027-03-29T00:30:00Z"]
        );
        // It ends on 31 October: 02:30 is there twice.
        assert_eq!(
            ticks(&nightly, "2027-10-30T12:00:00Z", 2),
            ["2027-10-31T00:30:00Z", "2027-11-01T01:30:00Z"]
        );
        let between = nightly.next_after(at("2027-10-31T01:10:00Z"));
        assert_eq!(between, Some(at("2027-11-01T01:30:00Z")), "the second 02:10");
        let quarters = cron("*/30 * * * * Europe/Berlin");
        assert_eq!(
            ticks(&quarters, "2027-10-31T00:00:00Z", 4),
            [
                "2027-10-31T00:30:00Z",
                "2027-10-31T01:00:00Z",
                "2027-10-31T01:30:00Z",
                "2027-10-31T02:00:00Z"
            ]
        );
    }

    #[test]
    fn the_last_ticks_of_an_expression_are_found_however_long_ago() {
        let (from, until) = (at("2021-01-01T00:00:00Z"), at("2027-04-01T10:07:00Z"));
        let minutes = cron("* * * * * UTC").last_between(from, until, 2);
        assert_eq!(minutes, [at("2027-04-01T10:06:00Z"), until]);
        let yearly = cron("0 0 1 1 * UTC").last_between(from, until, 3);
        assert_eq!(
            yearly,
            [at("2025-01-01T00:00:00Z"), at("2026-01-01T00:00:00Z"), at("2027-01-01T00:00:00Z")]
        );
        assert!(
            cron("0 12 * * * UTC").last_between(at("2027-04-01T00:00:00Z"), until, 1).is_empty()
        );
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        for bad in ["", "* * * * *", "* * * * * Mars/Phobos", "61 * * * * UTC", "soon UTC"] {
            assert!(Schedule::cron(bad).is_err(), "{bad:?}");
        }
    }
}
