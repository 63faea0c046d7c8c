//! Conditional requests (RFC 9110 §13).

use std::convert::Infallible;
use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::{self, HeaderMap, HeaderName};
use actix_web::{FromRequest, HttpRequest};
use convene_application::kernel::precondition::{IfMatch, Tags};
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::openapi::{Object, ObjectBuilder, Type};

use super::parameter;
use crate::etag::{self, TagList};

/// The `If-Match` header of a change. A header of the wrong form was refused before.
#[derive(Clone, Debug)]
pub struct IfMatchHeader(Tags);

impl IfMatchHeader {
    /// The precondition for a resource whose tag is told by the function, normally
    /// `|resource| etag::of(&Dto::from(resource))`.
    #[must_use]
    pub fn on<T>(self, etag: fn(&T) -> String) -> IfMatch<T> {
        IfMatch { tags: self.0, etag }
    }
}

impl FromRequest for IfMatchHeader {
    type Error = Infallible;
    type Future = Ready<Result<Self, Infallible>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self(match tag_list(request.headers(), &header::IF_MATCH) {
            None => Tags::Absent,
            Some(TagList::Any) => Tags::Any,
            // If-Match compares strongly: a weak tag matches nothing.
            Some(TagList::Tags(tags)) => Tags::OneOf(
                tags.into_iter().filter(|tag| !tag.weak).map(|tag| tag.opaque).collect(),
            ),
        })))
    }
}

impl IntoParams for IfMatchHeader {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let schema = tags();
        let description =
            "The ETag of the resource as you know it, or `*` to change it whatever it is.";
        vec![parameter(ParameterIn::Header, "If-Match", true, description, schema)]
    }
}

/// The `If-None-Match` header of a read; for the documentation, since [`crate::reply::resource`] reads it itself.
#[derive(Clone, Copy, Debug)]
pub struct IfNoneMatchHeader;

impl IntoParams for IfNoneMatchHeader {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let schema = tags();
        let description = "The ETag of the resource as you know it; 304 if it is still the same.";
        vec![parameter(ParameterIn::Header, "If-None-Match", false, description, schema)]
    }
}

/// A list of tags, for the documentation.
fn tags() -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .examples(["\"9f2c1b7a0d4e8f3619ab3c47d5e7a608\""])
        .build()
}

/// All field lines of a header together; malformed ones cannot get here.
pub(crate) fn tag_list(headers: &HeaderMap, name: &HeaderName) -> Option<TagList> {
    let mut lines = headers.get_all(name).filter_map(|line| line.to_str().ok()).peekable();
    lines.peek()?;
    let joined = lines.collect::<Vec<_>>().join(",");
    Some(etag::parse_list(&joined).unwrap_or(TagList::Tags(Vec::new())))
}
