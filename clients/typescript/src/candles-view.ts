import { amount, list } from "./channel.js";
import { integer } from "./checks.js";
import { formatDecimal } from "./decimals.js";
import { mutable, Subscription, type SubscriptionEvents } from "./subscription.js";

export type Span = "1s" | "1m" | "5m" | "15m" | "1h" | "1d";

export interface CandleEvents extends SubscriptionEvents {
  /** New or corrected candles, oldest first. */
  change: [candles: readonly Candle[]];
}

type Price = "open" | "high" | "low" | "close";

/** One span of time: integers, and the exact decimal text of each. */
export class Candle {
  /** @internal */
  constructor(
    /** When it begins, in seconds since 1970 (UTC). */
    readonly start: number,
    /** Grows with each change of this candle. */
    readonly revision: number,
    /** In ticks. */
    readonly ticks: Readonly<Record<Price, number>>,
    /** The volume in lots. */
    readonly lots: number,
    /** How many trades. */
    readonly count: number,
    /** Its trades are those from `first` to `last` of this epoch, which is the newest one in it. */
    readonly epoch: number,
    readonly first: number,
    readonly last: number,
    readonly priceExp: number,
    readonly sizeExp: number,
    readonly closed: boolean,
    /** Trades in it were lost for good, or the service started within it. */
    readonly incomplete: boolean,
  ) {}

  price(name: Price): string {
    return formatDecimal(this.ticks[name], this.priceExp);
  }

  get volume(): string {
    return formatDecimal(this.lots, this.sizeExp);
  }
}

const CLOSED = 1;
const INCOMPLETE = 2;

/** Reads a candle as the gateway sends it, in either format. Throws if it is none. */
export function readCandle(values: unknown): Candle {
  const fields = list(values, "a candle");
  const whole = (index: number, what: string) => integer(fields[index], what);
  const [priceExp, sizeExp, flags] = [whole(11, "an exponent"), whole(12, "an exponent"), whole(13, "flags")];
  const price = (index: number) => amount(fields[index], priceExp, "a price");
  const ticks = { open: price(2), high: price(3), low: price(4), close: price(5) };
  return new Candle(
    whole(0, "a start"),
    whole(1, "a revision"),
    ticks,
    amount(fields[6], sizeExp, "a volume"),
    whole(7, "a count"),
    whole(8, "epoch"),
    whole(9, "first"),
    whole(10, "last"),
    priceExp,
    sizeExp,
    (flags & CLOSED) !== 0,
    (flags & INCOMPLETE) !== 0,
  );
}

/** The candles of one instrument and span. */
export class Candles extends Subscription<CandleEvents> {
  /** Oldest first. */
  readonly candles: readonly Candle[] = [];

  get span(): Span {
    return this.request.view["span"] as Span;
  }

  /** The newest candle; null before the first. */
  get live(): Candle | null {
    return this.candles.at(-1) ?? null;
  }

  /** @internal What `change` would tell of all candles; null before the first. */
  whole(): CandleEvents["change"] | null {
    return this.candles.length === 0 ? null : [[...this.candles]];
  }

  /** @internal Puts what another thread told, where objects lose their class. */
  relay([told]: CandleEvents["change"], anew: boolean): void {
    const candles = told.map((candle) => Object.assign(Object.create(Candle.prototype), candle) as Candle);
    if (anew) this.clear();
    for (const candle of candles) this.put(candle);
    this.emit("change", candles);
  }

  /** @internal Puts it in its place, over the one that starts at the same time. */
  put(candle: Candle): void {
    const candles = this.candles as Candle[];
    let at = candles.length;
    while (at > 0 && candles[at - 1]!.start > candle.start) at--;
    const same = candles[at - 1]?.start === candle.start;
    candles.splice(same ? at - 1 : at, same ? 1 : 0, candle);
  }

  /** @internal */
  clear(): void {
    mutable<Candles>(this).candles = [];
  }
}
