//! What the document says about operations that go away: the extension
//! `x-deprecation = {"since": "2027-01-15", "sunset": "2029-01-15", "link": "/docs/…"}`, from which the rest follows.

use actix_web::http::header::{HeaderName, HeaderValue, LINK};
use jiff::civil::Date;
use jiff::fmt::rfc2822;
use jiff::tz::TimeZone;
use serde::Deserialize;
use utoipa::openapi::path::Operation;

const EXTENSION: &str = "x-deprecation";

/// When an operation goes away, and where that is explained.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Notice {
    /// From when on it should not be used any more.
    pub(crate) since: Date,
    /// From when on it may be gone, if that is decided.
    pub(crate) sunset: Option<Date>,
    /// What to do instead.
    pub(crate) link: String,
}

impl Notice {
    /// What an operation says about its end.
    pub(crate) fn of(operation: &Operation) -> Option<Self> {
        let notice = operation.extensions.as_ref()?.get(EXTENSION)?.clone();
        Some(
            serde_json::from_value(notice)
                .expect("x-deprecation holds `since`, `sunset` and `link`"),
        )
    }

    /// The headers that tell clients.
    pub(crate) fn headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        let midnight = |date: Date| {
            date.to_zoned(TimeZone::UTC).expect("every date begins in UTC").timestamp()
        };
        let header = |name, value: String| {
            let value = HeaderValue::from_str(&value).expect("dates and links are plain text");
            (HeaderName::from_static(name), value)
        };
        let mut headers =
            vec![header("deprecation", format!("@{}", midnight(self.since).as_second()))];
        if let Some(sunset) = self.sunset {
            let date = rfc2822::DateTimePrinter::new()
                .timestamp_to_rfc9110_string(&midnight(sunset))
                .expect("years of the common era can be written");
            headers.push(header("sunset", date));
        }
        let link = format!("<{}>; rel=\"deprecation\"; type=\"text/html\"", self.link);
        headers.push(header(LINK.as_str(), link));
        headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dates_are_told_as_the_standards_write_them() {
        let notice = Notice {
            since: "2023-06-30".parse().unwrap(),
            sunset: Some("2025-06-30".parse().unwrap()),
            link: "/docs/changes".to_owned(),
        };
        let headers = notice.headers();
        let told: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(
            told,
            [
                ("deprecation", "@1688083200"),
                ("sunset", "Mon, 30 Jun 2025 00:00:00 GMT"),
                ("link", "</docs/changes>; rel=\"deprecation\"; type=\"text/html\""),
            ]
        );
    }
}
