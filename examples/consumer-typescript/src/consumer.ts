/** A consumer of Convene's events: counts the confirmed seats of each event. README.md says what it shows. */

import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

import { connect, type ConfirmChannel, type ConsumeMessage } from "amqplib";
import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";

import { Seats, type ConveneEvent } from "./seats.js";

const env = process.env;
const URL_OF_BROKER = env.AMQP_URL ?? "amqp://guest:guest@127.0.0.1:5672/%2f";
const EXCHANGE = env.EXCHANGE ?? "convene.events";
const QUEUE = env.QUEUE ?? "example.consumer-typescript";
const DEAD = `${QUEUE}.dead`;
// All of a module: versions are gapless only over all events of a subject.
const BINDING_KEY = env.BINDING_KEY ?? "rsvp.*.*";
const RETRY_TIERS_MS = (env.RETRY_TIERS_MS ?? "1000,10000,60000").split(",").map(Number);
const STORE = env.STORE ?? "consumer-typescript.jsonl";
const SCHEMAS = env.SCHEMAS ?? fileURLToPath(new URL("../../../crates/contracts/schemas", import.meta.url));

const PREFETCH = 16;
const LONGEST_PAUSE_MS = 30_000;
const ATTEMPT = "x-attempt";

/** What Convene promises about its events, as JSON Schemas. */
class Contract {
  readonly #validators = new Map<string, ValidateFunction>();

  constructor(folder: string) {
    // `format` and `x-extensible-enum` describe; the patterns decide.
    const ajv = new Ajv2020({ strict: false, validateFormats: false });
    for (const file of readdirSync(folder)) {
      const schema = JSON.parse(readFileSync(`${folder}/${file}`, "utf8"));
      this.#validators.set(file.replace(/\.json$/, ""), ajv.compile(schema));
    }
  }

  /** The event in a message; throws if it is malformed. A type that is not known here passes: it may have joined later. */
  read(body: Buffer): ConveneEvent {
    const event = JSON.parse(body.toString());
    this.#check("envelope.v1", event);
    this.#check(event.dataschema.split("/").at(-1).replace(/\.json$/, ""), event.data);
    return event;
  }

  #check(name: string, value: unknown): void {
    const validate = this.#validators.get(name);
    if (validate === undefined || validate(value)) return;
    const [error] = validate.errors ?? [];
    throw new Error(`${name}: ${error?.instancePath} ${error?.message}`);
  }
}

class Consumer {
  readonly #contract = new Contract(SCHEMAS);
  readonly #seats = new Seats(STORE);
  /** Messages to settle before the end; without COUNT, for ever. */
  #left = Number(env.COUNT ?? Infinity);
  #stopping = new AbortController();

  /** On SIGTERM. The message in hand is finished first; what was sent ahead goes back to the queue. */
  stop(): void {
    this.#stopping.abort();
  }

