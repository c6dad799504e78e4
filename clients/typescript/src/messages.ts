// What the gateway sends and takes, the same for both formats: prices are ticks, sizes are lots, times are µs since 1970,
// levels are flat (`[ticks, lots, …]`, best first). docs/protocol.md says what each means.

export type Id = number | string | null;

export interface Delta {
  type: "delta";
  sub: number;
  first: number;
  last: number;
  ts: number;
  bids: number[];
  asks: number[];
  crc: number;
}

export interface Snapshot {
  type: "snapshot";
  sub: number;
  epoch: number;
  seq: number;
  ts: number;
  bids: number[];
  asks: number[];
  crc: number;
  reason: string;
}

export type TradeEntry = [seq: number, ts: number, ticks: number, lots: number, side: number, id: number | string];

export interface TradesMessage {
  type: "trades";
  sub: number;
  epoch: number;
  first: number;
  last: number;
  trades: TradeEntry[];
}

export type Quote = [ticks: number, lots: number];

export interface TickerMessage {
  type: "ticker";
  sub: number;
  epoch: number;
  seq: number;
  ts: number;
  bid: Quote | null;
  ask: Quote | null;
  last: Quote | null;
}

export interface Heartbeat {
  type: "heartbeat";
  time: number;
  seqs: [sub: number, seq: number][];
}

export interface Limits {
  readonly depths?: readonly number[];
  readonly intervals_ms?: readonly number[];
  readonly [name: string]: unknown;
}

export interface Welcome {
  type: "welcome";
  version: number;
  node: string;
  session: string;
  time: number;
  heartbeat_ms: number;
  /** How long this connection must last to count as a success; older gateways do not say. */
  healthy_ms?: number;
  limits: Limits;
}

/** What the publisher says of an instrument: `tick`, `lot` (increments in ticks and lots), `name`, `depth`, and more. */
export interface Reference {
  readonly tick?: number;
  readonly lot?: number;
  readonly name?: string;
  readonly depth?: number;
  readonly [key: string]: unknown;
}

export interface Subscribed {
  type: "subscribed";
  id: Id;
  sub: number;
  channel: string;
  /** Absent, as is the scale, where a subscription has no instrument of its own. */
  instrument?: string;
  price_exp?: number;
  size_exp?: number;
  ref?: Reference;
  resumed: boolean;
  group?: number;
  delay_ms?: number;
}

export interface Lost {
  type: "lost";
  sub: number;
  first: number;
  last: number;
}

export interface RefChange {
  type: "ref";
  sub: number;
  ref: Reference;
}

export interface StateChange {
  type: "state";
  sub: number;
  state: string;
  since?: number;
  code?: string | null;
  age_ms?: number | null;
  reason?: string | null;
}

export interface Unsubscribed {
  type: "unsubscribed";
  id: Id;
  subs: number[];
  reason: string | null;
}

export interface Drain {
  type: "drain";
  reconnect_after_ms: number;
  deadline_ms: number;
}

export interface Refused {
  type: "error";
  id: Id;
  code: string;
  message: string;
}

export interface Pong {
  type: "pong";
  id: Id;
  data: unknown;
  time: number;
}

/** The answer to `publish` or `put`. */
export interface Stored {
  type: "published" | "stored";
  id: Id;
  topic: string;
  seq: number;
  /** It was stored before, under the same key. */
  duplicate?: boolean;
}

/** What answers a command, and belongs to no subscription. */
export type Answer = Pong | Stored | Refused;

export interface Authenticated {
  type: "authenticated";
  id: Id;
  expires: number | null;
}

export interface TokenExpiring {
  type: "token_expiring";
  expires: number;
}

/** A message of a channel that has a module of its own, which reads it. */
export interface More {
  type: "more";
  /** The type that the gateway gave it: a text, or the number of a MessagePack array. */
  kind: unknown;
  sub: number;
  /** Its fields: a map, or the values of an array. */
  values: unknown;
}

export type Data = Delta | Snapshot | TradesMessage | TickerMessage;
export type Control =
  | Welcome
  | Subscribed
  | Lost
  | RefChange
  | StateChange
  | Unsubscribed
  | Drain
  | Refused
  | Pong
  | Stored
  | Authenticated
  | TokenExpiring;
export type Message = Data | More | Heartbeat | Control;

/** A command: a map of plain values. */
export interface Command {
  readonly op: string;
  readonly [field: string]: unknown;
}

/** One of the contract's two formats. */
export interface Format {
  /** The WebSocket subprotocol. */
  readonly protocol: string;
  /** A decoder and encoder for one connection. */
  codec(): Codec;
}

export interface Codec {
  encode(command: Command): string | Uint8Array<ArrayBuffer>;
  /** The messages of one WebSocket message. Types that this client does not know are left out. Throws ContractBroken. */
  decode(data: string | ArrayBuffer): Message[];
}
