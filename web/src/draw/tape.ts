// The tape: newest on top. While the pointer is inside it stands still, and says how many are new.

import { clockText } from "../model/clock.js";
import { type Drawer, invalidate } from "../model/frames.js";
import type { Market, TapeRow } from "../model/market.js";
import { OPACITY, shownOf } from "../model/shown.js";
import { colour, digitWidth, drawDecimal, drawVeil, FONT, PAD, Surface } from "./canvas.js";
import { fit } from "./ladder.js";

const ROW = 20;
const HEAD = 20;
const FULL_BAR = 12;

export class Tape implements Drawer {
  /** How many are new since it stands still. */
  onPaused: (waiting: number | null) => void = () => {};
  readonly #surface: Surface;
  #stoppedAt: number | null = null;

  constructor(
    readonly canvas: HTMLCanvasElement,
    private readonly market: Market,
  ) {
    this.#surface = new Surface(canvas, this);
    market.tapeDrawers.add(this);
    canvas.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && this.#pause());
    canvas.addEventListener("pointerleave", () => this.resume());
  }

  close(): void {
    this.market.tapeDrawers.delete(this);
    this.#surface.close();
  }

  resume(): void {
    this.#stoppedAt = null;
    this.onPaused(null);
    invalidate(this);
  }

  #pause(): void {
    this.#stoppedAt = this.market.tapeCount;
    this.onPaused(0);
  }

  draw(): void {
    const surface = this.#surface;
    if (!surface.begin()) return;
    const { context, width, height } = surface;
    const { market } = this;
    const colours = colour();
    context.textBaseline = "middle";
    context.font = "11px system-ui, sans-serif";
    context.fillStyle = colours.muted;
    context.textAlign = "left";
    context.fillText("Time", PAD, HEAD / 2);
    context.textAlign = "right";
    context.fillText("Price", this.#priceRight(width), HEAD / 2);
    context.fillText("Size", width - PAD, HEAD / 2);
    const shown = shownOf(market.feed, market.book);
    const skip = this.#stoppedAt === null ? 0 : market.tapeCount - this.#stoppedAt;
    if (this.#stoppedAt !== null) this.onPaused(skip);
    const newest = market.tape.length - 1 - skip;
    const rows = Math.floor((height - HEAD) / ROW);
    const usual = this.#usual();
    context.font = `12px ${FONT}`;
    context.globalAlpha = OPACITY[shown.kind];
    for (let i = 0; i < rows && newest - i >= 0; i++) this.#drawRow(market.tape[newest - i]!, HEAD + i * ROW, usual);
    if (newest < 0 && shown.kind !== "waiting") {
      context.globalAlpha = 1;
      context.font = "12px system-ui, sans-serif";
      context.fillStyle = colours.muted;
      context.textAlign = "center";
      context.fillText(shown.kind === "refused" ? "no trades" : "no trade since you opened this market", width / 2, HEAD + 28);
    }
    drawVeil(surface, shown.kind);
  }

  #priceRight(width: number): number {
    return Math.round(width * 0.62);
  }

  #usual(): number {
    const { tape } = this.market;
    let [sum, count] = [0, 0];
    for (let i = Math.max(0, tape.length - 100); i < tape.length; i++) {
      const row = tape[i]!;
      if ("lost" in row) continue;
      sum += row.lots;
      count++;
    }
    return Math.max(1, sum / Math.max(1, count));
  }

  #drawRow(row: TapeRow, y: number, usual: number): void {
    const { context, width } = this.#surface;
    const colours = colour();
    const middle = y + ROW / 2;
    if ("lost" in row) {
      const [first, last] = row.lost;
      context.fillStyle = colours.warn;
      context.textAlign = "left";
      context.fillText(`lost: trades ${first} to ${last}`, PAD, middle);
      return;
    }
    const ink = row.side === "sell" ? colours.ask : row.side === "buy" ? colours.bid : colours.text;
    const alpha = context.globalAlpha;
    context.globalAlpha = 0.12 * alpha;
    context.fillStyle = ink;
    const bar = Math.min(1, row.lots / (usual * FULL_BAR)) * width * 0.6 + 1;
    context.fillRect(width - bar, y, bar, ROW - 1);
    context.globalAlpha = alpha;
    context.textAlign = "left";
    context.fillStyle = colours.muted;
    context.fillText(clockText(row.ts), PAD, middle);
    const right = this.#priceRight(width);
    context.fillStyle = ink;
    context.textAlign = "right";
    context.fillText(`${row.side === "sell" ? "▼" : row.side === "buy" ? "▲" : " "} ${row.price}`, right, middle);
    const digit = digitWidth(context);
    const room = Math.floor((width - 2 * PAD - right) / digit);
    drawDecimal(context, fit(row.size, room), width - PAD, middle, colours.text, colours.faint, digit);
  }
}
