//! What is told about a failure, and its form in the protocol.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use sentry_types::Dsn;
use sentry_types::protocol::v7::{
    ClientSdkInfo, Envelope, EnvelopeHeaders, Event, Exception, Level,
};

use super::redact::{is_private, redacted, shape};

/// The most of an error's text that tells failures apart.
const SHAPE_LENGTH: usize = 300;
/// The most single facts that one report tells.
const FACTS: usize = 32;

/// The request or the job that a failure belongs to.
#[derive(Clone, Debug, Default)]
pub(super) struct Origin {
    pub(super) request_id: Option<String>,
    pub(super) trace_id: Option<String>,
    /// The kind of the job, if it is one.
    pub(super) kind: Option<String>,
}

/// A panic.
#[derive(Clone, Debug, Default)]
pub(super) struct Panicked {
    pub(super) location: String,
    pub(super) message: String,
}

/// A failure.
#[derive(Clone, Debug, Default)]
pub(super) struct Failed {
    pub(super) target: &'static str,
    /// The place in the source that told of it.
    pub(super) place: String,
    pub(super) message: String,
    /// The whole chain of causes.
    pub(super) error: Option<String>,
    /// The stable code of the problem that the client got.
    pub(super) code: Option<String>,
    /// The template of the route.
    pub(super) route: Option<String>,
    /// What else the log line tells.
    pub(super) facts: BTreeMap<&'static str, String>,
    pub(super) origin: Origin,
    pub(super) panic: Option<Panicked>,
}

impl Failed {
    /// What tells failures apart: who tells what about which error, whatever ids the texts name. Free of what must not leave
    /// the process.
    pub(super) fn fingerprint(&self) -> Vec<String> {
        let text = match (&self.panic, &self.error) {
            (Some(panic), _) => format!("{}: {}", panic.location, first(&panic.message)),
            (None, Some(error)) => format!("{}: {}", first(&self.message), first(error)),
            (None, None) => first(&self.message).to_owned(),
        };
        let code = self.code.clone().unwrap_or_default();
        vec![self.target.to_owned(), code, shape(&redacted(&text))]
    }

    /// What is not to leave the process is dropped here, so that nothing behind has it.
    pub(super) fn fact(&mut self, name: &'static str, value: impl FnOnce() -> String) {
        if !is_private(name) && self.facts.len() < FACTS {
            self.facts.insert(name, value());
        }
    }
}

/// The hash of a fingerprint.
pub(super) fn hash(fingerprint: &[String]) -> u64 {
    let mut hasher = DefaultHasher::new();
    fingerprint.hash(&mut hasher);
    hasher.finish()
}

fn first(text: &str) -> &str {
    text.char_indices().nth(SHAPE_LENGTH).map_or(text, |(end, _)| &text[..end])
}

/// A failure that is reported.
pub(super) struct Report {
    pub(super) failed: Failed,
    pub(super) fingerprint: Vec<String>,
    /// How often it came since it was reported last.
    pub(super) suppressed: u64,
}

/// Where reports go, and what all of them tell.
#[derive(Clone, Debug)]
pub(super) struct Sink {
    pub(super) dsn: Dsn,
    pub(super) environment: String,
    pub(super) release: String,
    pub(super) service: &'static str,
}

impl Sink {
    /// The bytes of an envelope with one event
    /// (<https://develop.sentry.dev/sdk/data-model/envelopes/>). It tells nothing of the request but its ids and its route:
    /// no body, no header, no address, no person.
    pub(super) fn envelope(&self, report: Report) -> std::io::Result<Vec<u8>> {
        let Report { failed, fingerprint, suppressed } = report;
        let mut event = Event {
            level: if failed.panic.is_some() { Level::Fatal } else { Level::Error },
            fingerprint: fingerprint.into_iter().map(Cow::Owned).collect(),
            logger: Some(failed.target.to_owned()),
            culprit: Some(failed.place.clone()),
            transaction: failed.route.clone(),
            platform: "native".into(),
            release: Some(self.release.clone().into()),
            environment: Some(self.environment.clone().into()),
            ..Event::default()
        };
        let origin = failed.origin;
        let tags = [
            ("service", Some(self.service.to_owned())),
            // Clients may choose it.
            ("request_id", origin.request_id.map(|id| redacted(&id))),
            ("trace_id", origin.trace_id),
            ("job_kind", origin.kind),
            ("route", failed.route),
            ("code", failed.code.clone()),
        ];
        event
            .tags
            .extend(tags.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        let facts = failed.facts.iter().map(|(name, value)| ((*name).to_owned(), redacted(value)));
        event.extra.extend(facts.map(|(name, value)| (name, value.into())));
        if suppressed > 0 {
            event.extra.insert("suppressed_since_last_report".to_owned(), suppressed.into());
        }
        let (ty, value) = match (failed.panic, failed.error) {
            (Some(panic), _) => {
                event.culprit = Some(panic.location);
                ("panic".to_owned(), panic.message)
            }
            (None, Some(error)) => (failed.code.unwrap_or_else(|| failed.target.to_owned()), error),
            (None, None) => {
                event.message = Some(redacted(&failed.message));
                return self.wrapped(event);
            }
        };
        event.extra.insert("told".to_owned(), redacted(&failed.message).into());
        event.exception.values.push(Exception {
            ty,
            value: Some(redacted(&value)),
            ..Exception::default()
        });
        self.wrapped(event)
    }

    fn wrapped(&self, event: Event<'static>) -> std::io::Result<Vec<u8>> {
        let headers =
            EnvelopeHeaders::new().with_event_id(event.event_id).with_sdk(ClientSdkInfo {
                name: "convene".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                integrations: Vec::new(),
                packages: Vec::new(),
            });
        let envelope = Envelope::from(event).with_headers(headers);
        let mut bytes = Vec::new();
        envelope.to_writer(&mut bytes)?;
        Ok(bytes)
    }
}
