import type { Welcome } from "./messages.js";

/** What belongs to a subscription that is no data of it. */
const NO_DATA: ReadonlySet<unknown> = new Set(["board_names", "acknowledged", "recovered"]);

/** Whether a connection was a success: then the next one is tried as soon as if none had failed. */
export class Health {
  #since = 0;
  #useful = false;

  /** `mostMs`: how long it must last where the gateway does not ask for less. */
  constructor(private readonly mostMs: number) {}

  opened(now: number): void {
    this.#since = now;
    this.#useful = false;
  }

  /** A message of a subscription came; `kind` is that of a channel with a module of its own. */
  came(kind?: unknown): void {
    this.#useful ||= !NO_DATA.has(kind);
  }

  /** Whether it lasted long enough, and was of use if anything was `wanted`. */
  wasGood(welcome: Welcome | null, wanted: boolean, now: number): boolean {
    if (welcome === null || (wanted && !this.#useful)) return false;
    return now - this.#since >= Math.min(welcome.healthy_ms ?? this.mostMs, this.mostMs);
  }
}
