//! `convene cron …`

use convene_application::kernel::operate::cron::DutyView;
use serde_json::{Value, json};

use super::session::Session;
use super::{print_json, say, table};
use crate::cli::CronCommand;
use crate::error::StartError;
use crate::wiring::operators;

pub(super) async fn run(command: CronCommand, json: bool) -> Result<(), StartError> {
    let session = Session::open().await?;
    let cron = operators::cron(&session.platform);
    let (name, done, told) = match command {
        CronCommand::List => return show(&cron.list().await?, json),
        CronCommand::Pause { name } => {
            cron.pause(&session.context, &name).await?;
            let told = format!("{name} is paused: its ticks pass until it is resumed.");
            (name, "paused", told)
        }
        CronCommand::Resume { name } => {
            cron.resume(&session.context, &name).await?;
            let told = format!("{name} comes up again, from its next tick on.");
            (name, "resumed", told)
        }
        CronCommand::Run { name } => {
            cron.run(&session.context, &name).await?;
            let told = format!("{name} is due now.");
            (name, "due", told)
        }
    };
    if json { print_json(&json!({ "duty": name, "outcome": done })) } else { say(told) }
}

fn show(duties: &[DutyView], json: bool) -> Result<(), StartError> {
    if json {
        return print_json(&json!({ "duties": duties.iter().map(as_json).collect::<Vec<_>>() }));
    }
    let rows: Vec<_> = duties
        .iter()
        .map(|duty| {
            [
                duty.name.clone(),
                duty.schedule.clone(),
                duty.missed.clone(),
                if duty.paused { "paused".to_owned() } else { duty.next_tick.to_string() },
                table::or_dash(duty.last_fired_at),
            ]
        })
        .collect();
    table::print(
        ["name", "schedule", "missed", "next", "last fired"],
        &rows,
        "No duties: no worker has run yet.",
    )
}

fn as_json(duty: &DutyView) -> Value {
    json!({
        "name": duty.name,
        "schedule": duty.schedule,
        "missed": duty.missed,
        "next_tick": duty.next_tick.to_string(),
        "paused": duty.paused,
        "last_tick": duty.last_tick.map(|tick| tick.to_string()),
        "last_fired_at": duty.last_fired_at.map(|time| time.to_string()),
    })
}
