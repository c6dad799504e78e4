// The watchlist's rows: from the channel `board`; of a gateway that has none, from tickers of the instruments in the address.

import { formatDecimal, type SubscriptionState, type Ticker } from "@mdstream/client";
import { type Board, type BoardRow, board } from "@mdstream/client/board";
import { type Candles, candles } from "@mdstream/client/candles";
import { spanText } from "./clock.js";
import type { Feed } from "./feed.js";
import { alike, Value } from "./value.js";

const INTERVAL_MS = 500;
const TICKER_MS = 250;
const MOST_TICKERS = 50;
const SPARK_POINTS = 60;
/** With fewer the line is made of what is seen. */
const LEAST_CANDLES = 5;
const SAMPLE_MS = 2_000;
const MOST_SPARKS = 30;

export interface Row {
  readonly instrument: string;
  readonly state: string;
  readonly last: string | null;
  /** For sorting and colours alone. */
  readonly lastValue: number;
  readonly changePercent: number | null;
  readonly high: string | null;
  readonly low: string | null;
  readonly volume: string | null;
  /** Of how much time the statistics are: `24 h` where they are whole. */
  readonly over: string;
}

const DAY_US = 86_400e6;
const SLACK_US = 120e6;

export class Watch {
  readonly rows = new Value<ReadonlyMap<string, Row>>(new Map());
  /** Why the rows are not those of a board; empty if they are. */
  readonly note = new Value("");
  readonly ready = new Value(false);
  /** Closes of the last hour, or what was seen since the page was opened. */
  readonly sparks = new Map<string, number[]>();
  #board: Board | null = null;
  readonly #tickers = new Map<string, Ticker>();
  readonly #candles = new Map<string, Candles>();
  /** Whose line is of candles. */
  readonly #drawn = new Set<string>();
  #noCandles = false;
  #timer = 0;

  constructor(private readonly feed: Feed) {
    this.#followBoard();
    setInterval(() => this.#sample(), SAMPLE_MS);
  }

  /** These rows are in view: they have a sparkline of the last hour. */
  inView(instruments: readonly string[]): void {
    // A gateway that is late has no candles.
    const wanted = new Set(this.#noCandles || this.#board?.delayMs ? [] : instruments.slice(0, MOST_SPARKS));
    for (const [instrument, view] of this.#candles) {
      if (wanted.has(instrument)) continue;
      view.close();
      this.#candles.delete(instrument);
      if (this.#drawn.delete(instrument)) this.sparks.delete(instrument); // in ticks: what is seen is not
    }
    for (const instrument of wanted) if (!this.#candles.has(instrument)) this.#followCandles(instrument);
  }

  #followBoard(): void {
    const view = (this.#board = board(this.feed.client, "*", { intervalMs: INTERVAL_MS }));
    view.on("change", () => this.#later());
    view.on("state", () => this.#later());
    view.on("end", (error) => {
      this.#board = null;
      if (error === null || this.feed.client.state === "closed") return;
      const why = error.code === "not_entitled" ? "your token does not allow the channel board" : "this gateway has no board";
      this.note.set(`Without 24 h figures: ${why}.`);
      this.#followTickers();
    });
  }

  #followTickers(): void {
    for (const instrument of this.feed.address.instruments.slice(0, MOST_TICKERS)) {
      const ticker = this.feed.client.ticker(instrument, { intervalMs: TICKER_MS });
      this.#tickers.set(instrument, ticker);
      for (const event of ["change", "state", "end"] as const) ticker.on(event, () => this.#later());
    }
    this.#later();
  }

  /** What comes together is shown together. */
  #later(): void {
    this.#timer ||= window.setTimeout(() => {
      this.#timer = 0;
      this.#show();
    }, 50);
  }

  #show(): void {
    const rows = new Map<string, Row>();
    if (this.#board !== null) {
      const board = this.#board;
      for (const row of board.rows.values()) rows.set(row.instrument, this.#same(ofBoard(row, board)));
      if (board.trusted) this.ready.set(true);
      if (board.delayMs > 0) this.inView([]);
    } else {
      for (const [instrument, ticker] of this.#tickers) rows.set(instrument, this.#same(ofTicker(instrument, ticker)));
      this.ready.set(true);
    }
    this.rows.set(rows);
  }

  /** The row from before, if nothing in it is another: what shows it need not be drawn again. */
  #same(row: Row): Row {
    const before = this.rows.now.get(row.instrument);
    return before !== undefined && alike(before, row) ? before : row;
  }

  #followCandles(instrument: string): void {
    const view = candles(this.feed.client, instrument, { span: "1m", history: SPARK_POINTS });
    this.#candles.set(instrument, view);
    view.on("change", () => {
      if (!this.#drawn.has(instrument)) this.#takeCloses(instrument, view);
    });
    view.on("end", (error) => {
      if (error === null) return;
      this.#noCandles = true;
    });
  }

  /** Draws the lines anew: of the last closes, and without candles of what is seen. */
  #sample(): void {
    for (const [instrument, row] of this.rows.now) {
      const view = this.#candles.get(instrument);
      if (view !== undefined && this.#takeCloses(instrument, view)) continue;
      if (row.last === null) continue;
      this.sparks.set(instrument, [...(this.sparks.get(instrument) ?? []), row.lastValue].slice(-SPARK_POINTS));
    }
  }

  /** Returns whether there are enough. */
  #takeCloses(instrument: string, { candles }: Candles): boolean {
    if (candles.length < LEAST_CANDLES) return false;
    this.#drawn.add(instrument);
    this.sparks.set(
      instrument,
      candles.slice(-SPARK_POINTS).map(({ ticks }) => ticks.close),
    );
    return true;
  }
}

function ofBoard(row: BoardRow, { state, delayMs }: Board): Row {
  const { last } = row.ticks;
  const age = Date.now() * 1000 - row.since;
  return {
    instrument: row.instrument,
    state: stateOf(row.state, state, delayMs),
    last: row.price("last"),
    lastValue: last === null ? NaN : last * 10 ** row.priceExp,
    changePercent: row.changePercent,
    high: row.price("high"),
    low: row.price("low"),
    volume: row.volume,
    over: row.since === 0 || age > DAY_US - SLACK_US ? "24 h" : spanText(age / 1000),
  };
}

function stateOf(row: string, board: SubscriptionState, delayMs: number): string {
  if (board !== "live" && board !== "stale") return board;
  return row === "live" && delayMs > 0 ? "delayed" : row;
}

function ofTicker(instrument: string, ticker: Ticker): Row {
  const last = ticker.current?.last ?? null;
  return {
    instrument,
    state: ticker.state === "ended" ? (ticker.error?.code ?? "ended").toString() : stateOf(ticker.state, "live", ticker.delayMs),
    last: last === null ? null : formatDecimal(last.ticks, ticker.priceExp),
    lastValue: last === null ? NaN : last.ticks * 10 ** ticker.priceExp,
    changePercent: null,
    high: null,
    low: null,
    volume: null,
    over: "24 h",
  };
}
