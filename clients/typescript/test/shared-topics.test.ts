import { beforeEach, expect, test } from "vitest";
import { events, publish } from "../src/events.js";
import { Conflict, map } from "../src/map.js";
import { presence } from "../src/presence.js";
import type { Host } from "../src/shared-host.js";
import { Stage, WELCOME } from "./gateway.js";
import { hostOf, Tab } from "./tabs.js";
import { change, EPOCH, EVENTS, event, HEAD, MAP, seqsOf } from "./topics.js";

const MINE = { ...EVENTS, acknowledge: "user", position: 4, newest: 6 };

let stage: Stage;
let host: Host;

beforeEach(() => {
  stage = new Stage();
  host = hostOf(stage);
});

const last = () => stage.net.last.commands.at(-1)!;
const ops = () => stage.net.last.commands.map(({ op }) => op);

/** The gateway says something, and the tabs hear of it. */
async function say(...messages: object[]): Promise<void> {
  for (const message of messages) stage.net.last.say({ sub: 11, ...message });
  await stage.clock.advance(0);
}

/** It answers the newest command. */
const answer = (message: object) => say({ ...message, id: last()["id"] });

async function reconnect(): Promise<void> {
  stage.net.last.closed();
  await stage.clock.advance(1_000);
  await stage.open();
  await stage.clock.advance(0);
}

/** Two tabs with the events of one topic. */
async function following(confirmed: object, options = {}) {
  const tabs = [new Tab(host), new Tab(host)] as const;
  const [first, second] = tabs.map(({ client }) => events(client, "desk.a", options)) as [
    ReturnType<typeof events>,
    ReturnType<typeof events>,
  ];
  await stage.open();
  await answer(confirmed);
  return { tabs, first, second };
}

test("events are one subscription of all tabs, and each tab gets each once", async () => {
  const { first, second } = await following(EVENTS);
  expect(ops()).toEqual(["subscribe"]);
  const seen = [seqsOf(first), seqsOf(second)];
  await say(event(12, 10), event(12, 10), event(15, 12));
  expect(seen).toEqual([
    [12, 15],
    [12, 15],
  ]);
  for (const { state, topic, acknowledgement, epoch, seq } of [first, second])
    expect([state, topic, acknowledgement, epoch, seq]).toEqual(["live", "desk.a", "none", EPOCH, 15]);
});

test("what one tab acknowledges is acknowledged for all, once", async () => {
  const { first, second } = await following(MINE);
  await say(event(7, 6), event(8, 7));
  const told: number[] = [];
  second.on("acknowledged", (seq) => told.push(seq));
  first.acknowledge(8);
  second.acknowledge(8);
  second.acknowledge(7);
  expect([ops(), last()]).toEqual([["subscribe", "ack"], { id: 2, op: "ack", sub: 11, seq: 8 }]);
  await say({ type: "acknowledged", seq: 8 });
  expect([told, first.acknowledged, second.acknowledged]).toEqual([[8], 8, 8]);
});

test("a tab that comes later gets what is not acknowledged, also when the others are gone", async () => {
  const { tabs, first } = await following(MINE);
  await say(event(7, 6), event(8, 7), event(9, 8));
  first.acknowledge(7);
  await say({ type: "acknowledged", seq: 7 });
  const later = events(new Tab(host).client, "desk.a");
  const seqs = seqsOf(later);
  for (const { client } of tabs) client.close();
  await say(event(9, 8, { redelivered: true }), event(12, 9));
  expect([seqs, later.state, later.seq, later.acknowledged]).toEqual([[8, 9, 12], "live", 12, 7]);
});

test("where nothing is acknowledged it begins with what comes next, or after the number that it gives", async () => {
  await following(EVENTS, { since: 10 });
  await say(event(11, 10), event(15, 11));
  const [next, all, rest] = [{}, { since: 10 }, { since: [EPOCH, 11] as const }].map((options) =>
    events(new Tab(host).client, "desk.a", options),
  ) as [ReturnType<typeof events>, ReturnType<typeof events>, ReturnType<typeof events>];
  const seen = [seqsOf(next), seqsOf(all), seqsOf(rest)];
  await say(event(16, 15));
  expect([ops(), seen]).toEqual([["subscribe"], [[16], [11, 15, 16], [15, 16]]]);
});

test("a tab that asks for more than the worker has is told so", async () => {
  await following(EVENTS);
  await say(event(12, 10));
  const view = events(new Tab(host).client, "desk.a", { since: 0 });
  const lost: unknown[] = [];
  view.on("lost", (...range) => lost.push(range));
  const seqs = seqsOf(view);
  await stage.clock.advance(0);
  expect([lost, seqs]).toEqual([[[1, 10]], [12]]);
});

test("a tab that does not read gets all when it reads again, as far as they are kept", async () => {
  const { tabs, first, second } = await following(EVENTS);
  const [seqs, others] = [seqsOf(first), seqsOf(second)];
  const lost: unknown[] = [];
  first.on("lost", (...range) => lost.push(range));
  tabs[0].stuck = [];
  for (let seq = 11; seq <= 400; seq++) await say(event(seq, seq - 1));
  expect([others.length, tabs[0].stuck.length]).toEqual([390, 32]);
  tabs[0].unstick();
  await stage.clock.advance(0);
  expect([seqs, lost]).toEqual([others, []]);
  tabs[0].stuck = [];
  for (let seq = 401; seq <= 1_000; seq++) await say(event(seq, seq - 1));
  tabs[0].unstick();
  await stage.clock.advance(0);
  expect([lost, seqs.slice(-512)[0], seqs.at(-1)]).toEqual([[[433, 488]], 489, 1_000]);
});

