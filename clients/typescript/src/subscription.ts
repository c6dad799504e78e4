import { Backoff } from "./backoff.js";
import { Timer } from "./clock.js";
import { formatDecimal } from "./decimals.js";
import { Emitter } from "./emitter.js";
import type { MdstreamError } from "./errors.js";
import type { Data, Lost, Reference, StateChange, Subscribed } from "./messages.js";
import type { AnySubscription, Session } from "./session.js";

/**
 * Whether the data can be used now. In `live`, `stale`, `halted` and `closed` it is exactly what the gateway sent, and nothing
 * is known to be missing.
 */
export type SubscriptionState =
  /** Asked for; nothing has come yet. */
  | "pending"
  | "live"
  /** Something is missing, here or at the gateway, and is being fetched. */
  | "recovering"
  /** The feed has been silent too long, or is down. */
  | "stale"
  | "halted"
  | "closed"
  /** There is no connection; the data is the last that came. */
  | "disconnected"
  /** Closed by its user, refused, or the client is closed for good: `error` says which. */
  | "ended";

const REPORTED: ReadonlySet<string> = new Set<SubscriptionState>(["live", "recovering", "stale", "halted", "closed"]);
const TRUSTED: ReadonlySet<SubscriptionState> = new Set<SubscriptionState>(["live", "stale", "halted", "closed"]);

export interface SubscriptionEvents extends Record<string, unknown[]> {
  /** The state or its code changed. */
  state: [state: SubscriptionState];
  /** The reference data changed. */
  ref: [ref: Reference];
  end: [error: MdstreamError | null];
}

export interface Request {
  readonly channel: string;
  readonly instrument: string;
  /** The other fields of `subscribe`. */
  readonly view: Readonly<Record<string, number>>;
}

type Attachment = "detached" | "requested" | "accepted" | "ended";
type StreamMessage = Data | Lost;

/** The state machine of one channel of one instrument. It goes on over any number of connections until it is closed. */
export abstract class Subscription<Events extends SubscriptionEvents> extends Emitter<Events> {
  /** The exponents of prices and sizes: value = ticks × 10^priceExp. 0 until the gateway has confirmed. */
  priceExp = 0;
  sizeExp = 0;
  ref: Reference = {};
  /** How long ago what the gateway shows was published; 0: it is live. */
  delayMs = 0;
  /** Why it ended; null if it has not, or its user closed it. */
  error: MdstreamError | null = null;

  /** @internal How often its user asked for it. */
  users = 1;
  /** @internal Its number on this connection. */
  number: number | null = null;

  protected synced = false;
  #attachment: Attachment = "detached";
  #reported: SubscriptionState = "live";
  #report: StateChange | null = null;
  #reportedAt = 0;
  #wasReady = false;
  #known = "pending:";
  readonly #retry: Timer;
  readonly #backoff: Backoff;

  /** @internal */
  constructor(
    /** @internal */ readonly request: Request,
    protected readonly session: Session,
  ) {
    super();
    this.#retry = new Timer(session.clock);
    this.#backoff = new Backoff(session.policy, session.random);
  }

  // ---- for the user

  get instrument(): string {
    return this.request.instrument;
  }

