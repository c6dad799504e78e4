import type { TradeEntry } from "./messages.js";
import { Subscription, type SubscriptionEvents } from "./subscription.js";
import { Updates } from "./updates.js";

export interface Trade {
  readonly epoch: number;
  readonly seq: number;
  /** Event time in µs since 1970. */
  readonly ts: number;
  /** Exact decimal texts, and the same as integers. */
  readonly price: string;
  readonly size: string;
  readonly ticks: number;
  readonly lots: number;
  /** What the taker did; null if unknown. */
  readonly side: "buy" | "sell" | null;
  /** The venue's. An integer beyond 2^53 is its decimal text. */
  readonly id: number | string;
  /** How many trades just before this one were lost for good. */
  readonly skipped: number;
}

export interface TradesEvents extends SubscriptionEvents {
  trade: [trade: Trade];
  /** These trades are lost for good. */
  lost: [first: number, last: number];
}

const SIDES = [null, "buy", "sell"] as const;

/** The trades of one instrument from the subscription on: each once and in order, over any number of connections. */
export class Trades extends Subscription<TradesEvents> {
  readonly epoch: number | null = null;
  /** The number of the newest trade delivered; null before the first. */
  readonly seq: number | null = null;
  /** How many were lost for good. */
  readonly lost: number = 0;
  /** How often a number was missing, and `recover` was sent. */
  readonly gaps: number = 0;
  readonly recoveries: number = 0;

  /** An iteration that keeps at most `buffer` trades for a slow consumer. */
  trades(buffer = 16_384): Updates<Trade> {
    return new Updates((push, end) => {
      const stops = [this.on("trade", push), this.on("end", end)];
      if (this.state === "ended") end(this.error);
      return () => stops.forEach((stop) => stop());
    }, buffer);
  }

  [Symbol.asyncIterator](): Updates<Trade> {
    return this.trades();
  }

  /** @internal */
  trade([seq, ts, ticks, lots, side, id]: TradeEntry, skipped: number): Trade {
    const price = this.price(ticks);
    const size = this.size(lots);
    return { epoch: this.epoch!, seq, ts, price, size, ticks, lots, side: SIDES[side] ?? null, id, skipped };
  }
}
