//! A Convene in this process, on a real database that is its own.

use std::ops::Deref;
use std::sync::Arc;

use convene_api::app::{Role, Running};
use convene_api::config::{Environment, Profile, load};
use convene_api::wiring::{Convene, Platform};
use convene_infrastructure::postgres::migrate;
use convene_testkit::database::TestDatabase;
use tokio_postgres::NoTls;
use tokio_util::sync::CancellationToken;

use crate::client::Client;

/// A running Convene. Dropping it ends it and drops its database.
pub struct App {
    /// The database behind it.
    pub database: Arc<TestDatabase>,
    /// Where administrators are served, where a test asked for it.
    pub admin: Option<Client>,
    client: Client,
    shutdown: CancellationToken,
    ended: tokio::task::JoinHandle<()>,
}

impl App {
    /// Starts the API and the engines with mail, bus and limits in the process.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same with other settings, by the names of their variables.
    pub async fn start_with(settings: &[(&str, &str)]) -> Self {
        Self::start_as(Role::Both, Arc::new(database().await), settings).await
    }

    /// Starts a process of one role on a database that may be shared.
    pub async fn start_as(
        role: Role,
        database: Arc<TestDatabase>,
        settings: &[(&str, &str)],
    ) -> Self {
        let url = database.admin_url();
        let mut environment: Environment = [
            ("CONVENE__DATABASE__URL", url.as_str()),
            ("CONVENE__DATABASE__POOL_SIZE", "4"),
            ("CONVENE__DATABASE__JOBS_POOL_SIZE", "4"),
            ("CONVENE__DATABASE__SINKS_POOL_SIZE", "2"),
            ("CONVENE__HTTP__BIND", "127.0.0.1:0"),
            ("CONVENE__HTTP__WORKERS", "2"),
            ("CONVENE__HTTP__DRAIN_DELAY", "1ms"),
            ("CONVENE__WORKER__BIND", "127.0.0.1:0"),
            ("CONVENE__REDIS__URL", ""),
            ("CONVENE__BROKER__URL", ""),
            ("CONVENE__MAIL__SMTP_URL", ""),
            ("CONVENE__WEBHOOKS__ALLOW_PRIVATE_TARGETS", "true"),
            ("CONVENE__LIMITS__ENABLED", "false"),
            ("CONVENE__AUTH__HASHING_QUEUE", "2000"),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
        environment
            .extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));

        let (profile, config) =
            load(&environment, Profile::Standard).expect("the test's settings are good");
        let platform = Platform::build(profile, config).await.expect("the database answers");
        platform.require_migrations().await.expect("the test database is migrated");
        let metrics = Arc::new(String::new);
        let convene = Convene::wire(platform, metrics).await.expect("everything can be wired");
        let shutdown = CancellationToken::new();
        let running = Running::start(convene, role, shutdown.clone())
            .await
            .expect("a free port can be opened");
        let address = running.api.or(running.operations).expect("every role listens somewhere");
        let admin = running.admin.map(|address| Client::new(format!("http://{address}")));
        let ended =
            tokio::spawn(async move { running.ended().await.expect("the process ends well") });
        Self { database, admin, client: Client::new(format!("http://{address}")), shutdown, ended }
    }

    /// Ends it as SIGTERM would, and waits for the end.
    pub async fn stop(self) -> Arc<TestDatabase> {
        self.shutdown.cancel();
        let Self { ended, database, .. } = self;
        ended.await.expect("the process does not panic");
        database
    }

    /// A connection to look behind the scenes with.
    pub async fn sql(&self) -> tokio_postgres::Client {
        sql(&self.database.admin_url()).await
    }
}

impl Deref for App {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// A connection to the database of this URL.
pub async fn sql(url: &str) -> tokio_postgres::Client {
    let (client, connection) =
        tokio_postgres::connect(url, NoTls).await.expect("the test database answers");
    tokio::spawn(connection);
    client
}

/// A migrated database of its own.
pub async fn database() -> TestDatabase {
    TestDatabase::create(
        async |url| migrate::migrate(&url.into()).await.map(|_| ()),
        migrate::migrations_hash(),
    )
    .await
}
