//! `?expand=`: what comes with a resource in the same reply.

use std::marker::PhantomData;

use actix_web::HttpRequest;
use convene_application::kernel::error::Checked;
use convene_application::kernel::page::PageQuery;
use garde::Validate;
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::openapi::{ObjectBuilder, Type};

use super::{ListQuery, parameter};
use crate::{class, rules};

/// The name of the parameter.
pub(super) const NAME: &str = "expand";

/// The most relations that a request is charged for; there are no resources with more.
const MOST: usize = 16;

/// Adds one to what the request costs for each relation that it asks for.
pub(super) fn charge(request: &HttpRequest, parameters: &Map<String, Value>) {
    if let Some(Value::String(paths)) = parameters.get(NAME) {
        let relations = paths.split(',').take(MOST).count();
        class::add_cost(request, u32::try_from(relations).unwrap_or(u32::MAX));
    }
}

/// What may be asked for beside a resource.
pub trait Relations {
    /// The paths, such as `community` and `community.membership`. What stands before the dot is a path of its own. A path
    /// has two steps at most: what is behind them has a route.
    const PATHS: &'static [&'static str];
}

/// The `expand` parameter of a read: paths of `R` with commas between them. Stands in [`Query`](super::Query), or as the
/// filter of a [`List`](super::List), of which it never changes the items.
#[derive(Debug, Deserialize)]
#[serde(bound = "")]
pub struct Expand<R> {
    #[serde(default)]
    expand: Option<String>,
    #[serde(skip)]
    relations: PhantomData<fn() -> R>,
}

impl<R: Relations> Expand<R> {
    /// What was asked for.
    #[must_use]
    pub fn expansion(&self) -> Expansion {
        let asked: Vec<&str> = self.names().collect();
        // What is within another resource needs that one.
        let wanted = |path: &&str| {
            asked.iter().any(|name| {
                name == path || name.strip_prefix(*path).is_some_and(|rest| rest.starts_with('.'))
            })
        };
        Expansion(R::PATHS.iter().copied().filter(wanted).collect())
    }

    /// The slice of a list, and what comes with its items.
    pub fn split(query: Checked<ListQuery<Self>>) -> (Checked<PageQuery>, Expansion) {
        let expansion = query.as_ref().map(|query| query.filter.expansion()).unwrap_or_default();
        (query.map(|query| query.page), expansion)
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.expand.as_deref().into_iter().flat_map(|paths| paths.split(','))
    }
}

impl<R: Relations> Validate for Expand<R> {
    type Context = ();

    fn validate_into(
        &self,
        (): &(),
        parent: &mut dyn FnMut() -> garde::Path,
        report: &mut garde::Report,
    ) {
        if self.names().any(|name| !R::PATHS.contains(&name)) {
            let known = R::PATHS.join(", ");
            let mistake = rules::mistake("unknown_value", format_args!("must be among: {known}"));
            report.append(parent().join(NAME), mistake);
        }
    }
}

impl<R: Relations> IntoParams for Expand<R> {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let description = format!(
            "What comes with it, with commas between: {}. Each costs as much as a request. The reply has no `ETag` then.",
            R::PATHS.iter().map(|path| format!("`{path}`")).collect::<Vec<_>>().join(", ")
        );
        let path = format!("({})", R::PATHS.join("|").replace('.', r"\."));
        let schema = ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some(format!("^{path}(,{path})*$")))
            .examples(R::PATHS.first().copied())
            .build();
        vec![parameter(ParameterIn::Query, NAME, false, &description, schema)]
    }
}

/// What was asked for beside a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expansion(Vec<&'static str>);

impl Expansion {
    /// Whether nothing was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many relations are to be read.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether this path was.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        self.0.contains(&path)
    }

    /// What was asked for beside the resource at this path.
    #[must_use]
    pub fn within(&self, path: &str) -> Self {
        let inner = |full: &&'static str| full.strip_prefix(path)?.strip_prefix('.');
        Self(self.0.iter().filter_map(inner).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Surroundings;

    impl Relations for Surroundings {
        const PATHS: &'static [&'static str] = &["place", "place.owner", "seats"];
    }

    fn expand(text: &str) -> Expand<Surroundings> {
        Expand { expand: Some(text.to_owned()), relations: PhantomData }
    }

    #[test]
    fn what_is_further_inside_brings_what_is_around_it() {
        assert_eq!(expand("place.owner").expansion(), Expansion(vec!["place", "place.owner"]));
        assert_eq!(expand("seats,seats").expansion(), Expansion(vec!["seats"]));
        assert_eq!(expand("place.owner").expansion().within("place"), Expansion(vec!["owner"]));
        assert!(expand("place").expansion().within("place").is_empty());
    }

    #[test]
    fn only_what_is_on_the_list_can_be_asked_for() {
        assert!(rules::check(&expand("place,seats")).is_ok());
        for text in ["", "place,", "owner", "place.owner.place", "places", "Place", " place"] {
            assert!(rules::check(&expand(text)).is_err(), "{text:?}");
        }
    }
}
