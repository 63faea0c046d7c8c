//! What handlers take from a request.
//!
//! Extractors are polled in the order of the handler's arguments. [`Caller`] and [`PathId`] decide at once and may refuse
//! the request; so a handler names them in the order 401, 404. [`Body`], [`List`] and [`Query`] never refuse: they hand over a
//! [`Checked`](convene_application::kernel::error::Checked) value, whose mistakes the use case tells after it has decided
//! about visibility, permission and preconditions. Each extractor is `IntoParams`, so the same names document it.

mod body;
mod caller;
mod context;
mod expand;
mod idempotency;
mod list;
mod path;
mod precondition;

pub use body::{Body, NoBody, OptionalBody, Received};
pub(crate) use caller::{Authentication, authentication};
pub use caller::{Caller, MaybeCaller};
pub use context::Ctx;
pub use expand::{Expand, Expansion, Relations};
pub use idempotency::IdempotencyKey;
pub use list::{List, ListQuery, NoFilter, PageFrame, Query};
pub use path::{PathId, PathSegment};
pub(crate) use precondition::tag_list;
pub use precondition::{IfMatchHeader, IfNoneMatchHeader};

use std::sync::Arc;

use actix_web::HttpRequest;
use actix_web::web::Data;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::{Object, Required};

use crate::state::Http;

/// The state that the application puts into every request.
pub(crate) fn http_of(request: &HttpRequest) -> Arc<Http> {
    request
        .app_data::<Data<Http>>()
        .map(|http| Arc::clone(http))
        .expect("`convene_http::app` puts the state into every application")
}

/// A parameter as the OpenAPI document shows it.
fn parameter(
    place: ParameterIn,
    name: &str,
    required: bool,
    description: &str,
    schema: Object,
) -> Parameter {
    ParameterBuilder::new()
        .parameter_in(place)
        .name(name)
        .required(if required { Required::True } else { Required::False })
        .description(Some(description))
        .schema(Some(schema))
        .build()
}
