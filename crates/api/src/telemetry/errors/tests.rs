use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::Value;
use tracing_subscriber::layer::SubscriberExt as _;

use super::*;

/// A collector that keeps what it is sent.
struct Collector {
    port: u16,
    requests: Arc<Mutex<Vec<Received>>>,
}

struct Received {
    head: String,
    body: String,
}

impl Received {
    /// The event of the envelope: its third line, behind the two headers.
    fn event(&self) -> Value {
        serde_json::from_str(self.body.lines().nth(2).unwrap()).unwrap()
    }
}

impl Collector {
    fn start(answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::<Mutex<Vec<Received>>>::default();
        let kept = Arc::clone(&requests);
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let mut connection = connection.unwrap();
                let received = read(&connection);
                kept.lock().unwrap().push(received);
                connection.write_all(answer.as_bytes()).unwrap();
            }
        });
        Self { port, requests }
    }

    fn dsn(&self) -> SecretString {
        dsn(self.port)
    }

    fn count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }
}

const TAKEN: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
const LIMITED: &str =
    "HTTP/1.1 429 Too Many\r\nretry-after: 60\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

fn dsn(port: u16) -> SecretString {
    format!("http://abcdef@127.0.0.1:{port}/42").into()
}

fn read(connection: &TcpStream) -> Received {
    let mut reader = BufReader::new(connection);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0, "the head ends");
    }
    head.make_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    Received { head, body: String::from_utf8(body).unwrap() }
}

fn started(dsn: &SecretString) -> ErrorReports {
    ErrorReports::start(dsn, "staging", "convene-test").unwrap().unwrap()
}

/// Logs with the reports alone listening, and ends them. Returns whether all was sent in time.
fn reported(reports: ErrorReports, log: impl FnOnce()) -> bool {
    let subscriber = tracing_subscriber::registry().with(reports.layer());
    tracing::subscriber::with_default(subscriber, log);
    reports.end()
}

#[test]
fn a_failure_that_repeats_is_reported_once_and_without_what_is_private() {
    let collector = Collector::start(TAKEN);
    let reports = started(&collector.dsn());
    let outcomes = Arc::clone(&reports.reporter.outcomes);
    let all = reported(reports, || {
        for number in 0..50 {
            let span = tracing::info_span!(
                "http.request",
                request_id = "r-1",
                trace_id = "0af7651916cd43dd8448eb211c80319c",
                path = "/v1/secret-path"
            );
            let _entered = span.enter();
            tracing::info!("not an error");
            let error = std::io::Error::other(format!(
                "row {number}: (email)=(ada@example.org), postgres://me:hunter2@db/x, password=hunter3"
            ));
            tracing::error!(
                code = "unavailable",
                route = "/v1/events/{event}",
                client_ip = "203.0.113.9",
                attempt = number,
                error = &error as &dyn std::error::Error,
                "request failed"
            );
        }
    });
    assert!(all, "everything was sent");
    assert_eq!(collector.count(), 1);
    assert_eq!((outcomes.sent.load(SeqCst), outcomes.suppressed.load(SeqCst)), (1, 49));
    let requests = collector.requests.lock().unwrap();
    let received = &requests[0];
    assert!(received.head.starts_with("post /api/42/envelope/ "), "{}", received.head);
    assert!(received.head.contains("sentry_key=abcdef"), "{}", received.head);
    for private in ["ada@", "hunter2", "hunter3", "203.0.113.9", "secret-path"] {
        assert!(!received.body.contains(private), "{private}: {}", received.body);
    }
    let event = received.event();
    assert_eq!(event["tags"]["request_id"], "r-1");
    assert_eq!(event["tags"]["route"], "/v1/events/{event}");
    assert_eq!(event["tags"]["code"], "unavailable");
    assert_eq!(event["tags"]["service"], "convene-test");
    assert_eq!(event["transaction"], "/v1/events/{event}");
    assert_eq!(event["environment"], "staging");
    assert!(event["release"].as_str().unwrap().starts_with("convene@"), "{event}");
    assert_eq!(event["extra"]["attempt"], "0");
    assert_eq!(event["extra"]["told"], "request failed");
    let exception = &event["exception"]["values"][0];
    assert_eq!(exception["value"], "row 0: (email)=([email]), postgres://db/x, password=[secret]");
}

