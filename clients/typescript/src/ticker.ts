import type { Data, Lost, Quote, TickerMessage } from "./messages.js";
import { Subscription, type SubscriptionEvents } from "./subscription.js";

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
  current: TickerValue | null = null;

  protected override begin(_resumed: boolean, rescaled: boolean): void {
    if (rescaled) this.current = null;
    // After a lost connection, what is shown is old until the next ticker comes.
    this.synced = !this.wasReady;
  }

  protected override interrupt(): void {
    this.synced = false;
  }

  protected override receive(message: Data | Lost): void {
    if (message.type !== "ticker") return;
    this.current = this.#value(message);
    this.synced = true;
    this.update();
    this.emit("change", this.current);
  }

  protected override compare(seq: number): void {
    if (!this.synced || this.current === null || seq <= this.current.seq) return;
    this.synced = false;
    this.session.recover(this, 0);
  }

  #value({ epoch, seq, ts, bid, ask, last }: TickerMessage): TickerValue {
    return { epoch, seq, ts, bid: this.#quote(bid), ask: this.#quote(ask), last: this.#quote(last) };
  }

  #quote(quote: Quote | null): TickerQuote | null {
    if (quote === null) return null;
    const [ticks, lots] = quote;
    return { price: this.price(ticks), size: this.size(lots), ticks, lots };
  }
}
