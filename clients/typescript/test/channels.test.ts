import { describe, expect, test } from "vitest";
import { board } from "../src/board.js";
import { candles } from "../src/candles.js";
import { json, msgpack } from "../src/index.js";
import { instruments } from "../src/instruments.js";
import { connect as connectLines } from "../src/lines.js";
import type { Codec } from "../src/messages.js";
import { Stage } from "./gateway.js";

const NAMES = {
  type: "board_names",
  sub: 8,
  names: [
    [0, "SIM:BTC-USD", -2, -8],
    [1, "SIM:ETH-USD", -2, -4],
  ],
};

function row(index: number, last: string, open = "100.00"): unknown[] {
  return [index, 1, "99.00", "101.00", last, open, "120.00", "90.00", index === 0 ? "1.00000000" : "1.0000", 5];
}

function boardSnapshot(seq: number, rows: unknown[], epoch = 3): object {
  return { type: "board_snapshot", sub: 8, epoch, seq, ts: 7, rows, gone: [] };
}

function boardDelta(first: number, last: number, rows: unknown[], gone: number[] = []): object {
  return { type: "board", sub: 8, first, last, ts: 8, rows, gone };
}

/** A client that is connected, and has asked for a board. */
async function withBoard() {
  const stage = new Stage();
  const view = board(stage.start(), "SIM:*");
  await stage.open();
  const answer = (more: object = {}) => {
    const { id } = stage.net.last.commands.at(-1) as { id: number };
    stage.net.last.say({
      type: "subscribed",
      id,
      sub: 8,
      channel: "board",
      instruments: ["SIM:*"],
      interval_ms: 500,
      resumed: false,
      ...more,
    });
  };
  return { stage, view, answer };
}

describe("board", () => {
  test("asks for patterns in one subscription, and shows the rows by name", async () => {
    const { stage, view, answer } = await withBoard();
    expect(stage.net.last.commands).toEqual([{ id: 1, op: "subscribe", channel: "board", instruments: ["SIM:*"], interval_ms: 0 }]);
    answer();
    stage.net.last.say(NAMES);
    expect(view.state).toBe("pending");
    stage.net.last.say(boardSnapshot(4, [row(0, "110.00"), row(1, "50.00")]));
    expect([view.state, view.seq, view.epoch]).toEqual(["live", 4, 3]);
    const btc = view.rows.get("SIM:BTC-USD")!;
    expect([btc.price("last"), btc.ticks.last, btc.volume, btc.changeTicks, btc.changePercent, btc.state]).toEqual([
      "110.00",
      11_000,
      "1.00000000",
      1_000,
      10,
      "live",
    ]);
    const told: unknown[] = [];
    view.on("change", (rows, gone) => told.push([rows.map(({ instrument }) => instrument), gone]));
    stage.net.last.say(boardDelta(5, 6, [row(0, "111.00")], [1]));
    expect(told).toEqual([[["SIM:BTC-USD"], ["SIM:ETH-USD"]]]);
    expect([...view.rows.keys()]).toEqual(["SIM:BTC-USD"]);
  });

  test("a message that is lost is fetched, and what came meanwhile is applied after it", async () => {
    const { stage, view, answer } = await withBoard();
    answer();
    stage.net.last.say(NAMES);
    stage.net.last.say(boardSnapshot(4, [row(0, "110.00")]));
    stage.net.last.say(boardDelta(6, 6, [row(0, "112.00")]));
    expect(view.state).toBe("recovering");
    expect(stage.net.last.commands.at(-1)).toMatchObject({ op: "recover", sub: 8, from: 5 });
    stage.net.last.say(boardDelta(5, 5, [row(0, "111.00")]));
    expect([view.state, view.seq, view.gaps, view.recoveries]).toEqual(["live", 6, 1, 1]);
    expect(view.rows.get("SIM:BTC-USD")!.price("last")).toBe("112.00");
    stage.net.last.say({ type: "heartbeat", time: 1, seqs: [[8, 7]] });
    expect(stage.net.last.commands.at(-1)).toMatchObject({ op: "recover", from: 7 });
  });

  test("resumes at its number on the next connection", async () => {
    const { stage, view, answer } = await withBoard();
    answer();
    stage.net.last.say(NAMES);
    stage.net.last.say(boardSnapshot(4, [row(0, "110.00")]));
    stage.net.last.closed();
    expect(view.state).toBe("disconnected");
    await stage.clock.advance(1_000);
    await stage.open();
    expect(stage.net.last.commands.at(-1)).toMatchObject({ channel: "board", resume: [3, 4] });
    answer({ resumed: true });
    expect(view.state).toBe("live");
    stage.net.last.say(boardDelta(5, 5, [row(0, "111.00")]));
    expect(view.seq).toBe(5);
  });

  test("a gateway that has no board says so", async () => {
    const { stage, view } = await withBoard();
    stage.net.last.say({ type: "error", id: 1, code: "unknown_channel", message: "there is no channel board" });
    expect([view.state, view.error?.code]).toEqual(["ended", "unknown_channel"]);
    expect(stage.client.state).toBe("open");
  });

  test("a row without a name costs the connection", async () => {
    const { stage, answer } = await withBoard();
    answer();
    stage.net.last.say(boardSnapshot(4, [row(0, "110.00")]));
    expect(stage.client.state).toBe("reconnecting");
  });

  test("two boards are two subscriptions; the same one is one", async () => {
    const { stage, view } = await withBoard();
    expect(board(stage.client, "SIM:*")).toBe(view);
    board(stage.client, ["KRAKEN:*", "SIM:ETH-USD"], { intervalMs: 100 });
    expect(stage.net.last.commands.at(-1)).toMatchObject({ instruments: ["KRAKEN:*", "SIM:ETH-USD"], interval_ms: 100 });
    expect(stage.net.last.commands).toHaveLength(2);
  });

  test("needs a connection of its own, or the first of several lines", async () => {
    const stage = new Stage();
    const client = connectLines(["ws://a/v1/stream", "ws://b/v1/stream"], {
      lines: 2,
      transport: stage.net,
      clock: stage.clock,
      format: json,
    });
    expect(board(client, "*").state).toBe("pending");
    const other = { lines: [] } as never;
    expect(() => board(other, "*")).toThrow("connection of its own");
  });
});

