// The ladder, drawn by hand: asks from the worst to the best, the middle line, bids from the best to the worst.

import { type Book, exactSum, formatDecimal, type Side } from "@mdstream/client";
import { type Drawer, invalidate } from "../model/frames.js";
import type { Market } from "../model/market.js";
import { OPACITY, shownOf } from "../model/shown.js";
import { type Colours, colour, digitWidth, drawAcross, drawDecimal, drawVeil, FONT, Surface } from "./canvas.js";

const ROW = 20;
const ROW_TOUCH = 26;
const MIDDLE = 38;
const HEAD = 20;
const FLASH_MS = 150;
const FLASH_EVERY_MS = 100;
/** So many times the usual size is large. */
const LARGE = 6;
const still = matchMedia("(prefers-reduced-motion: reduce)");
const touch = matchMedia("(pointer: coarse)");

interface Level {
  ticks: number;
  lots: number;
  cumulative: number;
  isAsk: boolean;
}

interface Flash {
  lots: number;
  at: number;
  up: boolean;
}

/** What is under the pointer. */
export interface Hovered {
  readonly y: number;
  readonly price: string;
  readonly levels: number;
  readonly size: string;
  readonly notional: string;
  readonly average: string;
}

export class Ladder implements Drawer {
  onHover: (hovered: Hovered | null) => void = () => {};
  readonly #surface: Surface;
  #pointerY: number | null = null;
  /** While the pointer is inside, the rows keep their prices. */
  #frozen: { asks: number[]; bids: number[] } | null = null;
  #asks: Level[] = [];
  #bids: Level[] = [];
  readonly #flashes = new Map<number, Flash>();
  #book: Book | null = null;
  /** The width of a digit. */
  #digit = 0;

