//! The use cases of events, over fakes.

mod scene;

use bytes::Bytes;
use convene_application::kernel::error::{Checked, Code, Failure};
use convene_application::kernel::idempotency::{
    Idempotency, InvalidKey, KeyClaim, Reply, StoredReply,
};
use convene_application::kernel::precondition::{IfMatch, Tags};
use convene_domain::event::{Event, EventPatch, Fold, Status};
use convene_domain::zone::TimeZoneName;
use convene_testkit::fake::Caller;
use jiff::SignedDuration;
use scene::{Scene, code, etag, local, new_event, sized, titled};
use serde_json::json;

#[tokio::test]
async fn organizers_and_above_make_drafts_and_organise_them() {
    let scene = Scene::new().await;
    for (name, person) in scene.people() {
        let made = scene.create(person, new_event()).await;
        let may = !matches!(name, "member" | "stranger");
        assert_eq!(made.is_ok(), may, "{name}");
        let Ok(event) = made else {
            assert_eq!(code(made), Code::Forbidden, "{name}");
            continue;
        };
        assert_eq!((event.status, event.version), (Status::Draft, 1));
        let (names, data) = scene.recorded(&event);
        assert_eq!(names, ["event.created@1"]);
        assert_eq!(data[0]["starts_at"], "2027-05-01T16:00:00.000000Z");
        assert_eq!(data[0]["capacity"], 40);
        assert!(scene.store.peek().await.events.organizers.contains(&(event.id, person.user())));
    }
}

#[tokio::test]
async fn a_draft_is_for_those_who_manage_it_and_a_published_event_for_all() {
    let scene = Scene::new().await;
    let draft = scene.draft().await;
    let manages = |name: &str| matches!(name, "owner" | "admin" | "organizer");
    for (name, person) in scene.people() {
        let seen = scene.service.get(Some(person.user()), draft.id).await;
        assert_eq!(seen.is_ok(), manages(name), "{name}");
        assert_eq!(scene.titles(Some(person)).await.unwrap().len(), usize::from(manages(name)));
        let refused = if manages(name) { None } else { Some(Code::NotFound) };
        let updated = scene.update(person, &draft, EventPatch::default()).await;
        assert_eq!(updated.err().map(|failure| failure.code), refused, "{name}");
    }
    assert_eq!(code(scene.service.get(None, draft.id).await), Code::NotFound);

    scene.publish(&scene.organizer, &draft).await.unwrap();
    assert_eq!(scene.service.get(None, draft.id).await.unwrap().status, Status::Published);
    assert_eq!(scene.titles(None).await.unwrap(), ["Spring Hack Day"]);
    for (name, person) in scene.people() {
        let updated = scene.update(person, &draft, EventPatch::default()).await;
        let refused = if manages(name) { None } else { Some(Code::Forbidden) };
        assert_eq!(updated.err().map(|failure| failure.code), refused, "{name}");
    }
}

#[tokio::test]
async fn an_organiser_who_left_manages_nothing() {
    let scene = Scene::new().await;
    let draft = scene.draft().await;
    let Caller { context, principal } = &scene.organizer;
    scene.communities.leave(context, *principal, &scene.community, None).await.unwrap();
    assert_eq!(code(scene.publish(&scene.organizer, &draft).await), Code::NotFound);
    assert!(scene.titles(Some(&scene.organizer)).await.unwrap().is_empty());
}

#[tokio::test]
async fn events_of_a_private_community_are_for_its_members() {
    let scene = Scene::new().await;
    let event = scene.published().await;
    scene.hide().await;
    assert_eq!(code(scene.service.get(None, event.id).await), Code::NotFound);
    let stranger = &scene.stranger;
    assert_eq!(code(scene.service.get(Some(stranger.user()), event.id).await), Code::NotFound);
    assert_eq!(code(scene.titles(Some(stranger)).await), Code::NotFound);
    assert_eq!(code(scene.create(stranger, new_event()).await), Code::NotFound);
    assert_eq!(code(scene.cancel(stranger, &event).await), Code::NotFound);
    assert!(scene.service.get(Some(scene.member.user()), event.id).await.is_ok());
}

