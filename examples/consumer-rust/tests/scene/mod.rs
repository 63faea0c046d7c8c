//! An exchange like Convene's under a name of the test's own, and a consumer as a process.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use convene_testkit::broker::TestBroker;
use convene_testkit::poll::poll_until;
use convene_testkit::proxy::{Fault, FaultProxy};
use lapin::options::{
    BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions,
    ExchangeDeleteOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::FieldTable;
use lapin::uri::AMQPUri;
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ExchangeKind,
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// How long anything may take on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);
/// The second leaves the test the time to publish what the third attempt needs.
const TIERS: &str = "200,3000";

/// A recorded event.
pub(crate) fn fixture(name: &str) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/contracts/fixtures");
    let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).expect("a fixture");
    serde_json::from_str(&text).expect("a fixture is JSON")
}

pub(crate) struct Scene {
    url: String,
    /// The way to the broker that the consumer takes.
    proxy: FaultProxy,
    proxied: String,
    exchange: String,
    queue: String,
    store: TempDir,
    channel: Channel,
    _connection: Connection,
}

impl Scene {
    pub(crate) async fn new(language: &str) -> Self {
        let broker = tokio::task::spawn_blocking(TestBroker::new).await.expect("there is a broker");
        let url = broker.url().to_owned();
        let mut proxied: AMQPUri = url.parse().expect("the broker's URL is one");
        let server = (proxied.authority.host.clone(), proxied.authority.port);
        let proxy = FaultProxy::start(server).expect("the proxy starts");
        proxied.authority.host = proxy.addr().ip().to_string();
        proxied.authority.port = proxy.addr().port();

        let properties = ConnectionProperties::default();
        let connection = Connection::connect(&url, properties).await.expect("the broker answers");
        let channel = connection.create_channel().await.expect("a channel");
        channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
        let exchange = broker.exchange("events");
        let declared = channel.exchange_declare(
            exchange.as_str().into(),
            ExchangeKind::Topic,
            ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() },
            FieldTable::default(),
        );
        declared.await.expect("the exchange is declared");
        let login = &proxied.authority.userinfo;
        let proxied = format!("amqp://{}:{}@{}/%2f", login.username, login.password, proxy.addr());
        Self {
            url,
            proxy,
            proxied,
            exchange,
            queue: broker.queue(language),
            store: tempfile::tempdir().expect("a folder"),
            channel,
            _connection: connection,
        }
    }

    /// Starts the consumer and waits until it is bound. With a count it ends after so many messages.
    pub(crate) async fn start(&self, mut command: Command, count: Option<u32>) -> Process {
        command
            .env("AMQP_URL", &self.proxied)
            .env("EXCHANGE", &self.exchange)
            .env("QUEUE", &self.queue)
            .env("RETRY_TIERS_MS", TIERS)
            .env("STORE", self.store.path().join("store"))
            .env(
                "SCHEMAS",
                Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/contracts/schemas"),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        match count {
            Some(count) => command.env("COUNT", count.to_string()),
            None => command.env_remove("COUNT"),
        };
        let mut child =
            command.spawn().expect("the consumer starts; `make setup` installs what it needs");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        if count.is_none() {
            let what = "the consumer declares its queues and consumes";
            poll_until(DEADLINE, what, async || {
                self.declared(&self.queue).await.filter(|(_, consumers)| *consumers > 0)
            })
            .await;
        }
        Process { child, lines }
    }

    pub(crate) async fn publish(&self, event: &Value) {
        self.publish_body(event.to_string().as_bytes()).await;
    }

    pub(crate) async fn publish_body(&self, body: &[u8]) {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let properties = BasicProperties::default()
            .with_content_type(convene_contracts::amqp::CONTENT_TYPE.into())
            .with_delivery_mode(2);
        let key = "rsvp.confirmed.v1".into();
        let sent = self.channel.basic_publish(
            self.exchange.as_str().into(),
            key,
            options,
            body,
            properties,
        );
        let confirmation = sent.await.expect("it is sent").await.expect("it is confirmed");
        assert!(matches!(confirmation, Confirmation::Ack(None)), "{confirmation:?}");
    }

    /// The next message that was parked, taken off.
    pub(crate) async fn take_dead(&self) -> Vec<u8> {
        let dead = format!("{}.dead", self.queue);
        poll_until(DEADLINE, "a message is parked", async || {
            let options = BasicGetOptions { no_ack: true };
            let message = self.channel.basic_get(dead.as_str().into(), options).await;
            message.expect("the queue is there").map(|message| message.delivery.data.clone())
        })
        .await
    }

    /// How many messages wait to be handled, or to be tried again.
    pub(crate) async fn waiting(&self) -> u32 {
        let mut waiting = 0;
        for queue in &self.queues()[..3] {
            waiting += self.declared(queue).await.expect("the queue is there").0;
        }
        waiting
    }

    /// Cuts the consumer off the broker for a moment.
    pub(crate) fn cut_connections(&self) {
        self.proxy.set(Fault::Reset);
        self.proxy.set(Fault::Pass);
    }

    /// The messages and consumers of a queue; `None` if there is none.
    async fn declared(&self, queue: &str) -> Option<(u32, u32)> {
        // A question for a queue that is not there ends its channel.
        let channel = self._connection.create_channel().await.expect("a channel");
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let queue =
            channel.queue_declare(queue.into(), passive, FieldTable::default()).await.ok()?;
        channel.close(200, "OK".into()).await.expect("the channel closes");
        Some((queue.message_count(), queue.consumer_count()))
    }

    fn queues(&self) -> [String; 4] {
        ["", ".retry.1", ".retry.2", ".dead"].map(|suffix| format!("{}{suffix}", self.queue))
    }
}

/// Deletes what the test has made at the broker, also when it fails.
impl Drop for Scene {
    fn drop(&mut self) {
        let (url, exchange, queues) = (self.url.clone(), self.exchange.clone(), self.queues());
        let cleaning = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            runtime.block_on(async {
                let connection = Connection::connect(&url, ConnectionProperties::default()).await?;
                let channel = connection.create_channel().await?;
                for queue in queues {
                    channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await?;
                }
                let options = ExchangeDeleteOptions::default();
                channel.exchange_delete(exchange.into(), options).await?;
                connection.close(200, "OK".into()).await
            })
        });
        let cleaned = cleaning.join().expect("it does not panic");
        assert!(cleaned.is_ok() || std::thread::panicking(), "not deleted: {cleaned:?}");
    }
}

/// A running consumer.
pub(crate) struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// What it says next.
    pub(crate) async fn line(&mut self) -> Value {
        let line =
            timeout(DEADLINE, self.lines.next_line()).await.expect("it says something in time");
        let line = line.expect("its output is text").expect("it still runs");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// Tells it to end, as service managers do.
    pub(crate) async fn terminate(self) {
        let id = self.child.id().expect("it still runs").to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status().await.expect("kill runs");
        assert!(sent.success());
        self.ended().await;
    }

    /// Waits for its end, which must be a good one.
    pub(crate) async fn ended(mut self) {
        let status = timeout(DEADLINE, self.child.wait()).await.expect("it ends in time");
        let status = status.expect("it can be waited for");
        assert!(status.success(), "{status}");
        let rest = self.lines.next_line().await.expect("its output is text");
        assert_eq!(rest, None, "it has said all");
    }
}
