import { fieldsOf, text } from "./channel.js";
import { integer } from "./checks.js";
import { Engine, type StreamMessage } from "./engine.js";
import { ContractBroken } from "./errors.js";
import type { Events, TopicEvent } from "./events-view.js";
import type { More, Subscribed } from "./messages.js";
import { Recovery } from "./recovery.js";
import { mutable } from "./subscription.js";
import { type Line, resumeOf } from "./topics.js";

const EVENT = ["sub", "topic", "seq", "prev", "time", "event", "data", "sender", "redelivered"];
const ACKNOWLEDGEMENTS: readonly unknown[] = ["user", "device", "none"];

interface Numbered {
  readonly prev: number;
  readonly event: TopicEvent;
}

/** Delivers each event of a topic once and in order. What nobody acknowledges is asked for where it is missing. */
export class EventsEngine extends Engine<Events> {
  /** The newest number at `subscribed`. */
  #newest = 0;
  /** Up to where its user has acknowledged, and the gateway has been told. */
  #toAcknowledge = 0;
  #sentAck = 0;
  readonly #recovery: Recovery<Numbered>;

  /** `since`: after which event they are to begin; null: from now on. An epoch of 0 is any. */
  constructor(
    view: Events,
    private readonly line: Line,
    since: readonly [epoch: number, seq: number] | null,
  ) {
    super(view, line.session);
    if (since !== null) [mutable(view).epoch, mutable(view).seq] = since;
    view.sendAck = (seq) => this.#acknowledge(seq);
    this.#recovery = new Recovery((from) => {
      mutable(view).recoveries++;
      this.session.recover(this as unknown as Engine, from || this.#next);
    }, line.session);
  }

  override get resume(): [number, number] | null {
    const { epoch, seq } = this.view;
    return resumeOf(this.request, epoch === 0 || seq === null ? null : [epoch, seq]);
  }

  override recoverRefused(): void {
    this.#recovery.refused();
  }

  override accept(message: Subscribed): void {
    const { topic, epoch, acknowledge, position, newest } = message as unknown as Readonly<Record<string, unknown>>;
    const view = mutable(this.view);
    if (!ACKNOWLEDGEMENTS.includes(acknowledge)) throw new ContractBroken(`acknowledge was ${String(acknowledge)}`);
    view.topic = text(topic, "a topic");
    view.acknowledgement = acknowledge as Events["acknowledgement"];
    view.acknowledged = position === null ? null : integer(position, "position");
    this.#newest = integer(newest, "newest");
    this.#sentAck = view.acknowledged ?? 0;
    // Another stream has numbers of its own, and all in it is new.
    if (view.epoch !== 0 && view.epoch !== epoch) view.seq = this.#toAcknowledge = 0;
    view.epoch = integer(epoch, "epoch");
    super.accept(message);
  }

  protected override begin(resumed: boolean): void {
    const view = mutable(this.view);
    this.synced = true;
    if (this.#acknowledged) this.#sendAck();
    else if (view.seq === null) view.seq = this.#newest;
    else if (!resumed && view.seq < this.#newest) this.#recover();
  }

  protected override interrupt(): void {
    this.#recovery.stop();
    this.synced = false;
  }

  protected override receive(message: StreamMessage): void {
    if (message.type === "lost") this.#takeLost(message.first, message.last);
    else if (message.type !== "more") return;
    else if (message.kind === "event" || message.kind === 11) this.#takeEvent(read(message));
    else if (message.kind === "recovered") this.#takeRecovered(message);
    else if (message.kind === "acknowledged") this.#takeAcknowledged(message);
  }

  protected override compare(seq: number): void {
    if (!this.#acknowledged && !this.#recovery.active && seq >= this.#next) this.#missing();
  }

  get #acknowledged(): boolean {
    return this.view.acknowledgement !== "none";
  }

  /** The least number that a new event may have. */
  get #next(): number {
    return (this.view.seq ?? 0) + 1;
  }

  #takeEvent(numbered: Numbered): void {
    if (numbered.event.seq < this.#next) {
      mutable(this.view).duplicates++;
      this.#sendAck(); // perhaps it came again because an acknowledgement was refused
    } else if (this.#acknowledged || numbered.prev < this.#next) this.#deliver(numbered.event);
    else {
      this.#recovery.hold(numbered);
      if (!this.#recovery.active) this.#missing();
    }
  }

  #deliver(event: TopicEvent): void {
    mutable(this.view).seq = event.seq;
    this.update(); // so that a listener sees the state that belongs to the event
    this.view.emit("event", event);
  }

  #missing(): void {
    mutable(this.view).gaps++;
    this.session.stats.gaps++;
    this.#recover();
  }

  #recover(): void {
    this.synced = false;
    this.#recovery.start(this.#next);
  }

  #takeRecovered({ values }: More): void {
    const { last, more } = values as { last: unknown; more: unknown };
    if (!this.#recovery.active) return;
    this.#recovery.succeeded();
    if (more === true) {
      mutable(this.view).seq = Math.max(integer(last, "last"), this.#next - 1);
      return this.#recover();
    }
    this.synced = true;
    for (const held of this.#recovery.complete()) {
      if (this.accepted && held.event.seq >= this.#next) this.#takeEvent(held); // it may leave another gap
    }
  }

  #takeLost(first: number, last: number): void {
    const view = mutable(this.view);
    view.lost++;
    view.seq = Math.max(last, this.#next - 1);
    this.view.emit("lost", first, last);
  }

  #takeAcknowledged({ values }: More): void {
    const seq = integer((values as { seq: unknown }).seq, "seq");
    if (seq <= (this.view.acknowledged ?? 0)) return;
    mutable(this.view).acknowledged = seq;
    this.view.emit("acknowledged", seq);
  }

  #acknowledge(seq: number): void {
    if (seq > this.#toAcknowledge) this.#toAcknowledge = seq;
    this.#sendAck();
  }

  #sendAck(): void {
    if (!this.accepted || !this.#acknowledged || this.#toAcknowledge <= this.#sentAck) return;
    this.#sentAck = this.#toAcknowledge;
    this.line.say({ op: "ack", sub: this.number, seq: this.#sentAck }, (answer) => {
      if (answer?.type === "error") this.#sentAck = 0; // sent again with the next one, or when an event comes again
    });
  }
}

function read({ values }: More): Numbered {
  const { topic, seq, prev, time, event, data, sender, redelivered } = fieldsOf(values, EVENT);
  return {
    prev: integer(prev, "prev"),
    event: {
      topic: text(topic, "a topic"),
      seq: integer(seq, "seq"),
      time: integer(time, "time"),
      type: text(event, "the type of an event"),
      data,
      sender: sender === null ? null : text(sender, "a sender"),
      redelivered: redelivered === true,
    },
  };
}
