import { describe, expect, test } from "vitest";
import { events } from "../src/events.js";
import { asking, EPOCH, EVENTS, event, seqsOf } from "./topics.js";

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

  test("what was held beyond another gap waits until that was asked for too", async () => {
    const { view, say, last, answer } = await follow();
    answer(EVENTS);
    const seqs = seqsOf(view);
    say(event(20, 18));
    say(event(30, 25));
    say(event(18, 10, { redelivered: true }));
    answer({ type: "recovered", from: 11, last: 18, more: false });
    expect([seqs, view.state, view.gaps]).toEqual([[18, 20], "recovering", 2]);
    expect(last()).toMatchObject({ op: "recover", from: 21 });
    say(event(25, 20, { redelivered: true }));
    answer({ type: "recovered", from: 21, last: 25, more: false });
    expect([seqs, view.state]).toEqual([[18, 20, 25, 30], "live"]);
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
