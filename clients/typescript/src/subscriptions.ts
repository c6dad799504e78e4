// What is subscribed on a connection: asks for it, on each new connection again, and finds whom an answer or a message is for.

import type { Answered } from "./answers.js";
import { keyOf } from "./api.js";
import type { Engine } from "./engine.js";
import { MdstreamError } from "./errors.js";
import type { Command, Refused, Subscribed, Unsubscribed } from "./messages.js";
import type { Stats } from "./stats.js";
import type { AnySubscription, Request } from "./subscription.js";

const BATCH = 100;
const TEMPORARY_ERRORS = new Set(["unavailable", "rate_limited"]);

/** Sends a command, without a connection to nowhere; returns its id. */
type Send = (command: Command, answered?: Answered) => number;

export class Subscriptions {
  readonly #engines = new Map<string, Engine>();
  /** By its number on this connection. */
  readonly #bySub = new Map<number, Engine>();
  /** By the id of the command that is not answered yet. */
  readonly #asked = new Map<number, Engine[]>();
  readonly #send: Send;
  readonly #stats: Stats;

  constructor(send: Send, stats: Stats) {
    this.#send = send;
    this.#stats = stats;
  }

  get all(): Engine[] {
    return [...this.#engines.values()];
  }

  find(request: Request): Engine | undefined {
    return this.#engines.get(keyOf(request));
  }

  bySub(sub: number): Engine | undefined {
    return this.#bySub.get(sub);
  }

  add(engine: Engine): void {
    this.#engines.set(keyOf(engine.request), engine);
  }

  release(view: AnySubscription): void {
    const engine = this.find(view.request);
    if (engine?.view !== view || --engine.users > 0) return;
    const { number } = engine;
    this.#forget(engine);
    engine.end(null);
    if (number !== null) this.#send({ op: "unsubscribe", subs: [number] });
  }

  /** The connection is gone: what was asked on it is not answered. */
  forgetConnection(): void {
    this.#asked.clear();
    this.#bySub.clear();
  }

  /** Returns those that there were. */
  clear(): Engine[] {
    const { all } = this;
    this.#engines.clear();
    return all;
  }

  // ---- commands

  /** Sends `subscribe`: one command for all that differ only in the instrument. */
  request(engines: Iterable<Engine>, why: string | null = null): void {
    const alike = new Map<string, Engine[]>();
    for (const engine of engines) {
      const key = keyOf({ ...engine.wanted, instrument: "" });
      const group = alike.get(key);
      if (group === undefined) alike.set(key, [engine]);
      else group.push(engine);
    }
    for (const group of alike.values()) {
      for (let at = 0; at < group.length; at += BATCH) this.#requestBatch(group.slice(at, at + BATCH), why);
    }
  }

  #requestBatch(batch: Engine[], why: string | null): void {
    const { channel, view } = batch[0]!.wanted;
    const resume = new Map<string, [number, number]>();
    for (const { resume: place, request } of batch)
      if (place !== null && !view["group_digits"]) resume.set(request.instrument, place);
    const instruments = batch.map((engine) => engine.request.instrument);
    const command = { op: "subscribe", channel, instruments, ...view };
    const places = resume.get("") ?? Object.fromEntries(resume);
    const id = this.#send(resume.size > 0 ? { ...command, resume: places } : command);
    this.#asked.set(id, batch);
    for (const engine of batch) {
      if (engine.number !== null) this.#bySub.delete(engine.number);
      engine.requested(why); // a listener may close it: then its answer is unsubscribed
    }
  }

  recover(engine: Engine, from: number): void {
    if (engine.number === null) return;
    this.#stats.recoveries++;
    this.#send({ op: "recover", sub: engine.number, from }, (answer) => {
      if (answer?.type !== "error" || !engine.accepted) return;
      if (answer.code === "unknown_sub") this.request([engine], "the gateway no longer knows it");
      else engine.recoverRefused();
    });
  }

  // ---- answers

  takeSubscribed(message: Subscribed): void {
    const id = Number(message.id);
    const asked = this.#asked.get(id) ?? [];
    const at = asked.findIndex((each) => each.request.instrument === (message.instrument ?? ""));
    const [answered] = at < 0 ? [] : asked.splice(at, 1);
    if (asked.length === 0) this.#asked.delete(id);
    if (answered === undefined) return;
    // Closed and asked for again meanwhile, it has the same number.
    const engine = this.find(answered.request);
    if (engine === undefined) this.#send({ op: "unsubscribe", subs: [message.sub] });
    else if (!engine.accepted) {
      this.#bySub.set(message.sub, engine);
      engine.accept(message);
    }
  }

  takeUnsubscribed({ id, subs, reason }: Unsubscribed): void {
    if (id != null) return; // the answer to ours
    for (const sub of subs) {
      const engine = this.#bySub.get(sub);
      if (engine === undefined) continue;
      this.#bySub.delete(sub);
      if (reason === "rescaled") {
        engine.wanted = engine.request; // a group is to be chosen anew
        this.request([engine], "the gateway begins it anew");
      } else if (reason === "overload") engine.retryLater("the gateway is overloaded");
      else this.#refuse(engine, "not_entitled", `the gateway ended it: ${reason ?? "it gave no reason"}`);
    }
  }

  /** Returns whether it was the answer to a `subscribe`. One bad instrument refuses the whole command: then each is asked for alone. */
  takeRefused({ id, code, message }: Refused): boolean {
    const asked = this.#asked.get(id as number);
    if (asked === undefined) return false;
    this.#asked.delete(id as number);
    const wanted = asked.filter((engine) => this.find(engine.request) === engine && !engine.accepted);
    for (const engine of wanted) {
      const again = TEMPORARY_ERRORS.has(code) || (code === "limit_subscriptions" && engine.view.wasReady);
      if (asked.length > 1) this.request([engine]);
      else if (again) engine.retryLater(message);
      else this.#refuse(engine, code, message);
    }
    return true;
  }

  #refuse(engine: Engine, code: string, why: string): void {
    this.#forget(engine);
    engine.end(new MdstreamError(`${String(engine.view)}: ${why}`, code));
  }

  #forget(engine: Engine): void {
    this.#engines.delete(keyOf(engine.request));
    if (engine.number !== null) this.#bySub.delete(engine.number);
  }
}