  get state(): SubscriptionState {
    if (this.#attachment === "ended") return "ended";
    if (this.#attachment === "accepted" && this.synced) return this.#reported;
    if (this.#attachment === "accepted" && this.#reported === "recovering") return "recovering";
    if (!this.#wasReady) return "pending";
    return this.#attachment === "detached" ? "disconnected" : "recovering";
  }

  /** Whether the data is exactly what the gateway sent, and nothing is known to be missing. */
  get trusted(): boolean {
    return TRUSTED.has(this.state);
  }

  /** Why the gateway says so: a state code of the contract. Null if live, or if the reason lies on this side. */
  get code(): string | null {
    return this.#told()?.code ?? null;
  }

  /** The same for people. */
  get reason(): string | null {
    return this.#told()?.reason ?? null;
  }

  /** How old the venue's last word is now, in milliseconds, if the gateway told its age. */
  get ageMs(): number | null {
    const age = this.#told()?.age_ms;
    return age == null ? null : age + this.session.clock.now() - this.#reportedAt;
  }

  /** The exact decimal text of a price in ticks. */
  price(ticks: number): string {
    return formatDecimal(ticks, this.priceExp);
  }

  /** The exact decimal text of a size in lots; of a sum of sizes too. */
  size(lots: number | bigint): string {
    return formatDecimal(lots, this.sizeExp);
  }

  /** Resolves when the data can be trusted for the first time. Rejects if the subscription ends before. */
  ready(): Promise<this> {
    return new Promise((resolve, reject) => {
      const check = () => {
        if (this.state === "ended") reject(this.error ?? new Error(`${String(this)} was closed`));
        else if (this.trusted) resolve(this);
        else return false;
        stop();
        return true;
      };
      let stop = () => {};
      if (!check()) stop = this.#any.on("state", check);
    });
  }

  /** Ends it, once it is closed as often as it was asked for. */
  close(): void {
    if (this.#attachment === "ended" || --this.users > 0) return;
    this.session.unsubscribe(this.#any);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  override toString(): string {
    return `${this.request.channel} ${this.request.instrument}`;
  }

  // ---- for the client

  /** @internal Whether its data was ever trusted. */
  get wasReady(): boolean {
    return this.#wasReady;
  }

  /** @internal */
  get accepted(): boolean {
    return this.#attachment === "accepted";
  }

  /** @internal `[epoch, seq]` after which the gateway may go on; null if it must begin anew. */
  get resume(): [number, number] | null {
    return null;
  }

  /** @internal `subscribe` was sent; what the gateway sent before is over. */
  requested(): void {
    this.#leave("requested");
  }

  /** @internal The gateway sent `subscribed`. */
  accept(message: Subscribed): void {
    const rescaled = message.price_exp !== this.priceExp || message.size_exp !== this.sizeExp;
    this.#attachment = "accepted";
    this.number = message.sub;
    this.#reported = "live";
    this.#report = null;
    this.#backoff.reset();
    this.priceExp = message.price_exp;
    this.sizeExp = message.size_exp;
    this.delayMs = message.delay_ms ?? 0;
    if (message.resumed) this.session.stats.resumes++;
    this.begin(message.resumed, rescaled);
    this.takeRef(message.ref ?? {});
    this.update();
  }

  /** @internal The connection is gone. */
  detach(): void {
    if (this.#attachment !== "ended") this.#leave("detached");
  }

  /** @internal */
  end(error: MdstreamError | null): void {
    if (this.#attachment === "ended") return;
    this.error = error;
    this.#leave("ended");
    this.#any.emit("end", error);
  }

  /** @internal The gateway refused a repeated `subscribe` for now. */
  retryLater(): void {
    this.#attachment = "detached";
    this.#retry.set(this.session.policy.backoffBaseMs + this.#backoff.next(), () => {
      this.session.again(this.#any);
    });
  }

  /** @internal */
  take(message: StreamMessage): void {
    this.receive(message);
    this.update();
  }

  /** @internal */
  takeState(message: StateChange): void {
    if (!REPORTED.has(message.state)) return;
    this.#reported = message.state as SubscriptionState;
    this.#report = message;
    this.#reportedAt = this.session.clock.now();
    this.told(this.#reported, message.code ?? null);
    this.update();
  }

  /** @internal */
  takeRef(ref: Reference): void {
    this.ref = ref;
    this.#any.emit("ref", ref);
  }

  /** @internal A heartbeat told the newest number that was sent. */
  takeHeartbeat(seq: number): void {
    this.compare(seq);
    this.update();
  }

  /** @internal The gateway answered `recover` with `error`. */
  recoverRefused(): void {}

  // ---- for the channels

  /** Confirmed: goes on from `resume`, or from nothing. */
  protected begin(_resumed: boolean, _rescaled: boolean): void {
    this.synced = true;
  }

  /** No more messages come on this connection. */
  protected interrupt(): void {}

  protected abstract receive(message: StreamMessage): void;

  protected compare(_seq: number): void {}

  protected told(_state: SubscriptionState, _code: string | null): void {}

  /** Tells the listeners if the state or its code has changed. */
  protected update(): void {
    const state = this.state;
    if (TRUSTED.has(state)) this.#wasReady = true;
    const known = `${state}:${this.code ?? ""}`;
    if (known === this.#known) return;
    this.#known = known;
    this.#any.emit("state", state);
  }

  #leave(attachment: Attachment): void {
    this.#attachment = attachment;
    this.number = null;
    this.#retry.stop();
    this.interrupt();
    this.update();
  }

  /** TypeScript cannot see that any `Events` has the common ones. */
  get #any(): AnySubscription {
    return this as unknown as AnySubscription;
  }

  /** The gateway's report, if it is why the state is what it is. */
  #told(): StateChange | null {
    return this.#attachment === "accepted" && (this.synced || this.state === this.#reported) ? this.#report : null;
  }
}
