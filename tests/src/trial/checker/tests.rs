//! The checker is checked: each kind of violation is planted, and found.

use std::collections::HashSet;

use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::trial::history::{Operation, Outcome, Record};
use crate::trial::snapshot::{
    Aggregate, Audited, Delivery, Endpoint, LeaseStep, RsvpRow, Seats, Snapshot,
};
use crate::trial::usage::{Holding, Usage};
use crate::trial::{Foreign, Hit};

fn record(
    operation: Operation,
    request: &str,
    wanted: Value,
    status: u16,
    answer: Value,
) -> Record {
    Record {
        at_ms: 0,
        took_ms: 1,
        who: "user_1".to_owned(),
        process: "serve1".to_owned(),
        operation,
        path: format!("/of/{request}"),
        key: Some(format!("key of {operation:?}")),
        request: request.to_owned(),
        wanted,
        status: Some(status),
        outcome: Outcome::of(Some(status)),
        replayed: false,
        answer,
    }
}

fn event(
    position: i64,
    kind: &str,
    subject: &str,
    version: i64,
    request: &str,
    data: Value,
) -> Logged {
    Logged {
        position,
        id: format!("id{position}"),
        kind: kind.to_owned(),
        subject: subject.to_owned(),
        version,
        request: request.to_owned(),
        actor: "user_1".to_owned(),
        community: Some("comm_1".to_owned()),
        time: 100 + position,
        data,
    }
}

/// Somebody makes an event and calls it otherwise; the answer to the second of three attempts to come to it is lost; nobody
/// may name it a third time.
fn history() -> Vec<Record> {
    let mut created = record(
        Operation::CreateEvent,
        "r1",
        json!({"title": "One"}),
        201,
        json!({"id": "event_1", "title": "One"}),
    );
    created.key = None;
    let title = json!({"title": "Two"});
    let renamed = record(
        Operation::RenameEvent,
        "r2",
        title.clone(),
        200,
        json!({"id": "event_1", "title": "Two"}),
    );
    let rsvp = json!({"id": "rsvp_1", "event_id": "event_1"});
    let come = |request, status, answer| {
        record(Operation::Attend, request, json!({"party_size": 2}), status, answer)
    };
    let mut lost = come("r4", 201, Value::Null);
    (lost.status, lost.outcome) = (None, Outcome::Unknown);
    let mut replayed = come("r5", 201, rsvp);
    replayed.replayed = true;
    let mut refused =
        record(Operation::RenameEvent, "r6", json!({"title": "Three"}), 403, json!({}));
    refused.key = Some("another".to_owned());
    vec![created, renamed, come("r3", 503, json!({})), lost, replayed, refused]
}

fn log() -> Vec<Logged> {
    let rsvp = json!({
        "rsvp_id": "rsvp_1", "user_id": "user_1", "cause": "direct", "party_size": 2, "seats_left": 0,
    });
    vec![
        event(1, "event.created", "event_1", 1, "r1", json!({"title": "One"})),
        event(
            2,
            "event.updated",
            "event_1",
            2,
            "r2",
            json!({"changed": {"title": {"new": "Two"}}}),
        ),
        event(3, "rsvp.confirmed", "rsvp_1", 1, "r4", rsvp),
    ]
}

