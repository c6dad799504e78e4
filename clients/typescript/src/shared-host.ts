import type { Client } from "./api.js";
import { makeBoard } from "./board-engine.js";
import type { Book } from "./book.js";
import { makeCandles } from "./candles-engine.js";
import { type Make, open } from "./channel.js";
import type { Clock } from "./clock.js";
import { makeInstruments } from "./instruments-engine.js";
import type { Answer, Command } from "./messages.js";
import {
  type Batch,
  failureOf,
  type Item,
  lockName,
  type Numbers,
  type Place,
  type Port,
  type Relayed,
  type Settings,
  type Told,
  type ToWorker,
} from "./shared-messages.js";
import { openEvents, openMap, openPresence } from "./shared-topics.js";
import { flat } from "./side.js";
import type { AnySubscription, Request } from "./subscription.js";
import type { Ticker } from "./ticker.js";
import { lineOf } from "./topics.js";
import type { Trades } from "./trades.js";

/** Makes a client; `token` is given if pages can bring one. */
export type MakeClient = (settings: Settings, token: (() => Promise<string>) | undefined) => Client;

/** By which worker and pages see that the other is gone: the browser takes a lock back from whoever ends. */
export interface Locks {
  /** The worker holds it as long as it lives; null where there are none. */
  readonly own: Promise<string | null>;
  /** Waits until the page that holds this lock is gone. */
  watch(lock: string, gone: () => void): void;
}

/** Those of the browser. */
export function webLocks(): Locks {
  const { locks } = navigator as { locks?: LockManager };
  if (locks === undefined) return { own: Promise.resolve(null), watch() {} };
  const name = lockName();
  const own = new Promise<string>((got) => {
    void locks.request(name, () => {
      got(name);
      return new Promise(() => {});
    });
  });
  return { own, watch: (lock, gone) => void locks.request(lock, () => gone()) };
}

/** A page that has not read so many batches is behind: then only the newest counts, until it has caught up. */
const MOST_UNREAD = 32;
/** So long at least is between two batches. Each costs the page a task of its own, and a page draws no oftener than every 8 ms. */
const PACE_MS = 4;
/** What of a view goes with its state, and with its data. */
const COUNTS = ["gaps", "recoveries", "crcErrors", "lost", "duplicates", "group"];
const OF_TOPIC = ["topic", "acknowledgement", "acknowledged"];
const WITH_STATE = [...COUNTS, ...OF_TOPIC];
const WITH_DATA = ["epoch", "seq", "ts", "count"];

/** The channels that have a module of their own. */
const MODULES = { board: makeBoard, candles: makeCandles, instruments: makeInstruments } as unknown as Readonly<
  Record<string, (request: Request) => Make<Relayed>>
>;

/** One connection for all pages with the same settings. Every page gets each update, or the newest when it is behind. */
export class Host {
  readonly #rooms = new Map<string, Room>();

  constructor(
    private readonly make: MakeClient,
    private readonly clock: Clock,
    private readonly locks: Locks,
    private readonly paceMs: number = PACE_MS,
  ) {}

  attach(port: Port): void {
    let page: Page | null = null;
    const leave = () => {
      page?.leave();
      page = null;
    };
    port.onmessage = ({ data }: { data: ToWorker }) => {
      if (data.op === "hello") {
        leave();
        page = this.#enter(port, data.settings, data.life);
        if (data.lock !== null) this.#watchOver(data.lock, page);
      } else if (data.op === "bye") leave();
      else page?.take(data);
    };
    port.start?.();
  }

  #watchOver(lock: string, page: Page): void {
    this.locks.watch(lock, () => page.leave());
  }

  #enter(port: Port, settings: Settings, life: number): Page {
    const key = JSON.stringify(settings);
    let room = this.#rooms.get(key);
    if (room === undefined || room.client.state === "closed") {
      room = new Room(settings, this.make, () => {
        if (this.#rooms.get(key) === room) this.#rooms.delete(key);
      });
      this.#rooms.set(key, room);
    }
    const page = new Page(port, room, this.clock, this.paceMs, life);
    void this.locks.own.then((lock) => lock !== null && page.say({ kind: "worker", lock }));
    return page;
  }
}

/** A client and the pages that share it. */
class Room {
  readonly client: Client;
  readonly #pages: Page[] = [];
  readonly #empty: () => void;
  readonly #asked = new Map<number, { page: Page; resolve(token: string): void; reject(error: Error): void }>();
  #lastId = 0;

