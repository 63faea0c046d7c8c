"""A consumer of Convene's events: counts the confirmed seats of each event. README.md says what it shows."""

import contextlib
import json
import logging
import os
import random
import signal
import sqlite3
import time
from pathlib import Path

import pika
import pika.exceptions
from jsonschema import Draft202012Validator, ValidationError

URL = os.environ.get("AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/%2f")
EXCHANGE = os.environ.get("EXCHANGE", "convene.events")
QUEUE = os.environ.get("QUEUE", "example.consumer-python")
# All of a module: versions are gapless only over all events of a subject.
BINDING_KEY = os.environ.get("BINDING_KEY", "rsvp.*.*")
RETRY_TIERS_MS = [int(ms) for ms in os.environ.get("RETRY_TIERS_MS", "1000,10000,60000").split(",")]
STORE = os.environ.get("STORE", "consumer-python.sqlite")
SCHEMAS = Path(os.environ.get("SCHEMAS", Path(__file__).parents[2] / "crates/contracts/schemas"))
# Messages to settle before the end; without it, for ever.
COUNT = int(os.environ.get("COUNT", "0")) or None

PREFETCH = 16
LONGEST_PAUSE = 30.0
ATTEMPT = "x-attempt"

log = logging.getLogger("consumer")


class Malformed(Exception):
    """A message that no attempt will make better."""


class NotYet(Exception):
    """An event that came before its predecessor: it is tried again later."""


class Contract:
    """What Convene promises about its events, as JSON Schemas."""

    def __init__(self, folder: Path) -> None:
        documents = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
        self.validators = {name: Draft202012Validator(document) for name, document in documents.items()}

    def read(self, body: bytes) -> dict:
        """The event in a message. A type that is not known here passes: it may have joined later."""
        try:
            event = json.loads(body)
            self.validators["envelope.v1"].validate(event)
            name = event["dataschema"].rsplit("/", 1)[1].removesuffix(".json")
            if name in self.validators:
                self.validators[name].validate(event["data"])
        except (ValueError, ValidationError) as error:
            raise Malformed(str(error).splitlines()[0]) from error
        return event


class Seats:
    """The effect: how many seats each RSVP holds. It is written in one transaction with the memory that the event was
    taken: the one is never kept without the other."""

    def __init__(self, path: str) -> None:
        self.database = sqlite3.connect(path, isolation_level=None)
        self.database.executescript(
            """
            PRAGMA journal_mode = WAL;
            CREATE TABLE IF NOT EXISTS taken (event_id TEXT PRIMARY KEY) WITHOUT ROWID;
            CREATE TABLE IF NOT EXISTS rsvps (
                rsvp_id TEXT PRIMARY KEY, version INTEGER NOT NULL, event_id TEXT, seats INTEGER NOT NULL
            ) WITHOUT ROWID;
            """
        )

    @contextlib.contextmanager
    def transaction(self):
        self.database.execute("BEGIN IMMEDIATE")
        try:
            yield self.database
            self.database.execute("COMMIT")
        except BaseException:
            self.database.execute("ROLLBACK")
            raise

    def take(self, event: dict) -> str:
        """Applies an event, once and in order, and says what became of it."""
        with self.transaction() as database:
            # A real service forgets ids that are older than any redelivery.
            added = database.execute("INSERT OR IGNORE INTO taken VALUES (?)", [event["id"]])
            if added.rowcount == 0:
                return "duplicate"
            known = database.execute(
                "SELECT version, seats FROM rsvps WHERE rsvp_id = ?", [event["subject"]]
            ).fetchone()
            # Versions have no gaps. The first that we see may be any: the queue is younger than the RSVP.
            ahead = event["aggregateversion"] - known[0] if known else 1
            if ahead < 1:
                return "outdated"
            if ahead > 1:
                raise NotYet(f"{event['subject']}: version {known[0] + 1} is missing")
            party = event["data"].get("party_size", 0)
            seats = party if event["type"] == "rsvp.confirmed" else 0
            if event["type"] == "rsvp.party_changed" and known and known[1] > 0:
                seats = party
            database.execute(
                "INSERT OR REPLACE INTO rsvps VALUES (?, ?, ?, ?)",
                [event["subject"], event["aggregateversion"], event["data"].get("event_id"), seats],
            )
            return "applied"


