import { beforeEach, describe, expect, test } from "vitest";
import { type Client, type ClientOptions, connect, json } from "../src/index.js";
import { FakeClock, FakeTransport } from "../src/testing.js";
import { crc } from "./gateway.js";

let clock: FakeClock;
let net: FakeTransport;
let client: Client;
let chance = 0.5;

function start(options: ClientOptions = {}, urls: string | string[] = "ws://a/v1/stream"): Client {
  return (client = connect(urls, { format: json, transport: net, clock, random: () => chance, ...options }));
}

const WELCOME = {
  type: "welcome",
  version: 1,
  node: "n",
  session: "s",
  time: 0,
  heartbeat_ms: 15_000,
  limits: {},
  resumes: ["book", "trades", "ticker", "board", "instruments"],
};

async function open(): Promise<void> {
  await clock.advance(0);
  net.last.opened();
  net.last.say(WELCOME);
}

function confirm(more: object = {}, sub = 7): void {
  const { id, channel, instruments } = net.last.commands.at(-1) as { id: number; channel: string; instruments: string[] };
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
    net.last.say({ ...confirmed, resumed: false, ...more });
  }
}

// The checksums are those of docs/protocol.md's rule, taken by zlib.
const SNAPSHOT = {
  type: "snapshot",
  sub: 7,
  epoch: 5,
  seq: 100,
  ts: 1,
  bids: [["10.00", "5"]],
  asks: [["10.01", "7"]],
  crc: 0,
  reason: "subscribe",
};
const delta = (first: number, last: number, bids: string[][], crc: number) => ({
  type: "delta",
  sub: 7,
  first,
  last,
  ts: 2,
  bids,
  asks: [],
  crc,
});

SNAPSHOT.crc = crc("1000:5:1001:7");

beforeEach(() => {
  clock = new FakeClock();
  net = new FakeTransport();
  chance = 0.5;
});

