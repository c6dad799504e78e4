import { Backoff, POLICY, type Policy } from "./backoff.js";
import { Book } from "./book.js";
import { systemClock, Timer, type Clock } from "./clock.js";
import { Emitter } from "./emitter.js";
import { ContractBroken, MdstreamError } from "./errors.js";
import type { Codec, Command, Data, Format, Lost, Message, Refused, Subscribed, Unsubscribed, Welcome } from "./messages.js";
import { msgpack } from "./msgpack.js";
import { watchPage } from "./page.js";
import type { AnySubscription, Session, Stats } from "./session.js";
import type { Request } from "./subscription.js";
import { Ticker } from "./ticker.js";
import { Tokens, type TokenSource } from "./token.js";
import { Trades } from "./trades.js";
import { webSocketTransport, type Connection, type Transport, type WebSocketConstructor } from "./transport.js";
import { Urls } from "./urls.js";

export type ClientState =
  | "connecting"
  | "open"
  /** The gateway stops; the client is about to go to another one. */
  | "draining"
  /** No connection; the next try comes by itself. */
  | "reconnecting"
  /** For good: closed by its user, or `error` says why. */
  | "closed";

export interface ClientEvents extends Record<string, unknown[]> {
  state: [state: ClientState, reason: string | null];
  /** Something went wrong that the client goes on after: text for a log. */
  warning: [text: string];
}

export interface ClientOptions {
  /** A token, or a function that gets a fresh one: it is called before each connection, and before the present one expires. */
  token?: TokenSource;
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
  /** Least time between updates; 0 (the default) is every change. */
  intervalMs?: number;
}

const VERSION = 1;
const BATCH = 100;
const CLOSE_TOKEN = 4401;
/** The next connection would end the same way. */
const FINAL_CLOSE_CODES = new Set([1003, 1007, 1009, 4400, 4403, 4409]);
const TEMPORARY_ERRORS = new Set(["unavailable", "rate_limited", "limit_subscriptions"]);

/** Connects, and stays connected: comes back after a loss, and all subscriptions with it. */
export function connect(urls: string | readonly string[], options: ClientOptions = {}): Client {
  return new Client(urls, options);
}

/** The state machine of the connection: at most one at a time. */
export class Client extends Emitter<ClientEvents> {
  readonly stats: Readonly<Stats>;
  /** Why the client is closed for good; null if its user closed it. */
  error: MdstreamError | null = null;
  /** What the gateway said of itself; null without a connection. */
  welcome: Welcome | null = null;

  #state: ClientState = "connecting";
  #reason: string | null = null;
  readonly #session: Session;
  readonly #clock: Clock;
  readonly #policy: Policy;
  readonly #stats: Stats;
  readonly #urls: Urls;
  readonly #tokens: Tokens;
  readonly #format: Format;
  readonly #transport: Transport;
  readonly #backoff: Backoff;
  readonly #unwatch: () => void;
  readonly #dialTimer: Timer;
  readonly #silenceTimer: Timer;
  readonly #leaveTimer: Timer;
  readonly #probeTimer: Timer;

  #codec: Codec;
  #connection: Connection | null = null;
  /** Counts connections, so that nothing of an old one is heard. */
  #generation = 0;
  #openSince = 0;
  #heardAt = 0;
  #lastId = 0;
  readonly #subscriptions = new Map<string, AnySubscription>();
  readonly #bySub = new Map<number, AnySubscription>();
  readonly #asked = new Map<number, AnySubscription[]>();
  readonly #recovering = new Map<number, AnySubscription>();
  readonly #pings = new Map<number, (ms: number | null) => void>();

