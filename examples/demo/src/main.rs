//! Walks through Convene's story over HTTP, as any client would, against a server that `make run` started.
//!
//! Everything it makes has a name of its own, so it can be run again and again.
#![expect(clippy::print_stdout, reason = "a demonstration is there to be read")]

mod client;
mod receiver;

use std::error::Error;
use std::time::Duration;

use client::{Client, Person};
use receiver::Receiver;
use reqwest::Method;
use serde_json::{Value, json};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// How long anything that happens behind the API may take.
const PATIENCE: Duration = Duration::from_secs(15);

#[tokio::main]
async fn main() -> Outcome<()> {
    let client = Client::new();
    step(&format!("Convene answers at {}", client.base()));
    client.expect(200, Method::GET, "/readyz", None, None).await.map_err(|error| {
        format!("{error}\nIs the server running? Start it with `make run` in another terminal.")
    })?;
    let run = uuid::Uuid::new_v4().simple().to_string()[..8].to_owned();

    let olga = join_convene(&client, "Olga", &run).await?;
    let community = client
        .expect(
            201,
            Method::POST,
            "/v1/communities",
            Some(&olga),
            Some(json!({"slug": format!("rust-{run}"), "name": "Rust Berlin", "visibility": "public"})),
        )
        .await?;
    let community = text(&community, "id")?;
    step(&format!("Olga creates the community Rust Berlin: {community}"));

    let receiver = Receiver::start()?;
    let endpoint = client
        .expect(
            201,
            Method::POST,
            &format!("/v1/communities/{community}/webhooks"),
            Some(&olga),
            Some(json!({"url": receiver.url(), "event_types": ["rsvp.*"]})),
        )
        .await?;
    receiver.verify_with(&text(&endpoint, "secret")?)?;
    step(&format!(
        "She has rsvp.* sent to {}, signed with a secret that is shown once",
        receiver.url()
    ));

    let event = publish_event(&client, &olga, &community).await?;

    let mut guests = Vec::new();
    for name in ["Ada", "Bob", "Cleo"] {
        let guest = join_convene(&client, name, &run).await?;
        let join = format!("/v1/communities/{community}/join");
        client.expect(200, Method::POST, &join, Some(&guest), None).await?;
        let mine = format!("/v1/events/{event}/rsvps/me");
        let rsvp = client
            .expect(201, Method::PUT, &mine, Some(&guest), Some(json!({"party_size": 1})))
            .await?;
        let place = rsvp["waitlist_position"]
            .as_u64()
            .map_or_else(String::new, |n| format!(" at place {n}"));
        step(&format!("{name} joins and RSVPs: {}{place}", text(&rsvp, "status")?));
        guests.push(guest);
    }

    let mine = format!("/v1/events/{event}/rsvps/me");
    let cancelled = client.expect(200, Method::DELETE, &mine, Some(&guests[0]), None).await?;
    step(&format!("Ada cancels: {}", text(&cancelled, "status")?));
    let promoted = client.expect(200, Method::GET, &mine, Some(&guests[2]), None).await?;
    let status = text(&promoted, "status")?;
    if status != "confirmed" {
        return Err(format!("Cleo should have Ada's seat and is {status}").into());
    }
    step("Cleo, who waited, is confirmed in the same moment");
    let mail = client.mail_to(&guests[2], "seat", PATIENCE).await?;
    step(&format!("and gets a mail: {}", text(&mail, "subject")?));

    // Ada, Bob and Cleo answered, Ada cancelled, Cleo moved up.
    let expected =
        ["rsvp.confirmed", "rsvp.confirmed", "rsvp.waitlisted", "rsvp.cancelled", "rsvp.confirmed"];
    let received = receiver.wait_for(expected.len(), PATIENCE).await?;
    let mut types: Vec<&str> = received.iter().map(String::as_str).collect();
    let mut wanted = expected.to_vec();
    types.sort_unstable();
    wanted.sort_unstable();
    if types != wanted {
        return Err(format!("the receiver got {types:?} instead of {wanted:?}").into());
    }
    step(&format!("The receiver has verified the signature of all {} webhooks", received.len()));
    println!("\nThat is the story. Look around: {0}/docs and {0}/dev/mail", client.base());
    Ok(())
}

/// Registers, verifies by the mailed token and logs in.
async fn join_convene(client: &Client, name: &str, run: &str) -> Outcome<Person> {
    let email = format!("{}.{run}@example.org", name.to_lowercase());
    let password = format!("{run}-a-long-passphrase-of-{name}");
    let account = json!({"email": email, "password": password, "display_name": name});
    client.expect(202, Method::POST, "/v1/auth/register", None, Some(account)).await?;
    let mut person = Person { email: email.clone(), token: String::new() };
    let mail = client.mail_to(&person, "token: ", PATIENCE).await?;
    let token = text(&mail, "text")?
        .lines()
        .find_map(|line| line.strip_prefix("token: ").map(str::to_owned))
        .ok_or("the mail holds no token")?;
    client
        .expect(204, Method::POST, "/v1/auth/verify-email", None, Some(json!({"token": token})))
        .await?;
    let login = json!({"email": email, "password": password});
    let tokens = client.expect(200, Method::POST, "/v1/auth/login", None, Some(login)).await?;
    person.token = text(&tokens, "access_token")?;
    step(&format!("{name} registers, verifies {email} by the mailed token and logs in"));
    Ok(person)
}

async fn publish_event(client: &Client, olga: &Person, community: &str) -> Outcome<String> {
    let draft = client
        .expect(
            201,
            Method::POST,
            &format!("/v1/communities/{community}/events"),
            Some(olga),
            Some(json!({
                "title": "Ownership for Everyone",
                "starts_at_local": "2031-05-01T18:00:00",
                "ends_at_local": "2031-05-01T21:00:00",
                "time_zone": "Europe/Berlin",
                "capacity": 2
            })),
        )
        .await?;
    let event = text(&draft, "id")?;
    let publish = format!("/v1/events/{event}/publish");
    let published = client.expect(200, Method::POST, &publish, Some(olga), None).await?;
    step(&format!(
        "She publishes an event for two: {event}, {} in Berlin, {}",
        text(&published, "starts_at_local")?,
        text(&published, "starts_at")?
    ));
    Ok(event)
}

/// A member of a JSON object that must be text.
fn text(object: &Value, member: &str) -> Outcome<String> {
    object[member]
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| format!("no {member} in {object}").into())
}

fn step(what: &str) {
    println!("- {what}");
}
