//! `convene keys …`

use convene_application::auth::crypto::SigningKey;
use convene_application::auth::keys::KeyOperator;
use convene_application::kernel::secrets::Resealed;
use convene_application::webhook::reseal_secrets;
use jiff::Timestamp;
use serde_json::json;

use super::session::Session;
use super::table;
use super::{print_json, say};
use crate::cli::KeysCommand;
use crate::error::StartError;
use crate::wiring::{Platform, operators};

pub(super) async fn run(command: KeysCommand, json: bool) -> Result<(), StartError> {
    let session = Session::open().await?;
    match command {
        KeysCommand::List => list(&session, json).await,
        KeysCommand::Rotate { now, retire } => rotate(&session, now, retire, json).await,
        KeysCommand::Reseal { dry_run } => reseal(&session.platform, dry_run, json).await,
    }
}

/// Where a key stands.
fn state(key: &SigningKey, now: Timestamp) -> &'static str {
    match key.retired_at {
        Some(retired_at) if retired_at <= now => "retired",
        _ if key.created_at > now => "announced",
        _ => "signing",
    }
}

async fn list(session: &Session, json: bool) -> Result<(), StartError> {
    let now = session.platform.env.now();
    let keys = operators::keys(&session.platform).list().await.map_err(StartError::Database)?;
    if json {
        let rows: Vec<_> = keys
            .iter()
            .map(|key| {
                json!({
                    "kid": key.kid,
                    "state": state(key, now),
                    "begins": key.created_at.to_string(),
                    "retires": key.retired_at.map(|at| at.to_string()),
                })
            })
            .collect();
        return print_json(&json!({ "keys": rows }));
    }
    let rows: Vec<_> = keys
        .iter()
        .map(|key| {
            let retires = key.retired_at.map_or_else(|| "-".to_owned(), |at| at.to_string());
            [key.kid.clone(), state(key, now).to_owned(), key.created_at.to_string(), retires]
        })
        .collect();
    let empty = "There are none: the first process that serves makes one.";
    table::print(["kid", "state", "begins", "retires"], &rows, empty)
}

async fn rotate(
    session: &Session,
    at_once: bool,
    distrusted: Option<String>,
    json: bool,
) -> Result<(), StartError> {
    let operator = operators::keys(&session.platform);
    if let Some(kid) = &distrusted {
        let known = operator.list().await.map_err(StartError::Database)?;
        if !known.iter().any(|key| key.kid == *kid) {
            let message =
                format!("there is no key {kid}: `convene keys list` shows those there are");
            return Err(StartError::Told(message));
        }
    }
    let begins = KeyOperator::begins(session.platform.env.now(), at_once || distrusted.is_some());
    let key = operators::keyring(&session.platform).generate(begins);
    let key = key.map_err(|error| StartError::Other {
        what: "no signing key could be made",
        source: Box::new(error),
    })?;
    let kid = key.kid.clone();
    let retired = operator.rotate(&session.context, key, distrusted.clone()).await;
    let retired = retired.map_err(StartError::Database)?;
    if json {
        return print_json(&json!({
            "kid": kid, "begins": begins.to_string(), "retired": retired, "distrusted": distrusted,
        }));
    }
    say(format_args!("Key {kid} signs from {begins} on; every process notices within a minute."))?;
    match distrusted {
        Some(old) => say(format_args!("What {old} signed is refused from then on.")),
        None => say("Tokens of the old key are accepted until they have expired."),
    }
}

async fn reseal(platform: &Platform, dry_run: bool, json: bool) -> Result<(), StartError> {
    let found = examine(platform, dry_run).await?;
    let lost: usize = found.iter().map(|(_, outcome)| outcome.lost).sum();
    if json {
        let rows: Vec<_> = found
            .iter()
            .map(|(name, outcome)| {
                json!({
                    "name": name,
                    "changed": outcome.changed,
                    "current": outcome.current,
                    "lost": outcome.lost,
                })
            })
            .collect();
        print_json(&json!({ "dry_run": dry_run, "values": rows }))?;
    } else {
        let changed = if dry_run { "to change" } else { "changed" };
        let rows: Vec<_> = found
            .iter()
            .map(|(name, outcome)| {
                let numbers = [outcome.changed, outcome.current, outcome.lost];
                let [changed, current, lost] = numbers.map(|number| number.to_string());
                [(*name).to_owned(), changed, current, lost]
            })
            .collect();
        table::print(["values", changed, "current", "lost"], &rows, "Nothing is sealed.")?;
    }
    if lost > 0 {
        let message = format!(
            "{lost} value(s) are under a key that is not configured: add it to secrets.previous_envelope_keys"
        );
        return Err(StartError::Told(message));
    }
    Ok(())
}

/// What is stored under the envelope keys for good; put under the one in force unless it is a dry run.
pub(super) async fn examine(
    platform: &Platform,
    dry_run: bool,
) -> Result<Vec<(&'static str, Resealed)>, StartError> {
    let operator = operators::keys(platform);
    let signing = operator.reseal_signing_keys(dry_run).await.map_err(StartError::Database)?;
    let secrets = reseal_secrets(&platform.store, &*platform.sealer, dry_run).await;
    let secrets = secrets.map_err(StartError::Database)?;
    let accounts = operator.rekey_accounts(dry_run).await.map_err(StartError::Database)?;
    Ok(vec![("signing_keys", signing), ("webhook_secrets", secrets), ("accounts", accounts)])
}
