//! `convene jobs …`

use convene_application::kernel::operate::jobs::{JobFilter, JobView, Retried};
use serde_json::{Value, json};

use super::session::Session;
use super::{print_json, say, table};
use crate::cli::{JobState, JobsCommand};
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

async fn cancel(session: &Session, id: i64, json: bool) -> Result<(), StartError> {
    let removed = operators::jobs(&session.platform).cancel(&session.context, id).await?;
    let states: Vec<String> = removed.iter().map(ToString::to_string).collect();
    if json {
        return print_json(&json!({ "job": id, "removed": states }));
    }
    say(format_args!("Removed job {id} ({}).", states.join(", ")))?;
    Ok(())
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
                job.state.to_string(),
                format!("{}/{}", job.attempt, job.max_attempts),
                job.at.to_string(),
                table::or_dash(job.last_error.as_deref()),
            ]
        })
        .collect();
    table::print(["id", "kind", "state", "attempts", "at", "last error"], &rows, "No jobs.")
}

fn as_json(job: &JobView) -> Value {
    let (run_at, died_at) = match job.state {
        JobState::Dead => (None, Some(job.at.to_string())),
        _ => (Some(job.at.to_string()), None),
    };
    json!({
        "id": job.id,
        "kind": job.kind,
        "queue": job.queue,
        "state": job.state.to_string(),
        "priority": job.priority,
        "attempt": job.attempt,
        "max_attempts": job.max_attempts,
        "unique_key": job.unique_key,
        "created_at": job.created_at.to_string(),
        "run_at": run_at,
        "died_at": died_at,
        "last_error": job.last_error,
    })
}