  async run(): Promise<void> {
    let pause = 1_000;
    while (!this.#finished()) {
      try {
        await this.#session(() => (pause = 1_000));
      } catch (error) {
        console.error(`${error}; again in ${pause} ms`);
        const jittered = pause * (0.5 + Math.random() / 2);
        await sleep(jittered, undefined, { signal: this.#stopping.signal }).catch(() => {});
        pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
      }
    }
    this.#seats.close();
  }

  #finished(): boolean {
    return this.#stopping.signal.aborted || this.#left <= 0;
  }

  /** Consumes until it is to stop, or until the connection is lost. */
  async #session(connected: () => void): Promise<void> {
    const connection = await connect(URL_OF_BROKER, { timeout: 10_000 });
    try {
      const { promise: end, resolve, reject } = deferred();
      connection.on("error", reject).on("close", () => reject(new Error("the connection was lost")));
      this.#stopping.signal.addEventListener("abort", () => resolve(), { once: true });
      const channel = await connection.createConfirmChannel();
      channel.on("error", reject);
      await declare(channel);
      connected();
      let inHand = Promise.resolve();
      const settle = (message: ConsumeMessage | null) => {
        if (message === null) return reject(new Error("the queue was deleted"));
        // One after the other, in the order of delivery.
        inHand = inHand.then(async () => {
          if (!this.#finished()) await this.#settle(channel, message);
          if (this.#finished()) resolve();
        });
        inHand.catch(reject);
      };
      await channel.consume(QUEUE, settle);
      await end;
      await inHand;
      // Behind the acknowledgements; what the broker sent ahead goes back to the queue.
      await channel.close();
    } finally {
      await connection.close().catch(() => {});
    }
  }

  /** Handles a message, or passes it on to where it waits; acknowledges it in the end. A crash in between means that it
   * comes again. */
  async #settle(channel: ConfirmChannel, message: ConsumeMessage): Promise<void> {
    const attempt = Number(message.properties.headers?.[ATTEMPT] ?? 0);
    let event: ConveneEvent | undefined;
    let outcome: string;
    try {
      event = this.#contract.read(message.content);
      outcome = this.#seats.take(event);
    } catch (error) {
      if (event !== undefined) throw error;
      console.error(`malformed: ${error}`);
      outcome = "dead";
      await passOn(channel, message, DEAD, attempt);
    }
    if (outcome === "not yet") {
      outcome = attempt < RETRY_TIERS_MS.length ? "retry" : "dead";
      await passOn(channel, message, outcome === "retry" ? `${QUEUE}.retry.${attempt + 1}` : DEAD, attempt + 1);
    }
    channel.ack(message);
    console.log(JSON.stringify({ outcome, id: event?.id ?? null, attempt }));
    if (outcome !== "retry") this.#left -= 1;
  }
}

/** Declares the queues of this consumer. The exchange is Convene's: it is only looked for. */
async function declare(channel: ConfirmChannel): Promise<void> {
  const queue = (name: string, args: Record<string, unknown> = {}) =>
    channel.assertQueue(name, { durable: true, arguments: { "x-queue-type": "quorum", ...args } });

  await channel.checkExchange(EXCHANGE);
  await queue(DEAD);
  for (const [tier, milliseconds] of RETRY_TIERS_MS.entries()) {
    // One queue a tier: a message expires at the head of its queue only, so each queue has one time to live.
    await queue(`${QUEUE}.retry.${tier + 1}`, {
      "x-message-ttl": milliseconds,
      "x-dead-letter-exchange": "",
      "x-dead-letter-routing-key": QUEUE,
      // The way back survives a crash of the broker, too.
      "x-dead-letter-strategy": "at-least-once",
      "x-overflow": "reject-publish",
    });
  }
  // A message that kills its consumer is delivered so often, then parked.
  const parked = { "x-delivery-limit": 20, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": DEAD };
  await queue(QUEUE, parked);
  await channel.bindQueue(QUEUE, EXCHANGE, BINDING_KEY);
  await channel.prefetch(PREFETCH);
}

/** Publishes a message to a queue and waits until the broker has it. Only then it may be acknowledged. */
async function passOn(channel: ConfirmChannel, message: ConsumeMessage, to: string, attempt: number): Promise<void> {
  const { messageId, contentType, headers } = message.properties;
  const options = { messageId, contentType, headers: { ...headers, [ATTEMPT]: attempt }, persistent: true, mandatory: true };
  let returned = false;
  const noteReturn = () => (returned = true);
  channel.once("return", noteReturn);
  channel.sendToQueue(to, message.content, options);
  // What no queue takes is returned, before it is confirmed.
  await channel.waitForConfirms().finally(() => channel.off("return", noteReturn));
  if (returned) throw new Error(`the queue ${to} is missing`);
}

function deferred(): { promise: Promise<void>; resolve: () => void; reject: (error: Error) => void } {
  let resolve!: () => void;
  let reject!: (error: Error) => void;
  const promise = new Promise<void>((done, failed) => ([resolve, reject] = [done, failed]));
  // Whoever awaits it hears of it; until then it is no unhandled rejection.
  promise.catch(() => {});
  return { promise, resolve, reject };
}

const consumer = new Consumer();
process.on("SIGTERM", () => consumer.stop()).on("SIGINT", () => consumer.stop());
await consumer.run();
