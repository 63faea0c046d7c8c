//! The way to Redis that all limits share, and whether it is there.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use convene_application::kernel::limits::Quota;
use deadpool_redis::redis::{AsyncConnectionConfig, Cmd, RedisError, Script, cmd};
use deadpool_redis::{Manager, Pool, Runtime};
use secrecy::{ExposeSecret as _, SecretString};

/// How long a question to Redis may take. It may be asked on the way of a request.
pub(super) const TIMEOUT: Duration = Duration::from_millis(250);
/// How long a Redis that did not answer is left alone.
const RETRY: Duration = Duration::from_secs(1);

/// How to reach Redis.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    /// `redis://user:password@host:port/database`, or `rediss://…` with TLS.
    pub url: SecretString,
    /// In front of every key, with a colon behind it.
    pub prefix: String,
    /// The most connections.
    pub connections: usize,
    /// How many processes share a quota. While Redis is lost, each keeps to its share.
    pub instances: u32,
}

impl RedisOptions {
    /// Usual numbers for a Redis at this URL.
    #[must_use]
    pub fn new(url: SecretString, prefix: impl Into<String>) -> Self {
        Self { url, prefix: prefix.into(), connections: 8, instances: 2 }
    }
}

/// A URL that is not one of Redis.
#[derive(Debug, thiserror::Error)]
#[error("the Redis URL cannot be read")]
pub struct InvalidRedisUrl(#[source] RedisError);

/// Why Redis gave no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    #[error("there is no connection to Redis")]
    Connection(#[from] deadpool_redis::PoolError),
    #[error("Redis refused the question")]
    Script(#[from] RedisError),
    #[error("Redis did not answer in time")]
    Timeout(#[from] tokio::time::error::Elapsed),
}

/// Connections, each of which answers within this time or is given up.
pub(super) fn pool(options: &RedisOptions, timeout: Duration) -> Result<Pool, InvalidRedisUrl> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(timeout))
        .set_response_timeout(Some(timeout));
    let manager =
        Manager::new_with_config(options.url.expose_secret(), config).map_err(InvalidRedisUrl)?;
    let pool = Pool::builder(manager)
        .max_size(options.connections.max(1))
        .wait_timeout(Some(timeout))
        .create_timeout(Some(timeout))
        .recycle_timeout(Some(timeout))
        .runtime(Runtime::Tokio1)
        .build()
        .expect("a pool with time-outs only fails to build without a runtime, and it has one");
    Ok(pool)
}

/// What the script is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    /// How many were let through already and are spent in any case.
    pub(super) owed: u32,
    /// How many must be free.
    pub(super) needed: u32,
    /// How many to spend at most if they are.
    pub(super) wanted: u32,
}

/// What the script says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    /// How many were spent of those that were wanted.
    pub(super) spent: u32,
    /// How long to wait until as many are free as were needed; nothing if they were.
    pub(super) wait: Duration,
    /// When all is free again.
    pub(super) busy: Duration,
}

/// What the script says, in numbers.
pub(super) type Reply = (u32, u64, u64);

impl From<Reply> for Grant {
    fn from((spent, wait, busy): Reply) -> Self {
        Self { spent, wait: Duration::from_micros(wait), busy: Duration::from_micros(busy) }
    }
}

/// The pool, the script, and whether Redis is there.
pub(super) struct Link {
    pub(super) pool: Pool,
    pub(super) script: Script,
    pub(super) instances: u32,
    prefix: String,
    lost: AtomicBool,
    /// When to ask again, while Redis is lost.
    again: Mutex<Instant>,
}

impl Link {
    /// A link that connects when it is first asked, and whose connections live in the runtime that asks.
    pub(super) fn new(options: &RedisOptions) -> Result<Self, InvalidRedisUrl> {
        Ok(Self {
            pool: pool(options, TIMEOUT)?,
            script: Script::new(include_str!("gcra.lua")),
            prefix: format!("{}:limit:", options.prefix.trim_end_matches(':')),
            instances: options.instances.max(1),
            lost: AtomicBool::new(false),
            again: Mutex::new(Instant::now()),
        })
    }

    /// The script's call, for a server that knows it.
    pub(super) fn call(&self, key: impl std::fmt::Display, quota: Quota, ask: Ask) -> Cmd {
        let mut call = cmd("EVALSHA");
        // Fractions matter where many become free in a millisecond.
        let every = quota.every.as_nanos();
        call.arg(self.script.get_hash())
            .arg(1)
            .arg(format!("{}{key}", self.prefix))
            .arg(format!("{}.{:03}", every / 1_000, every % 1_000))
            .arg(quota.burst)
            .arg(ask.owed)
            .arg(ask.needed)
            .arg(ask.wanted);
        call
    }

    /// Whether Redis did not answer the last question.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// While Redis is lost one request in each [`RETRY`] finds out whether it is back; the others do not wait for it.
    pub(super) fn is_worth_asking(&self) -> bool {
        if !self.is_lost() {
            return true;
        }
        let now = Instant::now();
        let mut again = self.again();
        let worth = now >= *again;
        if worth {
            *again = now + RETRY;
        }
        worth
    }

    pub(super) fn found(&self) {
        if self.lost.load(Ordering::Relaxed) && self.lost.swap(false, Ordering::Relaxed) {
            tracing::info!("Redis is back: limits count over all processes again");
        }
    }

    pub(super) fn lost(&self, reason: &NoAnswer) {
        *self.again() = Instant::now() + RETRY;
        if !self.lost.swap(true, Ordering::Relaxed) {
            let reason = reason as &dyn std::error::Error;
            tracing::warn!(reason, "Redis is lost: each process keeps stricter limits of its own");
        }
    }

    fn again(&self) -> MutexGuard<'_, Instant> {
        self.again.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
