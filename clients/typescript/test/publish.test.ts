import { describe, expect, test } from "vitest";
import { events, publish } from "../src/events.js";
import { json } from "../src/index.js";
import { connect as connectLines } from "../src/lines.js";
import { Stage } from "./gateway.js";
import { asking } from "./topics.js";

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
