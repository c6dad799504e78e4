import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { type Events, events, publish, type TopicEvent } from "../src/events.js";
import { json, msgpack } from "../src/index.js";
import { connect as connectLines } from "../src/lines.js";
import { Conflict, map, put, type TopicMap } from "../src/map.js";
import { type Presence, presence } from "../src/presence.js";
import { Stage, WELCOME } from "./gateway.js";

// biome-ignore lint/suspicious/noExplicitAny: JSON of another shape in each file
const vectors = (name: string): Record<string, any[]> =>
  JSON.parse(readFileSync(new URL(`../../../tests/vectors/${name}.json`, import.meta.url), "utf8"));
const FORMATS = [json, msgpack];

const EPOCH = 1_753_000_000_000_000;
const HEAD = { type: "subscribed", sub: 11, epoch: EPOCH, resumed: false };
const EVENTS = { ...HEAD, channel: "events", topic: "desk.a", acknowledge: "none", position: null, newest: 10 };

/** A client that is connected, and has asked for something of a topic; `answer` confirms that. */
async function asking<View>(ask: (stage: Stage) => View) {
  const stage = new Stage();
  stage.start();
  const view = ask(stage);
  await stage.open();
  const say = (message: object) => stage.net.last.say({ sub: 11, ...message });
  const last = () => stage.net.last.commands.at(-1)!;
  const answer = (message: object) => say({ ...message, id: last()["id"] });
  const reconnect = async () => {
    stage.net.last.closed();
    await stage.clock.advance(1_000);
    await stage.open();
  };
  return { stage, view, say, last, answer, reconnect };
}

function event(seq: number, prev: number, more: object = {}): object {
  const topic = "desk.a";
  return { type: "event", topic, seq, prev, time: 7, event: "note", data: { n: seq }, sender: "bob", redelivered: false, ...more };
}

function seqsOf(view: Events): number[] {
  const seqs: number[] = [];
  view.on("event", ({ seq }) => seqs.push(seq));
  return seqs;
}

// ---- the golden vectors

for (const format of FORMATS) {
  const read = (vector: { json: string; msgpack: string }) =>
    format.codec().decode(format === json ? vector.json : Uint8Array.from(Buffer.from(vector.msgpack, "hex")).buffer);
  const bytesOf = (vector: { json: string; msgpack: string }) =>
    format === json ? vector.json : Uint8Array.from(Buffer.from(vector.msgpack, "hex")).buffer;

  for (const name of ["events", "maps"]) {
    test.each(vectors(name)["commands"]!)(`${format.protocol}, ${name}: $op, $name`, (vector) => {
      const encoded = format.codec().encode(vector.message);
      expect(format === json ? encoded : Buffer.from(encoded as Uint8Array).toString("hex")).toBe(
        format === json ? vector.json : vector.msgpack,
      );
    });

    test.each(vectors(name)["messages"]!)(`${format.protocol}, ${name}: $type, $name`, (vector) => {
      const [message] = read(vector);
      const { type, sub } = vector.message;
      const other = type === "acknowledged" || type === "recovered";
      expect(message).toEqual(other ? { type: "more", kind: type, sub, values: vector.message } : vector.message);
    });
  }

  test.each(vectors("events")["data"]!)(`${format.protocol}: event, $name`, async ({ fields, ...vector }) => {
    const told: TopicEvent[] = [];
    const stage = new Stage();
    const view = events(stage.start({ format }), "desk.a", { since: fields.prev });
    view.on("event", (event) => told.push(event));
    await begin(stage, format === json, { ...EVENTS, sub: fields.sub, newest: fields.prev });
    hear(stage, bytesOf(vector));
    const { sub: _sub, prev: _prev, event: type, ...rest } = fields;
    expect(told).toEqual([{ ...rest, type }]);
    expect(view.state).toBe("live");
  });

  test.each(vectors("maps")["data"]!)(`${format.protocol}: $type, $name`, async ({ type, fields, ...vector }) => {
    if (fields.page > 1 || fields.pages > 1) return void expect(read(vector)).toHaveLength(1);
    const stage = new Stage();
    const client = stage.start({ format });
    const view = type === "map" ? map(client, "t") : presence(client, "t");
    await begin(stage, format === json, { ...HEAD, channel: type, topic: "t", sub: fields.sub });
    const { prev, set = {}, delete: gone = [] } = fields;
    if (prev !== null) {
      const old = type === "map" ? [0, 1, null, 1] : ["", 1, null];
      const whole = { type, sub: fields.sub, prev: null, seq: prev, page: 1, pages: 1, count: 9 };
      const before = Object.fromEntries(["kept", ...gone].map((key) => [key, old]));
      hear(stage, encoded(format === json, { ...whole, set: before, delete: [] }));
    }
    hear(stage, bytesOf(vector));
    expect([view.state, view.seq]).toEqual(["live", fields.seq]);
    expect(held(view)).toEqual({ ...set, ...(prev === null ? {} : { kept: type === "map" ? [0, 1, null, 1] : ["", 1, null] }) });
    if (type === "presence") expect((view as Presence).count).toBe(fields.count);
  });
}

