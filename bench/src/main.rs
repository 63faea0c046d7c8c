//! Convene's benchmarks.
//!
//! Absolute numbers say more about the machine than about the code, so each is a ratio against a base line that is
//! measured in the same run, on the same private server, with durability on: `fsync`, `synchronous_commit` and full page
//! writes as Postgres ships them. Output: one Markdown table.
#![expect(clippy::print_stdout, reason = "the table is what this program is for")]

mod pgbench;
mod rsvp;
mod scene;

use std::error::Error;
use std::time::Duration;

use convene_embedded::{Postgres, ServerOptions};

/// How long each measurement runs.
const DURATION: Duration = Duration::from_secs(8);

/// One line of the table.
struct Row {
    what: &'static str,
    ours: f64,
    base: f64,
    base_line: &'static str,
    goal: &'static str,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = tokio::task::spawn_blocking(|| {
        Postgres::start(
            ServerOptions::temporary().setting("fsync", "on").setting("max_connections", "120"),
        )
    })
    .await??;
    let scene = scene::load(&server.url("postgres", "postgres"), &server).await?;
    let rows = [
        Row {
            what: "RSVP writes over 1,000 events",
            ours: rsvp::spread(&scene, DURATION).await?,
            base: pgbench::spread(&scene, DURATION)?,
            base_line: "pgbench: the same rows, a round trip a prepared statement",
            goal: "≥ 0.8",
        },
        Row {
            what: "RSVP writes to one event",
            ours: rsvp::hot(&scene, DURATION).await?,
            base: pgbench::hot(&scene, DURATION)?,
            base_line: "pgbench: the same under the row lock",
            goal: "≥ 5",
        },
    ];
    println!("| what | ours /s | base line /s | ratio | goal | base line |");
    println!("|---|---:|---:|---:|---:|---|");
    for Row { what, ours, base, base_line, goal } in rows {
        println!("| {what} | {ours:.0} | {base:.0} | {:.2} | {goal} | {base_line} |", ours / base);
    }
    Ok(())
}
