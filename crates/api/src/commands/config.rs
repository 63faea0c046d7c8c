//! `convene config …`

use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::{configured, environment, print_json};
use crate::cli::ConfigCommand;
use crate::config::{Profile, load};
use crate::error::StartError;

pub(super) fn run(command: ConfigCommand, json: bool) -> Result<(), StartError> {
    match command {
        ConfigCommand::Check => check(json),
        ConfigCommand::Show => show(),
    }
}

fn check(json: bool) -> Result<(), StartError> {
    let checked = load(&environment(), Profile::default());
    if json {
        let mistakes = checked.as_ref().err().map_or(&[][..], Vec::as_slice);
        print_json(&json!({ "ok": mistakes.is_empty(), "mistakes": mistakes }))?;
    }
    let (profile, _) = checked.map_err(StartError::Configuration)?;
    if !json {
        println!("The configuration is good (profile {profile}).");
    }
    Ok(())
}

/// Prints the settings in force; secrets only as given or not.
fn show() -> Result<(), StartError> {
    let (profile, config) = configured(Profile::default())?;
    let hidden = |secret: &secrecy::SecretString| -> Value {
        if secret.expose_secret().is_empty() { json!("") } else { json!("[set]") }
    };
    print_json(&json!({
        "profile": profile.to_string(),
        "http": {
            "bind": config.http.bind,
            "public_url": config.public_url(),
            "max_in_flight": config.http.max_in_flight,
            "body_limit": config.http.body_limit,
            "trusted_proxies": config.http.trusted_proxies,
            "cors_origins": config.http.cors_origins,
            "metrics_bind": config.http.metrics_bind,
            "default_version": config.http.default_version,
        },
        "admin": { "bind": config.admin.bind },
        "database": { "url": hidden(&config.database.url), "pool_size": config.database.pool_size },
        "redis": { "url": hidden(&config.redis.url), "prefix": config.redis.prefix },
        "broker": { "url": hidden(&config.broker.url), "prefix": config.broker.prefix },
        "mail": { "smtp_url": hidden(&config.mail.smtp_url), "from": config.mail.from },
        "webhooks": { "allow_private_targets": config.webhooks.allow_private_targets },
        "auth": { "issuer": config.auth.issuer, "audience": config.auth.audience },
        "limits": {
            "enabled": config.limits.enabled,
            "instances": config.limits.instances,
            "client_burst": config.limits.client_burst,
            "client_per_minute": config.limits.client_per_minute,
            "client_at_once": config.limits.client_at_once,
            "user_burst": config.limits.user_burst,
            "user_per_minute": config.limits.user_per_minute,
            "user_at_once": config.limits.user_at_once,
            "community_burst": config.limits.community_burst,
            "community_per_minute": config.limits.community_per_minute,
        },
        "worker": { "bind": config.worker.bind, "concurrency": config.worker.concurrency },
        "secrets": {
            "envelope_key": hidden(&config.secrets.envelope_key),
            "previous_envelope_keys": config.secrets.previous_envelope_keys.len(),
        },
        "events": { "schema_base": config.events.schema_base },
        "telemetry": {
            "log_filter": config.telemetry.log_filter,
            "otlp_endpoint": config.telemetry.otlp_endpoint,
            "error_reporting_dsn": hidden(&config.telemetry.error_reporting_dsn),
            "environment": config.environment(profile),
        },
        "embedded": { "data_dir": config.embedded.data_dir },
    }))
}
