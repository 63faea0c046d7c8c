//! End to end: a whole Convene over HTTP, on a real database of its own.

mod credentials;
mod idempotency;
mod matrix;
mod refreshing;
mod rsvps;
mod served_routes;
mod story;
mod visibility;