const CANDLE = [60, 1, "1.00", "3.00", "0.50", "2.00", "10.0", 4, 9, 1, 4, -2, -1, 0];

describe("candles", () => {
  async function withCandles() {
    const stage = new Stage();
    const view = candles(stage.start(), "SIM:BTC-USD", { span: "1m", history: 2 });
    await stage.open();
    return { stage, view };
  }

  test("history, then the live one, by start and revision", async () => {
    const { stage, view } = await withCandles();
    expect(stage.net.last.commands).toEqual([
      { id: 1, op: "subscribe", channel: "candles", instruments: ["SIM:BTC-USD"], span: "1m", history: 2 },
    ]);
    stage.confirm({ channel: "candles", size_exp: -1 }, 9);
    stage.net.last.say({ type: "candles", sub: 9, rows: [CANDLE], more: true });
    expect(view.state).toBe("pending");
    const closed = CANDLE.with(0, 0).with(13, 3);
    stage.net.last.say({ type: "candles", sub: 9, rows: [closed, CANDLE.with(0, 120)], more: false });
    expect(view.state).toBe("live");
    expect(view.candles.map(({ start }) => start)).toEqual([0, 60, 120]);
    const [first] = view.candles;
    expect([first!.price("high"), first!.volume, first!.closed, first!.incomplete]).toEqual(["3.00", "10.0", true, true]);
    stage.net.last.say({ type: "candles", sub: 9, rows: [CANDLE.with(1, 3).with(5, "2.50")], more: false });
    stage.net.last.say({ type: "candles", sub: 9, rows: [CANDLE.with(1, 2).with(5, "9.00")], more: false });
    expect(view.candles[1]!.price("close")).toBe("2.50");
    expect(view.live!.start).toBe(120);
  });

  test("another connection may count revisions anew", async () => {
    const { stage, view } = await withCandles();
    stage.confirm({ channel: "candles", size_exp: -1 }, 9);
    stage.net.last.say({ type: "candles", sub: 9, rows: [CANDLE.with(1, 50)], more: false });
    stage.net.last.closed();
    await stage.clock.advance(1_000);
    await stage.open();
    stage.confirm({ channel: "candles", size_exp: -1 }, 9);
    stage.net.last.say({ type: "candles", sub: 9, rows: [CANDLE.with(1, 2).with(5, "1.50")], more: false });
    expect(view.candles.map((candle) => candle.price("close"))).toEqual(["1.50"]);
  });

  test("without a writer the gateway is asked again", async () => {
    const { stage, view } = await withCandles();
    stage.net.last.say({ type: "error", id: 1, code: "unavailable", message: "start mdstream candles" });
    expect([view.state, view.reason]).toEqual(["pending", "start mdstream candles"]);
    await stage.clock.advance(2_000);
    expect(stage.net.last.commands).toHaveLength(2);
  });
});

