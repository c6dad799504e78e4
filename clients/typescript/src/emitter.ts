/** What an object tells: a name for each event, and the arguments of its listeners. */
export type EventMap<Events> = { [Name in keyof Events]: unknown[] };

interface Listener {
  readonly call: (args: unknown[]) => void;
  active: boolean;
}

/** Functions that are called when something happens. One that throws is reported; the others are called all the same. */
export class Emitter<Events extends EventMap<Events>> {
  // Arrays are replaced, never changed: who is being called does not depend on what the called do.
  readonly #listeners = new Map<PropertyKey, readonly Listener[]>();

  /** Calls `listener` at each `event`. Returns a function that ends this. */
  on<Name extends keyof Events>(event: Name, listener: (...args: Events[Name]) => void): () => void {
    const added: Listener = { call: (args) => listener(...(args as Events[Name])), active: true };
    this.#listeners.set(event, [...(this.#listeners.get(event) ?? []), added]);
    return () => {
      added.active = false;
      const rest = this.#listeners.get(event)?.filter((other) => other !== added) ?? [];
      this.#listeners.set(event, rest);
    };
  }

  /** @internal */
  emit<Name extends keyof Events>(event: Name, ...args: Events[Name]): void {
    for (const listener of this.#listeners.get(event) ?? []) {
      if (!listener.active) continue;
      try {
        listener.call(args);
      } catch (error) {
        report(error);
      }
    }
  }
}

/** As an uncaught error, but what called goes on. */
export function report(error: unknown): void {
  if (typeof reportError === "function") reportError(error);
  else console.error(error);
}
