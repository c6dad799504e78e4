import type { RefObject } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Market } from "../model/market.js";
import { change, type SortBy, settings } from "../model/settings.js";
import { useValue } from "../model/value.js";
import type { Row } from "../model/watch.js";
import type { Page } from "../page.js";
import { Change, Decimal } from "./Decimal.js";
import { Icon } from "./icons.js";
import { memo } from "./memo.js";
import { Empty, Note } from "./Note.js";
import { orderOf } from "./order.js";

const ROW_PX = 44;
const MARGIN = 6;
const FLASH_MS = 150;
const COLUMNS: readonly (readonly [SortBy, string])[] = [
  ["symbol", "Market"],
  ["last", "Last"],
  ["change", "24 h"],
];
/** Shorter words, as there is little room. */
const SHORT: Readonly<Record<string, string>> = {
  disconnected: "offline",
  pending: "waiting",
  unknown: "not read",
  not_entitled: "refused",
  unknown_instrument: "unknown",
};

export function Watchlist({ page }: { page: Page }) {
  const { market, watch } = page;
  const rows = useValue(watch.rows);
  const note = useValue(watch.note);
  const ready = useValue(watch.ready);
  useValue(page.feed.changed);
  const closed = page.feed.client.state === "closed";
  const now = useValue(settings);
  const chosen = useValue(market.instrument);
  const [search, setSearch] = useState("");
  const [scroll, setScroll] = useState({ top: 0, height: 600 });
  const list = useRef<HTMLDivElement>(null);
  const shown = useMemo(() => orderOf(rows, now, search), [rows, now, search]);
  const first = Math.max(0, Math.floor(scroll.top / ROW_PX) - MARGIN);
  const last = Math.min(shown.length, Math.ceil((scroll.top + scroll.height) / ROW_PX) + MARGIN);
  const inView = shown.slice(first, last);
  const names = inView.map(({ instrument }) => instrument).join(" ");
  useEffect(() => watch.inView(names === "" ? [] : names.split(" ")), [names, watch]);
  useEffect(() => {
    const place = list.current!;
    const seen = () => setScroll({ top: place.scrollTop, height: place.clientHeight });
    const observer = new ResizeObserver(seen);
    observer.observe(place);
    place.addEventListener("scroll", seen, { passive: true });
    return () => {
      observer.disconnect();
      place.removeEventListener("scroll", seen);
    };
  }, []);
  const place = shown.findIndex(({ instrument }) => instrument === chosen);
  useEffect(() => {
    if (place >= 0) show(list.current!, place * ROW_PX);
  }, [chosen, place < 0]);
  const pick = (event: KeyboardEvent) => {
    if (event.key === "Enter" && shown[0] !== undefined) market.select(shown[0].instrument);
    if (event.key === "Enter" || event.key === "Escape") (event.currentTarget as HTMLInputElement).blur();
  };
  return (
    <section class="watchlist" aria-label="Markets">
      <label class="search">
        <Icon name="search" />
        <span class="hidden">Search a market</span>
        <input
          id="search"
          type="search"
          placeholder="Search (Ctrl K)"
          autocomplete="off"
          spellcheck={false}
          value={search}
          onInput={(event) => setSearch(event.currentTarget.value)}
          onKeyDown={pick}
        />
      </label>
      <div class="columns">
        {COLUMNS.map(([by, text]) => (
          <button
            type="button"
            key={by}
            class={by}
            aria-pressed={now.sortBy === by}
            onClick={() =>
              change(now.sortBy === by ? { descending: !now.descending } : { sortBy: by, descending: by !== "symbol" })
            }
          >
            {text} {now.sortBy === by ? (now.descending ? "↓" : "↑") : ""}
          </button>
        ))}
      </div>
      <div class="rows" ref={list}>
        {!ready && rows.size === 0 && !closed && <Skeleton />}
        {ready && rows.size === 0 && !closed && <Empty />}
        {rows.size === 0 && closed && (
          <p class="empty">No markets: {page.feed.client.error?.message ?? "the connection is closed"}.</p>
        )}
        {rows.size > 0 && shown.length === 0 && (
          <p class="empty">
            No market matches “{search}”.{" "}
            <button type="button" class="small" onClick={() => setSearch("")}>
              show all
            </button>
          </p>
        )}
        <ul style={{ height: `${shown.length * ROW_PX}px` }}>
          {inView.map((row, index) => (
            <Line
              key={row.instrument}
              row={row}
              top={(first + index) * ROW_PX}
              chosen={row.instrument === chosen}
              inTabs={row.instrument === chosen || (index === 0 && (place < first || place >= last))}
              starred={now.starred.includes(row.instrument)}
              spark={watch.sparks.get(row.instrument)}
              market={market}
            />
          ))}
        </ul>
      </div>
      {note !== "" && !closed && <Note text={note} />}
    </section>
  );
}

