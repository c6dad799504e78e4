/** The gateways in turn: after each failure, and after each connection, comes the next one. */
export class Urls {
  #at = 0;
  readonly #urls: readonly string[];

  constructor(urls: string | readonly string[]) {
    this.#urls = typeof urls === "string" ? [urls] : [...urls];
    if (this.#urls.length === 0) throw new TypeError("there is no gateway URL");
    for (const url of this.#urls) check(url);
  }

  get current(): string {
    return this.#urls[this.#at]!;
  }

  failed(): void {
    this.#at = (this.#at + 1) % this.#urls.length;
  }
}

function check(url: string): void {
  let protocol = "";
  try {
    protocol = new URL(url).protocol;
  } catch {
    // The message below says it.
  }
  if (protocol !== "ws:" && protocol !== "wss:") {
    throw new TypeError(`gateway URL was ${JSON.stringify(url)}; it must be ws://host:port/v1/stream or wss://…`);
  }
}
