/** A token, or a function that gets a fresh one each time it is called. */
export type TokenSource = string | (() => string | Promise<string>);

/** Gets tokens, and never offers again the one that was refused. */
export class Tokens {
  readonly renewable: boolean;
  #last: string | null = null;
  #refused: string | null = null;

  constructor(private readonly source: TokenSource | undefined) {
    this.renewable = typeof source === "function";
  }

  get none(): boolean {
    return this.source === undefined;
  }

  /** A token; null if the source has only the one that was refused. Rejects if the source fails, or if it is no token. */
  async fresh(): Promise<string | null> {
    const token = typeof this.source === "function" ? await this.source() : (this.source ?? null);
    // Errors of `WebSocket` would say the token.
    if (typeof token !== "string" || !/^[\w.~+-]+$/.test(token))
      throw new TypeError("the token is no text of the characters A-Z a-z 0-9 . _ ~ + -");
    return token === this.#refused ? null : token;
  }

  /** The token that the gateway is given now. */
  used(token: string): void {
    this.#last = token;
  }

  /** The gateway refused the last one. Returns whether another may do. */
  refuse(): boolean {
    const again = this.renewable && this.#refused === null;
    this.#refused = this.#last;
    return again;
  }

  accepted(): void {
    this.#refused = null;
  }
}
