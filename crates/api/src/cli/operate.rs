//! The commands of operators.

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};
use convene_application::kernel::operate::dead_letters::DeadId;
use convene_application::kernel::operate::jobs;
use convene_contracts::EventTypePattern;
use convene_domain::ids::{DeliveryId, UserId, WebhookId};
use convene_domain::text::{DisplayName, EmailAddress};
use convene_domain::webhook::{DeliveryStatus, ReplayScope, SignatureScheme};
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

/// Commands on keys.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// List the keys that sign access tokens, the newest first.
    List,
    /// Make a new key to sign access tokens with. It is shown for ten minutes before it signs; the old one is accepted
    /// until the last token that it signed has expired.
    Rotate {
        /// Sign with it at once: whoever keeps a copy of the key set may refuse tokens for up to five minutes.
        #[arg(long)]
        now: bool,
        /// Accept nothing any more that this key signed, because somebody else may have it. Implies `--now`.
        #[arg(long, value_name = "KID")]
        retire: Option<String>,
    },
    /// Put what is stored under an envelope key of before under the one in force.
    Reseal {
        /// Count, and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
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
        /// In this state: scheduled, due, running, dead, done or cancelled.
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
    /// Show a job, its progress and how it ended, as long as that is remembered.
    Show {
        /// The job.
        id: i64,
    },
    /// Remove a job for good, be it waiting or dead. One that runs is asked to end, and is dropped if it does not.
    Cancel {
        /// The job.
        id: i64,
        /// Do it; without this, tell what would be removed.
        #[arg(long)]
        destructive: bool,
    },
    /// Have dead jobs tried again that fit, slowly.
    Redrive(Redrive),
    /// List the queues: what they hold, and what is set about them.
    Queues,
    /// List groups of jobs: what they hold, and what is set about them.
    Groups {
        /// Of this queue alone.
        #[arg(long)]
        queue: Option<String>,
        /// At most so many.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
    },
    /// Let no job of a queue start, or of one of its groups, on any worker. Those that run go on.
    Pause {
        /// The queue.
        queue: String,
        /// This group of it alone.
        #[arg(long)]
        group: Option<String>,
    },
    /// Let jobs start again.
    Resume {
        /// The queue.
        queue: String,
        /// This group of it alone.
        #[arg(long)]
        group: Option<String>,
    },
    /// Limit a queue, or one of its groups, over all workers; `none` takes a limit away.
    #[command(group = ArgGroup::new("limits").required(true).multiple(true))]
    Limit {
        /// The queue.
        queue: String,
        /// This group of it alone.
        #[arg(long, conflicts_with_all = ["rate", "each_group"])]
        group: Option<String>,
        /// The most jobs that run at once.
        #[arg(long, value_parser = limit, group = "limits", value_name = "N|none")]
        at_once: Option<Limit>,
        /// How many may start in a second, or in a minute with `/m`.
        #[arg(long, value_parser = pace, group = "limits", value_name = "N/s|N/m|none")]
        rate: Option<Pace>,
        /// How many of those may start at once after a while without any; without this, those of a second.
        #[arg(long, requires = "rate", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        burst: Option<u32>,
        /// The most jobs of one group that run at once, unless the group has a limit of its own.
        #[arg(long, value_parser = limit, group = "limits", value_name = "N|none")]
        each_group: Option<Limit>,
    },
}

/// Which dead jobs to try again.
#[derive(Debug, Args)]
pub struct Redrive {
    /// Of this kind.
    #[arg(long)]
    pub kind: Option<String>,
    /// Those that died then or later (RFC 3339).
    #[arg(long, value_name = "TIME")]
    pub since: Option<Timestamp>,
    /// Those whose last failure has this text in it.
    #[arg(long, value_name = "TEXT")]
    pub error: Option<String>,
    /// No faster than this.
    #[arg(long, default_value = "50/s", value_parser = rate)]
    pub rate: NonZeroU32,
    /// Only tell how many.
    #[arg(long)]
    pub dry_run: bool,
}

/// A limit that may be none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(pub Option<u32>);

/// Starts a second, which may be unlimited.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace(pub Option<f64>);

/// Commands on the scheduler's duties.
#[derive(Debug, Subcommand)]
pub enum CronCommand {
    /// List the duties: when they come up, what becomes of missed ticks, when they were fired last.
    List,
    /// Let the ticks of a duty pass until it is resumed.
    Pause {
        /// The duty, such as `platform.sweep`.
        name: String,
    },
    /// Have a duty come up again, from its next tick on.
    Resume {
        /// The duty.
        name: String,
    },
    /// Have a duty done now, be it paused or not.
    Run {
        /// The duty.
        name: String,
    },
}