describe("the connection", () => {
  test("offers the format, and sends subscriptions after welcome", async () => {
    const book = start().book("SIM:A", { depth: 20 });
    await clock.advance(0);
    expect(net.last.protocols).toEqual(["mdstream.v1.json"]);
    net.last.opened();
    expect(net.last.commands).toEqual([]);
    net.last.say(WELCOME);
    expect(net.last.commands).toEqual([
      { id: 1, op: "subscribe", channel: "book", instruments: ["SIM:A"], depth: 20, group: 1, interval_ms: 0 },
    ]);
    expect([client.state, book.state]).toEqual(["open", "pending"]);
  });

  test("comes back with full jitter, and the delay grows until a connection was healthy", async () => {
    start();
    await open();
    const delays: number[] = [];
    for (let i = 0; i < 8; i++) {
      net.last.closed();
      const [count, since] = [net.connections.length, clock.now()];
      while (net.connections.length === count) await clock.advance(1);
      delays.push(clock.now() - since);
      net.last.opened();
      net.last.say(WELCOME);
    }
    expect(delays).toEqual([250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
    for (let i = 0; i < 3; i++) {
      await clock.advance(14_000);
      net.last.say({ type: "heartbeat", time: 0, seqs: [] });
    }
    net.last.closed();
    const count = net.connections.length;
    await clock.advance(250);
    expect(net.connections.length).toBe(count + 1);
  });

  test("counts two heartbeats of silence as a dead link", async () => {
    start();
    await open();
    await clock.advance(29_999);
    expect(client.state).toBe("open");
    await clock.advance(1);
    expect(client.state).toBe("reconnecting");
    expect(net.connections[0]!.closedWith).toBe(1000);
  });

  test("dials again when there is no answer at all", async () => {
    start();
    await clock.advance(10_000);
    expect(client.state).toBe("reconnecting");
    await clock.advance(250);
    expect(net.connections.length).toBe(2);
  });

  test("leaves a draining gateway at the time that it gave, for the next URL", async () => {
    start({}, ["ws://a/v1/stream", "ws://b/v1/stream"]);
    await open();
    net.last.say({ type: "drain", reconnect_after_ms: 700, deadline_ms: 5000 });
    expect(client.state).toBe("draining");
    await clock.advance(699);
    expect(net.connections.length).toBe(1);
    await clock.advance(1);
    expect(net.last.url).toBe("ws://b/v1/stream?reject=close");
  });

  test.each([1003, 1007, 1009, 4400, 4403])("close code %i is the end", async (code) => {
    const book = start().book("SIM:A");
    await open();
    net.last.closed(code, "why");
    expect([client.state, client.error?.code, book.state, book.error?.code]).toEqual(["closed", code, "ended", code]);
    await clock.advance(60_000);
    expect(net.connections.length).toBe(1);
  });

  test("after sleep asks for a sign of life, and does not wait for the heartbeat", async () => {
    start();
    await open();
    client.probe();
    expect(net.last.commands.at(-1)).toMatchObject({ op: "ping" });
    await clock.advance(3_000);
    expect(net.connections.length).toBe(2);
  });

  test("a sign of life keeps the connection", async () => {
    start();
    await open();
    client.probe();
    await clock.advance(1_000);
    net.last.say({ type: "pong", id: 1, time: 0 });
    await clock.advance(10_000);
    expect(net.connections.length).toBe(1);
  });

  test("a message that cannot be read costs the connection, not the page", async () => {
    start();
    const warnings: string[] = [];
    client.on("warning", (text) => warnings.push(text));
    await open();
    net.last.say([1, 2]);
    net.last.say({ type: "from the future", sub: 7 });
    expect(client.state).toBe("open");
    net.last.say({ ...SNAPSHOT, sub: 99 });
    expect(client.state).toBe("reconnecting");
    expect(warnings[0]).toContain("subscription 99");
  });

  test("close ends everything", async () => {
    const book = start().book("SIM:A");
    await open();
    client.close();
    expect([client.state, book.state, client.error, net.last.closedWith]).toEqual(["closed", "ended", null, 1000]);
    await clock.advance(60_000);
    expect(net.connections.length).toBe(1);
    expect(client.book("SIM:B").state).toBe("ended");
  });
});

describe("tokens", () => {
  test("travel as a subprotocol, never in the URL", async () => {
    start({ token: "abc" });
    await clock.advance(0);
    expect(net.last.protocols).toEqual(["mdstream.v1.json", "bearer.abc"]);
    expect(net.last.url).toBe("ws://a/v1/stream?reject=close");
  });

  test("a refused one is not offered again", async () => {
    start({ token: () => "abc" });
    await clock.advance(0);
    net.last.opened();
    net.last.say({ type: "error", code: "unauthorized", message: "no" });
    net.last.closed(4401);
    await clock.advance(30_000);
    expect([client.state, client.error?.code, net.connections.length]).toEqual(["closed", 4401, 1]);
  });

  test("a fresh one is tried once, and renewed in time", async () => {
    let count = 0;
    start({ token: async () => `t${++count}` });
    await clock.advance(0);
    net.last.closed(4401);
    await clock.advance(500);
    expect(net.last.protocols[1]).toBe("bearer.t2");
    net.last.opened();
    net.last.say(WELCOME);
    net.last.say({ type: "token_expiring", expires: 1 });
    await clock.advance(0);
    expect(net.last.commands.at(-1)).toEqual({ id: 1, op: "auth", token: "t3" });
  });
});

describe("a book", () => {
  const texts = (book: ReturnType<Client["book"]>) => [book.bestBid?.price, book.bestBid?.size, book.bestAsk?.price];

  async function live() {
    const book = start().book("SIM:A");
    await open();
    confirm();
    net.last.say(SNAPSHOT);
    return book;
  }

  test("follows snapshot and deltas", async () => {
    const book = await live();
    const seen: unknown[] = [];
    book.on("change", (change) => seen.push([change.kind, change.first, change.last, book.state]));
    expect([book.state, ...texts(book)]).toEqual(["live", "10.00", "5", "10.01"]);
    net.last.say(
      delta(
        101,
        103,
        [
          ["10.00", "0"],
          ["9.99", "3"],
        ],
        crc("999:3:1001:7"),
      ),
    );
    expect([book.seq, ...texts(book)]).toEqual([103, "9.99", "3", "10.01"]);
    expect(seen).toEqual([["delta", 101, 103, "live"]]);
  });

  test("stays as it was in a gap, and recovers it alone", async () => {
    const book = await live();
    net.last.say(delta(103, 103, [["10.00", "6"]], crc("1000:6:1001:7")));
    expect([book.state, book.seq, book.bestBid?.size]).toEqual(["recovering", 100, "5"]);
    expect(net.last.commands.at(-1)).toEqual({ id: 2, op: "recover", sub: 7, from: 101 });
    net.last.say(delta(101, 102, [["10.00", "9"]], crc("1000:9:1001:7")));
    expect([book.state, book.seq, book.bestBid?.size]).toEqual(["live", 103, "6"]);
  });

  test("is emptied at once when its checksum is wrong", async () => {
    const book = await live();
    net.last.say(delta(101, 101, [["10.00", "6"]], 1));
    expect([book.state, book.bestBid, book.crcErrors]).toEqual(["recovering", null, 1]);
    expect(net.last.commands.at(-1)).toMatchObject({ op: "recover", from: 0 });
    net.last.say({ ...SNAPSHOT, seq: 101, reason: "recover" });
    expect(book.state).toBe("live");
  });

  test("sees a lost tail by the heartbeat", async () => {
    const book = await live();
    net.last.say({ type: "heartbeat", time: 0, seqs: [[7, 104]] });
    expect(book.state).toBe("recovering");
    expect(net.last.commands.at(-1)).toMatchObject({ op: "recover", from: 101 });
  });

  test("asks for a snapshot when recover is not answered", async () => {
    await live();
    net.last.say(delta(103, 103, [], 0));
    await clock.advance(10_000);
    expect(net.last.commands.at(-1)).toMatchObject({ op: "recover", from: 0 });
  });

  test("goes on from its number on the next connection", async () => {
    const book = await live();
    net.last.closed();
    expect([book.state, book.bestBid?.price]).toEqual(["disconnected", "10.00"]);
    await clock.advance(250);
    await open();
    expect(net.last.commands).toMatchObject([{ op: "subscribe", resume: { "SIM:A": [5, 100] } }]);
    confirm({ resumed: true });
    expect([book.state, client.stats.resumes]).toEqual(["live", 1]);
    net.last.say(delta(101, 101, [["10.00", "6"]], crc("1000:6:1001:7")));
    expect(book.bestBid?.size).toBe("6");
  });

  test("tells the gateway's state with its code and age", async () => {
    const book = await live();
    net.last.say({ type: "state", sub: 7, state: "stale", since: 1, code: "silent", age_ms: 31_000, reason: "nothing heard" });
    await clock.advance(2_000);
    expect([book.state, book.code, book.reason, book.ageMs, book.trusted]).toEqual([
      "stale",
      "silent",
      "nothing heard",
      33_000,
      true,
    ]);
    net.last.say({ type: "state", sub: 7, state: "live", since: 1, code: null });
    expect([book.state, book.code, book.ageMs]).toEqual(["live", null, null]);
  });

  test("waits for a book that the gateway has not", async () => {
    const book = start().book("SIM:A");
    await open();
    confirm();
    net.last.say({ type: "state", sub: 7, state: "recovering", since: 1, code: "no_book" });
    await clock.advance(14_000);
    expect([book.state, book.code, net.last.commands.length]).toEqual(["recovering", "no_book", 1]);
  });

  test("begins anew in another scale", async () => {
    const book = await live();
    net.last.say({ type: "unsubscribed", subs: [7], reason: "rescaled" });
    expect(net.last.commands.at(-1)).toMatchObject({ op: "subscribe", instruments: ["SIM:A"] });
    confirm({ price_exp: -3 }, 8);
    expect([book.state, book.bestBid]).toEqual(["recovering", null]);
    net.last.say({ ...SNAPSHOT, sub: 8, epoch: 6, bids: [["9.999", "5"]], asks: [], crc: crc("9999:5") });
    expect(texts(book)).toEqual(["9.999", "5", undefined]);
  });

  test("ends when the gateway refuses it", async () => {
    const book = start().book("SIM:NONE");
    const ready = book.ready();
    await open();
    net.last.say({ type: "error", id: 1, code: "unknown_instrument", message: "no publisher has announced SIM:NONE" });
    await expect(ready).rejects.toThrow("no publisher has announced SIM:NONE");
    expect([book.state, book.code, book.error?.code]).toEqual(["ended", "unknown_instrument", "unknown_instrument"]);
    expect(book.reason).toContain("no publisher has announced SIM:NONE");
  });

  test("is asked for alone when another in the command was refused", async () => {
    const [good, bad] = [start().book("SIM:A"), client.book("SIM:NONE")];
    await open();
    net.last.say({ type: "error", id: 1, code: "unknown_instrument", message: "SIM:NONE" });
    expect(net.last.commands.slice(1)).toMatchObject([{ instruments: ["SIM:A"] }, { instruments: ["SIM:NONE"] }]);
    net.last.say({ type: "error", id: 3, code: "unknown_instrument", message: "SIM:NONE" });
    expect([good.state, bad.state]).toEqual(["pending", "ended"]);
  });

  test("is asked for again when the gateway cannot now", async () => {
    start().book("SIM:A");
    await open();
    net.last.say({ type: "error", id: 1, code: "unavailable", message: "NATS is away" });
    await clock.advance(750);
    expect(net.last.commands).toHaveLength(2);
  });

  test("is one object for one view, and ends with its last user", async () => {
    const book = await live();
    expect(client.book("SIM:A")).toBe(book);
    book.close();
    expect(book.state).toBe("live");
    book.close();
    expect(book.state).toBe("ended");
    expect(net.last.commands.at(-1)).toMatchObject({ op: "unsubscribe", subs: [7] });
    net.last.say(delta(101, 101, [["10.00", "6"]], 0));
    expect(book.seq).toBe(100);
  });

  test("closed before it is confirmed, it is unsubscribed then", async () => {
    const book = start().book("SIM:A");
    await open();
    book.close();
    net.last.say({
      type: "subscribed",
      id: 1,
      sub: 7,
      channel: "book",
      instrument: "SIM:A",
      price_exp: 0,
      size_exp: 0,
      ref: {},
      resumed: false,
    });
    expect(net.last.commands.at(-1)).toMatchObject({ op: "unsubscribe", subs: [7] });
  });

  test("can be iterated; what a slow consumer missed is counted", async () => {
    const book = await live();
    const changes = book.changes(2);
    for (let seq = 101; seq <= 104; seq++) net.last.say(delta(seq, seq, [["10.00", `${seq}`]], crc(`1000:${seq}:1001:7`)));
    expect((await changes.next()).value).toMatchObject({ first: 103, skipped: 2 });
    client.close();
    expect((await changes.next()).value).toMatchObject({ first: 104, skipped: 0 });
    expect((await changes.next()).done).toBe(true);
  });
});

describe("trades", () => {
  const trade = (seq: number) => [seq, 1, "10.00", "2", "buy", `t${seq}`];
  const trades = (first: number, last: number, epoch = 5) => ({
    type: "trades",
    sub: 7,
    epoch,
    first,
    last,
    trades: Array.from({ length: last - first + 1 }, (_, index) => trade(first + index)),
  });

  async function live() {
    const stream = start().trades("SIM:A");
    const seen: number[] = [];
    const lost: number[][] = [];
    stream.on("trade", ({ seq }) => seen.push(seq));
    stream.on("lost", (...range) => lost.push(range));
    await open();
    confirm();
    net.last.say(trades(41, 42));
    return { stream, seen, lost };
  }

  test("come once and in order, over a gap too", async () => {
    const { stream, seen } = await live();
    net.last.say(trades(45, 46));
    expect([stream.state, net.last.commands.at(-1)]).toMatchObject(["recovering", { op: "recover", from: 43 }]);
    net.last.say(trades(43, 45));
    expect([stream.state, seen]).toEqual(["live", [41, 42, 43, 44, 45, 46]]);
  });

  test("tell what is lost for good", async () => {
    const { stream, seen, lost } = await live();
    net.last.say({ type: "lost", sub: 7, first: 43, last: 50 });
    expect(net.last.commands.at(-1)).toMatchObject({ op: "recover", from: 43 });
    net.last.say({ type: "lost", sub: 7, first: 43, last: 48 });
    net.last.say(trades(49, 50));
    expect([stream.lost, lost, seen]).toEqual([6, [[43, 48]], [41, 42, 49, 50]]);
  });

  test("resume, and begin again in a new epoch", async () => {
    const { seen } = await live();
    net.last.closed();
    await clock.advance(250);
    await open();
    expect(net.last.commands).toMatchObject([{ resume: { "SIM:A": [5, 42] } }]);
    confirm({ resumed: true });
    net.last.say(trades(43, 43));
    net.last.say(trades(1, 2, 6));
    expect(seen).toEqual([41, 42, 43, 1, 2]);
  });
});

test("a ticker keeps the newest", async () => {
  const ticker = start().ticker("SIM:A");
  await open();
  confirm();
  net.last.say({ type: "ticker", sub: 7, epoch: 5, seq: 9, ts: 1, bid: ["10.00", "5"], ask: null, last: ["10.01", "1"] });
  expect([ticker.state, ticker.current?.bid?.price, ticker.current?.ask]).toEqual(["live", "10.00", null]);
  net.last.say({ type: "heartbeat", time: 0, seqs: [[7, 10]] });
  expect([ticker.state, net.last.commands.at(-1)]).toMatchObject(["recovering", { op: "recover", from: 0 }]);
});
