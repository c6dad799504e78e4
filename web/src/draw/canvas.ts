import { type Drawer, invalidate } from "../model/frames.js";

export interface Colours {
  bg: string;
  panel: string;
  line: string;
  text: string;
  muted: string;
  faint: string;
  bid: string;
  ask: string;
  accent: string;
  warn: string;
  stale: string;
}

export const FONT = '"SFMono-Regular", ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace';

/** Between the edge of a panel and what stands in it, as in the panels of the page. */
export const PAD = 12;

let colours: Colours | null = null;
const surfaces = new Set<Surface>();

/** The tokens of the present theme. */
export function colour(): Colours {
  if (colours === null) {
    const style = getComputedStyle(document.documentElement);
    const read = (name: string) => style.getPropertyValue(`--${name}`).trim();
    colours = {
      bg: read("bg"),
      panel: read("panel"),
      line: read("line"),
      text: read("text"),
      muted: read("muted"),
      faint: read("faint"),
      bid: read("bid"),
      ask: read("ask"),
      accent: read("accent"),
      warn: read("warn"),
      stale: read("stale"),
    };
  }
  return colours;
}

/** Another theme: everything is drawn again. */
export function recolour(): void {
  colours = null;
  for (const surface of surfaces) surface.redraw();
}

/** A canvas as large as its place, sharp on every screen. */
export class Surface {
  readonly context: CanvasRenderingContext2D;
  width = 0;
  height = 0;
  readonly #observer: ResizeObserver;

  constructor(
    readonly canvas: HTMLCanvasElement,
    private readonly drawer: Drawer,
  ) {
    this.context = canvas.getContext("2d")!;
    // Asking the canvas itself would make the browser lay out the page within the frame.
    this.#observer = new ResizeObserver(([entry]) => {
      this.width = Math.round(entry!.contentRect.width);
      this.height = Math.round(entry!.contentRect.height);
      this.redraw();
    });
    this.#observer.observe(canvas);
    surfaces.add(this);
  }

  redraw(): void {
    invalidate(this.drawer);
  }

  /** Empties it, and fits it to its place. False: it is not to be seen. */
  begin(): boolean {
    const { canvas, context, width, height } = this;
    if (width === 0 || height === 0) return false;
    const ratio = devicePixelRatio;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.globalAlpha = 1;
    context.clearRect(0, 0, width, height);
    return true;
  }

  close(): void {
    this.#observer.disconnect();
    surfaces.delete(this);
  }
}

/** Draws a decimal that ends at `right`; zeros at its end are dimmed, never dropped. `digit`: how wide each is. */
export function drawDecimal(
  context: CanvasRenderingContext2D,
  text: string,
  right: number,
  y: number,
  ink: string,
  faint: string,
  digit: number,
): void {
  let end = text.length;
  if (text.includes(".")) {
    while (text.charCodeAt(end - 1) === 48) end--;
    if (text.charCodeAt(end - 1) === 46) end--;
  }
  context.textAlign = "right";
  if (end === text.length) {
    context.fillStyle = ink;
    context.fillText(text, right, y);
    return;
  }
  const zeros = text.slice(end);
  context.fillStyle = faint;
  context.fillText(zeros, right, y);
  context.fillStyle = ink;
  context.fillText(text.slice(0, end), right - zeros.length * digit, y);
}

let measured = "";
let width = 0;

/** All characters of the font have it. */
export function digitWidth(context: CanvasRenderingContext2D): number {
  if (context.font !== measured) {
    measured = context.font;
    width = context.measureText("0000000000").width / 10;
  }
  return width;
}

/** What lies over data that is not live: frozen, hatched at the edge, with the reason across where it trades no more. */
export function drawVeil(surface: Surface, kind: string): void {
  if (kind === "live" || kind === "waiting") return;
  const { context, width, height } = surface;
  const { warn, stale, ask } = colour();
  const isWarning = kind === "recovering" || kind === "delayed";
  const ink = isWarning ? warn : kind === "offline" || kind === "refused" ? ask : stale;
  context.globalAlpha = 1;
  context.fillStyle = ink;
  context.fillRect(0, 0, width, 2);
  if (kind === "halted" || kind === "delayed") return;
  context.save();
  context.beginPath();
  context.rect(0, 0, 5, height);
  context.clip();
  context.globalAlpha = 0.7;
  context.strokeStyle = ink;
  context.lineWidth = 1.5;
  context.beginPath();
  for (let y = -8; y < height; y += 6) {
    context.moveTo(0, y + 8);
    context.lineTo(6, y + 2);
  }
  context.stroke();
  context.restore();
}

/** A strip over the rows: what hides half a number would make another one of it. */
export function drawAcross(surface: Surface, text: string, top: number, height: number): void {
  const { context, width } = surface;
  const { bg, text: ink, line } = colour();
  context.globalAlpha = 1;
  context.fillStyle = bg;
  context.fillRect(0, top, width, height);
  context.fillStyle = line;
  context.fillRect(0, top, width, 1);
  context.fillRect(0, top + height - 1, width, 1);
  context.font = "600 13px system-ui, sans-serif";
  context.fillStyle = ink;
  context.textAlign = "center";
  context.fillText(text, width / 2, top + height / 2, width - 2 * PAD);
}
