// A small plot of one or two lines over five minutes, drawn on a canvas; the cursor is one for all plots.

import { KEPT_S } from "./history.js";

const PAD = { left: 4, right: 4, top: 16, bottom: 4 };
const LEAST_S = 60; // the plot begins with so much room
const GAP_S = 4; // what is further apart was not measured in between, and is not joined

/** Where the cursor is, in seconds before the newest sample; null: nowhere. */
export const cursor = { back_s: null, moved: () => {} };

export class Plot {
  /** `lines`: [{ key, label }], one or two; `show` writes a value. */
  constructor(title, lines, show) {
    this.title = title;
    this.lines = lines;
    this.show = show;
    this.samples = [];
    this.element = document.createElement("figure");
    const caption = document.createElement("figcaption");
    const name = document.createElement("span");
    name.textContent = title;
    this.value = document.createElement("output");
    caption.append(name, this.value);
    this.canvas = document.createElement("canvas");
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "img");
    this.element.append(caption, this.canvas);
    this.canvas.addEventListener("pointermove", (event) => this.point(event));
    this.canvas.addEventListener("pointerleave", () => this.move(null));
    this.canvas.addEventListener("blur", () => this.move(null));
    this.canvas.addEventListener("keydown", (event) => this.press(event));
  }

  /** Seconds that it shows: it grows with what is known. */
  get span() {
    const known = (this.samples.at(-1)?.at_s ?? 0) - (this.samples[0]?.at_s ?? 0);
    return Math.min(Math.max(known, LEAST_S), KEPT_S);
  }

  move(back_s) {
    cursor.back_s = back_s === null ? null : Math.min(Math.max(back_s, 0), this.span);
    cursor.moved();
  }

  point(event) {
    const box = this.canvas.getBoundingClientRect();
    this.move((1 - (event.clientX - box.left) / box.width) * this.span);
  }

  press(event) {
    const at = cursor.back_s ?? 0;
    const to = { ArrowLeft: at + 5, ArrowRight: at - 5, Home: this.span, End: 0 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.move(to);
  }

  draw(samples) {
    this.samples = samples;
    const at = this.sampleAt();
    const texts = this.lines.map((line) => `${line.label ? `${line.label} ` : ""}${this.show(at?.[line.key])}`);
    this.value.replaceChildren(...texts.map((text, i) => piece(text, i)));
    this.canvas.setAttribute("aria-label", `${this.title}: ${texts.join(", ")}${at === null ? "" : this.when(at)}`);
    this.paint();
  }

  when(sample) {
    const back = Math.round(this.samples.at(-1).at_s - sample.at_s);
    return back === 0 ? ", now" : `, ${back} s ago`;
  }

  /** The sample under the cursor, else the newest. */
  sampleAt() {
    const newest = this.samples.at(-1);
    if (newest === undefined) return null;
    if (cursor.back_s === null) return newest;
    const wanted = newest.at_s - cursor.back_s;
    return this.samples.reduce((best, one) => (Math.abs(one.at_s - wanted) < Math.abs(best.at_s - wanted) ? one : best));
  }

  paint() {
    const scale = window.devicePixelRatio || 1;
    const width = this.canvas.clientWidth;
    const height = this.canvas.clientHeight;
    if (width === 0) return;
    if (this.canvas.width !== Math.round(width * scale)) this.canvas.width = Math.round(width * scale);
    if (this.canvas.height !== Math.round(height * scale)) this.canvas.height = Math.round(height * scale);
    const pen = this.canvas.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);
    const colours = getComputedStyle(this.canvas);
    const most = niceCeiling(Math.max(0, ...this.samples.flatMap((one) => this.lines.map((line) => one[line.key] ?? 0))));
    const newest = this.samples.at(-1)?.at_s ?? 0;
    const x = (at_s) => width - PAD.right - ((newest - at_s) / this.span) * (width - PAD.left - PAD.right);
    const y = (value) => height - PAD.bottom - (value / most) * (height - PAD.top - PAD.bottom);
    this.frame(pen, colours, most, width, y);
    this.lines.forEach((line, i) => this.trace(pen, colours.getPropertyValue(i === 0 ? "--one" : "--two"), line.key, x, y));
    if (cursor.back_s !== null && newest > 0) upright(pen, colours, x(newest - cursor.back_s), height);
  }

  frame(pen, colours, most, width, y) {
    pen.strokeStyle = colours.getPropertyValue("--line");
    pen.lineWidth = 1;
    for (const value of [0, most / 2, most]) {
      pen.beginPath();
      pen.moveTo(PAD.left, Math.round(y(value)) + 0.5);
      pen.lineTo(width - PAD.right, Math.round(y(value)) + 0.5);
      pen.stroke();
    }
    pen.fillStyle = colours.getPropertyValue("--muted");
    pen.font = "11px system-ui, sans-serif";
    pen.fillText(this.samples.length < 2 ? "collecting: the plot begins now" : this.show(most), PAD.left, 11);
  }

  trace(pen, colour, key, x, y) {
    pen.strokeStyle = colour;
    pen.lineWidth = 1.5;
    pen.beginPath();
    let last = null;
    for (const sample of this.samples) {
      const value = sample[key];
      if (value === undefined) continue;
      if (last === null || sample.at_s - last > GAP_S) pen.moveTo(x(sample.at_s), y(value));
      else pen.lineTo(x(sample.at_s), y(value));
      last = sample.at_s;
    }
    pen.stroke();
  }
}

function piece(text, i) {
  const span = document.createElement("span");
  span.className = i === 0 ? "first" : "second";
  span.textContent = i === 0 ? text : `  ${text}`;
  return span;
}

function upright(pen, colours, at, height) {
  pen.strokeStyle = colours.getPropertyValue("--muted");
  pen.lineWidth = 1;
  pen.beginPath();
  pen.moveTo(Math.round(at) + 0.5, PAD.top);
  pen.lineTo(Math.round(at) + 0.5, height - PAD.bottom);
  pen.stroke();
}

/** 1, 2 or 5 times a power of ten, not below the value. */
export function niceCeiling(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value * 0.999999);
}