class Consumer:
    def __init__(self) -> None:
        self.contract = Contract(SCHEMAS)
        self.seats = Seats(STORE)
        self.left = COUNT
        self.stopping = False

    def stop(self, *_) -> None:
        """On SIGTERM. The message in hand is finished first; what was sent ahead goes back to the queue."""
        self.stopping = True

    def run(self) -> None:
        pause = 1.0
        while not self.finished():
            try:
                connection = pika.BlockingConnection(pika.URLParameters(URL))
                channel = connection.channel()
                self.declare(channel)
                pause = 1.0
                self.consume(channel)
                connection.close()
            except pika.exceptions.AMQPError as error:
                log.warning("%r; again in %.0f s", error, pause)
                deadline = time.monotonic() + random.uniform(pause / 2, pause)
                while time.monotonic() < deadline and not self.stopping:
                    time.sleep(0.1)
                pause = min(pause * 2, LONGEST_PAUSE)

    def finished(self) -> bool:
        return self.stopping or self.left == 0

    def declare(self, channel) -> None:
        """Declares the queues of this consumer. The exchange is Convene's: it is only looked for."""

        def queue(name: str, **arguments) -> None:
            dashed = {key.replace("_", "-"): value for key, value in arguments.items()}
            channel.queue_declare(name, durable=True, arguments={"x-queue-type": "quorum", **dashed})

        channel.exchange_declare(EXCHANGE, passive=True)
        queue(f"{QUEUE}.dead")
        for tier, milliseconds in enumerate(RETRY_TIERS_MS, start=1):
            # One queue a tier: a message expires at the head of its queue only, so each queue has one time to live.
            # The way back survives a crash of the broker, too.
            queue(
                f"{QUEUE}.retry.{tier}",
                x_message_ttl=milliseconds,
                x_dead_letter_exchange="",
                x_dead_letter_routing_key=QUEUE,
                x_dead_letter_strategy="at-least-once",
                x_overflow="reject-publish",
            )
        # A message that kills its consumer is delivered so often, then parked.
        queue(QUEUE, x_delivery_limit=20, x_dead_letter_exchange="", x_dead_letter_routing_key=f"{QUEUE}.dead")
        channel.queue_bind(QUEUE, EXCHANGE, BINDING_KEY)
        channel.basic_qos(prefetch_count=PREFETCH)
        # From here on each publish waits until the broker has the message.
        channel.confirm_delivery()

    def consume(self, channel) -> None:
        for method, properties, body in channel.consume(QUEUE, inactivity_timeout=0.5):
            if self.finished():
                return
            if method is None:
                continue
            outcome = self.settle(channel, properties, body)
            # After the effect: a crash in between means that the message comes again.
            channel.basic_ack(method.delivery_tag)
            if outcome != "retry" and self.left is not None:
                self.left -= 1
            if self.finished():
                return

    def settle(self, channel, properties, body: bytes) -> str:
        """Handles a message, or passes it on to where it waits."""
        attempt = int((properties.headers or {}).get(ATTEMPT, 0))
        event = None
        try:
            event = self.contract.read(body)
            outcome = self.seats.take(event)
        except Malformed as error:
            log.error("malformed: %s", error)
            outcome = "dead"
            self.pass_on(channel, f"{QUEUE}.dead", properties, body, attempt)
        except (NotYet, sqlite3.OperationalError) as error:
            log.info("attempt %d: %s", attempt, error)
            outcome = "retry" if attempt < len(RETRY_TIERS_MS) else "dead"
            to = f"{QUEUE}.retry.{attempt + 1}" if outcome == "retry" else f"{QUEUE}.dead"
            self.pass_on(channel, to, properties, body, attempt + 1)
        print(json.dumps({"outcome": outcome, "id": event and event["id"], "attempt": attempt}), flush=True)
        return outcome

    def pass_on(self, channel, queue: str, properties, body: bytes, attempt: int) -> None:
        properties.headers = {**(properties.headers or {}), ATTEMPT: attempt}
        properties.delivery_mode = pika.DeliveryMode.Persistent.value
        # Raises unless the broker took it into that queue.
        channel.basic_publish("", queue, body, properties, mandatory=True)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    # What goes wrong is raised, too.
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    consumer = Consumer()
    signal.signal(signal.SIGTERM, consumer.stop)
    signal.signal(signal.SIGINT, consumer.stop)
    consumer.run()
