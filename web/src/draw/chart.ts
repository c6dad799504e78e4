// Candles and volume, by lightweight-charts.

import { formatDecimal } from "@mdstream/client";
import {
  CandlestickSeries,
  ColorType,
  CrosshairMode,
  createChart,
  HistogramSeries,
  type IChartApi,
  type ISeriesApi,
  type Time,
  type UTCTimestamp,
} from "lightweight-charts";
import type { Bar, Bars } from "../model/bars.js";
import { axisText, startText } from "../model/clock.js";
import type { Market } from "../model/market.js";
import { SPAN_S } from "../model/settings.js";
import { shownOf } from "../model/shown.js";
import { compact } from "../model/texts.js";
import { colour } from "./canvas.js";

/** A longer hole is one jump on the axis, as it would be nothing but empty. */
const MOST_EMPTY = 2_000;
const MOST_BANDS = 2_000;
const LOAD_BEFORE = 30;
const WIDEST_BAR = 60;

export interface Legend {
  readonly open: string;
  readonly high: string;
  readonly low: string;
  readonly close: string;
  readonly volume: string;
  readonly rising: boolean;
  readonly incomplete: boolean;
}

interface Point {
  time: UTCTimestamp;
}

export class Chart {
  onLegend: (legend: Legend | null) => void = () => {};
  readonly #chart: IChartApi;
  readonly #candles: ISeriesApi<"Candlestick">;
  readonly #volume: ISeriesApi<"Histogram">;
  readonly #bands: ISeriesApi<"Histogram">;
  /** Starts of bars during which the price was not live: a grey band that stays. */
  readonly #notLive = new Set<number>();
  #newest = 0;
  #hovered: number | null = null;
  readonly #stops: (() => void)[];

