// For tests of applications: a clock that moves only when told, and a gateway that says what the test says.

import type { Clock } from "./clock.js";
import type { Connection, Transport, TransportEvents } from "./transport.js";

/** Time stands until `advance` moves it. */
export class FakeClock implements Clock {
  #now = 0;
  #timers: { at: number; callback: () => void }[] = [];

  now(): number {
    return this.#now;
  }

  after(ms: number, callback: () => void): () => void {
    const timer = { at: this.#now + ms, callback };
    this.#timers.push(timer);
    return () => (this.#timers = this.#timers.filter((other) => other !== timer));
  }

  /** Moves the time, but calls nothing: the whole process stood still. */
  sleep(ms: number): void {
    this.#now += ms;
  }

  /** Moves the time, and calls what falls due on the way, in order. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms;
    for (;;) {
      const next = this.#timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
      if (next === undefined) break;
      this.#timers = this.#timers.filter((other) => other !== next);
      this.#now = Math.max(this.#now, next.at);
      next.callback();
      await settle();
    }
    this.#now = end;
    await settle();
  }
}

/** Lets promises that are settled have their effect. */
async function settle(): Promise<void> {
  for (let i = 0; i < 5; i++) await Promise.resolve();
}

/** Takes the place of the network. Each connection that a client opens appears in `connections`. */
export class FakeTransport implements Transport {
  readonly connections: FakeConnection[] = [];

  open(url: string, protocols: string[], events: TransportEvents): Connection {
    const connection = new FakeConnection(url, protocols, events);
    this.connections.push(connection);
    return connection;
  }

  /** The newest connection. */
  get last(): FakeConnection {
    const last = this.connections.at(-1);
    if (last === undefined) throw new Error("no connection was opened");
    return last;
  }
}

/** One connection, seen from the gateway. Messages are those of the JSON format. */
export class FakeConnection implements Connection {
  /** The client's commands, oldest first. */
  readonly commands: Record<string, unknown>[] = [];
  /** The code that the client closed with; null if it has not. */
  closedWith: number | null = null;

  constructor(
    readonly url: string,
    readonly protocols: string[],
    private readonly events: TransportEvents,
  ) {}

  send(data: string | Uint8Array<ArrayBuffer>): void {
    this.commands.push(JSON.parse(String(data)) as Record<string, unknown>);
  }

  close(code?: number): void {
    this.closedWith = code ?? 1005;
  }

  /** The upgrade succeeds. */
  opened(): void {
    this.events.opened();
  }

  /** Sends a message to the client. */
  say(message: object): void {
    this.events.message(JSON.stringify(message));
  }

  /** Closes the connection; 1006: it is gone without a word. */
  closed(code = 1006, reason = ""): void {
    this.events.closed(code, reason);
  }
}
