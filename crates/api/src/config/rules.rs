//! Rules between settings, and what production refuses.

use std::time::Duration;

use convene_application::webhook::Drainer;
use convene_http::versions::Versions;
use convene_integrations::security::EnvelopeKey;
use secrecy::{ExposeSecret as _, SecretString};

use super::{Config, Mistake, Profile};

/// The envelope key of `config/default.toml`, which everybody knows.
pub(crate) const PUBLIC_ENVELOPE_KEY: &str = "Y29udmVuZS1kZXZlbG9wbWVudC1rZXktbm90LXNlY3I=";

/// Every rule that the configuration breaks.
pub(super) fn check(profile: Profile, config: &Config) -> Vec<Mistake> {
    let mut mistakes = sizes(config);
    mistakes.extend(limits(config));
    mistakes.extend(shares(config));
    mistakes.extend(times(config));
    mistakes.extend(urls(profile, config));
    if let Err(error) = crate::telemetry::parse_dsn(&config.telemetry.error_reporting_dsn) {
        let rule = "must be a DSN, as in https://<key>@<host>/<project>";
        mistakes.push(Mistake::of("telemetry.error_reporting_dsn", format!("{rule}: {error}")));
    }
    if let Err(unknown) = Versions::with_default(&config.http.default_version) {
        mistakes.push(Mistake::of("http.default_version", unknown.to_string()));
    }
    if profile == Profile::Production {
        mistakes.extend(production(config));
    } else if !is_key(&config.secrets.envelope_key) {
        mistakes.push(Mistake::of("secrets.envelope_key", "must be 32 bytes in base64"));
    }
    for key in &config.secrets.previous_envelope_keys {
        if !is_key(key) {
            mistakes.push(Mistake::of(
                "secrets.previous_envelope_keys",
                "each must be 32 bytes in base64",
            ));
        }
    }
    mistakes
}

fn sizes(config: &Config) -> Vec<Mistake> {
    [
        ("database.pool_size", config.database.pool_size),
        ("database.jobs_pool_size", config.database.jobs_pool_size),
        ("database.sinks_pool_size", config.database.sinks_pool_size),
        ("http.max_in_flight", config.http.max_in_flight),
        ("http.max_connections", config.http.max_connections),
        ("http.body_limit", config.http.body_limit),
        ("broker.in_flight", config.broker.in_flight),
        ("webhooks.concurrency", config.webhooks.concurrency),
        ("worker.concurrency", config.worker.concurrency),
        ("auth.hashing_queue", config.auth.hashing_queue),
    ]
    .into_iter()
    .filter(|(_, size)| *size == 0)
    .map(|(key, _)| Mistake::of(key, "must be at least 1"))
    .collect()
}

/// A rate is kept in whole nanoseconds for each.
const FASTEST: u32 = 60_000_000;

fn limits(config: &Config) -> Vec<Mistake> {
    let limits = &config.limits;
    let counts = [
        ("limits.instances", limits.instances),
        ("limits.client_burst", limits.client_burst),
        ("limits.client_per_minute", limits.client_per_minute),
        ("limits.client_at_once", limits.client_at_once),
        ("limits.user_burst", limits.user_burst),
        ("limits.user_per_minute", limits.user_per_minute),
        ("limits.user_at_once", limits.user_at_once),
        ("limits.community_burst", limits.community_burst),
        ("limits.community_per_minute", limits.community_per_minute),
    ];
    counts
        .into_iter()
        .filter(|(_, count)| !(1..=FASTEST).contains(count))
        .map(|(key, _)| Mistake::of(key, format!("must be at least 1 and at most {FASTEST}")))
        .collect()
}

fn shares(config: &Config) -> Option<Mistake> {
    let ratio = config.telemetry.trace_sample_ratio;
    (!(0.0..=1.0).contains(&ratio))
        .then(|| Mistake::of("telemetry.trace_sample_ratio", "must be from 0.0 to 1.0"))
}

