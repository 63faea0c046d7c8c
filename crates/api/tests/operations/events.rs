//! `convene events …`.

use convene_domain::ids::{CommunityId, TypedId as _};
use serde_json::{Value, json};

use crate::installation::Installation;

const COMMUNITY: &str = "018f0000-0000-7000-8000-000000000001";
const OTHER: &str = "018f0000-0000-7000-8000-000000000002";

/// Four events at the positions 1 to 4, of two communities.
async fn installation() -> Installation {
    let convene = Installation::new().await;
    for (event_type, community, subject) in [
        ("rsvp.confirmed", COMMUNITY, "rsvp_1"),
        ("rsvp.cancelled", COMMUNITY, "rsvp_1"),
        ("rsvp.confirmed", OTHER, "rsvp_2"),
        ("event.published", COMMUNITY, "event_1"),
    ] {
        convene.record(event_type, community, subject).await;
    }
    convene
}

fn positions(listed: &Value) -> Vec<i64> {
    let events = listed["events"].as_array().unwrap();
    events.iter().map(|event| event["position"].as_i64().unwrap()).collect()
}

fn replay<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["events", "replay", "--consumer", "webhook.fanout"], more].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_listed_by_type_community_aggregate_and_position() {
    let convene = installation().await;
    let listed = convene.json(&["events", "list"]);
    assert_eq!((positions(&listed), &listed["next_after"]), (vec![1, 2, 3, 4], &json!(4)));
    assert_eq!(listed["events"][0]["event"]["type"], "rsvp.confirmed");
    assert!(listed["events"][0]["recorded_at"].is_string());

    let only = |more: &[&str]| positions(&convene.json(&[&["events", "list"], more].concat()));
    assert_eq!(only(&["--type", "rsvp.*"]), [1, 2, 3]);
    assert_eq!(only(&["--type", "rsvp.cancelled"]), [2]);
    assert_eq!(only(&["--subject", "rsvp_1"]), [1, 2]);
    assert_eq!(only(&["--after", "2", "--limit", "1"]), [3]);
    convene
        .execute(&format!(
            "BEGIN;
             INSERT INTO communities (id, slug, name, visibility, version, created_at, updated_at)
             VALUES ('{OTHER}', 'rust-berlin', 'Rust Berlin', 'public', 1, now(), now());
             INSERT INTO community_slugs (slug, community_id) VALUES ('rust-berlin', '{OTHER}');
             COMMIT"
        ))
        .await;
    assert_eq!(only(&["--community", "rust-berlin"]), [3]);

    let text = convene.text(&["events", "list", "--type", "event.*"]);
    let line: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
    let community = CommunityId::from_uuid(COMMUNITY.parse().unwrap()).to_string();
    assert_eq!(
        (line[0], line[2], line[3], line[4]),
        ("4", "event.published.v1", "event_1", community.as_str())
    );
    assert_eq!(convene.text(&["events", "list", "--after", "4"]), "No events that fit.\n");
    assert_eq!(convene.run(&["events", "list", "--type", "rsvp.unheard_of"]).code, Some(2));
}

