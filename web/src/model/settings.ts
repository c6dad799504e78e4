import { Value } from "./value.js";

export type Span = "1s" | "1m" | "5m" | "15m" | "1h" | "1d";
export const SPANS: readonly Span[] = ["1s", "1m", "5m", "15m", "1h", "1d"];
export const SPAN_S: Readonly<Record<Span, number>> = { "1s": 1, "1m": 60, "5m": 300, "15m": 900, "1h": 3600, "1d": 86_400 };
export const DEPTHS = [10, 20, 50, 0] as const;

export type Tab = "chart" | "book" | "trades" | "markets";
export type SortBy = "symbol" | "last" | "change";

export interface Settings {
  theme: "dark" | "light";
  /** Blue and orange instead of green and red. */
  colourBlind: boolean;
  span: Span;
  depth: number;
  instrument: string;
  starred: readonly string[];
  sortBy: SortBy;
  descending: boolean;
  watchlistWidth: number;
  sideWidth: number;
  /** Part of the side that is the ladder's. */
  ladderPart: number;
  depthHeight: number;
  depthOpen: boolean;
  panelOpen: boolean;
  tab: Tab;
}

const KEPT = "mdstream.settings";
const LAYOUT = { watchlistWidth: 264, sideWidth: 340, ladderPart: 0.66, depthHeight: 180, depthOpen: true, panelOpen: false };

function defaults(): Settings {
  return {
    theme: matchMedia("(prefers-color-scheme: light)").matches ? "light" : "dark",
    colourBlind: false,
    span: "1m",
    depth: 50,
    instrument: "",
    starred: [],
    sortBy: "symbol",
    descending: false,
    tab: "chart",
    ...LAYOUT,
  };
}

function stored(): string | null {
  try {
    return localStorage.getItem(KEPT);
  } catch {
    return null; // forbidden by the browser's settings
  }
}

function load(): Settings {
  const all = defaults();
  try {
    const kept = JSON.parse(stored() ?? "{}") as Record<string, unknown>;
    for (const [name, value] of Object.entries(all)) {
      if (typeof kept[name] === typeof value) Object.assign(all, { [name]: kept[name] });
    }
    if (!Array.isArray(all.starred)) all.starred = [];
    if (!SPANS.includes(all.span)) all.span = "1m";
  } catch {
    // What cannot be read is as if it were not there.
  }
  return all;
}

/** Whether nobody has chosen anything here yet. */
export const isNew = stored() === null;
export const settings = new Value<Settings>(load());

export function change(some: Partial<Settings>): void {
  const all = { ...settings.now, ...some };
  settings.set(all);
  try {
    localStorage.setItem(KEPT, JSON.stringify(all));
  } catch {
    // A full or forbidden storage: the layout is not kept.
  }
}

export function resetLayout(): void {
  change(LAYOUT);
}
