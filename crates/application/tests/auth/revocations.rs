//! The feed of revocations, and who an access token says is asking.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use convene_application::auth::RevocationFeed;
use convene_application::auth::authenticate::{Authenticate as _, PublicKeys as _};
use convene_application::auth::crypto::AccessClaims;
use convene_application::auth::ports::{Revocations, Revoked};
use convene_application::kernel::clock::Clock as _;
use convene_application::kernel::error::Code;
use convene_application::kernel::feed::Follow as _;
use convene_application::kernel::store::StoreError;
use convene_application::kernel::wake::Wake;
use convene_domain::ids::{SessionId, TypedId as _, UserId};
use convene_testkit::poll::poll_until;
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::scene::{PASSWORD, Scene, code, context};

fn session(number: u128) -> SessionId {
    SessionId::from_uuid(Uuid::from_u128(number))
}

/// Runs a feed of its own over the scene's store, as another process would, until it is dropped.
struct Elsewhere {
    feed: Arc<RevocationFeed>,
    wake: Arc<Wake>,
    shutdown: CancellationToken,
}

impl Elsewhere {
    async fn run(scene: &Scene) -> Self {
        let wake = Arc::new(Wake::default());
        let feed = Arc::new(RevocationFeed::new(Arc::new(scene.store.clone()), Arc::clone(&wake)));
        let shutdown = CancellationToken::new();
        feed.read().await.unwrap();
        tokio::spawn({
            let (feed, shutdown) = (Arc::clone(&feed), shutdown.clone());
            async move { feed.run(shutdown).await }
        });
        Self { feed, wake, shutdown }
    }

    async fn learns_of(&self, session: SessionId, within: Duration) {
        poll_until(within, "the feed tells of the revocation", async || {
            self.feed.is_revoked(session).await.unwrap().then_some(())
        })
        .await;
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

#[tokio::test]
async fn another_process_learns_of_a_logout_within_a_second() {
    let scene = Scene::new();
    let elsewhere = Elsewhere::run(&scene).await;
    scene.account("ada@example.org", PASSWORD).await;
    let tokens = scene.login("ada@example.org", PASSWORD).await.unwrap();
    let principal = scene.authenticate(&tokens).await.unwrap();
    assert!(!elsewhere.feed.is_revoked(principal.session).await.unwrap());
    scene.service.logout(&context("192.0.2.1"), principal).await.unwrap();
    elsewhere.learns_of(principal.session, Duration::from_secs(1)).await;
}

/// A store whose clock the test sets.
struct SetBack {
    now: Mutex<i64>,
    revoked: Mutex<Vec<(i64, SessionId)>>,
}

#[async_trait]
impl Revocations for SetBack {
    async fn since(&self, since: Option<Timestamp>) -> Result<Revoked, StoreError> {
        let rows = self.revoked.lock().unwrap();
        let recent =
            rows.iter().filter(|(at, _)| since.is_none_or(|since| *at >= since.as_second()));
        let as_of = Timestamp::from_second(*self.now.lock().unwrap()).unwrap();
        Ok(Revoked { sessions: recent.map(|(_, session)| *session).collect(), as_of })
    }

    async fn is_revoked(&self, _: SessionId) -> Result<bool, StoreError> {
        panic!("a feed that is fresh asks for nobody");
    }
}

/// The row bears an earlier time than where the feed would be read on from.
#[tokio::test]
async fn a_clock_that_is_set_back_hides_no_logout() {
    let store = Arc::new(SetBack { now: Mutex::new(1_000), revoked: Mutex::default() });
    let feed = RevocationFeed::new(store.clone(), Arc::new(Wake::default()));
    feed.read().await.unwrap();
    *store.now.lock().unwrap() = 940;
    store.revoked.lock().unwrap().push((940, session(1)));
    feed.read().await.unwrap();
    assert!(feed.is_revoked(session(1)).await.unwrap());
}

#[tokio::test]
async fn a_ring_shortens_the_wait() {
    let scene = Scene::new();
    let elsewhere = Elsewhere::run(&scene).await;
    scene.store.peek().await.revocations.push(session(1));
    let mut rung = elsewhere.wake.revocations.listen();
    elsewhere.wake.revocations.relay();
    rung.rung().await;
    elsewhere.learns_of(session(1), Duration::from_millis(200)).await;
}

#[tokio::test]
async fn a_feed_that_is_stale_asks_the_store() {
    let scene = Scene::new();
    scene.store.peek().await.revocations.push(session(1));
    assert!(scene.feed.is_revoked(session(1)).await.unwrap(), "before the first reading");

    scene.feed.read().await.unwrap();
    scene.store.peek().await.revocations.push(session(2));
    assert!(!scene.feed.is_revoked(session(2)).await.unwrap(), "a fresh feed is believed");
    poll_until(Duration::from_secs(3), "the feed is stale and the store is asked", async || {
        scene.feed.is_revoked(session(2)).await.unwrap().then_some(())
    })
    .await;
    assert!(!scene.feed.is_revoked(session(3)).await.unwrap());

    scene.store.fail_after(0);
    assert_eq!(code(scene.feed.is_revoked(session(3)).await), Code::Unavailable);
    scene.store.fail_after(0);
    assert!(scene.feed.is_revoked(session(1)).await.unwrap(), "what is known needs no store");
}

#[tokio::test]
async fn a_reading_that_fails_keeps_what_was_read() {
    let scene = Scene::new();
    scene.store.peek().await.revocations.push(session(1));
    scene.feed.read().await.unwrap();
    scene.store.fail_after(0);
    scene.feed.read().await.unwrap_err();
    assert!(scene.feed.is_revoked(session(1)).await.unwrap());
}

#[tokio::test]
async fn a_token_is_good_until_it_expires() {
    let scene = Scene::new();
    scene.account("ada@example.org", PASSWORD).await;
    let tokens = scene.login("ada@example.org", PASSWORD).await.unwrap();
    scene.advance(599);
    scene.authenticate(&tokens).await.unwrap();
    scene.advance(1);
    assert_eq!(code(scene.authenticate(&tokens).await), Code::TokenExpired);
    assert_eq!(code(scene.authenticator().authenticate("made up").await), Code::Unauthenticated);
    assert_eq!(scene.authenticator().jwks().await.unwrap()["keys"], serde_json::json!([]));
}

#[tokio::test]
async fn a_key_that_another_process_made_is_loaded() {
    let scene = Scene::new();
    scene.feed.read().await.unwrap();
    let now = scene.clock.now();
    let claims = AccessClaims {
        user: UserId::from_uuid(Uuid::from_u128(1)),
        session: session(1),
        issued_at: now,
        expires_at: now + Duration::from_secs(60),
        auth_time: now,
        token_id: Uuid::from_u128(2),
    };
    scene.access_tokens.issue_elsewhere("foreign", claims);
    let principal = scene.authenticator().authenticate("foreign").await.unwrap();
    assert_eq!((principal.user, principal.session), (claims.user, claims.session));
}

#[tokio::test]
async fn secrets_are_not_shown() {
    let scene = Scene::new();
    scene.account("ada@example.org", PASSWORD).await;
    let tokens = scene.login("ada@example.org", PASSWORD).await.unwrap();
    let shown = format!("{tokens:?}");
    assert!(!shown.contains(tokens.access_token.expose_secret()));
    assert!(!shown.contains(tokens.refresh_token.expose_secret()));
}
