//! Webhooks on their way: what official verifiers say about them, rotation, header fields, tests, replays and figures.

use std::process::Stdio;
use std::time::Duration;

use convene_testkit::poll::poll_until;
use convene_tests::app::App;
use convene_tests::client::{PATIENCE, Person, text};
use convene_tests::problem::mistakes;
use convene_tests::receiver::{Received, Receiver};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// Preparing takes a download the first time.
const PREPARATION: Duration = Duration::from_secs(300);

/// A community with an endpoint.
struct Scene {
    app: App,
    olga: Person,
    receiver: Receiver,
    community: String,
    /// The path of the endpoint.
    at: String,
    /// What it answered when it was made.
    made: Value,
}

impl Scene {
    async fn new(endpoint: Value) -> Self {
        let app = App::start().await;
        let olga = app.person("olga").await;
        let community = app.community(&olga).await;
        let receiver = Receiver::start();
        let mut body = json!({"url": receiver.url(), "event_types": ["event.*"]});
        let more = endpoint.as_object().expect("members").clone();
        body.as_object_mut().expect("an object").extend(more);
        let path = format!("/v1/communities/{community}/webhooks");
        let made = app.post(&path).by(&olga).json(body).await.expect(201).json();
        let at = format!("{path}/{}", text(&made["id"]));
        Self { app, olga, receiver, community, at, made }
    }

    async fn post(&self, verb: &str, body: Value) -> convene_tests::client::Answer {
        self.app.post(format!("{}/{verb}", self.at)).by(&self.olga).json(body).await
    }

    /// Sends a test, and waits until it is the last of so many that have arrived.
    async fn test(&self, arrived: usize) -> Received {
        let test = self.app.post(format!("{}/test", self.at)).by(&self.olga);
        let delivery = test.await.expect(202).json();
        assert_eq!(delivery["event_type"], "webhook.test");
        let received = self.receiver.wait_for(arrived).await;
        let last = received.into_iter().find(|webhook| webhook.id == delivery["id"]);
        last.expect("the test is among those that have arrived")
    }

    async fn get(&self, below: &str) -> Value {
        self.app.get(format!("{}{below}", self.at)).by(&self.olga).await.expect(200).json()
    }

    async fn deliveries_until(&self, status: &str, count: usize) -> Vec<Value> {
        poll_until(PATIENCE, &format!("{count} deliveries are {status}"), async || {
            let page = self.get("/deliveries?limit=100").await;
            let all = page["data"].as_array()?;
            let found: Vec<_> = all.iter().filter(|found| found["status"] == status).collect();
            (found.len() >= count).then(|| all.clone())
        })
        .await
    }
}

/// What an official library says about webhooks, each with the secret that it is verified with.
async fn verdicts(language: &str, webhooks: &[(&Received, &str)]) -> Vec<String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/webhook-verifiers.sh");
    let preparing = Command::new(script).arg(language).kill_on_drop(true).output();
    let prepared = tokio::time::timeout(PREPARATION, preparing).await;
    let prepared = prepared.expect("preparing ends in time").expect("the script runs");
    assert!(prepared.status.success(), "{}", String::from_utf8_lossy(&prepared.stderr));
    let command = String::from_utf8(prepared.stdout).expect("paths");
    let mut words = command.lines();

    let cases: Vec<Value> = webhooks
        .iter()
        .map(|(webhook, secret)| {
            let headers = json!({
                "webhook-id": webhook.id,
                "webhook-timestamp": webhook.timestamp,
                "webhook-signature": webhook.signature,
            });
            let body = std::str::from_utf8(&webhook.body).expect("JSON is UTF-8");
            json!({ "secret": secret, "headers": headers, "body": body })
        })
        .collect();
    let mut verifier = Command::new(words.next().expect("a program"))
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the verifier starts");
    let mut stdin = verifier.stdin.take().expect("a pipe");
    stdin.write_all(json!(cases).to_string().as_bytes()).await.expect("it reads");
    drop(stdin);
    let output = verifier.wait_with_output().await.expect("the verifier ends");
    serde_json::from_slice(&output.stdout).expect("verdicts")
}

