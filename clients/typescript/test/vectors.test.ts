import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { BoardEngine } from "../src/board-engine.js";
import { Board } from "../src/board-view.js";
import { Book } from "../src/book.js";
import { BookEngine } from "../src/book-engine.js";
import { CandlesEngine } from "../src/candles-engine.js";
import { type Candle, Candles, readCandle } from "../src/candles-view.js";
import { checksum, formatDecimal, json, type Message, msgpack, parseDecimal } from "../src/index.js";
import { Side } from "../src/side.js";
import { watching } from "./support.js";

// The files' shape is that of tests/vectors/README.md.
// biome-ignore lint/suspicious/noExplicitAny: JSON of another shape in each file
const vectors = (name: string): Record<string, any[]> =>
  JSON.parse(readFileSync(new URL(`../../../tests/vectors/${name}.json`, import.meta.url), "utf8"));
const bytes = (hex: string) => Uint8Array.from(Buffer.from(hex, "hex")).buffer;

test.each(vectors("numbers")["decimals"]!)("$value × 10^$exp is $text", ({ value, exp, text }) => {
  expect(formatDecimal(value, exp)).toBe(text);
  expect(parseDecimal(text, exp)).toBe(value);
});

test.each(vectors("numbers")["checksums"]!)("checksum of $text", ({ bids, asks, crc }) => {
  expect(checksum(filled(1, bids), filled(-1, asks))).toBe(crc);
});

test.each(vectors("server")["data"]!)("$type: $name", (vector) => {
  const codec = json.codec();
  codec.decode(
    JSON.stringify({ ...SUBSCRIBED, sub: vector.fields.sub ?? 1, price_exp: vector.price_exp, size_exp: vector.size_exp }),
  );
  const expected = { type: vector.type, ...vector.fields };
  expect(codec.decode(vector.json)).toEqual([expected]);
  expect(msgpack.codec().decode(bytes(vector.msgpack))).toEqual([expected]);
});

test.each(vectors("server")["control"]!)("$type: $name", (vector) => {
  expect(json.codec().decode(vector.json)).toEqual([vector.message]);
  expect(msgpack.codec().decode(bytes(vector.msgpack))).toEqual([vector.message]);
});

test.each(vectors("server")["joined"]!)("several values: $name", ({ values, msgpack: hex }) => {
  expect(msgpack.codec().decode(bytes(hex))).toHaveLength(values.length);
});

test.each(vectors("client")["commands"]!)("$op: $name", (vector) => {
  expect(json.codec().encode(vector.message)).toBe(vector.json);
  expect(Buffer.from(msgpack.codec().encode(vector.message) as Uint8Array).toString("hex")).toBe(vector.msgpack);
});

for (const format of [json, msgpack]) {
  test.each(vectors("views")["views"]!)(`${format.protocol}: view $name`, (view) => {
    const watched = watching();
    const book = new Book({ channel: "book", instrument: "V:X", view: {} }, watched.owner);
    const engine = new BookEngine(book, watched.session);
    const { price_exp, size_exp, sub } = view;
    const codec = format.codec();
    const subscribed = { ...SUBSCRIBED, sub, price_exp, size_exp } as never;
    if (format === json) codec.decode(JSON.stringify(subscribed));
    engine.accept(subscribed);
    for (const step of view.steps) {
      watched.asked.length = 0;
      const [message] = codec.decode(format === json ? step.json : bytes(step.msgpack)) as [Message];
      const before = book.seq;
      engine.take(message as never);
      if (step.outcome === "gap") expect(watched.asked).toEqual([before + 1]);
      if (step.outcome === "mismatch") expect(watched.asked.at(-1)).toBe(0);
      if (step.outcome !== "apply") {
        expect(book.trusted).toBe(false);
        continue;
      }
      expect(book.trusted).toBe(true);
      expect([book.seq, flat(book.bids), flat(book.asks)]).toEqual([step.then.seq, step.then.bids, step.then.asks]);
    }
  });
}

const SUBSCRIBED = { type: "subscribed", id: 1, channel: "book", instrument: "V:X", ref: {}, resumed: false };

function filled(sign: 1 | -1, levels: number[]): Side {
  const side = new Side(sign);
  for (let i = 0; i < levels.length; i += 2) side.set(levels[i]!, levels[i + 1]!);
  return side;
}

function flat(side: Side): number[] {
  return [...side].flat();
}

// ---- boards

interface BoardVector {
  name: string;
  type: string;
  scales: Record<string, [number, number]>;
  // biome-ignore lint/suspicious/noExplicitAny: of another shape for each type
  fields: any;
  json: string;
  msgpack: string;
}

