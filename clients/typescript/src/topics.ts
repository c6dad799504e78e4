// What the channels of topics share: events, maps, presence.

import type { Answered } from "./answers.js";
import type { Client } from "./api.js";
import type { Make } from "./channel.js";
import type { Session } from "./engine.js";
import type { Command } from "./messages.js";
import type { AnySubscription, Request } from "./subscription.js";

/** A connection of its own, to which these channels go. */
export interface Line extends Client {
  readonly session: Session;
  open<View extends AnySubscription>(request: Request, make: Make<View>): View;
  say(command: Command, answered: Answered): void;
}

/** Of several lines, the first. */
export function lineOf(client: Client): Line {
  const line = client.lines[0] as Partial<Line> | undefined;
  if (line?.say === undefined) {
    throw new TypeError("topics need a connection of their own: make it with connect() of @mdstream/client");
  }
  return line as Line;
}

/** A subscription to one topic. */
export function topicRequest(channel: string, topic: string, view: object): Request {
  // A field that is undefined is not sent: there are no instruments.
  return { channel, instrument: "", view: { instruments: undefined, topics: [topic], ...view } as unknown as Request["view"] };
}

export function topicOf(request: Request): string {
  return (request.view["topics"] as readonly string[])[0]!;
}

/** `resume` of a topic; null if there is nothing to go on from. */
export function resumeOf(request: Request, place: readonly [epoch: number, seq: number] | null): [number, number] | null {
  return place === null ? null : ({ [topicOf(request)]: place } as unknown as [number, number]);
}
