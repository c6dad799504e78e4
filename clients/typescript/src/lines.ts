import type { BookOptions, Client, ClientEvents, ClientOptions, ClientState, TickerOptions } from "./api.js";
import { bookRequest, keyOf, tickerRequest, tradesRequest } from "./api.js";
import { POLICY, type Policy } from "./backoff.js";
import { Book } from "./book.js";
import { DirectClient } from "./client.js";
import { type Clock, systemClock } from "./clock.js";
import { Emitter } from "./emitter.js";
import type { MdstreamError } from "./errors.js";
import { type Lined, LinedBook, LinedTicker, LinedTrades } from "./lined.js";
import type { Welcome } from "./messages.js";
import { type Stats, sum } from "./stats.js";
import type { AnySubscription, Owner } from "./subscription.js";
import { Ticker } from "./ticker.js";
import { Trades } from "./trades.js";

const BEST_FIRST: readonly ClientState[] = ["open", "draining", "connecting", "reconnecting", "closed"];

export interface LinesOptions extends ClientOptions {
  /** How many gateways to hold at once. */
  lines: number;
}

interface Entry {
  readonly lined: Lined;
  users: number;
  /** Subscribes on one line. */
  readonly ask: (line: Client) => AnySubscription;
}

/** Each line's URLs: the first to the first line, the second to the second, and so on in turn. One URL is for all lines. */
export function deal(urls: string | readonly string[], lines: number): string[][] {
  const all = typeof urls === "string" ? [urls] : [...urls];
  if (!Number.isSafeInteger(lines) || lines < 1) throw new RangeError(`lines was ${lines}; it must be at least 1`);
  if (lines > 1 && all.length === 1) return Array.from({ length: lines }, () => all);
  if (lines > Math.max(all.length, 1)) {
    throw new RangeError(`lines was ${lines}, but there are ${all.length} URLs; each line needs one, or all share one`);
  }
  return Array.from({ length: lines }, (_, line) => all.filter((_url, at) => at % lines === line));
}

/** Holds all lines at once. It is open as long as one of them is. */
export class LinedClient extends Emitter<ClientEvents> implements Client {
  readonly lines: readonly Client[];
  readonly #clock: Clock;
  readonly #policy: Policy;
  readonly #owner: Owner;
  readonly #entries = new Map<string, Entry>();
  #known: ClientState = "connecting";

  constructor(urls: string | readonly string[], options: LinesOptions) {
    super();
    const clock = (this.#clock = options.clock ?? systemClock);
    this.#policy = { ...POLICY, ...options.policy };
    this.#owner = { now: () => clock.now(), release: (view) => this.#release(view) };
    this.lines = deal(urls, options.lines).map((own, line) => new DirectClient(ofLine(own, line + 1), options));
    for (const [number, line] of this.lines.entries()) {
      line.on("state", (state) => this.#lineChanged(number, state));
      line.on("warning", (text) => this.emit("warning", `line ${number}: ${text}`));
    }
  }

  // ---- for the user

  get state(): ClientState {
    return this.#best.state;
  }

  get reason(): string | null {
    return this.#best.reason;
  }

  get url(): string {
    return this.lines.map(({ url }) => url).join(",");
  }

  get error(): MdstreamError | null {
    if (this.state !== "closed") return null;
    return this.lines.find(({ error }) => error !== null)?.error ?? null;
  }

  get welcome(): Welcome | null {
    return this.#best.welcome;
  }

  get stats(): Readonly<Stats> {
    return sum(this.lines.map(({ stats }) => stats));
  }

  book(instrument: string, options?: BookOptions): Book {
    // Each gateway would choose a group of its own.
    if (options?.groupDigits) return this.lines[0]!.book(instrument, options);
    const view = new Book(bookRequest(instrument, options), this.#owner);
    return this.#subscribe(view, () => ({
      lined: new LinedBook(view, this.#clock, this.#policy) as unknown as Lined,
      ask: (line) => line.book(instrument, options),
      users: 0,
    }));
  }

  trades(instrument: string): Trades {
    const view = new Trades(tradesRequest(instrument), this.#owner);
    return this.#subscribe(view, () => ({
      lined: new LinedTrades(view, this.#clock, this.#policy) as unknown as Lined,
      ask: (line) => line.trades(instrument),
      users: 0,
    }));
  }

