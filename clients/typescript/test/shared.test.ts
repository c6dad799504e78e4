import { beforeEach, describe, expect, test } from "vitest";
import { board } from "../src/board.js";
import { candles } from "../src/candles.js";
import type { BookChange } from "../src/index.js";
import { instruments } from "../src/instruments.js";
import type { SharedClient } from "../src/shared.js";
import type { Host } from "../src/shared-host.js";
import { delta, Stage, snapshot, trades } from "./gateway.js";
import { hostOf, Tab } from "./tabs.js";

let stage: Stage;
let host: Host;

beforeEach(() => {
  stage = new Stage();
  host = hostOf(stage);
});

async function twoTabs() {
  const tabs = [new Tab(host), new Tab(host)] as const;
  const books = tabs.map(({ client }) => client.book("SIM:A")) as [
    ReturnType<SharedClient["book"]>,
    ReturnType<SharedClient["book"]>,
  ];
  await stage.open();
  stage.confirm();
  stage.net.last.say(snapshot());
  await stage.clock.advance(0);
  return { tabs, books };
}

test("two tabs share one connection and one subscription, and both see the book", async () => {
  const { tabs, books } = await twoTabs();
  expect([stage.net.connections.length, stage.net.last.commands.length]).toEqual([1, 1]);
  for (const book of books) expect([book.state, book.seq, book.bestBid?.price, book.ref.tick]).toEqual(["live", 100, "10.00", 1]);
  const seen: [BookChange["kind"], number, string][] = [];
  books[1].on("change", ({ kind, last }) => seen.push([kind, last, books[1].state]));
  stage.net.last.say(delta(101, 102, 6));
  await stage.clock.advance(0);
  expect([seen, books[0].bestBid?.size]).toEqual([[["delta", 102, "live"]], "6"]);
  expect([tabs[0].client.state, tabs[0].client.stats.messages]).toEqual(["open", 4]);
});

test("a tab that comes later gets what there is", async () => {
  await twoTabs();
  const later = new Tab(host);
  const book = later.client.book("SIM:A");
  await stage.clock.advance(0);
  expect([later.client.state, book.state, book.seq, book.bestAsk?.size]).toEqual(["open", "live", 100, "7"]);
});

test("states come to each tab, with code and age", async () => {
  const { books } = await twoTabs();
  stage.net.last.say({ type: "state", sub: 7, state: "stale", code: "silent", age_ms: 31_000 });
  await stage.clock.advance(0);
  expect([books[1].state, books[1].code, books[1].trusted]).toEqual(["stale", "silent", true]);
  expect(books[1].ageMs).toBeGreaterThanOrEqual(31_000);
  stage.net.last.say(delta(101, 101, 6, { crc: 1 }));
  await stage.clock.advance(0);
  expect([books[1].state, books[1].bids.length, books[1].crcErrors]).toEqual(["recovering", 0, 1]);
});

test("a tab that does not read gets the newest when it reads again, and holds up nobody", async () => {
  const { tabs, books } = await twoTabs();
  const kinds: string[] = [];
  books[0].on("change", ({ kind }) => kinds.push(kind));
  tabs[0].stuck = [];
  for (let seq = 101; seq <= 400; seq++) {
    stage.net.last.say(delta(seq, seq, seq));
    await stage.clock.advance(0);
  }
  expect([books[1].seq, tabs[0].stuck.length]).toEqual([400, 32]);
  tabs[0].unstick();
  await stage.clock.advance(0);
  expect([books[0].seq, books[0].bestBid?.size, kinds.at(-1), kinds.length]).toEqual([400, "400", "snapshot", 33]);
});

test("what comes together reaches a tab together: the first at once, the rest no oftener than its pace", async () => {
  host = hostOf(stage, 4);
  const { books } = await twoTabs();
  const seen: number[] = [];
  await stage.clock.advance(8); // what it was told at first is long ago
  books[0].on("change", ({ last }) => seen.push(last));
  const shown: number[] = [];
  for (let seq = 101; seq <= 104; seq++) {
    stage.net.last.say(delta(seq, seq, seq));
    await stage.clock.advance(seq === 101 ? 0 : 1);
    shown.push(seen.length);
  }
  await stage.clock.advance(1);
  expect([shown, seen]).toEqual([
    [1, 1, 1, 1],
    [101, 102, 103, 104],
  ]);
});

