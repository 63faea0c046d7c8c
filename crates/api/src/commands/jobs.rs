//! `convene jobs …`

use convene_application::kernel::operate::jobs::{DeadFilter, JobFilter, JobView, Retried};
use convene_application::kernel::operate::queues::{GroupChange, QueueChange};
use serde_json::{Value, json};

use super::session::Session;
use super::{print_json, queues, say, table};
use crate::cli::{JobState, JobsCommand, Redrive};
use crate::error::StartError;
use crate::wiring::operators;

pub(super) async fn run(command: JobsCommand, json: bool) -> Result<(), StartError> {
    let session = Session::open().await?;
    match command {
        JobsCommand::List { kind, state, limit } => {
            let filter = JobFilter { kind, state, limit, id: None };
            let jobs = operators::jobs(&session.platform).list(&filter).await?;
            show(&jobs, json)
        }
        JobsCommand::Retry { id: Some(id), .. } => retry(&session, id, json).await,
        JobsCommand::Retry { id: None, kind, .. } => retry_dead(&session, kind, json).await,
        JobsCommand::Show { id } => show_one(&session, id, json).await,
        JobsCommand::Redrive(redrive) => redrive_dead(&session, redrive, json).await,
        JobsCommand::Queues => queues::list(&session, json).await,
        JobsCommand::Groups { queue, limit } => {
            queues::list_groups(&session, queue.as_deref(), limit, json).await
        }
        JobsCommand::Pause { queue, group } => {
            queues::pause(&session, &queue, group.as_deref(), true, json).await
        }
        JobsCommand::Resume { queue, group } => {
            queues::pause(&session, &queue, group.as_deref(), false, json).await
        }
        JobsCommand::Limit { queue, group: Some(group), at_once, .. } => {
            let at_once = at_once.map(|limit| limit.0);
            let change = GroupChange { at_once, ..GroupChange::default() };
            queues::change_group(&session, &queue, &group, &change, json).await
        }
        JobsCommand::Limit { queue, group: None, at_once, rate, burst, each_group } => {
            let change = QueueChange {
                paused: None,
                at_once: at_once.map(|limit| limit.0),
                rate: rate.map(|pace| pace.0.map(|each| queues::rate(each, burst))),
                group_at_once: each_group.map(|limit| limit.0),
            };
            queues::change(&session, &queue, &change, json).await
        }
        JobsCommand::Cancel { id, destructive: true } => cancel(&session, id, json).await,
        JobsCommand::Cancel { id, destructive: false } => preview(&session, id, json).await,
    }
}

async fn retry(session: &Session, id: i64, json: bool) -> Result<(), StartError> {
    let retried = operators::jobs(&session.platform).retry(&session.context, id).await?;
    let revived = match retried {
        Retried::Hastened => Vec::new(),
        Retried::Revived(revived) => revived,
    };
    if json {
        let now: Vec<i64> = revived.iter().map(|revived| revived.now).collect();
        let outcome = if now.is_empty() { "due" } else { "revived" };
        return print_json(&json!({ "job": id, "outcome": outcome, "now": now }));
    }
    if revived.is_empty() {
        say(format_args!("Job {id} is due now, with all its attempts."))?;
    }
    for revived in revived {
        say(format_args!("Job {id} lives again as job {}.", revived.now))?;
    }
    Ok(())
}

async fn retry_dead(session: &Session, kind: Option<String>, json: bool) -> Result<(), StartError> {
    let jobs = operators::jobs(&session.platform);
    let now = session.platform.env.now();
    let revived = jobs.retry_dead(&session.context, kind.clone(), now).await?;
    if json {
        return print_json(&json!({ "kind": kind, "revived": revived }));
    }
    say(format_args!("{revived} dead job(s) live again."))?;
    Ok(())
}

async fn redrive_dead(session: &Session, redrive: Redrive, json: bool) -> Result<(), StartError> {
    let jobs = operators::jobs(&session.platform);
    let filter = DeadFilter { kind: redrive.kind, since: redrive.since, error: redrive.error };
    if redrive.dry_run {
        let fitting = jobs.redrivable(&filter).await?;
        if json {
            return print_json(&json!({ "fitting": fitting, "revived": 0 }));
        }
        return say(format_args!("{fitting} dead job(s) would live again."));
    }
    let now = session.platform.env.now();
    let revived = jobs.redrive(&session.context, &filter, redrive.rate, now).await?;
    if json {
        return print_json(&json!({ "fitting": revived, "revived": revived }));
    }
    say(format_args!("{revived} dead job(s) live again."))
}

