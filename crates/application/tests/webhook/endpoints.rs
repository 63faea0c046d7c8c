//! Making, seeing, changing and deleting endpoints.

use convene_application::kernel::error::{Code, Failure};
use convene_application::kernel::idempotency::Reply;
use convene_application::kernel::precondition::{IfMatch, Tags};
use convene_application::webhook::ports::Replay;
use convene_application::webhook::{
    CreatedEndpoint, EndpointChange, EndpointInput, ReplayInput, Rotation,
};
use convene_domain::community::{CommunityRef, Visibility};
use convene_domain::ids::{DeliveryId, ReplayId, TypedId as _, WebhookId};
use convene_domain::text::{Description, Slug};
use convene_domain::webhook::{Endpoint, EndpointStatus, ReplayScope, ReplayStatus};
use convene_testkit::fake::Caller;
use secrecy::ExposeSecret as _;
use uuid::Uuid;

use crate::scene::{Scene, all, any, bytes, code, etag, fresh, input, key};

/// What each use case answers to somebody.
async fn answers(
    scene: &Scene,
    by: &Caller,
    endpoint: &Endpoint,
) -> Vec<(&'static str, Option<Code>)> {
    let Caller { context, principal } = by;
    let (target, webhook, service) = (scene.target(), endpoint.id, &scene.service);
    let delivery = scene.deliveries(webhook).await[0].id;
    let change = || Ok(EndpointChange::default());
    let if_match = any();
    let missing = ReplayInput { scope: ReplayScope::Missing, since: None };
    let replay = scene.store.peek().await.replays.values().next().unwrap().id;
    let failed = |failure: Failure| failure.code;
    vec![
        ("get", service.get(*principal, &target, webhook).await.map_err(failed).err()),
        ("list", service.list(*principal, &target, all()).await.map_err(failed).err()),
        (
            "deliveries",
            service.deliveries(*principal, &target, webhook, all()).await.map_err(failed).err(),
        ),
        ("create", scene.create(by, Ok(input(&["*"])), None).await.map_err(failed).err()),
        (
            "update",
            service
                .update(context, *principal, &target, webhook, change(), &if_match, None)
                .await
                .map_err(failed)
                .err(),
        ),
        (
            "resend",
            service
                .resend(context, *principal, &target, webhook, delivery, None)
                .await
                .map_err(failed)
                .err(),
        ),
        (
            "rotate",
            service
                .rotate_secret(context, *principal, &target, webhook, Ok(Rotation::default()), None)
                .await
                .map_err(failed)
                .err(),
        ),
        (
            "test",
            service.test(context, *principal, &target, webhook, None).await.map_err(failed).err(),
        ),
        (
            "replay",
            service
                .replay(context, *principal, &target, webhook, Ok(missing), None)
                .await
                .map_err(failed)
                .err(),
        ),
        (
            "get_replay",
            service.get_replay(*principal, &target, webhook, replay).await.map_err(failed).err(),
        ),
        (
            "cancel_replay",
            service
                .cancel_replay(context, *principal, &target, webhook, replay, None)
                .await
                .map_err(failed)
                .err(),
        ),
        ("stats", service.stats(*principal, &target, webhook).await.map_err(failed).err()),
        (
            "delete",
            service
                .delete(context, *principal, &target, webhook, &if_match, None)
                .await
                .map_err(failed)
                .err(),
        ),
    ]
}

/// An endpoint with a delivery.
async fn busy_endpoint(scene: &Scene) -> Endpoint {
    let endpoint = scene.endpoint(&["*"]).await;
    scene.publish(&scene.confirmed()).await;
    let mut store = scene.store.peek().await;
    let replay = Replay {
        id: ReplayId::from_uuid(endpoint.id.uuid()),
        community: scene.community,
        webhook: endpoint.id,
        scope: ReplayScope::Missing,
        since: endpoint.created_at,
        status: ReplayStatus::Running,
        redelivered: 0,
        cursor: None,
        created_at: scene.env.now(),
        ended_at: None,
    };
    store.replays = [(replay.id, replay)].into();
    endpoint
}

#[tokio::test]
async fn webhooks_are_for_the_owner_and_admins() {
    for (visibility, stranger) in
        [(Visibility::Public, Code::Forbidden), (Visibility::Private, Code::NotFound)]
    {
        let scene = Scene::new().await;
        scene.change_community(|community| community.visibility = visibility).await;
        for (by, expected) in [
            (&scene.stranger, Some(stranger)),
            (&scene.member, Some(Code::Forbidden)),
            (&scene.organizer, Some(Code::Forbidden)),
            (&scene.admin, None),
            (&scene.owner, None),
        ] {
            let endpoint = busy_endpoint(&scene).await;
            for (what, answer) in answers(&scene, by, &endpoint).await {
                assert_eq!(answer, expected, "{what} by {:?}", by.user());
            }
        }
    }
}