  constructor(settings: Settings, make: MakeClient, empty: () => void) {
    this.#empty = empty;
    this.client = make(settings, settings.tokens ? () => this.#token() : undefined);
  }

  enter(page: Page): void {
    this.#pages.push(page);
  }

  leave(page: Page): void {
    const at = this.#pages.indexOf(page);
    if (at < 0) return;
    this.#pages.splice(at, 1);
    if (this.#pages.length === 0) {
      this.#empty();
      this.client.close();
    }
    for (const [id, asked] of [...this.#asked]) {
      if (asked.page !== page) continue;
      this.#asked.delete(id);
      this.#token().then(asked.resolve, asked.reject);
    }
  }

  tokenCame(id: number, token: string | null, error: string): void {
    const asked = this.#asked.get(id);
    this.#asked.delete(id);
    if (token === null) asked?.reject(new Error(error));
    else asked?.resolve(token);
  }

  /** From the page that came last: it is the one most likely to be in use. */
  #token(): Promise<string> {
    const page = this.#pages.at(-1);
    if (page === undefined) return Promise.reject(new Error("there is no page that could bring a token"));
    return new Promise((resolve, reject) => {
      const id = ++this.#lastId;
      this.#asked.set(id, { page, resolve, reject });
      page.say({ kind: "token", id });
    });
  }
}

interface Opened {
  readonly view: AnySubscription;
  readonly stop: () => void;
  /** Sends all that there is to show. */
  readonly whole: () => void;
  readonly acknowledge?: (seq: number) => void;
}

/** One page, seen from the worker. */
class Page {
  readonly #opened = new Map<number, Opened>();
  readonly #stops: (() => void)[];
  #items: Item[] = [];
  #unread = 0;
  #behind = new Set<number>();
  #lost = new Map<number, [first: number, last: number]>();
  #flushing = false;
  #flushedAt = -Infinity;
  #gone = false;

  constructor(
    private readonly port: Port,
    private readonly room: Room,
    private readonly clock: Clock,
    private readonly paceMs: number,
    private readonly life: number,
  ) {
    const { client } = room;
    this.#stops = [
      client.on("state", () => this.#sayClient()),
      client.on("warning", (text) => this.say({ kind: "warning", text })),
    ];
    room.enter(this);
    this.#sayClient();
  }

