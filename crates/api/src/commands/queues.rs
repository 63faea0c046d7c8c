//! `convene jobs queues|groups|pause|resume|limit`

use convene_application::kernel::operate::queues::{
    GroupChange, GroupLimits, GroupView, QueueChange, QueueLimits, QueueView, Rate,
};
use serde_json::{Value, json};

use super::session::Session;
use super::{print_json, say, table};
use crate::error::StartError;
use crate::wiring::operators;

/// A rate whose burst is that of a second unless it is named.
pub(super) fn rate(per_second: f64, burst: Option<u32>) -> Rate {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 1, and in range"
    )]
    let a_second = per_second.ceil().clamp(1.0, f64::from(u32::MAX)) as u32;
    Rate { per_second, burst: burst.unwrap_or(a_second) }
}

pub(super) async fn list(session: &Session, json: bool) -> Result<(), StartError> {
    let queues = operators::queues(&session.platform).queues().await?;
    if json {
        return print_json(&json!({ "queues": queues.iter().map(queue_json).collect::<Vec<_>>() }));
    }
    let rows: Vec<_> = queues
        .iter()
        .map(|QueueView { backlog, limits }| {
            [
                backlog.queue.clone(),
                backlog.due.to_string(),
                format!("{} s", table::seconds(backlog.age)),
                backlog.running.to_string(),
                backlog.dead.to_string(),
                set_about_queue(limits),
            ]
        })
        .collect();
    table::print(
        ["queue", "due", "oldest", "running", "dead", "set"],
        &rows,
        "Every queue is empty, and nothing is set about any.",
    )
}

pub(super) async fn list_groups(
    session: &Session,
    queue: Option<&str>,
    limit: u32,
    json: bool,
) -> Result<(), StartError> {
    let groups = operators::queues(&session.platform).groups(queue, limit).await?;
    if json {
        return print_json(&json!({ "groups": groups.iter().map(group_json).collect::<Vec<_>>() }));
    }
    let rows: Vec<_> = groups
        .iter()
        .map(|group| {
            [
                group.queue.clone(),
                group.group.clone(),
                group.due.to_string(),
                group.running.to_string(),
                set_about_group(group.limits),
            ]
        })
        .collect();
    table::print(["queue", "group", "due", "running", "set"], &rows, "No groups.")
}

pub(super) async fn pause(
    session: &Session,
    queue: &str,
    group: Option<&str>,
    paused: bool,
    json: bool,
) -> Result<(), StartError> {
    let paused = Some(paused);
    match group {
        Some(group) => {
            let change = GroupChange { paused, ..GroupChange::default() };
            change_group(session, queue, group, &change, json).await
        }
        None => {
            let to = QueueChange { paused, ..QueueChange::default() };
            change(session, queue, &to, json).await
        }
    }
}

pub(super) async fn change(
    session: &Session,
    queue: &str,
    change: &QueueChange,
    json: bool,
) -> Result<(), StartError> {
    let operator = operators::queues(&session.platform);
    let limits = operator.change_queue(&session.context, queue, change).await?;
    if json {
        let mut told = limits_json(&limits);
        told["queue"] = queue.into();
        return print_json(&told);
    }
    say(format_args!("The queue {queue}: {}.", set_about_queue(&limits)))
}

pub(super) async fn change_group(
    session: &Session,
    queue: &str,
    group: &str,
    change: &GroupChange,
    json: bool,
) -> Result<(), StartError> {
    let operator = operators::queues(&session.platform);
    let limits = operator.change_group(&session.context, queue, group, change).await?;
    if json {
        let GroupLimits { paused, at_once } = limits;
        return print_json(
            &json!({ "queue": queue, "group": group, "paused": paused, "at_once": at_once }),
        );
    }
    say(format_args!("The group {group} of the queue {queue}: {}.", set_about_group(limits)))
}

fn set_about_queue(limits: &QueueLimits) -> String {
    let said = [
        limits.paused.then(|| "paused".to_owned()),
        limits.at_once.map(|most| format!("{most} at once")),
        limits.rate.map(|rate| format!("{}/s, {} at once", rate.per_second, rate.burst)),
        limits.group_at_once.map(|most| format!("{most} at once of each group")),
    ];
    sentence(said)
}

fn set_about_group(limits: GroupLimits) -> String {
    sentence([
        limits.paused.then(|| "paused".to_owned()),
        limits.at_once.map(|most| format!("{most} at once")),
    ])
}

fn sentence(said: impl IntoIterator<Item = Option<String>>) -> String {
    let said: Vec<String> = said.into_iter().flatten().collect();
    if said.is_empty() { "no limits".to_owned() } else { said.join("; ") }
}

fn limits_json(limits: &QueueLimits) -> Value {
    json!({
        "paused": limits.paused,
        "at_once": limits.at_once,
        "rate_per_second": limits.rate.map(|rate| rate.per_second),
        "burst": limits.rate.map(|rate| rate.burst),
        "group_at_once": limits.group_at_once,
    })
}

fn queue_json(queue: &QueueView) -> Value {
    let mut told = limits_json(&queue.limits);
    told["queue"] = queue.backlog.queue.clone().into();
    told["due"] = queue.backlog.due.into();
    told["oldest_seconds"] = table::seconds(queue.backlog.age).into();
    told["running"] = queue.backlog.running.into();
    told["dead"] = queue.backlog.dead.into();
    told
}

fn group_json(group: &GroupView) -> Value {
    json!({
        "queue": group.queue,
        "group": group.group,
        "paused": group.limits.paused,
        "at_once": group.limits.at_once,
        "due": group.due,
        "running": group.running,
    })
}
