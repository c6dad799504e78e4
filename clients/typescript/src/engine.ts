import { Backoff, type Policy } from "./backoff.js";
import { type Clock, Timer } from "./clock.js";
import type { MdstreamError } from "./errors.js";
import type { Data, Lost, More, Reference, StateChange, Subscribed } from "./messages.js";
import type { Stats } from "./stats.js";
import { type AnySubscription, mutable, type Request, type SubscriptionState, TRUSTED } from "./subscription.js";

/** What an engine needs from its client. */
export interface Session {
  readonly clock: Clock;
  readonly policy: Policy;
  readonly random: () => number;
  readonly stats: Stats;
  /** Why what came last may be of another time than now; null if it is not doubted. */
  doubt: string | null;
  recover(engine: Engine, from: number): void;
  /** Subscribes again. */
  again(engine: Engine): void;
}

type Attachment = "detached" | "requested" | "accepted" | "ended";
export type StreamMessage = Data | Lost | More;

/** The state machine behind a subscription: it fills the view from what one gateway sends, over any number of connections. */
export abstract class Engine<View extends AnySubscription = AnySubscription> {
  /** How often its user asked for it. */
  users = 1;
  /** Its number on this connection. */
  number: number | null = null;
  /** What to ask for now: a group that the gateway chose is kept. */
  wanted: Request;

  protected synced = false;
  protected reported: SubscriptionState = "live";
  protected report: StateChange | null = null;
  #attachment: Attachment = "detached";
  #reportedAt = 0;
  /** What this side has to say of the state. */
  #reason: string | null = null;
  readonly #retry: Timer;
  readonly #backoff: Backoff;

  constructor(
    readonly view: View,
    protected readonly session: Session,
  ) {
    this.wanted = view.request;
    this.#retry = new Timer(session.clock);
    this.#backoff = new Backoff(session.policy, session.random);
  }

  get request(): Request {
    return this.view.request;
  }

  get accepted(): boolean {
    return this.#attachment === "accepted";
  }

  /** `[epoch, seq]` after which the gateway may go on; null if it must begin anew. */
  get resume(): [number, number] | null {
    return null;
  }

  /** `subscribe` was sent; what the gateway sent before is over. */
  requested(reason: string | null = null): void {
    this.#leave("requested", reason);
  }

  /** The gateway sent `subscribed`. */
  accept(message: Subscribed): void {
    const view = mutable(this.view);
    const { price_exp: priceExp = 0, size_exp: sizeExp = 0, group = 0 } = message;
    const rescaled = priceExp !== view.priceExp || sizeExp !== view.sizeExp;
    this.#attachment = "accepted";
    this.number = message.sub;
    this.reported = "live";
    this.report = this.#reason = null;
    this.#backoff.reset();
    view.priceExp = priceExp;
    view.sizeExp = sizeExp;
    view.delayMs = message.delay_ms ?? 0;
    view.group = group;
    const { group_digits: digits, ...fields } = this.request.view;
    if (digits) this.wanted = { ...this.request, view: { ...fields, group } };
    if (message.resumed) this.session.stats.resumes++;
    this.begin(message.resumed, rescaled);
    this.update();
    if (this.accepted) this.view.tellRef(message.ref ?? {});
  }

  /** The connection is gone. */
  detach(reason: string): void {
    if (this.#attachment !== "ended") this.#leave("detached", reason);
  }

  end(error: MdstreamError | null): void {
    if (this.#attachment === "ended") return;
    this.#leave("ended", null);
    this.view.end(error);
  }

  /** The gateway refused `subscribe` for now. */
  retryLater(reason: string): void {
    this.#leave("requested", reason);
    if (this.#attachment !== "requested") return; // a listener closed it
    const delay = this.session.policy.backoffBaseMs + this.#backoff.next();
    this.#retry.set(delay, () => this.session.again(this));
  }

  take(message: StreamMessage): void {
    if (!this.accepted) return;
    this.receive(message);
    this.update();
  }

  takeState(message: StateChange): void {
    const state = message.state as SubscriptionState;
    if (!this.accepted || !(TRUSTED.has(state) || state === "recovering")) return;
    this.reported = state;
    this.report = message;
    this.#reportedAt = this.session.clock.now();
    this.told();
    this.update();
  }

  takeRef(ref: Reference): void {
    this.view.tellRef(ref);
  }

  /** A heartbeat told the newest number that was sent. */
  takeHeartbeat(seq: number): void {
    if (!this.accepted) return;
    this.compare(seq);
    this.update();
  }

  /** The gateway answered `recover` with `error`. */
  recoverRefused(): void {}

  // ---- for the channels

  /** Confirmed: goes on from `resume`, or from nothing. */
  protected abstract begin(resumed: boolean, rescaled: boolean): void;

  /** No more messages come on this connection. */
  protected interrupt(): void {}

  protected abstract receive(message: StreamMessage): void;

  protected compare(_seq: number): void {}

  protected told(): void {}

  /** Tells the view its state. Each change of the data is told after this. */
  update(): void {
    if (this.#attachment === "ended") return;
    const state = this.#state();
    const told = this.accepted && state === this.reported ? this.report : null;
    this.view.tell({
      state,
      code: told?.code ?? null,
      reason: told === null ? (this.#reason ?? this.session.doubt) : (told.reason ?? null),
      ageMs: told?.age_ms ?? null,
      at: this.#reportedAt,
    });
  }

  #state(): SubscriptionState {
    const isSure = this.synced && this.session.doubt === null;
    if (this.accepted && (isSure || this.reported === "recovering")) return this.reported;
    if (!this.view.wasReady) return "pending";
    return this.#attachment === "detached" ? "disconnected" : "recovering";
  }

  #leave(attachment: Attachment, reason: string | null): void {
    this.#attachment = attachment;
    this.#reason = reason;
    this.number = null;
    this.#retry.stop();
    this.interrupt();
    this.update();
  }
}
