import { type Answered, Answers } from "./answers.js";
import type { BookOptions, Client, ClientEvents, ClientOptions, ClientState, TickerOptions } from "./api.js";
import { bookRequest, tickerRequest, tradesRequest } from "./api.js";
import { Backoff, POLICY, type Policy } from "./backoff.js";
import { Book } from "./book.js";
import { BookEngine } from "./book-engine.js";
import type { Make } from "./channel.js";
import { type Clock, systemClock, Timer } from "./clock.js";
import { Emitter, report } from "./emitter.js";
import type { Engine, Session } from "./engine.js";
import { ContractBroken, MdstreamError } from "./errors.js";
import { Health } from "./health.js";
import type { Codec, Command, Format, Message, Refused, Welcome } from "./messages.js";
import { msgpack } from "./msgpack.js";
import { watchPage } from "./page.js";
import { type Stats, sum } from "./stats.js";
import type { AnySubscription, Owner, Request } from "./subscription.js";
import { Subscriptions } from "./subscriptions.js";
import { Ticker } from "./ticker.js";
import { TickerEngine } from "./ticker-engine.js";
import { Tokens } from "./token.js";
import { Trades } from "./trades.js";
import { TradesEngine } from "./trades-engine.js";
import { type Connection, type Transport, webSocketTransport } from "./transport.js";
import { Urls } from "./urls.js";

const VERSION = 1;
const CLOSE_TOKEN = 4401;
/** There was no close frame; before `welcome`, perhaps nobody at all. */
const NO_CLOSE = 1006;
/** The next connection would end the same way. */
const FINAL_CLOSE_CODES = new Set([1003, 1007, 1009, 4400, 4403]);
/** A timer that is so late was stopped, with all else here: what came meanwhile is not read yet. */
const LATE_MS = 1_000;
const AFTER_PAUSE = "nothing has come since a pause";

/** The state machine of the connection: at most one at a time. */
export class DirectClient extends Emitter<ClientEvents> implements Client {
  error: MdstreamError | null = null;
  welcome: Welcome | null = null;
  readonly lines: readonly Client[] = [this];

  #state: ClientState = "connecting";
  #reason: string | null = null;
  /** @internal */ readonly session: Session;
  readonly #owner: Owner;
  readonly #clock: Clock;
  readonly #policy: Policy;
  readonly #stats: Stats = sum([]);
  readonly #urls: Urls;
  readonly #tokens: Tokens;
  readonly #format: Format;
  readonly #transport: Transport;
  readonly #backoff: Backoff;
  readonly #health: Health;
  readonly #unwatch: () => void;
  readonly #dialTimer: Timer;
  readonly #silenceTimer: Timer;
  readonly #leaveTimer: Timer;
  readonly #probeTimer: Timer;

  #codec: Codec;
  #connection: Connection | null = null;
  /** Counts connections, so that nothing of an old one is heard. */
  #generation = 0;
  #heardAt = 0;
  /** When a draining gateway wants to be left, and the next one to be asked. */
  #leaveAt = 0;
  #lastId = 0;
  readonly #subscriptions: Subscriptions;
  readonly #answers = new Answers();

