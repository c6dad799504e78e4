import { useCallback, useEffect, useMemo, useRef, useSyncExternalStore } from "react";
import type { BookOptions, Client, ClientState, TickerOptions } from "./api.js";
import type { Book, Level } from "./book.js";
import type { MdstreamError } from "./errors.js";
import type { Reference } from "./messages.js";
import type { AnySubscription, SubscriptionState } from "./subscription.js";
import type { TickerValue } from "./ticker.js";
import type { Trade, Trades } from "./trades.js";

/** What every hook says of its subscription. Show a price as live only in `live`. */
export interface Shown {
  readonly state: SubscriptionState;
  readonly trusted: boolean;
  readonly code: string | null;
  readonly reason: string | null;
  readonly ageMs: number | null;
  readonly error: MdstreamError | null;
  readonly ref: Reference;
}

export interface ShownBook extends Shown {
  readonly bids: readonly Level[];
  readonly asks: readonly Level[];
  readonly epoch: number;
  readonly seq: number;
  readonly ts: number;
}

export interface ShownTrades extends Shown {
  /** The newest first. */
  readonly trades: readonly Trade[];
  /** How many were lost for good. */
  readonly lost: number;
}

export interface ShownTicker extends Shown {
  readonly current: TickerValue | null;
}

export interface ShownView<Value> extends Shown {
  /** Null before the component is mounted. */
  readonly value: Value | null;
}

export interface UseBookOptions extends BookOptions {
  /** How many levels of each side to show; the depth is the default, of the whole book 20. */
  levels?: number;
}

/** A book, drawn at most once per animation frame. It is shared with all that ask for the same view. */
export function useBook(client: Client, instrument: string, options: UseBookOptions = {}): ShownBook {
  const { depth = 0, group = 1, groupDigits = 0, intervalMs = 0 } = options;
  const levels = options.levels ?? (depth || 20);
  const open = useCallback(
    () => client.book(instrument, { depth, group, groupDigits, intervalMs }),
    [client, instrument, depth, group, groupDigits, intervalMs],
  );
  const show = useCallback(
    (book: Book) => ({ ...shown(book), ...book.levels(levels), epoch: book.epoch, seq: book.seq, ts: book.ts }),
    [levels],
  );
  return useSubscription(open, follow, show, NO_BOOK);
}

/** The newest trades since the component was mounted, at most `most`. */
export function useTrades(client: Client, instrument: string, most = 100): ShownTrades {
  const newest = useRef<Trade[]>([]);
  const open = useCallback(() => {
    newest.current = [];
    return client.trades(instrument);
  }, [client, instrument]);
  const listen = useCallback(
    (view: Trades, changed: () => void) => [
      view.on("trade", (trade) => {
        newest.current.unshift(trade);
        newest.current.length = Math.min(newest.current.length, most);
        changed();
      }),
      view.on("lost", changed),
    ],
    [most],
  );
  const show = useCallback((view: Trades) => ({ ...shown(view), trades: [...newest.current], lost: view.lost }), []);
  return useSubscription(open, listen, show, NO_TRADES);
}

/** Best bid, best ask and last trade. */
export function useTicker(client: Client, instrument: string, { intervalMs = 0 }: TickerOptions = {}): ShownTicker {
  const open = useCallback(() => client.ticker(instrument, { intervalMs }), [client, instrument, intervalMs]);
  return useSubscription(open, follow, showTicker, NO_TICKER);
}

/** What shows that it has changed: a board, candles, a list of instruments, a map, who is present. */
interface Changing {
  on(event: "change", listener: () => void): () => void;
}

/**
 * What `show` makes of a subscription that has no hook of its own, drawn at most once per animation frame. Both functions are to
 * stay the same from one drawing to the next: make them outside of the component, or with `useCallback`.
 */
export function useView<View extends AnySubscription & Changing, Value>(
  open: () => View,
  show: (view: View) => Value,
): ShownView<Value> {
  const whole = useCallback((view: View) => ({ ...shown(view), value: show(view) }), [show]);
  return useSubscription<View, ShownView<Value>>(open, follow, whole, NO_VIEW);
}

/** The state of the connection. */
export function useClientState(client: Client): ClientState {
  return useSyncExternalStore(
    useCallback((changed) => client.on("state", changed), [client]),
    () => client.state,
    () => "connecting",
  );
}

const NONE: Shown = { state: "pending", trusted: false, code: null, reason: null, ageMs: null, error: null, ref: {} };
const NO_BOOK: ShownBook = { ...NONE, bids: [], asks: [], epoch: 0, seq: 0, ts: 0 };
const NO_TRADES: ShownTrades = { ...NONE, trades: [], lost: 0 };
const NO_TICKER: ShownTicker = { ...NONE, current: null };
const NO_VIEW: ShownView<never> = { ...NONE, value: null };

function shown({ state, trusted, code, reason, ageMs, error, ref }: AnySubscription): Shown {
  return { state, trusted, code, reason, ageMs, error, ref };
}

function showTicker(view: ReturnType<Client["ticker"]>): ShownTicker {
  return { ...shown(view), current: view.current };
}

function follow(view: Changing, changed: () => void): (() => void)[] {
  return [view.on("change", changed)];
}

/** What React sees of a subscription: a value that is another one only after a frame in which something changed. */
class Store<View extends AnySubscription, Value> {
  #value: Value;
  #view: View | null = null;
  #stops: (() => void)[] = [];
  #frame: number | null = null;
  #notify: () => void = () => {};

  constructor(
    private readonly open: () => View,
    private readonly listen: (view: View, changed: () => void) => (() => void)[],
    public show: (view: View) => Value,
    none: Value,
  ) {
    this.#value = none;
  }

  readonly get = (): Value => this.#value;

  readonly subscribe = (notify: () => void): (() => void) => {
    const view = (this.#view = this.open());
    this.#notify = notify;
    const later = () => (this.#frame ??= requestAnimationFrame(() => this.draw()));
    // A state is told at once: what is not live must not look live for another frame.
    this.#stops = [...this.listen(view, later), view.on("state", () => this.draw()), view.on("ref", later)];
    this.draw();
    return () => this.#close();
  };

  draw(): void {
    if (this.#frame !== null) cancelAnimationFrame(this.#frame);
    this.#frame = null;
    if (this.#view === null) return;
    this.#value = this.show(this.#view);
    this.#notify();
  }

  #close(): void {
    const view = this.#view;
    this.#view = null;
    for (const stop of this.#stops) stop();
    if (this.#frame !== null) cancelAnimationFrame(this.#frame);
    this.#frame = null;
    // Strict mode mounts twice, and another component may be about to ask for the same view: it need not be sent again.
    setTimeout(() => view?.close(), 0);
  }
}

function useSubscription<View extends AnySubscription, Value>(
  open: () => View,
  listen: (view: View, changed: () => void) => (() => void)[],
  show: (view: View) => Value,
  none: Value,
): Value {
  // biome-ignore lint/correctness/useExhaustiveDependencies: another `show` draws the same subscription
  const store = useMemo(() => new Store(open, listen, show, none), [open, listen, none]);
  useEffect(() => {
    store.show = show;
    store.draw();
  }, [store, show]);
  return useSyncExternalStore(store.subscribe, store.get, () => none);
}
