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

use super::{Authentication, authentication, expand, http_of, parameter};
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

/// The query of a read that is no list. Like [`List`] it never refuses the request itself: [`Query::open`] hands over the
/// mistakes for the handler to tell once it is decided that the caller may see the resource.
#[derive(Debug)]
pub struct Query<F>(Checked<F>);

impl<F> Query<F> {
    /// What was asked for.
    pub fn open(self) -> Checked<F> {
        self.0
    }
}

impl<F> FromRequest for Query<F>
where
    F: DeserializeOwned + Validate<Context = ()> + 'static,
{
    type Error = Infallible;
    type Future = Ready<Result<Self, Infallible>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let (parameters, mistakes) = pairs(request.query_string());
        expand::charge(request, &parameters);
        ready(Ok(Self(filter(parameters, mistakes))))
    }
}

impl<F: IntoParams> IntoParams for Query<F> {
    fn into_params(place: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        F::into_params(place)
    }
}

/// What a page needs beside its items: the list that it belongs to.
#[derive(Debug)]
pub struct PageFrame {
    http: Arc<Http>,
    binding: Binding,
    /// Filters and expansions, for the links to other pages.
    query: String,
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
        let (path, query, limit) = (&self.binding.path, &self.query, self.limit);
        let separator = if query.is_empty() { "" } else { "&" };
        format!("<{path}?{query}{separator}limit={limit}&{direction}={cursor}>; rel=\"{relation}\"")
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
        expand::charge(request, &parameters.filters);
        let binding = Binding {
            path: request.path().to_owned(),
            // What comes with the items does not change which they are.
            filters: parameters.as_query(|name| name != expand::NAME),
            principal: match authentication(request) {
                Authentication::Known(principal) => Some(principal.user),
                Authentication::Anonymous | Authentication::Failed(_) => None,
            },
        };
        let limit = parameters.limit();
        let frame = PageFrame {
            binding,
            query: parameters.as_query(|_| true),
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
        let (mut filters, mistakes) = pairs(query);
        let mut take = |name: &str| match filters.remove(name) {
            Some(Value::String(value)) => Some(value),
            _ => None,
        };
        let (limit, after, before) = (take("limit"), take("after"), take("before"));
        Self { limit, after, before, filters, mistakes }
    }

    /// Filters in the order of their names, so that the order in the query does not matter.
    fn as_query(&self, which: impl Fn(&str) -> bool) -> String {
        let mut pairs: Vec<(&str, &str)> = self
            .filters
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default()))
            .filter(|(name, _)| which(name))
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
        let filter = filter(filters, mistakes)?;
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

/// Refuses a query in a call that takes none.
pub(super) fn without_query(request: &HttpRequest) -> Checked<()> {
    let (parameters, mistakes) = pairs(request.query_string());
    filter::<NoFilter>(parameters, mistakes).map(drop)
}

/// The parameters of a query by name.
fn pairs(query: &str) -> (Map<String, Value>, Vec<FieldError>) {
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
    (seen, mistakes)
}

/// The parameters as a struct, unless they, or those read before, have mistakes.
fn filter<F>(parameters: Map<String, Value>, mut mistakes: Vec<FieldError>) -> Checked<F>
where
    F: DeserializeOwned + Validate<Context = ()>,
{
    let filter = json::read::<F>(Value::Object(parameters), &Vec::new)
        .and_then(|filter| rules::check(&filter).map(|()| filter));
    match filter {
        Ok(filter) if mistakes.is_empty() => Ok(filter),
        outcome => {
            let in_filters = outcome.err().unwrap_or_default();
            mistakes.extend(in_filters.into_iter().map(as_parameter));
            Err(Failure {
                detail: "The query has invalid parameters.".into(),
                ..Failure::invalid(mistakes)
            })
        }
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
        let cursor = || {
            let example = crate::reply::CURSOR_EXAMPLE;
            ObjectBuilder::new().schema_type(Type::String).examples([example]).build()
        };
        let limit = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(1))
            .maximum(Some(MAX_LIMIT))
            .default(Some(DEFAULT_LIMIT.into()))
            .examples([50])
            .build();
        let query = |name, description, schema| {
            parameter(ParameterIn::Query, name, false, description, schema)
        };
        let mut parameters = vec![
            query("limit", "The most items to return.", limit),
            query("after", "Return what follows this cursor.", cursor()),
            query(
                "before",
                "Return what precedes this cursor. Not together with `after`.",
                cursor(),
            ),
        ];
        parameters.extend(F::into_params(|| Some(ParameterIn::Query)));
        parameters
    }
}
