//! What clients say about endpoints, before it is known to make sense.

use std::collections::BTreeMap;

use convene_contracts::EventTypePattern;
use convene_domain::text::Description;
use convene_domain::webhook::{
    CustomHeaders, EndpointPatch, EndpointStatus, EndpointUrl, EventTypes, EventTypesError,
    NewEndpoint, Overlap, RateLimit, SignatureScheme,
};

use super::egress::{UrlPolicy, UrlRefused};
use crate::kernel::error::{Code, Failure, FieldError, Place};

/// A new endpoint as it was asked for.
#[derive(Clone, Debug)]
pub struct EndpointInput {
    /// Where its events go.
    pub url: String,
    /// Which events it gets.
    pub event_types: Vec<String>,
    /// What it is for.
    pub description: Option<Description>,
    /// How its webhooks are signed.
    pub signature: SignatureScheme,
    /// Header fields that are sent along.
    pub headers: BTreeMap<String, String>,
    /// How many webhooks it takes in a second.
    pub rate_limit: Option<RateLimit>,
}

/// A change of an endpoint as it was asked for; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct EndpointChange {
    /// Another URL.
    pub url: Option<String>,
    /// Other events.
    pub event_types: Option<Vec<String>>,
    /// Another description, or none.
    pub description: Option<Option<Description>>,
    /// Another status.
    pub status: Option<EndpointStatus>,
    /// Other header fields.
    pub headers: HeadersChange,
    /// Another rate, or none.
    pub rate_limit: Option<Option<RateLimit>>,
}

/// A change of the header fields of an endpoint.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum HeadersChange {
    /// None.
    #[default]
    Keep,
    /// There are none any more.
    Clear,
    /// Those that are named: with a value they are set, without one taken away.
    Merge(BTreeMap<String, Option<String>>),
}

impl std::fmt::Debug for HeadersChange {
    /// Without the values.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Keep => f.write_str("Keep"),
            Self::Clear => f.write_str("Clear"),
            Self::Merge(changes) => f.debug_set().entries(changes.keys()).finish(),
        }
    }
}

/// How a secret is to be replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    /// How long the old one goes on.
    pub overlap: Overlap,
    /// Another scheme; the present one without.
    pub signature: Option<SignatureScheme>,
}

impl EndpointInput {
    /// What the endpoint is made of, and the header fields that are sent along.
    ///
    /// # Errors
    /// `validation_failed` for patterns that match nothing and header fields that are not sent, `url_refused`.
    pub(super) fn check(
        self,
        policy: &dyn UrlPolicy,
    ) -> Result<(NewEndpoint, CustomHeaders), Failure> {
        let event_types = event_types(self.event_types)?;
        let given = self.headers.into_iter().map(|(name, value)| (name, Some(value)));
        let headers = merged(&CustomHeaders::default(), given.collect())?;
        let url = url(self.url, policy)?;
        Ok((NewEndpoint { url, event_types, description: self.description }, headers))
    }
}

impl EndpointChange {
    /// The changes, without those of header fields.
    ///
    /// # Errors
    /// As those of [`EndpointInput::check`].
    pub(super) fn check(self, policy: &dyn UrlPolicy) -> Result<EndpointPatch, Failure> {
        let event_types = self.event_types.map(event_types).transpose()?;
        Ok(EndpointPatch {
            url: self.url.map(|text| url(text, policy)).transpose()?,
            event_types,
            description: self.description,
            status: self.status,
            rate_limit: self.rate_limit,
            header_names: None,
        })
    }
}

/// Header fields with changes applied.
///
/// # Errors
/// `validation_failed`, which names the first field that is not sent.
pub(super) fn merged(
    headers: &CustomHeaders,
    changes: BTreeMap<String, Option<String>>,
) -> Result<CustomHeaders, Failure> {
    headers.merged(changes).map_err(|(name, error)| {
        // As a JSON pointer (RFC 6901 §3).
        let name = name.replace('~', "~0").replace('/', "~1");
        let place = Place::Pointer(format!("/headers/{name}"));
        let detail = error.to_string().into();
        Failure::invalid(vec![FieldError { place, code: error.code(), detail }])
    })
}

