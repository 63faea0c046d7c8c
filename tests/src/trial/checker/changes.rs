//! What the tables hold, and what the log tells of it.

use std::collections::{HashMap, HashSet};

use super::Case;

pub(super) fn positions(case: &Case<'_>) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut ids = HashSet::new();
    for (place, event) in (1..).zip(&case.evidence.snapshot.log) {
        if event.position != place {
            wrong
                .push(format!("{} is at position {} instead of {place}", event.id, event.position));
            break;
        }
        if !ids.insert(&event.id) {
            wrong.push(format!("{} is in the log twice", event.id));
        }
    }
    wrong
}

pub(super) fn versions(case: &Case<'_>) -> Vec<String> {
    let mut last: HashMap<&str, i64> = HashMap::new();
    let mut wrong = Vec::new();
    for event in &case.evidence.snapshot.log {
        let version = last.entry(&event.subject).or_default();
        if event.version != *version + 1 {
            let (subject, found) = (&event.subject, event.version);
            wrong.push(format!("version {found} of {subject} follows {version}"));
        }
        *version = event.version;
    }
    wrong
}

/// Each row has the version of its last event, and each event a row: so there is no change without an event, and no event of
/// what was rolled back.
pub(super) fn told(case: &Case<'_>) -> Vec<String> {
    let snapshot = &case.evidence.snapshot;
    let mut last = HashMap::new();
    for event in &snapshot.log {
        last.insert(event.subject.as_str(), event);
    }
    let mut wrong = Vec::new();
    let mut known = HashSet::new();
    for aggregate in &snapshot.aggregates {
        known.insert(aggregate.subject.as_str());
        let told = last.get(aggregate.subject.as_str()).map_or(0, |event| event.version);
        if told != aggregate.version {
            let (subject, version) = (&aggregate.subject, aggregate.version);
            wrong.push(format!("{subject} has version {version}, and events tell of {told}"));
        }
    }
    let unknown = last.keys().filter(|subject| !known.contains(*subject));
    wrong.extend(unknown.map(|subject| format!("events tell of {subject}, which is not there")));
    for rsvp in &snapshot.rsvps {
        let Some(event) = last.get(rsvp.id.as_str()) else { continue };
        let status = match event.kind.as_str() {
            "rsvp.confirmed" => "confirmed",
            "rsvp.waitlisted" => "waitlisted",
            "rsvp.cancelled" => "cancelled",
            // The size of the party changes nothing else.
            _ => rsvp.status.as_str(),
        };
        if rsvp.status != status || event.data["party_size"] != rsvp.party {
            wrong.push(format!("{rsvp:?} is {} with {}", event.kind, event.data));
        }
    }
    wrong
}

pub(super) fn seats(case: &Case<'_>) -> Vec<String> {
    let snapshot = &case.evidence.snapshot;
    let mut wrong = Vec::new();
    for seats in &snapshot.seats {
        let of = |status: &str| {
            let rsvps = snapshot.rsvps.iter().filter(|rsvp| rsvp.event == seats.event);
            rsvps.filter(|rsvp| rsvp.status == status).map(|rsvp| rsvp.party).collect::<Vec<_>>()
        };
        let (confirmed, waitlisted) = (of("confirmed"), of("waitlisted"));
        if seats.capacity.is_some_and(|capacity| seats.taken > capacity) {
            wrong.push(format!("more than there are: {seats:?}"));
        }
        if confirmed.iter().sum::<i64>() != seats.taken {
            wrong.push(format!("{confirmed:?} have seats, and that is not {seats:?}"));
        }
        if waitlisted.len() as u64 != seats.waiting.unsigned_abs() {
            wrong.push(format!("{waitlisted:?} wait, and that is not {seats:?}"));
        }
    }
    // At each moment, too: an event tells how many are left after it.
    let oversold = snapshot.log.iter().filter(|event| event.data["seats_left"].as_i64() < Some(0));
    let oversold = oversold.filter(|event| event.data["seats_left"].is_number());
    wrong.extend(oversold.map(|event| format!("oversold after {} {}", event.id, event.data)));
    wrong
}
