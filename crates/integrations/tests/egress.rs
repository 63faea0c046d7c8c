//! Outgoing webhooks against servers that misbehave in every way that a stranger's server can.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use convene_application::kernel::clock::SystemClock;
use convene_application::webhook::egress::{Attempted, SignedRequest, WebhookSender};
use convene_integrations::egress::{Bounds, HttpWebhookSender, Lookup, Reach, SystemLookup};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use wiremock::matchers::{body_bytes, header, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

/// Short enough for a test, long enough for a busy machine.
const BOUNDS: Bounds = Bounds {
    connect: Duration::from_secs(2),
    exchange: Duration::from_secs(3),
    response_bytes: 16 * 1024,
};
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const METADATA: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254));
const PUBLIC: IpAddr = IpAddr::V4(Ipv4Addr::new(93, 184, 216, 34));

fn sender(reach: Reach, lookup: impl Lookup + 'static) -> HttpWebhookSender {
    HttpWebhookSender::with(reach, Arc::new(lookup), BOUNDS, Arc::new(SystemClock)).unwrap()
}

fn private() -> HttpWebhookSender {
    sender(Reach::Private, SystemLookup)
}

fn request(url: impl Into<String>) -> SignedRequest {
    SignedRequest {
        url: url.into(),
        headers: vec![
            ("content-type".into(), "application/json".into()),
            ("webhook-id".into(), "hdlv_1".into()),
        ],
        body: Bytes::from_static(b"{\"id\":1}"),
    }
}

fn outcome(attempted: &Attempted) -> (Option<u16>, Option<&str>) {
    (attempted.status, attempted.error.as_deref())
}

/// A resolver that gives each answer once, the last for ever, and counts.
struct Scripted {
    answers: Mutex<VecDeque<Vec<IpAddr>>>,
    asked: Arc<AtomicUsize>,
}

impl Scripted {
    fn new<const N: usize>(answers: [Vec<IpAddr>; N]) -> (Self, Arc<AtomicUsize>) {
        let asked = Arc::<AtomicUsize>::default();
        (Self { answers: Mutex::new(answers.into()), asked: Arc::clone(&asked) }, asked)
    }
}

#[async_trait]
impl Lookup for Scripted {
    async fn lookup(&self, _name: &str) -> io::Result<Vec<IpAddr>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let mut answers = self.answers.lock().unwrap();
        let answer = answers.pop_front().unwrap_or_default();
        if answers.is_empty() {
            answers.push_back(answer.clone());
        }
        Ok(answer)
    }
}

/// A server that reads a request and then does what it is told with the connection.
struct RawServer {
    port: u16,
    connections: Arc<AtomicUsize>,
}

impl RawServer {
    async fn start<F, W>(behave: F) -> Self
    where
        F: Fn(TcpStream) -> W + Send + Sync + 'static,
        W: Future<Output = io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::<AtomicUsize>::default();
        let counter = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::Relaxed);
                let mut request = [0; 4_096];
                if stream.read(&mut request).await.is_ok() {
                    // How the connection ends is the client's business.
                    tokio::spawn(behave(stream));
                }
            }
        });
        Self { port, connections }
    }

    /// A server that sends these bytes and closes.
    async fn answering(bytes: &'static [u8]) -> Self {
        Self::start(move |mut stream| async move {
            stream.write_all(bytes).await?;
            stream.shutdown().await
        })
        .await
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook", self.port)
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

#[tokio::test]
async fn a_webhook_arrives_with_its_headers_and_exact_bytes() {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path("/hook"))
        .and(header("webhook-id", "hdlv_1"))
        .and(header("content-type", "application/json"))
        .and(body_bytes(b"{\"id\":1}"))
        .respond_with(ResponseTemplate::new(202).set_body_string("thanks"))
        .expect(1)
        .mount(&server)
        .await;
    let attempted = private().post(request(format!("{}/hook", server.uri()))).await;
    assert_eq!(outcome(&attempted), (Some(202), None));
    assert!(attempted.succeeded());
    assert_eq!(attempted.response_head, "thanks");
    assert!(attempted.duration < BOUNDS.exchange);
}

