//! `convene dlq …`, without a broker: jobs alone.

use serde_json::{Value, json};

use crate::installation::Installation;

/// Dead jobs: 11 and 12 of one kind, 13 of another; and one that lives.
async fn installation() -> Installation {
    let convene = Installation::new().await;
    convene
        .execute(
            "INSERT INTO jobs_dead (job_id, kind, queue, payload, priority, attempt, max_attempts, last_error,
                                    created_at, died_at)
             VALUES (11, 'c.dead', 'mail', '{\"to\": \"ada\"}', 50, 20, 20, 'Connection refused', now(), '2026-01-01'),
                    (12, 'c.dead', 'mail', '2', 50, 20, 20, 'timed out', now(), '2026-03-01'),
                    (13, 'd.dead', 'mail', '3', 50, 1, 1, 'connection reset', now(), '2026-02-01');
             INSERT INTO jobs (kind, queue, payload, priority, run_at, max_attempts)
             VALUES ('c.dead', 'mail', '4', 50, now() + interval '1 day', 20)",
        )
        .await;
    convene
}

fn ids(listed: &Value) -> Vec<i64> {
    listed["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_i64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_chosen_by_kind_time_and_error() {
    let convene = installation().await;
    let list = |more: &[&str]| ids(&convene.json(&[&["dlq", "list"], more].concat()));
    assert_eq!(list(&[]), [12, 13, 11], "the latest death first");
    assert_eq!(list(&["--kind", "c.dead"]), [12, 11]);
    assert_eq!(list(&["--type", "d.dead"]), [13]);
    assert_eq!(list(&["--since", "2026-02-01T00:00:00Z"]), [12, 13]);
    assert_eq!(list(&["--error", "CONNECTION"]), [13, 11]);
    assert_eq!(list(&["--error", "connection", "--kind", "c.dead"]), [11]);
    assert_eq!(list(&["--limit", "1"]), [12]);
    assert_eq!(convene.text(&["dlq", "list", "--kind", "a.b"]), "No dead letters.\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_they_carry_is_shown_when_it_is_asked_for() {
    let convene = installation().await;
    let shown = convene.text(&["dlq", "show", "11"]);
    assert!(shown.contains("Connection refused") && !shown.contains("ada"), "{shown}");
    assert_eq!(convene.json(&["dlq", "show", "11"]).get("payload"), None);
    let shown = convene.json(&["dlq", "show", "11", "--payload"]);
    assert_eq!(shown["payload"], json!({ "to": "ada" }));
    assert!(convene.refusal(&["dlq", "show", "99"]).contains("no dead letter 99"));
    assert!(convene.refusal(&["dlq", "show", "0123456789abcdef"]).contains("no dead letter"));
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_tried_again_not_faster_than_asked() {
    let convene = installation().await;
    let would = convene.json(&["dlq", "replay", "--kind", "c.dead", "--dry-run"]);
    assert_eq!((&would["jobs"], &would["messages"]), (&json!(2), &json!(0)));
    assert_eq!(convene.value("SELECT count(*) FROM jobs_dead").await, "3", "nothing has changed");

    let begun = std::time::Instant::now();
    let done = convene.json(&["dlq", "replay", "--kind", "c.dead", "--rate", "2/s"]);
    assert!(begun.elapsed() >= std::time::Duration::from_millis(500));
    assert_eq!(done, json!({ "jobs": 2, "messages": 0, "without_consumer": 0 }));
    let due = "SELECT count(*) FROM jobs WHERE kind = 'c.dead' AND run_at <= now() AND attempt = 0";
    assert_eq!(convene.value(due).await, "2");
    assert_eq!(convene.audit("job.retry").await, ["system job:11 {}", "system job:12 {}"]);
    assert_eq!(ids(&convene.json(&["dlq", "list"])), [13]);
    assert_eq!(
        convene.json(&["dlq", "replay", "12", "13"])["jobs"],
        1,
        "12 lives under another name"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_removed_by_accident() {
    let convene = installation().await;
    let run = convene.run(&["dlq", "purge", "--error", "connection"]);
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(run.stdout.contains("2 job(s)") && run.stderr.contains("--destructive"), "{run:?}");
    assert_eq!(convene.run(&["dlq", "purge", "--destructive"]).code, Some(2), "which?");
    assert_eq!(ids(&convene.json(&["dlq", "list"])), [12, 13, 11]);

    let done = convene.json(&["dlq", "purge", "--error", "connection", "--destructive"]);
    assert_eq!(done["jobs"], 2);
    assert_eq!(ids(&convene.json(&["dlq", "list"])), [12]);
    let entries = convene.audit("job.cancel").await;
    assert_eq!(entries.len(), 2, "{entries:?}");
    assert_eq!(convene.json(&["dlq", "purge", "--all", "--destructive"])["jobs"], 1);
    assert_eq!(convene.value("SELECT count(*) FROM jobs").await, "1", "what lives is left alone");
}
