// The time line: the last minute of faults, from the fault to the word of it to the recovery.

import type { Feed } from "../model/feed.js";
import { type Drawer, invalidate } from "../model/frames.js";
import { lasting } from "../model/texts.js";
import type { Incident } from "../model/timeline.js";
import { colour, Surface } from "./canvas.js";

const SHOWN_MS = 60_000;

/** Where an incident and its text are drawn. */
interface Place {
  readonly from: number;
  readonly known: number;
  readonly to: number;
  readonly text: string;
  readonly textAt: number;
  readonly align: "left" | "right";
  readonly ink: "muted" | "text";
  /** All of it. */
  readonly left: number;
  readonly right: number;
}

type Lane = Place[];

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
    const pitch = Math.max(12, Math.min(18, base / 5));
    const lanes: Lane[] = Array.from({ length: Math.max(1, Math.floor((base - 4) / pitch)) }, () => []);
    for (const incident of this.feed.timeline.incidents.now) {
      if (now - (endOf(incident) ?? now) > SHOWN_MS) continue;
      let place = this.#place(incident, x);
      const lane = lanes.findIndex((those) => those.every(({ left, right }) => place.right < left || place.left > right));
      const index = lane < 0 ? lanes.length - 1 : lane;
      if (lane < 0) place = { ...place, text: "" }; // the list below says it
      lanes[index]!.push(place);
      this.#drawIncident(incident, place, 4 + index * pitch, pitch - 4);
    }
  }

  /** Beside it what it was, and how long it took; with no room there, on it. */
  #place({ what, at, told, recovered, left }: Incident, x: (at: number) => number): Place {
    const { context, width } = this.#surface;
    const from = Math.max(0, x(at));
    const to = Math.max(x(recovered ?? left ?? performance.now()), from + 4);
    const known = told === null ? to : Math.max(from, x(told));
    const text = recovered === null ? what : `${what}: ${lasting(recovered - at)}`;
    const room = context.measureText(text).width + 8;
    const bar = { from, known, to, text };
    if (to + room < width) return { ...bar, left: from, right: to + room, textAt: to + 6, align: "left", ink: "muted" };
    if (from - room > 0) return { ...bar, left: from - room, right: to, textAt: from - 6, align: "right", ink: "muted" };
    const textAt = Math.max(4, Math.min(from + 6, width - room));
    return { ...bar, left: Math.min(from, textAt), right: Math.max(to, textAt + room), textAt, align: "left", ink: "text" };
  }

  /** From the fault, by the word of it, to the recovery. */
  #drawIncident(incident: Incident, place: Place, y: number, height: number): void {
    const { context } = this.#surface;
    const { from, known, to } = place;
    const colours = colour();
    context.globalAlpha = 0.45;
    context.fillStyle = colours.stale;
    context.fillRect(from, y, known - from, height);
    context.fillStyle = endOf(incident) === null ? colours.ask : colours.warn;
    context.fillRect(known, y, to - known, height);
    context.globalAlpha = 1;
    context.fillStyle = colours.ask;
    context.fillRect(from - 1, y - 2, 2, height + 4);
    context.fillStyle = colours.bid;
    if (incident.recovered !== null) context.fillRect(to - 1, y - 2, 2, height + 4);
    context.fillStyle = colours[place.ink];
    context.textAlign = place.align;
    context.fillText(place.text, place.textAt, y + height / 2 + 0.5);
  }
}

function endOf({ recovered, left }: Incident): number | null {
  return recovered ?? left;
}
