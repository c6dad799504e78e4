import { list } from "./channel.js";
import { integer } from "./checks.js";
import { MdstreamError } from "./errors.js";
import { Keyed } from "./keyed-view.js";
import type { Refused } from "./messages.js";
import type { Owner, Request } from "./subscription.js";

/** What a key holds. */
export interface MapEntry {
  readonly value: unknown;
  /** The number of the change that set it. */
  readonly rev: number;
  /** Who did; null: a program on the bus that did not say. */
  readonly by: string | null;
  /** When it was stored, µs since 1970. */
  readonly ts: number;
}

/** Why a change was refused: what was expected does not hold. */
export class Conflict extends MdstreamError {
  constructor(
    message: string,
    /** What the expected keys hold; null where there is nothing. */
    readonly current: Readonly<Record<string, MapEntry | null>>,
  ) {
    super(message, "conflict");
  }
}

/** One atomic change. */
export interface Change {
  readonly set?: Readonly<Record<string, unknown>>;
  readonly delete?: readonly string[];
  /** By key, the `rev` that must hold, 0 for a key that must not exist; else nothing is changed. */
  readonly expect?: Readonly<Record<string, number>>;
  /** When the keys that are set end by themselves. */
  readonly ttlMs?: number;
  /** The same key within two minutes is the same change. */
  readonly key?: string;
}

/** Keyed values under a topic. `entries`, and each change of them, come from the bus; `put` asks for a change. */
export class TopicMap extends Keyed<MapEntry> {
  /** @internal */
  constructor(
    request: Request,
    owner: Owner,
    /** Makes a change, all of it or nothing; resolves to its number when it is stored. Rejects as `put` of the module. */
    readonly change: (change: Change) => Promise<number>,
  ) {
    super(request, owner);
  }

  /** By key. */
  get entries(): ReadonlyMap<string, MapEntry> {
    return this.rows;
  }

  /** The value of a key; undefined if there is none. */
  get(key: string): unknown {
    return this.rows.get(key)?.value;
  }

  /** What to `expect` of a key that nobody else may have changed meanwhile: 0 of one that does not exist. */
  rev(key: string): number {
    return this.rows.get(key)?.rev ?? 0;
  }

  /** Sets a key. With `expect`, only if that is its `rev`. */
  put(key: string, value: unknown, { expect, ...rest }: { expect?: number; ttlMs?: number } = {}): Promise<number> {
    return this.change({ set: { [key]: value }, ...rest, ...expected(key, expect) });
  }

  /** Deletes a key. With `expect`, only if that is its `rev`. */
  delete(key: string, { expect }: { expect?: number } = {}): Promise<number> {
    return this.change({ delete: [key], ...expected(key, expect) });
  }
}

function expected(key: string, rev: number | undefined): Pick<Change, "expect"> {
  return rev === undefined ? {} : { expect: { [key]: rev } };
}

/** @internal */
export function refusal(message: string, answer: Refused & { current?: Readonly<Record<string, unknown>> }): MdstreamError {
  if (answer.code !== "conflict") return new MdstreamError(message, answer.code);
  const current = Object.entries(answer.current ?? {}).map(([key, held]) => [key, held === null ? null : readEntry(held)]);
  return new Conflict(message, Object.fromEntries(current));
}

/** @internal */
export function readEntry(told: unknown): MapEntry {
  const [value, rev, by, ts] = list(told, "an entry");
  return { value, rev: integer(rev, "rev"), by: (by ?? null) as string | null, ts: integer(ts, "ts") };
}
