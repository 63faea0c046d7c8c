//! What the platform promises for itself.

use std::collections::HashMap;

use super::Case;
use crate::trial::usage::Usage;

/// A lease is ended by who claimed it; by others only once it has run out.
pub(super) fn leases(case: &Case<'_>) -> Vec<String> {
    let mut held: HashMap<i64, (i64, &str)> = HashMap::new();
    let mut wrong = Vec::new();
    for step in &case.evidence.snapshot.leases {
        let (job, epoch, by) = (step.job, step.epoch, step.by.as_str());
        if step.step == "claimed" {
            if let Some((before, holder)) = held.insert(job, (epoch, by)) {
                wrong.push(format!(
                    "job {job} was claimed by {by} under {epoch} while {holder} held {before}"
                ));
            }
            continue;
        }
        match held.remove(&job) {
            Some((claimed, holder)) if claimed == epoch && (holder == by || step.expired) => {}
            // Claimed before anybody looked.
            None if step.expired => {}
            holder => {
                let what = &step.step;
                wrong.push(format!(
                    "job {job} was {what} by {by} under {epoch}; it was {holder:?}'s"
                ));
            }
        }
    }
    wrong
}

pub(super) fn overdue(case: &Case<'_>) -> Vec<String> {
    case.evidence.snapshot.overdue.clone()
}

pub(super) fn chains(case: &Case<'_>) -> Vec<String> {
    case.evidence.broken_chains.iter().cloned().collect()
}

pub(super) fn usage(case: &Case<'_>) -> Vec<String> {
    case.evidence.usage.iter().flat_map(Usage::excesses).collect()
}

pub(super) fn deaths(case: &Case<'_>) -> Vec<String> {
    case.evidence.deaths.clone()
}

pub(super) fn unready(case: &Case<'_>) -> Vec<String> {
    case.evidence.unready.clone()
}
