// What the channels share that are no part of the core: an application pays only for those that it imports.

import type { Client } from "./api.js";
import { integer } from "./checks.js";
import { parseDecimal } from "./decimals.js";
import type { Engine, Session } from "./engine.js";
import { ContractBroken } from "./errors.js";
import type { AnySubscription, Owner, Request } from "./subscription.js";

/** Makes the state machine of a subscription. */
export type Make<View extends AnySubscription> = (owner: Owner, session: Session) => Engine<View>;

interface Extensible {
  open<View extends AnySubscription>(request: Request, make: Make<View>): View;
}

/** Subscribes on the client's connection; of several lines, on the first. Asking twice for the same gives the same object. */
export function open<View extends AnySubscription>(client: Client, request: Request, make: Make<View>): View {
  const line = client.lines[0] as Partial<Extensible> | undefined;
  if (line?.open === undefined) {
    throw new TypeError(`the channel ${request.channel} needs a connection of its own: make it with connect() of @mdstream/client`);
  }
  return line.open(request, make);
}

/** One subscription to all instruments that any of the patterns matches. */
export function patternRequest(channel: string, patterns: string | readonly string[], intervalMs: number): Request {
  const instruments = typeof patterns === "string" ? [patterns] : [...patterns];
  return { channel, instrument: "", view: { instruments, interval_ms: intervalMs } };
}

export function list(value: unknown, what: string): readonly unknown[] {
  if (!Array.isArray(value)) throw new ContractBroken(`${what} was ${String(value)}, not a list`);
  return value;
}

export function text(value: unknown, what: string): string {
  if (typeof value !== "string") throw new ContractBroken(`${what} was ${String(value)}, not a text`);
  return value;
}

/** The fields of a message by name: a map has them; of an array they stand in this order, after its type. */
export function fieldsOf(values: unknown, names: readonly string[]): Readonly<Record<string, unknown>> {
  if (!Array.isArray(values)) return values as Record<string, unknown>;
  return Object.fromEntries(names.map((name, index) => [name, values[index]]));
}

/** Ticks or lots: an integer in MessagePack, exact decimal text in JSON. */
export function amount(value: unknown, exponent: number, what: string): number {
  if (typeof value !== "string") return integer(value, what);
  try {
    return parseDecimal(value, exponent);
  } catch (error) {
    throw new ContractBroken(`${what}: ${String(error)}`);
  }
}

export function amountOrNull(value: unknown, exponent: number, what: string): number | null {
  return value === null || value === undefined ? null : amount(value, exponent, what);
}
