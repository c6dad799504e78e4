import type { Policy } from "./backoff.js";
import type { Clock } from "./clock.js";
import type { Subscription, SubscriptionEvents } from "./subscription.js";

/** Counts of one client since it was made. */
export interface Stats {
  /** WebSocket messages, and their bytes (in JSON: characters). */
  messages: number;
  bytes: number;
  /** Snapshots, deltas, trades and tickers. */
  updates: number;
  /** How often a number was missing. */
  gaps: number;
  /** `recover` commands sent. */
  recoveries: number;
  /** How often a book did not match its checksum or an update did not fit; and how many checksums were right. */
  crcErrors: number;
  crcChecked: number;
  /** How often a connection was lost or left, and the client came back. */
  reconnects: number;
  /** Subscriptions that went on after a reconnect without a snapshot. */
  resumes: number;
}

/** What a subscription needs from its client. */
export interface Session {
  readonly clock: Clock;
  readonly policy: Policy;
  readonly random: () => number;
  readonly stats: Stats;
  recover(subscription: AnySubscription, from: number): void;
  unsubscribe(subscription: AnySubscription): void;
  /** Subscribes again, from nothing. */
  again(subscription: AnySubscription): void;
}


export type AnySubscription = Subscription<SubscriptionEvents>;
