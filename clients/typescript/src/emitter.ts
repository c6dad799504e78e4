/** Functions that are called when something happens. One that throws is reported; the others are called all the same. */
export class Emitter<Events extends Record<string, unknown[]>> {
  readonly #listeners = new Map<keyof Events, Set<(args: unknown[]) => void>>();

  /** Calls `listener` at each `event`. Returns a function that ends this. */
  on<Name extends keyof Events>(event: Name, listener: (...args: Events[Name]) => void): () => void {
    let set = this.#listeners.get(event);
    if (set === undefined) this.#listeners.set(event, (set = new Set()));
    // A wrapper, so that a function that is given twice is called twice.
    const call = (args: unknown[]) => listener(...(args as Events[Name]));
    set.add(call);
    return () => void set.delete(call);
  }

  protected emit<Name extends keyof Events>(event: Name, ...args: Events[Name]): void {
    const set = this.#listeners.get(event);
    if (set === undefined) return;
    for (const listener of set) {
      try {
        listener(args);
      } catch (error) {
        report(error);
      }
    }
  }
}

/** As an uncaught error, but what called goes on. */
function report(error: unknown): void {
  if (typeof reportError === "function") reportError(error);
  else console.error(error);
}
