// What Convene's benchmark of jobs does, done by another queue. Usage: peers.mjs PEER URL
//
//   graphile           graphile-worker as it comes
//   graphile-batched   graphile-worker with everything that makes it faster: a local queue, batched completions
//   bullmq             BullMQ
//
// URL leads to the Postgres database or to the Redis server. Three rates are printed as JSON, in jobs per second: `single`,
// stored one by one by 16 callers; `bulk`, stored by 1,000; `run`, run without doing anything.

import { once } from "node:events";

const CALLERS = 16;
const SINGLE = 4_000;
const BULK = 50_000;
const PATIENCE_MS = 20_000;

const [peer, url] = process.argv.slice(2);

/** The rate of so many, from the start on. */
const rate = (jobs, started) => Math.round(jobs / ((performance.now() - started) / 1_000));

/** Stores single jobs from all callers at once. */
async function single(store) {
    const started = performance.now();
    let left = SINGLE;
    const caller = async () => {
        while (left-- > 0) await store();
    };
    await Promise.all(Array.from({ length: CALLERS }, caller));
    return rate(SINGLE, started);
}

/** Stores jobs in bulk. */
async function bulk(store) {
    const started = performance.now();
    for (let stored = 0; stored < BULK; stored += 1_000) await store(1_000);
    return rate(BULK, started);
}

/** Runs what is stored, until all of it is done or patience is at an end. `start` gets what counts a job, and stops. */
async function run(total, start) {
    let done = 0;
    const all = Promise.withResolvers?.() ?? deferred();
    const patience = setTimeout(() => all.resolve(), PATIENCE_MS);
    const started = performance.now();
    const stop = await start(() => {
        done += 1;
        if (done === total) all.resolve();
    });
    await all.promise;
    const result = rate(done, started);
    clearTimeout(patience);
    await stop();
    return result;
}

function deferred() {
    const made = {};
    made.promise = new Promise((resolve) => (made.resolve = resolve));
    return made;
}

async function graphile(worker) {
    const { makeWorkerUtils, run: start, Logger } = await import("graphile-worker");
    const preset = { worker: { connectionString: url, ...worker } };
    const logger = new Logger(() => () => {});
    const utils = await makeWorkerUtils({ preset, logger });
    await utils.migrate();
    const stored = {
        single: await single(() => utils.addJob("nothing", {})),
        bulk: await bulk((count) =>
            utils.addJobs(Array.from({ length: count }, () => ({ identifier: "nothing", payload: {} }))),
        ),
    };
    const ran = await run(SINGLE + BULK, async (count) => {
        const runner = await start({ preset, logger, noHandleSignals: true, taskList: { nothing: async () => count() } });
        return () => runner.stop();
    });
    await utils.release();
    return { ...stored, run: ran };
}

async function bullmq() {
    const { Queue, Worker } = await import("bullmq");
    const { Redis } = await import("ioredis");
    const connection = () => new Redis(url, { maxRetriesPerRequest: null });
    const queue = new Queue("nothing", { connection: connection() });
    const opts = { removeOnComplete: true };
    const stored = {
        single: await single(() => queue.add("nothing", {}, opts)),
        bulk: await bulk((count) =>
            queue.addBulk(Array.from({ length: count }, () => ({ name: "nothing", data: {}, opts }))),
        ),
    };
    const ran = await run(SINGLE + BULK, async (count) => {
        const worker = new Worker("nothing", async () => {}, { connection: connection(), concurrency: 100 });
        worker.on("completed", count);
        return () => worker.close();
    });
    await queue.close();
    return { ...stored, run: ran };
}

const peers = {
    graphile: () => graphile({}),
    "graphile-batched": () =>
        graphile({
            concurrentJobs: 24,
            maxPoolSize: 25,
            localQueue: { size: 500 },
            completeJobBatchDelay: 0,
            failJobBatchDelay: 0,
        }),
    bullmq,
};

if (!(peer in peers) || !url) {
    console.error(`usage: peers.mjs ${Object.keys(peers).join("|")} URL`);
    process.exit(2);
}
const rates = await peers[peer]();
if (!process.stdout.write(`${JSON.stringify(rates)}\n`)) await once(process.stdout, "drain");
process.exit(0);