  constructor(urls: string | readonly string[], options: ClientOptions) {
    super();
    this.#urls = new Urls(urls);
    this.#tokens = new Tokens(options.token);
    this.#format = options.format ?? msgpack;
    this.#transport = options.transport ?? webSocketTransport(options.WebSocket);
    const clock = (this.#clock = options.clock ?? systemClock);
    const policy = (this.#policy = { ...POLICY, ...options.policy });
    const random = options.random ?? Math.random;
    this.#codec = this.#format.codec();
    this.#backoff = new Backoff(policy, random);
    this.#health = new Health(policy.healthyAfterMs);
    this.#dialTimer = new Timer(clock);
    this.#silenceTimer = new Timer(clock);
    this.#leaveTimer = new Timer(clock);
    this.#probeTimer = new Timer(clock);
    this.#owner = { now: () => clock.now(), release: (view) => this.#subscriptions.release(view) };
    this.#subscriptions = new Subscriptions((command, answered) => this.#command(command, answered), this.#stats);
    this.session = {
      clock,
      policy,
      random,
      stats: this.#stats,
      doubt: null,
      recover: (engine, from) => this.#subscriptions.recover(engine, from),
      again: (engine) => this.#subscriptions.request([engine]),
    };
    this.#unwatch = watchPage((paused) => this.#awake(paused));
    this.#dialTimer.set(0, () => void this.#dial()); // after its user has set listeners
  }

  // ---- for the user

  get state(): ClientState {
    return this.#state;
  }

  get reason(): string | null {
    return this.#reason;
  }

  get url(): string {
    return this.#urls.current;
  }

  get stats(): Readonly<Stats> {
    return this.#stats;
  }

  book(instrument: string, options?: BookOptions): Book {
    const request = bookRequest(instrument, options);
    return this.open(request, (owner, session) => new BookEngine(new Book(request, owner), session));
  }

  trades(instrument: string): Trades {
    const request = tradesRequest(instrument);
    return this.open(request, (owner, session) => new TradesEngine(new Trades(request, owner), session));
  }

  ticker(instrument: string, options?: TickerOptions): Ticker {
    const request = tickerRequest(instrument, options);
    return this.open(request, (owner, session) => new TickerEngine(new Ticker(request, owner), session));
  }

  /** @internal A subscription to any channel, also to one that has a module of its own. */
  open<View extends AnySubscription>(request: Request, make: Make<View>): View {
    const known = this.#subscriptions.find(request) as Engine<View> | undefined;
    if (known !== undefined) {
      known.users++;
      return known.view;
    }
    const engine = make(this.#owner, this.session);
    if (this.#state === "closed") engine.end(this.error);
    else {
      this.#subscriptions.add(engine as unknown as Engine);
      if (this.welcome !== null) this.#subscriptions.request([engine as unknown as Engine]);
    }
    return engine.view;
  }

  ping(): Promise<number | null> {
    if (this.welcome === null) return Promise.resolve(null);
    const sent = this.#clock.now();
    return new Promise((resolve) =>
      this.say({ op: "ping" }, (answer) => resolve(answer?.type === "pong" ? this.#clock.now() - sent : null)),
    );
  }

  /** @internal Sends a command; `answered` hears its answer, or null where none is waited for any more. */
  say(command: Command, answered: Answered): void {
    this.#command(command, answered);
  }

  probe(): void {
    if (this.#dialTimer.running) {
      this.#dialTimer.set(this.#untilLeave(), () => void this.#dial());
    } else if (this.welcome !== null && !this.#probeTimer.running) this.#askForSign();
  }

  close(): void {
    this.#end(null);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  // ---- the connection

  async #dial(): Promise<void> {
    const generation = ++this.#generation;
    this.#silenceTimer.set(this.#policy.connectTimeoutMs, () => this.#lost("no answer"));
    this.#set("connecting", this.#reason);
    try {
      const token = this.#tokens.none ? null : await this.#tokens.fresh();
      if (generation !== this.#generation) return;
      if (token === null && !this.#tokens.none) {
        return this.#end(new MdstreamError("the gateway refused the token, and there is no other", CLOSE_TOKEN));
      }
      this.#open(token, generation);
    } catch (error) {
      if (generation !== this.#generation) return;
      if (error instanceof MdstreamError) this.#end(error);
      else if (error instanceof TypeError && !this.#tokens.none && !this.#tokens.renewable)
        this.#end(new MdstreamError(error.message, "token"));
      else this.#lost(String(error));
    }
  }

  #open(token: string | null, generation: number): void {
    this.#codec = this.#format.codec();
    const protocols = [this.#format.protocol];
    if (token !== null) {
      protocols.push(`bearer.${token}`); // a page cannot set headers; the gateway never echoes it
      this.#tokens.used(token);
    }
    // Nor can a page see an HTTP status: so that the gateway says what it refuses.
    const url = `${this.url}${this.url.includes("?") ? "&" : "?"}reject=close`;
    const heard = (then: () => void) => {
      if (generation === this.#generation) then();
    };
    this.#connection = this.#transport.open(url, protocols, {
      opened: () => heard(() => this.#health.opened((this.#heardAt = this.#clock.now()))),
      message: (data) => heard(() => this.#receive(data)),
      closed: (code, reason) => heard(() => this.#closed(code, reason)),
    });
  }

  #closed(code: number, reason: string): void {
    this.#connection = null;
    const nobody = code === NO_CLOSE && this.welcome === null;
    const why = nobody ? `no connection to ${this.url} (${code})` : `closed with ${code}${reason && `: ${reason}`}`;
    const error = new MdstreamError(`the connection was ${why}`, code);
    const isFinal = code === CLOSE_TOKEN ? !this.#tokens.refuse() : FINAL_CLOSE_CODES.has(code);
    if (isFinal) this.#end(error);
    else this.#lost(why, this.#leaveTimer.running ? this.#untilLeave() : undefined);
  }

  /** Does not wait for the other end: a dead connection takes its time. */
  #lost(why: string, delay?: number): void {
    if (this.#state === "closed") return;
    if (this.welcome !== null) this.#stats.reconnects++;
    if (this.#health.wasGood(this.welcome, this.#subscriptions.all.length > 0, this.#clock.now())) this.#backoff.reset();
    this.#urls.failed();
    this.#forgetConnection();
    this.#dialTimer.set(delay ?? this.#backoff.next(), () => void this.#dial());
    for (const engine of this.#subscriptions.all) engine.detach(why);
    if (this.#dialTimer.running) this.#set("reconnecting", why);
  }

  #end(error: MdstreamError | null): void {
    if (this.#state === "closed") return;
    this.error = error;
    this.#unwatch();
    this.#forgetConnection();
    this.#dialTimer.stop();
    const engines = this.#subscriptions.clear();
    this.#set("closed", error?.message ?? null);
    for (const engine of engines) engine.end(error);
  }

  #forgetConnection(): void {
    this.#generation++;
    const connection = this.#connection;
    this.#connection = null;
    this.welcome = null;
    this.session.doubt = null;
    this.#silenceTimer.stop();
    this.#leaveTimer.stop();
    this.#probeTimer.stop();
    this.#subscriptions.forgetConnection();
    connection?.close(1000);
    this.#answers.giveUp();
  }

  /** Two heartbeats without a word: the connection is dead. */
  #watchSilence(limitMs: number): void {
    const rest = this.#heardAt + limitMs - this.#clock.now();
    if (rest > 0) this.#silenceTimer.set(rest, () => this.#watchSilence(limitMs));
    else if (rest > -LATE_MS) this.#lost(`nothing came for ${(limitMs / 1000).toFixed(1)} s`);
    else {
      this.#awake(true);
      this.#silenceTimer.set(this.#policy.probeTimeoutMs, () => this.#watchSilence(limitMs));
    }
  }

  /** What came last may be of before a pause: until the gateway answers, nothing is known to be of now. */
  #awake(paused: boolean): void {
    if (paused && this.welcome !== null) this.#doubt(AFTER_PAUSE);
    this.probe();
  }

  #askForSign(): void {
    const { messages } = this.#stats;
    this.#command({ op: "ping" }, (answer) => {
      if (answer === null) return;
      this.#probeTimer.stop();
      this.#doubt(null);
    });
    this.#probeTimer.set(this.#policy.probeTimeoutMs, () => {
      if (this.#stats.messages === messages) this.#lost("no answer after a pause", 0);
      else if (this.session.doubt !== null) this.#askForSign(); // what comes may have been sent before the pause
    });
  }

  #doubt(why: string | null): void {
    if (why === this.session.doubt) return;
    this.session.doubt = why;
    for (const engine of this.#subscriptions.all) engine.update();
  }

  #untilLeave(): number {
    return Math.max(0, this.#leaveAt - this.#clock.now());
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
      // What is no ContractBroken is a value of the wrong type, where the codecs do not look.
      if (!(error instanceof ContractBroken)) report(error);
      this.emit("warning", `the gateway broke the contract: ${error}`);
      if (generation === this.#generation) this.#lost(`contract broken: ${error}`);
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
      case "more":
        this.#stats.updates++;
        this.#health.came(message.type === "more" ? message.kind : undefined);
        return this.#subscriptions.bySub(message.sub)?.take(message);
      case "lost":
        return this.#subscriptions.bySub(message.sub)?.take(message);
      case "heartbeat":
        for (const [sub, seq] of message.seqs) this.#subscriptions.bySub(sub)?.takeHeartbeat(seq);
        return;
      case "state":
        return this.#subscriptions.bySub(message.sub)?.takeState(message);
      case "ref":
        return this.#subscriptions.bySub(message.sub)?.takeRef(message.ref);
      case "subscribed":
        return this.#subscriptions.takeSubscribed(message);
      case "unsubscribed":
        return this.#subscriptions.takeUnsubscribed(message);
      case "error":
        return this.#takeRefused(message);
      case "welcome":
        return this.#takeWelcome(message);
      case "pong":
      case "published":
      case "stored":
        return void this.#answers.take(message.id, message);
      case "drain":
        this.#leaveAt = this.#clock.now() + message.reconnect_after_ms;
        this.#leaveTimer.set(message.reconnect_after_ms, () => this.#lost("the gateway is draining", 0));
        return this.#set("draining", "the gateway is draining");
      case "token_expiring":
        return void this.#renewToken();
      case "authenticated":
        return this.#tokens.accepted();
    }
  }

  #takeWelcome(message: Welcome): void {
    if (this.welcome !== null) throw new ContractBroken("welcome came twice");
    if (message.version !== VERSION) {
      const why = `the gateway speaks version ${message.version} of the contract, this client ${VERSION}`;
      return this.#end(new MdstreamError(why, "version"));
    }
    if (!(message.heartbeat_ms > 0)) throw new ContractBroken(`heartbeat_ms was ${message.heartbeat_ms}`);
    this.welcome = message;
    this.#tokens.accepted();
    this.#watchSilence(2 * message.heartbeat_ms);
    this.#set("open", null);
    if (this.welcome === message) this.#subscriptions.request(this.#subscriptions.all);
  }

  #takeRefused(message: Refused): void {
    if (!this.#subscriptions.takeRefused(message) && !this.#answers.take(message.id, message))
      this.emit("warning", `the gateway says: ${message.code}: ${message.message}`);
  }

  /** Before the token expires: the connection goes on with a fresh one. */
  async #renewToken(): Promise<void> {
    const generation = this.#generation;
    if (!this.#tokens.renewable) return;
    try {
      const token = await this.#tokens.fresh();
      if (token === null || generation !== this.#generation) return;
      this.#tokens.used(token);
      this.#command({ op: "auth", token });
    } catch (error) {
      this.emit("warning", `no fresh token: ${error}`);
    }
  }

  // ---- commands

  /** Returns the command's id. */
  #command(command: Command, answered?: Answered): number {
    const id = ++this.#lastId;
    this.#connection?.send(this.#codec.encode({ id, ...command }));
    if (answered !== undefined) this.#answers.wait(id, answered);
    return id;
  }
}
