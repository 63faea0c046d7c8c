//! What a Redis server tells about itself.

use std::time::Duration;

use deadpool_redis::redis::{Client, RedisError, cmd};
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::timeout;

/// How long it may take to answer: nobody waits behind this question.
const PATIENCE: Duration = Duration::from_secs(3);

/// What a Redis server tells about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisServer {
    /// Its version, such as `7.0.15`.
    pub version: String,
    /// What it does when its memory is full, such as `noeviction`.
    pub eviction_policy: String,
    /// How much memory it may use, in bytes; 0 means no limit.
    pub max_memory: u64,
    /// What time it is there.
    pub time: Timestamp,
}

/// Why it told nothing.
#[derive(Debug, thiserror::Error)]
pub enum RedisSilence {
    /// It cannot be reached, or refuses the question.
    #[error("Redis cannot be asked")]
    Refused(#[from] RedisError),
    /// It does not answer.
    #[error("Redis does not answer within {} s", PATIENCE.as_secs())]
    Late(#[from] tokio::time::error::Elapsed),
}

impl RedisServer {
    /// Whether it may throw keys away that have not expired.
    #[must_use]
    pub fn may_evict(&self) -> bool {
        self.max_memory > 0 && self.eviction_policy != "noeviction"
    }
}

/// Asks the server at this URL.
///
/// # Errors
/// [`RedisSilence`].
pub async fn inspect(url: &SecretString) -> Result<RedisServer, RedisSilence> {
    timeout(PATIENCE, ask(url)).await?
}

/// Whether the server at this URL answers, within the time that an answer may take.
///
/// # Errors
/// [`RedisSilence`].
pub async fn ping(url: &SecretString) -> Result<(), RedisSilence> {
    timeout(PATIENCE, async {
        let mut connection =
            Client::open(url.expose_secret())?.get_multiplexed_async_connection().await?;
        cmd("PING").query_async::<()>(&mut connection).await?;
        Ok(())
    })
    .await?
}

async fn ask(url: &SecretString) -> Result<RedisServer, RedisSilence> {
    let client = Client::open(url.expose_secret())?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let server: String = cmd("INFO").arg("server").query_async(&mut connection).await?;
    let memory: String = cmd("INFO").arg("memory").query_async(&mut connection).await?;
    let (second, _micros): (i64, i64) = cmd("TIME").query_async(&mut connection).await?;
    Ok(RedisServer {
        time: Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH),
        version: field(&server, "redis_version").to_owned(),
        eviction_policy: field(&memory, "maxmemory_policy").to_owned(),
        max_memory: field(&memory, "maxmemory").parse().unwrap_or(0),
    })
}

/// The value of a line `name:value`; empty without one.
fn field<'t>(info: &'t str, name: &str) -> &'t str {
    info.lines()
        .filter_map(|line| line.trim_end().split_once(':'))
        .find_map(|(known, value)| (known == name).then_some(value))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let info = "# Memory\r\nmaxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\n";
        assert_eq!(field(info, "maxmemory"), "0");
        assert_eq!(field(info, "maxmemory_policy"), "allkeys-lru");
        assert_eq!(field(info, "redis_version"), "");
    }

    #[test]
    fn keys_are_safe_while_memory_is_unbounded_or_nothing_is_evicted() {
        let server = |policy: &str, max_memory| RedisServer {
            version: "7.0.15".to_owned(),
            eviction_policy: policy.to_owned(),
            max_memory,
            time: Timestamp::UNIX_EPOCH,
        };
        assert!(!server("allkeys-lru", 0).may_evict());
        assert!(!server("noeviction", 1).may_evict());
        assert!(server("volatile-ttl", 1).may_evict());
    }
}
