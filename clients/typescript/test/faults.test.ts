import { beforeEach, describe, expect, test, vi } from "vitest";
import { systemClock } from "../src/clock.js";
import { type Client, connect, formatDecimal, json, msgpack, POLICY, parseDecimal } from "../src/index.js";
import { delta, Stage, snapshot, trades, WELCOME } from "./gateway.js";

let stage: Stage;

beforeEach(() => {
  stage = new Stage();
});

const commands = () => stage.net.last.commands;

async function liveBook(options = {}) {
  const book = stage.start(options).book("SIM:A");
  await stage.open();
  stage.confirm();
  stage.net.last.say(snapshot());
  return book;
}

describe("listeners", () => {
  test("one that throws is reported, and the others are called", async () => {
    const reported = vi.spyOn(console, "error").mockImplementation(() => {});
    const book = await liveBook();
    const seen: number[] = [];
    book.on("change", () => {
      throw new Error("mine");
    });
    book.on("change", ({ last }) => seen.push(last));
    stage.net.last.say(delta(101, 101, 6));
    expect([seen, book.state, reported.mock.calls.length]).toEqual([[101], "live", 1]);
    reported.mockRestore();
  });

  test("one that is added or removed meanwhile does not change who is called", async () => {
    const book = await liveBook();
    const seen: string[] = [];
    const stop = [() => {}];
    book.on("change", () => {
      seen.push("first");
      book.on("change", () => seen.push("added"));
      stop[0]!();
    });
    stop[0] = book.on("change", () => seen.push("removed"));
    stage.net.last.say(delta(101, 101, 6));
    expect(seen).toEqual(["first"]);
  });

  test("one that closes its book within a change hears no more, and leaves no timer", async () => {
    const book = await liveBook();
    stage.net.last.say(delta(102, 102, 8));
    stage.net.last.say(delta(105, 105, 8));
    const seen: number[] = [];
    book.on("change", ({ last }) => {
      seen.push(last);
      book.close();
    });
    stage.net.last.say(delta(101, 101, 6));
    expect([seen, book.state]).toEqual([[101], "ended"]);
    const sent = commands().length;
    await stage.clock.advance(14_000);
    expect(commands().length).toBe(sent);
  });

  test("one that closes its trades within a trade hears no more", async () => {
    const stream = stage.start().trades("SIM:A");
    await stage.open();
    stage.confirm();
    const seen: number[] = [];
    stream.on("trade", ({ seq }) => {
      seen.push(seq);
      stream.close();
    });
    stage.net.last.say(trades(1, 3));
    expect(seen).toEqual([1]);
  });

  test.each(["connecting", "open", "reconnecting"] as const)(
    "one that closes the client when it is %s closes it for good",
    async (at) => {
      stage.start().book("SIM:A");
      if (at === "connecting") {
        await stage.open();
        stage.net.last.closed();
      }
      stage.client.on("state", (state) => void (state === at && stage.client.close()));
      if (at !== "connecting") await stage.open();
      if (at === "reconnecting") stage.net.last.closed();
      await stage.clock.advance(60_000);
      expect(stage.client.state).toBe("closed");
      expect(commands().filter(({ op }) => op === "subscribe").length).toBe(at === "open" ? 0 : 1);
    },
  );

  test("see that a book is disconnected when they hear that the client is", async () => {
    const book = await liveBook();
    let seen = "";
    stage.client.on("state", (state) => void (state === "reconnecting" && (seen = book.state)));
    stage.net.last.closed();
    expect(seen).toBe("disconnected");
  });
});

