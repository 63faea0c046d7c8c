//! Ids in paths.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use convene_application::kernel::error::Failure;
use convene_domain::ids::{CommunityId, DeliveryId, EventId, ReplayId, RsvpId, UserId, WebhookId};
use utoipa::IntoParams;
use utoipa::openapi::Object;
use utoipa::openapi::path::{Parameter, ParameterIn};

use super::parameter;
use crate::id::id_schema;
use crate::problem::Problem;

/// What can stand in a path under a name. All routes use the same name for the same thing.
pub trait PathSegment: Sized {
    /// The name in the route template, without braces.
    const NAME: &'static str;

    /// Reads the segment; `None` if it has another form.
    fn parse(segment: &str) -> Option<Self>;

    /// What it is, for the documentation.
    fn description() -> String {
        format!("The id of the {}.", Self::NAME)
    }

    /// The form, for the documentation.
    fn schema() -> Object;
}

macro_rules! path_segments {
    ($($id:ty = $name:literal),+ $(,)?) => {$(
        impl PathSegment for $id {
            const NAME: &'static str = $name;

            fn parse(segment: &str) -> Option<Self> {
                segment.parse().ok()
            }

            fn schema() -> Object {
                id_schema::<$id>()
            }
        }
    )+};
}

path_segments! {
    UserId = "user",
    CommunityId = "community",
    EventId = "event",
    RsvpId = "rsvp",
    WebhookId = "webhook",
    DeliveryId = "delivery",
    ReplayId = "replay",
}

/// The path segment of that kind: `PathId<EventId>` is the `{event}` of the route. A segment of another form is 404, with
/// the same body as one that names nothing: a client cannot tell them apart.
#[derive(Clone, Copy, Debug)]
pub struct PathId<T>(pub T);

impl<T: PathSegment + 'static> FromRequest for PathId<T> {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let segment = request.match_info().get(T::NAME);
        debug_assert!(segment.is_some(), "the route has no {{{}}}", T::NAME);
        let id = segment.and_then(T::parse);
        if id.is_some() {
            tracing::Span::current().record(T::NAME, segment);
        }
        ready(id.map(Self).ok_or_else(|| Failure::not_found().into()))
    }
}

impl<T: PathSegment> IntoParams for PathId<T> {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![parameter(ParameterIn::Path, T::NAME, true, &T::description(), T::schema())]
    }
}
