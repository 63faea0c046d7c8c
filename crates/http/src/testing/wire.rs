//! What only a socket shows: HEAD, slow and large bodies, and clients that go away.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use actix_web::HttpServer;
use actix_web::web::Data;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Handle;

use super::notes::{self, NoteService, note_id};
use super::{ports, settings};
use crate::Http;
use crate::app::app_of;
use crate::settings::{BodyLimits, SERVER_LIMITS, Settings};

struct Server {
    address: SocketAddr,
    notes: Arc<NoteService>,
    http: Arc<Http>,
    handle: actix_web::dev::ServerHandle,
}

impl Server {
    fn start(body: BodyLimits) -> Self {
        Self::start_with(Settings { body, ..settings() })
    }

    fn start_with(settings: Settings) -> Self {
        let http = Http::new(settings, ports(), Handle::current());
        let notes = Arc::new(NoteService::default());
        let (shared, service) = (Arc::clone(&http), Arc::clone(&notes));
        let server = HttpServer::new(move || {
            let service = Arc::clone(&service);
            app_of(
                &shared,
                Box::new(move |routes| {
                    routes.app_data(Data::from(service));
                    notes::routes(routes);
                }),
            )
        })
        .workers(1)
        .disable_signals()
        .client_request_timeout(SERVER_LIMITS.head_timeout)
        .bind("127.0.0.1:0")
        .unwrap();
        let address = server.addrs()[0];
        let server = server.run();
        let handle = server.handle();
        tokio::spawn(server);
        Self { address, notes, http, handle }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes and reads until the connection closes.
    async fn exchange(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        read_to_end(&mut stream).await
    }
}

async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut reply = Vec::new();
    tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut reply))
        .await
        .expect("the server closes the connection")
        .unwrap();
    String::from_utf8_lossy(&reply).into_owned()
}

fn header<'a>(reply: &'a str, name: &str) -> Option<&'a str> {
    reply.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

#[actix_web::test]
async fn head_is_get_without_a_body() {
    let server = Server::start(BodyLimits::default());
    let request = |method: &str| {
        format!(
            "{method} /v1/notes/{} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer user-1\r\nConnection: close\r\n\r\n",
            note_id()
        )
    };
    let get = server.exchange(&request("GET")).await;
    let head = server.exchange(&request("HEAD")).await;
    assert!(get.starts_with("HTTP/1.1 200") && head.starts_with("HTTP/1.1 200"));
    let body = get.split("\r\n\r\n").nth(1).unwrap();
    assert!(!body.is_empty());
    assert_eq!(head.split("\r\n\r\n").nth(1), Some(""));
    assert_eq!(header(&head, "content-length"), Some(body.len().to_string().as_str()));
    assert_eq!(header(&head, "etag"), header(&get, "etag"));
    server.handle.stop(false).await;
}

