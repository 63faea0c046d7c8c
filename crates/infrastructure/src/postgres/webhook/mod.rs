//! Webhooks: endpoints, their deliveries, and the attempts that were made.

mod queue;
mod reads;
mod rows;
mod tx;
