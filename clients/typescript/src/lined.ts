// Subscriptions on several lines at once: what is shown is what the line that is ahead has. No I/O.
//
// Numbers belong to the instrument, so every gateway shows the same view at the same number. Each line has a leg: an ordinary
// subscription of an ordinary client, which checks and recovers for itself. A leg applies only what its own gateway sent, so an
// update is never applied twice, wherever two gateways end their updates.
//
// - An update that goes on from the shown number (`first` is the next one) is passed on as it came.
// - An update that ends at or before the shown number came second, and is only counted.
// - An update that ends after it but began before it is passed on as the difference of the two views.
//
// A snapshot is shown only if the view that is shown cannot go on: a new epoch, or a view that was wrong.

import type { Policy } from "./backoff.js";
import type { Book, BookChange } from "./book.js";
import { checksum } from "./checksum.js";
import { type Clock, Timer } from "./clock.js";
import { difference, flat } from "./side.js";
import { type AnySubscription, type LineReport, mutable, type SubscriptionState, TRUSTED } from "./subscription.js";
import type { Ticker, TickerValue } from "./ticker.js";
import type { Trade, Trades } from "./trades.js";

const BEST_FIRST: readonly SubscriptionState[] = [
  "live",
  "halted",
  "closed",
  "stale",
  "recovering",
  "pending",
  "disconnected",
  "ended",
];

/** Epoch, number, and where the number may stay, the time. */
type Position = readonly number[];

/** One line's subscription, and what it has brought. */
export interface Leg<View extends AnySubscription> {
  readonly line: number;
  readonly view: View;
  first: number;
  late: number;
}

/** Decides what a subscription on several lines shows. */
export abstract class Lined<View extends AnySubscription = AnySubscription> {
  legs: Leg<View>[] = [];
  protected ahead: Leg<View> | null = null;
  protected shown: Position | null = null;
  /** Runs while the line ahead is gone, and no other has what only it had. */
  readonly #giveUp: Timer;
  #gaveUp = false;

  constructor(
    readonly view: View,
    private readonly clock: Clock,
    protected readonly policy: Policy,
  ) {
    this.#giveUp = new Timer(clock);
    view.lineReports = () => this.legs.map((leg) => this.#report(leg));
  }

  /** A leg for a line that had none, or whose leg has ended. */
  add(line: number, view: View): void {
    const leg: Leg<View> = { line, view, first: 0, late: 0 };
    this.legs = [...this.legs.filter((each) => each.line !== line), leg].sort((a, b) => a.line - b.line);
    this.listen(leg);
    const any: AnySubscription = view;
    any.on("state", () => this.changed());
    any.on("ref", (ref) => {
      if (leg === this.ahead) this.view.tellRef(ref);
    });
    this.changed();
  }

  /** A leg's state is another one. */
  changed(): void {
    if (this.over) return this.#giveUp.stop();
    this.choose();
    this.#tell();
  }

  protected get over(): boolean {
    return this.view.state === "ended";
  }

  /** What a view has; null for nothing. */
  protected abstract place(view: View): Position | null;

  /** Registers for what the leg brings. */
  protected abstract listen(leg: Leg<View>): void;

  /** Shows what this leg has. */
  protected abstract show(leg: Leg<View>): void;

  /** Whether what is shown is still whole, though its line may be lost. */
  protected intact(): boolean {
    return true;
  }

  /** Whether a leg with this state can still speak for what is shown. */
  protected carries(leg: Leg<View>): boolean {
    if (!leg.view.trusted || this.shown === null || leg === this.ahead) return true;
    return this.intact() && this.place(leg.view)?.[0] === this.shown[0];
  }

  /** The legs whose state may be told: those that have what is shown; all, if the one ahead cannot go on. */
  protected tellers(): Leg<View>[] {
    const { ahead, shown } = this;
    if (!ahead?.view.trusted || shown === null) return this.legs;
    return this.legs.filter((leg) => leg === ahead || (leg.view.trusted && compare(this.place(leg.view), shown) === 0));
  }

  /** Shows another line if that is further, or has as much and the line ahead cannot go on. */
  protected choose(): void {
    const { ahead, shown } = this;
    const best = this.#furthest();
    if (best === null) return;
    const compared = compare(best.position, shown);
    if (compared > 0) this.show(best.leg);
    else if (!ahead?.view.trusted) {
      if (compared === 0 || this.#givenUp(best.position)) this.show(best.leg);
    } else if (compare(this.place(ahead.view), shown) !== 0) this.show(best.leg); // its own gateway has taken it back
  }

  /** From now on this line is ahead. */
  protected lead(leg: Leg<View>): void {
    const changed = leg !== this.ahead;
    this.ahead = leg;
    this.shown = this.place(leg.view);
    this.#giveUp.stop();
    this.#gaveUp = false;
    const view = mutable<AnySubscription>(this.view);
    view.delayMs = leg.view.delayMs;
    view.group = leg.view.group;
    view.priceExp = leg.view.priceExp;
    view.sizeExp = leg.view.sizeExp;
    if (!changed) return;
    view.tellRef(leg.view.ref);
    view.emit("ahead", leg.line);
  }

  /** Whether what this leg has is further than what is shown, or it is the one that shows it. Counts it. */
  protected brings(leg: Leg<View>): boolean {
    const compared = compare(this.place(leg.view), this.shown);
    if (leg !== this.ahead && compared <= 0) {
      leg.late++;
      return false;
    }
    if (compared < 0) {
      this.choose(); // taken back by its gateway
      return false;
    }
    leg.first++;
    return true;
  }

  /** The data is told after the state that belongs to it. */
  protected tell(): void {
    this.#tell();
  }

  #furthest(): { leg: Leg<View>; position: Position } | null {
    let best: { leg: Leg<View>; position: Position } | null = null;
    for (const leg of this.legs) {
      const position = leg.view.trusted ? this.place(leg.view) : null;
      if (position === null) continue;
      const compared = best === null ? 1 : compare(position, best.position);
      if (compared > 0 || (compared === 0 && leg === this.ahead)) best = { leg, position };
    }
    return best;
  }

  /** Whether the line ahead is gone for so long that what only it had counts no more: nothing bears it out. */
  #givenUp(position: Position): boolean {
    if (position[0] === this.shown![0] && this.intact()) return false;
    if (!this.#giveUp.running && !this.#gaveUp) {
      this.#giveUp.set(this.policy.answerTimeoutMs, () => {
        this.#gaveUp = true;
        this.changed();
      });
    }
    return this.#gaveUp;
  }

  #tell(): void {
    const leg = this.tellers().reduce<Leg<View> | null>(
      (best, next) => (best === null || this.#better(next, best) ? next : best),
      null,
    );
    const { view } = this;
    if (leg === null || leg.view.state === "ended") {
      return view.tell({ state: view.wasReady ? "disconnected" : "pending", code: null, reason: null, ageMs: null, at: 0 });
    }
    const { state, code, reason, ageMs } = leg.view;
    if (this.carries(leg)) view.tell({ state, code, reason, ageMs, at: this.clock.now() });
    else view.tell({ state: "recovering", code: null, reason: null, ageMs: null, at: 0 });
  }

  #better(leg: Leg<View>, than: Leg<View>): boolean {
    const compared = BEST_FIRST.indexOf(leg.view.state) - BEST_FIRST.indexOf(than.view.state);
    return compared < 0 || (compared === 0 && leg === this.ahead);
  }

  #report(leg: Leg<View>): LineReport {
    const { gaps = 0, recoveries = 0, lost = 0 } = leg.view as { gaps?: number; recoveries?: number; lost?: number };
    return {
      line: leg.line,
      ahead: leg === this.ahead,
      state: leg.view.state,
      first: leg.first,
      late: leg.late,
      gaps,
      recoveries,
      lost,
    };
  }
}

