//! What every module stands on: the adapters that are built once per process.

use std::sync::Arc;

use convene_application::kernel::cache::{Caches, Generations, InvalidationFeed, SharedLayer};
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
use convene_infrastructure::redis::{RedisCache, RedisOptions};
use convene_integrations::email::{DevMailbox, SmtpMailer, SmtpTimeouts};
use convene_integrations::security::{
    EnvelopeDigester, EnvelopeKey, EnvelopeKeys, EnvelopeSealer, OsRandom,
};
use secrecy::ExposeSecret as _;
use tokio::runtime::Handle;

use super::operations::BusWatch;
use crate::config::{Config, Mistake, Profile, Secrets};
use crate::error::StartError;

/// The adapters that every module stands on.
pub struct Platform {
    /// Which set of defaults the configuration began with.
    pub profile: Profile,
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
    /// Tells the caches what changes.
    pub invalidations: Arc<InvalidationFeed>,
    /// What the caches of this process have in common.
    pub caches: Caches,
    /// The envelope keys in force, which may be exchanged while the process runs.
    pub(crate) envelope: Arc<EnvelopeKeys>,
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
        let generations = Arc::new(Generations::default());
        let queue_target = config.limits.enabled.then_some(config.limits.queue_target.0);
        let store = |name, size, queue_target| {
            let options = pool_options(&config, name, size, role.as_deref());
            let options = PoolOptions { queue_target, ..options };
            Pool::new(&options, Handle::current())
                .map(|pool| PgStore::new(pool, Arc::clone(&wake)).telling(Arc::clone(&generations)))
                .map_err(StartError::Database)
        };
        let (store, jobs, sinks) = (
            store("api", config.database.pool_size, queue_target)?,
            store("jobs", config.database.jobs_pool_size, None)?,
            store("sinks", config.database.sinks_pool_size, None)?,
        );
        let invalidations = Arc::new(InvalidationFeed::new(
            Arc::new(store.for_upkeep()),
            Arc::clone(&wake),
            Arc::clone(&generations),
        ));
        let shared = shared_cache(&config)?;
        let caches = Caches::new(generations, invalidations.epoch(), shared, Arc::clone(&random));
        let (current, previous) = envelope_keys(&config.secrets)?;
        let envelope = EnvelopeKeys::new(current, previous);
        let (mailer, mailbox) = mail(profile, &config, &clock)?;
        Ok(Self {
            profile,
            env: Env { clock, random, schemas: SchemaBase::new(config.schema_base()) },
            store,
            jobs,
            sinks,
            wake,
            invalidations,
            caches,
            sealer: Arc::new(EnvelopeSealer::over(Arc::clone(&envelope))),
            digester: Arc::new(EnvelopeDigester::over(Arc::clone(&envelope))),
            envelope,
            mailer,
            mailbox,
            bus: BusWatch::default(),
            role,
            config,
        })
    }

    /// How to reach the database with so many connections, as the serving role.
    #[must_use]
    pub fn pool_options(&self, name: &'static str, size: usize) -> PoolOptions {
        pool_options(&self.config, name, size, self.role.as_deref())
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

/// The layer that all processes share, if there is a Redis.
fn shared_cache(config: &Config) -> Result<Option<Arc<dyn SharedLayer>>, StartError> {
    let redis = &config.redis;
    if redis.url.expose_secret().is_empty() {
        return Ok(None);
    }
    let options = RedisOptions::new(redis.url.clone(), redis.prefix.clone());
    let cache = RedisCache::new(&options).map_err(|error| {
        StartError::Configuration(vec![Mistake::of("redis.url", error.to_string())])
    })?;
    Ok(Some(Arc::new(cache)))
}

fn pool_options(
    config: &Config,
    name: &'static str,
    size: usize,
    role: Option<&str>,
) -> PoolOptions {
    let database = &config.database;
    PoolOptions {
        name,
        wait: database.wait_timeout.0,
        connect: database.connect_timeout.0,
        statement_timeout: database.statement_timeout.0,
        lock_timeout: database.lock_timeout.0,
        idle_in_transaction_timeout: database.idle_in_transaction_timeout.0,
        role: role.map(str::to_owned),
        ..PoolOptions::new(database.url.clone(), size)
    }
}

/// The key that seals, and those before it.
pub(crate) fn envelope_keys(
    secrets: &Secrets,
) -> Result<(EnvelopeKey, Vec<EnvelopeKey>), StartError> {
    let previous = secrets.previous_envelope_keys.iter().map(key).collect::<Result<_, _>>()?;
    Ok((key(&secrets.envelope_key)?, previous))
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
