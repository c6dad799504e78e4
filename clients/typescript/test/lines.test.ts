import { beforeEach, describe, expect, test } from "vitest";
import { type BookChange, json } from "../src/index.js";
import { connect, deal } from "../src/lines.js";
import { FakeClock, type FakeConnection, FakeTransport } from "../src/testing.js";
import { crc, delta, snapshot, trades, WELCOME } from "./gateway.js";

let clock: FakeClock;
let net: FakeTransport;

beforeEach(() => {
  clock = new FakeClock();
  net = new FakeTransport();
});

function start(urls: string | string[] = ["ws://a/v1/stream", "ws://b/v1/stream"]) {
  return connect(urls, { lines: 2, format: json, transport: net, clock, random: () => 0.5 });
}

/** The newest connection to this host. */
function to(host: string): FakeConnection {
  return net.connections.findLast(({ url }) => url.startsWith(`ws://${host}/`))!;
}

async function open(...hosts: string[]): Promise<void> {
  await clock.advance(0);
  for (const host of hosts) {
    to(host).opened();
    to(host).say(WELCOME);
  }
}

function confirm(host: string, more: object = {}): void {
  const { id, channel, instruments } = to(host).commands.findLast(({ op }) => op === "subscribe") as {
    id: number;
    channel: string;
    instruments: string[];
  };
  const confirmed = {
    type: "subscribed",
    id,
    sub: 7,
    channel,
    instrument: instruments[0],
    price_exp: -2,
    size_exp: 0,
    ref: { at: host },
  };
  to(host).say({ ...confirmed, resumed: false, ...more });
}

async function both(channel: "book" | "trades" | "ticker" = "book") {
  const client = start();
  const view = client[channel]("SIM:A");
  await open("a", "b");
  for (const host of ["a", "b"]) confirm(host);
  return { client, view };
}

async function books() {
  const client = start();
  const book = client.book("SIM:A");
  const changes: BookChange[] = [];
  const states: string[] = [];
  book.on("change", (change) => changes.push(change));
  book.on("state", (state) => states.push(state));
  await open("a", "b");
  for (const host of ["a", "b"]) {
    confirm(host);
    to(host).say(snapshot());
  }
  return { client, book, changes, states };
}

test("URLs are dealt out in turn", () => {
  expect(deal(["a", "b", "c"], 2)).toEqual([["a", "c"], ["b"]]);
  expect(deal("a", 2)).toEqual([["a"], ["a"]]);
  expect(() => deal(["a", "b"], 3)).toThrow("3");
  expect(() => deal(["a"], 0)).toThrow("at least 1");
});

test("each line says which one it is, for gateways that allow a user one session on each", async () => {
  start();
  await open("a", "b");
  expect(to("a").url).toBe("ws://a/v1/stream?reject=close");
  expect(to("b").url).toBe("ws://b/v1/stream?line=2&reject=close");
});

