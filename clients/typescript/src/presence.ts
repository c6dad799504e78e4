// `@mdstream/client/presence`: who is at a topic, or how many.

import type { Client } from "./api.js";
import { list } from "./channel.js";
import { integer } from "./checks.js";
import { KeyedEngine, type Kind } from "./keyed-engine.js";
import { Keyed } from "./keyed-view.js";
import { lineOf, topicRequest } from "./topics.js";

export type { KeyedEvents } from "./keyed-view.js";

export interface PresenceOptions {
  /** This session is one of them, until the subscription is closed or the connection is lost. */
  join?: boolean;
  /** What it says of itself, at most 1 KiB. */
  info?: unknown;
  /** Also which sessions, which must be allowed. */
  who?: boolean;
  /** Least time between messages; 0 (the default) is the gateway's usual one, a second. */
  intervalMs?: number;
}

/** A session that is there. */
export interface Present {
  /** Empty where nobody is asked who he is. */
  readonly user: string;
  /** µs since 1970. */
  readonly since: number;
  readonly info: unknown;
}

/** How many sessions are at a topic, and which ones. */
export class Presence extends Keyed<Present> {
  readonly count: number = 0;

  /** By their names; empty without `who`. Of thousands that come at once, they follow `count` by pages. */
  get sessions(): ReadonlyMap<string, Present> {
    return this.rows;
  }
}

/** @internal */
export const PRESENCE: Kind<Present> = {
  name: "presence",
  number: 13,
  fields: ["count", "set", "delete"],
  value(told) {
    const [user, since, info] = list(told, "a session");
    return { user: String(user), since: integer(since, "since"), info: info ?? null };
  },
};

/** Who is present at a topic. */
export function presence(client: Client, topic: string, { join, info, who, intervalMs }: PresenceOptions = {}): Presence {
  const line = lineOf(client);
  const request = topicRequest("presence", topic, { join, info, who, interval_ms: intervalMs });
  return line.open(request, (owner) => new KeyedEngine(new Presence(request, owner), line, PRESENCE));
}
