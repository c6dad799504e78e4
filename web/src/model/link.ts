// How the page has its client: by the worker that all tabs of a user share; without one, by itself.

import { type Client, connect } from "@mdstream/client";
import { connect as connectShared } from "@mdstream/client/shared";
import type { Port } from "@mdstream/client/shared-messages";
import script from "../worker.ts?sharedworker&url";
import type { Address } from "./address.js";
import { timed } from "./frames.js";
import { Line, type Order, type Report } from "./line.js";

export interface Link {
  readonly client: Client;
  order(order: Order): void;
}

export function link({ url, token }: Address, hear: (report: Report) => void): Link {
  const options = { policy: { backoffCapMs: 5_000 }, ...(token === null ? {} : { token }) };
  if (typeof SharedWorker === "undefined") {
    const line = new Line(hear);
    const client = line.follow(connect(url, { ...options, transport: line.transport, clock: line.clock }));
    return { client, order: (order) => line.obey(order) };
  }
  let newest: MessagePort | null = null;
  const worker = () => {
    // Two users have two workers: what one may see is nothing for the other.
    const made = new SharedWorker(script, { type: "module", name: `mdstream ${fingerprint(token ?? "")}` });
    newest = made.port;
    const failed = (name: "error", listener: () => void) => made.addEventListener(name, listener);
    return { port: heard(made.port, hear), addEventListener: failed };
  };
  const client = connectShared(url, { ...options, worker });
  return { client, order: (order) => newest?.postMessage(order) };
}

/** The page's end: takes out the reports, and counts what messages cost as part of a frame. */
function heard(port: MessagePort, hear: (report: Report) => void): Port {
  const inner: Port = { postMessage: (message) => port.postMessage(message), onmessage: null };
  port.onmessage = (event: MessageEvent<{ report?: Report }>) =>
    timed(() => {
      const { report } = event.data;
      if (report === undefined) inner.onmessage?.(event);
      else hear(report);
    });
  return inner;
}

/** A number by which two texts are told apart, and from which neither can be read. */
function fingerprint(text: string): string {
  let [high, low] = [0xdeadbeef, 0x41c6ce57];
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    high = Math.imul(high ^ code, 0x9e3779b1);
    low = Math.imul(low ^ code, 0x5f356495);
  }
  return ((high >>> 0) * 2 ** 21 + (low >>> 11)).toString(36);
}
