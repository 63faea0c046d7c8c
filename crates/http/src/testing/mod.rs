//! The kernel driven through a small module of routes, in the process and over a socket.

mod bodies;
mod changes;
mod described;
mod document;
mod limits;
mod lists;
mod notes;
mod platform;
mod refusals;
mod versions;
mod wire;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use actix_web::body::{BoxBody, to_bytes};
use actix_web::dev::{Service, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::HeaderMap;
use actix_web::test::{TestRequest, init_service};
use actix_web::web::Data;
use async_trait::async_trait;
use aws_lc_rs::{digest, hmac};
use convene_application::auth::authenticate::{Authenticate, PublicKeys};
use convene_application::kernel::authz::Refused;
use convene_application::kernel::clock::SystemClock;
use convene_application::kernel::context::{Principal, RequestContext};
use convene_application::kernel::error::{Code, Failure};
use convene_application::kernel::random::Random;
use convene_application::kernel::refusals::RefusalLog;
use convene_application::kernel::secrets::Digester;
use convene_domain::ids::{SessionId, TypedId as _, UserId};
use serde_json::Value;
use tokio::runtime::Handle;
use uuid::Uuid;

use crate::Http;
use crate::app::app_of;
use crate::ports::{Check, CheckState, Ports, Readiness};
use crate::settings::Settings;
use notes::NoteService;

/// Digests under a key that everybody knows.
pub(crate) struct FakeDigester;

impl Digester for FakeDigester {
    fn mac(&self, purpose: &'static str, data: &[u8]) -> [u8; 32] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, purpose.as_bytes());
        hmac::sign(&key, data).as_ref().try_into().unwrap()
    }

    fn sha256(&self, data: &[u8]) -> [u8; 32] {
        digest::digest(&digest::SHA256, data).as_ref().try_into().unwrap()
    }
}

/// The token `user-7` belongs to user 7.
struct FakeAuthenticator;

#[async_trait]
impl Authenticate for FakeAuthenticator {
    async fn authenticate(&self, bearer: &str) -> Result<Principal, Failure> {
        // As an adapter that has to ask a database now and then.
        tokio::task::yield_now().await;
        match bearer.strip_prefix("user-").and_then(|number| number.parse().ok()) {
            Some(number) => Ok(Principal {
                user: UserId::from_uuid(Uuid::from_u128(number)),
                session: SessionId::from_uuid(Uuid::from_u128(number)),
            }),
            None if bearer == "old" => {
                Err(Failure::new(Code::TokenExpired, "The access token has expired."))
            }
            None => Err(Failure::unauthenticated()),
        }
    }
}

#[async_trait]
impl PublicKeys for FakeAuthenticator {
    async fn jwks(&self) -> Result<Value, Failure> {
        Ok(serde_json::json!({"keys": []}))
    }
}

#[derive(Default)]
struct Counting(AtomicU64);

impl Random for Counting {
    fn fill(&self, buffer: &mut [u8]) {
        let number = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        for (place, byte) in buffer.iter_mut().rev().enumerate() {
            *byte = if place < 8 { number.to_be_bytes()[7 - place] } else { 0 };
        }
    }
}

/// Keeps what was refused.
#[derive(Default)]
struct Noted(Mutex<Vec<(RequestContext, Refused)>>);

impl RefusalLog for Noted {
    fn note(&self, context: RequestContext, refused: Refused) {
        self.0.lock().unwrap().push((context, refused));
    }
}

struct Ready(CheckState);

#[async_trait]
impl Readiness for Ready {
    async fn checks(&self) -> Vec<Check> {
        vec![Check { name: "database", state: self.0 }]
    }
}

pub(crate) fn ports() -> Ports {
    Ports {
        authenticate: Arc::new(FakeAuthenticator),
        public_keys: Arc::new(FakeAuthenticator),
        refusals: Arc::new(Noted::default()),
        digester: Arc::new(FakeDigester),
        clock: Arc::new(SystemClock),
        random: Arc::new(Counting::default()),
        limiter: None,
        readiness: Arc::new(Ready(CheckState::Up)),
        metrics: Arc::new(|| "up 1\n".to_owned()),
        dev_mail: None,
        tracer: None,
    }
}

fn settings() -> Settings {
    Settings { public_url: "https://convene.example".to_owned(), ..Settings::default() }
}

fn http() -> Arc<Http> {
    Http::new(settings(), ports(), Handle::current())
}

/// A reply, read whole.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    bytes: bytes::Bytes,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes)
            .unwrap_or_else(|error| panic!("{error}: {:?}", self.bytes))
    }

    fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    /// `errors[]` as pairs of place and code, sorted.
    fn mistakes(&self) -> Vec<(String, String)> {
        let json = self.json();
        let mut mistakes: Vec<_> = json["errors"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|error| {
                let place = error.get("pointer").or_else(|| error.get("parameter")).unwrap();
                (place.as_str().unwrap().to_owned(), error["code"].as_str().unwrap().to_owned())
            })
            .collect();
        mistakes.sort();
        mistakes
    }
}

/// Sends one request to an application with the notes and reads the reply.
async fn send(http: &Arc<Http>, notes: &Arc<NoteService>, request: TestRequest) -> Answer {
    let app = init_service(app_of(
        http,
        Box::new(|routes| {
            routes.app_data(Data::from(Arc::clone(notes)));
            notes::routes(routes);
        }),
    ))
    .await;
    match app.call(addressed(request).to_request()).await {
        Ok(response) => read(response).await,
        Err(error) => read_response(error.error_response()).await,
    }
}

/// As every client sends it: to a server with a name.
fn addressed(request: TestRequest) -> TestRequest {
    request.insert_header(("host", "convene.example"))
}

async fn read(response: ServiceResponse<BoxBody>) -> Answer {
    read_response(response.into_parts().1).await
}

async fn read_response(response: actix_web::HttpResponse) -> Answer {
    let (status, headers) = (response.status(), response.headers().clone());
    let bytes = to_bytes(response.into_body()).await.unwrap();
    Answer { status, headers, bytes }
}

/// One request with fresh state.
async fn ask(request: TestRequest) -> Answer {
    send(&http(), &Arc::new(NoteService::default()), request).await
}

fn as_user(request: TestRequest, number: u32) -> TestRequest {
    request.insert_header(("authorization", format!("Bearer user-{number}")))
}

/// A change with a JSON body.
fn with_json(request: TestRequest, body: impl Into<bytes::Bytes>) -> TestRequest {
    request.insert_header(("content-type", "application/json")).set_payload(body)
}
