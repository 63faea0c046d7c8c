//! What was asked, what was answered, and what is there.

use std::collections::{HashMap, HashSet};

use super::Case;
use crate::trial::history::{Operation, Outcome, Record};
use crate::trial::snapshot::Logged;

/// The attempts of each wish, in order.
fn wishes<'a>(case: &Case<'a>) -> HashMap<&'a str, Vec<&'a Record>> {
    let mut wishes: HashMap<&str, Vec<&Record>> = HashMap::new();
    for record in &case.evidence.history {
        if record.operation != Operation::Read {
            wishes.entry(record.wish()).or_default().push(record);
        }
    }
    wishes
}

/// Whether an event is what this request asked for, and not what followed from it for others.
fn is_asked_for(record: &Record, event: &Logged) -> bool {
    match record.operation {
        Operation::CreateEvent => event.kind == "event.created",
        Operation::PublishEvent => event.kind == "event.published",
        Operation::RenameEvent => event.kind == "event.updated",
        Operation::ResizeEvent => event.kind == "event.capacity_changed",
        Operation::CancelEvent => event.kind == "event.cancelled",
        Operation::Attend => {
            event.data["user_id"] == record.who.as_str() && event.data["cause"] == "direct"
        }
        Operation::Withdraw => {
            event.data["user_id"] == record.who.as_str() && event.data["cause"] == "withdrawn"
        }
        Operation::GiveRole => event.kind == "community.member_role_changed",
        Operation::DescribeCommunity => event.kind == "community.updated",
        Operation::Read => false,
    }
}

/// Whether an event tells what was wanted.
fn tells(record: &Record, event: &Logged) -> bool {
    let (wanted, data) = (&record.wanted, &event.data);
    match record.operation {
        Operation::CreateEvent => data["title"] == wanted["title"],
        Operation::RenameEvent => data["changed"]["title"]["new"] == wanted["title"],
        Operation::ResizeEvent => data["changed"]["capacity"]["new"] == wanted["capacity"],
        Operation::Attend => {
            data["party_size"] == wanted["party_size"] && data["rsvp_id"] == record.answer["id"]
        }
        Operation::GiveRole => data["changed"]["role"]["new"] == wanted["role"],
        Operation::DescribeCommunity => {
            data["changed"]["description"]["new"] == wanted["description"]
        }
        _ => true,
    }
}

pub(super) fn acknowledged_exist(case: &Case<'_>) -> Vec<String> {
    let snapshot = &case.evidence.snapshot;
    let rsvps: HashMap<&str, _> =
        snapshot.rsvps.iter().map(|rsvp| (rsvp.id.as_str(), rsvp)).collect();
    let subjects: HashSet<&str> =
        snapshot.aggregates.iter().map(|aggregate| aggregate.subject.as_str()).collect();
    let mut missing = Vec::new();
    for attempts in wishes(case).values() {
        let Some(record) = attempts.iter().find(|one| one.outcome == Outcome::Acknowledged) else {
            continue;
        };
        let id = record.answer["id"].as_str().unwrap_or_default();
        let exists = match record.operation {
            Operation::Attend | Operation::Withdraw => rsvps.get(id).is_some_and(|rsvp| {
                rsvp.user == record.who && record.answer["event_id"] == rsvp.event.as_str()
            }),
            // The answer about a role names a person, the log a membership.
            Operation::GiveRole => true,
            _ => subjects.contains(id),
        };
        if !exists {
            missing.push(format!("{:?} {} was answered with {id}", record.operation, record.path));
        }
        let caused: Vec<&Logged> = attempts
            .iter()
            .flat_map(|attempt| case.caused_by(&attempt.request))
            .copied()
            .filter(|event| is_asked_for(record, event))
            .collect();
        if record.certainly_changed() && caused.is_empty() {
            missing.push(format!(
                "{:?} {} ({}) is not in the log",
                record.operation, record.path, record.request
            ));
        }
        if let Some(event) = caused.iter().find(|event| !tells(record, event)) {
            missing.push(format!(
                "{:?} of {} was recorded as {}",
                record.operation, record.wanted, event.data
            ));
        }
    }
    missing
}

pub(super) fn refused_left_nothing(case: &Case<'_>) -> Vec<String> {
    let refused = case.evidence.history.iter().filter(|one| one.outcome == Outcome::Refused);
    refused
        .flat_map(|record| {
            let left = case.caused_by(&record.request).iter();
            left.map(move |event| {
                let status = record.status.unwrap_or_default();
                format!("{} was refused with {status} and recorded {}", record.path, event.kind)
            })
        })
        .collect()
}

pub(super) fn one_effect(case: &Case<'_>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (wish, attempts) in wishes(case) {
        let effects = attempts.iter().map(|attempt| {
            let caused = case.caused_by(&attempt.request).iter();
            caused.filter(|event| is_asked_for(attempt, event)).count()
        });
        let effects: usize = effects.sum();
        let (operation, path) = (attempts[0].operation, &attempts[0].path);
        if effects > 1 {
            wrong.push(format!("{operation:?} {path} ({wish}) had {effects} effects"));
        }
        let mut answers = attempts.iter().filter(|one| one.outcome == Outcome::Acknowledged);
        if let Some(first) = answers.next()
            && let Some(other) =
                answers.find(|one| (one.status, &one.answer) != (first.status, &first.answer))
        {
            let (one, other) = (&first.answer, &other.answer);
            wrong.push(format!("{operation:?} {path} was answered with {one}, then with {other}"));
        }
    }
    wrong
}

/// A dependency that is away is 503; 500 is ours.
pub(super) fn no_mistakes(case: &Case<'_>) -> Vec<String> {
    let failed = case.evidence.history.iter().filter(|one| one.status == Some(500));
    failed
        .map(|one| format!("{:?} {} ({}): {}", one.operation, one.path, one.request, one.answer))
        .collect()
}

/// Each request that has changed something has an entry that says so, and one that was refused has none.
pub(super) fn audited(case: &Case<'_>) -> Vec<String> {
    let audit = &case.evidence.snapshot.audit;
    let done = audit.iter().filter(|entry| entry.outcome == "done");
    let done: HashSet<&str> = done.map(|entry| entry.request.as_str()).collect();
    let mut wrong = Vec::new();
    for record in &case.evidence.history {
        let changed =
            case.caused_by(&record.request).iter().any(|event| is_asked_for(record, event));
        let is_audited = done.contains(record.request.as_str());
        if changed && !is_audited {
            wrong.push(format!("{:?} {} is not audited", record.operation, record.path));
        }
        if is_audited && record.outcome == Outcome::Refused {
            wrong.push(format!("{:?} {} is audited as done", record.operation, record.path));
        }
    }
    let mut last: HashMap<&str, i64> = HashMap::new();
    for entry in audit {
        let number = last.entry(&entry.chain).or_default();
        *number += 1;
        if entry.number != *number {
            wrong.push(format!("{} is in the place of {number}", entry.number));
            *number = entry.number;
        }
    }
    wrong
}
