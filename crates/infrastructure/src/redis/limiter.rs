//! A limiter that counts over all processes, in Redis.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use convene_application::kernel::limits::{Limiter, Quota, Verdict};
use deadpool_redis::redis::{AsyncConnectionConfig, RedisError, Script};
use deadpool_redis::{Manager, Pool, Runtime};
use secrecy::{ExposeSecret as _, SecretString};

use crate::memory::InProcessLimiter;

/// How long a question to Redis may take. It is asked on the way of a request.
const TIMEOUT: Duration = Duration::from_millis(250);
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

/// The generic cell rate algorithm as one script: a question is one round trip, and two that come at once are answered one
/// after the other. Without Redis it counts in the process, by smaller quotas, and asks Redis again every second.
pub struct RedisLimiter {
    pool: Pool,
    script: Script,
    prefix: String,
    stand_in: InProcessLimiter,
    instances: u32,
    /// When to ask again, while Redis is lost.
    lost: Mutex<Option<Instant>>,
}

/// Why Redis gave no answer.
#[derive(Debug, thiserror::Error)]
enum NoAnswer {
    #[error("there is no connection to Redis")]
    Connection(#[from] deadpool_redis::PoolError),
    #[error("Redis refused the question")]
    Script(#[from] RedisError),
    #[error("Redis did not answer in time")]
    Timeout(#[from] tokio::time::error::Elapsed),
}

impl RedisLimiter {
    /// A limiter over a pool that connects when it is first asked, and whose connections live in the runtime that asks.
    ///
    /// # Errors
    /// [`InvalidRedisUrl`].
    pub fn new(options: &RedisOptions) -> Result<Self, InvalidRedisUrl> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(TIMEOUT))
            .set_response_timeout(Some(TIMEOUT));
        let manager = Manager::new_with_config(options.url.expose_secret(), config)
            .map_err(InvalidRedisUrl)?;
        let pool = Pool::builder(manager)
            .max_size(options.connections.max(1))
            .wait_timeout(Some(TIMEOUT))
            .create_timeout(Some(TIMEOUT))
            .recycle_timeout(Some(TIMEOUT))
            .runtime(Runtime::Tokio1)
            .build()
            .expect("a pool with time-outs only fails to build without a runtime, and it has one");
        Ok(Self {
            pool,
            script: Script::new(include_str!("gcra.lua")),
            prefix: format!("{}:limit:", options.prefix.trim_end_matches(':')),
            stand_in: InProcessLimiter::default(),
            instances: options.instances.max(1),
            lost: Mutex::new(None),
        })
    }

    async fn ask(&self, key: &str, quota: Quota, spend: bool) -> Verdict {
        if self.is_worth_asking() {
            let answer = tokio::time::timeout(TIMEOUT, self.ask_redis(key, quota, spend)).await;
            match answer.unwrap_or_else(|elapsed| Err(elapsed.into())) {
                Ok(verdict) => {
                    self.found();
                    return verdict;
                }
                Err(reason) => self.lost(&reason),
            }
        }
        metrics::counter!("convene_limiter_stand_in_total").increment(1);
        let share = share(quota, self.instances);
        if spend {
            self.stand_in.spend(key, share).await
        } else {
            self.stand_in.peek(key, share).await
        }
    }

    async fn ask_redis(&self, key: &str, quota: Quota, spend: bool) -> Result<Verdict, NoAnswer> {
        let mut connection = self.pool.get().await?;
        let wait: u64 = self
            .script
            .key(format!("{}{key}", self.prefix))
            .arg(u64::try_from(quota.every.as_micros()).unwrap_or(u64::MAX))
            .arg(quota.burst)
            .arg(u8::from(spend))
            .invoke_async(&mut connection)
            .await?;
        Ok(match wait {
            0 => Verdict::Allowed,
            wait => Verdict::Refused { retry_after: Duration::from_micros(wait) },
        })
    }

    /// While Redis is lost one request in each [`RETRY`] finds out whether it is back; the others do not wait for it.
    fn is_worth_asking(&self) -> bool {
        let now = Instant::now();
        let mut lost = self.lost_since();
        match *lost {
            None => true,
            Some(again) if now < again => false,
            Some(_) => {
                *lost = Some(now + RETRY);
                true
            }
        }
    }

    fn found(&self) {
        if self.lost_since().take().is_some() {
            tracing::info!("Redis is back: limits count over all processes again");
        }
    }

    fn lost(&self, reason: &NoAnswer) {
        if self.lost_since().replace(Instant::now() + RETRY).is_none() {
            let reason = reason as &dyn std::error::Error;
            tracing::warn!(reason, "Redis is lost: each process keeps stricter limits of its own");
        }
    }

    fn lost_since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Limiter for RedisLimiter {
    async fn spend(&self, key: &str, quota: Quota) -> Verdict {
        self.ask(key, quota, true).await
    }

    async fn peek(&self, key: &str, quota: Quota) -> Verdict {
        self.ask(key, quota, false).await
    }
}

/// What of a quota belongs to each of so many processes.
fn share(quota: Quota, instances: u32) -> Quota {
    Quota { burst: (quota.burst / instances).max(1), every: quota.every * instances }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_of_all_processes_are_at_most_the_quota() {
        let quota = Quota::new(3, Duration::from_secs(60), 3);
        let share = share(quota, 2);
        assert_eq!(share, Quota { burst: 1, every: Duration::from_secs(40) });
    }

    #[test]
    fn a_url_may_ask_for_tls() {
        let options = RedisOptions::new(SecretString::from("rediss://localhost"), "convene");
        assert!(RedisLimiter::new(&options).is_ok());
    }

    #[test]
    fn a_url_of_something_else_is_refused() {
        let options = RedisOptions::new(SecretString::from("http://localhost"), "convene");
        assert!(RedisLimiter::new(&options).is_err());
    }
}