  ticker(instrument: string, options?: TickerOptions): Ticker {
    const view = new Ticker(tickerRequest(instrument, options), this.#owner);
    return this.#subscribe(view, () => ({
      lined: new LinedTicker(view, this.#clock, this.#policy) as unknown as Lined,
      ask: (line) => line.ticker(instrument, options),
      users: 0,
    }));
  }

  ping(): Promise<number | null> {
    return this.#best.ping();
  }

  probe(): void {
    for (const line of this.lines) line.probe();
  }

  close(): void {
    for (const { lined } of [...this.#entries.values()]) this.#end(lined, null);
    for (const line of this.lines) line.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  // ---- subscriptions

  #subscribe<View extends AnySubscription>(view: View, make: () => Entry): View {
    const key = keyOf(view.request);
    let entry = this.#entries.get(key);
    if (entry === undefined) {
      entry = make();
      if (this.state === "closed") view.end(this.error);
      else {
        this.#entries.set(key, entry);
        for (const line of this.lines.keys()) this.#ask(entry, line);
      }
    }
    entry.users++;
    return entry.lined.view as unknown as View;
  }

  /** Subscribes on one line, for the first time or again. */
  #ask(entry: Entry, number: number): void {
    const line = this.lines[number]!;
    if (this.#entries.get(keyOf(entry.lined.view.request)) !== entry || line.state === "closed") return;
    const leg = entry.ask(line);
    entry.lined.add(number, leg);
    leg.on("end", (error) => this.#legEnded(entry, error));
  }

  /** One line refuses: the others go on, and it is asked again when it comes back, unless none is left. */
  #legEnded({ lined }: Entry, error: MdstreamError | null): void {
    if (lined.view.state === "ended") return;
    if (!this.lines.some((_, line) => this.#mayServe(lined, line))) this.#end(lined, error);
  }

  #mayServe(lined: Lined, number: number): boolean {
    const leg = lined.legs.find((each) => each.line === number);
    const ended = leg === undefined || leg.view.state === "ended";
    if (leg !== undefined && (ended || lined.view.wasReady)) return !ended;
    return this.lines[number]!.welcome !== null;
  }

  #release(view: AnySubscription): void {
    const entry = this.#entries.get(keyOf(view.request));
    if (entry?.lined.view === view && --entry.users === 0) this.#end(entry.lined, null);
  }

  #end(lined: Lined, error: MdstreamError | null): void {
    this.#entries.delete(keyOf(lined.view.request));
    lined.view.end(error);
    for (const { view } of lined.legs) view.close();
  }

  // ---- lines

  get #best(): Client {
    return [...this.lines].sort((a, b) => BEST_FIRST.indexOf(a.state) - BEST_FIRST.indexOf(b.state))[0]!;
  }

  #lineChanged(number: number, state: ClientState): void {
    if (state === "open") {
      for (const entry of [...this.#entries.values()]) {
        if (entry.lined.legs.some(({ line, view }) => line === number && view.state === "ended")) this.#ask(entry, number);
      }
    }
    const now = this.state;
    if (now === this.#known) return;
    this.#known = now;
    this.emit("state", now, this.reason);
  }
}

/** A gateway that allows a user one session on each line is told which one this is. */
function ofLine(urls: readonly string[], line: number): string[] {
  return urls.map((url) => (line === 1 ? url : `${url}${url.includes("?") ? "&" : "?"}line=${line}`));
}

/**
 * As `connect` of the package, and with the option `lines`: so many gateways are held at once, and each subscription shows what
 * comes first from any of them.
 */
export function connect(urls: string | readonly string[], options: LinesOptions): Client {
  return options.lines === 1 ? new DirectClient(urls, options) : new LinedClient(urls, options);
}
