//! What the log says about the seats of an event.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use crate::client::{Client, Person, text};

/// The log of a community with one event, read from the first RSVP to the last.
pub struct Ledger {
    /// The events of RSVPs in the order of the log.
    pub events: Vec<Value>,
    /// The numbers in the line of those that were promoted, in the order of promotion.
    pub promoted: Vec<i64>,
}

impl Ledger {
    /// Reads the log as this owner.
    ///
    /// # Panics
    /// If it breaks a rule: versions are gapless, no event occurs twice, the seats that are taken are never fewer than none
    /// nor more than there are, and each event tells how many are left.
    pub async fn read(client: &Client, owner: &Person, community: &str, seats: u32) -> Self {
        let events = client.event_log(owner, community, "rsvp.*").await;
        let mut ids: HashSet<String> = HashSet::new();
        let mut numbers: HashMap<String, i64> = HashMap::new();
        let mut versions: HashMap<String, i64> = HashMap::new();
        let mut confirmed: HashSet<String> = HashSet::new();
        let (mut promoted, mut taken, seats) = (Vec::new(), 0_i64, i64::from(seats));
        for event in &events {
            assert!(ids.insert(text(&event["id"])), "twice in the log: {event}");
            let subject = text(&event["subject"]);
            let version = versions.entry(subject.clone()).or_default();
            *version += 1;
            assert_eq!(event["aggregateversion"], *version, "{event}");
            match event["type"].as_str().expect("an event has a type") {
                "rsvp.confirmed" => {
                    taken += 1;
                    if event["data"]["cause"] == "waitlist" {
                        promoted.push(numbers[&subject]);
                    }
                    confirmed.insert(subject);
                }
                "rsvp.waitlisted" => {
                    let number = event["data"]["waitlist_seq"].as_i64();
                    numbers.insert(subject, number.expect("who waits has a number"));
                }
                _ => taken -= i64::from(confirmed.remove(&subject)),
            }
            assert!((0..=seats).contains(&taken), "{taken} seats taken after {event}");
            assert_eq!(event["data"]["seats_left"], seats - taken, "{event}");
        }
        Self { events, promoted }
    }
}

impl Client {
    /// A community's events of these types, oldest first, all pages.
    pub async fn event_log(&self, owner: &Person, community: &str, types: &str) -> Vec<Value> {
        let (mut events, mut after) = (Vec::new(), String::new());
        loop {
            let path =
                format!("/v1/communities/{community}/event-log?type={types}&limit=100{after}");
            let mut page = self.get(path).by(owner).await.expect(200).json();
            events.append(page["data"].as_array_mut().expect("a page has data"));
            match page["next_cursor"].as_str() {
                Some(cursor) => after = format!("&after={cursor}"),
                None => return events,
            }
        }
    }
}
