//! Guests who come, change their minds and come again, each time with an idempotency key, and who ask again until they are
//! answered.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use convene_testkit::poll::poll_until;
use convene_tests::client::{Answer, Client, Person, text};
use convene_tests::ledger::Ledger;
use reqwest::Method;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::stage::Stage;

/// Between two wishes of a guest: a load that leaves the machine some time for everything else.
const PACE: Duration = Duration::from_millis(100);
/// Before a guest asks again.
const RETRY: Duration = Duration::from_millis(100);
/// How long a guest waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The guests of a stage, under way.
pub(crate) struct Guests {
    stop: CancellationToken,
    tasks: JoinSet<Vec<Acknowledged>>,
    seen: Arc<Seen>,
    people: usize,
}

/// What all guests together have met so far.
#[derive(Default)]
struct Seen {
    asking: AtomicUsize,
    acknowledged: AtomicUsize,
    unanswered: AtomicUsize,
    refused: Mutex<Vec<Duration>>,
}

/// A wish that was granted.
#[derive(Debug)]
struct Acknowledged {
    user: String,
    rsvp: String,
    wish: Wish,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Come,
    Withdraw,
}

impl Guests {
    /// Sends all guests of the stage.
    pub(crate) fn of(stage: &Stage, api: &Client) -> Self {
        let (stop, seen) = (CancellationToken::new(), Arc::<Seen>::default());
        let mut tasks = JoinSet::new();
        for guest in &stage.guests {
            let path = format!("/v1/events/{}/rsvps/me", stage.event);
            let guest = Guest { api: api.clone(), person: guest.clone(), path, seen: seen.clone() };
            let stop = stop.clone();
            tasks.spawn(async move { guest.come_and_go(&stop).await });
        }
        Self { stop, tasks, seen, people: stage.guests.len() }
    }

    /// How many wishes were granted so far.
    pub(crate) fn acknowledged(&self) -> usize {
        self.seen.acknowledged.load(Ordering::SeqCst)
    }

    /// How many requests got no answer so far.
    pub(crate) fn unanswered(&self) -> usize {
        self.seen.unanswered.load(Ordering::SeqCst)
    }

    /// Waits for a moment in which somebody waits for an answer.
    pub(crate) async fn are_asking(&self) {
        poll_until(PATIENCE, "somebody asks", async || {
            (self.seen.asking.load(Ordering::SeqCst) > 0).then_some(())
        })
        .await;
    }

    /// Waits until a request that is under way now, or comes, gets no answer.
    pub(crate) async fn are_left_without_an_answer(&self) {
        let before = self.unanswered();
        poll_until(PATIENCE, "somebody gets no answer", async || {
            (self.unanswered() > before).then_some(())
        })
        .await;
    }

