//! Lists: limit, cursors and filters from the query, and the page that answers them.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, HttpResponse};
use convene_application::kernel::error::{Checked, Code, Failure, FieldError, Place};
use convene_application::kernel::page::{Page, PageQuery, Travel};
use garde::Validate;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::form_urlencoded;
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::openapi::{ObjectBuilder, Type};

use super::{Authentication, authentication, http_of, parameter};
use crate::cursor::Binding;
use crate::reply::PageOf;
use crate::state::Http;
use crate::{json, reply, rules};

const DEFAULT_LIMIT: u16 = 20;
const MAX_LIMIT: u16 = 100;

/// A list without filters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Validate)]
pub struct NoFilter {}

impl IntoParams for NoFilter {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        Vec::new()
    }
}

/// What a list is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListQuery<F> {
    /// Which slice.
    pub page: PageQuery,
    /// Of which items.
    pub filter: F,
}

/// The query of a list. `F` holds the filters: a struct whose fields are strings or enums of names, optional unless the
/// filter must be given.
///
/// Never refuses the request itself: [`List::open`] hands over the mistakes for the use case to tell.
#[derive(Debug)]
pub struct List<F> {
    query: Checked<ListQuery<F>>,
    frame: PageFrame,
}

impl<F> List<F> {
    /// What was asked for, and the frame that the page goes into.
    pub fn open(self) -> (Checked<ListQuery<F>>, PageFrame) {
        (self.query, self.frame)
    }
}

/// What a page needs beside its items: the list that it belongs to.
#[derive(Debug)]
pub struct PageFrame {
    http: Arc<Http>,
    binding: Binding,
    limit: u16,
}

impl PageFrame {
    /// The reply that holds the page: `{"data", "has_more", "next_cursor", "prev_cursor"}`, and the same links as `Link`
    /// header (RFC 8288).
    pub fn reply<T: Serialize>(&self, page: Page<T>) -> HttpResponse {
        let cursor = |key| self.binding.write(&*self.http.ports.digester, key);
        let body = PageOf {
            data: page.items,
            has_more: page.has_more,
            next_cursor: page.next.map(cursor),
            prev_cursor: page.prev.map(cursor),
        };
        let mut links = Vec::new();
        if let Some(cursor) = &body.next_cursor {
            links.push(self.link("after", cursor, "next"));
        }
        if let Some(cursor) = &body.prev_cursor {
            links.push(self.link("before", cursor, "prev"));
        }
        let mut response = reply::json(&body);
        if !links.is_empty() {
            reply::set_header(&mut response, actix_web::http::header::LINK, &links.join(", "));
        }
        response
    }

    fn link(&self, direction: &str, cursor: &str, relation: &str) -> String {
        let Binding { path, filters, .. } = &self.binding;
        let separator = if filters.is_empty() { "" } else { "&" };
        format!(
            "<{path}?{filters}{separator}limit={}&{direction}={cursor}>; rel=\"{relation}\"",
            self.limit
        )
    }
}

impl<F> FromRequest for List<F>
where
    F: DeserializeOwned + Validate<Context = ()> + 'static,
{
    type Error = Infallible;
    type Future = Ready<Result<Self, Infallible>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let http = http_of(request);
        let parameters = Parameters::parse(request.query_string());
        let binding = Binding {
            path: request.path().to_owned(),
            filters: parameters.filters_as_query(),
            principal: match authentication(request) {
                Authentication::Known(principal) => Some(principal.user),
                Authentication::Anonymous | Authentication::Failed(_) => None,
            },
        };
        let limit = parameters.limit();
        let frame = PageFrame {
            binding,
            limit: limit.as_ref().ok().copied().unwrap_or(DEFAULT_LIMIT),
            http,
        };
        let query = parameters.read(limit, &frame);
        ready(Ok(Self { query, frame }))
    }
}

/// The parameters of a query, those of every list apart from the filters.
struct Parameters {
    limit: Option<String>,
    after: Option<String>,
    before: Option<String>,
    filters: Map<String, Value>,
    mistakes: Vec<FieldError>,
}

