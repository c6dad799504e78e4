// The candles of the chart: from the channel `candles`; without it, made of the trades since the page was opened.

import type { Trade } from "@mdstream/client";
import { type Candle, type Candles, candles, readCandle } from "@mdstream/client/candles";
import type { Market } from "./market.js";
import { SPAN_S, type Span, settings } from "./settings.js";
import { Value } from "./value.js";

const HISTORY = 500;
const PAGE = 500;
const MOST_BARS = 20_000;
const MOST_AT_ONCE = 5_000;
const FURTHER = 8;

/** In ticks and lots. */
export interface Bar {
  readonly start: number;
  open: number;
  high: number;
  low: number;
  close: number;
  lots: number;
  readonly incomplete: boolean;
}

export class Bars {
  /** Oldest first. */
  bars: Bar[] = [];
  priceExp = 0;
  sizeExp = 0;
  /** Why there is no history; empty if there is. */
  readonly note = new Value("");
  /** Everything is another: load it all. */
  onReset: () => void = () => {};
  /** These have changed, oldest first. */
  onChange: (bars: readonly Bar[]) => void = () => {};
  #view: Candles | null = null;
  #local = false;
  #loading = false;
  /** The first bar, once there is none before it. */
  #oldest = 0;
  #span: Span = "1m";
  #epoch = 0;
  #seq = 0;

