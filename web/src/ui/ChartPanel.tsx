import { useEffect, useRef, useState } from "preact/hooks";
import { Chart, type Legend } from "../draw/chart.js";
import { change, SPANS, settings } from "../model/settings.js";
import { asItIs, shownOf, todoOf } from "../model/shown.js";
import { sentence } from "../model/texts.js";
import { useValue } from "../model/value.js";
import type { Page } from "../page.js";
import { Empty, Note } from "./Note.js";

/** How many bars a key goes to the right. */
const STEPS: Readonly<Record<string, number>> = { ArrowLeft: -10, ArrowRight: 10 };
const ZOOMS: Readonly<Record<string, number>> = { "+": 1.25, "=": 1.25, "-": 0.8 };

export function ChartPanel({ page }: { page: Page }) {
  const { bars, market, feed, watch } = page;
  const now = useValue(settings);
  const note = useValue(bars.note);
  useValue(market.changed);
  useValue(feed.changed);
  const place = useRef<HTMLDivElement>(null);
  const chart = useRef<Chart | null>(null);
  const [legend, setLegend] = useState<Legend | null>(null);
  useEffect(() => {
    const made = (chart.current = new Chart(place.current!, bars, market));
    made.onLegend = setLegend;
    return () => made.close();
  }, [bars, market]);
  useEffect(() => chart.current?.recolour(), [now.theme, now.colourBlind]);
  const press = (event: KeyboardEvent) => {
    const [step, factor] = [STEPS[event.key], ZOOMS[event.key]];
    if (step !== undefined) chart.current?.move(step);
    if (factor !== undefined) chart.current?.zoom(factor);
    if (step !== undefined || factor !== undefined) event.preventDefault();
  };
  const { kind, spoken } = shownOf(feed, market.book);
  const [ready, rows] = [useValue(watch.ready), useValue(watch.rows)];
  const code = String(feed.client.error?.code ?? market.book?.error?.code);
  const refusal = [sentence(spoken), todoOf(code, market.instrument.now)].filter(Boolean).join(" ");
  const nothing = ready && rows.size === 0 && market.instrument.now === "" && kind !== "refused";
  return (
    <section class="panel chart" aria-label="Candles">
      <div class="head">
        <div class="choices" role="group" aria-label="Span of a candle">
          {SPANS.map((span, index) => (
            <button
              type="button"
              key={span}
              aria-pressed={now.span === span}
              title={`${span} (${index + 1})`}
              onClick={() => change({ span })}
            >
              {span}
            </button>
          ))}
        </div>
        {legend !== null && (
          <div class={`legend number ${asItIs(kind) ? (legend.rising ? "up" : "down") : `not-live ${kind}`}`} aria-hidden="true">
            <span>O {legend.open}</span> <span>H {legend.high}</span> <span>L {legend.low}</span> <span>C {legend.close}</span>{" "}
            <span class="muted">V {legend.volume}</span>
          </div>
        )}
        <a class="credit" href="https://www.tradingview.com/" target="_blank" rel="noopener noreferrer">
          <span class="long">Charts by </span>TradingView
        </a>
      </div>
      <div
        class={`canvas ${asItIs(kind) ? "" : "not-live"} ${kind}`}
        ref={place}
        role="application"
        tabIndex={0}
        aria-label={`Candles of ${market.instrument.now}: the arrows move, plus and minus zoom`}
        onKeyDown={press}
      />
      {legend === null && note !== "" && !nothing && kind !== "refused" && <p class="blank muted">no trade yet</p>}
      {kind === "refused" ? <Note text={refusal} alone /> : note !== "" && <Note text={note} />}
      {nothing && <Empty />}
    </section>
  );
}
