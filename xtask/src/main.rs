//! Convene's repository tasks: architecture checks, snapshots of the public surfaces, new
//! migrations and new modules.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool talks on its standard streams"
)]

mod arch;
mod breaking;
mod deploy;
mod links;
mod migration;
mod new_module;
mod postgres;
mod repository;
mod snapshots;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;
use jiff::Timestamp;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Convene's repository tasks.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Task {
    /// Hold the crates, modules, tables and migrations against arch.toml.
    Arch,
    /// Compare docs/openapi.json, docs/asyncapi.json, docs/metrics.md and docs/schema.sql with
    /// what the code generates.
    Snapshots {
        /// Write what the code generates.
        #[arg(long)]
        update: bool,
        /// Write it even if clients of the committed OpenAPI document would break.
        #[arg(long, requires = "update")]
        allow_breaking: bool,
    },
    /// Check that what the repository's pages link to is there.
    Links,
    /// Check that the files under deploy/ agree with the settings and with each other.
    Deploy,
    /// Create the files of a new database migration.
    Migration {
        /// What it does, in lower case with underscores: `add_event_tags`.
        name: String,
    },
    /// Create the files of a new feature module in every layer.
    NewModule {
        /// A noun of one word in lower case: `announcement`.
        #[arg(required_unless_present = "check")]
        name: Option<String>,
        /// Create one in a copy of the repository instead, and build and test it.
        #[arg(long, conflicts_with = "name")]
        check: bool,
    },
}

fn main() -> ExitCode {
    match run(Task::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    let root = repository::root();
    match task {
        Task::Arch => arch::run(&root),
        Task::Snapshots { update, allow_breaking } => snapshots::run(&root, update, allow_breaking),
        Task::Links => links::run(&root),
        Task::Deploy => deploy::run(&root),
        Task::Migration { name } => migration::create(&root, &name, Timestamp::now()),
        Task::NewModule { name: Some(name), .. } => {
            new_module::create(&root, &name, Timestamp::now())
        }
        Task::NewModule { name: None, .. } => new_module::check(&root, Timestamp::now()),
    }
}
