import type { Settings } from "../model/settings.js";
import type { Row } from "../model/watch.js";

/** The rows as they are listed: starred ones first, then by the chosen column. */
export function orderOf(rows: ReadonlyMap<string, Row>, { sortBy, descending, starred }: Settings, search: string): Row[] {
  const wanted = search.trim().toLowerCase();
  const found = [...rows.values()].filter(({ instrument }) => instrument.toLowerCase().includes(wanted));
  const stars = new Set(starred);
  const sign = descending ? -1 : 1;
  return found.sort((a, b) => {
    const star = Number(stars.has(b.instrument)) - Number(stars.has(a.instrument));
    if (star !== 0) return star;
    const by = sortBy === "symbol" ? 0 : compare(a, b, sortBy);
    return sign * (by || (a.instrument < b.instrument ? -1 : 1));
  });
}

function compare(a: Row, b: Row, by: "last" | "change"): number {
  const value = (row: Row) => (by === "last" ? row.lastValue : row.changePercent) ?? NaN;
  const [one, other] = [value(a), value(b)];
  if (Number.isNaN(one) || Number.isNaN(other)) return Number(Number.isNaN(one)) - Number(Number.isNaN(other));
  return one - other;
}
