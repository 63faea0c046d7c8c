/**
 * The effect: how many seats each RSVP holds, in a file of one JSON line per event.
 *
 * A line is the effect and the memory that the event was taken, in one write. A database does the same with one
 * transaction; what must not happen is that the one is kept without the other.
 */

import { closeSync, existsSync, fdatasyncSync, openSync, readFileSync, truncateSync, writeSync } from "node:fs";

/** An event of Convene: a CloudEvent 1.0. Members that are not named here do not matter to this consumer. */
export interface ConveneEvent {
  id: string;
  type: string;
  subject: string;
  dataschema: string;
  aggregateversion: number;
  data: { party_size?: number };
}

/**
 * What became of an event. `duplicate`: it was taken before, since the broker delivers at least once. `outdated`: a later
 * one of the same RSVP was taken before, since redelivery may reorder. `not yet`: an earlier one is missing.
 */
export type Taken = "applied" | "duplicate" | "outdated" | "not yet";

interface Line {
  id: string;
  rsvp: string;
  version: number;
  seats: number;
}

export class Seats {
  readonly #file: number;
  /** A real service forgets ids that are older than any redelivery. */
  readonly #taken = new Set<string>();
  readonly #rsvps = new Map<string, Line>();

  constructor(path: string) {
    if (existsSync(path)) {
      const bytes = readFileSync(path);
      // A crash may have left half a line behind: its event was not acknowledged and comes again.
      const whole = bytes.lastIndexOf("\n") + 1;
      truncateSync(path, whole);
      const lines = bytes.subarray(0, whole).toString().split("\n").filter(Boolean);
      for (const line of lines) this.#remember(JSON.parse(line));
    }
    this.#file = openSync(path, "a");
  }

  /** Applies an event, once and in order. It is kept when this returns. */
  take(event: ConveneEvent): Taken {
    if (this.#taken.has(event.id)) return "duplicate";
    // Versions have no gaps. The first that we see may be any: the queue is younger than the RSVP.
    const known = this.#rsvps.get(event.subject);
    const ahead = known === undefined ? 1 : event.aggregateversion - known.version;
    if (ahead < 1) return "outdated";
    if (ahead > 1) return "not yet";

    const holds = event.type === "rsvp.confirmed" || (event.type === "rsvp.party_changed" && (known?.seats ?? 0) > 0);
    const seats = holds ? (event.data.party_size ?? 0) : 0;
    const line = { id: event.id, rsvp: event.subject, version: event.aggregateversion, seats };
    writeSync(this.#file, `${JSON.stringify(line)}\n`);
    fdatasyncSync(this.#file);
    this.#remember(line);
    return "applied";
  }

  close(): void {
    closeSync(this.#file);
  }

  #remember(line: Line): void {
    this.#taken.add(line.id);
    this.#rsvps.set(line.rsvp, line);
  }
}
