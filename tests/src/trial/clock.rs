//! Wall clocks that can be stepped, one for each process and one for PostgreSQL: a library that is preloaded into it adds to
//! the time what a file says. Timers and the monotonic clock stay as they are, which is what a step is.
//!
//! `libfaketime` was tried and is not used. It reads its file with `fopen`, which allocates; PostgreSQL asks for the time in
//! signal handlers, and under statement time-outs its heap was corrupted within a minute. Evidence that is damaged by
//! what takes it proves nothing.

use std::fmt;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

/// What is preloaded. In C, since it has to be safe in signal handlers, and takes the place of the C library's functions.
const SOURCE: &str = include_str!("clock.c");

/// Makes clocks. They last as long as this.
#[derive(Debug)]
pub struct Clockmaker {
    /// PostgreSQL's account reads it, too.
    folder: TempDir,
}

impl Clockmaker {
    /// One with all tools at hand.
    ///
    /// # Panics
    /// Where no clock can be stepped, for want of a C compiler: a trial that leaves out a kind of fault must not look like one
    /// that has it.
    #[must_use]
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
        let source = folder.path().join("clock.c");
        fs::write(&source, SOURCE).expect("a file can be written");
        let built = Command::new("cc")
            .args(["-O2", "-shared", "-fPIC", "-o"])
            .arg(folder.path().join("clock.so"))
            .arg(source)
            .output()
            .unwrap_or_else(|error| {
                panic!("no clock can be stepped without a C compiler: cc: {error}")
            });
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        Self { folder }
    }

    /// A clock of this name, which is right.
    #[must_use]
    pub fn clock(&self, name: &str) -> Clock {
        let path = |name: &str| {
            let path = self.folder.path().join(name);
            path.into_os_string().into_string().expect("temporary folders have plain names")
        };
        let file = path(name);
        let step = File::create(&file).expect("a file can be made");
        let environment = [("LD_PRELOAD", path("clock.so")), ("TRIAL_CLOCK", file)];
        let clock =
            Clock { step, environment: environment.map(|(name, value)| (name.to_owned(), value)) };
        clock.set(Step::NONE);
        clock
    }
}

impl Default for Clockmaker {
    fn default() -> Self {
        Self::new()
    }
}

/// A clock that can be stepped.
#[derive(Debug)]
pub struct Clock {
    step: File,
    environment: [(String, String); 2],
}

impl Clock {
    /// The variables of a process that goes by it, and of all that this one starts.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        self.environment.to_vec()
    }

    /// Steps it, at once.
    ///
    /// # Panics
    /// When its file cannot be written.
    pub fn set(&self, step: Step) {
        // Eight bytes that are aligned: nobody reads half of them.
        self.step.write_all_at(&step.0.to_ne_bytes(), 0).expect("the clock's file can be written");
    }
}

/// By how many milliseconds a clock is fast; slow, if negative.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Step(i64);

impl Step {
    /// The right time.
    pub const NONE: Self = Self(0);

    /// Fast by this.
    ///
    /// # Panics
    /// If that is more than millions of years.
    #[must_use]
    pub fn forwards(by: Duration) -> Self {
        Self(i64::try_from(by.as_millis()).expect("a clock shows it"))
    }

    /// Slow by this.
    ///
    /// # Panics
    /// If that is more than millions of years.
    #[must_use]
    pub fn backwards(by: Duration) -> Self {
        Self(-Self::forwards(by).0)
    }
}

impl Step {
    /// How far it goes, in whichever direction.
    #[must_use]
    pub fn distance(self) -> Duration {
        Duration::from_millis(self.0.unsigned_abs())
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:+.3} s",
            Duration::from_millis(self.0.unsigned_abs()).as_secs_f64() * self.0.signum() as f64
        )
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn a_clock_is_stepped_and_right_again() {
        let maker = Clockmaker::new();
        let clock = maker.clock("clock");
        let span = Duration::from_millis(125_500);
        for step in [Step::NONE, Step::forwards(span), Step::backwards(span), Step::NONE] {
            clock.set(step);
            let shows = |now: Timestamp| now.as_millisecond() + step.0;
            let before = Timestamp::now();
            let asked = Command::new("date").arg("+%s%3N").envs(clock.environment()).output();
            let shown = String::from_utf8(asked.expect("there is a date").stdout).expect("digits");
            let shown: i64 = shown.trim().parse().expect("digits");
            let right = shows(before)..=shows(Timestamp::now());
            assert!(right.contains(&shown), "{shown} is not within {right:?}, with {step:?}");
        }
    }

    #[test]
    fn a_step_is_told_with_its_sign() {
        assert_eq!(format!("{:?}", Step::forwards(Duration::from_secs(60))), "+60.000 s");
        assert_eq!(format!("{:?}", Step::backwards(Duration::from_millis(1_500))), "-1.500 s");
    }
}
