import { mutable, Subscription, type SubscriptionEvents } from "./subscription.js";
import { topicOf } from "./topics.js";

export interface KeyedEvents extends SubscriptionEvents {
  /** After each message that was applied: the keys that are new or changed, and those that are gone. */
  change: [changed: readonly string[], gone: readonly string[]];
}

type Told<Value> = [rows: (readonly [key: string, value: Value])[], gone: readonly string[]];

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

  /** @internal What another thread is told, which does not have the rows: of all of them; null before they were first right. */
  whole(): Told<Value> | null {
    return this.wasReady ? [[...this.rows], []] : null;
  }

  /** @internal The same of a change. */
  telling([changed, gone]: KeyedEvents["change"]): Told<Value> {
    return [changed.map((key) => [key, this.rows.get(key)!]), gone];
  }

  /** @internal Puts what another thread told. */
  relay([told, gone]: Told<Value>, anew: boolean): void {
    const before = this.rows;
    const rows = anew ? new Map<string, Value>() : (before as Map<string, Value>);
    for (const key of gone) rows.delete(key);
    for (const [key, value] of told) rows.set(key, value);
    mutable<Keyed<Value>>(this).rows = rows;
    const over = anew ? [...before.keys()].filter((key) => !rows.has(key)) : gone;
    this.emit(
      "change",
      told.map(([key]) => key),
      over,
    );
  }
}
