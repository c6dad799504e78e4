import { type Answered, Answers } from "./answers.js";
import type { BookOptions, Client, ClientEvents, ClientOptions, ClientState, TickerOptions } from "./api.js";
import { bookRequest, keyOf, tickerRequest, tradesRequest } from "./api.js";
import { Backoff, POLICY } from "./backoff.js";
import { Book } from "./book.js";
import type { Make } from "./channel.js";
import { DirectClient } from "./client.js";
import { systemClock, Timer } from "./clock.js";
import { Emitter } from "./emitter.js";
import type { Session } from "./engine.js";
import { MdstreamError } from "./errors.js";
import type { Events } from "./events-view.js";
import type { Command, Welcome } from "./messages.js";
import { msgpack } from "./msgpack.js";
import { watchPage } from "./page.js";
import {
  type Batch,
  type Failure,
  type Item,
  lockName,
  type Place,
  type Port,
  type Relayed,
  type Settings,
  type Told,
  type ToWorker,
} from "./shared-messages.js";
import { type Stats, sum } from "./stats.js";
import { type AnySubscription, mutable, type Owner, type Request } from "./subscription.js";
import { Ticker } from "./ticker.js";
import type { TokenSource } from "./token.js";
import { Trades } from "./trades.js";
import { Urls } from "./urls.js";

/** What of `SharedWorker` a page uses. */
export interface WorkerLike {
  readonly port: Port;
  addEventListener?(name: "error", listener: () => void): void;
}

export interface SharedOptions extends Pick<ClientOptions, "token" | "format" | "policy"> {
  /** How many gateways to hold at once; 1 is the default. */
  lines?: number;
  /**
   * Makes the worker, whose script is `@mdstream/client/worker`; called again when the worker is gone. Without `SharedWorker` the page
   * has its own connection.
   */
  worker: () => WorkerLike;
}

/** What a machine needs that does nothing: the worker has those that work. */
const IDLE: Session = {
  clock: systemClock,
  policy: POLICY,
  random: Math.random,
  stats: sum([]),
  doubt: null,
  recover() {},
  again() {},
};

/**
 * As `connect` of the package, but all pages of a site share one connection, which a SharedWorker holds: it decodes and checks,
 * and the pages only show. Pages share it if urls, format, lines and policy are the same. The worker asks one of them for tokens,
 * so they must be of one user.
 */
export function connect(urls: string | readonly string[], options: SharedOptions): Client {
  if (typeof SharedWorker === "undefined") return new DirectClient(urls, options);
  const client = new SharedClient(options.worker, urls, options);
  const watch: [string, () => void][] = [
    ["pagehide", () => client.leave()],
    ["pageshow", () => client.enter()],
  ];
  for (const [name, listener] of watch) addEventListener(name, listener);
  // The worker does not see that the page was hidden, or asleep.
  const unwatch = watchPage(() => client.probe());
  client.on("state", (state) => {
    if (state !== "closed") return;
    unwatch();
    for (const [name, listener] of watch) removeEventListener(name, listener);
  });
  client.enter();
  return client;
}

interface Entry {
  readonly id: number;
  readonly view: AnySubscription;
  readonly options: BookOptions & TickerOptions;
  users: number;
}

/** The page's side: views that are filled with what the worker sends. */
export class SharedClient extends Emitter<ClientEvents> implements Client {
  state: ClientState = "connecting";
  reason: string | null = null;
  url: string;
  error: MdstreamError | null = null;
  welcome: Welcome | null = null;
  stats: Readonly<Stats> = sum([]);
  readonly lines: readonly Client[] = [this];
  /** @internal */ readonly session: Session;

