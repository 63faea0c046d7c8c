//! Redis: what all processes count together. Nothing here is the truth about anything, and losing it stops nothing.

mod cache;
mod lease;
mod leases;
mod limiter;
mod link;
mod server;

use deadpool_redis::redis::{ErrorKind, RedisError, ServerErrorKind};

pub use cache::RedisCache;
pub use leases::LeasingLimiter;
pub use limiter::RedisLimiter;
pub use link::{InvalidRedisUrl, RedisOptions};
pub use server::{RedisServer, RedisSilence, inspect, ping};

/// Whether the server was started anew, or made to forget, since it was taught the script.
fn is_unknown_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}
