//! What is refused is audited, as far as there is room.

#![expect(clippy::unwrap_used, reason = "a failed assumption in a test is a failed test")]

use std::sync::Arc;

use convene_application::kernel::authz::{Action, Standing};
use convene_application::kernel::context::{Actor, RequestContext};
use convene_application::kernel::refusals::{RefusalLog as _, refusals};
use convene_application::kernel::uow::{AuditEntry, AuditOutcome};
use convene_domain::ids::{CommunityId, EventId, SessionId, TypedId as _, UserId};
use convene_testkit::fake::{FakeLimiter, FakeStore, FixedClock, env};
use uuid::Uuid;

fn context(person: u128) -> RequestContext {
    RequestContext {
        actor: Actor::User(UserId::from_uuid(Uuid::from_u128(person))),
        session: Some(SessionId::from_uuid(Uuid::from_u128(person))),
        ..RequestContext::system(format!("request-of-{person}"))
    }
}

fn standing() -> Standing {
    Standing {
        community: CommunityId::from_uuid(Uuid::from_u128(1)),
        event: Some(EventId::from_uuid(Uuid::from_u128(2))),
        role: None,
        organizes_event: false,
    }
}

/// What is in the log after somebody was refused so many times, a different action in turn.
async fn audited(
    store: &FakeStore<()>,
    person: u128,
    actions: &[Action],
    times: usize,
) -> Vec<AuditEntry> {
    let clock = Arc::new(FixedClock::default());
    let limiter = Arc::new(FakeLimiter::new(Arc::clone(&clock)));
    let (log, writer) = refusals(env(clock), limiter, Arc::new(store.clone()));
    for action in actions.iter().cycle().take(times) {
        let failure = standing().require(*action).unwrap_err();
        log.note(context(person), *failure.refused.unwrap());
    }
    // The end: what is left is written.
    writer.run(std::future::ready(())).await;
    store.ledger().audit
}

#[tokio::test]
async fn a_refusal_tells_who_wanted_what_of_which_object() {
    let store = FakeStore::<()>::default();
    let entries = audited(&store, 7, &[Action::ManageEvent], 1).await;
    let [entry] = entries.as_slice() else { panic!("{entries:?}") };
    assert_eq!((entry.action, entry.outcome), ("event.manage", AuditOutcome::Refused));
    assert_eq!(entry.community, Some(CommunityId::from_uuid(Uuid::from_u128(1))));
    assert_eq!(entry.object, EventId::from_uuid(Uuid::from_u128(2)).to_string());
    assert_eq!(entry.context.request_id, "request-of-7");
    assert_eq!(entry.actor(), Some(context(7).actor));
}

#[tokio::test]
async fn the_first_are_written_and_of_the_others_one_in_a_hundred() {
    let store = FakeStore::<()>::default();
    let entries = audited(&store, 7, &[Action::ManageEvent], 1_000).await;
    let (first, drawn) = entries.split_at(10);
    assert!(first.iter().all(|entry| entry.changed == serde_json::json!({})));
    assert!(drawn.iter().all(|entry| entry.changed == serde_json::json!({"one_of": 100})));
    assert!((1..40).contains(&drawn.len()), "{} of 990", drawn.len());
}

#[tokio::test]
async fn one_person_fills_no_more_than_a_person_may() {
    let store = FakeStore::<()>::default();
    let all: Vec<Action> = Action::all().filter(|action| !standing().may(*action)).collect();
    assert!(all.len() > 11, "enough actions are refused to reach the bound");
    assert_eq!(audited(&store, 7, &all, all.len() * 10).await.len(), 100);
    assert_eq!(audited(&store, 8, &all, 1).await.len(), 101, "another person has room");
}

#[tokio::test]
async fn what_cannot_be_written_holds_nobody_up() {
    let store = FakeStore::<()>::default();
    store.fail_after(1);
    assert!(audited(&store, 7, &[Action::ManageEvent], 1).await.is_empty());
    assert!(!store.heal(), "the commit failed");
    assert_eq!(audited(&store, 7, &[Action::ManageEvent], 1).await.len(), 1);
}