fn good() -> Evidence {
    let log = log();
    let audit = [(1, "r1"), (2, "r2"), (3, "r4")].map(|(number, request)| Audited {
        chain: "comm_1".to_owned(),
        number,
        request: request.to_owned(),
        action: "something".to_owned(),
        outcome: "done".to_owned(),
    });
    let deliveries = log.iter().map(|event| Delivery {
        id: format!("hdlv_{}", event.position),
        endpoint: "hook_1".to_owned(),
        event: event.id.clone(),
        status: "succeeded".to_owned(),
        attempts: 2,
    });
    let hit = |event: &Logged| Hit {
        delivery: format!("hdlv_{}", event.position),
        event: event.id.clone(),
        body: Bytes::from_static(b"{}"),
    };
    let step = |step: &str, epoch, by: &str, expired| LeaseStep {
        job: 1,
        step: step.to_owned(),
        epoch,
        expired,
        by: by.to_owned(),
    };
    let foreign = log.iter().chain(&log[2..]).map(|event| Foreign {
        id: event.id.clone(),
        subject: event.subject.clone(),
        version: event.version,
    });
    let holding = Holding { descriptors: 100, memory_kib: 100_000, connections: 10 };
    Evidence {
        history: history(),
        hits: log.iter().chain(&log[..1]).map(hit).collect(),
        foreign: foreign.collect(),
        foreign_since: 0,
        usage: vec![Usage { process: "serve1".to_owned(), before: holding, after: holding }],
        broken_chains: None,
        deaths: Vec::new(),
        unready: Vec::new(),
        snapshot: Snapshot {
            aggregates: [("event_1", 2), ("rsvp_1", 1), ("hook_1", 0)]
                .map(|(subject, version)| Aggregate { subject: subject.to_owned(), version })
                .to_vec(),
            rsvps: vec![RsvpRow {
                id: "rsvp_1".to_owned(),
                event: "event_1".to_owned(),
                user: "user_1".to_owned(),
                status: "confirmed".to_owned(),
                party: 2,
            }],
            seats: vec![Seats {
                event: "event_1".to_owned(),
                capacity: Some(2),
                taken: 2,
                waiting: 0,
            }],
            inbox: log.iter().map(|e| ("webhook.fanout".to_owned(), e.id.clone())).collect(),
            endpoints: vec![Endpoint {
                id: "hook_1".to_owned(),
                community: "comm_1".to_owned(),
                patterns: vec![
                    "event.updated".to_owned(),
                    "event.created".to_owned(),
                    "rsvp.*".to_owned(),
                ],
                created: 50,
            }],
            deliveries: deliveries.collect(),
            audit: audit.to_vec(),
            leases: vec![
                step("claimed", 1, "worker1", false),
                // Its worker was killed: another may end the lease once it has run out.
                step("released", 1, "worker2", true),
                step("claimed", 2, "worker2", false),
                step("deleted", 2, "worker2", false),
            ],
            overdue: Vec::new(),
            log,
        },
    }
}

type Plant = fn(&mut Evidence);

