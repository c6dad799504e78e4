// The selected instrument: its ladder's book, its whole book, its trades. A view is switched without an empty frame: the old one
// stays until the new one can be trusted.

import type { Book, BookChange, BookOptions, MdstreamError, Trade, Trades } from "@mdstream/client";
import type { Feed } from "./feed.js";
import { type Drawer, invalidate } from "./frames.js";
import { change, DEPTHS, settings } from "./settings.js";
import { Value } from "./value.js";

const WHOLE_MS = 250;
const HIDDEN_MS = 1_000;
const HIDE_AFTER_MS = 5_000;
const KEPT_TRADES = 500;

/** Buckets of so many ticks, or as large as leaves so many significant figures. */
export type Grouping = Pick<BookOptions, "group" | "groupDigits">;

const DIGITS = [6, 5, 4, 3];

/** How the gateway says what one may see of a book, where more was asked for. */
const MAY_SEE = /which is (?:any depth|a depth of at most (\d+)) with (?:any interval_ms|interval_ms (\d+) or more)/;

/** A line of the tape: a trade, or what is missing. */
export type TapeRow = Trade | { readonly lost: readonly [number, number] };

/** One view of a book that can be exchanged for another. */
class Shelf {
  current: Book | null = null;
  #next: Book | null = null;
  #stops: (() => void)[] = [];

  constructor(
    private readonly open: (instrument: string, options: BookOptions) => Book,
    private readonly onChange: (book: Book, change: BookChange) => void,
    private readonly onState: (book: Book) => void,
  ) {}

  show(instrument: string, options: BookOptions): void {
    const book = this.open(instrument, options);
    const before = this.#next;
    if (book === before || book === this.current) book.close(); // asked for once more
    if (book === before) return;
    this.#next = book === this.current ? null : book;
    this.#drop(before); // what listens to it sees that it is not the next one any more
    if (this.#next === null) return;
    if (this.current?.instrument !== instrument || !this.current.trusted || book.trusted) this.#take();
    else {
      const stop = book.on("state", () => {
        if (book.state === "ended" || book.trusted) {
          stop();
          if (this.#next === book) this.#take();
        }
      });
    }
  }

  #take(): void {
    const book = this.#next!;
    const old = this.current;
    for (const stop of this.#stops) stop();
    this.#next = null;
    this.current = book;
    this.#stops = [
      book.on("change", (changed) => this.onChange(book, changed)),
      book.on("state", () => this.onState(book)),
      book.on("end", () => this.onState(book)),
    ];
    this.#drop(old);
    this.onState(book);
  }

  #drop(book: Book | null): void {
    book?.close();
  }
}

export class Market {
  readonly instrument = new Value("");
  /** Another state of the book, or another book. */
  readonly changed = new Value(0);
  readonly grouping = new Value<Grouping>({ group: 1 });
  readonly tape: TapeRow[] = [];
  /** Counts rows of the tape, so that one that stands still knows how many are new. */
  tapeCount = 0;
  trades: Trades | null = null;
  last: Trade | null = null;
  /** The last price before the first trade that comes, as far as the watchlist knows it. */
  lastKnown: string | null = null;
  readonly onTrade = new Set<(trade: Trade) => void>();
  readonly drawers = new Set<Drawer>();
  readonly wholeDrawers = new Set<Drawer>();
  readonly tapeDrawers = new Set<Drawer>();

  readonly #ladder: Shelf;
  readonly #whole: Shelf;
  /** The greatest depth (0: all) and the least interval that the token allows of this instrument, as far as that is known. */
  #most = 0;
  #leastMs = 0;
  #hidden = false;

