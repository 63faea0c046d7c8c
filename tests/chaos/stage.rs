//! What every test begins with: a database of its own, and people who want to come to an event.

use convene_infrastructure::postgres::migrate;
use convene_testkit::embedded::{Engine, Error, Postgres, Server, ServerOptions};
use convene_testkit::poll::poll_until;
use convene_tests::app;
use convene_tests::client::{Client, PATIENCE, Person, text};
use convene_tests::receiver::Receiver;
use futures::StreamExt as _;
use futures::stream;
use serde_json::json;

use crate::process::{Process, Settings};

/// A database with a community, an event in the far future, and members who have not been asked yet.
pub(crate) struct Stage {
    pub(crate) postgres: Postgres,
    pub(crate) owner: Person,
    pub(crate) community: String,
    pub(crate) event: String,
    pub(crate) seats: u32,
    pub(crate) guests: Vec<Person>,
}

impl Stage {
    /// Sets the stage with so many guests for so many seats.
    pub(crate) async fn set(guests: usize, seats: u32) -> Self {
        let postgres: Postgres = private().await;
        let server = postgres.url("postgres", "postgres");
        migrate::create_database(&server.into(), "convene").await.expect("a database can be made");
        let before = Process::start("run", settings(&database_url(&postgres.address()), &[])).await;
        let owner = before.person("olga").await;
        let community = before.community(&owner).await;
        let event = before.event(&owner, &community, Some(seats)).await;
        let guests = stream::iter(0..guests)
            .map(|number| {
                let (before, community) = (&before, &community);
                async move {
                    let guest = before.person(&format!("guest{number}")).await;
                    before.join(&guest, community).await;
                    guest
                }
            })
            .buffer_unordered(4)
            .collect()
            .await;
        let stage = Self { postgres, owner, community, event, seats, guests };
        // What was recorded on the way here is not to be seen by those who come later.
        stage.outbox_is_empty().await;
        stage
    }

    /// The settings of a process on this stage, with nothing but the database; and those that are added.
    pub(crate) fn settings(&self, added: &[(&str, &str)]) -> Settings {
        settings(&database_url(&self.postgres.address()), added)
    }

    /// The settings of a process that reaches the database at another address.
    pub(crate) fn settings_at(
        address: &impl std::fmt::Display,
        added: &[(&str, &str)],
    ) -> Settings {
        settings(&database_url(address), added)
    }

    /// A connection to look behind the scenes with.
    pub(crate) async fn sql(&self) -> tokio_postgres::Client {
        app::sql(&database_url(&self.postgres.address())).await
    }

    /// Waits until every event that was recorded has its position.
    pub(crate) async fn outbox_is_empty(&self) {
        let sql = self.sql().await;
        poll_until(PATIENCE, "every event is in the log", async || {
            let waiting = sql.query_one("SELECT count(*) FROM outbox", &[]).await.ok()?;
            (waiting.get::<_, i64>(0) == 0).then_some(())
        })
        .await;
    }

    /// Has the events of RSVPs sent to a receiver; the endpoint's id.
    pub(crate) async fn webhook(&self, api: &Client, receiver: &Receiver) -> String {
        let endpoint = api
            .post(format!("/v1/communities/{}/webhooks", self.community))
            .by(&self.owner)
            .json(json!({"url": receiver.url(), "event_types": ["rsvp.*"]}))
            .await
            .expect(201);
        text(&endpoint.json()["id"])
    }
}

fn database_url(address: &impl std::fmt::Display) -> String {
    format!("postgres://postgres@{address}/convene")
}

/// The settings of a process on this database, with nothing else; and those that are added.
pub(crate) fn settings(database: &str, added: &[(&str, &str)]) -> Settings {
    let own = [
        ("CONVENE__DATABASE__URL", database),
        ("CONVENE__HTTP__WORKERS", "2"),
        ("CONVENE__REDIS__URL", ""),
        ("CONVENE__BROKER__URL", ""),
        ("CONVENE__MAIL__SMTP_URL", ""),
        ("CONVENE__WEBHOOKS__ALLOW_PRIVATE_TARGETS", "true"),
        ("CONVENE__LIMITS__ENABLED", "false"),
    ];
    let all = own.iter().chain(added);
    all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A server that no other test uses.
pub(crate) async fn private<E: Engine>() -> Server<E>
where
    Server<E>: Send + 'static,
{
    let starting = tokio::task::spawn_blocking(|| Server::start(ServerOptions::temporary()));
    starting.await.expect("starting does not panic").unwrap_or_else(|error| panic!("{error}"))
}

/// Does something to a server, which takes its time.
pub(crate) fn blocking<T>(act: impl FnOnce() -> Result<T, Error>) -> T {
    tokio::task::block_in_place(act).unwrap_or_else(|error| panic!("{error}"))
}