/// Commands on dead letters.
#[derive(Debug, Subcommand)]
pub enum DlqCommand {
    /// List jobs that are dead, the latest first, and messages that no consumer could read.
    List {
        /// Which.
        #[command(flatten)]
        which: DeadWhich,
        /// At most so many.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
    },
    /// Tell all about one.
    Show {
        /// A job's number, or a message's 16 hexadecimal digits.
        #[arg(value_parser = dead_id)]
        id: DeadId,
        /// With what it carries, which may be personal.
        #[arg(long)]
        payload: bool,
    },
    /// Have them tried again: a job lives again as a new one, a message goes to the queue of its consumer.
    #[command(group = ArgGroup::new("chosen").required(true).multiple(true).args(["ids", "kind", "since", "error", "all"]))]
    Replay {
        /// These alone: numbers of jobs, digits of messages.
        #[arg(value_parser = dead_id)]
        ids: Vec<DeadId>,
        /// Which.
        #[command(flatten)]
        which: DeadWhich,
        /// All that are dead.
        #[arg(long, conflicts_with_all = ["ids", "kind", "since", "error"])]
        all: bool,
        /// At most so many in a second.
        #[arg(long, value_name = "N/s", default_value = "100/s", value_parser = rate)]
        rate: NonZeroU32,
        /// Count, and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Remove them for good.
    #[command(group = ArgGroup::new("chosen").required(true).multiple(true).args(["ids", "kind", "since", "error", "all"]))]
    Purge {
        /// These alone: numbers of jobs, digits of messages.
        #[arg(value_parser = dead_id)]
        ids: Vec<DeadId>,
        /// Which.
        #[command(flatten)]
        which: DeadWhich,
        /// All that are dead.
        #[arg(long, conflicts_with_all = ["ids", "kind", "since", "error"])]
        all: bool,
        /// Do it; without this, tell how many would be removed.
        #[arg(long)]
        destructive: bool,
    },
}

/// Which dead letters: those that fit everything that is given.
#[derive(Debug, Args)]
#[group(skip)]
pub struct DeadWhich {
    /// Jobs of this kind, such as `webhook.drain`; messages of this event type, such as `rsvp.confirmed`.
    #[arg(long, visible_alias = "type")]
    pub kind: Option<String>,
    /// That died at this time or later (RFC 3339).
    #[arg(long, value_name = "TIME")]
    pub since: Option<Timestamp>,
    /// Whose error has this in it.
    #[arg(long, value_name = "TEXT")]
    pub error: Option<String>,
}

/// Commands on the audit log.
#[derive(Clone, Debug, Subcommand)]
pub enum AuditCommand {
    /// Recompute every chain from what is stored, and name the first entry of each that is not what it was; exit code 1
    /// if there is one.
    Verify {
        /// Of this community alone, by id or slug; tells where its chain ends, too.
        #[arg(long)]
        community: Option<String>,
    },
    /// Erase addresses and user agents. The chains stay whole: they hold salted digests of them alone.
    #[command(group = ArgGroup::new("whose").required(true).multiple(true))]
    Erase {
        /// Of what this person did: `user_…`.
        #[arg(long, group = "whose")]
        user: Option<UserId>,
        /// Of what happened before this time (RFC 3339).
        #[arg(long, value_name = "TIME", group = "whose")]
        before: Option<Timestamp>,
        /// Do it; without this, tell of how many entries.
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
    /// Send a `webhook.test` to an endpoint.
    Test {
        /// The endpoint: `hook_…`.
        endpoint: WebhookId,
    },
    /// Send many deliveries to an endpoint again; a worker carries it out.
    Replay(ReplayDeliveries),
    /// Send the events of a community, signed, to a receiver that is being developed, as they are recorded.
    Listen(Listen),
}

/// Which deliveries to send again.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("scope").required(true))]
pub struct ReplayDeliveries {
    /// The endpoint: `hook_…`.
    pub endpoint: WebhookId,
    /// Those that failed at every attempt.
    #[arg(long, group = "scope", requires = "since")]
    pub failed: bool,
    /// All, also those that succeeded.
    #[arg(long, group = "scope", requires = "since")]
    pub all: bool,
    /// Those that were never made: of events that the endpoint wants now and has no delivery of.
    #[arg(long, group = "scope")]
    pub missing: bool,
    /// Made, or of events recorded, at this time or later (RFC 3339).
    #[arg(long, value_name = "TIME")]
    pub since: Option<Timestamp>,
}

impl ReplayDeliveries {
    /// Which of the three was named.
    #[must_use]
    pub fn scope(&self) -> ReplayScope {
        match (self.failed, self.all) {
            (true, _) => ReplayScope::Failed,
            (_, true) => ReplayScope::All,
            _ => ReplayScope::Missing,
        }
    }
}

/// What to forward, and where to.
#[derive(Debug, Args)]
pub struct Listen {
    /// Of this community, by id or slug.
    #[arg(long)]
    pub community: String,
    /// Where to, such as http://127.0.0.1:3000/hook.
    #[arg(long, value_name = "URL")]
    pub forward_to: String,
    /// Of this type: `rsvp.confirmed`, `rsvp.*` or `*`.
    #[arg(long = "type", value_name = "TYPE", value_parser = pattern)]
    pub event_type: Option<EventTypePattern>,
    /// How to sign: `hmac` or `ed25519`.
    #[arg(long, default_value = "hmac", value_parser = scheme)]
    pub signature: SignatureScheme,
    /// Begin behind this position of the log, rather than with what is recorded from now on.
    #[arg(long, value_name = "POSITION", value_parser = clap::value_parser!(i64).range(0..))]
    pub after: Option<i64>,
    /// End after so many events.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub count: Option<u32>,
}

fn scheme(text: &str) -> Result<SignatureScheme, String> {
    SignatureScheme::parse(text).ok_or_else(|| "must be hmac or ed25519".to_owned())
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
    text.parse().map_err(|_| "must be scheduled, due, running, dead, done or cancelled".to_owned())
}

fn delivery_status(text: &str) -> Result<DeliveryStatus, String> {
    DeliveryStatus::parse(text).ok_or_else(|| "must be pending, succeeded or failed".to_owned())
}

fn limit(text: &str) -> Result<Limit, String> {
    if text == "none" {
        return Ok(Limit(None));
    }
    match text.parse() {
        Ok(number) if number > 0 => Ok(Limit(Some(number))),
        _ => Err("must be a whole number from 1, or none".to_owned()),
    }
}

fn pace(text: &str) -> Result<Pace, String> {
    if text == "none" {
        return Ok(Pace(None));
    }
    let (number, seconds) = match text.strip_suffix("/m") {
        Some(number) => (number, 60.0),
        None => (text.strip_suffix("/s").unwrap_or(text), 1.0),
    };
    match number.parse::<u32>() {
        Ok(number) if number > 0 => Ok(Pace(Some(f64::from(number) / seconds))),
        _ => Err("must be a whole number from 1 with /s or /m, such as 50/s, or none".to_owned()),
    }
}

fn dead_id(text: &str) -> Result<DeadId, String> {
    let is_digest = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
    match text.parse() {
        Ok(id) if !is_digest => Ok(DeadId::Job(id)),
        _ if is_digest => Ok(DeadId::Message(text.to_ascii_lowercase())),
        _ => Err("must be the number of a job, or 16 hexadecimal digits of a message".to_owned()),
    }
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
    fn limits_are_numbers_or_none() {
        assert_eq!(limit("4"), Ok(Limit(Some(4))));
        assert_eq!(limit("none"), Ok(Limit(None)));
        assert_eq!(pace("50/s"), Ok(Pace(Some(50.0))));
        assert_eq!(pace("30/m"), Ok(Pace(Some(0.5))));
        assert_eq!(pace("none"), Ok(Pace(None)));
        for bad in ["", "0", "-1", "1.5", "many", "0/s", "5/h"] {
            assert!(limit(bad).is_err() && pace(bad).is_err(), "{bad}");
        }
        let limits = ["convene", "jobs", "limit", "webhooks"];
        assert!(refused(&limits).contains("required"));
        let with = |more: &[&str]| Cli::try_parse_from(limits.iter().chain(more));
        assert!(with(&["--at-once", "4", "--rate", "50/s", "--burst", "9"]).is_ok());
        assert!(with(&["--group", "one", "--at-once", "none"]).is_ok());
        assert!(with(&["--group", "one", "--rate", "1/s"]).is_err());
        assert!(with(&["--burst", "9"]).is_err());
    }

    #[test]
    fn what_is_removed_or_tried_again_is_chosen() {
        for command in ["replay", "purge"] {
            let with =
                |more: &[&str]| Cli::try_parse_from(["convene", "dlq", command].iter().chain(more));
            assert!(with(&[]).is_err(), "never all by accident");
            assert!(with(&["--all"]).is_ok());
            assert!(with(&["17", "0123456789abcdef"]).is_ok());
            assert!(
                with(&["--kind", "a.b", "--since", "2027-04-01T00:00:00Z", "--error", "x"]).is_ok()
            );
            assert!(with(&["--all", "--kind", "a.b"]).is_err());
            assert!(with(&["seventeen"]).is_err());
        }
        assert_eq!(dead_id("17"), Ok(DeadId::Job(17)));
        assert_eq!(dead_id("0123456789012345"), Ok(DeadId::Message("0123456789012345".to_owned())));
    }

    #[test]
    fn a_retry_names_one_job_or_the_dead() {
        assert!(refused(&["convene", "jobs", "retry"]).contains("required"));
        assert!(Cli::try_parse_from(["convene", "jobs", "retry", "1", "--dead"]).is_err());
        assert!(Cli::try_parse_from(["convene", "jobs", "retry", "--dead", "--kind", "a"]).is_ok());
        assert!(Cli::try_parse_from(["convene", "jobs", "retry", "1", "--kind", "a"]).is_err());
    }
}