  constructor(private readonly market: Market) {
    market.instrument.watch(() => this.#begin());
    market.onTrade.add((trade) => this.#takeTrade(trade));
    settings.watch(({ span }) => span !== this.#span && this.#begin());
    market.feed.tick.watch(() => this.#checkHistory());
  }

  get span(): Span {
    return this.#span;
  }

  /** Older ones, as far as the gateway has them. */
  async older(): Promise<void> {
    const first = this.bars[0]?.start ?? 0;
    if (this.#local || this.#loading || this.bars.length > MOST_BARS || first === 0 || first === this.#oldest) return;
    this.#loading = true;
    try {
      await this.#load(first);
    } finally {
      this.#loading = false;
    }
  }

  #begin(): void {
    this.#view?.close();
    const { span } = settings.now;
    this.#span = span;
    this.bars = [];
    this.#local = false;
    this.#oldest = 0;
    this.note.set("");
    const instrument = this.market.instrument.now;
    this.#view = null;
    if (instrument === "") return;
    const view = (this.#view = candles(this.market.feed.client, instrument, { span, history: HISTORY }));
    view.on("change", (changed) => view === this.#view && this.#take(view, changed));
    view.on("end", (error) => view === this.#view && error !== null && this.#makeLocal(whyOf(String(error.code), error.message)));
    this.onReset();
  }

  /** A gateway that has no candles now says so, and is asked again; one that is late never has any. */
  #checkHistory(): void {
    const { state, reason } = this.#view ?? {};
    const { delayMs = 0 } = this.market.book ?? {};
    if (state === "pending" && reason) this.#makeLocal(reason);
    if (delayMs > 0 && this.#local) this.#view?.close();
  }

  #makeLocal(why: string): void {
    if (this.#local) return;
    this.#local = true;
    this.note.set(`Only what traded since you opened this market. There is no history: ${why}.`);
    const { tape, trades } = this.market;
    [this.priceExp, this.sizeExp] = [trades?.priceExp ?? 0, trades?.sizeExp ?? 0];
    for (const row of tape) if (!("lost" in row)) this.#add(row);
    this.onReset();
  }

  #take(view: Candles, changed: readonly Candle[]): void {
    if (this.#local) {
      this.#local = false;
      this.note.set("");
      this.bars = [];
    }
    const fresh = this.bars.length === 0 || changed.length > 50;
    const newest = view.live;
    if (newest !== null) [this.priceExp, this.sizeExp] = [newest.priceExp, newest.sizeExp];
    const bars = changed.map((candle) => this.#place(ofCandle(candle, this.priceExp, this.sizeExp)));
    if (newest !== null) [this.#epoch, this.#seq] = [newest.epoch, newest.last];
    if (fresh) this.onReset();
    else this.onChange(bars);
  }

  /** Puts it in its place, over the one that starts at the same time. */
  #place(bar: Bar): Bar {
    let at = this.bars.length;
    while (at > 0 && this.bars[at - 1]!.start > bar.start) at--;
    const same = this.bars[at - 1]?.start === bar.start;
    this.bars.splice(same ? at - 1 : at, same ? 1 : 0, bar);
    return bar;
  }

  /** A trade that is newer than the newest candle moves it in the same frame. */
  #takeTrade(trade: Trade): void {
    if (!this.#local && (this.bars.length === 0 || trade.epoch !== this.#epoch || trade.seq <= this.#seq)) return;
    const { trades } = this.market;
    if (this.bars.length === 0) [this.priceExp, this.sizeExp] = [trades?.priceExp ?? 0, trades?.sizeExp ?? 0];
    this.onChange([this.#add(trade)]);
  }

  #add({ ts, ticks, lots }: Trade): Bar {
    const span = SPAN_S[this.#span];
    const start = Math.floor(ts / 1e6 / span) * span;
    const bar = this.bars.findLast((each) => each.start <= start);
    if (bar?.start !== start) {
      return this.#place({ start, open: ticks, high: ticks, low: ticks, close: ticks, lots, incomplete: this.bars.length === 0 });
    }
    bar.high = Math.max(bar.high, ticks);
    bar.low = Math.min(bar.low, ticks);
    bar.close = ticks;
    bar.lots += lots;
    return bar;
  }

  async #load(before: number): Promise<void> {
    const [view, scale] = [this.#view, [this.priceExp, this.sizeExp] as const];
    const rows = await this.#before(before);
    if (view !== this.#view || rows === null) return; // of another instrument or span; or it did not work, and is tried again
    if (rows.length === 0) this.#oldest = before;
    this.bars = [...rows.map((candle) => ofCandle(candle, ...scale)), ...this.bars];
    if (rows.length > 0) this.onReset();
  }

  /** The newest before this start; null if the gateway does not say. Where long nothing was traded, it looks further back. */
  async #before(end: number): Promise<Candle[] | null> {
    const { instrument } = this.market;
    const [name, span] = [instrument.now, this.#span];
    for (let width = PAGE * SPAN_S[span]; ; width *= FURTHER) {
      const from = Math.max(0, end - width);
      const found: Candle[] = [];
      for (let at: number | null = from; at !== null; ) {
        const page: Older | null = await this.#ask({
          instrument: name,
          span,
          from: String(at),
          to: String(end),
          limit: String(PAGE),
        });
        if (page === null || name !== instrument.now || span !== this.#span) return null;
        found.push(...page.rows.map(readCandle));
        at = page.next;
      }
      if (found.length > 0 || from === 0) return found.slice(-MOST_AT_ONCE);
    }
  }

  async #ask(query: Record<string, string>): Promise<Older | null> {
    const { token } = this.market.feed.address;
    const headers: Record<string, string> = token === null ? {} : { Authorization: `Bearer ${token}` };
    const address = `v1/candles?${new URLSearchParams(query)}`;
    const answer = await fetch(address, { headers, cache: "no-store" }).catch(() => null);
    return answer?.ok ? ((await answer.json()) as Older) : null;
  }
}

interface Older {
  readonly rows: readonly unknown[];
  readonly next: number | null;
}

/** An older gateway does not know the channel, or its fields. */
function whyOf(code: string, message: string): string {
  return ["unknown_channel", "bad_command", "bad_value"].includes(code) ? "this gateway has no candles" : message;
}

/** In the newest scale, for a chart that has one. */
function ofCandle(candle: Candle, priceExp: number, sizeExp: number): Bar {
  const scale = 10 ** (candle.priceExp - priceExp);
  const { open, high, low, close } = candle.ticks;
  const price = (ticks: number) => (scale === 1 ? ticks : ticks * scale);
  return {
    start: candle.start,
    open: price(open),
    high: price(high),
    low: price(low),
    close: price(close),
    lots: candle.lots * 10 ** (candle.sizeExp - sizeExp),
    incomplete: candle.incomplete,
  };
}
