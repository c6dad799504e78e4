// The time line: the last minute of faults, from the fault to the word of it to the recovery.

import type { Feed } from "../model/feed.js";
import { type Drawer, invalidate } from "../model/frames.js";
import { lasting } from "../model/texts.js";
import type { Incident } from "../model/timeline.js";
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
    const lanes = Math.max(1, Math.floor((base - 4) / lane));
    for (const [index, incident] of this.feed.timeline.incidents.now.entries()) {
      if (now - (endOf(incident) ?? now) > SHOWN_MS) continue;
      this.#drawIncident(incident, x, 4 + (index % lanes) * lane, lane - 4);
    }
  }

  /** From the fault, by the word of it, to the recovery; and beside it what it was, and how long it took. */
  #drawIncident(incident: Incident, x: (at: number) => number, y: number, height: number): void {
    const { context, width } = this.#surface;
    const { what, at, told, recovered } = incident;
    const end = endOf(incident);
    const { stale, ask, bid, warn, muted } = colour();
    const from = Math.max(0, x(at));
    const to = Math.max(x(end ?? performance.now()), from + 4);
    const known = told === null ? to : Math.max(from, x(told));
    context.globalAlpha = 0.45;
    context.fillStyle = stale;
    context.fillRect(from, y, known - from, height);
    context.fillStyle = end === null ? ask : warn;
    context.fillRect(known, y, to - known, height);
    context.globalAlpha = 1;
    context.fillStyle = ask;
    context.fillRect(from - 1, y - 2, 2, height + 4);
    context.fillStyle = bid;
    if (recovered !== null) context.fillRect(to - 1, y - 2, 2, height + 4);
    const text = recovered === null ? what : `${what}: ${lasting(recovered - at)}`;
    const fits = to + 6 + context.measureText(text).width < width;
    context.fillStyle = muted;
    context.textAlign = fits ? "left" : "right";
    context.fillText(text, fits ? to + 6 : from - 6, y + height / 2 + 0.5);
  }
}

function endOf({ recovered, left }: Incident): number | null {
  return recovered ?? left;
}
