//! End to end: a whole Convene over HTTP, on a real database of its own.

mod any_request;
mod bad_input;
mod community_life;
mod conditional;
mod credentials;
mod idempotency;
mod lists;
mod matrix;
mod mistakes;
mod naming;
mod order_of_checks;
mod query_plans;
mod refreshing;
mod rsvps;
mod seating;
mod served_routes;
mod standard_profile;
mod story;
mod visibility;