  constructor(
    place: HTMLElement,
    private readonly bars: Bars,
    private readonly market: Market,
  ) {
    this.#chart = createChart(place, {
      autoSize: true,
      // Its licence asks for a notice and a link: the head of the panel has both. The logo would add styles that our policy forbids.
      layout: { attributionLogo: false },
      crosshair: { mode: CrosshairMode.Normal },
      timeScale: {
        timeVisible: true,
        secondsVisible: true,
        rightOffset: 8,
        barSpacing: 7,
        tickMarkFormatter: (time: Time) => axisText(time as number, SPAN_S[bars.span]),
      },
      localization: {
        priceFormatter: (price: number) => this.#priceText(price),
        timeFormatter: (time: Time) => startText(time as number, SPAN_S[bars.span]),
      },
    });
    this.#bands = this.#chart.addSeries(HistogramSeries, {
      priceScaleId: "bands",
      lastValueVisible: false,
      priceLineVisible: false,
      base: 0,
    });
    this.#chart.priceScale("bands").applyOptions({ scaleMargins: { top: 0, bottom: 0 } });
    this.#volume = this.#chart.addSeries(HistogramSeries, {
      priceScaleId: "volume",
      priceFormat: { type: "volume" },
      lastValueVisible: false,
      priceLineVisible: false,
    });
    this.#chart.priceScale("volume").applyOptions({ scaleMargins: { top: 0.82, bottom: 0 } });
    this.#candles = this.#chart.addSeries(CandlestickSeries, { borderVisible: false });
    this.#chart.priceScale("right").applyOptions({ entireTextOnly: true, scaleMargins: { top: 0.08, bottom: 0.22 } });
    this.#chart.timeScale().subscribeVisibleLogicalRangeChange((range) => {
      if (range !== null && range.from < LOAD_BEFORE) void bars.older();
    });
    this.#chart.subscribeCrosshairMove(({ time }) => {
      this.#hovered = time === undefined ? null : (time as number);
      this.#tellLegend();
    });
    bars.onReset = () => this.#reset();
    bars.onChange = (changed) => this.#change(changed);
    this.#stops = [
      market.feed.tick.watch(() => this.#markState()),
      market.changed.watch(() => this.#markState()),
      market.instrument.watch(() => this.#notLive.clear()),
    ];
    this.recolour();
    this.#reset();
  }

  close(): void {
    for (const stop of this.#stops) stop();
    this.bars.onReset = this.bars.onChange = () => {};
    this.#chart.remove();
  }

  /** So many bars to the right; less than none: back in time. */
  move(bars: number): void {
    const scale = this.#chart.timeScale();
    scale.scrollToPosition(scale.scrollPosition() + bars, false);
  }

  zoom(factor: number): void {
    const scale = this.#chart.timeScale();
    scale.applyOptions({ barSpacing: Math.min(WIDEST_BAR, scale.options().barSpacing * factor) });
  }

  recolour(): void {
    const { panel, line, muted, bid, ask } = colour();
    this.#chart.applyOptions({
      layout: {
        background: { type: ColorType.Solid, color: panel },
        textColor: muted,
        fontSize: 11,
        fontFamily: "system-ui, sans-serif",
      },
      grid: { vertLines: { color: line }, horzLines: { color: line } },
      rightPriceScale: { borderColor: line },
      timeScale: { borderColor: line },
      crosshair: { vertLine: { color: muted, labelBackgroundColor: line }, horzLine: { color: muted, labelBackgroundColor: line } },
    });
    this.#candles.applyOptions({ upColor: bid, downColor: ask, wickUpColor: bid, wickDownColor: ask });
    this.#reset();
  }

  #reset(): void {
    const { priceExp, bars } = this.bars;
    const minMove = 10 ** priceExp;
    this.#chart.timeScale().applyOptions({}); // it keeps the labels of the span before
    this.#candles.applyOptions({ priceFormat: { type: "price", precision: Math.max(0, -priceExp), minMove } });
    this.#newest = bars.at(-1)?.start ?? 0;
    this.#candles.setData(this.#withHoles(bars, (bar) => this.#candle(bar)));
    this.#volume.setData(bars.map((bar) => this.#volumeOf(bar)));
    this.#bands.setData(bars.filter(({ start }) => this.#notLive.has(start)).map(({ start }) => this.#band(start)));
    this.#tellLegend();
  }

  #change(changed: readonly Bar[]): void {
    const span = SPAN_S[this.bars.span];
    for (const bar of changed) {
      const late = bar.start < this.#newest;
      if (!late && this.#newest > 0) {
        for (let start = this.#newest + span, n = 0; start < bar.start && n < MOST_EMPTY; start += span, n++) {
          this.#candles.update({ time: start as UTCTimestamp });
        }
      }
      this.#candles.update(this.#candle(bar), late);
      this.#volume.update(this.#volumeOf(bar), late);
      this.#newest = Math.max(this.#newest, bar.start);
    }
    if (this.#hovered === null) this.#tellLegend();
  }

  /** A span without a trade is a hole, not a line that joins its neighbours. */
  #withHoles<T extends Point>(bars: readonly Bar[], make: (bar: Bar) => T): (T | Point)[] {
    const span = SPAN_S[this.bars.span];
    const points: (T | Point)[] = [];
    let before = 0;
    for (const bar of bars) {
      if (before > 0 && (bar.start - before) / span <= MOST_EMPTY) {
        for (let start = before + span; start < bar.start; start += span) points.push({ time: start as UTCTimestamp });
      }
      points.push(make(bar));
      before = bar.start;
    }
    return points;
  }

  #candle({ start, open, high, low, close, incomplete }: Bar) {
    const scale = this.bars.priceExp;
    const { stale } = colour();
    const value = (ticks: number) => Number(`${ticks}e${scale}`);
    const ink = incomplete ? { borderVisible: true, borderColor: stale } : {};
    return { time: start as UTCTimestamp, open: value(open), high: value(high), low: value(low), close: value(close), ...ink };
  }

  #volumeOf({ start, open, close, lots }: Bar) {
    const { bid, ask } = colour();
    return { time: start as UTCTimestamp, value: lots * 10 ** this.bars.sizeExp, color: `${close >= open ? bid : ask}55` };
  }

  #band(start: number) {
    return { time: start as UTCTimestamp, value: 1, color: `${colour().stale}44` };
  }

  #markState(): void {
    const { kind } = shownOf(this.market.feed, this.market.book);
    if (kind === "live" || kind === "delayed" || kind === "waiting" || this.#newest === 0 || this.#notLive.has(this.#newest))
      return;
    if (this.#notLive.size > MOST_BANDS) this.#notLive.clear();
    this.#notLive.add(this.#newest);
    this.#bands.update(this.#band(this.#newest));
  }

  #priceText(price: number): string {
    const { priceExp } = this.bars;
    const ticks = Math.round(price / 10 ** priceExp);
    return Number.isSafeInteger(ticks) ? formatDecimal(ticks, priceExp) : String(price);
  }

  #tellLegend(): void {
    const { bars, priceExp, sizeExp } = this.bars;
    const bar = this.#hovered === null ? bars.at(-1) : bars.findLast(({ start }) => start <= this.#hovered!);
    if (bar === undefined) return this.onLegend(null);
    const price = (ticks: number) =>
      Number.isSafeInteger(ticks) ? formatDecimal(ticks, priceExp) : String(ticks * 10 ** priceExp);
    this.onLegend({
      open: price(bar.open),
      high: price(bar.high),
      low: price(bar.low),
      close: price(bar.close),
      volume: compact(bar.lots * 10 ** sizeExp),
      rising: bar.close >= bar.open,
      incomplete: bar.incomplete,
    });
  }
}
