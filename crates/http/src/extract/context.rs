//! The request behind a use case.

use std::convert::Infallible;
use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest};
use convene_application::kernel::context::{Actor, RequestContext};

use super::{Authentication, authentication, http_of};
use crate::client_ip::client_ip;
use crate::middleware::RequestIds;

/// How much of a user agent is kept.
const USER_AGENT_LENGTH: usize = 256;

/// What events and audit entries remember of the request.
#[derive(Clone, Debug)]
pub struct Ctx(pub RequestContext);

impl FromRequest for Ctx {
    type Error = Infallible;
    type Future = Ready<Result<Self, Infallible>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self::of(request)))
    }
}

impl Ctx {
    /// What is remembered of this request.
    pub(crate) fn of(request: &HttpRequest) -> Self {
        let http = http_of(request);
        let principal = match authentication(request) {
            Authentication::Known(principal) => Some(principal),
            Authentication::Anonymous | Authentication::Failed(_) => None,
        };
        let ids = request.extensions().get::<RequestIds>().cloned().unwrap_or_default();
        let user_agent = request
            .headers()
            .get(header::USER_AGENT)
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
            .map(|agent| {
                agent.chars().filter(|c| !c.is_control()).take(USER_AGENT_LENGTH).collect()
            });
        Self(RequestContext {
            actor: principal.map_or(Actor::System, |principal| Actor::User(principal.user)),
            session: principal.map(|principal| principal.session),
            request_id: ids.request_id,
            traceparent: ids.traceparent,
            client_ip: client_ip(request.head(), &http.settings.trusted_proxies),
            user_agent,
        })
    }
}
