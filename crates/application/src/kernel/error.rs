//! The one failure that use cases return, and the closed list of its codes.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use convene_domain::text::TextError;

use super::authz::Refused;
use super::store::{Source, StoreError};

/// The stable code of a failure. Each has a page in the documentation.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    strum::AsRefStr,
    strum::Display,
    strum::EnumIter,
    strum::IntoStaticStr,
)]
#[strum(serialize_all = "snake_case")]
pub enum Code {
    /// The request cannot be parsed.
    MalformedRequest,
    /// The request parses but breaks a rule.
    ValidationFailed,
    /// No credentials, or none that are valid.
    Unauthenticated,
    /// The access token has expired.
    TokenExpired,
    /// The address or the password is wrong, or the address is not verified yet.
    InvalidCredentials,
    /// The refresh token is unknown, expired, spent or revoked.
    InvalidRefreshToken,
    /// The mailed token is unknown, expired or spent.
    InvalidToken,
    /// Visible, but not allowed.
    Forbidden,
    /// Only members of the community may do this.
    MembershipRequired,
    /// Absent, or invisible to this caller.
    NotFound,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// None of the accepted representations can be produced.
    NotAcceptable,
    /// The body's content type is not taken.
    UnsupportedMediaType,
    /// The body is larger than allowed.
    PayloadTooLarge,
    /// The request did not arrive in time.
    RequestTimeout,
    /// The change needs an `If-Match` header.
    PreconditionRequired,
    /// The resource has changed since the given tag.
    PreconditionFailed,
    /// A request with the same idempotency key is being processed.
    IdempotencyInFlight,
    /// The idempotency key was used with another body.
    IdempotencyMismatch,
    /// The page cursor is not one of this list and this caller.
    InvalidCursor,
    /// Another community has this slug.
    SlugTaken,
    /// Another person has this handle.
    HandleTaken,
    /// The resource's state does not allow the transition.
    InvalidTransition,
    /// The owner cannot leave.
    OwnerCannotLeave,
    /// The community is archived and therefore read-only.
    CommunityArchived,
    /// The event takes no RSVPs now.
    RsvpClosed,
    /// There are not enough seats for the party.
    NotEnoughSeats,
    /// The capacity would fall below the seats that are taken.
    CapacityBelowConfirmed,
    /// The local time falls into a gap of the time zone.
    NonexistentTime,
    /// The local time occurs twice in the time zone.
    AmbiguousTime,
    /// The URL is not one that webhooks may be sent to.
    UrlRefused,
    /// Too many requests.
    RateLimited,
    /// The server sheds load.
    Overloaded,
    /// Something that the server needs is down.
    Unavailable,
    /// A defect of the server.
    Internal,
}

/// One mistake in the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Where it is.
    pub place: Place,
    /// The stable code of the mistake.
    pub code: &'static str,
    /// A sentence for people.
    pub detail: Cow<'static, str>,
}

/// Where a mistake is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the body, as a JSON pointer (RFC 6901).
    Pointer(String),
    /// In the query, as the parameter's name.
    Parameter(String),
}

impl FieldError {
    /// A mistake in the top-level field of that name.
    pub fn field(name: &str, code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { place: Place::Pointer(format!("/{name}")), code, detail: detail.into() }
    }

    /// Text in the top-level field of that name that breaks its rule.
    #[must_use]
    pub fn text(name: &str, error: &TextError) -> Self {
        Self::field(name, error.code(), error.to_string())
    }
}

/// Why a use case did not happen: what the caller is told, and the cause for the log.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The stable code.
    pub code: Code,
    /// A sentence for people; never holds anything internal.
    pub detail: Cow<'static, str>,
    /// The single mistakes, if the input was wrong.
    pub errors: Vec<FieldError>,
    /// When trying again may help.
    pub retry_after: Option<Duration>,
    /// What the policy did not grant; goes to the audit log and is never shown.
    pub refused: Option<Box<Refused>>,
    /// The cause, logged once at the boundary and never shown.
    pub source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Failure {
    /// A failure with its code and a sentence for people.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            detail: detail.into(),
            errors: Vec::new(),
            retry_after: None,
            refused: None,
            source: None,
        }
    }

    /// Absent or invisible: both look the same.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(Code::NotFound, "There is no such resource.")
    }

    /// No valid credentials.
    #[must_use]
    pub fn unauthenticated() -> Self {
        Self::new(Code::Unauthenticated, "This needs a valid access token.")
    }

    /// Input that parses but breaks rules.
    #[must_use]
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        Self { errors, ..Self::new(Code::ValidationFailed, "The request has invalid fields.") }
    }

    /// Too many requests; the next may come after the given time.
    #[must_use]
    pub fn rate_limited(retry_after: Duration) -> Self {
        Self {
            retry_after: Some(retry_after),
            ..Self::new(Code::RateLimited, "Too many requests. Try again later.")
        }
    }

    /// The server has more work than it can do in time.
    #[must_use]
    pub fn overloaded(retry_after: Duration) -> Self {
        Self {
            retry_after: Some(retry_after),
            ..Self::new(Code::Overloaded, "The server is busy. Try again shortly.")
        }
    }

    /// Something that the server needs is down.
    pub fn unavailable(source: impl Into<Source>) -> Self {
        Self {
            retry_after: Some(Duration::from_secs(2)),
            source: Some(source.into().into()),
            ..Self::new(
                Code::Unavailable,
                "A service that this needs is unavailable. Try again shortly.",
            )
        }
    }

    /// Whether the same may well succeed a little later: something is down, or has too much to do.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(self.code, Code::Unavailable | Code::Overloaded)
    }

    /// A defect of the server.
    pub fn internal(source: impl Into<Source>) -> Self {
        Self {
            source: Some(source.into().into()),
            ..Self::new(Code::Internal, "The server failed. The request id helps to find out why.")
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| &**source as &(dyn std::error::Error + 'static))
    }
}

impl From<StoreError> for Failure {
    /// What a use case did not foresee: a lost database is 503, an unforeseen constraint a defect.
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Retryable(_)
            | StoreError::Fenced
            | StoreError::Unavailable(_)
            | StoreError::CommitUnknown(_) => Self::unavailable(error),
            StoreError::Overloaded => Self::overloaded(Duration::from_secs(1)),
            StoreError::Unique { .. } | StoreError::Other(_) => Self::internal(error),
        }
    }
}

/// Input whose mistakes are told only once it is known that the caller may see and change the target: a use case checks
/// visibility, permission and preconditions first, then opens it with `?`.
pub type Checked<T> = Result<T, Failure>;

#[cfg(test)]
mod tests {
    use strum::IntoEnumIterator as _;

    use super::*;

    /// What clients were promised; a code more or less is a change of the API.
    const PROMISED: &str = "\
        malformed_request validation_failed unauthenticated token_expired invalid_credentials \
        invalid_refresh_token invalid_token forbidden membership_required not_found method_not_allowed \
        not_acceptable unsupported_media_type payload_too_large request_timeout precondition_required \
        precondition_failed idempotency_in_flight idempotency_mismatch invalid_cursor slug_taken \
        handle_taken invalid_transition owner_cannot_leave community_archived rsvp_closed \
        not_enough_seats capacity_below_confirmed nonexistent_time ambiguous_time url_refused \
        rate_limited overloaded unavailable internal";

    #[test]
    fn a_failure_has_one_of_the_codes_that_clients_were_promised() {
        let codes: Vec<&str> = Code::iter().map(Into::into).collect();
        assert_eq!(codes, PROMISED.split(' ').collect::<Vec<_>>());
    }
}
