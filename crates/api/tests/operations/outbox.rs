//! `convene outbox status`.

use serde_json::json;

use crate::installation::Installation;

const COMMUNITY: &str = "018f0000-0000-7000-8000-000000000001";

#[tokio::test(flavor = "multi_thread")]
async fn it_tells_what_waits_and_how_far_each_sink_is_behind() {
    let convene = Installation::new().await;
    let empty = json!({ "waiting": 0, "oldest_seconds": 0.0, "position": 0, "sinks": [] });
    assert_eq!(convene.json(&["outbox", "status"]), empty);
    assert!(convene.text(&["outbox", "status"]).contains("start `convene worker`"));

    for _ in 0..3 {
        convene.record("rsvp.confirmed", COMMUNITY, "rsvp_1").await;
    }
    convene
        .execute(
            "INSERT INTO outbox (event_id, event_type, version, envelope, recorded_at)
             VALUES (gen_random_uuid(), 'user.registered', 1, '{}', now() - interval '90 seconds');
             INSERT INTO sink_cursors (sink, position, epoch, holder, leased_until)
             VALUES ('rabbitmq', 1, 4, gen_random_uuid(), now() + interval '1 hour'),
                    ('old', 3, 1, gen_random_uuid(), now() - interval '1 hour')",
        )
        .await;
    let status = convene.json(&["outbox", "status"]);
    assert_eq!((&status["waiting"], &status["position"]), (&json!(1), &json!(3)));
    assert!(status["oldest_seconds"].as_f64().unwrap() >= 90.0, "{status}");
    let (old, rabbitmq) = (&status["sinks"][0], &status["sinks"][1]);
    assert_eq!(
        old,
        &json!({ "sink": "old", "position": 3, "lag": 0, "oldest_seconds": null, "epoch": 1, "led": false })
    );
    assert_eq!((&rabbitmq["lag"], &rabbitmq["epoch"]), (&json!(2), &json!(4)));
    assert_eq!(rabbitmq["led"], true);
    assert!(rabbitmq["oldest_seconds"].is_number());

    let text = convene.text(&["outbox", "status"]);
    assert!(text.contains("Waiting for their position: 1\n"), "{text}");
    assert!(text.contains("Last position:              3\n"), "{text}");
    let line = text.lines().find(|line| line.starts_with("rabbitmq")).unwrap();
    assert_eq!(line.split_whitespace().take(3).collect::<Vec<_>>(), ["rabbitmq", "1", "2"]);
}
