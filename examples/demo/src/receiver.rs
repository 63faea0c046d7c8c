//! A receiver of webhooks that verifies each signature after Standard Webhooks.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_web::web::{Bytes, Data};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::Outcome;

/// The receiver and what it got.
pub(crate) struct Receiver {
    address: SocketAddr,
    inbox: Data<Inbox>,
}

#[derive(Default)]
struct Inbox {
    key: Mutex<Option<hmac::Key>>,
    /// Type of each verified event, by the id of its delivery: what comes twice counts once.
    received: Mutex<Vec<(String, String)>>,
    refused: Mutex<Vec<String>>,
}

impl Receiver {
    /// Listens on a free port.
    pub(crate) fn start() -> Outcome<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let inbox = Data::from(Arc::new(Inbox::default()));
        let data = inbox.clone();
        let server = HttpServer::new(move || {
            App::new().app_data(data.clone()).route("/hook", web::post().to(receive))
        })
        .workers(1)
        .disable_signals()
        .listen(listener)?
        .run();
        tokio::spawn(server);
        Ok(Self { address, inbox })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// Verifies from now on with the secret that the endpoint's creation showed.
    pub(crate) fn verify_with(&self, secret: &str) -> Outcome<()> {
        let encoded = secret.strip_prefix("whsec_").ok_or("a secret begins with whsec_")?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode(encoded)?);
        *lock(&self.inbox.key) = Some(key);
        Ok(())
    }

    /// Waits until so many events have arrived; returns their types.
    pub(crate) async fn wait_for(&self, count: usize, patience: Duration) -> Outcome<Vec<String>> {
        let end = Instant::now() + patience;
        loop {
            if let Some(reason) = lock(&self.inbox.refused).first() {
                return Err(format!("a webhook was refused: {reason}").into());
            }
            let types: Vec<String> = lock(&self.inbox.received)
                .iter()
                .map(|(_, event_type)| event_type.clone())
                .collect();
            if types.len() >= count {
                return Ok(types);
            }
            if Instant::now() >= end {
                return Err(
                    format!("{} of {count} webhooks arrived: {types:?}", types.len()).into()
                );
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn receive(request: HttpRequest, body: Bytes, inbox: Data<Inbox>) -> HttpResponse {
    match verify(&request, &body, &inbox) {
        Ok((id, event_type)) => {
            let mut received = lock(&inbox.received);
            if !received.iter().any(|(known, _)| *known == id) {
                received.push((id, event_type));
            }
            HttpResponse::NoContent().finish()
        }
        Err(reason) => {
            lock(&inbox.refused).push(reason.to_string());
            HttpResponse::Unauthorized().finish()
        }
    }
}

/// The delivery's id and the event's type, if the signature is right.
fn verify(request: &HttpRequest, body: &[u8], inbox: &Inbox) -> Outcome<(String, String)> {
    let header = |name: &str| -> Outcome<&str> {
        Ok(request.headers().get(name).ok_or_else(|| format!("no {name}"))?.to_str()?)
    };
    let (id, timestamp) = (header("webhook-id")?, header("webhook-timestamp")?);
    let key = lock(&inbox.key).clone().ok_or("no secret yet")?;
    let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat();
    let verified = header("webhook-signature")?
        .split(' ')
        .filter_map(|signature| signature.strip_prefix("v1,"))
        .filter_map(|signature| STANDARD.decode(signature).ok())
        .any(|signature| hmac::verify(&key, &signed, &signature).is_ok());
    if !verified {
        return Err("the signature is wrong".into());
    }
    let event: Value = serde_json::from_slice(body)?;
    let event_type = event["type"].as_str().ok_or("the body has no type")?;
    Ok((id.to_owned(), event_type.to_owned()))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
