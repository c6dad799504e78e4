// The connection: the client, what is measured of it, and the faults that one can make.

import type { Client } from "@mdstream/client";
import type { Address } from "./address.js";
import { onFrame } from "./frames.js";
import type { Order, Report } from "./line.js";
import { type Link, link } from "./link.js";
import { Silence } from "./silence.js";
import { wallMs } from "./time.js";
import { Timeline } from "./timeline.js";
import { Value } from "./value.js";

export const WINDOW_S = 60;

/** What a second was like. */
export interface Second {
  readonly at: number;
  readonly messages: number;
  readonly bytes: number;
  readonly p50: number | null;
  readonly p99: number | null;
}

export class Feed {
  readonly client: Client;
  readonly timeline = new Timeline();
  readonly silence = new Silence(performance.now());
  readonly seconds: Second[] = [];
  readonly tick = new Value(0);
  /** The last state of the connection, and whether anything comes. */
  readonly changed = new Value(0);
  /** When the client tries again, by `performance.now()`; 0: it does not. */
  retryAt = 0;
  /** Connections that were tried since the last one that was opened. */
  tries = 0;
  warning = "";
  conflated = 0;
  rtt: number | null = null;

  #pendingUs: number[] = [];
  #latencies: number[] = [];
  #messages = 0;
  #bytes = 0;
  readonly #link: Link;

  constructor(readonly address: Address) {
    this.#link = link(address, (report) => this.#hear(report));
    this.client = this.#link.client;
    this.client.on("state", (state) => {
      this.timeline.connection(state);
      this.silence.begin(performance.now());
      this.changed.set(this.changed.now + 1);
    });
    this.client.on("warning", (text) => (this.warning = text));
    onFrame(() => this.#drawn());
    setInterval(() => this.#watch(), 100);
    setInterval(() => this.#second(), 1_000);
  }

  /** For how long nothing has come, if that is long enough to distrust what is shown; else 0. */
  get quietMs(): number {
    return this.silence.quiet ? this.silence.lasting(performance.now()) : 0;
  }

  /** A change has come that the next frame shows; `ts` is its event time in µs. */
  came(ts: number, merged: number): void {
    this.conflated += merged;
    if (!document.hidden && ts > 0 && this.#pendingUs.length < 4_096) this.#pendingUs.push(ts);
  }

  now(): void {
    this.client.probe();
  }

  // ---- faults

  order(order: Order): void {
    this.#link.order(order);
  }

  async kill(): Promise<string | null> {
    const fault = this.timeline.fault("killed the gateway", performance.now());
    const headers = this.address.token === null ? {} : { Authorization: `Bearer ${this.address.token}` };
    try {
      const answer = await fetch("demo/kill", { method: "POST", headers, cache: "no-store" });
      if (answer.ok) return null;
      this.timeline.refused(fault);
      return `the demo answered ${answer.status}: ${(await answer.text()).trim()}`;
    } catch {
      return null; // it died while it answered: that is what was asked for
    }
  }

  #hear({ fault, at, tries, retryAt }: Report): void {
    if (fault !== "") this.timeline.fault(fault, at - performance.timeOrigin);
    this.tries = tries;
    this.retryAt = retryAt === 0 ? 0 : retryAt - performance.timeOrigin;
    this.changed.set(this.changed.now + 1);
  }

  // ---- measuring

  #drawn(): void {
    if (this.#pendingUs.length === 0) return;
    const now = wallMs();
    for (const ts of this.#pendingUs) this.#latencies.push(now - ts / 1000);
    this.#pendingUs = [];
  }

  #watch(): void {
    const { client, silence } = this;
    const before = silence.quiet;
    if (silence.look(client.stats.messages, client.state === "open", performance.now())) {
      client.probe();
      void client.ping(); // the worker tells its pages of no other answer
    }
    if (silence.quiet === before) return;
    this.timeline.silence(silence.quiet);
    this.changed.set(this.changed.now + 1);
  }

  #second(): void {
    const { messages, bytes } = this.client.stats;
    const latencies = this.#latencies.sort((a, b) => a - b);
    const second: Second = {
      at: Date.now() / 1000,
      messages: messages - this.#messages,
      bytes: bytes - this.#bytes,
      p50: quantile(latencies, 0.5),
      p99: quantile(latencies, 0.99),
    };
    [this.#messages, this.#bytes, this.#latencies] = [messages, bytes, []];
    this.silence.second(second.messages);
    this.timeline.look();
    this.seconds.push(second);
    if (this.seconds.length > WINDOW_S) this.seconds.shift();
    this.tick.set(this.tick.now + 1);
  }
}

export function quantile(sorted: readonly number[], part: number): number | null {
  return sorted.length === 0 ? null : sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))]!;
}