/** A book whose view is that of the line that is ahead. */
export class LinedBook extends Lined<Book> {
  /** The line ahead has found its view wrong, so that what is shown may be wrong too. */
  #suspect = false;

  protected override place({ epoch, seq }: Book): Position | null {
    return epoch === 0 ? null : [epoch, seq];
  }

  protected override intact(): boolean {
    return !this.#suspect;
  }

  protected override listen(leg: Leg<Book>): void {
    let wrong = 0;
    leg.view.on("change", (change) => this.#take(leg, change));
    leg.view.on("state", () => {
      if (leg.view.crcErrors === wrong) return;
      wrong = leg.view.crcErrors;
      if (leg === this.ahead && !leg.view.trusted) this.#suspect = true;
      this.changed();
      if (this.#suspect) this.view.empty(); // no other line has as much
    });
  }

  override changed(): void {
    super.changed();
    const view = mutable<Book>(this.view);
    const total = (name: "gaps" | "recoveries" | "crcErrors") => this.legs.reduce((sum, leg) => sum + leg.view[name], 0);
    [view.gaps, view.recoveries, view.crcErrors] = [total("gaps"), total("recoveries"), total("crcErrors")];
  }

  protected override show(leg: Leg<Book>): void {
    this.#pass(leg, this.#told(leg, null));
  }

  #take(leg: Leg<Book>, change: BookChange): void {
    if (this.over) return;
    const { view } = leg;
    if (this.brings(leg)) this.#pass(leg, this.#told(leg, change));
    else if (compare(this.place(view), this.shown) === 0 && !this.#suspect && leg !== this.ahead) {
      if (checksum(view.bids, view.asks) !== checksum(this.view.bids, this.view.asks)) mutable<Book>(this.view).disagreed++;
    }
  }

  #pass(leg: Leg<Book>, change: BookChange | null): void {
    if (change !== null) this.view.put(change, Infinity);
    this.#suspect = false;
    this.lead(leg);
    this.tell();
    if (change !== null && !this.over) this.view.emit("change", change);
  }

