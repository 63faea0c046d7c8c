//! One's own profile, over fakes.

#![expect(clippy::unwrap_used, reason = "a failed assumption in a test is a failed test")]

use std::sync::Arc;

use bytes::Bytes;
use convene_application::kernel::clock::Clock as _;
use convene_application::kernel::context::{Actor, Principal, RequestContext};
use convene_application::kernel::error::{Code, Failure, FieldError};
use convene_application::kernel::idempotency::{Idempotency, KeyClaim, Reply, StoredReply};
use convene_application::kernel::precondition::{IfMatch, Tags};
use convene_application::kernel::uow::{Begin, Tx as _};
use convene_application::user::UserService;
use convene_application::user::offers::{NewUser, ProvisionUser as _};
use convene_application::user::ports::UserTx;
use convene_domain::ids::{SessionId, TypedId as _, UserId};
use convene_domain::text::{DisplayName, EmailAddress, Handle};
use convene_domain::user::{ProfileChange, User};
use convene_domain::zone::TimeZoneName;
use convene_testkit::fake::user::Users;
use convene_testkit::fake::{FakeStore, FixedClock, env};
use jiff::SignedDuration;
use uuid::Uuid;

struct Scene {
    clock: Arc<FixedClock>,
    store: FakeStore<Users>,
    service: UserService,
}

impl Scene {
    async fn new() -> Self {
        let (clock, store) = (Arc::new(FixedClock::default()), FakeStore::<Users>::default());
        let service = UserService::new(
            env(Arc::clone(&clock)),
            Arc::new(store.clone()),
            Arc::new(store.clone()),
        );
        let scene = Self { clock, store, service };
        for number in 1..=2 {
            scene.provision(number).await;
        }
        scene
    }

    async fn provision(&self, number: u128) {
        let mut tx = self.store.unit(Vec::new()).unwrap();
        tx.provision_user(NewUser {
            id: user(number),
            email: EmailAddress::new(format!("person-{number}@example.org")).unwrap(),
            display_name: DisplayName::new("Somebody").unwrap(),
            created_at: self.clock.now(),
        });
        Box::new(tx).commit().await.unwrap();
    }

    async fn update(&self, number: u128, change: ProfileChange) -> Result<Reply<User>, Failure> {
        self.update_with(number, Ok(change), Tags::Any, None).await
    }

    async fn update_with(
        &self,
        number: u128,
        change: Result<ProfileChange, Failure>,
        tags: Tags,
        idempotency: Option<Idempotency<User>>,
    ) -> Result<Reply<User>, Failure> {
        let context =
            RequestContext { actor: Actor::User(user(number)), ..RequestContext::system("r") };
        let if_match = IfMatch { tags, etag };
        self.service.update(&context, principal(number), change, &if_match, idempotency).await
    }
}

fn user(number: u128) -> UserId {
    UserId::from_uuid(Uuid::from_u128(number))
}

fn principal(number: u128) -> Principal {
    Principal { user: user(number), session: SessionId::from_uuid(Uuid::nil()) }
}

fn etag(user: &User) -> String {
    format!("\"{:?}\"", (&user.profile, user.updated_at))
}

fn fresh(reply: Result<Reply<User>, Failure>) -> User {
    match reply.unwrap() {
        Reply::Fresh(user) => user,
        Reply::Replayed(_) => panic!("it was not done before"),
    }
}

fn handle(text: &str) -> ProfileChange {
    ProfileChange { handle: Some(Some(Handle::new(text).unwrap())), ..ProfileChange::default() }
}

fn code(outcome: Result<Reply<User>, Failure>) -> Code {
    outcome.expect_err("it should have failed").code
}

#[tokio::test]
async fn a_person_sees_and_changes_the_own_profile() {
    let scene = Scene::new().await;
    let before = scene.service.me(principal(1)).await.unwrap();
    assert_eq!(before.profile.time_zone.as_str(), "UTC");
    assert_eq!((before.profile.handle.clone(), before.email_verified), (None, true));

    scene.clock.advance(SignedDuration::from_secs(1));
    let change = ProfileChange {
        display_name: Some(DisplayName::new("Ada").unwrap()),
        time_zone: Some(TimeZoneName::new("Europe/Berlin").unwrap()),
        ..handle("ada")
    };
    let after = fresh(scene.update(1, change).await);
    assert_eq!(after, scene.service.me(principal(1)).await.unwrap());
    assert_eq!(after.profile.display_name.as_str(), "Ada");
    assert_ne!(etag(&after), etag(&before));
    let audit = scene.store.ledger().audit;
    assert_eq!(
        audit[0].changed,
        serde_json::json!({ "fields": ["display_name", "handle", "time_zone"] })
    );

    let cleared =
        fresh(scene.update(1, ProfileChange { handle: Some(None), ..Default::default() }).await);
    assert_eq!(cleared.profile.handle, None);
}

