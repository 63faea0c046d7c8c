//! Convene's composition root: configuration, telemetry, wiring, and the commands of the `convene` binary.

pub mod app;
pub mod cli;
pub mod commands;
pub mod config;
pub mod error;
mod log_lines;
mod reload;
pub mod server;
pub mod shutdown;
pub mod telemetry;
pub mod wiring;

/// The version with the commit that the binary was built from and its day.
#[must_use]
pub const fn version() -> &'static str {
    concat!(env!("CARGO_PKG_VERSION"), " (", env!("CONVENE_STAMP"), ")")
}
