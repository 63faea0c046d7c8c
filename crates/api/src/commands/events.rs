//! `convene events …`

use convene_application::kernel::error::Failure;
use convene_application::kernel::log::TypeFilter;
use convene_application::kernel::operate::replay::{
    self, EventFilter, RecordedEvent, ReplayMode, ReplayReport, ReplayRequest,
};
use convene_contracts::EventTypePattern;
use serde_json::{Value, json};

use super::session::Session;
use super::{print_json, say, table};
use crate::cli::{EventsCommand, Replay};
use crate::error::StartError;
use crate::wiring::operators;

pub(super) async fn run(command: EventsCommand, json: bool) -> Result<(), StartError> {
    let session = Session::open().await?;
    match command {
        EventsCommand::List { event_type, community, subject, after, limit } => {
            let filter = EventFilter {
                types: types(event_type),
                community: session.community(community.as_deref()).await?,
                subject,
                ..EventFilter::default()
            };
            let store = &session.platform.store;
            let events = replay::list(store, &filter, after, limit).await.map_err(Failure::from)?;
            show(&events, json)
        }
        EventsCommand::Replay(asked) => replay(&session, asked, json).await,
    }
}

pub(super) fn types(pattern: Option<EventTypePattern>) -> TypeFilter {
    match pattern {
        None | Some(EventTypePattern::Any) => TypeFilter::Any,
        Some(EventTypePattern::Module(module)) => TypeFilter::Module(module.to_owned()),
        Some(EventTypePattern::Exact(event_type)) => TypeFilter::Exact(event_type.to_owned()),
    }
}

fn show(events: &[RecordedEvent], json: bool) -> Result<(), StartError> {
    let envelopes: Vec<Value> = events
        .iter()
        .map(|recorded| serde_json::from_slice(&recorded.event.envelope))
        .collect::<Result<_, _>>()
        .map_err(|error| StartError::Other {
            what: "the log holds an event that is no JSON",
            source: Box::new(error),
        })?;
    if json {
        let items: Vec<Value> = events
            .iter()
            .zip(&envelopes)
            .map(|(recorded, envelope)| {
                json!({
                    "position": recorded.event.position,
                    "recorded_at": recorded.recorded_at.to_string(),
                    "event": envelope,
                })
            })
            .collect();
        let next_after = events.last().map(|last| last.event.position);
        return print_json(&json!({ "events": items, "next_after": next_after }));
    }
    let rows: Vec<_> = events
        .iter()
        .zip(&envelopes)
        .map(|(recorded, envelope)| {
            [
                recorded.event.position.to_string(),
                recorded.recorded_at.to_string(),
                format!("{}.v{}", recorded.event.event_type, recorded.event.version),
                table::or_dash(envelope["subject"].as_str()),
                table::or_dash(recorded.event.community),
            ]
        })
        .collect();
    table::print(
        ["position", "recorded", "type", "subject", "community"],
        &rows,
        "No events that fit.",
    )
}

async fn replay(session: &Session, asked: Replay, json: bool) -> Result<(), StartError> {
    let request = ReplayRequest {
        filter: EventFilter {
            types: types(asked.event_type),
            community: session.community(asked.community.as_deref()).await?,
            subject: asked.subject,
            from: asked.from,
            to: asked.to,
        },
        consumer: asked.consumer,
        mode: match (asked.resume, asked.again) {
            (Some(number), _) => ReplayMode::Resume(number),
            (None, true) => ReplayMode::Again,
            (None, false) => ReplayMode::Missing,
        },
        per_second: asked.rate,
        dry_run: asked.dry_run,
    };
    let replayer = operators::replayer(&session.platform)?;
    let report = replayer.run(&session.context, &request).await?;
    if json {
        return print_json(&json!({
            "consumer": request.consumer,
            "dry_run": request.dry_run,
            "replay": report.replay,
            "matched": report.matched,
            "consumed_before": report.consumed_before,
            "too_old": report.too_old,
            "replayed": report.replayed,
            "postponed": report.postponed,
        }));
    }
    tell(&request, &report)
}

fn tell(request: &ReplayRequest, report: &ReplayReport) -> Result<(), StartError> {
    if let Some(number) = report.replay {
        say(format_args!("Replay {number} for {}", request.consumer))?;
    }
    say(format_args!("Events that fit:      {}", report.matched))?;
    if request.mode != ReplayMode::Again {
        say(format_args!("Taken before:         {}", report.consumed_before))?;
    }
    if report.too_old > 0 {
        say(format_args!(
            "Too old to tell:      {} (`--again` takes them all the same)",
            report.too_old
        ))?;
    }
    let verb = if request.dry_run { "Would be replayed:" } else { "Replayed:" };
    say(format_args!("{verb:<22}{}", report.replayed))?;
    if report.postponed > 0 {
        say(format_args!(
            "Failed, now jobs:     {} (`convene jobs list --kind consumer.retry`)",
            report.postponed
        ))?;
    }
    Ok(())
}
