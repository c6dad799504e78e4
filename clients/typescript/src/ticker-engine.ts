import { Engine, type StreamMessage } from "./engine.js";
import type { Ticker } from "./ticker.js";

/** Keeps a ticker's newest value. After `subscribed`, what is shown is old until the first message, which always comes. */
export class TickerEngine extends Engine<Ticker> {
  protected override begin(_resumed: boolean, rescaled: boolean): void {
    if (rescaled) this.view.put(null);
    this.synced = false;
  }

  protected override interrupt(): void {
    this.synced = false;
  }

  protected override receive(message: StreamMessage): void {
    if (message.type !== "ticker") return;
    const value = this.view.value(message);
    this.view.put(value);
    this.synced = true;
    this.update();
    if (this.accepted) this.view.emit("change", value);
  }

  /** Asks at each heartbeat, until it comes. */
  protected override compare(seq: number): void {
    if (seq <= (this.view.current?.seq ?? 0)) return;
    this.synced = false;
    this.session.recover(this as unknown as Engine, 0);
  }
}
