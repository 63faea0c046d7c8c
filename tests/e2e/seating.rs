//! RSVPs: who gets a seat, who waits where, and when nobody can.

use convene_testkit::poll::poll_until;
use convene_tests::app::App;
use convene_tests::client::{Answer, PATIENCE, Person, text};
use serde_json::{Value, json};

/// An event and people who are members of its community; the first owns it.
struct World {
    app: App,
    people: Vec<Person>,
    community: String,
    event: String,
}

impl World {
    async fn build(capacity: Option<u32>, people: usize) -> Self {
        let app = App::start().await;
        let names = (0..people).map(|number| format!("person{number}"));
        let people = names.map(async |name| app.person(&name).await);
        let people = futures::future::join_all(people).await;
        let community = app.community(&people[0]).await;
        for person in &people[1..] {
            app.join(person, &community).await;
        }
        let event = app.event(&people[0], &community, capacity).await;
        Self { app, people, community, event }
    }

    async fn put(&self, person: usize, party: u32) -> Answer {
        let call = self.app.put(format!("/v1/events/{}/rsvps/me", self.event));
        call.by(&self.people[person]).json(json!({"party_size": party})).await
    }

    async fn cancel(&self, person: usize) -> Answer {
        self.app
            .delete(format!("/v1/events/{}/rsvps/me", self.event))
            .by(&self.people[person])
            .await
    }

    async fn rsvp(&self, person: usize) -> Value {
        let path = format!("/v1/events/{}/rsvps/me", self.event);
        self.app.get(path).by(&self.people[person]).await.expect(200).json()
    }

    /// Status, party and place of a person's RSVP.
    async fn standing(&self, person: usize) -> (String, u64, Option<u64>) {
        let rsvp = self.rsvp(person).await;
        let party = rsvp["party_size"].as_u64().expect("a number");
        (text(&rsvp["status"]), party, rsvp["waitlist_position"].as_u64())
    }

    /// Capacity, seats taken, seats left, parties that wait.
    async fn seats(&self) -> [Option<u64>; 4] {
        let path = format!("/v1/events/{}/availability", self.event);
        let seats = self.app.get(path).await.expect(200).json();
        ["capacity", "seats_taken", "seats_left", "waitlist_length"]
            .map(|name| seats[name].as_u64())
    }

    async fn patch(&self, change: Value) -> Answer {
        let call = self.app.patch(format!("/v1/events/{}", self.event)).header("if-match", "*");
        call.by(&self.people[0]).json(change).await
    }

    async fn wait_for_status(&self, person: usize, status: &str) {
        poll_until(PATIENCE, &format!("person {person} is {status}"), async || {
            (self.standing(person).await.0 == status).then_some(())
        })
        .await;
    }

    async fn log(&self, pattern: &str) -> Vec<Value> {
        let path = format!("/v1/communities/{}/event-log?limit=100&type={pattern}", self.community);
        let page = self.app.get(path).by(&self.people[0]).await.expect(200).json();
        page["data"].as_array().expect("a page has data").clone()
    }
}

fn confirmed(party: u64) -> (String, u64, Option<u64>) {
    ("confirmed".to_owned(), party, None)
}

