import type { Trade } from "@mdstream/client";
import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { change, resetLayout, settings } from "../model/settings.js";
import { asItIs, shownOf } from "../model/shown.js";
import { compact, spaced } from "../model/texts.js";
import { useValue } from "../model/value.js";
import type { Page } from "../page.js";
import { Change, Decimal } from "./Decimal.js";
import { Icon } from "./icons.js";

interface Props {
  page: Page;
  onMenu(): void;
  onHelp(): void;
}

const TICK_MS = 100;
/** Left out where there is little room: the countdown says it. */
const RECONNECTING = "reconnecting ";

/** The state, drawn again ten times a second while something in it counts. */
function useShown({ feed, market }: Page) {
  useValue(market.changed);
  useValue(feed.changed);
  const [, redraw] = useState(0);
  const shown = shownOf(feed, market.book);
  useEffect(() => {
    if (shown.kind === "live") return;
    const timer = setInterval(() => redraw((count) => count + 1), TICK_MS);
    return () => clearInterval(timer);
  }, [shown.kind]);
  return shown;
}

export function TopBar({ page, onMenu, onHelp }: Props) {
  const { market, watch } = page;
  const instrument = useValue(market.instrument);
  const rows = useValue(watch.rows);
  const now = useValue(settings);
  const shown = useShown(page);
  const row = rows.get(instrument);
  const dim = asItIs(shown.kind) ? "" : ` not-live ${shown.kind}`;
  return (
    <header class="top">
      <span class="brand" aria-hidden="true">
        mdstream
      </span>
      <button type="button" class="picker" onClick={onMenu} title="Choose a market (Ctrl K)">
        <h1>{instrument || "no market"}</h1>
        <Icon name="down" />
      </button>
      <div class={`figures${dim}`}>
        <LastPrice page={page} />
        {row?.changePercent != null && (
          <Figure label={row.over} title={`Change in ${row.over}`}>
            <Change percent={row.changePercent} />
          </Figure>
        )}
        {row?.high != null && row.low != null && <Range page={page} high={row.high} low={row.low} over={row.over} />}
        {row?.volume != null && (
          <Figure label="Volume" title={`${spaced(row.volume)} in ${row.over}`}>
            <span class="number">{compact(Number(row.volume))}</span>
          </Figure>
        )}
      </div>
      <State page={page} />
      <div class="tools">
        <button
          type="button"
          class="tool"
          onClick={() => change({ theme: now.theme === "dark" ? "light" : "dark" })}
          title="Dark or light (T)"
        >
          <Icon name={now.theme === "dark" ? "sun" : "moon"} />
          <span class="hidden">Dark or light</span>
        </button>
        <button
          type="button"
          class="tool"
          aria-pressed={now.colourBlind}
          onClick={() => change({ colourBlind: !now.colourBlind })}
          title="Blue and orange instead of green and red"
        >
          <Icon name="eye" />
          <span class="hidden">Blue and orange</span>
        </button>
        <button type="button" class="tool wide" onClick={onHelp} title="Keys (?)">
          <Icon name="keys" />
          <span class="hidden">Keys</span>
        </button>
        <button type="button" class="tool wide" onClick={resetLayout} title="Reset the layout">
          <Icon name="reset" />
          <span class="hidden">Reset the layout</span>
        </button>
      </div>
    </header>
  );
}

function Figure({ label, title, children }: { label: string; title: string; children: ComponentChildren }) {
  return (
    <span class="figure" title={title}>
      <span class="label">{label}</span> {children}
    </span>
  );
}

/** The last trade, drawn again ten times a second when it is another. */
function useLast({ market }: Page): Trade | null {
  const [, show] = useState<unknown>(null);
  useEffect(() => {
    const timer = setInterval(() => document.hidden || show(market.last ?? market.lastKnown), TICK_MS);
    return () => clearInterval(timer);
  }, [market]);
  return market.last;
}

/** What the watchlist knows, and the trades since: no last price is above the highest. */
function Range({ page, high, low, over }: { page: Page; high: string; low: string; over: string }) {
  const price = useLast(page)?.price;
  const last = Number(price ?? NaN);
  return (
    <>
      <Figure label="High" title={`Highest in ${over}`}>
        <Decimal text={last > Number(high) ? price! : high} />
      </Figure>
      <Figure label="Low" title={`Lowest in ${over}`}>
        <Decimal text={last < Number(low) ? price! : low} />
      </Figure>
    </>
  );
}

function LastPrice({ page }: { page: Page }) {
  const last = useLast(page);
  const { market } = page;
  const price = last?.price ?? market.lastKnown;
  if (price === null) return <span class="last muted">–</span>;
  const way = last?.side === "sell" ? "down" : last?.side === "buy" ? "up" : "same";
  return (
    <span class={`last ${way}`} title="Last trade">
      <Decimal text={price} /> {way === "down" ? "▼" : way === "up" ? "▲" : ""}
    </span>
  );
}

const MARKS = {
  live: "dot",
  delayed: "dot",
  recovering: "dot",
  stale: "dot",
  halted: "square",
  offline: "dot",
  waiting: "dot",
  refused: "square",
} as const;

function State({ page }: { page: Page }) {
  const shown = useShown(page);
  const { feed, market } = page;
  const age = market.book?.ageMs;
  const title = shown.kind === "live" && age != null ? `last word of the venue ${(age / 1000).toFixed(1)} s ago` : shown.spoken;
  return (
    <div class={`state ${shown.kind}`} title={title}>
      <span class={MARKS[shown.kind]} aria-hidden="true" />
      {shown.kind === "stale" && <Icon name="clock" />}
      <span class="said number">
        {shown.text.startsWith(RECONNECTING) && <span class="word">{RECONNECTING}</span>}
        {shown.text.replace(RECONNECTING, "")}
      </span>
      {shown.kind === "offline" && (
        <button type="button" class="small" onClick={() => feed.now()}>
          now
        </button>
      )}
      {shown.kind === "refused" && market.book?.state === "ended" && feed.client.state !== "closed" && (
        <button type="button" class="small" onClick={() => market.again()}>
          again
        </button>
      )}
    </div>
  );
}

/** For screen readers: another state, never a price. */
export function Spoken({ page: { feed, market } }: { page: Page }) {
  useValue(market.changed);
  useValue(feed.changed);
  const instrument = useValue(market.instrument);
  return (
    <div class="hidden" role="status" aria-live="polite">
      {instrument === "" ? "" : `${instrument}: ${shownOf(feed, market.book).spoken}`}
    </div>
  );
}
