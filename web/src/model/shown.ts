// What the state of connection and book means for the eye. A price that is not live never looks live.

import type { Book, SubscriptionState } from "@mdstream/client";
import type { Feed } from "./feed.js";

export type Kind = "live" | "delayed" | "recovering" | "stale" | "halted" | "offline" | "waiting" | "refused";

export interface Shown {
  readonly kind: Kind;
  /** One line for the pill. */
  readonly text: string;
  /** The same for the title of the pill and the screen reader: without figures that count. */
  readonly spoken: string;
}

const WORDS: Readonly<Record<string, string>> = {
  opening: "the gateway opens it",
  gap: "an update is missing",
  refused: "the publisher sent what cannot be right",
  no_ref: "its scale is not known yet",
  no_book: "there is no book yet",
  conflict: "two publishers contradict each other",
  nats_away: "the gateway has lost the bus",
  feed_down: "the feed is down",
  silent: "the feed is silent",
  venue_silent: "the venue is silent",
  fenced: "its publisher was replaced",
  venue: "so says the venue",
  storage: "the store fails",
  overload: "the gateway is overloaded",
};

/** Why there is nothing to show, in as few words as a pill has room for. */
const REFUSED: Readonly<Record<string, string>> = {
  4401: "token refused",
  token: "token refused",
  not_entitled: "not entitled",
  unknown_instrument: "unknown market",
  limit_subscriptions: "too many subscriptions",
};

/** What one can do after a refusal; empty if that is not known. */
export function todoOf(code: string, instrument: string): string {
  const todo: Readonly<Record<string, string>> = {
    not_entitled: `Ask whoever gave you the token for book:${instrument}.`,
    unknown_instrument: "Start its publisher, then try again.",
    4401: "Open the page again with a fresh token in its address: #token=…",
    limit_subscriptions: "Close another page with the same user, then try again.",
  };
  return todo[code] ?? "";
}

/** So much is left of the colour of what is frozen: with less, a sum of sizes had a contrast of less than 3:1. */
const FROZEN = 0.75;

/** How much is left of the colour of what is shown. */
export const OPACITY: Readonly<Record<Kind, number>> = {
  live: 1,
  delayed: 0.8,
  recovering: FROZEN,
  stale: FROZEN,
  halted: 1,
  offline: FROZEN,
  waiting: FROZEN,
  refused: FROZEN,
};

export function shownOf(feed: Feed, book: Book | null): Shown {
  const { client } = feed;
  if (client.state === "closed") {
    return refused(client.error);
  }
  if (client.state === "reconnecting" || (client.state === "connecting" && (client.reason !== null || feed.tries > 1))) {
    return offline(feed);
  }
  if (client.state === "connecting") return same("waiting", "connecting");
  if (feed.quietMs > 0) {
    return { kind: "recovering", text: `nothing arrives for ${seconds(feed.quietMs)}`, spoken: "nothing arrives" };
  }
  return book === null ? same("waiting", "no market") : bookState(book);
}

function bookState(book: Book): Shown {
  const why = whyOf(book.code, book.reason);
  const { state } = book;
  const known: Partial<Record<SubscriptionState, () => Shown>> = {
    live: () => (book.delayMs > 0 ? same("delayed", `delayed ${seconds(book.delayMs)}`) : same("live", "live")),
    recovering: () => same("recovering", `recovering: ${why || `gap from ${book.seq + 1}`}`),
    stale: () => aged(book, why),
    halted: () => same("halted", why === "" ? "halted" : `halted: ${why}`),
    closed: () => same("halted", why === "" ? "closed" : `closed: ${why}`),
    disconnected: () => same("offline", "no connection"),
    ended: () => refused(book.error),
  };
  return known[state]?.() ?? same("waiting", why === "" ? "waiting for the first book" : `waiting: ${why}`);
}

/** Without what it is about, which stands beside it already. */
export function whyRefused(error: Book["error"]): string {
  return error?.message.replace(/^\w+ \S+: /, "") ?? "closed";
}

function refused(error: Book["error"]): Shown {
  const why = whyRefused(error);
  return { kind: "refused", text: REFUSED[String(error?.code)] ?? why, spoken: why };
}

function aged(book: Book, why: string): Shown {
  const { ageMs } = book;
  const text = ageMs === null ? `stale: ${why}` : `stale ${seconds(ageMs)}: ${why}`;
  return { kind: "stale", text, spoken: `stale: ${why}` };
}

function offline(feed: Feed): Shown {
  const { tries } = feed;
  const inMs = feed.retryAt - performance.now();
  const nth = tries > 0 ? ` (${ordinal(tries + (inMs > 0 ? 1 : 0))} try)` : "";
  const when = inMs > 0 ? `reconnecting in ${seconds(inMs)}` : "connecting";
  return { kind: "offline", text: `${when}${nth}`, spoken: "offline, reconnecting" };
}

function whyOf(code: string | null, reason: string | null): string {
  if (reason !== null && reason !== "") return reason;
  return code === null ? "" : (WORDS[code] ?? code);
}

/** Whether prices are shown as they are: the newest, or the last before the venue stopped. */
export function asItIs(kind: Kind): boolean {
  return kind === "live" || kind === "halted";
}

function same(kind: Kind, text: string): Shown {
  return { kind, text, spoken: text };
}

export function seconds(ms: number): string {
  if (ms < 10_000) return `${(Math.max(0, ms) / 1000).toFixed(1)} s`;
  return ms < 120_000 ? `${Math.round(ms / 1000)} s` : `${Math.round(ms / 60_000)} min`;
}

const ENDINGS: Readonly<Record<string, string>> = { one: "st", two: "nd", few: "rd" }; // codespell:ignore nd

function ordinal(n: number): string {
  return `${n}${ENDINGS[new Intl.PluralRules("en", { type: "ordinal" }).select(n)] ?? "th"}`;
}