#[tokio::test(flavor = "multi_thread")]
async fn official_libraries_accept_what_is_sent() {
    let scene = Scene::new(json!({"description": "Übersicht & <b>mehr</b>"})).await;
    let first = text(&scene.made["secret"]);
    let before = scene.test(1).await;
    let rotated = scene.post("rotate-secret", json!({})).await.expect(200).json();
    let second = text(&rotated["secret"]);
    let during = scene.test(2).await;
    let body = json!({"signature": "ed25519", "overlap_hours": 1});
    let rotated = scene.post("rotate-secret", body).await.expect(200).json();
    let public = text(&rotated["secret"]);
    assert_eq!(rotated["public_key"], public);
    let mixed = scene.test(3).await;
    let ended = scene.post("rotate-secret", json!({"overlap_hours": 0})).await.expect(200).json();
    let other_public = text(&ended["public_key"]);
    let after = scene.test(4).await;

    let (yes, no) = ("verified", "No matching signature found");
    let hmac = [
        ((&before, first.as_str()), yes),
        ((&before, second.as_str()), no),
        ((&during, first.as_str()), yes),
        ((&during, second.as_str()), yes),
        ((&mixed, first.as_str()), yes),
        ((&mixed, second.as_str()), yes),
        ((&after, second.as_str()), no),
    ];
    let mut forged = during.clone();
    forged.body = [&forged.body[..], b" "].concat().into();
    let hmac = hmac.into_iter().chain([((&forged, second.as_str()), no)]);
    let (webhooks, expected): (Vec<_>, Vec<_>) = hmac.unzip();
    assert_eq!(verdicts("python", &webhooks).await, expected);
    assert_eq!(verdicts("javascript", &webhooks).await, expected);

    let asymmetric = [
        ((&mixed, public.as_str()), yes),
        ((&mixed, other_public.as_str()), no),
        ((&after, other_public.as_str()), yes),
        ((&after, public.as_str()), no),
        ((&during, public.as_str()), no),
    ];
    let (webhooks, expected): (Vec<_>, Vec<_>) = asymmetric.into_iter().unzip();
    assert_eq!(verdicts("javascript", &webhooks).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_shown_once_and_rotation_is_bounded() {
    let scene = Scene::new(json!({"signature": "ed25519"})).await;
    assert!(text(&scene.made["secret"]).starts_with("whpk_"), "no private key is shown");
    assert_eq!(scene.made["public_key"], scene.made["secret"]);
    let read = scene.get("").await;
    assert_eq!((&read["public_key"], read.get("secret")), (&scene.made["secret"], None));

    for (body, pointer) in [
        (json!({"overlap_hours": 169}), "/overlap_hours"),
        (json!({"overlap_hours": -1}), "/overlap_hours"),
        (json!({"signature": "rsa"}), "/signature"),
        (json!({"signature": null}), "/signature"),
        (json!({"overlap": 1}), "/overlap"),
    ] {
        let refused = scene.post("rotate-secret", body.clone()).await;
        let problem = refused.problem(422, "validation_failed");
        assert_eq!(mistakes(&problem)[0].0, pointer, "{body}");
    }
    let rotate = || {
        let call = scene.app.post(format!("{}/rotate-secret", scene.at)).by(&scene.olga);
        call.header("idempotency-key", "rotation").json(json!({"signature": "hmac"}))
    };
    let first = rotate().await.expect(200);
    assert_eq!(first.header("cache-control"), Some("no-store"));
    assert_eq!(first.json()["signature"], "hmac");
    assert!(first.json()["previous_secret_expires_at"].is_string());
    let again = rotate().await.expect(200);
    assert_eq!(again.json(), first.json(), "the same secret, once more");
    let read = scene.app.get(&scene.at).by(&scene.olga).await;
    assert_eq!(first.header("etag"), read.expect(200).header("etag"));
}

#[tokio::test(flavor = "multi_thread")]
async fn header_fields_go_along_and_are_not_shown() {
    let headers = json!({"X-Api-Key": "s3cret", "authorization": "Bearer t0ken"});
    let scene = Scene::new(json!({"headers": headers})).await;
    assert_eq!(scene.made["header_names"], json!(["authorization", "x-api-key"]));
    let received = scene.test(1).await;
    assert_eq!(received.header("x-api-key"), Some("s3cret"));
    assert_eq!(received.header("authorization"), Some("Bearer t0ken"));
    assert!(received.is_signed_with(&text(&scene.made["secret"])));
    assert!(!scene.get("").await.to_string().contains("s3cret"));

    let patch = |change: Value| {
        scene.app.patch(&scene.at).by(&scene.olga).header("if-match", "*").json(change)
    };
    let change = json!({"headers": {"x-api-key": null, "x-tenant": "berlin"}});
    let changed = patch(change).await.expect(200).json();
    assert_eq!(changed["header_names"], json!(["authorization", "x-tenant"]));
    let received = scene.test(2).await;
    assert_eq!((received.header("x-api-key"), received.header("x-tenant")), (None, Some("berlin")));
    assert_eq!(patch(json!({"headers": null})).await.expect(200).json()["header_names"], json!([]));

    for (name, code) in [
        ("Host", "reserved"),
        ("Content-Length", "reserved"),
        ("webhook-signature", "reserved"),
        ("x-forwarded-for", "reserved"),
        ("transfer-encoding", "reserved"),
        ("a b", "invalid_format"),
    ] {
        let refused = patch(json!({"headers": {name: "x"}})).await;
        let problem = refused.problem(422, "validation_failed");
        let expected = (format!("/headers/{name}"), code.to_owned());
        assert_eq!(mistakes(&problem)[0], expected, "{name}");
    }
    let refused = patch(json!({"headers": {"x-a": "b\r\nhost: c"}})).await;
    refused.problem(422, "validation_failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_and_what_is_missing_is_sent_again() {
    let scene = Scene::new(json!({})).await;
    for title in ["One", "Two", "Three"] {
        let event = json!({
            "title": title,
            "starts_at_local": "2035-05-01T18:00:00",
            "ends_at_local": "2035-05-01T21:00:00",
            "time_zone": "Europe/Berlin",
        });
        let path = format!("/v1/communities/{}/events", scene.community);
        scene.app.post(path).by(&scene.olga).json(event).await.expect(201);
    }
    let all = scene.deliveries_until("succeeded", 3).await;
    let sql = scene.app.sql().await;
    // One has failed for good, one was never made.
    sql.batch_execute(
        "WITH made AS (SELECT id, row_number() OVER (ORDER BY id) AS number FROM webhook_deliveries),
              failed AS (UPDATE webhook_deliveries SET status = 'failed'
                         WHERE id = (SELECT id FROM made WHERE number = 1))
         DELETE FROM webhook_deliveries WHERE id = (SELECT id FROM made WHERE number = 2)",
    )
    .await
    .unwrap();

    let refused = scene.post("replay", json!({"scope": "all"})).await;
    let problem = refused.problem(422, "validation_failed");
    assert_eq!(mistakes(&problem)[0], ("/since".to_owned(), "required".to_owned()));
    let mut arrived = 3;
    for (body, redelivered, succeeded) in [
        (json!({"scope": "missing"}), 1, 2),
        (json!({"scope": "failed", "since": scene.made["created_at"]}), 1, 3),
        (json!({"scope": "all", "since": scene.made["created_at"]}), 3, 3),
        (json!({"scope": "failed", "since": scene.made["created_at"]}), 0, 3),
        (json!({"scope": "all", "since": "2200-01-01T00:00:00Z"}), 0, 3),
    ] {
        let begun = scene.post("replay", body.clone()).await.expect(202);
        let path = begun.header("location").expect("it tells where to ask").to_owned();
        let id = text(&begun.json()["id"]);
        assert!(path.ends_with(&format!("/replays/{id}")), "{path}");
        let done = poll_until(PATIENCE, "the replay is done", async || {
            let replay = scene.app.get(&path).by(&scene.olga).await.expect(200).json();
            (replay["status"] == "completed").then_some(replay)
        })
        .await;
        assert_eq!(done["redelivered"], redelivered, "{body}");
        assert!(done["ended_at"].is_string(), "{done}");
        arrived += redelivered;
        let received = scene.receiver.wait_for(arrived).await;
        assert_eq!(received.len(), arrived, "{body}");
        scene.deliveries_until("succeeded", succeeded).await;
        let cancel = scene.app.post(format!("{path}/cancel")).by(&scene.olga).await;
        assert_eq!(cancel.expect(200).json()["status"], "completed", "it has ended");
    }
    let events: Vec<_> = all.iter().map(|delivery| &delivery["event_id"]).collect();
    let received = scene.receiver.received();
    let bodies: Vec<_> = received.iter().map(|webhook| text(&webhook.json()["id"])).collect();
    for event in events {
        let event = text(event);
        let times = bodies.iter().filter(|id| **id == event).count();
        assert!(times >= 2, "{event} came {times} times");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_and_answers_are_shown() {
    let scene = Scene::new(json!({})).await;
    let none = scene.get("/stats").await;
    assert_eq!((&none["success_rate"], &none["attempts"]["total"]), (&Value::Null, &json!(0)));
    scene.receiver.answer(410);
    scene.test(1).await;
    poll_until(PATIENCE, "the endpoint is disabled", async || {
        (scene.get("").await["status"] == "disabled").then_some(())
    })
    .await;
    let delivery = scene.get("/deliveries").await["data"][0].clone();
    assert_eq!(delivery["attempts"][0]["status_code"], 410);
    assert_eq!(delivery["attempts"][0]["response"], "");

    // What is kept for it comes when it is enabled again.
    scene.app.post(format!("{}/test", scene.at)).by(&scene.olga).await.expect(202);
    scene.receiver.answer(200);
    scene.receiver.say("thanks, <b>Convene</b>");
    let patch = scene.app.patch(&scene.at).by(&scene.olga).header("if-match", "*");
    patch.json(json!({"status": "enabled"})).await.expect(200);
    let all = scene.deliveries_until("succeeded", 1).await;
    let taken = all.iter().find(|delivery| delivery["status"] == "succeeded").unwrap();
    assert_eq!(taken["attempts"][0]["response"], "thanks, <b>Convene</b>");
    let stats = scene.get("/stats").await;
    let attempts = &stats["attempts"];
    assert_eq!(attempts["success"], 1, "{stats}");
    assert_eq!(stats["deliveries"]["succeeded"], 1, "{stats}");
    assert!(attempts["client_error"].as_u64() >= Some(1), "{stats}");
    assert!(stats["latency_ms"]["p50"].is_u64() && stats["complete"] == true, "{stats}");
    let rate = stats["success_rate"].as_f64().unwrap();
    assert!(rate > 0.0 && rate < 1.0, "{stats}");
}
