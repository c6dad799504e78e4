// The client's way to the network: what it is told to do wrong, and what it tells of it. It lives where the connection does: in the
// worker that the tabs share, or in the page where there is no such worker.

import type { Client, ClientState, Clock } from "@mdstream/client";
import { FaultyTransport } from "./faults.js";
import { wallMs } from "./time.js";

export type Order = "drop" | "lose" | "stall";

export interface Report {
  /** What was done now; empty if nothing was. */
  readonly fault: string;
  /** When, by the wall clock in ms. */
  readonly at: number;
  /** Connections that were tried since the last one that was opened. */
  readonly tries: number;
  /** When the client tries again, by the wall clock in ms; 0: it does not. */
  readonly retryAt: number;
}

export const STALL_MS = 10_000;
const LONGEST_MS = 2 ** 31 - 1;

export class Line {
  readonly transport = new FaultyTransport(
    () => this.#say(""),
    () => this.#say("lost a message"),
  );
  /** As the client's usual one; so the line knows when the client tries again. */
  readonly clock: Clock = {
    now: () => performance.now(),
    after: (ms, callback) => {
      this.#newest = ms; // when the client goes to `reconnecting`, that of its next try
      const timer = setTimeout(callback, Math.min(ms, LONGEST_MS));
      return () => clearTimeout(timer);
    },
  };
  #newest = 0;
  #retryAt = 0;

  constructor(private readonly tell: (report: Report) => void) {}

  /** From now on it tells of this client's tries. */
  follow(client: Client): Client {
    client.on("state", (state: ClientState) => {
      this.#retryAt = state === "reconnecting" ? wallMs() + this.#newest : 0;
      this.#say("");
    });
    return client;
  }

  obey(order: Order): void {
    if (order === "lose") return this.transport.lose();
    if (order === "drop") {
      this.#say("dropped the connection");
      return this.transport.drop();
    }
    this.#say(`stalled for ${STALL_MS / 1000} s`);
    this.transport.stall(STALL_MS);
  }

  /** For a page that has just come. */
  get report(): Report {
    return { fault: "", at: wallMs(), tries: this.transport.tries, retryAt: this.#retryAt };
  }

  #say(fault: string): void {
    this.tell({ ...this.report, fault });
  }
}
