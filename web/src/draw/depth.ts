// The depth chart: how much there is up to each price, around the middle.

import type { Side } from "@mdstream/client";
import { type Drawer, invalidate } from "../model/frames.js";
import type { Market } from "../model/market.js";
import { OPACITY, shownOf } from "../model/shown.js";
import { colour, drawVeil, FONT, Surface } from "./canvas.js";
import { fit } from "./ladder.js";

const FOOT = 18;
const START_PART = 0.004;
const LEAST_LEVELS = 20;

export class Depth implements Drawer {
  readonly #surface: Surface;
  /** Half the width of the view as a part of the price; 0: as much as there is. */
  #part = 0;
  #pointerX: number | null = null;

  constructor(
    readonly canvas: HTMLCanvasElement,
    private readonly market: Market,
  ) {
    this.#surface = new Surface(canvas, this);
    market.wholeDrawers.add(this);
    canvas.addEventListener("wheel", (event) => this.#zoom(event), { passive: false });
    canvas.addEventListener("pointermove", (event) => this.#point(event.offsetX));
    canvas.addEventListener("pointerleave", () => this.#point(null));
    market.instrument.watch(() => (this.#part = 0));
  }

  close(): void {
    this.market.wholeDrawers.delete(this);
    this.#surface.close();
  }

  draw(): void {
    const surface = this.#surface;
    if (!surface.begin()) return;
    const { context, width, height } = surface;
    const book = this.market.whole;
    const colours = colour();
    const shown = shownOf(this.market.feed, this.market.book);
    if (book === null || book.instrument !== this.market.instrument.now || book.bids.length === 0 || book.asks.length === 0) {
      return shown.kind === "waiting" ? undefined : this.#drawNothing();
    }
    const mid = (book.bids.ticks(0) + book.asks.ticks(0)) / 2;
    const half = this.#half(mid, book.bids, book.asks);
    const x = (ticks: number) => width / 2 + ((ticks - mid) / half) * (width / 2);
    const [bids, asks] = [sums(book.bids, mid - half), sums(book.asks, mid + half)];
    const most = Math.max(bids.at(-1)?.[1] ?? 0, asks.at(-1)?.[1] ?? 0, 1);
    const foot = height - FOOT;
    const y = (lots: number) => foot - (lots / most) * (foot - 14);
    context.globalAlpha = OPACITY[shown.kind];
    this.#area(bids, x, y, foot, 0, colours.bid);
    this.#area(asks, x, y, foot, width, colours.ask);
    context.strokeStyle = colours.line;
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(0, foot + 0.5);
    context.lineTo(width, foot + 0.5);
    context.stroke();
    context.font = `11px ${FONT}`;
    context.textBaseline = "middle";
    context.fillStyle = colours.muted;
    for (const [part, align] of [
      [-0.5, "center"],
      [0, "center"],
      [0.5, "center"],
    ] as const) {
      context.textAlign = align;
      context.fillText(book.price(Math.round(mid + part * half)), width / 2 + (part * width) / 2, foot + FOOT / 2 + 1);
    }
    if (this.#pointerX !== null) this.#drawPointer(this.#pointerX, mid, half, bids, asks, x, y, foot);
    drawVeil(surface, shown.kind);
  }

  #drawNothing(): void {
    const { context, width, height } = this.#surface;
    context.font = "12px system-ui, sans-serif";
    context.fillStyle = colour().muted;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillText("no book of two sides", width / 2, height / 2);
  }

  #half(mid: number, bids: Side, asks: Side): number {
    const all = Math.max(mid - bids.ticks(bids.length - 1), asks.ticks(asks.length - 1) - mid, 1);
    if (this.#part > 0) return Math.min(all, Math.max(LEAST_LEVELS, mid * this.#part));
    return Math.min(all, Math.max(LEAST_LEVELS, Math.abs(mid) * START_PART));
  }

  #area(
    levels: readonly (readonly [number, number])[],
    x: (ticks: number) => number,
    y: (lots: number) => number,
    foot: number,
    end: number,
    ink: string,
  ): void {
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

  #drawPointer(
    at: number,
    mid: number,
    half: number,
    bids: readonly (readonly [number, number])[],
    asks: readonly (readonly [number, number])[],
    x: (ticks: number) => number,
    y: (lots: number) => number,
    foot: number,
  ): void {
    const { context, width } = this.#surface;
    const colours = colour();
    const ticks = mid + ((at - width / 2) / (width / 2)) * half;
    const isBid = ticks < mid;
    const levels = isBid ? bids : asks;
    const level = levels.findLast(([price]) => (isBid ? price >= ticks : price <= ticks)) ?? levels[0];
    const book = this.market.whole!;
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
    context.fillText(`${book.price(level[0])}  ·  ${size}`, at + (at > width / 2 ? -8 : 8), 8);
    void x;
  }

  #zoom(event: WheelEvent): void {
    event.preventDefault();
    const factor = event.deltaY > 0 ? 1.2 : 1 / 1.2;
    this.#part = Math.min(1, Math.max(1e-6, (this.#part || START_PART) * factor));
    invalidate(this);
  }

  #point(x: number | null): void {
    this.#pointerX = x;
    invalidate(this);
  }
}

/** Price and sum of the sizes up to it, from the best to `end`. */
function sums(side: Side, end: number): (readonly [number, number])[] {
  const result: (readonly [number, number])[] = [];
  const down = side.length > 1 && side.ticks(0) > side.ticks(1);
  let sum = 0;
  for (let i = 0; i < side.length; i++) {
    const ticks = side.ticks(i);
    if (down ? ticks < end : ticks > end) break;
    sum += side.lots(i);
    result.push([ticks, sum]);
  }
  return result;
}
