//! Every metric of Convene: its name, its labels, its unit and what it tells. `docs/metrics.md` is this list, and a test
//! holds the code against it.

use std::fmt::Write as _;

use metrics::Unit;

/// What kind of number a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display)]
#[strum(serialize_all = "lowercase")]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// One metric.
struct Metric {
    kind: Kind,
    name: &'static str,
    unit: Unit,
    /// The labels; each has a bounded set of values.
    labels: &'static [&'static str],
    help: &'static str,
}

/// Metrics that are told about together.
struct Section {
    title: &'static str,
    metrics: &'static [Metric],
}

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { kind: Kind::Counter, name, unit: Unit::Count, labels, help }
}

const fn gauge(
    name: &'static str,
    unit: Unit,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { kind: Kind::Gauge, name, unit, labels, help }
}

const fn seconds(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { kind: Kind::Histogram, name, unit: Unit::Seconds, labels, help }
}

const fn sizes(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { kind: Kind::Histogram, name, unit: Unit::Count, labels, help }
}

const SECTIONS: &[Section] = &[
    Section {
        title: "Requests",
        metrics: &[
            counter(
                "convene_http_requests_total",
                &["method", "route", "status"],
                "Requests that were answered. `route` is the template, or `unmatched`.",
            ),
            seconds(
                "convene_http_request_duration_seconds",
                &["method", "route"],
                "From the head of a request to the head of its reply.",
            ),
            gauge("convene_http_requests_in_flight", Unit::Count, &[], "Requests being answered."),
            counter(
                "convene_http_requests_shed_total",
                &["priority", "reason"],
                "Requests refused with 503 because waits were long (`queue`) or `http.max_in_flight` were being answered (`cap`).",
            ),
            gauge(
                "convene_queue_delay_seconds",
                Unit::Seconds,
                &[],
                "The shortest recent wait for the runtime or a server thread, whichever is longer.",
            ),
            counter(
                "convene_request_limits_total",
                &["policy", "outcome"],
                "What the quotas of clients, people and communities said to requests.",
            ),
        ],
    },
    Section {
        title: "RSVPs",
        metrics: &[
            sizes("convene_rsvp_batch_size", &[], "RSVPs of one event decided in one transaction."),
            seconds(
                "convene_rsvp_lane_seconds",
                &[],
                "From entering an event's lane to the answer.",
            ),
            counter(
                "convene_rsvp_lane_refusals_total",
                &[],
                "RSVPs refused with 503 because their event's lane was full.",
            ),
        ],
    },
    Section {
        title: "Database",
        metrics: &[
            seconds(
                "convene_db_pool_wait_seconds",
                &["pool"],
                "How long a connection was waited for, successfully or not.",
            ),
            gauge(
                "convene_db_pool_connections",
                Unit::Count,
                &["pool", "state"],
                "Connections that are open, `in_use` or `idle`.",
            ),
            gauge(
                "convene_db_pool_max_connections",
                Unit::Count,
                &["pool"],
                "The most connections that the pool may open.",
            ),
            gauge(
                "convene_db_pool_waiting",
                Unit::Count,
                &["pool"],
                "Who waits for a connection now.",
            ),
            counter(
                "convene_db_pool_failures_total",
                &["pool"],
                "Connections that were not had in time: none was free, or the database did not answer.",
            ),
            counter(
                "convene_db_pool_refusals_total",
                &["pool"],
                "Requests refused with 503 because too many waited for a connection for too long.",
            ),
            counter(
                "convene_db_connections_detached_total",
                &[],
                "Connections closed because the database did not answer in time.",
            ),
            counter(
                "convene_db_rollbacks_total",
                &[],
                "Transactions that ended without commit: refusals, failures, cancelled work.",
            ),
            counter(
                "convene_db_conflicts_total",
                &[],
                "Units of work that met a concurrent one and were tried again.",
            ),
            counter(
                "convene_relay_disconnects_total",
                &[],
                "Losses of the connection that hears what other processes announce.",
            ),
        ],
    },
    Section {
        title: "Outbox, sinks and the broker",
        metrics: &[
            gauge(
                "convene_outbox_lag_rows",
                Unit::Count,
                &[],
                "Committed events without a position; counted up to 100,000.",
            ),
            gauge(
                "convene_outbox_lag_seconds",
                Unit::Seconds,
                &[],
                "How long the oldest of them has waited.",
            ),
            counter(
                "convene_outbox_sequenced_total",
                &[],
                "Events that were given their position.",
            ),
            counter(
                "convene_audit_chained_total",
                &[],
                "Audit entries that were given their number.",
            ),
            seconds("convene_sequencer_seconds", &[], "How long one move of the sequencer took."),
            counter("convene_sequencer_failures_total", &[], "Moves of the sequencer that failed."),
            gauge(
                "convene_sink_lag_events",
                Unit::Count,
                &["sink"],
                "Positions between a sink's cursor and the newest event.",
            ),
            gauge(
                "convene_sink_lag_seconds",
                Unit::Seconds,
                &["sink"],
                "How long ago the oldest event behind the cursor was recorded.",
            ),
            counter(
                "convene_sink_published_total",
                &["sink"],
                "Events that a sink delivered, confirmed where there is a broker.",
            ),
            seconds(
                "convene_sink_publish_seconds",
                &["sink"],
                "How long a run of events took to deliver.",
            ),
            counter("convene_sink_failures_total", &["sink"], "How often a sink stood still."),
            counter("convene_bus_published_total", &[], "Messages that the broker confirmed."),
            seconds(
                "convene_bus_confirm_seconds",
                &[],
                "From handing a message over to the broker's confirm.",
            ),
            counter("convene_bus_nacks_total", &[], "Messages that the broker refused."),
            gauge("convene_bus_blocked", Unit::Count, &[], "1 while the broker blocks publishers."),
            counter(
                "convene_bus_connects_total",
                &["purpose"],
                "Connections to the broker that were opened.",
            ),
            gauge(
                "convene_bus_queue_messages",
                Unit::Count,
                &["queue"],
                "Messages in a queue that nobody consumes: parked and unrouted ones.",
            ),
            counter(
                "convene_bus_redelivered_total",
                &["consumer"],
                "Messages that the broker delivered again.",
            ),
            counter(
                "convene_bus_parked_total",
                &["consumer"],
                "Messages that no consumer could read, put aside.",
            ),
            seconds(
                "convene_consumer_seconds",
                &["consumer", "outcome"],
                "How long a consumption took; `consumed`, `failed` (tried again) or `poison` (never to be taken).",
            ),
            sizes("convene_consumer_batch_size", &["consumer"], "Events taken in one transaction."),
        ],
    },
    Section {
        title: "Jobs",
        metrics: &[
            gauge(
                "convene_jobs_due",
                Unit::Count,
                &["queue"],
                "Jobs that could run now; counted up to 10,000 for each priority.",
            ),
            gauge(
                "convene_jobs_age_seconds",
                Unit::Seconds,
                &["queue"],
                "How long the oldest of them has been due.",
            ),
            gauge("convene_jobs_running", Unit::Count, &["queue"], "Jobs under a lease."),
            gauge(
                "convene_jobs_dead",
                Unit::Count,
                &["queue"],
                "Dead letters; the newest 10,000 of all queues are counted.",
            ),
            seconds(
                "convene_job_seconds",
                &["kind", "outcome"],
                "How long a run took; `done`, `snoozed`, `retry`, `dead` or `cancelled`.",
            ),
            counter(
                "convene_jobs_rescued_total",
                &[],
                "Jobs that are due again because their worker fell silent.",
            ),
            counter(
                "convene_jobs_lost_total",
                &[],
                "Runs whose lease was lost before they ended; what they did is fenced.",
            ),
            counter("convene_jobs_timed_out_total", &["kind"], "Runs that took too long."),
            counter(
                "convene_jobs_stuck_total",
                &["kind"],
                "Runs that did not end when they were cancelled.",
            ),
            counter(
                "convene_canary_total",
                &[],
                "Canary jobs, four a minute over all processes: none means that no worker works.",
            ),
            counter("convene_cron_fired_total", &[], "Scheduled duties that came up."),
            counter(
                "convene_engine_restarts_total",
                &["engine"],
                "Engines that ended unexpectedly and were started again.",
            ),
        ],
    },
    Section {
        title: "Webhooks",
        metrics: &[
            seconds(
                "convene_webhook_attempt_seconds",
                &["answer"],
                "How long an attempt took; `taken`, `failed`, `overloaded`, `unreachable` or `gone`.",
            ),
            counter(
                "convene_webhook_oversized_total",
                &[],
                "Events larger than a webhook may be (256 KiB), delivered to nobody; none that is recorded should be.",
            ),
            counter(
                "convene_webhook_exhausted_total",
                &[],
                "Deliveries given up after their last attempt.",
            ),
            counter(
                "convene_webhook_endpoints_disabled_total",
                &[],
                "Endpoints switched off because they failed for too long, or answered 410.",
            ),
        ],
    },
    Section {
        title: "Accounts and limits",
        metrics: &[
            counter(
                "convene_auth_limited_total",
                &[],
                "Logins and requests for mail refused with 429.",
            ),
            counter(
                "convene_auth_password_pool_full_total",
                &[],
                "Logins refused with 503 because too many passwords were being hashed.",
            ),
            counter(
                "convene_auth_refresh_token_reuse_total",
                &[],
                "Used refresh tokens that came again; each ended a session.",
            ),
            counter(
                "convene_auth_revocation_lookups_total",
                &[],
                "Requests that asked the database about revocations because the feed was stale.",
            ),
            counter(
                "convene_audit_refusals_left_out_total",
                &[],
                "Refusals that were not audited one by one, because there were too many.",
            ),
            counter(
                "convene_audit_refusals_lost_total",
                &[],
                "Refusals that could not be written to the audit log.",
            ),
            counter(
                "convene_limiter_stand_in_total",
                &[],
                "Questions to the limiter that the process answered itself, without Redis.",
            ),
            counter(
                "convene_limiter_charges_lost_total",
                &[],
                "Costs that were known only afterwards and did not reach Redis.",
            ),
        ],
    },
    Section {
        title: "The caches",
        metrics: &[
            counter(
                "convene_cache_total",
                &["cache", "outcome"],
                "Questions to a cache: `hit`, `shared`, `loaded`, `unvouched` while the feed is stale, `stale` while the database fails.",
            ),
            counter(
                "convene_cache_emptied_total",
                &[],
                "Times that all was thrown away, because more had changed than the feed reads at once.",
            ),
            counter(
                "convene_cache_shared_errors_total",
                &[],
                "Questions to the shared layer that Redis did not answer.",
            ),
        ],
    },
    Section {
        title: "The process",
        metrics: &[
            counter(
                "convene_trace_spans_total",
                &["outcome"],
                "Spans that were exported: `sent`, or `dropped` because the endpoint did not take them.",
            ),
            counter(
                "convene_error_reports_total",
                &["outcome"],
                "Errors for the collector: `sent`, `suppressed` because the same was reported within a minute, or `dropped` because it did not take them.",
            ),
            gauge(
                "convene_build_info",
                Unit::Count,
                &["version", "service"],
                "Always 1; `version` names the release and the commit.",
            ),
            counter("process_cpu_seconds_total", &[], "Processor time of the process, in seconds."),
            gauge("process_open_fds", Unit::Count, &[], "Open files and sockets."),
            gauge("process_max_fds", Unit::Count, &[], "The most that it may open."),
            gauge("process_resident_memory_bytes", Unit::Bytes, &[], "Memory in use."),
            gauge("process_virtual_memory_bytes", Unit::Bytes, &[], "Address space in use."),
            gauge("process_threads", Unit::Count, &[], "Threads."),
        ],
    },
];