describe("a book on two lines", () => {
  test("shows each update once, from whichever line brings it first", async () => {
    const { book, changes, states } = await books();
    to("b").say(delta(101, 101, 6));
    to("a").say(delta(101, 101, 6));
    to("a").say(delta(102, 102, 7));
    to("b").say(delta(102, 102, 7));
    expect(changes.map(({ kind, first, last }) => [kind, first, last])).toEqual([
      ["snapshot", 100, 100],
      ["delta", 101, 101],
      ["delta", 102, 102],
    ]);
    expect([book.bestBid?.size, states, book.disagreed]).toEqual(["7", ["live"], 0]);
    expect(book.lines).toMatchObject([
      { line: 0, ahead: true, state: "live", first: 2, late: 1 },
      { line: 1, ahead: false, state: "live", first: 1, late: 2 },
    ]);
  });

  test("passes on the difference where two gateways end their updates at different numbers", async () => {
    const { book, changes } = await books();
    to("a").say(delta(101, 102, 6));
    to("b").say(delta(101, 104, 8));
    expect(changes.at(-1)).toMatchObject({ kind: "delta", first: 103, last: 104, bids: [1000, 8], asks: [] });
    to("a").say(delta(103, 105, 9));
    expect(changes.at(-1)).toMatchObject({ first: 105, last: 105, bids: [1000, 9] });
    expect([book.seq, book.bestBid?.size]).toEqual([105, "9"]);
  });

  test("does not notice the death of one", async () => {
    const { client, book, changes, states } = await books();
    to("a").closed();
    to("b").say(delta(101, 101, 6));
    expect([client.state, book.state, book.seq, states]).toEqual(["open", "live", 101, ["live"]]);
    expect(changes.map(({ kind }) => kind)).toEqual(["snapshot", "delta"]);
    await clock.advance(500);
    await open("a");
    confirm("a", { resumed: true });
    to("a").say(delta(101, 102, 7));
    expect([book.seq, states]).toEqual([102, ["live"]]);
  });

  test("is recovering or disconnected only if no line goes on", async () => {
    const { client, book, states } = await books();
    to("a").closed();
    to("b").closed();
    expect([client.state, book.state, states]).toEqual(["reconnecting", "disconnected", ["live", "disconnected"]]);
  });

  test("a gap on one line is filled by the other at once", async () => {
    const { book, states } = await books();
    to("a").say(delta(103, 103, 8));
    to("b").say(delta(101, 103, 8));
    expect([book.seq, states, to("a").commands.at(-1)]).toMatchObject([103, ["live"], { op: "recover", from: 101 }]);
  });

  test("a view that proves wrong is replaced by the other line's", async () => {
    const { book, changes, states } = await books();
    to("a").say(delta(101, 101, 6, { crc: 1 }));
    expect([book.state, book.bestBid?.size, changes.at(-1)?.kind]).toEqual(["live", "5", "snapshot"]);
    expect([book.lines[1]?.ahead, states]).toEqual([true, ["live"]]);
  });

  test("a view that proves wrong is emptied if no other has as much", async () => {
    const { book } = await books();
    to("a").say(delta(101, 101, 6));
    to("a").say(delta(102, 102, 6, { crc: 1 }));
    expect([book.state, book.bids.length]).toEqual(["recovering", 0]);
    to("b").say(delta(101, 102, 8));
    expect([book.state, book.bestBid?.size]).toEqual(["live", "8"]);
  });

  test("a snapshot on one line is no snapshot for the user", async () => {
    const { changes } = await books();
    to("b").say(snapshot(103, 9, { reason: "slow" }));
    expect(changes.at(-1)).toMatchObject({ kind: "delta", first: 101, last: 103, bids: [1000, 9] });
  });

  test("goes to a new epoch with the first line, and not back with the second", async () => {
    const { book, changes } = await books();
    to("a").say(snapshot(1, 4, { epoch: 6, reason: "epoch" }));
    to("b").say(delta(101, 101, 6));
    expect([book.epoch, book.seq, book.bestBid?.size, changes.length]).toEqual([6, 1, "4", 2]);
  });

  test("an epoch that only a lost line had is given up after a while", async () => {
    const { book } = await books();
    to("a").say(snapshot(1, 4, { epoch: 6, reason: "epoch" }));
    to("a").closed(4400);
    expect([book.state, book.epoch]).toEqual(["recovering", 6]);
    await clock.advance(10_000);
    expect([book.state, book.epoch, book.seq]).toEqual(["live", 5, 100]);
  });

  test("tells the better state of those that have what is shown", async () => {
    const { book } = await books();
    to("a").say({ type: "state", sub: 7, state: "stale", code: "nats_away", age_ms: 5 });
    expect(book.state).toBe("live");
    to("b").say({ type: "state", sub: 7, state: "stale", code: "silent", age_ms: 5 });
    expect([book.state, book.trusted]).toEqual(["stale", true]);
  });

  test("counts where two lines disagree", async () => {
    const { book } = await books();
    to("a").say(delta(101, 101, 6));
    to("b").say(delta(101, 101, 9));
    expect([book.disagreed, book.bestBid?.size]).toEqual([1, "6"]);
  });

  test("ends when no line serves it, and with its last user", async () => {
    const client = start();
    const refused = client.book("SIM:NONE");
    const ready = refused.ready();
    await open("a", "b");
    for (const host of ["a", "b"]) to(host).say({ type: "error", id: 1, code: "unknown_instrument", message: `not at ${host}` });
    await expect(ready).rejects.toThrow("not at b");
    const book = client.book("SIM:A");
    expect(client.book("SIM:A")).toBe(book);
    for (const host of ["a", "b"]) confirm(host);
    book.close();
    book.close();
    expect([book.state, to("a").commands.at(-1), to("b").commands.at(-1)]).toMatchObject([
      "ended",
      { op: "unsubscribe" },
      { op: "unsubscribe" },
    ]);
  });

  test("a line that refuses leaves it to the other, and is asked again when it comes back", async () => {
    const client = start();
    const book = client.book("SIM:A");
    await open("a", "b");
    to("a").say({ type: "error", id: 1, code: "unknown_instrument", message: "no" });
    confirm("b");
    to("b").say(snapshot());
    expect([book.state, book.lines[0]?.state]).toEqual(["live", "ended"]);
    to("a").closed();
    await clock.advance(500);
    await open("a");
    expect(to("a").commands.at(-1)).toMatchObject({ op: "subscribe", instruments: ["SIM:A"] });
  });

  test("closing the client ends all", async () => {
    const { client, book } = await books();
    client.close();
    expect([client.state, client.error, book.state, to("a").closedWith, to("b").closedWith]).toEqual([
      "closed",
      null,
      "ended",
      1000,
      1000,
    ]);
    expect(client.book("SIM:B").state).toBe("ended");
  });
});