  constructor(readonly feed: Feed) {
    const open = (instrument: string, options: BookOptions) => feed.client.book(instrument, options);
    this.#ladder = new Shelf(
      open,
      (book, changed) => this.#bookChanged(book, changed),
      (book) => this.#stateChanged(book),
    );
    this.#whole = new Shelf(
      open,
      () => this.#redraw(this.wholeDrawers),
      (book) => this.#wholeStateChanged(book),
    );
    let depth = settings.now.depth;
    settings.watch((now) => {
      if (now.depth === depth) return;
      depth = now.depth;
      this.#subscribe();
    });
    feed.changed.watch(() => {
      for (const drawers of [this.drawers, this.wholeDrawers, this.tapeDrawers]) this.#redraw(drawers);
    });
    document.addEventListener("visibilitychange", () => this.#visibility());
  }

  get book(): Book | null {
    return this.#ladder.current;
  }

  get whole(): Book | null {
    return this.#whole.current;
  }

  select(instrument: string): void {
    if (instrument === this.instrument.now || instrument === "") return;
    this.feed.timeline.forget();
    this.#most = this.#leastMs = 0;
    this.grouping.set({ group: 1 });
    this.instrument.set(instrument);
    change({ instrument });
    this.#subscribe();
    this.#followTrades(instrument);
    this.changed.set(this.changed.now + 1);
  }

  /** After `unknown_instrument`, or another refusal. */
  again(): void {
    this.#subscribe();
    this.#followTrades(this.instrument.now);
  }

  setGrouping(grouping: Grouping): void {
    this.grouping.set(grouping);
    this.#subscribe();
  }

  /** Those that the gateway always serves, and that make sense at this price. */
  get groupings(): Grouping[] {
    const { book } = this;
    const tick = Math.max(1, book?.ref.tick ?? 1);
    const price = Math.abs(book?.bids.ticks(0) ?? NaN) || 1e6;
    const served = (this.feed.client.welcome?.limits["groups"] ?? []) as readonly number[];
    const sensible = served.filter((ticks) => ticks > tick && ticks <= price / 100 && ticks % tick === 0);
    const ticks = sensible.filter((each) => /^[125]0*$/.test(String(each / tick))).slice(0, 12);
    return [...[1, ...ticks].map((group) => ({ group })), ...DIGITS.map((groupDigits) => ({ groupDigits }))];
  }

  #subscribe(): void {
    const instrument = this.instrument.now;
    if (instrument === "") return;
    const [often, seldom] = this.#hidden ? [HIDDEN_MS, HIDDEN_MS] : [0, WHOLE_MS];
    this.#ladder.show(instrument, { depth: this.depth, ...this.grouping.now, intervalMs: this.#served(often) });
    this.#whole.show(instrument, { depth: this.#fitting(0), intervalMs: this.#served(seldom) });
  }

  /** That of the ladder: as was chosen, or as much of it as the token allows. */
  get depth(): number {
    return this.#fitting(settings.now.depth);
  }

  #fitting(depth: number): number {
    if (this.#most === 0 || (depth > 0 && depth <= this.#most)) return depth;
    const served = (this.feed.client.welcome?.limits.depths ?? DEPTHS).filter((each) => each > 0 && each <= this.#most);
    return served.length > 0 ? Math.max(...served) : depth;
  }

  #served(intervalMs: number): number {
    const least = Math.max(intervalMs, this.#leastMs);
    const served = (this.feed.client.welcome?.limits.intervals_ms ?? []).filter((each) => each >= least);
    return served.length > 0 ? Math.min(...served) : least;
  }

  /** Whether it was more than one may see; then what one may see is asked for. */
  #isRefused({ state, error }: Book): boolean {
    if (state !== "ended" || error?.code !== "not_entitled" || !this.#learn(error)) return false;
    this.#subscribe();
    return true;
  }

  #learn({ message }: MdstreamError): boolean {
    const found = MAY_SEE.exec(message);
    const [most, leastMs] = [Number(found?.[1] ?? 0), Number(found?.[2] ?? 0)];
    if (found === null || (most === this.#most && leastMs === this.#leastMs)) return false;
    [this.#most, this.#leastMs] = [most, leastMs];
    return true;
  }

  #followTrades(instrument: string): void {
    this.trades?.close();
    this.tape.length = 0;
    this.tapeCount = 0;
    this.last = this.lastKnown = null;
    const trades = (this.trades = this.feed.client.trades(instrument));
    trades.on("trade", (trade) => {
      if (trades !== this.trades) return;
      this.last = trade;
      this.#push(trade);
      for (const listener of this.onTrade) listener(trade);
    });
    trades.on("lost", (first, last) => trades === this.trades && this.#push({ lost: [first, last] }));
    trades.on("state", () => this.#redraw(this.tapeDrawers));
    trades.on("end", () => trades === this.trades && (this.last = null)); // what the watchlist knows is newer
    this.#redraw(this.tapeDrawers);
  }

  #push(row: TapeRow): void {
    this.tape.push(row);
    this.tapeCount++;
    if (this.tape.length > 2 * KEPT_TRADES) this.tape.splice(0, KEPT_TRADES);
    this.#redraw(this.tapeDrawers);
  }

  #bookChanged(book: Book, { kind, first, last, ts }: BookChange): void {
    // A snapshot may be of an event long ago.
    const shownAt = ts + 1000 * book.delayMs;
    this.feed.came(book.state === "live" && kind === "delta" ? shownAt : 0, last - first);
    this.#redraw(this.drawers);
  }

  #stateChanged(book: Book): void {
    if (this.#isRefused(book)) return;
    this.#tellTimeline();
    this.changed.set(this.changed.now + 1);
    for (const drawers of [this.drawers, this.wholeDrawers, this.tapeDrawers]) this.#redraw(drawers);
  }

  #wholeStateChanged(book: Book): void {
    if (this.#isRefused(book)) return;
    this.#tellTimeline();
    this.#redraw(this.wholeDrawers);
  }

  /** Of the two books, one that is not live; what is lost may be the other's. */
  #tellTimeline(): void {
    const { book, whole } = this;
    if (book === null) return;
    const wholeIsWrong = book.state === "live" && whole !== null && whole.state !== "live" && whole.state !== "ended";
    const { state, code } = wholeIsWrong ? whole : book;
    this.feed.timeline.book(state, code ?? "");
  }

  #redraw(drawers: Set<Drawer>): void {
    for (const drawer of drawers) invalidate(drawer);
  }

  #visibility(): void {
    if (!document.hidden) {
      if (this.#hidden) {
        this.#hidden = false;
        this.#subscribe();
      }
      return;
    }
    setTimeout(() => {
      if (!document.hidden) return;
      this.#hidden = true;
      this.#subscribe();
    }, HIDE_AFTER_MS);
  }
}
