//! Requests that come more often than they should, and clients that do not wait for the answer.

use std::time::Duration;

use convene_testkit::poll::poll_until;
use convene_tests::client::{Answer, Call, PATIENCE, Person, text};
use convene_tests::ledger::Ledger;
use futures::future::join_all;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::process::Process;
use crate::stage::Stage;

/// How often the same request comes at the same time.
const TIMES: usize = 16;
const RETRY: Duration = Duration::from_millis(50);

/// Asks until nobody else is at it.
async fn insist<'a>(call: impl Fn() -> Call<'a>) -> Answer {
    loop {
        let answer = call().await;
        if answer.status != 409 {
            return answer;
        }
        answer.problem(409, "idempotency_in_flight");
        sleep(RETRY).await;
    }
}

fn is_one_effect(answers: &[Answer]) {
    let first = &answers[0].body;
    for answer in answers {
        assert_eq!((answer.status, &answer.body), (201, first), "{}", answer.request);
    }
    let replayed = answers.iter().filter(|answer| answer.header("idempotent-replayed").is_some());
    assert_eq!(replayed.count(), answers.len() - 1, "one is the first");
}

/// The same request at the same time, to two processes.
#[tokio::test(flavor = "multi_thread")]
async fn duplicates_have_one_effect() {
    let stage = Stage::set(1, 4).await;
    let first = Process::start("run", stage.settings(&[])).await;
    let second = Process::start("serve", stage.settings(&[])).await;
    let either = |number: usize| if number.is_multiple_of(2) { &first } else { &second };

    let events = format!("/v1/communities/{}/events", stage.community);
    let event = json!({
        "title": "Only one of its kind",
        "starts_at_local": "2035-05-01T18:00:00",
        "ends_at_local": "2035-05-01T21:00:00",
        "time_zone": "Europe/Berlin",
    });
    let create = |number| {
        let create = either(number).post(&events).by(&stage.owner).json(event.clone());
        create.header("idempotency-key", "one-event")
    };
    let created = join_all((0..TIMES).map(|number| insist(move || create(number)))).await;
    is_one_effect(&created);

    let path = format!("/v1/events/{}/rsvps/me", stage.event);
    let come = |number| {
        let come = either(number).put(&path).by(&stage.guests[0]).json(json!({}));
        come.header("idempotency-key", "one-seat")
    };
    let came = join_all((0..TIMES).map(|number| insist(move || come(number)))).await;
    is_one_effect(&came);

    stage.outbox_is_empty().await;
    let ledger = Ledger::read(&first, &stage.owner, &stage.community, stage.seats).await;
    assert_eq!(ledger.events.len(), 1, "{:?}", ledger.events);
    let created = first.event_log(&stage.owner, &stage.community, "event.created").await;
    assert_eq!(created.len(), 2, "the stage's event and one more");
}

/// The client goes while its request waits for the database. What it asked for happens all the same, once.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_cancels_nothing() {
    let stage = Stage::set(2, 4).await;
    // Nobody is to give up waiting while the test looks around on a busy machine.
    let patient = [
        ("CONVENE__DATABASE__LOCK_TIMEOUT", "30s"),
        ("CONVENE__DATABASE__STATEMENT_TIMEOUT", "40s"),
    ];
    let run = Process::start("run", stage.settings(&patient)).await;
    let mut holder = stage.sql().await;
    let watcher = stage.sql().await;
    let blocked = async || {
        let waiting = "SELECT count(*) FROM pg_stat_activity
             WHERE wait_event_type = 'Lock' AND application_name = 'convene'";
        let waiting: i64 = watcher.query_one(waiting, &[]).await.ok()?.get(0);
        (waiting > 0).then_some(())
    };
    for guest in &stage.guests {
        let held = holder.transaction().await.unwrap();
        held.execute("SELECT FROM event_seats FOR UPDATE", &[]).await.unwrap();
        let connection = send(&run, guest, &stage.event).await;
        poll_until(PATIENCE, "the request waits for the seats", blocked).await;
        drop(connection);
        held.commit().await.unwrap();

        let path = format!("/v1/events/{}/rsvps/me", stage.event);
        let rsvp = poll_until(PATIENCE, "the RSVP is there", async || {
            let answer = run.get(&path).by(guest).await;
            (answer.status == 200).then(|| answer.json())
        })
        .await;
        assert_eq!(rsvp["status"], "confirmed");
        let come = || run.put(&path).by(guest).json(json!({})).header("idempotency-key", KEY);
        let again = come().await.expect(201);
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
        assert_eq!(again.json()["id"], rsvp["id"]);
    }
    stage.outbox_is_empty().await;
    let ledger = Ledger::read(&run, &stage.owner, &stage.community, stage.seats).await;
    let subjects: Vec<String> = ledger.events.iter().map(|e| text(&e["data"]["user_id"])).collect();
    let guests: Vec<String> = stage.guests.iter().map(|guest| guest.id.clone()).collect();
    assert_eq!(subjects, guests);
}

const KEY: &str = "gone";

/// Sends a whole request, of which nobody reads the answer.
async fn send(run: &Process, guest: &Person, event: &str) -> TcpStream {
    let address = run.base.strip_prefix("http://").expect("a URL");
    let mut connection = TcpStream::connect(address).await.expect("it listens");
    let request = format!(
        "PUT /v1/events/{event}/rsvps/me HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\n\
         Idempotency-Key: {KEY}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}",
        guest.token
    );
    connection.write_all(request.as_bytes()).await.expect("it reads");
    connection
}
