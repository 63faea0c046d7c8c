//! Convene's benchmarks.
//!
//! Absolute numbers say more about the machine than about the code, so each is a ratio against a base line that is
//! measured in the same run, on the same private servers, with durability on: `fsync`, `synchronous_commit` and full page
//! writes as Postgres ships them. Output: one Markdown table.
//!
//! `convene-bench [part]…` measures some parts only; without any, all of them. `convene-bench overload` sends more than the
//! server can bear instead. The `convene` binary is expected beside this
//! one.
#![expect(clippy::print_stdout, reason = "the table is what this program is for")]
#![expect(clippy::cast_precision_loss, reason = "counts and nanoseconds become rates")]

mod bare;
mod broker;
mod client;
mod get;
mod history;
mod jobs;
mod lists;
mod middleware;
mod overload;
mod peers;
mod pgbench;
mod process;
mod receiver;
mod rsvp;
mod scene;
mod table;
mod webhooks;

use std::time::Duration;

use scene::Scene;
use table::Row;

/// What goes wrong.
type Fault = Box<dyn std::error::Error + Send + Sync>;

/// How long each measurement runs.
const DURATION: Duration = Duration::from_secs(8);

/// The parts, in the order in which they run: those that write the most come last.
const PARTS: [&str; 9] =
    ["start", "get", "middleware", "lists", "webhooks", "broker", "jobs", "rsvp", "history"];

fn main() -> Result<(), Fault> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [command, rest @ ..] = arguments.as_slice()
        && command == bare::COMMAND
    {
        return bare::serve(rest);
    }
    let known = |part: &str| PARTS.contains(&part) || arguments == [overload::COMMAND];
    if let Some(unknown) = arguments.iter().find(|part| !known(part)) {
        return Err(format!("no part is called {unknown}; there are {}", PARTS.join(", ")).into());
    }
    let overload = arguments == [overload::COMMAND];
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if overload {
        return runtime.block_on(overload::measure());
    }
    runtime.block_on(measure(&arguments))
}

async fn measure(parts: &[String]) -> Result<(), Fault> {
    let scene = Scene::build().await?;
    let mut rows = Vec::new();
    for part in PARTS.iter().filter(|part| parts.is_empty() || parts.iter().any(|p| p == *part)) {
        tell(&format!("{part} (load {})", load_average()));
        let measured = match *part {
            "start" => process::start(&scene).await,
            "get" => get::measure(&scene).await,
            "middleware" => middleware::measure(&scene).await,
            "lists" => lists::measure(&scene).await,
            "webhooks" => webhooks::measure(&scene).await,
            "broker" => broker::measure(&scene).await,
            "jobs" => jobs::measure(&scene).await,
            "rsvp" => rsvp::measure(&scene).await,
            _ => history::measure(&scene).await,
        };
        match measured {
            Ok(measured) => rows.extend(measured),
            Err(fault) => {
                tell(&format!("{part} failed: {fault}"));
                rows.push(Row::failed(part, &fault.to_string()));
            }
        }
    }
    println!("{}", table::markdown(&rows));
    Ok(())
}

/// The machine's load of the last minute, since others may work on it.
fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().unwrap_or("unknown").to_owned()
}

/// Says how far the run is.
#[expect(clippy::print_stderr, reason = "standard output is for the table")]
fn tell(what: &str) {
    eprintln!("bench: {what}");
}
