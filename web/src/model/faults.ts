import { type Connection, type Transport, type TransportEvents, webSocketTransport } from "@mdstream/client";

const FIXED_ARRAY_OF_8 = 0x98;
const DELTA = 1;

/** A way to the network that fails when it is told to. */
export class FaultyTransport implements Transport {
  /** Connections that were tried since the last one that was opened. */
  tries = 0;
  readonly #inner = webSocketTransport();
  #events: TransportEvents | null = null;
  #connection: Connection | null = null;
  #loseNext = false;
  #held: (() => void)[] | null = null;

  constructor(
    private readonly tried: () => void,
    private readonly lost: () => void,
  ) {}

  open(url: string, protocols: string[], events: TransportEvents): Connection {
    this.tries++;
    this.tried();
    const connection = this.#inner.open(url, protocols, {
      opened: () =>
        this.#pass(() => {
          this.tries = 0;
          events.opened();
        }),
      message: (data) => this.#pass(() => this.#deliver(data, events)),
      closed: (code, reason) => this.#pass(() => events.closed(code, reason)),
    });
    this.#events = events;
    this.#connection = connection;
    return connection;
  }

  /** As if the network broke: no close frame is seen. */
  drop(): void {
    const [events, connection] = [this.#events, this.#connection];
    this.#events = this.#connection = null;
    connection?.close(1000);
    events?.closed(1006, "");
  }

  /** The next change of a book never arrives. */
  lose(): void {
    this.#loseNext = true;
  }

  /** Nothing arrives for so long; then all at once. */
  stall(ms: number): void {
    if (this.#held !== null) return;
    this.#held = [];
    setTimeout(() => {
      const held = this.#held ?? [];
      this.#held = null;
      for (const each of held) each();
    }, ms);
  }

  #pass(what: () => void): void {
    if (this.#held === null) what();
    else this.#held.push(what);
  }

  #deliver(data: string | ArrayBuffer, events: TransportEvents): void {
    if (this.#loseNext && isDelta(data)) {
      this.#loseNext = false;
      return this.lost();
    }
    events.message(data);
  }
}

function isDelta(data: string | ArrayBuffer): boolean {
  if (typeof data === "string") return data.startsWith('{"type":"delta"');
  const bytes = new Uint8Array(data, 0, Math.min(2, data.byteLength));
  return bytes[0] === FIXED_ARRAY_OF_8 && bytes[1] === DELTA;
}
