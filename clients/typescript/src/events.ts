// `@mdstream/client/events`: messages to people and between programs, by topic.

import type { Client } from "./api.js";
import { EventsEngine } from "./events-engine.js";
import { Events } from "./events-view.js";
import { deliver } from "./outbox.js";
import { lineOf, topicRequest } from "./topics.js";

export type { AlertEvent } from "./alerts.js";
export type { Events, EventsEvents, TopicEvent } from "./events-view.js";

export interface EventsOptions {
  /** Which of the user's devices this is; needed where each device acknowledges by itself. */
  device?: string;
  /**
   * Where nothing is acknowledged: begin after this number, 0 with all that is kept. Without it, with what comes from now on. With the
   * `epoch` of the number, all of another stream comes, whose numbers mean something else.
   */
  since?: number | readonly [epoch: number, seq: number];
}

export interface Published {
  readonly seq: number;
  /** It was stored before, under the same key. */
  readonly duplicate: boolean;
}

export interface PublishOptions {
  /** The same key from the same user within two minutes is the same event, and is stored once. Without it, each call is an event. */
  key?: string;
}

/** The events of a topic; `user` is the user's own. Where somebody asks for the same topic again, `since` is that of the first. */
export function events(client: Client, topic = "user", { device, since }: EventsOptions = {}): Events {
  const line = lineOf(client);
  const request = topicRequest("events", topic, { device });
  const begin = typeof since === "number" ? ([0, since] as const) : (since ?? null);
  return line.open(request, (owner) => new EventsEngine(new Events(request, owner), line, begin));
}

/**
 * Publishes an event; resolves when it is stored. Events to one topic are stored in the order of the calls, also where one of them
 * must be tried again. Rejects with the gateway's code, or after 30 s with `unavailable`: then it may be stored or not.
 */
export async function publish(
  client: Client,
  topic: string,
  type: string,
  data: unknown,
  { key }: PublishOptions = {},
): Promise<Published> {
  const { seq, duplicate } = await deliver(lineOf(client), topic, { op: "publish", event: type, data: data ?? null, key });
  return { seq, duplicate: duplicate === true };
}