#[tokio::test]
async fn title_and_capacity_are_recorded_apart() {
    let scene = Scene::new().await;
    let event = scene.published().await;
    let patch = EventPatch { capacity: sized(Some(60)).capacity, ..titled("Spring Hack Night") };
    scene.clock.advance(SignedDuration::from_secs(5));
    let updated = scene.update(&scene.organizer, &event, patch.clone()).await.unwrap();
    let (names, data) = scene.recorded(&event);
    let expected =
        ["event.created@1", "event.published@2", "event.updated@3", "event.capacity_changed@4"];
    assert_eq!(names, expected);
    let title = json!({ "title": { "old": "Spring Hack Day", "new": "Spring Hack Night" } });
    assert_eq!(data[2]["changed"], title);
    assert_eq!(data[3]["changed"], json!({ "capacity": { "old": 40, "new": 60 } }));
    assert_eq!(**scene.service.get(None, event.id).await.unwrap(), updated);

    let again = scene.update(&scene.organizer, &event, patch).await.unwrap();
    assert_eq!(again, updated);
    assert_eq!(scene.recorded(&event).0.len(), 4);
}

#[tokio::test]
async fn moving_an_event_derives_its_instants_again() {
    let scene = Scene::new().await;
    let event = scene.draft().await;
    let patch = EventPatch {
        time_zone: Some(TimeZoneName::new("Asia/Tokyo").unwrap()),
        ..EventPatch::default()
    };
    scene.update(&scene.organizer, &event, patch).await.unwrap();
    let changed = &scene.recorded(&event).1[1]["changed"];
    assert_eq!(changed["time_zone"], json!({ "old": "Europe/Berlin", "new": "Asia/Tokyo" }));
    assert_eq!(changed["starts_at"]["new"], "2027-05-01T09:00:00.000000Z");
    assert!(changed.get("starts_at_local").is_none());
}

#[tokio::test]
async fn times_that_clocks_skip_or_repeat_have_their_own_codes() {
    let scene = Scene::new().await;
    let at = |starts: &str, ends: &str, fold| {
        let mut new = new_event();
        new.plan.starts_at_local = local(starts);
        new.plan.ends_at_local = local(ends);
        new.plan.fold = fold;
        new
    };
    let skipped = at("2027-03-28T02:30", "2027-03-28T05:00", None);
    assert_eq!(code(scene.create(&scene.organizer, skipped).await), Code::NonexistentTime);
    let twice = |fold| at("2027-10-31T01:00", "2027-10-31T02:30", fold);
    let refused = scene.create(&scene.organizer, twice(None)).await.unwrap_err();
    assert_eq!(refused.code, Code::AmbiguousTime);
    assert_eq!(refused.errors.len(), 1);
    let event = scene.create(&scene.organizer, twice(Some(Fold::Later))).await.unwrap();
    assert_eq!(event.schedule.ends_at().to_string(), "2027-10-31T01:30:00Z");
    let unfold = EventPatch { fold: Some(None), ..EventPatch::default() };
    assert_eq!(code(scene.update(&scene.organizer, &event, unfold).await), Code::AmbiguousTime);
    let backwards = at("2027-05-01T18:00", "2027-05-01T17:00", None);
    assert_eq!(code(scene.create(&scene.organizer, backwards).await), Code::ValidationFailed);
}

#[tokio::test]
async fn the_capacity_stays_above_the_seats_taken_and_raising_it_promotes() {
    let scene = Scene::new().await;
    let event = scene.published().await;
    scene.fill(&event, 40, 3).await;
    let organizer = &scene.organizer;
    let lowered = scene.update(organizer, &event, sized(Some(39))).await;
    assert_eq!(code(lowered), Code::CapacityBelowConfirmed);

    scene.update(organizer, &event, titled("Spring Hack Night")).await.unwrap();
    assert!(scene.store.take_jobs().is_empty());
    for raised in [Some(41), None] {
        scene.update(organizer, &event, sized(raised)).await.unwrap();
        let jobs = scene.store.take_jobs();
        assert_eq!(jobs.len(), 1);
        assert_eq!(jobs[0].kind, "rsvp.promote_waitlist");
        assert_eq!(jobs[0].unique_key, Some(event.id.to_string()));
    }
    scene.update(organizer, &event, sized(Some(40))).await.unwrap();
    assert!(scene.store.take_jobs().is_empty());

    scene.fill(&event, 40, 0).await;
    scene.update(organizer, &event, sized(Some(100))).await.unwrap();
    assert!(scene.store.take_jobs().is_empty(), "nobody waits");
}

