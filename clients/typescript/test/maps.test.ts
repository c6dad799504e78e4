import { describe, expect, test } from "vitest";
import { Conflict, map, put } from "../src/map.js";
import { presence } from "../src/presence.js";
import { asking, change, EPOCH, HEAD, MAP } from "./topics.js";

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
