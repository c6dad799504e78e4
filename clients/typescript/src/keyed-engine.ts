// What maps and presence have in common: values by key, all of them first and then what changes.

import { fieldsOf } from "./channel.js";
import { integer } from "./checks.js";
import { Engine, type StreamMessage } from "./engine.js";
import { ContractBroken } from "./errors.js";
import type { Keyed } from "./keyed-view.js";
import type { More, Subscribed } from "./messages.js";
import { Recovery } from "./recovery.js";
import { mutable } from "./subscription.js";
import { type Line, resumeOf } from "./topics.js";

interface Page {
  readonly prev: number | null;
  readonly seq: number;
  readonly page: number;
  readonly pages: number;
  readonly set: Readonly<Record<string, unknown>>;
  readonly gone: readonly string[];
  /** Of presence. */
  readonly count: unknown;
}

/** Which messages a channel has, and how it reads a value. */
export interface Kind<Value> {
  readonly name: string;
  readonly number: number;
  /** The fields after `pages`. */
  readonly fields: readonly string[];
  value(told: unknown): Value;
}

/** Values are absolute: a message may begin before the number that is here. One that begins after it shows a gap. */
export class KeyedEngine<Value, View extends Keyed<Value>> extends Engine<View> {
  /** Whether the rows are right at `seq`. */
  #has = false;
  /** Of a message that is not complete. */
  #pages: Page[] = [];
  readonly #recovery: Recovery<never>;
  readonly #fields: readonly string[];

  constructor(
    view: View,
    line: Line,
    private readonly kind: Kind<Value>,
  ) {
    super(view, line.session);
    this.#fields = ["sub", "prev", "seq", "page", "pages", ...kind.fields];
    this.#recovery = new Recovery((from) => {
      mutable<Keyed<Value>>(view).recoveries++;
      this.session.recover(this as unknown as Engine, from);
    }, line.session);
  }

  override get resume(): [number, number] | null {
    return resumeOf(this.request, this.#has ? [this.view.epoch, this.view.seq] : null);
  }

  override recoverRefused(): void {
    this.#recovery.refused();
  }

  override accept(message: Subscribed): void {
    const view = mutable<Keyed<Value>>(this.view);
    const { topic, epoch } = message as unknown as Readonly<Record<string, unknown>>;
    view.topic = String(topic);
    if (epoch !== view.epoch) this.#has = false; // another stream, with numbers of its own
    view.epoch = integer(epoch, "epoch");
    super.accept(message);
  }

  protected override begin(resumed: boolean): void {
    this.synced = this.#has &&= resumed;
    if (!this.synced) this.#recovery.expect();
  }

  protected override interrupt(): void {
    this.#recovery.stop();
    this.#pages = [];
    this.synced = false;
  }

  protected override receive(message: StreamMessage): void {
    const { name, number } = this.kind;
    if (message.type !== "more" || (message.kind !== name && message.kind !== number)) return;
    const page = this.#read(message);
    const [first] = this.#pages;
    if (page.page === 1) this.#pages = [page];
    else if (page.seq === first?.seq && page.page === this.#pages.length + 1) this.#pages.push(page);
    else return this.#missing();
    if (page.page < page.pages) return;
    const pages = this.#pages;
    this.#pages = [];
    this.#take(page, pages);
  }

  protected override compare(seq: number): void {
    if (this.synced && this.#pages.length === 0 && seq > this.view.seq) this.#missing();
  }

  #take({ prev, seq, count }: Page, pages: readonly Page[]): void {
    const view = mutable<Keyed<Value>>(this.view);
    if (prev !== null && (!this.#has || prev > view.seq)) return this.#missing();
    if (prev !== null && seq < view.seq) return;
    const [changed, gone] = this.#apply(prev === null, pages);
    view.seq = seq;
    if (count !== undefined) Object.assign(view, { count: integer(count, "count") });
    this.#recovery.complete();
    this.#recovery.succeeded();
    this.synced = this.#has = true;
    this.update(); // so that a listener sees the state that belongs to the rows
    if (this.accepted) this.view.emit("change", changed, gone);
  }

  /** Returns the keys that are new or changed, and those that are gone. */
  #apply(whole: boolean, pages: readonly Page[]): [string[], string[]] {
    const before = this.view.rows;
    const rows = whole ? new Map<string, Value>() : (before as Map<string, Value>);
    const gone = pages.flatMap((page) => page.gone).filter((key) => rows.delete(key));
    const changed = pages.flatMap(({ set }) => Object.entries(set));
    for (const [key, told] of changed) rows.set(key, this.kind.value(told));
    if (whole) gone.push(...[...before.keys()].filter((key) => !rows.has(key)));
    mutable<Keyed<Value>>(this.view).rows = rows;
    return [changed.map(([key]) => key), gone];
  }

  #missing(): void {
    this.#pages = [];
    this.synced = false;
    if (this.#recovery.active) return;
    mutable<Keyed<Value>>(this.view).gaps++;
    this.session.stats.gaps++;
    this.#recovery.start(this.#has ? this.view.seq + 1 : 0);
  }

  #read({ values }: More): Page {
    const { prev, seq, page, pages, set, delete: gone, count } = fieldsOf(values, this.#fields);
    if (typeof (set ?? {}) !== "object" || !Array.isArray(gone ?? [])) throw new ContractBroken("rows were no rows");
    return {
      prev: prev === null ? null : integer(prev, "prev"),
      seq: integer(seq, "seq"),
      page: integer(page, "page"),
      pages: integer(pages, "pages"),
      set: (set ?? {}) as Page["set"],
      gone: (gone ?? []) as readonly string[],
      count,
    };
  }
}
