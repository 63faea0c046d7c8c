//! A receiver of webhooks that keeps what it gets and answers as it is told.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, PoisonError};

use actix_web::web::{Bytes, Data};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, http::StatusCode, web};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use convene_testkit::poll::poll_until;
use serde_json::Value;
use tokio::sync::watch;

use crate::client::PATIENCE;

/// A receiver on a port of its own.
pub struct Receiver {
    address: SocketAddr,
    inbox: Data<Inbox>,
}

/// One request that arrived.
#[derive(Clone, Debug)]
pub struct Received {
    /// `webhook-id`
    pub id: String,
    /// `webhook-timestamp`
    pub timestamp: String,
    /// `webhook-signature`
    pub signature: String,
    /// `traceparent`
    pub traceparent: String,
    /// All header fields, by their names in lower case.
    pub headers: Vec<(String, String)>,
    /// The bytes of the body.
    pub body: Bytes,
}

struct Inbox {
    status: AtomicU16,
    text: Mutex<&'static str>,
    silent: watch::Sender<bool>,
    received: Mutex<Vec<Received>>,
}

impl Receiver {
    /// Starts one that answers 204.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port on loopback");
        let address = listener.local_addr().expect("a bound socket has an address");
        let inbox = Data::new(Inbox {
            status: AtomicU16::new(204),
            text: Mutex::default(),
            silent: watch::Sender::new(false),
            received: Mutex::default(),
        });
        let data = inbox.clone();
        let server = HttpServer::new(move || {
            App::new().app_data(data.clone()).default_service(web::to(receive))
        })
        .workers(1)
        .disable_signals()
        .listen(listener)
        .expect("the port is free")
        .run();
        tokio::spawn(server);
        Self { address, inbox }
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// Answers with this status from now on.
    pub fn answer(&self, status: u16) {
        self.inbox.status.store(status, Ordering::SeqCst);
    }

    /// Answers with this body from now on.
    pub fn say(&self, text: &'static str) {
        *self.inbox.text.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }

    /// Takes what arrives and answers nothing, from now on or no longer.
    pub fn keep_silent(&self, silent: bool) {
        self.inbox.silent.send_replace(silent);
    }

    /// Everything that arrived.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.inbox.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until so many requests have arrived.
    pub async fn wait_for(&self, count: usize) -> Vec<Received> {
        poll_until(PATIENCE, &format!("{count} webhooks arrive"), async || {
            Some(self.received()).filter(|received| received.len() >= count)
        })
        .await
    }
}

impl Received {
    /// The body as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("webhooks are JSON")
    }

    /// The value of a header field.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// Whether the signature is that of Standard Webhooks under this secret.
    #[must_use]
    pub fn is_signed_with(&self, secret: &str) -> bool {
        let encoded = secret.strip_prefix("whsec_").expect("a secret begins with whsec_");
        let key = STANDARD.decode(encoded).expect("a secret is base64");
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let signed =
            [self.id.as_bytes(), b".", self.timestamp.as_bytes(), b".", &self.body].concat();
        self.signature
            .split(' ')
            .filter_map(|signature| STANDARD.decode(signature.strip_prefix("v1,")?).ok())
            .any(|signature| hmac::verify(&key, &signed, &signature).is_ok())
    }
}

async fn receive(request: HttpRequest, body: Bytes, inbox: Data<Inbox>) -> HttpResponse {
    let header = |name: &str| {
        let value = request.headers().get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    inbox.received.lock().unwrap_or_else(PoisonError::into_inner).push(Received {
        id: header("webhook-id"),
        timestamp: header("webhook-timestamp"),
        signature: header("webhook-signature"),
        traceparent: header("traceparent"),
        headers: request
            .headers()
            .iter()
            .map(|(name, value)| {
                (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
            })
            .collect(),
        body,
    });
    let mut silent = inbox.silent.subscribe();
    // The sender lives as long as the inbox.
    let _ = silent.wait_for(|silent| !silent).await;
    let status =
        StatusCode::from_u16(inbox.status.load(Ordering::SeqCst)).unwrap_or(StatusCode::OK);
    let text = *inbox.text.lock().unwrap_or_else(PoisonError::into_inner);
    HttpResponse::build(status).body(text)
}