test.each(
  (vectors("boards")["data"] as BoardVector[]).flatMap((vector) => [["json", vector] as const, ["msgpack", vector] as const]),
)("%s: $1.type", (format, vector) => {
  const { view, engine } = filledBoard(vector);
  const codec = format === "json" ? json.codec() : msgpack.codec();
  const [message] = codec.decode(format === "json" ? vector.json : bytes(vector.msgpack));
  engine.take(message as never);
  const { rows = [], gone = [], seq, last } = vector.fields;
  if (vector.type === "board_names") return;
  expect(view.seq).toBe(seq ?? last);
  const shown = (row: unknown[]) => {
    const found = view.rows.get(`V:${row[0]}`)!;
    const { bid, ask, last, open, high, low } = found.ticks;
    return [row[0], STATES.indexOf(found.state), bid, ask, last, open, high, low, found.lots, found.since];
  };
  expect(rows.map(shown)).toEqual(rows);
  for (const index of gone) expect(view.rows.has(`V:${index}`)).toBe(false);
});

const STATES = ["unknown", "live", "recovering", "stale", "halted", "closed"];

/** A board that stands just before the vector's message. */
function filledBoard({ fields: { sub, first }, scales }: BoardVector) {
  const watched = watching();
  const view = new Board({ channel: "board", instrument: "", view: { instruments: ["*"] } }, watched.owner);
  const engine = new BoardEngine(view, watched.session);
  engine.accept({ ...SUBSCRIBED, sub, instrument: undefined } as never);
  const say = (kind: string, values: object) => engine.take({ type: "more", kind, sub, values });
  const names = Object.entries(scales).map(([index, scale]) => [Number(index), `V:${index}`, ...scale]);
  say("board_names", { names: [[0, "V:0", 0, 0], [1, "V:1", 0, 0], ...names] });
  if (first !== undefined) say("board_snapshot", { epoch: 1, seq: first - 1, ts: 0, rows: [], gone: [] });
  return { view, engine };
}

test.each(vectors("boards")["commands"]!)("$op: $name", (vector) => {
  expect(json.codec().encode(vector.message)).toBe(vector.json);
  expect(Buffer.from(msgpack.codec().encode(vector.message) as Uint8Array).toString("hex")).toBe(vector.msgpack);
});

test.each(vectors("boards")["messages"]!)("$type: $name", (vector) => {
  const { sub, type } = vector.message;
  const expected = type === "subscribed" ? vector.message : { type: "more", kind: type, sub, values: vector.message };
  expect(json.codec().decode(vector.json)).toEqual([expected]);
  expect(msgpack.codec().decode(bytes(vector.msgpack))).toEqual([expected]);
});

// ---- candles

test.each(vectors("candles")["data"]!)("candles: $name", (vector) => {
  const { sub, rows, more } = vector.fields;
  for (const [codec, data] of [
    [json.codec(), vector.json],
    [msgpack.codec(), bytes(vector.msgpack)],
  ] as const) {
    const watched = watching();
    const view = new Candles({ channel: "candles", instrument: "V:X", view: { span: "1m", history: 9 } }, watched.owner);
    const engine = new CandlesEngine(view, watched.session);
    engine.accept({ ...SUBSCRIBED, sub, price_exp: -2, size_exp: -8 } as never);
    const [message] = codec.decode(data);
    engine.take(message as never);
    expect(view.state).toBe(more ? "pending" : "live");
    const { values } = message as unknown as { values: { rows: unknown[] } & unknown[] };
    const read: Candle[] = (values.rows ?? values[1]).map(readCandle);
    expect(view.candles).toHaveLength(new Set(read.map(({ start }) => start)).size);
    const shown = read.map((each) => {
      const { open, high, low, close } = each.ticks;
      const flags = Number(each.closed) + 2 * Number(each.incomplete);
      const place = [each.epoch, each.first, each.last, each.priceExp, each.sizeExp];
      return [each.start, each.revision, open, high, low, close, each.lots, each.count, ...place, flags];
    });
    // The greatest volume that there is has a flag of its own, which this client does not show.
    expect(shown).toEqual((rows as number[][]).map((row) => row.with(13, row[13]! & 3)));
  }
});

test.each(vectors("candles")["commands"]!)("candles: $name", (vector) => {
  expect(json.codec().encode(vector.message)).toBe(vector.json);
  expect(Buffer.from(msgpack.codec().encode(vector.message) as Uint8Array).toString("hex")).toBe(vector.msgpack);
});

test.each(vectors("candles")["messages"]!)("candles: $name", (vector) => {
  expect(json.codec().decode(vector.json)).toEqual([vector.message]);
  expect(msgpack.codec().decode(bytes(vector.msgpack))).toEqual([vector.message]);
});