fn event_types(patterns: Vec<String>) -> Result<EventTypes, Failure> {
    let unknown: Vec<FieldError> = patterns
        .iter()
        .enumerate()
        .filter_map(|(place, pattern)| Some((place, EventTypePattern::parse(pattern).err()?)))
        .map(|(place, error)| FieldError {
            place: Place::Pointer(format!("/event_types/{place}")),
            code: "unknown_value",
            detail: error.to_string().into(),
        })
        .collect();
    if !unknown.is_empty() {
        return Err(Failure::invalid(unknown));
    }
    EventTypes::new(patterns).map_err(|error| {
        let code = match error {
            EventTypesError::Empty => "too_few",
            EventTypesError::TooMany => "too_many",
        };
        Failure::invalid(vec![FieldError::field("event_types", code, error.to_string())])
    })
}

fn url(text: String, policy: &dyn UrlPolicy) -> Result<EndpointUrl, Failure> {
    let url = EndpointUrl::new(text).map_err(|_| refused(UrlRefused::Malformed))?;
    policy.check(url.as_str()).map_err(refused)?;
    Ok(url)
}

fn refused(reason: UrlRefused) -> Failure {
    let code = if reason == UrlRefused::Malformed { "invalid_format" } else { "not_allowed" };
    Failure {
        errors: vec![FieldError::field("url", code, reason.to_string())],
        ..Failure::new(Code::UrlRefused, format!("Webhooks are not sent there: the URL {reason}."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct AllButLoopback;

    impl UrlPolicy for AllButLoopback {
        fn check(&self, url: &str) -> Result<(), UrlRefused> {
            if url.contains("127.0.0.1") { Err(UrlRefused::Address) } else { Ok(()) }
        }
    }

    fn input(url: &str, event_types: &[&str]) -> EndpointInput {
        EndpointInput {
            url: url.to_owned(),
            event_types: event_types.iter().map(ToString::to_string).collect(),
            description: None,
            signature: SignatureScheme::Hmac,
            headers: BTreeMap::new(),
            rate_limit: None,
        }
    }

    #[test]
    fn header_fields_that_are_not_sent_are_pointed_out() {
        let mut input = input("https://hooks.example/", &["*"]);
        input.headers = BTreeMap::from([("x/y".to_owned(), "1".to_owned())]);
        let failure = input.check(&AllButLoopback).unwrap_err();
        assert_eq!(failure.errors[0].place, Place::Pointer("/headers/x~1y".to_owned()));
        assert_eq!(failure.errors[0].code, "invalid_format");
    }

    #[test]
    fn patterns_that_match_nothing_are_pointed_out() {
        let failure = input("https://127.0.0.1/", &["*", "rsvp", "nope.*"])
            .check(&AllButLoopback)
            .unwrap_err();
        assert_eq!(failure.code, Code::ValidationFailed);
        let places: Vec<_> = failure.errors.into_iter().map(|error| error.place).collect();
        let pointer = |text: &str| Place::Pointer(text.to_owned());
        assert_eq!(places, [pointer("/event_types/1"), pointer("/event_types/2")]);

        let failure = input("https://hooks.example/", &[]).check(&AllButLoopback).unwrap_err();
        assert_eq!(failure.errors[0].place, pointer("/event_types"));
        let failure =
            input("https://hooks.example/", &["*"; 101]).check(&AllButLoopback).unwrap_err();
        assert_eq!(failure.errors[0].code, "too_many");
    }

    #[test]
    fn a_url_that_is_refused_says_why() {
        for url in ["https://127.0.0.1/", "https://hooks.example/\0", ""] {
            let failure = input(url, &["*"]).check(&AllButLoopback).unwrap_err();
            assert_eq!(failure.code, Code::UrlRefused, "{url:?}");
            assert_eq!(failure.errors[0].place, Place::Pointer("/url".to_owned()));
        }
        let change = EndpointChange {
            url: Some("https://127.0.0.1/".to_owned()),
            ..EndpointChange::default()
        };
        assert_eq!(change.check(&AllButLoopback).unwrap_err().code, Code::UrlRefused);
    }
}