  readonly #makeWorker: () => WorkerLike;
  #port!: Port;
  readonly #settings: Settings;
  readonly #token: TokenSource | undefined;
  readonly #owner: Owner;
  readonly #entries = new Map<string, Entry>();
  readonly #byId = new Map<number, Entry>();
  readonly #pings = new Map<number, (ms: number | null) => void>();
  readonly #answers = new Answers();
  #lastId = 0;
  #entered = false;
  /** Counts how often the page came and went: what was said to it before is not heard. */
  #life = 0;
  #heard = false;
  /** What was counted by workers that are gone. */
  #past: Readonly<Stats> = sum([]);
  /** Ends the wait for the end of the worker. */
  #watching = new AbortController();
  readonly #backoff: Backoff;
  readonly #again = new Timer(systemClock);
  /** Gives back the lock by which the worker sees that this page lives. */
  #release: (() => void) | null = null;

  constructor(
    worker: () => WorkerLike,
    urls: string | readonly string[],
    { token, format = msgpack, policy = {}, lines = 1 }: Omit<SharedOptions, "worker">,
  ) {
    super();
    this.url = new Urls(urls).current;
    this.#makeWorker = worker;
    this.#token = token;
    this.#settings = {
      urls: typeof urls === "string" ? [urls] : [...urls],
      format: format.protocol,
      lines,
      policy,
      tokens: token !== undefined,
    };
    this.session = { ...IDLE, policy: { ...POLICY, ...policy } };
    this.#owner = { now: () => systemClock.now(), release: (view) => this.#close(view) };
    this.#backoff = new Backoff(this.session.policy, Math.random);
    this.#attach();
  }

  // ---- for the user

  book(instrument: string, options: BookOptions = {}): Book {
    const request = bookRequest(instrument, options);
    return this.#open(request, () => new Book(request, this.#owner), options);
  }

  trades(instrument: string): Trades {
    const request = tradesRequest(instrument);
    return this.#open(request, () => new Trades(request, this.#owner));
  }

  ticker(instrument: string, options: TickerOptions = {}): Ticker {
    const request = tickerRequest(instrument, options);
    return this.#open(request, () => new Ticker(request, this.#owner), options);
  }

  /** @internal A subscription to a channel that has a module of its own. */
  open<View extends AnySubscription>(request: Request, make: Make<View>): View {
    return this.#open(request, () => make(this.#owner, this.session).view);
  }

  ping(): Promise<number | null> {
    if (this.welcome === null) return Promise.resolve(null);
    return new Promise((resolve) => {
      const id = ++this.#lastId;
      this.#pings.set(id, resolve);
      this.#say({ op: "ping", id });
    });
  }

  /** @internal Sends a command; `answered` hears its answer, or null where none is waited for any more. */
  say(command: Command, answered: Answered): void {
    const id = ++this.#lastId;
    this.#answers.wait(id, answered);
    this.#say({ op: "say", id, command });
  }

  probe(): void {
    this.#say({ op: "probe" });
  }

  close(): void {
    this.leave();
    this.#end(null);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  // ---- the page comes and goes

  /** The page is there, or there again: from the back-forward cache. */
  enter(): void {
    if (this.#entered || this.state === "closed") return;
    this.#entered = true;
    const life = ++this.#life;
    this.#again.set(this.session.policy.connectTimeoutMs, () => this.#workerGone("the shared worker does not answer"));
    const name = lockName();
    const hello = (lock: string | null) => {
      this.#port.postMessage({ op: "hello", settings: this.#settings, lock, life } satisfies ToWorker);
      for (const entry of this.#entries.values()) this.#say(opening(entry));
      this.#answers.giveUp();
    };
    const locks = typeof navigator === "undefined" ? undefined : navigator.locks;
    if (locks === undefined) return hello(null);
    void locks.request(name, () => {
      if (life !== this.#life) return undefined;
      const held = new Promise<void>((release) => (this.#release = release));
      hello(name);
      return held;
    });
  }

  /** Nobody sees the page any more: nothing is sent to it. */
  leave(why = "the page was left"): void {
    if (!this.#entered) return;
    this.#entered = false;
    this.#life++;
    this.#watching.abort();
    this.#again.stop();
    this.#port.postMessage({ op: "bye" } satisfies ToWorker);
    this.#release?.();
    this.#release = null;
    for (const answered of this.#pings.values()) answered(null);
    this.#pings.clear();
    for (const { view } of [...this.#entries.values()]) {
      if (view.wasReady) view.tell({ state: "disconnected", code: null, reason: why, ageMs: null, at: 0 });
    }
  }

  // ---- subscriptions

  #open<View extends AnySubscription>(request: Request, make: () => View, options: BookOptions & TickerOptions = {}): View {
    const key = keyOf(request);
    const known = this.#entries.get(key);
    if (known !== undefined) {
      known.users++;
      return known.view as View;
    }
    const view = make();
    if (this.state === "closed") {
      view.end(this.error);
      return view;
    }
    const id = ++this.#lastId;
    const entry: Entry = { id, view, options, users: 1 };
    this.#entries.set(key, entry);
    this.#byId.set(id, entry);
    if ("sendAck" in view) view.sendAck = (seq: number) => this.#say({ op: "acknowledge", id, seq });
    this.#say(opening(entry));
    return view;
  }

  #close(view: AnySubscription): void {
    const entry = this.#entries.get(keyOf(view.request));
    if (entry?.view !== view || --entry.users > 0) return;
    this.#forget(entry);
    this.#say({ op: "close", id: entry.id });
    view.end(null);
  }

  #forget(entry: Entry): void {
    this.#entries.delete(keyOf(entry.view.request));
    this.#byId.delete(entry.id);
  }

  #end(error: MdstreamError | null): void {
    if (this.state === "closed") return;
    this.state = "closed";
    this.#again.stop();
    this.error = error;
    this.reason = error?.message ?? null;
    this.welcome = null;
    const entries = [...this.#entries.values()];
    this.#entries.clear();
    this.#byId.clear();
    this.emit("state", "closed", this.reason);
    this.#answers.giveUp();
    for (const { view } of entries) view.end(error);
  }

  // ---- the worker

  #say(message: ToWorker): void {
    // Before `hello` the worker does not listen; `enter` opens what was asked for meanwhile.
    if (this.#entered && (this.#release !== null || typeof navigator === "undefined" || navigator.locks === undefined)) {
      this.#port.postMessage(message);
    }
  }

  /** Gets a worker: the one that there is, or a new one. */
  #attach(): void {
    const worker = this.#makeWorker();
    const { port } = worker;
    this.#port = port;
    this.#heard = false;
    port.onmessage = ({ data }: { data: Batch }) => port === this.#port && this.#take(data);
    port.start?.();
    worker.addEventListener?.("error", () => {
      if (port === this.#port && !this.#heard) this.#workerGone("the script of the shared worker cannot be loaded");
    });
  }

  #watchWorker(lock: string): void {
    const life = this.#life;
    const { signal } = (this.#watching = new AbortController());
    const gone = () => life === this.#life && this.#workerGone("the shared worker is gone");
    navigator.locks.request(lock, { signal }, gone).catch(() => {}); // the page was left before
  }

  /** Nothing would ever come again: another worker is made. */
  #workerGone(why: string): void {
    if (this.state === "closed") return;
    this.leave(why);
    this.welcome = null;
    this.#past = { ...this.stats, reconnects: this.stats.reconnects + 1 };
    this.#tell("reconnecting", why);
    this.#again.set(this.#backoff.next(), () => {
      this.leave(why); // it may have come back meanwhile
      try {
        this.#attach();
        this.enter();
      } catch (error) {
        this.#workerGone(String(error));
      }
    });
  }

  #take({ items, stats, life }: Batch): void {
    this.#heard = true;
    if (life !== this.#life) return;
    this.#again.stop();
    this.stats = sum([this.#past, stats]);
    this.#port.postMessage({ op: "ack" } satisfies ToWorker);
    for (const item of items) {
      if (life !== this.#life) return;
      this.#takeItem(item);
    }
  }

  #takeItem(item: Item): void {
    switch (item.kind) {
      case "client":
        return this.#takeClient(item);
      case "worker":
        return this.#watchWorker(item.lock);
      case "warning":
        return this.emit("warning", item.text);
      case "pong":
        this.#pings.get(item.id)?.(item.ms);
        this.#pings.delete(item.id);
        return;
      case "answer":
        return void this.#answers.take(item.id, item.answer);
      case "token":
        return void this.#bringToken(item.id);
    }
    const entry = this.#byId.get(item.id);
    if (entry === undefined) return;
    const { view } = entry;
    switch (item.kind) {
      case "told":
        return tell(view, item.told);
      case "ref":
        if (JSON.stringify(item.ref) !== JSON.stringify(view.ref)) view.tellRef(item.ref);
        return;
      case "end":
        this.#forget(entry);
        return view.end(failed(item.error));
    }
    if (item.kind === "relayed") {
      Object.assign(view, item.numbers);
      (view as unknown as Relayed).relay(item.args, item.anew);
    } else if (view instanceof Book) {
      if (item.kind === "empty") view.empty();
      else if (item.kind === "change") {
        view.put(item.change, Infinity);
        view.emit("change", item.change);
      }
    } else if (view instanceof Ticker && item.kind === "value") {
      view.put(item.value);
      view.emit("change", item.value);
    } else if (view instanceof Trades) takeTrade(view, item);
    else takeEvent(view as unknown as Events, item);
  }

  #takeClient({ state, reason, url, welcome, error }: Extract<Item, { kind: "client" }>): void {
    if (state === "closed") return this.#end(failed(error));
    this.url = url;
    this.welcome = welcome;
    if (state === "open") this.#backoff.reset();
    this.#tell(state, reason);
  }

  #tell(state: ClientState, reason: string | null): void {
    this.reason = reason;
    if (state === this.state) return;
    this.state = state;
    this.emit("state", state, reason);
  }

  async #bringToken(id: number): Promise<void> {
    const answer = (token: string | null, error = "") => this.#say({ op: "token", id, token, error });
    try {
      answer(typeof this.#token === "function" ? await this.#token() : (this.#token ?? null), "this page has no token");
    } catch (error) {
      answer(null, String(error));
    }
  }
}

function failed(failure: Failure | null): MdstreamError | null {
  return failure === null ? null : new MdstreamError(failure.message, failure.code);
}

function tell(view: AnySubscription, { state, code, reason, ageMs, priceExp, sizeExp, delayMs, numbers }: Told): void {
  Object.assign(view, { priceExp, sizeExp, delayMs, ...numbers });
  view.tell({ state, code, reason, ageMs, at: systemClock.now() });
}

/** What the worker is to be told to open; events go on after those that came. */
function opening({ id, view, options }: Entry): ToWorker {
  const { epoch, seq } = view as unknown as Events;
  const since: Place | null = "sendAck" in view && seq !== null ? [epoch, seq] : null;
  return { op: "open", id, request: view.request, options, since };
}

function takeTrade(view: Trades, item: Item): void {
  const own = mutable<Trades>(view);
  if (item.kind === "trade") {
    own.epoch = item.trade.epoch;
    own.seq = item.trade.seq;
    view.emit("trade", item.trade);
  } else if (item.kind === "lost") {
    own.seq = item.last;
    view.emit("lost", item.first, item.last);
  }
}

function takeEvent(view: Events, item: Item): void {
  const own = mutable<Events>(view);
  if (item.kind === "event") {
    own.epoch = item.epoch;
    own.seq = item.event.seq;
    view.emit("event", item.event);
  } else if (item.kind === "lost") {
    own.seq = item.last;
    view.emit("lost", item.first, item.last);
  } else if (item.kind === "acknowledged") {
    own.acknowledged = item.seq;
    view.emit("acknowledged", item.seq);
  }
}
