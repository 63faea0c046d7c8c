//! The standard profile: the API and the engines as two processes, with RabbitMQ, Redis and a mail server between them and
//! around them.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use convene_api::app::Role;
use convene_contracts::{CloudEvent, amqp};
use convene_testkit::broker::TestBroker;
use convene_testkit::poll::poll_until;
use convene_testkit::redis::TestRedis;
use convene_tests::app::{App, database};
use convene_tests::client::{PATIENCE, Person, text};
use convene_tests::receiver::Receiver;
use convene_tests::smtp::MailServer;
use futures::StreamExt as _;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, ExchangeDeleteOptions, QueueBindOptions,
    QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ConnectionProperties};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::Mutex;

/// A service in Python, with the libraries that its authors would take: aio-pika and the CloudEvents SDK.
struct PythonService {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl PythonService {
    async fn bind(broker: &TestBroker) -> Self {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let prepared =
            Command::new(repository.join("scripts/venv.sh")).arg("tools/events").output();
        let prepared = prepared.await.expect("the script runs");
        assert!(prepared.status.success(), "{}", String::from_utf8_lossy(&prepared.stderr));
        let python = String::from_utf8(prepared.stdout).expect("a path");
        let mut process = Command::new(python.trim_end())
            .arg(repository.join("tools/events/listen.py"))
            .args([broker.url(), &broker.exchange(amqp::EXCHANGE)])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("Python starts");
        let lines = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        let mut service = Self { process, lines };
        assert_eq!(service.line().await, "bound");
        service
    }

    async fn line(&mut self) -> String {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await;
        line.expect("it goes on").expect("it can be read").expect("it has not ended")
    }

    /// The SDK understands each event as the log shows it.
    async fn understands(mut self, log: &[Value]) {
        let mut expected: HashMap<String, &Value> =
            log.iter().map(|event| (text(&event["id"]), event)).collect();
        while !expected.is_empty() {
            let told: Value = serde_json::from_str(&self.line().await).expect("lines are JSON");
            let attributes = told["attributes"].as_object().expect("an object");
            let Some(event) = expected.remove(&text(&attributes["id"])) else { continue };
            assert_eq!(told["data"], event["data"]);
            let names: BTreeSet<_> = event.as_object().expect("an object").keys().collect();
            let data = "data".to_owned();
            assert_eq!(attributes.keys().chain([&data]).collect::<BTreeSet<_>>(), names);
            for (name, value) in attributes.iter().filter(|(name, _)| *name != "time") {
                let logged = &event[name];
                assert_eq!(text(value), logged.as_str().map_or(logged.to_string(), str::to_owned));
            }
        }
        self.process.kill().await.expect("it is there");
    }
}

/// A message as another service gets it.
struct Message {
    routing_key: String,
    properties: lapin::BasicProperties,
    body: Value,
}

/// Another service, which knows of Convene what its documentation says: a queue of its own, bound to the exchange.
struct OtherService {
    connection: Connection,
    messages: Arc<Mutex<Vec<Message>>>,
}

impl OtherService {
    async fn bind(broker: &TestBroker) -> Self {
        let connection = Connection::connect(broker.url(), ConnectionProperties::default()).await;
        let connection = connection.expect("the broker takes connections");
        let channel = connection.create_channel().await.expect("a channel");
        let exclusive = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
        let queue = broker.queue("other-service");
        let declared =
            channel.queue_declare(queue.as_str().into(), exclusive, FieldTable::default());
        declared.await.expect("a queue of its own");
        let exchange = broker.exchange(amqp::EXCHANGE);
        let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
        let bound = channel.queue_bind(
            queue.as_str().into(),
            exchange.into(),
            "#".into(),
            options,
            arguments,
        );
        bound.await.expect("serve and worker declare the exchange when they start");
        let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
        let consumer =
            channel.basic_consume(queue.as_str().into(), "other".into(), options, arguments);
        let mut consumer = consumer.await.expect("a consumer");
        let messages = Arc::new(Mutex::new(Vec::new()));
        let taken = Arc::clone(&messages);
        tokio::spawn(async move {
            while let Some(Ok(delivery)) = consumer.next().await {
                let message = Message {
                    routing_key: delivery.routing_key.to_string(),
                    properties: delivery.properties.clone(),
                    body: serde_json::from_slice(&delivery.data).expect("events are JSON"),
                };
                taken.lock().await.push(message);
                delivery.ack(BasicAckOptions::default()).await.expect("the channel is open");
            }
        });
        Self { connection, messages }
    }