test("trades that such a tab missed are told as lost", async () => {
  const tab = new Tab(host);
  const stream = tab.client.trades("SIM:A");
  await stage.open();
  stage.confirm();
  await stage.clock.advance(0);
  const lost: number[][] = [];
  stream.on("lost", (...range) => lost.push(range));
  tab.stuck = [];
  for (let seq = 1; seq <= 100; seq++) {
    stage.net.last.say(trades(seq, seq));
    await stage.clock.advance(0);
  }
  tab.unstick();
  await stage.clock.advance(0);
  expect([stream.seq, lost]).toEqual([100, [[33, 100]]]);
});

test("a subscription ends with the last tab that wants it, the connection with the last tab", async () => {
  const { tabs, books } = await twoTabs();
  books[0].close();
  expect([books[0].state, stage.net.last.commands.length]).toEqual(["ended", 1]);
  tabs[0].client.close();
  expect([tabs[0].client.state, stage.client.state]).toEqual(["closed", "open"]);
  books[1].close();
  expect(stage.net.last.commands.at(-1)).toMatchObject({ op: "unsubscribe", subs: [7] });
  tabs[1].client.close();
  expect(stage.client.state).toBe("closed");
});

test("a page in the back-forward cache is told nothing, and is whole again when it is shown", async () => {
  const { tabs, books } = await twoTabs();
  tabs[0].client.leave();
  expect([books[0].state, books[0].bestBid?.price]).toEqual(["disconnected", "10.00"]);
  stage.net.last.say(delta(101, 101, 6));
  await stage.clock.advance(0);
  expect(books[0].seq).toBe(100);
  tabs[0].client.enter();
  await stage.clock.advance(0);
  expect([books[0].state, books[0].seq, books[0].bestBid?.size]).toEqual(["live", 101, "6"]);
});

test("what was said to a page before it was left is not heard when it is back", async () => {
  const { tabs, books } = await twoTabs();
  tabs[0].stuck = [];
  stage.net.last.say({ type: "state", sub: 7, state: "halted", code: "venue" });
  stage.net.last.say({ type: "state", sub: 7, state: "live" });
  await stage.clock.advance(0);
  tabs[0].client.leave();
  tabs[0].client.enter(); // what the worker says to this is behind what it said before
  const seen: string[] = [];
  books[0].on("state", (state) => seen.push(state));
  stage.net.last.say({ type: "state", sub: 7, state: "stale", code: "silent", age_ms: 31_000 });
  await stage.clock.advance(0);
  tabs[0].unstick();
  expect(seen).toEqual(["live", "stale"]);
});

test("the worker asks a page that is still there for a token", async () => {
  const asked: string[] = [];
  const token = (name: string) => () => {
    asked.push(name);
    return name;
  };
  new Tab(host, { token: token("first") });
  const second = new Tab(host, { token: token("second") });
  second.stuck = []; // it is gone before it can answer
  await stage.clock.advance(0);
  second.client.leave();
  await stage.clock.advance(0);
  await stage.clock.advance(0);
  expect([asked, stage.net.last.protocols[1]]).toEqual([["first"], "bearer.first"]);
});

test("a refusal and the end of the client come with their codes", async () => {
  const tab = new Tab(host);
  const book = tab.client.book("SIM:NONE");
  const ready = book.ready();
  await stage.open();
  stage.net.last.say({ type: "error", id: 1, code: "unknown_instrument", message: "none such" });
  await stage.clock.advance(0);
  await expect(ready).rejects.toThrow("none such");
  expect(book.error?.code).toBe("unknown_instrument");
  stage.net.last.closed(4400, "budget");
  await stage.clock.advance(0);
  expect([tab.client.state, tab.client.error?.code, tab.client.book("SIM:A").state]).toEqual(["closed", 4400, "ended"]);
});

test("ping answers over the worker", async () => {
  const { tabs } = await twoTabs();
  const ping = tabs[0].client.ping();
  stage.net.last.say({ type: "pong", id: stage.net.last.commands.at(-1)!["id"], time: 0 });
  await stage.clock.advance(0);
  await stage.clock.advance(0);
  expect(await ping).toBe(0);
});

