// What the gateway sends is checked where it comes in: a value of the wrong type costs the connection, never a wrong price.

import { ContractBroken } from "./errors.js";
import type { Control, More } from "./messages.js";

const MOST_EXPONENT = 18;

export function integer(value: unknown, what: string): number {
  if (!Number.isSafeInteger(value)) throw new ContractBroken(`${what} was ${String(value)}, not an integer up to 2^53`);
  return value as number;
}

/** The message, if it is one that this client knows, or belongs to a subscription; null if not. */
export function control(value: unknown): Control | More | null {
  if (typeof value !== "object" || value === null) return null;
  const message = value as Control;
  switch (message.type) {
    case "subscribed":
      for (const exponent of [message.price_exp, message.size_exp]) {
        if (!(Math.abs(integer(exponent ?? 0, "an exponent")) <= MOST_EXPONENT))
          throw new ContractBroken(`an exponent was ${exponent}`);
      }
      integer(message.sub, "sub");
      integer(message.group ?? 0, "group");
      break;
    case "lost":
      integer(message.first, "first");
      integer(message.last, "last");
      break;
    case "unsubscribed":
      if (!Array.isArray(message.subs)) throw new ContractBroken("subs were no list");
      break;
    case "drain":
      integer(message.reconnect_after_ms, "reconnect_after_ms");
      break;
    case "welcome":
    case "ref":
    case "state":
    case "error":
    case "pong":
    case "published":
    case "stored":
    case "authenticated":
    case "token_expiring":
      break;
    default: {
      const { type, sub } = message as { type: unknown; sub?: unknown };
      return more(type, sub, message);
    }
  }
  return message;
}

/** A message that only the module of its channel can read. */
export function more(kind: unknown, sub: unknown, values: unknown): More | null {
  return typeof sub === "number" ? { type: "more", kind, sub, values } : null;
}

/** Numbers of trades: each once and in order, and as many as `first` and `last` say. */
export function inOrder(trades: readonly { readonly 0: number }[], first: number, last: number): void {
  const right = trades.length === last - first + 1 && trades.every((trade, index) => trade[0] === first + index);
  if (!right) throw new ContractBroken(`trades ${first} to ${last} were not each there once`);
}
