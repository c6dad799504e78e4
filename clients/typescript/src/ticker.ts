import type { Quote, TickerMessage } from "./messages.js";
import { mutable, Subscription, type SubscriptionEvents } from "./subscription.js";
import { Updates } from "./updates.js";

/** A price and a size: exact decimal texts, and the same as integers. */
export interface TickerQuote {
  readonly price: string;
  readonly size: string;
  readonly ticks: number;
  readonly lots: number;
}

export interface TickerValue {
  readonly epoch: number;
  /** The book's number; it stays when only `last` changed. */
  readonly seq: number;
  /** Event time in µs since 1970. */
  readonly ts: number;
  readonly bid: TickerQuote | null;
  readonly ask: TickerQuote | null;
  readonly last: TickerQuote | null;
}

export interface TickerEvents extends SubscriptionEvents {
  change: [value: TickerValue];
}

/** Best bid, best ask and last trade. Only the newest counts. */
export class Ticker extends Subscription<TickerEvents> {
  /** The newest value; null before the first. */
  readonly current: TickerValue | null = null;

  /** An iteration over the values; with a buffer of 1, the default, it gives the newest. */
  changes(buffer = 1): Updates<TickerValue> {
    return new Updates((push, end) => {
      const stops = [this.on("change", push), this.on("end", end)];
      if (this.state === "ended") end(this.error);
      return () => stops.forEach((stop) => stop());
    }, buffer);
  }

  [Symbol.asyncIterator](): Updates<TickerValue> {
    return this.changes();
  }

  /** @internal */
  put(current: TickerValue | null): void {
    mutable<Ticker>(this).current = current;
  }

  /** @internal */
  value({ epoch, seq, ts, bid, ask, last }: TickerMessage): TickerValue {
    return { epoch, seq, ts, bid: this.#quote(bid), ask: this.#quote(ask), last: this.#quote(last) };
  }

  #quote(quote: Quote | null): TickerQuote | null {
    if (quote === null) return null;
    const [ticks, lots] = quote;
    return { price: this.price(ticks), size: this.size(lots), ticks, lots };
  }
}
