import { expect, test } from "vitest";
import { events } from "../src/events.js";
import { delta, Stage, snapshot, WELCOME } from "./gateway.js";

const WELL = { ...WELCOME, healthy_ms: 1_000 };
const EVENTS = { type: "subscribed", sub: 7, channel: "events", topic: "t", epoch: 1, resumed: false, acknowledge: "none" };

/** A client that has a book, or wants one. */
async function withBook(welcome: object, more: object[]): Promise<Stage> {
  const stage = new Stage();
  stage.start().book("SIM:A");
  await stage.open(welcome);
  stage.confirm();
  for (const message of more) stage.net.last.say(message);
  return stage;
}

/** Cuts the connection; returns how long the client waits before the next one. */
async function delayAfter(stage: Stage, lastedMs: number): Promise<number> {
  await stage.clock.advance(lastedMs);
  stage.net.last.closed();
  const [count, since] = [stage.net.connections.length, stage.clock.now()];
  while (stage.net.connections.length === count) await stage.clock.advance(1);
  return stage.clock.now() - since;
}

/** Three connections that were no success: the delays are 250, 500 and 1000 ms. */
async function failing(stage: Stage): Promise<void> {
  for (let i = 0; i < 3; i++) {
    await delayAfter(stage, 0);
    stage.net.last.opened();
    stage.net.last.say(WELL);
  }
}

test("a useful connection of a gateway that is well is a success soon", async () => {
  const stage = await withBook(WELL, [snapshot()]);
  await failing(stage);
  stage.confirm();
  stage.net.last.say(snapshot());
  expect(await delayAfter(stage, 1_000)).toBe(250);
});

test("one that lasted less is none", async () => {
  const stage = await withBook(WELL, [snapshot()]);
  await failing(stage);
  stage.confirm();
  stage.net.last.say(snapshot());
  expect(await delayAfter(stage, 999)).toBe(2_000);
});

test("one that brought nothing is no success, however well the gateway is", async () => {
  const stage = await withBook(WELL, []);
  await failing(stage);
  stage.confirm();
  expect(await delayAfter(stage, 5_000)).toBe(2_000);
});

test("what an earlier connection brought does not count", async () => {
  const stage = await withBook(WELL, [snapshot(), delta(101, 101, 6)]);
  await failing(stage);
  expect(await delayAfter(stage, 5_000)).toBe(2_000);
});

test("nothing must come where nothing is wanted", async () => {
  const stage = new Stage();
  stage.start();
  await stage.open(WELL);
  await failing(stage);
  expect(await delayAfter(stage, 1_000)).toBe(250);
});

test.each([{ ...WELL, healthy_ms: 90_000 }, WELCOME])("never more than 30 s are asked for", async (welcome) => {
  const stage = await withBook(welcome, [snapshot()]);
  await failing(stage);
  stage.net.last.closed();
  await stage.clock.advance(4_000);
  stage.net.last.opened();
  stage.net.last.say({ ...welcome, heartbeat_ms: 60_000 });
  stage.confirm();
  stage.net.last.say(snapshot());
  expect(await delayAfter(stage, 29_999)).toBeGreaterThan(250);
  stage.net.last.opened();
  stage.net.last.say({ ...welcome, heartbeat_ms: 60_000 });
  stage.confirm();
  stage.net.last.say(snapshot());
  expect(await delayAfter(stage, 30_000)).toBe(250);
});

test("what tells of events is no event", async () => {
  const stage = new Stage();
  events(stage.start(), "t", { since: 0 });
  await stage.open(WELL);
  await failing(stage);
  const id = stage.net.last.commands.at(-1)!["id"];
  stage.net.last.say({ ...EVENTS, id, position: null, newest: 5 });
  stage.net.last.say({ type: "recovered", sub: 7, from: 1, last: 5, more: false });
  expect(await delayAfter(stage, 1_000)).toBe(2_000);
});
