// The figures of the last five minutes: one sample for each answer of /v1/status, with what is computed from two of them.

import { percentile } from "./numbers.js";

export const KEPT_S = 300;

const RATES = ["updates", "deliveries", "bytes", "conflated", "commands", "errors", "opened", "refused"];

export class History {
  constructor() {
    this.samples = [];
    this.before = null;
  }

  /** Takes an answer. The first one after a restart begins anew. */
  add(status) {
    const before = this.before;
    if (before !== null && before.time_us === status.time_us) return;
    if (before !== null && before.started_us !== status.started_us) this.samples = [];
    const known = before !== null && before.started_us === status.started_us ? before : null;
    this.before = status;
    this.samples.push({ at_s: status.time_us / 1e6, ...now(status), ...since(known, status) });
    const oldest = status.time_us / 1e6 - KEPT_S;
    while (this.samples.length > 0 && this.samples[0].at_s < oldest) this.samples.shift();
  }

  get newest() {
    return this.samples.at(-1) ?? null;
  }
}

function now(status) {
  const { counts, loop } = status;
  return {
    connections: counts.connections,
    subscriptions: counts.subscriptions,
    topics: counts.topics,
    slow: counts.slow_sessions,
    unread: counts.unread_bytes,
    natsUnread: loop.nats_unread_bytes,
    lateUs: loop.late_s === undefined ? undefined : loop.late_s * 1e6,
  };
}

function since(before, status) {
  const sample = {};
  if (before === null) return sample;
  const seconds = (status.time_us - before.time_us) / 1e6;
  for (const name of RATES) {
    const count = status.totals[name] - before.totals[name];
    sample[name] = count >= 0 && seconds > 0 ? count / seconds : undefined; // a worker that ended takes its counts with it
  }
  for (const name of ["flush_us", "latency_us"]) {
    const counts = status[name].map((count, i) => Math.max(0, count - (before[name][i] ?? 0)));
    sample[`${name}_50`] = percentile(counts, 0.5) ?? undefined;
    sample[`${name}_99`] = percentile(counts, 0.99) ?? undefined;
  }
  return sample;
}
