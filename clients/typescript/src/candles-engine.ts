import { type Candle, Candles, readCandle } from "./candles-view.js";
import { fieldsOf, list, type Make } from "./channel.js";
import { Engine, type StreamMessage } from "./engine.js";
import type { Request } from "./subscription.js";

const KINDS = new Set<unknown>(["candles", 10]);

/** Makes the machine of candles. */
export function makeCandles(request: Request): Make<Candles> {
  return (owner, session) => new CandlesEngine(new Candles(request, owner), session);
}

/** Keeps candles: of two with the same start, the greater revision counts. */
export class CandlesEngine extends Engine<Candles> {
  /** The revisions that this connection brought: another gateway may count otherwise. */
  readonly #revisions = new Map<number, number>();

  protected override begin(_resumed: boolean, rescaled: boolean): void {
    this.#revisions.clear();
    if (rescaled) this.view.clear();
    this.synced = this.request.view["history"] === 0;
  }

  protected override interrupt(): void {
    this.synced = false;
  }

  protected override receive(message: StreamMessage): void {
    if (message.type !== "more" || !KINDS.has(message.kind)) return;
    const { rows, more } = fieldsOf(message.values, ["sub", "rows", "more"]);
    const changed = list(rows, "rows")
      .map(readCandle)
      .filter((candle) => this.#put(candle));
    if (more !== true) this.synced = true;
    this.update(); // so that a listener sees the state that belongs to the candles
    if (this.accepted) this.view.emit("change", changed);
  }

  #put(candle: Candle): boolean {
    const { start, revision } = candle;
    if (revision < (this.#revisions.get(start) ?? -1)) return false;
    this.#revisions.set(start, revision);
    this.view.put(candle);
    return true;
  }
}
