//! What `/metrics` of a running process tells, against the list of metrics in docs/metrics.md.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use convene_testkit::poll::poll_until;
use convene_tests::app;
use convene_tests::client::PATIENCE;
use convene_tests::receiver::Receiver;
use serde_json::json;

use crate::process::Process;
use crate::stage::settings;

/// Kinds of metrics by their names.
type Kinds = BTreeMap<String, String>;

/// The committed list.
fn listed() -> Kinds {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let page = fs::read_to_string(path).expect("the list is committed");
    page.lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|line| line.split_once("` | "))
        .filter_map(|(name, rest)| Some((name.to_owned(), rest.split(" |").next()?.to_owned())))
        .collect()
}

/// The kinds of what is told, and the names that come with an explanation.
fn told(text: &str) -> (Kinds, Vec<&str>) {
    let lines = |start| text.lines().filter_map(move |line: &str| line.strip_prefix(start));
    let kinds = lines("# TYPE ").filter_map(|line| line.split_once(' '));
    let explained = lines("# HELP ").filter_map(|line| Some(line.split_once(' ')?.0));
    (kinds.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect(), explained.collect())
}

/// The value of the series that begins like this.
fn value(text: &str, series: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(series)?.rsplit_once(' ')?.1.parse().ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_tells_what_it_did_in_metrics_that_are_listed() {
    let database = app::database().await;
    let process = Process::start("run", settings(&database.admin_url(), &[])).await;
    let olga = process.person("olga").await;
    let community = process.community(&olga).await;
    let receiver = Receiver::start();
    let endpoint = json!({"url": receiver.url(), "event_types": ["rsvp.*"]});
    let webhooks = format!("/v1/communities/{community}/webhooks");
    process.post(webhooks).by(&olga).json(endpoint).await.expect(201);
    let event = process.event(&olga, &community, Some(1)).await;
    process.rsvp(&olga, &event).await.expect(201);
    receiver.wait_for(1).await;
    process.get("/v1/users/me").await.expect(401);

    // What has just happened is told once the worker has looked.
    let text = poll_until(
        PATIENCE,
        "the metrics tell of the webhook and of the empty queue",
        async || {
            let answer = process.get("/metrics").await.expect(200);
            let text = String::from_utf8(answer.body.to_vec()).expect("metrics are text");
            let sent =
                value(&text, "convene_job_seconds_count{kind=\"webhook.drain\",outcome=\"done\"}");
            let idle = value(&text, "convene_jobs_due{queue=\"webhooks\"}") == Some(0.0);
            let caught_up = value(&text, "convene_sink_lag_events{sink=\"bus\"}") == Some(0.0);
            (sent >= Some(1.0) && idle && caught_up).then_some(text)
        },
    )
    .await;

    let listed = listed();
    let (told, explained) = told(&text);
    for (name, kind) in &told {
        assert_eq!(
            listed.get(name),
            Some(kind),
            "{name} is not listed in docs/metrics.md like this"
        );
        assert!(explained.contains(&name.as_str()), "{name} has no HELP");
    }
    for series in [
        "convene_http_requests_total{method=\"PUT\",route=\"/v1/events/{event}/rsvps/me\",status=\"201\"}",
        "convene_http_requests_total{method=\"GET\",route=\"/v1/users/me\",status=\"401\"}",
        "convene_http_request_duration_seconds_count{method=\"PUT\",route=\"/v1/events/{event}/rsvps/me\"}",
        "convene_db_pool_wait_seconds_count{pool=\"api\"}",
        "convene_db_pool_max_connections{pool=\"jobs\"}",
        "convene_db_pool_connections{pool=\"sinks\",state=\"idle\"}",
        "convene_outbox_sequenced_total",
        "convene_sink_published_total{sink=\"bus\"}",
        "convene_sink_lag_seconds{sink=\"bus\"}",
        "convene_consumer_seconds_count{consumer=\"webhook.fanout\",outcome=\"consumed\"}",
        "convene_webhook_attempt_seconds_count{answer=\"taken\"}",
        "convene_rsvp_lane_seconds_count",
        "convene_rsvp_batch_size_count",
        "convene_outbox_lag_seconds",
        "convene_jobs_dead{queue=\"mail\"}",
        "convene_build_info",
        "process_resident_memory_bytes",
        "process_open_fds",
    ] {
        assert!(value(&text, series).is_some(), "{series} is missing from\n{text}");
    }
    assert!(!text.contains(&olga.email) && !text.contains(&event), "labels are bounded");
}
