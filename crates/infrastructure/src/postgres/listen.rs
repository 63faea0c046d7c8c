//! Wakes other processes: passes the rings of this process on by NOTIFY and lets those of others ring here.
//!
//! A NOTIFY takes a lock on the whole database when it commits, so it never lies in a transaction of the application: one
//! connection, which also listens, sends what rang meanwhile, at most every few milliseconds. Nothing depends on it: who
//! misses a notification polls.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use convene_application::kernel::backoff::Backoff;
use convene_application::kernel::store::{Source, StoreError};
use convene_application::kernel::wake::{Bell, Listener, Wake};
use futures::{FutureExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{sleep, timeout};
use tokio_postgres::{AsyncMessage, Client, Connection, SimpleQueryMessage};

use super::pool::{PoolOptions, session};
use super::tls::{Dialled, dial};

/// The channel that all processes of one database share.
const CHANNEL: &str = "convene";
/// Rings within this time travel as one notification.
const GATHER: Duration = Duration::from_millis(5);
/// How often a silent connection is asked whether it lives.
const PROBE: Duration = Duration::from_secs(15);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(5);
/// How long to wait before connecting anew.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));

/// Passes rings between the processes of one database.
pub struct Relay {
    config: tokio_postgres::Config,
    wake: Arc<Wake>,
}

impl Relay {
    /// A relay for the bells of this process. Connects when it runs.
    ///
    /// # Errors
    /// A URL that cannot be read.
    pub fn new(options: &PoolOptions, wake: Arc<Wake>) -> Result<Self, StoreError> {
        let mut config = session(options)?;
        config.application_name("convene relay");
        Ok(Self { config, wake })
    }

    /// Runs until it is dropped, and connects anew whenever the connection is lost.
    pub async fn run(&self) -> Infallible {
        let mut rings = Rings::of(&self.wake);
        let mut backoff = BACKOFF;
        loop {
            let started = std::time::Instant::now();
            if let Err(error) = self.relay(&mut rings).await {
                metrics::counter!("convene_relay_disconnects_total").increment(1);
                tracing::warn!(
                    error = &*error as &dyn std::error::Error,
                    "the relay lost its connection"
                );
            }
            if started.elapsed() > PROBE {
                backoff.reset();
            }
            sleep(backoff.pause()).await;
        }
    }

    async fn relay(&self, rings: &mut Rings) -> Result<(), Source> {
        match timeout(ANSWER, dial(&self.config)).await?? {
            Dialled::Clear(client, connection) => self.converse(client, *connection, rings).await,
            Dialled::Encrypted(client, connection) => {
                self.converse(client, *connection, rings).await
            }
        }
    }

    /// Hears and speaks on one connection until it is lost. Its messages are awaited beside what is sent: nothing is
    /// answered unless somebody reads.
    async fn converse<S, T>(
        &self,
        client: Client,
        mut connection: Connection<S, T>,
        rings: &mut Rings,
    ) -> Result<(), Source>
    where
        S: AsyncRead + AsyncWrite + Unpin,
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let own_session = AtomicI32::new(0);
        let mut messages =
            futures::stream::poll_fn(move |context| connection.poll_message(context));
        let hear = async {
            while let Some(message) = messages.next().await {
                if let AsyncMessage::Notification(notification) = message?
                    && notification.process_id() != own_session.load(Ordering::Relaxed)
                    && let Some(bell) = bell(&self.wake, notification.payload())
                {
                    bell.relay();
                }
            }
            Ok::<_, Source>(())
        };
        let speak = async {
            let listening = format!("LISTEN {CHANNEL}; SELECT pg_backend_pid()");
            for message in timeout(ANSWER, client.simple_query(&listening)).await?? {
                if let SimpleQueryMessage::Row(row) = message {
                    own_session.store(row.get(0).unwrap_or("0").parse()?, Ordering::Relaxed);
                }
            }
            // Whatever was notified before is lost to this process.
            BELLS.iter().filter_map(|(name, _)| bell(&self.wake, name)).for_each(Bell::relay);
            loop {
                let query = match timeout(PROBE, rings.first()).await {
                    Ok(first) => {
                        let names = rings.gathered(first).await;
                        names.iter().map(|name| format!("NOTIFY {CHANNEL}, '{name}';")).collect()
                    }
                    Err(_) => String::from("SELECT 1"),
                };
                timeout(ANSWER, client.batch_execute(&query)).await??;
            }
        };
        tokio::select! {
            heard = hear => heard,
            spoken = speak => spoken,
        }
    }
}

/// Picks a bell.
type Pick = fn(&Wake) -> &Bell;

/// The bells by the names that they have in a notification.
const BELLS: [(&str, Pick); 5] = [
    ("outbox", |wake| &wake.outbox),
    ("log", |wake| &wake.log),
    ("jobs", |wake| &wake.jobs),
    ("revocations", |wake| &wake.revocations),
    ("caches", |wake| &wake.caches),
];

fn bell<'w>(wake: &'w Wake, name: &str) -> Option<&'w Bell> {
    BELLS.iter().find(|(known, _)| *known == name).map(|(_, bell)| bell(wake))
}

/// What rang in this process and was not passed on yet.
struct Rings(Vec<(&'static str, Listener)>);

impl Rings {
    fn of(wake: &Wake) -> Self {
        Self(BELLS.iter().map(|(name, bell)| (*name, bell(wake).listen_from_here())).collect())
    }

    /// Waits for a ring and returns the bell's name. May be cancelled without losing one.
    async fn first(&mut self) -> &'static str {
        let waiting = self.0.iter_mut().map(|(name, listener)| {
            let name = *name;
            Box::pin(async move {
                listener.rung().await;
                name
            })
        });
        futures::future::select_all(waiting).await.0
    }

    /// The name of a bell that rang, and those of all others that ring shortly after it.
    async fn gathered(&mut self, first: &'static str) -> Vec<&'static str> {
        sleep(GATHER).await;
        let rang_too = |listener: &mut Listener| listener.rung().now_or_never().is_some();
        self.0
            .iter_mut()
            .filter_map(|(name, listener)| (rang_too(listener) || *name == first).then_some(*name))
            .collect()
    }
}
