//! The commands of operators.

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};
use convene_application::kernel::operate::jobs;
use convene_contracts::EventTypePattern;
use convene_domain::ids::{DeliveryId, WebhookId};
use convene_domain::text::{DisplayName, EmailAddress};
use convene_domain::webhook::DeliveryStatus;
use jiff::Timestamp;

/// Where a job stands.
pub type JobState = jobs::JobState;

/// Commands on accounts.
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Make somebody an administrator of the platform; without an account, make that too.
    CreateAdmin(CreateAdmin),
}

/// Who is to administer the platform.
#[derive(Debug, Args)]
pub struct CreateAdmin {
    /// The address; you vouch that it is theirs.
    #[arg(long, value_parser = email)]
    pub email: EmailAddress,
    /// How the person is called; the part before the @ if not given.
    #[arg(long, value_parser = display_name)]
    pub name: Option<DisplayName>,
    /// The file with the password of a new account; `-` for standard input. Without it one is made up and printed once.
    #[arg(long, value_name = "PATH")]
    pub password_file: Option<PathBuf>,
    /// Why, for the record.
    #[arg(long, default_value = "made by an operator")]
    pub reason: String,
}

/// Commands on the recorded events.
#[derive(Debug, Subcommand)]
pub enum EventsCommand {
    /// List recorded events, oldest first.
    List {
        /// Of this type: `rsvp.confirmed`, `rsvp.*` or `*`.
        #[arg(long = "type", value_name = "TYPE", value_parser = pattern)]
        event_type: Option<EventTypePattern>,
        /// Of this community, by id or slug.
        #[arg(long)]
        community: Option<String>,
        /// Of this aggregate: `rsvp_…`, `event_…`, …
        #[arg(long)]
        subject: Option<String>,
        /// Behind this position.
        #[arg(long, value_name = "POSITION", default_value_t = 0)]
        after: i64,
        /// At most so many.
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
    },
    /// Give recorded events to one consumer of this installation once more.
    Replay(Replay),
}

/// What to replay, to whom and how fast.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).multiple(true))]
pub struct Replay {
    /// The consumer, such as `webhook.fanout`.
    #[arg(long, value_name = "NAME")]
    pub consumer: String,
    /// Of this type: `rsvp.confirmed`, `rsvp.*` or `*`.
    #[arg(long = "type", value_name = "TYPE", value_parser = pattern, group = "which")]
    pub event_type: Option<EventTypePattern>,
    /// Of this community, by id or slug.
    #[arg(long, group = "which")]
    pub community: Option<String>,
    /// Of this aggregate: `rsvp_…`, `event_…`, …
    #[arg(long, group = "which")]
    pub subject: Option<String>,
    /// Recorded at or after this time (RFC 3339).
    #[arg(long, value_name = "TIME", group = "which")]
    pub from: Option<Timestamp>,
    /// Recorded before this time (RFC 3339).
    #[arg(long, value_name = "TIME", group = "which")]
    pub to: Option<Timestamp>,
    /// Those alone that the consumer has not taken; this is what happens without `--again`.
    #[arg(long, conflicts_with_all = ["again", "resume"])]
    pub missing: bool,
    /// All, also those that the consumer has taken: their effects happen once more.
    #[arg(long, conflicts_with = "resume")]
    pub again: bool,
    /// What is left of a replay with `--again` that was broken off, by its number.
    #[arg(long, value_name = "NUMBER")]
    pub resume: Option<i32>,
    /// At most so many events in a second.
    #[arg(long, value_name = "N/s", default_value = "100/s", value_parser = rate)]
    pub rate: NonZeroU32,
    /// Count, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Commands on the outbox.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum OutboxCommand {
    /// Tell what waits for its position, and how far each sink is behind.
    Status,
}

