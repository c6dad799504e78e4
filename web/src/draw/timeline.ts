// The time line: the last minute of faults, from the fault to the word of it to the recovery.

import type { Feed } from "../model/feed.js";
import { type Drawer, invalidate, onFrame } from "../model/frames.js";
import { colour, Surface } from "./canvas.js";

const SHOWN_MS = 60_000;

export class TimelineDrawing implements Drawer {
  readonly #surface: Surface;
  readonly #stops: (() => void)[];

  constructor(
    readonly canvas: HTMLCanvasElement,
    private readonly feed: Feed,
  ) {
    this.#surface = new Surface(canvas, this);
    const timer = setInterval(() => invalidate(this), 100);
    this.#stops = [feed.timeline.incidents.watch(() => invalidate(this)), () => clearInterval(timer)];
    void onFrame;
  }

  close(): void {
    for (const stop of this.#stops) stop();
    this.#surface.close();
  }

  draw(): void {
    const surface = this.#surface;
    if (!surface.begin()) return;
    const { context, width, height } = surface;
    const colours = colour();
    const now = performance.now();
    const x = (at: number) => width - 8 - ((now - at) / SHOWN_MS) * (width - 16);
    const base = height - 16;
    context.textBaseline = "middle";
    context.font = "11px system-ui, sans-serif";
    context.strokeStyle = colours.line;
    context.fillStyle = colours.muted;
    context.textAlign = "center";
    for (let s = 0; s <= 60; s += 10) {
      const at = Math.round(x(now - s * 1000)) + 0.5;
      context.beginPath();
      context.moveTo(at, 0);
      context.lineTo(at, base);
      context.stroke();
      context.fillText(s === 0 ? "now" : `−${s} s`, Math.min(width - 16, Math.max(18, at)), base + 9);
    }
    const lane = Math.max(12, Math.min(18, base / 5));
    for (const [index, incident] of this.feed.timeline.incidents.now.entries()) {
      const end = incident.recovered ?? now;
      if (now - end > SHOWN_MS) continue;
      const y = 4 + (index % Math.max(1, Math.floor((base - 4) / lane))) * lane;
      const from = Math.max(0, x(incident.at));
      const told = incident.told === null ? null : x(incident.told);
      const to = Math.max(x(end), from + 2);
      context.fillStyle = colours.stale;
      context.globalAlpha = 0.45;
      context.fillRect(from, y, Math.max(1, (told ?? to) - from), lane - 4);
      if (told !== null) {
        context.fillStyle = incident.recovered === null ? colours.ask : colours.warn;
        context.fillRect(told, y, Math.max(2, to - told), lane - 4);
      }
      context.globalAlpha = 1;
      context.fillStyle = colours.ask;
      context.fillRect(from - 1, y - 2, 2, lane);
      if (incident.recovered !== null) {
        context.fillStyle = colours.bid;
        context.fillRect(to - 1, y - 2, 2, lane);
      }
    }
  }
}