/// Each of these is wrong in one way, which at least the invariant of that name notices.
const PLANTED: &[(&str, &str, Plant)] = &[
    ("an acknowledged write exists", "a row is gone", |e| e.snapshot.rsvps.clear()),
    ("an acknowledged write exists", "an aggregate is gone", |e| {
        e.snapshot.aggregates.retain(|one| one.subject != "event_1");
    }),
    ("an acknowledged write exists", "it is not in the log", |e| {
        e.snapshot.log.retain(|event| event.request != "r2");
    }),
    ("an acknowledged write exists", "the seats are somebody else's", |e| {
        e.snapshot.rsvps[0].user = "user_2".to_owned();
    }),
    ("an acknowledged write exists", "something else was recorded", |e| {
        e.snapshot.log[1].data["changed"]["title"]["new"] = json!("Four");
    }),
    ("a refused write left nothing", "an event of what was refused", |e| {
        e.snapshot.log[1].request = "r6".to_owned();
    }),
    ("a wish has one effect", "two attempts had one each", |e| {
        let mut again = e.snapshot.log[2].clone();
        again.request = "r3".to_owned();
        e.snapshot.log.push(again);
    }),
    ("a wish has one effect", "two answers to one key", |e| {
        let mut again = e.history[4].clone();
        again.answer["id"] = json!("rsvp_2");
        e.history.push(again);
    }),
    ("no answer tells of a mistake of ours", "500", |e| e.history[2].status = Some(500)),
    ("each change is audited", "an entry is missing", |e| {
        e.snapshot.audit.pop();
    }),
    ("each change is audited", "what was refused is said to be done", |e| {
        e.snapshot.audit[1].request = "r6".to_owned();
    }),
    ("each change is audited", "a number is missing", |e| e.snapshot.audit[2].number = 4),
    ("the log has each position once", "a gap", |e| e.snapshot.log[2].position = 4),
    ("the log has each position once", "an event twice", |e| {
        e.snapshot.log[1].id = "id1".to_owned();
    }),
    ("an aggregate's versions come in order without a gap", "the wrong order", |e| {
        e.snapshot.log.swap(0, 1);
    }),
    ("an aggregate's versions come in order without a gap", "a gap", |e| {
        e.snapshot.log[1].version = 3;
    }),
    ("what changed is what events tell", "a change without an event", |e| {
        e.snapshot.aggregates[0].version = 3;
    }),
    ("what changed is what events tell", "an event of what was rolled back", |e| {
        e.snapshot.log[2].subject = "rsvp_9".to_owned();
    }),
    ("what changed is what events tell", "a row that tells something else", |e| {
        e.snapshot.rsvps[0].status = "waitlisted".to_owned();
    }),
    ("seats are never above the capacity", "oversold", |e| e.snapshot.seats[0].capacity = Some(1)),
    ("seats are never above the capacity", "oversold for a moment", |e| {
        e.snapshot.log[2].data["seats_left"] = json!(-1);
    }),
    ("seats are never above the capacity", "miscounted", |e| e.snapshot.seats[0].taken = 1),
    ("seats are never above the capacity", "somebody waits uncounted", |e| {
        e.snapshot.rsvps[0].status = "waitlisted".to_owned();
    }),
    ("each consumer takes each event once", "not at all", |e| {
        e.snapshot.deliveries.remove(1);
    }),
    ("each consumer takes each event once", "twice", |e| {
        let again = e.snapshot.deliveries[1].clone();
        e.snapshot.deliveries.push(again);
    }),
    ("each consumer takes each event once", "without a trace", |e| {
        e.snapshot.inbox.pop();
    }),
    ("each consumer takes each event once", "what nobody wanted", |e| {
        e.snapshot.endpoints[0].patterns.pop();
    }),
    ("each event reaches other services in order", "not at all", |e| {
        e.foreign.retain(|event| event.id != "id1");
    }),
    ("each event reaches other services in order", "in the wrong order", |e| e.foreign.swap(0, 1)),
    ("each event reaches other services in order", "one of which nobody knows", |e| {
        e.foreign[0].id = "made up".to_owned();
    }),
    ("webhooks are attempts that were written down", "more hits than attempts", |e| {
        e.snapshot.deliveries[0].attempts = 1;
    }),
    ("webhooks are attempts that were written down", "succeeded and never arrived", |e| {
        e.hits.remove(1);
    }),
    ("webhooks are attempts that were written down", "one id for two bodies", |e| {
        e.hits[3].body = Bytes::from_static(b"[]");
    }),
    ("webhooks are attempts that were written down", "an id of nothing", |e| {
        e.hits[0].delivery = "hdlv_9".to_owned();
    }),
    ("nobody completes what is not theirs any more", "a stale completion", |e| {
        e.snapshot.leases[3].by = "worker1".to_owned();
    }),
    ("nobody completes what is not theirs any more", "under an epoch that is over", |e| {
        e.snapshot.leases[3].epoch = 1;
    }),
    ("nobody completes what is not theirs any more", "two hold one job", |e| {
        e.snapshot.leases.remove(1);
    }),
    ("nothing that is due waits", "a job", |e| e.snapshot.overdue.push("job 1".to_owned())),
    ("audit chains verify", "a broken chain", |e| e.broken_chains = Some("broken".to_owned())),
    ("nothing is held for ever", "descriptors", |e| e.usage[0].after.descriptors = 1_000),
    ("nothing is held for ever", "memory", |e| e.usage[0].after.memory_kib = 1_000_000),
    ("nothing is held for ever", "connections", |e| e.usage[0].after.connections = 100),
    ("a process ends only when it is killed", "a crash", |e| e.deaths.push("serve1".to_owned())),
    ("every process gets ready again", "one that does not", |e| {
        e.unready.push("serve1".to_owned());
    }),
];

#[test]
fn what_is_right_passes() {
    assert_eq!(check(&good()), []);
    assert_eq!(check(&Evidence::default()), []);
}

#[test]
fn each_violation_is_found() {
    for (invariant, what, plant) in PLANTED {
        let mut evidence = good();
        plant(&mut evidence);
        let found = check(&evidence);
        assert!(found.iter().any(|one| one.invariant == *invariant), "{what}: {found:?}");
    }
}

#[test]
fn each_invariant_is_violated() {
    let planted: HashSet<&str> = PLANTED.iter().map(|(invariant, ..)| *invariant).collect();
    let all: HashSet<&str> = INVARIANTS.iter().map(|(invariant, _)| *invariant).collect();
    assert_eq!(planted, all);
}
