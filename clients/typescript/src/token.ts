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

  /** A token; null if the source has only the one that was refused. Rejects if the source fails. */
  async fresh(): Promise<string | null> {
    const token = typeof this.source === "function" ? await this.source() : (this.source ?? null);
    if (token === this.#refused) return null;
    return (this.#last = token);
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
