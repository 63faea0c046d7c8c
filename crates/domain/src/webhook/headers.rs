//! Header fields that an endpoint's owner has sent along.

use std::collections::BTreeMap;
use std::fmt;

/// The most header fields of one endpoint.
pub const MAX_HEADERS: usize = 20;
/// The longest name, in bytes.
const MAX_NAME: usize = 64;
/// The most bytes of all names and values together.
const MAX_BYTES: usize = 8 * 1024;

/// Names that are not the owner's to set. Those of the message itself (RFC 9110 §6, §7.2, §10.1.1), those that are for
/// one hop (§7.6.1), those that tell where a request came from, which receivers behind proxies believe, and the trace.
/// `Authorization` and `Cookie` are not among them: receivers ask for them, and nothing else of ours sends them.
const RESERVED: [&str; 24] = [
    "accept-encoding",
    "baggage",
    "connection",
    "date",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "max-forwards",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "true-client-ip",
    "upgrade",
    "user-agent",
    "via",
    "x-http-method-override",
    "x-real-ip",
];
/// Beginnings of names that are not the owner's to set: of the body, of the signature, and of where a request came from.
const RESERVED_PREFIXES: [&str; 4] = ["content-", "webhook-", "x-forwarded-", "sec-"];

/// Header fields that are sent with every webhook of an endpoint, by their names in lower case. Values can be secrets, so
/// they are never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CustomHeaders(BTreeMap<String, String>);

/// Why a header field cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// No name after RFC 9110 §5.1, or a longer one than makes sense.
    #[error("must have a name of 1 to {MAX_NAME} letters, digits and hyphens")]
    Name,
    /// One of the names that are Convene's own.
    #[error("has a name that Convene, or the way to the receiver, sets itself")]
    Reserved,
    /// Anything but visible ASCII, with spaces inside.
    #[error("must have a value of visible ASCII characters, with spaces inside alone")]
    Value,
    /// One too many.
    #[error("is one too many: an endpoint has at most {MAX_HEADERS}")]
    TooMany,
    /// All together take more room than they should.
    #[error("is too long: all names and values have at most {MAX_BYTES} bytes together")]
    TooLong,
}

impl HeaderError {
    /// The stable code of this mistake in `errors[].code`.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Name | Self::Value => "invalid_format",
            Self::Reserved => "reserved",
            Self::TooMany => "too_many",
            Self::TooLong => "too_long",
        }
    }
}

impl CustomHeaders {
    /// The fields with changes applied, as by a JSON merge patch (RFC 7396): `None` takes a field away.
    ///
    /// # Errors
    /// The first mistake, with the name of the field as it was given.
    pub fn merged(
        &self,
        changes: BTreeMap<String, Option<String>>,
    ) -> Result<Self, (String, HeaderError)> {
        let mut merged = self.0.clone();
        for (given, value) in changes {
            let name = given.to_ascii_lowercase();
            match value {
                None => {
                    merged.remove(&name);
                }
                Some(value) => {
                    if let Err(error) = check(&name, &value) {
                        return Err((given, error));
                    }
                    merged.insert(name, value);
                    if merged.len() > MAX_HEADERS {
                        return Err((given, HeaderError::TooMany));
                    }
                    let bytes = merged.iter().map(|(name, value)| name.len() + value.len());
                    if bytes.sum::<usize>() > MAX_BYTES {
                        return Err((given, HeaderError::TooLong));
                    }
                }
            }
        }
        Ok(Self(merged))
    }

    /// The fields by name, as they were stored: they were checked when they were set.
    #[must_use]
    pub fn stored(fields: BTreeMap<String, String>) -> Self {
        Self(fields)
    }

    /// The fields by name.
    #[must_use]
    pub fn fields(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// The names, in their order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }
}

impl fmt::Debug for CustomHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

fn check(name: &str, value: &str) -> Result<(), HeaderError> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(is_plain) {
        return Err(HeaderError::Name);
    }
    if RESERVED.contains(&name) || RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
        return Err(HeaderError::Reserved);
    }
    let is_visible = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    if value.is_empty() || value.trim() != value || !value.bytes().all(is_visible) {
        return Err(HeaderError::Value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(fields: &[(&str, &str)]) -> Result<CustomHeaders, (String, HeaderError)> {
        let fields =
            fields.iter().map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned())));
        CustomHeaders::default().merged(fields.collect())
    }

    #[test]
    fn names_are_kept_in_lower_case_and_values_are_not_shown() {
        let headers = set(&[("X-Api-Key", "s3cret"), ("authorization", "Bearer s3cret")]).unwrap();
        assert_eq!(headers.names(), ["authorization", "x-api-key"]);
        assert_eq!(headers.fields()["x-api-key"], "s3cret");
        assert!(!format!("{headers:?}").contains("s3cret"));
    }

    #[test]
    fn changes_are_merged() {
        let headers = set(&[("a", "1"), ("b", "2")]).unwrap();
        let changes = [("A", None), ("c", Some("3")), ("absent", None)];
        let changes = changes.map(|(name, value)| (name.to_owned(), value.map(str::to_owned)));
        let merged = headers.merged(changes.into()).unwrap();
        assert_eq!(merged.names(), ["b", "c"]);
        assert_eq!(merged.merged(BTreeMap::new()), Ok(merged));
    }

    #[test]
    fn what_belongs_to_the_message_or_the_way_is_refused() {
        for name in RESERVED.into_iter().chain([
            "Host",
            "Content-Type",
            "content-length",
            "webhook-id",
            "Webhook-Signature",
            "X-Forwarded-For",
            "sec-fetch-site",
        ]) {
            let (given, error) = set(&[(name, "x")]).unwrap_err();
            assert_eq!((given.as_str(), error), (name, HeaderError::Reserved), "{name}");
        }
        for name in ["", "a b", "a\r\nb", "ä", "a:", "a_b", &"a".repeat(65)] {
            assert_eq!(set(&[(name, "x")]).unwrap_err().1, HeaderError::Name, "{name:?}");
        }
        for value in ["", " ", " x", "x ", "a\r\nhost: b", "a\tb", "ä", "\0"] {
            assert_eq!(set(&[("x-a", value)]).unwrap_err().1, HeaderError::Value, "{value:?}");
        }
    }

    #[test]
    fn there_is_an_end_to_their_number_and_size() {
        let fields = |number: usize, size: usize| -> BTreeMap<String, Option<String>> {
            (0..number).map(|number| (format!("x-{number:02}"), Some("v".repeat(size)))).collect()
        };
        let none = CustomHeaders::default();
        assert_eq!(none.merged(fields(20, 8)).unwrap().names().len(), 20);
        assert_eq!(none.merged(fields(21, 8)).unwrap_err().1, HeaderError::TooMany);
        assert!(none.merged(fields(1, MAX_BYTES - 4)).is_ok());
        assert_eq!(none.merged(fields(1, MAX_BYTES)).unwrap_err().1, HeaderError::TooLong);
        let full = none.merged(fields(1, MAX_BYTES - 4)).unwrap();
        let one_more = BTreeMap::from([("x-more".to_owned(), Some("v".to_owned()))]);
        assert_eq!(full.merged(one_more).unwrap_err().1, HeaderError::TooLong);
    }
}
