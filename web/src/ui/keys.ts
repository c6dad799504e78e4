import { useEffect } from "preact/hooks";
import type { Grouping } from "../model/market.js";
import { change, DEPTHS, SPANS, settings } from "../model/settings.js";
import type { Page } from "../page.js";
import { orderOf } from "./order.js";

export const KEYS: readonly (readonly [string, string])[] = [
  ["Ctrl K or ⌘K", "search a market"],
  ["↑ ↓", "the next or previous market"],
  ["1 to 6", "span of the candles: 1 s to 1 day"],
  ["G", "the next price group"],
  ["D", "the next depth of the ladder"],
  ["T", "dark or light"],
  ["C", "the connection panel"],
  ["↑ ↓ Enter", "in the book: choose a level, copy its price"],
  ["← → + −", "in the chart: move, zoom"],
  ["?", "this list"],
  ["Esc", "close what is open"],
];

interface Actions {
  help(): void;
  escape(): void;
  search(): void;
}

export function useKeys(page: Page, actions: Actions): void {
  useEffect(() => {
    const listener = (event: KeyboardEvent) => press(event, page, actions);
    addEventListener("keydown", listener);
    return () => removeEventListener("keydown", listener);
  });
}

function press(event: KeyboardEvent, page: Page, actions: Actions): void {
  const { key } = event;
  if ((event.ctrlKey || event.metaKey) && key.toLowerCase() === "k") {
    event.preventDefault();
    actions.search();
    requestAnimationFrame(() => document.querySelector<HTMLInputElement>("#search")?.focus());
    return;
  }
  if (key === "Escape") return actions.escape();
  const target = event.target as HTMLElement;
  if (event.ctrlKey || event.metaKey || event.altKey || target.closest("select, [role=separator]")) return;
  if (key === "ArrowUp" || key === "ArrowDown") return step(event, page, key === "ArrowDown" ? 1 : -1);
  if (target.closest("input, textarea")) return;
  const now = settings.now;
  const span = SPANS[Number(key) - 1];
  if (span !== undefined) change({ span });
  else if (key === "?") actions.help();
  else if (key === "t" || key === "T") change({ theme: now.theme === "dark" ? "light" : "dark" });
  else if (key === "d" || key === "D") change({ depth: after(DEPTHS, now.depth) });
  else if (key === "g" || key === "G") page.market.setGrouping(afterAlike(page.market.groupings, page.market.grouping.now));
  else if (key === "c" || key === "C") change({ panelOpen: !now.panelOpen });
}

function after<T>(values: readonly T[], value: T): T {
  return values[(values.indexOf(value) + 1) % values.length]!;
}

/** The one after the one that says the same. */
function afterAlike(values: readonly Grouping[], value: Grouping): Grouping {
  const texts = values.map((each) => JSON.stringify(each));
  return values[(texts.indexOf(JSON.stringify(value)) + 1) % values.length]!;
}

function step(event: KeyboardEvent, page: Page, by: number): void {
  const names = orderOf(page.watch.rows.now, settings.now, "").map(({ instrument }) => instrument);
  if (names.length === 0) return;
  event.preventDefault();
  const at = names.indexOf(page.market.instrument.now);
  page.market.select(names[(at + by + names.length) % names.length]!);
  const inList = document.activeElement?.closest(".rows") != null;
  if (inList) requestAnimationFrame(() => document.querySelector<HTMLElement>(".rows [aria-current=true]")?.focus());
}
