// The script of a SharedWorker: `new SharedWorker(new URL("@mdstream/client/worker", import.meta.url), { type: "module" })`.

import type { ClientOptions } from "./api.js";
import { systemClock } from "./clock.js";
import { json } from "./json.js";
import { connect } from "./lines.js";
import { msgpack } from "./msgpack.js";
import { Host, webLocks } from "./shared-host.js";
import type { Port, Settings } from "./shared-messages.js";

function make({ urls, format, lines, policy }: Settings, token: (() => Promise<string>) | undefined) {
  const options: ClientOptions = { format: format === json.protocol ? json : msgpack, policy };
  return connect(urls, { lines, ...options, ...(token === undefined ? {} : { token }) });
}

const host = new Host(make, systemClock, webLocks());

/** In a SharedWorker, each page that connects brings a port. */
const scope = globalThis as unknown as { onconnect: ((event: { ports: readonly Port[] }) => void) | null };
scope.onconnect = ({ ports }) => host.attach(ports[0]!);