describe("asking and closing", () => {
  test("closed and asked for again before the answer, the book is not unsubscribed", async () => {
    const first = stage.start().book("SIM:A");
    await stage.open();
    first.close();
    const second = stage.client.book("SIM:A");
    const [one, two] = commands().map(({ id }) => id);
    const answer = { type: "subscribed", sub: 7, channel: "book", instrument: "SIM:A", price_exp: -2, size_exp: 0, ref: {} };
    stage.net.last.say({ ...answer, id: one, resumed: false });
    stage.net.last.say(snapshot());
    stage.net.last.say({ ...answer, id: two, resumed: true });
    expect([second.state, second.seq]).toEqual(["live", 100]);
    expect(commands().map(({ op }) => op)).toEqual(["subscribe", "subscribe"]);
  });

  test("a book that holds nothing asks for a snapshot if the gateway resumes an earlier one", async () => {
    const first = await liveBook();
    stage.net.last.closed();
    await stage.clock.advance(250);
    await stage.open();
    first.close();
    stage.client.book("SIM:A");
    stage.net.last.say({
      type: "subscribed",
      id: commands()[0]!["id"],
      sub: 7,
      channel: "book",
      instrument: "SIM:A",
      price_exp: -2,
      size_exp: 0,
      ref: {},
      resumed: true,
    });
    expect(commands().at(-1)).toMatchObject({ op: "recover", sub: 7, from: 0 });
  });

  test("a temporary refusal says why, and ready waits", async () => {
    const book = stage.start().book("SIM:A");
    const ready = book.ready();
    await stage.open();
    stage.net.last.say({ type: "error", id: 1, code: "unavailable", message: "NATS is away" });
    expect([book.state, book.reason]).toEqual(["pending", "NATS is away"]);
    await stage.clock.advance(750);
    stage.confirm();
    stage.net.last.say(snapshot());
    expect((await ready).seq).toBe(100);
  });

  test("too many subscriptions end a new one", async () => {
    const book = stage.start().book("SIM:A");
    await stage.open();
    stage.net.last.say({ type: "error", id: 1, code: "limit_subscriptions", message: "at most 1000" });
    expect([book.state, book.error?.code]).toEqual(["ended", "limit_subscriptions"]);
    await expect(book.ready()).rejects.toThrow("at most 1000");
  });

  test("an instrument may have any name", async () => {
    const book = stage.start().book("__proto__");
    await stage.open();
    stage.confirm();
    stage.net.last.say(snapshot());
    stage.net.last.closed();
    await stage.clock.advance(250);
    await stage.open();
    expect(JSON.stringify(commands()[0]!["resume"])).toBe('{"__proto__":[5,100]}');
    expect(book.state).toBe("recovering");
  });
});

