type Result<T> = IteratorResult<T & { skipped: number }>;

/** An async iteration over what a subscription delivers. A slow consumer loses the oldest, and is told how many. */
export class Updates<T extends object & { readonly skipped?: number }> implements AsyncIterableIterator<T & { skipped: number }> {
  readonly #queue: T[] = [];
  readonly #waiting: { resolve(result: Result<T>): void; reject(error: unknown): void }[] = [];
  #skipped = 0;
  #ended = false;
  #error: unknown = null;
  #stop: (() => void) | null = null;

  /** @param start is called with what takes a value and what ends the iteration; it returns a function that stops both. */
  constructor(
    start: (push: (value: T) => void, end: (error: unknown) => void) => () => void,
    private readonly buffer: number,
  ) {
    const stop = start(
      (value) => this.#push(value),
      (error) => this.#end(error),
    );
    if (this.#ended) stop();
    else this.#stop = stop;
  }

  next(): Promise<Result<T>> {
    if (this.#queue.length > 0) return Promise.resolve({ done: false, value: this.#take() });
    if (this.#ended) return this.#finish();
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  return(): Promise<Result<T>> {
    this.#queue.length = 0;
    this.#end(null);
    this.#error = null;
    return this.#finish();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #push(value: T): void {
    if (this.#ended) return;
    this.#queue.push(value);
    if (this.#queue.length > Math.max(this.buffer, 1)) this.#skipped += 1 + (this.#queue.shift()!.skipped ?? 0);
    const waiting = this.#waiting.shift();
    waiting?.resolve({ done: false, value: this.#take() });
  }

  #take(): T & { skipped: number } {
    const value = this.#queue.shift()!;
    const skipped = this.#skipped + (value.skipped ?? 0);
    this.#skipped = 0;
    return { ...value, skipped };
  }

  #end(error: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    this.#stop?.();
    for (const { resolve, reject } of this.#waiting.splice(0)) this.#finish().then(resolve, reject);
  }

  /** The error that ended it is thrown once; afterwards the iteration is merely done. */
  #finish(): Promise<Result<T>> {
    const error = this.#error;
    this.#error = null;
    return error === null ? Promise.resolve({ done: true, value: undefined }) : Promise.reject(error as Error);
  }
}
