//! The story that Convene is for, from the first registration to the verified webhook.

use std::collections::HashMap;

use convene_testkit::poll::poll_until;
use convene_tests::app::App;
use convene_tests::client::{PATIENCE, text};
use convene_tests::receiver::Receiver;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn from_an_rsvp_to_a_signed_webhook() {
    let app = App::start().await;
    let olga = app.person("olga").await;
    let community = app.community(&olga).await;
    let receiver = Receiver::start();
    let endpoint = app
        .post(format!("/v1/communities/{community}/webhooks"))
        .by(&olga)
        .json(json!({"url": receiver.url(), "event_types": ["rsvp.*"]}))
        .await
        .expect(201)
        .json();
    let secret = text(&endpoint["secret"]);
    let event = app.event(&olga, &community, Some(2)).await;

    let mut guests = Vec::new();
    for (name, status, position) in
        [("ada", "confirmed", None), ("bob", "confirmed", None), ("cleo", "waitlisted", Some(1))]
    {
        let guest = app.person(name).await;
        app.join(&guest, &community).await;
        let rsvp = app.rsvp(&guest, &event).await.expect(201).json();
        assert_eq!(rsvp["status"], status, "{name}");
        assert_eq!(rsvp["waitlist_position"], json!(position), "{name}");
        guests.push(guest);
    }
    let mine = format!("/v1/events/{event}/rsvps/me");
    let cancelled = app.delete(&mine).by(&guests[0]).await.expect(200).json();
    assert_eq!(cancelled["status"], "cancelled");
    let promoted = app.get(&mine).by(&guests[2]).await.expect(200).json();
    assert_eq!(
        (&promoted["status"], &promoted["waitlist_position"]),
        (&json!("confirmed"), &Value::Null)
    );
    let seats = app.get(format!("/v1/events/{event}/availability")).await.expect(200).json();
    assert_eq!(
        seats,
        json!({"capacity": 2, "seats_taken": 2, "seats_left": 0, "waitlist_length": 0})
    );

    poll_until(PATIENCE, "the promoted person gets a mail", async || {
        let mails = app.get(format!("/dev/mail/messages?to={}", guests[2].email)).await.json();
        let found = mails["data"]
            .as_array()?
            .iter()
            .any(|mail| mail["text"].as_str().is_some_and(|t| t.contains("seat")));
        found.then_some(())
    })
    .await;

    let received = receiver.wait_for(5).await;
    assert!(received.iter().all(|webhook| webhook.is_signed_with(&secret)));
    let bodies: HashMap<String, Value> =
        received.iter().map(|webhook| (text(&webhook.json()["id"]), webhook.json())).collect();
    let log = app
        .get(format!("/v1/communities/{community}/event-log?type=rsvp.*"))
        .by(&olga)
        .await
        .expect(200)
        .json();
    let events = log["data"].as_array().unwrap();
    let types: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(
        types,
        ["rsvp.confirmed", "rsvp.confirmed", "rsvp.waitlisted", "rsvp.cancelled", "rsvp.confirmed"]
    );
    for event in events {
        let body = &bodies[&text(&event["id"])];
        assert_eq!(body["type"], event["type"]);
        assert_eq!(body["data"], event["data"]);
        assert_eq!(body["timestamp"], event["time"]);
        assert_eq!(body["version"], 1);
    }
    assert_eq!(events[4]["data"]["cause"], "waitlist");
    assert_eq!(events[4]["aggregateversion"], 2);
}
