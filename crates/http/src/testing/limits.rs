//! Limits on requests: what a handler adds to the cost, and how many may be in flight.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::dev::Service as _;
use actix_web::test::{TestRequest, init_service};
use actix_web::{HttpRequest, HttpResponse, get};
use async_trait::async_trait;
use convene_application::kernel::limits::{Quota, RequestLimiter, Standing, Subject, Verdict};
use tokio::runtime::Handle;

use super::{addressed, ports, read, settings};
use crate::app::app_of;
use crate::ports::Ports;
use crate::settings::{RequestLimits, Settings};
use crate::{Http, add_cost};

/// Lets everything through and remembers what it cost.
#[derive(Default)]
struct Recorder {
    spent: Mutex<Vec<(Subject, u32)>>,
    charged: Mutex<Vec<(Subject, u32)>>,
}

#[async_trait]
impl RequestLimiter for Recorder {
    fn try_spend(&self, _: Subject, _: Quota, _: u32) -> Option<Standing> {
        // As one that has to ask others.
        None
    }

    async fn spend(&self, subject: Subject, quota: Quota, cost: u32) -> Standing {
        tokio::task::yield_now().await;
        self.spent.lock().unwrap().push((subject, cost));
        let remaining = quota.burst - cost;
        Standing { verdict: Verdict::Allowed, remaining, reset: Duration::from_secs(1) }
    }

    fn charge(&self, subject: Subject, _: Quota, cost: u32) {
        self.charged.lock().unwrap().push((subject, cost));
    }
}

/// Costs three more than its shape says.
#[utoipa::path(tag = "note", operation_id = "get_costly", responses((status = 204, description = "Done.")))]
#[get("/v1/communities/{community}")]
async fn costly(request: HttpRequest) -> HttpResponse {
    add_cost(&request, 1);
    add_cost(&request, 2);
    HttpResponse::NoContent().finish()
}

fn from(address: &str, path: &str) -> TestRequest {
    let request = TestRequest::get().uri(path);
    addressed(request.peer_addr(format!("{address}:4711").parse().unwrap()))
}

fn limited(limits: RequestLimits) -> (Arc<Http>, Arc<Recorder>) {
    let limiter = Arc::new(Recorder::default());
    let ports = Ports { limiter: Some(limiter.clone()), ..ports() };
    (Http::new(Settings { limits, ..settings() }, ports, Handle::current()), limiter)
}

#[actix_web::test]
async fn what_a_handler_adds_is_charged_to_all_that_the_request_is_counted_by() {
    let (http, limiter) = limited(RequestLimits::default());
    let app = init_service(app_of(
        &http,
        Box::new(|routes| {
            routes.service(costly);
        }),
    ))
    .await;
    let request = super::as_user(from("[2001:db8::7]", "/v1/communities/a"), 7);
    let answer = read(app.call(request.to_request()).await.unwrap()).await;
    assert_eq!(answer.status.as_u16(), 204);
    let client = Subject::Client("2001:db8::".parse().unwrap());
    let spent = limiter.spent.lock().unwrap().clone();
    assert_eq!(spent.len(), 3);
    assert_eq!(spent[0], (client, 1));
    assert!(matches!(spent[1], (Subject::User(_), 1)));
    assert_eq!(spent[2], (Subject::community("a"), 1));
    let charged: Vec<_> = spent.into_iter().map(|(subject, _)| (subject, 3)).collect();
    assert_eq!(*limiter.charged.lock().unwrap(), charged);
    // The person's quota is the smallest.
    assert_eq!(answer.header("ratelimit"), Some("\"user\";r=1196;t=1"));
}

#[actix_web::test]
async fn too_many_at_once_is_429_too() {
    let limits = RequestLimits { client_at_once: 1, ..RequestLimits::default() };
    let (http, _) = limited(limits);
    let app = init_service(app_of(
        &http,
        Box::new(|routes| {
            routes.service(costly);
        }),
    ))
    .await;
    let call = || app.call(from("192.0.2.7", "/v1/communities/a").to_request());
    let (one, other) = futures::join!(call(), call());
    let mut statuses = [one, other].map(|answer| answer.unwrap().response().status().as_u16());
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 429]);
    let alone = call().await.unwrap();
    assert_eq!(alone.response().status().as_u16(), 204, "the place was given back");
}
