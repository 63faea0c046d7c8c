//! Keys that are replaced while a process serves: nobody notices but those who look for it.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use convene_testkit::poll::poll_until;
use convene_tests::app;
use convene_tests::client::{Client, PATIENCE, Person, text};
use convene_tests::receiver::Receiver;
use serde_json::{Value, json};

use crate::process::{Process, Settings, run};
use crate::stage::settings;

const OLD: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const NEW: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";

/// The envelope keys of an installation, in files.
struct KeyFiles(tempfile::TempDir);

impl KeyFiles {
    fn new() -> Self {
        let files = Self(tempfile::tempdir().expect("a temporary folder"));
        files.hold(OLD, "");
        files
    }

    /// Replaced as a secret store does it: the new file takes the old one's place.
    fn hold(&self, current: &str, previous: &str) {
        let write = |name: &str, text: &str| {
            let staged = self.0.path().join("staged");
            fs::write(&staged, text).expect("a file can be written");
            fs::rename(staged, self.0.path().join(name)).expect("and renamed");
        };
        // The key of before first, so that it is known when the new one seals.
        write("previous", previous);
        write("current", current);
    }

    fn settings(&self, database: &str) -> Settings {
        let path = |name: &str| Path::join(self.0.path(), name).display().to_string();
        let (current, previous) = (path("current"), path("previous"));
        settings(
            database,
            &[
                ("CONVENE__SECRETS__ENVELOPE_KEY_FILE", current.as_str()),
                ("CONVENE__SECRETS__PREVIOUS_ENVELOPE_KEYS_FILE", previous.as_str()),
            ],
        )
    }
}

/// The cursor behind the first community; the same for as long as the same key signs it.
async fn cursor(client: &Client, person: &Person) -> String {
    let page = client.get("/v1/communities?limit=1").by(person).await.expect(200).json();
    text(&page["next_cursor"])
}

/// The name of the key that signed a person's token.
fn kid(person: &Person) -> String {
    let header = person.token.split('.').next().expect("a token has parts");
    let header = URL_SAFE_NO_PAD.decode(header).expect("its header is base64");
    text(&serde_json::from_slice::<Value>(&header).expect("and JSON")["kid"])
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envelope_key_is_replaced_while_everything_goes_on() {
    let (database, files) = (app::database().await, KeyFiles::new());
    let settings = files.settings(&database.admin_url());
    let process = Process::start("run", settings.clone()).await;
    let mut olga = process.person("olga").await;
    let community = process.community(&olga).await;
    process.community(&olga).await;
    let receiver = Receiver::start();
    let endpoint = json!({"url": receiver.url(), "event_types": ["rsvp.*"]});
    let webhooks = format!("/v1/communities/{community}/webhooks");
    let made = process.post(webhooks).by(&olga).json(endpoint).await.expect(201).json();
    let secret = text(&made["secret"]);
    let event = process.event(&olga, &community, None).await;
    let old_cursor = cursor(&process, &olga).await;

    files.hold(NEW, OLD);
    poll_until(PATIENCE, "the new key signs", async || {
        (cursor(&process, &olga).await != old_cursor).then_some(())
    })
    .await;
    let next = format!("/v1/communities?limit=1&after={old_cursor}");
    process.get(&next).by(&olga).await.expect(200);
    process.rsvp(&olga, &event).await.expect(201);
    assert!(receiver.wait_for(1).await.iter().all(|hook| hook.is_signed_with(&secret)));

    let told = run("--json keys reseal --dry-run", &settings);
    assert!(told.contains("\"changed\": 1"), "{told}");
    run("keys reseal", &settings);
    let told = run("--json keys reseal", &settings);
    assert!(!told.contains("\"changed\": 1") && !told.contains("\"lost\": 1"), "{told}");

    files.hold(NEW, "");
    poll_until(PATIENCE, "the old key is gone", async || {
        (process.get(&next).by(&olga).await.status == 400).then_some(())
    })
    .await;
    process.delete(format!("/v1/events/{event}/rsvps/me")).by(&olga).await.expect(200);
    assert!(receiver.wait_for(2).await.iter().all(|hook| hook.is_signed_with(&secret)));
    process.login(&mut olga).await;
    process.get("/v1/users/me").by(&olga).await.expect(200);
    let log = fs::read_to_string(process.log()).expect("it logs");
    assert!(!log.contains(OLD) && !log.contains(NEW) && !log.contains(&secret));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signing_key_is_replaced_while_its_tokens_go_on() {
    let database = app::database().await;
    let settings = settings(&database.admin_url(), &[]);
    let process = Process::start("run", settings.clone()).await;
    let before = process.person("olga").await;
    let mut after = Person { ..before.clone() };

    run("keys rotate --now", &settings);
    // Processes look once a minute, and at once if a token names a key that they do not know.
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"EdDSA","typ":"at+jwt","kid":"unknown"}"#);
    let forged = format!("{header}.e30.AAAA");
    process.get("/v1/users/me").token(&forged).await.problem(401, "unauthenticated");
    process.login(&mut after).await;
    assert_ne!(kid(&after), kid(&before));
    process.get("/v1/users/me").by(&before).await.expect(200);
    process.get("/v1/users/me").by(&after).await.expect(200);
    let keys = process.get("/.well-known/jwks.json").await.expect(200).json();
    let shown: Vec<&Value> = keys["keys"].as_array().expect("a list").iter().collect();
    assert_eq!(shown.len(), 2, "{keys}");
    for person in [&before, &after] {
        assert!(shown.iter().any(|key| key["kid"] == kid(person)), "{keys}");
    }

    let distrusted = format!("keys rotate --retire {}", kid(&after));
    run(&distrusted, &settings);
    let listed = run("keys list", &settings);
    let line = listed.lines().find(|line| line.contains(&kid(&after))).expect("it is listed");
    assert!(line.contains("retired"), "{listed}");
    let restarted = Process::start("run", settings).await;
    restarted.get("/v1/users/me").by(&after).await.problem(401, "unauthenticated");
    let audited = app::sql(&database.admin_url()).await;
    let entries = audited
        .query_one(
            "SELECT (SELECT count(*) FROM audit_log WHERE action = 'auth.rotate_keys')
                  + (SELECT count(*) FROM audit_pending WHERE action = 'auth.rotate_keys')",
            &[],
        )
        .await
        .expect("the audit log can be read");
    assert_eq!(entries.get::<_, i64>(0), 2);
}