/** The rows as the contract has them. */
function held(view: TopicMap | Presence): object {
  if ("sessions" in view) {
    return Object.fromEntries([...view.sessions].map(([key, { user, since, info }]) => [key, [user, since, info]]));
  }
  return Object.fromEntries([...view.entries].map(([key, { value, rev, by, ts }]) => [key, [value, rev, by, ts]]));
}

function encoded(text: boolean, message: object): string | ArrayBuffer {
  if (text) return JSON.stringify(message);
  return (msgpack.codec().encode(message as never) as Uint8Array<ArrayBuffer>).buffer;
}

function hear(stage: Stage, data: string | ArrayBuffer): void {
  stage.net.last["events"].message(data);
}

/** Connects in either format, and confirms the first command. */
async function begin(stage: Stage, text: boolean, subscribed: object): Promise<void> {
  await stage.clock.advance(0);
  if (!text) stage.net.last.send = () => {}; // it reads JSON alone
  stage.net.last.opened();
  hear(stage, encoded(text, WELCOME));
  hear(stage, encoded(text, { ...subscribed, id: 1 }));
}

// ---- events

describe("events", () => {
  const follow = (options = {}) => asking((stage) => events(stage.client, "desk.a", options));

  test("begin after the newest; each comes once, and in order", async () => {
    const { stage, view, say, answer } = await follow();
    expect(stage.net.last.commands).toEqual([{ id: 1, op: "subscribe", channel: "events", topics: ["desk.a"] }]);
    answer(EVENTS);
    expect([view.state, view.seq, view.topic]).toEqual(["live", 10, "desk.a"]);
    const seqs = seqsOf(view);
    for (const [seq, prev] of [
      [12, 10],
      [12, 10],
      [15, 12],
    ] as const)
      say(event(seq, prev));
    expect([seqs, view.duplicates, view.seq]).toEqual([[12, 15], 1, 15]);
    expect(stage.net.last.commands).toHaveLength(1);
  });

  test("what is missing is asked for, by pages, and what came meanwhile follows", async () => {
    const { view, say, last, answer } = await follow();
    answer(EVENTS);
    const seqs = seqsOf(view);
    say(event(20, 18));
    expect([view.state, view.gaps]).toEqual(["recovering", 1]);
    expect(last()).toMatchObject({ op: "recover", sub: 11, from: 11 });
    say(event(12, 0, { redelivered: true }));
    answer({ type: "recovered", from: 11, last: 12, more: true });
    expect(last()).toMatchObject({ op: "recover", from: 13 });
    say(event(18, 12, { redelivered: true }));
    say(event(20, 18, { redelivered: true }));
    answer({ type: "recovered", from: 13, last: 20, more: false });
    expect([seqs, view.state, view.gaps]).toEqual([[12, 18, 20], "live", 1]);
  });

  test("events that are held come after those that were missing", async () => {
    const { view, say, answer } = await follow();
    answer(EVENTS);
    const seqs = seqsOf(view);
    say(event(20, 18));
    say(event(21, 20));
    say(event(18, 10, { redelivered: true }));
    answer({ type: "recovered", from: 11, last: 18, more: false });
    expect(seqs).toEqual([18, 20, 21]);
  });

  test("a heartbeat shows a lost tail", async () => {
    const { view, say, last, answer } = await follow();
    answer(EVENTS);
    say({ type: "heartbeat", time: 1, seqs: [[11, 10]] });
    expect(view.state).toBe("live");
    say({ type: "heartbeat", time: 1, seqs: [[11, 13]] });
    expect(last()).toMatchObject({ op: "recover", from: 11 });
  });

  test("a gateway that cannot is asked again later", async () => {
    const { stage, say, last, answer } = await follow();
    answer(EVENTS);
    say(event(20, 18));
    answer({ type: "error", code: "unavailable", message: "NATS is away" });
    const before = last()["id"];
    await stage.clock.advance(2_000);
    expect(last()).toMatchObject({ op: "recover", from: 11 });
    expect(last()["id"]).not.toBe(before);
  });

  test("resume; what the gateway does not give by itself is asked for", async () => {
    const { last, answer, reconnect, view } = await follow();
    answer(EVENTS);
    await reconnect();
    expect(last()).toMatchObject({ channel: "events", topics: ["desk.a"], resume: { "desk.a": [EPOCH, 10] } });
    answer({ ...EVENTS, resumed: true, newest: 30 });
    expect(view.state).toBe("live");
    await reconnect();
    answer({ ...EVENTS, resumed: false, newest: 30 });
    expect([view.state, last()["from"]]).toEqual(["recovering", 11]);
  });

  test("of another stream all is new", async () => {
    const { view, last, answer, reconnect } = await follow();
    answer(EVENTS);
    await reconnect();
    answer({ ...EVENTS, epoch: EPOCH + 1, newest: 3 });
    expect([view.seq, last()["from"]]).toEqual([0, 1]);
  });

  test("since 0 begins with all that is kept", async () => {
    const { last, answer } = await follow({ since: 0 });
    answer(EVENTS);
    expect(last()).toMatchObject({ op: "recover", from: 1 });
  });

  test("since a number of another stream begins with all of this one", async () => {
    const { last, answer } = await follow({ since: [EPOCH - 1, 9_000] });
    expect(last()).toMatchObject({ resume: { "desk.a": [EPOCH - 1, 9_000] } });
    answer(EVENTS);
    expect(last()).toMatchObject({ op: "recover", from: 1 });
  });

  test("what is gone for good is told", async () => {
    const { view, say, answer } = await follow();
    answer(EVENTS);
    const lost: unknown[] = [];
    view.on("lost", (first, last) => lost.push([first, last]));
    say({ type: "lost", first: 11, last: 17 });
    say(event(18, 17));
    expect([lost, view.lost, view.seq]).toEqual([[[11, 17]], 1, 18]);
  });

  test("are acknowledged, again after a lost connection, and another device is heard", async () => {
    const { stage, view, say, last, answer, reconnect } = await follow({ device: "phone" });
    expect(last()).toMatchObject({ device: "phone" });
    const mine = { ...EVENTS, acknowledge: "device", position: 4, newest: 6 };
    answer(mine);
    const told: number[] = [];
    view.on("acknowledged", (seq) => told.push(seq));
    view.on("event", (event) => view.acknowledge(event));
    say(event(5, 0, { redelivered: true }));
    expect(last()).toEqual({ id: 2, op: "ack", sub: 11, seq: 5 });
    view.acknowledge(3);
    expect(stage.net.last.commands).toHaveLength(2);
    say({ type: "acknowledged", seq: 5 });
    say({ type: "acknowledged", seq: 5 });
    say(event(9, 6, { redelivered: true }));
    expect([told, view.acknowledged, view.state]).toEqual([[5], 5, "live"]);
    await reconnect();
    expect(last()).toMatchObject({ resume: { "desk.a": [EPOCH, 9] } });
    answer({ ...mine, position: 5, resumed: true });
    expect(last()).toMatchObject({ op: "ack", seq: 9 });
  });

  test("an acknowledgement that was refused goes out again when an event comes again", async () => {
    const { view, say, last, answer } = await follow();
    answer({ ...EVENTS, acknowledge: "user", position: 4 });
    say(event(5, 0));
    view.acknowledge(5);
    answer({ type: "error", code: "rate_limited", message: "too many" });
    say(event(5, 0, { redelivered: true }));
    expect(last()).toMatchObject({ op: "ack", seq: 5, id: 3 });
  });

  test("without acknowledgement nothing is sent", async () => {
    const { stage, view, say, answer } = await follow();
    answer(EVENTS);
    say(event(12, 10));
    view.acknowledge(12);
    expect(stage.net.last.commands).toHaveLength(1);
  });

  test("iteration", async () => {
    const { view, say, answer } = await follow();
    answer(EVENTS);
    const iteration = view.events(1);
    for (const seq of [11, 12, 13]) say(event(seq, seq - 1));
    expect((await iteration.next()).value).toMatchObject({ seq: 13, skipped: 2 });
    view.close();
    expect((await iteration.next()).done).toBe(true);
  });

  test("one's own topic", async () => {
    const { last, view, answer } = await asking((stage) => events(stage.client));
    expect(last()).toMatchObject({ topics: ["user"] });
    answer({ ...EVENTS, topic: "user.alice", acknowledge: "user" });
    expect([view.topic, String(view)]).toEqual(["user.alice", "events of user.alice"]);
  });

  test.each([
    ["an acknowledgement that the contract does not have", { ...EVENTS, acknowledge: "all" }],
    ["no newest number", { ...EVENTS, newest: null }],
    ["a position that is none", { ...EVENTS, position: "4" }],
  ])("%s costs the connection", async (_name, message) => {
    const { stage, answer } = await follow();
    answer(message);
    expect(stage.client.state).toBe("reconnecting");
  });

  test.each([{ seq: "12" }, { prev: null }, { event: 5 }, { sender: 7 }])("so does an event with %o", async (more) => {
    const { stage, say, answer } = await follow();
    answer(EVENTS);
    say(event(12, 10, more));
    expect(stage.client.state).toBe("reconnecting");
  });
});

