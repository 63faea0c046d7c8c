//! What the commands of the binary do.
#![expect(clippy::print_stdout, reason = "the output of a command is what it is for")]

mod audit;
mod config;
mod cron;
mod db;
mod dlq;
mod doctor;
mod events;
mod jobs;
mod keys;
mod listen;
mod outbox;
mod process;
mod queues;
mod seed;
mod session;
mod table;
mod user;
mod webhooks;

use std::io::Write as _;

use convene_application::kernel::authz::{POLICY, Who};

use crate::cli::{Cli, Command};
use crate::config::{Config, Environment, Profile};
use crate::error::StartError;

/// Runs a command.
///
/// # Errors
/// Why it did not do its work.
pub async fn run(cli: Cli) -> Result<(), StartError> {
    match cli.command {
        Command::Serve => process::serve().await,
        Command::Worker => process::work().await,
        Command::Run => process::run().await,
        Command::Db(command) => Box::pin(db::run(command, cli.json)).await,
        Command::Config(command) => config::run(command, cli.json),
        Command::Doctor => doctor::run(cli.json).await,
        Command::User(command) => user::run(command, cli.json).await,
        Command::Events(command) => events::run(command, cli.json).await,
        Command::Outbox(command) => outbox::run(command, cli.json).await,
        Command::Jobs(command) => jobs::run(command, cli.json).await,
        Command::Cron(command) => cron::run(command, cli.json).await,
        Command::Dlq(command) => dlq::run(command, cli.json).await,
        Command::Webhooks(command) => webhooks::run(command, cli.json).await,
        Command::Audit(command) => audit::run(command, cli.json).await,
        Command::Keys(command) => keys::run(command, cli.json).await,
        Command::Openapi { admin: false } => print_json(&convene_http::openapi()),
        Command::Openapi { admin: true } => print_json(&convene_http::admin::admin_openapi()),
        Command::Asyncapi => {
            let base = convene_contracts::SchemaBase::default();
            print_json(&convene_contracts::asyncapi::document(&base))
        }
        Command::Metrics => say(crate::telemetry::metrics_page()),
        Command::Routes => routes(cli.json),
        Command::Permissions => permissions(cli.json),
    }
}

/// The configuration that the environment describes.
fn configured(fallback: Profile) -> Result<(Profile, Config), StartError> {
    crate::config::load(&environment(), fallback).map_err(StartError::Configuration)
}

fn environment() -> Environment {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name.starts_with("CONVENE"))
        .collect()
}

fn routes(json: bool) -> Result<(), StartError> {
    let routes = convene_http::routes();
    if json {
        let rows: Vec<_> = routes
            .iter()
            .map(|route| serde_json::json!({ "method": route.method, "path": route.path, "operation": route.operation }))
            .collect();
        return print_json(&rows);
    }
    for route in routes {
        println!("{:<7} {}", route.method, route.path);
    }
    Ok(())
}

fn permissions(json: bool) -> Result<(), StartError> {
    let mut routes = convene_http::routes();
    routes.extend(convene_http::admin::admin_route_infos());
    if !json {
        return say(convene_http::permissions::page(&routes).trim_end());
    }
    let policy: Vec<_> = POLICY
        .iter()
        .map(|rule| {
            let granted: Vec<&str> =
                Who::all().filter(|who| rule.allows(*who)).map(Who::letter).collect();
            serde_json::json!({ "action": rule.name, "granted": granted, "key_scope": rule.key_scope })
        })
        .collect();
    let operations: Vec<_> = routes
        .iter()
        .map(|route| {
            let actions: Vec<&str> = route.actions.iter().map(|action| action.name()).collect();
            serde_json::json!({ "operation": route.operation, "actions": actions })
        })
        .collect();
    print_json(&serde_json::json!({ "policy": policy, "operations": operations }))
}

fn print_json(value: &impl serde::Serialize) -> Result<(), StartError> {
    let text = serde_json::to_string_pretty(value).map_err(|error| StartError::Other {
        what: "the output is not JSON",
        source: Box::new(error),
    })?;
    say(text)
}

/// Prints a line. That its reader has seen enough and gone is no mistake.
fn say(line: impl std::fmt::Display) -> Result<(), StartError> {
    match writeln!(std::io::stdout(), "{line}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(StartError::Other { what: "nothing can be printed", source: Box::new(error) })
        }
        _ => Ok(()),
    }
}