#[tokio::test]
async fn an_event_is_published_once_and_cancelled_once() {
    let scene = Scene::new().await;
    let organizer = &scene.organizer;
    let event = scene.published().await;
    assert_eq!(code(scene.publish(organizer, &event).await), Code::InvalidTransition);
    scene.fill(&event, 2, 0).await;
    let cancelled = scene.cancel(organizer, &event).await.unwrap();
    assert_eq!((cancelled.status, cancelled.version), (Status::Cancelled, 3));
    let (names, data) = scene.recorded(&event);
    assert_eq!(names[2], "event.cancelled@3");
    assert_eq!(data[2]["reason"], "The venue is closed.");
    let jobs = scene.store.take_jobs();
    assert_eq!(jobs.iter().map(|job| job.kind).collect::<Vec<_>>(), ["rsvp.release_event"]);

    assert_eq!(code(scene.cancel(organizer, &event).await), Code::InvalidTransition);
    assert_eq!(code(scene.publish(organizer, &event).await), Code::InvalidTransition);
    let updated = scene.update(organizer, &event, EventPatch::default()).await;
    assert_eq!(code(updated), Code::InvalidTransition);
    // People who had a seat still find it.
    assert_eq!(scene.service.get(None, event.id).await.unwrap().status, Status::Cancelled);
}

#[tokio::test]
async fn a_cancelled_draft_stays_out_of_sight() {
    let scene = Scene::new().await;
    let draft = scene.draft().await;
    scene.cancel(&scene.organizer, &draft).await.unwrap();
    assert!(scene.store.take_jobs().is_empty());
    assert_eq!(code(scene.service.get(None, draft.id).await), Code::NotFound);
    assert!(scene.titles(Some(&scene.member)).await.unwrap().is_empty());
    assert!(scene.service.get(Some(scene.organizer.user()), draft.id).await.is_ok());
}

#[tokio::test]
async fn an_archived_community_takes_no_changes_of_its_events_and_hides_none() {
    let scene = Scene::new().await;
    let (draft, published) = (scene.draft().await, scene.published().await);
    scene.archive().await;
    let archived = Code::CommunityArchived;
    assert_eq!(code(scene.create(&scene.admin, new_event()).await), archived);
    assert_eq!(code(scene.update(&scene.admin, &published, titled("No")).await), archived);
    assert_eq!(code(scene.publish(&scene.admin, &draft).await), archived);
    assert_eq!(code(scene.cancel(&scene.organizer, &published).await), archived);
    assert!(scene.service.get(None, published.id).await.is_ok());
    assert_eq!(code(scene.titles(Some(&scene.member)).await), Code::NotFound);
    assert_eq!(scene.titles(Some(&scene.admin)).await.unwrap().len(), 2);
}

#[tokio::test]
async fn checks_come_in_their_order() {
    let scene = Scene::new().await;
    let event = scene.published().await;
    let update = async |by: &Caller, tags, patch: Checked<EventPatch>| {
        let if_match = IfMatch { tags, etag };
        let Caller { context, principal } = by;
        code(scene.service.update(context, *principal, event.id, patch, &if_match, None).await)
    };
    let bad = || Err(Failure::invalid(Vec::new()));
    assert_eq!(update(&scene.member, Tags::Absent, bad()).await, Code::Forbidden);
    assert_eq!(update(&scene.organizer, Tags::Absent, bad()).await, Code::PreconditionRequired);
    let stale = Tags::OneOf(vec!["v1".to_owned()]);
    assert_eq!(update(&scene.organizer, stale, bad()).await, Code::PreconditionFailed);
    assert_eq!(update(&scene.organizer, Tags::Any, bad()).await, Code::ValidationFailed);
    scene.fill(&event, 40, 0).await;
    let window = EventPatch {
        rsvp_opens_at: Some(Some(jiff::Timestamp::UNIX_EPOCH)),
        rsvp_closes_at: Some(Some(jiff::Timestamp::UNIX_EPOCH)),
        ..sized(Some(1))
    };
    assert_eq!(update(&scene.organizer, Tags::Any, Ok(window)).await, Code::ValidationFailed);
}

