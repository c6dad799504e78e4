import type { Book, BookChange } from "./book.js";
import { checksum } from "./checksum.js";
import { Engine, type Session, type StreamMessage } from "./engine.js";
import type { Delta, Snapshot } from "./messages.js";
import { Recovery } from "./recovery.js";
import { mutable } from "./subscription.js";

/** How the view compares with the gateway's. */
type Sync =
  | "empty"
  | "exact"
  /** Right at `seq`, but an update after it is missing. */
  | "behind"
  /** It was wrong, and has been emptied. */
  | "broken";

const NO_BOOK = "no_book";

/** Keeps a book equal to the gateway's. */
export class BookEngine extends Engine<Book> {
  #sync: Sync = "empty";
  readonly #recovery: Recovery<Delta>;

  constructor(view: Book, session: Session) {
    super(view, session);
    this.#recovery = new Recovery((from) => {
      mutable(view).recoveries++;
      session.recover(this as unknown as Engine, from);
    }, session);
  }

  override get resume(): [number, number] | null {
    return this.#sync === "exact" || this.#sync === "behind" ? [this.view.epoch, this.view.seq] : null;
  }

  override recoverRefused(): void {
    this.#recovery.refused();
  }

  protected override begin(resumed: boolean, rescaled: boolean): void {
    if (resumed && !rescaled && this.resume !== null) return this.#set("exact");
    this.#set("empty");
    if (rescaled) this.view.empty();
    // The gateway goes on from what this view does not have: an earlier one of the same user had it.
    if (resumed) this.#recovery.start(0);
    else this.#recovery.expect();
  }

  protected override interrupt(): void {
    this.#recovery.stop();
  }

  protected override receive(message: StreamMessage): void {
    if (message.type === "snapshot") this.#takeSnapshot(message);
    else if (message.type === "delta") this.#takeDelta(message);
  }

  /** While the gateway says that it has no book to send, there is nothing to ask for: a snapshot comes by itself. */
  protected override told(): void {
    if (this.#gatewayHasNone) this.#recovery.wait();
    else if (!this.synced && !this.#recovery.waiting) this.#recovery.expect();
  }

  protected override compare(seq: number): void {
    if (this.#gatewayHasNone || this.#recovery.active) return;
    if (seq > (this.#sync === "empty" ? 0 : this.view.seq)) this.#recoverMissing();
  }

  get #gatewayHasNone(): boolean {
    return this.reported === "recovering" && (this.report?.code === NO_BOOK || this.#sync === "empty");
  }

  #takeSnapshot({ epoch, seq, ts, bids, asks, crc }: Snapshot): void {
    if (epoch !== this.view.epoch) this.#recovery.dropHeld();
    this.#apply({ kind: "snapshot", epoch, first: seq, last: seq, ts, bids, asks }, crc);
  }

  #takeDelta(message: Delta): void {
    const { first, last, ts, bids, asks } = message;
    if (this.#sync === "exact" || this.#sync === "behind") {
      const { epoch, seq } = this.view;
      if (last <= seq) return;
      if (first === seq + 1) {
        if (this.#apply({ kind: "delta", epoch, first, last, ts, bids, asks }, message.crc)) this.#recovery.succeeded();
        return;
      }
      // It overlaps what is applied: the view and the gateway's are not the same.
      if (first <= seq) return this.#discard();
    }
    this.#recovery.hold(message);
    if (!this.#recovery.active) this.#recoverMissing();
  }

  #apply(change: BookChange, crc: number): boolean {
    const { view, session } = this;
    session.stats.crcChecked++;
    if (!view.put(change, session.policy.mostLevels) || checksum(view.bids, view.asks) !== crc) {
      this.#discard();
      return false;
    }
    this.#set("exact");
    const held = this.#recovery.waiting ? this.#recovery.complete() : [];
    this.update(); // so that a listener sees the state that belongs to the change
    if (this.accepted) view.emit("change", change);
    for (const message of held) {
      if (!this.accepted) return false; // a listener has closed it
      this.#takeDelta(message);
    }
    return this.accepted;
  }

  /** The number after `seq` is missing: the view stays as it was at `seq` until the answer. */
  #recoverMissing(): void {
    const from = this.#sync === "empty" ? 0 : this.view.seq + 1;
    if (from > 0) this.#set("behind");
    mutable(this.view).gaps++;
    this.session.stats.gaps++;
    this.#recovery.start(from);
  }

  /** The view is wrong: no view is better than a wrong one. */
  #discard(): void {
    mutable(this.view).crcErrors++;
    this.session.stats.crcErrors++;
    this.view.empty();
    this.#set("broken");
    this.#recovery.start(0);
  }

  #set(sync: Sync): void {
    this.#sync = sync;
    this.synced = sync === "exact";
  }
}