  /** What leads from the shown view to this line's; null if they are the same. */
  #told({ view }: Leg<Book>, change: BookChange | null): BookChange | null {
    const { epoch, seq, ts } = view;
    const { shown } = this;
    if (shown === null || shown[0] !== epoch || shown[1]! > seq || this.#suspect) {
      return { kind: "snapshot", epoch, first: seq, last: seq, ts, bids: flat(view.bids), asks: flat(view.asks) };
    }
    if (shown[1] === seq) return null;
    const first = shown[1]! + 1;
    if (change?.kind === "delta" && change.first === first) return change;
    const [bids, asks] = [difference(this.view.bids, view.bids), difference(this.view.asks, view.asks)];
    return { kind: "delta", epoch, first, last: seq, ts, bids, asks };
  }
}

/** The newer of the lines' tickers. Of two with the same number and time, the one that is shown stays. */
export class LinedTicker extends Lined<Ticker> {
  protected override place({ current }: Ticker): Position | null {
    return current === null ? null : [current.epoch, current.seq, current.ts];
  }

  protected override listen(leg: Leg<Ticker>): void {
    leg.view.on("change", (value) => {
      if (!this.over && this.brings(leg)) this.#pass(leg, value);
    });
  }

  protected override show(leg: Leg<Ticker>): void {
    if (leg.view.current !== null) this.#pass(leg, leg.view.current);
  }

  #pass(leg: Leg<Ticker>, value: TickerValue): void {
    const { current } = this.view;
    const same = current === value || (leg !== this.ahead && compare(this.place(this.view), this.place(leg.view)) === 0);
    this.lead(leg);
    if (!same) this.view.put(value);
    this.tell();
    if (!same && !this.over) this.view.emit("change", value);
  }
}

/** Each trade once and in order, from whichever line brings it first; lost only if no line can bring it. */
export class LinedTrades extends Lined<Trades> {
  /** Trades of this epoch that came before those in front of them. */
  readonly #waiting = new Map<number, { leg: Leg<Trades>; trade: Trade }>();
  #skipped = 0;

  protected override place({ epoch, seq }: Trades): Position | null {
    return epoch === null || seq === null ? null : [epoch, seq];
  }

  protected override listen(leg: Leg<Trades>): void {
    leg.view.on("trade", (trade) => this.#take(leg, trade));
    leg.view.on("lost", () => this.#passOn());
  }

  protected override show(): void {}

  protected override choose(): void {
    this.#passOn();
  }

  protected override carries(): boolean {
    return true;
  }

  protected override tellers(): Leg<Trades>[] {
    return this.legs;
  }

  override changed(): void {
    super.changed();
    const view = mutable<Trades>(this.view);
    view.gaps = this.legs.reduce((sum, leg) => sum + leg.view.gaps, 0);
    view.recoveries = this.legs.reduce((sum, leg) => sum + leg.view.recoveries, 0);
  }

  #take(leg: Leg<Trades>, trade: Trade): void {
    if (this.over) return;
    const view = mutable<Trades>(this.view);
    const shown = this.place(this.view);
    if (compare([trade.epoch, trade.seq], shown) <= 0 || (trade.epoch === view.epoch && this.#waiting.has(trade.seq))) {
      leg.late++;
      return;
    }
    if (view.epoch === null || trade.epoch > view.epoch) {
      view.seq = view.epoch === null ? trade.seq - 1 : 0;
      view.epoch = trade.epoch;
      this.#waiting.clear();
    }
    leg.first++;
    this.#waiting.set(trade.seq, { leg, trade });
    this.#passOn();
  }

  /** Delivers what follows; where something is missing that no line can bring, it is lost. */
  #passOn(): void {
    while (this.#waiting.size > 0 && !this.over) {
      const next = this.view.seq! + 1;
      const following = this.#waiting.get(next);
      if (following !== undefined) {
        this.#waiting.delete(next);
        this.#pass(following.leg, following.trade);
      } else {
        const full = this.#waiting.size >= this.policy.heldMessages;
        if (!full && this.legs.some((leg) => this.#mayBring(leg, next))) return;
        this.#lose(next, Math.min(...this.#waiting.keys()) - 1);
      }
    }
  }

  #pass(leg: Leg<Trades>, trade: Trade): void {
    mutable<Trades>(this.view).seq = trade.seq;
    const skipped = this.#skipped;
    this.#skipped = 0;
    this.lead(leg);
    this.tell();
    if (!this.over) this.view.emit("trade", { ...trade, skipped });
  }

  #lose(first: number, last: number): void {
    const view = mutable<Trades>(this.view);
    view.seq = last;
    view.lost += last - first + 1;
    this.#skipped += last - first + 1;
    view.emit("lost", first, last);
  }

  /** Whether this line, which is at work, has not come to that number yet. */
  #mayBring({ view }: Leg<Trades>, seq: number): boolean {
    if (!TRUSTED.has(view.state) && view.state !== "recovering") return false;
    const position = this.place(view);
    return position === null || compare(position, [this.view.epoch!, seq]) < 0;
  }
}

/** Negative, 0, positive: before, the same, after. Nothing is before everything. */
function compare(a: Position | null, b: Position | null): number {
  if (a === null || b === null) return (a === null ? 0 : 1) - (b === null ? 0 : 1);
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return a[i]! - b[i]!;
  return 0;
}
