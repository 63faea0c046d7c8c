//! Traces that go on where their context was stored: with an event, with a job, with a delivery.
//!
//! A trace is carried as its W3C `traceparent`. Spans are made with `tracing` alone; what exports them, if anything does,
//! is installed once for the process, as the recorder of metrics is.

use std::sync::{Arc, OnceLock};

use tracing::Span;

use super::events::LoggedEvent;

/// Ties spans to distributed traces (OpenTelemetry, for example).
pub trait Tracer: Send + Sync {
    /// Makes the span a child of the given W3C `traceparent`, if there is one, and returns the `traceparent` that
    /// continues from the span.
    fn join(&self, span: &Span, parent: Option<&str>) -> Option<String>;
}

static TRACER: OnceLock<Arc<dyn Tracer>> = OnceLock::new();

/// Has spans exported from now on. The first of a process stays.
pub fn install(tracer: Arc<dyn Tracer>) {
    TRACER.get_or_init(|| tracer);
}

/// The span as a child of a stored context, if spans are exported.
#[must_use]
pub fn continued(span: Span, parent: Option<&str>) -> Span {
    if let (Some(tracer), Some(_)) = (TRACER.get(), parent) {
        tracer.join(&span, parent);
    }
    span
}

/// The `traceparent` that continues from this span, if spans are exported.
#[must_use]
pub fn traceparent(span: &Span) -> Option<String> {
    TRACER.get()?.join(span, None)
}

/// A span that is of use in a trace alone: none while spans are not exported.
#[must_use]
pub fn detail(span: impl FnOnce() -> Span) -> Span {
    if TRACER.get().is_some() { span() } else { Span::none() }
}

/// One span for each event, in the trace of the request that caused it; they end when they are dropped. None while spans
/// are not exported.
#[must_use]
pub fn of_each<'e>(
    events: impl IntoIterator<Item = &'e LoggedEvent>,
    span: impl Fn(&LoggedEvent) -> Span,
) -> Vec<Span> {
    if TRACER.get().is_none() {
        return Vec::new();
    }
    events.into_iter().map(|event| continued(span(event), event.traceparent().as_deref())).collect()
}
