//! State that lives in the process: what the embedded profile has in the place of Redis, and what stands in for a Redis
//! that is lost.

mod limiter;

pub use limiter::InProcessLimiter;
