import type { Reference } from "./messages.js";
import { mutable, Subscription, type SubscriptionEvents } from "./subscription.js";

export interface InstrumentRow {
  readonly instrument: string;
  readonly priceExp: number;
  readonly sizeExp: number;
  /** What the publisher says of it. */
  readonly ref: Reference;
  readonly epoch: number;
  /** `unknown`: nobody reads it now. Else as in `SubscriptionState`. */
  readonly state: string;
  readonly code: string | null;
  /** Since when it is in this state, µs since 1970. */
  readonly since: number;
}

export interface InstrumentsEvents extends SubscriptionEvents {
  /** The rows that are new or changed, and the instruments that are gone. */
  change: [rows: readonly InstrumentRow[], gone: readonly string[]];
}

/** The list of instruments, and what changes in it. */
export class Instruments extends Subscription<InstrumentsEvents> {
  /** By instrument. */
  readonly rows: ReadonlyMap<string, InstrumentRow> = new Map();

  override toString(): string {
    return `instruments ${(this.request.view["instruments"] as readonly string[]).join(", ")}`;
  }

  /** @internal What `change` would tell of all rows. */
  whole(): InstrumentsEvents["change"] {
    return [[...this.rows.values()], []];
  }

  /** @internal Puts what another thread told. */
  relay([rows, gone]: InstrumentsEvents["change"], anew: boolean): void {
    const all = new Map(anew ? [] : this.rows);
    for (const row of rows) all.set(row.instrument, row);
    for (const instrument of gone) all.delete(instrument);
    this.put(all);
    this.emit("change", rows, gone);
  }

  /** @internal */
  put(rows: ReadonlyMap<string, InstrumentRow>): void {
    mutable<Instruments>(this).rows = rows;
  }
}