async fn show_one(session: &Session, id: i64, json: bool) -> Result<(), StartError> {
    let filter = JobFilter { id: Some(id), limit: 100, ..JobFilter::default() };
    let jobs = operators::jobs(&session.platform).list(&filter).await?;
    if jobs.is_empty() {
        return Err(StartError::Told(format!("there is no job {id}, live, dead or remembered")));
    }
    if json {
        return show(&jobs, true);
    }
    for job in &jobs {
        let Value::Object(members) = as_json(job) else { continue };
        for (name, value) in members.iter().filter(|(_, value)| !value.is_null()) {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            say(format_args!("{name:<15} {value}"))?;
        }
    }
    Ok(())
}

async fn cancel(session: &Session, id: i64, json: bool) -> Result<(), StartError> {
    let removed = operators::jobs(&session.platform).cancel(&session.context, id).await?;
    let states: Vec<String> = removed.iter().map(ToString::to_string).collect();
    if json {
        return print_json(&json!({ "job": id, "removed": states }));
    }
    if states == ["running"] {
        return say(format_args!(
            "Job {id} is asked to end with its worker's next heartbeat; it commits nothing more."
        ));
    }
    say(format_args!("Removed job {id} ({}).", states.join(", ")))
}

/// What cancelling would remove.
async fn preview(session: &Session, id: i64, json: bool) -> Result<(), StartError> {
    let filter = JobFilter { id: Some(id), limit: 100, ..JobFilter::default() };
    let jobs = operators::jobs(&session.platform).list(&filter).await?;
    if jobs.is_empty() {
        return Err(StartError::Told(format!("there is no job {id}, live or dead")));
    }
    show(&jobs, json)?;
    Err(StartError::Told(format!(
        "nothing was removed: `convene jobs cancel {id} --destructive` removes it for good"
    )))
}

fn show(jobs: &[JobView], json: bool) -> Result<(), StartError> {
    if json {
        return print_json(&json!({ "jobs": jobs.iter().map(as_json).collect::<Vec<_>>() }));
    }
    let rows: Vec<_> = jobs
        .iter()
        .map(|job| {
            [
                job.id.to_string(),
                job.kind.clone(),
                state(job),
                format!("{}/{}", job.attempt, job.max_attempts),
                job.at.to_string(),
                table::or_dash(job.last_error.as_deref()),
            ]
        })
        .collect();
    table::print(["id", "kind", "state", "attempts", "at", "last error"], &rows, "No jobs.")
}

/// Where a job stands, and how far it has got.
fn state(job: &JobView) -> String {
    let progress = job.progress.map(|now| match now.total {
        Some(total) => format!(" {}/{total}", now.done),
        None => format!(" {}", now.done),
    });
    let ending = if job.ending { ", ending" } else { "" };
    format!("{}{}{ending}", job.state, progress.unwrap_or_default())
}

fn as_json(job: &JobView) -> Value {
    let at = Some(job.at.to_string());
    let (run_at, died_at, ended_at) = match job.state {
        JobState::Dead => (None, at, None),
        JobState::Done | JobState::Cancelled => (None, None, at),
        JobState::Scheduled | JobState::Due | JobState::Running => (at, None, None),
    };
    json!({
        "id": job.id,
        "kind": job.kind,
        "queue": job.queue,
        "group": job.group,
        "state": job.state.to_string(),
        "priority": job.priority,
        "attempt": job.attempt,
        "max_attempts": job.max_attempts,
        "unique_key": job.unique_key,
        "created_at": job.created_at.to_string(),
        "run_at": run_at,
        "died_at": died_at,
        "ended_at": ended_at,
        "started_at": job.started_at.map(|time| time.to_string()),
        "ending": job.ending,
        "progress": job.progress.map(|now| json!({ "done": now.done, "total": now.total })),
        "last_error": job.last_error,
    })
}
