import { Board, BoardRow, boardState } from "./board-view.js";
import { amountOrNull, fieldsOf, list, type Make, text } from "./channel.js";
import { integer } from "./checks.js";
import { Engine, type Session, type StreamMessage } from "./engine.js";
import { ContractBroken } from "./errors.js";
import type { More } from "./messages.js";
import { Recovery } from "./recovery.js";
import { mutable, type Request } from "./subscription.js";

/** What an index stands for. */
interface Name {
  readonly instrument: string;
  readonly priceExp: number;
  readonly sizeExp: number;
}

interface Change {
  readonly epoch: number;
  readonly first: number;
  readonly last: number;
  readonly ts: number;
  readonly rows: readonly BoardRow[];
  readonly gone: readonly string[];
}

/** The names of the channel's messages, in either format. */
const KINDS = new Map<unknown, "names" | "snapshot" | "delta">([
  ["board_names", "names"],
  ["board_snapshot", "snapshot"],
  ["board", "delta"],
  [7, "names"],
  [8, "snapshot"],
  [9, "delta"],
]);
const SNAPSHOT = ["sub", "epoch", "seq", "ts", "rows", "gone"];
const DELTA = ["sub", "first", "last", "ts", "rows", "gone"];

/** Makes the machine of a board. */
export function makeBoard(request: Request): Make<Board> {
  return (owner, session) => new BoardEngine(new Board(request, owner), session);
}

/** Keeps a board equal to the gateway's. */
export class BoardEngine extends Engine<Board> {
  readonly #names = new Map<number, Name>();
  /** Whether the rows are right at `seq`. */
  #has = false;
  readonly #recovery: Recovery<Change>;

  constructor(view: Board, session: Session) {
    super(view, session);
    this.#recovery = new Recovery((from) => {
      mutable(view).recoveries++;
      session.recover(this as unknown as Engine, from);
    }, session);
  }

  override get resume(): [number, number] | null {
    return this.#has ? [this.view.epoch, this.view.seq] : null;
  }

  override recoverRefused(): void {
    this.#recovery.refused();
  }

  protected override begin(resumed: boolean): void {
    this.synced = this.#has = resumed && this.#has;
    if (!resumed) this.#names.clear();
    if (!this.synced) this.#recovery.expect();
  }

  protected override interrupt(): void {
    this.#recovery.stop();
    this.synced = false;
  }

  protected override receive(message: StreamMessage): void {
    if (message.type !== "more") return;
    const kind = KINDS.get(message.kind);
    if (kind === "names") this.#takeNames(message);
    else if (kind === "snapshot") this.#takeSnapshot(message);
    else if (kind === "delta") this.#takeDelta(this.#read(message, DELTA));
  }

  protected override compare(seq: number): void {
    if (!this.#recovery.active && seq > (this.#has ? this.view.seq : 0)) this.#recoverMissing();
  }

  #takeNames({ values }: More): void {
    for (const entry of list(fieldsOf(values, ["sub", "names"])["names"], "names")) {
      const [index, instrument, priceExp, sizeExp] = list(entry, "a name");
      this.#names.set(integer(index, "an index"), {
        instrument: text(instrument, "an instrument"),
        priceExp: integer(priceExp, "an exponent"),
        sizeExp: integer(sizeExp, "an exponent"),
      });
    }
  }

  #takeSnapshot(message: More): void {
    const change = this.#read(message, SNAPSHOT);
    if (change.epoch !== this.view.epoch) this.#recovery.dropHeld();
    this.#apply(change, true);
  }

  #takeDelta(change: Change): void {
    const { seq } = this.view;
    if (this.#has && change.last <= seq) return;
    if (this.#has && change.first === seq + 1) this.#apply(change, false);
    else {
      this.#recovery.hold(change);
      if (!this.#recovery.active) this.#recoverMissing();
    }
  }

  #apply(change: Change, anew: boolean): void {
    const view = mutable(this.view);
    const held = this.#recovery.waiting ? this.#recovery.complete() : [];
    const gone = anew ? this.#vanished(change.rows) : change.gone;
    this.view.put(change.rows, gone, anew);
    view.epoch = change.epoch;
    view.seq = change.last;
    view.ts = change.ts;
    this.#recovery.succeeded();
    this.synced = this.#has = true;
    this.update(); // so that a listener sees the state that belongs to the rows
    if (this.accepted) this.view.emit("change", change.rows, gone);
    for (const later of held) if (this.accepted) this.#takeDelta(later);
  }

  /** The instruments that a whole board no longer has. */
  #vanished(rows: readonly BoardRow[]): string[] {
    const there = new Set(rows.map(({ instrument }) => instrument));
    return [...this.view.rows.keys()].filter((instrument) => !there.has(instrument));
  }

  #recoverMissing(): void {
    this.synced = false;
    mutable(this.view).gaps++;
    this.session.stats.gaps++;
    this.#recovery.start(this.#has ? this.view.seq + 1 : 0);
  }

  #read({ values }: More, names: readonly string[]): Change {
    const fields = fieldsOf(values, names);
    const seq = fields["seq"];
    const rows = list(fields["rows"], "rows").map((row) => this.#row(list(row, "a row")));
    // With a new scale an instrument has a new index, and the old one is gone.
    const there = new Set(rows.map(({ instrument }) => instrument));
    const gone = list(fields["gone"], "gone").map((index) => this.#names.get(index as number)?.instrument);
    return {
      epoch: seq === undefined ? this.view.epoch : integer(fields["epoch"], "epoch"),
      first: integer(seq ?? fields["first"], "first"),
      last: integer(seq ?? fields["last"], "last"),
      ts: integer(fields["ts"], "ts"),
      rows,
      gone: gone.filter((instrument) => instrument !== undefined && !there.has(instrument)) as string[],
    };
  }

  #row([index, state, bid, ask, last, open, high, low, volume, since]: readonly unknown[]): BoardRow {
    const { instrument, priceExp, sizeExp } = this.#name(index);
    const price = (value: unknown) => amountOrNull(value, priceExp, "a price");
    const ticks = {
      bid: price(bid),
      ask: price(ask),
      last: price(last),
      open: price(open),
      high: price(high),
      low: price(low),
    };
    const lots = amountOrNull(volume, sizeExp, "a volume");
    return new BoardRow(
      instrument,
      priceExp,
      sizeExp,
      boardState(integer(state, "a state")),
      ticks,
      lots,
      integer(since ?? 0, "since"),
    );
  }

  #name(index: unknown): Name {
    const name = this.#names.get(index as number);
    if (name === undefined) throw new ContractBroken(`row ${String(index)} of the board has no name`);
    return name;
  }
}
