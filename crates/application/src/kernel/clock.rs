//! Time as a parameter.

use jiff::{Timestamp, Unit};

/// Tells the time. Use cases never ask the machine.
pub trait Clock: Send + Sync {
    /// Now, in whole microseconds, which is what the database keeps.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let now = Timestamp::now();
        now.round(
            jiff::TimestampRound::new().smallest(Unit::Microsecond).mode(jiff::RoundMode::Trunc),
        )
        .unwrap_or(now)
    }
}
