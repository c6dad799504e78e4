// The script of the worker that all tabs of a user share: it holds the connection, decodes and checks.

import { connect } from "@mdstream/client";
import { systemClock } from "@mdstream/client/clock";
import { Host, webLocks } from "@mdstream/client/shared-host";
import type { Port } from "@mdstream/client/shared-messages";
import { Line, type Order } from "./model/line.js";

const pages = new Set<MessagePort>();
const line = new Line((report) => {
  for (const page of pages) page.postMessage({ report });
});
const host = new Host(
  ({ urls, policy }, token) => {
    const { transport, clock } = line;
    return line.follow(connect(urls, { policy, transport, clock, ...(token === undefined ? {} : { token }) }));
  },
  systemClock,
  webLocks(),
);

/** A page says an order as a text; the rest is between its client and the host. */
function attach(page: MessagePort): void {
  const inner: Port = { postMessage: (message) => page.postMessage(message), onmessage: null };
  host.attach(inner);
  page.onmessage = (event: MessageEvent<Order | { op: string }>) => {
    const { data } = event;
    if (typeof data === "string") return line.obey(data);
    if (data.op === "bye") pages.delete(page);
    else if (data.op === "hello") {
      pages.add(page);
      page.postMessage({ report: line.report });
    }
    inner.onmessage?.(event);
  };
}

const scope = globalThis as unknown as { onconnect: (event: MessageEvent) => void };
scope.onconnect = ({ ports }) => attach(ports[0]!);
