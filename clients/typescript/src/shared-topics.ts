// Topics in the worker. Events are not a state of which the newest counts: a page that comes later, or does not read, is given each
// that it lacks, from what the worker keeps.

import type { Client } from "./api.js";
import { EventsEngine } from "./events-engine.js";
import { Events, type TopicEvent } from "./events-view.js";
import { KeyedEngine } from "./keyed-engine.js";
import { MAP } from "./map.js";
import { TopicMap } from "./map-view.js";
import { PRESENCE, Presence } from "./presence.js";
import type { EventItem, Place, Relayed } from "./shared-messages.js";
import type { Request } from "./subscription.js";
import { lineOf } from "./topics.js";

/** Events that are kept of a topic. */
const MOST_KEPT = 512;

export function openMap(client: Client, request: Request): Relayed {
  const line = lineOf(client);
  const change = () => Promise.reject(new Error("pages make the changes"));
  const view = line.open(request, (owner) => new KeyedEngine(new TopicMap(request, owner, change), line, MAP));
  return view as unknown as Relayed;
}

export function openPresence(client: Client, request: Request): Relayed {
  const line = lineOf(client);
  return line.open(request, (owner) => new KeyedEngine(new Presence(request, owner), line, PRESENCE)) as unknown as Relayed;
}

export function openEvents(client: Client, request: Request, since: Place | null, say: (item: EventItem) => void): EventsOfPage {
  const line = lineOf(client);
  const view = line.open(request, (owner) => new EventsEngine(new Events(request, owner), line, since));
  let kept = keptOf.get(view);
  if (kept === undefined) keptOf.set(view, (kept = new KeptEvents(view, since)));
  return new EventsOfPage(view, kept, since, say);
}

/** An event, or those between two numbers that are gone. */
interface Entry {
  readonly first: number;
  readonly last: number;
  readonly event: TopicEvent | null;
}

/** The newest events of a topic. It hears of them before its pages do. */
class KeptEvents {
  /** Of which stream they are; 0 before the gateway has confirmed. */
  epoch = 0;
  /** All that came after this number is here. */
  after = 0;
  entries: Entry[] = [];

  constructor(
    private readonly view: Events,
    private readonly since: Place | null,
  ) {
    view.on("state", () => this.#begin());
    view.on("event", (event) => this.#add({ first: event.seq, last: event.seq, event }));
    view.on("lost", (first, last) => this.#add({ first, last, event: null }));
  }

  /** Another stream has numbers of its own, and all in it is new. */
  #begin(): void {
    const { epoch, seq, acknowledged } = this.view;
    if (epoch === 0 || epoch === this.epoch) return;
    if (this.since !== null) this.after = isOf(this.since, epoch) ? this.since[1] : 0;
    else this.after = this.epoch === 0 ? (seq ?? acknowledged ?? 0) : 0;
    this.epoch = epoch;
    this.entries = [];
  }

  #add(entry: Entry): void {
    this.#begin();
    this.entries.push(entry);
    if (this.entries.length > MOST_KEPT) this.after = this.entries.shift()!.last;
  }
}

const keptOf = new WeakMap<Events, KeptEvents>();

/** The events of a topic as one page gets them: each once, and in order. */
export class EventsOfPage {
  #place: Place | null;

  constructor(
    readonly view: Events,
    private readonly kept: KeptEvents,
    since: Place | null,
    private readonly say: (item: EventItem) => void,
  ) {
    this.#place = since ?? (kept.epoch === 0 ? null : [kept.epoch, this.#start()]);
  }

  /** Up to where the page has them; null before the gateway has confirmed. */
  get place(): Place | null {
    const { epoch, after } = this.kept;
    if (epoch === 0) return this.#place;
    if (this.#place === null) return (this.#place = [epoch, after]);
    return (this.#place = [epoch, isOf(this.#place, epoch) ? this.#place[1] : 0]);
  }

  /** Gives the page what it lacks. */
  pass(): void {
    const { epoch, after, entries } = this.kept;
    let seq = this.place?.[1] ?? 0;
    if (epoch === 0) return;
    if (seq < after) {
      this.say({ kind: "lost", first: seq + 1, last: after });
      seq = after;
    }
    let at = entries.length;
    while (at > 0 && entries[at - 1]!.last > seq) at--;
    for (const { first, last, event } of entries.slice(at)) {
      if (event === null) this.say({ kind: "lost", first: Math.max(first, seq + 1), last });
      else this.say({ kind: "event", event, epoch });
      seq = last;
    }
    this.#place = [epoch, seq];
  }

  /** A page that comes later begins with what is not acknowledged, as a new connection would; where nothing is, with what comes next. */
  #start(): number {
    const { acknowledgement, acknowledged, seq } = this.view;
    return acknowledgement === "none" ? (seq ?? this.kept.after) : (acknowledged ?? 0);
  }
}

/** Whether a place is one of this stream; an epoch of 0 is any. */
function isOf([epoch]: Place, stream: number): boolean {
  return epoch === 0 || epoch === stream;
}