    /// Leaves nothing of the test behind at the broker, which is shared.
    async fn sweep(self, broker: &TestBroker) {
        let channel = self.connection.create_channel().await.expect("a channel");
        for queue in ["convene.webhook.fanout", amqp::UNROUTED_EXCHANGE, "convene.parked"] {
            broker.queue(queue);
        }
        broker.exchange(amqp::UNROUTED_EXCHANGE);
        delete(&channel, broker).await;
        self.connection.close(200, "done".into()).await.expect("the connection closes");
    }
}

async fn delete(channel: &Channel, broker: &TestBroker) {
    for queue in broker.queues() {
        let deleted = channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await;
        deleted.expect("deleting is idempotent");
    }
    for exchange in broker.exchanges() {
        let deleted =
            channel.exchange_delete(exchange.into(), ExchangeDeleteOptions::default()).await;
        deleted.expect("deleting is idempotent");
    }
}

/// Somebody who registered with the token that the mail server got.
async fn person(app: &App, mails: &MailServer, name: &str) -> Person {
    let tag = uuid::Uuid::new_v4().simple().to_string();
    let email = format!("{name}-{tag}@example.org");
    let password = format!("a long passphrase {tag}");
    let account = json!({"email": email, "password": password, "display_name": name});
    app.post("/v1/auth/register").json(account).await.expect(202);
    let token = mails.wait_for(&email, "token: ").await.token().expect("it stands on its line");
    app.post("/v1/auth/verify-email").json(json!({"token": token})).await.expect(204);
    let (id, token, refresh_token) = (String::new(), String::new(), String::new());
    let mut person = Person { id, email, password, token, refresh_token };
    app.login(&mut person).await;
    person.id = text(&app.get("/v1/users/me").by(&person).await.expect(200).json()["id"]);
    person
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_a_broker_and_another_service() {
    let (broker, redis, mails) = (TestBroker::new(), TestRedis::new(), MailServer::start().await);
    let url = mails.url();
    let settings = [
        ("CONVENE__BROKER__URL", broker.url()),
        ("CONVENE__BROKER__PREFIX", broker.prefix()),
        ("CONVENE__REDIS__URL", redis.url()),
        ("CONVENE__REDIS__PREFIX", redis.prefix()),
        ("CONVENE__MAIL__SMTP_URL", url.as_str()),
        ("CONVENE__LIMITS__ENABLED", "true"),
    ];
    let database = Arc::new(database().await);
    let api = App::start_as(Role::Serve, Arc::clone(&database), &settings).await;
    // Bound before any worker is there: serving alone declares the exchange.
    let service = OtherService::bind(&broker).await;
    let python = PythonService::bind(&broker).await;
    let worker = App::start_as(Role::Work, database, &settings).await;

    let ready = api.get("/readyz").await.expect(200).json();
    assert_eq!(ready["status"], "ready", "{ready}");
    assert_eq!(worker.get("/readyz").await.expect(200).json()["status"], "ready");
    worker.get("/v1/communities").await.problem(404, "not_found");
    api.get("/dev/mail").await.problem(404, "not_found");

    let olga = person(&api, &mails, "olga").await;
    let community = api.community(&olga).await;
    let receiver = Receiver::start();
    let body = json!({"url": receiver.url(), "event_types": ["rsvp.*"]});
    let path = format!("/v1/communities/{community}/webhooks");
    let secret = text(&api.post(path).by(&olga).json(body).await.expect(201).json()["secret"]);
    let event = api.event(&olga, &community, Some(1)).await;
    let (ada, bob) = (person(&api, &mails, "ada").await, person(&api, &mails, "bob").await);
    for guest in [&ada, &bob] {
        api.join(guest, &community).await;
        api.rsvp(guest, &event).await.expect(201);
    }
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let mine = format!("/v1/events/{event}/rsvps/me");
    api.delete(mine).by(&ada).header("traceparent", traceparent).await.expect(200);

    mails.wait_for(&bob.email, "seat").await;
    let received = receiver.wait_for(4).await;
    assert!(received.iter().all(|webhook| webhook.is_signed_with(&secret)));

    let log = format!("/v1/communities/{community}/event-log?limit=100");
    let log = poll_until(PATIENCE, "everything is recorded", async || {
        let page = api.get(&log).by(&olga).await.expect(200).json();
        page["data"].as_array().filter(|log| log.len() == 10).cloned()
    })
    .await;
    assert_published(&service, &log).await;
    python.understands(&log).await;
    assert_guessing_is_limited(&api).await;

    service.sweep(&broker).await;
    worker.stop().await;
    api.stop().await;
}

/// Every event arrived at least once, and is member for member what the log shows.
async fn assert_published(service: &OtherService, log: &[Value]) {
    let ids: Vec<String> = log.iter().map(|event| text(&event["id"])).collect();
    poll_until(PATIENCE, "every event reaches the other service", async || {
        let messages = service.messages.lock().await;
        let arrived = |id: &String| messages.iter().any(|message| message.body["id"] == **id);
        ids.iter().all(arrived).then_some(())
    })
    .await;
    let messages = service.messages.lock().await;
    let logged: HashMap<&str, &Value> = ids.iter().map(String::as_str).zip(log).collect();
    let mut of_community = Vec::new();
    for Message { routing_key, properties, body } in messages.iter() {
        let id = text(&body["id"]);
        assert_eq!(
            properties.content_type().as_ref().map(lapin::types::ShortString::as_str),
            Some(amqp::CONTENT_TYPE)
        );
        assert_eq!(*properties.delivery_mode(), Some(2));
        assert_eq!(
            properties.message_id().as_ref().map(lapin::types::ShortString::as_str),
            Some(id.as_str())
        );
        assert_eq!(*routing_key, format!("{}.v1", text(&body["type"])));
        let headers = properties.headers().as_ref().expect("events have headers");
        let Some(AMQPValue::LongString(trace)) = headers.inner().get(amqp::TRACEPARENT_HEADER)
        else {
            panic!("{body} has no traceparent");
        };
        assert_eq!(body["traceparent"], trace.to_string());
        let event: CloudEvent = serde_json::from_value(body.clone()).expect("a CloudEvent");
        assert_eq!(event.routing_key(), *routing_key);
        match logged.get(id.as_str()) {
            Some(logged) => {
                assert_eq!(body, *logged);
                of_community.push(id);
            }
            None => {
                assert!(["user.", "auth."].iter().any(|module| event.r#type.starts_with(module)));
                assert_eq!(body["communityid"], Value::Null);
            }
        }
    }
    // Redelivery may repeat; the first of each came in the order of the log.
    let mut seen = std::collections::HashSet::new();
    of_community.retain(|id| seen.insert(id.clone()));
    assert_eq!(of_community, ids);
    let cancelled = messages.iter().find(|message| message.routing_key == "rsvp.cancelled.v1");
    let trace = text(&cancelled.expect("it was cancelled").body["traceparent"]);
    assert!(trace.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"), "{trace}");
    let registered = messages.iter().filter(|m| m.routing_key == "user.registered.v1").count();
    assert!(registered >= 3, "{registered} of three people");
}

/// Guessing is limited over Redis: who tries one address too often waits.
async fn assert_guessing_is_limited(api: &App) {
    let guess = json!({"email": "nobody@example.org", "password": "a guess that is wrong"});
    let refused = poll_until(PATIENCE, "guessing is limited", async || {
        let answer = api.post("/v1/auth/login").json(guess.clone()).await;
        (answer.status != 401).then_some(answer)
    })
    .await;
    let wait = refused.header("retry-after").and_then(|seconds| seconds.parse::<u64>().ok());
    refused.problem(429, "rate_limited");
    assert!(wait.is_some_and(|seconds| (1..=60).contains(&seconds)), "{wait:?}");
}
