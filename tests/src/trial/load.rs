//! People who do things, at a pace that leaves the machine time for everything else, and write down what they are answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::dice::Dice;
use super::history::{History, Operation, Outcome, Record};
use super::stage::{Cast, Stage};
use crate::client::{Client, Person};

/// How long somebody waits for an answer.
const PATIENCE: Duration = Duration::from_secs(4);
/// In how many of a hundred cases somebody who can ask again hardly waits at all: for an answer that is lost, and that the
/// same key must bring back.
const HASTY: u64 = 8;
/// How long they wait at most.
const HASTE: Duration = Duration::from_millis(40);
/// Before somebody asks again.
const RETRY: Duration = Duration::from_millis(250);
/// How often somebody asks again under the same key before giving up.
const RETRIES: u32 = 60;
/// Between two wishes.
const PAUSES: (Duration, Duration) = (Duration::from_millis(150), Duration::from_millis(450));

/// People under way.
pub struct Load {
    stop: CancellationToken,
    people: JoinSet<()>,
    /// What they asked and were answered.
    pub history: Arc<History>,
}

impl Load {
    /// Sends everybody of the cast, who decide by this seed.
    #[must_use]
    pub fn begin(stage: &Stage, seed: u64) -> Self {
        let (stop, history) = (CancellationToken::new(), Arc::<History>::default());
        let begun = Instant::now();
        let mut people = JoinSet::new();
        let mut number = 0;
        let mut somebody = |person: &Person| {
            number += 1;
            Somebody {
                person: person.clone(),
                apis: stage.apis(),
                cast: stage.cast.clone(),
                webhooks: stage.webhooks.clone(),
                dice: Dice::new(seed, number),
                history: Arc::clone(&history),
                begun,
                stop: stop.clone(),
            }
        };
        for guest in &stage.cast.guests {
            people.spawn(somebody(guest).come_and_go());
        }
        people.spawn(somebody(&stage.cast.owner).organise());
        people.spawn(somebody(&stage.cast.owner).administer());
        people.spawn(somebody(&stage.cast.owner).look_around());
        Self { stop, people, history }
    }

    /// Has everybody stop once they know what became of their last wish, or give up.
    ///
    /// # Panics
    /// If somebody did.
    pub async fn end(self) -> Vec<Record> {
        self.stop.cancel();
        self.people.join_all().await;
        self.history.records()
    }
}

struct Somebody {
    person: Person,
    apis: Vec<(&'static str, Client)>,
    cast: Cast,
    webhooks: Vec<String>,
    dice: Dice,
    history: Arc<History>,
    begun: Instant,
    stop: CancellationToken,
}

/// Something to ask for.
struct Wish {
    operation: Operation,
    method: Method,
    path: String,
    body: Option<Value>,
    if_match: bool,
}

impl Wish {
    fn new(operation: Operation, method: Method, path: String, body: Option<Value>) -> Self {
        Self { operation, method, path, body, if_match: false }
    }

    fn patch(operation: Operation, path: String, body: Value) -> Self {
        Self { operation, method: Method::PATCH, path, body: Some(body), if_match: true }
    }
}

/// What one attempt came to.
enum Answered {
    Done(Value),
    /// For good.
    No,
    /// For the time being, or nobody knows.
    Perhaps,
}

impl Somebody {
    async fn come_and_go(mut self) {
        let events = self.cast.events.clone();
        while self.goes_on().await {
            let (event, _) = self.dice.one(&events).clone();
            let path = format!("/v1/events/{event}/rsvps/me");
            let wish = if self.dice.percent(60) {
                let body = json!({"party_size": 1 + self.dice.below(3)});
                Wish::new(Operation::Attend, Method::PUT, path, Some(body))
            } else {
                Wish::new(Operation::Withdraw, Method::DELETE, path, None)
            };
            self.insist(&wish).await;
        }
    }

    async fn organise(mut self) {
        let mut own: Vec<String> = Vec::new();
        while self.goes_on().await {
            let title = format!("Event {}", Uuid::new_v4());
            let chance = self.dice.below(100);
            let wish = if own.is_empty() || chance < 30 {
                let event = json!({
                    "title": title,
                    "starts_at_local": "2035-05-01T18:00:00",
                    "ends_at_local": "2035-05-01T21:00:00",
                    "time_zone": "Europe/Berlin",
                    "capacity": 5,
                });
                let path = format!("/v1/communities/{}/events", self.cast.community);
                Wish::new(Operation::CreateEvent, Method::POST, path, Some(event))
            } else if chance < 65 {
                let event = self.dice.one(&own);
                let path = format!("/v1/events/{event}");
                Wish::patch(Operation::RenameEvent, path, json!({"title": title}))
            } else if chance < 80 {
                let (event, seats) = self.dice.one(&self.cast.events).clone();
                let capacity = u64::from(seats) + self.dice.below(6);
                let path = format!("/v1/events/{event}");
                Wish::patch(Operation::ResizeEvent, path, json!({"capacity": capacity}))
            } else {
                let (operation, verb) = if chance < 95 {
                    (Operation::PublishEvent, "publish")
                } else {
                    (Operation::CancelEvent, "cancel")
                };
                let event = self.dice.one(&own);
                Wish::new(operation, Method::POST, format!("/v1/events/{event}/{verb}"), None)
            };
            let done = self.insist(&wish).await;
            if let (Operation::CreateEvent, Some(answer)) = (wish.operation, done) {
                own.extend(answer["id"].as_str().map(str::to_owned));
            }
        }
    }

