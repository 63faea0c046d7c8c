//! What became of each event: consumers, other services, webhooks.

use std::collections::{HashMap, HashSet};

use super::Case;
use crate::trial::snapshot::{Endpoint, Logged};

/// The consumer that makes deliveries.
const FAN_OUT: &str = "webhook.fanout";

fn wants(endpoint: &Endpoint, event: &Logged) -> bool {
    let matches = |pattern: &String| match pattern.strip_suffix('*') {
        Some(module) => event.kind.starts_with(module),
        None => *pattern == event.kind,
    };
    event.community.as_ref() == Some(&endpoint.community)
        && event.time > endpoint.created
        && endpoint.patterns.iter().any(matches)
}

/// The fan-out's effect is a delivery for each endpoint that wants the event, and an inbox row if any does.
pub(super) fn consumed(case: &Case<'_>) -> Vec<String> {
    let snapshot = &case.evidence.snapshot;
    let mut deliveries: HashMap<(&str, &str), usize> = HashMap::new();
    for delivery in &snapshot.deliveries {
        *deliveries.entry((&delivery.endpoint, &delivery.event)).or_default() += 1;
    }
    let inbox: HashSet<&str> = snapshot
        .inbox
        .iter()
        .filter(|(consumer, _)| consumer == FAN_OUT)
        .map(|(_, event)| event.as_str())
        .collect();
    let mut wrong = Vec::new();
    for event in &snapshot.log {
        let mut wanted = false;
        for endpoint in &snapshot.endpoints {
            let wants = wants(endpoint, event);
            wanted |= wants;
            let made = deliveries.remove(&(&endpoint.id, &event.id)).unwrap_or(0);
            if made != usize::from(wants) {
                let (id, kind) = (&event.id, &event.kind);
                wrong.push(format!("{made} deliveries of {kind} {id} to {}", endpoint.id));
            }
        }
        if wanted != inbox.contains(event.id.as_str()) {
            wrong.push(format!(
                "{} {} is wanted: {wanted}, taken: {}",
                event.kind, event.id, !wanted
            ));
        }
    }
    wrong.extend(deliveries.keys().map(|of| format!("a delivery {of:?} of what is not there")));
    wrong
}

/// Another service's queue gets all of the log, and of each aggregate in order, but for repetitions.
pub(super) fn foreign(case: &Case<'_>) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut seen = HashSet::new();
    let mut last: HashMap<&str, i64> = HashMap::new();
    for event in &case.evidence.foreign {
        if !seen.insert(event.id.as_str()) {
            continue;
        }
        if let Some(version) = last.insert(&event.subject, event.version)
            && event.version != version + 1
        {
            let (subject, found) = (&event.subject, event.version);
            wrong.push(format!("version {found} of {subject} came after {version}"));
        }
    }
    let log = &case.evidence.snapshot.log;
    let missed = log.iter().filter(|event| {
        event.position > case.evidence.foreign_since && !seen.contains(event.id.as_str())
    });
    wrong.extend(missed.map(|event| format!("{} {} never came", event.kind, event.id)));
    let logged: HashSet<&str> = log.iter().map(|event| event.id.as_str()).collect();
    let unknown = seen.iter().filter(|event| !logged.contains(*event));
    wrong.extend(unknown.map(|event| format!("{event} came and is not in the log")));
    wrong
}

pub(super) fn webhooks(case: &Case<'_>) -> Vec<String> {
    let mut hits: HashMap<&str, Vec<_>> = HashMap::new();
    for hit in &case.evidence.hits {
        hits.entry(&hit.delivery).or_default().push(hit);
    }
    let mut wrong = Vec::new();
    for delivery in &case.evidence.snapshot.deliveries {
        let hits = hits.remove(delivery.id.as_str()).unwrap_or_default();
        let (id, attempts) = (&delivery.id, delivery.attempts);
        if hits.len() as u64 > attempts.unsigned_abs() {
            wrong.push(format!("{id} arrived {} times in {attempts} attempts", hits.len()));
        }
        if delivery.status == "succeeded" && hits.is_empty() {
            wrong.push(format!("{id} succeeded and never arrived"));
        }
        if hits.iter().any(|hit| hit.event != delivery.event || hit.body != hits[0].body) {
            wrong.push(format!("{id} did not arrive as the same each time"));
        }
    }
    wrong.extend(hits.keys().map(|id| format!("{id} arrived and is no delivery")));
    wrong
}
