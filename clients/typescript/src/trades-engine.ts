import { Engine, type Session, type StreamMessage } from "./engine.js";
import type { Lost, TradeEntry, TradesMessage } from "./messages.js";
import { Recovery } from "./recovery.js";
import { mutable } from "./subscription.js";
import type { Trades } from "./trades.js";

/** Delivers each trade once and in order, and asks for those that are missing. */
export class TradesEngine extends Engine<Trades> {
  /** The gateway has sent nothing since it confirmed. */
  #fresh = true;
  /** Trades that were lost since the last one that was delivered. */
  #skipped = 0;
  readonly #recovery: Recovery<TradesMessage>;

  constructor(view: Trades, session: Session) {
    super(view, session);
    this.#recovery = new Recovery((from) => {
      mutable(view).recoveries++;
      session.recover(this as unknown as Engine, from);
    }, session);
  }

  override get resume(): [number, number] | null {
    const { epoch, seq } = this.view;
    return epoch === null || seq === null ? null : [epoch, seq];
  }

  override recoverRefused(): void {
    this.#recovery.refused();
  }

  protected override begin(): void {
    this.synced = this.#fresh = true;
  }

  protected override interrupt(): void {
    this.#recovery.stop();
    this.synced = false;
  }

  protected override receive(message: StreamMessage): void {
    if (message.type === "lost") this.#takeLost(message);
    else if (message.type === "trades" && this.#followEpoch(message)) this.#takeTrades(message);
  }

  protected override compare(seq: number): void {
    if (this.#recovery.active || seq === 0) return;
    if (this.view.seq === null) this.#moveTo(seq);
    else if (seq > this.view.seq) this.#recoverMissing();
  }

  #moveTo(seq: number): void {
    mutable(this.view).seq = seq;
  }

  /** Begins again at 1 in a new epoch. An older one counts only right after `subscribed`: nothing bears the newer one out. */
  #followEpoch(message: TradesMessage): boolean {
    const { epoch, seq } = this.view;
    const fresh = this.#fresh;
    this.#fresh = false;
    if (epoch === null) {
      if (seq === null || message.first <= seq) this.#moveTo(message.first - 1);
    } else if (fresh && message.epoch < epoch) {
      this.#moveTo(message.first - 1);
    } else if (message.epoch > epoch) {
      this.#recovery.stop();
      this.synced = true;
      this.#moveTo(0);
    } else if (message.epoch < epoch) return false;
    mutable(this.view).epoch = message.epoch;
    return true;
  }

  #takeTrades(message: TradesMessage): void {
    const seq = this.view.seq ?? 0;
    if (message.trades.length === 0) {
      // The answer to `recover`: nothing is missing.
      if (this.#recovery.active && message.last <= seq) this.#goOn();
    } else if (message.last > seq) {
      if (message.first > seq + 1) return this.#hold(message);
      this.#goOn(message.trades);
    }
  }

  #hold(message: TradesMessage): void {
    this.#recovery.hold(message);
    if (!this.#recovery.active) this.#recoverMissing();
  }

  /** The stream is whole again up to these trades. What was held comes after them. */
  #goOn(trades: readonly TradeEntry[] = []): void {
    const held = this.#recovery.active ? this.#recovery.complete() : [];
    this.#recovery.succeeded();
    this.synced = true;
    this.update(); // so that a listener sees the state that belongs to the trade
    for (const entry of trades) {
      if (!this.accepted) return; // a listener has closed it
      if (entry[0] > this.view.seq!) this.#deliver(entry);
    }
    for (const message of held) if (this.accepted) this.#takeTrades(message);
  }

  #deliver(entry: TradeEntry): void {
    this.#moveTo(entry[0]);
    const skipped = this.#skipped;
    this.#skipped = 0;
    this.view.emit("trade", this.view.trade(entry, skipped));
  }

  /** Unasked: the log may still have them. As the answer: they are gone. */
  #takeLost({ first, last }: Lost): void {
    const view = mutable(this.view);
    if (view.seq === null && first === 1) {
      view.seq = last; // from before this subscription
      return;
    }
    const seq = (view.seq ??= first - 1);
    if (last <= seq) return;
    if (!this.#recovery.active) this.#recoverMissing();
    else if (first <= seq + 1) {
      view.seq = last;
      view.lost += last - seq;
      this.#skipped += last - seq;
      this.view.emit("lost", seq + 1, last);
      if (this.accepted) this.#goOn();
    }
  }

  #recoverMissing(): void {
    this.synced = false;
    mutable(this.view).gaps++;
    this.session.stats.gaps++;
    this.#recovery.start((this.view.seq ?? 0) + 1);
  }
}
