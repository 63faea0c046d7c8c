//! `convene outbox …`

use convene_application::kernel::error::Failure;
use convene_application::kernel::operate::relay::RelayStatus;
use serde_json::json;

use super::session::Session;
use super::{print_json, say, table};
use crate::cli::OutboxCommand;
use crate::error::StartError;

pub(super) async fn run(command: OutboxCommand, json: bool) -> Result<(), StartError> {
    let session = Session::open().await?;
    match command {
        OutboxCommand::Status => status(&session, json).await,
    }
}

async fn status(session: &Session, json: bool) -> Result<(), StartError> {
    let status = RelayStatus::read(&session.platform.sinks).await.map_err(Failure::from)?;
    if json {
        let sinks: Vec<_> = status
            .sinks
            .iter()
            .map(|cursor| {
                json!({
                    "sink": cursor.sink,
                    "position": cursor.position,
                    "lag": status.lag(cursor),
                    "oldest_seconds": cursor.oldest_behind.map(table::seconds),
                    "epoch": cursor.epoch,
                    "led": cursor.is_led,
                })
            })
            .collect();
        return print_json(&json!({
            "waiting": status.waiting.rows,
            "oldest_seconds": table::seconds(status.waiting.age),
            "position": status.head,
            "sinks": sinks,
        }));
    }
    say(format_args!("Waiting for their position: {}", status.waiting.rows))?;
    say(format_args!("The oldest has waited:      {} s", table::seconds(status.waiting.age)))?;
    say(format_args!("Last position:              {}", status.head))?;
    let rows: Vec<_> = status
        .sinks
        .iter()
        .map(|cursor| {
            [
                cursor.sink.clone(),
                cursor.position.to_string(),
                status.lag(cursor).to_string(),
                table::or_dash(
                    cursor.oldest_behind.map(|age| format!("{} s", table::seconds(age))),
                ),
                cursor.epoch.to_string(),
                if cursor.is_led { "yes" } else { "no" }.to_owned(),
            ]
        })
        .collect();
    table::print(
        ["sink", "position", "lag", "oldest", "epoch", "led"],
        &rows,
        "No sink has published yet: start `convene worker`.",
    )
}
