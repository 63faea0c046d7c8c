//! `convene webhooks …`.

use convene_domain::ids::{CommunityId, DeliveryId, TypedId as _, WebhookId};
use serde_json::json;

use crate::installation::Installation;

const COMMUNITY: &str = "018f0000-0000-7000-8000-000000000001";
const OTHER: &str = "018f0000-0000-7000-8000-000000000002";

fn hook(stored: &str) -> String {
    WebhookId::from_uuid(stored.parse().unwrap()).to_string()
}

fn community(stored: &str) -> String {
    CommunityId::from_uuid(stored.parse().unwrap()).to_string()
}

/// A failed delivery with one attempt, and its id.
async fn delivery(convene: &Installation, endpoint: &str) -> String {
    convene
        .execute(&format!(
            "INSERT INTO webhook_deliveries (id, endpoint_id, event_id, event_type, body, status, number, scheduled,
                                             created_at)
             VALUES (gen_random_uuid(), '{endpoint}', gen_random_uuid(), 'rsvp.confirmed', '{{}}', 'failed', 1, 1, now());
             INSERT INTO webhook_attempts (delivery_id, number, started_at, status_code, duration_ms)
             SELECT id, 1, now(), 500, 12 FROM webhook_deliveries"
        ))
        .await;
    let id = convene.value("SELECT id FROM webhook_deliveries").await;
    DeliveryId::from_uuid(id.parse().unwrap()).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_of_all_communities_or_of_one_are_listed() {
    let convene = Installation::new().await;
    assert_eq!(convene.text(&["webhooks", "list"]), "No endpoints.\n");
    let one = convene.endpoint(COMMUNITY, "enabled").await;
    let other = convene.endpoint(OTHER, "disabled").await;
    let listed = convene.json(&["webhooks", "list"]);
    assert_eq!(listed["endpoints"].as_array().unwrap().len(), 2);
    let text = convene.text(&["webhooks", "list"]);
    assert!(text.contains(&hook(&one)) && text.contains(&hook(&other)), "{text}");
    assert!(!text.contains("sealed"), "{text}");

    let unknown = community(COMMUNITY);
    let refusal = convene.refusal(&["webhooks", "list", "--community", &unknown]);
    assert!(refusal.contains("there is no community"), "{refusal}");
    convene
        .execute(&format!(
            "INSERT INTO users (id, email, display_name, version, created_at, updated_at)
             VALUES ('{OTHER}', 'a@example.org', 'Ada', 1, now(), now());
             BEGIN;
             INSERT INTO communities (id, slug, name, visibility, version, created_at, updated_at)
             VALUES ('{COMMUNITY}', 'rust-berlin', 'Rust Berlin', 'private', 1, now(), now());
             INSERT INTO community_slugs (slug, community_id) VALUES ('rust-berlin', '{COMMUNITY}');
             COMMIT"
        ))
        .await;
    for named in ["rust-berlin", &unknown] {
        let listed = convene.json(&["webhooks", "list", "--community", named]);
        let [endpoint] = listed["endpoints"].as_array().unwrap().as_slice() else {
            panic!("{listed}")
        };
        assert_eq!(endpoint["id"], hook(&one));
        assert_eq!(
            (&endpoint["status"], &endpoint["url"]),
            (&json!("enabled"), &json!("https://example.org/hook"))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_are_listed_with_their_attempts() {
    let convene = Installation::new().await;
    let endpoint = convene.endpoint(COMMUNITY, "enabled").await;
    let delivery = delivery(&convene, &endpoint).await;
    let endpoint = hook(&endpoint);
    let listed = convene.json(&["webhooks", "deliveries", &endpoint]);
    assert_eq!(listed["endpoint"], endpoint);
    let found = &listed["deliveries"][0];
    assert_eq!((&found["id"], &found["status"]), (&json!(delivery), &json!("failed")));
    assert_eq!(found["attempts"][0]["status_code"], 500);

    let text = convene.text(&["webhooks", "deliveries", &endpoint, "--status", "failed"]);
    let line: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(line[..5], [delivery.as_str(), "rsvp.confirmed", "failed", "1", "500"]);
    let none = convene.text(&["webhooks", "deliveries", &endpoint, "--status", "pending"]);
    assert_eq!(none, "No deliveries.\n");

    let absent = hook(OTHER);
    let refusal = convene.refusal(&["webhooks", "deliveries", &absent]);
    assert!(refusal.contains(&format!("There is no webhook endpoint {absent}.")), "{refusal}");
    assert_eq!(convene.run(&["webhooks", "deliveries", "user_x"]).code, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_is_sent_again_by_a_job() {
    let convene = Installation::new().await;
    let endpoint = convene.endpoint(COMMUNITY, "enabled").await;
    let delivery = delivery(&convene, &endpoint).await;
    let text = convene.text(&["webhooks", "resend", &delivery]);
    assert_eq!(text, format!("{delivery} is sent again.\n"));
    let state = "SELECT status || ' ' || scheduled FROM webhook_deliveries";
    assert_eq!(convene.value(state).await, "pending 0");
    assert_eq!(
        convene.value("SELECT kind || ' ' || unique_key FROM jobs").await,
        format!("webhook.drain {}", hook(&endpoint))
    );
    assert_eq!(convene.audit("webhook.resend").await, [format!("system {delivery} {{}}")]);
    let chain = convene.value("SELECT community_id FROM audit_pending").await;
    assert_eq!(chain, COMMUNITY, "the community sees what was done to its webhook");

    convene.execute("UPDATE webhook_endpoints SET status = 'disabled'").await;
    assert_eq!(convene.json(&["webhooks", "resend", &delivery])["status"], "pending");
    assert!(convene.text(&["webhooks", "resend", &delivery]).contains("webhooks enable hook_"));
    let absent = DeliveryId::from_uuid(OTHER.parse().unwrap()).to_string();
    assert!(convene.refusal(&["webhooks", "resend", &absent]).contains("There is no delivery"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_is_switched_off_and_on() {
    let convene = Installation::new().await;
    let stored = convene.endpoint(COMMUNITY, "enabled").await;
    convene.execute("UPDATE webhook_endpoints SET failures = 7, failing_since = now()").await;
    let endpoint = hook(&stored);
    let text = convene.text(&["webhooks", "disable", &endpoint]);
    assert_eq!(text, format!("{endpoint} is disabled.\n"));
    assert_eq!(convene.value("SELECT count(*) FROM jobs").await, "0");
    assert_eq!(convene.json(&["webhooks", "disable", &endpoint])["status"], "disabled", "again");

    let enabled = convene.json(&["webhooks", "enable", &endpoint]);
    assert_eq!((&enabled["status"], &enabled["failures"]), (&json!("enabled"), &json!(0)));
    assert_eq!(convene.value("SELECT kind FROM jobs").await, "webhook.drain");
    let entry = format!(r#"system {endpoint} {{"fields": ["status"]}}"#);
    assert_eq!(convene.audit("webhook.update").await, [entry.clone(), entry], "a change each");
    assert!(convene.refusal(&["webhooks", "enable", &hook(OTHER)]).contains("There is no webhook"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_is_sent_by_a_job() {
    let convene = Installation::new().await;
    let stored = convene.endpoint(COMMUNITY, "enabled").await;
    let endpoint = hook(&stored);
    let sent = convene.json(&["webhooks", "test", &endpoint]);
    assert_eq!((&sent["event_type"], &sent["status"]), (&json!("webhook.test"), &json!("pending")));
    assert_eq!(
        convene.value("SELECT kind || ' ' || unique_key FROM jobs").await,
        format!("webhook.drain {endpoint}")
    );
    let body =
        "SELECT convert_from(body, 'UTF8')::jsonb #>> '{data,webhook_id}' FROM webhook_deliveries";
    assert_eq!(convene.value(body).await, endpoint);
    let delivery = sent["id"].as_str().unwrap();
    assert_eq!(convene.audit("webhook.test").await, [format!("system {delivery} {{}}")]);
    assert!(convene.text(&["webhooks", "test", &endpoint]).contains("is sent, a test."));
    assert!(convene.refusal(&["webhooks", "test", &hook(OTHER)]).contains("There is no webhook"));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_deliveries_are_handed_to_a_job() {
    let convene = Installation::new().await;
    let stored = convene.endpoint(COMMUNITY, "enabled").await;
    let endpoint = hook(&stored);
    for incomplete in [&["replay"][..], &["replay", &endpoint], &["replay", &endpoint, "--failed"]]
    {
        let arguments = [&["webhooks"], incomplete].concat();
        assert_eq!(convene.run(&arguments).code, Some(2), "{arguments:?}");
    }
    let since = ["--since", "2027-01-01T00:00:00Z"];
    for (scope, more) in [("--failed", &since[..]), ("--all", &since), ("--missing", &[])] {
        let arguments = [&["webhooks", "replay", endpoint.as_str(), scope], more].concat();
        let begun = convene.json(&arguments);
        assert_eq!(begun["scope"], scope.trim_start_matches("--"));
        assert_eq!(begun["status"], "running");
        let id = begun["id"].as_str().unwrap();
        let job = format!("SELECT kind FROM jobs WHERE unique_key = '{id}'");
        assert_eq!(convene.value(&job).await, "webhook.replay");
    }
    let from = "SELECT count(*) FROM webhook_replays r JOIN webhook_endpoints e ON e.id = r.endpoint_id
                WHERE r.since = CASE WHEN scope = 'missing' THEN e.created_at ELSE '2027-01-01T00:00:00Z' END";
    assert_eq!(convene.value(from).await, "3");
    assert_eq!(convene.audit("webhook.replay").await.len(), 3);
    let text = convene.text(&["webhooks", "replay", &endpoint, "--missing"]);
    assert!(text.starts_with("hrpl_") && text.contains("has begun: missing deliveries"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_forwarded_to_a_receiver_that_is_being_developed() {
    let convene = Installation::new().await;
    convene
        .execute(&format!(
            "INSERT INTO users (id, email, display_name, version, created_at, updated_at)
             VALUES ('{OTHER}', 'a@example.org', 'Ada', 1, now(), now());
             BEGIN;
             INSERT INTO communities (id, slug, name, visibility, version, created_at, updated_at)
             VALUES ('{COMMUNITY}', 'rust-berlin', 'Rust Berlin', 'private', 1, now(), now());
             INSERT INTO community_slugs (slug, community_id) VALUES ('rust-berlin', '{COMMUNITY}');
             COMMIT"
        ))
        .await;
    let subject = "rsvp_01mgz7z9ynfjhtx5dy8nb2nw01";
    for (event_type, community) in [
        ("rsvp.confirmed", OTHER),
        ("rsvp.cancelled", COMMUNITY),
        ("event.created", COMMUNITY),
        ("rsvp.confirmed", COMMUNITY),
    ] {
        convene.record(event_type, community, subject).await;
    }
    let receiver = wiremock::MockServer::start().await;
    let answer = wiremock::ResponseTemplate::new(202).set_body_string("thanks");
    wiremock::Mock::given(wiremock::matchers::method("POST"))
        .respond_with(answer)
        .mount(&receiver)
        .await;
    let url = format!("{}/hook", receiver.uri());
    let listen = ["webhooks", "listen", "--community", "rust-berlin", "--forward-to", &url];
    let text = convene
        .text(&[&listen[..], &["--type", "rsvp.*", "--after", "0", "--count", "2"]].concat());
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].contains(&url) && lines[1].starts_with("whsec_"), "{text}");
    let seen: Vec<(&str, bool)> = lines[2..]
        .iter()
        .map(|line| (line.split_whitespace().next().unwrap(), line.contains("202 in ")))
        .collect();
    assert_eq!(seen, [("rsvp.cancelled", true), ("rsvp.confirmed", true)]);

    let received = receiver.received_requests().await.unwrap();
    assert_eq!(received.len(), 2);
    let body: serde_json::Value = serde_json::from_slice(&received[0].body).unwrap();
    assert_eq!((&body["type"], &body["version"]), (&json!("rsvp.cancelled"), &json!(1)));
    let id = received[0].headers["webhook-id"].to_str().unwrap();
    assert!(lines[2].contains(id), "{text}");
    assert!(received[0].headers["webhook-signature"].to_str().unwrap().starts_with("v1,"));

    let asked = ["--after", "0", "--count", "1", "--signature", "ed25519"];
    let printed = convene.text(&[&["--json"], &listen[..], &asked].concat());
    let documents: Vec<serde_json::Value> =
        printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(documents[0]["secret"].as_str().unwrap().starts_with("whpk_"), "{printed}");
    assert_eq!(
        (&documents[1]["status_code"], &documents[1]["response"]),
        (&json!(202), &json!("thanks"))
    );
    assert_eq!(convene.value("SELECT count(*) FROM webhook_deliveries").await, "0");

    let nowhere = ["webhooks", "listen", "--community", "rust-berlin", "--forward-to"];
    let refusal = convene.refusal(&[&nowhere[..], &["ftp://127.0.0.1/"]].concat());
    assert!(refusal.contains("--forward-to ftp://127.0.0.1/"), "{refusal}");
    let refusal = convene.refusal(&[&nowhere[..], &["http://169.254.169.254/"]].concat());
    assert!(refusal.contains("private or reserved"), "{refusal}");
}