#[actix_web::test]
async fn a_panic_is_a_complete_reply() {
    let server = Server::start(BodyLimits::default());
    let request =
        "GET /v1/panic HTTP/1.1\r\nHost: a\r\nX-Request-Id: r-9\r\nConnection: close\r\n\r\n";
    let reply = server.exchange(request).await;
    assert!(reply.starts_with("HTTP/1.1 500"), "{reply}");
    assert_eq!(header(&reply, "x-request-id"), Some("r-9"));
    assert_eq!(header(&reply, "content-type"), Some("application/problem+json"));
    assert_eq!(header(&reply, "x-content-type-options"), Some("nosniff"));
    assert!(reply.contains("\"request_id\":\"r-9\"") && !reply.contains("secret"));
    let alive =
        server.exchange("GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(alive.starts_with("HTTP/1.1 200"));
    server.handle.stop(false).await;
}

#[actix_web::test]
async fn a_body_that_is_announced_as_too_large_is_not_read() {
    let server = Server::start(BodyLimits::default());
    let request = format!(
        "PATCH /v1/notes/{} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer user-1\r\nIf-Match: *\r\n\
         Content-Type: application/json\r\nContent-Length: 1048577\r\n\r\n{{",
        note_id()
    );
    let reply = server.exchange(&request).await;
    assert!(reply.starts_with("HTTP/1.1 413"), "{reply}");
    server.handle.stop(false).await;
}

/// The client sends everything before it reads, as most do; the answer must not be lost in a reset connection.
#[actix_web::test]
async fn whoever_sends_too_much_learns_why() {
    let server = Server::start(BodyLimits::default());
    for length in [2_usize << 20, 20 << 20] {
        let head = format!(
            "PATCH /v1/notes/{} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer user-1\r\nIf-Match: *\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n",
            note_id()
        );
        let address = server.address;
        let reply = tokio::task::spawn_blocking(move || {
            use std::io::{Read as _, Write as _};
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            stream.write_all(head.as_bytes()).unwrap();
            let sent = stream.write_all(&vec![b' '; length]);
            let mut reply = vec![0; 8192];
            let read = stream.read(&mut reply);
            let read = read.map(|length| String::from_utf8_lossy(&reply[..length]).into_owned());
            (sent.map_err(|error| error.to_string()), read.map_err(|error| error.to_string()))
        })
        .await
        .unwrap();
        let reply =
            reply.1.unwrap_or_else(|error| panic!("{length}: {error}, sending: {:?}", reply.0));
        assert!(reply.starts_with("HTTP/1.1 413"), "{reply}");
    }
    server.handle.stop(false).await;
}

#[actix_web::test]
async fn a_body_that_is_too_slow_is_given_up() {
    let limits = BodyLimits {
        deadline: Duration::from_millis(700),
        grace: Duration::from_millis(200),
        min_rate: 500,
        ..BodyLimits::default()
    };
    let server = Server::start(limits);
    let head = format!(
        "PATCH /v1/notes/{} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer user-1\r\nIf-Match: *\r\n\
         Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n",
        note_id()
    );
    // Nothing after the head: given up when the grace is over.
    let begun = Instant::now();
    let reply = server.exchange(&head).await;
    assert!(reply.starts_with("HTTP/1.1 408") && reply.contains("request_timeout"), "{reply}");
    assert!(begun.elapsed() >= Duration::from_millis(200));

    // Fast enough, but endless: given up at the deadline.
    let begun = Instant::now();
    let (mut reading, mut writing) = server.connect().await.into_split();
    writing.write_all(head.as_bytes()).await.unwrap();
    let dripping = tokio::spawn(async move {
        while writing.write_all(&[b' '; 30]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let mut reply = vec![0; 4096];
    let length = reading.read(&mut reply).await.unwrap();
    dripping.abort();
    let reply = String::from_utf8_lossy(&reply[..length]);
    assert!(reply.starts_with("HTTP/1.1 408"), "{reply}");
    assert!(begun.elapsed() >= Duration::from_millis(700));
    server.handle.stop(false).await;
}

#[actix_web::test]
async fn a_client_that_goes_away_cancels_nothing() {
    let server = Server::start(BodyLimits::default());
    let mut stream = server.connect().await;
    stream
        .write_all(b"POST /v1/slow HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(stream);
    server.handle.stop(true).await;
    server.http.finish().await;
    assert_eq!(server.notes.effects.load(Ordering::SeqCst), 1);
}

/// A new connection costs more than a refusal: who is refused in a crowd must not have to open one.
#[actix_web::test]
async fn who_is_refused_keeps_the_connection() {
    let server = Server::start_with(Settings { max_in_flight: 0, ..settings() });
    let mut stream = server.connect().await;
    for last in [false, true] {
        let head = format!(
            "PATCH /v1/notes/{} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n{}\r\n",
            note_id(),
            if last { "Connection: close\r\n" } else { "" }
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        // The body comes in a packet of its own.
        tokio::time::sleep(Duration::from_millis(50)).await;
        stream.write_all(&[b' '; 1000]).await.unwrap();
    }
    let replies = read_to_end(&mut stream).await;
    assert_eq!(replies.matches("HTTP/1.1 503").count(), 2, "{replies}");
    server.handle.stop(false).await;
}