#[tokio::test]
async fn changing_nothing_keeps_the_tag() {
    let scene = Scene::new().await;
    let before = scene.service.me(principal(1)).await.unwrap();
    scene.clock.advance(SignedDuration::from_secs(1));
    let same = ProfileChange {
        display_name: Some(before.profile.display_name.clone()),
        ..Default::default()
    };
    for change in [ProfileChange::default(), same] {
        let after = fresh(scene.update(1, change).await);
        assert_eq!(etag(&after), etag(&before));
    }
    assert!(scene.store.ledger().audit.is_empty());
}

#[tokio::test]
async fn a_handle_has_one_holder() {
    let scene = Scene::new().await;
    fresh(scene.update(1, handle("ada")).await);
    assert_eq!(code(scene.update(2, handle("ada")).await), Code::HandleTaken);
    fresh(scene.update(1, handle("countess")).await);
    fresh(scene.update(2, handle("ada")).await);
}

#[tokio::test]
async fn the_checks_come_in_their_order() {
    let scene = Scene::new().await;
    let mistake =
        || Err(Failure::invalid(vec![FieldError::field("handle", "reserved", "is reserved")]));
    let stale = || Tags::OneOf(vec!["\"old\"".to_owned()]);
    assert_eq!(code(scene.update_with(9, mistake(), Tags::Absent, None).await), Code::NotFound);
    assert_eq!(
        code(scene.update_with(1, mistake(), Tags::Absent, None).await),
        Code::PreconditionRequired
    );
    assert_eq!(
        code(scene.update_with(1, mistake(), stale(), None).await),
        Code::PreconditionFailed
    );
    assert_eq!(
        code(scene.update_with(1, mistake(), Tags::Any, None).await),
        Code::ValidationFailed
    );
    let current = etag(&scene.service.me(principal(1)).await.unwrap());
    fresh(scene.update_with(1, Ok(handle("ada")), Tags::OneOf(vec![current]), None).await);
}

#[tokio::test]
async fn a_replay_wins_over_a_stale_tag() {
    let scene = Scene::new().await;
    let key = |fingerprint| Idempotency {
        claim: Ok(KeyClaim { scope: [1; 32], fingerprint: [fingerprint; 32] }),
        render: |user: &User| StoredReply {
            status: 200,
            location: None,
            etag: Some(etag(user)),
            body: Bytes::from(user.profile.display_name.to_string()),
        },
    };
    let tag = etag(&scene.service.me(principal(1)).await.unwrap());
    let tags = || Tags::OneOf(vec![tag.clone()]);
    fresh(scene.update_with(1, Ok(handle("ada")), tags(), Some(key(1))).await);
    scene.clock.advance(SignedDuration::from_secs(1));
    fresh(scene.update(1, handle("countess")).await);
    let replayed = scene.update_with(1, Ok(handle("ada")), tags(), Some(key(1))).await.unwrap();
    assert!(matches!(replayed, Reply::Replayed(reply) if reply.body == "Somebody"));
    let mismatch = scene.update_with(1, Ok(handle("ada")), tags(), Some(key(2))).await;
    assert_eq!(code(mismatch), Code::IdempotencyMismatch);
}

#[tokio::test]
async fn a_failure_at_any_step_leaves_nothing() {
    let scene = Scene::new().await;
    for successes in 0..10 {
        let before = scene.store.peek().await.clone();
        scene.store.fail_after(successes);
        let outcome = scene.update(1, handle("ada")).await;
        if scene.store.heal() {
            fresh(outcome);
            return;
        }
        assert_eq!(code(outcome), Code::Unavailable);
        assert_eq!(*scene.store.peek().await, before);
        assert!(scene.store.ledger().audit.is_empty());
    }
    panic!("the change never gets through");
}

#[tokio::test]
async fn the_store_is_the_transaction_of_people() {
    let store = FakeStore::<Users>::default();
    let mut tx: Box<dyn UserTx> = store.begin(Vec::new()).await.unwrap();
    assert_eq!(tx.lock_user(user(1)).await.unwrap(), None);
}
