import { beforeEach, expect, test } from "vitest";
import { connect } from "../src/lines.js";
import { delta, Stage, snapshot } from "./gateway.js";

let stage: Stage;

beforeEach(() => {
  stage = new Stage();
});

async function grouped() {
  const book = stage.start().book("SIM:A", { groupDigits: 4, depth: 20 });
  await stage.open();
  expect(stage.net.last.commands).toEqual([
    { id: 1, op: "subscribe", channel: "book", instruments: ["SIM:A"], depth: 20, group_digits: 4, interval_ms: 0 },
  ]);
  stage.confirm({ group: 10 });
  stage.net.last.say(snapshot());
  return book;
}

test("a group of so many figures is the gateway's choice, and is kept on the next connection", async () => {
  const book = await grouped();
  expect([book.state, book.group]).toEqual(["live", 10]);
  stage.net.last.closed();
  await stage.clock.advance(1_000);
  await stage.open();
  const resumed = { channel: "book", depth: 20, group: 10, interval_ms: 0, resume: { "SIM:A": [5, 100] } };
  expect(stage.net.last.commands.at(-1)).toMatchObject(resumed);
  expect(stage.net.last.commands.at(-1)).not.toHaveProperty("group_digits");
  stage.confirm({ group: 10, resumed: true });
  stage.net.last.say(delta(101, 101, 6));
  expect([book.state, book.seq, book.group]).toEqual(["live", 101, 10]);
});

test("where the decimals change it is chosen anew", async () => {
  const book = await grouped();
  stage.net.last.say({ type: "unsubscribed", id: null, subs: [7], reason: "rescaled" });
  expect(stage.net.last.commands.at(-1)).toMatchObject({ op: "subscribe", group_digits: 4 });
  expect(stage.net.last.commands.at(-1)).not.toHaveProperty("resume");
  stage.confirm({ group: 100 });
  expect(book.group).toBe(100);
});

test("instruments with other groups are asked for apart", async () => {
  const client = stage.start();
  const books = ["SIM:A", "SIM:B"].map((instrument) => client.book(instrument, { groupDigits: 3 }));
  await stage.open();
  expect(stage.net.last.commands.length).toBe(1);
  for (const [index, group] of [5, 20].entries()) {
    const instrument = `SIM:${"AB"[index]}`;
    stage.net.last.say({ type: "subscribed", id: 1, sub: index, channel: "book", instrument, group, resumed: false });
  }
  expect(books.map(({ group }) => group)).toEqual([5, 20]);
  stage.net.last.closed();
  await stage.clock.advance(1_000);
  await stage.open();
  expect(stage.net.last.commands.map(({ instruments, group }) => [instruments, group])).toEqual([
    [["SIM:A"], 5],
    [["SIM:B"], 20],
  ]);
});

test("of several lines the first one has it", async () => {
  const { clock, net: transport } = stage;
  const client = connect(["ws://a/v1/stream", "ws://b/v1/stream"], { lines: 2, transport, clock });
  const book = client.book("SIM:A", { groupDigits: 4 });
  expect(client.lines[0]!.book("SIM:A", { groupDigits: 4 })).toBe(book);
  client.close();
});

test("what ends because the gateway is overloaded is asked for again after a while", async () => {
  const book = stage.start().book("SIM:A");
  await stage.open();
  stage.confirm();
  stage.net.last.say(snapshot());
  stage.net.last.say({ type: "unsubscribed", id: null, subs: [7], reason: "overload" });
  expect([book.state, book.reason, stage.net.last.commands.length]).toEqual(["recovering", "the gateway is overloaded", 1]);
  await stage.clock.advance(1_000);
  expect(stage.net.last.commands.at(-1)).toMatchObject({ op: "subscribe", instruments: ["SIM:A"] });
});
