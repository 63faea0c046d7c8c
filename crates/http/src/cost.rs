//! What each middleware costs a request: for the benchmarks, and for nobody else.
//!
//! The middlewares of [`app`](crate::app) are put around a handler that answers at once, one more each time, and requests go
//! through what there is by then. Services are boxed between the layers, which they are not in the application; a layer that
//! does nothing but that tells how much to take off.

use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform};
use actix_web::http::header;
use actix_web::middleware::{Compress, from_fn};
use actix_web::test::TestRequest;
use actix_web::web::Data;
use actix_web::{Error, HttpResponse};
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;

use crate::openapi::Document;
use crate::state::Http;
use crate::{middleware, openapi};

/// Requests that are timed together.
const BATCH: usize = 1_000;

/// What a middleware adds to a request.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Its name, as in the application; `handler` for what it is all around.
    pub name: &'static str,
    /// How much longer a request takes with it than without.
    pub adds: Duration,
    /// How long a request takes with it and all inside of it, boxes included.
    pub until_here: Duration,
}

type Answering = LocalBoxFuture<'static, Result<ServiceResponse<BoxBody>, Error>>;

/// A service whose type does not tell what is in it.
#[derive(Clone)]
struct Boxed(Rc<dyn Fn(ServiceRequest) -> Answering>);

impl Boxed {
    fn of<F, B>(service: impl Fn(ServiceRequest) -> F + 'static) -> Self
    where
        F: Future<Output = Result<ServiceResponse<B>, Error>> + 'static,
        B: MessageBody + 'static,
    {
        Self(Rc::new(move |request| {
            let answering = service(request);
            async move { Ok(answering.await?.map_into_boxed_body()) }.boxed_local()
        }))
    }
}

impl Service<ServiceRequest> for Boxed {
    type Response = ServiceResponse<BoxBody>;
    type Error = Error;
    type Future = Answering;

    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&self, request: ServiceRequest) -> Answering {
        (self.0)(request)
    }
}

/// The service inside of a middleware; none if it cannot be made.
async fn inside<T, B>(middleware: T, service: Boxed) -> Option<Boxed>
where
    T: Transform<Boxed, ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
    T::Transform: 'static,
    B: MessageBody + 'static,
{
    let wrapped = middleware.new_transform(service).await.ok()?;
    Some(Boxed::of(move |request| wrapped.call(request)))
}

/// Times an authenticated GET of `path` through more and more of the middleware, from the inside to the outside. To be called
/// on a runtime of actix's. Each stack is timed `rounds` times with 1,000 requests, and the fastest time counts, since others
/// may use the machine.
///
/// # Errors
/// A request that was not answered with 200, or a middleware that cannot be made.
pub async fn measure(
    http: &Arc<Http>,
    path: &str,
    token: &str,
    rounds: usize,
) -> Result<Vec<Cost>, String> {
    let asking = Asking::new(http, path, token, rounds);
    let handler = Boxed::of(async |request: ServiceRequest| {
        let response = HttpResponse::Ok().content_type("application/json").body(BODY);
        Ok(request.into_response(response))
    });
    let bare = asking.time("handler", &handler).await?;
    let again = handler.clone();
    let boxed = asking.time("a box", &Boxed::of(move |request| again.call(request))).await?;
    let one_box = boxed.saturating_sub(bare);

    let mut costs = vec![Cost { name: "handler", adds: bare, until_here: bare }];
    let (mut service, mut before) = (handler, bare);
    macro_rules! add {
        ($($name:literal = $middleware:expr),+ $(,)?) => {$(
            service = inside($middleware, service).await.ok_or($name)?;
            let until_here = asking.time($name, &service).await?;
            let adds = until_here.saturating_sub(before).saturating_sub(one_box);
            costs.push(Cost { name: $name, adds, until_here });
            before = until_here;
        )+};
    }
    // As in `app::wrapped`.
    add! {
        "catch_panics" = from_fn(middleware::catch_panics),
        "head_as_get" = from_fn(middleware::head_as_get),
        "limit_callers" = from_fn(middleware::limit_callers),
        "authenticate" = from_fn(middleware::authenticate),
        "announce_deprecation" = from_fn(middleware::announce_deprecation),
        "well_formed" = from_fn(middleware::well_formed),
        "limit_clients" = from_fn(middleware::limit_clients),
        "shed" = from_fn(middleware::shed),
        "pin_version" = from_fn(middleware::pin_version),
        "cache_control" = from_fn(middleware::cache_control),
        "problems (inner)" = from_fn(middleware::problems),
        "spare_small" = from_fn(middleware::spare_small),
        "compress" = Compress::default(),
        "mark_tags" = from_fn(middleware::mark_tags),
        "cors" = middleware::cors(&http.settings),
        "problems (outer)" = from_fn(middleware::problems),
        "security_headers" = from_fn(middleware::security_headers),
        "measure" = from_fn(middleware::measure),
        "identify" = from_fn(middleware::identify),
    }
    tracing::debug!(?before, "all of it");
    Ok(costs)
}

