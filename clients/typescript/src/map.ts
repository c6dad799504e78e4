// `@mdstream/client/map`: keyed values under a topic, that many see and change.

import type { Client } from "./api.js";
import { KeyedEngine, type Kind } from "./keyed-engine.js";
import { type Change, Conflict, type MapEntry, readEntry, refusal, TopicMap } from "./map-view.js";
import { deliver } from "./outbox.js";
import { type Line, lineOf, topicRequest } from "./topics.js";

export type { Alert, Fired } from "./alerts.js";
export type { KeyedEvents } from "./keyed-view.js";
export type { Change, MapEntry, TopicMap } from "./map-view.js";
export { Conflict };

export interface MapOptions {
  /** Only keys that begin so. */
  prefix?: string;
  /** Least time between messages; 0 (the default) is every change. */
  intervalMs?: number;
}

/** @internal */
export const MAP: Kind<MapEntry> = { name: "map", number: 12, fields: ["set", "delete"], value: readEntry };

/** The map of a topic; `user` is the user's own, `alerts` that of his price alerts. */
export function map(client: Client, topic: string, { prefix, intervalMs }: MapOptions = {}): TopicMap {
  const line = lineOf(client);
  const request = topicRequest("map", topic, { prefix, interval_ms: intervalMs });
  return line.open(request, (owner) => new KeyedEngine(new TopicMap(request, owner, (it) => store(line, topic, it)), line, MAP));
}

/**
 * Changes a map that need not be subscribed to; resolves to the number of the change when it is stored. Changes of one map are
 * stored in the order of the calls. Rejects with `Conflict`, which says what holds, where something else was expected; with the
 * gateway's code; or after 30 s with `unavailable`: then it may be stored or not.
 */
export function put(client: Client, topic: string, change: Change): Promise<number> {
  return store(lineOf(client), topic, change);
}

async function store(line: Line, topic: string, { ttlMs, ...fields }: Change): Promise<number> {
  return (await deliver(line, topic, { op: "put", ...fields, ttl_ms: ttlMs }, refusal)).seq;
}
