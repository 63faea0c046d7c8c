//! Redis: what all processes count together. Nothing here is the truth about anything, and losing it stops nothing.

mod limiter;
mod server;

pub use limiter::{InvalidRedisUrl, RedisLimiter, RedisOptions};
pub use server::{RedisServer, RedisSilence, inspect};
