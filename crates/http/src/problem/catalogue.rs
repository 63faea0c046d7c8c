//! What each failure code means to a client: its status, its title and what to do about it.

use actix_web::http::StatusCode;
use convene_application::kernel::error::Code;

/// One row of the catalogue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// The status of the reply.
    pub(crate) status: StatusCode,
    /// A few words, the same for each occurrence.
    pub(crate) title: &'static str,
    /// When it happens.
    pub(crate) meaning: &'static str,
    /// What the client can do.
    pub(crate) remedy: &'static str,
}

const fn row(
    status: StatusCode,
    title: &'static str,
    meaning: &'static str,
    remedy: &'static str,
) -> Entry {
    Entry { status, title, meaning, remedy }
}

/// The entry of a code. The compiler asks for one when a code is added.
#[expect(clippy::too_many_lines, reason = "a table, one row per code")]
pub(crate) const fn entry(code: Code) -> Entry {
    use StatusCode as S;
    match code {
        Code::MalformedRequest => row(
            S::BAD_REQUEST,
            "Malformed request",
            "The request cannot be parsed: bad JSON syntax, bytes that are not UTF-8, an empty body, a key that \
             occurs twice in one object, nesting deeper than 64 levels, or a header of the wrong form.",
            "Correct the syntax. Sending the same bytes again fails again.",
        ),
        Code::ValidationFailed => row(
            S::UNPROCESSABLE_ENTITY,
            "Invalid fields",
            "The request parses but breaks a rule: a wrong type, an unknown field or parameter, a value out of range.",
            "Read errors[]: each entry names the place (a JSON pointer into the body, or a query parameter), a stable \
             code and the rule.",
        ),
        Code::Unauthenticated => row(
            S::UNAUTHORIZED,
            "No valid credentials",
            "The call needs an access token and got none, or one that is not valid or was revoked.",
            "Log in and send the access token as Authorization: Bearer.",
        ),
        Code::TokenExpired => row(
            S::UNAUTHORIZED,
            "Access token expired",
            "The access token was good but its time is over.",
            "Get a new one with the refresh token (POST /v1/auth/refresh) and repeat the call.",
        ),
        Code::InvalidCredentials => row(
            S::UNAUTHORIZED,
            "Invalid credentials",
            "The e-mail address or the password is wrong, or the address has not been verified yet. Which of them is \
             not told, so that nobody can find out who has an account.",
            "Check both, and verify the address with the mailed token.",
        ),
        Code::InvalidRefreshToken => row(
            S::UNAUTHORIZED,
            "Invalid refresh token",
            "The refresh token is unknown, expired or revoked, or it was used before. Using a spent token ends its \
             session, because one of its two users is not the owner.",
            "Log in again.",
        ),
        Code::InvalidToken => row(
            S::UNPROCESSABLE_ENTITY,
            "Invalid mailed token",
            "The token from a mail is unknown, expired or spent.",
            "Ask for a new mail.",
        ),
        Code::Forbidden => row(
            S::FORBIDDEN,
            "Forbidden",
            "You may see the resource but not do this to it.",
            "Ask somebody with a higher role in the community.",
        ),
        Code::MembershipRequired => row(
            S::FORBIDDEN,
            "Membership required",
            "Only members of the community may do this.",
            "Join the community first.",
        ),
        Code::NotFound => row(
            S::NOT_FOUND,
            "Not found",
            "There is no such resource, or you may not know that there is: both look the same.",
            "Check the path and the id, and that you are logged in as the right person.",
        ),
        Code::MethodNotAllowed => row(
            S::METHOD_NOT_ALLOWED,
            "Method not allowed",
            "The path exists, but not with this method.",
            "Use one of the methods in the Allow header.",
        ),
        Code::NotAcceptable => row(
            S::NOT_ACCEPTABLE,
            "Not acceptable",
            "The Accept or Accept-Encoding header rules out everything that the server can answer with.",
            "Accept application/json and application/problem+json, or leave the header out.",
        ),
        Code::UnsupportedMediaType => row(
            S::UNSUPPORTED_MEDIA_TYPE,
            "Unsupported media type",
            "The body is not of a type that this call takes.",
            "Send uncompressed JSON with Content-Type: application/json; PATCH takes application/merge-patch+json too.",
        ),
        Code::PayloadTooLarge => row(
            S::PAYLOAD_TOO_LARGE,
            "Body too large",
            "The body is larger than 1 MiB.",
            "Send less at once.",
        ),
        Code::RequestTimeout => row(
            S::REQUEST_TIMEOUT,
            "Request timed out",
            "The body did not arrive within 30 seconds, or came slower than 500 bytes a second.",
            "Send the request again over a better connection.",
        ),
        Code::PreconditionRequired => row(
            S::PRECONDITION_REQUIRED,
            "Precondition required",
            "This change could overwrite another, so it needs an If-Match header.",
            "Read the resource and send its ETag as If-Match, or * to overwrite whatever is there.",
        ),
        Code::PreconditionFailed => row(
            S::PRECONDITION_FAILED,
            "Precondition failed",
            "The resource has changed since you read it.",
            "Read it again, look at what changed and repeat the change with the new ETag.",
        ),
        Code::IdempotencyInFlight => row(
            S::CONFLICT,
            "Same request in flight",
            "A request with the same Idempotency-Key is being processed right now.",
            "Repeat the request after Retry-After to get its reply.",
        ),
        Code::IdempotencyMismatch => row(
            S::UNPROCESSABLE_ENTITY,
            "Idempotency key used before",
            "The Idempotency-Key was used with another body for the same call within the last 24 hours.",
            "Use a new key for each new request, and the same key only to repeat one.",
        ),
        Code::InvalidCursor => row(
            S::BAD_REQUEST,
            "Invalid cursor",
            "The cursor was not given out for this list, these filters and this caller, or it was altered.",
            "Start again without a cursor. The limit alone may change between pages.",
        ),
        Code::SlugTaken => row(
            S::CONFLICT,
            "Slug taken",
            "Another community has this slug.",
            "Choose another slug.",
        ),
        Code::HandleTaken => row(
            S::CONFLICT,
            "Handle taken",
            "Another person has this handle.",
            "Choose another handle.",
        ),
        Code::InvalidTransition => row(
            S::CONFLICT,
            "Invalid transition",
            "The resource's present state does not allow this.",
            "Read the resource to see where it stands.",
        ),
        Code::OwnerCannotLeave => row(
            S::CONFLICT,
            "The owner cannot leave",
            "A community has exactly one owner at any time.",
            "Hand the community over first, or archive it.",
        ),
        Code::CommunityArchived => row(
            S::CONFLICT,
            "Community archived",
            "The community is archived and therefore read-only.",
            "There is nothing to do: archived communities do not change any more.",
        ),
        Code::RsvpClosed => row(
            S::CONFLICT,
            "RSVPs closed",
            "The event takes no RSVPs now: it is a draft, cancelled, started or over, or its window is not open.",
            "Read the event for its status and its window.",
        ),
        Code::NotEnoughSeats => row(
            S::CONFLICT,
            "Not enough seats",
            "The party is larger than the event, or it cannot grow because the seats are taken or others wait for them.",
            "Bring fewer people. Nothing has changed.",
        ),
        Code::CapacityBelowConfirmed => row(
            S::CONFLICT,
            "Capacity below confirmed seats",
            "More seats are taken than the new capacity has.",
            "Choose a capacity that holds everybody who is confirmed.",
        ),
        Code::NonexistentTime => row(
            S::UNPROCESSABLE_ENTITY,
            "Nonexistent local time",
            "The local time falls into the hour that its time zone skips when daylight saving begins.",
            "Choose a time before or after the gap.",
        ),
        Code::AmbiguousTime => row(
            S::UNPROCESSABLE_ENTITY,
            "Ambiguous local time",
            "The local time occurs twice in its time zone because daylight saving ends.",
            "Say which one: fold: \"earlier\" or \"later\".",
        ),
        Code::UrlRefused => row(
            S::UNPROCESSABLE_ENTITY,
            "URL refused",
            "Webhooks are not sent to this URL: not https, not a public host, or an odd port.",
            "Use an https URL of a public host.",
        ),
        Code::RateLimited => row(
            S::TOO_MANY_REQUESTS,
            "Too many requests",
            "A limit was reached.",
            "Wait as long as Retry-After says.",
        ),
        Code::Overloaded => row(
            S::SERVICE_UNAVAILABLE,
            "Overloaded",
            "The server has more work than it can do in time. Nothing has happened.",
            "Repeat the request after Retry-After.",
        ),
        Code::Unavailable => row(
            S::SERVICE_UNAVAILABLE,
            "Temporarily unavailable",
            "Something that the server needs is down. The change may or may not have happened.",
            "Repeat the request after Retry-After, with the same Idempotency-Key if it changes something.",
        ),
        Code::Internal => row(
            S::INTERNAL_SERVER_ERROR,
            "Internal error",
            "The server has a defect.",
            "Tell the operator the request id.",
        ),
    }
}

/// The code that says best what a bare status says.
pub(crate) fn code_of(status: StatusCode) -> Code {
    match status.as_u16() {
        401 => Code::Unauthenticated,
        403 => Code::Forbidden,
        404 => Code::NotFound,
        405 => Code::MethodNotAllowed,
        406 => Code::NotAcceptable,
        408 => Code::RequestTimeout,
        412 => Code::PreconditionFailed,
        413 => Code::PayloadTooLarge,
        415 => Code::UnsupportedMediaType,
        422 => Code::ValidationFailed,
        428 => Code::PreconditionRequired,
        429 => Code::RateLimited,
        503 => Code::Unavailable,
        400..=499 => Code::MalformedRequest,
        _ => Code::Internal,
    }
}