fn all() -> impl Iterator<Item = &'static Metric> {
    SECTIONS.iter().flat_map(|section| section.metrics)
}

/// Tells the recorder what each metric is about.
pub(super) fn describe() {
    for metric in all() {
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(metric.name, metric.unit, metric.help),
            Kind::Gauge => metrics::describe_gauge!(metric.name, metric.unit, metric.help),
            Kind::Histogram => metrics::describe_histogram!(metric.name, metric.unit, metric.help),
        }
    }
}

/// The list for people, in Markdown.
#[must_use]
pub fn page() -> String {
    let mut page = String::from(
        "# Metrics\n\n\
         What `/metrics` tells, in Prometheus' text format. Generated by `cargo xtask snapshots --update` from\n\
         `crates/api/src/telemetry/catalogue.rs`; a metric that is not listed here does not exist.\n\n\
         Names begin with `convene_`, those of the process excepted, which are the usual ones. Times are seconds. A\n\
         histogram has the series `_bucket`, `_sum` and `_count`. Every label has a bounded set of values: no ids, no\n\
         paths, no addresses. Gauges about what the processes share (`convene_outbox_*`, `convene_sink_lag_*`,\n\
         `convene_jobs_*`) are told by every worker alike: take their `max`, not their `sum`.\n\n\
         The [dashboard](../deploy/grafana/convene.json) and the [alerts](../deploy/prometheus/alerts.yaml) use no\n\
         others; each alert has its [runbook](runbooks/README.md).\n",
    );
    for section in SECTIONS {
        // Writing to a string cannot fail.
        let _ = write!(
            page,
            "\n## {}\n\n| metric | kind | labels | tells |\n|---|---|---|---|\n",
            section.title
        );
        for metric in section.metrics {
            let labels: Vec<String> =
                metric.labels.iter().map(|label| format!("`{label}`")).collect();
            let labels = if labels.is_empty() { "–".to_owned() } else { labels.join(", ") };
            let (name, kind, help) = (metric.name, metric.kind, metric.help);
            let _ = writeln!(page, "| `{name}` | {kind} | {labels} | {help} |");
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    use super::*;

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
    }

    fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, into);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                into.push(path);
            }
        }
    }

    /// The first piece of text behind each call of a recording macro.
    fn recorded(source: &str) -> Vec<(Kind, &str)> {
        let macros = [
            (Kind::Counter, "metrics::counter!("),
            (Kind::Gauge, "metrics::gauge!("),
            (Kind::Histogram, "metrics::histogram!("),
        ];
        macros
            .into_iter()
            .flat_map(|(kind, start)| source.split(start).skip(1).map(move |rest| (kind, rest)))
            .filter_map(|(kind, rest)| Some((kind, rest.trim_start().strip_prefix('"')?)))
            .filter_map(|(kind, rest)| Some((kind, rest.split_once('"')?.0)))
            .filter(|(_, name)| name.starts_with("convene_") || name.starts_with("process_"))
            .collect()
    }

    #[test]
    fn what_the_code_records_is_listed_and_what_is_listed_is_recorded() {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(root().join("crates")).unwrap() {
            sources(&entry.unwrap().path().join("src"), &mut files);
        }
        let texts: Vec<String> =
            files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
        let code: BTreeSet<(String, &str)> = texts
            .iter()
            .flat_map(|text| recorded(text))
            .map(|(kind, name)| (kind.to_string(), name))
            .collect();
        let listed: BTreeSet<(String, &str)> =
            all().map(|metric| (metric.kind.to_string(), metric.name)).collect();
        let unlisted: Vec<_> = code.difference(&listed).collect();
        let gone: Vec<_> = listed.difference(&code).collect();
        assert!(unlisted.is_empty(), "recorded, but not in catalogue.rs: {unlisted:?}");
        assert!(gone.is_empty(), "in catalogue.rs, but recorded nowhere: {gone:?}");
    }

    #[test]
    fn the_page_is_the_list() {
        let path = root().join("docs/metrics.md");
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(committed, page(), "run `cargo xtask snapshots --update`");
    }

    #[test]
    fn names_follow_the_scheme() {
        for metric in all() {
            let name = metric.name;
            assert!(name.starts_with("convene_") || name.starts_with("process_"), "{name}");
            assert_eq!(metric.kind == Kind::Counter, name.ends_with("_total"), "{name}");
            let fits = match metric.kind {
                Kind::Histogram => name.ends_with("_seconds") || name.ends_with("_size"),
                _ => metric.unit != Unit::Seconds || name.ends_with("_seconds"),
            };
            assert!(fits, "{name} tells its unit");
            assert!(metric.help.ends_with('.'), "{name}");
        }
        let names: BTreeSet<_> = all().map(|metric| metric.name).collect();
        assert_eq!(names.len(), all().count(), "no name twice");
    }

    /// The names in a text that look like metrics, without what histograms append.
    fn named(text: &str) -> BTreeSet<String> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        text.split(|c| !is_name(c))
            .filter(|word| word.starts_with("convene_") || word.starts_with("process_"))
            .map(|word| {
                let base = ["_bucket", "_sum", "_count"]
                    .iter()
                    .find_map(|suffix| word.strip_suffix(suffix))
                    .unwrap_or(word);
                base.to_owned()
            })
            .collect()
    }

    #[test]
    fn dashboard_and_alerts_use_metrics_that_exist() {
        let known: BTreeSet<String> = all().map(|metric| metric.name.to_owned()).collect();
        for file in [
            "deploy/grafana/convene.json",
            "deploy/prometheus/alerts.yaml",
            "deploy/prometheus/alerts.test.yaml",
        ] {
            let text = std::fs::read_to_string(root().join(file)).unwrap();
            let used = named(&text);
            assert!(used.len() > 5, "{file} names {used:?}");
            let unknown: Vec<_> = used.difference(&known).collect();
            assert!(unknown.is_empty(), "{file} names metrics that do not exist: {unknown:?}");
        }
    }
}
