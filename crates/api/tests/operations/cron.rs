//! `convene cron …`.

use serde_json::json;

use crate::installation::Installation;

/// One duty that a worker has made known.
async fn installation() -> Installation {
    let convene = Installation::new().await;
    convene
        .execute(
            "INSERT INTO cron_duties (name, schedule, missed, next_tick, last_tick, last_fired_at)
             VALUES ('platform.sweep', 'every 600s', 'once', '2027-04-01T10:10:00Z', '2027-04-01T10:00:00Z',
                     '2027-04-01T10:00:01Z')",
        )
        .await;
    convene
}

#[tokio::test(flavor = "multi_thread")]
async fn duties_are_listed() {
    let convene = Installation::new().await;
    assert_eq!(convene.text(&["cron", "list"]), "No duties: no worker has run yet.\n");
    let convene = installation().await;
    assert_eq!(
        convene.json(&["cron", "list"]),
        json!({ "duties": [{
            "name": "platform.sweep",
            "schedule": "every 600s",
            "missed": "once",
            "next_tick": "2027-04-01T10:10:00Z",
            "paused": false,
            "last_tick": "2027-04-01T10:00:00Z",
            "last_fired_at": "2027-04-01T10:00:01Z",
        }]})
    );
    assert!(convene.text(&["cron", "list"]).contains("platform.sweep  every 600s"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duty_is_paused_and_resumed() {
    let convene = installation().await;
    let paused = "SELECT paused FROM cron_duties";
    assert_eq!(
        convene.json(&["cron", "pause", "platform.sweep"]),
        json!({ "duty": "platform.sweep", "outcome": "paused" })
    );
    assert_eq!(convene.value(paused).await, "true");
    assert!(convene.text(&["cron", "list"]).contains("paused"));
    assert!(convene.text(&["cron", "resume", "platform.sweep"]).contains("comes up again"));
    assert_eq!(convene.value(paused).await, "false");
    assert!(convene.refusal(&["cron", "pause", "unheard.of"]).contains("no duty unheard.of"));
    assert_eq!(convene.audit("cron.pause").await, ["system platform.sweep {}"]);
    assert_eq!(convene.audit("cron.resume").await, ["system platform.sweep {}"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duty_is_done_now_and_keeps_its_ticks() {
    let convene = installation().await;
    convene.json(&["cron", "run", "platform.sweep"]);
    assert_eq!(
        convene.value("SELECT kind || ' ' || unique_key FROM jobs").await,
        "platform.sweep platform.sweep"
    );
    assert_eq!(
        convene.value("SELECT next_tick = '2027-04-01T10:10:00Z' FROM cron_duties").await,
        "true"
    );
    assert!(convene.refusal(&["cron", "run", "unheard.of"]).contains("no duty unheard.of"));
    assert_eq!(convene.audit("cron.run").await, ["system platform.sweep {}"]);
}
