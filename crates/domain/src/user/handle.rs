//! Which handles people may choose.

use crate::text::{Handle, TextError};

/// Why a handle cannot be chosen. The message is for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandleError {
    /// It is no handle at all.
    #[error(transparent)]
    Text(#[from] TextError),
    /// It would let its owner pass for somebody official, or collides with a word of the API.
    #[error("is reserved")]
    Reserved,
}

impl HandleError {
    /// The stable code of this mistake in `errors[].code`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Text(error) => error.code(),
            Self::Reserved => "reserved",
        }
    }
}

/// Names of roles and mailboxes (RFC 2142 among them), of parts of the service, and words that programs take for
/// nothing. In the order of the alphabet.
const RESERVED: &[&str] = &[
    "about",
    "abuse",
    "account",
    "accounts",
    "admin",
    "administrator",
    "all",
    "anonymous",
    "api",
    "auth",
    "billing",
    "blog",
    "bot",
    "communities",
    "community",
    "contact",
    "convene",
    "deleted",
    "docs",
    "event",
    "events",
    "everybody",
    "everyone",
    "ftp",
    "guest",
    "help",
    "here",
    "hostmaster",
    "info",
    "legal",
    "login",
    "logout",
    "mail",
    "mailer_daemon",
    "marketing",
    "member",
    "members",
    "moderator",
    "news",
    "no_reply",
    "nobody",
    "noc",
    "none",
    "noreply",
    "null",
    "official",
    "operator",
    "organizer",
    "owner",
    "postmaster",
    "press",
    "privacy",
    "register",
    "root",
    "rsvp",
    "rsvps",
    "sales",
    "security",
    "self",
    "settings",
    "signup",
    "staff",
    "status",
    "superuser",
    "support",
    "sysadmin",
    "system",
    "team",
    "terms",
    "undefined",
    "unknown",
    "usenet",
    "user",
    "users",
    "uucp",
    "webhook",
    "webhooks",
    "webmaster",
    "www",
];

/// Checks that a person may choose this handle.
///
/// # Errors
/// The first rule that it breaks.
pub fn check_handle(text: &str) -> Result<(), HandleError> {
    choose_handle(text).map(drop)
}

/// Keeps a handle that a person may choose.
///
/// # Errors
/// The first rule that it breaks.
pub fn choose_handle(text: &str) -> Result<Handle, HandleError> {
    let handle = Handle::new(text)?;
    if RESERVED.binary_search(&handle.as_str()).is_ok() {
        return Err(HandleError::Reserved);
    }
    Ok(handle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_and_holds_handles() {
        assert!(RESERVED.is_sorted());
        for name in RESERVED {
            assert_eq!(Handle::check(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn nobody_passes_for_somebody_official() {
        assert_eq!(check_handle("admin"), Err(HandleError::Reserved));
        assert_eq!(check_handle("ada_lovelace"), Ok(()));
        assert_eq!(check_handle("Ada").unwrap_err().code(), "invalid_format");
    }
}