fn waitlisted(party: u64, place: u64) -> (String, u64, Option<u64>) {
    ("waitlisted".to_owned(), party, Some(place))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_party_waits_as_a_whole_and_nobody_passes_it() {
    let world = World::build(Some(4), 6).await;
    let made = world.put(0, 3).await.expect(201);
    assert_eq!(
        made.header("location"),
        Some(format!("/v1/events/{}/rsvps/me", world.event).as_str())
    );
    assert_eq!(world.standing(0).await, confirmed(3));
    // Two do not fit into one seat; then one would, but somebody waits.
    world.put(1, 2).await.expect(201);
    world.put(2, 1).await.expect(201);
    assert_eq!(world.standing(1).await, waitlisted(2, 1));
    assert_eq!(world.standing(2).await, waitlisted(1, 2));
    assert_eq!(world.seats().await, [Some(4), Some(3), Some(1), Some(2)]);
    // A party that could never be seated is refused, waiting or not.
    world.put(3, 5).await.problem(409, "not_enough_seats");
    world.put(1, 5).await.problem(409, "not_enough_seats");
    // Growing: one seat is free, but somebody waits for it.
    world.put(0, 4).await.problem(409, "not_enough_seats");
    assert_eq!(world.standing(0).await, confirmed(3));
    // A waiting party keeps its place when its size changes.
    assert_eq!(world.put(1, 3).await.expect(200).json()["waitlist_position"], 1);
    assert_eq!(world.standing(2).await, waitlisted(1, 2));
    // Shrinking frees seats, and the head is strict: three do not fit into two seats, so nobody moves.
    world.put(0, 2).await.expect(200);
    assert_eq!(world.seats().await, [Some(4), Some(2), Some(2), Some(2)]);
    // The head shrinks in its turn, and all who fit move up at once.
    assert_eq!(world.put(1, 1).await.expect(200).json()["status"], "confirmed");
    assert_eq!(world.standing(2).await, confirmed(1));
    assert_eq!(world.seats().await, [Some(4), Some(4), Some(0), Some(0)]);

    world.put(3, 1).await.expect(201);
    world.put(4, 1).await.expect(201);
    assert_eq!(world.standing(4).await, waitlisted(1, 2));
    // Cancelling promotes in the order of the line.
    let cancelled = world.cancel(1).await.expect(200).json();
    assert_eq!(
        (&cancelled["status"], &cancelled["waitlist_position"]),
        (&json!("cancelled"), &Value::Null)
    );
    assert_eq!(world.standing(3).await, confirmed(1));
    assert_eq!(world.standing(4).await, waitlisted(1, 1));
    // Joining again makes a new RSVP at the back.
    let old = text(&cancelled["id"]);
    let again = world.put(1, 1).await.expect(201).json();
    assert_ne!(text(&again["id"]), old);
    assert_eq!(again["waitlist_position"], 2);
    // Leaving the line moves up those behind.
    world.cancel(4).await.expect(200);
    assert_eq!(world.standing(1).await, waitlisted(1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_twice_changes_nothing_and_reading_needs_one() {
    let world = World::build(Some(2), 2).await;
    let path = format!("/v1/events/{}/rsvps/me", world.event);
    world.app.get(&path).by(&world.people[1]).await.problem(404, "not_found");
    world.cancel(1).await.problem(404, "not_found");
    // The same answer twice: nothing changes.
    let made = world.put(1, 2).await.expect(201);
    let same = world.put(1, 2).await.expect(200);
    assert_eq!((same.etag(), &same.body), (made.etag(), &made.body));
    let cancelled = world.cancel(1).await.expect(200);
    let again = world.cancel(1).await.expect(200);
    assert_eq!(again.body, cancelled.body);
    assert_eq!(world.app.get(&path).by(&world.people[1]).await.expect(200).body, cancelled.body);
    world.put(1, 1).await.expect(201);
    poll_until(PATIENCE, "the last is recorded", async || {
        (world.log("rsvp.confirmed").await.len() == 2).then_some(())
    })
    .await;
    let types: Vec<String> =
        world.log("rsvp.*").await.iter().map(|event| text(&event["type"])).collect();
    assert_eq!(types, ["rsvp.confirmed", "rsvp.cancelled", "rsvp.confirmed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn parties_have_a_size() {
    let world = World::build(None, 1).await;
    for bad in [0, 11, 1_000_000] {
        world.put(0, bad).await.problem(422, "validation_failed");
    }
    let path = format!("/v1/events/{}/rsvps/me", world.event);
    let alone = world.app.put(&path).by(&world.people[0]).json(json!({})).await.expect(201);
    assert_eq!(alone.json()["party_size"], 1);
    world.put(0, 10).await.expect(200);
    // Without a limit the counts are numbers, and nothing else is.
    assert_eq!(world.seats().await, [None, Some(10), None, Some(0)]);
    let seats = world.app.get(format!("/v1/events/{}/availability", world.event)).await.json();
    assert_eq!(
        seats,
        json!({"capacity": null, "seats_taken": 10, "seats_left": null, "waitlist_length": 0})
    );
    poll_until(PATIENCE, "the change is recorded", async || {
        let changed = world.log("rsvp.party_changed").await;
        let data = &changed.first()?["data"];
        assert_eq!(data["changed"]["party_size"], json!({"old": 1, "new": 10}), "{data}");
        assert_eq!((&data["seats_left"], &data["party_size"]), (&Value::Null, &json!(10)));
        Some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capacity_follows_the_seats() {
    let world = World::build(Some(2), 4).await;
    world.put(0, 2).await.expect(201);
    for person in 1..4 {
        world.put(person, 1).await.expect(201);
    }
    world.patch(json!({"capacity": 1})).await.problem(409, "capacity_below_confirmed");
    for bad in [0, -1, 1_000_001] {
        world.patch(json!({"capacity": bad})).await.problem(422, "validation_failed");
    }
    world.patch(json!({"capacity": 4})).await.expect(200);
    world.wait_for_status(2, "confirmed").await;
    assert_eq!(world.standing(1).await, confirmed(1));
    assert_eq!(world.standing(3).await, waitlisted(1, 1));
    world.patch(json!({"capacity": null})).await.expect(200);
    world.wait_for_status(3, "confirmed").await;
    assert_eq!(world.seats().await, [None, Some(5), None, Some(0)]);
    world.patch(json!({"title": "Another", "capacity": 5})).await.expect(200);

    let log = poll_until(PATIENCE, "the changes are recorded", async || {
        let log = world.log("event.*").await;
        (log.iter().filter(|event| event["type"] == "event.capacity_changed").count() == 3)
            .then_some(log)
    })
    .await;
    let changes: Vec<&Value> = log
        .iter()
        .filter(|event| event["type"] == "event.capacity_changed")
        .map(|event| &event["data"]["changed"])
        .collect();
    assert_eq!(
        changes,
        [
            &json!({"capacity": {"old": 2, "new": 4}}),
            &json!({"capacity": {"old": 4, "new": null}}),
            &json!({"capacity": {"old": null, "new": 5}}),
        ]
    );
    let updated: Vec<&Value> = log
        .iter()
        .filter(|event| event["type"] == "event.updated")
        .map(|event| &event["data"])
        .collect();
    assert_eq!(updated.len(), 1);
    assert_eq!(updated[0]["changed"], json!({"title": {"old": "An event", "new": "Another"}}));
    let versions: Vec<i64> =
        log.iter().filter_map(|event| event["aggregateversion"].as_i64()).collect();
    assert_eq!(versions, (1..=6).collect::<Vec<_>>(), "of one event, without gaps");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_event_promotes_nobody_and_tells_everybody_once() {
    let world = World::build(Some(1), 3).await;
    world.put(0, 1).await.expect(201);
    world.put(1, 1).await.expect(201);
    world.put(2, 1).await.expect(201);
    world.cancel(2).await.expect(200);
    let path = format!("/v1/events/{}/cancel", world.event);
    let reason = json!({"reason": "The speaker is ill."});
    let cancelled =
        world.app.post(&path).by(&world.people[0]).json(reason).await.expect(200).json();
    assert_eq!(cancelled["status"], "cancelled");
    world.app.post(&path).by(&world.people[0]).await.problem(409, "invalid_transition");
    world.patch(json!({"title": "Again"})).await.problem(409, "invalid_transition");
    let publish = world.app.post(format!("/v1/events/{}/publish", world.event));
    publish.by(&world.people[0]).await.problem(409, "invalid_transition");
    world.put(2, 1).await.problem(409, "rsvp_closed");
    world.wait_for_status(0, "cancelled").await;
    world.wait_for_status(1, "cancelled").await;
    let ended = poll_until(PATIENCE, "both ends are recorded", async || {
        let ended = world.log("rsvp.cancelled").await;
        (ended.len() == 3).then_some(ended)
    })
    .await;
    let causes: Vec<String> = ended.iter().map(|event| text(&event["data"]["cause"])).collect();
    assert_eq!(causes, ["withdrawn", "event_cancelled", "event_cancelled"]);
    assert_eq!(world.log("rsvp.confirmed").await.len(), 1, "nobody was promoted");
    for person in [0, 1] {
        let path = format!("/dev/mail/messages?to={}", world.people[person].email);
        poll_until(PATIENCE, "a mail about the cancellation", async || {
            let mails = world.app.get(&path).await.json();
            let told = mails["data"].as_array()?.iter().filter(|mail| {
                mail["subject"]
                    .as_str()
                    .is_some_and(|subject| subject.to_lowercase().contains("cancel"))
            });
            (told.count() == 1).then_some(())
        })
        .await;
    }
}

/// `rsvp_closed`: drafts, cancelled and started events, and outside of the half-open window.
#[tokio::test(flavor = "multi_thread")]
async fn there_is_a_time_for_rsvps() {
    let world = World::build(Some(5), 2).await;
    let owner = &world.people[0];
    let draft = world.app.draft(owner, &world.community, None).await;
    world.app.rsvp(owner, &draft).await.problem(409, "rsvp_closed");

    world.put(1, 1).await.expect(201);
    world.patch(json!({"rsvp_opens_at": "2034-01-01T00:00:00Z"})).await.expect(200);
    world.put(0, 1).await.problem(409, "rsvp_closed");
    world.put(1, 2).await.problem(409, "rsvp_closed");
    world
        .patch(json!({"rsvp_opens_at": null, "rsvp_closes_at": "2020-01-01T00:00:00Z"}))
        .await
        .expect(200);
    world.put(0, 1).await.problem(409, "rsvp_closed");
    let window =
        json!({"rsvp_opens_at": "2020-01-01T00:00:00Z", "rsvp_closes_at": "2034-01-01T00:00:00Z"});
    world.patch(window).await.expect(200);
    world.put(0, 1).await.expect(201);
    for order in ["2034-01-01T00:00:00Z", "2035-01-01T00:00:00Z"] {
        world.patch(json!({"rsvp_opens_at": order})).await.problem(422, "validation_failed");
    }

    // It starts: nobody comes any more, but one can still say that one does not.
    let sql = world.app.sql().await;
    let shift = async |start: &str, end: &str| {
        let statement = format!(
            "UPDATE events SET starts_at = now() + interval '{start}', ends_at = now() + interval '{end}',
             rsvp_opens_at = NULL, rsvp_closes_at = NULL"
        );
        sql.batch_execute(&statement).await.expect("the times can be shifted");
    };
    shift("-1 hour", "1 hour").await;
    world.put(0, 2).await.problem(409, "rsvp_closed");
    world.cancel(1).await.expect(200);
    world.put(1, 1).await.problem(409, "rsvp_closed");
    shift("-2 hours", "-1 hour").await;
    world.cancel(0).await.problem(409, "rsvp_closed");
    // What is cancelled stays so, at any time; reads stay.
    assert_eq!(world.rsvp(0).await["status"], "confirmed");
    assert_eq!(world.cancel(1).await.expect(200).json()["status"], "cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_the_community_comes_no_more() {
    let world = World::build(Some(1), 3).await;
    world.put(1, 1).await.expect(201);
    world.put(2, 1).await.expect(201);
    let leave = || world.app.post(format!("/v1/communities/{}/leave", world.community));
    leave().by(&world.people[1]).await.expect(204);
    world.wait_for_status(2, "confirmed").await;
    assert_eq!(world.rsvp(1).await["status"], "cancelled");
    world.put(1, 1).await.problem(403, "membership_required");
    let left = poll_until(PATIENCE, "the end is recorded", async || {
        world.log("rsvp.cancelled").await.pop()
    })
    .await;
    assert_eq!(left["data"]["cause"], "member_left");
    assert_eq!(left["actor"], "system");
    assert_eq!(left["data"]["user_id"], world.people[1].id);
    // Leaving where one is no member changes nothing.
    leave().by(&world.people[1]).await.expect(204);
    leave().by(&world.people[0]).await.problem(409, "owner_cannot_leave");
}
