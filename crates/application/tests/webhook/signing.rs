//! Secrets that are replaced, other ways to sign, and header fields that are sent along.

use std::collections::BTreeMap;

use convene_application::kernel::error::{Code, Failure};
use convene_application::kernel::idempotency::Reply;
use convene_application::webhook::{
    EndpointChange, EndpointInput, HeadersChange, RotatedEndpoint, Rotation,
};
use convene_domain::ids::WebhookId;
use convene_domain::webhook::{Overlap, RateLimit, Signature, SignatureScheme};
use convene_testkit::fake::Caller;
use secrecy::ExposeSecret as _;

use crate::scene::{Scene, bytes, code, fresh, header, input, key};

/// The secrets whose signatures the next webhook carries, in their order, by version.
async fn signed_with(scene: &Scene, webhook: WebhookId) -> Vec<(String, String)> {
    scene.advance(1);
    scene.publish(&scene.confirmed()).await;
    scene.drain(webhook).await;
    let request = scene.receiver.take().pop().expect("a webhook arrives");
    let signatures = header(&request, "webhook-signature").split(' ');
    let parts = signatures.map(|signature| {
        let (version, signed) = signature.split_once(',').unwrap();
        (version.to_owned(), signed.split_once('/').unwrap().0.to_owned())
    });
    parts.collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

fn overlap(hours: u16) -> Rotation {
    Rotation { overlap: Overlap::hours(hours).unwrap(), signature: None }
}

#[tokio::test]
async fn both_secrets_sign_until_the_overlap_ends() {
    let scene = Scene::new().await;
    let endpoint = scene.endpoint(&["*"]).await;
    assert_eq!(signed_with(&scene, endpoint.id).await, pairs(&[("v1", "whsec_0")]));

    let rotated = scene.rotate(endpoint.id, Rotation::default()).await;
    assert_eq!(rotated.secret.expose_secret(), "whsec_1");
    let now = scene.env.now();
    let a_day = jiff::SignedDuration::from_hours(24);
    assert_eq!((rotated.previous_until, rotated.endpoint.updated_at), (Some(now + a_day), now));
    let both = pairs(&[("v1", "whsec_1"), ("v1", "whsec_0")]);
    assert_eq!(signed_with(&scene, endpoint.id).await, both, "the new one first");
    scene.advance(24 * 3_600 - 3);
    assert_eq!(signed_with(&scene, endpoint.id).await, both);
    scene.advance(1);
    assert_eq!(signed_with(&scene, endpoint.id).await, pairs(&[("v1", "whsec_1")]));

    let audit = scene.store.ledger().audit.pop().unwrap();
    assert_eq!(audit.action, "webhook.rotate_secret");
    assert_eq!(audit.changed, serde_json::json!({"signature": "hmac", "overlap_hours": 24}));
}

#[tokio::test]
async fn without_an_overlap_nothing_of_before_signs() {
    let scene = Scene::new().await;
    let endpoint = scene.endpoint(&["*"]).await;
    scene.rotate(endpoint.id, overlap(168)).await;
    let rotated = scene.rotate(endpoint.id, overlap(0)).await;
    assert_eq!(rotated.previous_until, None);
    assert_eq!(signed_with(&scene, endpoint.id).await, pairs(&[("v1", "whsec_2")]));
}

#[tokio::test]
async fn a_rotation_can_change_the_scheme() {
    let scene = Scene::new().await;
    let endpoint = scene.endpoint(&["*"]).await;
    let to = |scheme| Rotation { signature: Some(scheme), ..Rotation::default() };
    let rotated = scene.rotate(endpoint.id, to(SignatureScheme::Ed25519)).await;
    assert_eq!(rotated.secret.expose_secret(), "whpk_1", "the private key is shown to nobody");
    let public_key = "whpk_1".to_owned();
    assert_eq!(rotated.endpoint.signature, Signature::Ed25519 { public_key });
    let both = pairs(&[("v1a", "whsk_1"), ("v1", "whsec_0")]);
    assert_eq!(signed_with(&scene, endpoint.id).await, both);

    let again = scene.rotate(endpoint.id, overlap(0)).await;
    assert_eq!(again.endpoint.signature.public_key(), Some("whpk_2"), "the scheme stays");
    let back = scene.rotate(endpoint.id, to(SignatureScheme::Hmac)).await;
    assert_eq!(
        (back.endpoint.signature, back.secret.expose_secret()),
        (Signature::Hmac, "whsec_3")
    );
}

#[tokio::test]
async fn an_endpoint_can_sign_with_a_private_key_from_the_beginning() {
    let scene = Scene::new().await;
    let asked = EndpointInput { signature: SignatureScheme::Ed25519, ..input(&["*"]) };
    let created = fresh(scene.create(&scene.owner, Ok(asked), None).await.unwrap());
    assert_eq!(created.secret.expose_secret(), "whpk_0");
    assert_eq!(created.endpoint.signature.public_key(), Some("whpk_0"));
    let sealed = scene.store.peek().await.endpoints[&created.endpoint.id].1.clone();
    assert!(!sealed.windows(6).any(|window| window == b"whsk_0"));
    let signed = signed_with(&scene, created.endpoint.id).await;
    assert_eq!(signed, pairs(&[("v1a", "whsk_0")]));
}

#[tokio::test]
async fn a_rotation_that_is_asked_for_twice_happens_once() {
    let scene = Scene::new().await;
    let endpoint = scene.endpoint(&["*"]).await;
    let show = |rotated: &RotatedEndpoint| bytes(200, rotated.secret.expose_secret().to_owned());
    let (Caller { context, principal }, target) = (&scene.admin, scene.target());
    let rotate = async |rotation| {
        let key = Some(key(1, show));
        let service = &scene.service;
        service.rotate_secret(context, *principal, &target, endpoint.id, rotation, key).await
    };
    let mistake = || Err(Failure::invalid(Vec::new()));
    assert_eq!(code(rotate(mistake()).await), Code::ValidationFailed);
    assert_eq!(fresh(rotate(Ok(overlap(1))).await.unwrap()).secret.expose_secret(), "whsec_1");
    let Ok(Reply::Replayed(reply)) = rotate(Ok(overlap(1))).await else { panic!("a replay") };
    assert_eq!(reply, bytes(200, "whsec_1"));
    let kept = scene.store.ledger().replies[&[1; 32]].1.clone();
    assert!(!kept.body.windows(7).any(|window| window == b"whsec_1"), "it is sealed");
    assert_eq!(scene.store.peek().await.previous_secrets[&endpoint.id].len(), 1);
}

fn merge(changes: &[(&str, Option<&str>)]) -> EndpointChange {
    let changes =
        changes.iter().map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned)));
    EndpointChange { headers: HeadersChange::Merge(changes.collect()), ..EndpointChange::default() }
}

