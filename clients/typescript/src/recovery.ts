import { Backoff } from "./backoff.js";
import { Timer } from "./clock.js";
import type { Session } from "./engine.js";

/** One `recover` from the command to its answer. The first goes out at once; after each failure the wait is longer. */
export class Recovery<T> {
  /** Whether something is missing and asked for. */
  active = false;
  #from = 0;
  #held: T[] = [];
  readonly #timer: Timer;
  readonly #backoff: Backoff;

  constructor(
    private readonly send: (from: number) => void,
    private readonly session: Session,
  ) {
    this.#timer = new Timer(session.clock);
    this.#backoff = new Backoff(session.policy, session.random);
  }

  /** Whether an answer, or a snapshot that comes by itself, is awaited. */
  get waiting(): boolean {
    return this.#timer.running;
  }

  /** Asks from the first missing number; 0 asks for a snapshot. */
  start(from: number): void {
    const first = this.#backoff.attempt === 0;
    const delay = this.#backoff.next();
    this.active = true;
    this.#from = from;
    if (first) this.#ask();
    else this.#timer.set(delay, () => this.#ask());
  }

  /** A snapshot should come by itself; asks for it if it does not. */
  expect(): void {
    this.#from = 0;
    this.#timer.set(this.session.policy.answerTimeoutMs, () => this.#ask());
  }

  /** There is nothing to ask for: data will come by itself. */
  wait(): void {
    this.active = false;
    this.#timer.stop();
  }

  /** Keeps a message that cannot be applied yet. Beyond the bound all are dropped; they show up as missing later. */
  hold(message: T): void {
    if (this.#held.length >= this.session.policy.heldMessages) this.#held = [];
    this.#held.push(message);
  }

  dropHeld(): void {
    this.#held = [];
  }

  /** The answer has come. Returns what was held, in order. */
  complete(): T[] {
    this.wait();
    const held = this.#held;
    this.#held = [];
    return held;
  }

  /** What came after the answer was right: the next `recover` is a first one. */
  succeeded(): void {
    this.#backoff.reset();
  }

  /** The connection is gone, and with it the command and what was held. */
  stop(): void {
    this.complete();
    this.succeeded();
  }

  /** The gateway answered `error`. */
  refused(): void {
    if (this.active) this.#timer.set(this.session.policy.backoffBaseMs + this.#backoff.next(), () => this.#ask());
  }

  #ask(): void {
    this.active = true;
    const from = this.#from;
    // Without an answer the next one asks for a snapshot, which is always possible.
    this.#from = 0;
    this.#timer.set(this.session.policy.answerTimeoutMs, () => this.#ask());
    this.send(from);
  }
}