describe("the connection", () => {
  test("4409 is not the end: the contract says to come back", async () => {
    stage.start();
    await stage.open();
    stage.net.last.closed(4409, "a newer session of the same subject");
    expect(stage.client.state).toBe("reconnecting");
  });

  test("a draining gateway that closes early is not replaced before the time that it gave", async () => {
    stage.start();
    await stage.open();
    stage.net.last.say({ type: "drain", reconnect_after_ms: 700, deadline_ms: 5000 });
    stage.net.last.closed(1012);
    stage.client.probe();
    await stage.clock.advance(699);
    expect(stage.net.connections.length).toBe(1);
    await stage.clock.advance(1);
    expect(stage.net.connections.length).toBe(2);
  });

  test("after a pause of the whole process it asks before it gives up", async () => {
    stage.start();
    await stage.open();
    stage.clock.sleep(40_000);
    await stage.clock.advance(0);
    expect([stage.client.state, commands().at(-1)]).toMatchObject(["open", { op: "ping" }]);
    stage.net.last.say({ type: "pong", id: commands().at(-1)!["id"], time: 0 });
    await stage.clock.advance(10_000);
    expect(stage.client.state).toBe("open");
  });

  test("what was live before such a pause is not, until there is an answer", async () => {
    const book = await liveBook();
    stage.clock.sleep(40_000);
    await stage.clock.advance(0);
    stage.net.last.say(delta(101, 101, 6)); // it may have been sent before
    expect([book.state, book.seq]).toEqual(["recovering", 101]);
    stage.net.last.say({ type: "pong", id: commands().at(-1)!["id"], time: 0 });
    expect(book.state).toBe("live");
  });

  test("after such a pause without an answer it gives up", async () => {
    stage.start();
    await stage.open();
    stage.clock.sleep(40_000);
    await stage.clock.advance(3_000);
    expect(stage.client.state).not.toBe("open");
  });

  test.each([
    ["a second welcome", WELCOME],
    ["a heartbeat without a list", { type: "heartbeat", time: 0 }],
    ["subs that are no list", { type: "unsubscribed", subs: 7, reason: "x" }],
    ["a snapshot without levels", { ...snapshot(), bids: undefined }],
    ["a number that is a text", { ...snapshot(), seq: "100" }],
    ["a price that is a number", { ...snapshot(), bids: [[1000, "5"]] }],
    ["a price with other decimals", { ...snapshot(), bids: [["10.0", "5"]] }],
    [
      "an endless exponent",
      { type: "subscribed", id: 1, sub: 9, channel: "book", instrument: "X", price_exp: 1e9, size_exp: 0, ref: {}, resumed: false },
    ],
    ["null", null],
  ])("%s costs the connection at most, never an exception", async (name, message) => {
    const book = await liveBook();
    stage.net.last.say(message as object);
    expect(stage.client.state).toBe("reconnecting");
    expect([book.state, book.seq]).toEqual(["disconnected", 100]);
    expect(name).toBeTruthy();
  });

  test.each([0, -1, null])("a welcome with a heartbeat of %s is refused", async (heartbeat_ms) => {
    stage.start();
    await stage.open({ ...WELCOME, heartbeat_ms });
    expect(stage.client.state).toBe("reconnecting");
  });

  test("a token that cannot be one is the end, and is told to nobody", async () => {
    const client = stage.start({ token: "se cret" });
    await stage.clock.advance(0);
    expect([client.state, client.error?.code, stage.net.connections.length]).toEqual(["closed", "token", 0]);
    expect(client.error?.message).not.toContain("cret");
  });

  test("nobody there is said as such, with the address", async () => {
    const book = stage.start().book("SIM:A");
    await stage.clock.advance(0);
    stage.net.last.closed();
    const why = "no connection to ws://a/v1/stream (1006)";
    expect([stage.client.state, stage.client.reason, book.state, book.reason]).toEqual(["reconnecting", why, "pending", why]);
  });

  test("a place without WebSocket is the end, as the next try would end the same way", async () => {
    vi.stubGlobal("WebSocket", undefined);
    const client = connect("ws://a/v1/stream", { clock: stage.clock });
    const book = client.book("SIM:A");
    await stage.clock.advance(0);
    vi.unstubAllGlobals();
    expect([client.state, client.error?.code, book.state, book.code]).toEqual(["closed", "no_websocket", "ended", "no_websocket"]);
    expect(book.reason).toContain("Node 22");
  });

  test("says without a token too that it wants to be told of a refusal", async () => {
    const client = stage.start();
    await stage.clock.advance(0);
    expect(stage.net.last.url).toBe("ws://a/v1/stream?reject=close");
    stage.net.last.closed(4401, "no token");
    expect([client.state, client.error?.code]).toEqual(["closed", 4401]);
  });
});