test("trades come once and in order; lost are those that no line brings", async () => {
  const { view } = await both("trades");
  const stream = view as ReturnType<ReturnType<typeof start>["trades"]>;
  const seen: [number, number][] = [];
  stream.on("trade", ({ seq, skipped }) => seen.push([seq, skipped]));
  to("a").say(trades(1, 2));
  to("b").say(trades(1, 3));
  to("a").say({ type: "lost", sub: 7, first: 3, last: 5 });
  to("a").say({ type: "lost", sub: 7, first: 3, last: 5 });
  to("a").say(trades(6, 6));
  expect(seen.map(([seq]) => seq)).toEqual([1, 2, 3]);
  to("b").say(trades(4, 4));
  to("b").say({ type: "lost", sub: 7, first: 5, last: 5 });
  to("b").say({ type: "lost", sub: 7, first: 5, last: 5 });
  expect(seen).toEqual([
    [1, 0],
    [2, 0],
    [3, 0],
    [4, 0],
    [6, 1],
  ]);
  expect(stream.lost).toBe(1);
});

test("a ticker is the newer one", async () => {
  const { view } = await both("ticker");
  const ticker = view as ReturnType<ReturnType<typeof start>["ticker"]>;
  const seen: (number | undefined)[] = [];
  ticker.on("change", ({ seq }) => seen.push(seq));
  const quote = (seq: number) => ({
    type: "ticker",
    sub: 7,
    epoch: 5,
    seq,
    ts: seq,
    bid: ["10.00", `${seq}`],
    ask: null,
    last: null,
  });
  for (const [host, seq] of [
    ["a", 1],
    ["b", 1],
    ["b", 2],
    ["a", 2],
    ["a", 4],
    ["b", 3],
  ] as const)
    to(host).say(quote(seq));
  expect([seen, ticker.current?.seq, ticker.state]).toEqual([[1, 2, 4], 4, "live"]);
});