    async fn administer(mut self) {
        let members = self.cast.members.clone();
        while self.goes_on().await {
            let community = &self.cast.community;
            let wish = if self.dice.percent(75) {
                let member = &self.dice.one(&members).id;
                let role = self.dice.one(&["member", "organizer", "admin"]);
                let path = format!("/v1/communities/{community}/members/{member}/role");
                Wish::new(Operation::GiveRole, Method::PUT, path, Some(json!({"role": role})))
            } else {
                let description = format!("Described as {}", Uuid::new_v4());
                let path = format!("/v1/communities/{community}");
                let body = json!({"description": description});
                Wish::patch(Operation::DescribeCommunity, path, body)
            };
            self.insist(&wish).await;
        }
    }

    async fn look_around(mut self) {
        let mut places = vec![
            format!("/v1/communities/{}", self.cast.community),
            format!("/v1/communities/{}/events", self.cast.community),
            format!("/v1/communities/{}/event-log?type=rsvp.*", self.cast.community),
            format!("/v1/communities/{}/webhooks", self.cast.community),
        ];
        for webhook in &self.webhooks {
            let community = &self.cast.community;
            places.push(format!("/v1/communities/{community}/webhooks/{webhook}/deliveries"));
        }
        for (event, _) in &self.cast.events {
            places.push(format!("/v1/events/{event}/availability"));
            places.push(format!("/v1/events/{event}/rsvps"));
        }
        while self.goes_on().await {
            let path = self.dice.one(&places).clone();
            self.insist(&Wish::new(Operation::Read, Method::GET, path, None)).await;
        }
    }

    /// Waits a while; whether there is to be another wish.
    async fn goes_on(&mut self) -> bool {
        let pause = self.dice.between(PAUSES.0, PAUSES.1);
        tokio::select! {
            () = sleep(pause) => true,
            () = self.stop.cancelled() => false,
        }
    }

    /// Asks; and where there is a key, asks again until it is clear what became of it. Some give up before.
    async fn insist(&mut self, wish: &Wish) -> Option<Value> {
        let keyed = wish.operation != Operation::Read && self.dice.percent(70);
        let key = keyed.then(|| Uuid::new_v4().to_string());
        for _ in 0..RETRIES {
            match self.ask(wish, key.as_deref()).await {
                Answered::Done(answer) => return Some(answer),
                Answered::No => return None,
                Answered::Perhaps if key.is_none() || self.dice.percent(3) => return None,
                Answered::Perhaps => sleep(RETRY).await,
            }
        }
        None
    }

    async fn ask(&mut self, wish: &Wish, key: Option<&str>) -> Answered {
        let (process, api) = self.dice.one(&self.apis).clone();
        let request = Uuid::new_v4().to_string();
        let mut call = api
            .call(wish.method.clone(), &wish.path)
            .by(&self.person)
            .header("x-request-id", &request);
        if let Some(key) = key {
            call = call.header("idempotency-key", key);
        }
        if wish.if_match {
            call = call.header("if-match", "*");
        }
        if let Some(body) = &wish.body {
            call = call.json(body.clone());
        }
        let is_hasty = key.is_some() && self.dice.percent(HASTY);
        let patience = if is_hasty { self.dice.between(Duration::ZERO, HASTE) } else { PATIENCE };
        let sent = Instant::now();
        let answer = timeout(patience, call.try_send()).await.ok().and_then(Result::ok);
        let status = answer.as_ref().map(|answer| answer.status);
        let told = answer.as_ref().and_then(|one| serde_json::from_slice(&one.body).ok());
        let told: Value = told.unwrap_or_default();
        let milliseconds = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let outcome = Outcome::of(status);
        let is_read = wish.operation == Operation::Read;
        self.history.add(Record {
            at_ms: milliseconds(sent.duration_since(self.begun)),
            took_ms: milliseconds(sent.elapsed()),
            who: self.person.id.clone(),
            process: process.to_owned(),
            operation: wish.operation,
            path: wish.path.clone(),
            key: key.map(str::to_owned),
            request,
            wanted: wish.body.clone().unwrap_or_default(),
            status,
            outcome,
            replayed: answer.is_some_and(|answer| answer.header("idempotent-replayed").is_some()),
            // Pages are of no use to the checker.
            answer: if is_read && status != Some(500) { Value::Null } else { told.clone() },
        });
        match outcome {
            Outcome::Acknowledged => Answered::Done(told),
            Outcome::Refused if status == Some(401) => {
                self.log_in(&api).await;
                Answered::Perhaps
            }
            // The attempt before, whose answer was lost, is still being worked on; or there were too many.
            Outcome::Refused if told["code"] == "idempotency_in_flight" || status == Some(429) => {
                Answered::Perhaps
            }
            Outcome::Refused => Answered::No,
            Outcome::Unknown => Answered::Perhaps,
        }
    }

    /// Access tokens end sooner than long trials do. If it does not work now, the next refusal leads here again.
    async fn log_in(&mut self, api: &Client) {
        let credentials = json!({"email": self.person.email, "password": self.person.password});
        let login = api.post("/v1/auth/login").json(credentials).try_send();
        if let Ok(Ok(answer)) = timeout(PATIENCE, login).await
            && let Some(token) = answer.json()["access_token"].as_str()
        {
            token.clone_into(&mut self.person.token);
        }
    }
}
