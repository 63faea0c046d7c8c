//! The command line.

mod operate;

use clap::{Parser, Subcommand};

pub use operate::{
    AuditCommand, CreateAdmin, CronCommand, DeadWhich, DlqCommand, EventsCommand, JobState,
    JobsCommand, KeysCommand, Limit, Listen, OutboxCommand, Pace, Redrive, Replay,
    ReplayDeliveries, UserCommand, WebhooksCommand,
};

/// Convene: accounts, communities, events, RSVPs and webhooks over HTTP JSON.
#[derive(Debug, Parser)]
#[command(name = "convene", version = crate::version(), about, arg_required_else_help = true)]
pub struct Cli {
    /// Print machine-readable JSON on standard output.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the binary can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the HTTP API.
    Serve,
    /// Run the engines: sequencer, sinks, consumers, jobs, scheduler.
    Worker,
    /// Migrate, then serve the API and run the engines in one process.
    Run,
    /// Prepare and inspect the database.
    #[command(subcommand)]
    Db(Db),
    /// Check and show the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Check the configuration and everything that it names; exit code 1 if something is broken.
    Doctor,
    /// Make accounts.
    #[command(subcommand)]
    User(UserCommand),
    /// Read the recorded events, and have a consumer take them once more.
    #[command(subcommand)]
    Events(EventsCommand),
    /// Look at the events on their way out.
    #[command(subcommand)]
    Outbox(OutboxCommand),
    /// Look at jobs and their queues, try them again, cancel, pause and limit them.
    #[command(subcommand)]
    Jobs(JobsCommand),
    /// Look at the scheduler's duties, pause them, have one done now.
    #[command(subcommand)]
    Cron(CronCommand),
    /// Look at what died, jobs and messages alike, try it again, remove it.
    #[command(subcommand)]
    Dlq(DlqCommand),
    /// Look at webhooks of all communities, send again, switch on and off.
    #[command(subcommand)]
    Webhooks(WebhooksCommand),
    /// Check that the audit log is whole, and erase what is personal in it.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Look at the keys, and replace them while everything runs.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Print the OpenAPI document.
    Openapi {
        /// That of the listener of administrators.
        #[arg(long)]
        admin: bool,
    },
    /// Print the AsyncAPI document.
    Asyncapi,
    /// Print the list of metrics, in Markdown.
    Metrics,
    /// List the routes.
    Routes,
    /// Print who may do what, as Markdown.
    Permissions,
}

/// Commands on the database.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Db {
    /// Create the roles, run the migrations that are missing, and grant.
    Migrate,
    /// Tell which migrations are missing.
    Status,
    /// Fill an empty database with data to look at, or to measure on.
    Seed {
        /// Which data.
        #[arg(long, value_enum)]
        profile: Seed,
        /// How much of it, for `load`: 0.01 is a hundredth of every table.
        #[arg(long, default_value_t = 1.0)]
        scale: f64,
        /// Empty the database first.
        #[arg(long)]
        destructive: bool,
    },
}

/// What a database can be filled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Seed {
    /// Six people, their communities and their events, made through the use cases.
    Demo,
    /// 1,000 communities, 20,000 events, 50,000 people and 1,000,000 RSVPs.
    Load,
}

/// Commands on the configuration.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Tell every mistake; exit code 78 if there is one.
    Check,
    /// Print the settings in force, without secrets.
    Show,
}
