//! Private Postgres, Redis and RabbitMQ servers, started and supervised.
//!
//! `convene run` keeps its database in such a server, and tests, fault tests and benchmarks take
//! theirs from here when the machine offers none. The three servers share one handle:
//!
//! ```no_run
//! use convene_embedded::{Postgres, ServerOptions};
//!
//! # fn main() -> Result<(), convene_embedded::Error> {
//! let mut postgres = Postgres::start(ServerOptions::temporary())?;
//! println!("{}", postgres.url("postgres", "postgres"));
//! postgres.kill()?; // as if the machine had lost the process
//! postgres.restart()?; // the same data on the same port
//! # Ok(())
//! # }
//! ```
//!
//! * A folder belongs to one server. A second `start` on it attaches to the server that still runs
//!   there (after `kill -9` of whoever started it), and brings a stopped one back on the port it had.
//! * Servers listen on 127.0.0.1 only, without passwords but for RabbitMQ's `guest`/`guest`.
//! * Every call blocks until it is done: from async code, use `spawn_blocking`.
//! * Linux only: processes are told apart and their children found through `/proc`.

mod account;
mod engine;
mod error;
mod options;
pub mod port;
mod postgres;
pub mod probe;
mod process;
mod programs;
mod rabbitmq;
mod reaper;
mod redis;
mod server;
mod state;
mod temporary;

pub use engine::Engine;
pub use error::Error;
pub use options::ServerOptions;
pub use postgres::{Postgres, PostgresEngine};
pub use rabbitmq::{RabbitMq, RabbitMqEngine};
pub use redis::{Redis, RedisEngine};
pub use server::Server;