fn times(config: &Config) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    let mut longer = |key: &str, is: Duration, other: &str, than: Duration| {
        if is <= than {
            mistakes.push(Mistake::of(key, format!("must be longer than {other}")));
        }
    };
    let worker = &config.worker;
    // A lease that ends before its job does would let two workers run it at once.
    longer("worker.lease", worker.lease.0, "worker.job_timeout", worker.job_timeout.0);
    longer("worker.lease", worker.lease.0, "twice worker.heartbeat", worker.heartbeat.0 * 2);
    let sending = format!("{:?}, in which webhooks are sent", Drainer::LONGEST);
    longer("worker.job_timeout", worker.job_timeout.0, &sending, Drainer::LONGEST);
    longer("worker.heartbeat", worker.heartbeat.0, "nothing", Duration::ZERO);
    longer("worker.poll_interval", worker.poll_interval.0, "nothing", Duration::ZERO);
    longer("http.write_timeout", config.http.write_timeout.0, "nothing", Duration::ZERO);
    let database = &config.database;
    longer(
        "database.statement_timeout",
        database.statement_timeout.0,
        "database.lock_timeout",
        database.lock_timeout.0,
    );
    longer(
        "auth.refresh_token_lifetime",
        config.auth.refresh_token_lifetime.0,
        "auth.access_token_lifetime",
        config.auth.access_token_lifetime.0,
    );
    let mut at_most = |key: &str, is: Duration, most: Duration, text: &str| {
        if is > most || is.is_zero() {
            mistakes
                .push(Mistake::of(key, format!("must be more than nothing and at most {text}")));
        }
    };
    let (minute, hour) = (Duration::from_mins(1), Duration::from_hours(1));
    at_most("limits.queue_target", config.limits.queue_target.0, minute, "1m");
    at_most("auth.access_token_lifetime", config.auth.access_token_lifetime.0, minute * 15, "15m");
    at_most("auth.mailed_token_lifetime", config.auth.mailed_token_lifetime.0, hour, "1h");
    let (keep, remembered) = (config.events.keep.0, Duration::from_hours(14 * 24));
    let forgets_early = !keep.is_zero() && keep < remembered;
    at_most("auth.refresh_grace", config.auth.refresh_grace.0, minute, "1m");
    if forgets_early {
        // A consumer may get an event again for so long, and a replay must find what its inbox knows.
        mistakes
            .push(Mistake::of("events.keep", "must be 0d, which means for good, or at least 14d"));
    }
    mistakes
}

fn urls(profile: Profile, config: &Config) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    let mut scheme = |key: &str, url: &str, schemes: &[&str], optional: bool| {
        let fits = schemes.iter().any(|scheme| url.starts_with(&format!("{scheme}://")));
        if !(fits || optional && url.is_empty()) {
            let schemes = schemes.join(":// or ");
            mistakes.push(Mistake::of(key, format!("must be a URL that begins with {schemes}://")));
        }
    };
    let embedded = profile == Profile::Embedded;
    scheme(
        "database.url",
        config.database.url.expose_secret(),
        &["postgres", "postgresql"],
        embedded,
    );
    scheme("redis.url", config.redis.url.expose_secret(), &["redis", "rediss"], true);
    scheme("broker.url", config.broker.url.expose_secret(), &["amqp", "amqps"], true);
    scheme("mail.smtp_url", config.mail.smtp_url.expose_secret(), &["smtp", "smtps"], true);
    scheme("http.public_url", &config.http.public_url, &["http", "https"], true);
    scheme("telemetry.otlp_endpoint", &config.telemetry.otlp_endpoint, &["http", "https"], true);
    scheme("events.schema_base", &config.events.schema_base, &["http", "https"], true);
    for origin in &config.http.cors_origins {
        if origin != "*" && !is_origin(origin) {
            let rule = "each must be scheme://host[:port] as browsers send it, or *";
            mistakes.push(Mistake::of("http.cors_origins", format!("{rule}: {origin:?} is not")));
        }
    }
    for (key, bind) in
        [("http.metrics_bind", &config.http.metrics_bind), ("admin.bind", &config.admin.bind)]
    {
        if !bind.is_empty() && bind.parse::<std::net::SocketAddr>().is_err() {
            mistakes.push(Mistake::of(key, "must be an address with a port, or empty"));
        }
    }
    mistakes
}

fn production(config: &Config) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    let key = &config.secrets.envelope_key;
    if key.expose_secret() == PUBLIC_ENVELOPE_KEY {
        mistakes.push(Mistake::of("secrets.envelope_key", "is the public development key"));
    } else if !is_key(key) {
        mistakes.push(Mistake::of(
            "secrets.envelope_key",
            "must be 32 bytes in base64; `openssl rand -base64 32` makes one",
        ));
    }
    if config.webhooks.allow_private_targets {
        mistakes.push(Mistake::of("webhooks.allow_private_targets", "must be false in production"));
    }
    if !config.limits.enabled {
        mistakes.push(Mistake::of("limits.enabled", "must be true in production"));
    }
    if !config.http.public_url.starts_with("https://") {
        mistakes.push(Mistake::of("http.public_url", "must begin with https:// in production"));
    }
    if config.mail.smtp_url.expose_secret().is_empty() {
        mistakes.push(Mistake::of("mail.smtp_url", "must name a mail server in production"));
    }
    mistakes
}

/// Whether text is an origin as browsers write it (RFC 6454 §6.2): `null`, which every sandboxed page sends, is none.
fn is_origin(text: &str) -> bool {
    let parsed = url::Url::parse(text).ok();
    parsed.is_some_and(|url| {
        matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == text
    })
}

/// Whether text is 32 bytes in base64.
fn is_key(text: &SecretString) -> bool {
    EnvelopeKey::from_base64(text).is_ok()
}
