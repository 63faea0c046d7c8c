//! Logs, metrics and traces of the process.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::time::Duration;

use convene_http::ports::Tracer;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::{LogFormat, Telemetry as Settings};

/// Seconds; from a cache hit to the slowest request that is still answered.
const LATENCY_BUCKETS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// The header of the W3C trace context.
const TRACEPARENT: &str = "traceparent";
/// Requests decided together.
const BATCH_BUCKETS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];

/// What was installed; to be shut down last, so that nothing is lost.
pub struct Telemetry {
    metrics: PrometheusHandle,
    traces: Option<SdkTracerProvider>,
}

/// Telemetry that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `telemetry.log_filter` cannot be read.
    #[error("telemetry.log_filter cannot be read")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The trace exporter cannot be built.
    #[error("traces cannot be exported to telemetry.otlp_endpoint")]
    Traces(#[from] opentelemetry_otlp::ExporterBuildError),
    /// The metrics recorder cannot be installed.
    #[error("metrics cannot be recorded")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
    /// Something else in this process logs already.
    #[error("logging is set up already")]
    Logs(#[from] tracing_subscriber::util::TryInitError),
}

impl Telemetry {
    /// Installs the process' logging, metrics and, with an endpoint, traces. Logs go to standard error.
    ///
    /// # Errors
    /// Which of them failed.
    pub fn install(settings: &Settings, service: &'static str) -> Result<Self, TelemetryError> {
        let filter: EnvFilter = settings.log_filter.parse()?;
        let traces = (!settings.otlp_endpoint.is_empty())
            .then(|| tracer(&settings.otlp_endpoint, service))
            .transpose()?;
        let spans = traces
            .as_ref()
            .map(|provider| tracing_opentelemetry::layer().with_tracer(provider.tracer("convene")));
        tracing_subscriber::registry()
            .with(filter)
            .with(spans)
            .with(log_lines(settings.log_format))
            .try_init()?;
        let metrics = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), LATENCY_BUCKETS)?
            .set_buckets_for_metric(Matcher::Suffix("_size".to_owned()), BATCH_BUCKETS)?
            .install_recorder()?;
        Ok(Self { metrics, traces })
    }

    /// The recorded metrics in Prometheus' text format.
    #[must_use]
    pub fn metrics(&self) -> PrometheusHandle {
        self.metrics.clone()
    }

    /// Sends what was recorded and not yet sent.
    pub fn shut_down(self) {
        if let Some(Err(error)) = self.traces.map(|traces| traces.shutdown()) {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

/// Ties the spans of requests to distributed traces.
pub struct OtelTracer;

impl Tracer for OtelTracer {
    fn join(&self, span: &tracing::Span, parent: Option<&str>) -> Option<String> {
        let propagator = TraceContextPropagator::new();
        if let Some(parent) = parent {
            let carrier = HashMap::from([(TRACEPARENT.to_owned(), parent.to_owned())]);
            // A span that was sampled out has no context to join.
            let _ = span.set_parent(propagator.extract(&carrier));
        }
        let mut carrier = HashMap::new();
        propagator.inject_context(&span.context(), &mut carrier);
        carrier.remove(TRACEPARENT)
    }
}

fn log_lines<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    let terminal = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
        LogFormat::Auto if !terminal => {
            lines.json().flatten_event(true).with_span_list(false).boxed()
        }
        LogFormat::Pretty | LogFormat::Auto => lines.with_ansi(terminal).compact().boxed(),
    }
}

fn tracer(endpoint: &str, service: &'static str) -> Result<SdkTracerProvider, TelemetryError> {
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    let exporter = SpanExporter::builder()
        .with_http()
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .with_timeout(Duration::from_secs(5))
        .build()?;
    let resource = opentelemetry_sdk::Resource::builder().with_service_name(service).build();
    let provider =
        SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
    opentelemetry::global::set_tracer_provider(provider.clone());
    Ok(provider)
}
