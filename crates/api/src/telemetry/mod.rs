//! Logs, metrics and traces of the process.

mod catalogue;
mod errors;
mod log_filter;
mod process;

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;

pub use catalogue::page as metrics_page;
use convene_application::kernel::trace::{self, Tracer};
pub(crate) use errors::parse as parse_dsn;
pub use log_filter::{Controlled, LogFilter, log_filter};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, SpanData};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{LogFormat, Telemetry as Settings};
use crate::log_lines::{Fragments, Lines};
use errors::ErrorReports;

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
    errors: Option<ErrorReports>,
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
    /// Errors cannot be reported.
    #[error("errors cannot be reported to telemetry.error_reporting_dsn")]
    Errors(#[from] std::io::Error),
    /// Something else in this process logs already.
    #[error("logging is set up already")]
    Logs(#[from] tracing_subscriber::util::TryInitError),
}

impl Telemetry {
    /// Installs the process' logging, metrics and, where they are configured, traces and reports of errors. Logs go to
    /// standard error. `environment` tells reports of errors where they come from.
    ///
    /// # Errors
    /// Which of them failed.
    pub fn install(
        settings: &Settings,
        service: &'static str,
        environment: &str,
    ) -> Result<Self, TelemetryError> {
        let (layer, filter) = LogFilter::new(&settings.log_filter)?;
        let traces =
            (!settings.otlp_endpoint.is_empty()).then(|| tracer(settings, service)).transpose()?;
        let spans = traces
            .as_ref()
            .map(|provider| tracing_opentelemetry::layer().with_tracer(provider.tracer("convene")));
        let errors = ErrorReports::start(&settings.error_reporting_dsn, environment, service)?;
        tracing_subscriber::registry()
            .with(layer)
            .with(spans)
            .with(errors.as_ref().map(ErrorReports::layer))
            .with(log_lines(settings.log_format))
            .try_init()?;
        filter.install();
        errors::log_panics();
        let metrics = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), LATENCY_BUCKETS)?
            .set_buckets_for_metric(Matcher::Suffix("_size".to_owned()), BATCH_BUCKETS)?
            .install_recorder()?;
        catalogue::describe();
        metrics::gauge!("convene_build_info", "version" => crate::version(), "service" => service)
            .set(1.0);
        Ok(Self { metrics, traces, errors })
    }

    /// Renders the metrics in Prometheus' text format, those of the process as they are then.
    pub fn render(&self) -> impl Fn() -> String + Send + Sync + use<> {
        let metrics = self.metrics.clone();
        move || {
            process::measure();
            metrics.render()
        }
    }

    /// Where metrics are recorded; it wants some upkeep now and then.
    #[must_use]
    pub fn recorder(&self) -> PrometheusHandle {
        self.metrics.clone()
    }

    /// Sends what was recorded and not yet sent.
    pub fn shut_down(self) {
        if let Some(Err(error)) = self.traces.map(|traces| traces.shutdown()) {
            tracing::warn!(%error, "the last traces were not sent");
        }
        if self.errors.is_some_and(|errors| !errors.end()) {
            tracing::warn!("the last errors were not reported");
        }
    }
}

/// Counts the spans that did not arrive. They are not sent again and nobody waits for them: the exporter has a thread of
/// its own and drops what does not fit its queue.
#[derive(Debug)]
struct Counted(SpanExporter);

impl opentelemetry_sdk::trace::SpanExporter for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len() as u64;
        let sent = self.0.export(batch).await;
        let outcome = if sent.is_ok() { "sent" } else { "dropped" };
        metrics::counter!("convene_trace_spans_total", "outcome" => outcome).increment(spans);
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &opentelemetry_sdk::Resource) {
        self.0.set_resource(resource);
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
        LogFormat::Json => lines.fmt_fields(Fragments).event_format(Lines).boxed(),
        LogFormat::Auto if !terminal => lines.fmt_fields(Fragments).event_format(Lines).boxed(),
        LogFormat::Pretty | LogFormat::Auto => lines.with_ansi(terminal).compact().boxed(),
    }
}

fn tracer(settings: &Settings, service: &'static str) -> Result<SdkTracerProvider, TelemetryError> {
    let endpoint = &settings.otlp_endpoint;
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    let exporter = SpanExporter::builder()
        .with_http()
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .with_timeout(Duration::from_secs(5))
        .build()?;
    let resource = opentelemetry_sdk::Resource::builder().with_service_name(service).build();
    let share = Sampler::TraceIdRatioBased(settings.trace_sample_ratio);
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(Counted(exporter))
        .with_sampler(Sampler::ParentBased(Box::new(share)))
        .with_resource(resource)
        .build();
    opentelemetry::global::set_tracer_provider(provider.clone());
    trace::install(Arc::new(OtelTracer));
    Ok(provider)
}
