//! One trace from a request to the receiver of its webhook, over either bus; and an endpoint for traces that is not there.

use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};

use actix_web::web::{self, Bytes, Data};
use actix_web::{App, HttpResponse, HttpServer};
use convene_testkit::broker::TestBroker;
use convene_testkit::embedded::port;
use convene_testkit::poll::poll_until;
use convene_tests::app;
use convene_tests::client::{PATIENCE, Person};
use convene_tests::receiver::{Received, Receiver};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use serde_json::json;

use crate::process::Process;
use crate::stage::settings;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// What every step on the way from the request to the receiver is called.
const STEPS: [&str; 7] = [
    "http.request",
    "db.flight",
    "db.commit",
    "bus.publish",
    "bus.consume",
    "job.run",
    "webhook.deliver",
];

/// An endpoint for traces: OTLP over HTTP, in Protobuf.
struct Collector {
    url: String,
    spans: Data<Mutex<Vec<Span>>>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port on loopback");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let spans = Data::new(Mutex::new(Vec::new()));
        let data = spans.clone();
        let server = HttpServer::new(move || {
            let limit = web::PayloadConfig::new(16 << 20);
            let routes = App::new().app_data(data.clone()).app_data(limit);
            routes.route("/v1/traces", web::post().to(collect))
        })
        .workers(1)
        .disable_signals()
        .listen(listener)
        .expect("the port is free")
        .run();
        tokio::spawn(server);
        Self { url, spans }
    }

    /// The spans of the trace so far.
    fn of_trace(&self) -> Vec<Span> {
        let spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        spans.iter().filter(|span| hex(&span.trace_id) == TRACE).cloned().collect()
    }
}

async fn collect(body: Bytes, spans: Data<Mutex<Vec<Span>>>) -> HttpResponse {
    let request = ExportTraceServiceRequest::decode(body).expect("it is OTLP");
    let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
    let arrived = scopes.flat_map(|scope| scope.spans);
    spans.lock().unwrap_or_else(PoisonError::into_inner).extend(arrived);
    HttpResponse::Ok().finish()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Comes to an event within a trace that somebody else began, and returns the webhook about it.
async fn attend(process: &Process, olga: &Person) -> Received {
    let community = process.community(olga).await;
    let receiver = Receiver::start();
    let endpoint = json!({"url": receiver.url(), "event_types": ["rsvp.*"]});
    let webhooks = format!("/v1/communities/{community}/webhooks");
    process.post(webhooks).by(olga).json(endpoint).await.expect(201);
    let event = process.event(olga, &community, Some(3)).await;
    process
        .put(format!("/v1/events/{event}/rsvps/me"))
        .by(olga)
        .header("traceparent", format!("00-{TRACE}-{CALLER}-01"))
        .json(json!({"party_size": 1}))
        .await
        .expect(201);
    receiver.wait_for(1).await.remove(0)
}

async fn one_trace_over(bus: &[(&str, &str)]) {
    let collector = Collector::start();
    let database = app::database().await;
    let endpoint = [("CONVENE__TELEMETRY__OTLP_ENDPOINT", collector.url.as_str())];
    let all = [bus, &endpoint[..]].concat();
    let process = Process::start("run", settings(&database.admin_url(), &all)).await;
    let olga = process.person("olga").await;
    let webhook = attend(&process, &olga).await;

    let spans = poll_until(PATIENCE, "all steps are told in one trace", async || {
        let spans = collector.of_trace();
        let has = |step: &&str| spans.iter().any(|span| span.name == **step);
        STEPS.iter().all(has).then_some(spans)
    })
    .await;
    let named = |name: &str| spans.iter().find(|span| span.name == name).expect("it was told");
    let parent = |name: &str| hex(&named(name).parent_span_id);
    let request = hex(&named("http.request").span_id);
    assert_eq!(parent("http.request"), CALLER);
    // What is stored with the event, the job and the delivery is the request's own span.
    for step in ["bus.publish", "bus.consume", "job.run", "webhook.deliver"] {
        assert_eq!(parent(step), request, "the parent of {step}");
    }
    let known: Vec<String> = spans.iter().map(|span| hex(&span.span_id)).collect();
    for span in spans.iter().filter(|span| span.name.starts_with("db.")) {
        let parent = hex(&span.parent_span_id);
        assert!(known.contains(&parent), "{} hangs in the air", span.name);
    }
    let attempt = hex(&named("webhook.deliver").span_id);
    assert_eq!(webhook.traceparent, format!("00-{TRACE}-{attempt}-01"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_from_the_request_to_the_receiver_over_the_bus_inside() {
    one_trace_over(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_from_the_request_to_the_receiver_over_the_broker() {
    let broker = TestBroker::new();
    one_trace_over(&[
        ("CONVENE__BROKER__URL", broker.url()),
        ("CONVENE__BROKER__PREFIX", broker.prefix()),
    ])
    .await;
}

/// Traces that nobody takes are dropped and counted; whoever is traced does not notice.
#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_not_there_is_not_waited_for() {
    let database = app::database().await;
    let nowhere = format!("http://127.0.0.1:{}", port::free().expect("a free port"));
    let endpoint = [("CONVENE__TELEMETRY__OTLP_ENDPOINT", nowhere.as_str())];
    let process = Arc::new(Process::start("run", settings(&database.admin_url(), &endpoint)).await);
    let olga = process.person("olga").await;
    assert!(attend(&process, &olga).await.traceparent.starts_with(&format!("00-{TRACE}-")));
    poll_until(PATIENCE, "dropped spans are counted", async || {
        let text = process.get("/metrics").await.expect(200);
        let text = String::from_utf8(text.body.to_vec()).expect("metrics are text");
        let line = text
            .lines()
            .find(|line| line.starts_with("convene_trace_spans_total{outcome=\"dropped\"}"))?;
        let dropped: f64 = line.rsplit(' ').next()?.parse().ok()?;
        (dropped > 0.0).then_some(())
    })
    .await;
    process.get("/readyz").await.expect(200);
}
