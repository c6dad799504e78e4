import { exactSum } from "./decimals.js";
import { Side } from "./side.js";
import { mutable, Subscription, type SubscriptionEvents } from "./subscription.js";
import { Updates } from "./updates.js";

/** What one message changed. Levels are flat, `[ticks, lots, …]`; lots 0: the level is deleted. A snapshot replaces everything. */
export interface BookChange {
  readonly kind: "snapshot" | "delta";
  readonly epoch: number;
  readonly first: number;
  readonly last: number;
  /** Event time in µs since 1970. */
  readonly ts: number;
  readonly bids: readonly number[];
  readonly asks: readonly number[];
}

export interface BookEvents extends SubscriptionEvents {
  /** After each message that was applied. */
  change: [change: BookChange];
}

/** One level: exact decimal texts, and the same as integers. */
export interface Level {
  readonly price: string;
  readonly size: string;
  readonly ticks: number;
  readonly lots: number;
}

/**
 * A view of one instrument's book, kept equal to the gateway's: every number and every checksum is checked. What is missing
 * or wrong is fetched again; a book that proved wrong is emptied at once. Do not use it while `trusted` is false.
 */
export class Book extends Subscription<BookEvents> {
  readonly bids: Side = new Side(1);
  readonly asks: Side = new Side(-1);
  /** The publisher's life that `seq` belongs to. */
  readonly epoch: number = 0;
  /** The number of the last update in the view. */
  readonly seq: number = 0;
  /** Event time of the last update, µs since 1970. */
  readonly ts: number = 0;
  /** How often a number was missing, `recover` was sent, and a checksum or an update did not fit. */
  readonly gaps: number = 0;
  readonly recoveries: number = 0;
  readonly crcErrors: number = 0;
  /** How often two lines had another checksum at the same number; it should stay 0. */
  readonly disagreed: number = 0;

  get bestBid(): Level | null {
    return this.#level(this.bids, 0);
  }

  get bestAsk(): Level | null {
    return this.#level(this.asks, 0);
  }

  /** Both sides, best first, at most `depth` levels of each. */
  levels(depth = Infinity): { bids: Level[]; asks: Level[] } {
    const take = (side: Side) => Array.from({ length: Math.min(depth, side.length) }, (_, index) => this.#level(side, index)!);
    return { bids: take(this.bids), asks: take(this.asks) };
  }

  /** The summed size of the best `depth` levels, exact also beyond 2^53. */
  cumulative(side: "bids" | "asks", depth: number): string {
    const levels = this[side];
    const lots = Array.from({ length: Math.min(depth, levels.length) }, (_, index) => levels.lots(index));
    return this.size(exactSum(lots));
  }

  /** An iteration over the changes. It keeps at most `buffer` for a slow consumer; the book itself is always the newest. */
  changes(buffer = 1024): Updates<BookChange> {
    return new Updates((push, end) => {
      const stops = [this.on("change", push), this.on("end", end)];
      if (this.state === "ended") end(this.error);
      return () => stops.forEach((stop) => stop());
    }, buffer);
  }

  [Symbol.asyncIterator](): Updates<BookChange> {
    return this.changes();
  }

  /** @internal Puts a change into the view. Returns whether it can be one of a book: no size is negative, no side endless. */
  put(change: BookChange, mostLevels: number): boolean {
    if (change.kind === "snapshot") this.empty();
    const fits = this.bids.put(change.bids) && this.asks.put(change.asks);
    const view = mutable<Book>(this);
    view.epoch = change.epoch;
    view.seq = change.last;
    view.ts = change.ts;
    return fits && this.bids.length <= mostLevels && this.asks.length <= mostLevels;
  }

  /** @internal The view is wrong, or of another scale. */
  empty(): void {
    this.bids.clear();
    this.asks.clear();
  }

  #level(side: Side, index: number): Level | null {
    if (index >= side.length) return null;
    const ticks = side.ticks(index);
    const lots = side.lots(index);
    return { price: this.price(ticks), size: this.size(lots), ticks, lots };
  }
}