test("a page of the back-forward cache gets what came meanwhile", async () => {
  const { tabs, first } = await following(EVENTS);
  const seqs = seqsOf(first);
  await say(event(12, 10));
  tabs[0].client.leave();
  await say(event(15, 12), { type: "lost", first: 16, last: 18 });
  expect(seqs).toEqual([12]);
  const lost: unknown[] = [];
  first.on("lost", (...range) => lost.push(range));
  tabs[0].client.enter();
  await say(event(20, 18));
  expect([seqs, lost, first.state, first.lost]).toEqual([[12, 15, 20], [[16, 18]], "live", 1]);
});

test("of another stream all is new, in each tab", async () => {
  const { first, second } = await following(EVENTS);
  await say(event(12, 10));
  const seen = [seqsOf(first), seqsOf(second)];
  await reconnect();
  await answer({ ...EVENTS, epoch: EPOCH + 1, newest: 2 });
  await say(event(2, 0), { type: "recovered", id: last()["id"], from: 1, last: 2, more: false });
  expect([seen, first.epoch, first.seq]).toEqual([[[2], [2]], EPOCH + 1, 2]);
});

test("what a tab publishes is answered to that tab, and goes out again over a lost connection", async () => {
  const { tabs } = await following(EVENTS);
  const stored: unknown[] = [];
  for (const [at, { client }] of tabs.entries())
    void publish(client, "desk.a", "note", { at }).then(({ seq }) => stored.push([at, seq]));
  const [one, two] = stage.net.last.commands.slice(1) as [Record<string, unknown>, Record<string, unknown>];
  await say({ type: "published", id: two["id"], topic: "desk.a", seq: 21, duplicate: false });
  expect(stored).toEqual([[1, 21]]);
  await reconnect();
  const again = stage.net.last.commands.find(({ op }) => op === "publish")!;
  expect([again["key"], again["data"], ops()]).toEqual([one["key"], { at: 0 }, ["subscribe", "publish"]]);
  await say({ type: "published", id: again["id"], topic: "desk.a", seq: 20, duplicate: true });
  expect(stored).toEqual([
    [1, 21],
    [0, 20],
  ]);
});

test("what a page published before it was left is sent again when it is shown, and rejected when it is closed", async () => {
  const { tabs } = await following(EVENTS);
  const call = publish(tabs[0].client, "desk.a", "note", 1).catch(({ code }) => code);
  const { key } = last();
  tabs[0].client.leave();
  await answer({ type: "published", topic: "desk.a", seq: 21, duplicate: false });
  tabs[0].client.enter();
  await stage.clock.advance(0);
  expect([ops(), last()["key"]]).toEqual([["subscribe", "publish", "publish"], key]);
  tabs[0].client.close();
  expect(await call).toBe("unavailable");
});

test("a map is one of all tabs: one that comes later has all of it, and each may change it", async () => {
  const tabs = [new Tab(host), new Tab(host)];
  const maps = tabs.map(({ client }) => map(client, "desk.m"));
  await stage.open();
  await answer(MAP);
  await say(change(null, 118, { a: 1, b: [2] }));
  maps.push(map(new Tab(host).client, "desk.m"));
  await stage.clock.advance(0);
  const told: unknown[] = [];
  maps[2]!.on("change", (...args) => told.push(args));
  await say(change(118, 121, { a: 3 }, ["b"]));
  for (const view of maps)
    expect([view.state, view.seq, view.get("a"), view.rev("a"), view.entries.size]).toEqual(["live", 121, 3, 121, 1]);
  expect([told, ops()]).toEqual([[[["a"], ["b"]]], ["subscribe"]]);
  const bid = maps[1]!.put("a", 4, { expect: 118 }).catch((error: unknown) => error);
  await answer({ type: "error", code: "conflict", message: "no", current: { a: [3, 121, "bob", 5] } });
  expect(await bid).toBeInstanceOf(Conflict);
});

test("a tab that was behind has the whole map, without what is gone", async () => {
  const tab = new Tab(host);
  const view = map(tab.client, "desk.m");
  await stage.open();
  await answer(MAP);
  await say(change(null, 1, { old: 1, a: 1 }));
  const told: unknown[] = [];
  view.on("change", (...args) => told.push(args));
  tab.stuck = [];
  for (let seq = 2; seq <= 100; seq++) await say(change(seq - 1, seq, { a: seq }, ["old"]));
  tab.unstick();
  await stage.clock.advance(0);
  expect([view.get("a"), view.seq, view.entries.size, told.at(-1)]).toEqual([100, 100, 1, [["a"], []]]);
});

test("who is present is told to each tab", async () => {
  const views = [new Tab(host), new Tab(host)].map(({ client }) => presence(client, "desk.m", { join: true, who: true }));
  await stage.open();
  await answer({ ...HEAD, channel: "presence", topic: "desk.m", who: true, join: true, interval_ms: 1000 });
  await say({ type: "presence", prev: null, seq: 3, page: 1, pages: 1, count: 2, set: { s1: ["alice", 5, null] }, delete: [] });
  expect(ops()).toEqual(["subscribe"]);
  for (const view of views) expect([view.state, view.count, view.sessions.get("s1")?.user]).toEqual(["live", 2, "alice"]);
});

test("without a connection nothing is sent until there is one", async () => {
  const { tabs } = await following(EVENTS);
  stage.net.last.closed();
  const call = publish(tabs[0].client, "desk.a", "note", 1);
  await stage.clock.advance(1_000);
  await stage.open(WELCOME);
  await stage.clock.advance(0);
  expect(ops()).toEqual(["subscribe", "publish"]);
  await answer({ type: "published", topic: "desk.a", seq: 21, duplicate: false });
  expect((await call).seq).toBe(21);
});