/// Commands on jobs.
#[derive(Debug, Subcommand)]
pub enum JobsCommand {
    /// List jobs: dead ones first, then the others in the order of their time.
    List {
        /// Of this kind, such as `webhook.drain`.
        #[arg(long)]
        kind: Option<String>,
        /// In this state: scheduled, due, running or dead.
        #[arg(long, value_parser = job_state)]
        state: Option<JobState>,
        /// At most so many.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
    },
    /// Have a job tried again now, with all its attempts: one that is dead, or one that waits.
    #[command(group = ArgGroup::new("which").required(true))]
    Retry {
        /// The job.
        #[arg(group = "which")]
        id: Option<i64>,
        /// All that are dead.
        #[arg(long, group = "which")]
        dead: bool,
        /// With `--dead`: of this kind alone.
        #[arg(long, conflicts_with = "id")]
        kind: Option<String>,
    },
    /// Remove a job for good, be it waiting, running or dead.
    Cancel {
        /// The job.
        id: i64,
        /// Do it; without this, tell what would be removed.
        #[arg(long)]
        destructive: bool,
    },
}

/// Commands on webhooks.
#[derive(Debug, Subcommand)]
pub enum WebhooksCommand {
    /// List endpoints, newest first.
    List {
        /// Of this community, by id or slug.
        #[arg(long)]
        community: Option<String>,
        /// At most so many.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
    },
    /// List deliveries to an endpoint with their attempts, newest first.
    Deliveries {
        /// The endpoint: `hook_…`.
        endpoint: WebhookId,
        /// In this status: pending, succeeded or failed.
        #[arg(long, value_parser = delivery_status)]
        status: Option<DeliveryStatus>,
        /// At most so many.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
    },
    /// Send a delivery again, under the same id.
    Resend {
        /// The delivery: `hdlv_…`.
        delivery: DeliveryId,
    },
    /// Send to an endpoint again, what was kept for it first.
    Enable {
        /// The endpoint: `hook_…`.
        endpoint: WebhookId,
    },
    /// Send nothing more to an endpoint; what comes is kept for it.
    Disable {
        /// The endpoint: `hook_…`.
        endpoint: WebhookId,
    },
}

fn email(text: &str) -> Result<EmailAddress, String> {
    EmailAddress::new(text).map_err(|error| error.to_string())
}

fn display_name(text: &str) -> Result<DisplayName, String> {
    DisplayName::new(text).map_err(|error| error.to_string())
}

fn pattern(text: &str) -> Result<EventTypePattern, String> {
    EventTypePattern::parse(text).map_err(|error| error.to_string())
}

fn job_state(text: &str) -> Result<JobState, String> {
    text.parse().map_err(|_| "must be scheduled, due, running or dead".to_owned())
}

fn delivery_status(text: &str) -> Result<DeliveryStatus, String> {
    DeliveryStatus::parse(text).ok_or_else(|| "must be pending, succeeded or failed".to_owned())
}

fn rate(text: &str) -> Result<NonZeroU32, String> {
    let number = text.strip_suffix("/s").unwrap_or(text);
    number.parse().map_err(|_| "must be a whole number from 1 with /s, such as 50/s".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::*;
    use crate::cli::Cli;

    fn refused(arguments: &[&str]) -> String {
        Cli::try_parse_from(arguments).expect_err("it must be refused").to_string()
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn rates_are_read_as_people_write_them() {
        assert_eq!(rate("50/s").map(NonZeroU32::get), Ok(50));
        assert_eq!(rate("7").map(NonZeroU32::get), Ok(7));
        for bad in ["", "0/s", "-1/s", "1.5/s", "50/m"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_replay_says_which_events_and_never_all_by_accident() {
        let replay = ["convene", "events", "replay", "--consumer", "webhook.fanout"];
        assert!(refused(&replay).contains("required"));
        let with = |more: &[&str]| Cli::try_parse_from(replay.iter().chain(more));
        assert!(with(&["--type", "*"]).is_ok());
        assert!(with(&["--from", "2027-04-01T00:00:00Z", "--again", "--rate", "5/s"]).is_ok());
        assert!(with(&["--type", "*", "--again", "--resume", "1"]).is_err());
        assert!(with(&["--type", "rsvp.unheard_of"]).is_err());
    }

    #[test]
    fn a_retry_names_one_job_or_the_dead() {
        assert!(refused(&["convene", "jobs", "retry"]).contains("required"));
        assert!(Cli::try_parse_from(["convene", "jobs", "retry", "1", "--dead"]).is_err());
        assert!(Cli::try_parse_from(["convene", "jobs", "retry", "--dead", "--kind", "a"]).is_ok());
        assert!(Cli::try_parse_from(["convene", "jobs", "retry", "1", "--kind", "a"]).is_err());
    }
}
