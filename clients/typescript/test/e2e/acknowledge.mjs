// node test/e2e/acknowledge.mjs URL FORMAT TOKEN: prints a line of JSON for each event of the user's own topic, and for each time
// that something is acknowledged. A line with a number on standard input acknowledges up to there, an empty one ends it.
import { createInterface } from "node:readline";
import { events } from "../../dist/events.js";
import { connect, json, msgpack } from "../../dist/index.js";

const [url, format, token] = process.argv.slice(2);
const client = connect(url, { format: format === "json" ? json : msgpack, token });
const mine = events(client);
const say = (line) => console.log(JSON.stringify(line));
mine.on("event", ({ topic, seq, data, sender, redelivered }) => say({ topic, seq, data, sender, redelivered }));
mine.on("acknowledged", (seq) => say({ acknowledged: seq }));
mine.on("end", (error) => say({ ended: String(error) }));
await mine.ready();
say({ ready: mine.topic, position: mine.acknowledged });
for await (const line of createInterface({ input: process.stdin })) {
  if (line === "") break;
  mine.acknowledge(Number(line));
}
client.close();
process.exit(0);