describe("data", () => {
  test("a negative size is no level", async () => {
    const book = await liveBook();
    stage.net.last.say(delta(101, 101, -6));
    expect([book.state, book.bids.length, book.crcErrors]).toEqual(["recovering", 0, 1]);
  });

  test("a side that never ends is wrong", async () => {
    const book = await liveBook({ policy: { mostLevels: 2 } });
    stage.net.last.say({
      ...delta(101, 101, 6),
      bids: [
        ["9.99", "1"],
        ["9.98", "1"],
      ],
    });
    expect([book.state, book.bids.length]).toEqual(["recovering", 0]);
  });

  test("what is held while something is missing has a bound", async () => {
    const book = await liveBook({ policy: { heldMessages: 3 } });
    for (let seq = 102; seq < 110; seq++) stage.net.last.say(delta(seq, seq, seq));
    stage.net.last.say(delta(101, 101, 101));
    expect([book.state, book.seq, book.gaps]).toEqual(["recovering", 101, 2]);
  });

  test("trades say how many before them were lost, at the gateway and in a slow iteration", async () => {
    const stream = stage.start().trades("SIM:A");
    const iteration = stream.trades(1);
    await stage.open();
    stage.confirm();
    stage.net.last.say(trades(1, 1));
    expect((await iteration.next()).value).toMatchObject({ seq: 1, skipped: 0 });
    stage.net.last.say({ type: "lost", sub: 7, first: 2, last: 4 });
    stage.net.last.say({ type: "lost", sub: 7, first: 2, last: 4 });
    stage.net.last.say(trades(5, 6));
    expect((await iteration.next()).value).toMatchObject({ seq: 6, skipped: 4 });
  });

  test("a trade that is left out of its message costs the connection, not the trade", async () => {
    const stream = stage.start().trades("SIM:A");
    await stage.open();
    stage.confirm();
    const whole = trades(1, 3) as { trades: unknown[] };
    stage.net.last.say({ ...whole, trades: whole.trades.filter((_, index) => index !== 1) });
    expect([stage.client.state, stream.seq]).toEqual(["reconnecting", null]);
  });

  test("a trade's id beyond 2^53 is its text", () => {
    const codec = json.codec();
    codec.decode(
      '{"type":"subscribed","id":1,"sub":7,"channel":"trades","instrument":"X","price_exp":0,"size_exp":0,"ref":{},"resumed":false}',
    );
    const text =
      '{"type":"trades","sub":7,"epoch":1,"first":1,"last":2,"trades":[[1,0,"1","1","buy",9223372036854775807],[2,0,"1","1",null,"5\\",null,9223372036854775807]"]]}';
    expect(codec.decode(text)).toMatchObject([
      {
        trades: [
          [1, 0, 1, 1, 1, "9223372036854775807"],
          [2, 0, 1, 1, 0, '5",null,9223372036854775807]'],
        ],
      },
    ]);
    const entry = [0x96, 1, 0, 1, 1, 1, 0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0];
    const bytes = Uint8Array.from([0x96, 3, 7, 1, 1, 1, 0x91, ...entry]);
    expect(msgpack.codec().decode(bytes.buffer)).toMatchObject([{ trades: [[1, 0, 1, 1, 1, "-9223372036854775808"]] }]);
  });

  test.each([
    ["a float as a number", [0x98, 1, 7, 0xcb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0, 1, 0, 0x90, 0x90, 0]],
    ["an integer beyond 2^53 as a number", [0x98, 1, 7, 0xcf, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0x90, 0x90, 0]],
    ["half a level", [0x98, 1, 7, 1, 1, 0, 0x91, 1, 0x90, 0]],
    ["levels that are a text", [0x98, 1, 7, 1, 1, 0, 0xa1, 65, 0x90, 0]],
    ["a list that claims four thousand million", [0x98, 1, 7, 1, 1, 0, 0xdd, 0xff, 0xff, 0xff, 0xff]],
    ["too few values", [0x97, 1, 7, 1, 1, 0, 0x90, 0x90]],
    ["a trade of five", [0x96, 3, 7, 1, 1, 1, 0x91, 0x95, 1, 0, 1, 1, 1]],
    ["nesting without end", Array<number>(40).fill(0x91)],
  ])("MessagePack: %s is refused", (_name, bytes) => {
    expect(() => msgpack.codec().decode(Uint8Array.from(bytes).buffer)).toThrow(Error);
  });

  test("values that a later version adds are left out", () => {
    const bytes = Uint8Array.from([0x99, 1, 7, 1, 1, 0, 0x90, 0x90, 0, 0xa1, 65, 0x92, 42, 1]);
    expect(msgpack.codec().decode(bytes.buffer)).toEqual([
      { type: "delta", sub: 7, first: 1, last: 1, ts: 0, bids: [], asks: [], crc: 0 },
      { type: "more", kind: 42, sub: 1, values: [1] }, // for the module of a channel, if there is one
    ]);
  });

  test("a map cannot set a prototype", () => {
    const map = [
      0x83,
      0xa4,
      ...Buffer.from("type"),
      0xa3,
      ...Buffer.from("ref"),
      0xa3,
      ...Buffer.from("sub"),
      1,
      0xa9,
      ...Buffer.from("__proto__"),
      0x80,
    ];
    const [message] = msgpack.codec().decode(Uint8Array.from(map).buffer);
    expect(Object.keys(message!)).toEqual(["type", "sub"]);
  });

  test.each([
    ["1.0", -2],
    ["1.000", -2],
    ["1,00", -2],
    ["01.00", -2],
    [".50", -2],
    ["-0.00", -2],
    ["+1.00", -2],
    ["1e3", 0],
    ["1.", 0],
    ["", 0],
    ["", -2],
    ["-", 0],
    ["0.0.0", -3],
    ["12", 3],
    ["1200", 3],
    ["000", 3],
    ["0000", 3],
    ["9007199254740992", 0],
    ["90071992547409.92", -2],
    [" 1.00", -2],
    ["\u0661.00", -2],
  ])("%j with the exponent %i is no decimal", (text, exponent) => {
    expect(() => parseDecimal(text, exponent)).toThrow(RangeError);
  });

  test("each decimal that can be written can be read", () => {
    for (const exponent of [-18, -8, -2, -1, 0, 1, 3, 18]) {
      for (const value of [0, 1, 9, 10, 99, 12_000, 2 ** 53 - 1].flatMap((each) => [each, -each + 0])) {
        expect(parseDecimal(formatDecimal(value, exponent), exponent)).toBe(value);
      }
    }
  });

  test("what is no exact integer has no decimal text", () => {
    for (const wrong of [NaN, 0.5, 2 ** 53]) expect(() => formatDecimal(wrong, -2)).toThrow(RangeError);
  });
});

