/// <reference lib="esnext.disposable" preserve="true" />
import type { Policy } from "./backoff.js";
import type { Book } from "./book.js";
import type { Clock } from "./clock.js";
import type { MdstreamError } from "./errors.js";
import type { Format, Welcome } from "./messages.js";
import type { Stats } from "./stats.js";
import type { Request } from "./subscription.js";
import type { Ticker } from "./ticker.js";
import type { TokenSource } from "./token.js";
import type { Trades } from "./trades.js";
import type { Transport, WebSocketConstructor } from "./transport.js";

export type { LineReport } from "./subscription.js";

export type ClientState =
  | "connecting"
  | "open"
  /** The gateway stops; the client is about to go to another one. */
  | "draining"
  /** No connection; the next try comes by itself. */
  | "reconnecting"
  /** For good: closed by its user, or `error` says why. */
  | "closed";

export interface ClientEvents {
  state: [state: ClientState, reason: string | null];
  /** Something went wrong that the client goes on after: text for a log. */
  warning: [text: string];
}

export interface ClientOptions {
  /** A token, or a function that gets a fresh one: it is called before each connection, and before the present one expires. */
  token?: TokenSource | undefined;
  /** `msgpack` (the default) or `json`. */
  format?: Format;
  /** A WebSocket class, where there is none (Node before 22) or another one is wanted. */
  WebSocket?: WebSocketConstructor;
  policy?: Partial<Policy>;
  /** Replaces the way to the network. */
  transport?: Transport;
  clock?: Clock;
  random?: () => number;
}

export interface BookOptions {
  /** Levels a side; 0 (the default) is the whole book. */
  depth?: number;
  /** Ticks per price bucket; 1 is the default. */
  group?: number;
  /** Instead of `group`: as many significant figures of the present price as are to be left, 3 to 6. `book.group` is what the gateway chose. */
  groupDigits?: number;
  /** Least time between updates; 0 (the default) is every change. */
  intervalMs?: number;
}

export interface TickerOptions {
  /** Least time between updates; 0 (the default) is every change. */
  intervalMs?: number;
}

/** Books, trades and tickers of a gateway. It connects, and comes back after a loss, by itself. */
export interface Client extends Disposable {
  readonly state: ClientState;
  /** Why it is not open, if that is known. */
  readonly reason: string | null;
  /** The gateway of the present connection, or of the next try. */
  readonly url: string;
  /** Why the client is closed for good; null if its user closed it. */
  readonly error: MdstreamError | null;
  /** What the gateway said of itself; null without a connection. */
  readonly welcome: Welcome | null;
  /** Counts since it was made; of several lines, the sums. */
  readonly stats: Readonly<Stats>;
  /** Its connections: itself, or one for each of `lines`. */
  readonly lines: readonly Client[];

  /** Calls `listener` at each `event`. Returns a function that ends this. */
  on<Name extends keyof ClientEvents>(event: Name, listener: (...args: ClientEvents[Name]) => void): () => void;
  /** A view of a book. Asking twice for the same view gives the same object; each needs its own `close()`. */
  book(instrument: string, options?: BookOptions): Book;
  trades(instrument: string): Trades;
  ticker(instrument: string, options?: TickerOptions): Ticker;
  /** The time to the gateway and back, in milliseconds; null if there is no connection, or it is lost meanwhile. */
  ping(): Promise<number | null>;
  /** Makes sure soon that the connection is alive: dials at once if there is none, else asks for a sign of life. */
  probe(): void;
  /** Closes the connection and ends all subscriptions. */
  close(): void;
}

/** @internal */
export function bookRequest(
  instrument: string,
  { depth = 0, group = 1, groupDigits = 0, intervalMs = 0 }: BookOptions = {},
): Request {
  const grouping = groupDigits > 0 ? { group_digits: groupDigits } : { group };
  return { channel: "book", instrument, view: { depth, ...grouping, interval_ms: intervalMs } };
}

/** @internal */
export function tradesRequest(instrument: string): Request {
  return { channel: "trades", instrument, view: {} };
}

/** @internal */
export function tickerRequest(instrument: string, { intervalMs = 0 }: TickerOptions = {}): Request {
  return { channel: "ticker", instrument, view: { interval_ms: intervalMs } };
}

/** @internal What is the same for two subscriptions to the same view. */
export function keyOf({ channel, instrument, view }: Request): string {
  return JSON.stringify([channel, instrument, view]);
}
