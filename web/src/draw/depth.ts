// The depth chart: how much there is up to each price, around the middle.

import type { Book, Side } from "@mdstream/client";
import { type Drawer, invalidate } from "../model/frames.js";
import type { Market } from "../model/market.js";
import { OPACITY, shownOf } from "../model/shown.js";
import { compact } from "../model/texts.js";
import { colour, drawVeil, FONT, PAD, Surface } from "./canvas.js";
import { fit } from "./ladder.js";

const FOOT = 18;
const HEAD = 20;
const START_PART = 0.004;
const LEAST_LEVELS = 20;
const WHEEL = 1.2;

type Sum = readonly [ticks: number, lots: number];

/** What is seen of a book, and where it is drawn. */
interface View {
  readonly book: Book;
  readonly mid: number;
  /** So many ticks to each side. */
  readonly half: number;
  readonly bids: readonly Sum[];
  readonly asks: readonly Sum[];
  readonly most: number;
  readonly foot: number;
  readonly x: (ticks: number) => number;
  readonly y: (lots: number) => number;
}

export class Depth implements Drawer {
  readonly #surface: Surface;
  /** Half the width of the view as a part of the price; 0: the usual one. */
  #part = 0;
  #pointerX: number | null = null;
  readonly #stop: () => void;

  constructor(
    readonly canvas: HTMLCanvasElement,
    private readonly market: Market,
  ) {
    this.#surface = new Surface(canvas, this);
    market.wholeDrawers.add(this);
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    canvas.addEventListener("pointermove", (event) => this.#point(event.offsetX));
    canvas.addEventListener("pointerleave", () => this.#point(null));
    this.#stop = market.instrument.watch(() => (this.#part = 0));
  }

  close(): void {
    this.#stop();
    this.market.wholeDrawers.delete(this);
    this.#surface.close();
  }

  /** So many times as much of the price is seen. */
  zoom(factor: number): void {
    this.#part = Math.min(1, Math.max(1e-6, (this.#part || START_PART) * factor));
    invalidate(this);
  }

  draw(): void {
    const surface = this.#surface;
    if (!surface.begin()) return;
    const { whole, feed, instrument } = this.market;
    const { kind } = shownOf(feed, whole);
    const book = whole?.instrument === instrument.now ? whole : null;
    const sides = [book?.bids, book?.asks].filter((side) => side !== undefined && side.length > 0).length;
    if (book === null || sides < 2) return this.#drawNothing(sides === 0 ? "no book" : "no book of two sides", kind);
    const view = this.#view(book);
    const { bid, ask } = colour();
    surface.context.globalAlpha = OPACITY[kind];
    this.#drawScales(view);
    this.#area(view.bids, view, 0, bid);
    this.#area(view.asks, view, surface.width, ask);
    if (this.#pointerX !== null) this.#drawPointer(this.#pointerX, view);
    drawVeil(surface, kind);
  }

  #view(book: Book): View {
    const { width, height } = this.#surface;
    const mid = (book.bids.ticks(0) + book.asks.ticks(0)) / 2;
    const half = this.#half(mid, book.bids, book.asks);
    const [bids, asks] = [sums(book.bids, (ticks) => ticks < mid - half), sums(book.asks, (ticks) => ticks > mid + half)];
    const most = Math.max(bids.at(-1)?.[1] ?? 0, asks.at(-1)?.[1] ?? 0, 1);
    const foot = height - FOOT;
    const x = (ticks: number) => width / 2 + ((ticks - mid) / half) * (width / 2);
    const y = (lots: number) => foot - (lots / most) * (foot - HEAD);
    return { book, mid, half, bids, asks, most, foot, x, y };
  }

  #half(mid: number, bids: Side, asks: Side): number {
    const all = Math.max(mid - bids.ticks(bids.length - 1), asks.ticks(asks.length - 1) - mid, 1);
    return Math.min(all, Math.max(LEAST_LEVELS, Math.abs(mid) * (this.#part || START_PART)));
  }

  #drawNothing(why: string, kind: string): void {
    if (kind === "waiting") return;
    const { context, width, height } = this.#surface;
    context.font = "12px system-ui, sans-serif";
    context.fillStyle = colour().muted;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillText(why, width / 2, height / 2);
    drawVeil(this.#surface, kind);
  }

  /** Prices below, sizes at the left: both are for the eye, and so rounded. */
  #drawScales({ book, mid, half, most, foot, y }: View): void {
    const { context, width } = this.#surface;
    const { line, muted } = colour();
    context.font = `11px ${FONT}`;
    context.textBaseline = "middle";
    context.fillStyle = line;
    for (const part of [0, 0.5, 1]) context.fillRect(0, Math.round(y(part * most)), width, 1);
    context.fillStyle = muted;
    context.textAlign = "left";
    for (const part of [0.5, 1]) context.fillText(compact(part * most * 10 ** book.sizeExp), PAD, y(part * most) - 7);
    context.textAlign = "center";
    for (const part of [-0.5, 0, 0.5]) {
      context.fillText(book.price(Math.round(mid + part * half)), width / 2 + (part * width) / 2, foot + FOOT / 2 + 1);
    }
  }

  #area(levels: readonly Sum[], { x, y, foot }: View, end: number, ink: string): void {
    const { context } = this.#surface;
    if (levels.length === 0) return;
    context.beginPath();
    let before = foot;
    context.moveTo(x(levels[0]![0]), foot);
    for (const [ticks, lots] of levels) {
      context.lineTo(x(ticks), before);
      before = y(lots);
      context.lineTo(x(ticks), before);
    }
    context.lineTo(end, before);
    context.strokeStyle = ink;
    context.lineWidth = 1.5;
    context.stroke();
    context.lineTo(end, foot);
    context.closePath();
    const alpha = context.globalAlpha;
    context.globalAlpha = 0.14 * alpha;
    context.fillStyle = ink;
    context.fill();
    context.globalAlpha = alpha;
  }

  #drawPointer(at: number, { book, mid, half, bids, asks, foot, y }: View): void {
    const { context, width } = this.#surface;
    const colours = colour();
    const ticks = mid + ((at - width / 2) / (width / 2)) * half;
    const isBid = ticks < mid;
    const levels = isBid ? bids : asks;
    const level = levels.findLast(([price]) => (isBid ? price >= ticks : price <= ticks)) ?? levels[0];
    if (level === undefined) return;
    context.strokeStyle = colours.muted;
    context.setLineDash([3, 3]);
    context.beginPath();
    context.moveTo(at, 0);
    context.lineTo(at, foot);
    context.stroke();
    context.setLineDash([]);
    context.fillStyle = isBid ? colours.bid : colours.ask;
    context.beginPath();
    context.arc(at, y(level[1]), 3, 0, 7);
    context.fill();
    const lots = Math.round(level[1]);
    const size = Number.isSafeInteger(lots) ? fit(book.size(lots), 12) : "";
    context.fillStyle = colours.text;
    context.textAlign = at > width / 2 ? "right" : "left";
    context.fillText(`${book.price(level[0])}  ·  ${size}`, at + (at > width / 2 ? -8 : 8), HEAD - 8);
  }

  #wheel(event: WheelEvent): void {
    event.preventDefault();
    this.zoom(event.deltaY > 0 ? WHEEL : 1 / WHEEL);
  }

  #point(x: number | null): void {
    this.#pointerX = x;
    invalidate(this);
  }
}

/** Price and sum of the sizes up to it, from the best on. */
function sums(side: Side, isBeyond: (ticks: number) => boolean): Sum[] {
  const result: Sum[] = [];
  let sum = 0;
  for (let i = 0; i < side.length; i++) {
    const ticks = side.ticks(i);
    if (isBeyond(ticks)) break;
    sum += side.lots(i);
    result.push([ticks, sum]);
  }
  return result;
}
