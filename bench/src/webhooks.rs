//! Webhooks: how many go out, and how soon one does.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::time::timeout;

use crate::Fault;
use crate::client::{Client, percentile};
use crate::process::Convene;
use crate::receiver::Receiver;
use crate::scene::Scene;
use crate::table::Row;

const ENDPOINTS: usize = 10;
const DELIVERIES_EACH: usize = 3_000;
const RSVPS: usize = 100;
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn measure(scene: &Scene) -> Result<Vec<Row>, Fault> {
    let convene = Convene::start("run", scene, scene.large()).await?;
    let mut client = Client::connect(convene.address).await?;
    let token = scene.token(&mut client, scene.large(), 1).await?;
    let new = json!({"slug": "webhook-bench", "name": "Webhooks", "visibility": "public"});
    client.call("POST", "/v1/communities", &token, Some(&new)).await?;

    let idle = latency(&mut client, &token).await?;
    let rate = throughput(scene, &mut client, &token).await?;
    let memory = convene.memory()?;
    Ok(vec![
        Row::number(
            "webhook deliveries",
            format!("{rate:.0} /s"),
            "≥ 8,000 /s",
            "30,000 that are due, 10 endpoints of one local receiver; first to last arrival",
        ),
        Row::number(
            "from a commit to its webhook, idle",
            format!("{:.1} ms (p99 {:.1})", millis(idle.0), millis(idle.1)),
            "p50 < 5 ms",
            "from the answer to an RSVP, which is given behind the commit: sequencer, RabbitMQ, consumer, job, delivery",
        ),
        Row::number(
            "peak memory of `convene run`",
            format!("{:.0} MiB", memory.1),
            "",
            "resident set at most, over the two lines above",
        ),
    ])
}

/// One RSVP after the other, each when the webhook of the one before has arrived.
async fn latency(client: &mut Client, token: &str) -> Result<(Duration, Duration), Fault> {
    let mut receiver = Receiver::start().await?;
    let endpoint = json!({
        "url": format!("http://{}/idle", receiver.address),
        "event_types": ["rsvp.*"],
    });
    client.call("POST", "/v1/communities/webhook-bench/webhooks", token, Some(&endpoint)).await?;
    let event = json!({
        "title": "Measured",
        "starts_at_local": "2035-05-01T18:00:00",
        "ends_at_local": "2035-05-01T21:00:00",
        "time_zone": "UTC",
    });
    let event =
        client.call("POST", "/v1/communities/webhook-bench/events", token, Some(&event)).await?;
    let event = event["id"].as_str().ok_or("the event has no id")?.to_owned();
    client.call("POST", &format!("/v1/events/{event}/publish"), token, None).await?;
    let mine = format!("/v1/events/{event}/rsvps/me");
    let mut times = Vec::new();
    for number in 0..RSVPS {
        tokio::time::sleep(Duration::from_millis(30)).await;
        if number % 2 == 0 {
            client.call("PUT", &mine, token, Some(&json!({"party_size": 1}))).await?;
        } else {
            client.call("DELETE", &mine, token, None).await?;
        }
        let committed = Instant::now();
        let arrived = timeout(PATIENCE, receiver.arrivals.recv()).await?.ok_or("no receiver")?;
        times.push(arrived.saturating_duration_since(committed));
    }
    Ok((percentile(&mut times, 0.5), percentile(&mut times, 0.99)))
}

/// Deliveries that are due all at once.
async fn throughput(scene: &Scene, client: &mut Client, token: &str) -> Result<f64, Fault> {
    let mut receiver = Receiver::start().await?;
    let mut endpoints = Vec::new();
    for number in 0..ENDPOINTS {
        let endpoint = json!({
            "url": format!("http://{}/{number}", receiver.address),
            "event_types": ["community.archived"],
        });
        let made = client
            .call("POST", "/v1/communities/webhook-bench/webhooks", token, Some(&endpoint))
            .await?;
        endpoints.push(made["id"].as_str().ok_or("the endpoint has no id")?.to_owned());
    }
    let sql = scene.connect(scene.large()).await?;
    sql.batch_execute(&format!(
        "INSERT INTO webhook_deliveries (id, endpoint_id, event_id, event_type, body, status, next_attempt_at, created_at)
         SELECT gen_random_uuid(), id, gen_random_uuid(), 'rsvp.confirmed', convert_to(repeat('x', 500), 'UTF8'),
                'pending', now(), now()
         FROM webhook_endpoints, generate_series(1, {DELIVERIES_EACH})
         WHERE event_types = '{{community.archived}}';
         ANALYZE webhook_deliveries"
    ))
    .await?;
    let jobs: Vec<String> = endpoints
        .iter()
        .map(|id| {
            format!(
                "('webhook.drain', 'webhooks', '{{\"webhook\": \"{id}\"}}', '{id}', 100, now(), 20)"
            )
        })
        .collect();
    sql.batch_execute(&format!(
        "INSERT INTO jobs (kind, queue, payload, unique_key, priority, run_at, max_attempts) VALUES {}",
        jobs.join(", ")
    ))
    .await?;
    let mut first = None;
    let mut last = Instant::now();
    for _ in 0..ENDPOINTS * DELIVERIES_EACH {
        last = timeout(PATIENCE, receiver.arrivals.recv()).await?.ok_or("no receiver")?;
        first.get_or_insert(last);
    }
    let took = last.duration_since(first.unwrap_or(last));
    Ok((ENDPOINTS * DELIVERIES_EACH) as f64 / took.as_secs_f64())
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
