import { type ClientOptions, connect, json } from "../src/index.js";
import { SharedClient } from "../src/shared.js";
import { Host, type Locks } from "../src/shared-host.js";
import type { Port } from "../src/shared-messages.js";
import type { Stage } from "./gateway.js";

const NO_LOCKS: Locks = { own: Promise.resolve(null), watch() {} };

/** What a SharedWorker has, with the clock and the network of the test; a tab is told at once unless a pace is given. */
export function hostOf(stage: Stage, paceMs = 0, locks = NO_LOCKS): Host {
  const make = (_settings: unknown, token?: () => Promise<string>) => {
    const { clock, net: transport } = stage;
    const options: ClientOptions = { format: json, clock, transport, random: () => 0.5 };
    return (stage.client = connect("ws://a/v1/stream", token === undefined ? options : { ...options, token }));
  };
  return new Host(make, stage.clock, locks, paceMs);
}

interface TabOptions {
  token?: () => string;
  policy?: { backoffBaseMs: number };
}

/** Two ports that are joined. What waits in `stuck` is delivered when the test says so. */
export class Tab {
  readonly client: SharedClient;
  /** How often it asked for a worker. */
  workers = 0;
  /** Its newest worker cannot be loaded. */
  fail: () => void = () => {};
  stuck: unknown[] | null = null;
  #page!: Port;

  constructor(
    public host: Host,
    options: TabOptions = {},
  ) {
    this.client = new SharedClient(() => this.#worker(), "ws://a/v1/stream", { format: json, ...options });
    this.client.enter();
  }

  #worker() {
    this.workers++;
    const worker: Port = { postMessage: (data) => this.#deliver(page, structuredClone(data)), onmessage: null };
    const page: Port = { postMessage: (data) => worker.onmessage?.(event(structuredClone(data))), onmessage: null };
    this.#page = page;
    this.host.attach(worker);
    return { port: page, addEventListener: (_: "error", listener: () => void) => void (this.fail = listener) };
  }

  #deliver(page: Port, data: unknown): void {
    if (this.stuck === null) page.onmessage?.(event(data));
    else this.stuck.push(data);
  }

  unstick(): void {
    const { stuck } = this;
    this.stuck = null;
    for (const data of stuck ?? []) this.#page.onmessage?.(event(data));
  }
}

const event = (data: unknown) => ({ data }) as MessageEvent;
