// When it says something that nothing comes: a connection that was busy is asked for a sign of life; without one it is distrusted.

const PROBE_MS = 1_000;
const QUIET_MS = 1_500;
/** Messages in a second from which on silence says something. */
const BUSY = 4;

export class Silence {
  /** Whether silence says something. Not of the newest second alone: one in which it began had few messages. */
  busy = false;
  /** Whether nothing has come for so long that what is shown cannot be trusted. */
  quiet = false;
  #messages = 0;
  #heardAt: number;
  #probed = false;

  constructor(now: number) {
    this.#heardAt = now;
  }

  /** For how long nothing has come. */
  lasting(now: number): number {
    return now - this.#heardAt;
  }

  /** The connection is another one, or in another state. */
  begin(now: number): void {
    this.#heardAt = now;
  }

  /** So many messages came in a second. */
  second(messages: number): void {
    this.busy ||= messages >= BUSY;
  }

  /** So many have come in all. Returns whether a sign of life is to be asked for. */
  look(messages: number, isOpen: boolean, now: number): boolean {
    if (messages !== this.#messages) {
      this.#messages = messages;
      this.#heardAt = now;
      if (this.#probed) this.busy = false; // it lives: there was nothing to say
      this.#probed = false;
    }
    const silentMs = isOpen && this.busy ? this.lasting(now) : 0;
    this.quiet = silentMs > QUIET_MS;
    if (silentMs <= PROBE_MS || this.#probed) return false;
    this.#probed = true;
    return true;
  }
}