// ---- commands to topics

describe("publish", () => {
  /** A client that is connected; `sent` are the commands so far, and `settled` what became of the calls. */
  async function publishing() {
    const { stage, last, answer, reconnect } = await asking(() => null);
    const settled: unknown[] = [];
    const call = (n: number, topic = "desk.a") =>
      publish(stage.client, topic, "note", { n }).then(
        ({ seq }) => settled.push([n, seq]),
        ({ code }) => settled.push([n, code]),
      );
    const sent = () => stage.net.last.commands.map(({ data }) => (data as { n: number }).n);
    const stored = async (seq: number, more = {}) => {
      answer({ type: "published", topic: "desk.a", seq, duplicate: false, ...more });
      await stage.clock.advance(0);
    };
    return { stage, last, answer, reconnect, settled, call, sent, stored };
  }

  test("resolves to the number", async () => {
    const { stage, last, stored } = await publishing();
    const promise = publish(stage.client, "desk.a", "note", undefined, { key: "k" });
    expect(last()).toEqual({ id: 1, op: "publish", event: "note", data: null, key: "k", topic: "desk.a" });
    await stored(4, { duplicate: true });
    expect(await promise).toEqual({ seq: 4, duplicate: true });
  });

  test("one after the other to a topic, side by side to several", async () => {
    const { call, sent, stored, settled } = await publishing();
    call(1);
    call(2);
    call(3, "desk.b");
    expect(sent()).toEqual([1, 3]);
    await stored(8);
    expect([sent(), settled]).toEqual([[1, 3], [[3, 8]]]);
  });

  test("what is not stored is sent again with the same key, before what follows", async () => {
    const { stage, call, sent, last, answer, stored, settled } = await publishing();
    call(1);
    call(2);
    const { key } = last();
    expect(key).toMatch(/^[0-9a-f]{24}$/);
    answer({ type: "error", code: "unavailable", message: "JetStream is away" });
    await stage.clock.advance(100);
    expect(sent()).toEqual([1]);
    await stage.clock.advance(1_000);
    expect([sent(), last()["key"]]).toEqual([[1, 1], key]);
    await stored(5);
    expect(sent()).toEqual([1, 1, 2]);
    expect(last()["key"]).not.toBe(key);
    await stored(6);
    expect(settled).toEqual([
      [1, 5],
      [2, 6],
    ]);
  });

  test("over a lost connection the same key goes out again", async () => {
    const { call, last, reconnect, sent, stored, settled } = await publishing();
    call(1);
    call(2);
    const { key } = last();
    await reconnect();
    expect([sent(), last()["key"]]).toEqual([[1], key]);
    await stored(5, { duplicate: true });
    expect([sent(), settled]).toEqual([[1, 2], [[1, 5]]]);
  });

  test("an answer that does not come is not waited for", async () => {
    const { stage, call, sent } = await publishing();
    call(1);
    await stage.clock.advance(10_000);
    expect(sent()).toEqual([1, 1]);
  });

  test("a refusal is told, and the next one goes out", async () => {
    const { stage, call, sent, answer, settled } = await publishing();
    call(1);
    call(2);
    answer({ type: "error", code: "not_entitled", message: "no" });
    await stage.clock.advance(0);
    expect([sent(), settled]).toEqual([[1, 2], [[1, "not_entitled"]]]);
  });

  test("is given up after 30 s, also without a connection", async () => {
    const { stage, call, settled } = await publishing();
    stage.net.last.closed();
    call(1);
    await stage.clock.advance(29_000);
    call(2);
    expect(settled).toEqual([]);
    await stage.clock.advance(1_100);
    expect(settled).toEqual([[1, "unavailable"]]);
  });

  test("ends with the client, and so many wait at most", async () => {
    const { stage, call, settled } = await publishing();
    for (let n = 0; n <= 1_000; n++) call(n);
    await stage.clock.advance(0);
    expect(settled).toEqual([[1_000, "unavailable"]]);
    stage.client.close();
    await stage.clock.advance(0);
    expect(settled).toHaveLength(1_001);
    call(1_001);
    await stage.clock.advance(0);
    expect(settled.at(-1)).toEqual([1_001, "unavailable"]);
  });

  test.each([
    [{ a: [Number.NaN] }, "0 was NaN"],
    [1n, "BigInt"],
    ["\ud800", "half a surrogate pair"],
    [{ "\\\ud800": 1 }, "half a surrogate pair"],
    ["x".repeat(70_000), "at most 65536"],
    [Array.from({ length: 9_000 }, () => 0.5), "at most 65536"],
  ])("what no gateway could read is refused here", async (data, why) => {
    const { stage } = await publishing();
    await expect(publish(stage.client, "desk.a", "note", data)).rejects.toThrow(why);
    expect(stage.net.last.commands).toEqual([]);
  });

  test("what only looks like half a pair is not refused, and what is changed later is not sent", async () => {
    const { stage, last } = await publishing();
    const data = ["\\ud800", "𝄞"];
    publish(stage.client, "desk.a", "note", data).catch(() => {});
    publish(stage.client, "desk.b", "note", data).catch(() => {});
    data.length = 0;
    expect(last()["data"]).toEqual(["\\ud800", "𝄞"]);
  });

  test("needs a connection of its own, or the first of several lines", () => {
    const { net: transport, clock } = new Stage();
    const client = connectLines(["ws://a/v1/stream", "ws://b/v1/stream"], { lines: 2, transport, clock, format: json });
    expect(events(client, "desk.a").state).toBe("pending");
    expect(() => events({ lines: [{ open() {} }] } as never, "desk.a")).toThrow("connection of their own");
  });
});