  leave(): void {
    if (this.#gone) return;
    this.#gone = true;
    for (const stop of this.#stops) stop();
    for (const id of [...this.#opened.keys()]) this.#close(id);
    this.room.leave(this);
  }

  take(message: ToWorker): void {
    if (this.#gone) return;
    const { client } = this.room;
    switch (message.op) {
      case "open":
        return this.#open(message);
      case "close":
        return this.#close(message.id);
      case "ping":
        void client.ping().then((ms) => this.say({ kind: "pong", id: message.id, ms }));
        return;
      case "token":
        return this.room.tokenCame(message.id, message.token, message.error);
      case "probe":
        return client.probe();
      case "ack":
        return this.#read();
      case "say":
        return this.#command(message.id, message.command);
      case "acknowledge":
        return this.#opened.get(message.id)?.acknowledge?.(message.seq);
    }
  }

  #command(id: number, command: Command): void {
    const line = lineOf(this.room.client);
    const answered = (answer: Answer | null) => this.say({ kind: "answer", id, answer });
    if (line.welcome !== null) return line.say(command, answered);
    const stop = line.on("state", () => {
      if (line.welcome === null && line.state !== "closed") return;
      stop();
      answered(null); // the page asks again
    });
    this.#stops.push(stop);
  }

  say(item: Item): void {
    if (this.#gone) return;
    this.#items.push(item);
    if (this.#flushing) return;
    this.#flushing = true;
    const waitMs = Math.max(0, this.#flushedAt + this.paceMs - this.clock.now());
    this.clock.after(waitMs, () => this.#flush());
  }

  #flush(): void {
    this.#flushing = false;
    if (this.#gone || this.#items.length === 0) return;
    this.#unread++;
    this.#flushedAt = this.clock.now();
    const batch: Batch = { items: this.#items, stats: { ...this.room.client.stats }, life: this.life };
    this.#items = [];
    this.port.postMessage(batch);
  }

  #read(): void {
    this.#unread--;
    if (this.#unread > MOST_UNREAD / 2) return;
    for (const [id, [first, last]] of this.#lost) this.say({ kind: "lost", id, first, last });
    this.#lost.clear();
    const behind = this.#behind;
    this.#behind = new Set();
    for (const id of behind) this.#opened.get(id)?.whole();
  }

  /** Whether data may be sent; if not, all that there is to show is sent later. */
  #may(id: number): boolean {
    if (this.#behind.has(id)) return false;
    if (this.#unread < MOST_UNREAD) return true;
    this.#behind.add(id);
    return false;
  }

  #sayClient(): void {
    const { state, reason, url, welcome, error } = this.room.client;
    this.say({ kind: "client", state, reason, url, welcome, error: failureOf(error) });
  }

  #open(message: Extract<ToWorker, { op: "open" }>): void {
    const opened = this.#follow(message);
    this.#opened.set(message.id, opened);
    opened.whole();
  }

  #follow({ id, request, options, since }: Extract<ToWorker, { op: "open" }>): Opened {
    const { client } = this.room;
    const { channel, instrument } = request;
    if (channel === "book") return this.#book(id, client.book(instrument, options));
    if (channel === "trades") return this.#trades(id, client.trades(instrument));
    if (channel === "ticker") return this.#ticker(id, client.ticker(instrument, options));
    if (channel === "events") return this.#events(id, request, since);
    if (channel === "map") return this.#relayed(id, openMap(client, request));
    if (channel === "presence") return this.#relayed(id, openPresence(client, request));
    return this.#relayed(id, open(client, request, MODULES[channel]!(request)));
  }

  #close(id: number): void {
    const opened = this.#opened.get(id);
    if (opened === undefined) return;
    this.#opened.delete(id);
    this.#behind.delete(id);
    this.#lost.delete(id);
    opened.stop();
    opened.view.close();
  }

  #book(id: number, view: Book): Opened {
    const whole = () => {
      this.#tell(id, view);
      const { epoch, seq, ts, bids, asks } = view;
      if (epoch === 0) return;
      const change = { kind: "snapshot", epoch, first: seq, last: seq, ts, bids: flat(bids), asks: flat(asks) } as const;
      this.say({ kind: "change", id, change });
    };
    const stopChange = view.on("change", (change) => {
      if (this.#may(id)) this.say({ kind: "change", id, change });
    });
    const stopState = view.on("state", () => {
      if (!view.trusted && view.bids.length + view.asks.length === 0) this.say({ kind: "empty", id });
    });
    return this.#watch(id, view, whole, [stopChange, stopState]);
  }

  #ticker(id: number, view: Ticker): Opened {
    const whole = () => {
      this.#tell(id, view);
      if (view.current !== null) this.say({ kind: "value", id, value: view.current });
    };
    const stop = view.on("change", (value) => {
      if (this.#may(id)) this.say({ kind: "value", id, value });
    });
    return this.#watch(id, view, whole, [stop]);
  }

  #trades(id: number, view: Trades): Opened {
    const stopTrade = view.on("trade", (trade) => {
      if (this.#may(id)) this.say({ kind: "trade", id, trade });
      else this.#lost.set(id, [this.#lost.get(id)?.[0] ?? trade.seq, trade.seq]);
    });
    const stopLost = view.on("lost", (first, last) => this.say({ kind: "lost", id, first, last }));
    return this.#watch(id, view, () => this.#tell(id, view), [stopTrade, stopLost]);
  }

  #relayed(id: number, view: Relayed): Opened {
    const relay = (args: readonly unknown[], anew: boolean) =>
      this.say({ kind: "relayed", id, args, numbers: numbersOf(view, WITH_DATA), anew });
    const whole = () => {
      this.#tell(id, view);
      const args = view.whole();
      if (args !== null) relay(args, true);
    };
    const stop = view.on("change", (...args) => {
      if (this.#may(id)) relay(view.telling?.(args) ?? args, false);
    });
    return this.#watch(id, view, whole, [stop]);
  }

  #events(id: number, request: Request, since: Place | null): Opened {
    const events = openEvents(this.room.client, request, since, (item) => this.say({ ...item, id }));
    const { view } = events;
    const tell = () => this.#tell(id, view, placeOf(events.place));
    const pass = () => {
      if (this.#may(id)) events.pass();
    };
    const whole = () => {
      tell();
      events.pass();
    };
    const stopAcknowledged = view.on("acknowledged", (seq) => this.say({ kind: "acknowledged", id, seq }));
    const stops = [view.on("event", pass), view.on("lost", pass), stopAcknowledged];
    const opened = this.#watch(id, view as unknown as AnySubscription, whole, stops, tell);
    return { ...opened, acknowledge: (seq) => view.acknowledge(seq) };
  }

  /** What all channels have. A page gets the state before the data that belongs to it. */
  #watch(id: number, view: AnySubscription, whole: () => void, stops: (() => void)[], tell = () => this.#tell(id, view)): Opened {
    stops.push(
      view.on("state", tell),
      view.on("ref", (ref) => this.say({ kind: "ref", id, ref })),
      view.on("end", (error) => this.say({ kind: "end", id, error: failureOf(error) })),
    );
    return { view, whole, stop: () => stops.forEach((stop) => stop()) };
  }

  #tell(id: number, view: AnySubscription, place: Numbers = {}): void {
    if (view.state === "ended") return this.say({ kind: "end", id, error: failureOf(view.error) });
    const { state, code, reason, ageMs, priceExp, sizeExp, delayMs } = view;
    const numbers = { ...numbersOf(view, WITH_STATE), ...place };
    const told: Told = { state, code, reason, ageMs, priceExp, sizeExp, delayMs, numbers };
    this.say({ kind: "told", id, told });
    this.say({ kind: "ref", id, ref: view.ref });
  }
}

function placeOf(place: Place | null): Numbers {
  return place === null ? {} : { epoch: place[0], seq: place[1] };
}

/** Those that the view has. */
function numbersOf(view: AnySubscription, names: readonly string[]): Numbers {
  const fields = view as unknown as Readonly<Record<string, unknown>>;
  const those = names.map((name) => [name, fields[name]]).filter(([, value]) => ["number", "string"].includes(typeof value));
  return Object.fromEntries(those) as Numbers;
}
