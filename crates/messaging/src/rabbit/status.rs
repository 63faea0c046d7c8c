//! Whether a bus does its work, for readiness and its operators.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Whether a bus does its work. Without it nothing is lost: events wait in the log or in their queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BusStatus {
    /// As far as is known, it does.
    Up,
    /// It does not, or in parts only, and goes on trying.
    Degraded {
        /// What is wrong, for operators.
        reason: String,
    },
}

/// What is wrong with each part of a bus.
#[derive(Debug, Default)]
pub(super) struct Health(Mutex<BTreeMap<&'static str, String>>);

impl Health {
    /// The part works.
    pub(super) fn up(&self, part: &'static str) {
        self.troubles().remove(part);
    }

    /// The part does not work.
    pub(super) fn down(&self, part: &'static str, error: &dyn Error) {
        // One cause is enough: lapin's errors repeat theirs.
        let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        self.troubles().insert(part, format!("{error}{cause}"));
    }

    /// All parts together.
    pub(super) fn status(&self) -> BusStatus {
        let troubles = self.troubles();
        if troubles.is_empty() {
            return BusStatus::Up;
        }
        let reasons: Vec<_> =
            troubles.iter().map(|(part, reason)| format!("{part}: {reason}")).collect();
        BusStatus::Degraded { reason: reasons.join("; ") }
    }

    /// A panic elsewhere leaves the list as it was.
    fn troubles(&self) -> MutexGuard<'_, BTreeMap<&'static str, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bus_is_up_when_all_of_its_parts_are() {
        let health = Health::default();
        assert_eq!(health.status(), BusStatus::Up);
        health.down("webhooks", &std::io::Error::other("no queue"));
        health.down("mail", &std::io::Error::other("no channel"));
        let reason = "mail: no channel; webhooks: no queue".to_owned();
        assert_eq!(health.status(), BusStatus::Degraded { reason });
        health.up("webhooks");
        health.up("mail");
        assert_eq!(health.status(), BusStatus::Up);
    }
}