  /** @internal Use `connect`. */
  constructor(urls: string | readonly string[], options: ClientOptions) {
    super();
    this.#urls = new Urls(urls);
    this.#tokens = new Tokens(options.token);
    this.#format = options.format ?? msgpack;
    this.#transport = options.transport ?? webSocketTransport(options.WebSocket);
    this.#clock = options.clock ?? systemClock;
    this.#policy = { ...POLICY, ...options.policy };
    this.stats = this.#stats = noStats();
    this.#codec = this.#format.codec();
    const random = options.random ?? Math.random;
    this.#backoff = new Backoff(this.#policy, random);
    this.#dialTimer = new Timer(this.#clock);
    this.#silenceTimer = new Timer(this.#clock);
    this.#leaveTimer = new Timer(this.#clock);
    this.#probeTimer = new Timer(this.#clock);
    this.#session = {
      clock: this.#clock,
      policy: this.#policy,
      random,
      stats: this.#stats,
      recover: (subscription, from) => this.#recover(subscription, from),
      unsubscribe: (subscription) => this.#unsubscribe(subscription),
      again: (subscription) => this.#request([subscription]),
    };
    this.#unwatch = watchPage(() => this.probe());
    this.#dialTimer.set(0, () => void this.#dial()); // after its user has set listeners
  }

  // ---- for the user

  get state(): ClientState {
    return this.#state;
  }

  /** Why it is not open, if that is known. */
  get reason(): string | null {
    return this.#reason;
  }

  /** The gateway of the present connection, or of the next try. */
  get url(): string {
    return this.#urls.current;
  }

  /** A view of a book. Asking twice for the same view gives the same object; each needs its own `close()`. */
  book(instrument: string, { depth = 0, group = 1, intervalMs = 0 }: BookOptions = {}): Book {
    const request = { channel: "book", instrument, view: { depth, group, interval_ms: intervalMs } };
    return this.#subscribe(request, () => new Book(request, this.#session));
  }

  trades(instrument: string): Trades {
    const request = { channel: "trades", instrument, view: {} };
    return this.#subscribe(request, () => new Trades(request, this.#session));
  }

  ticker(instrument: string, { intervalMs = 0 }: { intervalMs?: number } = {}): Ticker {
    const request = { channel: "ticker", instrument, view: { interval_ms: intervalMs } };
    return this.#subscribe(request, () => new Ticker(request, this.#session));
  }

  /** The time to the gateway and back, in milliseconds; null if the connection is lost meanwhile. */
  ping(): Promise<number | null> {
    if (this.welcome === null) return Promise.resolve(null);
    const sent = this.#clock.now();
    return new Promise((resolve) => {
      const id = this.#command({ op: "ping" });
      this.#pings.set(id, (answered) => resolve(answered === null ? null : answered - sent));
    });
  }

  /** Makes sure soon that the connection is alive: dials at once if there is none, else asks for a sign of life. */
  probe(): void {
    if (this.#dialTimer.running) {
      this.#dialTimer.set(0, () => void this.#dial());
    } else if (this.welcome !== null && !this.#probeTimer.running) {
      this.#command({ op: "ping" });
      const heardAt = this.#heardAt;
      this.#probeTimer.set(this.#policy.probeTimeoutMs, () => {
        if (this.#heardAt === heardAt) this.#lost("no answer after a pause", 0);
      });
    }
  }

  /** Closes the connection and ends all subscriptions. */
  close(): void {
    this.#end(null);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  // ---- the connection

  async #dial(): Promise<void> {
    const generation = ++this.#generation;
    this.#set("connecting", this.#reason);
    this.#silenceTimer.set(this.#policy.connectTimeoutMs, () => this.#lost("no answer"));
    try {
      const token = this.#tokens.none ? null : await this.#tokens.fresh();
      if (generation !== this.#generation) return;
      if (token === null && !this.#tokens.none) {
        return this.#end(new MdstreamError("the gateway refused the token, and there is no other", CLOSE_TOKEN));
      }
      this.#open(token, generation);
    } catch (error) {
      if (generation === this.#generation) this.#lost(String(error));
    }
  }

  #open(token: string | null, generation: number): void {
    this.#codec = this.#format.codec();
    const protocols = [this.#format.protocol];
    let url = this.#urls.current;
    if (token !== null) {
      protocols.push(`bearer.${token}`); // a page cannot set headers; the gateway never echoes it
      url += `${url.includes("?") ? "&" : "?"}reject=close`; // nor can it see an HTTP status
    }
    const heard = (then: () => void) => {
      if (generation === this.#generation) then();
    };
    this.#connection = this.#transport.open(url, protocols, {
      opened: () => heard(() => (this.#openSince = this.#heardAt = this.#clock.now())),
      message: (data) => heard(() => this.#receive(data)),
      closed: (code, reason) => heard(() => this.#closed(code, reason)),
    });
  }

  #closed(code: number, reason: string): void {
    this.#connection = null;
    const why = `closed with ${code}${reason === "" ? "" : `: ${reason}`}`;
    const error = new MdstreamError(`the connection was ${why}`, code);
    if (code === CLOSE_TOKEN && !this.#tokens.refuse()) this.#end(error);
    else if (FINAL_CLOSE_CODES.has(code)) this.#end(error);
    else this.#lost(why);
  }

  /** Does not wait for the other end: a dead connection takes its time. */
  #lost(why: string, delay?: number): void {
    const wasOpen = this.welcome !== null;
    if (wasOpen) {
      this.#stats.reconnects++;
      if (this.#clock.now() - this.#openSince >= this.#policy.healthyAfterMs) this.#backoff.reset();
    }
    this.#urls.failed();
    this.#forgetConnection();
    this.#dialTimer.set(delay ?? this.#backoff.next(), () => void this.#dial());
    this.#set("reconnecting", why);
    for (const subscription of this.#subscriptions.values()) subscription.detach();
  }

  #end(error: MdstreamError | null): void {
    if (this.#state === "closed") return;
    this.error = error;
    this.#unwatch();
    this.#forgetConnection();
    this.#dialTimer.stop();
    const subscriptions = [...this.#subscriptions.values()];
    this.#subscriptions.clear();
    this.#set("closed", error?.message ?? null);
    for (const subscription of subscriptions) subscription.end(error);
  }

  #forgetConnection(): void {
    this.#generation++;
    const connection = this.#connection;
    this.#connection = null;
    this.welcome = null;
    for (const timer of [this.#silenceTimer, this.#leaveTimer, this.#probeTimer]) timer.stop();
    for (const table of [this.#asked, this.#recovering, this.#bySub]) table.clear();
    const pings = [...this.#pings.values()];
    this.#pings.clear();
    connection?.close(1000);
    for (const answered of pings) answered(null);
  }

  /** Two heartbeats without a word: the connection is dead. */
  #watchSilence(limitMs: number): void {
    const rest = this.#heardAt + limitMs - this.#clock.now();
    if (rest <= 0) this.#lost(`nothing came for ${(limitMs / 1000).toFixed(1)} s`);
    else this.#silenceTimer.set(rest, () => this.#watchSilence(limitMs));
  }

  #set(state: ClientState, reason: string | null): void {
    this.#reason = reason;
    if (state === this.#state) return;
    this.#state = state;
    this.emit("state", state, reason);
  }

  // ---- messages

  #receive(data: string | ArrayBuffer): void {
    this.#heardAt = this.#clock.now();
    this.#stats.messages++;
    this.#stats.bytes += typeof data === "string" ? data.length : data.byteLength;
    const generation = this.#generation;
    try {
      for (const message of this.#codec.decode(data)) {
        this.#take(message);
        if (generation !== this.#generation) return; // a listener closed the client
      }
    } catch (error) {
      if (!(error instanceof ContractBroken)) throw error;
      this.emit("warning", `the gateway broke the contract: ${error.message}`);
      this.#lost(`contract broken: ${error.message}`);
    }
  }

  #take(message: Message): void {
    if (this.welcome === null && message.type !== "welcome" && message.type !== "error") {
      throw new ContractBroken(`the first message was ${message.type}, not welcome`);
    }
    switch (message.type) {
      case "snapshot":
      case "delta":
      case "trades":
      case "ticker":
        this.#stats.updates++;
        return this.#takeData(message);
      case "lost":
        return this.#takeData(message);
      case "heartbeat":
        for (const [sub, seq] of message.seqs) this.#bySub.get(sub)?.takeHeartbeat(seq);
        return;
      case "state":
        return this.#bySub.get(message.sub)?.takeState(message);
      case "ref":
        return this.#bySub.get(message.sub)?.takeRef(message.ref);
      case "subscribed":
        return this.#takeSubscribed(message);
      case "unsubscribed":
        return this.#takeUnsubscribed(message);
      case "error":
        return this.#takeRefused(message);
      case "welcome":
        return this.#takeWelcome(message);
      case "pong":
        return this.#answerPing(message.id, this.#clock.now());
      case "drain":
        this.#leaveTimer.set(message.reconnect_after_ms, () => this.#lost("the gateway is draining", 0));
        return this.#set("draining", "the gateway is draining");
      case "token_expiring":
        return void this.#renewToken();
      case "authenticated":
        return this.#tokens.accepted();
    }
  }

  #takeData(message: Data | Lost): void {
    this.#bySub.get(message.sub)?.take(message);
  }

  #takeWelcome(message: Welcome): void {
    if (message.version !== VERSION) {
      const why = `the gateway speaks version ${message.version} of the contract, this client ${VERSION}`;
      return this.#end(new MdstreamError(why, "version"));
    }
    this.welcome = message;
    this.#urls.well();
    this.#tokens.accepted();
    this.#watchSilence(2 * message.heartbeat_ms);
    this.#set("open", null);
    this.#request(this.#subscriptions.values());
  }

  #takeSubscribed(message: Subscribed): void {
    const asked = this.#asked.get(Number(message.id)) ?? [];
    const at = asked.findIndex((subscription) => subscription.instrument === message.instrument);
    const [subscription] = at < 0 ? [] : asked.splice(at, 1);
    if (asked.length === 0) this.#asked.delete(Number(message.id));
    if (subscription === undefined) return;
    if (this.#subscriptions.get(keyOf(subscription.request)) !== subscription) {
      this.#command({ op: "unsubscribe", subs: [message.sub] }); // closed meanwhile
    } else if (!subscription.accepted) {
      this.#bySub.set(message.sub, subscription);
      subscription.accept(message);
    }
  }

  #takeUnsubscribed({ id, subs, reason }: Unsubscribed): void {
    if (id != null) return; // the answer to ours
    for (const sub of subs) {
      const subscription = this.#bySub.get(sub);
      if (subscription === undefined) continue;
      this.#bySub.delete(sub);
      if (reason === "rescaled") this.#request([subscription]);
      else this.#refuse(subscription, "not_entitled", `the gateway ended it: ${reason ?? "it gave no reason"}`);
    }
  }

  #takeRefused(message: Refused): void {
    const id = Number(message.id ?? NaN);
    const recovering = this.#recovering.get(id);
    const asked = this.#asked.get(id);
    this.#recovering.delete(id);
    this.#asked.delete(id);
    if (recovering !== undefined) {
      if (message.code === "unknown_sub" && recovering.accepted) this.#request([recovering]);
      else recovering.recoverRefused();
    } else if (asked !== undefined) this.#subscribeRefused(asked, message);
    else if (this.#pings.has(id)) this.#answerPing(id, null);
    else this.emit("warning", `the gateway says: ${message.code}: ${message.message}`);
  }

  /** One bad instrument refuses the whole command: then each is asked for alone. */
  #subscribeRefused(asked: AnySubscription[], { code, message }: Refused): void {
    const wanted = asked.filter((subscription) => this.#subscriptions.get(keyOf(subscription.request)) === subscription);
    if (asked.length > 1) return wanted.forEach((subscription) => this.#request([subscription]));
    for (const subscription of wanted) {
      if (TEMPORARY_ERRORS.has(code)) subscription.retryLater();
      else this.#refuse(subscription, code, message);
    }
  }

  #refuse(subscription: AnySubscription, code: string, why: string): void {
    this.#forget(subscription);
    subscription.end(new MdstreamError(`${String(subscription)}: ${why}`, code));
  }

  #answerPing(id: unknown, answered: number | null): void {
    const answer = this.#pings.get(Number(id));
    this.#pings.delete(Number(id));
    answer?.(answered);
  }

  /** Before the token expires: the connection goes on with a fresh one. */
  async #renewToken(): Promise<void> {
    const generation = this.#generation;
    if (!this.#tokens.renewable) return;
    try {
      const token = await this.#tokens.fresh();
      if (token !== null && generation === this.#generation) this.#command({ op: "auth", token });
    } catch (error) {
      this.emit("warning", `no fresh token: ${String(error)}`);
    }
  }

  // ---- commands

  #subscribe<S extends AnySubscription>(request: Request, make: () => S): S {
    const known = this.#subscriptions.get(keyOf(request)) as S | undefined;
    if (known !== undefined) {
      known.users++;
      return known;
    }
    const subscription = make();
    if (this.#state === "closed") subscription.end(this.error);
    else {
      this.#subscriptions.set(keyOf(request), subscription);
      if (this.welcome !== null) this.#request([subscription]);
    }
    return subscription;
  }

  #unsubscribe(subscription: AnySubscription): void {
    const { number } = subscription;
    this.#forget(subscription);
    subscription.end(null);
    if (number !== null) this.#command({ op: "unsubscribe", subs: [number] });
  }

  #forget(subscription: AnySubscription): void {
    this.#subscriptions.delete(keyOf(subscription.request));
    if (subscription.number !== null) this.#bySub.delete(subscription.number);
  }

  #recover(subscription: AnySubscription, from: number): void {
    if (subscription.number === null) return;
    this.#stats.recoveries++;
    this.#recovering.set(this.#command({ op: "recover", sub: subscription.number, from }), subscription);
    // Answered by data alone, so that most are never taken out again.
    if (this.#recovering.size > 1024) this.#recovering.delete(this.#recovering.keys().next().value!);
  }

  /** Sends `subscribe`: one command for all that differ only in the instrument. */
  #request(subscriptions: Iterable<AnySubscription>): void {
    const alike = new Map<string, AnySubscription[]>();
    for (const subscription of subscriptions) {
      const key = keyOf({ ...subscription.request, instrument: "" });
      const group = alike.get(key);
      if (group === undefined) alike.set(key, [subscription]);
      else group.push(subscription);
    }
    for (const group of alike.values()) {
      for (let at = 0; at < group.length; at += BATCH) this.#requestBatch(group.slice(at, at + BATCH));
    }
  }

  #requestBatch(batch: AnySubscription[]): void {
    const { channel, view } = batch[0]!.request;
    const resume: Record<string, [number, number]> = {};
    for (const subscription of batch) {
      if (subscription.resume !== null) resume[subscription.instrument] = subscription.resume;
      if (subscription.number !== null) this.#bySub.delete(subscription.number);
      subscription.requested();
    }
    const instruments = batch.map((subscription) => subscription.instrument);
    const command = { op: "subscribe", channel, instruments, ...view };
    this.#asked.set(this.#command(Object.keys(resume).length > 0 ? { ...command, resume } : command), batch);
  }

  /** Returns the command's id. */
  #command(command: Command): number {
    const id = ++this.#lastId;
    this.#connection?.send(this.#codec.encode({ id, ...command }));
    return id;
  }
}

function keyOf({ channel, instrument, view }: Request): string {
  return JSON.stringify([channel, instrument, view]);
}

function noStats(): Stats {
  return {
    messages: 0,
    bytes: 0,
    updates: 0,
    gaps: 0,
    recoveries: 0,
    crcErrors: 0,
    crcChecked: 0,
    reconnects: 0,
    resumes: 0,
  };
}