#[tokio::test]
async fn an_archived_community_shows_its_webhooks_and_changes_none() {
    let scene = Scene::new().await;
    let endpoint = busy_endpoint(&scene).await;
    scene.archive().await;
    for (what, answer) in answers(&scene, &scene.admin, &endpoint).await {
        let reads = ["get", "list", "deliveries", "get_replay", "stats"].contains(&what);
        assert_eq!(answer, (!reads).then_some(Code::CommunityArchived), "{what}");
    }
    for (what, answer) in answers(&scene, &scene.member, &endpoint).await {
        assert_eq!(answer, Some(Code::NotFound), "{what}");
    }
}

#[tokio::test]
async fn an_endpoint_of_another_community_does_not_exist() {
    let scene = Scene::new().await;
    let (Caller { context, principal }, target) = (&scene.owner, scene.target());
    let endpoint = busy_endpoint(&scene).await;
    let delivery = scene.deliveries(endpoint.id).await[0].id;
    let absent = WebhookId::from_uuid(Uuid::from_u128(99));
    let service = &scene.service;
    assert_eq!(code(service.get(*principal, &target, absent).await), Code::NotFound);
    assert_eq!(code(service.deliveries(*principal, &target, absent, all()).await), Code::NotFound);
    let mistake = Err(Failure::invalid(Vec::new()));
    assert_eq!(
        code(service.deliveries(*principal, &target, absent, mistake).await),
        Code::NotFound
    );
    let mistake = Err(Failure::invalid(Vec::new()));
    let deliveries = service.deliveries(*principal, &target, endpoint.id, mistake).await;
    assert_eq!(code(deliveries), Code::ValidationFailed);
    for (webhook, delivery) in
        [(absent, delivery), (endpoint.id, DeliveryId::from_uuid(Uuid::from_u128(99)))]
    {
        let resent = service.resend(context, *principal, &target, webhook, delivery, None).await;
        assert_eq!(code(resent), Code::NotFound);
    }
    let slug = CommunityRef::Slug(Slug::new("rust-berlin").unwrap());
    assert_eq!(service.get(*principal, &slug, endpoint.id).await.unwrap(), endpoint);
    let slug = CommunityRef::Slug(Slug::new("rust-bern").unwrap());
    assert_eq!(code(service.get(*principal, &slug, endpoint.id).await), Code::NotFound);
}

#[tokio::test]
async fn a_secret_is_shown_once_and_stored_sealed() {
    let scene = Scene::new().await;
    let show = |created: &CreatedEndpoint| bytes(201, created.secret.expose_secret().to_owned());
    let create = async |number| {
        let key = Some(key(number, show));
        scene.create(&scene.owner, Ok(input(&["rsvp.*"])), key).await.unwrap()
    };
    let created = fresh(create(1).await);
    let secret = created.secret.expose_secret();
    assert!(!format!("{created:?}").contains(secret));
    let endpoint = created.endpoint.clone();
    assert_eq!(endpoint.created_by, scene.owner.user());
    assert_eq!((endpoint.status, endpoint.version), (EndpointStatus::Enabled, 0));

    let Reply::Replayed(reply) = create(1).await else { panic!("the key was used before") };
    assert_eq!(reply, bytes(201, secret.to_owned()));
    let kept = scene.store.ledger().replies[&[1; 32]].1.clone();
    let sealed = scene.store.peek().await.endpoints[&endpoint.id].1.clone();
    for stored in [&kept.body[..], &sealed[..]] {
        assert!(!stored.windows(secret.len()).any(|window| window == secret.as_bytes()));
    }

    let other = fresh(create(2).await);
    assert_ne!(other.secret.expose_secret(), secret);
    assert_eq!(scene.store.peek().await.endpoints.len(), 2);
    let audit = scene.store.ledger().audit;
    assert_eq!((audit.len(), audit[0].action), (2, "webhook.create"));
    assert!(!audit[0].changed.to_string().contains("hooks.example"));
}

#[tokio::test]
async fn mistakes_of_the_input_are_told_to_those_who_may_make_endpoints() {
    let scene = Scene::new().await;
    let nowhere = || EndpointInput { url: "https://private.example/".to_owned(), ..input(&["*"]) };
    for (input, expected) in [
        (Err(Failure::invalid(Vec::new())), Code::ValidationFailed),
        (Ok(input(&[])), Code::ValidationFailed),
        (Ok(input(&["rsvp.nope"])), Code::ValidationFailed),
        (Ok(nowhere()), Code::UrlRefused),
        (
            Ok(EndpointInput { url: "http://hooks.example".to_owned(), ..nowhere() }),
            Code::UrlRefused,
        ),
    ] {
        assert_eq!(code(scene.create(&scene.admin, input, None).await), expected);
    }
    let mistake = Err(Failure::invalid(Vec::new()));
    assert_eq!(code(scene.create(&scene.member, mistake, None).await), Code::Forbidden);
    scene.archive().await;
    assert_eq!(code(scene.create(&scene.admin, Ok(nowhere()), None).await), Code::UrlRefused);
    assert_eq!(
        code(scene.create(&scene.admin, Ok(input(&["*"])), None).await),
        Code::CommunityArchived
    );
    assert!(scene.store.peek().await.endpoints.is_empty());
}