/// The moments are real ones, so this takes as long as it says.
#[tokio::test]
async fn no_more_is_sent_in_a_second_than_the_receiver_takes() {
    let scene = Scene::new().await;
    let rate_limit = RateLimit::per_second(20);
    let asked = EndpointInput { rate_limit, ..input(&["*"]) };
    let endpoint = fresh(scene.create(&scene.owner, Ok(asked), None).await.unwrap()).endpoint;
    assert_eq!(endpoint.rate_limit, rate_limit);
    scene.advance(1);
    for _ in 0..9 {
        scene.publish(&scene.confirmed()).await;
    }
    scene.advance(1);
    let began = std::time::Instant::now();
    scene.drain_to_the_end(endpoint.id).await;
    let took = began.elapsed();
    assert_eq!(scene.receiver.take().len(), 9);
    // Four, four and one in a batch; between batches the job waits, by the clock of the test.
    assert!(took.as_millis() >= 6 * 50, "a twentieth of a second apart they took {took:?}");

    let none = EndpointChange { rate_limit: Some(None), ..EndpointChange::default() };
    assert_eq!(scene.update(endpoint.id, none).await.unwrap().rate_limit, None);
}

#[tokio::test]
async fn header_fields_are_sent_along_and_never_shown() {
    let scene = Scene::new().await;
    let headers = BTreeMap::from([("X-Api-Key".to_owned(), "s3cret".to_owned())]);
    let asked = EndpointInput { headers, ..input(&["*"]) };
    let endpoint = fresh(scene.create(&scene.owner, Ok(asked), None).await.unwrap()).endpoint;
    assert_eq!(endpoint.header_names, ["x-api-key"]);
    let sent = async |name: &str| {
        signed_with(&scene, endpoint.id).await;
        scene.advance(1);
        scene.publish(&scene.confirmed()).await;
        scene.drain(endpoint.id).await;
        let request = scene.receiver.take().pop().unwrap();
        let found = request.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.clone())
    };
    assert_eq!(sent("x-api-key").await.as_deref(), Some("s3cret"));
    assert!(sent("content-type").await.is_some() && sent("webhook-id").await.is_some());
    let sealed = scene.store.peek().await.headers[&endpoint.id].clone();
    assert!(!sealed.windows(6).any(|window| window == b"s3cret"));

    let change = merge(&[("authorization", Some("Bearer x")), ("x-api-key", None)]);
    let changed = scene.update(endpoint.id, change.clone()).await.unwrap();
    assert_eq!(changed.header_names, ["authorization"]);
    assert_eq!(changed.updated_at, scene.env.now());
    let audit = scene.store.ledger().audit.pop().unwrap();
    assert_eq!(audit.changed, serde_json::json!({ "fields": ["headers"] }));
    assert_eq!(sent("authorization").await.as_deref(), Some("Bearer x"));
    assert_eq!(sent("x-api-key").await, None);

    scene.advance(1);
    assert_eq!(scene.update(endpoint.id, change).await.unwrap(), changed, "nothing changed");
    let refused = scene.update(endpoint.id, merge(&[("host", Some("example.org"))])).await;
    assert_eq!(code(refused), Code::ValidationFailed);
    let clear = EndpointChange { headers: HeadersChange::Clear, ..EndpointChange::default() };
    let cleared = scene.update(endpoint.id, clear).await.unwrap();
    assert!(cleared.header_names.is_empty());
    assert!(scene.store.peek().await.headers.is_empty());
    assert_eq!(sent("authorization").await, None);
}