  constructor(
    readonly canvas: HTMLCanvasElement,
    private readonly market: Market,
  ) {
    this.#surface = new Surface(canvas, this);
    market.drawers.add(this);
    canvas.addEventListener("pointermove", (event) => this.#point(event.offsetY));
    canvas.addEventListener("pointerleave", () => this.#leave());
  }

  close(): void {
    this.market.drawers.delete(this);
    this.#surface.close();
  }

  /** The price of the row at this height; null between rows. */
  priceAt(y: number): string | null {
    const level = this.#levelAt(y);
    return level === null || this.#book === null ? null : this.#book.price(level.level.ticks);
  }

  draw(now: number): void {
    const surface = this.#surface;
    if (!surface.begin()) return;
    const { book } = this.market;
    if (book !== this.#book) this.#begin(book);
    const { context, width } = surface;
    const colours = colour();
    const shown = shownOf(this.market.feed, book);
    context.textBaseline = "middle";
    this.#drawHead(colours, width);
    const known = book !== null && book.instrument === this.market.instrument.now && (book.bids.length > 0 || book.asks.length > 0);
    if (!known) return this.#drawSkeleton(colours, shown.kind);
    const rows = this.#rows;
    const frozen = this.#frozen;
    this.#asks = frozen === null ? collect(book.asks, rows, true) : atPrices(book, frozen.asks, true);
    this.#bids = frozen === null ? collect(book.bids, rows, false) : atPrices(book, frozen.bids, false);
    const most = [...this.#asks, ...this.#bids].reduce((most, { cumulative }) => Math.max(most, cumulative), 1);
    const usual = usualSize(this.#asks, this.#bids);
    context.font = `12px ${FONT}`;
    this.#digit = digitWidth(context);
    const alpha = OPACITY[shown.kind];
    let moving = false;
    for (let i = 0; i < rows; i++) {
      const [ask, bid] = [this.#asks[i], this.#bids[i]];
      if (ask !== undefined) moving = this.#drawRow(book, ask, this.#yOf(-1, i), most, usual, alpha, now, colours) || moving;
      if (bid !== undefined) moving = this.#drawRow(book, bid, this.#yOf(1, i), most, usual, alpha, now, colours) || moving;
    }
    this.#drawMiddle(book, alpha, colours);
    drawVeil(surface, shown.kind);
    if (shown.kind === "halted") drawAcross(surface, shown.text);
    if (this.#pointerY !== null) this.#tell();
    if (moving && shown.kind === "live") invalidate(this);
  }

  // ---- rows

  get #rowHeight(): number {
    return touch.matches ? ROW_TOUCH : ROW;
  }

  get #rows(): number {
    return Math.max(1, Math.floor((this.#surface.height - HEAD - MIDDLE) / 2 / this.#rowHeight));
  }

  get #middleY(): number {
    return HEAD + (this.#surface.height - HEAD) / 2;
  }

  /** The top of row `index`, counted from the best; `side` -1: asks, above. */
  #yOf(side: 1 | -1, index: number): number {
    const row = this.#rowHeight;
    return side < 0 ? this.#middleY - MIDDLE / 2 - (index + 1) * row : this.#middleY + MIDDLE / 2 + index * row;
  }

  #begin(book: Book | null): void {
    this.#book = book;
    this.#flashes.clear();
    this.#frozen = null;
  }

  // ---- drawing

  #drawHead(colours: Colours, width: number): void {
    const { context } = this.#surface;
    context.font = "11px system-ui, sans-serif";
    context.fillStyle = colours.muted;
    context.textAlign = "left";
    context.fillText("Price", 14, HEAD / 2);
    context.textAlign = "right";
    context.fillText("Size", this.#sizeRight(width), HEAD / 2);
    context.fillText("Total", width - 10, HEAD / 2);
  }

  #sizeRight(width: number): number {
    return Math.round(width * 0.64);
  }

  #drawSkeleton(colours: Colours, kind: string): void {
    const { context, width } = this.#surface;
    context.fillStyle = colours.line;
    for (let i = 0; i < this.#rows; i++) {
      for (const side of [-1, 1] as const) {
        const y = this.#yOf(side, i) + this.#rowHeight / 2 - 4;
        context.globalAlpha = Math.max(0.12, 0.6 - i * 0.04);
        context.fillRect(14, y, 72, 8);
        context.fillRect(this.#sizeRight(width) - 60, y, 60, 8);
        context.fillRect(width - 66, y, 56, 8);
      }
    }
    context.globalAlpha = 1;
    if (kind !== "live" && kind !== "waiting") drawVeil(this.#surface, kind);
  }

  #drawRow(
    book: Book,
    level: Level,
    y: number,
    most: number,
    usual: number,
    alpha: number,
    now: number,
    colours: Colours,
  ): boolean {
    const { context, width } = this.#surface;
    const row = this.#rowHeight;
    const { isAsk } = level;
    const ink = isAsk ? colours.ask : colours.bid;
    const middle = y + row / 2;
    context.globalAlpha = 0.12 * alpha;
    context.fillStyle = ink;
    const bar = (level.cumulative / most) * width;
    context.fillRect(width - bar, y, bar, row - 1);
    context.globalAlpha = 0.85 * alpha;
    context.fillRect(
      width - 2,
      y + row - 1 - Math.min(1, level.lots / (usual * LARGE)) * (row - 1),
      2,
      Math.min(1, level.lots / (usual * LARGE)) * (row - 1),
    );
    const moving = this.#drawFlash(level, y, now, alpha, colours);
    context.globalAlpha = alpha;
    if (this.#pointerY !== null && this.#pointerY >= y && this.#pointerY < y + row) {
      context.strokeStyle = colours.accent;
      context.lineWidth = 1;
      context.strokeRect(0.5, y + 0.5, width - 1, row - 1);
    }
    const large = level.lots > usual * LARGE;
    if (large) {
      context.fillStyle = colours.warn;
      context.beginPath();
      context.moveTo(5, middle - 4);
      context.lineTo(9, middle);
      context.lineTo(5, middle + 4);
      context.lineTo(1, middle);
      context.fill();
    }
    const digit = this.#digit;
    const price = book.price(level.ticks);
    drawDecimal(context, price, 14 + price.length * digit, middle, ink, ink, digit);
    if (level.lots === 0) {
      context.fillStyle = colours.muted;
      context.textAlign = "right";
      context.fillText("–", this.#sizeRight(width), middle);
      return moving;
    }
    const fits = (text: string, room: number) => fit(text, Math.floor(room / digit));
    const sizeRoom = this.#sizeRight(width) - 22 - price.length * digit;
    drawDecimal(context, fits(book.size(level.lots), sizeRoom), this.#sizeRight(width), middle, colours.text, colours.faint, digit);
    const total = fits(sizeText(book, level), width - 10 - this.#sizeRight(width) - 12);
    drawDecimal(context, total, width - 10, middle, colours.muted, colours.faint, digit);
    return moving;
  }

  /** Returns whether it goes on. */
  #drawFlash({ ticks, lots, isAsk }: Level, y: number, now: number, alpha: number, colours: Colours): boolean {
    const key = isAsk ? ticks : -ticks - 0.5;
    const flash = this.#flashes.get(key);
    if (flash === undefined) {
      if (this.#flashes.size > 2_000) this.#flashes.clear();
      this.#flashes.set(key, { lots, at: -Infinity, up: true });
      return false;
    }
    if (flash.lots !== lots) {
      if (now - flash.at >= FLASH_EVERY_MS) {
        flash.at = now;
        flash.up = lots > flash.lots;
      }
      flash.lots = lots;
    }
    const age = now - flash.at;
    if (age >= FLASH_MS || still.matches || alpha < 1) return false;
    const { context, width } = this.#surface;
    const right = this.#sizeRight(width);
    context.globalAlpha = 0.28 * (1 - age / FLASH_MS);
    context.fillStyle = flash.up ? colours.accent : colours.muted;
    context.fillRect(right - 84, y, 88, this.#rowHeight - 1);
    return true;
  }

  #drawMiddle(book: Book, alpha: number, colours: Colours): void {
    const { context, width } = this.#surface;
    const y = this.#middleY - MIDDLE / 2;
    context.globalAlpha = 1;
    context.fillStyle = colours.bg;
    context.fillRect(0, y, width, MIDDLE);
    context.fillStyle = colours.line;
    context.fillRect(0, y, width, 1);
    context.fillRect(0, y + MIDDLE - 1, width, 1);
    context.globalAlpha = alpha;
    const { last } = this.market;
    const middle = y + MIDDLE / 2 - 1;
    if (this.#frozen !== null) {
      context.fillStyle = colours.accent;
      context.fillRect(0, y, 3, MIDDLE - 4);
    }
    const price = last?.price ?? this.market.lastKnown;
    if (price !== null) {
      const ink = last?.side === "sell" ? colours.ask : last?.side === "buy" ? colours.bid : colours.text;
      context.font = `600 16px ${FONT}`;
      context.fillStyle = ink;
      context.textAlign = "left";
      context.fillText(`${price} ${last?.side === "sell" ? "▼" : last?.side === "buy" ? "▲" : ""}`, 14, middle);
    }
    context.font = `11px ${FONT}`;
    context.fillStyle = colours.muted;
    context.textAlign = "right";
    context.fillText(spreadText(book), width - 10, middle);
    this.#drawImbalance(y + MIDDLE - 4, colours);
  }

  /** How much of what is in view is bid: a bar of 3 px. */
  #drawImbalance(y: number, colours: Colours): void {
    const { context, width } = this.#surface;
    const inView = (isAsk: boolean) =>
      [...this.#asks, ...this.#bids].reduce((sum, level) => sum + (level.isAsk === isAsk ? level.lots : 0), 0);
    const [bids, asks] = [inView(false), inView(true)];
    if (bids + asks === 0) return;
    const part = Math.round((width * bids) / (bids + asks));
    context.fillStyle = colours.bid;
    context.fillRect(0, y, part - 1, 3);
    context.fillStyle = colours.ask;
    context.fillRect(part + 1, y, width - part - 1, 3);
  }

  // ---- the pointer

  #point(y: number): void {
    this.#pointerY = y;
    const { book } = this.market;
    if (this.#frozen === null && book !== null) {
      const prices = (levels: readonly Level[]) => levels.map(({ ticks }) => ticks);
      this.#frozen = { asks: prices(this.#asks), bids: prices(this.#bids) };
    }
    invalidate(this);
  }

  #leave(): void {
    this.#pointerY = null;
    this.#frozen = null;
    this.onHover(null);
    invalidate(this);
  }

  #levelAt(y: number): { level: Level; index: number; above: boolean } | null {
    const row = this.#rowHeight;
    const up = Math.floor((this.#middleY - MIDDLE / 2 - y) / row);
    const down = Math.floor((y - this.#middleY - MIDDLE / 2) / row);
    const above = up >= 0;
    const index = above ? up : down;
    const level = (above ? this.#asks : this.#bids)[index];
    return level === undefined ? null : { level, index, above };
  }

  #tell(): void {
    const found = this.#pointerY === null ? null : this.#levelAt(this.#pointerY);
    const book = this.#book;
    if (found === null || book === null) return this.onHover(null);
    const { level, index, above } = found;
    const levels = upTo(level.isAsk ? book.asks : book.bids, level);
    const lots = exactSum(levels.map((each) => each[1]));
    const value = levels.reduce((sum, each) => sum + BigInt(each[0]) * BigInt(each[1]), 0n);
    this.onHover({
      y: this.#yOf(above ? -1 : 1, index),
      price: book.price(level.ticks),
      levels: levels.length,
      size: book.size(lots),
      notional: shortDecimal(formatDecimal(value, book.priceExp + book.sizeExp), 2),
      average: lots === 0n ? "–" : book.price(Number(value / lots)),
    });
  }
}

/** The best levels. */
function collect(side: Side, rows: number, isAsk: boolean): Level[] {
  const levels: Level[] = [];
  let cumulative = 0;
  for (let i = 0; i < Math.min(rows, side.length); i++) {
    cumulative += side.lots(i);
    levels.push({ ticks: side.ticks(i), lots: side.lots(i), cumulative, isAsk });
  }
  return levels;
}

/** What there is at these prices now, on whichever side; they are in order, the best first. */
function atPrices(book: Book, prices: readonly number[], wereAsks: boolean): Level[] {
  return prices.map((ticks) => {
    const isAsk = book.asks.lotsAt(ticks) > 0 || (wereAsks && book.bids.lotsAt(ticks) === 0);
    const side = isAsk ? book.asks : book.bids;
    const lots = side.lotsAt(ticks);
    const level = { ticks, lots, cumulative: 0, isAsk };
    if (lots > 0) for (const [, each] of upTo(side, level)) level.cumulative += each;
    return level;
  });
}

/** The levels of a side from the best to this one. */
function upTo(side: Side, { ticks, isAsk }: { ticks: number; isAsk: boolean }): [ticks: number, lots: number][] {
  const levels: [number, number][] = [];
  for (let i = 0; i < side.length && (isAsk ? side.ticks(i) <= ticks : side.ticks(i) >= ticks); i++) {
    levels.push([side.ticks(i), side.lots(i)]);
  }
  return levels;
}

function sizeText(book: Book, { cumulative, ticks, isAsk }: Level): string {
  if (Number.isSafeInteger(cumulative)) return book.size(cumulative);
  return book.size(exactSum(upTo(isAsk ? book.asks : book.bids, { ticks, isAsk }).map(([, lots]) => lots)));
}

/** In so many characters, with fewer decimals if it must be; what is cut is never part of a whole number. */
export function fit(text: string, most: number): string {
  if (text.length <= most) return text;
  const point = text.indexOf(".");
  if (point < 0) return text;
  return text.slice(0, Math.max(point, most)).replace(/\.$/, "");
}

function shortDecimal(text: string, decimals: number): string {
  const point = text.indexOf(".");
  const cut = point < 0 ? text : text.slice(0, point + 1 + decimals);
  return cut.replace(/^-?\d+/, (whole) => whole.replace(/\B(?=(\d{3})+$)/g, "\u2009"));
}

function spreadText(book: Book): string {
  const [bid, ask] = [book.bids.ticks(0), book.asks.ticks(0)];
  if (Number.isNaN(bid) || Number.isNaN(ask)) return "one side only";
  const points = (20_000 * (ask - bid)) / (ask + bid);
  return `spread ${book.price(ask - bid)} · ${points < 0.01 ? "<0.01" : points.toFixed(2)} bp`;
}

/** The median size of what is in view. */
function usualSize(asks: readonly Level[], bids: readonly Level[]): number {
  const sizes = Float64Array.from([...asks, ...bids], ({ lots }) => lots).sort();
  return Math.max(1, sizes[sizes.length >> 1] ?? 1);
}
