/** Time, injected so that tests need not wait. Milliseconds of a monotonic clock. */
export interface Clock {
  now(): number;
  /** Calls `callback` once after `ms`. Returns a function that prevents it. */
  after(ms: number, callback: () => void): () => void;
}

export const systemClock: Clock = {
  now: () => performance.now(),
  after(ms, callback) {
    const timer = setTimeout(callback, ms);
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