interface LineProps {
  row: Row;
  top: number;
  chosen: boolean;
  starred: boolean;
  spark: readonly number[] | undefined;
  /** The keys reach one row by Tab, the others by the arrows. */
  inTabs: boolean;
  market: Market;
}

const Line = memo(({ row, top, chosen, starred, spark, inTabs, market }: LineProps) => {
  const price = useFlash(row.lastValue);
  const tabIndex = inTabs ? 0 : -1;
  const live = row.state === "live" || row.state === "halted" || row.state === "closed";
  const star = () => {
    const { starred: stars } = settings.now;
    change({ starred: starred ? stars.filter((each) => each !== row.instrument) : [...stars, row.instrument] });
  };
  const [venue, symbol] = row.instrument.split(":", 2);
  return (
    <li class={live ? "" : "not-live"} style={{ top: `${top}px` }}>
      <button type="button" class={`star${starred ? " on" : ""}`} tabIndex={tabIndex} aria-pressed={starred} onClick={star}>
        <Icon name="star" hollow={!starred} />
        <span class="hidden">Keep {row.instrument} on top</span>
      </button>
      <button type="button" class="market" tabIndex={tabIndex} aria-current={chosen} onClick={() => market.select(row.instrument)}>
        <span class="name">
          <b>{symbol}</b>{" "}
          <span class="venue" title={row.state === "live" ? undefined : row.state}>
            {venue}
            {row.state === "live" ? "" : ` · ${SHORT[row.state] ?? row.state}`}
          </span>
        </span>
        <Spark points={spark} />
        <span class="prices">
          <span class="price" ref={price}>
            {row.last === null ? <span class="muted">–</span> : <Decimal text={row.last} />}
          </span>
          <span title={`Change in ${row.over}`}>
            <Change percent={row.changePercent} />
          </span>
        </span>
      </button>
    </li>
  );
});

/** Scrolls the row at this height into view. */
function show(list: HTMLElement, top: number): void {
  if (top < list.scrollTop) list.scrollTop = Math.max(0, top);
  else if (top + ROW_PX > list.scrollTop + list.clientHeight) list.scrollTop = top + ROW_PX - list.clientHeight;
}

/** The place has a class for 150 ms after the value has changed. It is set by hand: nothing else in the row is another. */
function useFlash(value: number): RefObject<HTMLSpanElement | null> {
  const place = useRef<HTMLSpanElement>(null);
  const before = useRef(value);
  useEffect(() => {
    const was = before.current;
    before.current = value;
    if (was === value || Number.isNaN(was) || Number.isNaN(value)) return;
    const { classList } = place.current!;
    const flash = value > was ? "flash-up" : "flash-down";
    classList.add(flash);
    const timer = setTimeout(() => classList.remove(flash), FLASH_MS);
    return () => {
      clearTimeout(timer);
      classList.remove(flash);
    };
  }, [value]);
  return place;
}

function Spark({ points }: { points: readonly number[] | undefined }) {
  const path = useMemo(() => pathOf(points ?? []), [points]);
  if (points === undefined || points.length < 2) return <svg class="spark" aria-hidden="true" />;
  const way = points.at(-1)! >= points[0]! ? "up" : "down";
  return (
    <svg class={`spark ${way}`} viewBox="0 0 60 24" preserveAspectRatio="none" aria-hidden="true">
      <polyline points={path} />
    </svg>
  );
}

/** In a box of 60 by 24. */
function pathOf(points: readonly number[]): string {
  const [least, most] = [Math.min(...points), Math.max(...points)];
  const scale = 20 / (most - least || 1);
  const tenth = (value: number) => Math.round(10 * value) / 10;
  return points.map((point, i) => `${tenth((60 * i) / (points.length - 1))},${tenth(22 - scale * (point - least))}`).join(" ");
}

function Skeleton() {
  return (
    <div class="skeleton" aria-hidden="true">
      {Array.from({ length: 6 }, (_, index) => (
        <span key={index} />
      ))}
    </div>
  );
}
