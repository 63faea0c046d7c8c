//! Many people, few seats.

use std::sync::Arc;

use convene_api::app::Role;
use convene_tests::app::{App, database};
use convene_tests::client::{Person, text};
use convene_tests::ledger::Ledger;
use futures::StreamExt as _;
use futures::stream;

const PEOPLE: usize = 300;
const SEATS: u32 = 50;

/// 300 people ask for 50 seats at once, through two processes; every third cancels again. Nothing is ever oversold, the
/// counters equal a recount, and whoever was promoted was promoted in the order of the line.
#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_people_and_fifty_seats() {
    let database = Arc::new(database().await);
    let first = App::start_as(Role::Both, Arc::clone(&database), &[]).await;
    let second = App::start_as(Role::Serve, Arc::clone(&database), &[]).await;
    let olga = first.person("olga").await;
    let community = first.community(&olga).await;
    let event = first.event(&olga, &community, Some(SEATS)).await;
    let people: Vec<Person> = stream::iter(0..PEOPLE)
        .map(|n| {
            let (app, community) = (&first, &community);
            async move {
                let person = app.person(&format!("guest{n}")).await;
                app.join(&person, community).await;
                person
            }
        })
        .buffer_unordered(16)
        .collect()
        .await;

    let acts = people.iter().enumerate().map(|(n, person)| {
        let (app, event) = (if n % 2 == 0 { &first } else { &second }, &event);
        async move {
            let rsvp = app.rsvp(person, event).await.expect(201).json();
            assert!(["confirmed", "waitlisted"].contains(&text(&rsvp["status"]).as_str()));
            if n % 3 == 0 {
                let path = format!("/v1/events/{event}/rsvps/me");
                let cancelled = app.delete(path).by(person).await.expect(200).json();
                assert_eq!(cancelled["status"], "cancelled");
            }
        }
    });
    futures::future::join_all(acts).await;

    let sql = first.sql().await;
    let seats = sql.query_one("SELECT taken, waiting FROM event_seats", &[]).await.unwrap();
    let recount = sql
        .query_one(
            "SELECT count(*) FILTER (WHERE status = 'confirmed')::int, count(*) FILTER (WHERE status = 'waitlisted')::int
             FROM rsvps",
            &[],
        )
        .await
        .unwrap();
    let counters: (i32, i32) = (seats.get(0), seats.get(1));
    assert_eq!(counters, (recount.get(0), recount.get(1)));
    assert_eq!(counters, (50, 150), "200 of 300 stayed");

    let promoted = Ledger::read(&first, &olga, &community, SEATS).await.promoted;
    assert!(promoted.len() > 10, "{} were promoted", promoted.len());
    assert!(promoted.is_sorted(), "{promoted:?}");
}