/// A body of the usual size.
const BODY: &[u8] = &[b' '; 600];

/// Makes requests and times them.
struct Asking {
    http: Data<Http>,
    document: Data<Document>,
    path: String,
    credentials: String,
    rounds: usize,
}

impl Asking {
    fn new(http: &Arc<Http>, path: &str, token: &str, rounds: usize) -> Self {
        Self {
            http: Data::from(Arc::clone(http)),
            document: Data::new(Document::new(openapi::complete(crate::openapi()), &[])),
            path: path.to_owned(),
            credentials: format!("Bearer {token}"),
            rounds,
        }
    }

    fn request(&self) -> ServiceRequest {
        TestRequest::get()
            .uri(&self.path)
            .peer_addr(SocketAddr::from(([127, 0, 0, 1], 40_000)))
            .insert_header((header::HOST, "127.0.0.1"))
            .insert_header((header::ACCEPT, "application/json"))
            .insert_header((header::AUTHORIZATION, self.credentials.clone()))
            .app_data(self.http.clone())
            .app_data(self.document.clone())
            .to_srv_request()
    }

    /// How long one request takes.
    async fn time(&self, name: &str, service: &Boxed) -> Result<Duration, String> {
        let mut best = Duration::MAX;
        for _ in 0..self.rounds {
            let requests: Vec<ServiceRequest> = (0..BATCH).map(|_| self.request()).collect();
            let mut answers = Vec::with_capacity(BATCH);
            let begun = Instant::now();
            for request in requests {
                answers.push(service.call(request).await);
            }
            best = best.min(begun.elapsed());
            for answer in answers {
                let status = answer.map(|answer| answer.status()).map_err(|e| e.to_string())?;
                if status != actix_web::http::StatusCode::OK {
                    return Err(format!("with {name} a request was answered {status}"));
                }
            }
        }
        Ok(best / u32::try_from(BATCH).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Handle;

    use super::*;
    use crate::settings::Settings;
    use crate::testing::ports;

    #[actix_web::test]
    async fn every_middleware_of_the_application_is_measured() {
        let http = Http::new(Settings::default(), ports(), Handle::current());
        let costs = measure(&http, "/v1/events/event_1", "user-7", 1).await.unwrap();
        let (source, added) = (include_str!("app.rs"), costs.len() - 1);
        // Each is one line of the application; the line of the type has no `wrap`.
        assert_eq!(source.matches("\n        .wrap(").count(), added);
        assert!(costs.iter().all(|cost| !cost.until_here.is_zero()));
        assert!(costs[added].until_here > costs[0].until_here);
    }

    #[actix_web::test]
    async fn what_is_not_answered_is_not_measured() {
        let http = Http::new(Settings::default(), ports(), Handle::current());
        let refused = measure(&http, "/v1/%zz", "user-7", 1).await.unwrap_err();
        assert!(refused.contains("well_formed"), "{refused}");
    }
}