// ---- maps

const MAP = { ...HEAD, channel: "map", topic: "desk.m", interval_ms: 0, prefix: "" };

function change(prev: number | null, seq: number, set: Record<string, unknown> = {}, gone: string[] = [], more = {}): object {
  const rows = Object.fromEntries(Object.entries(set).map(([key, value]) => [key, [value, seq, "bob", 5]]));
  return { type: "map", prev, seq, page: 1, pages: 1, set: rows, delete: gone, ...more };
}

describe("map", () => {
  const follow = (options = {}) => asking((stage) => map(stage.client, "desk.m", options));

  test("all keys, then what changes", async () => {
    const { view, say, last, answer } = await follow({ prefix: "lot.", intervalMs: 100 });
    expect(last()).toEqual({ id: 1, op: "subscribe", channel: "map", topics: ["desk.m"], prefix: "lot.", interval_ms: 100 });
    answer(MAP);
    expect(view.state).toBe("pending");
    const told: unknown[] = [];
    view.on("change", (changed, gone) => told.push([changed, gone, view.seq, view.state]));
    say(change(null, 118, { a: 1, b: [2] }));
    say(change(118, 121, { a: 3, c: 4 }, ["b", "x"]));
    expect(told).toEqual([
      [["a", "b"], [], 118, "live"],
      [["a", "c"], ["b"], 121, "live"],
    ]);
    expect([view.get("a"), view.rev("a"), view.get("b"), view.rev("b")]).toEqual([3, 121, undefined, 0]);
    expect(view.entries.get("a")).toEqual({ value: 3, rev: 121, by: "bob", ts: 5 });
  });

  test("a message may begin before the number that is here; one that ends before it is over", async () => {
    const { stage, view, say, answer } = await follow();
    answer(MAP);
    say(change(null, 118, { a: 1 }));
    say(change(110, 120, { a: 2 }));
    say(change(110, 119, { a: 0 }));
    expect([view.get("a"), view.seq, view.gaps]).toEqual([2, 120, 0]);
    expect(stage.net.last.commands).toHaveLength(1);
  });

  test("a gap is fetched", async () => {
    const { view, say, last, answer } = await follow();
    answer(MAP);
    say(change(null, 118, { a: 1 }));
    say(change(119, 121, { a: 3 }));
    expect([view.state, view.get("a")]).toEqual(["recovering", 1]);
    expect(last()).toMatchObject({ op: "recover", sub: 11, from: 119 });
    say(change(118, 121, { a: 3, b: 2 }));
    expect([view.state, view.get("b"), view.gaps, view.recoveries]).toEqual(["live", 2, 1, 1]);
    say({ type: "heartbeat", time: 1, seqs: [[11, 122]] });
    expect(last()).toMatchObject({ op: "recover", from: 122 });
  });

  test("pages count once the last is there, as a whole", async () => {
    const { view, say, answer } = await follow();
    answer(MAP);
    say(change(null, 118, { a: 1, old: 1 }));
    const told: unknown[] = [];
    view.on("change", (changed, gone) => told.push([changed, gone]));
    say(change(null, 130, { a: 2 }, [], { pages: 3 }));
    say(change(null, 130, { b: 2 }, [], { page: 2, pages: 3 }));
    expect([view.get("a"), view.seq, told]).toEqual([1, 118, []]);
    say(change(null, 130, { c: 2 }, [], { page: 3, pages: 3 }));
    expect([[...view.entries.keys()], view.seq, told]).toEqual([["a", "b", "c"], 130, [[["a", "b", "c"], ["old"]]]]);
  });

  test("a page that is missing is a gap", async () => {
    const { view, say, last, answer } = await follow();
    answer(MAP);
    say(change(null, 130, { a: 2 }, [], { pages: 3 }));
    say(change(null, 130, { c: 2 }, [], { page: 3, pages: 3 }));
    expect([view.state, last()["from"]]).toEqual(["pending", 0]);
    say(change(null, 130, { a: 2 }));
    expect(view.state).toBe("live");
  });

  test("resumes with the epoch; of another stream all comes again", async () => {
    const { view, say, last, answer, reconnect } = await follow();
    answer(MAP);
    say(change(null, 118, { a: 1 }));
    await reconnect();
    expect(last()).toMatchObject({ resume: { "desk.m": [EPOCH, 118] } });
    answer({ ...MAP, resumed: true });
    expect(view.state).toBe("live");
    await reconnect();
    answer({ ...MAP, epoch: EPOCH + 1, resumed: false });
    say(change(null, 2, { b: 1 }));
    expect([view.state, view.seq, [...view.entries.keys()]]).toEqual(["live", 2, ["b"]]);
  });

  test("a stream that was lost begins anew", async () => {
    const { view, say, last, answer } = await follow();
    answer(MAP);
    say(change(null, 118, { a: 1 }));
    say({ type: "unsubscribed", subs: [11], reason: "rescaled" });
    expect([view.state, last()["op"]]).toEqual(["recovering", "subscribe"]);
  });

  test("put, delete and change", async () => {
    const { stage, view, last, answer } = await follow();
    answer(MAP);
    const stored = async (seq: number) => {
      answer({ type: "stored", topic: "desk.m", seq });
      await stage.clock.advance(0);
    };
    const first = view.put("a", 7, { expect: 0, ttlMs: 500 });
    const { key: _key, ...sent } = last();
    expect(sent).toEqual({ id: 2, op: "put", topic: "desk.m", set: { a: 7 }, expect: { a: 0 }, ttl_ms: 500 });
    await stored(4);
    expect(await first).toBe(4);
    const second = view.delete("a", { expect: 4 });
    expect(last()).toMatchObject({ delete: ["a"], expect: { a: 4 } });
    await stored(5);
    expect(await second).toBe(5);
    const third = put(stage.client, "desk.m", { set: { b: 1, c: null }, delete: ["d"], key: "k" });
    expect(last()).toMatchObject({ set: { b: 1, c: null }, delete: ["d"], key: "k" });
    await stored(6);
    expect(await third).toBe(6);
  });

  test("who expects something else is told what holds", async () => {
    const { stage, view, answer } = await follow();
    answer(MAP);
    const bid = view.put("bid", 12, { expect: 118 });
    answer({ type: "error", code: "conflict", message: "no", current: { bid: [11, 121, "bob", 5], old: null } });
    const error = await bid.catch((error: unknown) => error);
    expect(error).toBeInstanceOf(Conflict);
    expect(error).toMatchObject({ code: "conflict", current: { bid: { value: 11, rev: 121, by: "bob", ts: 5 }, old: null } });
    expect(stage.client.state).toBe("open");
  });

  test("an answer that breaks the contract is none", async () => {
    const { stage, view, say, answer, reconnect } = await follow();
    answer(MAP);
    const bid = view.put("bid", 12, { expect: 118 });
    answer({ type: "error", code: "conflict", message: "no", current: { bid: 11 } });
    expect(stage.client.state).toBe("reconnecting");
    await reconnect();
    const again = stage.net.last.commands.find(({ op }) => op === "put")!;
    expect(again).toMatchObject({ set: { bid: 12 } });
    say({ type: "stored", id: again["id"], topic: "desk.m", seq: 130 });
    expect(await bid).toBe(130);
  });

  test.each([{ set: 5 }, { set: { a: 1 } }, { delete: "a" }, { seq: null }, { prev: "1" }])(
    "%o costs the connection",
    async (more) => {
      const { stage, say, answer } = await follow();
      answer(MAP);
      say({ ...change(null, 118), ...more });
      expect(stage.client.state).toBe("reconnecting");
    },
  );
});

