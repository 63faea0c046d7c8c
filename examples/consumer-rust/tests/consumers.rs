//! The example consumers in all their languages, each as a process against a real broker: one effect per event, retries
//! through the tiers, what cannot be read is parked, and a lost connection or a restart changes nothing.

mod scene;

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;

use scene::{Scene, fixture};

/// Preparing takes a download the first time.
const PREPARATION: Duration = Duration::from_secs(300);

#[tokio::test(flavor = "multi_thread")]
async fn in_rust() {
    story("rust", || Command::new(env!("CARGO_BIN_EXE_convene-consumer"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_python() {
    let python = prepared("python").await;
    let script = examples().join("consumer-python/consumer.py");
    story("python", || {
        let mut command = Command::new(&python);
        command.arg(&script);
        command
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_typescript() {
    let script = prepared("typescript").await;
    story("typescript", || {
        let mut command = Command::new("node");
        command.arg(&script);
        command
    })
    .await;
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What runs the consumer of that language, after its dependencies were installed.
async fn prepared(language: &str) -> PathBuf {
    let script = examples().join("../scripts/consumers.sh");
    let preparing = Command::new(script).arg(language).kill_on_drop(true).output();
    let Output { status, stdout, stderr } = tokio::time::timeout(PREPARATION, preparing)
        .await
        .expect("preparing ends in time")
        .expect("the script runs");
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).expect("a path").trim_end().into()
}

/// An event of an RSVP. The numbers make the ids.
fn event(number: u8, rsvp: u8, version: i32) -> Value {
    let name = if version == 1 { "rsvp.confirmed.v1" } else { "rsvp.party_changed.v1" };
    let mut event = fixture(name);
    event["id"] = json!(format!("01a4a02d-7d7b-74c1-b606-38d6d72a0e{number:02}"));
    let subject = format!("rsvp_01mgz7z9ynfjhtx5dy8nb2nw{rsvp:02}");
    event["data"]["rsvp_id"] = json!(subject);
    event["subject"] = json!(subject);
    event["aggregateversion"] = json!(version);
    event
}

fn outcome(outcome: &str, event: &Value, attempt: u64) -> Value {
    json!({ "outcome": outcome, "id": event["id"], "attempt": attempt })
}

async fn story(language: &str, command: impl Fn() -> Command) {
    let scene = Scene::new(language).await;
    let mut consumer = scene.start(command(), None).await;
    let first = event(1, 1, 1);

    // Once, however often it comes.
    scene.publish(&first).await;
    scene.publish(&first).await;
    assert_eq!(consumer.line().await, outcome("applied", &first, 0));
    assert_eq!(consumer.line().await, outcome("duplicate", &first, 0));

    // What cannot be read is parked as it is, and nothing behind it waits.
    let mut without_a_number = event(2, 1, 2);
    without_a_number["data"]["party_size"] = json!("two");
    let mut without_a_type = event(2, 1, 2);
    without_a_type.as_object_mut().expect("an object").remove("type");
    let malformed =
        ["{ no JSON".to_owned(), without_a_number.to_string(), without_a_type.to_string()];
    for body in &malformed {
        scene.publish_body(body.as_bytes()).await;
        let line = consumer.line().await;
        assert_eq!((&line["outcome"], &line["attempt"]), (&json!("dead"), &json!(0)), "{line}");
        assert_eq!(scene.take_dead().await, body.as_bytes());
    }

    // The third version cannot be applied before the second: it fails twice, then the second is there.
    let (second, third) = (event(3, 1, 2), event(4, 1, 3));
    scene.publish(&third).await;
    assert_eq!(consumer.line().await, outcome("retry", &third, 0));
    assert_eq!(consumer.line().await, outcome("retry", &third, 1));
    scene.publish(&second).await;
    assert_eq!(consumer.line().await, outcome("applied", &second, 0));
    assert_eq!(consumer.line().await, outcome("applied", &third, 2));
    scene.publish(&event(5, 1, 2)).await;
    assert_eq!(consumer.line().await, outcome("outdated", &event(5, 1, 2), 0));

    // One that fails at every attempt ends where a person looks for it.
    let (other, ahead) = (event(6, 2, 1), event(7, 2, 3));
    scene.publish(&other).await;
    scene.publish(&ahead).await;
    assert_eq!(consumer.line().await, outcome("applied", &other, 0));
    for attempt in 0..2 {
        assert_eq!(consumer.line().await, outcome("retry", &ahead, attempt));
    }
    assert_eq!(consumer.line().await, outcome("dead", &ahead, 2));
    assert_eq!(scene.take_dead().await, ahead.to_string().as_bytes());

    // A lost connection: it comes back by itself. What it had parked may come again, if its answer was on the way.
    scene.cut_connections();
    let after_the_cut = event(8, 3, 1);
    scene.publish(&after_the_cut).await;
    let mut line = consumer.line().await;
    if line == outcome("dead", &ahead, 2) {
        assert_eq!(scene.take_dead().await, ahead.to_string().as_bytes());
        line = consumer.line().await;
    }
    assert_eq!(line, outcome("applied", &after_the_cut, 0));

    // It ends when told to, with nothing in hand, and knows afterwards what it has done.
    consumer.terminate().await;
    let while_it_was_away = event(9, 3, 2);
    scene.publish(&third).await;
    scene.publish(&while_it_was_away).await;
    let mut again = scene.start(command(), Some(2)).await;
    assert_eq!(again.line().await, outcome("duplicate", &third, 0));
    assert_eq!(again.line().await, outcome("applied", &while_it_was_away, 0));
    again.ended().await;
    assert_eq!(scene.waiting().await, 0, "nothing was left unanswered");
}
