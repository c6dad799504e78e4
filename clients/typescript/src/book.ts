import { checksum } from "./checksum.js";
import { exactSum } from "./decimals.js";
import type { Data, Delta, Lost, Snapshot } from "./messages.js";
import { Recovery } from "./recovery.js";
import type { Session } from "./session.js";
import { Side } from "./side.js";
import { Subscription, type Request, type SubscriptionEvents, type SubscriptionState } from "./subscription.js";
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
  change: [change: BookChange];
}

/** One level: exact decimal texts, and the same as integers. */
export interface Level {
  readonly price: string;
  readonly size: string;
  readonly ticks: number;
  readonly lots: number;
}

/** How the view compares with the gateway's. */
type Sync =
  | "empty"
  | "exact"
  /** Right at `seq`, but an update after it is missing. */
  | "behind"
  /** It was wrong, and has been emptied. */
  | "broken";

const NO_BOOK = "no_book";

/**
 * A view of one instrument's book, kept equal to the gateway's: every number and every checksum is checked. What is missing
 * or wrong is fetched again; a book that proved wrong is emptied at once. Do not use it while `trusted` is false.
 */
export class Book extends Subscription<BookEvents> {
  readonly bids = new Side(1);
  readonly asks = new Side(-1);
  /** The publisher's life that `seq` belongs to. */
  epoch = 0;
  /** The number of the last update in the view. */
  seq = 0;
  /** Event time of the last update, µs since 1970. */
  ts = 0;
  gaps = 0;
  recoveries = 0;
  crcErrors = 0;

  #sync: Sync = "empty";
  readonly #recovery: Recovery<Delta>;

  /** @internal */
  constructor(request: Request, session: Session) {
    super(request, session);
    this.#recovery = new Recovery((from) => {
      this.recoveries++;
      session.recover(this, from);
    }, session);
  }

  // ---- for the user

  get bestBid(): Level | null {
    return this.#level(this.bids, 0);
  }

  get bestAsk(): Level | null {
    return this.#level(this.asks, 0);
  }

  /** Both sides, best first, at most `depth` levels of each. */
  levels(depth = Infinity): { bids: Level[]; asks: Level[] } {
    const take = (side: Side) =>
      Array.from({ length: Math.min(depth, side.length) }, (_, index) => this.#level(side, index)!);
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

  // ---- for the client

  /** @internal */
  override get resume(): [number, number] | null {
    return this.#sync === "exact" || this.#sync === "behind" ? [this.epoch, this.seq] : null;
  }

  /** @internal */
  override recoverRefused(): void {
    this.#recovery.refused();
  }

  protected override begin(resumed: boolean, rescaled: boolean): void {
    if (resumed && !rescaled && this.#sync !== "empty") return this.#set("exact");
    this.#set("empty");
    this.#recovery.expect();
    if (rescaled) this.#clear();
  }

  protected override interrupt(): void {
    this.#recovery.stop();
  }

  protected override receive(message: Data | Lost): void {
    if (message.type === "snapshot") this.#takeSnapshot(message);
    else if (message.type === "delta") this.#takeDelta(message);
  }

  /** While the gateway says that it has no book to send, there is nothing to ask for: a snapshot comes by itself. */
  protected override told(state: SubscriptionState, code: string | null): void {
    if (state === "recovering" && (code === NO_BOOK || this.#sync === "empty")) this.#recovery.wait();
    else if (!this.synced && !this.#recovery.waiting) this.#recovery.expect();
  }

  protected override compare(seq: number): void {
    if (this.#gatewayHasNone || this.#recovery.active) return;
    if (seq > (this.#sync === "empty" ? 0 : this.seq)) this.#recoverMissing();
  }

  // ---- inside

  get #gatewayHasNone(): boolean {
    return this.state === "recovering" && (this.code === NO_BOOK || (this.code !== null && this.#sync === "empty"));
  }

  #takeSnapshot(message: Snapshot): void {
    if (message.epoch !== this.epoch) this.#recovery.dropHeld();
    this.#clear();
    this.epoch = message.epoch;
    const { seq, ts, bids, asks } = message;
    this.#apply({ kind: "snapshot", epoch: message.epoch, first: seq, last: seq, ts, bids, asks }, message.crc);
  }

  #takeDelta(message: Delta): void {
    if (this.#sync === "exact" || this.#sync === "behind") {
      if (message.last <= this.seq) return;
      if (message.first === this.seq + 1) {
        const { first, last, ts, bids, asks } = message;
        if (this.#apply({ kind: "delta", epoch: this.epoch, first, last, ts, bids, asks }, message.crc)) this.#recovery.succeeded();
        return;
      }
      // It overlaps what is applied: the view and the gateway's are not the same.
      if (message.first <= this.seq) return this.#discard();
    }
    this.#recovery.hold(message);
    if (!this.#recovery.active) this.#recoverMissing();
  }

  #apply(change: BookChange, crc: number): boolean {
    for (let i = 0; i < change.bids.length; i += 2) this.bids.set(change.bids[i]!, change.bids[i + 1]!);
    for (let i = 0; i < change.asks.length; i += 2) this.asks.set(change.asks[i]!, change.asks[i + 1]!);
    this.session.stats.crcChecked++;
    if (checksum(this.bids, this.asks) !== crc) {
      this.#discard();
      return false;
    }
    this.seq = change.last;
    this.ts = change.ts;
    this.#set("exact");
    const held = this.#recovery.waiting ? this.#recovery.complete() : [];
    this.update(); // so that a listener sees the state that belongs to the change
    this.emit("change", change);
    for (const message of held) this.#takeDelta(message);
    return true;
  }

  /** The number after `seq` is missing: the view stays as it was at `seq` until the answer. */
  #recoverMissing(): void {
    const from = this.#sync === "empty" ? 0 : this.seq + 1;
    if (from > 0) this.#set("behind");
    this.gaps++;
    this.session.stats.gaps++;
    this.#recovery.start(from);
  }

  /** The view is wrong: no view is better than a wrong one. */
  #discard(): void {
    this.crcErrors++;
    this.session.stats.crcErrors++;
    this.#clear();
    this.#set("broken");
    this.#recovery.start(0);
  }

  #clear(): void {
    this.bids.clear();
    this.asks.clear();
  }

  #set(sync: Sync): void {
    this.#sync = sync;
    this.synced = sync === "exact";
  }

  #level(side: Side, index: number): Level | null {
    if (index >= side.length) return null;
    const ticks = side.ticks(index);
    const lots = side.lots(index);
    return { price: this.price(ticks), size: this.size(lots), ticks, lots };
  }
}
