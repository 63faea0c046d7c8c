//! The cache that all processes share, in Redis.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use convene_application::kernel::cache::SharedLayer;
use deadpool_redis::Pool;
use deadpool_redis::redis::cmd;

use super::link::{InvalidRedisUrl, NoAnswer, RedisOptions, pool};

/// How long an answer may take: without one the database is asked, so waiting longer gains nothing.
const TIMEOUT: Duration = Duration::from_millis(100);
/// How long a Redis that did not answer is left alone.
const RETRY: Duration = Duration::from_secs(1);

/// Keeps bytes in Redis. Every key has a time to live. While Redis is lost, it has nothing, and one question in each
/// second finds out whether it is back.
pub struct RedisCache {
    pool: Pool,
    prefix: String,
    /// When to ask again, while Redis is lost.
    lost: Mutex<Option<Instant>>,
}

impl RedisCache {
    /// A cache over a pool that connects when it is first asked, and whose connections live in the runtime that asks.
    ///
    /// # Errors
    /// [`InvalidRedisUrl`].
    pub fn new(options: &RedisOptions) -> Result<Self, InvalidRedisUrl> {
        let pool = pool(options, TIMEOUT)?;
        let prefix = format!("{}:cache:", options.prefix.trim_end_matches(':'));
        Ok(Self { pool, prefix, lost: Mutex::new(None) })
    }

    /// An answer, or nothing while Redis is lost.
    async fn answer<T>(&self, question: impl Future<Output = Result<T, NoAnswer>>) -> Option<T> {
        if !self.is_worth_asking() {
            return None;
        }
        let answer = tokio::time::timeout(TIMEOUT, question).await;
        match answer.unwrap_or_else(|elapsed| Err(elapsed.into())) {
            Ok(answer) => {
                if self.lost_since().take().is_some() {
                    tracing::info!("Redis is back: processes share what they cache again");
                }
                Some(answer)
            }
            Err(reason) => {
                metrics::counter!("convene_cache_shared_errors_total").increment(1);
                if self.lost_since().replace(Instant::now() + RETRY).is_none() {
                    let reason = &reason as &dyn std::error::Error;
                    tracing::warn!(reason, "Redis is lost: each process caches for itself");
                }
                None
            }
        }
    }

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

    fn lost_since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl SharedLayer for RedisCache {
    async fn get(&self, key: &str) -> Option<Bytes> {
        let question = async {
            let mut connection = self.pool.get().await?;
            let mut get = cmd("GET");
            get.arg(format!("{}{key}", self.prefix));
            Ok(get.query_async::<Option<Bytes>>(&mut connection).await?)
        };
        self.answer(question).await.flatten()
    }

    async fn put(&self, key: &str, bytes: Bytes, keep: Duration) {
        let keep = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX).max(1);
        let question = async {
            let mut connection = self.pool.get().await?;
            let mut set = cmd("SET");
            set.arg(format!("{}{key}", self.prefix)).arg(&bytes[..]).arg("PX").arg(keep);
            Ok(set.query_async::<()>(&mut connection).await?)
        };
        self.answer(question).await;
    }
}
