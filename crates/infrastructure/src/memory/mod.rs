//! State that lives in the process: what the embedded profile has in the place of Redis, and what stands in for a Redis
//! that is lost.

pub(crate) mod ledger;
mod limiter;
pub(crate) mod requests;

pub use limiter::InProcessLimiter;
pub use requests::InProcessRequestLimiter;
