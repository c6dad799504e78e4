import { crc32 } from "node:zlib";
import { type Client, type ClientOptions, connect, json } from "../src/index.js";
import { FakeClock, FakeTransport } from "../src/testing.js";

export const WELCOME = {
  type: "welcome",
  version: 1,
  node: "n",
  session: "s",
  time: 0,
  heartbeat_ms: 15_000,
  limits: {},
  resumes: ["book", "trades", "ticker", "board", "instruments"],
};

/** A client with a clock, a network and a chance that the test decides. */
export class Stage {
  readonly clock = new FakeClock();
  readonly net = new FakeTransport();
  chance = 0.5;
  client!: Client;

  start(options: ClientOptions = {}, urls: string | string[] = "ws://a/v1/stream"): Client {
    const { net: transport, clock } = this;
    return (this.client = connect(urls, { format: json, transport, clock, random: () => this.chance, ...options }));
  }

  async open(welcome: object = WELCOME): Promise<void> {
    await this.clock.advance(0);
    this.net.last.opened();
    this.net.last.say(welcome);
  }

  /** Confirms the newest `subscribe`. */
  confirm(more: object = {}, sub = 7): void {
    const { id, channel, instruments } = this.net.last.commands.at(-1) as { id: number; channel: string; instruments: string[] };
    for (const [index, instrument] of instruments.entries()) {
      const confirmed = {
        type: "subscribed",
        id,
        sub: sub + index,
        channel,
        instrument,
        price_exp: -2,
        size_exp: 0,
        ref: { tick: 1 },
      };
      this.net.last.say({ ...confirmed, resumed: false, ...more });
    }
  }
}

export function crc(text: string): number {
  return crc32(text);
}

/** A snapshot with a bid at 10.00 and an ask at 10.01. */
export function snapshot(seq = 100, size = 5, more: object = {}): object {
  return {
    type: "snapshot",
    sub: 7,
    epoch: 5,
    seq,
    ts: 1,
    bids: [["10.00", `${size}`]],
    asks: [["10.01", "7"]],
    crc: crc(`1000:${size}:1001:7`),
    reason: "subscribe",
    ...more,
  };
}

/** A delta that gives the bid at 10.00 another size. */
export function delta(first: number, last: number, size: number, more: object = {}): object {
  return {
    type: "delta",
    sub: 7,
    first,
    last,
    ts: 2,
    bids: [["10.00", `${size}`]],
    asks: [],
    crc: crc(`1000:${size}:1001:7`),
    ...more,
  };
}

/** Trades with these numbers. */
export function trades(first: number, last: number, more: object = {}): object {
  const entry = (_: unknown, index: number) => [first + index, 1, "10.00", "2", "buy", `t${first + index}`];
  return { type: "trades", sub: 7, epoch: 5, first, last, trades: Array.from({ length: last - first + 1 }, entry), ...more };
}