#[tokio::test]
async fn a_change_needs_the_present_tag() {
    let scene = Scene::new().await;
    let endpoint = scene.endpoint(&["*"]).await;
    let (Caller { context, principal }, target) = (&scene.admin, scene.target());
    let update = async |tags, change| {
        let if_match = IfMatch { tags, etag };
        let service = &scene.service;
        service
            .update(context, *principal, &target, endpoint.id, change, &if_match, None)
            .await
            .map(fresh)
    };
    let bad = || Err(Failure::invalid(Vec::new()));
    let stale = || Tags::OneOf(vec!["stale".to_owned()]);
    let current = || Tags::OneOf(vec![etag(&endpoint)]);
    assert_eq!(code(update(Tags::Absent, bad()).await), Code::PreconditionRequired);
    assert_eq!(code(update(stale(), bad()).await), Code::PreconditionFailed);
    assert_eq!(code(update(current(), bad()).await), Code::ValidationFailed);
    let to_nowhere = EndpointChange {
        url: Some("https://private.example".to_owned()),
        ..EndpointChange::default()
    };
    assert_eq!(code(update(current(), Ok(to_nowhere)).await), Code::UrlRefused);

    assert_eq!(update(current(), Ok(EndpointChange::default())).await.unwrap(), endpoint);
    let change = EndpointChange {
        event_types: Some(vec!["event.*".to_owned()]),
        description: Some(Some(Description::new("CRM").unwrap())),
        ..EndpointChange::default()
    };
    let changed = update(current(), Ok(change)).await.unwrap();
    assert_eq!(changed.event_types.as_slice(), ["event.*"]);
    assert_eq!(changed.updated_at, scene.env.now());
    assert_eq!(
        code(update(current(), Ok(EndpointChange::default())).await),
        Code::PreconditionFailed
    );
    let audit = scene.store.ledger().audit.pop().unwrap();
    assert_eq!(audit.action, "webhook.update");
    assert_eq!(audit.changed["fields"], serde_json::json!(["event_types", "description"]));

    let if_match = IfMatch { tags: stale(), etag };
    let deleted =
        scene.service.delete(context, *principal, &target, endpoint.id, &if_match, None).await;
    assert_eq!(code(deleted), Code::PreconditionFailed);
}

#[tokio::test]
async fn deleting_is_final_and_answers_the_same_when_it_is_sent_again() {
    let scene = Scene::new().await;
    let endpoint = busy_endpoint(&scene).await;
    scene.store.take_jobs();
    let (Caller { context, principal }, target) = (&scene.owner, scene.target());
    let delete = async |number| {
        let (if_match, key) = (any(), Some(key(number, |()| bytes(204, ""))));
        scene.service.delete(context, *principal, &target, endpoint.id, &if_match, key).await
    };
    fresh(delete(1).await.unwrap());
    assert!(matches!(delete(1).await, Ok(Reply::Replayed(reply)) if reply.status == 204));
    assert_eq!(code(delete(2).await), Code::NotFound);
    assert_eq!(code(scene.service.get(*principal, &target, endpoint.id).await), Code::NotFound);

    assert_eq!(scene.store.peek().await.deliveries.len(), 1);
    scene.run_jobs().await;
    assert!(scene.store.peek().await.deliveries.is_empty());
    assert!(scene.receiver.take().is_empty(), "nothing is sent to an endpoint that is no more");
}

#[tokio::test]
async fn a_failure_at_any_step_leaves_nothing() {
    for step in 0.. {
        let scene = Scene::new().await;
        scene.store.fail_after(step);
        let show = |_: &CreatedEndpoint| bytes(201, "");
        let created = scene.create(&scene.owner, Ok(input(&["*"])), Some(key(1, show))).await;
        if scene.store.heal() {
            assert!(created.is_ok());
            assert!(step >= 3, "begin, open and commit can fail");
            return;
        }
        assert_eq!(code(created), Code::Unavailable);
        let ledger = scene.store.ledger();
        assert!(scene.store.peek().await.endpoints.is_empty());
        assert!(ledger.audit.is_empty() && ledger.replies.is_empty());
    }
}
