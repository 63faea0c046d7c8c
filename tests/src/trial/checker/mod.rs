//! Judges a trial from its evidence alone: one function for each thing that must be true.

mod changes;
mod delivery;
mod platform;
#[cfg(test)]
mod tests;
mod writes;

use std::collections::HashMap;
use std::fmt;

use super::Evidence;
use super::snapshot::Logged;

/// Something that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The name of what must be true.
    pub invariant: &'static str,
    /// What is the matter.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

/// What must be true, by name. A function returns what is the matter.
type Invariant = (&'static str, fn(&Case<'_>) -> Vec<String>);

/// All of it.
const INVARIANTS: &[Invariant] = &[
    ("an acknowledged write exists", writes::acknowledged_exist),
    ("a refused write left nothing", writes::refused_left_nothing),
    ("a wish has one effect", writes::one_effect),
    ("no answer tells of a mistake of ours", writes::no_mistakes),
    ("each change is audited", writes::audited),
    ("the log has each position once", changes::positions),
    ("an aggregate's versions come in order without a gap", changes::versions),
    ("what changed is what events tell", changes::told),
    ("seats are never above the capacity", changes::seats),
    ("each consumer takes each event once", delivery::consumed),
    ("each event reaches other services in order", delivery::foreign),
    ("webhooks are attempts that were written down", delivery::webhooks),
    ("nobody completes what is not theirs any more", platform::leases),
    ("nothing that is due waits", platform::overdue),
    ("audit chains verify", platform::chains),
    ("nothing is held for ever", platform::usage),
    ("a process ends only when it is killed", platform::deaths),
    ("every process gets ready again", platform::unready),
];

/// How many things must be true.
#[must_use]
pub fn invariants() -> usize {
    INVARIANTS.len()
}

/// Everything that is not as it must be.
#[must_use]
pub fn check(evidence: &Evidence) -> Vec<Violation> {
    let case = Case::of(evidence);
    let judged = INVARIANTS.iter().flat_map(|(invariant, judge)| {
        judge(&case).into_iter().map(|what| Violation { invariant, what })
    });
    judged.collect()
}

/// Evidence, and what is looked up in it often.
struct Case<'a> {
    evidence: &'a Evidence,
    /// The events that a request caused.
    caused: HashMap<&'a str, Vec<&'a Logged>>,
}

impl<'a> Case<'a> {
    fn of(evidence: &'a Evidence) -> Self {
        let mut caused: HashMap<&str, Vec<&Logged>> = HashMap::new();
        for event in &evidence.snapshot.log {
            caused.entry(&event.request).or_default().push(event);
        }
        Self { evidence, caused }
    }

    /// The events that a request caused.
    fn caused_by(&self, request: &str) -> &[&'a Logged] {
        self.caused.get(request).map_or(&[], Vec::as_slice)
    }
}
