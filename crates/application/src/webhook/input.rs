//! What clients say about endpoints, before it is known to make sense.

use convene_contracts::EventTypePattern;
use convene_domain::text::Description;
use convene_domain::webhook::{
    EndpointPatch, EndpointStatus, EndpointUrl, EventTypes, EventTypesError, NewEndpoint,
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
}

impl EndpointInput {
    /// What the endpoint is made of.
    ///
    /// # Errors
    /// `validation_failed` for patterns that match nothing, `url_refused`.
    pub(super) fn check(self, policy: &dyn UrlPolicy) -> Result<NewEndpoint, Failure> {
        let event_types = event_types(self.event_types)?;
        Ok(NewEndpoint { url: url(self.url, policy)?, event_types, description: self.description })
    }
}

impl EndpointChange {
    /// The changes.
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
        })
    }
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
        }
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
