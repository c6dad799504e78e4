// The golden vectors of events, maps, presence and alerts, in both formats.

import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { events, type TopicEvent } from "../src/events.js";
import { json, msgpack } from "../src/index.js";
import { map, type TopicMap } from "../src/map.js";
import { type Presence, presence } from "../src/presence.js";
import { Stage, WELCOME } from "./gateway.js";
import { EVENTS, HEAD } from "./topics.js";

// biome-ignore lint/suspicious/noExplicitAny: JSON of another shape in each file
const vectors = (name: string): Record<string, any[]> =>
  JSON.parse(readFileSync(new URL(`../../../tests/vectors/${name}.json`, import.meta.url), "utf8"));
const FORMATS = [json, msgpack];

for (const format of FORMATS) {
  const read = (vector: { json: string; msgpack: string }) =>
    format.codec().decode(format === json ? vector.json : Uint8Array.from(Buffer.from(vector.msgpack, "hex")).buffer);
  const bytesOf = (vector: { json: string; msgpack: string }) =>
    format === json ? vector.json : Uint8Array.from(Buffer.from(vector.msgpack, "hex")).buffer;

  for (const name of ["events", "maps", "alerts"]) {
    test.each(vectors(name)["commands"]!)(`${format.protocol}, ${name}: $op, $name`, (vector) => {
      const encoded = format.codec().encode(vector.message);
      expect(format === json ? encoded : Buffer.from(encoded as Uint8Array).toString("hex")).toBe(
        format === json ? vector.json : vector.msgpack,
      );
    });

    test.each(vectors(name)["messages"] ?? [])(`${format.protocol}, ${name}: $type, $name`, (vector) => {
      const [message] = read(vector);
      const { type, sub } = vector.message;
      const other = type === "acknowledged" || type === "recovered";
      expect(message).toEqual(other ? { type: "more", kind: type, sub, values: vector.message } : vector.message);
    });
  }

  test.each([...vectors("events")["data"]!, ...vectors("alerts")["data"]!])(
    `${format.protocol}: event, $name`,
    async ({ fields, ...vector }) => {
      const told: TopicEvent[] = [];
      const stage = new Stage();
      const view = events(stage.start({ format }), "desk.a", { since: fields.prev });
      view.on("event", (event) => told.push(event));
      await begin(stage, format === json, { ...EVENTS, sub: fields.sub, newest: fields.prev });
      hear(stage, bytesOf(vector));
      const { sub: _sub, prev: _prev, event: type, ...rest } = fields;
      expect(told).toEqual([{ ...rest, type }]);
      expect(view.state).toBe("live");
    },
  );

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
