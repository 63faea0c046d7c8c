//! Webhooks: endpoints, their deliveries, and the attempts that were made.

mod directory;
mod queue;
mod reads;
mod replays;
mod rows;
mod secrets;
mod tx;