/** Numbers from a seed, so that a failure can be played again. */
function seeded(seed: number): () => number {
  return () => {
    seed = (seed * 1_664_525 + 1_013_904_223) >>> 0;
    return seed / 2 ** 32;
  };
}

test.each(Array.from({ length: 60 }, (_, seed) => seed))(
  "whatever two gateways do, the book is the publisher's at its number (%i)",
  async (seed) => {
    const random = seeded(seed + 1);
    const pick = (most: number) => Math.floor(random() * most);
    // The publisher: the sizes of five bids at each number.
    const history: number[][] = [[1, 1, 1, 1, 1]];
    const text = (seq: number) => history[seq]!.flatMap((size, i) => (size > 0 ? [`${i + 1}`, `${size}`] : [])).reverse();
    const checked = (seq: number) => {
      const flat = text(seq);
      const parts: string[] = [];
      for (let i = 0; i < flat.length; i += 2) parts.push(flat[i + 1]!, flat[i]!);
      return parts.length === 0 ? 0 : crc(parts.join(":"));
    };
    const levels = (seq: number, from?: number) =>
      history[seq]!.flatMap((size, i) =>
        (from === undefined ? size > 0 : size !== history[from]![i]) ? [[`${i + 1}`, `${size}`]] : [],
      );
    const client = start();
    const book = client.book("SIM:A");
    let wrong = 0;
    let last = 0;
    book.on("change", ({ last: seq }) => {
      const shown = [1, 2, 3, 4, 5].map((ticks) => book.bids.lotsAt(ticks));
      if (book.trusted && shown.join() !== history[seq]!.join()) wrong++;
      if (seq < last) wrong++;
      last = seq;
    });
    const at = { a: 0, b: 0 };
    const up = { a: false, b: false };
    const raise = async (host: "a" | "b") => {
      await clock.advance(25_000);
      await open(host);
      if (!to(host).commands.some(({ op }) => op === "subscribe")) return;
      const { resume } = to(host).commands.findLast(({ op }) => op === "subscribe") as {
        resume?: Record<string, [number, number]>;
      };
      const from = resume?.["SIM:A"]?.[1];
      const resumed = from !== undefined && from <= history.length - 1 && random() < 0.7;
      confirm(host, { resumed, price_exp: 0 });
      at[host] = resumed ? from : history.length - 1;
      if (!resumed) say(host, "snapshot");
      up[host] = true;
    };
    const say = (host: "a" | "b", kind: "snapshot" | "delta", lose = false) => {
      const [from, to_] = [at[host], kind === "delta" ? Math.min(at[host] + 1 + pick(3), history.length - 1) : at[host]];
      if (kind === "delta" && from === to_) return;
      at[host] = to_;
      if (lose) return;
      const base = { type: kind, sub: 7, ts: 1, asks: [], crc: checked(to_) };
      if (kind === "snapshot") to(host).say({ ...base, epoch: 5, seq: to_, bids: levels(to_), reason: "recover" });
      else to(host).say({ ...base, first: from + 1, last: to_, bids: levels(to_, from) });
    };
    await raise("a");
    await raise("b");
    for (let step = 0; step < 300; step++) {
      history.push(history.at(-1)!.map((size) => (random() < 0.3 ? pick(4) : size)));
      for (const host of ["a", "b"] as const) {
        if (!up[host]) {
          if (random() < 0.05) await raise(host);
          continue;
        }
        const chance = random();
        if (chance < 0.01) {
          to(host).closed();
          up[host] = false;
        } else if (chance < 0.03) say(host, "delta", true);
        else if (chance < 0.7) say(host, "delta");
        const asked = to(host).commands.at(-1);
        if (asked?.["op"] === "recover") {
          to(host).commands.length = 0;
          say(host, "snapshot");
        }
      }
    }
    expect(wrong).toBe(0);
    expect(last).toBeGreaterThan(100);
  },
);
