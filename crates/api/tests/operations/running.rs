//! A process that runs: what it reports, and what administrators change about it.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use convene_testkit::poll::poll_until;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::installation::Installation;

const PATIENCE: Duration = Duration::from_secs(30);

/// `convene serve`, ended with the test.
struct Serving {
    child: Child,
    api: String,
    admin: String,
    log: tempfile::NamedTempFile,
    http: reqwest::Client,
}

impl Serving {
    async fn start(convene: &Installation) -> Self {
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut child = convene
            .command(&["serve"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.reopen().unwrap())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let told = tokio::task::spawn_blocking(move || {
            let mut told = Vec::new();
            for line in BufReader::new(stdout).lines() {
                told.push(line.unwrap());
                if told.last().is_some_and(|line| line.starts_with("Admin")) {
                    break;
                }
            }
            told
        })
        .await
        .unwrap();
        let address = |name: &str| {
            let line = told.iter().find(|line| line.starts_with(name));
            let line = line.unwrap_or_else(|| panic!("{name} is not told: {told:?}"));
            line.split_whitespace().nth(1).unwrap().to_owned()
        };
        let admin = address("Admin").trim_end_matches("/admin/status").to_owned();
        Self { child, api: address("API"), admin, log, http: reqwest::Client::new() }
    }

    fn logged(&self) -> String {
        let mut text = String::new();
        File::open(self.log.path()).unwrap().read_to_string(&mut text).unwrap();
        text
    }

    /// Ends it as an operator does, and waits for its end.
    async fn end(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let ended =
            poll_until(PATIENCE, "the process ends", async || self.child.try_wait().unwrap());
        assert!(ended.await.success());
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It has ended already unless the test has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn installation() -> Installation {
    Installation::new()
        .await
        .with("CONVENE__HTTP__BIND", "127.0.0.1:0")
        .with("CONVENE__ADMIN__BIND", "127.0.0.1:0")
        .with("CONVENE__HTTP__DRAIN_DELAY", "1ms")
        .with("CONVENE__DATABASE__POOL_SIZE", "4")
        .with("CONVENE__TELEMETRY__LOG_FORMAT", "json")
}

/// A collector that keeps the bodies that it is sent.
fn collector() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let bodies = Arc::<Mutex<Vec<String>>>::default();
    let kept = Arc::clone(&bodies);
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut reader = BufReader::new(&connection);
            let (mut head, mut line) = (String::new(), String::new());
            while reader.read_line(&mut line).unwrap() > 2 {
                head.push_str(&line.to_ascii_lowercase());
                line.clear();
            }
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let mut body = vec![0; length.unwrap().parse().unwrap()];
            reader.read_exact(&mut body).unwrap();
            kept.lock().unwrap().push(String::from_utf8(body).unwrap());
            connection
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                .unwrap();
        }
    });
    (port, bodies)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_that_repeats_is_reported_once() {
    let (port, bodies) = collector();
    let dsn = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(dsn.path(), format!("http://public@127.0.0.1:{port}/7\n")).unwrap();
    let convene = installation()
        .await
        .with("CONVENE__TELEMETRY__ERROR_REPORTING_DSN_FILE", dsn.path().to_str().unwrap())
        .with("CONVENE__TELEMETRY__ENVIRONMENT", "a-test");
    let mut serving = Serving::start(&convene).await;
    convene.execute("ALTER TABLE communities RENAME TO gone").await;
    let url = format!("{}/v1/communities", serving.api);
    for number in 0..20 {
        let call = serving.http.get(&url).header("x-request-id", format!("request-{number}"));
        let answer = call.header("user-agent", "ada@example.org").send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
    poll_until(PATIENCE, "the report has come", async || {
        (!bodies.lock().unwrap().is_empty()).then_some(())
    })
    .await;
    let metrics = serving.http.get(format!("{}/metrics", serving.api)).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(metrics.contains("convene_error_reports_total{outcome=\"sent\"} 1"), "{metrics}");
    assert!(
        metrics.contains("convene_error_reports_total{outcome=\"suppressed\"} 19"),
        "{metrics}"
    );
    serving.end().await;

    let bodies = bodies.lock().unwrap();
    let [body] = bodies.as_slice() else { panic!("{bodies:?}") };
    assert!(!body.contains("ada@"), "{body}");
    let event: Value = serde_json::from_str(body.lines().nth(2).unwrap()).unwrap();
    assert_eq!(event["tags"]["request_id"], "request-0");
    assert_eq!(event["tags"]["route"], "/v1/communities");
    assert_eq!(event["tags"]["code"], "internal");
    assert_eq!(event["environment"], "a-test");
    assert!(event["exception"]["values"][0]["value"].as_str().unwrap().contains("communities"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_changes_what_a_process_logs() {
    let convene = installation().await;
    let made = convene.json(&["user", "create-admin", "--email", "olga@example.org"]);
    let mut serving = Serving::start(&convene).await;
    let login = json!({ "email": "olga@example.org", "password": made["password"] });
    let tokens = serving.http.post(format!("{}/v1/auth/login", serving.api)).json(&login).send();
    let tokens: Value = tokens.await.unwrap().error_for_status().unwrap().json().await.unwrap();
    let token = tokens["access_token"].as_str().unwrap().to_owned();
    let url = format!("{}/admin/log-filter", serving.admin);
    let set = async |body: Value| {
        let call = serving.http.put(&url).bearer_auth(&token);
        call.header("convene-reason", "Ticket 4711: logins fail").json(&body).send().await.unwrap()
    };
    assert!(!serving.logged().contains("\"level\":\"DEBUG\""));
    let answer = set(json!({ "filter": "debug", "minutes": 1 })).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let state: Value = answer.json().await.unwrap();
    assert_eq!((&state["filter"], &state["scope"]), (&json!("debug"), &json!("process")));
    assert!(state["until"].is_string());
    poll_until(PATIENCE, "it is logged", async || {
        serving.logged().contains("\"level\":\"DEBUG\"").then_some(())
    })
    .await;
    let wrong = set(json!({ "filter": "convene=loud" })).await;
    assert_eq!(wrong.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let read = serving.http.get(&url).bearer_auth(&token).send().await.unwrap();
    assert_eq!(read.json::<Value>().await.unwrap()["filter"], "debug", "a mistake changes nothing");
    let told = convene.audit("platform.set_log_filter").await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("\"new\": \"debug\"") && told[0].starts_with("user_"), "{told:?}");
    assert_eq!(convene.audit("platform.operate").await.len(), 2);
    serving.end().await;
}
