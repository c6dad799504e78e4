// The ladder, drawn by hand: asks from the worst to the best, the middle line, bids from the best to the worst.

import { type Book, exactSum, formatDecimal, type Side } from "@mdstream/client";
import { type Drawer, invalidate } from "../model/frames.js";
import type { Market } from "../model/market.js";
import { OPACITY, shownOf } from "../model/shown.js";
import { spaced } from "../model/texts.js";
import { type Colours, colour, digitWidth, drawAcross, drawDecimal, drawVeil, FONT, PAD, Surface } from "./canvas.js";

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

/** What all rows of one drawing have in common. */
interface Frame {
  readonly book: Book;
  /** The greatest sum of sizes in view. */
  readonly most: number;
  /** A size from which on it is marked. */
  readonly large: number;
  readonly alpha: number;
  readonly now: number;
  readonly colours: Colours;
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
  /** Of each side. */
  #rows = 0;
  #rowHeight = ROW;
  #middleY = 0;
  /** The width of a digit. */
  #digit = 0;

  constructor(
    readonly canvas: HTMLCanvasElement,
    private readonly market: Market,
  ) {
    this.#surface = new Surface(canvas, this);
    market.drawers.add(this);
    canvas.addEventListener("pointermove", (event) => this.#point(event.offsetY));
    canvas.addEventListener("pointerleave", () => this.leave());
  }

  close(): void {
    this.market.drawers.delete(this);
    this.#surface.close();
  }

  draw(now: number): void {
    const surface = this.#surface;
    if (!surface.begin()) return;
    const { book } = this.market;
    if (book !== this.#book) this.#begin(book);
    const { context, width } = surface;
    const colours = colour();
    const shown = shownOf(this.market.feed, book);
    this.#measure();
    context.textBaseline = "middle";
    this.#drawHead(colours, width);
    const known = book !== null && book.instrument === this.market.instrument.now && (book.bids.length > 0 || book.asks.length > 0);
    if (!known) return this.#drawSkeleton(colours, shown.kind);
    const rows = this.#rows;
    const frozen = this.#frozen;
    this.#asks = frozen === null ? collect(book.asks, rows, true) : atPrices(book, frozen.asks, true);
    this.#bids = frozen === null ? collect(book.bids, rows, false) : atPrices(book, frozen.bids, false);
    const most = [...this.#asks, ...this.#bids].reduce((most, { cumulative }) => Math.max(most, cumulative), 1);
    const large = usualSize(this.#asks, this.#bids) * LARGE;
    context.font = `12px ${FONT}`;
    this.#digit = digitWidth(context);
    const frame: Frame = { book, most, large, alpha: OPACITY[shown.kind], now, colours };
    let moving = false;
    for (let i = 0; i < rows; i++) {
      const [ask, bid] = [this.#asks[i], this.#bids[i]];
      if (ask !== undefined) moving = this.#drawRow(frame, ask, -1, i) || moving;
      if (bid !== undefined) moving = this.#drawRow(frame, bid, 1, i) || moving;
    }
    this.#drawMiddle(book, frame.alpha, colours);
    drawVeil(surface, shown.kind);
    if (shown.kind === "halted") this.#drawReason(shown.text);
    if (this.#pointerY !== null) this.onHover(this.#hovered());
    if (moving && shown.kind === "live") invalidate(this);
  }

  // ---- rows

  /** Whole rows alone, as high as fills the place. */
  #measure(): void {
    const { height } = this.#surface;
    const room = Math.max(0, (height - HEAD - MIDDLE) / 2);
    this.#rows = Math.max(1, Math.floor(room / (touch.matches ? ROW_TOUCH : ROW)));
    this.#rowHeight = room / this.#rows;
    this.#middleY = HEAD + Math.round((height - HEAD) / 2);
  }

  /** The top of row `index`, counted from the best; `side` -1: asks, above. */
  #yOf(side: 1 | -1, index: number): number {
    const away = Math.round((side < 0 ? index + 1 : index) * this.#rowHeight);
    return this.#middleY + side * (MIDDLE / 2 + away);
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
    context.fillText("Price", PAD, HEAD / 2);
    context.textAlign = "right";
    context.fillText("Size", this.#sizeRight(width), HEAD / 2);
    context.fillText("Total", width - PAD, HEAD / 2);
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
        context.fillRect(PAD, y, 72, 8);
        context.fillRect(this.#sizeRight(width) - 60, y, 60, 8);
        context.fillRect(width - PAD - 56, y, 56, 8);
      }
    }
    context.globalAlpha = 1;
    if (kind === "waiting" || kind === "refused") return drawVeil(this.#surface, kind); // it comes, or the panel says why not
    context.font = "12px system-ui, sans-serif";
    context.fillStyle = colours.muted;
    context.textAlign = "center";
    context.fillText("no book", width / 2, this.#middleY);
    drawVeil(this.#surface, kind);
  }

  /** Returns whether something in it goes on moving. */
  #drawRow(frame: Frame, level: Level, side: 1 | -1, index: number): boolean {
    const { context, width } = this.#surface;
    const { alpha, colours } = frame;
    const y = this.#yOf(side, index);
    const height = this.#yOf(side, index + side) - y;
    const middle = y + (height >> 1);
    this.#drawBars(frame, level, y, height - 1);
    const moving = this.#drawFlash(frame, level, y, height - 1);
    context.globalAlpha = alpha;
    if (this.#pointerY !== null && this.#pointerY >= y && this.#pointerY < y + height) {
      context.strokeStyle = colours.accent;
      context.lineWidth = 1;
      context.strokeRect(0.5, y + 0.5, width - 1, height - 1);
    }
    if (level.lots > frame.large) this.#drawMark(middle, colours.warn);
    this.#drawTexts(frame, level, middle);
    return moving;
  }

  /** How much there is up to here, and at the edge how much at this level. */
  #drawBars({ most, large, alpha, colours }: Frame, { cumulative, lots, isAsk }: Level, y: number, height: number): void {
    const { context, width } = this.#surface;
    context.globalAlpha = 0.12 * alpha;
    context.fillStyle = isAsk ? colours.ask : colours.bid;
    const bar = (cumulative / most) * width;
    context.fillRect(width - bar, y, bar, height);
    context.globalAlpha = 0.85 * alpha;
    const part = Math.min(1, lots / large) * height;
    context.fillRect(width - 2, y + height - part, 2, part);
  }

  #drawMark(middle: number, ink: string): void {
    const { context } = this.#surface;
    context.fillStyle = ink;
    context.beginPath();
    context.moveTo(6, middle - 4);
    context.lineTo(10, middle);
    context.lineTo(6, middle + 4);
    context.lineTo(2, middle);
    context.fill();
  }

  #drawTexts({ book, colours }: Frame, level: Level, middle: number): void {
    const { context, width } = this.#surface;
    const digit = this.#digit;
    const right = this.#sizeRight(width);
    const ink = level.isAsk ? colours.ask : colours.bid;
    const price = book.price(level.ticks);
    drawDecimal(context, price, PAD + price.length * digit, middle, ink, ink, digit);
    if (level.lots === 0) {
      context.fillStyle = colours.muted;
      context.textAlign = "right";
      context.fillText("–", right, middle);
      return;
    }
    const fits = (text: string, room: number) => fit(text, Math.floor(room / digit));
    const sizeRoom = right - 2 * PAD - price.length * digit;
    drawDecimal(context, fits(book.size(level.lots), sizeRoom), right, middle, colours.text, colours.faint, digit);
    const total = fits(sizeText(book, level), width - right - 2 * PAD);
    drawDecimal(context, total, width - PAD, middle, colours.muted, colours.faint, digit);
  }

  /** Returns whether it goes on. */
  #drawFlash({ now, alpha, colours }: Frame, { ticks, lots, isAsk }: Level, y: number, height: number): boolean {
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
    context.fillRect(right - 84, y, 88, height);
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
      context.fillText(`${price} ${last?.side === "sell" ? "▼" : last?.side === "buy" ? "▲" : ""}`, PAD, middle);
    }
    context.font = `11px ${FONT}`;
    context.fillStyle = colours.muted;
    context.textAlign = "right";
    context.fillText(spreadText(book), width - PAD, middle);
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

  /** Over two rows in the middle of the asks. */
  #drawReason(text: string): void {
    const top = this.#yOf(-1, this.#rows >> 1);
    drawAcross(this.#surface, text, top, this.#yOf(-1, (this.#rows >> 1) - 2) - top);
  }

  // ---- the pointer, or the keys

  /** The price of the row at this height, or of the one that is pointed at; null between rows. */
  priceAt(y: number | null = this.#pointerY): string | null {
    const found = y === null ? null : this.#levelAt(y);
    return found === null || this.#book === null ? null : this.#book.price(found.level.ticks);
  }

  /** As if the pointer were a level further down; from nowhere, at a best price. Returns what is there. */
  step(by: 1 | -1): Hovered | null {
    const at = this.#pointerY === null ? null : this.#levelAt(this.#pointerY);
    // Bids from 0 down, asks from -1 up.
    const from = at === null ? (by > 0 ? -1 : 0) : at.above ? -1 - at.index : at.index;
    const to = Math.max(-this.#asks.length, Math.min(this.#bids.length - 1, from + by));
    this.#point((to < 0 ? this.#yOf(-1, -1 - to) : this.#yOf(1, to)) + this.#rowHeight / 2);
    return this.#hovered();
  }

  leave(): void {
    this.#pointerY = null;
    this.#frozen = null;
    this.onHover(null);
    invalidate(this);
  }

  #point(y: number): void {
    this.#pointerY = y;
    const { book } = this.market;
    if (this.#frozen === null && book !== null) {
      const prices = (levels: readonly Level[]) => levels.map(({ ticks }) => ticks);
      this.#frozen = { asks: prices(this.#asks), bids: prices(this.#bids) };
    }
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

  #hovered(): Hovered | null {
    const found = this.#pointerY === null ? null : this.#levelAt(this.#pointerY);
    const book = this.#book;
    if (found === null || book === null) return null;
    const { level, index, above } = found;
    const levels = upTo(level.isAsk ? book.asks : book.bids, level);
    const lots = exactSum(levels.map((each) => each[1]));
    const value = levels.reduce((sum, each) => sum + BigInt(each[0]) * BigInt(each[1]), 0n);
    return {
      y: this.#yOf(above ? -1 : 1, index),
      price: book.price(level.ticks),
      levels: levels.length,
      size: book.size(lots),
      notional: shortDecimal(formatDecimal(value, book.priceExp + book.sizeExp), 2),
      average: lots === 0n ? "–" : book.price(Number(value / lots)),
    };
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
  return spaced(cut);
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