#[tokio::test]
async fn a_repeated_request_gets_the_first_reply_and_has_no_second_effect() {
    let scene = Scene::new().await;
    let draft = scene.draft().await;
    let publish = async || {
        let key = Idempotency {
            claim: Ok(KeyClaim { scope: [1; 32], fingerprint: [1; 32] }),
            render: |event: &Event| StoredReply {
                status: 200,
                location: None,
                etag: Some(etag(event)),
                body: Bytes::from(event.id.to_string()),
            },
        };
        let Caller { context, principal } = &scene.organizer;
        scene.service.publish(context, *principal, draft.id, Some(key)).await.unwrap()
    };
    assert!(matches!(publish().await, Reply::Fresh(_)));
    let Reply::Replayed(reply) = publish().await else { panic!("the second") };
    assert_eq!(reply.etag.as_deref(), Some("v2"));
    assert_eq!(scene.recorded(&draft).0, ["event.created@1", "event.published@2"]);
}

#[tokio::test]
async fn an_invalid_key_is_told_only_to_those_who_may_act() {
    let scene = Scene::new().await;
    let draft = scene.draft().await;
    let invalid = || {
        let render = |event: &Event| StoredReply {
            status: 200,
            location: None,
            etag: Some(etag(event)),
            body: Bytes::new(),
        };
        Some(Idempotency { claim: Err(InvalidKey.into()), render })
    };
    for (by, expected) in
        [(&scene.stranger, Code::NotFound), (&scene.organizer, Code::ValidationFailed)]
    {
        let Caller { context, principal } = by;
        let published = scene.service.publish(context, *principal, draft.id, invalid()).await;
        assert_eq!(code(published), expected);
        let cancelled =
            scene.service.cancel(context, *principal, draft.id, Ok(None), invalid()).await;
        assert_eq!(code(cancelled), expected);
        // The key comes before the condition and before the body.
        let mistake = Failure::new(Code::MalformedRequest, "The body is no JSON.");
        let if_match = IfMatch { tags: Tags::Absent, etag };
        let updated = scene
            .service
            .update(context, *principal, draft.id, Err(mistake), &if_match, invalid())
            .await;
        assert_eq!(code(updated), expected);
    }
    let published = scene.published().await;
    let Caller { context, principal } = &scene.member;
    let forbidden = scene.service.cancel(context, *principal, published.id, Ok(None), invalid());
    assert_eq!(code(forbidden.await), Code::Forbidden);
}

#[tokio::test]
async fn a_change_that_meets_another_is_tried_again_and_has_one_effect() {
    let scene = Scene::new().await;
    let event = scene.published().await;
    scene.store.conflict(2);
    scene.update(&scene.organizer, &event, titled("Spring Hack Night")).await.unwrap();
    let recorded = ["event.created@1", "event.published@2", "event.updated@3"];
    assert_eq!(scene.recorded(&event).0, recorded);

    scene.store.conflict(3);
    let given_up = scene.update(&scene.organizer, &event, titled("Autumn Hack Night")).await;
    assert_eq!(code(given_up), Code::Unavailable);
    assert_eq!(scene.recorded(&event).0, recorded);
}

#[tokio::test]
async fn a_failure_at_any_step_leaves_nothing_of_the_change() {
    let scene = Scene::new().await;
    let event = scene.published().await;
    scene.fill(&event, 40, 3).await;
    let patch = EventPatch { capacity: sized(Some(60)).capacity, ..titled("Spring Hack Night") };
    for attempt in 0.. {
        let before = (scene.store.peek().await.clone(), scene.recorded(&event));
        scene.store.fail_after(attempt);
        let updated = scene.update(&scene.organizer, &event, patch.clone()).await;
        if scene.store.heal() {
            updated.unwrap();
            assert!(attempt >= 3, "a beginning, a read and a commit");
            break;
        }
        assert_eq!(code(updated), Code::Unavailable);
        assert_eq!((scene.store.peek().await.clone(), scene.recorded(&event)), before);
        assert!(scene.store.ledger().jobs.is_empty());
    }
}
