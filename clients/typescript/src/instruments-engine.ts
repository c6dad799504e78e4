import { list, type Make, text } from "./channel.js";
import { integer } from "./checks.js";
import { Engine, type StreamMessage } from "./engine.js";
import { type InstrumentRow, Instruments } from "./instruments-view.js";
import type { Reference } from "./messages.js";
import type { Request } from "./subscription.js";

type Fields = Readonly<Record<string, unknown>>;

/** Makes the machine of a list. */
export function makeInstruments(request: Request): Make<Instruments> {
  return (owner, session) => new InstrumentsEngine(new Instruments(request, owner), session);
}

/** Keeps the list: pages until it is whole, then what changes. */
export class InstrumentsEngine extends Engine<Instruments> {
  #pages = new Map<string, InstrumentRow>();
  /** Number of the newest change; null if the gateway does not number them. */
  #seq: number | null = null;

  protected override begin(): void {
    this.#pages = new Map();
    this.synced = false;
  }

  protected override interrupt(): void {
    this.synced = false;
  }

  protected override compare(seq: number): void {
    if (this.synced && this.#seq !== null && seq > this.#seq) this.#begins();
  }

  override recoverRefused(): void {
    this.session.again(this as unknown as Engine);
  }

  protected override receive(message: StreamMessage): void {
    if (message.type !== "more") return;
    const fields = message.values as Fields;
    if (message.kind === "instruments") this.#takePage(fields);
    else if (message.kind === "instruments_changed" && this.synced) this.#takeChange(fields);
  }

  /** A change is missing: all pages again. */
  #begins(): void {
    this.begin();
    this.session.stats.gaps++;
    this.session.recover(this as unknown as Engine, 0);
  }

  #takePage(fields: Fields): void {
    for (const row of rowsOf(fields)) this.#pages.set(row.instrument, row);
    if (fields["more"] === true) return;
    this.#seq = (fields["seq"] as number | undefined) ?? null;
    const { view } = this;
    const gone = [...view.rows.keys()].filter((instrument) => !this.#pages.has(instrument));
    view.put(this.#pages);
    this.#pages = new Map();
    this.synced = true;
    this.update(); // so that a listener sees the state that belongs to the rows
    if (this.accepted) view.emit("change", [...view.rows.values()], gone);
  }

  #takeChange(fields: Fields): void {
    const { first, last } = fields;
    if (this.#seq !== null && typeof first === "number") {
      if (first !== this.#seq + 1) return this.#begins();
      this.#seq = integer(last, "last");
    }
    const rows = rowsOf(fields);
    const gone = list(fields["gone"], "gone").map((instrument) => text(instrument, "an instrument"));
    const all = new Map(this.view.rows);
    for (const row of rows) all.set(row.instrument, row);
    for (const instrument of gone) all.delete(instrument);
    this.view.put(all);
    this.view.emit("change", rows, gone);
  }
}

function rowsOf(fields: Fields): InstrumentRow[] {
  return list(fields["rows"], "rows").map((each) => {
    const row = each as Fields;
    return {
      instrument: text(row["instrument"], "an instrument"),
      priceExp: integer(row["price_exp"], "an exponent"),
      sizeExp: integer(row["size_exp"], "an exponent"),
      ref: (row["ref"] ?? {}) as Reference,
      epoch: integer(row["epoch"] ?? 0, "epoch"),
      state: text(row["state"], "a state"),
      code: (row["code"] ?? null) as string | null,
      since: integer(row["since"] ?? 0, "since"),
    };
  });
}
