import { Subscription, type SubscriptionEvents } from "./subscription.js";
import { topicOf } from "./topics.js";

export interface KeyedEvents extends SubscriptionEvents {
  /** After each message that was applied: the keys that are new or changed, and those that are gone. */
  change: [changed: readonly string[], gone: readonly string[]];
}

/** Values by key under a topic, kept equal to those of the bus. */
export abstract class Keyed<Value> extends Subscription<KeyedEvents> {
  /** Once the gateway has confirmed, the whole name, also of `user`. */
  readonly topic: string = topicOf(this.request);
  readonly epoch: number = 0;
  /** The number of the newest change in it. */
  readonly seq: number = 0;
  /** How often a number was missing, and `recover` was sent. */
  readonly gaps: number = 0;
  readonly recoveries: number = 0;
  /** @internal */
  readonly rows: ReadonlyMap<string, Value> = new Map();

  override toString(): string {
    return `${this.request.channel} ${this.topic}`;
  }
}
