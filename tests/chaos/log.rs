//! What a process writes to its log: a line for each request, and nothing that is nobody's business.

use std::fs;

use convene_testkit::poll::poll_until;
use convene_tests::app;
use convene_tests::client::PATIENCE;
use serde_json::{Value, json};

use crate::process::Process;
use crate::stage::settings;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[tokio::test(flavor = "multi_thread")]
async fn each_request_leaves_one_line_and_no_secrets() {
    let database = app::database().await;
    let verbose = [("CONVENE__TELEMETRY__LOG_FILTER", "info,convene=debug,convene_http=debug")];
    let process = Process::start("run", settings(&database.admin_url(), &verbose)).await;
    let olga = process.person("olga").await;
    let wrong = json!({"email": olga.email, "password": "a guess that is certainly wrong"});
    process.post("/v1/auth/login").json(wrong).await.expect(401);
    process.post("/v1/auth/forgot-password").json(json!({"email": olga.email})).await;
    process
        .get("/v1/users/me?secret=in-the-query")
        .by(&olga)
        .header("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01"))
        .header("x-request-id", "seen-by-the-client")
        .header("user-agent", "somebodys-own-browser/1.0")
        .await
        .problem(422, "validation_failed");

    let line = poll_until(PATIENCE, "the request is logged", async || {
        let log = fs::read_to_string(process.log()).ok()?;
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.into_iter().find(|line| {
            line["message"] == "request finished"
                && line["span"]["request_id"] == "seen-by-the-client"
        })
    })
    .await;
    assert_eq!(line["route"], "/v1/users/me");
    assert_eq!(line["status"], 422);
    assert!(line["duration_ms"].is_number() && line["bytes"].is_number(), "{line}");
    assert_eq!(line["span"]["method"], "GET");
    assert_eq!(line["span"]["path"], "/v1/users/me");
    assert_eq!(line["span"]["trace_id"], TRACE);
    assert_eq!(line["span"]["user"], olga.id);

    let log = fs::read_to_string(process.log()).expect("it logs");
    for secret in [
        olga.email.as_str(),
        &olga.password,
        &olga.token,
        &olga.refresh_token,
        "certainly wrong",
        "in-the-query",
        "somebodys-own-browser",
    ] {
        let told = log.lines().find(|line| line.contains(secret));
        assert_eq!(told, None, "the log tells {secret}");
    }
}
