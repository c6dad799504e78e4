import { useEffect, useState } from "preact/hooks";

/** Something that changes, and those who watch it. */
export class Value<T> {
  #value: T;
  readonly #watchers = new Set<(value: T) => void>();

  constructor(value: T) {
    this.#value = value;
  }

  get now(): T {
    return this.#value;
  }

  set(value: T): void {
    if (Object.is(value, this.#value)) return;
    this.#value = value;
    for (const watcher of [...this.#watchers]) watcher(value);
  }

  /** Tells the watchers, though it is the same object: something in it has changed. */
  touch(): void {
    for (const watcher of [...this.#watchers]) watcher(this.#value);
  }

  watch(watcher: (value: T) => void): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }
}

/** The value, in a component that is drawn again when it changes. */
export function useValue<T>(value: Value<T>): T {
  const [, redraw] = useState(0);
  useEffect(() => value.watch(() => redraw((count) => count + 1)), [value]);
  return value.now;
}

/** Whether all fields are the same. */
export function alike<Fields extends object>(one: Fields, other: Fields): boolean {
  const names = Object.keys(one) as (keyof Fields)[];
  return names.length === Object.keys(other).length && names.every((name) => Object.is(one[name], other[name]));
}