impl Parameters {
    fn parse(query: &str) -> Self {
        let mut seen: Map<String, Value> = Map::new();
        let mut mistakes = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if seen.contains_key(&*name) {
                mistakes.push(mistake(&name, "duplicate_parameter", "is given twice"));
            } else if value.contains('\0') || name.contains('\0') {
                mistakes.push(mistake(&name, "control_character", "must not contain NUL"));
            } else {
                seen.insert(name.into_owned(), Value::String(value.into_owned()));
            }
        }
        let mut take = |name: &str| match seen.remove(name) {
            Some(Value::String(value)) => Some(value),
            _ => None,
        };
        let (limit, after, before) = (take("limit"), take("after"), take("before"));
        Self { limit, after, before, filters: seen, mistakes }
    }

    /// The filters in the order of their names, so that the order in the query does not matter.
    fn filters_as_query(&self) -> String {
        let mut pairs: Vec<(&str, &str)> = self
            .filters
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default()))
            .collect();
        pairs.sort_unstable();
        form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
    }

    fn limit(&self) -> Result<u16, FieldError> {
        let Some(text) = &self.limit else { return Ok(DEFAULT_LIMIT) };
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse()
            .ok()
            .filter(|limit| digits && (1..=MAX_LIMIT).contains(limit))
            .ok_or_else(|| mistake("limit", "out_of_range", "must be an integer from 1 to 100"))
    }

    fn read<F>(self, limit: Result<u16, FieldError>, frame: &PageFrame) -> Checked<ListQuery<F>>
    where
        F: DeserializeOwned + Validate<Context = ()>,
    {
        let Self { after, before, filters, mut mistakes, .. } = self;
        let limit = limit.map_err(|error| mistakes.push(error)).unwrap_or(DEFAULT_LIMIT);
        if after.is_some() && before.is_some() {
            mistakes.push(mistake("before", "not_allowed", "cannot be given together with after"));
        }
        let filter = json::read::<F>(Value::Object(filters), &Vec::new)
            .and_then(|filter| rules::check(&filter).map(|()| filter));
        let filter = match filter {
            Ok(filter) if mistakes.is_empty() => filter,
            outcome => {
                let in_filters = outcome.err().unwrap_or_default();
                mistakes.extend(in_filters.into_iter().map(as_parameter));
                return Err(Failure {
                    detail: "The query has invalid parameters.".into(),
                    ..Failure::invalid(mistakes)
                });
            }
        };
        let key = |cursor: String| {
            frame.binding.read(&*frame.http.ports.digester, &cursor).ok_or_else(|| {
                Failure::new(
                    Code::InvalidCursor,
                    "The cursor was not given out for this list and this caller.",
                )
            })
        };
        let travel = match (after, before) {
            (Some(cursor), _) => Travel::After(key(cursor)?),
            (_, Some(cursor)) => Travel::Before(key(cursor)?),
            (None, None) => Travel::First,
        };
        Ok(ListQuery { page: PageQuery { limit, travel }, filter })
    }
}

fn mistake(name: &str, code: &'static str, detail: &'static str) -> FieldError {
    FieldError { place: Place::Parameter(name.to_owned()), code, detail: detail.into() }
}

/// The reader of bodies found it at `/name`; in a query that is the parameter `name`.
fn as_parameter(error: FieldError) -> FieldError {
    let Place::Pointer(pointer) = error.place else { return error };
    let name = pointer.trim_start_matches('/').replace("~1", "/").replace("~0", "~");
    match error.code {
        "unknown_field" => mistake(&name, "unknown_parameter", "is not a known parameter"),
        code => FieldError { place: Place::Parameter(name), code, detail: error.detail },
    }
}

impl<F: IntoParams> IntoParams for List<F> {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let text = || ObjectBuilder::new().schema_type(Type::String).build();
        let limit = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(1))
            .maximum(Some(MAX_LIMIT))
            .default(Some(DEFAULT_LIMIT.into()))
            .build();
        let query = |name, description, schema| {
            parameter(ParameterIn::Query, name, false, description, schema)
        };
        let mut parameters = vec![
            query("limit", "The most items to return.", limit),
            query("after", "Return what follows this cursor.", text()),
            query("before", "Return what precedes this cursor. Not together with `after`.", text()),
        ];
        parameters.extend(F::into_params(|| Some(ParameterIn::Query)));
        parameters
    }
}
