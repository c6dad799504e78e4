import { type ClientOptions, connect, json } from "../src/index.js";
import { SharedClient } from "../src/shared.js";
import { Host } from "../src/shared-host.js";
import type { Port } from "../src/shared-messages.js";
import type { Stage } from "./gateway.js";

/** What a SharedWorker has, with the clock and the network of the test; a tab is told at once unless a pace is given. */
export function hostOf(stage: Stage, paceMs = 0): Host {
  const make = (_settings: unknown, token?: () => Promise<string>) => {
    const { clock, net: transport } = stage;
    const options: ClientOptions = { format: json, clock, transport, random: () => 0.5 };
    return (stage.client = connect("ws://a/v1/stream", token === undefined ? options : { ...options, token }));
  };
  return new Host(make, stage.clock, () => {}, paceMs);
}

/** Two ports that are joined. What waits in `stuck` is delivered when the test says so. */
export class Tab {
  readonly page: Port = { postMessage: (data) => this.worker.onmessage?.(event(structuredClone(data))), onmessage: null };
  readonly worker: Port = { postMessage: (data) => this.#deliver(structuredClone(data)), onmessage: null };
  readonly client: SharedClient;
  stuck: unknown[] | null = null;

  constructor(host: Host, options: { token?: () => string } = {}) {
    host.attach(this.worker);
    this.client = new SharedClient(this.page, "ws://a/v1/stream", { format: json, ...options });
    this.client.enter();
  }

  #deliver(data: unknown): void {
    if (this.stuck === null) this.page.onmessage?.(event(data));
    else this.stuck.push(data);
  }

  unstick(): void {
    const { stuck } = this;
    this.stuck = null;
    for (const data of stuck ?? []) this.page.onmessage?.(event(data));
  }
}

const event = (data: unknown) => ({ data }) as MessageEvent;
