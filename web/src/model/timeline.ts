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
  /** When it was over without a recovery. */
  left: number | null;
  /** Why it is over, if that is known. */
  how: string;
}

/** No fault: the venue says so. */
const AS_IT_SHOULD = new Set(["halted", "closed", "ended"]);
const MOST = 40;
/** An incident that nobody was told of within this time had no effect: two heartbeats and a try. */
const NO_EFFECT_MS = 35_000;

export class Timeline {
  readonly incidents = new Value<readonly Incident[]>([]);
  #live = false;
  #wasLive = false;

  constructor(private readonly now: () => number = () => performance.now()) {}

  /** Something was done now, or at this time by `performance.now()`. */
  fault(what: string, at: number): Incident {
    return this.#add(what, at, null, "");
  }

  /** It was not done after all. */
  refused(fault: Incident): void {
    this.#leave((incident) => incident === fault, "was refused");
  }

  /** The state of the selected instrument's books. */
  book(state: string, reason: string): void {
    this.#live = state === "live";
    this.#wasLive ||= this.#live;
    if (this.#live) this.#mend("");
    else if (AS_IT_SHOULD.has(state)) this.#mend("");
    else if (this.#wasLive || this.#open.length > 0) this.#tell(reason === "" ? state : `${state}: ${reason}`);
  }

  connection(state: string): void {
    if (state === "reconnecting" || state === "draining") this.#tell(state);
  }

  silence(quiet: boolean): void {
    if (quiet) this.#tell("nothing arrives");
    else if (this.#live) this.#mend("what was held arrived");
  }

  /** Another instrument: what is not mended yet will not be seen to be. */
  forget(): void {
    this.#live = this.#wasLive = false;
    this.#leave((incident) => incident.told !== null, "another market was chosen");
  }

  /** To be called now and then: what nobody was told of is over. */
  look(): void {
    const since = this.now() - NO_EFFECT_MS;
    this.#leave(({ told, at }) => told === null && at < since, "nothing was wrong");
  }

  /** All that are not over: one that follows another is over with it. */
  get #open(): Incident[] {
    return this.incidents.now.filter(({ recovered, left }) => recovered === null && left === null);
  }

  #add(what: string, at: number, told: number | null, toldAs: string): Incident {
    const incident = { what, at, told, toldAs, recovered: null, left: null, how: "" };
    this.incidents.set([...this.incidents.now, incident].slice(-MOST));
    return incident;
  }

  #tell(as: string): void {
    const { now } = this;
    if (this.#open.length === 0) return void this.#add(as, now(), now(), as);
    this.#change(
      ({ told }) => told === null,
      (incident) => {
        incident.told = now();
        incident.toldAs = as;
      },
    );
  }

  #mend(how: string): void {
    this.#change(
      ({ told }) => told !== null,
      (incident) => {
        incident.recovered = this.now();
        incident.how = how;
      },
    );
  }

  #leave(which: (incident: Incident) => boolean, why: string): void {
    this.#change(which, (incident) => {
      incident.left = this.now();
      incident.how = why;
    });
  }

  /** Of those that are not over. */
  #change(which: (incident: Incident) => boolean, how: (incident: Incident) => void): void {
    const those = this.#open.filter(which);
    for (const incident of those) how(incident);
    if (those.length > 0) this.incidents.touch();
  }
}
