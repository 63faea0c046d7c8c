//! What every module stands on: the adapters that are built once per process.

use std::sync::Arc;

use convene_application::kernel::clock::{Clock, SystemClock};
use convene_application::kernel::env::Env;
use convene_application::kernel::mail::Mailer;
use convene_application::kernel::random::Random;
use convene_application::kernel::secrets::{Digester, Sealer};
use convene_application::kernel::wake::Wake;
use convene_contracts::SchemaBase;
use convene_infrastructure::postgres::PgStore;
use convene_infrastructure::postgres::migrate;
use convene_infrastructure::postgres::pool::{Pool, PoolOptions};
use convene_integrations::email::{DevMailbox, SmtpMailer, SmtpTimeouts};
use convene_integrations::security::{EnvelopeDigester, EnvelopeKey, EnvelopeSealer, OsRandom};
use secrecy::ExposeSecret as _;
use tokio::runtime::Handle;

use super::operations::BusWatch;
use crate::config::{Config, Mistake, Profile};
use crate::error::StartError;

/// The adapters that every module stands on.
pub struct Platform {
    /// The configuration.
    pub config: Config,
    /// Time, chance, schemas.
    pub env: Env,
    /// The database for requests.
    pub store: PgStore,
    /// The database for jobs.
    pub jobs: PgStore,
    /// The database for the sequencer and the sinks.
    pub sinks: PgStore,
    /// The bells of this process.
    pub wake: Arc<Wake>,
    /// Seals what is stored.
    pub sealer: Arc<dyn Sealer>,
    /// Makes digests.
    pub digester: Arc<dyn Digester>,
    /// Sends mail.
    pub mailer: Arc<dyn Mailer>,
    /// The mailbox that mail goes to without a mail server.
    pub mailbox: Option<Arc<DevMailbox>>,
    /// Whether this process gets through to the broker.
    pub(super) bus: BusWatch,
    /// The role to serve as, if the login may take it.
    role: Option<String>,
}

impl Platform {
    /// Builds the adapters and checks that the database can be used. Call on the runtime that is to drive the connections.
    ///
    /// # Errors
    /// What is wrong with the configuration or the database.
    pub async fn build(profile: Profile, config: Config) -> Result<Self, StartError> {
        let role = migrate::serving_role(&config.database.url).await?;
        Self::assemble(profile, config, role)
    }

    /// Builds the adapters without asking anything. Call on the runtime that is to drive the connections.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub fn assemble(
        profile: Profile,
        config: Config,
        role: Option<String>,
    ) -> Result<Self, StartError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let random: Arc<dyn Random> = Arc::new(OsRandom);
        let wake = Arc::new(Wake::default());
        let store = |size| {
            let pool = Pool::new(&pool_options(&config, size, role.as_deref()), Handle::current());
            pool.map(|pool| PgStore::new(pool, Arc::clone(&wake))).map_err(StartError::Database)
        };
        let (store, jobs, sinks) = (
            store(config.database.pool_size)?,
            store(config.database.jobs_pool_size)?,
            store(config.database.sinks_pool_size)?,
        );
        let envelope_key = key(&config.secrets.envelope_key)?;
        let previous =
            config.secrets.previous_envelope_keys.iter().map(key).collect::<Result<_, _>>()?;
        let (mailer, mailbox) = mail(profile, &config, &clock)?;
        Ok(Self {
            env: Env { clock, random, schemas: SchemaBase::new(config.schema_base()) },
            store,
            jobs,
            sinks,
            wake,
            sealer: Arc::new(EnvelopeSealer::new(envelope_key.clone(), previous)),
            digester: Arc::new(EnvelopeDigester::new(envelope_key)),
            mailer,
            mailbox,
            bus: BusWatch::default(),
            role,
            config,
        })
    }

    /// How to reach the database with so many connections, as the serving role.
    #[must_use]
    pub fn pool_options(&self, size: usize) -> PoolOptions {
        pool_options(&self.config, size, self.role.as_deref())
    }

    /// Refuses a database whose migrations are missing.
    ///
    /// # Errors
    /// [`StartError::NotMigrated`], or the database's.
    pub async fn require_migrations(&self) -> Result<(), StartError> {
        match migrate::pending(self.store.pool()).await.map_err(StartError::Database)?.len() {
            0 => Ok(()),
            missing => Err(StartError::NotMigrated { missing }),
        }
    }
}

fn pool_options(config: &Config, size: usize, role: Option<&str>) -> PoolOptions {
    let database = &config.database;
    PoolOptions {
        wait: database.wait_timeout.0,
        connect: database.connect_timeout.0,
        statement_timeout: database.statement_timeout.0,
        lock_timeout: database.lock_timeout.0,
        idle_in_transaction_timeout: database.idle_in_transaction_timeout.0,
        role: role.map(str::to_owned),
        ..PoolOptions::new(database.url.clone(), size)
    }
}

fn key(text: &secrecy::SecretString) -> Result<EnvelopeKey, StartError> {
    EnvelopeKey::from_base64(text).map_err(|error| {
        StartError::Configuration(vec![Mistake::of("secrets.envelope_key", error.to_string())])
    })
}

/// The mail server that is configured.
pub(crate) fn smtp(
    config: &Config,
    timeouts: SmtpTimeouts,
    clock: &Arc<dyn Clock>,
) -> Result<SmtpMailer, StartError> {
    let mail = &config.mail;
    SmtpMailer::new(&mail.smtp_url, &mail.from, timeouts, Arc::clone(clock)).map_err(|error| {
        StartError::Configuration(vec![Mistake::of("mail.smtp_url", error.to_string())])
    })
}

type Mail = (Arc<dyn Mailer>, Option<Arc<DevMailbox>>);

fn mail(profile: Profile, config: &Config, clock: &Arc<dyn Clock>) -> Result<Mail, StartError> {
    if !config.mail.smtp_url.expose_secret().is_empty() {
        let mailer = smtp(config, SmtpTimeouts::default(), clock)?;
        return Ok((Arc::new(mailer), None));
    }
    let folder = (profile == Profile::Embedded).then(|| config.embedded.data_dir.join("mail"));
    let mailbox =
        DevMailbox::open(folder, Arc::clone(clock)).map_err(|error| StartError::Other {
            what: "the mailbox of the embedded profile cannot be opened",
            source: Box::new(error),
        })?;
    let mailbox = Arc::new(mailbox);
    Ok((Arc::clone(&mailbox) as Arc<dyn Mailer>, Some(mailbox)))
}
