//! `convene serve`, `convene worker` and `convene run`.

use std::sync::Arc;
use std::time::Duration;

use convene_embedded::{Postgres, ServerOptions};
use convene_infrastructure::postgres::migrate;
use secrecy::ExposeSecret as _;
use tokio_util::sync::CancellationToken;

use super::configured;
use crate::app::{Role, Running};
use crate::config::{Config, Profile};
use crate::error::StartError;
use crate::shutdown;
use crate::telemetry::Telemetry;
use crate::wiring::{Convene, Platform};

pub(super) async fn serve() -> Result<(), StartError> {
    let (profile, config) = configured(Profile::default())?;
    let (telemetry, shutdown) = prepare(profile, &config, "convene-api")?;
    process(profile, config, Role::Serve, &telemetry, shutdown).await?;
    telemetry.shut_down();
    Ok(())
}

pub(super) async fn work() -> Result<(), StartError> {
    let (profile, config) = configured(Profile::default())?;
    let (telemetry, shutdown) = prepare(profile, &config, "convene-worker")?;
    process(profile, config, Role::Work, &telemetry, shutdown).await?;
    telemetry.shut_down();
    Ok(())
}

/// Everything in one process. Migrates first; without a database of its own, starts one that belongs to this installation.
pub(super) async fn run() -> Result<(), StartError> {
    let (profile, mut config) = configured(Profile::default())?;
    let (telemetry, shutdown) = prepare(profile, &config, "convene")?;
    let postgres = if config.database.url.expose_secret().is_empty() {
        let postgres = embedded(&config).await?;
        config.database.url = postgres.url("postgres", "convene").into();
        Some(postgres)
    } else {
        None
    };
    migrate::migrate(&config.database.url).await?;
    let served = process(profile, config, Role::Both, &telemetry, shutdown).await;
    if let Some(mut postgres) = postgres {
        blocking(move || postgres.stop()).await?;
    }
    telemetry.shut_down();
    served
}

fn prepare(
    profile: Profile,
    config: &Config,
    service: &'static str,
) -> Result<(Telemetry, CancellationToken), StartError> {
    let telemetry = Telemetry::install(&config.telemetry, service, &config.environment(profile))?;
    tracing::info!(version = crate::version(), service, "starting");
    let shutdown = shutdown::on_signal().map_err(|error| StartError::Other {
        what: "signals cannot be handled",
        source: Box::new(error),
    })?;
    Ok((telemetry, shutdown))
}

async fn process(
    profile: Profile,
    config: Config,
    role: Role,
    telemetry: &Telemetry,
    shutdown: CancellationToken,
) -> Result<(), StartError> {
    let platform = Platform::build(profile, config).await?;
    platform.require_migrations().await?;
    let mailbox = platform.mailbox.is_some();
    let convene = Convene::wire(platform, Arc::new(telemetry.render())).await?;
    let (keys, environment) = (Arc::clone(&convene.platform.envelope), super::environment());
    let upkeep = telemetry.recorder();
    let running = Running::start(convene, role, shutdown).await?;
    tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_secs(5));
        loop {
            tick.tick().await;
            upkeep.run_upkeep();
        }
    });
    tokio::spawn(async move {
        if let Err(error) = crate::reload::secrets(environment, Profile::default(), keys).await {
            tracing::warn!(%error, "secrets are read at the start alone");
        }
    });
    announce(&running, mailbox);
    running.ended().await
}

/// Tells where to look: for people, on standard output.
fn announce(running: &Running, mailbox: bool) {
    if let Some(address) = running.api {
        println!("API      http://{address}");
        println!("Docs     http://{address}/docs");
        if mailbox {
            println!("Mailbox  http://{address}/dev/mail");
        }
    }
    if let Some(address) = running.operations {
        println!("Probes   http://{address}/readyz");
    }
    if let Some(address) = running.admin {
        println!("Admin    http://{address}/admin/status");
    }
}

/// The private database of the embedded profile; the one that still runs if this process was killed before.
async fn embedded(config: &Config) -> Result<Postgres, StartError> {
    let folder = config.embedded.data_dir.join("postgres");
    let postgres = blocking(move || Postgres::start(ServerOptions::persistent(folder))).await?;
    let admin = postgres.url("postgres", "postgres");
    migrate::create_database(&admin.into(), "convene").await?;
    Ok(postgres)
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, convene_embedded::Error> + Send + 'static,
) -> Result<T, StartError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => Ok(outcome?),
        Err(panicked) => Err(StartError::Other {
            what: "the private PostgreSQL could not be handled",
            source: Box::new(panicked),
        }),
    }
}
