//! Listens to what is logged as an error.

use std::error::Error;
use std::fmt::{Debug, Write as _};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::report::{Failed, Origin, Panicked};
use super::sender::Reporter;

/// The target of what is logged about panics.
pub(in crate::telemetry) const PANICS: &str = "convene::panic";

/// Reports what is logged as an error, with the request or the job that it happened in.
pub(in crate::telemetry) struct ErrorLayer(pub(super) Reporter);

/// The spans that a failure may belong to have this field.
const MARK: &str = "request_id";

impl<S> Layer<S> for ErrorLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if attributes.metadata().fields().field(MARK).is_none() {
            return;
        }
        if let Some(span) = context.span(id) {
            let mut origin = Origin::default();
            attributes.record(&mut origin);
            span.extensions_mut().replace(origin);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        if *metadata.level() != Level::ERROR {
            return;
        }
        let place = format!("{}:{}", metadata.file().unwrap_or("?"), metadata.line().unwrap_or(0));
        let mut failed = Failed { target: metadata.target(), place, ..Failed::default() };
        event.record(&mut failed);
        let is_panic = metadata.target() == PANICS;
        if is_panic {
            let location = failed.facts.remove("location").unwrap_or_default();
            let message = std::mem::take(&mut failed.message);
            failed.panic = Some(Panicked { location, message });
        }
        let mut spans = context.event_scope(event).into_iter().flatten();
        if let Some(span) = spans.find(|span| span.extensions().get::<Origin>().is_some()) {
            let mut extensions = span.extensions_mut();
            if let Some(origin) = extensions.get_mut::<Origin>() {
                failed.origin = origin.clone();
            }
            if is_panic {
                // What catches it tells more, such as the route: the two are one failure.
                extensions.replace(failed);
                return;
            }
            if let Some(before) = extensions.remove::<Failed>() {
                failed.panic = before.panic;
            }
        }
        self.0.report(failed);
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        // A panic that nothing was logged about when it was caught.
        let left = span.extensions_mut().remove::<Failed>();
        if let Some(failed) = left {
            self.0.report(failed);
        }
    }
}

impl Visit for Origin {
    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "request_id" => self.request_id = Some(value.to_owned()),
            "trace_id" => self.trace_id = Some(value.to_owned()),
            // `version-trace-parent-flags` (W3C Trace Context §3.2).
            "traceparent" => self.trace_id = value.split('-').nth(1).map(str::to_owned),
            "kind" => self.kind = Some(value.to_owned()),
            _ => {}
        }
    }
}

impl Visit for Failed {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.take(field, || format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, || value.to_owned());
    }

    /// With all its causes, which the log line leaves out.
    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.take(field, || {
            let mut text = value.to_string();
            let mut cause = value.source();
            while let Some(error) = cause {
                // Writing to a string cannot fail.
                let _ = write!(text, ": {error}");
                cause = error.source();
            }
            text
        });
    }
}

impl Failed {
    fn take(&mut self, field: &Field, text: impl FnOnce() -> String) {
        match field.name() {
            "message" => self.message = text(),
            "error" => self.error = Some(text()),
            "code" => self.code = Some(text()),
            "route" => self.route = Some(text()),
            name => self.fact(name, text),
        }
    }
}
