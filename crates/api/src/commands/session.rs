//! An installation as an operator's command finds it.

use std::time::Duration;

use convene_application::community::offers::Communities as _;
use convene_application::kernel::context::RequestContext;
use convene_application::kernel::error::Failure;
use convene_domain::ids::CommunityId;
use convene_embedded::{Postgres, ServerOptions};
use secrecy::ExposeSecret as _;

use super::configured;
use super::process::blocking;
use crate::config::{Config, Profile};
use crate::error::StartError;
use crate::wiring::Platform;

/// The installation, and the request that the command is.
pub(super) struct Session {
    pub(super) platform: Platform,
    /// As it stands in the log: the system acts, and the id tells the entries of one command.
    pub(super) context: RequestContext,
}

impl Session {
    /// Opens the installation that the environment describes.
    ///
    /// # Errors
    /// A configuration with mistakes, a database that does not answer or is not migrated.
    pub(super) async fn open() -> Result<Self, StartError> {
        let (profile, mut config) = configured(Profile::default())?;
        locate(&mut config).await?;
        let platform = Platform::build(profile, config).await?;
        platform.require_migrations().await?;
        let id = platform.env.random.uuid(platform.env.now());
        Ok(Self { context: RequestContext::system(id.to_string()), platform })
    }

    /// The community that an id or a slug means.
    ///
    /// # Errors
    /// [`StartError::Told`] if there is none.
    pub(super) async fn community(
        &self,
        slug_or_id: Option<&str>,
    ) -> Result<Option<CommunityId>, StartError> {
        let Some(text) = slug_or_id else { return Ok(None) };
        let found = self.platform.store.resolve(text).await.map_err(Failure::from)?;
        found.map(Some).ok_or_else(|| {
            StartError::Told(format!("there is no community {text}: give its id or its slug"))
        })
    }
}

/// Fills in the URL of the private database of the embedded profile, which must run: a command starts nothing.
///
/// # Errors
/// [`StartError::NotRunning`].
pub(super) async fn locate(config: &mut Config) -> Result<(), StartError> {
    if !config.database.url.expose_secret().is_empty() {
        return Ok(());
    }
    let folder = config.embedded.data_dir.join("postgres");
    let options = ServerOptions {
        ready_within: Duration::from_secs(5),
        ..ServerOptions::persistent(folder.clone())
    };
    let running = blocking(move || Postgres::running(options)).await?;
    let postgres = running.ok_or(StartError::NotRunning(folder))?;
    config.database.url = postgres.url("postgres", "convene").into();
    Ok(())
}
