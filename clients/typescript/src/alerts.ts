// What the map `alerts` of a user holds, and what his events of the type `alert` say.

/** What a user asks to be told: an entry of the map `alerts`. */
export interface Alert {
  instrument: string;
  on: "bid" | "ask" | "last";
  when: "above" | "below" | "crosses";
  /** An exact decimal. */
  price: string;
  /** Whether it fires once, and is over; `true` where it is left out. */
  once?: boolean;
  /** At most 256 characters, which its events repeat. */
  note?: string;
  /** That it has fired; leave it out of what you put, and the alert is armed anew. */
  fired?: Fired;
}

export interface Fired {
  readonly rev: number;
  readonly count: number;
  /** Time of the market, µs. */
  readonly ts: number;
  readonly price: string;
  /** It fired too often in a minute; set it again. */
  readonly paused: boolean;
}

/** The data of an event of the type `alert`: a crossing, which is told once. */
export interface AlertEvent extends Omit<Alert, "once" | "fired"> {
  /** The key of the alert. */
  alert: string;
  /** The price that crossed. */
  crossed: string;
  epoch: number;
  seq: number;
  /** Time of the market, µs. */
  ts: number;
  rev: number;
  count: number;
  /** Names the crossing among those of the alert. */
  id: string;
  /** Numbers were missing: it crossed then or before. */
  late?: boolean;
  paused?: boolean;
}
