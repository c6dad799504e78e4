// The plots of the connection panel, by uPlot: the last minute, a point a second.

import uPlot from "uplot";
import type { Feed, Second } from "../model/feed.js";
import { colour } from "./canvas.js";

export type Meter = "latency" | "rate";

interface Line {
  readonly label: string;
  readonly ink: "accent" | "warn" | "bid";
  readonly value: (second: Second) => number | null;
}

const LINES: Readonly<Record<Meter, readonly Line[]>> = {
  latency: [
    { label: "p99", ink: "warn", value: ({ p99 }) => p99 },
    { label: "p50", ink: "accent", value: ({ p50 }) => p50 },
  ],
  rate: [{ label: "messages/s", ink: "bid", value: ({ messages }) => messages }],
};

export class Plot {
  #plot: uPlot;
  readonly #observer: ResizeObserver;
  readonly #stop: () => void;

  constructor(
    private readonly place: HTMLElement,
    private readonly feed: Feed,
    private readonly meter: Meter,
  ) {
    this.#plot = this.#make();
    this.#observer = new ResizeObserver(() => this.#plot.setSize(this.#size));
    this.#observer.observe(place);
    this.#stop = feed.tick.watch(() => document.hidden || this.#plot.setData(this.#data));
  }

  close(): void {
    this.#stop();
    this.#observer.disconnect();
    this.#plot.destroy();
  }

  recolour(): void {
    this.#plot.destroy();
    this.#plot = this.#make();
  }

  get #size(): { width: number; height: number } {
    return { width: Math.max(80, this.place.clientWidth), height: Math.max(60, this.place.clientHeight) };
  }

  get #data(): uPlot.AlignedData {
    const { seconds } = this.feed;
    return [seconds.map(({ at }) => at), ...LINES[this.meter].map(({ value }) => seconds.map(value))];
  }

  #make(): uPlot {
    const colours = colour();
    const axis = {
      stroke: colours.muted,
      grid: { stroke: colours.line, width: 1 },
      ticks: { show: false },
      font: "11px system-ui, sans-serif",
    };
    const options: uPlot.Options = {
      ...this.#size,
      legend: { show: false },
      cursor: { show: false },
      padding: [8, 8, 8, 0],
      axes: [
        { ...axis, show: false },
        { ...axis, size: 44, space: 24 },
      ],
      scales: { y: { range: (_plot, _least, most) => [0, Math.max(1, (most ?? 1) * 1.15)] } },
      series: [
        {},
        ...LINES[this.meter].map(({ label, ink }) => ({ label, stroke: colours[ink], width: 1.5, points: { show: false } })),
      ],
    };
    return new uPlot(options, this.#data, this.place);
  }
}
