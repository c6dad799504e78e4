/// <reference lib="esnext.disposable" preserve="true" />
import { formatDecimal } from "./decimals.js";
import { Emitter, type EventMap } from "./emitter.js";
import type { MdstreamError } from "./errors.js";
import type { Reference } from "./messages.js";

/**
 * Whether the data can be used now. In `live`, `stale`, `halted` and `closed` it is exactly what the gateway sent, and nothing
 * is known to be missing.
 */
export type SubscriptionState =
  /** Asked for; nothing has come yet. */
  | "pending"
  | "live"
  /** Something is missing, here or at the gateway, and is being fetched. */
  | "recovering"
  /** The feed has been silent too long, or is down. */
  | "stale"
  | "halted"
  | "closed"
  /** There is no connection; the data is the last that came. */
  | "disconnected"
  /** Closed by its user, refused, or the client is closed for good: `error` says which. */
  | "ended";

export const TRUSTED: ReadonlySet<SubscriptionState> = new Set<SubscriptionState>(["live", "stale", "halted", "closed"]);

export interface SubscriptionEvents {
  /** The state, its code or its reason changed. */
  state: [state: SubscriptionState];
  /** The reference data changed. */
  ref: [ref: Reference];
  end: [error: MdstreamError | null];
  /** Another line has come to be ahead: its place in `client.lines`. */
  ahead: [line: number];
}

/** What one line has brought to a subscription so far. */
export interface LineReport {
  /** Its place in `client.lines`. */
  readonly line: number;
  /** Whether its view is the one that is shown; of trades, whether it brought the newest. */
  readonly ahead: boolean;
  readonly state: SubscriptionState;
  /** Updates (trades) that it brought before every other line, and those that had come before. */
  readonly first: number;
  readonly late: number;
  /** How often a number was missing on this line, and `recover` was sent; trades that its gateway could no longer send. */
  readonly gaps: number;
  readonly recoveries: number;
  readonly lost: number;
}

/** What is subscribed to. */
export interface Request {
  readonly channel: string;
  readonly instrument: string;
  /** The other fields of `subscribe`; with `instruments` where it is one subscription to patterns, and `instrument` is empty. */
  readonly view: Readonly<Record<string, number | string | readonly string[]>>;
}

/** @internal A state, and why it is so. */
export interface Status {
  readonly state: SubscriptionState;
  readonly code: string | null;
  readonly reason: string | null;
  /** Age of the venue's last word, and the clock's time when it was that old. */
  readonly ageMs: number | null;
  readonly at: number;
}

/** @internal Who made a subscription, and ends it. */
export interface Owner {
  now(): number;
  release(subscription: AnySubscription): void;
}

export type AnySubscription = Subscription<SubscriptionEvents>;

/** @internal For those who fill a subscription; its users only read. */
export function mutable<T extends object>(subscription: T): { -readonly [Name in keyof T]: T[Name] } {
  return subscription;
}

/** One channel of one instrument, as its user sees it. It goes on over any number of connections until it is closed. */
export abstract class Subscription<Events extends SubscriptionEvents & EventMap<Events>> extends Emitter<Events> {
  /** The exponents of prices and sizes: value = ticks × 10^priceExp. 0 until the gateway has confirmed. */
  readonly priceExp: number = 0;
  readonly sizeExp: number = 0;
  /** What the publisher says of the instrument. */
  readonly ref: Reference = {};
  /** How long ago what the gateway shows was published; 0: it is live. */
  readonly delayMs: number = 0;
  /** Of books: ticks per price bucket. 0 until the gateway has confirmed. */
  readonly group: number = 0;
  /** Why it ended; null if it has not, or its user closed it. */
  readonly error: MdstreamError | null = null;

  /** @internal */
  lineReports: (() => LineReport[]) | null = null;
  #status: Status = { state: "pending", code: null, reason: null, ageMs: null, at: 0 };
  #wasReady = false;
  readonly #owner: Owner;

  /** @internal */
  constructor(
    /** @internal */ readonly request: Request,
    owner: Owner,
  ) {
    super();
    this.#owner = owner;
  }

  get instrument(): string {
    return this.request.instrument;
  }

  get state(): SubscriptionState {
    return this.#status.state;
  }

  /** Whether the data is exactly what the gateway sent, and nothing is known to be missing. */
  get trusted(): boolean {
    return TRUSTED.has(this.state);
  }

  /** Why the gateway says so: a state code of the contract, or, when it has ended, the code of `error`. Null if live, or if the reason lies on this side. */
  get code(): string | null {
    return this.#status.code;
  }

  /** The same for people. */
  get reason(): string | null {
    return this.#status.reason;
  }

  /** How old the venue's last word is now, in milliseconds, if the gateway told its age. */
  get ageMs(): number | null {
    const { ageMs, at } = this.#status;
    return ageMs === null ? null : ageMs + this.#owner.now() - at;
  }

  /** What each of several lines has brought; empty if there is one. */
  get lines(): readonly LineReport[] {
    return this.lineReports?.() ?? [];
  }

  /** The exact decimal text of a price in ticks. */
  price(ticks: number): string {
    return formatDecimal(ticks, this.priceExp);
  }

  /** The exact decimal text of a size in lots; of a sum of sizes too. */
  size(lots: number | bigint): string {
    return formatDecimal(lots, this.sizeExp);
  }

  /**
   * Resolves as soon as the data can be trusted: at once if it can be now. Rejects if the subscription ends before. It waits as
   * long as it takes; `state`, `code` and `reason` say why.
   */
  ready(): Promise<this> {
    return new Promise((resolve, reject) => {
      const check = () => {
        if (this.state === "ended") reject(this.error ?? new Error(`${String(this)} was closed`));
        else if (this.trusted) resolve(this);
        else return;
        stop();
      };
      // Any `Events` has the common ones, which TypeScript cannot see.
      const stop = (this as unknown as AnySubscription).on("state", check);
      check();
    });
  }

  /** Ends it, once it is closed as often as it was asked for. */
  close(): void {
    if (this.state !== "ended") this.#owner.release(this as unknown as AnySubscription);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  override toString(): string {
    return `${this.request.channel} ${this.request.instrument}`;
  }

  /** @internal Whether its data was ever trusted. */
  get wasReady(): boolean {
    return this.#wasReady;
  }

  /** @internal What the state is now; tells the listeners if it, its code or its reason is another one. `ended` is for good. */
  tell(status: Status): void {
    const before = this.#status;
    if (before.state === "ended") return;
    this.#status = status;
    if (TRUSTED.has(status.state)) this.#wasReady = true;
    if (status.state !== before.state || status.code !== before.code || status.reason !== before.reason)
      (this as unknown as AnySubscription).emit("state", status.state);
  }

  /** @internal */
  end(error: MdstreamError | null): void {
    if (this.state === "ended") return;
    mutable(this as AnyFields).error = error;
    const code = error === null ? null : String(error.code);
    this.tell({ state: "ended", code, reason: error?.message ?? null, ageMs: null, at: 0 });
    (this as unknown as AnySubscription).emit("end", error);
  }

  /** @internal */
  tellRef(ref: Reference): void {
    mutable(this as AnyFields).ref = ref;
    (this as unknown as AnySubscription).emit("ref", ref);
  }
}

interface AnyFields {
  readonly error: MdstreamError | null;
  readonly ref: Reference;
}