#[tokio::test]
async fn other_statuses_are_answers_and_no_success() {
    for status in [301, 400, 404, 410, 429, 500, 503] {
        let server = MockServer::start().await;
        let response = ResponseTemplate::new(status).insert_header("retry-after", "120");
        Mock::given(method("POST")).respond_with(response).mount(&server).await;
        let attempted = private().post(request(server.uri())).await;
        assert_eq!(outcome(&attempted), (Some(status), None));
        assert_eq!(attempted.retry_after, Some(Duration::from_secs(120)));
        assert!(!attempted.succeeded());
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let target = MockServer::start().await;
    Mock::given(method("POST"))
        .respond_with(ResponseTemplate::new(200))
        .expect(0)
        .mount(&target)
        .await;
    Mock::given(method("GET"))
        .respond_with(ResponseTemplate::new(200))
        .expect(0)
        .mount(&target)
        .await;
    for status in [301, 302, 303, 307, 308] {
        let server = MockServer::start().await;
        let response =
            ResponseTemplate::new(status).insert_header("location", target.uri().as_str());
        Mock::given(method("POST")).respond_with(response).mount(&server).await;
        let attempted = private().post(request(server.uri())).await;
        assert_eq!(outcome(&attempted), (Some(status), None));
    }
    target.verify().await;
}

#[tokio::test]
async fn a_body_without_end_is_cut_off() {
    let server = RawServer::start(|mut stream| async move {
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
        loop {
            stream.write_all(b"400\r\n").await?;
            stream.write_all(&[b'x'; 1_024]).await?;
            stream.write_all(b"\r\n").await?;
        }
    })
    .await;
    let attempted = private().post(request(server.url())).await;
    assert_eq!(outcome(&attempted), (Some(200), None));
    assert_eq!(attempted.response_head.len(), 1_024);
    assert!(attempted.duration < BOUNDS.exchange, "nobody waited for the end");
}

#[tokio::test]
async fn a_slow_drip_is_cut_off() {
    let server = RawServer::start(|mut stream| async move {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n").await?;
        loop {
            stream.write_all(b"x").await?;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let attempted = private().post(request(server.url())).await;
    assert_eq!(outcome(&attempted), (Some(200), Some("timeout")));
    assert!(!attempted.succeeded(), "an answer that never ended is no success");
    assert!(!attempted.response_head.is_empty(), "what had arrived is kept");
    assert!(attempted.duration < BOUNDS.exchange * 2);
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut_off() {
    let dripping = RawServer::start(|mut stream| async move {
        stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
        for number in 0.. {
            stream.write_all(format!("X-{number}: x\r\n").as_bytes()).await?;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    })
    .await;
    let attempted = private().post(request(dripping.url())).await;
    assert_eq!(outcome(&attempted), (None, Some("timeout")));

    let flooding = RawServer::start(|mut stream| async move {
        stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
        loop {
            stream.write_all(b"X-Header: 0123456789012345678901234567890123456789\r\n").await?;
        }
    })
    .await;
    let attempted = private().post(request(flooding.url())).await;
    assert_eq!(outcome(&attempted), (None, Some("invalid_response")));
}

#[tokio::test]
async fn silence_is_a_timeout() {
    let server = RawServer::start(|stream| async move {
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(stream);
        Ok(())
    })
    .await;
    let attempted = private().post(request(server.url())).await;
    assert_eq!(outcome(&attempted), (None, Some("timeout")));
}

#[tokio::test]
async fn broken_answers_are_invalid() {
    for bytes in [
        &b""[..],
        b"220 smtp.example.org ESMTP\r\n",
        b"HTTP/1.1 9999 What\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
    ] {
        let server = RawServer::answering(bytes).await;
        let attempted = private().post(request(server.url())).await;
        assert_eq!(outcome(&attempted), (None, Some("invalid_response")), "{bytes:?}");
    }
    let cut = RawServer::answering(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").await;
    let attempted = private().post(request(cut.url())).await;
    assert_eq!(outcome(&attempted), (Some(200), Some("invalid_response")));
}

#[tokio::test]
async fn nobody_listening_is_a_failed_connection() {
    let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let attempted = private().post(request(format!("http://127.0.0.1:{port}/"))).await;
    assert_eq!(outcome(&attempted), (None, Some("connection_failed")));
}

#[tokio::test]
async fn a_server_without_tls_fails_the_handshake() {
    let server = RawServer::answering(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let url = format!("https://127.0.0.1:{}/", server.port);
    let attempted = private().post(request(url)).await;
    assert_eq!(outcome(&attempted), (None, Some("tls_failed")));
}

#[tokio::test]
async fn literal_addresses_are_refused_without_a_connection() {
    let server = RawServer::answering(b"HTTP/1.1 200 OK\r\n\r\n").await;
    let public = sender(Reach::Public, SystemLookup);
    for (url, error) in [
        (format!("https://127.0.0.1:{}/", server.port), "address_refused"),
        (format!("https://[::ffff:127.0.0.1]:{}/", server.port), "address_refused"),
        (format!("https://2130706433:{}/", server.port), "address_refused"),
        (format!("https://localhost:{}/", server.port), "url_refused"),
        (format!("http://127.0.0.1:{}/", server.port), "url_refused"),
        ("not a url".to_owned(), "url_refused"),
    ] {
        let attempted = public.post(request(url.clone())).await;
        assert_eq!(outcome(&attempted), (None, Some(error)), "{url}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn names_that_resolve_to_private_addresses_are_refused_without_a_connection() {
    let server = RawServer::answering(b"HTTP/1.1 200 OK\r\n\r\n").await;
    for answer in [vec![LOOPBACK], vec![PUBLIC, LOOPBACK], vec![LOOPBACK, PUBLIC], vec![METADATA]] {
        let (lookup, asked) = Scripted::new([answer.clone()]);
        let url = format!("https://rebind.example:{}/", server.port);
        let attempted = sender(Reach::Public, lookup).post(request(url)).await;
        assert_eq!(outcome(&attempted), (None, Some("address_refused")), "{answer:?}");
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn an_answer_that_changes_between_connections_is_vetted_each_time() {
    let server =
        RawServer::answering(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await;
    let (lookup, asked) = Scripted::new([vec![LOOPBACK], vec![METADATA]]);
    let sender = sender(Reach::Private, lookup);
    let url = format!("http://rebind.example:{}/", server.port);
    // One question per connection, and the connection goes where the vetted answer said.
    assert_eq!(outcome(&sender.post(request(url.clone())).await), (Some(204), None));
    assert_eq!((asked.load(Ordering::Relaxed), server.connections()), (1, 1));
    let attempted = sender.post(request(url)).await;
    assert_eq!(outcome(&attempted), (None, Some("address_refused")));
    assert_eq!((asked.load(Ordering::Relaxed), server.connections()), (2, 1));
}

#[tokio::test]
async fn names_without_addresses_fail() {
    let (lookup, _) = Scripted::new([vec![]]);
    let attempted =
        sender(Reach::Private, lookup).post(request("http://empty.example:8080/")).await;
    assert_eq!(attempted.status, None);
    assert!(matches!(attempted.error.as_deref(), Some("dns_failed" | "connection_failed")));

    struct Broken;
    #[async_trait]
    impl Lookup for Broken {
        async fn lookup(&self, _name: &str) -> io::Result<Vec<IpAddr>> {
            Err(io::Error::other("no such name"))
        }
    }
    let attempted =
        sender(Reach::Private, Broken).post(request("http://unknown.example:8080/")).await;
    assert_eq!(outcome(&attempted), (None, Some("dns_failed")));
}

#[tokio::test]
async fn a_resolver_that_never_answers_is_a_timeout() {
    struct Silent;
    #[async_trait]
    impl Lookup for Silent {
        async fn lookup(&self, _name: &str) -> io::Result<Vec<IpAddr>> {
            std::future::pending().await
        }
    }
    let attempted = sender(Reach::Private, Silent).post(request("http://slow.example:8080/")).await;
    assert_eq!(outcome(&attempted), (None, Some("timeout")));
}

#[tokio::test]
async fn connections_are_kept_for_the_next_webhook() {
    let server = RawServer::start(|mut stream| async move {
        let mut request = [0; 4_096];
        loop {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await?;
            if stream.read(&mut request).await? == 0 {
                return Ok(());
            }
        }
    })
    .await;
    let sender = private();
    for _ in 0..5 {
        assert_eq!(outcome(&sender.post(request(server.url())).await), (Some(200), None));
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn headers_that_would_break_out_are_not_sent() {
    let server = RawServer::answering(b"HTTP/1.1 200 OK\r\n\r\n").await;
    let mut injected = request(server.url());
    injected.headers.push(("webhook-id".into(), "x\r\nHost: other".into()));
    let attempted = private().post(injected).await;
    assert_eq!(outcome(&attempted), (None, Some("invalid_request")));
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn errors_tell_nothing_about_the_network() {
    let (lookup, _) = Scripted::new([vec![METADATA]]);
    let attempted =
        sender(Reach::Public, lookup).post(request("https://rebind.example/secret-path")).await;
    let shown = format!("{attempted:?}");
    assert!(!shown.contains("169.254") && !shown.contains("secret-path"), "{shown}");
    let shown = format!("{:?}", request("https://example.org/secret-path"));
    assert!(!shown.contains("secret-path") && !shown.contains("hdlv_1"), "{shown}");
}
