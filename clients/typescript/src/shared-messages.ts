// What pages and the worker that they share say to each other. Both are of one version of this package.

import type { BookOptions, ClientState, TickerOptions } from "./api.js";
import type { Policy } from "./backoff.js";
import type { BookChange } from "./book.js";
import type { MdstreamError } from "./errors.js";
import type { TopicEvent } from "./events-view.js";
import type { Answer, Command, Reference, Welcome } from "./messages.js";
import type { Stats } from "./stats.js";
import type { Request, Subscription, SubscriptionEvents, SubscriptionState } from "./subscription.js";
import type { TickerValue } from "./ticker.js";
import type { Trade } from "./trades.js";

/** What a connection is made of. Pages with the same settings share one. */
export interface Settings {
  readonly urls: readonly string[];
  readonly format: string;
  readonly lines: number;
  readonly policy: Partial<Policy>;
  /** Whether a page can bring tokens. */
  readonly tokens: boolean;
}

export type ToWorker =
  | { readonly op: "hello"; readonly settings: Settings; readonly lock: string | null; readonly life: number }
  | {
      readonly op: "open";
      readonly id: number;
      readonly request: Request;
      /** Of a book or a ticker. */
      readonly options: BookOptions & TickerOptions;
      /** Of events: after which they are to begin. */
      readonly since: Place | null;
    }
  | { readonly op: "close"; readonly id: number }
  | { readonly op: "ping"; readonly id: number }
  | { readonly op: "token"; readonly id: number; readonly token: string | null; readonly error: string }
  | { readonly op: "probe" }
  /** A command that belongs to no subscription. */
  | { readonly op: "say"; readonly id: number; readonly command: Command }
  | { readonly op: "acknowledge"; readonly id: number; readonly seq: number }
  /** A batch was read. */
  | { readonly op: "ack" }
  | { readonly op: "bye" };

export interface Failure {
  readonly message: string;
  readonly code: MdstreamError["code"];
}

/** The state of a subscription, and what belongs to it. */
export interface Told {
  readonly state: SubscriptionState;
  readonly code: string | null;
  readonly reason: string | null;
  readonly ageMs: number | null;
  readonly priceExp: number;
  readonly sizeExp: number;
  readonly delayMs: number;
  /** Counts, `group`, and what a topic has of its own, as far as the channel has them. */
  readonly numbers: Numbers;
}

export type Item =
  | {
      readonly kind: "client";
      readonly state: ClientState;
      readonly reason: string | null;
      readonly url: string;
      readonly welcome: Welcome | null;
      readonly error: Failure | null;
    }
  /** The lock that the worker holds as long as it lives. */
  | { readonly kind: "worker"; readonly lock: string }
  | { readonly kind: "warning"; readonly text: string }
  | { readonly kind: "pong"; readonly id: number; readonly ms: number | null }
  /** The gateway wants a token. */
  | { readonly kind: "token"; readonly id: number }
  | { readonly kind: "told"; readonly id: number; readonly told: Told }
  | { readonly kind: "ref"; readonly id: number; readonly ref: Reference }
  | { readonly kind: "end"; readonly id: number; readonly error: Failure | null }
  | { readonly kind: "change"; readonly id: number; readonly change: BookChange }
  | { readonly kind: "empty"; readonly id: number }
  | { readonly kind: "value"; readonly id: number; readonly value: TickerValue }
  | { readonly kind: "trade"; readonly id: number; readonly trade: Trade }
  | (EventItem & { readonly id: number })
  | { readonly kind: "acknowledged"; readonly id: number; readonly seq: number }
  /** To `say`; null where none is waited for any more. */
  | { readonly kind: "answer"; readonly id: number; readonly answer: Answer | null }
  /** Of a channel that has a module of its own: the arguments of `change`, the place of the view, and whether this is all. */
  | {
      readonly kind: "relayed";
      readonly id: number;
      readonly args: readonly unknown[];
      readonly numbers: Numbers;
      readonly anew: boolean;
    };

/** A number of a stream, and which stream; 0 is any. */
export type Place = readonly [epoch: number, seq: number];

/** What comes one by one. Trades are `lost` too. */
export type EventItem =
  | { readonly kind: "event"; readonly event: TopicEvent; readonly epoch: number }
  | { readonly kind: "lost"; readonly first: number; readonly last: number };

export type Numbers = Readonly<Record<string, number | string>>;

/** A view of a channel that has a module of its own, as it is passed on. */
export type Relayed = Subscription<SubscriptionEvents & { change: unknown[] }> & {
  whole(): readonly unknown[] | null;
  /** What is passed on of the arguments of `change`; the arguments themselves where there is none. */
  telling?(args: readonly unknown[]): readonly unknown[];
  relay(args: readonly unknown[], anew: boolean): void;
};

export interface Batch {
  readonly items: readonly Item[];
  readonly stats: Readonly<Stats>;
  /** As the page said in `hello`. */
  readonly life: number;
}

/** What of a MessagePort both sides use. */
export interface Port {
  postMessage(message: unknown): void;
  onmessage: ((event: MessageEvent) => void) | null;
  start?(): void;
}

/** A name that no other lock has. */
export function lockName(): string {
  return `mdstream-${crypto.randomUUID?.() ?? Math.random()}`;
}

export function failureOf(error: MdstreamError | null): Failure | null {
  return error === null ? null : { message: error.message, code: error.code };
}
