//! Time as a parameter.

use std::fmt::Debug;
use std::time::Instant;

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

/// Measures how much time has passed.
pub trait Monotonic: Debug + Send + Sync {
    /// Now; never earlier than what was answered before.
    fn now(&self) -> Instant;
}

/// The machine's.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemMonotonic;

impl Monotonic for SystemMonotonic {
    fn now(&self) -> Instant {
        Instant::now()
    }
}
