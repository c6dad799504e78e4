import { Subscription, type SubscriptionEvents } from "./subscription.js";
import { topicOf } from "./topics.js";
import { Updates } from "./updates.js";

export interface TopicEvent {
  readonly topic: string;
  /** It grows within a topic, but not by one. */
  readonly seq: number;
  /** When it was stored, µs since 1970. */
  readonly time: number;
  readonly type: string;
  readonly data: unknown;
  /** The user who published it, as the gateway says; null: a program on the bus that did not say. */
  readonly sender: string | null;
  /** It may have come before, to another device or an earlier session. */
  readonly redelivered: boolean;
}

export interface EventsEvents extends SubscriptionEvents {
  event: [event: TopicEvent];
  /** Events between these numbers are gone for good. */
  lost: [first: number, last: number];
  /** All up to this number are acknowledged, here or on another device, and that is stored. */
  acknowledged: [seq: number];
}

/** The events of one topic: each once and in order, over any number of connections. */
export class Events extends Subscription<EventsEvents> {
  /** Once the gateway has confirmed, the whole name, also of `user`. */
  readonly topic: string = topicOf(this.request);
  /** Who acknowledges, as the gateway says: one device of a user for all, each device for itself, or nobody. */
  readonly acknowledgement: "user" | "device" | "none" = "none";
  /** Up to where the user, or this device, has acknowledged; null: nothing. */
  readonly acknowledged: number | null = null;
  /** Of which stream the numbers are; 0 until the gateway has confirmed. */
  readonly epoch: number = 0;
  /** The number of the newest event that came; null before the first. */
  readonly seq: number | null = null;
  /** How often events were gone before they came. */
  readonly lost: number = 0;
  /** Events that came again, and were left out. */
  readonly duplicates: number = 0;
  /** How often a number was missing, and `recover` was sent. */
  readonly gaps: number = 0;
  readonly recoveries: number = 0;
  /** @internal */
  sendAck: (seq: number) => void = () => {};

  /** This event, or number, and all before it. Without effect where nothing is acknowledged. */
  acknowledge(event: TopicEvent | number): void {
    this.sendAck(typeof event === "number" ? event : event.seq);
  }

  /** An iteration that keeps at most `buffer` events for a slow consumer. */
  events(buffer = 16_384): Updates<TopicEvent> {
    return new Updates((push, end) => {
      const stops = [this.on("event", push), this.on("end", end)];
      if (this.state === "ended") end(this.error);
      return () => stops.forEach((stop) => stop());
    }, buffer);
  }

  [Symbol.asyncIterator](): Updates<TopicEvent> {
    return this.events();
  }

  override toString(): string {
    return `events of ${this.topic}`;
  }
}