    /// How long each request took that was refused for the time being.
    pub(crate) fn refused(&self) -> Vec<Duration> {
        self.seen.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until each guest, on the average, was granted so many more wishes.
    pub(crate) async fn go_on(&mut self, wishes: usize, within: Duration) {
        let enough = self.acknowledged() + wishes * self.people;
        poll_until(within, "the guests' wishes are granted", async || {
            self.nobody_gave_up();
            (self.acknowledged() >= enough).then_some(())
        })
        .await;
    }

    /// Waits until each guest, on the average, was refused so many more times.
    pub(crate) async fn are_refused(&mut self, times: usize, within: Duration) {
        let enough = self.refused().len() + times * self.people;
        poll_until(within, "the guests are refused", async || {
            self.nobody_gave_up();
            (self.refused().len() >= enough).then_some(())
        })
        .await;
    }

    /// A guest gives up only over an answer that there should not be.
    fn nobody_gave_up(&mut self) {
        if let Some(Err(error)) = self.tasks.try_join_next() {
            std::panic::resume_unwind(error.into_panic());
        }
    }

    /// Has the guests stop once their last wish is granted, and compares what they were told with what there is: every wish
    /// that was granted was carried out, once, and there were never more people than seats.
    pub(crate) async fn leave(self, stage: &Stage, api: &Client) -> Ledger {
        self.stop.cancel();
        let granted: Vec<Vec<Acknowledged>> = self.tasks.join_all().await;
        stage.outbox_is_empty().await;
        let ledger = Ledger::read(api, &stage.owner, &stage.community, stage.seats).await;
        let effects = |wish: Wish, user: &str| -> Vec<String> {
            let cause = if wish == Wish::Come { "direct" } else { "withdrawn" };
            let events = ledger.events.iter().map(|event| &event["data"]);
            let caused = events.filter(|data| data["user_id"] == user && data["cause"] == cause);
            caused.map(|data| text(&data["rsvp_id"])).collect()
        };
        for granted in granted.iter().filter(|granted| !granted.is_empty()) {
            let user = &granted[0].user;
            for wish in [Wish::Come, Wish::Withdraw] {
                let wanted = granted.iter().filter(|one| one.wish == wish);
                let wanted: Vec<String> = wanted.map(|one| one.rsvp.clone()).collect();
                assert_eq!(effects(wish, user), wanted, "{wish:?} of {user}");
            }
        }
        ledger
    }
}

struct Guest {
    api: Client,
    person: Person,
    path: String,
    seen: Arc<Seen>,
}

impl Guest {
    async fn come_and_go(self, stop: &CancellationToken) -> Vec<Acknowledged> {
        let mut granted = Vec::new();
        for wish in [Wish::Come, Wish::Withdraw].into_iter().cycle() {
            if stop.is_cancelled() {
                break;
            }
            let rsvp = self.insist(wish).await;
            granted.push(Acknowledged { user: self.person.id.clone(), rsvp, wish });
            self.seen.acknowledged.fetch_add(1, Ordering::SeqCst);
            sleep(PACE).await;
        }
        granted
    }

    /// Asks until it is granted, always with the same key; the RSVP's id.
    async fn insist(&self, wish: Wish) -> String {
        let key = Uuid::new_v4().to_string();
        loop {
            let asked = Instant::now();
            self.seen.asking.fetch_add(1, Ordering::SeqCst);
            let answer = timeout(PATIENCE, self.ask(wish, &key)).await;
            self.seen.asking.fetch_sub(1, Ordering::SeqCst);
            match answer {
                Ok(Ok(answer)) if answer.status < 300 => return granted(answer, wish),
                Ok(Ok(answer)) => self.refused(answer, asked.elapsed()),
                Ok(Err(_)) => {
                    self.seen.unanswered.fetch_add(1, Ordering::SeqCst);
                }
                Err(_) => panic!("no answer within {PATIENCE:?}"),
            }
            sleep(RETRY).await;
        }
    }

    async fn ask(&self, wish: Wish, key: &str) -> reqwest::Result<Answer> {
        let call = match wish {
            Wish::Come => self.api.call(Method::PUT, &self.path).json(json!({})),
            Wish::Withdraw => self.api.call(Method::DELETE, &self.path),
        };
        call.by(&self.person).header("idempotency-key", key).try_send().await
    }

    fn refused(&self, answer: Answer, waited: Duration) {
        if answer.status == 409 {
            // The request before, whose answer was lost, is still being worked on.
            answer.problem(409, "idempotency_in_flight");
            return;
        }
        is_unavailable(answer);
        self.seen.refused.lock().unwrap_or_else(PoisonError::into_inner).push(waited);
    }
}

/// Were the effect there already without the stored reply, a wish to come would be answered 200.
fn granted(answer: Answer, wish: Wish) -> String {
    let status = if wish == Wish::Come { 201 } else { 200 };
    text(&answer.expect(status).json()["id"])
}

/// Insists on the problem that tells that something is away for the time being.
pub(crate) fn is_unavailable(answer: Answer) {
    let retry_after = answer.header("retry-after").and_then(|after| after.parse::<u32>().ok());
    assert!(retry_after.is_some_and(|after| after > 0), "{} {retry_after:?}", answer.request);
    answer.problem(503, "unavailable");
}