#[test]
fn the_trace_id_is_no_secret() {
    let collector = Collector::start(TAKEN);
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    assert!(reported(started(&collector.dsn()), || {
        let span = tracing::info_span!(
            "job.run",
            kind = "mail.send",
            request_id = "r-2",
            traceparent = trace
        );
        span.in_scope(|| tracing::error!("the job is dead"));
    }));
    let event = collector.requests.lock().unwrap()[0].event();
    assert_eq!(event["tags"]["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(event["tags"]["job_kind"], "mail.send");
    assert_eq!(event["message"], "the job is dead");
}

#[test]
fn a_panic_and_the_answer_to_it_are_one_failure() {
    let collector = Collector::start(TAKEN);
    assert!(reported(started(&collector.dsn()), || {
        let span = tracing::info_span!("http.request", request_id = "r-3");
        span.in_scope(|| {
            tracing::error!(target: PANICS, location = "src/a.rs:7:9", "it broke");
            tracing::error!(
                code = "internal",
                route = "/v1/me",
                error = "a handler panicked: it broke",
                "request failed"
            );
        });
        let alone = tracing::info_span!("http.request", request_id = "r-4");
        alone.in_scope(|| tracing::error!(target: PANICS, location = "src/b.rs:1:1", "nobody saw"));
        drop(alone);
        tracing::error!(target: PANICS, location = "src/c.rs:1:1", "outside of everything");
    }));
    let requests = collector.requests.lock().unwrap();
    let mut told: Vec<(String, String, String)> = requests
        .iter()
        .map(|received| {
            let event = received.event();
            assert_eq!(event["level"], "fatal");
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let value = text(&event["exception"]["values"][0]["value"]);
            (value, text(&event["culprit"]), text(&event["tags"]["route"]))
        })
        .collect();
    told.sort();
    let row = |value: &str, place: &str, route: &str| {
        (value.to_owned(), place.to_owned(), route.to_owned())
    };
    assert_eq!(
        told,
        [
            row("it broke", "src/a.rs:7:9", "/v1/me"),
            row("nobody saw", "src/b.rs:1:1", ""),
            row("outside of everything", "src/c.rs:1:1", ""),
        ]
    );
}

#[test]
fn nobody_waits_for_a_collector_that_hangs() {
    // Connections are taken by the kernel and never answered.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let reports = started(&dsn(listener.local_addr().unwrap().port()));
    let outcomes = Arc::clone(&reports.reporter.outcomes);
    let begun = Instant::now();
    let subscriber = tracing_subscriber::registry().with(reports.layer());
    tracing::subscriber::with_default(subscriber, || {
        let letter = |n: u32| char::from_u32(u32::from('a') + n).unwrap();
        for (a, b) in (0..26).flat_map(|a| (0..26).map(move |b| (a, b))) {
            tracing::error!("failure {}{}", letter(a), letter(b));
        }
    });
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(outcomes.dropped.load(SeqCst) >= 500, "{outcomes:?}");
    let ending = Instant::now();
    assert!(!reports.end(), "not everything was sent");
    assert!(ending.elapsed() < LAST_WAIT + Duration::from_secs(10), "{:?}", ending.elapsed());
    drop(listener);
}

#[test]
fn a_collector_that_wants_no_more_is_left_alone() {
    let collector = Collector::start(LIMITED);
    let reports = started(&collector.dsn());
    let outcomes = Arc::clone(&reports.reporter.outcomes);
    assert!(reported(reports, || {
        tracing::error!("one");
        tracing::error!("another");
        tracing::error!("a third");
    }));
    assert_eq!(collector.count(), 1);
    assert_eq!((outcomes.sent.load(SeqCst), outcomes.dropped.load(SeqCst)), (0, 3));
}

#[test]
fn without_a_dsn_there_are_no_reports() {
    assert!(ErrorReports::start(&"".into(), "x", "y").unwrap().is_none());
    assert!(parse(&"https://a.example/1".into()).is_err(), "it has no key");
    assert_eq!(release("0.1.0", "9dcf0c5abcde, 2026-11-23"), "convene@0.1.0+9dcf0c5abcde");
}