describe("a ticker", () => {
  const quote = (seq: number) => ({ type: "ticker", sub: 7, epoch: 5, seq, ts: seq, bid: ["10.00", "5"], ask: null, last: null });

  async function open(): Promise<ReturnType<Client["ticker"]>> {
    const ticker = stage.start().ticker("SIM:A");
    await stage.open();
    stage.confirm();
    return ticker;
  }

  test("is not live before it has a value", async () => {
    const ticker = await open();
    expect(ticker.state).toBe("pending");
    stage.net.last.say(quote(9));
    expect([ticker.state, ticker.current?.bid?.price]).toEqual(["live", "10.00"]);
  });

  test("asks again at each heartbeat until it comes", async () => {
    const ticker = await open();
    stage.net.last.say(quote(9));
    for (let i = 0; i < 2; i++) stage.net.last.say({ type: "heartbeat", time: 0, seqs: [[7, 10]] });
    expect(commands().filter(({ op }) => op === "recover")).toHaveLength(2);
    stage.net.last.say(quote(10));
    expect(ticker.state).toBe("live");
  });

  test("an iteration gives the newest", async () => {
    const ticker = await open();
    const changes = ticker.changes();
    for (const seq of [1, 2, 3]) stage.net.last.say(quote(seq));
    expect((await changes.next()).value).toMatchObject({ seq: 3, skipped: 2 });
  });
});

test("an iteration may be asked ahead, and ends in order", async () => {
  const book = await liveBook();
  const changes = book.changes();
  const both = [changes.next(), changes.next(), changes.next()];
  for (const seq of [101, 102]) stage.net.last.say(delta(seq, seq, seq));
  book.close();
  expect((await Promise.all(both)).map(({ value, done }) => (done === true ? "done" : value.last))).toEqual([101, 102, "done"]);
});

test("leaving an iteration does not throw, whatever ended it", async () => {
  const book = await liveBook();
  const changes = book.changes();
  stage.net.last.closed(4400);
  expect((await changes.return()).done).toBe(true);
});

test("a time longer than a timer can wait is not no time", async () => {
  let called = false;
  const stop = systemClock.after(2 ** 40, () => (called = true));
  await new Promise((resolve) => setTimeout(resolve, 0));
  stop();
  expect([called, POLICY.answerTimeoutMs]).toEqual([false, 10_000]);
});