// ---- presence

describe("presence", () => {
  test("joins, and shows who is there", async () => {
    const { view, say, last, answer } = await asking((stage) =>
      presence(stage.client, "desk.m", { join: true, who: true, info: { name: "Alice" }, intervalMs: 100 }),
    );
    expect(last()).toEqual({
      id: 1,
      op: "subscribe",
      channel: "presence",
      topics: ["desk.m"],
      join: true,
      who: true,
      info: { name: "Alice" },
      interval_ms: 100,
    });
    answer({ ...HEAD, channel: "presence", topic: "desk.m", who: true, join: true, interval_ms: 100 });
    const page = { type: "presence", page: 1, pages: 1 };
    say({ ...page, prev: null, seq: 3, count: 3, set: { s1: ["alice", 5, { name: "Alice" }], s2: ["", 6, null] }, delete: [] });
    expect([view.state, view.count, view.sessions.get("s1")]).toEqual([
      "live",
      3,
      { user: "alice", since: 5, info: { name: "Alice" } },
    ]);
    say({ ...page, prev: 3, seq: 4, count: 2, set: {}, delete: ["s2"] });
    expect([view.count, [...view.sessions.keys()]]).toEqual([2, ["s1"]]);
  });

  test("how many, for those who may not see who", async () => {
    const { view, say, last, answer } = await asking((stage) => presence(stage.client, "desk.m"));
    expect(last()).toEqual({ id: 1, op: "subscribe", channel: "presence", topics: ["desk.m"] });
    answer({ ...HEAD, channel: "presence", topic: "desk.m", who: false, join: false, interval_ms: 1000 });
    say({ type: "presence", prev: null, seq: 3, page: 1, pages: 1, count: 10_000 });
    expect([view.count, view.sessions.size]).toEqual([10_000, 0]);
  });
});
