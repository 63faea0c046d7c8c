//! `convene webhooks listen`

use std::time::Duration;

use convene_application::kernel::error::Failure;
use convene_application::kernel::events::EventLog as _;
use convene_application::kernel::operate::replay::{self, EventFilter, RecordedEvent};
use convene_application::webhook::egress::UrlPolicy as _;
use convene_application::webhook::{Forwarded, Forwarder};
use convene_integrations::egress::{Reach, WebhookUrlPolicy};
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::events::types;
use super::say;
use super::session::Session;
use crate::cli::Listen;
use crate::error::StartError;
use crate::shutdown;
use crate::wiring::operators;

/// How often the log is asked for more.
const POLL: Duration = Duration::from_millis(250);
/// The most events in hand.
const BATCH: u32 = 100;

pub(super) async fn run(session: &Session, asked: Listen, as_json: bool) -> Result<(), StartError> {
    let platform = &session.platform;
    // Whoever runs this names a server of their own.
    if let Err(refused) = WebhookUrlPolicy::new(Reach::Private).check(&asked.forward_to) {
        return Err(StartError::Told(format!("--forward-to {} {refused}", asked.forward_to)));
    }
    let filter = EventFilter {
        types: types(asked.event_type),
        community: session.community(Some(&asked.community)).await?,
        ..EventFilter::default()
    };
    let forwarder = operators::forwarder(platform, asked.signature, asked.forward_to.clone())?;
    let mut position = match asked.after {
        Some(position) => position,
        None => platform.store.head().await.map_err(Failure::from)?,
    };
    announce(&asked.community, &asked.forward_to, &forwarder, as_json)?;

    let shutdown = shutdown::on_signal().map_err(|error| StartError::Other {
        what: "signals cannot be waited for",
        source: Box::new(error),
    })?;
    let mut poll = tokio::time::interval(POLL);
    let mut left = asked.count;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            _ = poll.tick() => {}
        }
        // The end of the log before what is read of it: what comes meanwhile is read next time.
        let head = platform.store.head().await.map_err(Failure::from)?;
        let found = replay::list(&platform.store, &filter, position, BATCH).await;
        let found = found.map_err(Failure::from)?;
        let is_full = found.len() >= usize::try_from(BATCH).unwrap_or(usize::MAX);
        for recorded in &found {
            forward(&forwarder, recorded, as_json).await?;
            position = recorded.event.position;
            if let Some(count) = &mut left {
                *count -= 1;
                if *count == 0 {
                    return Ok(());
                }
            }
        }
        if !is_full {
            position = position.max(head);
        }
    }
}

fn announce(
    community: &str,
    url: &str,
    forwarder: &Forwarder,
    as_json: bool,
) -> Result<(), StartError> {
    let verifier = forwarder.verifier();
    let secret = verifier.expose_secret();
    if as_json {
        return say(json!({ "community": community, "forward_to": url, "secret": secret }));
    }
    say(format_args!("Webhooks of {community} go to {url}. Verify them with\n{secret}"))
}

async fn forward(
    forwarder: &Forwarder,
    recorded: &RecordedEvent,
    as_json: bool,
) -> Result<(), StartError> {
    let event = &recorded.event;
    let Some(Forwarded { delivery, attempted }) = forwarder.forward(event).await? else {
        return Ok(());
    };
    let millis = attempted.duration.as_millis();
    if as_json {
        return say(json!({
            "position": event.position,
            "event_id": event.id,
            "event_type": event.event_type,
            "delivery": delivery.to_string(),
            "status_code": attempted.status,
            "error": attempted.error,
            "duration_ms": u64::try_from(millis).unwrap_or(u64::MAX),
            "response": String::from_utf8_lossy(&attempted.response_head),
        }));
    }
    let status = attempted.status.map(|status| status.to_string());
    let answer = match (status, attempted.error) {
        (Some(status), None) => status,
        (Some(status), Some(error)) => format!("{status} ({error})"),
        (None, error) => error.unwrap_or_default(),
    };
    say(format_args!("{:<28} {delivery}  {answer} in {millis} ms", event.event_type))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use crate::cli::Cli;

    #[test]
    fn a_listener_names_a_community_and_a_place() {
        let listen = ["convene", "webhooks", "listen"];
        let with = |more: &[&str]| Cli::try_parse_from(listen.iter().chain(more));
        let (community, place) =
            (["--community", "rust-berlin"], ["--forward-to", "http://127.0.0.1:3000/hook"]);
        assert!(with(&[community, place].concat()).is_ok());
        assert!(with(&community).is_err() && with(&place).is_err());
        assert!(with(&[&community[..], &place, &["--count", "0"]].concat()).is_err());
        assert!(with(&[&community[..], &place, &["--type", "rsvp.*"]].concat()).is_ok());
    }
}
