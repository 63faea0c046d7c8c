//! `convene dlq …`

use convene_application::kernel::operate::dead_letters::{
    DeadDone, DeadFilter, DeadId, DeadLetterList, DeadLetterOperator, MOST, ParkedMessage,
};
use convene_application::kernel::operate::jobs::JobView;
use serde_json::{Value, json};

use super::session::Session;
use super::{print_json, say, table};
use crate::cli::{DeadWhich, DlqCommand};
use crate::error::StartError;
use crate::wiring::operators;

pub(super) async fn run(command: DlqCommand, json: bool) -> Result<(), StartError> {
    let session = Session::open().await?;
    let letters = operators::dead_letters(&session.platform)?;
    match command {
        DlqCommand::List { which, limit } => {
            let mut found = letters.list(&filter(which, Vec::new())).await?;
            let limit = limit as usize;
            found.jobs.truncate(limit);
            found.messages.truncate(limit.saturating_sub(found.jobs.len()));
            show(&found, json)
        }
        DlqCommand::Show { id, payload } => show_one(&letters, id, payload, json).await,
        DlqCommand::Replay { ids, which, rate, dry_run: true, .. } => {
            tell(&letters, &filter(which, ids), json, &format!("at {rate}/s, replayed")).await
        }
        DlqCommand::Replay { ids, which, rate, .. } => {
            let done = letters.replay(&session.context, &filter(which, ids), rate).await?;
            ended(done, json)
        }
        DlqCommand::Purge { ids, which, destructive: true, .. } => {
            let done = letters.purge(&session.context, &filter(which, ids)).await?;
            ended(done, json)
        }
        DlqCommand::Purge { ids, which, destructive: false, .. } => {
            tell(&letters, &filter(which, ids), json, "removed").await?;
            Err(StartError::Told(
                "nothing was removed: with --destructive they are, for good".to_owned(),
            ))
        }
    }
}

fn filter(which: DeadWhich, ids: Vec<DeadId>) -> DeadFilter {
    let DeadWhich { kind, since, error } = which;
    DeadFilter { ids, kind, since, error }
}

/// What would be done.
async fn tell(
    letters: &DeadLetterOperator,
    filter: &DeadFilter,
    json: bool,
    what: &str,
) -> Result<(), StartError> {
    let found = letters.list(filter).await?;
    let (jobs, messages) = (found.jobs.len(), found.messages.len());
    if json {
        return print_json(&json!({ "would_be": what, "jobs": jobs, "messages": messages }));
    }
    say(format_args!("Would be {what}: {jobs} job(s), {messages} message(s)."))
}

fn ended(done: DeadDone, json: bool) -> Result<(), StartError> {
    let DeadDone { jobs, messages } = done;
    let settled = messages.replayed + messages.purged;
    if json {
        return print_json(&json!({
            "jobs": jobs,
            "messages": settled,
            "without_consumer": messages.homeless,
        }));
    }
    say(format_args!("Done: {jobs} job(s), {settled} message(s)."))?;
    if messages.homeless > 0 {
        say(format_args!(
            "{} message(s) stay: nobody knows which consumer they were for.",
            messages.homeless
        ))?;
    }
    Ok(())
}

async fn show_one(
    letters: &DeadLetterOperator,
    id: DeadId,
    payload: bool,
    json: bool,
) -> Result<(), StartError> {
    let filter = DeadFilter { ids: vec![id.clone()], ..DeadFilter::default() };
    let found = letters.list(&filter).await?;
    let mut shown = match (found.jobs.first(), found.messages.first()) {
        (Some(job), _) => job_as_json(job),
        (None, Some(message)) => message_as_json(message),
        (None, None) => {
            return Err(StartError::Told(format!(
                "there is no dead letter {id} among the latest {MOST}"
            )));
        }
    };
    if payload {
        shown["payload"] = match (&id, found.messages.first()) {
            (DeadId::Job(job), _) => letters.payload(*job).await?,
            (DeadId::Message(_), Some(message)) => bytes_as_json(&message.body),
            (DeadId::Message(_), None) => Value::Null,
        };
    }
    if json {
        return print_json(&shown);
    }
    for (name, value) in shown.as_object().into_iter().flatten() {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        say(format_args!("{:<14}{text}", format!("{name}:")))?;
    }
    Ok(())
}

/// As JSON where it is, else as text with what is no text replaced.
fn bytes_as_json(body: &[u8]) -> Value {
    serde_json::from_slice(body)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(body).into_owned()))
}

fn show(found: &DeadLetterList, json: bool) -> Result<(), StartError> {
    if json {
        let jobs: Vec<Value> = found.jobs.iter().map(job_as_json).collect();
        let messages: Vec<Value> = found.messages.iter().map(message_as_json).collect();
        return print_json(&json!({ "jobs": jobs, "messages": messages }));
    }
    let jobs = found.jobs.iter().map(|job| {
        [
            job.id.to_string(),
            "job".to_owned(),
            job.kind.clone(),
            job.at.to_string(),
            table::or_dash(job.last_error.as_deref()),
        ]
    });
    let messages = found.messages.iter().map(|message| {
        [
            message.digest.clone(),
            "message".to_owned(),
            table::or_dash(message.event_type.as_deref()),
            table::or_dash(message.parked_at),
            message.reason.clone(),
        ]
    });
    let rows: Vec<_> = jobs.chain(messages).collect();
    table::print(["id", "what", "kind", "died", "error"], &rows, "No dead letters.")
}

fn job_as_json(job: &JobView) -> Value {
    json!({
        "id": job.id,
        "kind": job.kind,
        "queue": job.queue,
        "attempt": job.attempt,
        "max_attempts": job.max_attempts,
        "unique_key": job.unique_key,
        "created_at": job.created_at.to_string(),
        "died_at": job.at.to_string(),
        "error": job.last_error,
    })
}

fn message_as_json(message: &ParkedMessage) -> Value {
    json!({
        "id": message.digest,
        "consumer": message.consumer,
        "kind": message.event_type,
        "died_at": message.parked_at.map(|at| at.to_string()),
        "error": message.reason,
        "bytes": message.body.len(),
    })
}
