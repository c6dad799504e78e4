/** An async iteration over what a subscription delivers. A slow consumer loses the oldest, and is told how many. */
export class Updates<T> implements AsyncIterableIterator<T & { skipped: number }> {
  #queue: T[] = [];
  #skipped = 0;
  #waiting: { resolve(result: IteratorResult<T & { skipped: number }>): void; reject(error: unknown): void } | null = null;
  #ended = false;
  #error: unknown = null;
  readonly #stop: () => void;

  /** @param start is called with what takes a value and what ends the iteration; it returns a function that stops both. */
  constructor(
    start: (push: (value: T) => void, end: (error: unknown) => void) => () => void,
    private readonly buffer: number,
  ) {
    this.#stop = start(
      (value) => this.#push(value),
      (error) => this.#end(error),
    );
  }

  next(): Promise<IteratorResult<T & { skipped: number }>> {
    if (this.#queue.length > 0) return Promise.resolve({ done: false, value: this.#take() });
    if (this.#ended) return this.#finish();
    return new Promise((resolve, reject) => (this.#waiting = { resolve, reject }));
  }

  return(): Promise<IteratorResult<T & { skipped: number }>> {
    this.#queue = [];
    this.#end(null);
    return this.#finish();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #push(value: T): void {
    if (this.#ended) return;
    this.#queue.push(value);
    if (this.#queue.length > this.buffer) {
      this.#queue.shift();
      this.#skipped++;
    }
    const waiting = this.#waiting;
    this.#waiting = null;
    waiting?.resolve({ done: false, value: this.#take() });
  }

  #take(): T & { skipped: number } {
    const skipped = this.#skipped;
    this.#skipped = 0;
    return { ...this.#queue.shift()!, skipped };
  }

  #end(error: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    this.#stop();
    const waiting = this.#waiting;
    this.#waiting = null;
    if (waiting !== null) this.#finish().then(waiting.resolve, waiting.reject);
  }

  /** The error that ended it is thrown once; afterwards the iteration is merely done. */
  #finish(): Promise<IteratorResult<T & { skipped: number }>> {
    const error = this.#error;
    this.#error = null;
    return error === null ? Promise.resolve({ done: true, value: undefined }) : Promise.reject(error as Error);
  }
}
