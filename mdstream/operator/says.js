// What an operator must know first, in words: the pill at the top, and a line for each thing that is wrong.

import { age, short, span } from "./numbers.js";

/** [kind, words] for the pill. */
export function pill(status, silent_s) {
  if (silent_s > 3) return ["bad", `no answer for ${span(silent_s)}`];
  if (status === null) return ["", "loading"];
  if (status.draining) return ["warn", "draining"];
  if (!status.nats.connected) return ["bad", "NATS is away"];
  return status.not_ready === null ? ["good", "ready"] : ["warn", "not ready"];
}

/** [kind, words] for each line. */
export function banners(status, silent_s) {
  const said = [];
  if (silent_s > 3) said.push(["bad", `The gateway has not answered for ${span(silent_s)}: what you see is as old.`]);
  if (status === null) return said;
  if (status.draining) said.push(["warn", "It is draining: clients are sent away, and no new ones are taken."]);
  if (!status.nats.connected) {
    said.push(["bad", "NATS is away: clients keep their last books and are told that these are stale. The gateway connects again by itself."]);
  } else if (!status.nats.reachable) {
    said.push(["warn", `JetStream does not answer (last: ${age(status.nats.answer_age_s === null ? null : status.nats.answer_age_s * 1000)}): live data goes on, gaps cannot be filled.`]);
  } else if (!status.nats.has_quorum) {
    said.push(["warn", "A stream of JetStream has no leader: too few servers are there."]);
  }
  if (status.not_ready !== null && !status.draining && status.nats.connected) {
    said.push(["warn", `Load balancers are told not to send clients here: ${status.not_ready}.`]);
  }
  return [...said, ...feeds(status), ...load(status)];
}

function feeds(status) {
  const open = Object.values(status.instruments).reduce((sum, count) => sum + count, 0);
  if (open === 0) return [["", "No feed is followed: no client has subscribed to anything, so no instrument is open."]];
  const live = status.instruments.live ?? 0;
  if (live === 0 && status.nats.connected) {
    return [["bad", `No feed is live: none of ${open} open instruments. Is a feed handler running?`]];
  }
  return [];
}

function load(status) {
  const said = [];
  const { loop, counts } = status;
  if (loop.overload_level > 0) {
    said.push(["bad", `It cannot keep up (level ${loop.overload_level}): intervals are ${loop.stretch} times as long as asked for.`]);
  }
  if (counts.connections !== undefined && counts.connections >= counts.max_connections) {
    said.push(["warn", `It is full: ${short(counts.connections)} connections, as many as max_connections allows.`]);
  }
  if (counts.slow_sessions > 0) {
    said.push(["warn", `${counts.slow_sessions} sessions do not read what they are sent.`]);
  }
  return said;
}