describe("channels with a module of their own", () => {
  const ROW = [0, 1, "99.00", "101.00", "110.00", "100.00", "120.00", "90.00", "1.0000", 5];
  const CANDLE = [60, 1, "10.00", "10.00", "10.00", "10.00", "5", 1, 5, 1, 1, -2, 0, 0];

  /** Confirms the newest `subscribe` to patterns. */
  function confirmMany(): void {
    const { id, channel, instruments: patterns } = stage.net.last.commands.at(-1) as Record<string, unknown>;
    stage.net.last.say({ type: "subscribed", id, sub: 8, channel, instruments: patterns, interval_ms: 500, resumed: false });
  }

  test("a board is one subscription for two tabs, and one that comes later gets all rows", async () => {
    const tabs = [new Tab(host), new Tab(host)];
    const views = tabs.map(({ client }) => board(client, "SIM:*"));
    await stage.open();
    expect(stage.net.last.commands.length).toBe(1);
    confirmMany();
    stage.net.last.say({ type: "board_names", sub: 8, names: [[0, "SIM:A", -2, -4]] });
    stage.net.last.say({ type: "board_snapshot", sub: 8, epoch: 3, seq: 4, ts: 7, rows: [ROW], gone: [] });
    await stage.clock.advance(0);
    const later = board(new Tab(host).client, "SIM:*");
    await stage.clock.advance(0);
    for (const view of [...views, later]) {
      const row = view.rows.get("SIM:A")!;
      expect([view.state, view.epoch, view.seq, row.price("last"), row.changePercent]).toEqual(["live", 3, 4, "110.00", 10]);
    }
    const told: unknown[] = [];
    later.on("change", (rows, gone) => told.push([rows.map((row) => row.price("last")), gone, later.state]));
    stage.net.last.say({ type: "board", sub: 8, first: 5, last: 5, ts: 8, rows: [], gone: [0] });
    await stage.clock.advance(0);
    expect([told, later.rows.size, later.seq]).toEqual([[[[], ["SIM:A"], "live"]], 0, 5]);
  });

  test("a whole board after a gap has only what is there", async () => {
    const view = board(new Tab(host).client, "SIM:*");
    await stage.open();
    confirmMany();
    stage.net.last.say({
      type: "board_names",
      sub: 8,
      names: [
        [0, "SIM:A", -2, -4],
        [1, "SIM:B", -2, -4],
      ],
    });
    stage.net.last.say({ type: "board_snapshot", sub: 8, epoch: 3, seq: 4, ts: 7, rows: [ROW, [1, ...ROW.slice(1)]], gone: [] });
    stage.net.last.say({ type: "board_snapshot", sub: 8, epoch: 3, seq: 9, ts: 7, rows: [ROW], gone: [] });
    await stage.clock.advance(0);
    expect([[...view.rows.keys()], view.seq]).toEqual([["SIM:A"], 9]);
  });

  test("candles come with their history, also to a tab that was behind", async () => {
    const tab = new Tab(host);
    const view = candles(tab.client, "SIM:A", { span: "1m", history: 2 });
    await stage.open();
    stage.confirm();
    stage.net.last.say({ type: "candles", sub: 7, rows: [CANDLE], more: false });
    await stage.clock.advance(0);
    expect([view.state, view.live?.price("close"), view.live?.volume]).toEqual(["live", "10.00", "5"]);
    tab.stuck = [];
    for (let revision = 2; revision <= 100; revision++) {
      const close = `${10 + revision}.00`;
      stage.net.last.say({
        type: "candles",
        sub: 7,
        rows: [[60, revision, "10.00", close, "10.00", close, "6", ...CANDLE.slice(7)]],
        more: false,
      });
      await stage.clock.advance(0);
    }
    tab.unstick();
    await stage.clock.advance(0);
    expect([view.candles.length, view.live?.price("close"), view.live?.revision]).toEqual([1, "110.00", 100]);
  });

  test("the list of instruments too", async () => {
    const view = instruments(new Tab(host).client);
    const told: unknown[] = [];
    view.on("change", (rows, gone) => told.push([rows.length, gone]));
    await stage.open();
    confirmMany();
    const row = {
      instrument: "SIM:A",
      price_exp: -2,
      size_exp: -4,
      ref: { tick: 5 },
      epoch: 1,
      state: "live",
      code: null,
      since: 1,
    };
    stage.net.last.say({ type: "instruments", sub: 8, page: 1, more: false, rows: [row], seq: 1 });
    await stage.clock.advance(0);
    expect([view.state, view.rows.get("SIM:A")?.ref.tick]).toEqual(["live", 5]);
    stage.net.last.say({ type: "instruments_changed", sub: 8, first: 2, last: 2, rows: [], gone: ["SIM:A"] });
    await stage.clock.advance(0);
    expect([told, view.rows.size]).toEqual([
      [
        [0, []],
        [1, []],
        [0, ["SIM:A"]],
      ],
      0,
    ]);
  });

  test("a group that the gateway chose is known to each tab", async () => {
    const book = new Tab(host).client.book("SIM:A", { groupDigits: 3 });
    await stage.open();
    expect(stage.net.last.commands.at(-1)).toMatchObject({ channel: "book", group_digits: 3 });
    expect(stage.net.last.commands.at(-1)).not.toHaveProperty("group");
    stage.confirm({ group: 10 });
    stage.net.last.say(snapshot());
    await stage.clock.advance(0);
    expect(book.group).toBe(10);
  });
});
