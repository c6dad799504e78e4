// What happened: a fault, when the page was told, when it had recovered.

import { Value } from "./value.js";

export interface Incident {
  /** What was done, or what happened. */
  readonly what: string;
  /** By `performance.now()`. */
  readonly at: number;
  told: number | null;
  toldAs: string;
  recovered: number | null;
  /** How it was mended: by what went on, by a snapshot, … */
  how: string;
}

/** No fault: the venue says so. */
const AS_IT_SHOULD = new Set(["halted", "closed", "ended"]);
const MOST = 40;
/** An incident that nobody was told of within this time had no effect. */
const NO_EFFECT_MS = 15_000;

export class Timeline {
  readonly incidents = new Value<readonly Incident[]>([]);
  #live = false;
  #wasLive = false;

  /** Something was done now, or at this time by `performance.now()`. */
  fault(what: string, at: number): void {
    this.#add(what, at, null, "");
    this.#live = false;
  }

  /** The state of the selected book is another one. */
  book(state: string, reason: string, how: string): void {
    const live = state === "live";
    if (live) this.#mend(how);
    else if (AS_IT_SHOULD.has(state)) this.#mend("");
    else if (this.#wasLive || this.#open !== null) this.#tell(reason === "" ? state : `${state}: ${reason}`);
    this.#live = live;
    this.#wasLive ||= live;
  }

  connection(state: string): void {
    if (state === "reconnecting" || state === "draining") this.#tell(state);
  }

  silence(quiet: boolean): void {
    if (quiet) this.#tell("nothing arrives");
    else if (this.#live) this.#mend("what was held arrived");
  }

  /** Another instrument or view: what is not mended yet will not be. */
  forget(): void {
    this.#wasLive = false;
  }

  get #open(): Incident | null {
    const last = this.incidents.now.at(-1);
    return last !== undefined && last.recovered === null && performance.now() - last.at < 10 * NO_EFFECT_MS ? last : null;
  }

  #add(what: string, at: number, told: number | null, toldAs: string): void {
    const incident = { what, at, told, toldAs, recovered: null, how: "" };
    this.incidents.set([...this.incidents.now, incident].slice(-MOST));
  }

  #tell(as: string): void {
    const open = this.#open;
    if (open === null) this.#add(as, performance.now(), performance.now(), as);
    else if (open.told === null) {
      open.told = performance.now();
      open.toldAs = as;
      this.incidents.touch();
    }
  }

  #mend(how: string): void {
    const open = this.#open;
    if (open === null || open.told === null) return;
    open.recovered = performance.now();
    open.how = how;
    this.incidents.touch();
  }
}
