//! Where webhooks go.

use std::fmt;

use crate::text::TextError;

/// The longest URL, in bytes.
const MAX_LENGTH: usize = 2_048;

/// The URL of an endpoint as its owner wrote it: visible ASCII, at most 2,048 bytes. Which schemes, hosts and ports are
/// allowed depends on the installation, and is not decided here.
#[derive(Clone, PartialEq, Eq)]
pub struct EndpointUrl(String);

impl EndpointUrl {
    /// Keeps the URL if it follows the rule. White space and everything that would have to be percent-encoded is
    /// refused, so that the bytes that were checked are the bytes that are used.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn new(url: impl Into<String>) -> Result<Self, TextError> {
        let url = url.into();
        if url.is_empty() {
            return Err(TextError::TooShort { min: 1 });
        }
        if url.len() > MAX_LENGTH {
            return Err(TextError::TooLong { max: MAX_LENGTH });
        }
        if !url.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TextError::Form("must consist of visible ASCII characters"));
        }
        Ok(Self(url))
    }

    /// The URL.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Paths and queries of receivers often hold their credentials, so only scheme and host are shown.
impl fmt::Debug for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host_ends = self.0.match_indices('/').nth(2).map_or(self.0.len(), |(place, _)| place);
        write!(f, "EndpointUrl({}…)", &self.0[..host_ends])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_visible_ascii_of_bounded_length() {
        assert!(EndpointUrl::new("https://hooks.example/a?b=c#d").is_ok());
        assert!(EndpointUrl::new(format!("https://a.example/{}", "x".repeat(2_030))).is_ok());
        for bad in [
            "",
            " https://a.example",
            "https://a.example/\n",
            "https://a.example/\0",
            "https://ä.example",
        ] {
            assert!(EndpointUrl::new(bad).is_err(), "{bad:?}");
        }
        assert_eq!(EndpointUrl::new("x".repeat(2_049)), Err(TextError::TooLong { max: 2_048 }));
    }

    #[test]
    fn what_is_logged_of_a_url_holds_no_path() {
        let url = EndpointUrl::new("https://hooks.example/services/secret").unwrap();
        assert_eq!(format!("{url:?}"), "EndpointUrl(https://hooks.example…)");
        assert_eq!(
            format!("{:?}", EndpointUrl::new("https://a").unwrap()),
            "EndpointUrl(https://a…)"
        );
    }
}