/// More positions than one question spans, most of which do not fit.
#[tokio::test(flavor = "multi_thread")]
async fn a_rare_event_is_found_far_behind() {
    let convene = installation().await;
    convene
        .execute(
            "INSERT INTO outbox (event_id, event_type, version, envelope)
             SELECT gen_random_uuid(), 'user.registered', 1, '{\"subject\": \"user_1\"}' FROM generate_series(1, 25000);
             SELECT convene_sequence(100000)",
        )
        .await;
    convene.record("rsvp.confirmed", COMMUNITY, "rsvp_9").await;
    let listed = convene.json(&["events", "list", "--type", "rsvp.*", "--after", "3"]);
    assert_eq!(positions(&listed), [25_005]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_replayed_once() {
    let convene = installation().await;
    convene.endpoint(COMMUNITY, "enabled").await;
    let dry = convene.json(&replay(&["--type", "*", "--dry-run"]));
    assert_eq!(
        (&dry["matched"], &dry["replayed"], &dry["dry_run"]),
        (&json!(4), &json!(4), &json!(true))
    );
    assert_eq!(convene.value("SELECT count(*) FROM inbox").await, "0");
    assert!(convene.audit("events.replay").await.is_empty());

    let first = convene.json(&replay(&["--type", "rsvp.*"]));
    assert_eq!(
        first,
        json!({
            "consumer": "webhook.fanout", "dry_run": false, "replay": null, "matched": 3, "consumed_before": 0,
            "too_old": 0, "replayed": 3, "postponed": 0,
        })
    );
    assert_eq!(convene.value("SELECT count(*) FROM webhook_deliveries").await, "2");
    assert_eq!(convene.value("SELECT count(*) FROM jobs WHERE kind = 'webhook.drain'").await, "1");

    let rest = convene.json(&replay(&["--type", "*", "--missing"]));
    assert_eq!((&rest["consumed_before"], &rest["replayed"]), (&json!(2), &json!(2)), "{rest}");
    assert_eq!(convene.value("SELECT count(*) FROM webhook_deliveries").await, "3");
    let audit = convene.audit("events.replay").await;
    assert_eq!(audit.len(), 2);
    assert!(audit[0].starts_with("system consumer:webhook.fanout "), "{audit:?}");
    assert!(audit[0].contains(r#""type": "rsvp.*""#), "{audit:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn again_takes_what_was_taken_and_a_broken_off_one_is_resumed() {
    let convene = installation().await;
    convene.endpoint(COMMUNITY, "enabled").await;
    convene.json(&replay(&["--subject", "rsvp_1"]));
    // As if these deliveries were swept: the fan-out makes no second one of an event for an endpoint.
    convene.execute("DELETE FROM webhook_deliveries").await;
    let again = convene.json(&replay(&["--subject", "rsvp_1", "--again", "--rate", "500/s"]));
    assert_eq!((&again["replay"], &again["replayed"]), (&json!(1), &json!(2)), "{again}");
    assert_eq!(convene.value("SELECT count(*) FROM webhook_deliveries").await, "2");
    let inbox = "SELECT string_agg(replay || ':' || count, ' ' ORDER BY replay)
                 FROM (SELECT replay, count(*) AS count FROM inbox GROUP BY replay) AS taken";
    assert_eq!(convene.value(inbox).await, "0:2 1:2");

    convene.execute("DELETE FROM inbox WHERE replay = 1 AND event_id = (SELECT event_id FROM domain_events WHERE position = 2)").await;
    let text = convene.text(&replay(&["--subject", "rsvp_1", "--resume", "1"]));
    assert!(text.contains("Replay 1 for webhook.fanout\n"), "{text}");
    assert!(text.contains("Taken before:         1\n"), "{text}");
    assert!(text.contains("Replayed:             1\n"), "{text}");
    assert_eq!(convene.value(inbox).await, "0:2 1:2");
    assert!(convene.refusal(&replay(&["--type", "*", "--resume", "7"])).contains("no replay 7"));
    let next = convene.json(&replay(&["--subject", "rsvp_1", "--again"]));
    assert_eq!(next["replay"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_inbox_may_have_forgotten_is_left_out() {
    let convene = installation().await;
    convene
        .execute(
            "UPDATE domain_events SET recorded_at = now() - interval '15 days' WHERE position < 3",
        )
        .await;
    let text = convene.text(&replay(&["--type", "*"]));
    assert!(text.contains("Too old to tell:      2"), "{text}");
    assert!(text.contains("Replayed:             2\n"), "{text}");
    let since =
        convene.value("to_char(now() - interval '1 day', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')").await;
    let recent = convene.json(&replay(&["--from", &since, "--dry-run", "--again"]));
    assert_eq!(recent["matched"], 2);
    let old = convene.json(&replay(&["--to", &since, "--dry-run", "--again"]));
    assert_eq!(old["matched"], 2);
}

/// An event that the consumer cannot take becomes a job, as on the bus, and the replay goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_tried_again_as_a_job() {
    let convene = installation().await;
    convene.endpoint(COMMUNITY, "enabled").await;
    convene
        .execute(
            "UPDATE domain_events SET envelope = '{\"subject\": \"rsvp_1\"}' WHERE position = 1",
        )
        .await;
    let report = convene.json(&replay(&["--type", "*", "--again"]));
    assert_eq!((&report["replayed"], &report["postponed"]), (&json!(3), &json!(1)), "{report}");
    let job = "SELECT unique_key || ' ' || payload::text FROM jobs WHERE kind = 'consumer.retry'";
    let job = convene.value(job).await;
    assert!(job.starts_with("webhook.fanout:1:1 "), "{job}");
    assert!(job.contains(r#""replay": 1"#), "{job}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_consumer_is_told_who_there_is() {
    let convene = Installation::new().await;
    let refusal = convene.refusal(&["events", "replay", "--consumer", "nobody", "--type", "*"]);
    assert!(
        refusal.contains("There is no consumer nobody; there is: webhook.fanout."),
        "{refusal}"
    );
}
