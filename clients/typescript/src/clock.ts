/** Time, injected so that tests need not wait. Milliseconds of a monotonic clock. */
export interface Clock {
  now(): number;
  /** Calls `callback` once after `ms`. Returns a function that prevents it. */
  after(ms: number, callback: () => void): () => void;
}

/** `setTimeout` takes a longer time for none. */
const LONGEST_MS = 2 ** 31 - 1;

export const systemClock: Clock = {
  now: () => performance.now(),
  after(ms, callback) {
    const timer = setTimeout(callback, Math.min(ms, LONGEST_MS));
    return () => clearTimeout(timer);
  },
};

/** At most one timer: setting it again replaces the one before. */
export class Timer {
  readonly #clock: Clock;
  #cancel: (() => void) | null = null;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get running(): boolean {
    return this.#cancel !== null;
  }

  set(ms: number, callback: () => void): void {
    this.stop();
    this.#cancel = this.#clock.after(ms, () => {
      this.#cancel = null;
      callback();
    });
  }

  stop(): void {
    this.#cancel?.();
    this.#cancel = null;
  }
}
