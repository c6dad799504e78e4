import { formatDecimal } from "./decimals.js";
import { mutable, Subscription, type SubscriptionEvents } from "./subscription.js";

const STATES = ["unknown", "live", "recovering", "stale", "halted", "closed"] as const;

/** `unknown`: nobody reads the instrument now. The others as in `SubscriptionState`. */
export type BoardState = (typeof STATES)[number];

export interface BoardEvents extends SubscriptionEvents {
  /** After each message that was applied: the rows that are new or changed, and the instruments that are gone. */
  change: [rows: readonly BoardRow[], gone: readonly string[]];
}

type Price = "bid" | "ask" | "last" | "open" | "high" | "low";

/** One instrument: ticks, and the exact decimal text of each. Null where there is none. */
export class BoardRow {
  /** @internal */
  constructor(
    readonly instrument: string,
    readonly priceExp: number,
    readonly sizeExp: number,
    readonly state: BoardState,
    /** In ticks. `open`, `high` and `low` are of the trades of the last 24 hours. */
    readonly ticks: Readonly<Record<Price, number | null>>,
    /** The volume of the last 24 hours in lots. */
    readonly lots: number | null,
    /** When the oldest trade in these 24 hours was, µs since 1970; 0: there was none. */
    readonly since: number,
  ) {}

  price(name: Price): string | null {
    const ticks = this.ticks[name];
    return ticks === null ? null : formatDecimal(ticks, this.priceExp);
  }

  get volume(): string | null {
    return this.lots === null ? null : formatDecimal(this.lots, this.sizeExp);
  }

  /** `last − open`, in ticks. */
  get changeTicks(): number | null {
    const { last, open } = this.ticks;
    return last === null || open === null ? null : last - open;
  }

  /** The same in parts of a hundred: for people, so no exact number. */
  get changePercent(): number | null {
    const { open } = this.ticks;
    const change = this.changeTicks;
    return change === null || !open ? null : (100 * change) / Math.abs(open);
  }
}

/** Many instruments at once, kept equal to the gateway's board: every number is checked, and what is missing is fetched again. */
export class Board extends Subscription<BoardEvents> {
  /** By instrument. */
  readonly rows: ReadonlyMap<string, BoardRow> = new Map();
  readonly epoch: number = 0;
  readonly seq: number = 0;
  /** When the gateway made the newest message, µs since 1970. */
  readonly ts: number = 0;
  /** How often a number was missing, and `recover` was sent. */
  readonly gaps: number = 0;
  readonly recoveries: number = 0;

  override toString(): string {
    return `board ${(this.request.view["instruments"] as readonly string[]).join(", ")}`;
  }

  /** @internal What `change` would tell of all rows; null before the first. */
  whole(): BoardEvents["change"] | null {
    return this.epoch === 0 ? null : [[...this.rows.values()], []];
  }

  /** @internal Puts what another thread told, where objects lose their class. */
  relay([told, gone]: BoardEvents["change"], anew: boolean): void {
    const rows = told.map((row) => Object.assign(Object.create(BoardRow.prototype), row) as BoardRow);
    this.put(rows, gone, anew);
    this.emit("change", rows, gone);
  }

  /** @internal */
  put(rows: readonly BoardRow[], gone: readonly string[], anew: boolean): void {
    const all = anew ? new Map<string, BoardRow>() : (this.rows as Map<string, BoardRow>);
    for (const instrument of gone) all.delete(instrument);
    for (const row of rows) all.set(row.instrument, row);
    mutable<Board>(this).rows = all;
  }
}

/** @internal */
export function boardState(number: number): BoardState {
  return STATES[number] ?? "unknown";
}