test("instruments: pages, then what changes", async () => {
  const stage = new Stage();
  const view = instruments(stage.start(), "SIM:*");
  await stage.open();
  expect(stage.net.last.commands).toEqual([
    { id: 1, op: "subscribe", channel: "instruments", instruments: ["SIM:*"], interval_ms: 0 },
  ]);
  stage.net.last.say({
    type: "subscribed",
    id: 1,
    sub: 7,
    channel: "instruments",
    instruments: ["SIM:*"],
    interval_ms: 1000,
    resumed: false,
  });
  const of = (instrument: string, state = "unknown") => ({
    instrument,
    price_exp: -2,
    size_exp: -8,
    ref: { tick: 1 },
    epoch: 5,
    state,
    code: null,
    since: 1,
  });
  stage.net.last.say({ type: "instruments", sub: 7, page: 1, more: true, rows: [of("SIM:A")] });
  expect(view.state).toBe("pending");
  stage.net.last.say({ type: "instruments", sub: 7, page: 2, more: false, rows: [of("SIM:B")] });
  expect([view.state, [...view.rows.keys()]]).toEqual(["live", ["SIM:A", "SIM:B"]]);
  stage.net.last.say({ type: "instruments_changed", sub: 7, rows: [of("SIM:C", "live")], gone: ["SIM:A"] });
  expect([...view.rows.values()].map(({ instrument, state }) => [instrument, state])).toEqual([
    ["SIM:B", "unknown"],
    ["SIM:C", "live"],
  ]);
});

test("what no channel reads is left out, in both formats", () => {
  const decode = (codec: Codec, data: string | ArrayBuffer) => codec.decode(data);
  expect(decode(json.codec(), '{"type":"later","x":1}')).toEqual([]);
  // [42, 7, [1]] and {"type": "later"}
  const bytes = Uint8Array.of(0x93, 42, 7, 0x91, 1, 0x81, 0xa4, 116, 121, 112, 101, 0xa5, 108, 97, 116, 101, 114);
  expect(decode(msgpack.codec(), bytes.buffer)).toEqual([{ type: "more", kind: 42, sub: 7, values: [7, [1]] }]);
});

test("instruments: a change that is missing shows", async () => {
  const stage = new Stage();
  const view = instruments(stage.start(), "SIM:*");
  await stage.open();
  stage.net.last.say({
    type: "subscribed",
    id: 1,
    sub: 7,
    channel: "instruments",
    instruments: ["SIM:*"],
    interval_ms: 1000,
    resumed: false,
  });
  stage.net.last.say({ type: "instruments", sub: 7, page: 1, more: false, rows: [], seq: 4 });
  stage.net.last.say({ type: "instruments_changed", sub: 7, rows: [], gone: [], first: 5, last: 6 });
  expect(view.state).toBe("live");
  stage.net.last.say({ type: "instruments_changed", sub: 7, rows: [], gone: [], first: 8, last: 8 });
  expect(view.state).toBe("recovering");
  expect(stage.net.last.commands.at(-1)).toMatchObject({ op: "recover", sub: 7, from: 0 });
  stage.net.last.say({ type: "instruments", sub: 7, page: 1, more: false, rows: [], seq: 8 });
  expect(view.state).toBe("live");
  stage.net.last.say({ type: "heartbeat", time: 1, seqs: [[7, 9]] });
  expect(view.state).toBe("recovering");
});
