/** Times of the contract, in milliseconds. */
export interface Policy {
  /** Base and cap of the random delay before the next connection. */
  backoffBaseMs: number;
  backoffCapMs: number;
  /** A connection that lasted so long counts as a success, or as the gateway says if that is less: the next delay starts at the base. */
  healthyAfterMs: number;
  /** How long to wait for a connection and its `welcome`. */
  connectTimeoutMs: number;
  /** How long to wait for the answer to `recover`, and for a snapshot. */
  answerTimeoutMs: number;
  /** How long a connection may stay silent after the page was asleep, hidden or offline. */
  probeTimeoutMs: number;
  /** Most messages that are held while something is missing. */
  heldMessages: number;
  /** Most levels on one side of a book; one with more counts as wrong. */
  mostLevels: number;
}

export const POLICY: Readonly<Policy> = {
  backoffBaseMs: 500,
  backoffCapMs: 20_000,
  healthyAfterMs: 30_000,
  connectTimeoutMs: 10_000,
  answerTimeoutMs: 10_000,
  probeTimeoutMs: 3_000,
  heldMessages: 4_096,
  mostLevels: 1 << 20,
};

/** Delays with full jitter, so that clients that lost their connection together do not return together. */
export class Backoff {
  attempt = 0;
  readonly #policy: Policy;
  readonly #random: () => number;

  constructor(policy: Policy, random: () => number) {
    this.#policy = policy;
    this.#random = random;
  }

  /** A random part of `min(cap, base · 2^attempt)`; counts as an attempt. */
  next(): number {
    const { backoffBaseMs, backoffCapMs } = this.#policy;
    return this.#random() * Math.min(backoffCapMs, backoffBaseMs * 2 ** this.attempt++);
  }

  reset(): void {
    this.attempt = 0;
  }
}
