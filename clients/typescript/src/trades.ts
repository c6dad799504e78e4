import type { Data, Lost, TradeEntry, TradesMessage } from "./messages.js";
import { Recovery } from "./recovery.js";
import type { Session } from "./session.js";
import { Subscription, type Request, type SubscriptionEvents } from "./subscription.js";
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
  readonly id: number | string;
}

export interface TradesEvents extends SubscriptionEvents {
  trade: [trade: Trade];
  /** These trades are lost for good. */
  lost: [first: number, last: number];
}

const SIDES = [null, "buy", "sell"] as const;

/** The trades of one instrument from the subscription on: each once and in order, over any number of connections. */
export class Trades extends Subscription<TradesEvents> {
  epoch: number | null = null;
  /** The number of the newest trade delivered; null before the first. */
  seq: number | null = null;
  /** How many were lost for good. */
  lost = 0;
  gaps = 0;
  recoveries = 0;

  /** The gateway has sent nothing since it confirmed. */
  #fresh = true;
  readonly #recovery: Recovery<TradesMessage>;

  /** @internal */
  constructor(request: Request, session: Session) {
    super(request, session);
    this.#recovery = new Recovery((from) => {
      this.recoveries++;
      session.recover(this, from);
    }, session);
  }

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
  override get resume(): [number, number] | null {
    return this.epoch === null || this.seq === null ? null : [this.epoch, this.seq];
  }

  /** @internal */
  override recoverRefused(): void {
    this.#recovery.refused();
  }

  protected override begin(): void {
    this.synced = this.#fresh = true;
  }

  protected override interrupt(): void {
    this.#recovery.stop();
    this.synced = false;
  }

  protected override receive(message: Data | Lost): void {
    if (message.type === "lost") this.#takeLost(message);
    else if (message.type === "trades" && this.#followEpoch(message)) this.#takeTrades(message);
  }

  protected override compare(seq: number): void {
    if (this.#recovery.active || seq === 0) return;
    if (this.seq === null) this.seq = seq;
    else if (seq > this.seq) this.#recoverMissing();
  }

  /** Begins again at 1 in a new epoch. An older one counts only right after `subscribed`: nothing bears the newer one out. */
  #followEpoch(message: TradesMessage): boolean {
    const fresh = this.#fresh;
    this.#fresh = false;
    if (this.epoch === null) {
      if (this.seq === null || message.first <= this.seq) this.seq = message.first - 1;
    } else if (fresh && message.epoch < this.epoch) {
      this.seq = message.first - 1;
    } else if (message.epoch > this.epoch) {
      this.#recovery.stop();
      this.synced = true;
      this.seq = 0;
    } else if (message.epoch < this.epoch) return false;
    this.epoch = message.epoch;
    return true;
  }

  #takeTrades(message: TradesMessage): void {
    const seq = this.seq ?? 0;
    if (message.trades.length === 0) {
      // The answer to `recover`: nothing is missing.
      if (this.#recovery.active && message.last <= seq) this.#goOn();
    } else if (message.last > seq) {
      if (message.first > seq + 1) return this.#hold(message);
      for (const entry of message.trades) if (entry[0] > seq) this.#deliver(entry);
      this.seq = message.last;
      this.#goOn();
    }
  }

  #hold(message: TradesMessage): void {
    this.#recovery.hold(message);
    if (!this.#recovery.active) this.#recoverMissing();
  }

  #goOn(): void {
    this.#recovery.succeeded();
    this.synced = true;
    if (this.#recovery.active) for (const message of this.#recovery.complete()) this.#takeTrades(message);
  }

  #deliver([seq, ts, ticks, lots, side, id]: TradeEntry): void {
    this.seq = seq;
    const price = this.price(ticks);
    const size = this.size(lots);
    this.emit("trade", { epoch: this.epoch!, seq, ts, price, size, ticks, lots, side: SIDES[side] ?? null, id });
  }

  /** Unasked: the log may still have them. As the answer: they are gone. */
  #takeLost(message: Lost): void {
    if (this.seq === null && message.first === 1) {
      this.seq = message.last; // from before this subscription
      return;
    }
    const seq = this.seq ?? message.first - 1;
    if (message.last <= seq) return;
    this.seq = seq;
    if (!this.#recovery.active) this.#recoverMissing();
    else if (message.first <= seq + 1) {
      this.seq = message.last;
      this.lost += message.last - seq;
      this.emit("lost", seq + 1, message.last);
      this.#goOn();
    }
  }

  #recoverMissing(): void {
    this.synced = false;
    this.gaps++;
    this.session.stats.gaps++;
    this.#recovery.start((this.seq ?? 0) + 1);
  }
}
